//! What a response says of rate limits, in whichever of the forms that are about.
//!
//! - `RateLimit` and `RateLimit-Policy` as lists of strings (draft-ietf-httpapi-ratelimit-headers 09 and
//!   later) or of tokens (08); as a dictionary `limit=100, remaining=50, reset=30` (07);
//! - `RateLimit-Limit`, `-Remaining`, `-Reset` (up to draft 06), with `X-`, with `Rate-Limit` for
//!   `RateLimit`, and with the name of one vendor: `X-Acme-RateLimit-Remaining`;
//! - HubSpot's `X-HubSpot-RateLimit-Max`, `-Remaining`, `-Interval-Milliseconds`;
//! - `Retry-After` (RFC 9110 section 10.2.3).
//!
//! Forms without a name speak of [`DEFAULT`]. **Where forms disagree about one name, the most careful
//! reading wins**: the least quota and remainder, the longest window and reset. What does not parse is
//! ignored, a structured field (RFC 9651) as a whole. Remembers nothing: [`super::account`] does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use keyway_core::quota::WAIT_MAX;
use keyway_core::quota::fields::{LIMIT, RATE_LIMIT, RATE_LIMIT_POLICY};
use sfv::{BareItem, Dictionary, Item, List, ListEntry, Parameters, Parser};
use time::OffsetDateTime;

/// What the forms without a name speak of.
pub(super) const DEFAULT: &str = "default";
/// Policies of one response that are read. The most that a studied provider sends is four.
pub(super) const POLICIES_MAX: usize = 16;
/// Bytes of a policy's name that is read. They are words like `burst`.
pub(super) const NAME_BYTES_MAX: usize = 64;

const HUBSPOT_MAX: HeaderName = HeaderName::from_static("x-hubspot-ratelimit-max");
const HUBSPOT_REMAINING: HeaderName = HeaderName::from_static("x-hubspot-ratelimit-remaining");
const HUBSPOT_INTERVAL: HeaderName =
    HeaderName::from_static("x-hubspot-ratelimit-interval-milliseconds");

/// Prefixes that are nobody's in particular.
const COMMON: [&str; 4] = ["ratelimit-", "x-ratelimit-", "rate-limit-", "x-rate-limit-"];

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
    /// It refuses a request for coming too early.
    pub(super) refused: bool,
}

/// The three values that the forms without structure have.
#[derive(Default)]
struct Plain<'a> {
    limit: Vec<&'a HeaderValue>,
    remaining: Option<u64>,
    reset: Option<Duration>,
}

/// Which of them a header has.
#[derive(Clone, Copy)]
enum Field {
    Limit,
    Remaining,
    Reset,
    ResetAfter,
}

/// Reads a response. Dates and times since 1970 are compared with the `Date` of the response where it has
/// one, because they come from the same clock, and otherwise with `wall`.
pub(super) fn read(
    status: StatusCode,
    headers: &HeaderMap,
    wall: impl FnOnce() -> OffsetDateTime,
) -> Told {
    if silent(status, headers) {
        return Told::default();
    }
    let reference = seconds(date(headers).unwrap_or_else(wall));
    let mut told = Told::default();
    structured(headers, &mut told);
    plain(headers, reference, &mut told);
    hubspot(headers, &mut told);
    policies_by_number(headers, &mut told);
    let retry_after = longest(headers, &RETRY_AFTER, |text| wait(text, reference));
    let limited = status == StatusCode::TOO_MANY_REQUESTS;
    // Some providers refuse with 403 what comes too often, and say so by `Retry-After` only.
    let later = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::FORBIDDEN);
    told.refused = limited || later && retry_after.is_some();
    let used_up = told.readings.values().filter(|reading| reading.remaining == Some(0));
    told.wait = [retry_after.filter(|_| told.refused), used_up.filter_map(|used| used.reset).max()]
        .into_iter()
        .flatten()
        .filter(|wait| !wait.is_zero())
        .max();
    if limited && told.wait.is_none() {
        told.wait = told.guess();
    }
    told
}

