//! A host in memory: real services, fake runtime, broker and clock.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use keyway_api::{Api, Config, Deps, Health, Limits, Metrics, Readiness, Reads};
use keyway_artifacts::Artifacts;
use keyway_artifacts::lanes::Lanes;
use keyway_artifacts::schema::InputSchemas;
use keyway_core::call::{Operation, Output, Page, Record};
use keyway_core::credential::Credential;
use keyway_core::exchange::{HostRequest, Response, Unfinished};
use keyway_core::ids::{CallId, Connector, Environment, Installation, Tenant};
use keyway_core::ports::{
    self, Admission, Admitted, Answer, Call, Clock, Dispatch, EgressPolicy, Ended, Inputs as _,
    Loader, Outbound, Outcomes, Outside, Quotas, RelayAnswer, RelayCall, Routes,
};
use keyway_core::quota::{Quota, Standing};
use keyway_core::release::{Release, ReleaseRef};
use keyway_core::{Code, Descriptor, Digest, Fault};
use keyway_exchanges::{Calls, Exchanges, Options};
use keyway_releases::Releases;
use keyway_releases::executed::Executed;
use keyway_releases::model::{
    self, AuditEntry, ConfigGeneration, EnvironmentDefault, Generation, InstallationState, Role,
};
use keyway_store::Store;
use keyway_vault::tokens::Grant;
use keyway_vault::{KeyRing, Keys, Parts, Sealer, Tokens, Vault};
use prometheus_client::registry::Registry;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::sync::Semaphore;

/// A host and what the tests turn on it.
pub(crate) struct World {
    pub(crate) api: Api,
    pub(crate) store: Store,
    pub(crate) releases: Releases,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) dispatch: Arc<FakeDispatch>,
    pub(crate) loader: Arc<FakeLoader>,
    pub(crate) outbound: Arc<FakeOutbound>,
    pub(crate) exchanges: Exchanges,
    pub(crate) said: Calls,
    pub(crate) quotas: Arc<FakeQuotas>,
    pub(crate) lanes: Lanes,
    pub(crate) ready: Arc<AtomicBool>,
    pub(crate) components_lost: Arc<AtomicUsize>,
    pub(crate) admin: String,
    tokens: Tokens,
    /// Of the exchange log.
    _folder: TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A clock that stands until it is moved.
pub(crate) struct TestClock(AtomicI64);

/// Runs calls without a guest.
pub(crate) struct FakeDispatch {
    routes: Arc<dyn Routes>,
    executed: Arc<Executed>,
    inputs: InputSchemas,
    /// Those whose input fits.
    pub(crate) calls: Mutex<Vec<Call>>,
    /// Answers to come; when there are none, an action echoes its input.
    pub(crate) script: Mutex<VecDeque<Result<Output, Fault>>>,
    /// Calls wait here between their route and their answer.
    pub(crate) gate: Semaphore,
}

/// Loads anything, when it may.
pub(crate) struct FakeLoader {
    pub(crate) gate: Semaphore,
    pub(crate) broken: AtomicBool,
}

/// A provider: takes tokens that begin with `good`, for the account that follows, and issues others.
#[derive(Default)]
pub(crate) struct FakeOutbound {
    /// Purpose and URL of each request.
    pub(crate) seen: Mutex<Vec<String>>,
    /// Requests wait for the test while somebody holds it.
    pub(crate) gate: tokio::sync::Mutex<()>,
}

/// Rate limits, as a test has set them.
#[derive(Default)]
pub(crate) struct FakeQuotas(pub(crate) Mutex<Vec<(Quota, Standing)>>);

/// A component of these tests is its descriptor's JSON.
struct FakeAdmission;
struct FakePolicy;
struct FakeConnector(ReleaseRef, Arc<Descriptor>);
struct StoreReads(Store);
struct TestHealth(Arc<AtomicBool>, Arc<AtomicUsize>);

/// One sealing key, 32 bytes of 7.
const RING: &str = "current test BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

/// Of lost components: nobody has looked.
pub(crate) const UNSEEN: usize = usize::MAX;

/// How long a test waits for what must happen before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A path below the installation that most tests use.
pub(crate) fn at(rest: &str) -> String {
    format!("/v1/environments/dev/tenants/acme/connectors/pub/things{rest}")
}

