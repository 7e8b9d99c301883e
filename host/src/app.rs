//! The one wiring function: every component, put together in readable order.
//!
//! Nothing is decided here. What is durable is opened first and verified before anything can answer.

mod identity;
mod keys;
mod reads;
mod upkeep;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use keyway_api::{Api, Deps};
use keyway_artifacts::Artifacts;
use keyway_artifacts::lanes::Lanes;
use keyway_artifacts::schema::InputSchemas;
use keyway_broker::{Broker, Dns, Wire};
use keyway_core::ids::Actor;
use keyway_core::ports::{Admission, Dispatch as DispatchPort, Routes};
use keyway_core::ports::{Clock, Components, Credentials, EgressPolicy, ExchangeLog, Outbound};
use keyway_dispatch::{Dispatch, Ways, Words};
use keyway_exchanges::{Calls, Exchanges};
use keyway_releases::{Releases, executed::Executed};
use keyway_runtime::Runtime;
use keyway_store::Store;
use keyway_vault::model::Role;
use keyway_vault::tokens::Grant;
use keyway_vault::{KeyService, Keys, Sealer, Tokens, Vault, private_file};
use prometheus_client::registry::Registry;
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::app::reads::{HostHealth, StoreReads};
use crate::app::upkeep::{Underway, Upkeep};
use crate::clock::SystemClock;
use crate::commands::admit;
use crate::config::Config;

/// File in the data directory that holds the first admin token.
const TOKEN_FILE: &str = "admin.token";

/// Name of the first admin token, and the actor of what the host does by itself.
const FIRST_TOKEN: &str = "admin";

/// How often the store is asked whether it still takes changes.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// A host, wired and ready to serve.
pub(crate) struct App {
    api: Api,
    tokens: Tokens,
    store: Store,
    releases: Releases,
    logs: Logs,
    upkeep: Upkeep,
}

/// What the host did for calls.
struct Logs {
    exchanges: Exchanges,
    said: Calls,
}

/// A host that serves.
pub(crate) struct Serving {
    store: Store,
    releases: Releases,
    logs: Logs,
    upkeep: Underway,
    drain: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

// === impl App ===

impl App {
    /// Opens what is durable in `data` and puts everything together.
    pub(crate) async fn build(data: &Path, anew: bool, config: Config) -> anyhow::Result<Self> {
        let (api, calls, said, clock) =
            (config.api(), config.dispatch(), config.call_log(), clock());
        let (folders, store, nameless) = open(data, anew, &clock, config.store).await?;
        let tokens = Tokens::new(store.clone(), Arc::clone(&clock));

        // The way out, the keys and credentials, and what runs guests.
        let logs = Logs::open(&folders, &clock, said, config.exchanges)?;
        let log: Arc<dyn ExchangeLog> = Arc::new(logs.exchanges.clone());
        let wire = Wire::new(config.egress, Arc::new(Dns::system()?), Some(log), clock.clone())?;
        let outbound: Arc<dyn Outbound> = Arc::new(wire.clone());
        let service = keys::service(config.keys, &store, &folders.keys, &outbound).await?;
        let sealing = start_keys(&store, service, &clock).await?;
        nameless.name()?;
        let vault = vault(&store, &sealing, &clock, outbound);
        vault.check_all().await.context("stored credentials")?;
        let credentials: Arc<dyn Credentials> = Arc::new(vault.clone());
        let broker = Broker::new(&wire, credentials);
        let components: Arc<dyn Components> = Arc::new(store.blobs().clone());
        let runtime = Runtime::new(runtime_config(config.runtime, &folders)?, components)?;

        // What decides which release runs, and what runs calls.
        let admission: Arc<dyn Admission> = Arc::new(runtime.clone());
        let policy: Arc<dyn EgressPolicy> = Arc::new(wire.clone());
        let artifacts =
            Artifacts::new(store.clone(), admission, Arc::clone(&policy), Arc::clone(&clock));
        let executed = Arc::new(Executed::new(Arc::clone(&clock)));
        let loader = Arc::new(runtime.clone());
        let releases = Releases::new(store.clone(), loader, clock.clone(), executed.clone());
        let routes: Arc<dyn Routes> = releases.routes();
        vault.tell(Arc::new(releases.clone()));
        let upkeep = Upkeep::new(&vault, &routes, config.keep_alive, config.server.drain_time)
            .checking(config.releases.check_interval);
        let ways = Ways { egress: Arc::new(broker.clone()), proxy: Arc::new(broker.clone()) };
        let (words, lanes) = (logs.words(), Lanes::default());
        let inputs = Arc::new(InputSchemas::new(lanes.clone()));
        let dispatch = Dispatch::new(calls, routes, ways, words, inputs, executed, clock.clone());

        let (metrics, mut registry) = (keyway_api::Metrics::default(), Registry::default());
        store.register(&mut registry);
        wire.metrics().register(&mut registry);
        logs.register(&mut registry);
        broker.register(&mut registry);
        vault.metrics().register(&mut registry);
        runtime.metrics().register(&mut registry);
        dispatch.metrics().register(&mut registry);
        releases.register(&mut registry);
        metrics.register(&mut registry);

        tracing::info!(allocation = ?runtime.allocation(), "host is built");
        let deps = Deps {
            artifacts,
            releases: releases.clone(),
            vault,
            keys: sealing,
            tokens: tokens.clone(),
            dispatch: Arc::new(dispatch) as Arc<dyn DispatchPort>,
            policy,
            reads: Arc::new(StoreReads(store.clone())),
            exchanges: logs.exchanges.clone(),
            calls: logs.said.clone(),
            lanes,
            quotas: Arc::new(broker),
            health: Arc::new(HostHealth { store: store.clone(), releases: releases.clone() }),
            clock,
            metrics,
            registry: Arc::new(registry),
        };
        Ok(Self { api: Api::new(api, deps), tokens, store, releases, logs, upkeep })
    }

