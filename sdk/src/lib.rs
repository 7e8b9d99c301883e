//! Write connectors for Keyway: a trait for each thing a connector can do, one macro that turns the
//! traits into a WebAssembly component, and cassettes to test it natively.
//!
//! ```
//! use keyway_sdk::{Act, ActionSpec, Actions, Describe, Descriptor, Http, Slot};
//! use keyway_sdk::serde_json::Value;
//!
//! struct Weather;
//!
//! impl Describe for Weather {
//!     fn describe() -> Descriptor {
//!         Descriptor::new("acme/weather", "1.0.0")
//!             .host("api.weather.example")
//!             .base_url("https://api.weather.example")
//!             .slot("key", Slot::api_key_header("x-api-key"))
//!             .actions(&Self::actions())
//!     }
//! }
//!
//! impl Act for Weather {
//!     fn actions() -> Actions {
//!         Actions::new().on("today", ActionSpec::reads("The weather today."), |city: String| {
//!             Http::new().slot("key").get("/today").query("city", city).send()?.json::<Value>()
//!         })
//!     }
//! }
//!
//! keyway_sdk::register!(Weather: Act);
//! ```
//!
//! What this crate does not do: it opens no connection, holds no credential and keeps no state. All
//! of that is the host's; a connector names a slot, and the host puts the credential on the request.

mod act;
mod backend;
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod bindings;
pub mod clock;
mod descriptor;
mod exact;
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod export;
mod failure;
pub mod http;
mod listen;
pub mod log;
mod oauth;
pub mod paging;
mod rate_limits;
mod read;
mod register;
mod remember;
pub mod settings;
pub mod sign;
mod status;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod text;
mod write;

pub use act::{Act, Actions};
pub use descriptor::{
    ActionSpec, Api, Describe, Descriptor, Effect, ObjectSpec, Probe, ReadSpec, Scheme, Slot,
};
pub use exact::from_json;
pub use failure::{Failure, FailureKind};
pub use http::{Http, Request, Response, send_all};
pub use listen::{Delivery, Event, Listen, Received, Reply};
pub use oauth::{Assertion, ClientAuth, ErrorMeaning, Oauth, Refresh};
pub use rate_limits::{RateLimitError, RateLimitHeaders};
pub use read::{Page, Read, ReadRequest, Record, Schemas};
pub use register::{STAMP, STAMP_BYTES};
pub use remember::{Obstacle, Remember};
pub use text::json_text;
pub use write::{Item, Operation, Outcome, Rejected, Write, WriteRequest, Written};

pub use {serde, serde_json, time};

/// What may end an operation early.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Names and values beside what the contract fixes. Hosts and connectors ignore names they do not know.
pub type Extra = Vec<(String, String)>;

/// Version of the contract that this SDK builds against.
pub const CONTRACT: &str = "1.0.0";
