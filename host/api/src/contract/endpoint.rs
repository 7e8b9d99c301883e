//! Every endpoint: its method, path, who may use it, what it takes and gives.
//!
//! The router mounts handlers on these, authorisation reads `access` and the path, and the OpenAPI
//! document is made of them. Adding an endpoint begins here.

use std::borrow::Cow;

use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use super::{call, installation, problem, release, token};

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
    /// Whether it runs a call: takes a timeout, answers with what ran.
    pub call: bool,
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
}

/// Who may use an endpoint. Where the path names an environment, the token must cover it; where it does
/// not, anything but [`Self::View`] needs a token of all environments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Anyone, without a token.
    Open,
    /// Anyone without a token if the host is set up so; else as [`Self::View`].
    Metrics,
    /// Every role.
    View,
    /// Publisher and admin.
    Publish,
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
    /// JSON of this shape.
    Shape(Shape),
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

const fn any_json(summary: &'static str) -> Answer {
    Answer { status: 200, summary, body: Some((JSON, None)) }
}

const fn nothing(summary: &'static str) -> Answer {
    Answer { status: 204, summary, body: None }
}

const fn text(name: &'static str, summary: &'static str) -> Query {
    Query { name, summary, number: false }
}

const fn number(name: &'static str, summary: &'static str) -> Query {
    Query { name, summary, number: true }
}

const LIMIT: Query = number("limit", "How many at most: 1 to 1000, 100 if absent");

macro_rules! endpoints {
    ($($name:ident = $method:ident $path:expr, $access:ident, $summary:literal,
        [$($query:expr),*], $body:expr, [$($answer:expr),*] $(, $call:ident)?;)*) => {
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
    (@call call) => { true };
    (@call) => { false };
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

    CONFIG_SET = Put installation!("/config"), Operate,
        "Set an installation's configuration: a JSON object that fits the release's schema",
        [], Body::Json, [json::<installation::Config>(200, "The configuration")];
    CONFIG_GET = Get installation!("/config"), View,
        "Show an installation's configuration; generation 0 if none was set",
        [], Body::Nothing, [json::<installation::Config>(200, "The configuration")];
    CONNECTION_SET = Put installation!("/connections/{slot}"), Operate,
        "Set the credential of a slot",
        [], Body::Shape(shape::<installation::SetConnection>()),
        [json::<installation::Connection>(200, "The connection, without its secret")];
    CONNECTION_REMOVE = Delete installation!("/connections/{slot}"), Operate,
        "Remove the credential of a slot",
        [], Body::Nothing, [nothing("Removed")];
    CONNECTION_LIST = Get installation!("/connections"), View,
        "List the slots that have a credential",
        [], Body::Nothing, [json::<installation::ConnectionList>(200, "The connections")];

    ACTION_INVOKE = Post installation!("/actions/{action}"), Operate,
        "Run an action: its input is the body, its output the answer",
        [], Body::Json, [any_json("The action's output")], call;
    OBJECT_LIST = Get installation!("/objects"), Operate,
        "Discover the objects that the tenant has",
        [], Body::Nothing, [any_json("Object names to JSON Schemas")], call;
    OBJECT_GET = Get installation!("/objects/{object}"), Operate,
        "Discover one object",
        [], Body::Nothing, [any_json("The object's name to its JSON Schema")], call;
    OBJECT_READ = Post installation!("/objects/{object}/read"), Operate,
        "Read one page of an object",
        [], Body::Shape(shape::<call::Read>()), [json::<call::Page>(200, "The page")], call;
    OBJECT_WRITE = Post installation!("/objects/{object}/write"), Operate,
        "Write one batch of an object",
        [], Body::Shape(shape::<call::Write>()),
        [json::<call::Outcomes>(200, "What became of each item, in their order")], call;

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
    AUDIT_LIST = Get "/v1/audit", Operate,
        "List changes of the control plane, oldest first",
        [number("after", "Only entries behind this number"), LIMIT],
        Body::Nothing, [json::<token::Audit>(200, "The entries")];

    HEALTH = Get "/healthz", Open,
        "Whether the process is alive",
        [], Body::Nothing, [json::<token::State>(200, "It is")];
    READY = Get "/readyz", Open,
        "Whether the host can serve",
        [], Body::Nothing, [json::<token::State>(200, "It can")];
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
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }

    /// Whether it is about one environment.
    pub fn environmental(&self) -> bool {
        self.path_names().any(|name| name == "environment")
    }
}

// === impl Method ===

impl Method {
    /// As in a request.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

// === impl Shape ===

impl std::fmt::Debug for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&(self.name)())
    }
}
