//! Refreshing, as callers and operators see it: against a token endpoint in memory that rotates, counts and fails as
//! it is told. Time is tokio's own, paused, so that hours pass at once.

mod answers;
mod barriers;
mod clients;
mod dates;
mod disconnect;
mod herd;
mod hosts;
mod imports;
mod keep_alive;
mod obtain;
mod operator;
mod seen;
mod spent;
mod support;
mod world;
