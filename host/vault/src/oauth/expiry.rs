//! When a token is due for a refresh, and when it is over.
//!
//! Counted on the monotonic clock from the moment that the token was received. Only a restart has to trust the wall
//! clock, and is then wrong on the safe side at worst: a token that is refreshed early, or one that the provider
//! rejects and that is refreshed for it.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

/// The longest time ahead of expiry that a token is refreshed. A provider that is down for a quarter of an hour is
/// not noticed by anybody.
const MARGIN_MAX: Duration = Duration::from_secs(15 * 60);

/// The part of a lifetime that is ahead of expiry: a tenth, so never over half.
const MARGIN_SHARE: u32 = 10;

/// When a token is due and over; neither, for one whose time nobody has told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Life {
    ends: Option<Ends>,
    /// When this process received it; none for one that was read from the store.
    received: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    due: Instant,
    over: Instant,
}

/// What may be done with a token now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Freshness {
    /// Use it.
    Fresh,
    /// Use it, and see to the next.
    Due,
    /// Do not use it.
    Over,
}

// === impl Life ===

impl Life {
    /// Of a token that was received now and lives so long.
    pub(crate) fn issued(now: Instant, lifetime: Option<Duration>) -> Self {
        Self { received: Some(now), ..Self::ending(now, lifetime, lifetime) }
    }

    /// When this process received the token.
    pub(crate) const fn received(&self) -> Option<Instant> {
        self.received
    }

    /// Of a token that was read from the store: what is left of it, by the wall clock.
    pub(crate) fn restored(
        now: Instant,
        wall: OffsetDateTime,
        obtained_at: Option<OffsetDateTime>,
        expires_at: Option<OffsetDateTime>,
    ) -> Self {
        let Some(expires_at) = expires_at else { return Self::default() };
        let left = Duration::try_from(expires_at - wall).unwrap_or_default();
        let whole = obtained_at.and_then(|at| Duration::try_from(expires_at - at).ok());
        let whole = whole.unwrap_or(left);
        // More than the whole is left only by a clock that was set back.
        Self::ending(now, Some(left.min(whole)), Some(whole))
    }

    fn ending(now: Instant, left: Option<Duration>, lifetime: Option<Duration>) -> Self {
        let (Some(left), Some(lifetime)) = (left, lifetime) else { return Self::default() };
        let margin = MARGIN_MAX.min(lifetime / MARGIN_SHARE);
        // A time beyond what the clock can count is as good as none.
        let ends =
            now.checked_add(left).map(|over| Ends { due: now + left.saturating_sub(margin), over });
        Self { ends, received: None }
    }

    /// What may be done now.
    pub(crate) fn freshness(&self, now: Instant) -> Freshness {
        match self.ends {
            Some(ends) if now >= ends.over => Freshness::Over,
            Some(ends) if now >= ends.due => Freshness::Due,
            _ => Freshness::Fresh,
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn due_a_tenth_ahead_and_at_most_a_quarter_of_an_hour() {
        let now = Instant::now();
        for (lifetime, due) in [(30 * MINUTE, 27 * MINUTE), (600 * MINUTE, 585 * MINUTE)] {
            let life = Life::issued(now, Some(lifetime));
            let just_before = due - Duration::from_millis(1);
            assert_eq!(life.freshness(now + just_before), Freshness::Fresh);
            assert_eq!(life.freshness(now + due), Freshness::Due);
            assert_eq!(life.freshness(now + lifetime), Freshness::Over);
        }
    }

    #[test]
    fn without_a_lifetime_it_is_used_until_it_is_rejected() {
        let life = Life::issued(Instant::now(), None);
        assert_eq!(life.freshness(Instant::now() + 600_000 * MINUTE), Freshness::Fresh);
    }

    #[test]
    fn a_jump_of_the_wall_clock_changes_nothing_until_a_restart() {
        let now = Instant::now();
        let (obtained, expires) =
            (datetime!(2026-01-01 12:00 UTC), datetime!(2026-01-01 13:00 UTC));
        let at = |wall| Life::restored(now, wall, Some(obtained), Some(expires)).freshness(now);
        assert_eq!(at(datetime!(2026-01-01 12:53 UTC)), Freshness::Fresh);
        assert_eq!(at(datetime!(2026-01-01 12:54 UTC)), Freshness::Due);
        assert_eq!(
            at(datetime!(2026-01-02 12:10 UTC)),
            Freshness::Over,
            "a day ahead: refreshed early"
        );
        assert_eq!(
            at(datetime!(2025-12-31 12:10 UTC)),
            Freshness::Fresh,
            "a day behind: rejected, then refreshed"
        );
        let unknown = Life::restored(now, expires - MINUTE, None, Some(expires));
        assert_eq!(unknown.freshness(now), Freshness::Fresh);
        assert_eq!(unknown.freshness(now + MINUTE), Freshness::Over);
    }
}
