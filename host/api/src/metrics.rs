//! What the API counts, in Prometheus form.
//!
//! | name | labels | meaning |
//! | --- | --- | --- |
//! | `keyway_api_requests_total` | `method`, `path`, `answer` | requests ended; `path` is the template, `answer` is `2xx`, `4xx`, `5xx`, or `none` if the caller hung up |
//! | `keyway_api_request_seconds` | `path` | from the head of a request to the head of its answer |
//! | `keyway_api_connections` | | connections open now |
//! | `keyway_api_connections_closed_total` | `why` | connections that the host ended: `crowded` (the place was needed), `peer` (its address had all it may), `slow` (the peer took or sent too little) |

use std::sync::OnceLock;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds in seconds: from a read of memory to the longest call.
const SECONDS: [f64; 10] = [0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 10.0, 120.0];

/// What the API counts.
#[derive(Clone)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    seconds: Family<PathLabels, Histogram, fn() -> Histogram>,
    connections: Gauge<i64, AtomicI64>,
    closed: Family<ClosedLabels, Counter>,
}

/// Why the host ended a connection, or did not begin it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Closed {
    /// Somebody else needed the place.
    Crowded,
    /// Its address has as many as it may.
    Peer,
    /// The peer was slower than it may be.
    Slow,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ClosedLabels {
    why: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    path: &'static str,
    answer: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct PathLabels {
    path: &'static str,
}

/// The series of one endpoint: looked up once and not with each request, and not there before the first.
pub(crate) struct Counted {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    metrics: Metrics,
    answers: [OnceLock<Counter>; ANSWERS.len()],
    seconds: OnceLock<Histogram>,
}

/// What label `answer` says.
const ANSWERS: [&str; 4] = ["none", "2xx", "4xx", "5xx"];

/// Counts one connection as open until it is dropped.
pub(crate) struct Open(Gauge<i64, AtomicI64>);

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            connections: Gauge::default(),
            closed: Family::default(),
        }
    }
}

impl Metrics {
    /// Names the metrics in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let requests = self.requests.clone();
        registry.register("keyway_api_requests", "Requests ended", requests);
        let seconds = self.seconds.clone();
        registry.register("keyway_api_request_seconds", "Time to answer a request", seconds);
        let connections = self.connections.clone();
        registry.register("keyway_api_connections", "Connections open now", connections);
        let closed = self.closed.clone();
        let help = "Connections that the host ended, by why";
        registry.register("keyway_api_connections_closed", help, closed);
    }

    pub(crate) fn opened(&self) -> Open {
        self.connections.inc();
        Open(self.connections.clone())
    }

    pub(crate) fn closed(&self, why: Closed) {
        let why = match why {
            Closed::Crowded => "crowded",
            Closed::Peer => "peer",
            Closed::Slow => "slow",
        };
        self.closed.get_or_create(&ClosedLabels { why }).inc();
    }

    /// The series of one endpoint.
    pub(crate) fn of(&self, method: &'static str, path: &'static str) -> Counted {
        let metrics = self.clone();
        Counted { method, path, metrics, answers: Default::default(), seconds: OnceLock::new() }
    }
}

// === impl Counted ===

impl Counted {
    /// Counts a request; without a status its caller hung up.
    pub(crate) fn answered(&self, status: Option<u16>, elapsed: Duration) {
        let answer = match status {
            None => 0,
            Some(200..=299) => 1,
            Some(500..) => 3,
            Some(_) => 2,
        };
        let Self { method, path, metrics, .. } = self;
        let labels = RequestLabels { method, path, answer: ANSWERS[answer] };
        self.answers[answer].get_or_init(|| metrics.requests.get_or_create_owned(&labels)).inc();
        let seconds =
            self.seconds.get_or_init(|| metrics.seconds.get_or_create_owned(&PathLabels { path }));
        seconds.observe(elapsed.as_secs_f64());
    }
}

// === impl Open ===

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
