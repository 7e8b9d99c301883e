//! Native tests: a connector runs against a cassette instead of a host.
//!
//! A [`Cassette`] holds the exchanges that a call is expected to make, in order, with the clock, the
//! configuration and the connection that it sees. Playing one is strict: a request that differs, or
//! that nobody expected, fails the test with a diff, and so does an exchange that was never asked for.
//!
//! ```
//! use keyway_sdk::Http;
//! use keyway_sdk::serde_json::json;
//! use keyway_sdk::testing::{Cassette, Exchange};
//!
//! let cassette = Cassette::new()
//!     .expect(Exchange::get("/people/7?full=true").slot("token").reply_json(json!({"id": 7})));
//! let person = cassette.play(|| {
//!     let request = Http::new().slot("token").get("/people").segment("7").query("full", true);
//!     request.send().and_then(|response| response.json::<keyway_sdk::serde_json::Value>())
//! });
//! assert_eq!(person.unwrap()["id"], 7);
//! ```

mod cassette;
mod check;
mod exchange;
mod file;
mod player;

pub use cassette::Cassette;
pub use check::check;
pub use exchange::Exchange;
pub use player::Line;
pub(crate) use player::{config, connection, log, now, send, send_all};
