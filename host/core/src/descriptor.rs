//! The descriptor: what a release says of itself.
//!
//! A document format, so the types here are its shape: unknown keys are errors, defaults are stated,
//! and [`Descriptor::parse`] checks what a type cannot say. Whether the component's exports fit is
//! checked where the component is at hand.

use std::collections::BTreeMap;
use std::fmt;

use http::HeaderName;
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{Action, Connector, Object, Slot};
use crate::oauth::template;
pub use crate::oauth::template::{Variable, Variables};
pub use crate::oauth::{
    Algorithm, Assertion, ClientAuth, ErrorMeaning, ErrorSign, Grant, Oauth, Places, Refresh,
    TokenFormat, split_scopes,
};
use crate::rate_limits;
pub use crate::rate_limits::{RateLimit, RateLimitError, RateLimitHeaders};
use crate::schema::{Allowance, Document, NotRead, Schema};
pub use crate::scheme::{Probe, Scheme, SlotSpec};
pub use crate::sign::{
    Encoding, Hmac, KeyEncoding, MacHash, Part, Sigv4, TimeFormat, Timestamp, TokenHeader,
};
use crate::{json, limits};

/// The one format there is.
const FORMAT: u32 = 1;

/// What a release says of itself.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Descriptor {
    /// Version of this format: 1.
    pub format: u32,
    /// `publisher/name`.
    pub name: Connector,
    /// Semantic version of the release.
    pub version: Version,
    /// One line for a list.
    #[serde(default)]
    pub summary: String,
    /// The provider's API that it speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<Api>,
    /// Where it may send requests. Nothing else is reachable.
    #[serde(default)]
    pub hosts: Vec<HostPattern>,
    /// What a URL beginning with `/` is joined to, unless the connection says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Redirects followed for one request, each checked like a request of its own. 0 to 5.
    #[serde(default)]
    pub redirects: u8,
    /// Members of JSON in the provider's answers that hold links to the provider. Through the proxy they lead back to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub link_members: Vec<LinkMember>,
    /// Headers of the provider's answers that hold links to it, beyond those that the host knows of everybody. Through the
    /// proxy they lead back to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub link_headers: Vec<LinkHeader>,
    /// Credentials it needs, by slot.
    #[serde(default)]
    pub slots: BTreeMap<Slot, SlotSpec>,
    /// How much the provider takes from one account, as it documents. All releases share what is left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateLimit>,
    /// Headers in which the provider says how its limits stand, beyond those that the host reads of everybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_limit_headers: Vec<RateLimitHeaders>,
    /// Errors of the provider's that mean "too often", beyond 429 and a 403 that says so in headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_limit_errors: Vec<RateLimitError>,
    /// Objects it reads and writes. A connector that discovers more at run time sets `custom-objects`.
    #[serde(default)]
    pub objects: BTreeMap<Object, ObjectSpec>,
    /// Whether objects beyond those listed may be asked for.
    #[serde(default)]
    pub custom_objects: bool,
    /// Actions it offers.
    #[serde(default)]
    pub actions: BTreeMap<Action, ActionSpec>,
    /// JSON Schema of an installation's configuration. Absent means: takes none.
    #[serde(default, deserialize_with = "json::optional", skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
}

/// The provider's API that a release speaks.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Api {
    /// As the provider calls it, such as `v3` or `2026-03`.
    pub version: String,
    /// The day after which the provider may turn it off: `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sunset: Option<String>,
}

/// A host that requests may go to: `api.example.com`, `*.example.com`, with `:port` if not 443.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern {
    /// Lower-case ASCII, without the leading `*.`.
    pub domain: String,
    /// Whether any one name below `domain` fits, instead of `domain` itself.
    pub wildcard: bool,
    /// TCP port.
    pub port: u16,
}

/// Where a link stands in JSON: `next_page` for every member of that name, wherever it is, or `/items/*/url` for a place
/// from the root on (RFC 6901), in which `*` is any member and any element.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum LinkMember {
    /// Every member of this name.
    Name(String),
    /// The one at the end of these steps.
    Path(Vec<String>),
}

