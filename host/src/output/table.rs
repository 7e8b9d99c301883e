//! Tables: rows below a header, in columns that fit the terminal.
//!
//! What people type back, such as the id of a call or the name of a tenant, is never cut: where there is no room for it, it
//! has a line of its own below its row. Everything else ends with an ellipsis.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::{printable, write};
use crate::env;

/// Between two columns, and before what stands below a row.
const GAP: &str = "  ";

/// Columns below which nothing is made narrower: less says nothing.
const WIDTH_MIN: usize = 5;

/// The same, where a table would not fit all the same: what begins so can be told apart, and `--wide` shows all.
const WIDTH_LAST: usize = 3;

/// Digits of a digest that tables show: as many as are enough to name a release.
const DIGITS_SHOWN: usize = 12;

/// Headers of columns that have what a following command takes.
const TYPED: [&str; 18] = [
    "CALL",
    "CLIENT",
    "CODE",
    "CONNECTOR",
    "DATA KEY",
    "DECLARED",
    "DIGEST",
    "ENVIRONMENT",
    "EXECUTED",
    "GEN",
    "NAME",
    "RELEASE",
    "SEALING KEY",
    "SEQ",
    "SLOT",
    "TENANT",
    "USER",
    "VERSION",
];

/// Where the columns of a table stand.
pub(crate) struct Table<const N: usize> {
    header: [&'static str; N],
    widths: [usize; N],
    /// What each column is not made narrower than.
    least: [usize; N],
    /// Columns that have a line of their own below the row.
    below: [bool; N],
    /// Columns that there are; none: as many as are needed.
    room: Option<usize>,
    /// Whether cells go without what can be done without.
    brief: bool,
}

/// Set where tables are not to be cut.
static WIDE: AtomicBool = AtomicBool::new(false);

/// Tables are as wide as they are, from here on.
pub(crate) fn widen() {
    WIDE.store(true, Ordering::Relaxed);
}

/// Prints rows below a header, columns as wide as their widest cell, or as the terminal has room.
pub(crate) fn table<const N: usize>(header: [&'static str; N], rows: &[[String; N]]) {
    let table = Table::of(header, rows);
    table.header();
    rows.iter().for_each(|row| table.row(row));
}

// === impl Table ===

impl<const N: usize> Table<N> {
    /// For these rows.
    pub(crate) fn of(header: [&'static str; N], rows: &[[String; N]]) -> Self {
        Self::within(room(), header, rows)
    }

    /// For rows that are not known yet: columns of these widths at most, but for what is never cut.
    pub(crate) fn at_most(header: [&'static str; N], widths: [usize; N]) -> Self {
        let room = room();
        let mut table = Self { widths, ..Self::new(room, header) };
        table.least = std::array::from_fn(|at| table.least_of(at, widths[at]));
        table.brief = room.is_some();
        table.fit();
        table
    }

    fn new(room: Option<usize>, header: [&'static str; N]) -> Self {
        let (widths, least, below) = ([0; N], [0; N], [false; N]);
        Self { header, widths, least, below, room, brief: false }
    }

    fn within(room: Option<usize>, header: [&'static str; N], rows: &[[String; N]]) -> Self {
        let mut table = Self::new(room, header);
        table.measure(rows);
        if room.is_some_and(|room| table.total() > room) {
            table.brief = true;
            table.measure(rows);
        }
        table.fit();
        table
    }

    /// Prints the header.
    pub(crate) fn header(&self) {
        self.head().iter().for_each(|line| write(io::stdout().lock(), line));
    }

    /// Prints a row.
    pub(crate) fn row(&self, row: &[String; N]) {
        self.lines(row).iter().for_each(|line| write(io::stdout().lock(), line));
    }

    /// The lines that the header takes. Nobody types it, so all of it may be cut.
    fn head(&self) -> Vec<String> {
        self.lines_in(&self.header.map(str::to_owned), |_| self.room.is_none())
    }

    /// The lines that a row takes.
    fn lines(&self, row: &[String; N]) -> Vec<String> {
        self.lines_in(row, |at| self.room.is_none() || self.typed(at))
    }

    fn lines_in(&self, row: &[String; N], whole: impl Fn(usize) -> bool) -> Vec<String> {
        let row = row.each_ref().map(|cell| self.shown(cell));
        let beside = (0..N).filter(|at| !self.below[*at]).map(|at| {
            let (cell, width) = (&row[at], self.widths[at]);
            let cell = if whole(at) { cell.clone() } else { cut(cell, width) };
            let missing = width.saturating_sub(cell.width());
            format!("{cell}{}", " ".repeat(missing))
        });
        let mut lines = vec![beside.collect::<Vec<_>>().join(GAP).trim_end().to_owned()];
        let said = |at: &usize| self.below[*at] && !["", "-"].contains(&row[*at].as_str());
        lines.extend((0..N).filter(said).map(|at| format!("{GAP}{}", row[at])));
        lines
    }

    fn shown(&self, cell: &str) -> String {
        let cell = printable(cell);
        let cell = if self.room.is_some() { short(&cell) } else { cell };
        if self.brief { brief(&cell) } else { cell }
    }

    fn typed(&self, at: usize) -> bool {
        TYPED.contains(&self.header[at])
    }

    /// Makes each column as wide as its widest cell.
    fn measure(&mut self, rows: &[[String; N]]) {
        for at in 0..N {
            let cells = rows.iter().map(|row| self.shown(&row[at]).width());
            let widest = cells.max().unwrap_or_default();
            self.widths[at] = widest.max(self.header[at].len());
            self.least[at] = self.least_of(at, widest);
        }
    }

    fn least_of(&self, at: usize, widest: usize) -> usize {
        if self.typed(at) { widest } else { WIDTH_MIN }
    }

    /// Makes the widest columns narrower until all of them fit, and takes out what may not be cut where they do not.
    fn fit(&mut self) {
        let Some(room) = self.room else { return };
        let wanted = self.widths;
        loop {
            self.widths = wanted;
            while self.total() > room && self.narrow() {}
            if self.total() <= room || !(self.take_out() || self.squeeze()) {
                return;
            }
        }
    }

    /// Lets what may be cut be narrower than reads well; whether it was not yet.
    fn squeeze(&mut self) -> bool {
        let before = self.least;
        self.least = std::array::from_fn(|at| match self.typed(at) {
            true => before[at],
            false => before[at].min(WIDTH_LAST),
        });
        self.least != before
    }

    /// Makes the widest column narrower that can be; whether there was one.
    fn narrow(&mut self) -> bool {
        let can = |at: &usize| !self.below[*at] && self.widths[*at] > self.least[*at];
        let widest = (0..N).filter(can).max_by_key(|at| self.widths[*at]);
        if let Some(at) = widest {
            self.widths[at] -= 1;
        }
        widest.is_some()
    }

    /// Gives the widest column that may not be cut a line of its own, if another stays; whether there was one.
    fn take_out(&mut self) -> bool {
        let beside = |at: &usize| !self.below[*at];
        let widest = (0..N).filter(|at| beside(at) && self.typed(*at));
        let widest = widest.max_by_key(|at| self.least[*at]);
        let widest = widest.filter(|_| (0..N).filter(beside).count() > 1);
        if let Some(at) = widest {
            self.below[at] = true;
        }
        widest.is_some()
    }

    /// How wide columns are together, with what is between them.
    fn total(&self) -> usize {
        let beside: Vec<_> = (0..N).filter(|at| !self.below[*at]).collect();
        let widths: usize = beside.iter().map(|at| self.widths[*at]).sum();
        widths + GAP.len() * beside.len().saturating_sub(1)
    }
}

/// The text in so many columns, of which some letters take two and some none; what is cut ends with an ellipsis.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut room = width.saturating_sub(1);
    let fits = |letter: &char| match room.checked_sub(letter.width().unwrap_or_default()) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    };
    let kept: String = text.chars().take_while(fits).collect();
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

/// Columns that tables may have: as `KEYWAY_COLUMNS` says, or of the terminal, or as `COLUMNS` says of that. None: as many as
/// they need, as in a file or a pipe.
fn room() -> Option<usize> {
    if WIDE.load(Ordering::Relaxed) {
        return None;
    }
    let said = |name| std::env::var(name).ok().and_then(|columns| columns.parse().ok());
    let terminal = || {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
        said(env::COLUMNS).or(Some(usize::from(size.ws_col)))
    };
    said(env::TABLE_COLUMNS).or_else(terminal).filter(|columns| *columns > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &str = "call_0123456789abcdef0123456789abcdef";

    fn table(room: Option<usize>, tenant: &str) -> (Vec<String>, Vec<String>) {
        let header = ["TIME", "TENANT", "URL", "REASON", "CALL"];
        let row = ["2026-03-01T10:11:12Z", tenant, &"u".repeat(40), &"r".repeat(20), CALL];
        let row = row.map(str::to_owned);
        let table = Table::within(room, header, std::slice::from_ref(&row));
        (table.head(), table.lines(&row))
    }

    #[test]
    fn what_is_typed_back_is_never_cut() {
        for room in [10, 40, 60, 80, 100, 120] {
            let (header, row) = table(Some(room), "acme");
            assert_eq!(header.len(), row.len(), "{room}: {row:?}");
            let fits = |line: &String| line.chars().count() <= room.max(39);
            assert!(header.iter().chain(&row).all(fits), "{room}: {header:?} {row:?}");
            for whole in [CALL, "acme"] {
                assert!(row.iter().any(|line| line.contains(whole)), "{room}: {row:?}");
            }
        }
        let (header, row) = table(Some(60), "acme");
        assert_eq!(header[1], "  CALL");
        assert_eq!(row[1], format!("  {CALL}"));
        assert!(row[0].contains('u'), "{row:?}");
    }

    #[test]
    fn many_columns_fit_a_narrow_terminal() {
        let header =
            ["TENANT", "ACCOUNT", "POLICY", "QUOTA", "LEFT", "MORE IN", "BLOCKED", "WAITING"];
        let row = header.map(|name| name.to_lowercase().repeat(3));
        let table = Table::within(Some(40), header, std::slice::from_ref(&row));
        for line in table.head().iter().chain(&table.lines(&row)) {
            assert!(line.width() <= 40, "{line}");
        }
        assert_eq!(table.lines(&row)[1], format!("  {}", row[0]));
    }

    #[test]
    fn letters_take_the_columns_that_a_terminal_gives_them() {
        let header = ["TENANT", "NOTE", "GEN"];
        let rows = [["acme", "日本語の注", "1"], ["zoé", "e\u{301}🎉", "2"], ["x", "plain", "3"]];
        let rows = rows.map(|row| row.map(str::to_owned));
        let table = Table::within(Some(80), header, &rows);
        let column = |row: &[String; 3]| {
            let line = table.lines(row).remove(0);
            line[..line.len() - 1].width()
        };
        assert_eq!(rows.each_ref().map(column), [20, 20, 20]);
        assert_eq!((cut("日本語", 5), cut("日本語", 6)), ("日本…".to_owned(), "日本語".to_owned()));
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("e\u{301}e\u{301}", 2), "e\u{301}e\u{301}");
    }

    #[test]
    fn where_there_is_room_a_row_is_a_line_and_whole() {
        let (_, row) = table(None, "acme");
        assert_eq!(row.len(), 1);
        assert!(row[0].contains(&"u".repeat(40)) && row[0].contains("2026-"), "{row:?}");
        let (_, row) = table(Some(120), "acme");
        assert_eq!(row.len(), 1, "{row:?}");
        assert!(row[0].contains('…') && row[0].ends_with(CALL), "{row:?}");
    }

    #[test]
    fn a_header_gives_way_to_cells() {
        let header = ["ENVIRONMENT", "GEN"];
        let row = ["dev".to_owned(), "1".to_owned()];
        let table = Table::within(Some(8), header, std::slice::from_ref(&row));
        assert_eq!(table.lines(&row), ["dev  1"]);
        assert!(table.head().iter().all(|line| line.width() <= 8), "{:?}", table.head());
    }

    #[test]
    fn a_row_that_comes_later_may_be_wider_than_it_was_thought() {
        let header = ["TENANT", "REASON"];
        let mut table = Table { widths: [6, 8], ..Table::new(Some(16), header) };
        table.least = [6, WIDTH_MIN];
        table.fit();
        let row = ["a-long-tenant".to_owned(), "a long reason".to_owned()];
        assert_eq!(table.lines(&row), ["a-long-tenant  a long …"]);
    }

    #[test]
    fn cells_are_shortened_before_they_are_cut() {
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
