//! Decides which addresses may be dialled.
//!
//! [`ApprovedTarget`] can only be made here, and [`crate::dial`] takes nothing else, so no code path can
//! dial an address that was not looked at. The tables are explicit: what the standard library thinks is
//! global changes between releases and leaves out half of these.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::config::MixedAnswers;
use crate::reason::{Reason, Stop};

/// Addresses that may be dialled for one host, in the order to try them.
#[derive(Clone, Debug)]
pub(crate) struct ApprovedTarget {
    addresses: Vec<SocketAddr>,
}

/// What the operator permits beyond public addresses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Networks {
    pub(crate) allow: Vec<IpNet>,
    pub(crate) mixed: MixedAnswers,
}

/// Metadata services of clouds: they hand credentials to whoever asks. 168.63.129.16 (Azure) and
/// 100.100.100.200 (Alibaba) look like any other address, so ranges alone would miss one of them.
const METADATA: [IpAddr; 8] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
];

/// Names of metadata services, which some resolvers answer with addresses of their own choice.
const METADATA_NAMES: [&str; 4] =
    ["metadata.google.internal", "metadata.goog", "metadata", "instance-data.ec2.internal"];

/// IPv4 that is not the public Internet: network, prefix length, what it is.
const BLOCKED_V4: [([u8; 4], u32, &str); 16] = [
    ([0, 0, 0, 0], 8, "this network"),
    ([10, 0, 0, 0], 8, "private"),
    ([100, 64, 0, 0], 10, "carrier-grade NAT"),
    ([127, 0, 0, 0], 8, "loopback"),
    ([169, 254, 0, 0], 16, "link-local"),
    ([172, 16, 0, 0], 12, "private"),
    ([192, 0, 0, 0], 24, "protocol assignments"),
    ([192, 0, 2, 0], 24, "documentation"),
    ([192, 88, 99, 0], 24, "6to4 relay"),
    ([192, 168, 0, 0], 16, "private"),
    ([198, 18, 0, 0], 15, "benchmarking"),
    ([198, 51, 100, 0], 24, "documentation"),
    ([203, 0, 113, 0], 24, "documentation"),
    ([224, 0, 0, 0], 4, "multicast"),
    ([240, 0, 0, 0], 4, "reserved"),
    ([168, 63, 129, 16], 32, "metadata"),
];

/// IPv6 that is not the public Internet. Whatever lies outside 2000::/3 is blocked without being listed;
/// the entries outside it are here for their names.
const BLOCKED_V6: [([u16; 8], u32, &str); 16] = [
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, "loopback"),
    ([0, 0, 0, 0, 0, 0, 0, 0], 96, "unspecified or IPv4-compatible"),
    ([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, "NAT64"),
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "local NAT64"),
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "discard-only"),
    ([0x100, 0, 0, 1, 0, 0, 0, 0], 64, "dummy"),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, "Teredo"),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "protocol assignments"),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "documentation"),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "6to4"),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "documentation"),
    ([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, "segment routing"),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "unique local"),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "link-local"),
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "site-local"),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "multicast"),
];

/// Whether this is the name of a metadata service.
pub(crate) fn metadata_name(host: &str) -> bool {
    METADATA_NAMES.contains(&host)
}

/// Why an address that is not on the public Internet is not.
pub(crate) fn blocked(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(address) => blocked_v4(address),
        IpAddr::V6(address) => blocked_v6(address),
    }
}

fn blocked_v4(address: Ipv4Addr) -> Option<&'static str> {
    let bits = address.to_bits();
    BLOCKED_V4
        .iter()
        .find(|(network, prefix, _)| {
            (bits ^ Ipv4Addr::from(*network).to_bits()).leading_zeros() >= *prefix
        })
        .map(|(_, _, name)| *name)
}

fn blocked_v6(address: Ipv6Addr) -> Option<&'static str> {
    let bits = address.to_bits();
    let listed = BLOCKED_V6
        .iter()
        .find(|(network, prefix, _)| {
            (bits ^ Ipv6Addr::from(*network).to_bits()).leading_zeros() >= *prefix
        })
        .map(|(_, _, name)| *name);
    let global_unicast = bits >> 125 == 0b001;
    listed.or(if global_unicast { None } else { Some("not global unicast") })
}

/// The IPv4 address that an IPv6 address leads to through a translator or a tunnel.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let pair = |high: u16, low: u16| Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low));
    match segments {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0, 0, high, low] => {
            Some(pair(high, low))
        }
        [0x2002, high, low, ..] => Some(pair(high, low)),
        // Teredo keeps the client's address inverted at the end.
        [0x2001, 0, .., high, low] => Some(pair(!high, !low)),
        _ => None,
    }
}

// === impl Networks ===

impl Networks {
    /// Why nothing may be sent to this address, or none.
    pub(crate) fn refusal(&self, address: IpAddr) -> Option<&'static str> {
        let address = address.to_canonical();
        if METADATA.contains(&address) {
            return Some("metadata");
        }
        let why = blocked(address)?;
        if !self.allow.iter().any(|network| network.contains(&address)) {
            return Some(why);
        }
        // Permission for a translator's prefix is none for what lies behind it.
        match address {
            IpAddr::V6(address) => {
                embedded_v4(address).and_then(|inner| self.refusal(inner.into()))
            }
            IpAddr::V4(_) => None,
        }
    }
}

// === impl ApprovedTarget ===