/// Text that names no member.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no member: expected a name, or a path that begins with `/`, of {LINK_MEMBER_BYTES_MAX} bytes at most"
)]
pub struct InvalidMember(String);

/// Bytes of the name or path of one member. The longest of real ones has 40.
const LINK_MEMBER_BYTES_MAX: usize = 256;

/// Members that hold links. Each string of a body is compared with all of them.
const LINK_MEMBERS_MAX: usize = 32;

/// The name of a header that holds a link, in any case: `x-next-page`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LinkHeader(pub HeaderName);

/// Text that names no header.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no header: expected a name of {LINK_HEADER_BYTES_MAX} bytes at most")]
pub struct InvalidHeader(String);

/// Bytes of a header's name.
const LINK_HEADER_BYTES_MAX: usize = 128;

/// Headers that hold links. Each header of an answer is compared with all of them.
const LINK_HEADERS_MAX: usize = 32;

/// What can be done with an object.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ObjectSpec {
    /// One line for a list.
    #[serde(default)]
    pub summary: String,
    /// Whether it can be read, and how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<ReadSpec>,
    /// Write operations offered.
    #[serde(default)]
    pub write: Vec<WriteOperation>,
    /// Version of the cursor and state that this release writes.
    #[serde(default = "one")]
    pub state_version: u32,
}

/// How an object is read.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ReadSpec {
    /// Whether `since` is honoured.
    #[serde(default)]
    pub incremental: bool,
    /// Whether deleted records are reported.
    #[serde(default)]
    pub deletes: bool,
    /// Records in a page when the caller names no number.
    #[serde(default = "hundred")]
    pub page_size: u32,
}

/// A kind of write.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WriteOperation {
    /// Make a new record.
    Create,
    /// Change a record that exists.
    Update,
    /// Change it, or make it.
    Upsert,
    /// Remove it, or archive it where the provider archives.
    Delete,
}

/// What an action takes and gives.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ActionSpec {
    /// One line for a list.
    #[serde(default)]
    pub summary: String,
    /// Whether the provider's data can change.
    #[serde(default)]
    pub effect: Effect,
    /// JSON Schema of the input; absent means any JSON.
    #[serde(default, deserialize_with = "json::optional", skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// JSON Schema of the output; for readers, not enforced.
    #[serde(default, deserialize_with = "json::optional", skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
}

/// Whether an action can change the provider's data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// It only reads.
    Read,
    /// It may write; the careful assumption.
    #[default]
    Write,
}

