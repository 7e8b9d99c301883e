//! Changing what installations run: pin, unpin, revert, environment default, configuration.
//!
//! Every change takes the same path: find the release, load it and hold credentials and configuration against it
//! (nothing has changed yet), commit with an audit entry, then show the new route to calls. A change to what is
//! there already leaves no trace.

mod back;
mod configs;
mod defaults;
mod fitting;

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use keyway_core::ids::{Actor, Connector, Installation, Slot};
use keyway_core::limits::REASON_BYTES_MAX;
use keyway_core::ports::{
    Clock, Components, Connector as Callable, Granted, Granting, Loader, Route, Settings,
};
use keyway_core::release::{Release, ReleaseRef};
use keyway_core::{Code, Digest, Fault};
use keyway_store::Store;
use keyway_store::model::{
    Connection, Entry as AuditEntry, EnvironmentDefault, Filter, Generation, InstallationState,
};
use tokio::sync::{Mutex, MutexGuard, Semaphore};
use tokio::task::JoinSet;

use crate::care::Newest;
use crate::executed::Executed;
use crate::find::{self, Selector};
use crate::lacking::{self, Allowed, Users};
use crate::matrix::governs;
use crate::routes::{Entries, Entry, RouteTable};

use fitting::Fitting;

pub use configs::RevertConfigRequest;
pub use defaults::{DefaultRequest, Defaulted, Unset, UnsetRequest};

/// Decides what installations run.
#[derive(Clone)]
pub struct Releases {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    loader: Arc<dyn Loader>,
    clock: Arc<dyn Clock>,
    table: Arc<RouteTable>,
    executed: Arc<Executed>,
    /// Held from the read that a change builds on until its route is shown: routes follow generations.
    changing: Mutex<()>,
    newest: Newest,
}

/// Between two lines of the log about a start that takes long.
const PROGRESS_PAUSE: Duration = Duration::from_secs(1);

/// A pin, wanted.
#[derive(Clone, Debug)]
pub struct PinRequest {
    /// For whom.
    pub installation: Installation,
    /// What to run.
    pub release: Selector,
    /// Who says so.
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// The generation that the actor saw last; another one now is a conflict. None: no matter.
    pub seen_generation: Option<u64>,
    /// What to go ahead without. The reason then says so.
    pub allowed: Allowed,
}

/// A way back, wanted.
#[derive(Clone, Debug)]
pub struct RevertRequest {
    /// For whom.
    pub installation: Installation,
    /// Back to what was so at this generation. None: to the newest at which another release was to run than now.
    pub to_generation: Option<u64>,
    /// Who says so.
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// As in [`PinRequest`].
    pub seen_generation: Option<u64>,
}

/// The end of a pin, wanted: the environment's default is to rule.
#[derive(Clone, Debug)]
pub struct UnpinRequest {
    /// For whom.
    pub installation: Installation,
    /// Who says so.
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// As in [`PinRequest`].
    pub seen_generation: Option<u64>,
    /// As in [`PinRequest`].
    pub allowed: Allowed,
}

/// What a change of an installation's pin came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Moved {
    /// What is so now. Where nothing had to change, it is older than the wish.
    pub generation: Generation,
    /// What the environment's default says, where the installation has no pin; none: calls are refused.
    pub default: Option<ReleaseRef>,
}

/// A release on its way to being an installation's, with what was done ahead.
struct Wanted {
    release: Release,
    callable: Arc<dyn Callable>,
    /// What the connections of the installation's users lack for it.
    users: Users,
    /// What it says of the installation's configurations.
    fitting: Fitting,
}

/// The next generation of an installation, wanted.
struct Next {
    installation: Installation,
    newest: Option<Generation>,
    /// None: without a pin.
    release: Option<ReleaseRef>,
    actor: Actor,
    reason: String,
    reverts_to: Option<u64>,
    allowed: Allowed,
}

// === impl Releases ===

impl Releases {
    /// Puts the parts together. Routes are empty until [`Self::catch_up`].
    pub fn new(
        store: Store,
        loader: Arc<dyn Loader>,
        clock: Arc<dyn Clock>,
        executed: Arc<Executed>,
    ) -> Self {
        let table = Arc::default();
        let changing = Mutex::default();
        Self {
            shared: Arc::new(Shared {
                store,
                loader,
                clock,
                table,
                executed,
                changing,
                newest: Newest::default(),
            }),
        }
    }

