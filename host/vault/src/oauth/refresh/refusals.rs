//! Clients that a provider refuses: one alarm and one rest for all the connections that are had with one.
//!
//! Only `invalid_client` says so. What a provider does not take of one connection's request says nothing about others.
//! Kept in memory: after a restart, one request finds out anew.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::oauth::client::ClientRef;

/// The rest after a refusal. Only an operator can mend it, and setting the client ends the rest.
pub(super) const CLIENT_RETRY: Duration = Duration::from_secs(5 * 60);

/// Refused clients, and until when nobody asks with them.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<HashMap<ClientRef, Instant>>);

// === impl Refusals ===

impl Refusals {
    /// How long a client still rests.
    pub(super) fn rest(&self, of: &ClientRef) -> Option<Duration> {
        let left = self.lock().get(of)?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Lets one ask with a client whose rest is over; everybody else rests on until there is an answer.
    pub(super) fn turn(&self, of: &ClientRef) -> Result<(), Duration> {
        let mut refused = self.lock();
        let Some(until) = refused.get_mut(of) else { return Ok(()) };
        let now = Instant::now();
        let left = until.saturating_duration_since(now);
        if !left.is_zero() {
            return Err(left);
        }
        *until = now + CLIENT_RETRY;
        Ok(())
    }

    /// Notes that a client was refused. False if that was known.
    pub(super) fn refused(&self, of: ClientRef) -> bool {
        self.lock().insert(of, Instant::now() + CLIENT_RETRY).is_none()
    }

    /// Notes that a client was taken, or is another now. False if nothing was wrong with it.
    pub(crate) fn clear(&self, of: &ClientRef) -> bool {
        self.lock().remove(of).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClientRef, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
