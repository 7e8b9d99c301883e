//! Every endpoint: its method, path, who may use it, what it takes and gives.
//!
//! The router mounts handlers on these, authorisation reads `access` and the path, and the OpenAPI
//! document is made of them. Adding an endpoint begins here.

use std::borrow::Cow;

use axum::http;
use keyway_exchanges::har::MEDIA_TYPE;
use keyway_vault::model::Verb;
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use super::{
    call, connect, connection, exchange, installation, keys, logged, problem, quota, release, token,
};

/// An endpoint.
#[derive(Debug)]
pub struct Endpoint {
    /// Its name, `operationId` in the OpenAPI document.
    pub name: &'static str,
    /// The method.
    pub method: Method,
    /// The path, with `{names}`.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
    /// One line.
    pub summary: &'static str,
    /// Query parameters.
    pub query: &'static [Query],
    /// What the request carries.
    pub body: Body,
    /// What success looks like.
    pub answers: &'static [Answer],
    /// What kind of call it runs, if it does: it then takes a timeout, and answers with what ran.
    pub call: Option<Verb>,
}

/// A method.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Method {
    /// Changes nothing.
    Get,
    /// Sets.
    Put,
    /// Does.
    Post,
    /// Removes.
    Delete,
    /// Whichever the caller has.
    Any,
}

/// Who may use an endpoint. Where the path names an environment, the token must cover it; where it does
/// not, anything but [`Self::View`] needs a token of all environments. A caller may do nothing but call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Anyone, without a token.
    Open,
    /// Anyone without a token if the host is set up so; else as [`Self::View`].
    Metrics,
    /// Every role but caller.
    View,
    /// Publisher and admin.
    Publish,
    /// Caller, within what the token is bound to; operator and admin.
    Call,
    /// Operator and admin.
    Operate,
    /// Admin.
    Administer,
}

/// A query parameter.
#[derive(Debug)]
pub struct Query {
    /// Its name.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Whether it is a number; else text.
    pub number: bool,
}

/// What a request carries.
#[derive(Debug)]
pub enum Body {
    /// Nothing.
    Nothing,
    /// The bytes of a component.
    Component,
    /// Any JSON.
    Json,
    /// Anything, or nothing.
    Bytes,
    /// JSON of this shape.
    Shape(Shape),
    /// JSON of this shape, one a line.
    Lines(Shape),
}

/// What a success is.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// When.
    pub summary: &'static str,
    /// Media type and shape; none means no body.
    pub body: Option<(&'static str, Option<Shape>)>,
}

/// A schema of the OpenAPI document.
pub struct Shape {
    /// Its name.
    pub name: fn() -> Cow<'static, str>,
    /// Itself.
    pub schema: fn() -> RefOr<Schema>,
    /// Those it refers to.
    pub referred: fn(&mut Vec<(String, RefOr<Schema>)>),
}

/// JSON.
const JSON: &str = "application/json";

const fn shape<T: ToSchema>() -> Shape {
    Shape { name: T::name, schema: T::schema, referred: T::schemas }
}

const fn json<T: ToSchema>(status: u16, summary: &'static str) -> Answer {
    Answer { status, summary, body: Some((JSON, Some(shape::<T>()))) }
}

const fn lines<T: ToSchema>(summary: &'static str) -> Answer {
    Answer { status: 200, summary, body: Some((super::LINES_TYPE, Some(shape::<T>()))) }
}

const fn any_json(summary: &'static str) -> Answer {
    Answer { status: 200, summary, body: Some((JSON, None)) }
}

const fn any_bytes(summary: &'static str) -> Answer {
    Answer { status: 200, summary, body: Some(("*/*", None)) }
}

const fn archive(summary: &'static str) -> Answer {
    Answer { status: 200, summary, body: Some((MEDIA_TYPE, None)) }
}

const fn nothing(summary: &'static str) -> Answer {
    Answer { status: 204, summary, body: None }
}