/// Whether nothing of a response is about rate limits, as in most: every form has its name in common.
fn silent(status: StatusCode, headers: &HeaderMap) -> bool {
    let speaks = |name: &HeaderName| {
        let text = name.as_str();
        *name == RETRY_AFTER || text.contains("ratelimit") || text.contains("rate-limit")
    };
    status != StatusCode::TOO_MANY_REQUESTS && !headers.keys().any(speaks)
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

/// The forms without structure, under the common prefixes and that of one vendor. Two vendors in one response
/// cannot both be the provider, so neither is believed.
fn plain(headers: &HeaderMap, reference: f64, told: &mut Told) {
    let mut families: BTreeMap<&str, Plain> = BTreeMap::new();
    for (name, value) in headers {
        if let Some((prefix, field)) = classify(name.as_str()) {
            families.entry(prefix).or_default().take(field, value, reference);
        }
    }
    let vendors = families.keys().filter(|prefix| !COMMON.contains(prefix)).count();
    for (prefix, family) in families {
        if COMMON.contains(&prefix) || vendors == 1 && family.plausible() {
            let limit = family.limit.iter().filter_map(|value| first_number(value)).min();
            let (remaining, reset) = (family.remaining, family.reset);
            told.add(DEFAULT, Reading { limit, remaining, reset, ..Reading::default() });
        }
    }
}

fn hubspot(headers: &HeaderMap, told: &mut Told) {
    let smallest = |name| texts(headers, name).filter_map(number).map(whole).min();
    let interval = texts(headers, &HUBSPOT_INTERVAL).filter_map(number).map(whole).max();
    let reading = Reading {
        limit: smallest(&HUBSPOT_MAX),
        window: interval.and_then(|ms| window(ms.div_ceil(1_000))),
        remaining: smallest(&HUBSPOT_REMAINING),
        ..Reading::default()
    };
    told.add(DEFAULT, reading);
}

fn classify(name: &str) -> Option<(&str, Field)> {
    let fields = [
        ("reset-after", Field::ResetAfter),
        ("reset", Field::Reset),
        ("remaining", Field::Remaining),
        ("limit", Field::Limit),
    ];
    let (prefix, field) =
        fields.into_iter().find_map(|(suffix, field)| Some((name.strip_suffix(suffix)?, field)))?;
    let vendor = prefix.starts_with("x-")
        && (prefix.ends_with("-ratelimit-") || prefix.ends_with("-rate-limit-"))
        && prefix != "x-hubspot-ratelimit-";
    (vendor || COMMON.contains(&prefix)).then_some((prefix, field))
}

// === impl Plain ===

impl<'a> Plain<'a> {
    fn take(&mut self, field: Field, value: &'a HeaderValue, reference: f64) {
        let numbers = || split(value).filter_map(number);
        match field {
            Field::Limit => self.limit.push(value),
            Field::Remaining => {
                self.remaining = least(self.remaining, numbers().map(whole).min());
            }
            Field::Reset => {
                self.reset = self.reset.max(numbers().filter_map(|n| ahead(n, reference)).max());
            }
            Field::ResetAfter => {
                self.reset = self.reset.max(numbers().filter_map(within_a_day).max());
            }
        }
    }

    /// More than a name that happens to end like one of ours.
    fn plausible(&self) -> bool {
        self.remaining.is_some() && (self.reset.is_some() || !self.limit.is_empty())
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

// Plain values.

fn texts<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(str::trim)
}

fn split(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim)
}

/// The limit in `100, 50;w=1, 1000;w=3600`, which is the first.
fn first_number(value: &HeaderValue) -> Option<u64> {
    let first = value.to_str().ok()?.split([',', ';']).next()?;
    number(first.trim()).map(whole)
}

/// Digits, perhaps with a fraction.
fn number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    text.parse().ok().filter(|_| plain)
}

