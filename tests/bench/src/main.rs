//! Benchmarks and the tortures of swaps, of herds, of secrets, of downloads and of bounds: each row of the performance budget
//! beside its floor.
//!
//! Measures and reports; it does not judge by its exit code, which says only whether every row could be
//! measured. A torture does judge: it ends with 0 only if it held. One that runs elsewhere is only recorded.

#![expect(clippy::print_stdout, reason = "figures are what it is for")]

mod action_get;
mod bounds;
mod call;
mod canary;
mod engine;
mod herd;
mod idle;
mod load;
mod machine;
mod peers;
mod proxy_get;
mod report;
mod rows;
mod scrub;
mod stats;
mod swap;
mod tenants;
mod tortures;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::peers::Role;
use crate::report::{Report, Row, Torture};
use crate::rows::ROWS;

/// What was typed.
#[derive(Parser)]
#[command(name = "bench", about = "Measures each row of the performance budget beside its floor")]
struct Typed {
    /// Measure only the row of this name, or the rows of one measurement. Empty: all.
    #[arg(long, default_value = "")]
    name: String,
    /// Where the report for programs is, and goes.
    #[arg(long)]
    report: Option<PathBuf>,
    /// Where the page for people goes, once the report has a row.
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// Run a torture instead.
    #[arg(long, value_parser = tortures::HERE)]
    torture: Option<String>,
    /// Record a torture that ran elsewhere instead: its figures are the last line of standard input.
    #[arg(long, value_parser = tortures::ELSEWHERE, requires = "held", conflicts_with = "torture")]
    record: Option<String>,
    /// Whether that torture held.
    #[arg(long, requires = "record")]
    held: Option<bool>,
    #[command(subcommand)]
    role: Option<Role>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let typed = Typed::parse();
    let outcome = match typed {
        Typed { role: Some(role), .. } => role.play().await.map(|never| match never {}),
        Typed { torture: Some(ref name), .. } => torture(name, &typed).await,
        Typed { record: Some(ref name), held: Some(held), .. } => record(name, held, &typed),
        typed => bench(&typed).await,
    };
    outcome.unwrap_or_else(|error| {
        println!("bench: {error:#}");
        ExitCode::FAILURE
    })
}

async fn torture(name: &str, typed: &Typed) -> anyhow::Result<ExitCode> {
    let (held, figures) = match name {
        herd::NAME => herd::torture().await?,
        bounds::NAME => bounds::torture().await?,
        canary::NAME => canary::torture().await?,
        scrub::NAME => scrub::torture().await?,
        _ => swap::torture().await?,
    };
    println!("{figures}");
    note(Torture::ended(name, held, &figures)?, typed)?;
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints nothing: whoever ran the torture has shown its lines, and the last of them is to stay the last.
fn record(name: &str, held: bool, typed: &Typed) -> anyhow::Result<ExitCode> {
    let said = io::read_to_string(io::stdin())?;
    note(Torture::ended(name, held, &said)?, typed)?;
    Ok(ExitCode::SUCCESS)
}

/// Puts a torture into the report, which is read only now: a torture takes long, and others may have
/// written to the report since it started.
fn note(torture: Torture, typed: &Typed) -> anyhow::Result<()> {
    let mut report = load(typed);
    report.note(torture);
    keep(&report, typed)
}

fn load(typed: &Typed) -> Report {
    typed.report.as_deref().map(Report::load).unwrap_or_default()
}

fn keep(report: &Report, typed: &Typed) -> anyhow::Result<()> {
    typed.report.as_deref().map_or(Ok(()), |path| report.save(path))?;
    typed.markdown.as_deref().map_or(Ok(()), |path| report.publish(path))
}

async fn bench(typed: &Typed) -> anyhow::Result<ExitCode> {
    let wanted = |spec: &&rows::Spec| {
        typed.name.is_empty() || [spec.name, spec.bench].contains(&typed.name.as_str())
    };
    let mut benches: Vec<&'static str> =
        ROWS.iter().filter(wanted).map(|spec| spec.bench).collect();
    benches.dedup();
    anyhow::ensure!(!benches.is_empty(), "there is no row called `{}`", typed.name);
    let mut report = load(typed);
    let mut unmeasured = 0;
    for bench in benches {
        println!("==> {bench}");
        match measure(bench).await {
            Ok(rows) => rows.into_iter().for_each(|row| {
                println!("  {}", row.line());
                report.set(row);
            }),
            Err(error) => {
                println!("  {bench} could not be measured: {error:#}");
                unmeasured += 1;
            }
        }
        // After each, so that what was measured is kept whatever happens to the next.
        keep(&report, typed)?;
    }
    let broken: Vec<&str> =
        report.rows.iter().filter(|row| !row.holds).map(|row| row.name.as_str()).collect();
    match broken[..] {
        _ if report.rows.is_empty() => println!("nothing was measured"),
        [] => println!("every row of the report holds"),
        _ => println!("rows that do not hold: {}", broken.join(", ")),
    }
    Ok(if unmeasured == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs one measurement in a task, so that a panic of what it stands on is an error like any other.
async fn measure(bench: &str) -> anyhow::Result<Vec<Row>> {
    let task = match bench {
        rows::CALL => tokio::spawn(call::measure()),
        rows::ACTION_GET => tokio::spawn(action_get::measure()),
        rows::PROXY_GET => tokio::spawn(proxy_get::measure()),
        rows::SWAP => tokio::spawn(swap::measure()),
        rows::IDLE => tokio::spawn(idle::measure()),
        other => anyhow::bail!("nothing measures `{other}`"),
    };
    task.await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_whether_it_held_and_is_of_a_torture_that_runs_elsewhere() {
        let typed = |line: &str| Typed::try_parse_from(line.split_whitespace());
        let known = typed("bench --record store-kill --held false").unwrap();
        assert_eq!((known.record.as_deref(), known.held), (Some("store-kill"), Some(false)));
        for refused in ["--record store-kill", "--held true", "--record swap --held true"] {
            assert!(typed(&format!("bench {refused}")).is_err(), "{refused}");
        }
    }
}
