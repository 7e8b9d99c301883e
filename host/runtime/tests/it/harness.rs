//! A runtime on an empty folder, a shelf of components, and an outside that tests can script.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use keyway_core::call::{Failure, Json, Operation, Output};
use keyway_core::exchange::{Request, Response};
use keyway_core::ids::{Environment, Tenant};
use keyway_core::ports::{Admission as _, Admitted, Components, Connector, Loader as _, Outside};
use keyway_core::release::ReleaseRef;
use keyway_core::said::{Line, LogLevel};
use keyway_core::{Code, Descriptor, Digest, Fault};
use keyway_runtime::{Allocation, CacheKey, Config, Limits, Runtime, Worker};

use crate::guest::Guest;

/// Long enough for anything on a slow machine; a test that needs it has failed.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A runtime and what it stands on.
pub(crate) struct Host {
    pub(crate) runtime: Runtime,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) cache: Dir,
    _folder: tempfile::TempDir,
}

/// Components by digest, and how often one was asked for.
#[derive(Default)]
pub(crate) struct Shelf {
    components: Mutex<HashMap<Digest, Bytes>>,
    pub(crate) asked: AtomicUsize,
}

/// A release that was admitted.
#[derive(Clone)]
pub(crate) struct Published {
    pub(crate) release: ReleaseRef,
    pub(crate) descriptor: Arc<Descriptor>,
}

pub(crate) fn worker() -> Worker {
    Worker { program: env!("CARGO_BIN_EXE_admission-worker").into(), args: Vec::new() }
}

impl Host {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn limited(limit: impl FnOnce(&mut Limits)) -> Self {
        Self::with(|config| limit(&mut config.limits))
    }

    pub(crate) fn with(configure: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = Dir::open_ambient_dir(folder.path(), ambient_authority()).unwrap();
        let mut limits = Limits::default();
        // A dozen hosts may live at once in these tests; none needs a thousand slots.
        limits.pool.instances_max = 20;
        let mut config = Config {
            limits,
            allocation: Allocation::Pooling,
            cache: cache.try_clone().unwrap(),
            cache_key: CacheKey::new([7; 32]),
            worker: worker(),
        };
        configure(&mut config);
        let shelf = Arc::<Shelf>::default();
        let runtime = Runtime::new(config, Arc::clone(&shelf) as _).unwrap();
        Self { runtime, shelf, cache, _folder: folder }
    }

    pub(crate) async fn admit(&self, component: &[u8]) -> Result<Admitted, Fault> {
        self.runtime.admit(Bytes::copy_from_slice(component)).await
    }

    /// Why a component is refused.
    pub(crate) async fn refusal(&self, component: &[u8]) -> (Code, String) {
        let fault = self.admit(component).await.expect_err("it was admitted");
        (fault.code, fault.detail)
    }

    /// Admits a guest and puts it on the shelf.
    pub(crate) async fn publish(&self, guest: &Guest) -> Published {
        let component = Bytes::from(guest.build());
        let admitted = self.runtime.admit(component.clone()).await.unwrap();
        self.shelf.components.lock().unwrap().insert(admitted.digest, component);
        let release = ReleaseRef::new(
            admitted.descriptor.name.clone(),
            admitted.descriptor.version.clone(),
            admitted.digest,
        );
        Published { release, descriptor: Arc::new(admitted.descriptor) }
    }

    pub(crate) async fn load(&self, published: &Published) -> Arc<dyn Connector> {
        self.runtime.load(&published.release, &published.descriptor).await.unwrap()
    }

    pub(crate) async fn loaded(&self, guest: &Guest) -> Arc<dyn Connector> {
        let published = self.publish(guest).await;
        self.load(&published).await
    }

    /// Files of compiled code.
    pub(crate) fn cached(&self) -> Vec<String> {
        let folders = self.cache.entries().unwrap().map(|entry| entry.unwrap().file_name());
        let folders = folders.map(|name| name.into_string().unwrap());
        let files = folders.flat_map(|folder| {
            let entries = self.cache.read_dir(&folder).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.map(|name| format!("{folder}/{name}")).collect::<Vec<_>>()
        });
        files.collect()
    }
}

#[async_trait]
impl Components for Shelf {
    async fn component(&self, digest: &Digest) -> Result<Bytes, Fault> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let found = self.components.lock().unwrap().get(digest).cloned();
        found.ok_or_else(|| Fault::new(Code::ReleaseUnavailable, "not on the shelf"))
    }
}