    /// Makes the first admin token, if there is no token at all. It is in its file before it is valid, so
    /// a crash in between locks nobody out.
    pub(crate) async fn issue_first_token(&self, data: &Path) -> anyhow::Result<Option<PathBuf>> {
        if !self.tokens.list().await?.is_empty() {
            return Ok(None);
        }
        let name: Actor = FIRST_TOKEN.parse()?;
        let issued = self.tokens.draw(Grant {
            name: name.clone(),
            role: Role::Admin,
            environments: None,
            publisher: None,
            bounds: Default::default(),
            expires_at: None,
        })?;
        let path = data.join(TOKEN_FILE);
        if let Some(aside) = identity::set_aside(&path)? {
            tracing::warn!(path = %aside.display(), "a token file of an earlier store was set aside");
        }
        let line = format!("{}\n", issued.secret.expose_secret());
        private_file::write(&path, line.as_bytes())?;
        self.tokens.keep(&issued, &name).await?;
        Ok(Some(path))
    }

    /// Begins to serve: whoever asks how the host is has an answer from here on.
    pub(crate) fn serve(self, listener: TcpListener) -> Serving {
        let Self { api, store, releases, logs, upkeep, tokens: _ } = self;
        releases.routes().begin_start();
        let (drain, drained) = oneshot::channel();
        let unfinished = api.clone();
        tokio::spawn(async move {
            if let Err(fault) = unfinished.finish_endings().await {
                tracing::error!(
                    problem = fault.chain(),
                    "deletion of a tenant not finished; say it again"
                );
            }
        });
        let server = tokio::spawn(async move {
            // A dropped sender means the same: stop.
            api.serve(listener, async { drop(drained.await) }).await;
        });
        Serving { store, releases, logs, upkeep: upkeep.begin(), drain, server }
    }
}

// === impl Serving ===

impl Serving {
    /// Loads everything that is routed; then the host is ready.
    pub(crate) async fn catch_up(&mut self) -> anyhow::Result<()> {
        let installations = self.releases.catch_up().await.context("routes")?;
        tracing::info!(installations, "releases are loaded");
        self.upkeep.care_for(self.releases.clone());
        Ok(())
    }

    /// Ends when the store will take no more changes. It does not mend by itself: what it has
    /// acknowledged is safe, and only a new process can open and verify it again.
    pub(crate) async fn store_failed(&self) -> keyway_store::Error {
        loop {
            if let Err(error) = self.store.healthy() {
                return error;
            }
            tokio::time::sleep(HEALTH_INTERVAL).await;
        }
    }

