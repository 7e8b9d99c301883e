//! The route table: what each installation runs now.
//!
//! One immutable map behind an atomic pointer. A call clones an `Arc` out of it and needs nothing else;
//! a change copies the few nodes it touches and swaps the pointer. The map shares structure between
//! versions, so a change among 10,000 installations costs as much as one among ten.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use imbl::GenericHashMap;
use imbl::shared_ptr::DefaultSharedPtr;
use keyway_core::ids::Installation;
use keyway_core::ports::{Route, Routes};
use keyway_core::{Code, Fault};

/// What the table knows of each installation. Every call looks one up: SipHash costs five times as much.
pub(crate) type Entries = GenericHashMap<Installation, Entry, RandomState, DefaultSharedPtr>;

/// What each installation runs now.
#[derive(Default)]
pub struct RouteTable {
    entries: ArcSwap<Entries>,
    /// Routes made so far.
    made: AtomicU64,
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
    /// The order of the next route.
    pub(crate) fn next_order(&self) -> u64 {
        self.made.fetch_add(1, Ordering::Relaxed)
    }

    /// Replaces what the table says of one installation. The caller makes one change at a time.
    pub(crate) fn set(&self, installation: Installation, entry: Entry) {
        let mut entries = Entries::clone(&self.entries.load());
        entries.insert(installation, entry);
        self.entries.store(Arc::new(entries));
    }

    /// Forgets an installation of which nothing is left.
    pub(crate) fn forget(&self, installation: &Installation) {
        let mut entries = Entries::clone(&self.entries.load());
        entries.remove(installation);
        self.entries.store(Arc::new(entries));
    }

    /// Replaces everything.
    pub(crate) fn replace(&self, entries: Entries) {
        self.entries.store(Arc::new(entries));
    }
}

impl Routes for RouteTable {
    fn resolve(&self, installation: &Installation) -> Result<Arc<Route>, Fault> {
        match self.entries.load().get(installation) {
            Some(Entry::Route(route)) => Ok(Arc::clone(route)),
            Some(Entry::Closed(fault)) => Err(Fault::clone(fault)),
            None => Err(Fault::new(
                Code::UnknownInstallation,
                format!("{installation} has no pin, configuration or connection"),
            )),
        }
    }
}
