//! The time in which the host is really gone: from SIGKILL until it says that it is ready again. Only then
//! is a connection that breaks no failed call.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// One outage, expected or over.
#[derive(Default)]
pub(crate) struct Outage(Mutex<Option<Span>>);

#[derive(Clone, Copy)]
struct Span {
    from: Instant,
    /// None while it lasts.
    to: Option<Instant>,
}

// === impl Outage ===

impl Outage {
    /// The host is about to be killed.
    pub(crate) fn begin(&self, now: Instant) {
        self.set(Some(Span { from: now, to: None }));
    }

    /// The host said that it is ready.
    pub(crate) fn end(&self, now: Instant) {
        let begun = self.get().map(|span| Span { to: Some(now), ..span });
        self.set(begun);
    }

    /// Whether a request that was sent and broke off at these times met it.
    pub(crate) fn met(&self, sent: Instant, broke: Instant) -> bool {
        self.get().is_some_and(|span| span.from <= broke && span.to.is_none_or(|to| sent <= to))
    }

    fn get(&self) -> Option<Span> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, span: Option<Span>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = span;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_requests_that_met_it_are_forgiven() {
        let begun = Instant::now();
        let at = |second| begun + Duration::from_secs(second);
        let outage = Outage::default();
        assert!(!outage.met(at(1), at(2)), "there was none");
        outage.begin(at(10));
        assert!(!outage.met(at(8), at(9)), "before");
        assert!(outage.met(at(9), at(11)), "cut off by it");
        outage.end(at(20));
        assert!(outage.met(at(15), at(15)), "nobody there");
        assert!(outage.met(at(20), at(21)), "asked at its end");
        assert!(!outage.met(at(21), at(21)), "the host is back: this is a failure");
    }
}
