//! How long a server has said no to what a connection has, in words that nobody has a name for.
//!
//! Once says nothing: a gateway in between, or a bad day. Said for hours and never taken back, it means that the token is
//! dead, and that a person has to know. Counted are answers of the server to a refresh of this one connection: any 4xx but
//! 408, 425 and 429 that is no page of HTML; a yes whose body is an error, or has no token and nothing of a yes; and
//! `invalid_request` and `unauthorized_client`, which some answer to a dead token. Not counted, and taking nothing back, are
//! all others: 5xx, 408, 425, 429, a page, which is of something in between that has not seen the token, what never arrived,
//! and what is said of the client. A set of tokens takes all of it back.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// For so long the same has to be said before it is believed. Providers were down for shorter.
pub const DENIED_TIME: Duration = Duration::from_secs(6 * 60 * 60);

/// The longest time between two denials that counts: one that is asked for once a month was not denied for a month. So it
/// takes seven denials at least, and a clock that jumps is worth one hour.
pub const GAP_MAX: Duration = Duration::from_secs(60 * 60);

/// Denials since the last tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Denials {
    /// How many.
    pub count: u32,
    /// Seconds from the first to the last, as far as they count.
    pub seconds: u64,
    /// When the last was.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_at: Option<OffsetDateTime>,
}

// === impl Denials ===

impl Denials {
    /// With one more.
    pub(crate) fn and_one(self, now: OffsetDateTime) -> Self {
        let gap = self.last_at.and_then(|last| Duration::try_from(now - last).ok());
        let gap = gap.unwrap_or_default().min(GAP_MAX);
        Self {
            count: self.count.saturating_add(1),
            seconds: self.seconds.saturating_add(gap.as_secs()),
            last_at: Some(now),
        }
    }

    /// Whether they are to be believed.
    pub(crate) const fn is_final(self) -> bool {
        self.seconds >= DENIED_TIME.as_secs()
    }

    /// What is said of a connection then.
    pub(crate) fn problem(self) -> String {
        let hours = self.seconds / (60 * 60);
        format!("the provider has refused what is presented {} times in {hours} hours", self.count)
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const START: OffsetDateTime = datetime!(2026-03-01 12:00 UTC);

    fn after(gaps: impl IntoIterator<Item = time::Duration>) -> Denials {
        let mut at = START;
        gaps.into_iter().fold(Denials::default().and_one(at), |denials, gap| {
            at += gap;
            denials.and_one(at)
        })
    }

    #[test]
    fn six_hours_are_believed_and_a_second_less_is_not() {
        let minutes = |count: usize| std::iter::repeat_n(time::Duration::minutes(10), count);
        assert!(after(minutes(36)).is_final());
        let short = minutes(35).chain([time::Duration::minutes(10) - time::Duration::SECOND]);
        assert!(!after(short).is_final());
        assert_eq!(after(minutes(36)).count, 37);
    }

    #[test]
    fn a_long_time_between_two_counts_for_an_hour_and_one_set_back_for_nothing() {
        let months = |count: usize| std::iter::repeat_n(time::Duration::days(30), count);
        assert!(!after(months(5)).is_final());
        assert!(after(months(6)).is_final());
        assert_eq!(after([-time::Duration::DAY; 40]).seconds, 0);
    }
}
