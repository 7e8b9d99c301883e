//! Quotas: how a provider's rate limit stands for an account of a tenant, as it is shown and as callers are told.
//!
//! Data, and the header fields that say it. Who counts and who waits is the broker's business; what is known here is
//! a moment's picture, and its times count from that moment.

pub mod fields;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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
    /// Whether the latest answer was a refusal for the rate.
    refused: AtomicBool,
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
    pub fn answered(&self, limited: bool) {
        self.0.refused.store(limited, Ordering::Relaxed);
    }

    /// Whether the latest answer was one.
    pub fn was_refused(&self) -> bool {
        self.0.refused.load(Ordering::Relaxed)
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
    fn a_part_of_a_second_is_a_whole_one() {
        let of = |millis| whole_seconds(Duration::from_millis(millis));
        assert_eq!([0, 1, 1_000, 1_001].map(of), [0, 1, 1, 2]);
    }
}
