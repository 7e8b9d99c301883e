//! What waits for the writer, in its order.
//!
//! Whoever records an exchange does not wake the writer for it: waking a thread costs more than writing a row. The
//! writer looks by itself [`LINGER`] after the first one came, and is woken for what somebody waits for.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::writer::Message;

/// From the first exchange that waits until the writer looks: what a follower of the log is behind at most, and a
/// hundredth of the interval after which the log is synced.
const LINGER: Duration = Duration::from_millis(10);

/// Messages at which the writer looks at once: a quarter of those that may wait by default.
const HURRY: usize = 2_048;

/// The queue between those who record and the writer.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    messages: Vec<Message>,
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
    /// Messages, in the order in which they were sent.
    Messages(Vec<Message>),
    /// Nothing came in the given time.
    Nothing,
    /// There will be nothing more.
    Ended,
}

// === impl Queue ===

impl Queue {
    /// Whether the writer will get it.
    pub(crate) fn send(&self, message: Message) -> bool {
        let mut state = self.lock();
        if state.orphaned {
            return false;
        }
        let asked = !matches!(message, Message::Row(_));
        state.messages.push(message);
        state.urgent |= asked || state.messages.len() >= HURRY;
        if state.urgent || std::mem::take(&mut state.idle) {
            drop(state);
            self.wake.notify_one();
        }
        true
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
        drop(std::mem::take(&mut state.messages));
    }

    /// What was sent, a while after the first of it came; waits so long for a first.
    pub(crate) fn wait(&self, time: Duration) -> Woken {
        let due = Instant::now() + time;
        let mut state = self.lock();
        while state.messages.is_empty() {
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
        Woken::Messages(std::mem::take(&mut state.messages))
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

    fn flush() -> Message {
        Message::Flush(oneshot::channel().0)
    }

    fn count(woken: Woken) -> Option<usize> {
        match woken {
            Woken::Messages(messages) => Some(messages.len()),
            Woken::Nothing => Some(0),
            Woken::Ended => None,
        }
    }

    #[test]
    fn what_was_sent_comes_before_the_end() {
        let queue = Queue::default();
        assert_eq!(count(queue.wait(Duration::ZERO)), Some(0));
        assert!(queue.send(flush()) && queue.send(flush()));
        queue.end();
        assert_eq!(count(queue.wait(LONG)), Some(2));
        assert_eq!(count(queue.wait(LONG)), None);
    }

    #[test]
    fn who_asks_wakes_a_writer_that_sleeps() {
        let queue = Arc::new(Queue::default());
        let writer = {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || count(queue.wait(LONG)))
        };
        while !queue.lock().idle {
            std::thread::yield_now();
        }
        assert!(queue.send(flush()));
        assert_eq!(writer.join().unwrap(), Some(1));
    }

    #[test]
    fn nothing_is_left_with_a_writer_that_is_gone() {
        let queue = Queue::default();
        let (reply, mut answer) = oneshot::channel();
        assert!(queue.send(Message::Flush(reply)));
        queue.orphan();
        assert!(answer.try_recv().is_err(), "who waited is let go");
        assert!(!queue.send(flush()));
    }
}
