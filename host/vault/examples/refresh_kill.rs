//! `refresh_kill --rounds 200`: the kill test of the refresh in its full form.
//!
//! Ends with the figures on the last line of standard output, and with exit code 0 only if every round held. It runs
//! itself as the child that is killed.

use std::path::Path;
use std::process::{Command, ExitCode};

#[path = "../tests/kill/server.rs"]
mod server;
#[path = "../tests/kill/torture.rs"]
mod torture;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the figures on the last line are what callers read")]
async fn main() -> ExitCode {
    if let Some(dir) = std::env::var_os(torture::CHILD) {
        return match torture::refresh_until_killed(Path::new(&dir)).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(broken) => failed(&broken),
        };
    }
    let Some(rounds) = rounds() else {
        println!("usage: refresh_kill [--rounds N]");
        return ExitCode::from(2);
    };
    let (dir, exe) = match (tempfile::tempdir(), std::env::current_exe()) {
        (Ok(dir), Ok(exe)) => (dir, exe),
        (dir, exe) => {
            println!("cannot start: {:?} {:?}", dir.err(), exe.err());
            return ExitCode::FAILURE;
        }
    };
    println!("killing a host that refreshes {rounds} times");
    match torture::run(dir.path(), rounds, || Command::new(&exe)).await {
        Ok(figures) => {
            println!("refresh-kill held: {figures}");
            ExitCode::SUCCESS
        }
        Err(broken) => failed(&broken),
    }
}

/// `--rounds N`, 200 without it.
fn rounds() -> Option<u32> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        [] => Some(200),
        [flag, rounds] if flag == "--rounds" => rounds.parse().ok(),
        _ => None,
    }
}

#[expect(clippy::print_stdout, reason = "the last line says how it ended")]
fn failed(error: &dyn std::error::Error) -> ExitCode {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    println!("refresh-kill failed: {text}");
    ExitCode::FAILURE
}