/// A component of `pub/things` with this version.
pub(crate) fn component(version: &str) -> String {
    named("pub/things", version)
}

/// A component with this name and version.
pub(crate) fn named(name: &str, version: &str) -> String {
    json!({
        "format": 1, "name": name, "version": version, "summary": "Things",
        "hosts": ["api.example.com"],
        "slots": {"token": {"scheme": {"kind": "bearer"}}, "login": {"scheme": {"kind": "basic"}}},
        "objects": {"widgets": {"read": {}, "write": ["create", "update"]}},
        "actions": {"echo": {}, "strict": {"input": {
            "type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}}},
        "config": {"type": "object", "properties": {"region": {"type": "string"}},
            "additionalProperties": false},
    })
    .to_string()
}

// === impl World ===

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Config::default()).await
    }

    /// A host with `dev` and `prod`.
    pub(crate) async fn with(mut config: Config) -> Self {
        config.environments = vec!["dev".parse().unwrap(), "prod".parse().unwrap()];
        let clock = Arc::new(TestClock(AtomicI64::new(1_700_000_000)));
        let store = Store::memory(clock.clone());
        let loader =
            Arc::new(FakeLoader { gate: Semaphore::new(1_000), broken: AtomicBool::new(false) });
        let executed = Arc::new(Executed::new(clock.clone()));
        let releases =
            Releases::new(store.clone(), loader.clone(), clock.clone(), executed.clone());
        let dispatch = Arc::new(FakeDispatch::new(&releases, executed));
        let tokens = Tokens::new(store.clone(), clock.clone());
        let outbound = Arc::new(FakeOutbound::default());
        let ring = KeyRing::parse(RING).unwrap();
        let keys = Keys::new(store.clone(), Arc::new(ring), clock.clone());
        let vault = vault(&store, &keys, &clock, &outbound);
        let folder = tempfile::tempdir().unwrap();
        let (exchanges, said) = logs(folder.path(), &clock);
        let quotas = Arc::new(FakeQuotas::default());
        // Two long things at once, whatever the machine.
        let lanes = Lanes::new(4);
        let (ready, components_lost) = (Arc::new(AtomicBool::new(true)), Arc::default());
        let metrics = Metrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let (policy, admission) = (Arc::new(FakePolicy), Arc::new(FakeAdmission));
        let api = Api::new(
            config,
            Deps {
                artifacts: Artifacts::new(store.clone(), admission, policy.clone(), clock.clone()),
                releases: releases.clone(),
                vault,
                keys,
                tokens: tokens.clone(),
                dispatch: dispatch.clone(),
                policy,
                reads: Arc::new(StoreReads(store.clone())),
                exchanges: exchanges.clone(),
                calls: said.clone(),
                lanes: lanes.clone(),
                quotas: quotas.clone(),
                health: Arc::new(TestHealth(ready.clone(), Arc::clone(&components_lost))),
                clock: clock.clone(),
                metrics,
                registry: Arc::new(registry),
            },
        );
        let admin = issue(&tokens, "root", Role::Admin, None).await;
        Self {
            api,
            store,
            releases,
            clock,
            dispatch,
            loader,
            outbound,
            exchanges,
            said,
            quotas,
            lanes,
            ready,
            components_lost,
            admin,
            tokens,
            _folder: folder,
        }
    }

    /// With two releases published, and the first one pinned for `acme` in `dev`.
    pub(crate) async fn pinned() -> Self {
        Self::pinned_with(Config::default()).await
    }

    /// The same, of a host that is set up so.
    pub(crate) async fn pinned_with(config: Config) -> Self {
        let world = Self::with(config).await;
        for version in ["1.0.0", "2.0.0"] {
            assert_eq!(world.publish(&component(version)).await.status, StatusCode::CREATED);
        }
        world.pin("1.0.0").await.ok();
        world
    }

    pub(crate) async fn token(
        &self,
        name: &str,
        role: Role,
        environments: Option<&[&str]>,
    ) -> String {
        let environments = environments
            .map(|names| names.iter().map(|name| name.parse::<Environment>().unwrap()).collect());
        issue(&self.tokens, name, role, environments).await
    }

    pub(crate) async fn publish(&self, component: &str) -> Reply {
        self.publish_as(&self.admin, component).await
    }

    pub(crate) async fn publish_as(&self, token: &str, component: &str) -> Reply {
        let request = Request::post("/v1/releases").header(AUTHORIZATION, bearer(token));
        self.send(request.body(Body::from(component.to_owned())).unwrap()).await
    }

    pub(crate) async fn pin(&self, release: &str) -> Reply {
        self.put(&at("/pin"), json!({"release": release, "reason": "test"})).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &self.admin, None).await
    }

    /// A list in pages of one row each: as many as there should be, and one more if it goes on.
    pub(crate) async fn pages(&self, list: &str, rows: usize) -> Vec<Value> {
        let (mut pages, mut after) = (Vec::new(), String::new());
        for _ in 0..=rows {
            let page = self.get(&format!("{list}?limit=1{after}")).await.ok();
            let next = page["next"].as_str().map(encoded);
            pages.push(page);
            let Some(next) = next else { break };
            after = format!("&after={next}");
        }
        pages
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Reply {
        self.ask("PUT", path, &self.admin, Some(body.to_string())).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.post_text(path, &body.to_string()).await
    }

    pub(crate) async fn post_text(&self, path: &str, body: &str) -> Reply {
        self.ask("POST", path, &self.admin, Some(body.to_owned())).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.ask("DELETE", path, &self.admin, None).await
    }

    /// Waits until so many calls have reached dispatch.
    pub(crate) async fn dispatched(&self, count: usize) {
        let reached = async {
            while self.dispatch.calls.lock().unwrap().len() < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.expect("the calls reach dispatch");
    }

    /// One request; a body is JSON.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: Option<String>,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header(AUTHORIZATION, bearer(token));
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        self.send(request.body(Body::from(body.unwrap_or_default())).unwrap()).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let endless = request.uri().path().ends_with("/follow");
        let response = self.api.router().answer(request).await;
        let (parts, mut body) = response.into_parts();
        if endless && parts.status.is_success() {
            body = Body::empty();
        }
        let body = body.collect().await.unwrap().to_bytes();
        Reply { status: parts.status, headers: parts.headers, body }
    }
}