const fn page(summary: &'static str) -> Answer {
    Answer { status: 200, summary, body: Some(("text/html", None)) }
}

const fn elsewhere(summary: &'static str) -> Answer {
    Answer { status: 303, summary, body: None }
}

const fn text(name: &'static str, summary: &'static str) -> Query {
    Query { name, summary, number: false }
}

const fn number(name: &'static str, summary: &'static str) -> Query {
    Query { name, summary, number: true }
}

// Which entries of a log: what a page and a stream have in common, and what only pages have.
const OF_TENANT: Query = text("tenant", "Only of this tenant");
const OF_CONNECTOR: Query = text("connector", "Only of this connector, `publisher/name`");
const OF_CALL: Query = text("call", "Only of this call, `call_…`");
const OF_RELEASE: Query =
    text("release", "Only of this release: a version, a digest, or 12 or more digits of it");
const OF_HOST: Query = text("host", "Only with this host");
const OF_STATUS: Query =
    text("status", "Only with this status, `429`, or a status of this class, `4xx`");
const IF_STOPPED: Query = text("stopped", "`true`: only those of which no response was handed on");
const IF_FAILED: Query =
    text("failed", "`true`: only those, and responses with a status from 400 on");
const OF_PURPOSE: Query =
    text("purpose", "Only for this: `call`, `proxy`, or one of the host's own, such as `token`");

const IF_CALL_FAILED: Query = text("failed", "`true`: only those that failed");
const SINCE: Query =
    text("since", "Only what began then or later: RFC 3339, or how long ago, such as `10m`");
const UNTIL: Query = text("until", "Only what began then or earlier, likewise");
const AFTER: Query = number("after", "`next` of the page before");
const ORDER: Query = text("order", "`newest` first, as if absent, or `oldest`");

const LIMIT: Query = number("limit", "How many at most: 1 to 1000, 100 if absent");

const USER: Query = text("user", "Of this user's connection instead of the tenant's own");

const TEST: Query = text("test", "`false`: set it without asking the provider");

const DRY_RUN: Query = text("dry_run", "`true`: try everything and change nothing");

const REPLACE: Query = text("replace", "`true`: as `replace` in the body");

macro_rules! endpoints {
    ($($name:ident = $method:ident $path:expr, $access:ident, $summary:literal,
        [$($query:expr),*], $body:expr, [$($answer:expr),*] $(, call $call:ident)?;)*) => {
        $(
            #[doc = $summary]
            pub static $name: Endpoint = Endpoint {
                name: stringify!($name),
                method: Method::$method,
                path: $path,
                access: Access::$access,
                summary: $summary,
                query: &[$($query),*],
                body: $body,
                answers: &[$($answer),*],
                call: endpoints!(@call $($call)?),
            };
        )*

        /// Every endpoint.
        pub static ENDPOINTS: &[&Endpoint] = &[$(&$name),*];
    };
    (@call $verb:ident) => { Some(Verb::$verb) };
    (@call) => { None };
}

/// A path below an installation.
macro_rules! installation {
    ($rest:literal) => {
        concat!(
            "/v1/environments/{environment}/tenants/{tenant}/connectors/{publisher}/{name}",
            $rest
        )
    };
}

/// The path of an OAuth client.
macro_rules! client {
    () => {
        "/v1/environments/{environment}/connectors/{publisher}/{name}/clients/{slot}"
    };
}

