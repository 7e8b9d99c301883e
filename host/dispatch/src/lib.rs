//! The call path: from "this tenant wants this done" to an answer, one file per layer.
//!
//! ```text
//!   deadline ─> admission ─> route ─> fit ─> input ─> instance (runtime) ─> guest ─> outside (broker)
//!                                                          │
//!                                      classify <──────────┘ ─> metrics, outcomes
//! ```
//!
//! A call takes its route once and holds it until it has ended, so a pin that moves meanwhile changes
//! nothing for it, and the release it runs stays loaded exactly that long. Dropping a call's future
//! ends the guest and gives its permits back. Nothing here is durable; nothing here knows wasmtime,
//! HTTP or the store.

pub mod admission;
mod arrival;
pub mod fit;
mod input;
mod limit;
pub mod metrics;
pub mod outside;
mod proxy;
mod said;
mod service;

pub use service::{Config, Dispatch, Ways, Words};
