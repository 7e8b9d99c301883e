//! The broker: the only crate that opens an outbound connection.
//!
//! A connector hands over a request as data; the broker decides whether it may be sent, builds the real
//! one, puts the credential on it, and hands back a response in which that credential does not occur.
//!
//! ```text
//! request ── policy ── budget ── inject ── resolve ── classify ── dial ── send ── decode ── scrub ── response
//!            target, base        (secret)  (one answer, looked at   │       │
//!            request                        address by address)     └─ pool ┘   └─ redirect: back to policy
//! ```
//!
//! **Invariants.** Only `classify` makes an `ApprovedTarget` and only `dial` connects, to nothing else. A
//! pooled connection serves one installation under one policy. A secret leaves `inject` on a request and
//! nowhere else. Every failure says honestly whether anything can have reached the provider.
//!
//! It does not retry (except what was certainly not looked at, and a safe request on a connection that had gone stale),
//! does not cache, and knows of a provider's answer only what is about its rate limits.

#![warn(missing_docs)]

mod base;
mod broker;
mod budget;
mod classify;
mod climb;
mod config;
mod decode;
mod dial;
mod document;
mod inject;
mod keep_alive;
mod ledger;
mod limit_error;
mod links;
mod members;
mod metrics;
mod names;
mod observe;
mod pace;
mod payload;
mod places;
mod pointer;
mod policy;
mod pool;
mod quotas;
mod reason;
mod redact;
mod redirect;
mod relay;
mod request;
mod resolve;
mod respond;
mod scrub;
mod send;
mod sign;
mod target;
mod tokens;
mod turn;
mod underway;
mod wire;
mod words;

pub use broker::Broker;
pub use config::{Config, HostRules, Limits, MixedAnswers, StandIn};
pub use metrics::Metrics;
pub use policy::{BaseUrlRefused, DescriptorRefused, Error, base_url_allowed, check_descriptor};
pub use reason::Reason;
pub use resolve::{Dns, Resolve, ResolveError};
pub use wire::Wire;
pub use words::Words;
