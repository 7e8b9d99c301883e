//! The operator's configuration, compiled, and the question whether a destination is allowed.
//!
//! What a release declares and what the operator permits must both admit a host. Says nothing about
//! addresses: [`crate::classify`] does.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use keyway_core::Descriptor;
use keyway_core::descriptor::{HostPattern, SlotSpec};
use keyway_core::ids::{Environment, Slot};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use url::{Host, Url};

use crate::base::Bases;
use crate::classify::{self, ApprovedTarget, Networks};
use crate::config::{Config, HostRules, Limits, StandIn};
use crate::dial;
use crate::reason::{Reason, Stop};
use crate::request;
use crate::target::Target;

/// A configuration that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of `extra-roots` cannot be read or holds no certificate.
    #[error("extra root `{path}` cannot be used")]
    ExtraRoot {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// The TLS library refuses the set-up.
    #[error("tls cannot be set up")]
    Tls(#[source] rustls::Error),
    /// A stand-in's address is no loopback URL with a port.
    #[error(
        "stand-in address `{address}` is not `http://` or `https://`, a loopback address, and a port"
    )]
    StandIn {
        /// As configured.
        address: String,
    },
    /// A limit that nothing could pass.
    #[error("limit `{name}` must be at least 1")]
    Limit {
        /// Its key.
        name: &'static str,
    },
    /// The system's resolver configuration cannot be read.
    #[error("system resolver configuration cannot be used")]
    Resolver(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What a descriptor may not declare.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorRefused {
    /// A host.
    #[error("host `{host}` {problem}")]
    Host {
        /// The pattern.
        host: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The base URL.
    #[error("`base-url` {0}")]
    BaseUrl(String),
    /// The header that a slot's credential goes into.
    #[error("`slots.{slot}.{field}`: `{name}` is the host's to set")]
    Header {
        /// Of which slot.
        slot: Slot,
        /// Where the name stands.
        field: &'static str,
        /// The name.
        name: String,
    },
}

/// A base URL that a connection may not have.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct BaseUrlRefused {
    /// The broker's reason, whose text is a stable code.
    pub reason: Reason,
    /// What is wrong with it.
    pub problem: String,
}

/// Everything that decides about an exchange, at one moment. Replaced as a whole.
pub(crate) struct Policy {
    /// Counts up; part of every pooled connection's key.
    pub(crate) generation: u64,
    pub(crate) limits: Limits,
    pub(crate) networks: Networks,
    pub(crate) tls: Arc<rustls::ClientConfig>,
    allow_hosts: Option<Vec<HostPattern>>,
    deny_hosts: Vec<HostPattern>,
    environments: BTreeMap<Environment, HostRules>,
    pub(crate) allow_wildcards_on: Vec<String>,
    stand_ins: Vec<Substitute>,
    pub(crate) bases: Bases,
}

/// A stand-in, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Substitute {
    host: HostPattern,
    pub(crate) target: ApprovedTarget,
    pub(crate) tls: bool,
}

/// Checks at publish time what could only be refused later. No declared wildcard covers a public suffix: `*.co.uk` would be
/// every company of a country; `allow_wildcards_on` is the operator's list ([`Config::allow_wildcards_on`]). The base URL is
/// one that requests can be sent to, and no key goes into a header that is the host's.
pub fn check_descriptor(
    descriptor: &Descriptor,
    allow_wildcards_on: &[String],
) -> Result<(), DescriptorRefused> {
    for pattern in &descriptor.hosts {
        let refuse = |problem| DescriptorRefused::Host { host: pattern.to_string(), problem };
        if wildcard_too_broad(pattern, allow_wildcards_on) {
            return Err(refuse("is a wildcard on a public suffix"));
        }
        if classify::metadata_name(&pattern.domain) {
            return Err(refuse("is a metadata service"));
        }
    }
    if let Some(base_url) = &descriptor.base_url {
        check_base_url(descriptor, base_url).map_err(DescriptorRefused::BaseUrl)?;
    }
    for (slot, spec) in &descriptor.slots {
        check_headers(slot, spec)?;
    }
    Ok(())
}

