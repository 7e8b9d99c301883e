//! What a caller is told whose call ran into a provider's rate limit.
//!
//! A connector reports a kind and a wait, as it understood them. What the broker knows of the quota that the call ran
//! into goes with it, past the connector. Where the two disagree about the wait, the longer one is told.
//!
//! Some providers refuse for the rate with a 403, or with an error in a body. A connector reads that by its status; the
//! broker knows better, and what the connector then reports of the provider becomes a rate limit.

use std::sync::Arc;

use keyway_core::call::{FailureKind, Output};
use keyway_core::quota::LimitMet;
use keyway_core::{Code, Fault, Retry};

/// Adds to a fault how the limit stands, if that is what the call failed for.
pub(crate) fn explain(mut fault: Fault, met: &LimitMet) -> Fault {
    if PROVIDERS.contains(&fault.code) && (met.was_refused() || tells(fault.code, met)) {
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

/// The same for the items of a write. What came last says nothing of one of many.
pub(crate) fn explain_items(output: Output, met: &LimitMet) -> Output {
    let Output::Outcomes(mut outcomes) = output else { return output };
    for failure in outcomes.iter_mut().filter_map(|outcome| outcome.result.as_mut().err()) {
        let code = Fault::from(failure.clone()).code;
        if PROVIDERS.contains(&code) && tells(code, met) {
            failure.kind = FailureKind::RateLimited;
        } else if code != Code::RateLimited {
            continue;
        }
        let known = met.standing().and_then(|standing| standing.blocked_for);
        failure.retry_after = failure.retry_after.max(known);
    }
    Output::Outcomes(outcomes)
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

/// Whether a failure with this code may be how a connector tells of a refusal for the rate: one whose status is read like
/// that, or any where there was nothing else to read. Where another answer is read like that too, nobody knows which of
/// them is meant. Then it counts as the limit: who tries again is told the other, and who does not loses a write for good.
fn tells(code: Code, met: &LimitMet) -> bool {
    met.only_refused() || met.refused_with(|status| reads(status).contains(&code))
}

/// How connectors tell of statuses, as the SDK reads them. A success that is a refusal is read by its body.
const fn reads(status: u16) -> &'static [Code] {
    match status {
        200..=299 => &[Code::InputInvalid, Code::Forbidden, Code::Transient, Code::ContractDrift],
        400 | 413 | 414 | 422 | 431 => &[Code::InputInvalid],
        401 => &[Code::Unauthenticated],
        402 | 403 | 451 => &[Code::Forbidden],
        404 | 410 => &[Code::NotFound],
        409 | 412 | 423 => &[Code::UpstreamConflict],
        408 | 425 | 429 | 500 | 502..=504 | 506..=599 => &[Code::Transient],
        _ => &[Code::ContractDrift],
    }
}

/// The same fault as the rate limit that it was, with all that the connector said.
fn named(mut fault: Fault) -> Fault {
    if fault.retry == Retry::No {
        fault.retry = Retry::Yes;
    }
    fault.code = Code::RateLimited;
    fault.blame(Code::RateLimited.whose())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use keyway_core::call::{Failure, Outcome};
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
        met.answered(403, true);
        let mut forbidden = Fault::new(Code::Forbidden, "provider answered 403");
        forbidden.request_sent = true;
        let fault = explain(forbidden, &met);
        assert_eq!((fault.code, fault.retry), (Code::RateLimited, Retry::After(seconds(7))));
        assert!(fault.request_sent && fault.whose() == keyway_core::Whose::Upstream);
        // What is the connector's own, or the host's, stays.
        for code in [Code::ConnectorInternal, Code::Denied, Code::GuestTrap] {
            assert_eq!(explain(Fault::new(code, "x"), &met).code, code);
        }
        // Right after it, whatever the connector makes of it.
        assert_eq!(explain(Fault::new(Code::NotFound, "x"), &met).code, Code::RateLimited);
        // After an answer that was none: of a request beside it, or that the connector went on to.
        met.answered(404, false);
        assert_eq!(explain(Fault::new(Code::NotFound, "x"), &met).code, Code::NotFound);
        assert_eq!(explain(Fault::new(Code::Forbidden, "x"), &met).code, Code::RateLimited);
        // The host has waited it out.
        met.sent_again(403);
        assert_eq!(explain(Fault::new(Code::Forbidden, "x"), &met).code, Code::Forbidden);
    }

    #[test]
    fn a_fault_that_is_renamed_keeps_what_was_said() {
        let met = met(None);
        met.answered(403, true);
        let mut fault = Fault::new(Code::Forbidden, "slow").caused_by(std::fmt::Error);
        fault.provider_code = Some("SLOW".to_owned());
        fault.extra = [("request-id".to_owned(), "r1".to_owned())].into();
        fault.guest_said = Some(Arc::new("panicked".to_owned()));
        let (before, after) = (fault.clone(), explain(fault, &met));
        assert_eq!(after.code, Code::RateLimited);
        assert_eq!((&after.detail, &after.extra), (&before.detail, &before.extra));
        assert_eq!(after.provider_code, before.provider_code);
        assert_eq!(after.guest_said, before.guest_said);
        let causes =
            |fault: &Fault| fault.chain().split_once(": ").map(|(_, rest)| rest.to_owned());
        assert_eq!(causes(&after), causes(&before));
    }

    fn items(kinds: &[FailureKind], met: &LimitMet) -> Vec<(FailureKind, Option<Duration>)> {
        let refused = kinds.iter().map(|kind| Outcome {
            reference: "x".to_owned(),
            result: Err(Failure { kind: *kind, ..Failure::denied("x", "x") }),
        });
        let Output::Outcomes(outcomes) = explain_items(Output::Outcomes(refused.collect()), met)
        else {
            panic!("outcomes");
        };
        let failures = outcomes.into_iter().filter_map(|outcome| outcome.result.err());
        failures.map(|failure| (failure.kind, failure.retry_after)).collect()
    }

    #[test]
    fn items_that_met_a_limit_say_so_whatever_was_answered_since() {
        use FailureKind::{Denied, Forbidden, Internal, NotFound, RateLimited};
        let met = met(Some(seconds(7)));
        let all = [Forbidden, NotFound, RateLimited, Denied, Internal];
        let limited = (RateLimited, Some(seconds(7)));
        let plain = |kind| (kind, None);
        let others = [limited, plain(Denied), plain(Internal)];
        assert_eq!(items(&all[..2], &met), [plain(Forbidden), plain(NotFound)]);
        met.answered(403, true);
        assert_eq!(items(&all, &met), [&[limited, limited], &others[..]].concat());
        met.answered(200, false);
        assert_eq!(items(&all, &met), [&[limited, plain(NotFound)], &others[..]].concat());
        // The latest is a refusal, and says nothing of an item that failed before.
        met.answered(403, true);
        assert_eq!(items(&all, &met), [&[limited, plain(NotFound)], &others[..]].concat());
    }
}
