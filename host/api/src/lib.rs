//! The HTTP API: what operators, publishers and callers reach the host by.
//!
//! ```text
//!   connection ─> find ───> observe ─> authorise ─> parse ─> service ─> render
//!   (serve)       (route)   (layer)    (auth)       (body, place)       (handlers, problem)
//! ```
//!
//! [`contract`] says what there is: one table of endpoints, from which the router, the authorisation
//! and the OpenAPI document follow. Handlers parse, ask one service, and render. This crate decides
//! nothing about releases, credentials or calls, opens no outbound connection and terminates no TLS.
//!
//! **Invariant:** every route is an [`contract::Endpoint`], so none is without an access rule.
//! **Invariant:** a change that was begun is finished, even if the caller hangs up.

pub mod address;
mod api;
mod auth;
mod bodies;
mod body;
pub mod connect;
pub mod contract;
mod handlers;
mod json;
mod layer;
mod metrics;
pub mod openapi;
mod own;
pub mod pages;
mod place;
mod ports;
mod problem;
mod route;
mod router;
mod serve;
mod site;
mod tenant;
mod there;
mod uploads;

pub use api::{Api, Config, Deps, Limits};
pub use metrics::Metrics;
pub use ports::{Health, Readiness, Reads};
pub use route::Router;
