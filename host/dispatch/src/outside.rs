//! What a live call sees of the world: the real broker, the real clock, real randomness.
//!
//! The one implementation of [`Outside`] that is not a recording. It adds the call's identity to each
//! request and to each log line; deciding what may be sent is the broker's.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use keyway_core::call::{Failure, Json};
use keyway_core::exchange::{Origin, Pace, Request, Response};
use keyway_core::ids::{CallId, Installation, User};
use keyway_core::ports::{Clock, Egress, LogLevel, Outside, Route};
use keyway_core::quota::LimitMet;
use rand::RngCore as _;
use serde_json::json;

/// A live call's outside.
pub struct Live {
    call: CallId,
    route: Arc<Route>,
    egress: Arc<dyn Egress>,
    clock: Arc<dyn Clock>,
    deadline: Instant,
    user: Option<User>,
    pace: Pace,
    limit_met: LimitMet,
}

impl Live {
    /// The outside of one call.
    pub fn new(
        call: CallId,
        route: Arc<Route>,
        egress: Arc<dyn Egress>,
        clock: Arc<dyn Clock>,
        deadline: Instant,
        behalf: (Option<User>, Pace),
    ) -> Self {
        let (user, pace) = behalf;
        let limit_met = LimitMet::default();
        Self { call, route, egress, clock, deadline, user, pace, limit_met }
    }

    /// Where its exchanges leave word of a rate limit.
    pub fn limit_met(&self) -> LimitMet {
        self.limit_met.clone()
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
        let descriptor = self.route.connector.descriptor();
        let settings = &self.route.settings;
        let base_url = settings.base_url.as_deref().or(descriptor.base_url.as_deref());
        let slots: serde_json::Map<_, _> = settings
            .connections
            .iter()
            .filter(|(slot, _)| descriptor.slots.contains_key(*slot))
            .map(|(slot, granted)| {
                let facts = json!({"kind": &*granted.kind, "scopes": granted.scopes.as_deref()});
                (slot.to_string(), facts)
            })
            .collect();
        json!({"base_url": base_url, "slots": slots}).to_string()
    }

    fn log(&self, level: LogLevel, message: &str, fields: &str) {
        let Installation { environment, tenant, .. } = &self.route.installation;
        let (call, release) = (self.call, self.route.connector.release());
        // A guest's words are a field, never a format, and never louder than info. Their names are theirs
        // alone: a second `message` or `level` on a line would hide the host's own from many readers.
        match level {
            LogLevel::Debug => tracing::debug!(
                guest = true, %call, %environment, %tenant, %release,
                guest_level = ?level, guest_message = message, guest_fields = fields, "guest log"
            ),
            _ => tracing::info!(
                guest = true, %call, %environment, %tenant, %release,
                guest_level = ?level, guest_message = message, guest_fields = fields, "guest log"
            ),
        }
    }
}