    /// The table that calls are routed by.
    pub fn routes(&self) -> Arc<RouteTable> {
        Arc::clone(&self.shared.table)
    }

    pub(crate) fn store(&self) -> &Store {
        &self.shared.store
    }

    pub(crate) fn newest(&self) -> &Newest {
        &self.shared.newest
    }

    pub(crate) fn executed(&self) -> &Executed {
        &self.shared.executed
    }

    /// Held from the read that a change builds on until its routes are shown.
    pub(crate) async fn changing(&self) -> MutexGuard<'_, ()> {
        self.shared.changing.lock().await
    }

    /// As [`Self::refresh`], for whoever holds [`Self::changing`].
    pub(crate) async fn show_again(&self, installation: &Installation) -> Result<(), Fault> {
        self.shared.refresh(installation).await
    }

    /// The release that `selector` means.
    pub async fn find(&self, connector: &Connector, selector: &Selector) -> Result<Release, Fault> {
        find::release(&self.shared.store, connector, selector).await
    }

    /// Pins an installation.
    pub async fn pin(&self, request: PinRequest) -> Result<Moved, Fault> {
        let PinRequest { installation, release, actor, reason, seen_generation, allowed } = request;
        check_reason(&reason)?;
        let release = self.find(&installation.connector, &release).await?;
        self.shared.check_component(&release).await?;
        let wanted = self.shared.prepare(&installation, release).await?;
        let _changing = self.shared.changing.lock().await;
        let newest = self.shared.store.newest_generation(&installation).await?;
        check_seen(seen_generation, newest.as_ref())?;
        let release = Some(wanted.release.reference.clone());
        match newest {
            Some(newest) if newest.release == release => self.shared.stay(newest).await,
            newest => {
                let reverts_to = None;
                let next =
                    Next { installation, newest, release, actor, reason, reverts_to, allowed };
                self.shared.apply("pin", next, Some(wanted)).await
            }
        }
    }

    /// Goes back to what was so at an earlier generation, as a new one.
    pub async fn revert(&self, request: RevertRequest) -> Result<Moved, Fault> {
        let RevertRequest { installation, to_generation, actor, reason, seen_generation } = request;
        check_reason(&reason)?;
        let seen = self.shared.way_back(&installation, to_generation).await?;
        let mut wanted = self.shared.prepare_declared(&installation, seen.runs.as_ref()).await?;
        let _changing = self.shared.changing.lock().await;
        let way = self.shared.way_back(&installation, to_generation).await?;
        check_seen(seen_generation, Some(&way.newest))?;
        // The pin or the default moved meanwhile, and the way back with it.
        if way.runs != seen.runs {
            wanted = self.shared.prepare_declared(&installation, way.runs.as_ref()).await?;
        }
        if way.target.release == way.newest.release {
            return self.shared.stay(way.newest).await;
        }
        let next = Next {
            installation,
            newest: Some(way.newest),
            release: way.target.release,
            actor,
            reason,
            reverts_to: Some(way.target.number),
            // Marked and never refused: it ran here before, and whoever goes back at night has no time to ask for
            // scopes or keys.
            allowed: Allowed::ALL,
        };
        self.shared.apply("revert", next, wanted).await
    }

    /// Ends an installation's pin: its environment's default rules.
    pub async fn unpin(&self, request: UnpinRequest) -> Result<Moved, Fault> {
        let UnpinRequest { installation, actor, reason, seen_generation, allowed } = request;
        check_reason(&reason)?;
        let seen = self.shared.default_of(&installation).await?;
        let mut wanted = self.shared.prepare_declared(&installation, seen.as_ref()).await?;
        let _changing = self.shared.changing.lock().await;
        let newest = self.shared.store.newest_generation(&installation).await?;
        check_seen(seen_generation, newest.as_ref())?;
        let Some(newest) = newest else {
            let detail = format!("{installation} was never pinned");
            return Err(Fault::new(Code::NotPinned, detail));
        };
        if newest.release.is_none() {
            return self.shared.stay(newest).await;
        }
        let default = self.shared.default_of(&installation).await?;
        if default != seen {
            wanted = self.shared.prepare_declared(&installation, default.as_ref()).await?;
        }
        let (newest, release, reverts_to) = (Some(newest), None, None);
        let next = Next { installation, newest, release, actor, reason, reverts_to, allowed };
        self.shared.apply("unpin", next, wanted).await
    }

    /// The release that an installation's pin or environment default names.
    pub async fn declared(&self, installation: &Installation) -> Result<Release, Fault> {
        let declared = self.shared.declared(installation).await?;
        declared.ok_or_else(|| not_pinned(installation))
    }

    /// Shows calls what the store says of one installation, after something else than a pin changed.
    pub async fn refresh(&self, installation: &Installation) -> Result<(), Fault> {
        let _changing = self.shared.changing.lock().await;
        self.shared.refresh(installation).await
    }

    /// Reads everything and shows it to calls, at start. A release that cannot
    /// be loaded closes its own installations and no others. Changes wait until it is over.
    pub async fn catch_up(&self) -> Result<usize, Fault> {
        let _changing = self.shared.changing.lock().await;
        let defaults = self.shared.store.environment_defaults().await?;
        let states = self.shared.store.installations(&Filter::default()).await?;
        let routed = states.iter().filter_map(|state| declared(state, &defaults));
        let routed: BTreeMap<_, _> =
            routed.map(|release| (release.digest, release.clone())).collect();
        let mut loaded = load_all(&self.shared, routed.into_values().collect()).await;
        let mut entries = Entries::default();
        for state in states {
            let entry = self.shared.entry(&state, &defaults, &mut loaded).await?;
            entries.insert(state.installation, entry);
        }
        let count = entries.len();
        self.shared.table.replace(entries);
        Ok(count)
    }
}