/// Rounded down, which is careful about quotas and remainders.
fn whole(number: f64) -> u64 {
    // Saturates.
    number as u64
}

fn longest(
    headers: &HeaderMap,
    name: &HeaderName,
    read: impl Fn(&str) -> Option<Duration>,
) -> Option<Duration> {
    texts(headers, name).filter_map(read).max()
}

/// What lies 0 to 24 hours ahead: the number as seconds from now, as seconds since 1970, or as milliseconds
/// since 1970. At most one of them does, in any year after 1971.
fn ahead(number: f64, reference: f64) -> Option<Duration> {
    [number, number - reference, number / 1e3 - reference].into_iter().find_map(within_a_day)
}

fn within_a_day(seconds: f64) -> Option<Duration> {
    let wait = Duration::try_from_secs_f64(seconds).ok()?;
    (wait <= WAIT_MAX).then_some(wait)
}

/// The value of `Retry-After`: seconds or a date. Beyond the standard, a time since 1970, a fraction and an
/// exponent are understood, because a wait misread as none does harm. One that is over already, or is longer than
/// [`WAIT_MAX`], is none: whoever takes it at its word asks again at once, or never.
fn wait(text: &str, reference: f64) -> Option<Duration> {
    if let Ok(date) = httpdate::parse_http_date(text) {
        return within_a_day(seconds(date.into()) - reference);
    }
    let numeric = text.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    let number: f64 = text.parse().ok().filter(|_| numeric)?;
    ahead(number, reference)
}

fn date(headers: &HeaderMap) -> Option<OffsetDateTime> {
    let date: SystemTime =
        texts(headers, &DATE).find_map(|text| httpdate::parse_http_date(text).ok())?;
    Some(date.into())
}

