//! Following the log: new exchanges as they come.
//!
//! A follower that is too slow loses the oldest of what it has not read and is told how many; it never holds the
//! writer up. What it lost is still in the log.

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use bytes::Bytes;

use crate::find::Filter;
use crate::kept::Kept;
use crate::row;

/// What the writer tells followers: an exchange, as it lies in the log.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) id: u64,
    pub(crate) row: Bytes,
}

/// Somebody who follows.
#[derive(Debug)]
pub struct Follow {
    told: Receiver<Told>,
    filter: Filter,
    _place: OwnedSemaphorePermit,
}

/// What a follower hears.
#[derive(Clone, Debug)]
pub enum Followed {
    /// A new exchange that fits.
    Exchange(Box<Kept>),
    /// The follower was too slow: so many went by unread, whether or not they would have fitted.
    Missed(u64),
}

impl Follow {
    pub(crate) fn new(told: Receiver<Told>, filter: Filter, place: OwnedSemaphorePermit) -> Self {
        Self { told, filter, _place: place }
    }

    /// The next one; none when the log has ended. May be dropped while it waits without losing anything.
    pub async fn next(&mut self) -> Option<Followed> {
        loop {
            match self.told.recv().await {
                Ok(told) => {
                    if let Some(kept) = self.fitting(&told) {
                        return Some(Followed::Exchange(Box::new(kept)));
                    }
                }
                Err(RecvError::Lagged(missed)) => return Some(Followed::Missed(missed)),
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn fitting(&self, told: &Told) -> Option<Kept> {
        // Written a moment ago by this process: it can be read.
        let row = row::read(&told.row).ok()?;
        self.filter.fits(&row).then(|| row.kept(told.id).ok()).flatten()
    }
}