/// The base URL that a release brings along. Nobody fills anything in: what looks like a place for a name is a mistake.
fn check_base_url(descriptor: &Descriptor, base_url: &str) -> Result<(), String> {
    if base_url.contains(['{', '}']) {
        return Err("has a placeholder, which nothing takes the place of".to_owned());
    }
    base_url_allowed(descriptor, base_url).map_err(|refused| format!("is refused: {refused}"))
}

fn check_headers(slot: &Slot, spec: &SlotSpec) -> Result<(), DescriptorRefused> {
    match spec.headers().into_iter().find(|(_, name)| request::host_sets(name)) {
        Some((field, name)) => {
            Err(DescriptorRefused::Header { slot: slot.clone(), field, name: name.to_owned() })
        }
        None => Ok(()),
    }
}

/// Whether a connection of this release may have this base URL: an `https` URL on a declared host,
/// without query and fragment. Exchanges check it again.
pub fn base_url_allowed(descriptor: &Descriptor, base_url: &str) -> Result<(), BaseUrlRefused> {
    let refuse =
        |stop: Stop| BaseUrlRefused { reason: stop.reason, problem: stop.detail.into_owned() };
    let target = Target::parse(base_url, Limits::default().url_bytes_max).map_err(refuse)?;
    if target.query().is_some() || base_url.contains('#') {
        return Err(refuse(Stop::new(Reason::UrlMalformed, "base url has a query or a fragment")));
    }
    if descriptor.admits_host(&target.host, target.port) {
        Ok(())
    } else {
        Err(refuse(undeclared(&target)))
    }
}

fn wildcard_too_broad(pattern: &HostPattern, allowed: &[String]) -> bool {
    let public = || psl::suffix_str(&pattern.domain) == Some(pattern.domain.as_str());
    pattern.wildcard && !allowed.contains(&pattern.domain) && public()
}

fn undeclared(target: &Target) -> Stop {
    let (host, port) = (&target.host, target.port);
    Stop::new(Reason::UndeclaredHost, format!("the connector does not declare host {host}:{port}"))
}

// === impl Policy ===

impl Policy {
    /// Compiles a configuration. Reads the system's and the extra roots.
    pub(crate) fn compile(config: Config, generation: u64) -> Result<Self, Error> {
        check_limits(&config.limits)?;
        let tls = dial::tls_config(extra_roots(&config.extra_roots)?).map_err(Error::Tls)?;
        let stand_ins =
            config.stand_ins.iter().map(Substitute::compile).collect::<Result<Vec<_>, _>>()?;
        for (stand_in, substitute) in config.stand_ins.iter().zip(&stand_ins) {
            tracing::warn!(
                host = %stand_in.host,
                address = %stand_in.address,
                tls = substitute.tls,
                "requests for this host go to a stand-in on this machine, not to the provider",
            );
        }
        Ok(Self {
            generation,
            limits: config.limits,
            networks: Networks { allow: config.allow_networks, mixed: config.mixed_answers },
            tls: Arc::new(tls),
            allow_hosts: config.allow_hosts,
            deny_hosts: config.deny_hosts,
            environments: config.environments,
            allow_wildcards_on: config.allow_wildcards_on,
            stand_ins,
            bases: Bases::default(),
        })
    }

    /// Whether a release of this descriptor may send a request there.
    pub(crate) fn admit(
        &self,
        environment: &Environment,
        descriptor: &Descriptor,
        target: &Target,
    ) -> Result<(), Stop> {
        self.admit_host(Some(environment), &descriptor.hosts, target)
    }

