//! Plays a cassette to the connector that runs on this thread, strictly.

use std::cell::RefCell;
use std::collections::VecDeque;

use serde_json::Value;
use similar::TextDiff;

use crate::log::Level;
use crate::{Request, Response, Result, backend};

use super::exchange::Exchange;

/// A line that the connector logged.
#[derive(Clone, PartialEq, Debug)]
pub struct Line {
    /// How loud.
    pub level: Level,
    /// The text.
    pub message: String,
    /// A JSON object.
    pub fields: Value,
}

/// What the connector sees, and what it has done so far.
pub(super) struct Player {
    pub(super) exchanges: VecDeque<Exchange>,
    pub(super) played: usize,
    pub(super) now: u64,
    pub(super) config: String,
    pub(super) connection: String,
    pub(super) lines: Vec<Line>,
}

thread_local! {
    static PLAYER: RefCell<Option<Player>> = const { RefCell::new(None) };
}

/// Takes the player away again, also when the connector panics.
struct Turn;

impl Drop for Turn {
    fn drop(&mut self) {
        PLAYER.with_borrow_mut(Option::take);
    }
}

/// Runs `call` with the player in place and hands the player back.
pub(super) fn play<R>(player: Player, call: impl FnOnce() -> R) -> (R, Player) {
    backend::forget_requests();
    PLAYER.with_borrow_mut(|slot| {
        assert!(slot.is_none(), "a cassette is playing already: one call has one cassette");
        *slot = Some(player);
    });
    let turn = Turn;
    let result = call();
    let player = PLAYER.take().expect("only this turn takes the player away");
    drop(turn);
    (result, player)
}

pub(crate) fn send(request: Request) -> Result<Response> {
    // The panic comes after the borrow ends, so that `Turn` can clean up.
    let answer = with(|player| player.answer(&request));
    answer.unwrap_or_else(|mismatch| panic!("{mismatch}"))
}

pub(crate) fn send_all(requests: Vec<Request>) -> Vec<Result<Response>> {
    requests.into_iter().map(send).collect()
}

pub(crate) fn config() -> String {
    with(|player| player.config.clone())
}

pub(crate) fn connection() -> String {
    with(|player| player.connection.clone())
}

pub(crate) fn now() -> u64 {
    with(|player| player.now)
}

pub(crate) fn log(level: Level, message: &str, fields: &str) {
    let fields = if fields.is_empty() { "{}" } else { fields };
    let fields = serde_json::from_str(fields).expect("the macros write JSON objects");
    with(|player| player.lines.push(Line { level, message: message.to_owned(), fields }));
}

fn with<R>(work: impl FnOnce(&mut Player) -> R) -> R {
    let done = PLAYER.with_borrow_mut(|player| player.as_mut().map(work));
    done.expect("no cassette is playing: run the connector inside `Cassette::play`")
}

// === impl Player ===

impl Player {
    fn answer(&mut self, request: &Request) -> std::result::Result<Result<Response>, String> {
        let number = self.played + 1;
        let Some(expected) = self.exchanges.pop_front() else {
            let sent = Exchange::new("", "").text_of(request);
            return Err(format!("request {number} is not on the cassette:\n{sent}"));
        };
        let (wanted, sent) = (expected.text(), expected.text_of(request));
        if wanted != sent {
            let diff = TextDiff::from_lines(&wanted, &sent);
            let diff = diff.unified_diff().header("cassette", "connector").to_string();
            return Err(format!("request {number} is not what the cassette expects:\n{diff}"));
        }
        self.played = number;
        Ok(expected.answer)
    }
}
