//! What comes of a refresh that brought no tokens.
//!
//! An answer says something about the request that it answers, and nothing about an earlier one with the same token. So
//! an error of the server leaves the connection as it was before the request: `ready` if nothing was presented before,
//! else `uncertain` since the first time, whatever was said in between.

use std::time::Duration;

use keyway_core::{Code, Fault, Retry};
use keyway_store::model::Lease;
use keyway_store::{Collision, Error as StoreError};
use rand::Rng as _;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::refusals::CLIENT_RETRY;
use super::{Subject, needs_reauth};
use crate::connections::Vault;
use crate::oauth::client::ClientRef;
use crate::oauth::denials::Denials;
use crate::oauth::endpoint::Refused;
use crate::oauth::obtain;
use crate::oauth::record::{Phase, Record, State, Tokens};

/// The first wait after a token endpoint has failed; it doubles from there.
const RETRY_MIN: Duration = Duration::from_secs(5);

/// The longest such wait: a provider that is back is noticed within ten minutes.
const RETRY_MAX: Duration = Duration::from_secs(10 * 60);

/// The wait after a server has not taken what it was asked. It says the same to the same.
const REQUEST_RETRY: Duration = Duration::from_secs(5 * 60);

/// What a connection is left as by an answer that says nothing about the token.
///
/// `lost` is whether any request of this attempt went unanswered, `since` when the token was first presented.
pub(super) fn left_as(before: &Phase, lost: bool, harmless: bool, since: OffsetDateTime) -> Phase {
    match before {
        Phase::NeedsReauth { .. } if !lost || harmless => before.clone(),
        _ if harmless => Phase::Ready,
        Phase::Ready if !lost => Phase::Ready,
        // An earlier request may have spent it, and no answer to a later one says that it has not.
        _ => Phase::Uncertain { since },
    }
}

// === impl Vault ===

impl Vault {
    /// Writes down what a refusal means, and says it. `left` is what the connection is left as, unless the server says
    /// that the token is dead.
    pub(super) async fn refused(
        &self,
        subject: &Subject,
        record: &Record,
        left: Phase,
        refused: Refused,
        lease: &Lease,
    ) -> Result<(), Fault> {
        let of = &subject.of;
        let denials = self.denials(subject, record, &refused);
        if denials.is_final() && left == Phase::Ready && denials != record.state.denials {
            return self.dead(subject, record, denials, lease).await;
        }
        let (code, wait, problem) = match refused {
            Refused::Grant => return self.dead(subject, record, denials, lease).await,
            Refused::Client(problem) => {
                self.client_refused(&ClientRef::of(of), &problem);
                (Code::OauthClientRefused, None, problem)
            }
            Refused::Request(_, problem) => {
                (Code::OauthClientRefused, Some(REQUEST_RETRY), problem)
            }
            Refused::Busy(asked, problem) | Refused::Plain(asked, problem) => {
                let wait = asked.map_or(Duration::ZERO, later).max(backoff(record.state.failures));
                (Code::TokenEndpointFailed, Some(wait), problem)
            }
            Refused::Unsent(problem)
            | Refused::Broken(problem, _)
            | Refused::Ambiguous(problem) => {
                (Code::TokenEndpointFailed, Some(backoff(record.state.failures)), problem)
            }
        };
        let fault = match &left {
            Phase::Ready | Phase::Refreshing { .. } => {
                let fault = Fault::new(code, format!("{of}: {problem}"));
                fault.retry(Retry::After(wait.unwrap_or(CLIENT_RETRY)))
            }
            Phase::NeedsReauth { .. } => needs_reauth(of),
            Phase::Uncertain { .. } => {
                let detail = format!("{of}: {problem}; its refresh token may be spent");
                Fault::new(Code::RefreshUncertain, detail)
            }
        };
        // Only what goes on by itself has something to wait for.
        let wait = wait.filter(|_| left == Phase::Ready);
        self.mark(subject, record, (left, denials), wait, &problem, lease).await?;
        Err(fault)
    }

