//! The descriptor: what a release says of itself, built up and written as the host's format 1.
//!
//! The types are the document's shape; the host checks what they cannot say, at publish time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::sign::{Hmac, Sigv4};
use crate::{Actions, Oauth, Operation, RateLimitError, RateLimitHeaders};

/// Every connector says what it is: the contract's interface `descriptor`.
pub trait Describe {
    /// What the release is. Runs at publish time with nothing reachable: no request, no clock.
    fn describe() -> Descriptor;
}

/// What a release says of itself.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Descriptor {
    format: u32,
    name: String,
    version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    summary: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    api: Option<Api>,
    hosts: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_url: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    redirects: u8,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    link_members: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    link_headers: Vec<String>,
    slots: BTreeMap<String, Slot>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rate_limits: Vec<RateLimit>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rate_limit_headers: Vec<RateLimitHeaders>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rate_limit_errors: Vec<RateLimitError>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    objects: BTreeMap<String, ObjectSpec>,
    #[serde(skip_serializing_if = "is_false")]
    custom_objects: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    actions: BTreeMap<String, ActionSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<Value>,
}

/// The provider's API that a release speaks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Api {
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sunset: Option<String>,
}

/// A credential that a connector needs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Slot {
    scheme: Scheme,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    summary: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    probe: Option<Probe>,
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<TokenHeader>,
}

/// The header that a token goes into.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct TokenHeader {
    name: String,
    prefix: String,
}

/// A request that tells whether a credential works, and whose it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Probe {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
}

/// How the host puts a credential on a request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Scheme {
    /// `Authorization: Bearer …`.
    Bearer,
    /// `Authorization: Basic …`.
    Basic,
    /// A key in a header of this name.
    ApiKeyHeader {
        /// Field name.
        name: String,
    },
    /// A key in a query parameter of this name.
    ApiKeyQuery {
        /// Parameter name.
        name: String,
    },
    /// An HMAC over parts of the request.
    Hmac(Box<Hmac>),
    /// AWS Signature Version 4.
    AwsSigv4(Box<Sigv4>),
    /// A bearer token that an authorization server issues, or one that was made by hand at the provider.
    Oauth2(Box<Oauth>),
}

/// How many requests the provider takes from one account in a time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct RateLimit {
    name: String,
    quota: u32,
    window: u64,
}

/// What can be done with an object.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ObjectSpec {
    #[serde(skip_serializing_if = "String::is_empty")]
    summary: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    read: Option<ReadSpec>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    write: Vec<Operation>,
    state_version: u32,
}

/// How an object is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ReadSpec {
    incremental: bool,
    deletes: bool,
    page_size: u32,
}

/// What an action takes and gives.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ActionSpec {
    #[serde(skip_serializing_if = "String::is_empty")]
    summary: String,
    effect: Effect,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Value>,
}

/// Whether an action can change the provider's data.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// It only reads.
    Read,
    /// It may write.
    Write,
}

