//! The store: everything Keyway remembers, in the product's words.
//!
//! [`Store`] is the port. It owns what every verb means and how every row is encoded, once; below it,
//! a backend is an ordered map of rows with guarded, atomic, durable commits. There are two: memory, for
//! tests, and sled, embedded, with nothing to install. This is the only crate that knows sled.
//!
//! ```text
//!   control plane            data plane                     reads, watch
//!   Tx::commit(Entry)        Batch::commit, leases, claims  pin, installations, changes, …
//!          └──────────────┬──────────────┘                          │
//!                       Commit { guards, writes }                   │
//!                 ┌───────┴────────┐                                │
//!               memory           sled  ◄────────────────────────────┘   Blobs: bytes over 4 KiB
//! ```
//!
//! - **Invariant:** a change of the control plane lands together with its audit entry or not at all;
//!   without an entry it does not type-check (see [`Tx`]).
//! - **Invariant:** what was answered is durable, and what is read was durable first.
//! - **Invariant:** a write that carries a lease is refused once somebody else has that lease, whatever
//!   any clock says.
//! - **Invariant:** a store that lost something, went backwards or was damaged is not served.
//!
//! The store takes names, bytes and numbers as they are: whether a release may be pinned, what a token
//! may do, and what a ciphertext means is decided above it.

#![warn(missing_docs)]

mod backend;
mod batch;
mod blobs;
pub mod conformance;
mod error;
mod key;
mod lease;
mod memory;
mod metrics;
pub mod model;
mod queue;
mod row;
mod sled;
mod step;
mod store;
mod tenant;
pub mod torture;
mod trim;
mod tx;
mod watch;

pub use batch::Batch;
pub use blobs::Blobs;
pub use error::{Collision, Error, OpenError};
pub use metrics::Metrics;
pub use model::*;
pub use sled::Options;
pub use store::{Limits, Store};
pub use tenant::Erased;
pub use tx::Tx;
pub use watch::{Changes, Watch};