impl ApprovedTarget {
    /// Looks at every address that a name resolved to.
    pub(crate) fn approve(
        answers: &[IpAddr],
        port: u16,
        networks: &Networks,
        tried_max: usize,
    ) -> Result<Self, Stop> {
        let mut addresses = Vec::with_capacity(answers.len());
        let mut refused = None;
        for answer in answers {
            match networks.refusal(*answer) {
                Some(why) => refused = Some(why),
                None => addresses.push(SocketAddr::new(answer.to_canonical(), port)),
            }
        }
        match (addresses.is_empty(), refused, networks.mixed) {
            (true, Some(why), _) => {
                Err(Stop::new(Reason::AddressBlocked, format!("the host's addresses are {why}")))
            }
            (true, None, _) => Err(Stop::new(Reason::DnsNoAddress, "the host has no address")),
            (false, Some(why), MixedAnswers::Deny) => Err(Stop::new(
                Reason::AddressesMixed,
                format!("some of the host's addresses are public and some {why}"),
            )),
            (false, _, _) => {
                addresses.truncate(tried_max);
                Ok(Self { addresses })
            }
        }
    }

    /// The operator's stand-in for a host. Only loopback stands in.
    pub(crate) fn stand_in(address: SocketAddr) -> Option<Self> {
        address.ip().is_loopback().then(|| Self { addresses: vec![address] })
    }

    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> Option<&'static str> {
        Networks::default().refusal(text.parse().unwrap())
    }

    #[test]
    fn public_addresses_pass() {
        for text in [
            "93.184.216.34",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "191.255.255.255",
            "192.0.1.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "168.63.129.15",
            "168.63.129.17",
            "11.0.0.0",
            "9.255.255.255",
            "126.255.255.255",
            "128.0.0.0",
            "2606:2800:220:1:248:1893:25c8:1946",
            "2001:200::1",
            "2400::1",
            "3ffe::1",
            "::ffff:93.184.216.34",
        ] {
            assert_eq!(refusal(text), None, "{text}");
        }
    }

    #[test]
    fn everything_else_is_blocked_to_the_edge() {
        for text in [
            // C1, C5
            "127.0.0.1",
            "127.255.255.255",
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "172.16.0.0",
            "172.31.255.255",
            "192.168.0.0",
            "192.168.255.255",
            "192.0.0.0",
            "192.0.0.255",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.0",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.0",
            "255.255.255.255",
            "169.254.0.1",
            // C2
            "::1",
            "::",
            "::ffff:169.254.169.254",
            "::ffff:7f00:1",
            "::127.0.0.1",
            // C3
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:808:808::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            // C4
            "fe80::1",
            "fd00:ec2::254",
            "fc00::1",
            "fdff::1",
            "fec0::1",
            "feff::1",
            "5f00::1",
            "100::1",
            "100:0:0:1::1",
            "3fff::1",
            "3fff:fff::1",
            "2001:db8::1",
            "2001:10::1",
            "2001:1ff::1",
            "ff02::1",
            "4000::1",
            "1000::1",
            "64:ff9a::1",
            // C6
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "169.254.169.254",
            "169.254.170.2",
        ] {
            assert!(refusal(text).is_some(), "{text}");
        }
    }

    #[test]
    fn operator_networks_open_what_they_name_and_never_metadata() {
        let networks = Networks {
            allow: ["10.1.0.0/16", "169.254.0.0/16", "fd00::/8", "64:ff9b::/96", "168.63.129.0/24"]
                .map(|network| network.parse().unwrap())
                .to_vec(),
            mixed: MixedAnswers::Deny,
        };
        for (text, open) in [
            ("10.1.2.3", true),
            ("10.2.0.1", false),
            ("169.254.1.1", true),
            ("169.254.169.254", false),
            ("168.63.129.16", false),
            ("fd00::1", true),
            ("fd00:ec2::254", false),
            ("64:ff9b::808:808", true),
            ("64:ff9b::a9fe:a9fe", false),
            ("64:ff9b::a02:1", false),
            ("64:ff9b::a01:1", true),
        ] {
            assert_eq!(networks.refusal(text.parse().unwrap()).is_none(), open, "{text}");
        }
    }

    #[test]
    fn mixed_answers_deny_or_filter() {
        let answers = ["93.184.216.34", "10.0.0.1"].map(|text| text.parse().unwrap());
        let deny = Networks::default();
        let stop = ApprovedTarget::approve(&answers, 443, &deny, 4).unwrap_err();
        assert_eq!(stop.reason, Reason::AddressesMixed);
        let filter = Networks { mixed: MixedAnswers::Filter, ..deny };
        let target = ApprovedTarget::approve(&answers, 443, &filter, 4).unwrap();
        assert_eq!(target.addresses(), ["93.184.216.34:443".parse().unwrap()]);
        let stop = ApprovedTarget::approve(&answers[1..], 443, &filter, 4).unwrap_err();
        assert_eq!(stop.reason, Reason::AddressBlocked);
        let stop = ApprovedTarget::approve(&[], 443, &filter, 4).unwrap_err();
        assert_eq!(stop.reason, Reason::DnsNoAddress);
    }

    #[test]
    fn only_loopback_stands_in() {
        assert!(ApprovedTarget::stand_in("127.0.0.1:80".parse().unwrap()).is_some());
        assert!(ApprovedTarget::stand_in("[::1]:80".parse().unwrap()).is_some());
        assert!(ApprovedTarget::stand_in("10.0.0.1:80".parse().unwrap()).is_none());
        assert!(ApprovedTarget::stand_in("0.0.0.0:80".parse().unwrap()).is_none());
    }
}
