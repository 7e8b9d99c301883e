//! The ports: what one crate asks of another without knowing it.
//!
//! Implementations live beside, never below: `runtime` is a [`Loader`] of [`Connector`]s and the
//! [`Admission`]; `broker` is the [`Egress`] and its [`EgressPolicy`]; `broker` is the [`Proxy`] and the
//! host's own [`Outbound`], knows the [`Quotas`], tells the [`ExchangeLog`], and masks what guests say
//! ([`Redact`]) before the [`CallLog`] has it; `vault` holds the [`Credentials`]; `artifacts` checks
//! [`Inputs`]; `releases` answers [`Routes`], is [`Granting`] and hears [`Outcomes`]. The host's `app` wires them.

use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use semver::Version;
use time::OffsetDateTime;

use crate::address::InstallationMark;
use crate::call::{Failure, Json, Operation, Output};
use crate::credential::Opened;
use crate::descriptor::{Descriptor, SlotSpec};
use crate::digest::Digest;
use crate::exchange::{
    Exchange, HostRequest, Origin, Pace, Relay, Relayed, Request, Response, Unfinished,
};
use crate::fault::Fault;
use crate::ids::{Action, CallId, ConnectionRef, Environment, Installation, Slot, Tenant, User};
use crate::quota::{Quota, Standing};
use crate::release::ReleaseRef;
use crate::said::{Line, SaidCall};

/// The wall clock. Nothing's correctness depends on it being right.
pub trait Clock: Send + Sync {
    /// Now, UTC.
    fn now(&self) -> OffsetDateTime;
}

/// Everything nondeterministic that a guest can see, for one call. Recording and replaying a call is
/// another implementation of this trait.
#[async_trait]
pub trait Outside: Send + Sync {
    /// Sends one request. Any status is a response.
    async fn send(&self, request: Request) -> Result<Response, Failure>;
    /// Milliseconds since the Unix epoch, coarse.
    fn now(&self) -> u64;
    /// Fills `buffer` with random bytes.
    fn random(&self, buffer: &mut [u8]);
    /// The installation's configuration.
    fn config(&self) -> Json;
    /// Non-secret facts about the connection.
    fn connection(&self) -> Json;
    /// Takes one line of what the guest says.
    fn log(&self, line: &Line<'_>);
    /// Whose time on a processor it is. Where many want some, tenants take turns; none takes none.
    fn payer(&self) -> Option<(Environment, Tenant)> {
        None
    }
}

/// A release, loaded: what dispatch calls. The code stays loaded as long as somebody holds one.
#[async_trait]
pub trait Connector: Send + Sync {
    /// What it is.
    fn release(&self) -> &ReleaseRef;
    /// What it declared.
    fn descriptor(&self) -> &Arc<Descriptor>;
    /// Runs one operation in a fresh instance. Dropping the future ends the guest.
    async fn call(
        &self,
        operation: Operation,
        outside: Arc<dyn Outside>,
        time_left: Duration,
    ) -> Result<Output, Fault>;
}

/// Turns a published release into something callable.
#[async_trait]
pub trait Loader: Send + Sync {
    /// Loads it, or hands out what is loaded already.
    async fn load(
        &self,
        release: &ReleaseRef,
        descriptor: &Arc<Descriptor>,
    ) -> Result<Arc<dyn Connector>, Fault>;
}

/// Where component bytes are, by digest.
#[async_trait]
pub trait Components: Send + Sync {
    /// The bytes, checked against their digest.
    async fn component(&self, digest: &Digest) -> Result<Bytes, Fault>;
}

/// Checks a component in a process of its own, compiles it there, and keeps the compiled code.
#[async_trait]
pub trait Admission: Send + Sync {
    /// Everything about the component that does not depend on who publishes it.
    async fn admit(&self, component: Bytes) -> Result<Admitted, Fault>;
}

/// A component that may run.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// SHA-256 of the component.
    pub digest: Digest,
    /// What `describe` answered.
    pub descriptor: Descriptor,
    /// Interfaces of the contract that it exports, such as `reader`.
    pub exports: Vec<String>,
    /// Version of the contract it was built against.
    pub contract: Version,
}

/// What the operator lets connectors reach, asked before anything is sent.
pub trait EgressPolicy: Send + Sync {
    /// Whether what a descriptor declares of requests is something that a connector may declare: hosts, base URL, the headers
    /// that credentials go into.
    fn check_descriptor(&self, descriptor: &Descriptor) -> Result<(), Fault>;
    /// Whether a connection may have this base URL.
    fn check_base_url(&self, descriptor: &Descriptor, base_url: &str) -> Result<(), Fault>;
}

