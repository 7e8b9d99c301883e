//! What a response says of rate limits, in whichever of the forms that are about.
//!
//! - `RateLimit` and `RateLimit-Policy` as lists of strings (draft-ietf-httpapi-ratelimit-headers 09 and
//!   later) or of tokens (08); as a dictionary `limit=100, remaining=50, reset=30` (07);
//! - `RateLimit-Limit`, `-Remaining`, `-Reset` (up to draft 06), with `X-`, with `Rate-Limit` for
//!   `RateLimit`, with the name of one vendor: `X-Acme-RateLimit-Remaining`, and with that of a limit;
//! - what the release declares as its provider's own;
//! - `Retry-After` (RFC 9110 section 10.2.3).
//!
//! Forms without a name speak of [`DEFAULT`]. **Where forms disagree about one name, the most careful
//! reading wins**: the least quota and remainder, the longest window and reset. What does not parse is
//! ignored, a structured field (RFC 9651) as a whole. Remembers nothing: [`super::account`] does.

mod declared;
mod plain;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use keyway_core::quota::WAIT_MAX;
use keyway_core::quota::fields::{LIMIT, RATE_LIMIT, RATE_LIMIT_POLICY};
use sfv::{BareItem, Dictionary, Item, List, ListEntry, Parameters, Parser};
use time::OffsetDateTime;

pub(crate) use declared::Habits;
use values::{date, longest, milliseconds, seconds, wait};

/// What the forms without a name speak of.
pub(super) const DEFAULT: &str = "default";
/// Policies of one response that are read. The most that a studied provider sends is four.
pub(super) const POLICIES_MAX: usize = 16;
/// Bytes of a policy's name that is read. They are words like `burst`.
pub(super) const NAME_BYTES_MAX: usize = 64;

/// A wait in milliseconds, as several providers and gateways send it beside `Retry-After`.
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// An answer of a provider's, as far as it is about rate limits.
pub(crate) struct Answer<'a> {
    pub(crate) status: StatusCode,
    pub(crate) headers: &'a HeaderMap,
    /// What the release declares of them.
    pub(crate) habits: Habits<'a>,
    /// Whether it has an error that the release declares to mean "too often".
    pub(crate) signalled: bool,
}

/// What a response says of one policy.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Reading {
    /// Units in a window.
    pub(super) limit: Option<u64>,
    /// Seconds, above 0.
    pub(super) window: Option<u32>,
    /// Units left.
    pub(super) remaining: Option<u64>,
    /// Until there is more. At most [`WAIT_MAX`].
    pub(super) reset: Option<Duration>,
    /// Units are said to be something other than requests, such as bytes.
    pub(super) uncounted: bool,
}

/// What a response says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Told {
    /// By name.
    pub(super) readings: BTreeMap<Arc<str>, Reading>,
    /// What it asks to wait.
    pub(super) wait: Option<Duration>,
    /// It refuses a request for coming too early, or for whatever will be over by then.
    pub(super) refused: bool,
    /// It refuses a request for the rate of those before it.
    pub(super) limited: bool,
}

/// What is meant by a status that some providers refuse with where others send 429.
enum Hides {
    /// The rate, if its headers say what is left, or how long to wait. Without either, a 403 is about permissions.
    Rate,
    /// The load of the server, unless nothing is left of the caller's own: a wait alone says nothing of a limit.
    Load,
}

/// 420, 430 and 509 are in no registry (RFC 9110 section 16.2): providers use them for the rate, and for abuse or traffic
/// that is used up, which a release declares where it is the rate without a header. 529 is an overload like 503. Of any other
/// status, what is left says nothing: the last request of a quota may fail for a reason of its own.
fn hides(status: StatusCode) -> Option<Hides> {
    match status.as_u16() {
        403 | 420 | 430 | 509 => Some(Hides::Rate),
        503 | 529 => Some(Hides::Load),
        _ => None,
    }
}

