//! The call path as a host wires it: real dispatch, runtime, compiled cache and outcomes; one route.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use harness::binary;
use keyway_core::address::InstallationMark;
use keyway_core::call::{Failure, Operation, Output};
use keyway_core::exchange::{Origin, Pace, Relay, Relayed, Request, Response};
use keyway_core::ids::{Action, Connector, Installation, Slot, User};
use keyway_core::ports::{
    Admission as _, Call, Clock, Components, Dispatch as _, Egress, Inputs, Keeps, Loader as _,
    Proxy, Route, Routes, Settings,
};
use keyway_core::release::ReleaseRef;
use keyway_core::{Code, Digest, Fault};
use keyway_dispatch::{Dispatch, Ways, Words};
use keyway_releases::executed::Executed;
use keyway_runtime::{Allocation, CacheKey, Config, Limits, Runtime, Worker};
use time::OffsetDateTime;

/// A host's call path with one installation.
pub(super) struct Ours {
    dispatch: Dispatch,
    installation: Installation,
    action: Action,
}

/// Sends every call the same way.
struct OneRoute(Arc<Route>);

/// Nothing is sent.
struct NoWayOut;

/// The action states no schema, so nobody asks.
struct AnyInput;

/// The bytes of the one component, should its compiled code not be found.
struct OneComponent(Bytes);

struct SystemClock;

// === impl Ours ===

impl Ours {
    pub(super) async fn new(folder: &Path, component: &[u8]) -> anyhow::Result<Self> {
        let cache = folder.join("compiled");
        fs::create_dir(&cache)?;
        let component = Bytes::copy_from_slice(component);
        let config = Config {
            limits: Limits::default(),
            // As the floor: falling back would compare two things.
            allocation: Allocation::Pooling,
            cache: Dir::open_ambient_dir(&cache, ambient_authority())?,
            cache_key: CacheKey::new([7; 32]),
            worker: Worker { program: binary("keyway"), args: vec!["admit-component".into()] },
        };
        let runtime = Runtime::new(config, Arc::new(OneComponent(component.clone())))?;
        let admitted = runtime.admit(component).await?;
        let release = ReleaseRef::new(
            "fixtures/echo".parse::<Connector>()?,
            admitted.descriptor.version.clone(),
            admitted.digest,
        );
        let connector = runtime.load(&release, &Arc::new(admitted.descriptor)).await?;
        let installation = Installation {
            environment: "dev".parse()?,
            tenant: "acme".parse()?,
            connector: release.connector.clone(),
        };
        let route = Route {
            installation: installation.clone(),
            order: 1,
            connector,
            settings: Arc::new(Settings { config: "{}".to_owned(), ..Settings::default() }),
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let dispatch = Dispatch::new(
            keyway_dispatch::Config::default(),
            Arc::new(OneRoute(Arc::new(route))),
            Ways { egress: Arc::new(NoWayOut), proxy: Arc::new(NoWayOut) },
            Words { log: Arc::new(()), redact: Arc::new(()) },
            Arc::new(AnyInput),
            Arc::new(Executed::new(Arc::clone(&clock))),
            clock,
        );
        Ok(Self { dispatch, installation, action: "echo".parse()? })
    }

    /// One call, from the words of a caller to the words of the guest.
    pub(super) async fn call(&self, input: &str) -> Result<String, Fault> {
        let operation = Operation::Invoke { action: self.action.clone(), input: input.to_owned() };
        let call = Call {
            installation: self.installation.clone(),
            operation,
            time: None,
            user: None,
            pace: Pace::PassThrough,
        };
        match self.dispatch.call(call).await.result? {
            Output::Json(answer) => Ok(answer),
            other => Err(Fault::new(Code::Internal, format!("an action answered {other:?}"))),
        }
    }
}

// === impl OneRoute ===

impl Routes for OneRoute {
    fn resolve(&self, _installation: &Installation) -> Result<Arc<Route>, Fault> {
        Ok(Arc::clone(&self.0))
    }

    fn marked(&self, _: &InstallationMark) -> Result<Option<Installation>, Fault> {
        Ok(None)
    }
}

// === impl NoWayOut ===

#[async_trait]
impl Proxy for NoWayOut {
    async fn relay(&self, _: &Origin, _: Relayed, _: Keeps) -> Result<Relay, Failure> {
        Err(Failure::denied("no-way-out", "this call goes nowhere"))
    }

    async fn connected(
        &self,
        _: &Installation,
        _: &User,
        _: Vec<Slot>,
    ) -> Result<Vec<Slot>, Fault> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Egress for NoWayOut {
    async fn exchange(&self, _origin: &Origin, _request: Request) -> Result<Response, Failure> {
        Err(Failure::denied("no-way-out", "this guest sends nothing"))
    }
}

// === impl AnyInput ===

#[async_trait]
impl Inputs for AnyInput {
    async fn check(
        &self,
        _: &Route,
        _: &Action,
        input: String,
        _: Duration,
    ) -> Result<String, Fault> {
        Ok(input)
    }
}

// === impl OneComponent ===

#[async_trait]
impl Components for OneComponent {
    async fn component(&self, _digest: &Digest) -> Result<Bytes, Fault> {
        Ok(self.0.clone())
    }
}

// === impl SystemClock ===

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the host's own clock is in its binary")]
    fn now(&self) -> OffsetDateTime {
        std::time::SystemTime::now().into()
    }
}
