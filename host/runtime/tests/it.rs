//! The crate from outside: real components, a real admission process, real files.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

#[path = "it/admission.rs"]
mod admission;
#[path = "it/calls.rs"]
mod calls;
#[path = "it/guest.rs"]
mod guest;
#[path = "it/harness.rs"]
mod harness;
#[path = "it/limits.rs"]
mod limits;
#[path = "it/loading.rs"]
mod loading;
#[path = "it/sharing.rs"]
mod sharing;
