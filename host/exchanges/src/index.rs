//! The segments there are, as the writer leaves them and readers find them.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::metrics::Metrics;
use crate::segment::Segment;

/// Every segment, oldest first.
#[derive(Debug)]
pub(crate) struct Index {
    inner: Mutex<Inner>,
    metrics: Metrics,
    /// What the log is called where something is said of it.
    log: &'static str,
}

#[derive(Debug, Default)]
struct Inner {
    segments: Vec<Segment>,
    /// Segment and place of every damaged stretch that was found, so that each is counted once.
    damaged: BTreeSet<(u64, u64)>,
}

// === impl Index ===

impl Index {
    pub(crate) fn new(log: &'static str, metrics: Metrics) -> Self {
        Self { inner: Mutex::default(), metrics, log }
    }

    /// Those there are now.
    pub(crate) fn snapshot(&self) -> Vec<Segment> {
        self.lock().segments.clone()
    }

    /// One more, or a later state of the newest.
    pub(crate) fn put(&self, segment: Segment) {
        let mut inner = self.lock();
        match inner.segments.last_mut().filter(|last| last.number == segment.number) {
            Some(last) => *last = segment,
            None => inner.segments.push(segment),
        }
        self.show(&inner);
    }

    /// Forgets one.
    pub(crate) fn remove(&self, number: u64) {
        let mut inner = self.lock();
        inner.segments.retain(|segment| segment.number != number);
        inner.damaged.retain(|(segment, _)| *segment != number);
        self.show(&inner);
    }

    /// Counts damage that was not seen before.
    pub(crate) fn damaged(&self, number: u64, places: impl IntoIterator<Item = u64>) {
        let mut inner = self.lock();
        let before = inner.damaged.len();
        inner.damaged.extend(places.into_iter().map(|place| (number, place)));
        let found = (inner.damaged.len() - before) as u64;
        if found > 0 {
            self.metrics.count_damaged(found);
            tracing::warn!(
                log = self.log,
                segment = number,
                stretches = found,
                "log is damaged; skipped"
            );
        }
    }

    /// The newest.
    pub(crate) fn newest(&self) -> Option<Segment> {
        self.lock().segments.last().cloned()
    }

    /// Numbers of those that retention deletes, oldest first: whatever ended before `horizon`, and as many as
    /// are over `bytes_max` together. Never the newest: it is written to, and it knows which ids were used.
    pub(crate) fn doomed(&self, horizon: i64, bytes_max: u64) -> Vec<u64> {
        let inner = self.lock();
        let mut bytes: u64 = inner.segments.iter().map(|segment| segment.bytes).sum();
        let mut doomed = Vec::new();
        for segment in inner.segments.iter().rev().skip(1).rev() {
            if bytes > bytes_max || segment.summary.last_at < horizon {
                bytes -= segment.bytes;
                doomed.push(segment.number);
            }
        }
        doomed
    }

    fn show(&self, inner: &Inner) {
        let bytes = inner.segments.iter().map(|segment| segment.bytes).sum();
        self.metrics.show_size(inner.segments.len(), bytes);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::Summary;

    fn index(ends: &[(u64, i64)]) -> Index {
        let index = Index::new("log", Metrics::new("log"));
        for (number, (bytes, last_at)) in (1..).zip(ends) {
            let summary = Summary { last_at: *last_at, entries: 1, ..Summary::default() };
            index.put(Segment { bytes: *bytes, summary, ..Segment::new(number, 0) });
        }
        index
    }

    #[test]
    fn retention_takes_the_oldest_until_the_rest_fits_and_spares_the_newest() {
        let index = index(&[(10, 1), (10, 2), (10, 3)]);
        assert!(index.doomed(0, 30).is_empty(), "just as many as there may be");
        assert_eq!(index.doomed(0, 29), [1]);
        assert_eq!(index.doomed(0, 0), [1, 2]);
    }

    #[test]
    fn retention_takes_what_ended_before_the_horizon() {
        let index = index(&[(10, 1), (10, 2), (10, 3)]);
        assert!(index.doomed(1, 30).is_empty(), "ended just then");
        assert_eq!(index.doomed(2, 30), [1]);
        assert_eq!(index.doomed(9, 30), [1, 2]);
    }

    #[test]
    fn damage_is_counted_once_and_forgotten_with_its_segment() {
        let index = index(&[(10, 1), (10, 2)]);
        index.damaged(1, [5, 7]);
        index.damaged(1, [5]);
        assert_eq!(index.metrics.damaged(), 2);
        index.remove(1);
        assert_eq!((index.metrics.segments(), index.metrics.bytes()), (1, 10));
        assert!(index.lock().damaged.is_empty());
    }
}
