//! What a caller is told whose call ran into a provider's rate limit.
//!
//! A connector reports a kind and a wait, as it understood them. What the broker knows of the quota that the call ran
//! into goes with it, past the connector. Where the two disagree about the wait, the longer one is told.
//!
//! Some providers refuse for the rate with a 403, or with an error in a body. A connector reads that by its status; the
//! broker knows better, and what the connector then reports of the provider becomes a rate limit.

use std::sync::Arc;

use keyway_core::quota::LimitMet;
use keyway_core::{Code, Fault, Retry};

/// Adds to a fault how the limit stands, if that is what the call failed for.
pub(crate) fn explain(mut fault: Fault, met: &LimitMet) -> Fault {
    if met.was_refused() && PROVIDERS.contains(&fault.code) {
        fault = named(fault);
    }
    if fault.code != Code::RateLimited {
        return fault;
    }
    let mut standing = met.standing().unwrap_or_default();
    if let Retry::After(wait) = fault.retry {
        standing.blocked_for = standing.blocked_for.max(Some(wait));
    }
    if let Some(wait) = standing.blocked_for {
        fault.retry = Retry::After(wait);
    }
    fault.rate_limit = Some(Arc::new(standing));
    fault
}

/// What a connector may take a refusal for. It says nothing of these where it failed by itself.
const PROVIDERS: [Code; 7] = [
    Code::InputInvalid,
    Code::Unauthenticated,
    Code::Forbidden,
    Code::NotFound,
    Code::UpstreamConflict,
    Code::Transient,
    Code::ContractDrift,
];

/// The same fault as the rate limit that it was.
fn named(fault: Fault) -> Fault {
    let wait = match fault.retry {
        Retry::After(wait) => Retry::After(wait),
        Retry::No | Retry::Yes => Retry::Yes,
    };
    let mut limited = Fault::new(Code::RateLimited, fault.detail).retry(wait);
    limited.provider_code = fault.provider_code;
    limited.request_sent = fault.request_sent;
    limited
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use keyway_core::quota::Standing;

    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn met(wait: Option<Duration>) -> LimitMet {
        let met = LimitMet::default();
        met.note(Standing { blocked_for: wait, waiting: 3, ..Standing::default() });
        met
    }

    #[test]
    fn the_longer_wait_is_told_in_both_places() {
        for (reported, known, told) in [
            (Some(7), Some(5), Some(7)),
            (Some(5), Some(7), Some(7)),
            (Some(5), None, Some(5)),
            (None, Some(7), Some(7)),
            (None, None, None),
        ] {
            let retry = reported.map_or(Retry::Yes, |wait| Retry::After(seconds(wait)));
            let fault = Fault::new(Code::RateLimited, "wait").retry(retry);
            let fault = explain(fault, &met(known.map(seconds)));
            let standing = fault.rate_limit.expect("it ran into a limit");
            assert_eq!((standing.blocked_for, standing.waiting), (told.map(seconds), 3));
            assert_eq!(fault.retry, told.map_or(Retry::Yes, |wait| Retry::After(seconds(wait))));
        }
    }

    #[test]
    fn a_wait_that_only_the_connector_knows_is_told_too() {
        let wait = Retry::After(seconds(4));
        let fault = Fault::new(Code::RateLimited, "wait").retry(wait);
        let fault = explain(fault, &LimitMet::default());
        let standing = fault.rate_limit.expect("it ran into a limit");
        assert_eq!(standing.blocked_for, Some(seconds(4)));
    }

    #[test]
    fn what_failed_for_another_reason_says_nothing_of_limits() {
        let fault = explain(Fault::new(Code::NotFound, "gone"), &met(Some(seconds(7))));
        assert!(fault.rate_limit.is_none());
        assert_eq!(fault.retry, Retry::No);
    }

    #[test]
    fn a_refusal_for_the_rate_that_looks_like_another_is_told_as_what_it_is() {
        let met = met(Some(seconds(7)));
        met.answered(true);
        let mut forbidden = Fault::new(Code::Forbidden, "provider answered 403");
        forbidden.request_sent = true;
        let fault = explain(forbidden, &met);
        assert_eq!((fault.code, fault.retry), (Code::RateLimited, Retry::After(seconds(7))));
        assert!(fault.request_sent && fault.whose() == keyway_core::Whose::Upstream);
        // What is the connector's own, or the host's, stays.
        for code in [Code::ConnectorInternal, Code::Denied, Code::GuestTrap] {
            assert_eq!(explain(Fault::new(code, "x"), &met).code, code);
        }
        // A later answer that was none.
        met.answered(false);
        assert_eq!(explain(Fault::new(Code::Forbidden, "x"), &met).code, Code::Forbidden);
    }
}
