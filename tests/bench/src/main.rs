//! Benchmarks and the tortures of swaps, of herds and of secrets: each row of the performance budget beside its floor.
//!
//! Measures and reports; it does not judge by its exit code, which says only whether every row could be
//! measured. A torture does judge: it ends with 0 only if it held.

#![expect(clippy::print_stdout, reason = "figures are what it is for")]

mod action_get;
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
mod stats;
mod swap;
mod tenants;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::peers::Role;
use crate::report::{Report, Row};
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
    /// Where the page for people goes.
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// Run a torture instead.
    #[arg(long, value_parser = [rows::SWAP, herd::NAME, canary::NAME])]
    torture: Option<String>,
    #[command(subcommand)]
    role: Option<Role>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let typed = Typed::parse();
    let outcome = match typed {
        Typed { role: Some(role), .. } => role.play().await.map(|never| match never {}),
        Typed { torture: Some(name), .. } => torture(&name).await,
        typed => bench(&typed).await,
    };
    outcome.unwrap_or_else(|error| {
        println!("bench: {error:#}");
        ExitCode::FAILURE
    })
}

async fn torture(name: &str) -> anyhow::Result<ExitCode> {
    let (held, figures) = match name {
        herd::NAME => herd::torture().await?,
        canary::NAME => canary::torture().await?,
        _ => swap::torture().await?,
    };
    println!("{figures}");
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn bench(typed: &Typed) -> anyhow::Result<ExitCode> {
    let wanted = |spec: &&rows::Spec| {
        typed.name.is_empty() || [spec.name, spec.bench].contains(&typed.name.as_str())
    };
    let mut benches: Vec<&'static str> =
        ROWS.iter().filter(wanted).map(|spec| spec.bench).collect();
    benches.dedup();
    anyhow::ensure!(!benches.is_empty(), "there is no row called `{}`", typed.name);
    let mut report = typed.report.as_deref().map(Report::load).unwrap_or_default();
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
        typed.report.as_deref().map_or(Ok(()), |path| report.save(path))?;
        typed.markdown.as_deref().map_or(Ok(()), |path| report.publish(path))?;
    }
    let broken: Vec<&str> =
        report.rows.iter().filter(|row| !row.holds).map(|row| row.name.as_str()).collect();
    match broken[..] {
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
