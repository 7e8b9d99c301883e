//! What commands print: data on standard output, everything else on standard error.
//!
//! Text is for people and may change; `--json` is the API's own JSON and does not. Text from elsewhere
//! is stripped of control characters, so that no upstream can write to an operator's terminal.

mod table;

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use table::{Table, table, widen};

/// Prints one line of data.
pub(crate) fn line(text: impl Display) {
    write(io::stdout().lock(), &printable(&text.to_string()));
}

/// Prints JSON: the same text, on one line or on many.
pub(crate) fn json(text: &str, pretty: bool) {
    write(io::stdout().lock(), &json_text(text, pretty));
}

/// JSON text for people and programs: every token as it is, so that a number keeps its digits and members their order.
/// Only what stands between tokens is made anew if `pretty`, and loses its ends of lines if not. Every character that a
/// terminal would act on is escaped: such can only be inside of strings, where an escape means the same.
pub(crate) fn json_text(text: &str, pretty: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut depth, mut string, mut escaped) = (0_usize, false, false);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if string {
            string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            match harmless(c) {
                true => out.push(c),
                false => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            }
            continue;
        }
        string = c == '"';
        match c {
            ' ' | '\t' | '\r' | '\n' if pretty => {}
            '\t' | '\r' | '\n' => {}
            '{' | '[' if pretty => {
                out.push(c);
                while rest.next_if(|c| c.is_ascii_whitespace()).is_some() {}
                match rest.next_if(|c| matches!(c, '}' | ']')) {
                    Some(end) => out.push(end),
                    None => {
                        depth += 1;
                        indent(&mut out, depth);
                    }
                }
            }
            '}' | ']' if pretty => {
                depth = depth.saturating_sub(1);
                indent(&mut out, depth);
                out.push(c);
            }
            ',' if pretty => {
                out.push(c);
                indent(&mut out, depth);
            }
            ':' if pretty => out.push_str(": "),
            c => out.push(c),
        }
    }
    out
}

fn indent(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

/// Prints text of our own as it is, such as a page of documentation.
pub(crate) fn page(text: &str) {
    write(io::stdout().lock(), text.trim_end());
}

/// Prints a note for the person at the terminal, line by line.
pub(crate) fn note(text: impl Display) {
    text.to_string().lines().for_each(|line| write(io::stderr().lock(), &printable(line)));
}

/// Says what went wrong: to people, or to programs as a host would, in one line of JSON.
pub(crate) fn failure(json: bool, code: &str, detail: &str) {
    if json {
        problem(&serde_json::json!({ "code": code, "detail": detail }).to_string());
    } else {
        note(format!("keyway: {detail}"));
    }
}

/// Prints a problem for programs: JSON on one line.
pub(crate) fn problem(json: &str) {
    write(io::stderr().lock(), &json_text(json, false));
}

/// A reader that has gone away, such as `head`, has what it wanted; any other error is said, and is the
/// command's failure.
fn write(mut to: impl Write, text: &str) {
    let Err(error) = writeln!(to, "{text}") else { return };
    if error.kind() == ErrorKind::BrokenPipe {
        UNREAD.store(true, Ordering::Relaxed);
    } else {
        INCOMPLETE.store(true, Ordering::Relaxed);
        drop(writeln!(io::stderr(), "keyway: output is incomplete: {error}"));
    }
}

/// Whether a reader has gone away: who prints without an end may stop.
pub(crate) fn unread() -> bool {
    UNREAD.load(Ordering::Relaxed)
}

/// Whether something could not be printed.
pub(crate) fn incomplete() -> bool {
    INCOMPLETE.load(Ordering::Relaxed)
}

/// Set by the first line that nobody was there to read.
static UNREAD: AtomicBool = AtomicBool::new(false);

/// Set by the first line that could not be printed.
static INCOMPLETE: AtomicBool = AtomicBool::new(false);

/// The text without characters that a terminal would act on.
fn printable(text: &str) -> String {
    text.chars().map(|c| if harmless(c) { c } else { '\u{fffd}' }).collect()
}

/// Whether a terminal shows the character and does nothing else: no control, no change of direction.
fn harmless(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::{json_text, printable};

    #[test]
    fn terminals_are_not_written_to() {
        assert_eq!(
            printable("a\u{1b}[31mb\u{202e}c\r\n"),
            "a\u{fffd}[31mb\u{fffd}c\u{fffd}\u{fffd}"
        );
        assert_eq!(printable("plain – text"), "plain – text");
    }

    #[test]
    fn json_is_the_same_tokens_on_one_line_or_many() {
        let text = "{ \"z\":[1.0,12345678901234567.89 ,1E400,-0],\n\t\"a\" : {\"é\":\"\\\"\u{7f}[{,:\u{202e}\",\"b\":[ ],\"c\":{}}}";
        let line = "{ \"z\":[1.0,12345678901234567.89 ,1E400,-0],\"a\" : {\"é\":\"\\\"\\u007f[{,:\\u202e\",\"b\":[ ],\"c\":{}}}";
        assert_eq!(json_text(text, false), line);
        let pretty = "{\n  \"z\": [\n    1.0,\n    12345678901234567.89,\n    1E400,\n    -0\n  ],\n  \"a\": {\n    \"é\": \"\\\"\\u007f[{,:\\u202e\",\n    \"b\": [],\n    \"c\": {}\n  }\n}";
        assert_eq!(json_text(text, true), pretty);
        for scalar in ["1e400", "null", "\"x\""] {
            assert_eq!(json_text(scalar, true), scalar);
        }
    }
}
