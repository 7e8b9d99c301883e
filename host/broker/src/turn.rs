//! An exchange's turn under its provider's rate limit: counted, or waited for, as the caller wants.
//!
//! How long a wait is, [`crate::pace`] says; here it is slept through, or refused where the caller has no time for it.
//! Then the answer is the host's own: a provider that has asked to wait is not asked again.

use http::{HeaderMap, StatusCode};
use keyway_core::exchange::{Origin, Pace};
use keyway_core::quota::{Quota, Standing};
use tokio::time::{Instant, sleep_until};

use crate::broker::Inner;
use crate::inject::Loan;
use crate::pace::Turn;
use crate::reason::{Reason, Stop};
use crate::respond;
use crate::scrub::Scrubber;

// === impl Inner ===

impl Inner {
    /// Takes a place for a request; under [`Pace::Throttle`] it may have to wait for it.
    pub(crate) async fn place(
        &self,
        origin: &Origin,
        loan: &Loan,
        until: Instant,
    ) -> Result<Quota, Stop> {
        let (installation, account) = (origin.installation.clone(), loan.account.clone());
        let quota = Quota { installation, account };
        let declared = &origin.descriptor.rate_limits;
        if origin.pace == Pace::PassThrough {
            self.paces.count(&quota, declared, Instant::now());
            return Ok(quota);
        }
        let mut taken = self.paces.take(&quota, declared, Instant::now());
        while let Err(turn) = taken {
            if turn.at() > until {
                let standing = self.paces.standing(&quota, declared, Instant::now());
                return Err(told_to_wait(origin, standing, &turn));
            }
            sleep_until(turn.at()).await;
            taken = turn.take(Instant::now());
        }
        Ok(quota)
    }

    /// After a refusal of the provider's for being too often: a place for the same request once more, when it may go.
    /// None where the caller is to have the refusal, or would be over its time by then.
    pub(crate) async fn place_again(
        &self,
        origin: &Origin,
        loan: &Loan,
        status: StatusCode,
        until: Instant,
    ) -> Option<Quota> {
        if origin.pace != Pace::Throttle || status != StatusCode::TOO_MANY_REQUESTS {
            return None;
        }
        // The only reason for there being none is the time.
        self.place(origin, loan, until).await.ok()
    }

    /// Learns from a response how much is left.
    pub(crate) fn learn(
        &self,
        origin: &Origin,
        quota: &Quota,
        echoes: &Scrubber,
        (status, headers): (StatusCode, &HeaderMap),
        now: Instant,
    ) {
        let wall = || self.wire.clock.now();
        if echoes.is_empty() {
            self.paces.learn(quota, status, headers, now, wall);
        } else {
            // Names of limits are shown to others: a provider that echoes a secret in one must not be repeated.
            let clean = respond::relayed(headers.clone(), echoes);
            self.paces.learn(quota, status, &clean, now, wall);
        }
        if status.is_client_error() || status.is_server_error() {
            self.note(origin, quota, status, now);
        }
    }

    /// Leaves word for the call that the provider asked to wait. Not all do it with a 429.
    fn note(&self, origin: &Origin, quota: &Quota, status: StatusCode, now: Instant) {
        let standing = self.paces.standing(quota, &origin.descriptor.rate_limits, now);
        if status == StatusCode::TOO_MANY_REQUESTS || standing.blocked_for.is_some() {
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
