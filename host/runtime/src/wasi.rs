//! Stand-ins for the WASI interfaces that toolchains import whether or not a connector uses them.
//!
//! Nothing ambient is behind them: no files, arguments, environment or input. Time and random bytes
//! come from the port to the outside, and what the guest prints goes to its log, so a panic's message
//! reaches its author. Sockets and HTTP, in [`network`], refuse.

pub(crate) mod network;

use std::sync::Arc;

use bytes::Bytes;
use keyway_core::said::{LogLevel, Source};
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};
use wasmtime_wasi::p2::bindings::{cli, filesystem, io};
use wasmtime_wasi::p2::{
    DynOutputStream, DynPollable, OutputStream, Pollable, StreamError, StreamResult, subscribe,
};

use crate::log::GuestLog;
use crate::state::State;

/// WASI 0.2 interfaces that a component may import.
pub(crate) const INTERFACES: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
];

/// Resolution of both clocks: what the outside offers, and too coarse to time a cache with.
const RESOLUTION_MS: u64 = 1;

const NANOS_PER_MS: u64 = 1_000_000;

/// Bytes that a stream takes in one write. It never has to wait, so this bounds a copy and no more.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// Interfaces implemented on [`State`] itself.
struct Ours;

impl HasData for Ours {
    type Data<'a> = &'a mut State;
}

/// Interfaces that need only the table of resources.
struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

/// A guest's standard output or standard error, cut into lines.
struct LogStream {
    log: Arc<GuestLog>,
    source: Source,
    /// Of the line begun, what will be kept of it.
    line: Vec<u8>,
}

/// A moment to wait for.
enum Alarm {
    At(tokio::time::Instant),
    Never,
}

/// Defines every interface of [`INTERFACES`].
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let l = linker;
    io::error::add_to_linker::<State, Table>(l, State::table)?;
    io::poll::add_to_linker::<State, Table>(l, State::table)?;
    io::streams::add_to_linker::<State, Table>(l, State::table)?;
    wall_clock::add_to_linker::<State, Ours>(l, |state| state)?;
    monotonic_clock::add_to_linker::<State, Ours>(l, |state| state)?;
    random::add_to_linker::<State, Ours>(l, |state| state)?;
    insecure::add_to_linker::<State, Ours>(l, |state| state)?;
    insecure_seed::add_to_linker::<State, Ours>(l, |state| state)?;
    cli::stdout::add_to_linker::<State, Ours>(l, |state| state)?;
    cli::stderr::add_to_linker::<State, Ours>(l, |state| state)?;
    cli::stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::environment::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::exit::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_input::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_output::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    filesystem::types::add_to_linker::<State, WasiFilesystem>(l, State::filesystem)?;
    filesystem::preopens::add_to_linker::<State, WasiFilesystem>(l, State::filesystem)
}

// === clocks ===

impl wall_clock::Host for State {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        let now = Self::now(self);
        let nanoseconds = u32::try_from(now % 1_000).expect("less than 1,000") * 1_000_000;
        Ok(wall_clock::Datetime { seconds: now / 1_000, nanoseconds })
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime { seconds: 0, nanoseconds: 1_000_000 })
    }
}

impl monotonic_clock::Host for State {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(Self::now(self).saturating_mul(NANOS_PER_MS))
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(RESOLUTION_MS * NANOS_PER_MS)
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let now = Self::now(self).saturating_mul(NANOS_PER_MS);
        self.subscribe_duration(when.saturating_sub(now))
    }

    fn subscribe_duration(&mut self, nanoseconds: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let wait = std::time::Duration::from_nanos(nanoseconds);
        let alarm = match tokio::time::Instant::now().checked_add(wait) {
            Some(at) => Alarm::At(at),
            None => Alarm::Never,
        };
        let alarm = self.table().push(alarm)?;
        subscribe(self.table(), alarm)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Alarm {
    async fn ready(&mut self) {
        match self {
            // Also for a moment gone by: a guest that asks in a loop must let others run.
            Self::At(at) if *at <= tokio::time::Instant::now() => tokio::task::yield_now().await,
            Self::At(at) => tokio::time::sleep_until(*at).await,
            Self::Never => std::future::pending().await,
        }
    }
}

// === random ===

impl random::Host for State {
    fn get_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        Ok(self.random(length)?)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.random_u64()?)
    }
}

