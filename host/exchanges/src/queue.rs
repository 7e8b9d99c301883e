//! What waits for the writer: entries in their order, and what somebody waits for.
//!
//! Whoever records an entry does not wake the writer for it: waking a thread costs more than writing a row. The
//! writer looks by itself [`LINGER`] after the first one came, and is woken for what somebody waits for.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::rows::Rows;
use crate::writer::Task;

/// From the first entry that waits until the writer looks: what a follower of the log is behind at most, and a
/// hundredth of the interval after which the log is synced.
const LINGER: Duration = Duration::from_millis(10);

/// Entries at which the writer looks at once: a quarter of those that may wait by default.
const HURRY: usize = 2_048;

/// The queue between those who record and the writer.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    rows: Rows,
    tasks: Vec<Task>,
    /// Nobody will send any more.
    ended: bool,
    /// The writer is gone: what is sent now would never be read.
    orphaned: bool,
    /// The writer sleeps until somebody wakes it, or until something else is due.
    idle: bool,
    /// Somebody waits for an answer, or much has gathered.
    urgent: bool,
}

/// What the writer wakes up to.
pub(crate) enum Woken {
    /// Entries, and what is to be done once they are written.
    Work(Vec<Task>),
    /// Nothing came in the given time.
    Nothing,
    /// There will be nothing more.
    Ended,
}

// === impl Queue ===

impl Queue {
    /// Adds an entry; says whether the writer will get it.
    pub(crate) fn add(&self, at: i64, row: &[u8]) -> bool {
        let mut state = self.lock();
        if state.orphaned {
            return false;
        }
        state.rows.add(at, row);
        state.urgent |= state.rows.len() >= HURRY;
        self.wake(state);
        true
    }

    /// Asks for something to be done after what was added before. A writer that is gone drops it.
    pub(crate) fn ask(&self, task: Task) {
        let mut state = self.lock();
        if !state.orphaned {
            state.tasks.push(task);
            state.urgent = true;
            self.wake(state);
        }
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        if state.urgent || std::mem::take(&mut state.idle) {
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Nothing more will be sent.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.wake.notify_one();
    }

    /// The writer reads no more. What waits is dropped, and with it who waits for an answer.
    pub(crate) fn orphan(&self) {
        let mut state = self.lock();
        state.orphaned = true;
        drop((std::mem::take(&mut state.rows), std::mem::take(&mut state.tasks)));
    }

    /// What was sent, a while after the first of it came; waits so long for a first. Entries come into `rows`, which has
    /// none yet, and gives its room to the next.
    pub(crate) fn wait(&self, time: Duration, rows: &mut Rows) -> Woken {
        let due = Instant::now() + time;
        let mut state = self.lock();
        while state.rows.is_empty() && state.tasks.is_empty() {
            let left = due.saturating_duration_since(Instant::now());
            if state.ended {
                return Woken::Ended;
            }
            if left.is_zero() {
                state.idle = false;
                return Woken::Nothing;
            }
            state.idle = true;
            state = self.sleep(state, left);
        }
        state.idle = false;
        let due = Instant::now() + LINGER;
        while !state.urgent && !state.ended {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.sleep(state, left);
        }
        state.urgent = false;
        std::mem::swap(&mut state.rows, rows);
        Woken::Work(std::mem::take(&mut state.tasks))
    }

    fn sleep<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        self.wake.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::oneshot;

    use super::*;

    /// Longer than any test may take.
    const LONG: Duration = Duration::from_secs(60);

    fn flush() -> Task {
        Task::Flush(oneshot::channel().0)
    }

    /// How many entries and tasks the writer wakes up to.
    fn wait(queue: &Queue, time: Duration) -> Option<(usize, usize)> {
        let mut rows = Rows::default();
        match queue.wait(time, &mut rows) {
            Woken::Work(tasks) => Some((rows.len(), tasks.len())),
            Woken::Nothing => Some((0, 0)),
            Woken::Ended => None,
        }
    }

    #[test]
    fn what_was_sent_comes_before_the_end() {
        let queue = Queue::default();
        assert_eq!(wait(&queue, Duration::ZERO), Some((0, 0)));
        assert!(queue.add(1, b"{}") && queue.add(2, b"{}"));
        queue.ask(flush());
        queue.end();
        assert_eq!(wait(&queue, LONG), Some((2, 1)));
        assert_eq!(wait(&queue, LONG), None);
    }

    #[test]
    fn who_asks_wakes_a_writer_that_sleeps() {
        let queue = Arc::new(Queue::default());
        let writer = {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || wait(&queue, LONG))
        };
        while !queue.lock().idle {
            std::thread::yield_now();
        }
        queue.ask(flush());
        assert_eq!(writer.join().unwrap(), Some((0, 1)));
    }

    #[test]
    fn nothing_is_left_with_a_writer_that_is_gone() {
        let queue = Queue::default();
        let (reply, mut answer) = oneshot::channel();
        assert!(queue.add(1, b"{}"));
        queue.ask(Task::Flush(reply));
        queue.orphan();
        assert!(answer.try_recv().is_err(), "who waited is let go");
        assert!(!queue.add(2, b"{}"));
        let (reply, mut answer) = oneshot::channel();
        queue.ask(Task::Flush(reply));
        assert!(answer.try_recv().is_err(), "and who comes later");
    }
}
