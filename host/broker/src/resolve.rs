//! Turns a name into addresses. Judges nothing: [`crate::classify`] looks at every answer.
//!
//! One resolution a dial: the addresses that were looked at are the addresses that are dialled, so a
//! name cannot change between the two.

use std::net::IpAddr;

use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;

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
        let mut builder =
            TokioResolver::builder_tokio().map_err(|error| Error::Resolver(Box::new(error)))?;
        // Both families are always asked: a private address must not hide behind a public one.
        builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        builder.build().map(Self).map_err(|error| Error::Resolver(Box::new(error)))
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
