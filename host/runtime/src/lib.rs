//! keyway-runtime
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
mod runtime;
mod state;
#[cfg(test)]
mod testing;
mod ticker;
mod verdict;
mod wasi;
mod wit;

pub use admission::Worker;
pub use cache::CacheKey;
pub use engine::Allocation;
pub use limits::Limits;
pub use metrics::Metrics;
pub use runtime::{Config, Error, Runtime};
