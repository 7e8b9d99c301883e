//! The crate's face: one engine, and the ports that stand on it.
//!
//! [`Runtime`] is the [`Loader`] and the [`Admission`]. It owns the engine, the linker, the cache and
//! the list of what is loaded; the work itself is in the modules named after it.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;

use async_trait::async_trait;
use bytes::Bytes;
use cap_std::fs::Dir;
use keyway_core::ports::{Admission, Admitted, Components, Connector, Loader};
use keyway_core::release::ReleaseRef;
use keyway_core::{Code, Descriptor, Digest, Fault};
use tokio::sync::Semaphore;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::admission::{Gate, Task, Worker};
use crate::cache::{self, Cache, CacheKey, Found};
use crate::engine::{Allocation, Engine};
use crate::limits::Limits;
use crate::loaded::{Bounds, Loaded};
use crate::loader::{self, Releases};
use crate::metrics::{CacheResult, Metrics};
use crate::room::Room;
use crate::state::State;
use crate::turns::Turns;
use crate::{ticker, wasi, wit};

/// What a [`Runtime`] is made of.
pub struct Config {
    /// Every bound on a guest.
    pub limits: Limits,
    /// Where instances get their memory.
    pub allocation: Allocation,
    /// Where compiled code is kept. Only this host may write there.
    pub cache: Dir,
    /// What compiled code is authenticated with.
    pub cache_key: CacheKey,
    /// The program that checks and compiles components.
    pub worker: Worker,
}

