//! The backend port: an ordered map of rows with guarded, atomic, durable commits.
//!
//! Everything that Keyway keeps is rows; what they mean is `Store`'s business, so that it is decided
//! once for all backends. A backend brings five things: read a row, page through a range, apply a
//! [`Commit`] or refuse it, the store's own clock, and whether it is well.
//!
//! **Guards are data.** A commit says what must still be so (`this row is at revision 7`, `it is not
//! yet 12:00`), and the backend checks that and applies the writes in one step. No closure crosses the
//! port, so a backend behind a network can check guards where the rows are: in SQL, a guard is a
//! `SELECT … FOR SHARE`, a write is an upsert, and an append is `UPDATE counter … RETURNING`.
//!
//! **Invariant:** whatever `get` and `scan` return is durable, and so is a commit that was answered.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use time::OffsetDateTime;

use crate::error::{Collision, Error};
use crate::key::Key;

/// Where rows are kept.
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    /// One row.
    async fn get(&self, key: &Key) -> Result<Option<Row>, Error>;

    /// At most `limit` rows below `prefix` and behind `after`, in order.
    async fn scan(&self, range: Range) -> Result<Vec<(Key, Row)>, Error>;

    /// Applies all of it if every guard holds, nothing otherwise.
    async fn commit(&self, commit: Commit) -> Result<Verdict, Error>;

    /// The store's own time: what lease and visibility deadlines are measured by.
    async fn now(&self) -> Result<OffsetDateTime, Error>;

    /// Drawn when the store was made; another store has another.
    fn id(&self) -> u128;

    /// Whether commits are being taken.
    fn healthy(&self) -> Result<(), Error>;
}

/// A value and when it was last written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Row {
    /// Number of the commit that wrote it. Never the same again for this key, even if it is removed and
    /// made anew.
    pub(crate) revision: u64,
    /// What it holds, at most [`Commit::VALUE_BYTES_MAX`].
    pub(crate) value: Bytes,
}

/// A page of rows, wanted.
#[derive(Clone, Debug)]
pub(crate) struct Range {
    /// Rows below this.
    pub(crate) prefix: Key,
    /// Behind this, itself left out.
    pub(crate) after: Option<Key>,
    /// Rows wanted.
    pub(crate) limit: usize,
}

/// Something that must be so for a commit to be applied.
#[derive(Clone, Debug)]
pub(crate) enum Guard {
    /// The row was last written by this commit.
    Unchanged {
        /// Which row.
        key: Key,
        /// Which commit.
        revision: u64,
    },
    /// There is no such row.
    Absent {
        /// Which row.
        key: Key,
    },
    /// The store's clock does not show this time yet.
    Before(OffsetDateTime),
    /// The store's clock shows this time or a later one.
    NotBefore(OffsetDateTime),
}

/// What a commit does.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    /// Writes a row.
    Put {
        /// Which.
        key: Key,
        /// What it holds from now on.
        value: Bytes,
    },
    /// Removes a row if it is there.
    Remove {
        /// Which.
        key: Key,
    },
    /// Takes the next number of a sequence and writes a row under it. Numbers have no gaps.
    Append {
        /// The row that holds the last number given out.
        counter: Key,
        /// What the number is appended to.
        prefix: Key,
        /// What the row holds.
        value: Bytes,
    },
}

/// Guards and writes that belong together.
#[derive(Clone, Default, Debug)]
pub(crate) struct Commit {
    /// What must be so.
    pub(crate) guards: Vec<Guard>,
    /// What is done then.
    pub(crate) writes: Vec<Write>,
}

/// What became of a commit.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// It is durable.
    Committed {
        /// Numbers that its appends were given, in their order.
        appended: Vec<u64>,
    },
    /// A guard did not hold; nothing happened.
    Refused,
}

/// What a commit comes to, worked out against the rows there are.
#[derive(Default)]
pub(crate) struct Effect {
    /// New rows; none means removed.
    pub(crate) rows: BTreeMap<Key, Option<Row>>,
    /// Numbers given out.
    pub(crate) appended: Vec<u64>,
}

// === impl Commit ===

impl Commit {
    /// Bytes of a row's value. Above it sled's leaves outgrow what its flush covers, and a relational
    /// row leaves its page.
    pub(crate) const VALUE_BYTES_MAX: usize = 4 << 10;

    /// Rows that one commit may write: bounds how long others wait behind it.
    pub(crate) const WRITES_MAX: usize = 1024;