/// The only way out.
#[async_trait]
pub trait Egress: Send + Sync {
    /// Carries one exchange.
    async fn exchange(&self, origin: &Origin, request: Request) -> Result<Response, Failure>;
}

/// Carries a caller's own request to the provider, as the pinned release would be allowed to.
#[async_trait]
pub trait Proxy: Send + Sync {
    /// Carries one exchange; bodies go through as they come.
    async fn relay(
        &self,
        origin: &Origin,
        request: Relayed,
        keeps: Keeps,
    ) -> Result<Relay, Failure>;
    /// Those of these slots in which a user has a connection.
    async fn connected(
        &self,
        installation: &Installation,
        user: &User,
        slots: Vec<Slot>,
    ) -> Result<Vec<Slot>, Fault>;
}

/// Sends what the host has to say for itself.
#[async_trait]
pub trait Outbound: Send + Sync {
    /// Carries one exchange. Nothing is added to the request and nothing taken from the response.
    async fn fetch(&self, request: HostRequest) -> Result<Response, Unfinished>;
}

/// Who keeps to the rate limits of providers.
pub trait Quotas: Send + Sync {
    /// What is known of them in an environment, in the order of [`Quota`]. Reads memory only.
    fn quotas(&self, environment: &Environment) -> Vec<(Quota, Standing)>;
}

/// Who keeps the exchanges.
pub trait ExchangeLog: Send + Sync {
    /// Bytes of each body that are to be kept.
    fn body_bytes_max(&self) -> usize;
    /// Takes one. Must not block; where it cannot keep up it drops and counts.
    fn record(&self, exchange: Exchange);
}

/// Who keeps what calls said.
pub trait CallLog: Send + Sync {
    /// Takes one that has ended. Must not block; where it cannot keep up it drops and counts.
    fn record(&self, call: SaidCall);
}

/// Who knows the names under which secrets stand.
pub trait Redact: Send + Sync {
    /// Text of a connector's with the values of such names masked, those among them that its descriptor names.
    fn masked<'t>(&self, descriptor: &Descriptor, text: &'t str) -> Cow<'t, str>;
}

/// One that keeps nothing.
impl CallLog for () {
    fn record(&self, _call: SaidCall) {}
}

/// One that knows of no secrets.
impl Redact for () {
    fn masked<'t>(&self, _descriptor: &Descriptor, text: &'t str) -> Cow<'t, str> {
        Cow::Borrowed(text)
    }
}

/// Who shows calls what is granted to a tenant.
#[async_trait]
pub trait Granting: Send + Sync {
    /// What is granted to one of its connections has changed by itself.
    async fn granted_anew(&self, installation: &Installation) -> Result<(), Fault>;
}

/// A credential, in use for as long as this is held.
#[derive(Clone)]
pub struct Held {
    /// The secret, open.
    pub opened: Arc<Opened>,
    /// Which of the connection's secrets it is: goes up with every refresh and every change by hand.
    pub version: u64,
    /// The provider's name of the account, where known: what budgets are shared by.
    pub account: Option<Arc<str>>,
    /// What this connection's paths are joined to, where it has a base URL of its own: a user's account may be in another
    /// place than the tenant's.
    pub base_url: Option<Arc<str>>,
    /// While it lives, the connection is not idle: pausing waits for it.
    pub in_use: Arc<dyn InUse>,
}

/// A use of a connection.
pub trait InUse: Send + Sync {
    /// Whether somebody has waited for its end long enough: what it is held for is to end now.
    fn is_cut(&self) -> bool {
        false
    }
}

/// One that nobody cuts.
impl InUse for () {}

/// Knows the tokens of this host.
pub trait IssuedTokens: std::fmt::Debug + Send + Sync {
    /// Whether this text, which [looks](crate::token) like a token, is one that this host has issued.
    fn has(&self, text: &[u8]) -> bool;
}

/// What is held for a proxied request until the last byte of its answer is through, and given back then, however it ends:
/// also where nobody asks for more of the answer.
pub type Keeps = Box<dyn Any + Send>;

/// Who holds the secrets.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// The credential of a connection, if one is set. `spec` says how it is refreshed; if that has to happen
    /// first, this waits for it.
    async fn credential(&self, of: &ConnectionRef, spec: &SlotSpec) -> Result<Option<Held>, Fault>;

    /// Whether there is a connection, whatever its state.
    async fn connected(&self, of: &ConnectionRef) -> Result<bool, Fault>;

    /// The provider rejected the secret of this version. A newer one, if there is one or can be.
    async fn rejected(
        &self,
        of: &ConnectionRef,
        spec: &SlotSpec,
        version: u64,
    ) -> Result<Option<Held>, Fault>;
}