    /// Whether a request may go there that may go to these hosts.
    pub(crate) fn admit_host(
        &self,
        environment: Option<&Environment>,
        hosts: &[HostPattern],
        target: &Target,
    ) -> Result<(), Stop> {
        let (host, port) = (&*target.host, target.port);
        if classify::metadata_name(host) {
            return Err(Stop::new(Reason::HostMetadata, "the host is a metadata service"));
        }
        let mut declared = hosts.iter().filter(|pattern| pattern.matches(host, port)).peekable();
        if declared.peek().is_none() {
            return Err(undeclared(target));
        }
        if declared.all(|pattern| wildcard_too_broad(pattern, &self.allow_wildcards_on)) {
            return Err(Stop::new(
                Reason::HostWildcardTooBroad,
                format!("host {host} is declared only by a wildcard on a public suffix"),
            ));
        }
        if self.operator_admits(environment, host, port) {
            Ok(())
        } else {
            Err(Stop::new(
                Reason::HostNotAllowed,
                format!("the operator's policy does not allow host {host}:{port}"),
            ))
        }
    }

    fn operator_admits(&self, environment: Option<&Environment>, host: &str, port: u16) -> bool {
        let own = environment.and_then(|environment| self.environments.get(environment));
        let matches = |pattern: &HostPattern| pattern.matches(host, port);
        let denied = self.deny_hosts.iter().any(matches)
            || own.is_some_and(|rules| rules.deny_hosts.iter().any(matches));
        let allow = own.and_then(|rules| rules.allow_hosts.as_ref()).or(self.allow_hosts.as_ref());
        !denied && allow.is_none_or(|patterns| patterns.iter().any(matches))
    }

    /// What stands in for this host, if the operator said that something does.
    pub(crate) fn stand_in(&self, target: &Target) -> Option<&Substitute> {
        self.stand_ins.iter().find(|stand_in| stand_in.host.matches(&target.host, target.port))
    }
}

fn check_limits(limits: &Limits) -> Result<(), Error> {
    for (name, value) in [
        ("in-flight-per-call-max", limits.in_flight_per_call_max),
        ("in-flight-per-tenant-max", limits.in_flight_per_tenant_max),
        ("addresses-max", limits.addresses_max),
        ("addresses-tried-max", limits.addresses_tried_max),
        ("response-headers-max", limits.response_headers_max),
        ("response-header-bytes-max", limits.response_header_bytes_max),
    ] {
        if value == 0 {
            return Err(Error::Limit { name });
        }
    }
    Ok(())
}

fn extra_roots(paths: &[PathBuf]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let mut roots = Vec::new();
    for path in paths {
        let refuse = |source| Error::ExtraRoot { path: path.clone(), source };
        let text = fs::read(path).map_err(|error| refuse(pem::Error::Io(error)))?;
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(&text) {
            roots.push(certificate.map_err(refuse)?);
        }
        if roots.len() == before {
            return Err(refuse(pem::Error::NoItemsFound));
        }
    }
    Ok(roots)
}

// === impl Substitute ===

impl Substitute {
    fn compile(stand_in: &StandIn) -> Result<Self, Error> {
        let refuse = || Error::StandIn { address: stand_in.address.clone() };
        let url = Url::parse(&stand_in.address).map_err(|_| refuse())?;
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(refuse()),
        };
        let ip = match url.host() {
            Some(Host::Ipv4(ip)) => ip.into(),
            Some(Host::Ipv6(ip)) => ip.into(),
            _ => return Err(refuse()),
        };
        let bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        let port =
            url.port_or_known_default().filter(|port| bare && *port != 0).ok_or_else(refuse)?;
        let target = ApprovedTarget::stand_in(SocketAddr::new(ip, port)).ok_or_else(refuse)?;
        Ok(Self { host: stand_in.host.clone(), target, tls })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(hosts: &str) -> Descriptor {
        let text = r#"{"format":1,"name":"a/b","version":"1.0.0","hosts":HOSTS}"#;
        Descriptor::parse(&text.replace("HOSTS", hosts)).unwrap()
    }

    fn policy(config: &str) -> Policy {
        Policy::compile(toml::from_str(config).unwrap(), 0).unwrap()
    }

    fn admit(policy: &Policy, environment: &str, hosts: &str, url: &str) -> Result<(), Reason> {
        let target = Target::parse(url, 8 << 10).map_err(|stop| stop.reason)?;
        policy
            .admit(&environment.parse().unwrap(), &descriptor(hosts), &target)
            .map_err(|stop| stop.reason)
    }

