//! An exchange's turn under its provider's rate limit: counted, or waited for, as the caller wants.
//!
//! How long a wait is, [`crate::pace`] says; here it is slept through, or refused where the caller has no time for it.
//! Then the answer is the host's own: a provider that has asked to wait is not asked again.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use keyway_core::exchange::{Origin, Pace};
use keyway_core::quota::{Quota, Standing};
use tokio::time::{Instant, sleep_until};

use crate::broker::Inner;
use crate::inject::Loan;
use crate::pace::{Answer, Habits, Place, Turn};
use crate::reason::{Reason, Stop};
use crate::respond;
use crate::scrub::Scrubber;

/// Time that must be left after a turn. Who gets one later would wait for it and then end as an exchange that took too
/// long. A provider next door answers in less.
const LEFT_MIN: Duration = Duration::from_millis(100);

// === impl Inner ===

impl Inner {
    /// Takes a place for a request; under [`Pace::Throttle`] it may have to wait for it.
    pub(crate) async fn place(
        &self,
        origin: &Origin,
        loan: &Loan,
        until: Instant,
    ) -> Result<Place, Stop> {
        let (installation, account) = (origin.installation.clone(), loan.account.clone());
        let quota = Quota { installation, account };
        let declared = &origin.descriptor.rate_limits;
        if origin.pace == Pace::PassThrough {
            return Ok(self.paces.count(quota, declared, Instant::now()));
        }
        let mut taken = self.paces.take(quota, declared, Instant::now());
        loop {
            let turn = match taken {
                Ok(place) => return Ok(place),
                Err(turn) => turn,
            };
            if turn.at() + LEFT_MIN > until {
                let standing = self.paces.standing(turn.quota(), declared, Instant::now());
                return Err(told_to_wait(origin, standing, &turn));
            }
            sleep_until(turn.at()).await;
            taken = turn.take(Instant::now());
        }
    }

    /// After a refusal of the provider's for being too often: a place for the same request once more, when it may go.
    /// None where the caller is to have the refusal, or would be over its time by then.
    pub(crate) async fn place_again(
        &self,
        origin: &Origin,
        loan: &Loan,
        limited: bool,
        until: Instant,
    ) -> Option<Place> {
        if origin.pace != Pace::Throttle || !limited {
            return None;
        }
        // The only reason for there being none is the time.
        self.place(origin, loan, until).await.ok()
    }

    /// The end of a request that was sent and refused for its rate, and cannot be waited with: its time is too short, or its
    /// body is gone. Who wants the host to wait is told of the limit in the host's own words, however the provider says it.
    pub(crate) fn given_up(&self, origin: &Origin, quota: &Quota) -> Stop {
        let standing = self.paces.standing(quota, &origin.descriptor.rate_limits, Instant::now());
        let wait = standing.blocked_for;
        origin.limit_met.note(standing);
        let detail = "the provider refused it for its rate limit, and it cannot be sent again in the time that is left";
        let stop = Stop::new(Reason::RateLimited, detail);
        match wait {
            Some(wait) => stop.after(wait),
            None => stop,
        }
    }

    /// Learns from a response how much is left. Says whether it is a refusal for the rate, whatever its status.
    pub(crate) fn learn(
        &self,
        origin: &Origin,
        place: &mut Place,
        echoes: &Scrubber,
        (status, headers, signalled): (StatusCode, &HeaderMap, bool),
        now: Instant,
    ) -> bool {
        let wall = || self.wire.clock.now();
        let habits = Habits::of(&origin.descriptor);
        // Names of limits are shown to others: a provider that echoes a secret in one must not be repeated.
        let clean = (!echoes.is_empty()).then(|| respond::relayed(headers.clone(), echoes));
        let headers = clean.as_ref().unwrap_or(headers);
        let answer = Answer { status, headers, habits, signalled };
        let limited = self.paces.learn(place, &answer, now, wall);
        origin.limit_met.answered(status.as_u16(), limited);
        if limited || status.is_client_error() || status.is_server_error() {
            self.note(origin, &place.quota, limited, now);
        }
        limited
    }

    /// Leaves word for the call that the provider asked to wait. Not all do it with a refusal.
    fn note(&self, origin: &Origin, quota: &Quota, limited: bool, now: Instant) {
        let standing = self.paces.standing(quota, &origin.descriptor.rate_limits, now);
        if limited || standing.blocked_for.is_some() {
            origin.limit_met.note(standing);
        }
    }
}

fn told_to_wait(origin: &Origin, standing: Standing, turn: &Turn) -> Stop {
    // Also where the provider has said nothing: what it declares is used up.
    let blocked_for = standing.blocked_for.max(Some(turn.wait()));
    origin.limit_met.note(Standing { blocked_for, ..standing });
    let detail = "the provider's rate limit leaves no place in the time that the call has";
    Stop::new(Reason::RateLimited, detail).after(turn.wait())
}