impl fmt::Debug for Releases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Releases").finish_non_exhaustive()
    }
}

#[async_trait]
impl Granting for Releases {
    async fn granted_anew(&self, installation: &Installation) -> Result<(), Fault> {
        self.refresh(installation).await
    }
}

/// Releases loaded while many routes are built, or why one could not be.
type Loaded = HashMap<Digest, Result<Arc<dyn Callable>, Arc<Fault>>>;

// === impl Moved ===

impl Moved {
    /// For the audit.
    fn describe(&self) -> String {
        let mut text = describe_pin(self.generation.release.as_ref());
        if let Some(default) = &self.default {
            text += &format!(", by default {}", describe(default));
        }
        if let Some(taken) = self.generation.config {
            text += &format!(", {}", configs::describe(taken));
        }
        text
    }
}

// === impl Shared ===

impl Shared {
    /// A release that the store names, which therefore exists.
    async fn published(&self, reference: &ReleaseRef) -> Result<Release, Fault> {
        self.store.release(&reference.digest).await?.ok_or_else(|| {
            Fault::new(
                Code::ReleaseUnavailable,
                format!("{reference} is pinned and not in the store"),
            )
        })
    }

    /// Refuses a release whose component is not there as it was published. Compiled code that is still kept would hide
    /// that until it goes. Not asked for on the way back: what runs at night is better than what lasts.
    async fn check_component(&self, release: &Release) -> Result<(), Fault> {
        self.store.blobs().component(&release.reference.digest).await.map(drop)
    }

    /// What an installation runs as long as it has no pin.
    async fn default_of(&self, installation: &Installation) -> Result<Option<ReleaseRef>, Fault> {
        let Installation { environment, connector, .. } = installation;
        let default = self.store.environment_default(environment, connector).await?;
        Ok(default.map(|default| default.release))
    }

    /// The release that an installation is to run, if anything says one.
    async fn declared(&self, installation: &Installation) -> Result<Option<Release>, Fault> {
        let reference = match self.store.pin(installation).await? {
            Some(pin) => Some(pin.release),
            None => self.default_of(installation).await?,
        };
        match reference {
            Some(reference) => self.published(&reference).await.map(Some),
            None => Ok(None),
        }
    }

    /// Does what a pin takes long for, before other changes have to wait: compiling may take seconds, and there may
    /// be thousands of users. One who connects after this could as well have done so after the pin.
    async fn prepare(
        &self,
        installation: &Installation,
        release: Release,
    ) -> Result<Wanted, Fault> {
        let callable = self.load(&release).await?;
        let users = Users::of(&self.store, &release.descriptor, installation).await?;
        let mut fitting = Fitting::new(Some(&release));
        let config = self.store.config(installation).await?;
        // What is refused is refused later, if it is so still.
        drop(self.to_take(config.as_ref(), &mut fitting).await);
        Ok(Wanted { release, callable, users, fitting })
    }

    /// The same for a release that the store names; none for none.
    async fn prepare_declared(
        &self,
        installation: &Installation,
        reference: Option<&ReleaseRef>,
    ) -> Result<Option<Wanted>, Fault> {
        let Some(reference) = reference else { return Ok(None) };
        let release = self.published(reference).await?;
        self.prepare(installation, release).await.map(Some)
    }

