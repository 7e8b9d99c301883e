//! The requests of the last so many seconds: a sliding window.
//!
//! A request counts from the moment it goes out until one window later, and not at that moment. So whoever
//! asks [`History::free_at`] first and goes no earlier sends at most `quota` requests in any half-open span
//! `[t, t + window)`, wherever it begins. A window of fixed length that begins with its first request would
//! allow twice as many around its end.
//!
//! Few requests are remembered one by one. Where there are many, those that follow each other closely are
//! remembered as one run, all of which counts until its last has left: this errs on the careful side, by at
//! most a [`GRAINS`]th of the window.
//!
//! Knows nothing of names, waiters or what a provider says: [`super::account`] does.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Runs that are kept apart however close they are, so that small quotas are exact.
pub(super) const EXACT_RUNS: usize = 128;
/// Parts of a window: beyond [`EXACT_RUNS`], requests within one part are one run.
pub(super) const GRAINS: u32 = 128;

/// What went out within one window. Times never go backwards: the caller sees to that.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// Oldest first.
    runs: VecDeque<Run>,
    /// Requests of all runs.
    used: u64,
}

/// Requests that count together.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: Instant,
    last: Instant,
    count: u64,
}

/// So long after, or as late as can be said.
pub(super) fn after(from: Instant, wait: Duration) -> Instant {
    /// Later than any call lives, and no overflow: a century.
    const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    from + wait.min(NEVER)
}

// === impl History ===

impl History {
    /// Forgets what has left the window.
    pub(super) fn expire(&mut self, window: Duration, now: Instant) {
        while let Some(run) = self.runs.front()
            && after(run.last, window) <= now
        {
            self.used -= run.count;
            self.runs.pop_front();
        }
    }

    /// One request goes out.
    pub(super) fn record(&mut self, window: Duration, at: Instant) {
        self.used += 1;
        let many = self.runs.len() >= EXACT_RUNS;
        let grain = window / GRAINS;
        match self.runs.back_mut() {
            Some(run) if run.first == at || many && at.duration_since(run.first) < grain => {
                run.last = at;
                run.count += 1;
            }
            _ => self.runs.push_back(Run { first: at, last: at, count: 1 }),
        }
    }

    /// Requests in the window.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// When the oldest leaves the window.
    pub(super) fn back_at(&self, window: Duration) -> Option<Instant> {
        self.runs.front().map(|run| after(run.last, window))
    }

    /// When a request may go that lets `ahead` others go first: now, if there is room for all of them.
    /// Supposes that those go as soon as they may. `quota` is not 0.
    pub(super) fn free_at(
        &self,
        quota: u64,
        window: Duration,
        ahead: u64,
        now: Instant,
    ) -> Instant {
        // Whoever is a whole quota behind another goes one window after it.
        let rounds = u32::try_from(ahead / quota).unwrap_or(u32::MAX);
        let ahead = ahead % quota;
        let must_leave = (self.used + ahead + 1).saturating_sub(quota);
        let mut left = 0;
        let mut free = now;
        for run in &self.runs {
            if left >= must_leave {
                break;
            }
            left += run.count;
            free = free.max(after(run.last, window));
        }
        after(free, window.saturating_mul(rounds))
    }

    #[cfg(test)]
    pub(super) fn runs(&self) -> usize {
        self.runs.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_counts_for_one_window_and_not_a_moment_longer() {
        let start = Instant::now();
        let mut history = History::default();
        history.record(WINDOW, start);
        history.record(WINDOW, start + secs(3));
        let almost = start + WINDOW - Duration::from_nanos(1);
        history.expire(WINDOW, almost);
        assert_eq!(history.used(), 2);
        assert_eq!(history.free_at(2, WINDOW, 0, almost), start + WINDOW);
        history.expire(WINDOW, start + WINDOW);
        assert_eq!(history.used(), 1);
        assert_eq!(history.free_at(2, WINDOW, 0, start + WINDOW), start + WINDOW);
        assert_eq!(history.back_at(WINDOW), Some(start + secs(13)));
    }

    #[tokio::test(start_paused = true)]
    async fn those_ahead_keep_their_places() {
        let start = Instant::now();
        let mut history = History::default();
        history.record(WINDOW, start);
        history.record(WINDOW, start + secs(4));
        let now = start + secs(5);
        let free = |ahead| history.free_at(3, WINDOW, ahead, now).duration_since(start);
        // One place is free, one comes back at 10 and one at 14; then those that went at 5, 10 and 14.
        let expected = [5, 10, 14, 15, 20, 24, 25].map(secs);
        assert_eq!([0, 1, 2, 3, 4, 5, 6].map(free), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_quota_lowered_under_what_was_used_waits_for_enough_to_leave() {
        let start = Instant::now();
        let mut history = History::default();
        for second in 0..5 {
            history.record(WINDOW, start + secs(second));
        }
        let now = start + secs(5);
        assert_eq!(history.free_at(2, WINDOW, 0, now), start + secs(13));
    }

    #[tokio::test(start_paused = true)]
    async fn a_million_requests_are_few_runs() {
        let start = Instant::now();
        let mut history = History::default();
        for n in 0..1_000_000_u32 {
            let now = start + Duration::from_micros(50) * n;
            history.expire(WINDOW, now);
            history.record(WINDOW, now);
        }
        let limit = EXACT_RUNS + GRAINS as usize + 2;
        assert!(history.runs() <= limit, "{} runs", history.runs());
        // 200,000 fit a window. What it remembers too long is less than a grain or two of them.
        let exact = 200_000;
        let used = history.used();
        assert!((exact..exact + 2 * exact / u64::from(GRAINS)).contains(&used), "{used}");
    }
}