fn is_zero(number: &u8) -> bool {
    *number == 0
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

// === impl Descriptor ===

impl Descriptor {
    /// `name` is `publisher/name`; `version` is semantic, usually `env!("CARGO_PKG_VERSION")`.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            format: 1,
            name: name.into(),
            version: version.into(),
            summary: String::new(),
            api: None,
            hosts: Vec::new(),
            base_url: None,
            redirects: 0,
            link_members: Vec::new(),
            link_headers: Vec::new(),
            slots: BTreeMap::new(),
            rate_limits: Vec::new(),
            rate_limit_headers: Vec::new(),
            rate_limit_errors: Vec::new(),
            objects: BTreeMap::new(),
            custom_objects: false,
            actions: BTreeMap::new(),
            config: None,
        }
    }

    /// One line for a list.
    #[must_use]
    pub fn summary(mut self, text: impl Into<String>) -> Self {
        self.summary = text.into();
        self
    }

    /// The provider's API that it speaks.
    #[must_use]
    pub fn api(mut self, api: Api) -> Self {
        self.api = Some(api);
        self
    }

    /// One more host it may reach: `api.example.com`, `*.example.com`, with `:port` if not 443.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.hosts.push(host.into());
        self
    }

    /// What a URL beginning with `/` is joined to, unless the connection says otherwise.
    #[must_use]
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    /// Redirects that the host follows for one request. None unless stated.
    #[must_use]
    pub fn redirects(mut self, redirects_max: u8) -> Self {
        self.redirects = redirects_max;
        self
    }

    /// Members of JSON in which the provider's answers hold links to the provider: a name, such as `next_page`, wherever it
    /// is, or a path from the root on, such as `/items/*/url`. Through the proxy such links lead back to it.
    #[must_use]
    pub fn link_members(mut self, members: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.link_members.extend(members.into_iter().map(Into::into));
        self
    }

    /// Headers of the provider's answers that hold links to it, beyond `Link`, `Location`, `Content-Location`,
    /// `Operation-Location`, `Azure-AsyncOperation`, `X-Goog-Upload-URL` and `Refresh`, which the host knows. Through the proxy
    /// they lead back to it.
    #[must_use]
    pub fn link_headers(mut self, headers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.link_headers.extend(headers.into_iter().map(Into::into));
        self
    }

    /// One more credential it needs.
    #[must_use]
    pub fn slot(mut self, name: impl Into<String>, slot: Slot) -> Self {
        self.slots.insert(name.into(), slot);
        self
    }

    /// One more limit that the provider documents: so many requests of one account in a window of whole seconds. `name`
    /// is what answers call it. All releases of the connector share what is left of it, and what the provider's own
    /// headers say goes before it.
    #[must_use]
    pub fn rate_limit(mut self, name: impl Into<String>, quota: u32, window: Duration) -> Self {
        self.rate_limits.push(RateLimit { name: name.into(), quota, window: window.as_secs() });
        self
    }

    /// One more limit that the provider tells of in headers of its own. Every host reads `RateLimit`, `RateLimit-Policy`,
    /// `RateLimit-…` and `X-RateLimit-…` with or without a limit's name, and `Retry-After`; those need not be declared.
    #[must_use]
    pub fn rate_limit_headers(mut self, headers: RateLimitHeaders) -> Self {
        self.rate_limit_headers.push(headers);
        self
    }

    /// One more error of the provider's that means "too often". A 429 need not be declared, nor a refusal whose headers say
    /// that nothing is left: the author's page has the statuses.
    #[must_use]
    pub fn rate_limit_error(mut self, error: RateLimitError) -> Self {
        self.rate_limit_errors.push(error);
        self
    }

    /// One more object it knows.
    #[must_use]
    pub fn object(mut self, name: impl Into<String>, spec: ObjectSpec) -> Self {
        self.objects.insert(name.into(), spec);
        self
    }

    /// Objects beyond those listed may be asked for: it finds them by `discover`.
    #[must_use]
    pub fn custom_objects(mut self) -> Self {
        self.custom_objects = true;
        self
    }

    /// The actions of a table, each as it describes itself.
    #[must_use]
    pub fn actions(mut self, actions: &Actions) -> Self {
        self.actions.extend(actions.specs().map(|(name, spec)| (name.to_owned(), spec.clone())));
        self
    }

    /// JSON Schema of an installation's configuration. Without it the connector takes none.
    #[must_use]
    pub fn config(mut self, schema: Value) -> Self {
        self.config = Some(schema);
        self
    }
}

// === impl Api ===

impl Api {
    /// As the provider calls it, such as `v3` or `2026-03`.
    pub fn new(version: impl Into<String>) -> Self {
        Self { version: version.into(), sunset: None }
    }

    /// The day after which the provider may turn it off: `YYYY-MM-DD`.
    #[must_use]
    pub fn sunset(mut self, day: impl Into<String>) -> Self {
        self.sunset = Some(day.into());
        self
    }
}

// === impl Slot ===

impl Slot {
    /// `Authorization: Bearer …`.
    pub fn bearer() -> Self {
        Self::of(Scheme::Bearer)
    }

    /// `Authorization: Basic …`.
    pub fn basic() -> Self {
        Self::of(Scheme::Basic)
    }

    /// A key in a header.
    pub fn api_key_header(name: impl Into<String>) -> Self {
        Self::of(Scheme::ApiKeyHeader { name: name.into() })
    }

    /// A key in a query parameter.
    pub fn api_key_query(name: impl Into<String>) -> Self {
        Self::of(Scheme::ApiKeyQuery { name: name.into() })
    }

    /// A bearer token that an authorization server issues.
    pub fn oauth2(oauth: Oauth) -> Self {
        Self::of(Scheme::Oauth2(Box::new(oauth)))
    }

