//! The broker's metrics. Names and labels are an interface: dashboards rely on them.
//!
//! No label holds a host, a tenant or anything else that grows with use.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::reason::Reason;

/// Seconds, from a cached answer nearby to the whole time that an exchange may take.
const SECONDS_BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0];

/// The broker's metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    exchanges: Family<Ended, Counter>,
    /// Those of `exchanges` that there are, by outcome and class: looked up once and not with each exchange.
    ended: Arc<[[OnceLock<Counter>; CLASSES]; OUTCOMES]>,
    denied: Family<Why, Counter>,
    masked: Family<Where, Counter>,
    seconds: Histogram,
    pub(crate) in_flight: Gauge,
    pub(crate) pooled: Gauge,
    pub(crate) dials: Counter<u64, AtomicU64>,
}

/// How an exchange ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Outcome {
    /// A response was handed on.
    Response,
    /// The host refused.
    Denied,
    /// No response came.
    Failed,
    /// The caller went away.
    Cancelled,
}

/// The number of [`Outcome`]s.
const OUTCOMES: usize = 4;

/// The first digit of a status; 0 where there is none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Class(u8);

/// The number of [`Class`]es.
const CLASSES: usize = 6;

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Ended {
    outcome: Outcome,
    class: Class,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Why {
    code: Code,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Code(Reason);

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Where {
    carried: Carried,
}

/// What an exchange was carried for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Carried {
    /// A connector's call.
    Call,
    /// A caller's request through the proxy.
    Proxy,
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            exchanges: Family::default(),
            ended: Arc::default(),
            denied: Family::default(),
            masked: Family::default(),
            seconds: Histogram::new(SECONDS_BUCKETS),
            in_flight: Gauge::default(),
            pooled: Gauge::default(),
            dials: Counter::default(),
        }
    }

    /// Makes them visible. Once for a registry.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("keyway_broker");
        registry.register(
            "exchanges",
            "Exchanges ended, by outcome and class of status; class is none without a response",
            self.exchanges.clone(),
        );
        registry.register(
            "denied",
            "Exchanges that the host refused, by code",
            self.denied.clone(),
        );
        registry.register(
            "masked",
            "Answers in which a credential was masked, by what they answered: a call or the proxy",
            self.masked.clone(),
        );
        registry.register(
            "exchange_seconds",
            "Time of an exchange, waiting for a permit and redirects included",
            self.seconds.clone(),
        );
        registry.register(
            "in_flight",
            "Exchanges under way, waiting ones included",
            self.in_flight.clone(),
        );
        registry.register("pooled_connections", "Connections kept for reuse", self.pooled.clone());
        registry.register("dials", "Connections opened", self.dials.clone());
    }

    pub(crate) fn ended(&self, outcome: Outcome, class: Class, seconds: f64) {
        let ended = &self.ended[outcome as usize][usize::from(class.0)];
        ended.get_or_init(|| self.exchanges.get_or_create_owned(&Ended { outcome, class })).inc();
        self.seconds.observe(seconds);
    }

    pub(crate) fn masked(&self, carried: Carried) {
        self.masked.get_or_create(&Where { carried }).inc();
    }

    pub(crate) fn denied(&self, reason: Reason) {
        self.denied.get_or_create(&Why { code: Code(reason) }).inc();
    }
}

// === impl Outcome ===

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let text = match self {
            Self::Response => "response",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        };
        EncodeLabelValue::encode(&text, encoder)
    }
}

// === impl Class ===

impl Class {
    /// Without a response.
    pub(crate) const NONE: Self = Self(0);

    /// Of a status from 100 to 599.
    pub(crate) fn of(status: u16) -> Self {
        u8::try_from(status / 100)
            .ok()
            .filter(|class| (1..=5).contains(class))
            .map_or(Self::NONE, Self)
    }
}

impl EncodeLabelValue for Class {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let text = match self.0 {
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            5 => "5xx",
            _ => "none",
        };
        EncodeLabelValue::encode(&text, encoder)
    }
}

// === impl Code ===

impl EncodeLabelValue for Code {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.0.as_str(), encoder)
    }
}

// === impl Carried ===

impl EncodeLabelValue for Carried {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let text = match self {
            Self::Call => "call",
            Self::Proxy => "proxy",
        };
        EncodeLabelValue::encode(&text, encoder)
    }
}
