//! The vocabulary of Keyway and the ports between its parts.
//!
//! Every other crate speaks in these types; crates of one level meet only through the traits in
//! [`ports`]. This crate does no I/O, starts no task, and reads no clock: what it holds is data, the
//! parsing of names, and the table of error codes.

#![warn(missing_docs)]

pub mod address;
pub mod call;
pub mod code;
pub mod credential;
pub mod descriptor;
pub mod digest;
pub mod exchange;
pub mod fault;
pub mod humane;
pub mod ids;
pub mod json;
pub mod limits;
mod oauth;
pub mod ports;
pub mod quota;
mod rate_limits;
pub mod release;
pub mod said;
pub mod schema;
mod scheme;
pub mod shares;
mod sign;
pub mod token;
pub mod transient;

pub use code::Code;
pub use descriptor::Descriptor;
pub use digest::Digest;
pub use fault::{Fault, Retry, Whose};
pub use release::Release;
