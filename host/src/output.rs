//! What commands print: data on standard output, everything else on standard error.
//!
//! Text is for people and may change; `--json` is the API's own JSON and does not. Text from elsewhere
//! is stripped of control characters, so that no upstream can write to an operator's terminal.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::env;

/// Between two columns.
const GAP: &str = "  ";

/// Columns below which nothing is made narrower: less says nothing.
const WIDTH_MIN: usize = 5;

/// Digits of a digest that tables show.
const DIGITS_SHOWN: usize = 12;

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

/// Prints rows below a header, columns as wide as their widest cell, or as the terminal has room.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) {
    let columns = room();
    let header = header.map(str::to_owned);
    let shown = |cell: &String| {
        let cell = printable(cell);
        if columns.is_some() { short(&cell) } else { cell }
    };
    let mut rows: Vec<[String; N]> =
        std::iter::once(&header).chain(rows).map(|row| row.each_ref().map(shown)).collect();
    let mut widths = widths(&rows);
    if columns.is_some_and(|columns| total(&widths) > columns) {
        rows = rows.iter().map(|row| row.each_ref().map(|cell| brief(cell))).collect();
        widths = self::widths(&rows);
    }
    fit(&mut widths, columns);
    rows.iter().for_each(|row| line_of(row, &widths));
}

/// Prints one row of a table whose other rows are not known yet, in columns of these widths at most.
pub(crate) fn row<const N: usize>(row: &[String; N], widths: [usize; N]) {
    let (mut widths, columns) = (widths, room());
    fit(&mut widths, columns);
    let shown = |cell: &String| {
        let cell = printable(cell);
        if columns.is_some() { brief(&short(&cell)) } else { cell }
    };
    let row = row.each_ref().map(shown);
    if columns.is_none() {
        // Where there is room without end, nothing is cut: a column is as wide as it must be.
        widths = std::array::from_fn(|at| widths[at].max(row[at].chars().count()));
    }
    line_of(&row, &widths);
}

fn line_of<const N: usize>(row: &[String; N], widths: &[usize; N]) {
    let cells = row.iter().zip(widths).map(|(cell, width)| format!("{:width$}", cut(cell, *width)));
    write(io::stdout().lock(), cells.collect::<Vec<_>>().join(GAP).trim_end());
}

/// How wide each column is.
fn widths<const N: usize>(rows: &[[String; N]]) -> [usize; N] {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    std::array::from_fn(|column| width(column).unwrap_or_default())
}

/// How wide columns are together, with what is between them.
fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1)
}

/// Makes the widest columns narrower until all of them fit.
fn fit(widths: &mut [usize], columns: Option<usize>) {
    let Some(columns) = columns else { return };
    while total(widths) > columns {
        let widest = widths.iter_mut().max_by_key(|width| **width);
        match widest.filter(|width| **width > WIDTH_MIN) {
            Some(width) => *width -= 1,
            None => return,
        }
    }
}

/// The text in so many columns; what is cut ends with an ellipsis.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// A digest by its first digits, which are enough to be typed back; anything else as it is.
fn short(cell: &str) -> String {
    let is_digest =
        |cell: &str| cell.strip_prefix("sha256:").is_some_and(|digits| digits.len() == 64);
    let part = |part: &str| match is_digest(part) {
        true => part.chars().take("sha256:".len() + DIGITS_SHOWN).collect(),
        false => part.to_owned(),
    };
    cell.split(' ').map(part).collect::<Vec<String>>().join(" ")
}

/// A cell without what can be done without where there is no room: the year of a time, the scheme of a URL, and the digest
/// of a release whose version is there.
fn brief(cell: &str) -> String {
    if let Some((version, _)) = cell.split_once(" sha256:") {
        return version.to_owned();
    }
    let shape: String =
        cell.chars().take(19).map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    if shape == "0000-00-00T00:00:00" {
        return cell[5..19].replace('T', " ");
    }
    cell.strip_prefix("https://").unwrap_or(cell).to_owned()
}

/// Columns that tables may have: of the terminal, or as `COLUMNS` says. None: as many as they need.
fn room() -> Option<usize> {
    if WIDE.load(Ordering::Relaxed) {
        return None;
    }
    let said = std::env::var(env::COLUMNS).ok().and_then(|columns| columns.parse().ok());
    let terminal = || {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
        Some(usize::from(size.ws_col))
    };
    said.or_else(terminal).filter(|columns| *columns > 0)
}

/// Tables are as wide as they are, from here on.
pub(crate) fn widen() {
    WIDE.store(true, Ordering::Relaxed);
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

/// Set where tables are not to be cut.
static WIDE: AtomicBool = AtomicBool::new(false);

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
    use super::{brief, cut, fit, json_text, printable, short};

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

    #[test]
    fn tables_fit_where_they_can() {
        let fitted = |columns: Option<usize>| {
            let mut widths = [4, 30, 71, 10];
            fit(&mut widths, columns);
            widths
        };
        assert_eq!(fitted(None), [4, 30, 71, 10]);
        assert_eq!(fitted(Some(121)), [4, 30, 71, 10]);
        assert_eq!(fitted(Some(80)).iter().sum::<usize>() + 6, 80);
        assert_eq!(fitted(Some(80)), [4, 30, 30, 10]);
        assert_eq!(fitted(Some(10)), [4, 5, 5, 5], "it ends where nothing would be left");
        assert_eq!((cut("abcdef", 6), cut("abcdef", 5)), ("abcdef".to_owned(), "abcd…".to_owned()));
        let digest = format!("sha256:{}", "a1".repeat(32));
        assert_eq!(short(&format!("1.0.0 {digest}")), "1.0.0 sha256:a1a1a1a1a1a1");
        assert_eq!(short("sha256:a1a1"), "sha256:a1a1");
        for (cell, expected) in [
            ("1.0.0 sha256:a1a1a1a1a1a1", "1.0.0"),
            ("sha256:a1a1a1a1a1a1", "sha256:a1a1a1a1a1a1"),
            ("2026-03-01T10:11:12.123Z", "03-01 10:11:12"),
            ("https://api.example.com/x", "api.example.com/x"),
            ("2026-03-01", "2026-03-01"),
            ("é", "é"),
        ] {
            assert_eq!(brief(cell), expected);
        }
    }
}