    fn of(scheme: Scheme) -> Self {
        Self { scheme, scopes: Vec::new(), summary: String::new(), probe: None, header: None }
    }

    /// Requests are signed with a key over parts of them, such as
    /// `Slot::hmac(Hmac::new("X-Signature", [Part::Timestamp, Part::Method, Part::PathAndQuery, Part::Body]))`.
    pub fn hmac(rules: Hmac) -> Self {
        Self::of(Scheme::Hmac(Box::new(rules)))
    }

    /// Requests are signed as AWS does.
    pub fn aws_sigv4(rules: Sigv4) -> Self {
        Self::of(Scheme::AwsSigv4(Box::new(rules)))
    }

    /// The header that the token goes into, of a slot with a bearer token, and what stands before it there, such as
    /// `.header("Authorization", "Zoho-oauthtoken ")` or `.header("X-Shopify-Access-Token", "")`.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, prefix: impl Into<String>) -> Self {
        self.header = Some(TokenHeader { name: name.into(), prefix: prefix.into() });
        self
    }

    /// What the provider must have granted.
    #[must_use]
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes.extend(scopes.into_iter().map(Into::into));
        self
    }

    /// One line for whoever must find the credential.
    #[must_use]
    pub fn summary(mut self, text: impl Into<String>) -> Self {
        self.summary = text.into();
        self
    }

    /// A request that succeeds with every working credential of the slot.
    #[must_use]
    pub fn probe(mut self, probe: Probe) -> Self {
        self.probe = Some(probe);
        self
    }
}

// === impl Probe ===

impl Probe {
    /// A path on the base URL, asked for with GET. Any 2xx means that the credential works.
    pub fn get(path: impl Into<String>) -> Self {
        Self { path: path.into(), account: None }
    }

    /// JSON Pointer (RFC 6901) to the provider's name of the account in the answer.
    #[must_use]
    pub fn account(mut self, pointer: impl Into<String>) -> Self {
        self.account = Some(pointer.into());
        self
    }
}

// === impl ObjectSpec ===

impl ObjectSpec {
    /// An object that can be neither read nor written yet.
    pub fn new(summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), read: None, write: Vec::new(), state_version: 1 }
    }

    /// It can be read.
    #[must_use]
    pub fn read(mut self, read: ReadSpec) -> Self {
        self.read = Some(read);
        self
    }

    /// It can be written so.
    #[must_use]
    pub fn write(mut self, operations: impl IntoIterator<Item = Operation>) -> Self {
        self.write.extend(operations);
        self
    }

    /// Version of the cursor and state that this release writes. 1 unless stated.
    #[must_use]
    pub fn state_version(mut self, version: u32) -> Self {
        self.state_version = version;
        self
    }
}

// === impl ReadSpec ===

impl ReadSpec {
    /// Reads everything from the beginning, in pages of this many records.
    pub fn pages_of(page_size: u32) -> Self {
        Self { incremental: false, deletes: false, page_size }
    }

    /// It honours `since`.
    #[must_use]
    pub fn incremental(mut self) -> Self {
        self.incremental = true;
        self
    }

    /// It reports deleted records.
    #[must_use]
    pub fn deletes(mut self) -> Self {
        self.deletes = true;
        self
    }
}

// === impl ActionSpec ===

