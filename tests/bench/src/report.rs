//! The report: rows and tortures as JSON for programs, as a page for people. Measures nothing.

use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::machine;
use crate::rows::{self, ROWS, Spec};
use crate::stats::median;
use crate::tortures;

/// Everything that was measured, and how the tortures ended.
#[derive(Serialize, Deserialize, Default)]
pub(crate) struct Report {
    /// In the order of [`ROWS`].
    pub(crate) rows: Vec<Row>,
    /// In the order of [`tortures::place`]. Absent from reports of before there were any.
    #[serde(default)]
    pub(crate) tortures: Vec<Torture>,
}

/// One row.
#[derive(Serialize, Deserialize, Clone)]
pub(crate) struct Row {
    /// One of [`ROWS`].
    pub(crate) name: String,
    /// Median of the rounds.
    pub(crate) ours: f64,
    /// Median of the rounds, or `-`.
    pub(crate) floor: Figure,
    /// Of both.
    pub(crate) unit: String,
    /// Median of the rounds' ratios of ours to the floor, or `-`.
    pub(crate) ratio: Figure,
    /// What the ratio, or ours, is held against.
    pub(crate) budget: f64,
    /// Whether the budget is kept.
    pub(crate) holds: bool,
    /// What the budget is about, round by round: how far the rounds are apart.
    pub(crate) rounds: Vec<f64>,
    /// How much was measured, and what else was seen.
    pub(crate) detail: String,
}

/// How a torture ended.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub(crate) struct Torture {
    /// One that [`tortures::place`] knows.
    pub(crate) name: String,
    /// Whether it held.
    pub(crate) held: bool,
    /// Its last line, as it was printed.
    pub(crate) figures: String,
}

/// A number, or a dash where there is none.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Debug)]
#[serde(untagged)]
pub(crate) enum Figure {
    /// A number.
    Number(f64),
    /// `-`.
    None(Dash),
}

/// What stands where no number does.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Debug)]
pub(crate) enum Dash {
    /// `-`.
    #[serde(rename = "-")]
    Dash,
}

// === impl Row ===

impl Row {
    /// A row beside its floor: pairs of ours and the floor's, one a round.
    pub(crate) fn beside(name: &str, rounds: &[(f64, f64)], detail: String) -> Self {
        let ratios: Vec<f64> = rounds.iter().map(|(ours, floor)| ours / floor).collect();
        let ours: Vec<f64> = rounds.iter().map(|(ours, _)| *ours).collect();
        let floors: Vec<f64> = rounds.iter().map(|(_, floor)| *floor).collect();
        Self::new(name, median(&ours), Some((median(&floors), median(&ratios))), ratios, detail)
    }

    /// A row that stands alone: one value a round.
    pub(crate) fn alone(name: &str, rounds: Vec<f64>, detail: String) -> Self {
        Self::new(name, median(&rounds), None, rounds, detail)
    }

    /// As it is, unless something else failed than a figure.
    pub(crate) fn unless(mut self, broken: bool) -> Self {
        self.holds &= !broken;
        self
    }

    fn new(
        name: &str,
        ours: f64,
        floor: Option<(f64, f64)>,
        rounds: Vec<f64>,
        detail: String,
    ) -> Self {
        let Spec { unit, budget, .. } = rows::spec(name);
        let ratio = floor.map(|(_, ratio)| ratio);
        Self {
            name: name.to_owned(),
            ours,
            floor: floor.map(|(floor, _)| floor).into(),
            unit: (*unit).to_owned(),
            ratio: ratio.into(),
            budget: budget.figure(),
            holds: budget.kept(ours, ratio),
            rounds,
            detail,
        }
    }

    /// The row in a line of a terminal.
    pub(crate) fn line(&self) -> String {
        let Self { name, ours, unit, floor, ratio, detail, .. } = self;
        let budget = rows::spec(name).budget.text(unit);
        let verdict = if self.holds { "holds" } else { "DOES NOT HOLD" };
        format!(
            "{name}: {} {unit}, floor {}, ratio {}, budget {budget}: {verdict} ({detail})",
            round(*ours),
            floor.text(),
            ratio.text(),
        )
    }
}

// === impl Torture ===

impl Torture {
    /// A torture that said this. What comes before the last line are complaints and progress, which are
    /// for whoever watches it.
    ///
    /// # Errors
    ///
    /// When it said nothing: then it did not get as far as to hold or not to.
    pub(crate) fn ended(name: &str, held: bool, said: &str) -> anyhow::Result<Self> {
        let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
        let figures = last.with_context(|| format!("`{name}` said nothing"))?.to_owned();
        Ok(Self { name: name.to_owned(), held, figures })
    }
}