/// Text as part of a query.
pub(crate) fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

pub(crate) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn vault(
    store: &Store,
    keys: &Keys,
    clock: &Arc<TestClock>,
    outbound: &Arc<FakeOutbound>,
) -> Vault {
    Vault::new(Parts {
        store: store.clone(),
        sealer: Sealer::new(keys.clone()),
        clock: clock.clone(),
        outbound: outbound.clone(),
        owner: "test".to_owned(),
        listener: None,
    })
}

pub(crate) async fn issue(
    tokens: &Tokens,
    name: &str,
    role: Role,
    environments: Option<Vec<Environment>>,
) -> String {
    let grant = Grant {
        name: name.parse().unwrap(),
        role,
        environments,
        publisher: None,
        bounds: Default::default(),
        expires_at: None,
    };
    let issued = tokens.issue(grant, &"test".parse().unwrap()).await.unwrap();
    issued.secret.expose_secret().to_owned()
}

fn logs(folder: &std::path::Path, clock: &Arc<TestClock>) -> (Exchanges, Calls) {
    let exchanges = Exchanges::open(&folder.join("exchanges"), clock.clone(), log_options());
    let said = Calls::open(&folder.join("calls"), clock.clone(), log_options());
    (exchanges.unwrap(), said.unwrap())
}

/// A log that keeps a little of bodies, and whose followers are soon too many or too slow.
fn log_options() -> Options {
    Options {
        body_bytes_max: 1_000,
        followers_max: 2,
        follower_lag_max: 8,
        waiting_max: 100_000,
        ..Options::default()
    }
}

/// Limits that a test reaches quickly.
pub(crate) fn limited(change: impl FnOnce(&mut Limits)) -> Config {
    let mut config = Config::default();
    change(&mut config.limits);
    config
}

