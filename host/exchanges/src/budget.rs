//! How much may wait to be written: so many exchanges, and so many bytes.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Room for what waits. Taking from it never waits itself.
#[derive(Debug)]
pub(crate) struct Budget {
    exchanges: Room,
    bytes: Room,
}

/// What there is no room for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Full {
    /// Another exchange.
    Exchanges,
    /// So many bytes.
    Bytes,
}

#[derive(Debug)]
struct Room {
    taken: AtomicUsize,
    max: usize,
}

// === impl Budget ===

impl Budget {
    pub(crate) fn new(exchanges_max: usize, bytes_max: usize) -> Self {
        Self { exchanges: Room::new(exchanges_max), bytes: Room::new(bytes_max) }
    }

    /// Room for one exchange of so many bytes: all of it or none.
    pub(crate) fn take(&self, bytes: usize) -> Result<(), Full> {
        if !self.exchanges.take(1) {
            return Err(Full::Exchanges);
        }
        if !self.bytes.take(bytes) {
            self.exchanges.give(1);
            return Err(Full::Bytes);
        }
        Ok(())
    }

    /// Gives back what one exchange took.
    pub(crate) fn give(&self, bytes: usize) {
        self.exchanges.give(1);
        self.bytes.give(bytes);
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
        assert_eq!(budget.take(11), Err(Full::Bytes));
        assert_eq!(budget.take(9), Ok(()));
        assert_eq!(budget.take(2), Err(Full::Bytes));
        assert_eq!(budget.take(1), Ok(()), "a refusal for its bytes keeps no place");
        assert_eq!(budget.take(0), Err(Full::Exchanges));
        budget.give(9);
        assert_eq!(budget.take(9), Ok(()));
    }
}