endpoints! {
    RELEASE_PUBLISH = Post "/v1/releases", Publish,
        "Publish a component as a release",
        [], Body::Component,
        [json::<release::Release>(201, "Published"),
         json::<release::Release>(200, "These bytes were published before")];
    RELEASE_LIST = Get "/v1/releases", View,
        "List the releases of every connector",
        [], Body::Nothing, [json::<release::ReleaseList>(200, "The releases")];
    RELEASE_LIST_OF = Get "/v1/releases/{publisher}/{name}", View,
        "List the releases of a connector",
        [], Body::Nothing, [json::<release::ReleaseList>(200, "The releases")];
    RELEASE_GET = Get "/v1/releases/{publisher}/{name}/{release}", View,
        "Show a release, named by version, digest or the first 12 or more digits of it",
        [], Body::Nothing, [json::<release::Release>(200, "The release")];
    RELEASE_DIFF = Get "/v1/releases/{publisher}/{name}/{release}/diff/{other}", View,
        "Show what differs between two releases of a connector",
        [], Body::Nothing, [json::<release::Diff>(200, "The differences")];

    PIN_SET = Put installation!("/pin"), Operate,
        "Pin an installation to a release",
        [], Body::Shape(shape::<installation::SetPin>()),
        [json::<installation::Pin>(200, "Calls that begin now run it")];
    PIN_REVERT = Post installation!("/revert"), Operate,
        "Go back to an earlier pin, as a new generation",
        [], Body::Shape(shape::<installation::Revert>()),
        [json::<installation::Pin>(200, "Calls that begin now run it")];
    PIN_UNPIN = Post installation!("/unpin"), Operate,
        "End an installation's pin: it runs what the environment's default says",
        [], Body::Shape(shape::<installation::Unpin>()),
        [json::<installation::Pin>(200, "It has no pin")];
    PIN_GET = Get installation!("/pin"), View,
        "Show an installation's pin",
        [], Body::Nothing, [json::<installation::Pin>(200, "The pin")];
    PIN_HISTORY = Get installation!("/history"), View,
        "List an installation's pins, newest first",
        [number("before", "Only generations below this"), LIMIT],
        Body::Nothing, [json::<installation::History>(200, "The pins")];
    PIN_MATRIX = Get "/v1/pins", View,
        "List installations with the release they should run and the one they ran last",
        [text("environment", "Only there"), text("tenant", "Only theirs"),
         text("connector", "Only of it: `publisher/name`"),
         text("after", "`next` of the page before"), LIMIT],
        Body::Nothing, [json::<installation::Matrix>(200, "The installations")];
    DEFAULT_SET = Put "/v1/environments/{environment}/defaults/{publisher}/{name}", Operate,
        "Set what installations without a pin run",
        [], Body::Shape(shape::<installation::SetDefault>()),
        [json::<installation::EnvironmentDefault>(200, "Calls that begin now run it")];
    DEFAULT_GET = Get "/v1/environments/{environment}/defaults/{publisher}/{name}", View,
        "Show what installations without a pin run",
        [], Body::Nothing, [json::<installation::EnvironmentDefault>(200, "The default")];

    DEFAULT_UNSET = Post "/v1/environments/{environment}/defaults/{publisher}/{name}/unset", Operate,
        "Let installations without a pin run nothing",
        [], Body::Shape(shape::<installation::UnsetDefault>()),
        [json::<installation::DefaultUnset>(200, "There is no default")];
    TENANT_DELETE = Post "/v1/environments/{environment}/tenants/{tenant}/delete", Administer,
        "Remove everything of a tenant: connections, with their tokens at the provider, pins, configurations, data keys",
        [], Body::Shape(shape::<installation::DeleteTenant>()),
        [json::<installation::TenantDeleted>(200, "Nothing of it is left")];

    CONFIG_SET = Put installation!("/config"), Operate,
        "Set an installation's configuration: a JSON object that fits the release's schema",
        [], Body::Json, [json::<installation::Config>(200, "The configuration")];
    CONFIG_GET = Get installation!("/config"), View,
        "Show an installation's configuration; generation 0 if none was set",
        [number("generation", "As it was at this generation")],
        Body::Nothing, [json::<installation::Config>(200, "The configuration")];
    CONFIG_REMOVE = Delete installation!("/config"), Operate,
        "Leave an installation without a configuration, as a new generation",
        [], Body::Nothing, [json::<installation::Config>(200, "It has none")];
    CONFIG_HISTORY = Get installation!("/config/history"), View,
        "List an installation's configurations, newest first",
        [number("before", "Only generations below this"), LIMIT],
        Body::Nothing, [json::<installation::ConfigHistory>(200, "The configurations")];
    CONFIG_REVERT = Post installation!("/config/revert"), Operate,
        "Go back to an earlier configuration, as a new generation",
        [], Body::Shape(shape::<installation::RevertConfig>()),
        [json::<installation::Config>(200, "Calls that begin now see it")];
    CONNECTION_SET = Put installation!("/connections/{slot}"), Operate,
        "Set the credential of a slot, once the release's probe has shown that it works",
        [USER, TEST], Body::Shape(shape::<connection::SetConnection>()),
        [json::<connection::Connection>(200, "The connection, without its secret")];
    CONNECTION_SET_ALL = Put installation!("/connections"), Operate,
        "Set the credentials of several slots in one change: all of them or none",
        [USER, TEST], Body::Shape(shape::<connection::SetConnections>()),
        [json::<connection::ConnectionList>(200, "The connections, without their secrets")];
    CONNECTION_REMOVE = Delete installation!("/connections/{slot}"), Operate,
        "Remove the credential of a slot; tokens are revoked at the provider where it offers that",
        [USER], Body::Nothing, [nothing("Removed")];
    CONNECTION_LIST = Get installation!("/connections"), View,
        "List an installation's connections: the tenant's own and its users'",
        [], Body::Nothing, [json::<connection::ConnectionList>(200, "The connections")];
    CONNECTION_PAUSE = Post installation!("/connections/{slot}/pause"), Operate,
        "Pause a connection, and answer once no exchange and no refresh of it is in flight",
        [USER, number("wait_seconds", "How long to wait for that: 0 to 300, 30 if absent")],
        Body::Nothing, [json::<connection::PauseReceipt>(200, "It is idle")];
    CONNECTION_RESUME = Post installation!("/connections/{slot}/resume"), Operate,
        "Let calls use a connection again",
        [USER], Body::Nothing, [json::<connection::Connection>(200, "The connection")];
    CONNECTION_HOLD_REFRESH = Post installation!("/connections/{slot}/hold-refresh"), Operate,
        "Keep a connection's tokens as they are: another system refreshes them; answers when no refresh is in flight",
        [USER], Body::Nothing, [json::<connection::Connection>(200, "The connection")];
    CONNECTION_RELEASE_REFRESH = Post installation!("/connections/{slot}/release-refresh"), Operate,
        "Refresh a connection's tokens again",
        [USER], Body::Nothing, [json::<connection::Connection>(200, "The connection")];
    CONNECTION_REFRESH = Post installation!("/connections/{slot}/refresh"), Operate,
        "Refresh a connection's tokens now",
        [USER], Body::Shape(shape::<connection::RefreshConnection>()),
        [json::<connection::TokenState>(200, "Where they stand")];
    CONNECTION_TEST = Post installation!("/connections/{slot}/test"), Operate,
        "Ask the provider whether a connection works, with the request that the release names for it",
        [USER], Body::Nothing, [json::<connection::Tested>(200, "It works")];
    CONNECTION_OBTAIN = Post installation!("/connections/{slot}/obtain"), Operate,
        "Ask for a connection's tokens, where no person has to consent: client credentials, JWT-bearer assertions, token exchange",
        [USER], Body::Shape(shape::<connection::ObtainConnection>()),
        [json::<connection::Connection>(200, "The connection: its token works, and is asked for again when it ends")];
    CONNECTION_IMPORT = Post installation!("/connections/{slot}/import"), Operate,
        "Take tokens from another system, after trying them at the provider",
        [USER, DRY_RUN, REPLACE], Body::Shape(shape::<connection::ImportConnection>()),
        [json::<connection::Imported>(200, "They work, and were taken unless it was a dry run")];
    CONNECTION_EXPORT = Post installation!("/connections/{slot}/export"), Operate,
        "Hand out a connection's tokens, sealed to a recipient; in the clear only to an admin",
        [USER], Body::Shape(shape::<connection::ExportConnection>()),
        [json::<connection::ExportedConnection>(200, "One line of an import")];
    CONNECTION_STANDING = Get "/v1/environments/{environment}/connections", View,
        "List the connections of an environment that have tokens, and where those stand",
        [text("phase", "Only with this one: `ready`, `refreshing`, `uncertain` or `needs-reauth`"),
         OF_TENANT, OF_CONNECTOR, text("after", "`next` of the page before"), LIMIT],
        Body::Nothing, [json::<connection::StandingList>(200, "The connections")];
    CONNECTION_IMPORT_MANY = Post "/v1/environments/{environment}/connections/import", Operate,
        "Take tokens of many connections, one a line; a line that fails leaves the others",
        [DRY_RUN, REPLACE], Body::Lines(shape::<connection::ImportLine>()),
        [lines::<connection::LineOutcome>("What came of each line, one a line")];
    SCOPES_GET = Get installation!("/scopes"), View,
        "Show what a release needs of its provider, and what was granted",
        [text("release", "As in `SetPin`; absent: the one that the installation runs")],
        Body::Nothing, [json::<connection::Scopes>(200, "By slot")];
    CLIENT_LIST = Get "/v1/environments/{environment}/clients", Administer,
        "List the operator's OAuth clients, without their secrets",
        [], Body::Nothing, [json::<connection::ClientList>(200, "The clients")];
    CLIENT_SET = Put client!(), Administer,
        "Set the operator's OAuth client for a slot of a connector",
        [], Body::Shape(shape::<connection::SetClient>()),
        [json::<connection::Client>(200, "The client, without its secret")];
    CLIENT_GET = Get client!(), Administer,
        "Show the operator's OAuth client for a slot of a connector",
        [], Body::Nothing, [json::<connection::Client>(200, "The client, without its secret")];
    CLIENT_REMOVE = Delete client!(), Administer,
        "Remove the operator's OAuth client for a slot of a connector",
        [], Body::Nothing, [nothing("Removed")];

    CONNECT_BEGIN = Post installation!("/connect-sessions"), Operate,
        "Begin a connect session: a link for a person, or where the caller is to send one",
        [], Body::Shape(shape::<connect::BeginConnect>()),
        [json::<connect::ConnectSession>(201, "The session; what is in it is shown once")];
    CONNECT_COMPLETE = Post "/v1/environments/{environment}/connect-sessions/complete", Operate,
        "Hand in what a provider answered to a headless session",
        [], Body::Shape(shape::<connect::CompleteConnect>()),
        [json::<connect::Connected>(200, "Connected: calls that begin now use it")];
    CONNECT_PAGE = Get "/connect/{token}", Open,
        "The page that a person is sent to",
        [], Body::Nothing, [page("What is asked for, and a button")];
    CONNECT_START = Post "/connect/{token}/start", Open,
        "What the page's button does",
        [], Body::Nothing, [elsewhere("To the provider")];
    CONNECT_CALLBACK = Get "/connect/callback", Open,
        "Where a provider sends the person back to",
        [text("state", "Whose answer it is"), text("code", "What is exchanged for tokens"),
         text("iss", "Whose answer it says it is"), text("error", "Why there is no code"),
         text("answer", "The name under which an answer is kept that came as a form")],
        Body::Nothing, [page("It is done"), elsewhere("To the session's `return_url`")];
    CONNECT_CALLBACK_FORM = Post "/connect/callback", Open,
        "The same, from a provider that has the browser send a form",
        [], Body::Nothing, [elsewhere("To the callback, with the name under which the form is kept")];

    ACTION_INVOKE = Post installation!("/actions/{action}"), Call,
        "Run an action: its input is the body, its output the answer",
        [], Body::Json, [any_json("The action's output")], call Invoke;
    OBJECT_LIST = Get installation!("/objects"), Call,
        "Discover the objects that the tenant has",
        [], Body::Nothing, [any_json("Object names to JSON Schemas")], call Discover;
    OBJECT_GET = Get installation!("/objects/{object}"), Call,
        "Discover one object",
        [], Body::Nothing, [any_json("The object's name to its JSON Schema")], call Discover;
    OBJECT_READ = Post installation!("/objects/{object}/read"), Call,
        "Read one page of an object",
        [], Body::Shape(shape::<call::Read>()), [json::<call::Page>(200, "The page")], call Read;
    OBJECT_WRITE = Post installation!("/objects/{object}/write"), Call,
        "Write one batch of an object",
        [], Body::Shape(shape::<call::Write>()),
        [json::<call::Outcomes>(200, "What became of each item, in their order")], call Write;
    PROXY = Any installation!("/proxy/{*path}"), Call,
        "Send a request to the provider with the installation's credential; the answer is the provider's own",
        [], Body::Bytes, [any_bytes("Whatever the provider answers, with its status")], call Proxy;
    PROXY_URL = Get installation!("/proxy-url"), View,
        "Show where a client of the provider reaches an installation",
        [text("slot", "With this slot"), text("user", "For this user")],
        Body::Nothing, [json::<call::ProxyUrl>(200, "The two addresses")];

    CALL_LIST = Get "/v1/environments/{environment}/calls", View,
        "List calls that said something or failed, as the log has them",
        [OF_TENANT, OF_CONNECTOR, OF_CALL, OF_RELEASE, IF_CALL_FAILED, SINCE, UNTIL, AFTER, LIMIT, ORDER],
        Body::Nothing, [json::<logged::LoggedCallList>(200, "The calls")];
    CALL_FOLLOW = Get "/v1/environments/{environment}/calls/follow", View,
        "Follow calls that said something or failed as they end; the answer goes on until the caller goes",
        [OF_TENANT, OF_CONNECTOR, OF_CALL, OF_RELEASE, IF_CALL_FAILED],
        Body::Nothing, [lines::<logged::LoggedCallLine>("A line for each")];
    EXCHANGE_LIST = Get "/v1/environments/{environment}/exchanges", View,
        "List exchanges with providers, as the log has them",
        [OF_TENANT, OF_CONNECTOR, OF_CALL, OF_RELEASE, OF_HOST, OF_STATUS, IF_STOPPED, IF_FAILED, OF_PURPOSE,
         SINCE, UNTIL, AFTER, LIMIT, ORDER,
         text("format", "`json` or `har`; if absent, what the request accepts")],
        Body::Nothing, [json::<exchange::ExchangeList>(200, "The exchanges"), archive("The exchanges")];
    EXCHANGE_FOLLOW = Get "/v1/environments/{environment}/exchanges/follow", View,
        "Follow exchanges with providers as they end; the answer goes on until the caller goes",
        [OF_TENANT, OF_CONNECTOR, OF_CALL, OF_RELEASE, OF_HOST, OF_STATUS, IF_STOPPED, IF_FAILED, OF_PURPOSE],
        Body::Nothing, [lines::<exchange::ExchangeLine>("A line for each")];
    QUOTA_LIST = Get "/v1/environments/{environment}/quotas", View,
        "List how the rate limits of providers stand",
        [OF_TENANT, OF_CONNECTOR, text("after", "`next` of the page before"), LIMIT],
        Body::Nothing, [json::<quota::QuotaList>(200, "Those that are known")];

    TOKEN_LIST = Get "/v1/tokens", Administer,
        "List tokens, without their secrets",
        [], Body::Nothing, [json::<token::TokenList>(200, "The tokens")];
    TOKEN_ISSUE = Post "/v1/tokens", Administer,
        "Make a token; its secret is in this answer and nowhere else",
        [], Body::Shape(shape::<token::IssueToken>()),
        [json::<token::IssuedToken>(201, "The token")];
    TOKEN_REVOKE = Delete "/v1/tokens/{token}", Administer,
        "End a token",
        [], Body::Nothing, [nothing("Ended")];
    KEYS_GET = Get "/v1/keys", Administer,
        "List the sealing keys, and how many data keys each wraps",
        [], Body::Nothing, [json::<keys::Keys>(200, "The keys, without themselves")];
    KEYS_ROTATE = Post "/v1/keys/rotate", Administer,
        "Exchange the sealing key, or data keys",
        [], Body::Shape(shape::<keys::RotateKeys>()),
        [json::<keys::KeysRotated>(200, "Exchanged")];
    AUDIT_LIST = Get "/v1/audit", Operate,
        "List changes of the control plane",
        [text("order", "`oldest` first, as if absent, or `newest`"),
         number("after", "Only entries behind this number, where the oldest are first"),
         number("before", "Only entries below this number, where the newest are first"), LIMIT],
        Body::Nothing, [json::<token::Audit>(200, "The entries")];

    HEALTH = Get "/healthz", Open,
        "Whether the process is alive",
        [], Body::Nothing, [json::<token::State>(200, "It is")];
    READY = Get "/readyz", Open,
        "Whether the host can serve",
        [], Body::Nothing, [json::<token::State>(200, "It can")];
    CODE_GET = Get "/codes/{code}", Open,
        "What an error code means, as text: where the `type` of a problem leads",
        [], Body::Nothing,
        [Answer { status: 200, summary: "The page", body: Some((super::PAGE_TYPE, None)) }];
    METRICS = Get "/metrics", Metrics,
        "Metrics in Prometheus form; needs a token unless the host is set up otherwise",
        [], Body::Nothing,
        [Answer { status: 200, summary: "The metrics", body: Some((super::METRICS_TYPE, None)) }];
    OPENAPI = Get "/openapi.json", Open,
        "This document",
        [], Body::Nothing, [any_json("An OpenAPI 3.1 document")];
}

