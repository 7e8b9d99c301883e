//! The memory backend: the rows in a map behind a lock. For tests; nothing outlives the process.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use keyway_core::ports::Clock;
use time::OffsetDateTime;

use crate::backend::{Backend, Commit, Range, Row, Verdict};
use crate::error::Error;
use crate::key::Key;

/// Rows in memory.
pub(crate) struct Memory {
    clock: Arc<dyn Clock>,
    id: u128,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rows: BTreeMap<Key, Row>,
    revision: u64,
}

// === impl Memory ===

impl Memory {
    /// An empty one.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, id: rand::random(), state: Mutex::default() }
    }

    /// No step under the lock panics half-way through a change, so a poisoned lock is still good.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Backend for Memory {
    async fn get(&self, key: &Key) -> Result<Option<Row>, Error> {
        Ok(self.state().rows.get(key).cloned())
    }

    async fn scan(&self, range: Range) -> Result<Vec<(Key, Row)>, Error> {
        let start = match &range.after {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(&range.prefix),
        };
        let state = self.state();
        let rows = state.rows.range((start, Bound::Unbounded));
        let rows = rows.take_while(|(key, _)| key.starts_with(&range.prefix)).take(range.limit);
        Ok(rows.map(|(key, row)| (key.clone(), row.clone())).collect())
    }

    async fn commit(&self, commit: Commit) -> Result<Verdict, Error> {
        let now = self.clock.now();
        let mut state = self.state();
        let revision = state.revision + 1;
        let effect = commit.evaluate(revision, now, |key| Ok(state.rows.get(key).cloned()))?;
        let Some(effect) = effect else { return Ok(Verdict::Refused) };
        state.revision = revision;
        for (key, row) in effect.rows {
            match row {
                Some(row) => state.rows.insert(key, row),
                None => state.rows.remove(&key),
            };
        }
        Ok(Verdict::Committed { appended: effect.appended })
    }

    async fn now(&self) -> Result<OffsetDateTime, Error> {
        Ok(self.clock.now())
    }

    fn id(&self) -> u128 {
        self.id
    }

    fn healthy(&self) -> Result<(), Error> {
        Ok(())
    }
}