// === impl Figure ===

impl Figure {
    fn text(self) -> String {
        match self {
            Self::Number(number) => round(number),
            Self::None(Dash::Dash) => "-".to_owned(),
        }
    }
}

impl From<Option<f64>> for Figure {
    fn from(number: Option<f64>) -> Self {
        number.map_or(Self::None(Dash::Dash), Self::Number)
    }
}

// === impl Report ===

impl Report {
    /// The report of an earlier run; empty if there is none that can be read.
    pub(crate) fn load(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        let mut report: Self = serde_json::from_str(&text).unwrap_or_default();
        report.rows.retain(|row| ROWS.iter().any(|spec| spec.name == row.name));
        report.tortures.retain(|torture| tortures::place(&torture.name).is_some());
        report
    }

    /// Puts a row in its place.
    pub(crate) fn set(&mut self, row: Row) {
        self.rows.retain(|old| old.name != row.name);
        self.rows.push(row);
        let place = |row: &Row| ROWS.iter().position(|spec| spec.name == row.name);
        self.rows.sort_by_key(place);
    }

    /// Puts a torture in its place.
    pub(crate) fn note(&mut self, torture: Torture) {
        self.tortures.retain(|old| old.name != torture.name);
        self.tortures.push(torture);
        self.tortures.sort_by_key(|torture| tortures::place(&torture.name));
    }

    /// Writes it for programs.
    pub(crate) fn save(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        write(path, &text)
    }

    /// Writes it for people, if it has a row: where a torture is run before anything was measured, the
    /// page that is there, of a fuller report, would lose its rows.
    pub(crate) fn publish(&self, path: &Path) -> anyhow::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        write(path, &self.page()?)
    }

    fn page(&self) -> anyhow::Result<String> {
        let mut page = String::from(HEAD);
        self.table(&mut page)?;
        if !self.tortures.is_empty() {
            self.endings(&mut page)?;
        }
        self.meanings(&mut page)?;
        page.push_str("## The machine\n\n");
        page.push_str(&machine::facts());
        Ok(page)
    }

    fn table(&self, page: &mut String) -> fmt::Result {
        page.push_str("| row | ours | floor | unit | ratio | budget | holds |\n");
        page.push_str("| --- | ---: | ---: | --- | ---: | ---: | --- |\n");
        for row in &self.rows {
            let budget = rows::spec(&row.name).budget.text(&row.unit);
            writeln!(
                page,
                "| `{}` | {} | {} | {} | {} | {budget} | {} |",
                row.name,
                round(row.ours),
                row.floor.text(),
                row.unit,
                row.ratio.text(),
                yes(row.holds),
            )?;
        }
        Ok(())
    }

    fn endings(&self, page: &mut String) -> fmt::Result {
        page.push_str(TORTURES);
        page.push_str("| torture | held | figures |\n");
        page.push_str("| --- | --- | --- |\n");
        for Torture { name, held, figures } in &self.tortures {
            // A failure is quoted, and whatever it says must not end the cell.
            let figures = figures.replace('|', "\\|");
            writeln!(page, "| `{name}` | {} | {figures} |", yes(*held))?;
        }
        Ok(())
    }

    fn meanings(&self, page: &mut String) -> fmt::Result {
        page.push_str("\n## What each row is\n\n");
        for row in &self.rows {
            let spec = rows::spec(&row.name);
            writeln!(page, "**`{}`** {}", row.name, spec.ours)?;
            if spec.floor != "-" {
                writeln!(page, "Floor: {}", spec.floor)?;
            }
            let rounds: Vec<String> = row.rounds.iter().copied().map(round).collect();
            writeln!(page, "Measured: {}. Rounds: {}.\n", row.detail, rounds.join(", "))?;
        }
        Ok(())
    }
}

const HEAD: &str = "# Benchmarks

Written by `just bench` (all rows) or `just bench NAME` (one measurement: `call`, `action-get`,
`proxy-get`, `swap`, `idle-installation`; the other rows are kept from the run before). Do not edit: run it.

Each row is measured beside its floor in the same run, the two taking turns in short batches, so that whatever
else the machine does meets both. Only ratios can be compared between machines. A figure is the median
over rounds; the rounds are listed, so that the noise can be seen.

";

const TORTURES: &str = "
## Tortures

Written by `just torture NAME`; without a name it lists them with what each one does. A torture holds or does
not, and is no figure to compare: its line is the last that it printed, kept until it is run again.

";

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    fs::write(path, text).with_context(|| path.display().to_string())
}