    #[test]
    fn hosts_are_those_declared_and_no_others() {
        let policy = policy("");
        let hosts = r#"["allowed.com", "*.wild.com", "other.com:8443"]"#;
        let admit = |url: &str| admit(&policy, "dev", hosts, url);
        for url in [
            "https://allowed.com",
            "https://ALLOWED.com./x",
            "https://allowed.com:443/",
            "https://eu.wild.com",
            "https://other.com:8443",
        ] {
            assert_eq!(admit(url), Ok(()), "{url}");
        }
        for url in [
            // C12, C13
            "https://evilallowed.com",
            "https://allowed.com.evil.com",
            "https://wild.com",
            "https://a.b.wild.com",
            "https://evilwild.com",
            "https://allowed.com:0",
            "https://allowed.com:25",
            "https://allowed.com:6379",
            "https://allowed.com:8443",
            "https://other.com",
            "https://localhost",
            "https://intranet",
        ] {
            assert_eq!(admit(url), Err(Reason::UndeclaredHost), "{url}");
        }
    }

    #[test]
    fn metadata_names_are_denied_even_if_declared() {
        let policy = policy("");
        let hosts = r#"["metadata.google.internal", "*.google.internal"]"#;
        let url = "https://metadata.google.internal/computeMetadata/v1/";
        assert_eq!(admit(&policy, "dev", hosts, url), Err(Reason::HostMetadata));
        assert_eq!(admit(&policy, "dev", hosts, "https://metadata/"), Err(Reason::HostMetadata));
        assert!(check_descriptor(&descriptor(hosts), &[]).is_err());
    }

    #[test]
    fn operator_narrows_by_environment() {
        let policy = policy(
            r#"
            allow-hosts = ["a.example.com", "b.example.com"]
            deny-hosts = ["b.example.com"]
            [environments.dev]
            allow-hosts = ["sandbox.example.com", "b.example.com"]
            [environments.staging]
            deny-hosts = ["a.example.com"]
            "#,
        );
        let admit = |environment, host: &str| {
            admit(
                &policy,
                environment,
                r#"["*.example.com"]"#,
                &format!("https://{host}.example.com"),
            )
        };
        assert_eq!(admit("prod", "a"), Ok(()));
        assert_eq!(admit("dev", "sandbox"), Ok(()));
        for (environment, host) in
            [("prod", "b"), ("prod", "sandbox"), ("dev", "a"), ("dev", "b"), ("staging", "a")]
        {
            assert_eq!(
                admit(environment, host),
                Err(Reason::HostNotAllowed),
                "{environment} {host}"
            );
        }
    }

