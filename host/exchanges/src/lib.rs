//! What the host did for calls, on disk, to be looked at: every exchange that the broker carried or refused to carry, in the
//! exchange log; and what guests said, in the call log.
//!
//! ```text
//!  broker ─ record ─► Budget ─►  Queue  ─► writer thread ─► 00000007.log ─► 00000008.log …
//!           never waits  │ full: dropped, counted   │            ▲
//!                                                   │            └─ find: pages, oldest or newest first
//!                                                   └─ broadcast ─► follow: new ones as they come
//! ```
//!
//! [`Exchanges`] is the [`keyway_core::ports::ExchangeLog`], and [`Calls`] the [`keyway_core::ports::CallLog`]. They are one
//! kind of [`Log`], each in a folder of its own. It keeps what it is given: redaction is the broker's, and who may see what
//! is the API's. [`har`] writes exchanges down in the form that browsers' tools read.
//!
//! - **Invariant:** recording never waits: what does not fit is dropped, and counted.
//! - **Invariant:** ids go up, also over restarts; what a page begins after is never an id used twice.
//! - **Invariant:** no contents of the folder, however damaged, keep the host from starting.
//!
//! It is a log and no source of truth: nothing is decided by it, so it is synced to the disk once in a
//! while ([`Options::flush_interval`]) and not for each exchange. A killed process loses what still waited; a machine
//! that loses its power loses up to that interval more.

#![warn(missing_docs)]

mod budget;
mod calls;
mod error;
mod exchanges;
mod find;
mod follow;
mod frame;
pub mod har;
mod index;
mod kept;
mod log;
mod metrics;
mod options;
mod queue;
mod release;
mod row;
mod rows;
mod segment;
mod writer;

pub use calls::{CallFilter, Calls, KeptCall, KeptFailure, KeptLine};
pub use error::Error;
pub use exchanges::{Exchanges, Filter, StatusFilter};
pub use find::{Look, Order, Page};
pub use follow::{Follow, Followed};
pub use kept::{Kept, Position};
pub use log::Log;
pub use metrics::Metrics;
pub use options::Options;
pub use release::ReleaseFilter;
