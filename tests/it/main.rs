//! The integration tests: the real host binary, the real components, real sockets.
//!
//! One binary, so that the host is linked once; a module for each noun. Each test has a host and a data
//! directory of its own, on a free port of the loopback interface.

mod cli;
mod guests;
mod hubspot;
mod pins;
mod releases;
mod restart;
mod secrets;
mod setup;
mod upstream;