    /// What was said against the tokens so far. Where nothing was presented but the client, nothing is.
    fn denials(&self, subject: &Subject, record: &Record, refused: &Refused) -> Denials {
        let Tokens { refresh, subject: own, .. } = &record.tokens;
        let shared = subject.own.is_none();
        let presented = !shared || refresh.is_some() || own.is_some() || subject.lent.is_some();
        let before = record.state.denials;
        match presented && refused.is_denial() {
            true => before.and_one(self.shared.clock.now()),
            false => before,
        }
    }

    /// The server does not take the token any more: it says so by name, or has said no for hours.
    async fn dead(
        &self,
        subject: &Subject,
        record: &Record,
        denials: Denials,
        lease: &Lease,
    ) -> Result<(), Fault> {
        let (of, since) = (&subject.of, self.shared.clock.now());
        // Somebody without a lease, such as an operator who connected again, may have been faster.
        let connection = self.existing(of).await?;
        if connection.epoch != subject.epoch
            || self.reload(of, subject.epoch).await?.state.version != subject.seen
        {
            return Ok(());
        }
        let problem = match denials.is_final() {
            true => denials.problem(),
            false => obtain::refused(&record.tokens).to_owned(),
        };
        let left = (Phase::NeedsReauth { since }, denials);
        self.mark(subject, record, left, None, &problem, lease).await?;
        Err(needs_reauth(of))
    }

    /// Notes that a provider refuses the operator's client; the first time, loudly.
    fn client_refused(&self, of: &ClientRef, problem: &str) {
        if self.shared.tower.refusals.refused(of.clone()) {
            tracing::error!(
                event = "oauth-client.refused",
                environment = %of.environment,
                connector = %of.connector,
                slot = %of.slot,
                problem,
                "the provider refuses the operator's client: no tenant's tokens can be refreshed",
            );
        }
    }

    /// Writes down what a connection is left as, and says so where a person has to do something about it.
    pub(super) async fn mark(
        &self,
        subject: &Subject,
        record: &Record,
        (phase, denials): (Phase, Denials),
        wait: Option<Duration>,
        problem: &str,
        lease: &Lease,
    ) -> Result<(), Fault> {
        let of = &subject.of;
        let state = State {
            phase: phase.clone(),
            failures: record.state.failures.saturating_add(1),
            retry_at: wait.map(|wait| self.shared.clock.now() + wait),
            problem: Some(problem.to_owned()),
            denials,
            ..record.state.clone()
        };
        let mut record = record.clone();
        record.rest = wait.map(|wait| Instant::now() + wait);
        match self.shared.records.restate(of, subject.epoch, &record, state, lease).await {
            Ok(record) => self.know(of, subject.epoch, record),
            // Somebody else has the lease or wrote tokens: theirs is the word that counts.
            Err(StoreError::Conflict { what: Collision::Lease | Collision::Cell }) => {
                return self.reload(of, subject.epoch).await.map(drop);
            }
            Err(error) => return Err(error.into()),
        };
        match phase {
            Phase::NeedsReauth { .. } => {
                let watched = self.is_watched(of).await;
                tracing::warn!(event = "connection.needs-reauth", connection = %of, watched, problem, "a person must connect again");
            }
            Phase::Uncertain { .. } => {
                let watched = self.is_watched(of).await;
                tracing::warn!(event = "connection.refresh-uncertain", connection = %of, watched, problem, "a refresh token may be spent");
            }
            Phase::Ready | Phase::Refreshing { .. } => {}
        }
        Ok(())
    }
}

/// A wait that the server named: no less, and up to a fifth more, so that those who were refused in one second do not
/// ask again in one.
fn later(asked: Duration) -> Duration {
    asked.mul_f64(rand::rng().random_range(1.0..1.2))
}

/// Doubles with each failure; a fifth up or down, so that tenants do not come back together.
fn backoff(failures: u32) -> Duration {
    let wait = RETRY_MIN.saturating_mul(1 << failures.min(16)).min(RETRY_MAX);
    wait.mul_f64(rand::rng().random_range(0.8..1.2))
}
