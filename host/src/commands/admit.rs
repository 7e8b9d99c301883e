//! `keyway admit-component`: the child process that checks and compiles one component.
//!
//! Started by `keyway serve` for each publication; reads the component on standard input and answers on
//! standard output. What it may use is limited before it reads a byte.

use std::process::ExitCode;

use anyhow::Context as _;
use keyway_runtime::Worker;

/// This program, as that process.
pub(crate) fn worker() -> anyhow::Result<Worker> {
    let program = std::env::current_exe().context("own path")?;
    Ok(Worker { program, args: vec!["admit-component".into()] })
}

/// Checks the component on standard input.
pub(crate) fn admit() -> ExitCode {
    keyway_runtime::admission::worker::run(std::io::stdin().lock(), std::io::stdout().lock())
}
