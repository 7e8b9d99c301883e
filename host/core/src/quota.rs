//! Quotas: how a provider's rate limit stands for an account of a tenant, as it is shown and as callers are told.
//!
//! Data, and the header fields that say it. Who counts and who waits is the broker's business; what is known here is
//! a moment's picture, and its times count from that moment.

pub mod fields;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::ids::Installation;

/// The longest wait that is believed of somebody outside. No provider studied resets less than once a day. What is asked
/// beyond it says as little as a wait of nothing, or one that is over.
pub const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Whose quota: (environment, tenant, connector, provider account). The connector stands for the provider, which alone
/// knows its accounts by name; all releases of it, its users and proxied requests share what the account has.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Quota {
    /// For whom.
    pub installation: Installation,
    /// The account at the provider, where it is known: connections to the same account share its quota.
    pub account: Option<Arc<str>>,
}

/// What is known of a quota at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// The declared ones first.
    pub policies: Vec<Allowance>,
    /// How long nothing may go, because the provider said so.
    pub blocked_for: Option<Duration>,
    /// Requests that wait for their turn.
    pub waiting: usize,
}

/// One policy of a quota. What is not known is absent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Allowance {
    /// As declared, or as the provider calls it.
    pub name: Arc<str>,
    /// Requests in a window.
    pub quota: Option<u64>,
    /// Seconds.
    pub window: Option<u32>,
    /// Requests left.
    pub remaining: Option<u64>,
    /// Seconds until there are more.
    pub reset: Option<u64>,
}

/// Where the exchanges of a call leave word of the limit that held one of them up, for whoever answers the caller: a
/// connector cannot pass on what it never saw. Clones are the same.
#[derive(Clone, Default, Debug)]
pub struct LimitMet(Arc<Met>);

#[derive(Default, Debug)]
struct Met {
    standing: Mutex<Option<Standing>>,
    answers: Mutex<Answers>,
}

/// What the answers to a call were, as far as limits go. Those to requests side by side come in any order, so the latest
/// alone would hide the others.
#[derive(Default, Debug)]
struct Answers {
    /// Refusals for the rate, by status: those that the host did not wait out itself.
    refused: BTreeMap<u16, u32>,
    /// Whether there was any other.
    others: bool,
    /// Whether the latest was a refusal.
    latest: bool,
}

/// Whole seconds, rounded up: who waits so long waits long enough.
pub const fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + (wait.subsec_nanos() > 0) as u64
}

// === impl Allowance ===

impl Allowance {
    /// Of two that are called the same, the more careful.
    pub fn merge(&mut self, other: Self) {
        let least = |one: Option<u64>, other| one.into_iter().chain(other).min();
        self.quota = least(self.quota, other.quota);
        self.window = self.window.max(other.window);
        self.remaining = least(self.remaining, other.remaining);
        self.reset = self.reset.max(other.reset);
    }
}

// === impl LimitMet ===

impl LimitMet {
    /// Leaves word of a limit. Of several, the one that asks for the longest wait stays.
    pub fn note(&self, standing: Standing) {
        let mut met = self.0.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if met.as_ref().is_none_or(|known| known.blocked_for <= standing.blocked_for) {
            *met = Some(standing);
        }
    }

    /// What was noted, if anything was.
    pub fn standing(&self) -> Option<Standing> {
        self.0.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says of an answer whether it was a refusal for the rate, whatever its status.
    pub fn answered(&self, status: u16, limited: bool) {
        let mut answers = self.answers();
        answers.latest = limited;
        match limited {
            true => *answers.refused.entry(status).or_default() += 1,
            false => answers.others = true,
        }
    }

    /// Takes a refusal back whose request the host sends again: whoever asked hears of another answer.
    pub fn sent_again(&self, status: u16) {
        let mut answers = self.answers();
        if let Some(count) = answers.refused.get_mut(&status) {
            *count -= 1;
            answers.refused.retain(|_, count| *count > 0);
        }
    }

    /// Whether the latest answer was one.
    pub fn was_refused(&self) -> bool {
        self.answers().latest
    }

    /// Whether there were refusals, and no other answers.
    pub fn only_refused(&self) -> bool {
        let answers = self.answers();
        !answers.refused.is_empty() && !answers.others
    }

    /// Whether there was a refusal with a status like this, whatever came after it.
    pub fn refused_with(&self, like: impl FnMut(u16) -> bool) -> bool {
        self.answers().refused.keys().copied().any(like)
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.0.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked(seconds: Option<u64>) -> Standing {
        Standing { blocked_for: seconds.map(Duration::from_secs), ..Standing::default() }
    }

    #[test]
    fn the_longest_wait_that_was_met_stays() {
        let met = LimitMet::default();
        assert_eq!(met.standing(), None);
        for (noted, known) in [(None, None), (Some(9), Some(9)), (Some(3), Some(9))] {
            met.clone().note(blocked(noted));
            assert_eq!(met.standing(), Some(blocked(known)));
        }
    }

    #[test]
    fn a_refusal_is_remembered_until_the_host_sends_its_request_again() {
        let met = LimitMet::default();
        let with = |met: &LimitMet, status| met.refused_with(|one| one == status);
        assert!(!met.only_refused());
        met.answered(403, true);
        met.answered(403, true);
        assert!(met.only_refused() && met.was_refused());
        met.answered(200, false);
        assert!(with(&met, 403) && !with(&met, 200) && !met.only_refused() && !met.was_refused());
        met.sent_again(403);
        met.sent_again(429);
        assert!(with(&met, 403), "one of two");
        met.sent_again(403);
        assert!(!with(&met, 403));
    }

    #[test]
    fn a_part_of_a_second_is_a_whole_one() {
        let of = |millis| whole_seconds(Duration::from_millis(millis));
        assert_eq!([0, 1, 1_000, 1_001].map(of), [0, 1, 1, 2]);
    }
}
