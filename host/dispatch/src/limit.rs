//! What a caller is told whose call ran into a provider's rate limit.
//!
//! A connector reports a kind and a wait, as it understood them. What the broker knows of the quota that the call ran
//! into goes with it, past the connector. Where the two disagree about the wait, the longer one is told.

use std::sync::Arc;

use keyway_core::quota::LimitMet;
use keyway_core::{Code, Fault, Retry};

/// Adds to a fault how the limit stands, if that is what the call failed for.
pub(crate) fn explain(mut fault: Fault, met: &LimitMet) -> Fault {
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
}