/// Since 1970.
fn seconds(at: OffsetDateTime) -> f64 {
    at.unix_timestamp_nanos() as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Paces, Quota, normalise};
    use super::*;

    const WALL: OffsetDateTime = time::macros::datetime!(2026-06-01 12:00 UTC);
    /// `WALL` and 90 seconds.
    const EPOCH: &str = "1780315290";

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, text) in pairs {
            headers.append(*name, HeaderValue::from_str(text).unwrap());
        }
        headers
    }

    fn told(status: u16, pairs: &[(&'static str, &str)]) -> Told {
        read(StatusCode::from_u16(status).unwrap(), &map(pairs), || WALL)
    }

    /// What is read of each policy: name, limit, window, remaining, reset in seconds.
    type Row<'a> = (&'a str, Option<u64>, Option<u32>, Option<u64>, Option<u64>);

    fn rows(told: &Told) -> Vec<Row<'_>> {
        let mut rows = Vec::new();
        for (name, reading) in &told.readings {
            let reset = reading.reset.map(|reset| reset.as_secs());
            rows.push((&**name, reading.limit, reading.window, reading.remaining, reset));
        }
        rows
    }

    #[test]
    fn every_family_is_read() {
        let full = ("default", Some(100), None, Some(50), Some(90));
        for pairs in [
            [("ratelimit", "limit=100, remaining=50, reset=90")].as_slice(),
            &[("ratelimit-limit", "100"), ("ratelimit-remaining", "50"), ("ratelimit-reset", "90")],
            &[
                ("x-ratelimit-limit", "100"),
                ("x-ratelimit-remaining", "50"),
                ("x-ratelimit-reset", EPOCH),
            ],
            &[
                ("x-rate-limit-limit", "100"),
                ("x-rate-limit-remaining", "50.9"),
                ("x-rate-limit-reset", "1780315290000"),
            ],
            &[
                ("x-acme-ratelimit-limit", "100"),
                ("x-acme-ratelimit-remaining", "50"),
                ("x-acme-ratelimit-reset-after", "90.0"),
            ],
        ] {
            assert_eq!(rows(&told(200, pairs)), [full], "{pairs:?}");
        }
        let hubspot = [
            ("x-hubspot-ratelimit-max", "190"),
            ("x-hubspot-ratelimit-remaining", "189"),
            ("x-hubspot-ratelimit-interval-milliseconds", "10000"),
            ("x-hubspot-ratelimit-daily-remaining", "0"),
        ];
        let expected = [("default", Some(190), Some(10), Some(189), None)];
        assert_eq!(rows(&told(200, &hubspot)), expected);
    }

    #[test]
    fn the_current_form_names_its_policies() {
        let policy = r#""burst";q=100;w=60;pk=:YWJj:, "daily";q=1000;w=86400;qu="requests""#;
        let pairs = [("ratelimit-policy", policy), ("ratelimit", r#""burst";r=50;t=30"#)];
        let expected = [
            ("burst", Some(100), Some(60), Some(50), Some(30)),
            ("daily", Some(1000), Some(86_400), None, None),
        ];
        assert_eq!(rows(&told(200, &pairs)), expected);
        // In two lines, and as draft 08 had it.
        let pairs = [
            ("ratelimit", r#""burst";r=50;t=30"#),
            ("ratelimit", "daily;r=999;t=999999"),
            ("ratelimit-policy", r#""traffic";q=9;w=1;qu="content-bytes""#),
        ];
        let told = told(200, &pairs);
        assert_eq!(told.readings["burst"].remaining, Some(50));
        assert_eq!(told.readings["daily"].reset, None, "longer than any reset");
        assert_eq!(told.readings["traffic"].rate(), None, "bytes are no requests");
    }

    #[test]
    fn policies_without_names_are_told_apart_by_their_numbers() {
        let pairs = [
            ("ratelimit-limit", "100, 100;w=10, 1000;w=3600"),
            ("ratelimit-remaining", "50"),
            ("ratelimit-policy", "5000;w=86400"),
        ];
        let expected = [
            ("1000-per-3600s", Some(1000), Some(3600), None, None),
            ("5000-per-86400s", Some(5000), Some(86_400), None, None),
            ("default", Some(100), Some(10), Some(50), None),
        ];
        assert_eq!(rows(&told(200, &pairs)), expected);
    }

    #[test]
    fn where_families_disagree_the_most_careful_wins() {
        // C93: three families and a Retry-After.
        let pairs = [
            ("ratelimit", r#""default";r=50;t=30"#),
            ("ratelimit-remaining", "20"),
            ("ratelimit-reset", "10"),
            ("x-ratelimit-limit", "100"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", EPOCH),
            ("retry-after", "5"),
        ];
        let refusal = told(429, &pairs);
        assert_eq!(rows(&refusal), [("default", Some(100), None, Some(0), Some(90))]);
        assert_eq!(refusal.wait, Some(Duration::from_secs(90)));
        let pairs = [
            ("ratelimit-policy", r#""default";q=190;w=60"#),
            ("x-hubspot-ratelimit-max", "100"),
            ("x-hubspot-ratelimit-interval-milliseconds", "10001"),
        ];
        assert_eq!(rows(&told(200, &pairs)), [("default", Some(100), Some(60), None, None)]);
        let pairs = [("ratelimit-policy", r#""default";q=190;w=6"#), pairs[1], pairs[2]];
        assert_eq!(rows(&told(200, &pairs)), [("default", Some(100), Some(11), None, None)]);
        // One header twice.
        let pairs = [("x-ratelimit-remaining", "7"), ("x-ratelimit-remaining", "9, 8")];
        assert_eq!(told(200, &pairs).readings[DEFAULT].remaining, Some(7));
    }

    #[test]
    fn a_reset_lies_within_a_day_or_is_ignored() {
        for (value, expected) in [
            ("0", Some(0)),
            ("86400", Some(86_400)),
            ("86401", None),
            ("1780315200", Some(0)),
            ("1780315199", None),
            ("1780401600", Some(86_400)),
            ("1780401601", None),
            ("1780401600000", Some(86_400)),
            ("1780401601000", None),
            ("-5", None),
            ("1e3", None),
            ("soon", None),
            ("", None),
            ("2026-06-01T13:00:00Z", None),
            ("9999999999999999999999999", None),
        ] {
            let pairs = [("x-ratelimit-remaining", "1"), ("x-ratelimit-reset", value)];
            let reset = told(200, &pairs).readings[DEFAULT].reset;
            assert_eq!(reset.map(|reset| reset.as_secs()), expected, "{value:?}");
        }
        // By the clock of the response, which is 20 s ahead of ours.
        let pairs = [
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", EPOCH),
            ("date", "Mon, 01 Jun 2026 12:00:20 GMT"),
        ];
        assert_eq!(told(200, &pairs).wait, Some(Duration::from_secs(70)));
    }

    #[test]
    fn malformed_fields_are_ignored_as_a_whole_and_others_still_read() {
        for list in [
            r#""burst";r=0;t=30,"#,
            r#""burst;r=0;t=30"#,
            r#""burst";r=0;t=30;"#,
            r#""burst";r=-1;t=30"#,
            r#""burst";r="0";t=30"#,
            r#""burst";t=30"#,
            r#"("burst");r=0;t=30"#,
            r#""";r=0;t=30"#,
            "remaining=, limit=1",
            "17",
        ] {
            let pairs = [("ratelimit", list), ("x-ratelimit-remaining", "4")];
            let told = told(200, &pairs);
            assert_eq!(rows(&told), [("default", None, None, Some(4), None)], "{list}");
            assert_eq!(told.wait, None, "{list}");
        }
    }

    #[test]
    fn names_and_policies_are_limited() {
        let named = |bytes: usize| format!(r#""{}";r=1"#, "n".repeat(bytes));
        assert_eq!(told(200, &[("ratelimit", &named(NAME_BYTES_MAX))]).readings.len(), 1);
        assert_eq!(told(200, &[("ratelimit", &named(NAME_BYTES_MAX + 1))]).readings.len(), 0);
        let many = |count: usize| {
            let items: Vec<_> = (0..count).map(|n| format!(r#""p{n}";r=1"#)).collect();
            told(200, &[("ratelimit", &items.join(", "))]).readings.len()
        };
        assert_eq!(many(POLICIES_MAX), POLICIES_MAX);
        assert_eq!(many(POLICIES_MAX + 1), POLICIES_MAX);
    }

    #[test]
    fn vendors_are_believed_one_at_a_time() {
        let one = [("x-acme-ratelimit-remaining", "0"), ("x-acme-ratelimit-reset", "9")];
        assert_eq!(told(200, &one).wait, Some(Duration::from_secs(9)));
        let two = [one[0], one[1], ("x-edge-ratelimit-remaining", "1")];
        assert_eq!(told(200, &two).readings.len(), 0);
        let odd = [("x-acme-daily-remaining", "0"), ("acme-ratelimit-reset", "9")];
        assert_eq!(told(200, &odd).readings.len(), 0);
        let alone = [("x-acme-ratelimit-remaining", "0")];
        assert_eq!(told(200, &alone).readings.len(), 0, "too little to go by");
    }

    #[test]
    fn a_wait_is_asked_by_a_refusal_or_by_what_is_used_up() {
        let wait = |status, pairs: &[(&'static str, &str)]| {
            told(status, pairs).wait.map(|wait| wait.as_secs())
        };
        let retry = [("retry-after", "5")];
        assert_eq!([429, 503, 403].map(|status| wait(status, &retry)), [Some(5); 3]);
        // There it speaks of one resource, not of the account.
        assert_eq!([200, 202, 302, 500].map(|status| wait(status, &retry)), [None; 4]);
        assert_eq!([429, 503, 403].map(|status| wait(status, &[])), [None; 3]);
        // A refusal that names no wait: by the window, or the reset, of what may be used up.
        let window = ("ratelimit-policy", r#""burst";q=9;w=60, "daily";q=99;w=86400"#);
        assert_eq!(wait(429, &[window]), Some(86_400));
        let left = ("ratelimit", r#""daily";r=50;t=7200"#);
        assert_eq!(wait(429, &[window, left]), Some(60));
        assert_eq!(wait(429, &[left]), Some(7_200));
        assert_eq!(wait(200, &[window, left]), None);
    }

    const NAMES: [&str; 16] = [
        "ratelimit",
        "ratelimit-policy",
        "ratelimit-limit",
        "ratelimit-remaining",
        "ratelimit-reset",
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "x-rate-limit-reset-after",
        "x-acme-ratelimit-limit",
        "x-acme-ratelimit-remaining",
        "x-hubspot-ratelimit-max",
        "x-hubspot-ratelimit-remaining",
        "x-hubspot-ratelimit-interval-milliseconds",
        "retry-after",
        "date",
    ];

    /// Any bytes that a header may have, and texts that look much like the real ones.
    fn value() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(prop_oneof![Just(b'\t'), 0x20..=0x7e_u8, 0x80..=0xff_u8], 0..60),
            r#"("?[a-z]{1,6}"?(;[rtqw]=-?[0-9]{1,18}(\.[0-9])?){0,3}(, ?)?){1,4}"#
                .prop_map(String::into_bytes),
            r"((limit|remaining|reset)=[0-9]{1,16}(;w=[0-9]{1,12})?(, )?){1,4}"
                .prop_map(String::into_bytes),
            r"-?[0-9]{1,400}(\.[0-9]{1,3})?(e[0-9]{1,4})?".prop_map(String::into_bytes),
            r"(Mon|Sun), [0-9]{2} (Jan|Feb|Dec) [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
                .prop_map(String::into_bytes),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn no_header_breaks_what_reads_it_or_what_follows(
            pairs in prop::collection::vec((prop::sample::select(&NAMES[..]), value()), 0..12),
            status in prop::sample::select(&[200_u16, 403, 429, 503][..]),
        ) {
            let mut headers = HeaderMap::new();
            for (name, bytes) in pairs {
                headers.append(name, HeaderValue::from_bytes(&bytes).unwrap());
            }
            let status = StatusCode::from_u16(status).unwrap();
            let told = read(status, &headers, || WALL);
            prop_assert!(told.wait.is_none_or(|wait| wait <= WAIT_MAX));
            prop_assert!(told.readings.len() <= POLICIES_MAX);
            let resets = told.readings.values().filter_map(|reading| reading.reset);
            prop_assert!(resets.max().is_none_or(|reset| reset <= WAIT_MAX));

            let (paces, now) = (Paces::default(), tokio::time::Instant::now());
            let quota = Quota {
                installation: keyway_core::ids::Installation {
                    environment: "dev".parse().unwrap(),
                    tenant: "acme".parse().unwrap(),
                    connector: "a/b".parse().unwrap(),
                },
                account: None,
            };
            for _ in 0..3 {
                paces.learn(&quota, status, &headers, now, || WALL);
                paces.count(&quota, &[], now);
                if let Err(turn) = paces.take(&quota, &[], now) {
                    prop_assert!(turn.at() > now);
                }
            }
            let standing = paces.standing(&quota, &[], now);
            normalise(&mut headers, &standing);
            for (name, parameter) in [(RATE_LIMIT, "r"), (RATE_LIMIT_POLICY, "q")] {
                let set = if parameter == "r" {
                    standing.blocked_for.is_some()
                        || standing.policies.iter().any(|policy| policy.remaining.is_some())
                } else {
                    standing.policies.iter().any(|policy| policy.quota.is_some())
                };
                prop_assert!(!set || current(&headers, &name, parameter), "{name} {headers:?}");
            }
        }
    }
}
