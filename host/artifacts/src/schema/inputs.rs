//! The inputs of actions, held against their schemas while a call waits.
//!
//! A check begins where it is asked for, with few steps. Only if they do not suffice, or the text is long, does it begin anew
//! in the tenant's lane ([`crate::lanes`]), with all steps. A schema is compiled when it is first needed and kept; compiling
//! has a permit of its own, so that no check waits for it but those that need the schema.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use keyway_core::call::Json;
use keyway_core::ids::{Action, Installation};
use keyway_core::limits::SCHEMA_STEPS_MAX;
use keyway_core::ports::{Inputs, Route};
use keyway_core::schema::{Document, Schema, Verdict};
use keyway_core::shares::Payer;
use keyway_core::{Code, Digest, Fault, Whose};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{broken, judge, verdict};
use crate::lanes::Lanes;

/// Bytes of compiled schemas that are kept: those of a thousand actions without large patterns. Beyond it, those go that were
/// not used for longest.
const KEPT_BYTES_MAX: usize = 32 << 20;

/// Bytes that stay when some go: three quarters, so that looking for the oldest is rare.
const STAY_BYTES: usize = KEPT_BYTES_MAX / 4 * 3;

/// Bytes that a kept schema takes beside itself: its names, and its places in the tables.
const ENTRY_BYTES: usize = 256;

/// Bytes of an input that is checked where it is asked for. Reading it takes some tens of microseconds.
const SHORT_BYTES_MAX: usize = 16 << 10;

/// Steps of a check where it is asked for: half a millisecond.
const SHORT_STEPS_MAX: u64 = 10_000;

/// The schemas of actions, compiled when first needed and kept: a call must not compile one.
pub struct InputSchemas {
    kept: RwLock<Kept>,
    /// Goes up with each use of a kept schema.
    uses: AtomicU64,
    lanes: Lanes,
    /// One at a time: the largest takes a tenth of a second and some megabytes.
    compiling: Arc<Semaphore>,
}

#[derive(Default)]
struct Kept {
    bytes: usize,
    releases: HashMap<Digest, HashMap<Action, Entry>>,
}

struct Entry {
    schema: Arc<Schema>,
    bytes: usize,
    used: AtomicU64,
}

/// What an input is held against: the schema of an action of a release.
#[derive(Clone, Copy)]
struct Against<'a> {
    release: &'a Digest,
    action: &'a Action,
    schema: &'a Value,
}

// === impl InputSchemas ===

impl Default for InputSchemas {
    fn default() -> Self {
        Self::new(Lanes::default())
    }
}

#[async_trait]
impl Inputs for InputSchemas {
    async fn check(
        &self,
        route: &Route,
        action: &Action,
        input: Json,
        time_left: Duration,
    ) -> Result<Json, Fault> {
        let actions = &route.connector.descriptor().actions;
        let Some(schema) = actions.get(action).and_then(|spec| spec.input.as_ref()) else {
            return Ok(input);
        };
        let against = Against { release: &route.connector.release().digest, action, schema };
        let Installation { environment, tenant, .. } = &route.installation;
        let payer = Payer::Tenant(environment.clone(), tenant.clone());
        timeout(time_left, self.hold(&payer, against, input)).await.unwrap_or_else(|_| {
            // It waited for other inputs of its own tenant, and for next to nobody else's.
            let fault = Fault::new(Code::DeadlineExceeded, "no time was left to check the input");
            Err(fault.blame(Whose::Tenant))
        })
    }
}

impl InputSchemas {
    /// None yet. Long checks are in these lanes.
    pub fn new(lanes: Lanes) -> Self {
        Self {
            kept: RwLock::default(),
            uses: AtomicU64::new(0),
            lanes,
            compiling: Arc::new(Semaphore::new(1)),
        }
    }

    async fn hold(
        &self,
        payer: &Payer,
        against: Against<'_>,
        input: String,
    ) -> Result<String, Fault> {
        let schema = match self.known(against) {
            Some(schema) => schema,
            None => self.add(payer, against).await?,
        };
        if input.len() <= SHORT_BYTES_MAX {
            let verdict = verdict(&schema, &input, SHORT_STEPS_MAX);
            if !matches!(verdict, Ok(Verdict::Spent)) {
                return judge(&verdict, SCHEMA_STEPS_MAX, Code::InputInvalid, "input")
                    .map(|()| input);
            }
        }
        let first = self.lanes.first(payer).await;
        let checked = self.lanes.run(first, move |turn| {
            let verdict = Document::read(&input).map(|document| {
                let mut go_on = |steps| turn.go_on(steps);
                schema.check_in_parts(&document, SCHEMA_STEPS_MAX, &mut go_on)
            });
            (verdict, input)
        });
        let (verdict, input) = checked.await?;
        judge(&verdict, SCHEMA_STEPS_MAX, Code::InputInvalid, "input").map(|()| input)
    }

    fn known(&self, against: Against<'_>) -> Option<Arc<Schema>> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let entry = kept.releases.get(against.release)?.get(against.action)?;
        entry.used.store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        Some(Arc::clone(&entry.schema))
    }

    /// Compiles a schema, unless somebody else has meanwhile. A tenant waits for its own first, so that it has no more than
    /// one in the queue of all.
    async fn add(&self, payer: &Payer, against: Against<'_>) -> Result<Arc<Schema>, Fault> {
        let _first = self.lanes.first(payer).await;
        let permit = Arc::clone(&self.compiling).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        if let Some(known) = self.known(against) {
            return Ok(known);
        }
        let schema = against.schema.clone();
        // It goes on when its caller has hung up, and so does its claim to the machine.
        let compiled = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            Schema::compile(&schema)
        });
        let compiled = compiled
            .await
            .map_err(|error| {
                Fault::new(Code::Internal, "compiling a schema died").caused_by(error)
            })?
            .map_err(|error| broken("input", &error))?;
        let schema = Arc::new(compiled);
        let used = AtomicU64::new(self.uses.fetch_add(1, Ordering::Relaxed));
        let bytes = schema.bytes() + ENTRY_BYTES;
        let entry = Entry { schema: Arc::clone(&schema), bytes, used };
        self.kept.write().unwrap_or_else(PoisonError::into_inner).insert(against, entry);
        Ok(schema)
    }
}

// === impl Kept ===

impl Kept {
    fn insert(&mut self, against: Against<'_>, entry: Entry) {
        if self.bytes + entry.bytes > KEPT_BYTES_MAX {
            self.make_room();
        }
        self.bytes += entry.bytes;
        let actions = self.releases.entry(*against.release).or_default();
        if let Some(before) = actions.insert(against.action.clone(), entry) {
            self.bytes -= before.bytes;
        }
    }

    /// Lets those go that were not used for longest.
    fn make_room(&mut self) {
        let entries = self.releases.values().flat_map(HashMap::values);
        let mut uses: Vec<_> =
            entries.map(|entry| (entry.used.load(Ordering::Relaxed), entry.bytes)).collect();
        uses.sort_unstable_by_key(|(used, _)| Reverse(*used));
        let mut stay = 0;
        let first_to_go = uses.into_iter().find(|(_, bytes)| {
            stay += bytes;
            stay > STAY_BYTES
        });
        let Some((newest_to_go, _)) = first_to_go else { return };
        let mut bytes = 0;
        self.releases.retain(|_, actions| {
            actions.retain(|_, entry| {
                let stays = entry.used.load(Ordering::Relaxed) > newest_to_go;
                bytes += if stays { entry.bytes } else { 0 };
                stays
            });
            !actions.is_empty()
        });
        self.bytes = bytes;
    }
}

#[cfg(test)]
mod tests;
