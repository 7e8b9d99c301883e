//! The broker against upstreams that are scripted byte by byte, on loopback.
//!
//! Names on the public Internet are only resolved by a fake and never dialled.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod ahead;
mod base_urls;
mod broken_off;
mod deny;
mod frames;
mod framing;
mod handshake;
mod http2;
mod led;
mod limits;
mod own_tokens;
mod places;
mod pool;
mod redirects;
mod relay;
mod rows;
mod secrets;
mod send;
mod signing;
mod stuck;
mod support;
mod tls;
