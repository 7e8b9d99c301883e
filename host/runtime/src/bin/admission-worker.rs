//! Checks and compiles one component, as the host does under a subcommand of its own.
//!
//! For this crate's tests, and for hosts that want the compiler in a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    keyway_runtime::admission::worker::run(std::io::stdin().lock(), std::io::stdout().lock())
}
