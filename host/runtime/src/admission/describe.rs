//! Running `describe` with nothing reachable, so that what it says is a function of its bytes alone.
//!
//! The contract's imports end the call. WASI's clock stands at 0 and its random bytes are always the
//! same, because toolchains ask for them at start-up, before a connector's own code runs.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use keyway_core::call::{Failure, Json};
use keyway_core::exchange::{Request, Response};
use keyway_core::ports::Outside;
use keyway_core::said::Line;
use keyway_core::{Code, Descriptor, limits};
use tokio::time::timeout;

use super::inspect::Refusal;
use crate::limits::Limits;
use crate::loaded::bounded;
use crate::meter::Metered;
use crate::state::{ImportReached, State};
use crate::verdict;
use crate::wit::{Adapter, OtherTypes};

/// The processor may be shared with others: a description gets this many times its processor time on
/// the wall clock.
const WALL_FACTOR: u32 = 5;

/// Lines of what the guest printed that are repeated when it fails; a panic is two.
const LINES_MAX: usize = 4;

/// An outside where nothing ever changes.
#[derive(Default)]
struct Still {
    random: AtomicU64,
    lines: Mutex<VecDeque<String>>,
}

/// Runs `describe` and reads what it says.
pub(crate) async fn describe(
    engine: &wasmtime::Engine,
    adapter: &Adapter,
    limits: &Arc<Limits>,
) -> Result<Descriptor, Refusal> {
    let still = Arc::new(Still::default());
    let outside = Arc::clone(&still) as Arc<dyn Outside>;
    let mut store = bounded(engine, State::sealed(Arc::clone(limits), outside));
    let time_max = limits.admission.describe_time_max;
    let described = {
        let call = pin!(adapter.describe(&mut store));
        timeout(time_max * WALL_FACTOR, Metered::new(call)).await
    };
    let too_slow = || {
        let time = humantime::format_duration(time_max);
        Refusal::new(Code::DescriptorTimeout, format!("start-up and `describe` exceed {time}"))
    };
    let json = match described {
        Err(_) => return Err(too_slow()),
        Ok(Ok(json)) => json,
        Ok(Err(error)) => {
            let fault = verdict::fault(&error, store.data());
            // Streams write their last line when the store goes.
            drop(store);
            return Err(match fault.code {
                Code::GuestCpu => too_slow(),
                Code::GuestOutputTooLarge => too_large(),
                _ => failed(&error, &fault.detail, &still.said()),
            });
        }
    };
    parse(&json)
}

fn parse(json: &str) -> Result<Descriptor, Refusal> {
    if json.len() > limits::DESCRIPTOR_BYTES_MAX {
        return Err(too_large());
    }
    Descriptor::parse_new(json).map_err(|error| {
        let detail = crate::log::harmless(&error.to_string(), 512).into_owned();
        Refusal::new(Code::DescriptorInvalid, detail)
    })
}

fn too_large() -> Refusal {
    let detail = format!("the descriptor is over {} bytes", limits::DESCRIPTOR_BYTES_MAX);
    Refusal::new(Code::DescriptorInvalid, detail)
}

fn failed(error: &wasmtime::Error, detail: &str, said: &str) -> Refusal {
    if let Some(other) = error.downcast_ref::<OtherTypes>() {
        let detail = format!("its exports are not those of the contract: {other}");
        return Refusal::new(Code::ContractUnsupported, detail);
    }
    // Of the limits on a store, those that the compiler could not see.
    if error.root_cause().to_string().contains("resource limit exceeded") {
        return Refusal::new(Code::ResourcesExceeded, error.root_cause().to_string());
    }
    let import = error.downcast_ref::<ImportReached>();
    let detail = match import {
        Some(ImportReached(import)) => format!("`describe` called `{import}`; it may call nothing"),
        None if said.is_empty() => format!("`describe` failed: {detail}"),
        None => format!("`describe` failed: {detail}; it said: {said}"),
    };
    Refusal::new(Code::DescriptorFailed, detail)
}

// === impl Still ===

impl Still {
    fn said(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join(" | ")
    }
}

#[async_trait]
impl Outside for Still {
    async fn send(&self, _request: Request) -> Result<Response, Failure> {
        Err(Failure::denied("sealed", "nothing is reachable from `describe`"))
    }

    fn now(&self) -> u64 {
        0
    }

    fn random(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            // splitmix64: any sequence will do, as long as it is always the same.
            let step = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            let mixed = (step ^ (step >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&mixed.to_le_bytes()[..chunk.len()]);
        }
    }

    fn config(&self) -> Json {
        "{}".to_owned()
    }

    fn connection(&self) -> Json {
        "{}".to_owned()
    }

    fn log(&self, line: &Line<'_>) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(crate::log::harmless(line.message, 256).into_owned());
    }
}
