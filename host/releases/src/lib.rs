//! Which release an installation runs: pins, environment defaults, configuration, and the routes that
//! follow from them.
//!
//! ```text
//!   pin / revert / default / config ──> checked ──> store (durable, audited) ──> route table ──> calls
//! ```
//!
//! A change is refused before anything is written, or durable before a call sees it. Calls read one
//! snapshot of the table and keep the route they got until they end; this crate runs none itself.
//!
//! **Invariant:** a pin is written only after its release was loaded on this host.
//! **Invariant:** routes change in the order of generations, because one change is made at a time.

pub mod care;
pub mod executed;
pub mod find;
pub mod lacking;
pub mod matrix;
mod metrics;
pub mod pins;
pub mod routes;
pub mod scopes;
pub mod tenant;

pub use keyway_store::model;
pub use pins::{PinRequest, Releases, RevertRequest, UnpinRequest};
pub use routes::RouteTable;
