//! What a guest says during one call, gathered for the call log.
//!
//! The newest lines stay where there are too many: why a call ended is said last.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use keyway_core::said::{KeptLine, Line};

/// What a line takes beside its words.
const LINE_BYTES: usize = size_of::<KeptLine>();

/// One call's lines.
pub(crate) struct Said {
    began: Instant,
    bytes_max: usize,
    gathered: Mutex<Gathered>,
}

/// Lines, and those that had to go.
#[derive(Default)]
pub(crate) struct Gathered {
    pub(crate) lines: VecDeque<KeptLine>,
    pub(crate) dropped: u64,
    bytes: usize,
}

// === impl Said ===

impl Said {
    /// Nothing yet. Gathers so many bytes from here on.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { began: Instant::now(), bytes_max, gathered: Mutex::default() }
    }

    /// Takes a line.
    pub(crate) fn add(&self, line: &Line<'_>) {
        let Line { source, level, message, fields } = *line;
        let (message, fields) = (message.into(), fields.into());
        let line = KeptLine { after: self.began.elapsed(), source, level, message, fields };
        let mut gathered = self.gathered();
        gathered.bytes += bytes(&line);
        gathered.lines.push_back(line);
        while gathered.bytes > self.bytes_max {
            let Some(oldest) = gathered.lines.pop_front() else { return };
            gathered.bytes -= bytes(&oldest);
            gathered.dropped += 1;
        }
    }

    /// What was gathered so far, and is not any more.
    pub(crate) fn take(&self) -> Gathered {
        std::mem::take(&mut *self.gathered())
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        // Lines are whole whatever panicked while they were held.
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes(line: &KeptLine) -> usize {
    LINE_BYTES + line.message.len() + line.fields.len()
}

#[cfg(test)]
mod tests {
    use keyway_core::said::{LogLevel, Source};

    use super::*;

    fn said(bytes_max: usize, lines: &[&str]) -> Gathered {
        let said = Said::new(bytes_max);
        for message in lines {
            let level = LogLevel::Info;
            said.add(&Line { source: Source::Log, level, message, fields: "{}" });
        }
        said.take()
    }

    #[test]
    fn lines_stay_in_their_order_and_the_oldest_go_beyond_the_limit() {
        let each = LINE_BYTES + 3;
        for (bytes_max, kept, dropped) in [
            (3 * each, "abc", 0),
            (3 * each - 1, "bc", 1),
            (each, "c", 2),
            (each - 1, "", 3),
            (0, "", 3),
        ] {
            let gathered = said(bytes_max, &["a", "b", "c"]);
            let words: String = gathered.lines.iter().map(|line| &*line.message).collect();
            assert_eq!((words.as_str(), gathered.dropped), (kept, dropped), "{bytes_max}");
        }
    }

    #[test]
    fn what_was_taken_is_gone() {
        let said = Said::new(1 << 10);
        let line = Line { source: Source::Stderr, level: LogLevel::Warn, message: "x", fields: "" };
        said.add(&line);
        assert_eq!(said.take().lines.len(), 1);
        assert!(said.take().lines.is_empty());
    }
}
