//! From bytes to a release: publishing, and the checks that need a release's descriptor.
//!
//! A component passes [`Admission`] (a process of its own, reached through a port), its descriptor is
//! held against its exports and against whoever publishes it, its bytes go to the blob directory, and
//! only then does the release exist. This crate never runs a component and never serves one.
//!
//! [`Admission`]: keyway_core::ports::Admission

pub mod diff;
pub mod exports;
pub mod lanes;
pub mod publish;
pub mod schema;

pub use publish::{Artifacts, Published};