/// Who knows what the actions of a release take.
#[async_trait]
pub trait Inputs: Send + Sync {
    /// Holds the input of an action, JSON text, against what the route's release says of it, and hands it back if it fits.
    /// One tenant's inputs do not make another's wait, and none waits for longer than there is time left.
    async fn check(
        &self,
        route: &Route,
        action: &Action,
        input: Json,
        time_left: Duration,
    ) -> Result<Json, Fault>;
}

/// What a call resolves to. Holding it keeps the release loaded and the settings as they were.
pub struct Route {
    /// For whom.
    pub installation: Installation,
    /// Counts up with every route that any installation gets: of two, the higher is the newer.
    pub order: u64,
    /// What runs.
    pub connector: Arc<dyn Connector>,
    /// What the operator set.
    pub settings: Arc<Settings>,
}

/// What the operator configured for an installation. Holds no secret.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// JSON object.
    pub config: Json,
    /// What paths are joined to instead of the descriptor's base URL.
    pub base_url: Option<Arc<str>>,
    /// The tenant's own connections, by slot.
    pub connections: BTreeMap<Slot, Granted>,
}

/// What may be said of a connection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Granted {
    /// The scheme's word, such as `bearer`.
    pub kind: Arc<str>,
    /// What the provider granted, where it said.
    pub scopes: Option<Arc<[String]>>,
    /// What else is known of it by name.
    pub facts: Arc<BTreeMap<String, String>>,
}

/// Who knows which release an installation runs.
pub trait Routes: Send + Sync {
    /// The route of an installation now.
    fn resolve(&self, installation: &Installation) -> Result<Arc<Route>, Fault>;
    /// The installation with this mark in an address, among those that anything is set for. An error where it may only not
    /// be known yet.
    fn marked(&self, mark: &InstallationMark) -> Result<Option<Installation>, Fault>;
}

/// What a caller asks to be run.
#[derive(Clone, Debug)]
pub struct Call {
    /// For whom.
    pub installation: Installation,
    /// What.
    pub operation: Operation,
    /// How long it may take, if the caller says.
    pub time: Option<Duration>,
    /// For which of the tenant's users; none means for the tenant.
    pub user: Option<User>,
    /// What is done when the provider asks to wait.
    pub pace: Pace,
}

/// What came of a call.
#[derive(Debug)]
pub struct Answer {
    /// Names the call in logs and exchanges.
    pub call: CallId,
    /// What really ran; none if the call ended before it had a route.
    pub release: Option<ReleaseRef>,
    /// The answer.
    pub result: Result<Output, Fault>,
}

/// A request that a caller sends to the provider itself.
#[derive(Debug)]
pub struct RelayCall {
    /// For whom.
    pub installation: Installation,
    /// For which of the tenant's users; none means for the tenant.
    pub user: Option<User>,
    /// What is done when the provider asks to wait.
    pub pace: Pace,
    /// How long the head of the answer may take, if the caller says.
    pub time: Option<Duration>,
    /// What.
    pub request: Relayed,
}

/// What came of it.
#[derive(Debug)]
pub struct RelayAnswer {
    /// Names the call in logs and exchanges.
    pub call: CallId,
    /// Whose hosts and slots were used; none if the call ended before it had a route.
    pub release: Option<ReleaseRef>,
    /// The answer.
    pub result: Result<Relay, Fault>,
}

/// Who runs calls.
#[async_trait]
pub trait Dispatch: Send + Sync {
    /// Runs one call to its end. Dropping the future ends the guest.
    async fn call(&self, call: Call) -> Answer;

    /// Carries one request past the connector, under what its release declares.
    async fn relay(&self, call: RelayCall) -> RelayAnswer;
}

/// One ended call, as reported to whoever counts.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Which.
    pub call: CallId,
    /// For whom.
    pub installation: Installation,
    /// What really ran.
    pub release: ReleaseRef,
    /// Of the route that the call took.
    pub order: u64,
    /// What was asked.
    pub verb: &'static str,
    /// How long it took.
    pub elapsed: Duration,
    /// None means it succeeded.
    pub fault: Option<Fault>,
}

/// Who hears about ended calls.
pub trait Outcomes: Send + Sync {
    /// Takes one. Must not block.
    fn ended(&self, ended: &Ended);
}
