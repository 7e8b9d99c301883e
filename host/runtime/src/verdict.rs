//! Why an instance ended, as a fault: the one place that reads wasmtime's errors.
//!
//! What a guest reports as a failure never comes here; that is data. Everything here has ended the
//! instance, and its store is discarded whatever the verdict.

use std::time::Duration;

use keyway_core::{Code, Fault, Retry};
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::limits::Limits;
use crate::log::harmless;
use crate::meter::CpuSpent;
use crate::output;
use crate::state::{ImportReached, RandomSpent, State};
use crate::wasi::network::NetworkReached;
use crate::wit::Starting;

/// Bytes of a fault's detail that come from the guest, such as names of its functions.
const DETAIL_BYTES_MAX: usize = 512;

/// Bytes of wasmtime's error that the log keeps. Names in its backtrace are the guest's, and may be as
/// long as a component; what they are for is found in the first frames.
const CHAIN_BYTES_MAX: usize = 4 << 10;

/// When a call that found no memory may come again: long enough for some to end.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// How wasmtime's error for "more data than the host takes at once" begins. It has no public type.
const TOO_MUCH_DATA: &str = "too much data is being copied between the host and the guest";

/// wasmtime's error with its backtrace, for the log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Ended(String);

/// The fault that an error of instantiating or calling stands for.
pub(crate) fn fault(error: &wasmtime::Error, state: &State) -> Fault {
    let limits = &state.limits;
    let (code, detail) = if let Some(spent) = error.downcast_ref::<CpuSpent>() {
        (Code::GuestCpu, spent.to_string())
    } else if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        (Code::Overloaded, "no instance is free".to_owned())
    } else if error.root_cause().to_string().starts_with(TOO_MUCH_DATA) {
        return output::too_large(&limits.call).caused_by(Ended::of(error));
    } else if error.downcast_ref::<Trap>() == Some(&Trap::StackOverflow) {
        (Code::GuestStack, stack(limits))
    } else if let Some(refusal) = refusal(error) {
        (Code::GuestTrap, refusal)
    } else if let Some(full) = &state.memory.full {
        let fault = Fault::new(Code::Overloaded, full.clone()).retry(Retry::After(RETRY_AFTER));
        return fault.caused_by(Ended::of(error));
    } else if state.memory.refused {
        (Code::GuestMemory, memory(limits))
    } else if let Some(exit) = error.downcast_ref::<I32Exit>() {
        (Code::GuestTrap, format!("exited with status {}", exit.0))
    } else if let Some(trap) = error.downcast_ref::<Trap>() {
        (Code::GuestTrap, trapped(*trap, error))
    } else if error.downcast_ref::<WasmBacktrace>().is_some() {
        // A host function ended it, such as a stream used after its end.
        (Code::GuestTrap, error.root_cause().to_string())
    } else if error.downcast_ref::<Starting>().is_some() {
        // Nothing of the guest has run: the machine had no memory or mapping for it.
        (Code::Internal, Starting.to_string())
    } else {
        // No frame of the guest is involved: it had returned, and what it returned could not be read.
        (Code::GuestOutputInvalid, error.root_cause().to_string())
    };
    let detail = harmless(&detail, DETAIL_BYTES_MAX).into_owned();
    Fault::new(code, detail).caused_by(Ended::of(error))
}

impl Ended {
    fn of(error: &wasmtime::Error) -> Self {
        Self(harmless(&format!("{error:?}"), CHAIN_BYTES_MAX).into_owned())
    }
}

/// Refusals of our own host functions.
fn refusal(error: &wasmtime::Error) -> Option<String> {
    let random = error.downcast_ref::<RandomSpent>().map(ToString::to_string);
    let import = || error.downcast_ref::<ImportReached>().map(ToString::to_string);
    let network = || error.downcast_ref::<NetworkReached>().map(ToString::to_string);
    random.or_else(import).or_else(network)
}

fn stack(limits: &Limits) -> String {
    format!("recursed beyond {} bytes of stack", limits.call.stack_bytes_max)
}

fn memory(limits: &Limits) -> String {
    format!("asked for more than {} bytes of memory", limits.call.memory_bytes_max)
}

/// The trap, and the innermost functions that have names.
fn trapped(trap: Trap, error: &wasmtime::Error) -> String {
    let frames = error.downcast_ref::<WasmBacktrace>().map(WasmBacktrace::frames);
    let names: Vec<_> = frames
        .into_iter()
        .flatten()
        .filter_map(|frame| frame.func_name())
        .take(3)
        .map(|name| format!("`{name}`"))
        .collect();
    if names.is_empty() { trap.to_string() } else { format!("{trap} in {}", names.join(" < ")) }
}
