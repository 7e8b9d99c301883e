//! Addresses by host name: which request is for an installation and not for the API, and how its caller sees this host.
//!
//! `{label}.{domain}` stands for an installation ([`keyway_core::address`]): everything that is asked of such a host name
//! goes through the proxy, and nothing of it reaches the API. Only labels as this host makes them, right below the domain,
//! mean anything; whatever else `Host` says, the request is one to the API: somebody may call the host itself
//! `keyway.localhost`. Which installation a label stands for is looked up once it is known who asks,
//! so that nobody learns without a token who the tenants are.

use std::net::SocketAddr;

use axum::extract::Request;
use axum::http::header::HOST;
use axum::http::{HeaderMap, HeaderName, Uri};
use keyway_core::address::{Address, Label};
use keyway_core::ids::{Installation, Slot, User};
use keyway_core::{Code, Fault};
use serde::Deserialize;

use crate::api::Shared;

/// How clients of providers reach this host.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// Names right below it stand for installations. Whoever sets another than `localhost` has `*.{domain}` lead here.
    pub domain: Domain,
    /// What addresses begin with that this host tells callers. Default: what `x-forwarded-proto` of the request says, or
    /// else `http`.
    pub scheme: Option<Scheme>,
}

/// A domain: lower-case ASCII, without a dot at its ends.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Domain(String);

/// What an address begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS, which something in front of this host brings.
    Https,
}

/// How a caller sees this host: `http://127.0.0.1:8700`.
pub(crate) struct Seen {
    scheme: Scheme,
    authority: String,
}

/// Letters of a domain at most: with a label of an address and its dot it is a name of at most 253 (RFC 1035).
const DOMAIN_LETTERS_MAX: usize = 253 - 63 - 1;

static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What stands below the domain, if the request is for a name there.
pub(crate) fn asked<'r>(config: &Config, request: &'r Request) -> Result<Option<&'r str>, Fault> {
    let mut named = request.headers().get_all(HOST).iter();
    let header = named.next();
    if named.next().is_some() {
        return Err(Fault::new(Code::InvalidRequest, "`host` is there twice"));
    }
    // RFC 9112 section 3.2.2: where the target names a host, that is the one.
    let host = match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => header.and_then(|value| value.to_str().ok()),
    };
    Ok(host.and_then(|host| below(&config.domain, host)))
}

/// The label that stands below a domain in the value of `Host`.
fn below<'h>(domain: &Domain, host: &'h str) -> Option<&'h str> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let at = name.len().checked_sub(domain.0.len())?;
    let (rest, end) = name.split_at_checked(at)?;
    let label = rest.strip_suffix('.').filter(|rest| rest.parse::<Label>().is_ok())?;
    end.eq_ignore_ascii_case(&domain.0).then_some(label)
}

/// What a label stands for.
pub(crate) async fn find(api: &Shared, text: &str) -> Result<Address, Fault> {
    let unknown = || {
        let detail = format!("no installation has the address `{}`", crate::problem::cut(text));
        Fault::new(Code::UnknownAddress, detail)
    };
    let label: Label = text.parse().map_err(|_| unknown())?;
    let installation = api.routes.marked(&label.installation)?.ok_or_else(unknown)?;
    if label.slot.is_none() && label.user.is_none() {
        return Ok(Address { installation, slot: None, user: None });
    }
    let route = api.routes.resolve(&installation)?;
    let slots: Vec<&Slot> = route.connector.descriptor().slots.keys().collect();
    let (slot, user) =
        api.vault.marked(&installation, &slots, &label).await?.ok_or_else(unknown)?;
    Ok(Address { installation, slot, user })
}

/// How the caller sees this host.
pub(crate) fn seen(api: &Shared, headers: &HeaderMap, uri: &Uri) -> Seen {
    let config = &api.config.proxy;
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let forwarded = || text(&FORWARDED_PROTO).filter(|proto| proto.eq_ignore_ascii_case("https"));
    let scheme = match config.scheme {
        Some(scheme) => scheme,
        None if forwarded().is_some() => Scheme::Https,
        None => Scheme::Http,
    };
    let told = uri.authority().map(|authority| authority.as_str()).or_else(|| text(&HOST));
    let authority = told.filter(|told| plain_authority(told)).map(str::to_owned);
    let listening = || api.listening.get().map(SocketAddr::to_string);
    Seen { scheme, authority: authority.or_else(listening).unwrap_or_default() }
}

/// A name by which a request at an address was for the API: no label, and below the domain like one, so that it leads here too.
const API: &str = "keyway";

/// Where the API is for whoever asks at an address.
pub(crate) fn api(api: &Shared, headers: &HeaderMap, uri: &Uri) -> String {
    match &api.config.connect.public_url {
        Some(url) => url.join(""),
        None => seen(api, headers, uri).named(API, &api.config.proxy.domain),
    }
}

/// Whether it is a name or an address with or without a port, and nothing that could end a URL's authority.
fn plain_authority(text: &str) -> bool {
    let plain =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    !text.is_empty() && text.bytes().all(plain)
}

/// Path of the proxy of an installation.
pub(crate) fn path(installation: &Installation) -> String {
    let Installation { environment, tenant, connector } = installation;
    let tenant = encoded(tenant.as_str());
    format!("/v1/environments/{environment}/tenants/{tenant}/connectors/{connector}/proxy")
}

/// A segment of a path: all but RFC 3986's unreserved characters percent-encoded.
fn encoded(text: &str) -> String {
    const KEPT: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    percent_encoding::utf8_percent_encode(text, KEPT).to_string()
}

