//! What a live call sees of the world: the real broker, the real clock, real randomness.
//!
//! The one implementation of [`Outside`] that is not a recording. It adds the call's identity to each
//! request and to each log line; deciding what may be sent is the broker's.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use keyway_core::Descriptor;
use keyway_core::call::{Failure, Json};
use keyway_core::exchange::{Origin, Pace, Request, Response};
use keyway_core::ids::{CallId, Environment, Installation, Slot, Tenant, User};
use keyway_core::ports::{Clock, Egress, Granted, Outside, Redact, Route, Settings};
use keyway_core::quota::LimitMet;
use keyway_core::said::{Line, LogLevel};
use rand::RngCore as _;
use serde_json::{Map, Value, json};

use crate::said::{Gathered, Said};

/// A live call's outside.
pub(crate) struct Live {
    call: CallId,
    route: Arc<Route>,
    egress: Arc<dyn Egress>,
    clock: Arc<dyn Clock>,
    deadline: Instant,
    user: Option<User>,
    pace: Pace,
    limit_met: LimitMet,
    redact: Arc<dyn Redact>,
    said: Said,
}

/// What a live call has of the host.
pub(crate) struct Parts {
    pub(crate) egress: Arc<dyn Egress>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) redact: Arc<dyn Redact>,
}

impl Live {
    /// The outside of one call.
    pub(crate) fn new(
        call: CallId,
        route: Arc<Route>,
        parts: Parts,
        deadline: Instant,
        behalf: (Option<User>, Pace),
        said: Said,
    ) -> Self {
        let (user, pace) = behalf;
        let Parts { egress, clock, redact } = parts;
        let limit_met = LimitMet::default();
        Self { call, route, egress, clock, deadline, user, pace, limit_met, redact, said }
    }

    /// For which user.
    pub(crate) fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// Where its exchanges leave word of a rate limit.
    pub(crate) fn limit_met(&self) -> &LimitMet {
        &self.limit_met
    }

    /// What the guest has said so far, and has not been asked for.
    pub(crate) fn said(&self) -> Gathered {
        self.said.take()
    }

    fn origin(&self) -> Origin {
        Origin {
            call: self.call,
            installation: self.route.installation.clone(),
            user: self.user.clone(),
            pace: self.pace,
            limit_met: self.limit_met.clone(),
            release: self.route.connector.release().clone(),
            descriptor: Arc::clone(self.route.connector.descriptor()),
            base_url: self.route.settings.base_url.clone(),
            time_left: self.deadline.saturating_duration_since(Instant::now()),
        }
    }
}

#[async_trait]
impl Outside for Live {
    async fn send(&self, request: Request) -> Result<Response, Failure> {
        self.egress.exchange(&self.origin(), request).await
    }

    fn now(&self) -> u64 {
        // Before 1970 the clock is wrong, and 0 is as good as any answer.
        u64::try_from(self.clock.now().unix_timestamp_nanos() / 1_000_000).unwrap_or_default()
    }

    fn random(&self, buffer: &mut [u8]) {
        rand::rng().fill_bytes(buffer);
    }

    fn config(&self) -> Json {
        self.route.settings.config.clone()
    }

    fn connection(&self) -> Json {
        facts(self.route.connector.descriptor(), &self.route.settings)
    }

    fn payer(&self) -> Option<(Environment, Tenant)> {
        let Installation { environment, tenant, .. } = &self.route.installation;
        Some((environment.clone(), tenant.clone()))
    }

    fn log(&self, line: &Line<'_>) {
        let Line { source, level, message, fields } = *line;
        let masked = |text| self.redact.masked(self.route.connector.descriptor(), text);
        let (message, fields) = (masked(message), masked(fields));
        let (message, fields) = (&*message, &*fields);
        self.said.add(&Line { source, level, message, fields });
        let Installation { environment, tenant, .. } = &self.route.installation;
        let (call, release) = (self.call, self.route.connector.release());
        // A guest's words are a field, never a format, and never louder than info. Their names are theirs
        // alone: a second `message` or `level` on a line would hide the host's own from many readers.
        match level {
            LogLevel::Debug => tracing::debug!(
                guest = true, %call, %environment, %tenant, %release, guest_source = source.as_str(),
                guest_level = ?level, guest_message = message, guest_fields = fields, "guest log"
            ),
            _ => tracing::info!(
                guest = true, %call, %environment, %tenant, %release, guest_source = source.as_str(),
                guest_level = ?level, guest_message = message, guest_fields = fields, "guest log"
            ),
        }
    }
}

