//! Which release each tenant was pinned to, and when: what the operator asked for and what the host
//! acknowledged. Every answer of the traffic, and every history after the crash, is held against it.
//!
//! A change takes effect at some moment between its request and its answer. In between, both releases are
//! right.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Pins of all tenants, as far as they are known from outside of the host.
pub(crate) struct Pins(Mutex<Vec<Tenant>>);

/// A pin as the host acknowledged it, or as its history has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pin {
    /// 1 for the first.
    pub(crate) generation: u64,
    /// Of the release.
    pub(crate) digest: String,
}

#[derive(Clone, Default)]
struct Tenant {
    spans: Vec<Span>,
    acknowledged: Vec<Pin>,
}

/// When a release may have been the one to run.
#[derive(Clone)]
struct Span {
    digest: String,
    from: Instant,
    /// None while it may be.
    to: Option<Instant>,
}

// === impl Pins ===

impl Pins {
    /// Tenants without a pin.
    pub(crate) fn new(tenants: usize) -> Self {
        Self(Mutex::new(vec![Tenant::default(); tenants]))
    }

    /// A change to this release is about to be asked for: from now on it may run.
    pub(crate) fn ask(&self, tenant: usize, digest: &str, now: Instant) {
        let span = Span { digest: digest.to_owned(), from: now, to: None };
        self.with(tenant, |tenant| tenant.spans.push(span));
    }

    /// The change was acknowledged: from now on nothing but the newest may run.
    pub(crate) fn acknowledge(&self, tenant: usize, pin: Pin, now: Instant) {
        self.with(tenant, |tenant| {
            let older = tenant.spans.len().saturating_sub(1);
            for span in tenant.spans[..older].iter_mut().filter(|span| span.to.is_none()) {
                span.to = Some(now);
            }
            tenant.acknowledged.push(pin);
        });
    }

    /// Whether a call of this tenant, sent and answered at these times, may have run this release.
    pub(crate) fn allow(
        &self,
        tenant: usize,
        digest: &str,
        sent: Instant,
        answered: Instant,
    ) -> bool {
        self.with(tenant, |tenant| {
            tenant.spans.iter().any(|span| {
                span.digest == digest
                    && span.from <= answered
                    && span.to.is_none_or(|to| sent <= to)
            })
        })
    }

    /// What the host acknowledged for a tenant, oldest first.
    pub(crate) fn acknowledged(&self, tenant: usize) -> Vec<Pin> {
        self.with(tenant, |tenant| tenant.acknowledged.clone())
    }

    fn with<T>(&self, tenant: usize, look: impl FnOnce(&mut Tenant) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)[tenant])
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Pinned to `one` at second 0, moved to `two` between seconds 10 and 12.
    fn moved() -> (Pins, impl Fn(u64) -> Instant) {
        let begun = Instant::now();
        let at = move |second| begun + Duration::from_secs(second);
        let pins = Pins::new(1);
        let pin = |generation, digest: &str| Pin { generation, digest: digest.to_owned() };
        pins.ask(0, "one", at(0));
        pins.acknowledge(0, pin(1, "one"), at(0));
        pins.ask(0, "two", at(10));
        pins.acknowledge(0, pin(2, "two"), at(12));
        (pins, at)
    }

    #[test]
    fn a_call_runs_what_was_pinned_while_it_ran() {
        let (pins, at) = moved();
        for (digest, sent, answered, allowed) in [
            ("one", 1, 2, true),
            ("one", 11, 13, true),
            ("one", 5, 20, true),
            ("one", 13, 14, false),
            ("two", 1, 2, false),
            ("two", 9, 10, true),
            ("two", 13, 14, true),
            ("three", 1, 20, false),
        ] {
            let found = pins.allow(0, digest, at(sent), at(answered));
            assert_eq!(found, allowed, "{digest} from {sent} to {answered}");
        }
    }

    #[test]
    fn a_change_that_is_under_way_allows_both() {
        let (pins, at) = moved();
        pins.ask(0, "one", at(20));
        assert!(pins.allow(0, "two", at(21), at(22)));
        assert!(pins.allow(0, "one", at(21), at(22)));
        assert_eq!(pins.acknowledged(0).len(), 2, "not acknowledged yet");
    }
}
