//! The one place where the SDK touches its surroundings: the host's imports in a component, a
//! cassette in a native test.

use std::cell::Cell;

use crate::log::Level;
use crate::{Request, Response, Result};

#[cfg(target_family = "wasm")]
use crate::export as outside;
#[cfg(not(target_family = "wasm"))]
use crate::testing as outside;

thread_local! {
    /// Whether anything of this call may have reached the provider. An instance serves one call.
    static REQUEST_SENT: Cell<bool> = const { Cell::new(false) };
}

pub(crate) fn request_sent() -> bool {
    REQUEST_SENT.get()
}

/// A test plays several calls on one thread; each begins with nothing sent.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn forget_requests() {
    REQUEST_SENT.set(false);
}

pub(crate) fn send(request: Request) -> Result<Response> {
    note(outside::send(request))
}

pub(crate) fn send_all(requests: Vec<Request>) -> Vec<Result<Response>> {
    outside::send_all(requests).into_iter().map(note).collect()
}

pub(crate) fn config() -> String {
    outside::config()
}

pub(crate) fn connection() -> String {
    outside::connection()
}

pub(crate) fn now() -> u64 {
    outside::now()
}

pub(crate) fn log(level: Level, message: &str, fields: &str) {
    outside::log(level, message, fields);
}

fn note(mut result: Result<Response>) -> Result<Response> {
    let sent = result.as_ref().map_or_else(|failure| failure.request_sent, |_| true);
    REQUEST_SENT.set(REQUEST_SENT.get() || sent);
    if let Err(failure) = &mut result {
        // An earlier request of this call may have arrived even where this one did not.
        failure.request_sent = REQUEST_SENT.get();
    }
    result
}