    /// Requires that the row is still as it was read.
    pub(crate) fn unchanged(&mut self, key: &Key, read: Option<&Row>) {
        self.guards.push(match read {
            Some(row) => Guard::Unchanged { key: key.clone(), revision: row.revision },
            None => Guard::Absent { key: key.clone() },
        });
    }

    /// Writes a row.
    pub(crate) fn put(&mut self, key: Key, value: Bytes) {
        self.writes.push(Write::Put { key, value });
    }

    /// Refuses what no backend would take.
    pub(crate) fn check(&self) -> Result<(), Error> {
        within("a commit's rows", self.writes.len(), Self::WRITES_MAX)?;
        self.writes.iter().try_for_each(|write| {
            let (key, value) = match write {
                Write::Put { key, value } => (key, value.len()),
                Write::Append { prefix, value, .. } => (prefix, value.len()),
                Write::Remove { key } => (key, 0),
            };
            within("a row's key", key.as_bytes().len(), Key::BYTES_MAX)?;
            within("a row's value", value, Self::VALUE_BYTES_MAX)
        })
    }

    /// Refuses a commit that writes a row twice: each of its changes was checked against what is there,
    /// not against the others.
    pub(crate) fn once_each(&self) -> Result<(), Error> {
        let mut seen = HashSet::new();
        let fresh = self.writes.iter().all(|write| match write {
            Write::Put { key, .. } | Write::Remove { key } => seen.insert(key),
            Write::Append { .. } => true,
        });
        if fresh { Ok(()) } else { Err(Error::Conflict { what: Collision::Contended }) }
    }

    /// Whether it puts or removes this row.
    pub(crate) fn writes_to(&self, row: &Key) -> bool {
        self.writes.iter().any(|write| match write {
            Write::Put { key, .. } | Write::Remove { key } => key == row,
            Write::Append { .. } => false,
        })
    }

    /// Bytes it adds to a group.
    pub(crate) fn bytes(&self) -> usize {
        let value = |write: &Write| match write {
            Write::Put { value, .. } | Write::Append { value, .. } => value.len(),
            Write::Remove { .. } => 0,
        };
        self.writes.iter().map(value).sum()
    }

    /// Checks the guards against the rows that `read` shows and works out the new ones. Shared by the
    /// backends that check guards in this process.
    pub(crate) fn evaluate(
        self,
        revision: u64,
        now: OffsetDateTime,
        read: impl Fn(&Key) -> Result<Option<Row>, Error>,
    ) -> Result<Option<Effect>, Error> {
        for guard in &self.guards {
            let holds = match guard {
                Guard::Unchanged { key, revision } => {
                    read(key)?.is_some_and(|row| row.revision == *revision)
                }
                Guard::Absent { key } => read(key)?.is_none(),
                Guard::Before(at) => now < *at,
                Guard::NotBefore(at) => now >= *at,
            };
            if !holds {
                return Ok(None);
            }
        }
        let mut effect = Effect::default();
        for write in self.writes {
            match write {
                Write::Put { key, value } => {
                    effect.rows.insert(key, Some(Row { revision, value }));
                }
                Write::Remove { key } => {
                    effect.rows.insert(key, None);
                }
                Write::Append { counter, prefix, value } => {
                    let last = match effect.rows.get(&counter) {
                        Some(row) => row.clone(),
                        None => read(&counter)?,
                    };
                    let number = count(&counter, last.as_ref())? + 1;
                    let bytes = Bytes::copy_from_slice(&number.to_be_bytes());
                    effect.rows.insert(counter, Some(Row { revision, value: bytes }));
                    effect.rows.insert(prefix.number(number), Some(Row { revision, value }));
                    effect.appended.push(number);
                }
            }
        }
        Ok(Some(effect))
    }
}

/// What a counter row says; none is zero.
pub(crate) fn count(key: &Key, row: Option<&Row>) -> Result<u64, Error> {
    row.map_or(Ok(0), |row| {
        let bytes = row.value.as_ref().try_into();
        bytes.map(u64::from_be_bytes).map_err(|_| key.corrupt("a counter has eight bytes"))
    })
}

/// Refuses what is over a limit.
pub(crate) fn within(what: &'static str, size: usize, size_max: usize) -> Result<(), Error> {
    if size > size_max { Err(Error::TooLarge { what, size, size_max }) } else { Ok(()) }
}

/// A time to live as the clock's own kind; absurdly long ones are cut to a century.
pub(crate) fn after(now: OffsetDateTime, wait: Duration) -> OffsetDateTime {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);
    now + wait.min(CENTURY)
}
