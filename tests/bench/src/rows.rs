//! The rows of the report: what each is held against, and what it means. Data only.

/// A row of the performance budget.
pub(crate) struct Spec {
    /// Its name in the report.
    pub(crate) name: &'static str,
    /// What one measurement is called on the command line: some give two rows.
    pub(crate) bench: &'static str,
    /// Unit of `ours` and of the floor.
    pub(crate) unit: &'static str,
    /// Where the budget ends.
    pub(crate) budget: Budget,
    /// What is measured, in a sentence.
    pub(crate) ours: &'static str,
    /// What it is measured beside.
    pub(crate) floor: &'static str,
}

/// Where a budget ends.
#[derive(Clone, Copy)]
pub(crate) enum Budget {
    /// Ours over the floor is at most this.
    RatioAtMost(f64),
    /// Ours over the floor is at least this.
    RatioAtLeast(f64),
    /// Ours is at most this, in the row's unit.
    AtMost(f64),
}

/// A call without HTTP.
pub(crate) const CALL: &str = "call";
/// An action with one GET.
pub(crate) const ACTION_GET: &str = "action-get";
/// The same action, beside the least that runs it.
pub(crate) const ACTION_GET_RAW: &str = "action-get-raw";
/// A GET through the proxy API.
pub(crate) const PROXY_GET: &str = "proxy-get";
/// What a caller's connection takes.
pub(crate) const PROXY_MEMORY: &str = "proxy-memory";
/// Pins and reverts under load.
pub(crate) const SWAP: &str = "swap";
/// Ten thousand installations.
pub(crate) const IDLE: &str = "idle-installation";

/// Every row, in the report's order.
pub(crate) const ROWS: &[Spec] = &[
    Spec {
        name: "call-p50",
        bench: CALL,
        unit: "µs",
        budget: Budget::RatioAtMost(1.3),
        ours: "A call without HTTP through `dispatch`, half of the calls: admission, route, instance, \
               guest, checks of the answer, metrics and outcomes, with the log that a host has.",
        floor: "Raw wasmtime with the same settings: a fresh pooled instance of the same component, \
                one typed call, the answer lifted, the store dropped.",
    },
    Spec {
        name: "call-p99",
        bench: CALL,
        unit: "µs",
        budget: Budget::RatioAtMost(1.5),
        ours: "The same calls, 99 of 100.",
        floor: "The same.",
    },
    Spec {
        name: ACTION_GET,
        bench: ACTION_GET,
        unit: "calls/s",
        budget: Budget::RatioAtLeast(0.6),
        ours: "An action that sends one GET with a credential, through the HTTP API of the real host, \
               64 connections.",
        floor: "A bare hyper reverse proxy in a process of its own: the same upstream, the same 1 KiB \
                of JSON, the same load, 64 connections.",
    },
    Spec {
        name: ACTION_GET_RAW,
        bench: ACTION_GET,
        unit: "calls/s",
        budget: Budget::RatioAtLeast(0.6),
        ours: "The same calls. Not of the design's budget: says how much of `action-get` is the host's.",
        floor: "The same component in a process of its own, by raw wasmtime with the host's settings, between a bare \
                hyper server and a bare hyper client: a fresh instance for each request and nothing else.",
    },
    Spec {
        name: "proxy-get-1",
        bench: PROXY_GET,
        unit: "calls/s",
        budget: Budget::RatioAtLeast(0.6),
        ours: "A GET with a credential through the proxy API of the real host, 1 connection.",
        floor: "The bare hyper reverse proxy of `action-get`, 1 connection.",
    },
    Spec {
        name: "proxy-get-64",
        bench: PROXY_GET,
        unit: "calls/s",
        budget: Budget::RatioAtLeast(0.6),
        ours: "A GET with a credential through the proxy API of the real host, 64 connections.",
        floor: "The bare hyper reverse proxy of `action-get`, 64 connections.",
    },
    Spec {
        name: "proxy-get-512",
        bench: PROXY_GET,
        unit: "calls/s",
        budget: Budget::RatioAtLeast(0.6),
        ours: "A GET with a credential through the proxy API of the real host, 512 connections.",
        floor: "The bare hyper reverse proxy of `action-get`, 512 connections.",
    },
    Spec {
        name: PROXY_MEMORY,
        bench: PROXY_GET,
        unit: "bytes",
        budget: Budget::RatioAtMost(2.0),
        ours: "Resident memory that one of 512 connections of callers adds to the host once all of them have sent \
               requests through the proxy, with its connection to the provider. Not of the design's budget.",
        floor: "The same of the bare hyper reverse proxy.",
    },
    Spec {
        name: SWAP,
        bench: SWAP,
        unit: "ms",
        budget: Budget::AtMost(5.0),
        ours: "From sending a pin or a revert until the first call on the new release is answered, 99 \
               of 100, on sled, while eight callers keep calling. Holds only if no call failed and each \
               of those first calls ran the new release.",
        floor: "-",
    },
    Spec {
        name: IDLE,
        bench: IDLE,
        unit: "bytes",
        budget: Budget::AtMost(4096.0),
        ours: "Resident memory that one idle installation adds to a restarted host: 10,000 of them over \
               50 releases, less 50 over the same 50 releases.",
        floor: "-",
    },
    Spec {
        name: "restart",
        bench: IDLE,
        unit: "s",
        budget: Budget::AtMost(2.0),
        ours: "From starting the process to the line that says it is ready, with those 10,000 \
               installations, after it was killed.",
        floor: "-",
    },
];

/// The row of this name.
///
/// # Panics
///
/// When there is none.
pub(crate) fn spec(name: &str) -> &'static Spec {
    ROWS.iter().find(|spec| spec.name == name).expect("rows are named by this table")
}

// === impl Budget ===

impl Budget {
    /// Its figure.
    pub(crate) const fn figure(self) -> f64 {
        match self {
            Self::RatioAtMost(figure) | Self::RatioAtLeast(figure) | Self::AtMost(figure) => figure,
        }
    }

    /// Whether it is kept. A budget over a ratio needs one.
    pub(crate) fn kept(self, ours: f64, ratio: Option<f64>) -> bool {
        match self {
            Self::RatioAtMost(most) => ratio.is_some_and(|ratio| ratio <= most),
            Self::RatioAtLeast(least) => ratio.is_some_and(|ratio| ratio >= least),
            Self::AtMost(most) => ours <= most,
        }
    }

    /// As a table shows it.
    pub(crate) fn text(self, unit: &str) -> String {
        match self {
            Self::RatioAtMost(most) => format!("≤ {most}×"),
            Self::RatioAtLeast(least) => format!("≥ {least}×"),
            Self::AtMost(most) => format!("≤ {most} {unit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_end_where_they_say() {
        assert!(Budget::RatioAtMost(1.3).kept(9.0, Some(1.3)));
        assert!(!Budget::RatioAtMost(1.3).kept(9.0, Some(1.31)));
        assert!(!Budget::RatioAtMost(1.3).kept(1.0, None));
        assert!(Budget::RatioAtLeast(0.6).kept(9.0, Some(0.6)));
        assert!(!Budget::RatioAtLeast(0.6).kept(9.0, Some(0.59)));
        assert!(Budget::AtMost(5.0).kept(5.0, None));
        assert!(!Budget::AtMost(5.0).kept(5.01, None));
    }
}