/// A runtime that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// wasmtime refused the configuration, or found no memory.
    #[error("no engine: {0}")]
    Engine(String),
    /// The cache's folder cannot be used.
    #[error("cannot use the folder for compiled code")]
    Cache(#[source] io::Error),
    /// The machine has no thread left.
    #[error("cannot start the thread that ends spinning guests")]
    Ticker(#[source] io::Error),
}

/// Runs connectors. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

struct Inner {
    engine: Engine,
    linker: Linker<State>,
    bounds: Bounds,
    cache: Cache,
    components: Arc<dyn Components>,
    gate: Gate,
    releases: Arc<Releases>,
    metrics: Metrics,
}

// === impl Runtime ===

impl Runtime {
    /// Makes the engine and starts its ticker.
    pub fn new(config: Config, components: Arc<dyn Components>) -> Result<Self, Error> {
        let no_engine = |error: wasmtime::Error| Error::Engine(format!("{error:#}"));
        let limits = Arc::new(config.limits);
        let engine = Engine::new(&limits, config.allocation).map_err(no_engine)?;
        let turns = Turns::new(available_parallelism().map_or(1, NonZeroUsize::get));
        ticker::start(engine.engine.weak(), turns.clone()).map_err(Error::Ticker)?;
        let linker = linker(&engine.engine).map_err(no_engine)?;
        let cache = Cache::open(&config.cache, config.cache_key, engine.compatibility)
            .map_err(Error::Cache)?;
        let gate = Gate::new(config.worker, Arc::clone(&limits), engine.compatibility);
        let permits = Arc::new(Semaphore::new(limits.pool.instances_max as usize));
        let releases = Arc::<Releases>::default();
        let room = Room::new(&limits.pool);
        let metrics = Metrics::new(Arc::clone(&releases), &engine.engine, room.clone());
        let bounds = Bounds { limits, permits, turns, room };
        let inner = Inner { engine, linker, bounds, cache, components, gate, releases, metrics };
        Ok(Self(Arc::new(inner)))
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Where instances really get their memory: never [`Allocation::Auto`].
    pub fn allocation(&self) -> Allocation {
        self.0.engine.allocation
    }

    /// Every release whose code is in memory, and how many instances of it are alive.
    pub fn loaded(&self) -> Vec<(ReleaseRef, u64)> {
        self.0.releases.loaded()
    }

    /// Instances of the release with this digest that are alive.
    pub fn live(&self, digest: &Digest) -> u64 {
        self.0.releases.live(digest)
    }
}

/// Everything that a component may import, defined.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasi::add_to_linker(&mut linker)?;
    wit::v1::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// A component with everything that it imports: what is defined for all, and what is made to its own types.
pub(crate) fn link(
    linker: &Linker<State>,
    component: &Component,
) -> wasmtime::Result<InstancePre<State>> {
    let mut linker = linker.clone();
    wasi::network::add_to_linker(&mut linker, component)?;
    linker.instantiate_pre(component)
}

#[async_trait]
impl Admission for Runtime {
    async fn admit(&self, component: Bytes) -> Result<Admitted, Fault> {
        let admitted = self.0.admit(component).await;
        let result = admitted.as_ref().map_or_else(|fault| fault.code.as_str(), |_| "admitted");
        self.0.metrics.admission(result);
        admitted
    }
}

#[async_trait]
impl Loader for Runtime {
    async fn load(
        &self,
        release: &ReleaseRef,
        descriptor: &Arc<Descriptor>,
    ) -> Result<Arc<dyn Connector>, Fault> {
        let load = Inner::load(&self.0, release, descriptor);
        Ok(self.0.releases.get_or_load(release.digest, load).await?)
    }
}

// === impl Inner ===

impl Inner {
    async fn admit(&self, component: Bytes) -> Result<Admitted, Fault> {
        let hashed = component.clone();
        let digest = blocking(move || Digest::of(&hashed)).await?;
        let (answer, code) = self.gate.run(Task::Admit, component).await?;
        let admitted = answer.admitted(digest)?;
        self.keep(digest, code).await?;
        Ok(admitted)
    }

    async fn load(
        inner: &Arc<Self>,
        release: &ReleaseRef,
        descriptor: &Arc<Descriptor>,
    ) -> Result<Loaded, Fault> {
        let adapter = match inner.cached(release.digest).await? {
            Some(adapter) => adapter,
            None => inner.compile(release).await?,
        };
        let (release, descriptor) = (release.clone(), Arc::clone(descriptor));
        let engine = inner.engine.engine.clone();
        Ok(Loaded::new(release, descriptor, adapter, engine, inner.bounds.clone()))
    }

    /// The release's code from the cache, linked; none for whatever reason it cannot be had.
    async fn cached(&self, digest: Digest) -> Result<Option<wit::Adapter>, Fault> {
        let (cache, link) = (self.cache.clone(), self.link());
        let (result, adapter) = blocking(move || Ok(match cache.get(&digest) {
            Found::Short(error) => return Err(short(error)),
            Found::Nothing => (CacheResult::Miss, None),
            Found::Forged => (CacheResult::Forged, None),
            Found::Code(code) => match link(&code) {
                Ok(adapter) => (CacheResult::Hit, Some(adapter)),
                Err(error) => {
                    tracing::warn!(%digest, error = format!("{error:#}"), "compiled code is stale");
                    (CacheResult::Stale, None)
                }
            },
        }))
        .await??;
        self.metrics.cache(result);
        Ok(adapter)
    }

    async fn compile(&self, release: &ReleaseRef) -> Result<wit::Adapter, Fault> {
        let component = self.components.component(&release.digest).await?;
        let (_, code) = self.gate.run(Task::Compile, component).await?;
        let code = self.keep(release.digest, code).await?;
        let link = self.link();
        blocking(move || link(&code)).await?.map_err(|error| {
            let cause = Error::Engine(format!("{error:#}"));
            Fault::new(Code::ReleaseUnavailable, format!("cannot link {release}")).caused_by(cause)
        })
    }

    /// Puts compiled code into the cache. Failing to is no failure: it is compiled again when needed.
    async fn keep(&self, digest: Digest, code: cache::Code) -> Result<cache::Code, Fault> {
        let cache = self.cache.clone();
        blocking(move || {
            if let Err(error) = cache.put(&digest, &code) {
                tracing::warn!(%digest, %error, "cannot keep compiled code");
            }
            code
        })
        .await
    }

    fn link(&self) -> impl Fn(&cache::Code) -> wasmtime::Result<wit::Adapter> + Send + use<> {
        let (engine, linker) = (self.engine.engine.clone(), self.linker.clone());
        move |code| loader::link(&engine, &linker, code)
    }
}

/// What a caller hears while the machine has no descriptor, thread or memory for what it takes to load a release.
pub(crate) fn short(error: io::Error) -> Fault {
    let detail = "the host has no free descriptor or memory for this at the moment";
    Fault::new(Code::Overloaded, detail).caused_by(error)
}

/// Runs what reads files or hashes megabytes where it holds up no call.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Fault> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Fault::new(Code::Internal, "a task of the runtime died").caused_by(error))
}