    /// Holds what the release needs against what the connections of the tenant and its users are. A change that goes
    /// ahead all the same says so in its reason, which is given back.
    async fn hold(
        &self,
        installation: &Installation,
        wanted: &Wanted,
        reason: String,
        allowed: Allowed,
    ) -> Result<String, Fault> {
        let Wanted { release, users, .. } = wanted;
        let state = self.store.installation(installation).await?;
        let own = state.map(|state| state.connections).unwrap_or_default();
        lacking::settle(release, &own, users, reason, allowed)
    }

    async fn load(&self, release: &Release) -> Result<Arc<dyn Callable>, Fault> {
        self.loader.load(&release.reference, &Arc::new(release.descriptor.clone())).await
    }

    /// Nothing has to change. Calls are shown what is so: it may not have been loaded before.
    async fn stay(&self, generation: Generation) -> Result<Moved, Fault> {
        self.refresh(&generation.installation).await?;
        let default = match generation.release {
            Some(_) => None,
            None => self.default_of(&generation.installation).await?,
        };
        Ok(Moved { generation, default })
    }

    /// Makes a change durable and shows it. `wanted` is what runs then.
    async fn apply(
        &self,
        action: &str,
        next: Next,
        mut wanted: Option<Wanted>,
    ) -> Result<Moved, Fault> {
        let Next { installation, newest, release, actor, mut reason, reverts_to, allowed } = next;
        let number = newest.as_ref().map_or(0, |newest| newest.number) + 1;
        let config = self.store.config(&installation).await?;
        if let Some(wanted) = &wanted {
            reason = self.hold(&installation, wanted, reason, allowed).await?;
        }
        let mut taken = None;
        if let (Some(wanted), Some(config)) = (&mut wanted, &config) {
            let by = self.by(&actor, Some(format!("{action} {number}")));
            let content = self.to_take(Some(config), &mut wanted.fitting).await?;
            taken = content.map(|content| content.follow(&config.about, by, true));
        }
        let default = wanted.as_ref().map(|wanted| wanted.release.reference.clone());
        let default = default.filter(|_| release.is_none());
        let generation = Generation {
            installation,
            number,
            release,
            actor,
            reason,
            at: self.clock.now(),
            reverts_to,
            config: taken.as_ref().map(configs::taken),
        };
        let moved = Moved { generation, default };
        let entry = AuditEntry {
            actor: moved.generation.actor.clone(),
            action: action.to_owned(),
            object: moved.generation.installation.to_string(),
            reason: Some(moved.generation.reason.clone()),
            before: newest.as_ref().map(|newest| describe_pin(newest.release.as_ref())),
            after: Some(moved.describe()),
        };
        let mut tx = self.store.tx().pin(moved.generation.clone());
        if let Some(taken) = taken {
            tx = tx.set_config(taken);
        }
        tx.commit(entry).await?;
        let installation = &moved.generation.installation;
        match wanted {
            Some(wanted) => {
                let state = self.state(installation).await?;
                self.table.set(installation.clone(), self.route(&state, wanted.callable));
            }
            None => self.refresh(installation).await?,
        }
        Ok(moved)
    }

    async fn state(&self, installation: &Installation) -> Result<InstallationState, Fault> {
        self.store.installation(installation).await?.ok_or_else(|| {
            Fault::new(Code::UnknownInstallation, format!("{installation} is not in the store"))
        })
    }

    async fn refresh(&self, installation: &Installation) -> Result<(), Fault> {
        match self.store.installation(installation).await? {
            Some(state) => self.show(state).await,
            None => {
                self.table.forget(installation);
                Ok(())
            }
        }
    }

    async fn show(&self, state: InstallationState) -> Result<(), Fault> {
        let defaults = self.store.environment_defaults().await?;
        let entry = self.entry(&state, &defaults, &mut Loaded::default()).await?;
        self.table.set(state.installation, entry);
        Ok(())
    }

    async fn entry(
        &self,
        state: &InstallationState,
        defaults: &[EnvironmentDefault],
        loaded: &mut Loaded,
    ) -> Result<Entry, Fault> {
        let Some(reference) = declared(state, defaults) else {
            return Ok(Entry::Closed(Arc::new(not_pinned(&state.installation))));
        };
        let outcome = match loaded.entry(reference.digest) {
            MapEntry::Occupied(known) => known.into_mut(),
            MapEntry::Vacant(unknown) => {
                unknown.insert(self.load_published(reference).await.map_err(Arc::new))
            }
        };
        Ok(match outcome {
            Ok(callable) => self.route(state, Arc::clone(callable)),
            Err(fault) => Entry::Closed(Arc::clone(fault)),
        })
    }

