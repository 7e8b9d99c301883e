//! Changing what installations run: pin, revert, environment default, configuration.
//!
//! Every change takes the same path: find the release, load it and hold the configuration against it
//! (nothing has changed yet), commit with an audit entry, then show the new route to calls.

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::sync::Arc;

use async_trait::async_trait;
use keyway_core::ids::{Actor, Connector, Environment, Installation, Slot};
use keyway_core::limits::{CONFIG_BYTES_MAX, REASON_BYTES_MAX};
use keyway_core::ports::{
    Clock, Connector as Callable, Granted, Granting, Loader, Route, Settings,
};
use keyway_core::release::{Release, ReleaseRef};
use keyway_core::{Code, Digest, Fault};
use keyway_store::Store;
use keyway_store::model::{
    Config, Connection, Entry as AuditEntry, EnvironmentDefault, Filter, InstallationState, Pin,
};
use tokio::sync::Mutex;

use crate::executed::Executed;
use crate::find::{self, Selector};
use crate::matrix::governs;
use crate::routes::{Entries, Entry, RouteTable};
use crate::scopes::{self, Naming, UserScopes};

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
}

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
    /// Also if the release needs scopes that a connection, the tenant's own or a user's, was not granted. The reason
    /// then says so.
    pub allow_missing_scopes: bool,
}

/// A way back, wanted.
#[derive(Clone, Debug)]
pub struct RevertRequest {
    /// For whom.
    pub installation: Installation,
    /// Back to the pin of this generation. None: to the one before the newest.
    pub to_generation: Option<u64>,
    /// Who says so.
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// As in [`PinRequest`].
    pub seen_generation: Option<u64>,
}

/// An environment default, wanted.
#[derive(Clone, Debug)]
pub struct DefaultRequest {
    /// Where.
    pub environment: Environment,
    /// Of what.
    pub connector: Connector,
    /// What to run.
    pub release: Selector,
    /// Who says so.
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// As in [`PinRequest`], for every tenant that the default is for.
    pub allow_missing_scopes: bool,
}

