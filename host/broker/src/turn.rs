//! An exchange's turn under its provider's rate limit: counted, or waited for, as the caller wants.
//!
//! How long a wait is, [`crate::pace`] says; here it is slept through, or refused where the caller has no time for it.
//! Then the answer is the host's own: a provider that has asked to wait is not asked again.

use http::{HeaderMap, StatusCode};
use keyway_core::exchange::{Origin, Pace};
use tokio::time::{Instant, sleep_until};

use crate::broker::Inner;
use crate::inject::Loan;
use crate::pace::{Quota, Turn};
use crate::reason::{Reason, Stop};
use crate::respond;

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
                return Err(told_to_wait(&turn));
            }
            sleep_until(turn.at()).await;
            taken = turn.take(Instant::now());
        }
        Ok(quota)
    }

    /// Learns from a response how much is left.
    pub(crate) fn learn(
        &self,
        quota: &Quota,
        loan: &Loan,
        status: StatusCode,
        headers: &HeaderMap,
    ) {
        let (now, wall) = (Instant::now(), self.wire.clock.now());
        // Names of limits are shown to others: a provider that echoes a secret in one must not be repeated.
        let echoes = headers.values().any(|value| loan.scrubber.finds(value.as_bytes()));
        if echoes {
            let clean = respond::relayed(headers.clone(), &loan.scrubber);
            self.paces.learn(quota, status, &clean, now, wall);
        } else {
            self.paces.learn(quota, status, headers, now, wall);
        }
    }
}

fn told_to_wait(turn: &Turn) -> Stop {
    let detail = "the provider's rate limit leaves no place in the time that the call has";
    Stop::new(Reason::RateLimited, detail).after(turn.wait())
}
