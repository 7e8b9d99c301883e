//! How much may wait to be written: so many entries, and so many bytes.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Room for what waits. Taking from it never waits itself.
#[derive(Debug)]
pub(crate) struct Budget {
    entries: Room,
    bytes: Room,
}

/// A place that was taken and may not be kept; given back on drop.
#[must_use]
pub(crate) struct Place<'b> {
    budget: &'b Budget,
}

#[derive(Debug)]
struct Room {
    taken: AtomicUsize,
    max: usize,
}

// === impl Budget ===

impl Budget {
    pub(crate) fn new(entries_max: usize, bytes_max: usize) -> Self {
        Self { entries: Room::new(entries_max), bytes: Room::new(bytes_max) }
    }

    /// A place for one entry, whose bytes are not known yet.
    pub(crate) fn place(&self) -> Option<Place<'_>> {
        // Made only where it was taken: to drop one gives a place back.
        self.entries.take(1).then(|| Place { budget: self })
    }

    /// Gives back what so many entries kept.
    pub(crate) fn give(&self, entries: usize, bytes: usize) {
        self.entries.give(entries);
        self.bytes.give(bytes);
    }
}

// === impl Place ===

impl Place<'_> {
    /// Keeps it for an entry of so many bytes, until they are given back. False if there is no room for them.
    pub(crate) fn keep(self, bytes: usize) -> bool {
        let kept = self.budget.bytes.take(bytes);
        if kept {
            std::mem::forget(self);
        }
        kept
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.budget.entries.give(1);
    }
}

// === impl Room ===

impl Room {
    fn new(max: usize) -> Self {
        Self { taken: AtomicUsize::new(0), max }
    }

    fn take(&self, wanted: usize) -> bool {
        let fit = |taken: usize| taken.checked_add(wanted).filter(|taken| *taken <= self.max);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fit).is_ok()
    }

    fn give(&self, taken: usize) {
        self.taken.fetch_sub(taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_hold_at_n_and_give_back_what_a_refusal_took() {
        let budget = Budget::new(2, 10);
        let keep = |bytes| budget.place().map(|place| place.keep(bytes));
        assert_eq!(keep(11), Some(false));
        assert_eq!(keep(9), Some(true));
        assert_eq!(keep(2), Some(false));
        drop(budget.place());
        assert_eq!(
            keep(1),
            Some(true),
            "neither a refusal for its bytes nor one that is let go keeps a place"
        );
        assert_eq!(keep(0), None);
        budget.give(1, 9);
        assert_eq!(keep(9), Some(true));
    }
}