/// A release on its way to being an installation's, with what was done ahead.
struct Wanted {
    release: Release,
    callable: Arc<dyn Callable>,
    /// What the connections of the installation's users lack for it.
    users: Vec<UserScopes>,
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
        Self { shared: Arc::new(Shared { store, loader, clock, table, executed, changing }) }
    }

    /// The table that calls are routed by.
    pub fn routes(&self) -> Arc<RouteTable> {
        Arc::clone(&self.shared.table)
    }

    pub(crate) fn store(&self) -> &Store {
        &self.shared.store
    }

    pub(crate) fn executed(&self) -> &Executed {
        &self.shared.executed
    }

    /// The release that `selector` means.
    pub async fn find(&self, connector: &Connector, selector: &Selector) -> Result<Release, Fault> {
        find::release(&self.shared.store, connector, selector).await
    }

    /// Pins an installation.
    pub async fn pin(&self, request: PinRequest) -> Result<Pin, Fault> {
        let PinRequest { installation, release, actor, reason, seen_generation, .. } = request;
        check_reason(&reason)?;
        let release = self.find(&installation.connector, &release).await?;
        let wanted = self.shared.prepare(&installation, release).await?;
        let _changing = self.shared.changing.lock().await;
        let before = self.shared.store.pin(&installation).await?;
        check_seen(seen_generation, before.as_ref())?;
        let allowed = request.allow_missing_scopes;
        let reason = self.shared.hold_scopes(&installation, &wanted, reason, allowed).await?;
        let pin = Pin {
            generation: before.as_ref().map_or(0, |pin| pin.generation) + 1,
            release: wanted.release.reference.clone(),
            actor,
            reason,
            at: self.shared.clock.now(),
            reverts_to: None,
            installation,
        };
        self.shared.apply("pin", pin, before, wanted).await
    }

    /// Goes back to an earlier pin, as a new generation.
    pub async fn revert(&self, request: RevertRequest) -> Result<Pin, Fault> {
        let RevertRequest { installation, to_generation, actor, reason, seen_generation } = request;
        check_reason(&reason)?;
        let (seen, target) = self.shared.way_back(&installation, to_generation).await?;
        let release = self.shared.published(&target.release).await?;
        let mut wanted = self.shared.prepare(&installation, release).await?;
        let _changing = self.shared.changing.lock().await;
        let (newest, target) = self.shared.way_back(&installation, to_generation).await?;
        // The pin moved meanwhile, and the way back with it.
        if newest.generation != seen.generation {
            let release = self.shared.published(&target.release).await?;
            wanted = self.shared.prepare(&installation, release).await?;
        }
        check_seen(seen_generation, Some(&newest))?;
        // Marked and never refused: it ran here before, and whoever goes back at night has no time to ask for scopes.
        let reason = self.shared.hold_scopes(&installation, &wanted, reason, true).await?;
        let pin = Pin {
            generation: newest.generation + 1,
            release: target.release,
            actor,
            reason,
            at: self.shared.clock.now(),
            reverts_to: Some(target.generation),
            installation,
        };
        self.shared.apply("revert", pin, Some(newest), wanted).await
    }

    /// Sets what installations without a pin run.
    pub async fn set_default(&self, request: DefaultRequest) -> Result<EnvironmentDefault, Fault> {
        let DefaultRequest { environment, connector, release, actor, reason, .. } = request;
        check_reason(&reason)?;
        let release = self.find(&connector, &release).await?;
        self.shared.load(&release).await?;
        let users = self.shared.users_without_pin(&environment, &release).await?;
        let _changing = self.shared.changing.lock().await;
        let governed = self.shared.without_pin(&environment, &connector).await?;
        for config in governed.iter().filter_map(|state| state.config.as_ref()) {
            check_config(&release, config)?;
        }
        let missing = scopes::describe_all(&release.descriptor, &governed, &users);
        let reason = settle_scopes(&release, missing, reason, request.allow_missing_scopes)?;
        let before = self.shared.store.environment_default(&environment, &connector).await?;
        let default = EnvironmentDefault {
            generation: before.as_ref().map_or(0, |default| default.generation) + 1,
            release: release.reference,
            actor,
            reason,
            at: self.shared.clock.now(),
            environment,
        };
        self.shared.commit_default(&default, before.as_ref()).await?;
        for state in governed {
            self.shared.show(state).await?;
        }
        Ok(default)
    }

    /// Sets an installation's configuration, held against the schema of what it runs. `json` is kept; `value` is the same
    /// to look at, and may be less exact.
    pub async fn set_config(
        &self,
        installation: Installation,
        json: &str,
        value: &serde_json::Value,
        actor: Actor,
    ) -> Result<Config, Fault> {
        let json = json.to_owned();
        if json.len() > CONFIG_BYTES_MAX {
            let detail = format!("configuration is over {CONFIG_BYTES_MAX} bytes");
            return Err(Fault::new(Code::BodyTooLarge, detail));
        }
        let _changing = self.shared.changing.lock().await;
        let declared = self.declared(&installation).await?;
        keyway_artifacts::schema::check_config(&declared.descriptor, value)?;
        let before = self.shared.store.config(&installation).await?;
        let config = Config {
            generation: before.as_ref().map_or(0, |config| config.generation) + 1,
            digest: Digest::of(json.as_bytes()),
            json,
            installation,
        };
        let tx = self.shared.store.tx().set_config(config.clone());
        tx.commit(AuditEntry {
            actor,
            action: "config.set".to_owned(),
            object: config.installation.to_string(),
            reason: None,
            before: before.map(|config| config.digest.to_string()),
            after: Some(config.digest.to_string()),
        })
        .await?;
        self.shared.refresh(&config.installation).await?;
        Ok(config)
    }

    /// The release that an installation's pin or environment default names.
    pub async fn declared(&self, installation: &Installation) -> Result<Release, Fault> {
        let pin = self.shared.store.pin(installation).await?;
        let reference = match pin {
            Some(pin) => pin.release,
            None => {
                let Installation { environment, connector, .. } = installation;
                let default = self.shared.store.environment_default(environment, connector).await?;
                default.ok_or_else(|| not_pinned(installation))?.release
            }
        };
        self.shared.published(&reference).await
    }

    /// Shows calls what the store says of one installation, after something else than a pin changed.
    pub async fn refresh(&self, installation: &Installation) -> Result<(), Fault> {
        let _changing = self.shared.changing.lock().await;
        self.shared.refresh(installation).await
    }

    /// Reads everything and shows it to calls, at start. A release that cannot
    /// be loaded closes its own installations and no others.
    pub async fn catch_up(&self) -> Result<usize, Fault> {
        let _changing = self.shared.changing.lock().await;
        let defaults = self.shared.store.environment_defaults().await?;
        let states = self.shared.store.installations(&Filter::default()).await?;
        let mut loaded = Loaded::default();
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

#[async_trait]
impl Granting for Releases {
    async fn granted_anew(&self, installation: &Installation) -> Result<(), Fault> {
        self.refresh(installation).await
    }
}

/// Releases loaded while many routes are built, or why one could not be.
type Loaded = HashMap<Digest, Result<Arc<dyn Callable>, Arc<Fault>>>;

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

    /// The newest pin of an installation, and the one to go back to.
    async fn way_back(
        &self,
        installation: &Installation,
        to_generation: Option<u64>,
    ) -> Result<(Pin, Pin), Fault> {
        let Some(newest) = self.store.pin(installation).await? else {
            let detail = format!("{installation} was never pinned");
            return Err(Fault::new(Code::NoHistory, detail));
        };
        // One row, not the history: that may be long, and every other change waits for this one.
        let target = match to_generation.unwrap_or(newest.generation.saturating_sub(1)) {
            earlier if earlier < newest.generation => {
                self.store.pin_at(installation, earlier).await?
            }
            _ => None,
        };
        match target {
            Some(target) => Ok((newest, target)),
            None => {
                let which = to_generation.map_or("before this one".to_owned(), |g| format!("{g}"));
                let detail = format!("{installation} has no pin {which} to go back to");
                Err(Fault::new(Code::NoHistory, detail))
            }
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
        let users = scopes::compare_users(&self.store, &release.descriptor, installation).await?;
        Ok(Wanted { release, callable, users })
    }

    /// Holds what the release needs against what the connections of the tenant and its users were granted. A pin
    /// that goes ahead all the same says so in its reason, which is given back.
    async fn hold_scopes(
        &self,
        installation: &Installation,
        wanted: &Wanted,
        reason: String,
        allowed: bool,
    ) -> Result<String, Fault> {
        let Wanted { release, users, .. } = wanted;
        let state = self.store.installation(installation).await?;
        let own = state.map(|state| state.connections).unwrap_or_default();
        let own = scopes::compare(&release.descriptor, &own);
        let names = if allowed { Naming::Nobody } else { Naming::Few };
        settle_scopes(release, scopes::describe(&own, users, names), reason, allowed)
    }

    /// Installations of a connector that run its default.
    async fn without_pin(
        &self,
        environment: &Environment,
        connector: &Connector,
    ) -> Result<Vec<InstallationState>, Fault> {
        let filter = Filter {
            environment: Some(environment.clone()),
            connector: Some(connector.clone()),
            tenant: None,
        };
        let states = self.store.installations(&filter).await?;
        Ok(states.into_iter().filter(|state| state.pin.is_none()).collect())
    }

    /// What users lack where the release would be the default; before other changes have to wait, as in
    /// [`Self::prepare`].
    async fn users_without_pin(
        &self,
        environment: &Environment,
        release: &Release,
    ) -> Result<HashMap<Installation, Vec<UserScopes>>, Fault> {
        let mut users = HashMap::new();
        for state in self.without_pin(environment, &release.reference.connector).await? {
            let of = state.installation;
            let lacking = scopes::compare_users(&self.store, &release.descriptor, &of).await?;
            if !lacking.is_empty() {
                users.insert(of, lacking);
            }
        }
        Ok(users)
    }

    async fn load(&self, release: &Release) -> Result<Arc<dyn Callable>, Fault> {
        self.loader.load(&release.reference, &Arc::new(release.descriptor.clone())).await
    }

    async fn apply(
        &self,
        action: &str,
        pin: Pin,
        before: Option<Pin>,
        wanted: Wanted,
    ) -> Result<Pin, Fault> {
        if let Some(config) = self.store.config(&pin.installation).await? {
            check_config(&wanted.release, &config)?;
        }
        let entry = AuditEntry {
            actor: pin.actor.clone(),
            action: action.to_owned(),
            object: pin.installation.to_string(),
            reason: Some(pin.reason.clone()),
            before: before.map(|pin| describe(&pin.release)),
            after: Some(describe(&pin.release)),
        };
        let tx = self.store.tx().pin(pin.clone());
        tx.commit(entry).await?;
        let state = self.state(&pin.installation).await?;
        self.table.set(pin.installation.clone(), self.route(&state, wanted.callable));
        Ok(pin)
    }

    async fn commit_default(
        &self,
        default: &EnvironmentDefault,
        before: Option<&EnvironmentDefault>,
    ) -> Result<(), Fault> {
        let tx = self.store.tx().set_default(default.clone());
        tx.commit(AuditEntry {
            actor: default.actor.clone(),
            action: "default.set".to_owned(),
            object: format!("{}/{}", default.environment, default.release.connector),
            reason: Some(default.reason.clone()),
            before: before.map(|default| describe(&default.release)),
            after: Some(describe(&default.release)),
        })
        .await?;
        Ok(())
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
        let default = defaults.iter().find(|default| governs(default, &state.installation));
        let declared = match (&state.pin, default) {
            (Some(pin), _) => Some(&pin.release),
            (None, Some(default)) => Some(&default.release),
            (None, None) => None,
        };
        let Some(reference) = declared else {
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

/// The reason of a change whose release lacks these scopes, or that it may not be.
fn settle_scopes(
    release: &Release,
    missing: Option<String>,
    reason: String,
    allowed: bool,
) -> Result<String, Fault> {
    match missing {
        None => Ok(reason),
        Some(missing) if allowed => Ok(scopes::marked(&reason, &missing)),
        Some(missing) => {
            let detail = format!("{} needs what was not granted: {missing}", release.reference);
            Err(Fault::new(Code::ScopesMissing, detail))
        }
    }
}

/// What calls may know of a connection.
fn granted(of: &Connection) -> (Slot, Granted) {
    let scopes = of.scopes.as_deref().map(Arc::from);
    (of.slot.clone(), Granted { kind: of.kind.as_str().into(), scopes })
}

/// Holds a configuration that was set for another release against this one.
fn check_config(release: &Release, config: &Config) -> Result<(), Fault> {
    let value = serde_json::from_str(&config.json)
        .map_err(|error| Fault::new(Code::Internal, "stored configuration").caused_by(error))?;
    keyway_artifacts::schema::check_config(&release.descriptor, &value).map_err(|mut fault| {
        fault.detail = format!("{}: {}", config.installation, fault.detail);
        fault
    })
}

fn describe(release: &ReleaseRef) -> String {
    format!("{release} {}", release.digest)
}

fn not_pinned(installation: &Installation) -> Fault {
    let detail = format!("{installation} has no pin, and its environment no default");
    Fault::new(Code::NotPinned, detail)
}

fn check_seen(seen: Option<u64>, newest: Option<&Pin>) -> Result<(), Fault> {
    let now = newest.map_or(0, |pin| pin.generation);
    match seen {
        Some(seen) if seen != now => Err(Fault::new(
            Code::Conflict,
            format!("the pin is at generation {now}, not {seen}: somebody else changed it"),
        )),
        _ => Ok(()),
    }
}

fn check_reason(reason: &str) -> Result<(), Fault> {
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
