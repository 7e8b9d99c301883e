//! Tells of every exchange, however it ended: metrics, and one event with who, where, what and how long.
//!
//! Never a header, a body, a path or a query: any of them may hold a secret.

use std::sync::Arc;
use std::time::Duration;

use keyway_core::call::FailureKind;
use keyway_core::exchange::Origin;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use crate::metrics::{Class, Metrics, Outcome};
use crate::reason::Stop;

/// An exchange that is being watched. Dropped without an end, it was cancelled.
pub(crate) struct Watch<'a> {
    metrics: &'a Metrics,
    origin: &'a Origin,
    began: Instant,
    ended: bool,
    in_flight: Option<InFlight>,
}

/// Counts an exchange as in flight until it is dropped.
pub(crate) struct InFlight(Gauge);

/// What an exchange waits for before it is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Queue {
    /// A permit of its call or its tenant.
    Permit,
    /// A place for a connection.
    Place,
}

/// What is known of an exchange by now.
pub(crate) struct Progress {
    pub(crate) began: Instant,
    /// When its time is over.
    pub(crate) until: Instant,
    /// Whether anything can have reached the provider.
    pub(crate) sent: bool,
    /// The queue that it stands in.
    pub(crate) queue: Option<Queue>,
    /// The last host that was asked.
    pub(crate) host: Option<Arc<str>>,
}

// === impl Progress ===

impl Progress {
    /// Of an exchange that begins now and has this long.
    pub(crate) fn within(time: Duration) -> Self {
        let began = Instant::now();
        Self { began, until: began + time, sent: false, queue: None, host: None }
    }

    /// Stands in a queue.
    pub(crate) async fn wait<T>(&mut self, queue: Queue, turn: impl Future<Output = T>) -> T {
        self.queue = Some(queue);
        let turn = turn.await;
        self.queue = None;
        turn
    }
}

// === impl Watch ===

impl<'a> Watch<'a> {
    pub(crate) fn begin(metrics: &'a Metrics, origin: &'a Origin, began: Instant) -> Self {
        metrics.in_flight.inc();
        let in_flight = Some(InFlight(metrics.in_flight.clone()));
        Self { metrics, origin, began, ended: false, in_flight }
    }

    /// It counts as in flight for as long as what is returned is held.
    pub(crate) fn answered(mut self, status: u16, progress: &Progress) -> Option<InFlight> {
        let elapsed = self.end(Outcome::Response, Class::of(status));
        tracing::debug!(
            call = %self.origin.call,
            environment = %self.origin.installation.environment,
            tenant = %self.origin.installation.tenant,
            connector = %self.origin.installation.connector,
            host = progress.host.as_deref(),
            status,
            elapsed_seconds = elapsed,
            "exchange answered",
        );
        self.in_flight.take()
    }

    pub(crate) fn stopped(mut self, stop: &Stop, progress: &Progress) {
        let denied = stop.reason.kind() == FailureKind::Denied;
        if denied {
            self.metrics.denied(stop.reason);
        }
        let outcome = if denied { Outcome::Denied } else { Outcome::Failed };
        let elapsed = self.end(outcome, Class::NONE);
        tracing::info!(
            call = %self.origin.call,
            environment = %self.origin.installation.environment,
            tenant = %self.origin.installation.tenant,
            connector = %self.origin.installation.connector,
            host = progress.host.as_deref(),
            code = stop.reason.as_str(),
            sent = progress.sent,
            elapsed_seconds = elapsed,
            "exchange stopped",
        );
    }

    fn end(&mut self, outcome: Outcome, class: Class) -> f64 {
        self.ended = true;
        let seconds = self.began.elapsed().as_secs_f64();
        self.metrics.ended(outcome, class, seconds);
        seconds
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Outcome::Cancelled, Class::NONE);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