impl ActionSpec {
    /// An action that only reads.
    pub fn reads(summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), effect: Effect::Read, input: None, output: None }
    }

    /// An action that may change the provider's data.
    pub fn writes(summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), effect: Effect::Write, input: None, output: None }
    }

    /// JSON Schema of the input, which the host checks before the call.
    #[must_use]
    pub fn input(mut self, schema: Value) -> Self {
        self.input = Some(schema);
        self
    }

    /// JSON Schema of the output; for readers, not enforced.
    #[must_use]
    pub fn output(mut self, schema: Value) -> Self {
        self.output = Some(schema);
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_stated_is_not_written() {
        let descriptor = Descriptor::new("acme/crm", "1.2.3");
        assert_eq!(
            serde_json::to_value(descriptor).unwrap(),
            json!({"format": 1, "name": "acme/crm", "version": "1.2.3", "hosts": [], "slots": {}})
        );
    }

    #[test]
    fn a_slot_says_how_its_token_is_issued_and_how_it_is_tried() {
        let slot = Slot::oauth2(Oauth::client_credentials("https://acme.example/token"))
            .probe(Probe::get("/me").account("/id"));
        assert_eq!(
            serde_json::to_value(slot).unwrap(),
            json!({
                "scheme": {
                    "kind": "oauth2",
                    "grant": "client-credentials",
                    "token-url": "https://acme.example/token",
                },
                "probe": {"path": "/me", "account": "/id"},
            })
        );
    }

    #[test]
    fn a_slot_says_where_its_token_goes_and_how_requests_are_signed() {
        use crate::sign::{Encoding, Hmac, Part, Sigv4, TimeFormat};
        let slot = Slot::bearer().header("Authorization", "Zoho-oauthtoken ");
        assert_eq!(
            serde_json::to_value(slot).unwrap(),
            json!({
                "scheme": {"kind": "bearer"},
                "header": {"name": "Authorization", "prefix": "Zoho-oauthtoken "},
            })
        );
        let rules = Hmac::new("X-Sign", [Part::Timestamp, Part::BodyDigest])
            .encoding(Encoding::Base64)
            .timestamp("X-Time", TimeFormat::UnixMs)
            .key_id_header("X-Key");
        assert_eq!(
            serde_json::to_value(Slot::hmac(rules)).unwrap()["scheme"],
            json!({
                "kind": "hmac", "algorithm": "sha256", "encoding": "base64", "separator": "\n",
                "parts": ["timestamp", "body-digest"], "header": "X-Sign", "value": "{signature}",
                "timestamp": {"header": "X-Time", "format": "unix-ms"}, "key-id-header": "X-Key",
            })
        );
        let slot = Slot::aws_sigv4(Sigv4::of_host("s3", 1).like_s3().unsigned_payload());
        assert_eq!(
            serde_json::to_value(slot).unwrap()["scheme"],
            json!({
                "kind": "aws-sigv4", "service": "s3", "region-label": 1,
                "content-sha256-header": true, "path-as-sent": true, "unsigned-payload": true,
            })
        );
    }

    #[test]
    fn everything_stated_is_written_in_kebab_case() {
        let actions = Actions::new().on(
            "people.get",
            ActionSpec::reads("One person.").input(json!({"type": "string"})).output(json!(true)),
            |id: String| Ok(id),
        );
        let descriptor = Descriptor::new("acme/crm", "1.2.3")
            .summary("People.")
            .api(Api::new("v1").sunset("2030-01-31"))
            .host("api.acme.example")
            .base_url("https://api.acme.example")
            .redirects(1)
            .link_members(["next_page", "/links/next"])
            .link_headers(["x-next-page"])
            .slot("token", Slot::bearer().scopes(["people"]).summary("From the settings page."))
            .slot("key", Slot::api_key_query("api_key"))
            .rate_limit("burst", 100, Duration::from_secs(10))
            .object(
                "people",
                ObjectSpec::new("Persons.")
                    .read(ReadSpec::pages_of(50).incremental().deletes())
                    .write([Operation::Create, Operation::Delete])
                    .state_version(2),
            )
            .custom_objects()
            .actions(&actions)
            .config(json!({"type": "object"}));
        assert_eq!(
            serde_json::to_value(descriptor).unwrap(),
            json!({
                "format": 1,
                "name": "acme/crm",
                "version": "1.2.3",
                "summary": "People.",
                "api": {"version": "v1", "sunset": "2030-01-31"},
                "hosts": ["api.acme.example"],
                "base-url": "https://api.acme.example",
                "redirects": 1,
                "link-members": ["next_page", "/links/next"],
                "link-headers": ["x-next-page"],
                "slots": {
                    "token": {
                        "scheme": {"kind": "bearer"},
                        "scopes": ["people"],
                        "summary": "From the settings page.",
                    },
                    "key": {"scheme": {"kind": "api-key-query", "name": "api_key"}},
                },
                "rate-limits": [{"name": "burst", "quota": 100, "window": 10}],
                "objects": {
                    "people": {
                        "summary": "Persons.",
                        "read": {"incremental": true, "deletes": true, "page-size": 50},
                        "write": ["create", "delete"],
                        "state-version": 2,
                    },
                },
                "custom-objects": true,
                "actions": {
                    "people.get": {
                        "summary": "One person.",
                        "effect": "read",
                        "input": {"type": "string"},
                        "output": true,
                    },
                },
                "config": {"type": "object"},
            })
        );
    }
}