/// Reads a response. Dates and times since 1970 are compared with the `Date` of the response where it has
/// one, because they come from the same clock, and otherwise with `wall`.
pub(super) fn read(answer: &Answer<'_>, wall: impl FnOnce() -> OffsetDateTime) -> Told {
    if answer.silent() {
        return Told::default();
    }
    let Answer { status, headers, habits, signalled } = *answer;
    let reference = seconds(date(headers).unwrap_or_else(wall));
    let mut told = Told::default();
    structured(headers, &mut told);
    plain::read(headers, habits, reference, &mut told);
    let declared = habits.read(headers, reference, &mut told);
    policies_by_number(headers, &mut told);
    let seconds = longest(headers, &RETRY_AFTER, |text| wait(text, reference));
    let ms = longest(headers, &RETRY_AFTER_MS, milliseconds);
    let asked = [seconds, ms, declared].into_iter().flatten().filter(|w| !w.is_zero()).max();
    let used_up = told.readings.values().any(|reading| reading.remaining == Some(0));
    let hidden = hides(status).is_some_and(|hides| match hides {
        Hides::Rate => used_up || asked.is_some(),
        Hides::Load => used_up && told.until_more().max(asked).is_some(),
    });
    told.limited = status == StatusCode::TOO_MANY_REQUESTS || signalled || hidden;
    let overload = matches!(hides(status), Some(Hides::Load));
    told.refused = told.limited || overload && asked.is_some();
    told.wait = asked.filter(|_| told.refused).max(told.until_more());
    if told.limited && told.wait.is_none() {
        told.wait = told.guess();
    }
    told
}

// === impl Answer ===

impl Answer<'_> {
    /// Whether nothing of it is about rate limits, as in most: every form has its name in common.
    fn silent(&self) -> bool {
        let speaks = |name: &HeaderName| {
            let text = name.as_str();
            text.starts_with("retry-after")
                || text.contains("ratelimit")
                || text.contains("rate-limit")
        };
        let limited = self.signalled || self.status == StatusCode::TOO_MANY_REQUESTS;
        !limited && !self.headers.keys().any(speaks) && !self.habits.speak(self.headers)
    }
}

/// Whether a field is a list of strings, each with this parameter: the form that is current.
pub(super) fn current(headers: &HeaderMap, name: &HeaderName, parameter: &str) -> bool {
    let Some(list) = list(headers, name) else { return false };
    let good = |entry: &ListEntry| match entry {
        ListEntry::Item(item) => {
            item.bare_item.as_string().is_some() && unsigned(&item.params, parameter).is_some()
        }
        ListEntry::InnerList(_) => false,
    };
    !list.is_empty() && list.iter().all(good)
}

// === impl Told ===

impl Told {
    /// Merges what one form says of a policy with what others said.
    fn add(&mut self, name: &str, reading: Reading) {
        if name.is_empty() || name.len() > NAME_BYTES_MAX || reading == Reading::default() {
            return;
        }
        if let Some(known) = self.readings.get_mut(name) {
            known.merge(reading);
        } else if self.readings.len() < POLICIES_MAX {
            self.readings.insert(name.into(), reading);
        }
    }

    /// Until there is more of all that is used up.
    fn until_more(&self) -> Option<Duration> {
        let used_up = self.readings.values().filter(|reading| reading.remaining == Some(0));
        used_up.filter_map(|reading| reading.reset).filter(|reset| !reset.is_zero()).max()
    }

    /// How long after a refusal that names no wait: the reset, or else the window, of what is used up or may be.
    /// If everything is said to be left, one of those is wrong, and the shortest does the least harm.
    fn guess(&self) -> Option<Duration> {
        let window = |reading: &Reading| reading.window.map(|w| Duration::from_secs(w.into()));
        let wait = |reading: &Reading| {
            let reset = reading.reset.filter(|reset| !reset.is_zero());
            Some(reset.or(window(reading))?.min(WAIT_MAX))
        };
        let (maybe, left): (Vec<_>, Vec<_>) =
            self.readings.values().partition(|reading| reading.remaining.is_none_or(|r| r == 0));
        maybe.into_iter().filter_map(wait).max().or(left.into_iter().filter_map(wait).min())
    }
}

// === impl Reading ===

impl Reading {
    /// Requests and the window in seconds, if both are known and it counts requests.
    pub(super) fn rate(&self) -> Option<(u64, u32)> {
        self.limit.zip(self.window).filter(|_| !self.uncounted)
    }