type Answer = std::pin::Pin<Box<dyn Future<Output = Result<Response, Failure>> + Send>>;

/// An outside whose answers a test gives.
pub(crate) struct World {
    send: Box<dyn Fn(Request) -> Answer + Send + Sync>,
    pub(crate) log: Mutex<Vec<(LogLevel, String, String)>>,
    now: Mutex<Vec<u64>>,
    tenant: Option<Tenant>,
}

impl World {
    pub(crate) fn quiet() -> Arc<Self> {
        Self::sending(|_| async { Err(Failure::denied("no-network", "no network")) })
    }

    pub(crate) fn sending<F>(send: impl Fn(Request) -> F + Send + Sync + 'static) -> Arc<Self>
    where
        F: Future<Output = Result<Response, Failure>> + Send + 'static,
    {
        Arc::new(Self::new(send, None))
    }

    /// The same, for whom somebody pays.
    pub(crate) fn paid_by<F>(
        tenant: &str,
        send: impl Fn(Request) -> F + Send + Sync + 'static,
    ) -> Arc<Self>
    where
        F: Future<Output = Result<Response, Failure>> + Send + 'static,
    {
        Arc::new(Self::new(send, Some(tenant.parse().unwrap())))
    }

    fn new<F>(send: impl Fn(Request) -> F + Send + Sync + 'static, tenant: Option<Tenant>) -> Self
    where
        F: Future<Output = Result<Response, Failure>> + Send + 'static,
    {
        let send = Box::new(move |request| Box::pin(send(request)) as Answer);
        Self { send, log: Mutex::default(), now: Mutex::new(vec![1_000]), tenant }
    }

    /// Says these times, the last first.
    pub(crate) fn times(&self, times: &[u64]) {
        *self.now.lock().unwrap() = times.to_vec();
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let log = self.log.lock().unwrap();
        log.iter().map(|(_, message, _)| message.clone()).collect()
    }
}

#[async_trait]
impl Outside for World {
    async fn send(&self, request: Request) -> Result<Response, Failure> {
        (self.send)(request).await
    }

    fn now(&self) -> u64 {
        let mut times = self.now.lock().unwrap();
        if times.len() > 1 { times.pop().unwrap() } else { times[0] }
    }

    fn random(&self, buffer: &mut [u8]) {
        buffer.fill(42);
    }

    fn config(&self) -> Json {
        r#"{"greeting":"hello"}"#.to_owned()
    }

    fn connection(&self) -> Json {
        r#"{"base_url":null}"#.to_owned()
    }

    fn payer(&self) -> Option<(Environment, Tenant)> {
        Some(("prod".parse().unwrap(), self.tenant.clone()?))
    }

    fn log(&self, line: &Line<'_>) {
        let Line { level, message, fields, source: _ } = *line;
        self.log.lock().unwrap().push((level, message.to_owned(), fields.to_owned()));
    }
}

pub(crate) fn response(body: impl Into<Bytes>) -> Response {
    Response { status: 200, headers: Vec::new(), body: body.into() }
}

pub(crate) fn invoke(input: &str) -> Operation {
    Operation::Invoke { action: "run".parse().unwrap(), input: input.to_owned() }
}

/// Runs the action with `input` and nothing outside.
pub(crate) async fn run(connector: &Arc<dyn Connector>, input: &str) -> Result<String, Fault> {
    run_in(connector, &World::quiet(), input).await
}

pub(crate) async fn run_in(
    connector: &Arc<dyn Connector>,
    world: &Arc<World>,
    input: &str,
) -> Result<String, Fault> {
    match connector.call(invoke(input), Arc::clone(world) as _, LONG).await? {
        Output::Json(json) => Ok(json),
        other => panic!("an action answered {other:?}"),
    }
}

/// Why a guest with this action fails.
pub(crate) async fn failing(host: &Host, guest: &Guest) -> (Code, String) {
    let connector = host.loaded(guest).await;
    let fault = run(&connector, "{}").await.expect_err("it succeeded");
    assert_eq!(host.runtime.live(&connector.release().digest), 0);
    // Whatever a guest did, the next instance of it is as good as new.
    let again = run(&connector, "{}").await.expect_err("it succeeded");
    assert_eq!(again.code, fault.code);
    (fault.code, fault.detail)
}
