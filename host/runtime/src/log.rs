//! What a guest writes to its log: cut, made harmless to terminals, counted, and handed outside.
//!
//! It decides nothing about where lines go. Limits are per call; the first line beyond them and all
//! after it are dropped. How many is said once, when the call ends, and with it what was printed last: why it ended.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyway_core::json;
use keyway_core::ports::Outside;
use keyway_core::said::{Line, LogLevel, Source};
use serde_json::Value;

use crate::limits;

/// One call's log.
pub(crate) struct GuestLog {
    outside: Arc<dyn Outside>,
    limits: limits::Log,
    written: Mutex<Written>,
}

#[derive(Default)]
struct Written {
    lines: u32,
    bytes: usize,
    dropped: u64,
    /// What was printed last.
    last: VecDeque<Printed>,
}

/// A line of standard error.
struct Printed {
    text: String,
    /// Whether it is beyond the limits, so that nobody has been told it.
    dropped: bool,
}

/// Lines that are said again where an instance ends: a traceback through ten functions.
const LAST_LINES_MAX: usize = 24;

/// Bytes of each of them.
const LAST_LINE_BYTES_MAX: usize = 256;

// === impl GuestLog ===

impl GuestLog {
    pub(crate) fn new(outside: Arc<dyn Outside>, limits: limits::Log) -> Self {
        Self { outside, limits, written: Mutex::default() }
    }

    /// Bytes of one line.
    pub(crate) const fn line_bytes_max(&self) -> usize {
        self.limits.line_bytes_max
    }

    /// Whether the next line would be dropped; counts it if so. Asked before a line is even looked at,
    /// so that a flood costs its writer more than it costs the host.
    pub(crate) fn drops_next(&self) -> bool {
        let mut written = self.written();
        let spent =
            written.lines >= self.limits.lines_max || written.bytes >= self.limits.bytes_max;
        if spent {
            written.dropped += 1;
        }
        spent
    }

    /// Takes a line that [`Self::drops_next`] did not refuse.
    pub(crate) fn write(&self, source: Source, level: LogLevel, message: &str, fields: &str) {
        let message = harmless(message, self.limits.line_bytes_max);
        let fields = object(fields, self.limits.line_bytes_max);
        {
            let mut written = self.written();
            written.lines += 1;
            written.bytes += message.len() + fields.len();
        }
        self.outside.log(&Line { source, level, message: &message, fields: &fields });
    }

    /// Remembers a printed line for when the instance ends, also one that is beyond the limits: a panic says why last.
    pub(crate) fn remember(&self, line: &str, dropped: bool) {
        let text = harmless(line, LAST_LINE_BYTES_MAX).into_owned();
        let mut written = self.written();
        if written.last.len() == LAST_LINES_MAX {
            written.last.pop_front();
        }
        written.last.push_back(Printed { text, dropped });
    }