    /// Takes no new requests and waits for those under way.
    pub(crate) async fn stop(self) {
        drop(self.drain);
        self.upkeep.stop();
        if let Err(error) = self.server.await {
            tracing::error!(%error, "server ended by a panic");
        }
        self.upkeep.ended().await;
        self.logs.flush().await;
    }
}

// === impl Logs ===

impl Logs {
    fn open(
        folders: &Folders,
        clock: &Arc<dyn Clock>,
        said: keyway_exchanges::Options,
        exchanges: keyway_exchanges::Options,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            exchanges: Exchanges::open(&folders.exchanges, Arc::clone(clock), exchanges)?,
            said: Calls::open(&folders.calls, Arc::clone(clock), said)?,
        })
    }

    /// Where what guests say goes.
    fn words(&self) -> Words {
        Words { log: Arc::new(self.said.clone()), redact: Arc::new(keyway_broker::Words) }
    }

    fn register(&self, registry: &mut Registry) {
        self.exchanges.metrics().register(registry);
        self.said.metrics().register(registry);
    }

    async fn flush(&self) {
        self.exchanges.flush().await;
        self.said.flush().await;
    }
}

/// Where things are in the data directory.
struct Folders {
    data: PathBuf,
    store: PathBuf,
    compiled: PathBuf,
    keys: PathBuf,
    exchanges: PathBuf,
    calls: PathBuf,
}

impl Folders {
    fn create(data: &Path) -> anyhow::Result<Self> {
        let folders = Self {
            data: data.to_owned(),
            store: data.join("store"),
            compiled: data.join("compiled"),
            keys: data.join("keys"),
            exchanges: data.join("exchanges"),
            calls: data.join("calls"),
        };
        let Self { store, compiled, keys: sealing, exchanges, calls, .. } = &folders;
        for folder in [data, store, compiled, sealing, exchanges, calls] {
            keys::create_private_folder(folder)
                .with_context(|| format!("data folder {}", folder.display()))?;
        }
        Ok(folders)
    }

    /// Where components are.
    fn blobs(&self) -> PathBuf {
        self.store.join("blobs")
    }

    /// What names the store, in each part.
    fn identities(&self) -> [PathBuf; 3] {
        [&self.data, &self.keys, &self.blobs()].map(|part| part.join(identity::IDENTITY))
    }
}

/// Opens what is durable, which is verified before anything can answer.
async fn open(
    data: &Path,
    anew: bool,
    clock: &Arc<dyn Clock>,
    options: keyway_store::Options,
) -> anyhow::Result<(Folders, Store, identity::Nameless)> {
    identity::refuse_without_store(data, anew)?;
    let folders = Folders::create(data)?;
    let store = Store::open(&folders.store, Arc::clone(clock), options).await?;
    let nameless = identity::settle(&folders, &store, anew).await?;
    Ok((folders, store, nameless))
}

/// The keys, once every one of them is known to be there.
async fn start_keys(
    store: &Store,
    service: Arc<dyn KeyService>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Keys> {
    let keys = Keys::new(store.clone(), service, Arc::clone(clock));
    keys.start(&FIRST_TOKEN.parse()?).await.context("keys")?;
    Ok(keys)
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

fn vault(store: &Store, keys: &Keys, clock: &Arc<dyn Clock>, outbound: Arc<dyn Outbound>) -> Vault {
    Vault::new(keyway_vault::Parts {
        store: store.clone(),
        sealer: Sealer::new(keys.clone()),
        clock: Arc::clone(clock),
        outbound,
        // The store is locked: whoever held a lease before is dead.
        owner: "this-host".to_owned(),
        listener: None,
    })
}

fn runtime_config(
    runtime: crate::config::RuntimeConfig,
    folders: &Folders,
) -> anyhow::Result<keyway_runtime::Config> {
    let cache = cap_std::fs::Dir::open_ambient_dir(&folders.compiled, cap_std::ambient_authority())
        .with_context(|| format!("folder {}", folders.compiled.display()))?;
    Ok(keyway_runtime::Config {
        limits: runtime.limits,
        allocation: runtime.allocation,
        cache,
        cache_key: keys::cache_key(&folders.keys.join("cache.key"))?,
        worker: admit::worker()?,
    })
}