/// The shape of every error.
pub(crate) const PROBLEM: Shape = shape::<problem::Problem>();

// === impl Endpoint ===

impl Endpoint {
    /// Names in the path, in order.
    pub fn path_names(&self) -> impl Iterator<Item = &'static str> {
        let name = |part: &'static str| part.strip_prefix('{')?.strip_suffix('}');
        self.path.split('/').filter_map(name).map(|name| name.trim_start_matches('*'))
    }
}

// === impl Method ===

// A HEAD is answered where a GET is (RFC 9110 section 9.1).
static GET: [http::Method; 2] = [http::Method::GET, http::Method::HEAD];
static PUT: [http::Method; 1] = [http::Method::PUT];
static POST: [http::Method; 1] = [http::Method::POST];
static DELETE: [http::Method; 1] = [http::Method::DELETE];
static ANY: [http::Method; 7] = [
    http::Method::GET,
    http::Method::HEAD,
    http::Method::PUT,
    http::Method::POST,
    http::Method::PATCH,
    http::Method::DELETE,
    http::Method::OPTIONS,
];

impl Method {
    /// The methods of requests that it stands for.
    pub(crate) fn methods(self) -> &'static [http::Method] {
        match self {
            Self::Get => &GET,
            Self::Put => &PUT,
            Self::Post => &POST,
            Self::Delete => &DELETE,
            Self::Any => &ANY,
        }
    }

    /// As in a request.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Delete => "DELETE",
            Self::Any => "ANY",
        }
    }
}

// === impl Shape ===

impl std::fmt::Debug for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&(self.name)())
    }
}
