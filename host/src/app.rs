//! The one wiring function: every component, put together in readable order.
//!
//! Nothing is decided here. What is durable is opened first and verified before anything can answer.

mod keys;
mod reads;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use keyway_api::{Api, Deps};
use keyway_artifacts::Artifacts;
use keyway_broker::{Broker, Dns};
use keyway_core::ids::Actor;
use keyway_core::ports::{Admission, Dispatch as DispatchPort, Routes};
use keyway_core::ports::{Clock, Components, Credentials, Egress, EgressPolicy, Loader, Outcomes};
use keyway_dispatch::Dispatch;
use keyway_releases::{Releases, executed::Executed};
use keyway_runtime::{Runtime, Worker};
use keyway_store::Store;
use keyway_store::model::Filter;
use keyway_vault::model::Role;
use keyway_vault::tokens::Grant;
use keyway_vault::{SealingKey, Tokens, Vault, private_file};
use prometheus_client::registry::Registry;
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::app::reads::{StoreHealth, StoreReads};
use crate::clock::SystemClock;
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
}

/// A host that serves.
pub(crate) struct Serving {
    store: Store,
    drain: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

// === impl App ===

impl App {
    /// Opens what is durable in `data` and puts everything together.
    pub(crate) async fn build(data: &Path, config: Config) -> anyhow::Result<Self> {
        let (api, calls) = (config.api(), config.dispatch());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let folders = Folders::create(data)?;

        // What is durable: verified before anything can answer.
        let store = Store::open(&folders.store, Arc::clone(&clock), config.store).await?;
        let sealing = sealing_key(&store, &folders.keys.join("seal.key")).await?;
        let vault = Vault::new(store.clone(), sealing, Arc::clone(&clock));
        vault.check_all().await.context("stored credentials")?;
        let tokens = Tokens::new(store.clone(), Arc::clone(&clock));

        // The way out, and what runs guests.
        let credentials: Arc<dyn Credentials> = Arc::new(vault.clone());
        let broker = Broker::new(config.egress, credentials, Arc::new(Dns::system()?))?;
        let components: Arc<dyn Components> = Arc::new(store.blobs().clone());
        let runtime = Runtime::new(runtime_config(config.runtime, &folders)?, components)?;

        // What decides which release runs, and what runs calls.
        let admission: Arc<dyn Admission> = Arc::new(runtime.clone());
        let policy: Arc<dyn EgressPolicy> = Arc::new(broker.clone());
        let artifacts =
            Artifacts::new(store.clone(), admission, Arc::clone(&policy), Arc::clone(&clock));
        let executed = Arc::new(Executed::new(Arc::clone(&clock)));
        let loader: Arc<dyn Loader> = Arc::new(runtime.clone());
        let releases =
            Releases::new(store.clone(), loader, Arc::clone(&clock), Arc::clone(&executed));
        let routes: Arc<dyn Routes> = releases.routes();
        let egress: Arc<dyn Egress> = Arc::new(broker.clone());
        let outcomes: Arc<dyn Outcomes> = executed;
        let dispatch = Dispatch::new(calls, routes, egress, outcomes, Arc::clone(&clock));

        let metrics = keyway_api::Metrics::default();
        let mut registry = Registry::default();
        store.register(&mut registry);
        broker.metrics().register(&mut registry);
        runtime.metrics().register(&mut registry);
        dispatch.metrics().register(&mut registry);
        metrics.register(&mut registry);

        let installations = releases.catch_up().await.context("routes")?;
        tracing::info!(installations, allocation = ?runtime.allocation(), "host is built");
        let deps = Deps {
            artifacts,
            releases,
            vault,
            tokens: tokens.clone(),
            dispatch: Arc::new(dispatch) as Arc<dyn DispatchPort>,
            policy,
            reads: Arc::new(StoreReads(store.clone())),
            health: Arc::new(StoreHealth(store.clone())),
            clock,
            metrics,
            registry: Arc::new(registry),
        };
        Ok(Self { api: Api::new(api, deps), tokens, store })
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
            expires_at: None,
        })?;
        let path = data.join(TOKEN_FILE);
        let line = format!("{}\n", issued.secret.expose_secret());
        private_file::write(&path, line.as_bytes())?;
        self.tokens.keep(&issued, &name).await?;
        Ok(Some(path))
    }

    /// Begins to serve.
    pub(crate) fn serve(self, listener: TcpListener) -> Serving {
        let store = self.store;
        let (drain, drained) = oneshot::channel();
        let server = tokio::spawn(async move {
            // A dropped sender means the same: stop.
            self.api.serve(listener, async { drop(drained.await) }).await;
        });
        Serving { store, drain, server }
    }
}

// === impl Serving ===

impl Serving {
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
        if let Err(error) = self.server.await {
            tracing::error!(%error, "server ended by a panic");
        }
    }
}

/// Where things are in the data directory.
struct Folders {
    store: PathBuf,
    compiled: PathBuf,
    keys: PathBuf,
}

impl Folders {
    fn create(data: &Path) -> anyhow::Result<Self> {
        let folders = Self {
            store: data.join("store"),
            compiled: data.join("compiled"),
            keys: data.join("keys"),
        };
        for folder in [data, &folders.store, &folders.compiled, &folders.keys] {
            keys::create_private_folder(folder)
                .with_context(|| format!("data folder {}", folder.display()))?;
        }
        Ok(folders)
    }
}

/// The sealing key. A new one only for a store that has sealed nothing: otherwise the key was lost, and a
/// new one would hide that.
async fn sealing_key(store: &Store, path: &Path) -> anyhow::Result<SealingKey> {
    if let Some(key) = SealingKey::load(path)? {
        return Ok(key);
    }
    let installations = store.installations(&Filter::default()).await?;
    let sealed: usize = installations.iter().map(|state| state.connections.len()).sum();
    if sealed > 0 {
        bail!("{} is missing, and {sealed} credentials are sealed with it", path.display());
    }
    Ok(SealingKey::create(path)?)
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
        worker: Worker {
            program: std::env::current_exe().context("own path")?,
            args: vec!["admit-component".into()],
        },
    })
}