    fn merge(&mut self, other: Self) {
        self.limit = least(self.limit, other.limit);
        self.window = self.window.max(other.window);
        self.remaining = least(self.remaining, other.remaining);
        self.reset = self.reset.max(other.reset);
        self.uncounted |= other.uncounted;
    }
}

fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// `RateLimit` and `RateLimit-Policy`.
fn structured(headers: &HeaderMap, told: &mut Told) {
    for (name, params) in named(headers, &RATE_LIMIT) {
        if let Some(remaining) = unsigned(&params, "r") {
            let reset = unsigned(&params, "t").and_then(reset_in);
            told.add(&name, Reading { remaining: Some(remaining), reset, ..Reading::default() });
        }
    }
    for (name, params) in named(headers, &RATE_LIMIT_POLICY) {
        if let Some(limit) = unsigned(&params, "q") {
            let unit = params.get("qu").map(|unit| unit.as_string().map(|unit| unit.as_str()));
            let uncounted = unit.is_some_and(|unit| !matches!(unit, Some("requests" | "request")));
            let (limit, window) = (Some(limit), unsigned(&params, "w").and_then(window));
            told.add(&name, Reading { limit, window, uncounted, ..Reading::default() });
        }
    }
    let dictionary = joined(headers, &RATE_LIMIT)
        .and_then(|text| Parser::new(&text).parse::<Dictionary>().ok())
        .unwrap_or_default();
    let value = |key: &str| match dictionary.get(key) {
        Some(ListEntry::Item(item)) => natural(&item.bare_item),
        _ => None,
    };
    let (limit, remaining, reset) = (value("limit"), value("remaining"), value("reset"));
    told.add(
        DEFAULT,
        Reading { limit, remaining, reset: reset.and_then(reset_in), ..Reading::default() },
    );
}

/// `RateLimit-Policy: 100;w=60` and `RateLimit-Limit: 100, 100;w=60`: policies without a name, of which the one
/// with the default's limit is the default.
fn policies_by_number(headers: &HeaderMap, told: &mut Told) {
    for field in [RATE_LIMIT_POLICY, LIMIT] {
        for item in items(headers, &field) {
            let limit = natural(&item.bare_item);
            let window = unsigned(&item.params, "w").and_then(window);
            let (Some(limit), Some(seconds)) = (limit, window) else { continue };
            let default = told.readings.get(DEFAULT).is_some_and(|it| it.limit == Some(limit));
            let name = if default { DEFAULT } else { &*format!("{limit}-per-{seconds}s") };
            told.add(name, Reading { limit: Some(limit), window, ..Reading::default() });
        }
    }
}

// Structured fields.

/// All values of a field as one, as RFC 9651 section 4.2 wants them parsed.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let values: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    (!values.is_empty()).then(|| values.join(&b", "[..]))
}

fn list(headers: &HeaderMap, name: &HeaderName) -> Option<List> {
    Parser::new(&joined(headers, name)?).parse().ok()
}

fn items(headers: &HeaderMap, name: &HeaderName) -> impl Iterator<Item = Item> {
    list(headers, name).unwrap_or_default().into_iter().filter_map(|entry| match entry {
        ListEntry::Item(item) => Some(item),
        ListEntry::InnerList(_) => None,
    })
}

/// The items with a name. Draft 08 had tokens for the strings of those after it.
fn named(headers: &HeaderMap, name: &HeaderName) -> impl Iterator<Item = (String, Parameters)> {
    items(headers, name).filter_map(|item| match item.bare_item {
        BareItem::String(name) => Some((name.as_str().to_owned(), item.params)),
        BareItem::Token(name) => Some((name.as_str().to_owned(), item.params)),
        _ => None,
    })
}

fn unsigned(params: &Parameters, key: &str) -> Option<u64> {
    natural(params.get(key)?)
}

fn natural(item: &BareItem) -> Option<u64> {
    item.as_integer()?.try_into().ok()
}

/// Seconds of a window, if it is one.
fn window(seconds: u64) -> Option<u32> {
    u32::try_from(seconds).ok().filter(|seconds| *seconds > 0)
}

fn reset_in(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds)).filter(|reset| *reset <= WAIT_MAX)
}

#[cfg(test)]
mod tests;