    async fn load_published(&self, reference: &ReleaseRef) -> Result<Arc<dyn Callable>, Fault> {
        let release = self.published(reference).await?;
        self.load(&release).await.inspect_err(|fault| {
            tracing::error!(release = %reference, error = fault.chain(), "release not loaded");
        })
    }

    /// A route to `callable` with what the operator set.
    fn route(&self, state: &InstallationState, callable: Arc<dyn Callable>) -> Entry {
        let connections = &state.connections;
        let base_url = connections.iter().find_map(|connection| connection.base_url.as_deref());
        let config = state.config.as_ref();
        let settings = Settings {
            config: config.map_or_else(|| "{}".to_owned(), |config| config.json.clone()),
            base_url: base_url.map(Arc::from),
            connections: connections.iter().map(granted).collect(),
        };
        Entry::Route(Arc::new(Route {
            installation: state.installation.clone(),
            order: self.table.next_order(),
            connector: callable,
            settings: Arc::new(settings),
        }))
    }
}

/// Loads releases side by side, as many at once as there are processors: some may have to be compiled. One that does not
/// end in order is left out, and loaded when its first route is made.
async fn load_all(shared: &Arc<Shared>, releases: Vec<ReleaseRef>) -> Loaded {
    let count = releases.len();
    shared.table.wanted(count);
    let turns =
        Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)));
    let mut loads = JoinSet::new();
    for release in releases {
        let (shared, turns) = (Arc::clone(shared), Arc::clone(&turns));
        loads.spawn(async move {
            let _turn = turns.acquire_owned().await;
            let outcome = shared.load_published(&release).await.map_err(Arc::new);
            (release.digest, outcome)
        });
    }
    let (mut loaded, mut told) = (Loaded::default(), Instant::now());
    while let Some(done) = loads.join_next().await {
        let number = shared.table.loaded();
        if told.elapsed() >= PROGRESS_PAUSE {
            tracing::info!(loaded = number, of = count, "loading releases");
            told = Instant::now();
        }
        match done {
            Ok((digest, outcome)) => {
                loaded.insert(digest, outcome);
            }
            Err(error) => tracing::error!(%error, "loading a release ended by a panic"),
        }
    }
    loaded
}

/// What an installation should run: its pin, or else its environment's default.
pub(crate) fn declared<'a>(
    state: &'a InstallationState,
    defaults: &'a [EnvironmentDefault],
) -> Option<&'a ReleaseRef> {
    let default = || defaults.iter().find(|default| governs(default, &state.installation));
    let pinned = state.pin.as_ref().map(|pin| &pin.release);
    pinned.or_else(|| default().map(|default| &default.release))
}

/// What calls may know of a connection.
fn granted(of: &Connection) -> (Slot, Granted) {
    let scopes = of.scopes.as_deref().map(Arc::from);
    let facts = Arc::new(of.facts.clone());
    (of.slot.clone(), Granted { kind: of.kind.as_str().into(), scopes, facts })
}

fn describe(release: &ReleaseRef) -> String {
    format!("{release} {}", release.digest)
}

fn not_pinned(installation: &Installation) -> Fault {
    let detail = format!("{installation} has no pin, and its environment no default");
    Fault::new(Code::NotPinned, detail)
}

fn describe_pin(release: Option<&ReleaseRef>) -> String {
    release.map_or_else(|| "no pin".to_owned(), describe)
}

fn check_seen(seen: Option<u64>, newest: Option<&Generation>) -> Result<(), Fault> {
    let now = newest.map_or(0, |newest| newest.number);
    match seen {
        Some(seen) if seen != now => Err(Fault::new(
            Code::Conflict,
            format!("the pin is at generation {now}, not {seen}: somebody else changed it"),
        )),
        _ => Ok(()),
    }
}

pub(crate) fn check_reason(reason: &str) -> Result<(), Fault> {
    if reason.trim().is_empty() {
        return Err(Fault::new(Code::InvalidRequest, "`reason` must say why"));
    }
    if reason.len() > REASON_BYTES_MAX {
        let detail = format!("`reason` is over {REASON_BYTES_MAX} bytes");
        return Err(Fault::new(Code::InvalidRequest, detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
