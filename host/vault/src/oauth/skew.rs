//! What a provider's `Date` says of this host's clock (RFC 9110 section 6.6.1).
//!
//! A token's time is counted on the monotonic clock, so that two clocks which differ do no harm while the host runs.
//! What is written down is for whoever has only a wall clock: this host after a restart, another host of the same store,
//! a person, and the system that an export goes to. For them the earlier of the two clocks counts: a clock of ours that
//! is ahead, and is set right before it is asked again, would let a token seem to live longer than it does.
//!
//! A difference is said to the operator, who can mend it. Nothing is decided by it but what is written down.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use keyway_core::exchange::Response;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::connections::Vault;

/// Clocks that differ by no more are taken to agree: the slowest answer takes two thirds of it, and a `Date` is in seconds.
const AGREE: time::Duration = time::Duration::MINUTE;

/// A `Date` that is off by more says nothing about our clock: it is a mistake, or kept in some cache.
const BELIEVED: time::Duration = time::Duration::DAY;

/// How often a difference is logged. Each refresh of each tenant would say it again.
const SAID_EVERY: Duration = Duration::from_secs(60 * 60);

/// When a difference was last logged.
#[derive(Default)]
pub(crate) struct Said(Mutex<Option<Instant>>);

// === impl Said ===

impl Said {
    fn due(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| now.duration_since(last) >= SAID_EVERY);
        if due {
            *last = Some(now);
        }
        due
    }
}

// === impl Vault ===

impl Vault {
    /// The time under which tokens are noted that just came with this `Date`.
    pub(crate) fn noted_at(&self, date: Option<OffsetDateTime>) -> OffsetDateTime {
        let wall = self.shared.clock.now();
        self.compare_clocks(wall, date);
        earlier(wall, date)
    }

    /// Says where a provider's clock and ours differ.
    pub(crate) fn compare_clocks(&self, wall: OffsetDateTime, date: Option<OffsetDateTime>) {
        let Some(date) = date else { return };
        let ahead = wall - date;
        self.shared.metrics.clock_ahead(ahead);
        if ahead.abs() > AGREE && self.shared.clocks_said.due(Instant::now()) {
            let seconds = ahead.whole_seconds();
            tracing::warn!(
                event = "clock.skew",
                ahead_seconds = seconds,
                "a provider's clock and this host's differ"
            );
        }
    }
}

/// When an answer was made, by the clock of whoever made it.
pub(crate) fn date(response: &Response) -> Option<OffsetDateTime> {
    let (_, value) = response.headers.iter().find(|(name, _)| name == "date")?;
    httpdate::parse_http_date(value.trim()).ok().map(OffsetDateTime::from)
}

/// The earlier of the two clocks, where they differ and the other can be believed.
fn earlier(wall: OffsetDateTime, date: Option<OffsetDateTime>) -> OffsetDateTime {
    let behind = |date: &OffsetDateTime| (AGREE..=BELIEVED).contains(&(wall - *date));
    date.filter(behind).unwrap_or(wall)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const WALL: OffsetDateTime = datetime!(2026-03-01 12:00 UTC);

    #[test]
    fn the_earlier_clock_counts_unless_they_agree_or_one_is_absurd() {
        let minutes = |minutes: i64| time::Duration::minutes(minutes);
        let second = time::Duration::SECOND;
        for (ahead, noted) in [
            (minutes(0), WALL),
            (AGREE - second, WALL),
            (AGREE, WALL - AGREE),
            (minutes(10), WALL - minutes(10)),
            (-minutes(10), WALL),
            (BELIEVED, WALL - BELIEVED),
            (BELIEVED + second, WALL),
            (-BELIEVED * 400, WALL),
        ] {
            assert_eq!(earlier(WALL, Some(WALL - ahead)), noted, "ahead by {ahead}");
        }
        assert_eq!(earlier(WALL, None), WALL);
    }

    #[test]
    fn what_is_no_date_is_none() {
        let with = |value: &str| {
            let headers = vec![("date".to_owned(), value.to_owned())];
            date(&Response { status: 200, headers, body: bytes::Bytes::new() })
        };
        assert_eq!(with("Sun, 01 Mar 2026 12:00:00 GMT"), Some(WALL));
        assert_eq!((with("yesterday"), with("")), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_difference_is_said_once_an_hour() {
        let said = Said::default();
        let now = Instant::now();
        assert!(said.due(now));
        assert!(!said.due(now + SAID_EVERY - Duration::from_secs(1)));
        assert!(said.due(now + SAID_EVERY));
        assert!(!said.due(now + SAID_EVERY));
    }
}