/// What a connector is told of its connection, as JSON. What is not known is left out: to say `null` for it would be a
/// value of another type to whoever reads a list or a text.
fn facts(descriptor: &Descriptor, settings: &Settings) -> Json {
    let base_url = settings.base_url.as_deref().or(descriptor.base_url.as_deref());
    let declared = |(slot, _): &(&Slot, &Granted)| descriptor.slots.contains_key(*slot);
    let slots = settings.connections.iter().filter(declared).map(|(slot, granted)| {
        let mut facts = Map::from_iter([("kind".to_owned(), json!(&*granted.kind))]);
        facts.extend(granted.scopes.as_deref().map(|scopes| ("scopes".to_owned(), json!(scopes))));
        let named = (!granted.facts.is_empty()).then(|| json!(&*granted.facts));
        facts.extend(named.map(|named| ("facts".to_owned(), named)));
        (slot.to_string(), facts.into())
    });
    let slots: Map<String, Value> = slots.collect();
    let mut facts = Map::from_iter([("slots".to_owned(), slots.into())]);
    facts.extend(base_url.map(|base_url| ("base_url".to_owned(), base_url.into())));
    Value::from(facts).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// What the SDK holds itself to.
    const SENT: &str = include_str!("../../../sdk/src/testing/connection.json");

    fn descriptor(base_url: Option<&str>) -> Descriptor {
        let slots = json!({
            "token": {"scheme": {"kind": "bearer"}},
            "key": {"scheme": {"kind": "bearer"}},
            "login": {"scheme": {"kind": "bearer"}},
        });
        let mut text = json!({"format": 1, "name": "a/b", "version": "1.0.0", "slots": slots});
        if let Some(base_url) = base_url {
            text["base-url"] = base_url.into();
            text["hosts"] = json!(["api.example.com"]);
        }
        Descriptor::parse(&text.to_string()).unwrap()
    }

    /// The settings of which `facts` are said.
    fn settings(facts: &Value) -> Settings {
        let granted = |(slot, facts): (&String, &Value)| {
            let kind = facts["kind"].as_str().unwrap().into();
            let scopes =
                facts.get("scopes").map(|scopes| serde_json::from_value(scopes.clone()).unwrap());
            let named = facts.get("facts").cloned().unwrap_or_else(|| json!({}));
            let named: BTreeMap<String, String> = serde_json::from_value(named).unwrap();
            let scopes = scopes.map(|scopes: Vec<String>| scopes.into());
            (slot.parse().unwrap(), Granted { kind, scopes, facts: named.into() })
        };
        let connections: BTreeMap<Slot, Granted> =
            facts["slots"].as_object().unwrap().iter().map(granted).collect();
        let base_url = facts["base_url"].as_str().map(Into::into);
        Settings { config: "{}".to_owned(), base_url, connections }
    }

    #[test]
    fn facts_have_the_shape_that_the_sdk_reads() {
        let all: Vec<Value> = serde_json::from_str(SENT).unwrap();
        assert!(all.len() > 3, "{all:?}");
        for said in all {
            let sent = facts(&descriptor(None), &settings(&said));
            assert_eq!(serde_json::from_str::<Value>(&sent).unwrap(), said);
        }
    }

    #[test]
    fn the_descriptors_base_url_stands_where_none_is_set_and_other_slots_are_not_told() {
        let mut settings = settings(&json!({"slots": {"token": {"kind": "bearer"}}}));
        settings.connections.insert("old".parse().unwrap(), Granted::default());
        let sent = facts(&descriptor(Some("https://api.example.com")), &settings);
        let said =
            json!({"base_url": "https://api.example.com", "slots": {"token": {"kind": "bearer"}}});
        assert_eq!(serde_json::from_str::<Value>(&sent).unwrap(), said);
    }
}
