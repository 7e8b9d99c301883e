//! The exchanges of one call, with the clock, configuration and connection that it sees.

use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::exchange::Exchange;
use super::player::{Line, Player, play};

/// What one call of a connector meets. Built in a test, or read from a file.
#[derive(Clone, Debug)]
pub struct Cassette {
    pub(super) now: OffsetDateTime,
    pub(super) config: Value,
    pub(super) connection: Value,
    pub(super) exchanges: Vec<Exchange>,
}

// === impl Cassette ===

impl Default for Cassette {
    fn default() -> Self {
        Self::new()
    }
}

impl Cassette {
    /// No exchange, no configuration, and a clock that stands at the beginning of 1970.
    pub fn new() -> Self {
        Self {
            now: OffsetDateTime::UNIX_EPOCH,
            config: json!({}),
            connection: json!({"slots": {}}),
            exchanges: Vec::new(),
        }
    }

    /// The clock stands here, RFC 3339.
    ///
    /// # Panics
    /// If it is no such time.
    #[must_use]
    pub fn at(mut self, now: &str) -> Self {
        self.now = OffsetDateTime::parse(now, &Rfc3339).expect("a time in RFC 3339");
        self
    }

    /// The installation's configuration.
    #[must_use]
    pub fn config(mut self, config: Value) -> Self {
        self.config = config;
        self
    }

    /// The facts about the connection: a [`crate::settings::Connection`], or JSON of its shape.
    ///
    /// # Panics
    /// If they are not expressible as JSON.
    #[must_use]
    pub fn connection(mut self, facts: impl Serialize) -> Self {
        self.connection = serde_json::to_value(facts).expect("facts that JSON can say");
        self
    }

    /// The next exchange.
    #[must_use]
    pub fn expect(mut self, exchange: Exchange) -> Self {
        self.exchanges.push(exchange);
        self
    }

    /// Runs one call against it.
    ///
    /// # Panics
    /// If a request differs from the exchange whose turn it is, if there is none left for it, or if
    /// one is left over at the end.
    #[track_caller]
    pub fn play<R>(self, call: impl FnOnce() -> R) -> R {
        self.play_logged(call).0
    }

    /// As [`Cassette::play`], with the lines that the call logged.
    ///
    /// # Panics
    /// As [`Cassette::play`].
    #[track_caller]
    pub fn play_logged<R>(self, call: impl FnOnce() -> R) -> (R, Vec<Line>) {
        let now = self.now.unix_timestamp_nanos() / 1_000_000;
        let player = Player {
            exchanges: self.exchanges.into(),
            played: 0,
            now: u64::try_from(now).expect("a time since 1970"),
            config: self.config.to_string(),
            connection: self.connection.to_string(),
            lines: Vec::new(),
        };
        let (result, player) = play(player, call);
        let left: Vec<_> = player.exchanges.iter().map(Exchange::text).collect();
        assert!(left.is_empty(), "exchanges that were never asked for:\n{}", left.join("\n"));
        (result, player.lines)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::{Failure, FailureKind, Http, clock};

    /// The text of the panic that `call` must end in.
    fn panic_of(call: impl FnOnce()) -> String {
        let panic = catch_unwind(AssertUnwindSafe(call)).unwrap_err();
        *panic.downcast::<String>().unwrap()
    }

    #[test]
    fn a_request_that_differs_fails_with_a_diff() {
        let cassette =
            Cassette::new().expect(Exchange::post("/a").slot("token").json(json!({"limit": 1})));
        let text = panic_of(|| {
            cassette
                .play(|| Http::new().slot("token").post("/a").json(&json!({"limit": 2})).send())
                .unwrap();
        });
        for part in ["request 1", "-  \"limit\": 1", "+  \"limit\": 2", " slot token"] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }

    #[test]
    fn a_request_too_many_and_one_too_few_fail() {
        let text = panic_of(|| {
            Cassette::new().play(|| Http::new().get("/extra").send()).unwrap();
        });
        assert!(text.contains("request 1 is not on the cassette:\nGET /extra"), "{text}");
        let text = panic_of(|| {
            Cassette::new().expect(Exchange::get("/missing")).play(|| ());
        });
        assert!(text.contains("never asked for:\nGET /missing"), "{text}");
    }

    #[test]
    fn a_failed_play_leaves_nothing_behind() {
        panic_of(|| {
            Cassette::new().play(|| Http::new().get("/extra").send()).unwrap();
        });
        let now = Cassette::new().at("2026-03-01T00:00:00.250Z").play(clock::now);
        assert_eq!(now.unix_timestamp_nanos() / 1_000_000, 1_772_323_200_250);
    }

    #[test]
    fn what_was_sent_is_remembered_for_one_call_only() {
        let unsent =
            Failure { request_sent: false, ..Failure::new(FailureKind::Denied, "no such host") };
        let cassette = Cassette::new().expect(Exchange::get("/a").fails(unsent.clone()));
        let failure = cassette.play(|| Http::new().get("/a").send()).unwrap_err();
        assert!(!failure.request_sent);

        let cassette =
            Cassette::new().expect(Exchange::get("/a")).expect(Exchange::get("/b").fails(unsent));
        let failure = cassette
            .play(|| Http::new().get("/a").send().and_then(|_| Http::new().get("/b").send()))
            .unwrap_err();
        assert!(failure.request_sent, "the first request did arrive");
        assert!(!Cassette::new().play(|| Failure::internal("x")).request_sent);
    }
}