// === impl Reply ===

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// A success's JSON.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        self.json()
    }

    /// The code of a problem document, which it must be.
    #[track_caller]
    pub(crate) fn code(&self) -> (u16, String) {
        assert_eq!(self.headers[CONTENT_TYPE], "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        (self.status.as_u16(), problem["code"].as_str().unwrap().to_owned())
    }

    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) {
        assert_eq!(self.code(), (status, code.to_owned()), "{self:?}");
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

// === impl TestClock ===

impl TestClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_secs() as i64, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

impl FakeDispatch {
    fn new(releases: &Releases, executed: Arc<Executed>) -> Self {
        Self {
            routes: releases.routes(),
            executed,
            inputs: InputSchemas::default(),
            calls: Mutex::default(),
            script: Mutex::default(),
            gate: Semaphore::new(1_000),
        }
    }
}

#[async_trait]
impl Dispatch for FakeDispatch {
    async fn relay(&self, call: RelayCall) -> RelayAnswer {
        let nothing =
            |_| Fault::new(Code::Unsupported, format!("nothing answers {}", call.request.url));
        let fault = self.routes.resolve(&call.installation).map_or_else(|fault| fault, nothing);
        RelayAnswer { call: CallId(7), release: None, result: Err(fault) }
    }

    async fn call(&self, call: Call) -> Answer {
        let id = CallId(7);
        let route = match self.routes.resolve(&call.installation) {
            Ok(route) => route,
            Err(fault) => return Answer { call: id, release: None, result: Err(fault) },
        };
        if let Operation::Invoke { action, input } = &call.operation
            && let Err(fault) = self.inputs.check(&route, action, input.clone(), PATIENCE).await
        {
            let release = Some(route.connector.release().clone());
            return Answer { call: id, release, result: Err(fault) };
        }
        self.calls.lock().unwrap().push(call.clone());
        drop(self.gate.acquire().await.unwrap());
        let scripted = self.script.lock().unwrap().pop_front();
        let verb = call.operation.verb();
        let result = scripted.unwrap_or_else(|| echo(call.operation));
        let release = route.connector.release().clone();
        self.executed.ended(&Ended {
            call: id,
            installation: call.installation,
            release: release.clone(),
            order: route.order,
            verb,
            elapsed: Duration::ZERO,
            fault: result.as_ref().err().cloned(),
        });
        Answer { call: id, release: Some(release), result }
    }
}

#[async_trait]
impl Outbound for FakeOutbound {
    async fn fetch(&self, request: HostRequest) -> Result<Response, Unfinished> {
        let seen = format!("{} {}", request.purpose, request.url);
        self.seen.lock().unwrap().push(seen);
        drop(self.gate.lock().await);
        let (status, body) = match request.purpose {
            "probe" => {
                let Some((_, Credential::Token(token))) = &request.credential else {
                    panic!("a probe has a token")
                };
                match token.expose_secret().strip_prefix("good-") {
                    Some(account) => (200, json!({"account": account})),
                    // Of these it cannot tell now.
                    None if token.expose_secret().starts_with("busy-") => (503, json!({})),
                    None => (401, json!({})),
                }
            }
            // A refresh token that the provider does not take any more.
            "token"
                if request
                    .body
                    .is_some_and(|form| form.expose_secret().contains("canary-spent")) =>
            {
                (400, json!({"error": "invalid_grant"}))
            }
            "token" => {
                let scope = "contacts.read";
                let tokens = json!({"access_token": "good-renewed", "refresh_token": "canary-next",
                    "token_type": "Bearer", "expires_in": 3600, "scope": scope});
                (200, tokens)
            }
            _ => (200, json!({})),
        };
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Ok(Response { status, headers, body: body.to_string().into() })
    }
}

fn echo(operation: Operation) -> Result<Output, Fault> {
    match operation {
        Operation::Invoke { action, .. } if action.as_str() == "nothing" => {
            Err(Fault::new(Code::UnknownAction, "no such action"))
        }
        Operation::Invoke { input, .. } => Ok(Output::Json(input)),
        Operation::Discover { .. } => Ok(Output::Json(r#"{"widgets":{}}"#.to_owned())),
        Operation::Read(request) => Ok(Output::Page(Page {
            records: vec![Record {
                id: "1".to_owned(),
                updated_at: None,
                deleted: false,
                data: r#"{"n":9007199254740993}"#.to_owned(),
                extra: request.extra.clone(),
            }],
            next: request.cursor,
            extra: request.extra,
        })),
        Operation::Write(_) => Ok(Output::Outcomes(vec![])),
    }
}

#[async_trait]
impl Loader for FakeLoader {
    async fn load(
        &self,
        release: &ReleaseRef,
        descriptor: &Arc<Descriptor>,
    ) -> Result<Arc<dyn ports::Connector>, Fault> {
        drop(self.gate.acquire().await.unwrap());
        if self.broken.load(Ordering::SeqCst) {
            return Err(Fault::new(Code::ReleaseUnavailable, "it does not load"));
        }
        Ok(Arc::new(FakeConnector(release.clone(), Arc::clone(descriptor))))
    }
}

#[async_trait]
impl ports::Connector for FakeConnector {
    fn release(&self) -> &ReleaseRef {
        &self.0
    }

    fn descriptor(&self) -> &Arc<Descriptor> {
        &self.1
    }

    async fn call(&self, _: Operation, _: Arc<dyn Outside>, _: Duration) -> Result<Output, Fault> {
        unreachable!("the fake dispatch answers itself")
    }
}

#[async_trait]
impl Admission for FakeAdmission {
    async fn admit(&self, component: Bytes) -> Result<Admitted, Fault> {
        let text = std::str::from_utf8(&component).unwrap_or_default();
        let descriptor = Descriptor::parse(text)
            .map_err(|_| Fault::new(Code::ComponentMalformed, "not a component"))?;
        Ok(Admitted {
            digest: Digest::of(&component),
            descriptor,
            exports: ["actions", "reader", "writer"].map(str::to_owned).to_vec(),
            contract: semver::Version::new(1, 0, 0),
        })
    }
}

impl Quotas for FakeQuotas {
    fn quotas(&self, environment: &Environment) -> Vec<(Quota, Standing)> {
        let mut known = self.0.lock().unwrap().clone();
        known.retain(|(quota, _)| quota.installation.environment == *environment);
        known.sort_by(|(one, _), (other, _)| one.cmp(other));
        known
    }
}

impl EgressPolicy for FakePolicy {
    fn check_descriptor(&self, _: &Descriptor) -> Result<(), Fault> {
        Ok(())
    }

    fn check_base_url(&self, descriptor: &Descriptor, base_url: &str) -> Result<(), Fault> {
        let host = base_url.strip_prefix("https://").and_then(|rest| rest.split('/').next());
        if host.is_some_and(|host| descriptor.admits_host(host, 443)) {
            Ok(())
        } else {
            Err(Fault::new(Code::BaseUrlRefused, "not a declared host"))
        }
    }
}

#[async_trait]
impl Reads for StoreReads {
    async fn releases(&self, connector: Option<&Connector>) -> Result<Vec<Release>, Fault> {
        Ok(self.0.releases(connector).await?)
    }

    async fn installation(&self, of: &Installation) -> Result<Option<InstallationState>, Fault> {
        Ok(self.0.installation(of).await?)
    }

    async fn connectors(
        &self,
        environment: &Environment,
        tenant: &Tenant,
    ) -> Result<Vec<Connector>, Fault> {
        Ok(self.0.connectors(environment, tenant).await?)
    }

    async fn history(&self, of: &Installation) -> Result<Vec<Generation>, Fault> {
        Ok(self.0.history(of).await?)
    }

    async fn config_at(
        &self,
        of: &Installation,
        generation: u64,
    ) -> Result<Option<model::Config>, Fault> {
        Ok(self.0.config_at(of, generation).await?)
    }

    async fn config_history(&self, of: &Installation) -> Result<Vec<ConfigGeneration>, Fault> {
        Ok(self.0.config_history(of).await?)
    }

    async fn environment_default(
        &self,
        environment: &Environment,
        connector: &Connector,
    ) -> Result<Option<EnvironmentDefault>, Fault> {
        Ok(self.0.environment_default(environment, connector).await?)
    }

    async fn audit(&self, after_seq: u64, limit: usize) -> Result<Vec<AuditEntry>, Fault> {
        Ok(self.0.audit(after_seq, limit).await?)
    }

    async fn newest_audit(
        &self,
        before_seq: Option<u64>,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, Fault> {
        Ok(self.0.newest_audit(before_seq, limit).await?)
    }
}

#[async_trait]
impl Health for TestHealth {
    async fn ready(&self) -> Result<Readiness, Fault> {
        if self.0.load(Ordering::SeqCst) {
            let lost = self.1.load(Ordering::SeqCst);
            Ok(Readiness { components_lost: (lost != UNSEEN).then_some(lost) })
        } else {
            Err(Fault::new(Code::StoreUnavailable, "the disk is full"))
        }
    }
}
