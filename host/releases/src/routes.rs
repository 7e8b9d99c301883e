//! The route table: what each installation runs now.
//!
//! One immutable map behind an atomic pointer. A call clones an `Arc` out of it and needs nothing else;
//! a change copies the few nodes it touches and swaps the pointer. The map shares structure between
//! versions, so a change among 10,000 installations costs as much as one among ten.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use imbl::GenericHashMap;
use imbl::shared_ptr::DefaultSharedPtr;
use keyway_core::address::InstallationMark;
use keyway_core::ids::Installation;
use keyway_core::ports::{Route, Routes};
use keyway_core::{Code, Fault};

/// What the table knows of each installation. Every call looks one up: SipHash costs five times as much.
pub(crate) type Entries = GenericHashMap<Installation, Entry, RandomState, DefaultSharedPtr>;

/// Which installation has which mark in an address.
type Marks = GenericHashMap<InstallationMark, Installation, RandomState, DefaultSharedPtr>;

/// What each installation runs now.
#[derive(Default)]
pub struct RouteTable {
    entries: ArcSwap<Entries>,
    /// Of the same installations.
    marks: ArcSwap<Marks>,
    /// Routes made so far.
    made: AtomicU64,
    starting: Starting,
}

/// How far a start has come that shows routes only when all of them are known.
#[derive(Default)]
struct Starting {
    under_way: AtomicBool,
    loaded: AtomicUsize,
    releases: AtomicUsize,
}

/// What the table says of an installation that it knows.
#[derive(Clone)]
pub(crate) enum Entry {
    /// Calls go here.
    Route(Arc<Route>),
    /// Calls fail with this: no pin and no default, or code that could not be loaded.
    Closed(Arc<Fault>),
}

impl RouteTable {
    /// From here on an installation that is not in the table may only not be known yet.
    pub fn begin_start(&self) {
        self.starting.under_way.store(true, Ordering::SeqCst);
    }

    /// So many releases are wanted before the start is over.
    pub(crate) fn wanted(&self, releases: usize) {
        self.starting.releases.store(releases, Ordering::SeqCst);
    }

    /// One more is loaded, or will not be. How many that makes.
    pub(crate) fn loaded(&self) -> usize {
        self.starting.loaded.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// What the host has not come to yet, if its start is not over.
    pub fn started(&self) -> Result<(), Fault> {
        let Starting { under_way, loaded, releases } = &self.starting;
        if !under_way.load(Ordering::SeqCst) {
            return Ok(());
        }
        let (loaded, releases) = (loaded.load(Ordering::SeqCst), releases.load(Ordering::SeqCst));
        let detail = format!("the host is starting: {loaded} of {releases} releases are loaded");
        Err(Fault::new(Code::Starting, detail))
    }

    /// Whether calls of an installation are refused as it is.
    pub(crate) fn closed(&self, installation: &Installation) -> bool {
        matches!(self.entries.load().get(installation), Some(Entry::Closed(_)))
    }

    /// The order of the next route.
    pub(crate) fn next_order(&self) -> u64 {
        self.made.fetch_add(1, Ordering::Relaxed)
    }

    /// Replaces what the table says of one installation. The caller makes one change at a time.
    pub(crate) fn set(&self, installation: Installation, entry: Entry) {
        let mut entries = Entries::clone(&self.entries.load());
        if !entries.contains_key(&installation) {
            let mut marks = Marks::clone(&self.marks.load());
            marks.insert(InstallationMark::of(&installation), installation.clone());
            self.marks.store(Arc::new(marks));
        }
        entries.insert(installation, entry);
        self.entries.store(Arc::new(entries));
    }

    /// Forgets an installation of which nothing is left.
    pub(crate) fn forget(&self, installation: &Installation) {
        let mut entries = Entries::clone(&self.entries.load());
        entries.remove(installation);
        self.entries.store(Arc::new(entries));
        let mut marks = Marks::clone(&self.marks.load());
        marks.remove(&InstallationMark::of(installation));
        self.marks.store(Arc::new(marks));
    }

    /// Replaces everything: now all of it is known.
    pub(crate) fn replace(&self, entries: Entries) {
        let marked = |installation: &Installation| {
            (InstallationMark::of(installation), installation.clone())
        };
        self.marks.store(Arc::new(entries.keys().map(marked).collect()));
        self.entries.store(Arc::new(entries));
        self.starting.under_way.store(false, Ordering::SeqCst);
    }
}

impl Routes for RouteTable {
    fn resolve(&self, installation: &Installation) -> Result<Arc<Route>, Fault> {
        match self.entries.load().get(installation) {
            Some(Entry::Route(route)) => Ok(Arc::clone(route)),
            Some(Entry::Closed(fault)) => Err(Fault::clone(fault)),
            None => Err(self.started().err().unwrap_or_else(|| {
                let detail = format!("{installation} has no pin, configuration or connection");
                Fault::new(Code::UnknownInstallation, detail)
            })),
        }
    }

    fn marked(&self, mark: &InstallationMark) -> Result<Option<Installation>, Fault> {
        match self.marks.load().get(mark) {
            Some(installation) => Ok(Some(installation.clone())),
            None => self.started().map(|()| None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_to_installations_that_there_are() {
        let table = RouteTable::default();
        let installation = |tenant: &str| Installation {
            environment: "dev".parse().unwrap(),
            tenant: tenant.parse().unwrap(),
            connector: "acme/crm".parse().unwrap(),
        };
        let closed = || Entry::Closed(Arc::new(Fault::new(Code::NotPinned, "nothing to run")));
        let found =
            |tenant: &str| table.marked(&InstallationMark::of(&installation(tenant))).unwrap();
        let (one, two) = (installation("one"), installation("two"));
        assert_eq!(found("one"), None);
        table.set(one.clone(), closed());
        table.set(one.clone(), closed());
        assert_eq!((found("one"), found("two")), (Some(one.clone()), None));
        table.forget(&one);
        assert_eq!(found("one"), None);
        table.set(one.clone(), closed());
        table.replace([(two.clone(), closed())].into_iter().collect());
        assert_eq!((found("one"), found("two")), (None, Some(two)));
    }
}
