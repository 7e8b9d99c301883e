//! Runs connectors: the only crate that knows wasmtime.
//!
//! It is the [`Loader`] that turns a published release into something callable, the [`Connector`] that
//! is called, and the [`Admission`] that decides whether a component may become a release. It does not
//! know routes or credentials, and of tenants only whose turn it is (module `turns`) and how much memory their calls hold
//! (module `room`): whatever a guest can see of the world comes through one [`Outside`] for each call, and who stands behind that is not its concern.
//!
//! # The life of a call
//!
//! ```text
//!   call(operation, outside, time_left)
//!     │ does the release export what the operation needs?             else Unsupported
//!     │ permit ── waits, never longer than time_left                  else Overloaded
//!     │ store ─── State: outside, what is left of every limit, Live   (one of `live(digest)`)
//!     │   instance ── a slot of the pool, its memory as it was compiled
//!     │     guest ──┐ start-up, then the export; yields at every tick of the epoch
//!     │        ▲    │ imports
//!     │        └────┴─► Outside: send, config, connection, now, random, log
//!     │ store dropped ── slot, memory, handles, log
//!     │ permit dropped
//!     ▼ answer checked: JSON, sizes, one outcome for each item        else GuestOutput…
//! ```
//!
//! A store lives for one call and is never used again. That is the whole of our isolation in time: no
//! call can see what another left in memory, a trap poisons nothing, and two tenants never share an
//! instance, let alone a credential. It is affordable because a pool hands out the same slots again
//! and the kernel says which pages a guest wrote, so that only those are reset: a call that starts
//! from nothing takes about 10 microseconds.
//!
//! A guest ends in one of three ways. It returns, and what it returns, a `failure` included, is data.
//! It is ended, by a trap, a limit or an import it may not call; the module `verdict` reads why, in one place.
//! Or the call's future is dropped, because time was over or nobody waits any more; then the store
//! goes with it, mid-instruction.
//!
//! Three clocks bound a guest, because each fails in its own way. The *deadline* bounds the wall clock
//! and covers waiting for the network, but a timer fires only if the guest lets go of the thread. The
//! *epoch*, advanced by a thread that no guest can block, makes it let go. The *meter* adds up the
//! time a guest has really held a thread, so that spinning is told apart from waiting.
//!
//! # The life of code
//!
//! A component is checked and compiled by [`admission`] in a process of its own, which may die. What
//! comes back goes to the cache with a message authentication code, and is believed later only if that
//! code is right; anything else is a miss, and the component is compiled again. A release is loaded
//! once however many ask, and is held by whoever routes or calls to it. The runtime itself holds it
//! weakly: when the last of them lets go, the code is unmapped. A swap needs nothing from this crate.
//!
//! # Invariants
//!
//! - **Invariant:** a store serves one call, and is discarded however that ends.
//! - **Invariant:** a guest sees nothing of this host that did not come through its `Outside`.
//! - **Invariant:** there are fewer permits than slots in the pool, and a permit outlives its store.
//! - **Invariant:** code is loaded only if it came from our compiler or carries our authentication.
//! - **Invariant:** a stranger's bytes are parsed and compiled in no process but the worker's.
//! - **Invariant:** a release stays loaded exactly as long as a route or a call holds it.
//!
//! [`Admission`]: keyway_core::ports::Admission
//! [`Connector`]: keyway_core::ports::Connector
//! [`Loader`]: keyway_core::ports::Loader
//! [`Outside`]: keyway_core::ports::Outside

#![warn(missing_docs)]

pub mod admission;
mod cache;
mod engine;
pub mod limits;
mod loaded;
mod loader;
mod log;
mod meter;
pub mod metrics;
mod output;
mod room;
mod runtime;
mod state;
#[cfg(test)]
mod testing;
mod ticker;
mod turns;
mod verdict;
mod wasi;
mod wit;

pub use admission::Worker;
pub use cache::CacheKey;
pub use engine::Allocation;
pub use limits::Limits;
pub use metrics::Metrics;
pub use runtime::{Config, Error, Runtime};
