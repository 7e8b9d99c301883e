//! Secrets that were set by hand, while they are open.
//!
//! Opening one costs as much as the rest of what the host does for its request, so it stays open for [`OPEN_TIME`], for
//! the uses that come meanwhile, and is closed behind them: then only the sealed row is in memory. A change of the
//! connection closes it at once. Exchanges under way keep what they hold.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use keyway_core::credential::Opened;
use keyway_core::ids::ConnectionRef;
use keyway_store::model::Connection;
use tokio::time::{Instant, interval};

use crate::connections::Vault;

/// How long a secret stays open, used or not: a busy connection's is opened for few of its requests, and what a thief of
/// the host's memory finds are the secrets of the last minute and not of the last month.
pub(crate) const OPEN_TIME: Duration = Duration::from_secs(60);

/// How often it is looked whether secrets are to be closed.
const CLOSING_INTERVAL: Duration = Duration::from_secs(10);

/// A secret that is open.
#[derive(Clone)]
pub(crate) struct Open {
    opened: Arc<Opened>,
    until: Instant,
}

// === impl Open ===

impl Open {
    pub(crate) fn new(opened: Arc<Opened>) -> Self {
        Self { opened, until: Instant::now() + OPEN_TIME }
    }

    /// The secret, unless its time is over.
    pub(crate) fn get(&self) -> Option<Arc<Opened>> {
        self.lasts().then(|| Arc::clone(&self.opened))
    }

    fn lasts(&self) -> bool {
        Instant::now() < self.until
    }
}

// === impl Vault ===

impl Vault {
    /// Closes secrets when their time is over. Runs for as long as the host does.
    pub async fn close_behind(self) {
        let mut ticks = interval(CLOSING_INTERVAL);
        loop {
            ticks.tick().await;
            let mut rows = self.shared.rows.write().unwrap_or_else(PoisonError::into_inner);
            for row in rows.values_mut() {
                row.open.take_if(|open| !open.lasts());
            }
        }
    }

    /// Keeps a secret open for the next uses, unless the connection is another by now.
    pub(crate) fn keep_open(
        &self,
        of: &ConnectionRef,
        connection: &Arc<Connection>,
        opened: &Arc<Opened>,
    ) {
        let mut rows = self.shared.rows.write().unwrap_or_else(PoisonError::into_inner);
        let row = rows.get_mut(of).filter(|row| {
            row.connection.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection))
        });
        if let Some(row) = row {
            row.open = Some(Open::new(Arc::clone(opened)));
        }
    }
}
