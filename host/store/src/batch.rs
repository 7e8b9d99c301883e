//! A change of the data plane: cells and messages, under a lease.
//!
//! What a worker writes after a piece of work goes in one [`Batch`]: the records, the cursor, the
//! message it was told by, and the lease that makes it the one to do so. All of it lands, or nothing.

use bytes::Bytes;

use crate::backend::{Commit, Write, within};
use crate::error::{Collision, Error};
use crate::key::{Key, Space};
use crate::model::{Claim, Lease, PAYLOAD_BYTES_MAX};
use crate::row::{self, CellRow, MessageRow};
use crate::store::{Rounds, Store, cell_key};

/// Changes of the data plane that land together or not at all.
#[must_use = "nothing changes before `commit`"]
pub struct Batch {
    store: Store,
    leases: Vec<Lease>,
    steps: Vec<Step>,
}

enum Step {
    Cell(CellChange),
    Enqueue { queue: String, body: Bytes },
    Settle(Claim),
}

/// What becomes of a cell.
pub(crate) struct CellChange {
    key: Key,
    /// The version that it has now; none means that there is none.
    expected_version: Option<u64>,
    /// None removes it.
    value: Option<Bytes>,
}

// === impl Store ===

impl Store {
    /// Begins a change of the data plane.
    pub fn batch(&self) -> Batch {
        Batch { store: self.clone(), leases: Vec::new(), steps: Vec::new() }
    }
}

// === impl Batch ===

impl Batch {
    /// Only if this lease is held when it lands.
    pub fn holding(mut self, lease: &Lease) -> Self {
        self.leases.push(lease.clone());
        self
    }

    /// Writes a cell. `expected_version` is the version that it has now; none means that there is no
    /// such cell yet.
    pub fn put_cell(
        mut self,
        space: &str,
        key: &[u8],
        expected_version: Option<u64>,
        value: impl Into<Bytes>,
    ) -> Self {
        let change = CellChange::new(space, key, expected_version, Some(value.into()));
        self.steps.push(Step::Cell(change));
        self
    }

    /// Removes a cell that has this version. The next cell there begins at version 1 again, so a key whose
    /// versions must never repeat keeps its cell.
    pub fn remove_cell(mut self, space: &str, key: &[u8], expected_version: u64) -> Self {
        let change = CellChange::new(space, key, Some(expected_version), None);
        self.steps.push(Step::Cell(change));
        self
    }

    /// Adds a message to the end of a queue.
    pub fn enqueue(mut self, queue: &str, body: impl Into<Bytes>) -> Self {
        self.steps.push(Step::Enqueue { queue: queue.to_owned(), body: body.into() });
        self
    }

    /// Removes a claimed message.
    pub fn settle(mut self, claim: &Claim) -> Self {
        self.steps.push(Step::Settle(claim.clone()));
        self
    }

    /// Makes all of it durable. If this future is dropped, the change may or may not land.
    pub async fn commit(self) -> Result<(), Error> {
        let mut rounds = Rounds::default();
        loop {
            let mut commit = Commit::default();
            for lease in &self.leases {
                self.store.guard_lease(&mut commit, lease).await?;
            }
            for step in &self.steps {
                step.plan(&self.store, &mut commit).await?;
            }
            commit.once_each()?;
            if rounds.attempt(&self.store, commit).await?.is_some() {
                return Ok(());
            }
        }
    }
}

// === impl Step ===

impl Step {
    async fn plan(&self, store: &Store, commit: &mut Commit) -> Result<(), Error> {
        match self {
            Self::Cell(change) => change.plan(store, commit).await?,
            Self::Enqueue { queue, body } => {
                within("a message's body", body.len(), PAYLOAD_BYTES_MAX)?;
                let header = MessageRow { attempts: 0, visible_at: None, reason: None };
                commit.writes.push(Write::Append {
                    counter: Key::of(Space::Counter).part("queue").part(queue),
                    prefix: Key::of(Space::Message).part(queue),
                    value: row::encode(&header, body)?,
                });
            }
            Self::Settle(claim) => {
                let (key, row, _) = store.claimed(claim).await?;
                commit.unchanged(&key, Some(&row));
                commit.writes.push(Write::Remove { key });
            }
        }
        Ok(())
    }
}

// === impl CellChange ===

impl CellChange {
    pub(crate) fn new(
        space: &str,
        key: &[u8],
        expected_version: Option<u64>,
        value: Option<Bytes>,
    ) -> Self {
        Self { key: cell_key(space, key), expected_version, value }
    }

    pub(crate) async fn plan(&self, store: &Store, commit: &mut Commit) -> Result<(), Error> {
        let found = store.read::<CellRow>(&self.key).await?;
        let version = found.as_ref().map(|(_, cell)| cell.header.version);
        if version != self.expected_version {
            return Err(Error::Conflict { what: Collision::Cell });
        }
        commit.unchanged(&self.key, found.as_ref().map(|(row, _)| row));
        let Some(value) = &self.value else {
            commit.writes.push(Write::Remove { key: self.key.clone() });
            return Ok(());
        };
        within("a cell's value", value.len(), PAYLOAD_BYTES_MAX)?;
        let header = CellRow { version: version.unwrap_or(0) + 1 };
        commit.put(self.key.clone(), row::encode(&header, value)?);
        Ok(())
    }
}
