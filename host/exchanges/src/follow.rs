//! Following a log: new entries as they come.
//!
//! A follower that is too slow loses the oldest of what it has not read and is told how many; it never holds the
//! writer up. What it lost is still in the log.

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use bytes::Bytes;

use crate::exchanges::Filter;
use crate::find::Look;
use crate::kept::Kept;

/// What the writer tells followers: an entry, as it lies in the log.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) id: u64,
    pub(crate) row: Bytes,
}

/// Somebody who follows.
#[derive(Debug)]
pub struct Follow<F = Filter> {
    told: Receiver<Told>,
    filter: F,
    _place: OwnedSemaphorePermit,
}

/// What a follower hears.
#[derive(Clone, Debug)]
pub enum Followed<T = Kept> {
    /// A new one that fits.
    Entry(Box<T>),
    /// The follower was too slow: so many went by unread, whether or not they would have fitted.
    Missed(u64),
}

impl<F: Look> Follow<F> {
    pub(crate) fn new(told: Receiver<Told>, filter: F, place: OwnedSemaphorePermit) -> Self {
        Self { told, filter, _place: place }
    }

    /// The next one; none when the log has ended. May be dropped while it waits without losing anything.
    pub async fn next(&mut self) -> Option<Followed<F::Found>> {
        loop {
            match self.told.recv().await {
                Ok(told) => {
                    if let Some(found) = self.filter.look(told.id, &told.row) {
                        return Some(Followed::Entry(Box::new(found)));
                    }
                }
                Err(RecvError::Lagged(missed)) => return Some(Followed::Missed(missed)),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
