//! Leases: the right to be the only one at something, with a fence that the store checks.
//!
//! A renewal keeps the fence. Whoever takes a lease whose time is over gets a higher one, the same owner
//! included: between the two, somebody else might have written. Giving a lease back ends its time and
//! keeps its row, so fences only ever go up.
//!
//! Holder and deadline are two rows: a renewal writes the deadline only, so commits that are guarded by
//! the holder's row do not fail over it.

use std::time::Duration;

use time::OffsetDateTime;

use crate::backend::{Commit, Guard, Row, after};
use crate::error::{Collision, Error};
use crate::key::{Key, Space};
use crate::model::Lease;
use crate::row::{self, ExpiryRow, HolderRow};
use crate::store::{Rounds, Store};

/// A lease as its rows say.
struct Found {
    holder: (Row, HolderRow),
    expiry: (Row, ExpiryRow),
}

// === impl Store ===

impl Store {
    /// Takes a lease that nobody has, or extends the one that `owner` has. None means that somebody
    /// else has it.
    pub async fn acquire_lease(
        &self,
        name: &str,
        owner: &str,
        ttl: Duration,
    ) -> Result<Option<Lease>, Error> {
        let mut rounds = Rounds::default();
        loop {
            let (found, now) = (self.find_lease(name).await?, self.now().await?);
            let mut commit = Commit::default();
            let fence = match &found {
                None => 1,
                Some(found) if found.expired(now) => {
                    commit.guards.push(Guard::NotBefore(found.expiry.1.expires_at));
                    found.holder.1.fence + 1
                }
                Some(found) if found.holder.1.owner == owner => {
                    commit.guards.push(Guard::Before(found.expiry.1.expires_at));
                    found.holder.1.fence
                }
                Some(_) => return Ok(None),
            };
            commit.unchanged(&holder_key(name), found.as_ref().map(|found| &found.holder.0));
            commit.unchanged(&expiry_key(name), found.as_ref().map(|found| &found.expiry.0));
            if found.is_none_or(|found| found.holder.1.fence != fence) {
                let header = HolderRow { owner: owner.to_owned(), fence };
                commit.put(holder_key(name), row::encode(&header, b"")?);
            }
            let expires_at = after(now, ttl);
            commit.put(expiry_key(name), row::encode(&ExpiryRow { expires_at }, b"")?);
            let lease = Lease { name: name.to_owned(), owner: owner.to_owned(), fence, expires_at };
            if rounds.attempt(self, commit).await?.is_some() {
                return Ok(Some(lease));
            }
        }
    }

    /// Extends a lease that is still held. None means that it is not: its time was over, or somebody
    /// else has it.
    pub async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<Option<Lease>, Error> {
        self.reset_lease(lease, Some(ttl)).await
    }

    /// Gives a lease back. One that is not held any more stays as it is.
    pub async fn release_lease(&self, lease: &Lease) -> Result<(), Error> {
        self.reset_lease(lease, None).await?;
        Ok(())
    }

    /// Moves the deadline of a lease that is held; without a time to live, to now.
    async fn reset_lease(
        &self,
        lease: &Lease,
        ttl: Option<Duration>,
    ) -> Result<Option<Lease>, Error> {
        let mut rounds = Rounds::default();
        loop {
            let mut commit = Commit::default();
            match self.guard_lease(&mut commit, lease).await {
                Err(Error::Conflict { .. }) => return Ok(None),
                guarded => guarded?,
            }
            let expires_at = after(self.now().await?, ttl.unwrap_or_default());
            commit.put(expiry_key(&lease.name), row::encode(&ExpiryRow { expires_at }, b"")?);
            if rounds.attempt(self, commit).await?.is_some() {
                return Ok(Some(Lease { expires_at, ..lease.clone() }));
            }
        }
    }

    /// Makes a commit depend on the lease being held, or says that it is not.
    pub(crate) async fn guard_lease(
        &self,
        commit: &mut Commit,
        lease: &Lease,
    ) -> Result<(), Error> {
        let lost = Error::Conflict { what: Collision::Lease };
        let Some(found) = self.find_lease(&lease.name).await? else { return Err(lost) };
        let (row, holder) = &found.holder;
        let same = holder.owner == lease.owner && holder.fence == lease.fence;
        if !same || found.expired(self.now().await?) {
            return Err(lost);
        }
        commit.unchanged(&holder_key(&lease.name), Some(row));
        commit.guards.push(Guard::Before(found.expiry.1.expires_at));
        Ok(())
    }

    async fn find_lease(&self, name: &str) -> Result<Option<Found>, Error> {
        // The deadline first: one read before a takeover does not belong to the holder read after it,
        // and then the guards on the two rows cannot both hold.
        let expiry = self.read::<ExpiryRow>(&expiry_key(name)).await?;
        let holder = self.read::<HolderRow>(&holder_key(name)).await?;
        Ok(expiry.zip(holder).map(|(expiry, holder)| Found {
            holder: (holder.0, holder.1.header),
            expiry: (expiry.0, expiry.1.header),
        }))
    }
}

// === impl Found ===

impl Found {
    fn expired(&self, now: OffsetDateTime) -> bool {
        now >= self.expiry.1.expires_at
    }
}

fn holder_key(name: &str) -> Key {
    Key::of(Space::Holder).part(name)
}

fn expiry_key(name: &str) -> Key {
    Key::of(Space::Expiry).part(name)
}