/// What does not hold is to be seen at a glance.
const fn yes(holds: bool) -> &'static str {
    if holds { "yes" } else { "**no**" }
}

/// Three digits that count, or all before the point.
fn round(number: f64) -> String {
    match number.abs() {
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_replaces_its_older_self_and_keeps_the_rest() {
        let mut report = Report::default();
        report.set(Row::alone("swap", vec![4.0], "old".to_owned()));
        report.set(Row::beside("call-p50", &[(2.0, 2.0), (3.0, 2.0), (9.0, 2.0)], String::new()));
        report.set(Row::alone("swap", vec![6.0, 5.5, 1.0], "new".to_owned()));
        let names: Vec<_> = report.rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["call-p50", "swap"]);
        let [call, swap] = &report.rows[..] else { panic!("two rows") };
        assert_eq!((call.ours, call.ratio, call.holds), (3.0, Figure::Number(1.5), false));
        assert_eq!((swap.ours, swap.holds, swap.detail.as_str()), (5.5, false, "new"));
    }

    #[test]
    fn reads_what_it_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/report.json");
        let mut report = Report::load(&path);
        report.set(Row::alone("swap", vec![4.0], "some".to_owned()).unless(true));
        report.save(&path).unwrap();
        let value: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(value["rows"][0]["floor"], "-");
        assert_eq!(value["rows"][0]["holds"], false);
        assert_eq!(Report::load(&path).rows[0].ratio, Figure::None(Dash::Dash));
    }

    #[test]
    fn the_page_says_plainly_what_does_not_hold() {
        let mut report = Report::default();
        report.set(Row::alone("restart", vec![2.5], "one".to_owned()));
        assert!(
            report.page().unwrap().contains("| `restart` | 2.50 | - | s | - | ≤ 2 s | **no** |")
        );
    }

    #[test]
    fn a_torture_replaces_its_older_self_and_leaves_the_rest() {
        let mut report = Report::default();
        report.set(Row::alone("swap", vec![4.0], "one".to_owned()));
        for (name, held, said) in [
            ("store-kill", true, "store-kill held: old"),
            ("swap", true, "swap: held: 10000 swaps"),
            ("store-kill", false, "killing a writer 200 times\nstore-kill failed: new\n"),
        ] {
            report.note(Torture::ended(name, held, said).unwrap());
        }
        let ends: Vec<_> =
            report.tortures.iter().map(|one| (one.held, one.figures.as_str())).collect();
        assert_eq!(ends, [(true, "swap: held: 10000 swaps"), (false, "store-kill failed: new")]);
        assert_eq!(report.rows.len(), 1);
    }

    #[test]
    fn a_torture_that_said_nothing_is_not_recorded() {
        assert!(Torture::ended("store-kill", true, " \n\n").is_err());
    }

    #[test]
    fn tortures_are_kept_between_runs_and_a_report_of_before_them_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        let mut report = Report::default();
        report.set(Row::alone("swap", vec![4.0], "one".to_owned()));
        let mut before = serde_json::to_value(&report).unwrap();
        before.as_object_mut().unwrap().remove("tortures").unwrap();
        fs::write(&path, before.to_string()).unwrap();
        let mut report = Report::load(&path);
        assert_eq!((report.rows.len(), report.tortures.len()), (1, 0));

        let held = Torture::ended("canary", true, "canary: held: exposed=0").unwrap();
        report.note(held.clone());
        report.note(Torture { name: "gone".to_owned(), ..held.clone() });
        report.save(&path).unwrap();
        assert_eq!(Report::load(&path).tortures, [held]);
    }

    #[test]
    fn the_page_shows_how_tortures_ended() {
        let mut report = Report::default();
        report.note(Torture::ended("canary", true, "canary: held: exposed=0").unwrap());
        report.note(Torture::ended("swap", false, "swap: did not hold: such as a|b").unwrap());
        let page = report.page().unwrap();
        let table = "| --- | --- | --- |\n\
                     | `swap` | **no** | swap: did not hold: such as a\\|b |\n\
                     | `canary` | yes | canary: held: exposed=0 |\n\n## What each row is";
        assert!(page.contains(table), "{page}");
        assert!(!Report::default().page().unwrap().contains("Tortures"));
    }

    #[test]
    fn a_page_is_not_replaced_by_one_without_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.md");
        fs::write(&path, "a page with rows").unwrap();
        let mut report = Report::default();
        report.note(Torture::ended("canary", true, "canary: held").unwrap());
        report.publish(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a page with rows");

        report.set(Row::alone("swap", vec![4.0], "one".to_owned()));
        report.publish(&path).unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains("canary: held"));
    }
}
