//! What commands print: data on standard output, everything else on standard error.
//!
//! Text is for people and may change; `--json` is the API's own JSON and does not. Text from elsewhere
//! is stripped of control characters, so that no upstream can write to an operator's terminal.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

/// Prints one line of data.
pub(crate) fn line(text: impl Display) {
    write(io::stdout().lock(), &printable(&text.to_string()));
}

/// Prints JSON for programs: the same value, with every character that a terminal would act on escaped.
/// Within JSON such characters can only be inside of strings, where an escape means the same.
pub(crate) fn json(value: &Value, pretty: bool) {
    let text = if pretty { format!("{value:#}") } else { value.to_string() };
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => escaped.push('\n'),
            c if harmless(c) => escaped.push(c),
            c => escaped.push_str(&format!("\\u{:04x}", u32::from(c))),
        }
    }
    write(io::stdout().lock(), &escaped);
}

/// Prints text of our own as it is, such as a page of documentation.
pub(crate) fn page(text: &str) {
    write(io::stdout().lock(), text.trim_end());
}

/// Prints a note for the person at the terminal, line by line.
pub(crate) fn note(text: impl Display) {
    text.to_string().lines().for_each(|line| write(io::stderr().lock(), &printable(line)));
}

/// Prints rows below a header, columns as wide as their widest cell.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) {
    let header = header.map(str::to_owned);
    let rows: Vec<[String; N]> = std::iter::once(&header)
        .chain(rows)
        .map(|row| row.clone().map(|cell| printable(&cell)))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or_default());
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        write(io::stdout().lock(), cells.collect::<Vec<_>>().join("  ").trim_end());
    }
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
    use super::printable;

    #[test]
    fn terminals_are_not_written_to() {
        assert_eq!(
            printable("a\u{1b}[31mb\u{202e}c\r\n"),
            "a\u{fffd}[31mb\u{fffd}c\u{fffd}\u{fffd}"
        );
        assert_eq!(printable("plain – text"), "plain – text");
    }
}