/// The label of an installation, and of a slot and a user where they are given.
pub(crate) fn label(installation: Installation, slot: Option<Slot>, user: Option<User>) -> String {
    Label::of(&Address { installation, slot, user }).to_string()
}

// === impl Config ===

impl Config {
    /// Whether a name stands for an installation, or would if there were one.
    pub fn takes(&self, host: &str) -> bool {
        below(&self.domain, host).is_some()
    }
}

// === impl Seen ===

impl Seen {
    /// What every address of it begins with.
    pub(crate) fn origin(&self) -> String {
        format!("{}://{}", self.scheme.as_str(), self.authority)
    }

    /// The origin of a name below a domain, at the same port.
    pub(crate) fn named(&self, label: &str, Domain(domain): &Domain) -> String {
        let port = match self.authority.rsplit_once(':') {
            Some((_, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
                format!(":{port}")
            }
            _ => String::new(),
        };
        format!("{}://{label}.{domain}{port}", self.scheme.as_str())
    }
}

// === impl Scheme ===

impl Scheme {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

// === impl Domain ===

impl Default for Domain {
    /// Names below `localhost` lead to this machine (RFC 6761 section 6.3).
    fn default() -> Self {
        Self("localhost".to_owned())
    }
}

impl TryFrom<String> for Domain {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() <= DOMAIN_LETTERS_MAX && text.split('.').all(label) {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        Err(format!(
            "`{text}` is no domain: `proxy.example.com`, {DOMAIN_LETTERS_MAX} letters at most"
        ))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    /// A label, as `host/core/src/address.rs` makes them.
    const ONE: &str = "x4nzqx6tmahqmtqwisti2aurge";

    fn domain(text: &str) -> Domain {
        text.to_owned().try_into().unwrap()
    }

    #[test]
    fn only_names_below_the_domain_mean_anything() {
        let proxy = domain("Proxy.Example.com");
        let label = |host: &str| below(&proxy, host).map(str::to_owned);
        for host in ["proxy.example.com", "PROXY.example.com:443", "proxy.example.com.:8700"] {
            for one in [ONE, &ONE.to_ascii_uppercase()] {
                assert_eq!(label(&format!("{one}.{host}")).as_deref(), Some(one), "{host}");
            }
        }
        // The host itself, and what else an operator calls so.
        for other in ["keyway", "www", "abc", "a.b", &ONE[1..], &format!("{ONE}.b")] {
            assert_eq!(label(&format!("{other}.proxy.example.com")), None, "{other}");
        }
        for host in [
            "",
            "proxy.example.com",
            ".",
            "proxy.example.com:443",
            "abcproxy.example.com",
            "abc.proxy.example.com.evil.com",
            "abc.proxy.example.com:x",
            "abc.proxy.example.com@evil.com",
            "user@abc.proxy.example.com",
            "a/b.proxy.example.com",
            "evil.com/.proxy.example.com",
            "evil.com#.proxy.example.com",
            "abc.proxy.example.co",
            "127.0.0.1:8700",
            "[::1]:8700",
            "äbc.proxy.example.com",
        ] {
            assert_eq!(label(&host.replace("abc", ONE)), None, "{host}");
        }
        let config = Config::default();
        assert!(config.takes(&format!("{ONE}.localhost:8700")));
        assert!(!config.takes("localhost:8700") && !config.takes("keyway.localhost:8700"));
    }

    #[test]
    fn a_target_that_names_a_host_is_the_one_that_counts() {
        let config = Config::default();
        let ask = |uri: &str, hosts: &[&str]| {
            let request =
                hosts.iter().fold(Request::get(uri), |request, host| request.header(HOST, *host));
            let request = request.body(Body::empty()).unwrap();
            asked(&config, &request).map(|label| label.map(str::to_owned)).map_err(|f| f.code)
        };
        let (one, two) =
            (format!("{ONE}.localhost"), format!("{}.localhost", ONE.replace('x', "y")));
        let found = Ok(Some(ONE.to_owned()));
        assert_eq!(ask("/x", &[&one]), found);
        assert_eq!(ask(&format!("http://{one}/x"), &[&two]), found);
        assert_eq!(ask("http://127.0.0.1/x", &[&two]), Ok(None));
        assert_eq!(ask("/x", &[]), Ok(None));
        assert_eq!(ask("/x", &[&one, &two]), Err(Code::InvalidRequest));
    }

    #[test]
    fn a_domain_leaves_room_for_a_label() {
        assert!(Domain::try_from("a.".repeat(94) + "b").is_ok());
        for bad in ["", ".", "a..b", "*.example.com", "example.com.", "-a.b", "exämple.com", "a b"]
        {
            assert!(Domain::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        assert!(Domain::try_from("a.".repeat(95)).is_err());
    }

    #[test]
    fn an_address_keeps_the_port_that_it_was_asked_at() {
        let seen =
            |authority: &str| Seen { scheme: Scheme::Https, authority: authority.to_owned() };
        let named = |authority| seen(authority).named("abc", &domain("proxy.example.com"));
        assert_eq!(named("keyway.example.com"), "https://abc.proxy.example.com");
        assert_eq!(named("127.0.0.1:8700"), "https://abc.proxy.example.com:8700");
        assert_eq!(named("[::1]:8700"), "https://abc.proxy.example.com:8700");
        assert_eq!(named("[::1]"), "https://abc.proxy.example.com");
        assert_eq!(seen("[::1]:8700").origin(), "https://[::1]:8700");
        for bad in ["", "a/b", "a@b", "a?b", "a b", "a#b", "a\\b"] {
            assert!(!plain_authority(bad), "{bad}");
        }
    }
}
