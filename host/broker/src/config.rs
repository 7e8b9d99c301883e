//! What an operator can set. Data only: [`crate::policy`] compiles it.
//!
//! Names are kebab-case, unknown keys are errors, and every key has the default stated here. Sizes are
//! in bytes and say so; durations are written `5s`, `2m`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use keyway_core::descriptor::HostPattern;
use keyway_core::ids::Environment;
use serde::Deserialize;

/// Outbound policy and limits.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// How much and how long.
    pub limits: Limits,
    /// Hosts that releases may reach, of those they declare. Default: all that they declare.
    pub allow_hosts: Option<Vec<HostPattern>>,
    /// Hosts that no release may reach, whatever else allows them. Default: none.
    pub deny_hosts: Vec<HostPattern>,
    /// The same two for one environment: its `allow-hosts` stands instead of the general one, its
    /// `deny-hosts` is added. Default: none.
    pub environments: BTreeMap<Environment, HostRules>,
    /// Public suffixes that belong to one provider, such as `shops.example`, below which a descriptor may
    /// declare a wildcard although the Public Suffix List says that strangers share them. Default: none.
    pub allow_wildcards_on: Vec<String>,
    /// Networks permitted beyond public addresses. Metadata services stay denied. Default: none.
    pub allow_networks: Vec<IpNet>,
    /// What becomes of a name of which only some addresses may be dialled. Default: `deny`.
    pub mixed_answers: MixedAnswers,
    /// PEM files of certificate authorities trusted beside the system's. Default: none.
    pub extra_roots: Vec<PathBuf>,
    /// Declared hosts whose requests go to a loopback server instead: for tests and demonstrations.
    /// Default: none.
    #[serde(rename = "stand-in")]
    pub stand_ins: Vec<StandIn>,
}

/// Which hosts one environment may reach.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct HostRules {
    /// Replaces the general list where given.
    pub allow_hosts: Option<Vec<HostPattern>>,
    /// Adds to the general list.
    pub deny_hosts: Vec<HostPattern>,
}

/// What becomes of a name with permitted and blocked addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MixedAnswers {
    /// The name is refused: a public name with a private address is how rebinding begins.
    #[default]
    Deny,
    /// The blocked addresses are left out. For split-horizon DNS that answers with both.
    Filter,
}

/// Sends the requests for a declared host to a server on this machine.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StandIn {
    /// For which host. A descriptor must still declare it.
    pub host: HostPattern,
    /// `http://` or `https://`, a loopback address, and a port.
    pub address: String,
}

