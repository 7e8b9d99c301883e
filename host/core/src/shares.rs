//! Shares: how much of something is under way, in all and for each who has some of it.
//!
//! Counters, not queues: who wants more than there is, or more than its share, is told so at once and may come again, instead
//! of waiting unseen while its caller's time runs out. Who has nothing takes no memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ids::{Actor, Environment, Tenant};

/// Who pays for what the host does: whose share it is, and whose turn.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Payer {
    /// What is asked of a tenant's, whoever asks.
    Tenant(Environment, Tenant),
    /// What is asked of no tenant's, by who asks.
    Token(Actor),
    /// What anybody may ask.
    Anybody,
}

/// What there is to share. Clones are the same.
#[derive(Debug)]
pub struct Shares<K>(Arc<Shared<K>>);

/// What somebody has of it. Dropped, it is given back.
#[derive(Debug)]
pub struct Share<K: Hash + Eq> {
    of: Arc<Shared<K>>,
    who: K,
    amount: usize,
}

/// Why somebody gets no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    /// All together have all that there is.
    All,
    /// Its own share is used up.
    Own,
}

#[derive(Debug)]
struct Shared<K> {
    all_max: usize,
    each_max: usize,
    all: AtomicUsize,
    each: Mutex<HashMap<K, usize>>,
}

// === impl Shares ===

impl<K: Hash + Eq + Clone> Shares<K> {
    /// So much in all, and so much of it for each.
    pub fn new(all_max: usize, each_max: usize) -> Self {
        let (all, each) = (AtomicUsize::new(0), Mutex::default());
        Self(Arc::new(Shared { all_max, each_max, all, each }))
    }

    /// So much for somebody, or nothing.
    pub fn take(&self, who: &K, amount: usize) -> Result<Share<K>, Full> {
        self.0.take(who, amount)?;
        Ok(Share { of: Arc::clone(&self.0), who: who.clone(), amount })
    }
    /// How much somebody has.
    pub fn of(&self, who: &K) -> usize {
        self.0.each().get(who).copied().unwrap_or_default()
    }

    /// How much is under way.
    pub fn taken(&self) -> usize {
        self.0.all.load(Ordering::Relaxed)
    }

    /// How many have some of it.
    pub fn takers(&self) -> usize {
        self.0.each().len()
    }
}

impl<K> Clone for Shares<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

// === impl Share ===

impl<K: Hash + Eq + Clone> Share<K> {
    /// So much more, or what there was.
    pub fn grow(&mut self, more: usize) -> Result<(), Full> {
        self.of.take(&self.who, more)?;
        self.amount += more;
        Ok(())
    }
}

impl<K: Hash + Eq> Share<K> {
    /// How much it is.
    pub fn amount(&self) -> usize {
        self.amount
    }
}

impl<K: Hash + Eq> Drop for Share<K> {
    fn drop(&mut self) {
        self.of.all.fetch_sub(self.amount, Ordering::Relaxed);
        let mut each = self.of.each();
        let Some(own) = each.get_mut(&self.who) else { return };
        *own = own.saturating_sub(self.amount);
        if *own == 0 {
            each.remove(&self.who);
        }
    }
}

// === impl Shared ===

impl<K: Hash + Eq + Clone> Shared<K> {
    fn take(&self, who: &K, amount: usize) -> Result<(), Full> {
        let fits = |before: usize| before.checked_add(amount).filter(|sum| *sum <= self.all_max);
        // All first: a flood costs one counter each.
        let taken = self.all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        taken.map_err(|_| Full::All)?;
        let mut each = self.each();
        let own = each.entry(who.clone()).or_default();
        if own.saturating_add(amount) <= self.each_max {
            *own += amount;
            return Ok(());
        }
        if *own == 0 {
            each.remove(who);
        }
        self.all.fetch_sub(amount, Ordering::Relaxed);
        Err(Full::Own)
    }
}

impl<K> Shared<K> {
    fn each(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.each.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_share_and_all_together_have_theirs() {
        let shares = Shares::new(5, 3);
        let own = [2, 1].map(|amount| shares.take(&"a", amount).unwrap());
        assert_eq!((own[0].amount(), shares.of(&"a"), shares.of(&"b")), (2, 3, 0));
        assert_eq!(shares.take(&"a", 1).err(), Some(Full::Own));
        let other = shares.take(&"b", 2).unwrap();
        assert_eq!(shares.take(&"c", 1).err(), Some(Full::All));
        assert_eq!((shares.taken(), shares.takers()), (5, 2), "who was refused has nothing");
        drop(own);
        assert_eq!((shares.taken(), shares.takers()), (2, 1));
        drop(shares.take(&"a", 3).unwrap());
        assert_eq!(shares.take(&"d", 4).err(), Some(Full::All));
        drop(other);
        assert_eq!((shares.taken(), shares.takers()), (0, 0), "who has none is forgotten");
    }

    #[test]
    fn a_share_grows_while_there_is_room() {
        let shares = Shares::new(5, 4);
        let (mut own, mut other) = (shares.take(&"a", 1).unwrap(), shares.take(&"b", 0).unwrap());
        assert_eq!(own.grow(2), Ok(()));
        assert_eq!((own.grow(2), own.amount()), (Err(Full::Own), 3));
        assert_eq!((other.grow(3), other.amount()), (Err(Full::All), 0));
        drop(own);
        assert_eq!((other.grow(3), shares.taken()), (Ok(()), 3));
    }

    #[test]
    fn no_amount_is_too_large_to_be_refused() {
        let shares = Shares::new(5, 3);
        let _own = shares.take(&"a", 1).unwrap();
        for much in [5, usize::MAX] {
            assert_eq!(shares.take(&"b", much).err(), Some(Full::All));
        }
        assert_eq!(shares.taken(), 1);
    }
}