/// A descriptor that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum InvalidDescriptor {
    /// Not JSON, or more of it than a descriptor has.
    #[error("descriptor {0}")]
    Text(String),
    /// JSON of another shape.
    #[error("descriptor {} is not of format {FORMAT}: {}", named(.0), .0.inner())]
    Shape(#[source] serde_path_to_error::Error<serde_json::Error>),
    /// JSON of the right shape that says something impossible.
    #[error("descriptor field `{field}` {problem}")]
    Value {
        /// Where.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// Text that is no host pattern.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no host: expected `name.example.com`, `*.example.com`, or either with `:port`")]
pub struct InvalidHost(String);

/// Where an error of shape is, in words.
fn named(error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    match error.path().to_string().as_str() {
        "." => "as a whole".to_owned(),
        path => format!("field `{path}`"),
    }
}

const fn one() -> u32 {
    1
}

const fn hundred() -> u32 {
    100
}

// === impl Descriptor ===

impl Descriptor {
    /// Reads a descriptor from JSON text and checks it.
    pub fn parse(json: &str) -> Result<Self, InvalidDescriptor> {
        within_bounds(json).map_err(InvalidDescriptor::Text)?;
        let mut reader = serde_json::Deserializer::from_str(json);
        let descriptor: Self =
            serde_path_to_error::deserialize(&mut reader).map_err(InvalidDescriptor::Shape)?;
        descriptor.check()?;
        descriptor.check_schemas()?;
        Ok(descriptor)
    }

    /// Reads a descriptor that is to become a release: also what could only fail in every call is refused.
    pub fn parse_new(json: &str) -> Result<Self, InvalidDescriptor> {
        let descriptor = Self::parse(json)?;
        descriptor.check_reach()?;
        Ok(descriptor)
    }

    /// Whether some declared host admits this name and port.
    pub fn admits_host(&self, host: &str, port: u16) -> bool {
        self.hosts.iter().any(|pattern| pattern.matches(host, port))
    }

    fn check(&self) -> Result<(), InvalidDescriptor> {
        if self.format != FORMAT {
            return Err(invalid("format", format!("is {}; this host reads {FORMAT}", self.format)));
        }
        for (field, count, most) in [
            ("hosts", self.hosts.len(), limits::HOSTS_MAX),
            ("slots", self.slots.len(), limits::SLOTS_MAX),
            ("rate-limits", self.rate_limits.len(), limits::RATE_LIMITS_MAX),
        ] {
            if count > most {
                return Err(invalid(field, format!("has {count} entries; {most} is the most")));
            }
        }
        if self.redirects > limits::REDIRECTS_MAX {
            return Err(invalid("redirects", format!("is over {}", limits::REDIRECTS_MAX)));
        }
        if let Some(sunset) = self.api.as_ref().and_then(|api| api.sunset.as_deref()) {
            let day = time::macros::format_description!("[year]-[month]-[day]");
            time::Date::parse(sunset, day)
                .map_err(|_| invalid("api.sunset", "is not a day, YYYY-MM-DD".to_owned()))?;
        }
        for (object, spec) in &self.objects {
            let size = spec.read.as_ref().map_or(1, |read| read.page_size);
            if !(1..=limits::BATCH_ITEMS_MAX).contains(&size) {
                let problem = format!("is not 1 to {}", limits::BATCH_ITEMS_MAX);
                return Err(invalid(format!("objects.{object}.read.page-size"), problem));
            }
        }
        rate_limits::check(&self.rate_limits, &self.rate_limit_headers, &self.rate_limit_errors)?;
        for (field, count, most) in [
            ("link-members", self.link_members.len(), LINK_MEMBERS_MAX),
            ("link-headers", self.link_headers.len(), LINK_HEADERS_MAX),
        ] {
            if count > most {
                return Err(invalid(field, format!("are over {most}")));
            }
        }
        for (slot, spec) in &self.slots {
            spec.check(slot)?;
        }
        Ok(())
    }
}

impl Descriptor {
    /// Compiles every schema, so that none is met later that cannot be used. Their patterns share one allowance.
    fn check_schemas(&self) -> Result<(), InvalidDescriptor> {
        let mut allowance = Allowance::default();
        let config = self.config.iter().map(|schema| ("config".to_owned(), schema));
        let actions = self.actions.iter().flat_map(|(name, action)| {
            let input = action.input.iter().map(move |it| (format!("actions.{name}.input"), it));
            let output = action.output.iter().map(move |it| (format!("actions.{name}.output"), it));
            input.chain(output)
        });
        for (field, schema) in config.chain(actions) {
            Schema::compile_within(schema, &mut allowance)
                .map_err(|error| invalid(field + &error.pointer, error.problem))?;
        }
        Ok(())
    }
}

impl Descriptor {
    /// Whether what it needs of a provider can be reached.
    fn check_reach(&self) -> Result<(), InvalidDescriptor> {
        if self.hosts.is_empty() && !self.slots.is_empty() {
            return Err(invalid("hosts", "is empty, so no credential could be sent anywhere"));
        }
        for (slot, spec) in &self.slots {
            let Some(oauth) = spec.scheme.oauth() else { continue };
            oauth
                .check_own_base_url(&self.hosts)
                .map_err(|problem| invalid(format!("slots.{slot}.scheme.base-url"), problem))?;
        }
        let Some(base_url) = &self.base_url else { return Ok(()) };
        let refuse = |problem: &str| Err(invalid("base-url", problem));
        if base_url.contains(['{', '}', '<', '>', '$']) {
            return refuse("has a placeholder, which nothing takes the place of");
        }
        let Ok(url) = base_url.parse::<http::Uri>() else { return refuse("is no URL") };
        let authority = url.authority().map_or("", |authority| authority.as_str());
        if template::is_this_machine(&url.host().unwrap_or_default().to_ascii_lowercase()) {
            return refuse("leads to this machine");
        }
        if url.scheme_str() != Some("https") || authority.contains('@') || url.query().is_some() {
            return refuse("is `https://`, a host and a path, and no more");
        }
        if !self.admits_host(url.host().unwrap_or_default(), url.port_u16().unwrap_or(PORT_DEFAULT))
        {
            return refuse("is on a host that `hosts` does not declare");
        }
        Ok(())
    }
}

/// Refuses text before anything is made of it.
fn within_bounds(json: &str) -> Result<(), String> {
    let (bytes, nodes, paths) = (
        limits::DESCRIPTOR_BYTES_MAX,
        limits::DESCRIPTOR_NODES_MAX,
        limits::DESCRIPTOR_PATHS_BYTES_MAX,
    );
    if json.len() > bytes {
        return Err(format!("is over {bytes} bytes"));
    }
    let document = Document::read(json).map_err(|error| match error {
        NotRead::Syntax(error) => format!("is not JSON: {error}"),
        other => other.to_string(),
    })?;
    if document.len() > nodes {
        return Err(format!("has more than {nodes} values"));
    }
    if document.paths_bytes() > paths {
        return Err(format!(
            "has paths of more than {paths} bytes in all: its names are long, and nested"
        ));
    }
    Ok(())
}

pub(crate) fn invalid(field: impl Into<String>, problem: impl Into<String>) -> InvalidDescriptor {
    InvalidDescriptor::Value { field: field.into(), problem: problem.into() }
}

// === impl LinkMember ===

impl TryFrom<String> for LinkHeader {
    type Error = InvalidHeader;

    fn try_from(text: String) -> Result<Self, InvalidHeader> {
        match HeaderName::try_from(&text) {
            Ok(name) if text.len() <= LINK_HEADER_BYTES_MAX => Ok(Self(name)),
            _ => Err(InvalidHeader(text)),
        }
    }
}

impl From<LinkHeader> for String {
    fn from(LinkHeader(name): LinkHeader) -> Self {
        name.as_str().to_owned()
    }
}

impl TryFrom<String> for LinkMember {
    type Error = InvalidMember;

    fn try_from(text: String) -> Result<Self, InvalidMember> {
        if !(1..=LINK_MEMBER_BYTES_MAX).contains(&text.len()) {
            return Err(InvalidMember(text));
        }
        // RFC 6901 section 4: first the slash, then the tilde.
        let step = |step: &str| step.replace("~1", "/").replace("~0", "~");
        Ok(match text.strip_prefix('/') {
            Some(path) => Self::Path(path.split('/').map(step).collect()),
            None => Self::Name(text),
        })
    }
}

impl From<LinkMember> for String {
    fn from(member: LinkMember) -> Self {
        match member {
            LinkMember::Name(name) => name,
            LinkMember::Path(steps) => {
                let step =
                    |step: &String| format!("/{}", step.replace('~', "~0").replace('/', "~1"));
                steps.iter().map(step).collect()
            }
        }
    }
}

// === impl HostPattern ===

/// HTTPS.
pub(crate) const PORT_DEFAULT: u16 = 443;

impl HostPattern {
    /// Whether this admits some host at or below a domain.
    pub(crate) fn overlaps(&self, domain: &str, port: u16) -> bool {
        self.port == port && (template::below(&self.domain, domain) || self.matches(domain, port))
    }

    /// Whether this admits `host`, which must be lower-case ASCII without a trailing dot.
    pub fn matches(&self, host: &str, port: u16) -> bool {
        if port != self.port {
            return false;
        }
        if !self.wildcard {
            return host == self.domain;
        }
        host.strip_suffix(&self.domain)
            .and_then(|rest| rest.strip_suffix('.'))
            .is_some_and(|label| !label.is_empty() && !label.contains('.'))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.wildcard { "*." } else { "" }, self.domain)?;
        if self.port != PORT_DEFAULT {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

impl TryFrom<String> for HostPattern {
    type Error = InvalidHost;

    fn try_from(text: String) -> Result<Self, InvalidHost> {
        let refuse = || InvalidHost(text.clone());
        let (name, port) = match text.split_once(':') {
            None => (text.as_str(), PORT_DEFAULT),
            // `parse` would take `+443` and `0443`; only the plain spelling is one.
            Some((name, digits)) => match digits.parse::<u16>() {
                Ok(port) if port != 0 && port.to_string() == digits => (name, port),
                _ => return Err(refuse()),
            },
        };
        let (domain, wildcard) = match name.strip_prefix("*.") {
            Some(domain) => (domain, true),
            None => (name, false),
        };
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // The last label of a name is never all digits: that would be an address (RFC 3696 section 2).
        let last = domain.rsplit('.').next().unwrap_or_default();
        let named = last.bytes().any(|b| b.is_ascii_alphabetic()) && domain.contains('.');
        if domain.len() > 253 || !named || !domain.split('.').all(label) {
            return Err(refuse());
        }
        Ok(Self { domain: domain.to_owned(), wildcard, port })
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Result<HostPattern, InvalidHost> {
        text.to_owned().try_into()
    }

    /// Fails if a value of a schema is taken for what the name of its member stands for in a library.
    #[test]
    fn schemas_are_what_they_were() {
        let odd = r#"{"$serde_json::private::RawValue":"[[1]]"}"#;
        let text = format!(
            r#"{{"format":1,"name":"a/b","version":"1.0.0","config":{{"default":{odd}}},
                "actions":{{"do":{{"input":{{"const":{odd}}},"output":{{"enum":[{odd}]}}}}}}}}"#
        );
        let descriptor = Descriptor::parse(&text).unwrap();
        let again: Descriptor =
            serde_json::from_str(&serde_json::to_string(&descriptor).unwrap()).unwrap();
        for descriptor in [descriptor, again] {
            let action = descriptor.actions.values().next().unwrap();
            assert_eq!(descriptor.config.unwrap()["default"].to_string(), odd);
            assert_eq!(action.input.as_ref().unwrap()["const"].to_string(), odd);
            assert_eq!(action.output.as_ref().unwrap()["enum"][0].to_string(), odd);
        }
    }

    #[test]
    fn members_that_hold_links_are_names_or_paths() {
        let of = |members: &str| {
            let text = r#"{"format":1,"name":"a/b","version":"1.0.0","link-members":MEMBERS}"#;
            Descriptor::parse(&text.replace("MEMBERS", members))
        };
        let members = r#"["next_page","/links/next","/items/*/a~1b~0c","/"]"#;
        let descriptor = of(members).unwrap();
        let steps =
            |steps: &[&str]| LinkMember::Path(steps.iter().map(|s| (*s).to_owned()).collect());
        assert_eq!(descriptor.link_members[0], LinkMember::Name("next_page".to_owned()));
        assert_eq!(descriptor.link_members[1], steps(&["links", "next"]));
        assert_eq!(descriptor.link_members[2], steps(&["items", "*", "a/b~c"]));
        assert_eq!(descriptor.link_members[3], steps(&[""]));
        assert_eq!(serde_json::to_value(&descriptor.link_members).unwrap().to_string(), members);
        let list = |count: usize, bytes: usize| {
            format!("[{}]", vec![format!("\"{}\"", "n".repeat(bytes)); count].join(","))
        };
        assert!(of(&list(LINK_MEMBERS_MAX, LINK_MEMBER_BYTES_MAX)).is_ok());
        assert!(of(&list(LINK_MEMBERS_MAX + 1, 1)).is_err());
        assert!(of(&list(1, LINK_MEMBER_BYTES_MAX + 1)).is_err());
        assert!(of(r#"[""]"#).is_err());
    }

    #[test]
    fn headers_that_hold_links_are_names_of_headers() {
        let of = |headers: &str| {
            let text = r#"{"format":1,"name":"a/b","version":"1.0.0","link-headers":HEADERS}"#;
            Descriptor::parse(&text.replace("HEADERS", headers))
        };
        let descriptor = of(r#"["X-Next-Page","azure-asyncoperation"]"#).unwrap();
        let written = serde_json::to_value(&descriptor.link_headers).unwrap();
        assert_eq!(written.to_string(), r#"["x-next-page","azure-asyncoperation"]"#);
        let list = |count: usize, bytes: usize| {
            format!("[{}]", vec![format!("\"{}\"", "n".repeat(bytes)); count].join(","))
        };
        assert!(of(&list(LINK_HEADERS_MAX, LINK_HEADER_BYTES_MAX)).is_ok());
        assert!(of(&list(LINK_HEADERS_MAX + 1, 1)).is_err());
        assert!(of(&list(1, LINK_HEADER_BYTES_MAX + 1)).is_err());
        for bad in ["", "a b", "x:", "é"] {
            let error = of(&format!("[\"{bad}\"]")).unwrap_err().to_string();
            assert!(error.contains("link-headers"), "{bad}: {error}");
        }
    }

    #[test]
    fn hosts_match_whole_names_only() {
        let exact = pattern("allowed.com").unwrap();
        assert!(exact.matches("allowed.com", 443));
        for host in ["evilallowed.com", "allowed.com.evil.com", "www.allowed.com", "allowed.co"] {
            assert!(!exact.matches(host, 443), "{host}");
        }
        assert!(!exact.matches("allowed.com", 8443));
        assert!(pattern("allowed.com:8443").unwrap().matches("allowed.com", 8443));
    }

    #[test]
    fn wildcard_is_one_label_and_not_the_apex() {
        let wild = pattern("*.allowed.com").unwrap();
        assert!(wild.matches("eu.allowed.com", 443));
        for host in ["allowed.com", ".allowed.com", "a.b.allowed.com", "eu.allowed.com.evil.com"] {
            assert!(!wild.matches(host, 443), "{host}");
        }
    }

    #[test]
    fn odd_hosts_are_refused() {
        for text in [
            "",
            "*",
            "*.",
            "*.*.com",
            "127.0.0.1",
            "10.1",
            "[::1]",
            "localhost",
            "a..com",
            "a.com.",
            "A.com",
            "https://a.com",
            "a.com/x",
            "a.com:0",
            "a.com:65536",
            "a.com:007",
            "a.com:https",
            "u@a.com",
            "-a.com",
            "a_b.com",
        ] {
            assert!(pattern(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_cannot_be_reached_is_no_release() {
        let with = |rest: &str| {
            let text = format!(r#"{{"format":1,"name":"a/b","version":"1.0.0"{rest}}}"#);
            Descriptor::parse_new(&text).map(|_| ()).map_err(|error| error.to_string())
        };
        let slots = r#","slots":{"token":{"scheme":{"kind":"bearer"}}}"#;
        let hosts = r#","hosts":["api.example.com","*.shop.example.com","api.example.com:8443"]"#;
        assert_eq!(with(""), Ok(()), "an action may compute and ask nobody");
        assert!(with(slots).is_err_and(|why| why.contains("field `hosts`")));
        assert_eq!(with(&format!("{hosts}{slots}")), Ok(()));
        let base = |url: &str| with(&format!(r#"{hosts},"base-url":"{url}""#));
        for url in [
            "https://api.example.com",
            "https://eu.shop.example.com/v1/",
            "https://api.example.com:8443/",
        ] {
            assert_eq!(base(url), Ok(()), "{url}");
        }
        for url in [
            "http://api.example.com",
            "https://api.example.org",
            "https://api.example.com:8444",
            "https://shop.example.com",
            "https://127.0.0.1",
            "https://ann@api.example.com",
            "https://api.example.com/?a=b",
            "https://{shop}.shop.example.com",
            "https://api.example.com/{account}",
            "https://api.example.com/<account>",
            "/v1",
            "",
        ] {
            assert!(base(url).is_err_and(|why| why.contains("field `base-url`")), "{url}");
        }
        assert!(with(r#","base-url":"https://api.example.com""#).is_err());
        let here = r#","hosts":["x.localhost"],"base-url":"https://x.localhost/""#;
        assert!(with(here).is_err_and(|why| why.contains("this machine")));
    }

    #[test]
    fn a_base_url_of_a_slot_that_no_host_admits_is_no_release() {
        let with = |hosts: &str, base_url: &str| {
            let variables = r#"{"sub":{},"host":{"suffixes":["my.example.com"]}}"#;
            let text = format!(
                r#"{{"format":1,"name":"a/b","version":"1.0.0","hosts":[{hosts}],"slots":{{"login":{{"scheme":{{
                    "kind":"oauth2","grant":"client-credentials","variables":{variables},"base-url":"{base_url}",
                    "token-url":"https://login.example.com/t?a={{sub}}","revoke-url":"https://{{host}}/r"}}}}}}}}"#
            );
            Descriptor::parse_new(&text).map(|_| ()).map_err(|error| error.to_string())
        };
        for (hosts, base_url) in [
            (r#""api.example.com""#, "https://api.example.com/v1"),
            (r#""*.example.com""#, "https://{sub}.example.com/v1"),
            (r#""*.example.com""#, "https://api-{sub}.example.com"),
            (r#""eu.example.com""#, "https://{sub}.example.com"),
            (r#""*.example.com:8443""#, "https://{sub}.example.com:8443"),
            (r#""*.my.example.com""#, "https://{host}"),
            (r#""my.example.com""#, "https://{host}"),
            (r#""*.example.com""#, "https://{host}"),
        ] {
            assert_eq!(with(hosts, base_url), Ok(()), "{hosts} {base_url}");
        }
        for (hosts, base_url) in [
            (r#""api.example.com""#, "https://api.example.org/v1"),
            (r#""api.example.com""#, "https://api.example.com:8443"),
            (r#""*.example.com""#, "https://{sub}.example.org/v1"),
            (r#""*.example.com""#, "https://{sub}.example.com:8443"),
            (r#""*.example.com""#, "https://a.b.example.com"),
            (r#""example.com""#, "https://{host}"),
            (r#""api.example.com""#, "https://api.example.com/?a=b"),
        ] {
            let refused = with(hosts, base_url).expect_err(base_url);
            assert!(refused.contains("field `slots.login.scheme.base-url`"), "{refused}");
        }
    }

    #[test]
    fn a_mistake_of_shape_names_its_field() {
        for (rest, field) in [
            (r#""slots":{"token":{"scheme":{"kind":"magic"}}}"#, "field `slots.token.scheme"),
            (r#""objects":{"a":{"read":{"page-size":"x"}}}"#, "field `objects.a.read.page-size`"),
            (r#""hosts":["api.example.com","*"]"#, "field `hosts[1]`"),
            (r#""actions":{"go":{"efect":"read"}}"#, "field `actions.go.efect`"),
        ] {
            let text = format!(r#"{{"format":1,"name":"a/b","version":"1.0.0",{rest}}}"#);
            let why = Descriptor::parse(&text).unwrap_err().to_string();
            assert!(why.contains(field), "{why}");
        }
        let why = Descriptor::parse("{").unwrap_err().to_string();
        assert!(why.starts_with("descriptor is not JSON: "), "{why}");
    }

    #[test]
    fn page_sizes_are_within_a_page() {
        let with = |size: u32| {
            let read = format!(r#"{{"x":{{"read":{{"page-size":{size}}}}}}}"#);
            let text = format!(r#"{{"format":1,"name":"a/b","version":"1.0.0","objects":{read}}}"#);
            Descriptor::parse(&text)
        };
        assert!(with(1).is_ok() && with(limits::BATCH_ITEMS_MAX).is_ok());
        assert!(with(0).is_err() && with(limits::BATCH_ITEMS_MAX + 1).is_err());
    }

    #[test]
    fn unknown_keys_and_formats_are_refused() {
        let text = r#"{"format":1,"name":"a/b","version":"1.0.0"}"#;
        assert!(Descriptor::parse(text).is_ok());
        assert!(Descriptor::parse(&text.replace(":1,", ":2,")).is_err());
        assert!(Descriptor::parse(&text.replace("\"name\"", "\"nom\"")).is_err());
        assert!(Descriptor::parse(&text.replace("1.0.0", "1.0")).is_err());
    }
}