/// How much and how long, for one exchange unless it says otherwise.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Bytes of a URL. 8 KiB: what common servers read. Default 8192.
    pub url_bytes_max: usize,
    /// Bytes of a request's header names and values together. Default 65536.
    pub request_header_bytes_max: usize,
    /// Header fields of a request. Default 128.
    pub request_headers_max: usize,
    /// Bytes of a request body. 10 MiB: the largest batch that a studied provider takes. Default 10485760.
    pub request_body_bytes_max: usize,
    /// Bytes of a response's status line and header section. Default 65536.
    pub response_header_bytes_max: usize,
    /// Header fields of a response. Default 128.
    pub response_headers_max: usize,
    /// Interim (1xx) responses read before the final one. Real servers send one or two; a server that
    /// sends them without end would hold a connection and a processor. Default 8.
    pub interim_responses_max: u32,
    /// Bytes of a response body, as sent and as decoded: what fits a call's answer. 32 MiB. Default 33554432.
    pub response_body_bytes_max: usize,
    /// Times a body may grow when decoded. Text rarely passes 20, a bomb starts at 1000. Default 100.
    pub inflation_max: usize,
    /// Decoded bytes below which growth is not looked at: a small page of equal records is no bomb.
    /// Default 262144.
    pub inflation_free_bytes: usize,
    /// Addresses that a name may have. More is a misconfiguration or an attack. Default 64.
    pub addresses_max: usize,
    /// Addresses of a name that are tried, in the resolver's order, within `connect-timeout`. Default 4.
    pub addresses_tried_max: usize,
    /// Time to resolve a name. Default 5s.
    #[serde(with = "keyway_core::humane")]
    pub dns_timeout: Duration,
    /// Time to connect and to finish the TLS handshake. Default 5s.
    #[serde(with = "keyway_core::humane")]
    pub connect_timeout: Duration,
    /// Time from the first byte of the request to the head of the response. Default 30s.
    #[serde(with = "keyway_core::humane")]
    pub first_byte_timeout: Duration,
    /// Time between two pieces of a response body. Default 15s.
    #[serde(with = "keyway_core::humane")]
    pub between_bytes_timeout: Duration,
    /// Time for the whole exchange, redirects and waiting for a permit included, and, through the proxy, until the last
    /// byte of the answer is with the caller; what is left of the call's time applies where it is shorter. Default 2m.
    #[serde(with = "keyway_core::humane")]
    pub exchange_timeout: Duration,
    /// Exchanges under way for one call; more of them wait. Default 16.
    pub in_flight_per_call_max: usize,
    /// Exchanges under way for one tenant of an environment; more of them wait. Default 64.
    pub in_flight_per_tenant_max: usize,
    /// Time that an unused connection is kept, if the other side has not said that it keeps it for less. Shorter than the
    /// 60 s of common load balancers, so that it is rarely the other side that closes first. Default 30s.
    #[serde(with = "keyway_core::humane")]
    pub idle_timeout: Duration,
    /// Connections to providers that are open, unused ones included. Where there are so many, an unused one gives way, or
    /// whoever wants another waits in its own time. The host makes it fewer where the limit on open files is too low.
    /// Default 4096: four exchanges for each of the calls that there may be.
    pub connections_max: usize,
    /// Unused connections kept for one host of one installation. Default 64: a tenant's whole budget.
    pub idle_per_host_max: usize,
    /// Unused connections kept in all. Default 1024: below the usual limit of open files.
    pub idle_max: usize,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            url_bytes_max: 8 << 10,
            request_header_bytes_max: 64 << 10,
            request_headers_max: 128,
            request_body_bytes_max: 10 << 20,
            response_header_bytes_max: 64 << 10,
            response_headers_max: 128,
            interim_responses_max: 8,
            response_body_bytes_max: 32 << 20,
            inflation_max: 100,
            inflation_free_bytes: 256 << 10,
            addresses_max: 64,
            addresses_tried_max: 4,
            dns_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            first_byte_timeout: Duration::from_secs(30),
            between_bytes_timeout: Duration::from_secs(15),
            exchange_timeout: Duration::from_secs(120),
            in_flight_per_call_max: 16,
            in_flight_per_tenant_max: 64,
            idle_timeout: Duration::from_secs(30),
            connections_max: 4_096,
            idle_per_host_max: 64,
            idle_max: 1_024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_means_defaults_and_unknown_keys_are_errors() {
        assert_eq!(toml::from_str::<Config>("").unwrap(), Config::default());
        assert!(toml::from_str::<Config>("alow-hosts = []").is_err());
        assert!(toml::from_str::<Config>("[limits]\nurl-max = 1").is_err());
        assert!(toml::from_str::<Config>("[limits]\nconnect-timeout = '0s'").is_err());
    }

    #[test]
    fn every_part_is_read() {
        let config: Config = toml::from_str(
            r#"
            allow-hosts = ["api.hubapi.com", "*.hubspot.com"]
            deny-hosts = ["evil.hubspot.com"]
            allow-wildcards-on = ["myshopify.com"]
            allow-networks = ["10.20.0.0/16"]
            mixed-answers = "filter"
            extra-roots = ["ca.pem"]
            [limits]
            connect-timeout = "2s"
            idle-max = 3
            "#,
        )
        .unwrap();
        assert_eq!(config.limits.connect_timeout, Duration::from_secs(2));
        assert_eq!(config.limits.idle_max, 3);
        assert_eq!(config.mixed_answers, MixedAnswers::Filter);
        let config: Config = toml::from_str(
            r#"
            [environments.prod]
            deny-hosts = ["sandbox.hubapi.com"]
            [[stand-in]]
            host = "api.hubapi.com"
            address = "http://127.0.0.1:9000"
            "#,
        )
        .unwrap();
        assert_eq!(config.stand_ins.len(), 1);
        assert_eq!(config.environments.len(), 1);
    }
}
