//! Webhooks: a provider's delivery in, events out.

use serde::Serialize;

use crate::{Extra, Failure, Result, json_text};

/// A connector that understands its provider's webhooks: the contract's interface `webhooks`.
pub trait Listen {
    /// Turns one delivery into events. The host has already checked its signature.
    fn receive(delivery: Delivery) -> Result<Received> {
        Err(Failure::unsupported(format!("deliveries to {} are not understood", delivery.path)))
    }
}

/// A request that the provider sent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Delivery {
    /// RFC 9110 method.
    pub method: String,
    /// Path below the connector's own.
    pub path: String,
    /// Query without `?`.
    pub query: String,
    /// As received, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The bytes as received: signatures cover these.
    pub body: Vec<u8>,
    /// Anything else.
    pub extra: Extra,
}

/// Something that happened at the provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// The provider's event id, for deduplication.
    pub id: Option<String>,
    /// What happened, such as `contact.updated`.
    pub kind: String,
    /// Provider account that it belongs to, for fan-out to tenants.
    pub account: Option<String>,
    /// The object it concerns.
    pub object: Option<String>,
    /// The record it concerns.
    pub record_id: Option<String>,
    /// RFC 3339.
    pub occurred_at: Option<String>,
    /// JSON text.
    pub data: String,
    /// Anything else.
    pub extra: Extra,
}

/// What a delivery held.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Received {
    /// In the provider's order.
    pub events: Vec<Event>,
    /// What to answer the provider right away, such as a challenge; none means 200 with an empty body.
    pub reply: Option<Reply>,
    /// Anything else.
    pub extra: Extra,
}

/// An answer to the provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Whole.
    pub body: Vec<u8>,
}

// === impl Event ===

impl Event {
    /// An event of a kind, about nothing in particular yet.
    pub fn new<T: Serialize + ?Sized>(kind: impl Into<String>, data: &T) -> Result<Self> {
        Ok(Self {
            id: None,
            kind: kind.into(),
            account: None,
            object: None,
            record_id: None,
            occurred_at: None,
            data: json_text(data)?,
            extra: Extra::new(),
        })
    }
}