    #[test]
    fn wildcards_do_not_stand_on_public_suffixes() {
        let hosts = r#"["*.co.uk", "*.github.io", "*.myshopify.com", "*.example.co.uk"]"#;
        let refused = check_descriptor(&descriptor(hosts), &[]).unwrap_err();
        assert!(refused.to_string().starts_with("host `*.co.uk` "), "{refused}");
        let strict = policy("");
        assert_eq!(
            admit(&strict, "dev", hosts, "https://evil.co.uk"),
            Err(Reason::HostWildcardTooBroad)
        );
        assert_eq!(admit(&strict, "dev", hosts, "https://a.example.co.uk"), Ok(()));
        let shop = "https://shop.myshopify.com";
        assert_eq!(admit(&strict, "dev", hosts, shop), Err(Reason::HostWildcardTooBroad));
        let open = policy(r#"allow-wildcards-on = ["myshopify.com"]"#);
        assert_eq!(admit(&open, "dev", hosts, shop), Ok(()));
        let own = descriptor(r#"["*.myshopify.com"]"#);
        assert!(check_descriptor(&own, &[]).is_err());
        assert!(check_descriptor(&own, &["myshopify.com".to_owned()]).is_ok());
        // Without a wildcard it is one host like any other.
        assert!(check_descriptor(&descriptor(r#"["myshopify.com"]"#), &[]).is_ok());
    }

    #[test]
    fn what_can_only_fail_is_refused_at_publication() {
        let check = |rest: &str| {
            let text = format!(
                r#"{{"format":1,"name":"a/b","version":"1.0.0","hosts":["api.example.com","*.shop.example.com"],{rest}}}"#
            );
            let refused = check_descriptor(&Descriptor::parse(&text).unwrap(), &[]);
            refused.map_err(|refused| refused.to_string())
        };
        for url in [
            "http://api.example.com",
            "https://127.0.0.1",
            "https://[::1]/",
            "https://localhost",
            "https://api.example.org",
            "https://api.example.com:8443",
            "https://ann@api.example.com",
            "https://api.example.com/?a=b",
            "https://api.example.com/#a",
            "https://{shop}.shop.example.com",
            "https://api.example.com/{account}",
            "/v1",
            "",
        ] {
            let refused = check(&format!(r#""base-url":"{url}""#)).unwrap_err();
            assert!(refused.starts_with("`base-url` "), "{url}: {refused}");
        }
        assert_eq!(check(r#""base-url":"https://eu.shop.example.com/v1/""#), Ok(()));
        let header = |name: &str| {
            check(&format!(
                r#""slots":{{"key":{{"scheme":{{"kind":"api-key-header","name":"{name}"}}}}}}"#
            ))
        };
        for name in [
            "Host",
            "content-length",
            "Transfer-Encoding",
            "Connection",
            "TE",
            "Upgrade",
            "X-Forwarded-For",
            "via",
            "proxy-authorization",
            "Keyway-Slot",
            "content-type",
            "expect",
        ] {
            let refused = header(name).unwrap_err();
            assert!(refused.contains("slots.key.scheme.name"), "{name}: {refused}");
        }
        for name in ["X-Api-Key", "Authorization", "Cookie", "api-token"] {
            assert_eq!(header(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn base_urls_are_checked_like_requests() {
        let descriptor = descriptor(r#"["*.salesforce.com"]"#);
        assert_eq!(
            base_url_allowed(&descriptor, "https://na1.salesforce.com/services/data"),
            Ok(())
        );
        for (url, reason) in [
            ("http://na1.salesforce.com", Reason::SchemeRefused),
            ("https://evil.com", Reason::UndeclaredHost),
            ("https://na1.salesforce.com:8443", Reason::UndeclaredHost),
            ("https://u:p@na1.salesforce.com", Reason::UserinfoRefused),
            ("https://127.0.0.1", Reason::UndeclaredHost),
            ("https://na1.salesforce.com/?q", Reason::UrlMalformed),
            ("https://na1.salesforce.com/#f", Reason::UrlMalformed),
            ("/services", Reason::UrlMalformed),
        ] {
            assert_eq!(base_url_allowed(&descriptor, url).unwrap_err().reason, reason, "{url}");
        }
    }

    #[test]
    fn configurations_that_cannot_hold_are_refused() {
        let compile = |text: &str| Policy::compile(toml::from_str(text).unwrap(), 0).map(|_| ());
        for address in [
            "http://10.0.0.1:80",
            "http://localhost:80",
            "http://127.0.0.1:9/x",
            "ftp://127.0.0.1:9",
            "127.0.0.1:9",
            "http://u@127.0.0.1:9",
            "http://127.0.0.1:0",
            "http://0.0.0.0:9",
            "http://[::]:9",
        ] {
            let text = format!("[[stand-in]]\nhost = 'api.example.com'\naddress = '{address}'");
            assert!(matches!(compile(&text), Err(Error::StandIn { .. })), "{address}");
        }
        assert!(matches!(
            compile("extra-roots = ['/nonexistent/ca.pem']"),
            Err(Error::ExtraRoot { .. })
        ));
        let text = "[limits]\nin-flight-per-call-max = 0";
        assert!(matches!(compile(text), Err(Error::Limit { name: "in-flight-per-call-max" })));
    }
}
