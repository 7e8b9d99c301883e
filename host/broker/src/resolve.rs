//! Turns a name into addresses. Judges nothing: [`crate::classify`] looks at every answer.
//!
//! One resolution a dial: the addresses that were looked at are the addresses that are dialled, so a
//! name cannot change between the two.

use std::net::IpAddr;

use async_trait::async_trait;
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{ResolverBuilder, TokioResolver};

use crate::config::Limits;
use crate::policy::Error;
use crate::reason::{Reason, Stop};

/// Who turns names into addresses.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// All addresses of a name, both families. `name` is lower-case ASCII without a trailing dot.
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError>;
}

/// A name that could not be turned into addresses.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The zone says that it does not exist.
    #[error("no such name")]
    NoName,
    /// It exists and has no address.
    #[error("no address")]
    NoAddress,
    /// No answer.
    #[error("resolver failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The system's name servers, asked directly.
pub struct Dns(TokioResolver);

/// Asks once and in time.
pub(crate) async fn resolve(
    resolver: &dyn Resolve,
    name: &str,
    limits: &Limits,
) -> Result<Vec<IpAddr>, Stop> {
    let answer =
        tokio::time::timeout(limits.dns_timeout, resolver.addresses(name)).await.map_err(|_| {
            Stop::new(Reason::DnsTimeout, format!("no answer from dns for host {name}"))
        })?;
    match answer {
        Ok(addresses) if addresses.len() > limits.addresses_max => {
            let detail = format!("host {name} has more than {} addresses", limits.addresses_max);
            Err(Stop::new(Reason::DnsTooManyAddresses, detail))
        }
        Ok(addresses) => Ok(addresses),
        Err(ResolveError::NoName) => {
            Err(Stop::new(Reason::DnsNoName, format!("host {name} does not exist")))
        }
        Err(ResolveError::NoAddress) => {
            Err(Stop::new(Reason::DnsNoAddress, format!("host {name} has no address")))
        }
        Err(ResolveError::Failed(error)) => {
            tracing::debug!(host = name, error = &*error as &dyn std::error::Error, "dns failed");
            Err(Stop::new(Reason::DnsFailed, format!("host {name} could not be resolved")))
        }
    }
}

// === impl Dns ===

impl Dns {
    /// Reads the system's configuration.
    pub fn system() -> Result<Self, Error> {
        TokioResolver::builder_tokio()
            .and_then(Self::build)
            .map_err(|error| Error::Resolver(Box::new(error)))
    }

    fn build(mut builder: ResolverBuilder<TokioRuntimeProvider>) -> Result<Self, NetError> {
        // Both families are always asked: a private address must not hide behind a public one.
        builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        builder.build().map(Self)
    }
}

#[async_trait]
impl Resolve for Dns {
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        // The final dot keeps the system's search domains out of it.
        match self.0.lookup_ip(format!("{name}.")).await {
            Ok(answer) => Ok(answer.iter().collect()),
            Err(error) if error.is_nx_domain() => Err(ResolveError::NoName),
            Err(error) if error.is_no_records_found() => Err(ResolveError::NoAddress),
            Err(error) => Err(ResolveError::Failed(Box::new(error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use tokio::net::UdpSocket;

    use super::*;

    const A: u16 = 1;
    const AAAA: u16 = 28;

    /// One record of the answer: its type and data. Every record has the name that was asked.
    type Records = Vec<(u16, Vec<u8>)>;

    /// What the name server says to a question: a response code and records.
    fn zone(name: &str, kind: u16) -> (u8, Records) {
        let private = || vec![0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        match (name, kind) {
            ("both.example.com", A) => {
                (0, vec![(A, vec![93, 184, 216, 34]), (A, vec![93, 184, 216, 35])])
            }
            ("both.example.com", AAAA) => (0, vec![(AAAA, private())]),
            ("broken.example.com", _) => (2, Vec::new()),
            ("nothing.example.com", _) => (0, Vec::new()),
            _ => (3, Vec::new()),
        }
    }

    /// Answers one DNS message (RFC 1035 section 4).
    fn answer(query: &[u8]) -> Vec<u8> {
        let mut name = Vec::new();
        let mut at = 12;
        while query[at] != 0 {
            let label = &query[at + 1..][..usize::from(query[at])];
            name.push(String::from_utf8_lossy(label).to_lowercase());
            at += 1 + label.len();
        }
        let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
        let question = &query[12..at + 5];
        let (code, records) = zone(&name.join("."), kind);
        let count = u8::try_from(records.len()).unwrap();
        let mut reply = vec![query[0], query[1], 0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0];
        reply.extend_from_slice(question);
        for (kind, data) in records {
            // The name by reference, class IN, ten seconds.
            reply.extend_from_slice(&[0xc0, 12]);
            reply.extend_from_slice(&kind.to_be_bytes());
            reply.extend_from_slice(&[0, 1, 0, 0, 0, 10, 0, u8::try_from(data.len()).unwrap()]);
            reply.extend_from_slice(&data);
        }
        reply
    }

    async fn ask(names: &[&str]) -> Vec<Result<Vec<IpAddr>, ResolveError>> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut connection = ConnectionConfig::udp();
        connection.port = socket.local_addr().unwrap().port();
        let mut server = NameServerConfig::udp(Ipv4Addr::LOCALHOST.into());
        server.connections = vec![connection];
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let dns = Dns::build(builder).unwrap();
        let server = tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                socket.send_to(&answer(&buffer[..length]), from).await.unwrap();
            }
        });
        let mut answers = Vec::new();
        for name in names {
            answers.push(dns.addresses(name).await);
        }
        server.abort();
        answers
    }

    #[tokio::test]
    async fn both_families_are_asked_and_failures_told_apart() {
        let names =
            ["both", "missing", "nothing", "broken"].map(|name| format!("{name}.example.com"));
        let names = names.each_ref().map(String::as_str);
        let mut answers = ask(&names).await.into_iter();
        let addresses = answers.next().unwrap().unwrap();
        assert_eq!(addresses.len(), 3, "{addresses:?}");
        assert!(addresses.contains(&"fd00::1".parse().unwrap()));
        assert!(matches!(answers.next(), Some(Err(ResolveError::NoName))));
        assert!(matches!(answers.next(), Some(Err(ResolveError::NoAddress))));
        assert!(matches!(answers.next(), Some(Err(ResolveError::Failed(_)))));
    }
}