    /// What was printed last, a line each; none if nothing was.
    pub(crate) fn last(&self) -> Option<Arc<String>> {
        let written = self.written();
        let lines: Vec<_> = written.last.iter().map(|line| line.text.as_str()).collect();
        (!lines.is_empty()).then(|| Arc::new(lines.join("\n")))
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        // Counters are whole whatever panicked while they were held.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A dropped call says it too.
impl Drop for GuestLog {
    fn drop(&mut self) {
        let written = self.written();
        if written.dropped == 0 {
            return;
        }
        let dropped = written.dropped;
        let message = format!("{dropped} lines of this log were dropped: it is over its limits");
        let warn = |source, message| Line { source, level: LogLevel::Warn, message, fields: "" };
        self.outside.log(&warn(Source::Host, &message));
        for line in written.last.iter().filter(|line| line.dropped) {
            self.outside.log(&warn(Source::Stderr, &line.text));
        }
    }
}

/// Text that no terminal or log viewer acts on, at most `bytes_max` long, with a mark if it was cut.
pub(crate) fn harmless(text: &str, bytes_max: usize) -> Cow<'_, str> {
    let kept = &text[..text.floor_char_boundary(bytes_max)];
    if kept.len() == text.len() && !kept.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(kept.len() + 32);
    let mut cut = kept.len() < text.len();
    for letter in kept.chars() {
        let before = safe.len();
        if acts(letter) {
            // All of them are in the basic plane, so this is JSON's own escape.
            write!(safe, "\\u{:04x}", u32::from(letter)).expect("a string takes all");
        } else {
            safe.push(letter);
        }
        if safe.len() > bytes_max {
            safe.truncate(before);
            cut = true;
            break;
        }
    }
    if cut {
        safe.push_str(" [cut]");
    }
    Cow::Owned(safe)
}

/// Whether a letter does something other than stand there: controls (with ESC, and the C1 block that
/// some terminals obey), separators that begin a line, marks that reorder what is around them.
const fn acts(letter: char) -> bool {
    matches!(
        letter,
        '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{61c}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
    )
}

/// `fields` if it is a JSON object of bearable size, else one that says what was wrong.
fn object(fields: &str, bytes_max: usize) -> Cow<'_, str> {
    if fields.is_empty() {
        return Cow::Borrowed(fields);
    }
    if fields.len() > bytes_max {
        return Cow::Owned(format!(r#"{{"dropped":"fields of {} bytes"}}"#, fields.len()));
    }
    // Read and written anew: a raw line break between two keys would split the line.
    match json::tree(fields) {
        // Escapes can make it longer than it was; cut JSON would be no JSON.
        Ok(map @ Value::Object(_)) => {
            Cow::Owned(harmless(&map.to_string(), usize::MAX).into_owned())
        }
        _ => Cow::Borrowed(r#"{"dropped":"fields that are no JSON object"}"#),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Recorder, outside};

    fn log(recorder: &Arc<Recorder>, limits: limits::Log) -> GuestLog {
        GuestLog::new(outside(recorder), limits)
    }

    #[test]
    fn escapes_what_terminals_obey() {
        assert_eq!(harmless("plain — ünïcode", 64), "plain — ünïcode");
        assert_eq!(harmless("\x1b[31mred\x07", 64), "\\u001b[31mred\\u0007");
        assert_eq!(harmless("\x1b]0;title\x1b\\", 64), "\\u001b]0;title\\u001b\\");
        assert_eq!(harmless("a\r\nERROR forged", 64), "a\\u000d\\u000aERROR forged");
        assert_eq!(harmless("\u{9b}31m", 64), "\\u009b31m");
        assert_eq!(harmless("user\u{202e}nimda\u{2066}", 64), "user\\u202enimda\\u2066");
    }

    #[test]
    fn cuts_at_the_limit_and_says_so() {
        assert_eq!(harmless("12345678", 8), "12345678");
        assert_eq!(harmless("123456789", 8), "12345678 [cut]");
        assert_eq!(harmless("1234567é", 8), "1234567 [cut]");
        // Escapes count as what they become.
        assert_eq!(harmless("\x1b\x1b", 8), "\\u001b [cut]");
        let long = "x".repeat(1 << 20);
        assert!(harmless(&long, 4096).len() < 4096 + 32);
    }

    #[test]
    fn drops_beyond_lines_and_says_how_many_once() {
        let recorder = Recorder::new();
        let limits = limits::Log { lines_max: 3, ..limits::Log::default() };
        let log = log(&recorder, limits);
        for line in 0..5 {
            if !log.drops_next() {
                log.write(Source::Log, LogLevel::Info, &format!("line {line}"), "");
            }
        }
        drop(log);
        let lines = recorder.lines();
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert!(lines[2].contains("line 2"));
        assert!(lines[3].contains("2 lines of this log were dropped"));
    }

    #[test]
    fn drops_beyond_bytes() {
        let recorder = Recorder::new();
        let limits = limits::Log { bytes_max: 10, ..limits::Log::default() };
        let log = log(&recorder, limits);
        assert!(!log.drops_next());
        log.write(Source::Log, LogLevel::Info, "123456789", "");
        assert!(!log.drops_next());
        log.write(Source::Log, LogLevel::Info, "x", "");
        assert!(log.drops_next());
    }

    #[test]
    fn what_was_printed_last_is_remembered_within_bounds() {
        let recorder = Recorder::new();
        let log = log(&recorder, limits::Log { lines_max: 1, ..limits::Log::default() });
        assert_eq!(log.last(), None);
        for line in 0..LAST_LINES_MAX + 3 {
            log.remember(&format!("line {line}"), false);
        }
        log.remember(&"x".repeat(1 << 20), false);
        let last = log.last().unwrap();
        assert!(last.starts_with("line 4\n") && last.ends_with("x [cut]"), "{last}");
        assert_eq!(last.lines().count(), LAST_LINES_MAX);
        assert!(last.len() < LAST_LINES_MAX * (LAST_LINE_BYTES_MAX + 8));
    }

    #[test]
    fn what_a_flood_ended_with_is_told_behind_it() {
        let recorder = Recorder::new();
        let log = log(&recorder, limits::Log { lines_max: 1, ..limits::Log::default() });
        for line in ["first", "flood", "panicked at x"] {
            let dropped = log.drops_next();
            if !dropped {
                log.write(Source::Stderr, LogLevel::Warn, line, "");
            }
            log.remember(line, dropped);
        }
        drop(log);
        let dropped = "host Warn 2 lines of this log were dropped: it is over its limits ";
        let told =
            ["stderr Warn first ", dropped, "stderr Warn flood ", "stderr Warn panicked at x "];
        assert_eq!(recorder.lines(), told);
    }

    /// Fails if an object is taken for what the name of its member stands for in a library.
    #[test]
    fn fields_are_what_the_guest_wrote() {
        for fields in [
            r#"{"a":{"$serde_json::private::RawValue":"[1]"}}"#,
            r#"{"a":{"$serde_json::private::RawValue":"?"}}"#,
            r#"{"$serde_json::private::Number":"1"}"#,
        ] {
            assert_eq!(object(fields, 1_000), fields);
        }
    }

    #[test]
    fn fields_stay_a_json_object() {
        for (fields, kept) in [
            ("", ""),
            ("{\"a\":\n1}", r#"{"a":1}"#),
            ("{\"a\":\"\u{202e}\"}", r#"{"a":"\u202e"}"#),
            ("[1]", r#"{"dropped":"fields that are no JSON object"}"#),
            ("{\"a\":12345678901234567890}", r#"{"dropped":"fields of 26 bytes"}"#),
        ] {
            assert_eq!(object(fields, 20), kept);
        }
    }
}