impl insecure::Host for State {
    fn get_insecure_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        Ok(self.random(length)?)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.random_u64()?)
    }
}

impl insecure_seed::Host for State {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok((self.random_u64()?, self.random_u64()?))
    }
}

// === standard output and standard error ===

impl cli::stdout::Host for State {
    fn get_stdout(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        LogStream::open(self, Source::Stdout)
    }
}

impl cli::stderr::Host for State {
    fn get_stderr(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        LogStream::open(self, Source::Stderr)
    }
}

impl LogStream {
    fn open(state: &mut State, source: Source) -> wasmtime::Result<Resource<DynOutputStream>> {
        let log = Arc::clone(state.log());
        let stream: DynOutputStream = Box::new(Self { log, source, line: Vec::new() });
        Ok(state.table().push(stream)?)
    }

    fn keep(&mut self, bytes: &[u8]) {
        // One byte more than a line has, so that the cut is seen and marked.
        let room = (self.log.line_bytes_max() + 1).saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self) {
        let text = String::from_utf8_lossy(&self.line);
        let text = text.trim_end_matches('\r');
        let level = match self.source {
            Source::Stderr => LogLevel::Warn,
            _ => LogLevel::Info,
        };
        let dropped = self.log.drops_next();
        if !dropped {
            self.log.write(self.source, level, text, "");
        }
        if self.source == Source::Stderr {
            self.log.remember(text, dropped);
        }
        self.line.clear();
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > WRITE_BYTES_MAX {
            return Err(StreamError::trap("wrote more than was permitted"));
        }
        let mut lines = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = lines.next() {
            self.keep(part);
            if lines.peek().is_some() {
                self.end_line();
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

/// A line without its end is a line still: a guest that aborts ends none.
impl Drop for LogStream {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.end_line();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;
    use crate::testing::{Recorder, outside};

    fn printed(limits: limits::Log, parts: &[&'static [u8]]) -> Vec<String> {
        let recorder = Recorder::new();
        let log = Arc::new(GuestLog::new(outside(&recorder), limits));
        let mut stream = LogStream { log, source: Source::Stderr, line: Vec::new() };
        for part in parts {
            stream.write(Bytes::from_static(part)).unwrap();
        }
        drop(stream);
        recorder.lines()
    }

    #[test]
    fn prints_become_lines_however_they_were_written() {
        let lines = printed(limits::Log::default(), &[b"pan", b"icked\r\n", b"\nat a\nat b"]);
        assert_eq!(
            lines,
            ["stderr Warn panicked ", "stderr Warn  ", "stderr Warn at a ", "stderr Warn at b "]
        );
    }

    #[test]
    fn a_line_without_end_is_kept_up_to_its_limit() {
        let limits = limits::Log { line_bytes_max: 4, ..limits::Log::default() };
        assert_eq!(printed(limits.clone(), &[b"1234", b"\n"]), ["stderr Warn 1234 "]);
        assert_eq!(printed(limits, &[b"1234", b"5", b"67890"]), ["stderr Warn 1234 [cut] "]);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(
            printed(limits::Log::default(), &[b"\xff\x1b\n"]),
            ["stderr Warn \u{fffd}\\u001b "]
        );
    }

    #[test]
    fn one_write_is_held_at_the_limit() {
        let recorder = Recorder::new();
        let log = Arc::new(GuestLog::new(outside(&recorder), limits::Log::default()));
        let mut stream = LogStream { log, source: Source::Stdout, line: Vec::new() };
        assert!(stream.write(vec![b'x'; WRITE_BYTES_MAX].into()).is_ok());
        assert!(stream.write(vec![b'x'; WRITE_BYTES_MAX + 1].into()).is_err());
    }
}
