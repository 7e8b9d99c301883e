//! The real host binary as a child process, and an HTTP client for it: what the integration tests, the
//! demonstration, the benchmarks and the tortures share.
//!
//! Ends only processes that it started. Panics with a text where a test would fail anyway.

pub mod canary;
pub mod herd;
mod host;
mod http;
pub mod parties;
pub mod scrub;

pub use host::{ANY_PORT, Ended, Host, Start, binary, component};
pub use http::{Http, Reply};
