//! The integration tests: the real host binary, the real components, real sockets.
//!
//! One binary, so that the host is linked once; a module for each noun. Each test has a host and a data
//! directory of its own, on a free port of the loopback interface.

mod bounds;
mod callers;
mod calls;
mod care;
mod cli;
mod clients;
mod connect;
mod crowd;
mod grants;
mod guests;
mod hubspot;
mod keys;
mod languages;
mod limits;
mod links;
mod logs;
mod pins;
mod proxy;
mod refresh;
mod releases;
mod restart;
mod sdk;
mod secrets;
mod send_all;
mod setup;
mod sharing;
mod start;
mod store;
#[cfg(feature = "transit")]
mod transit;
mod upstream;
mod watch;
mod ways;
