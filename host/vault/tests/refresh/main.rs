//! Refreshing, as callers and operators see it: against a token endpoint in memory that rotates, counts and fails as
//! it is told. Time is tokio's own, paused, so that hours pass at once.

mod answers;
mod herd;
mod hosts;
mod operator;
mod support;
mod world;
