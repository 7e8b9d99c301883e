//! The forms without structure: a header for each value, under names that are much alike.
//!
//! `RateLimit-Limit`, `X-RateLimit-Remaining`, `X-Rate-Limit-Reset`, and with one vendor's name before it. What stands
//! before or after the value's own name names the limit: `X-RateLimit-Remaining-Requests`, `X-RateLimit-Minute-Limit`.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderValue;
use http::header::HeaderMap;

use super::declared::Habits;
use super::values::{first_number, milliseconds, moments, number, split, whole};
use super::{DEFAULT, NAME_BYTES_MAX, Reading, Told, least};

/// Names of a limit that count requests; those of anything else may count tokens, bytes or points.
const REQUESTS: [&str; 3] = [DEFAULT, "requests", "request"];

/// The values that these forms have.
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
    ResetMilliseconds,
}

/// A header's name, read.
struct Name<'a> {
    /// All up to `ratelimit`, and how that is spelt.
    prefix: &'a str,
    limit: &'a str,
    field: Field,
}

/// Reads them all but those that a release declares. Two vendors in one response cannot both be the provider, so neither
/// is believed.
pub(super) fn read(headers: &HeaderMap, habits: Habits<'_>, reference: f64, told: &mut Told) {
    let mut families: BTreeMap<(&str, &str), Plain> = BTreeMap::new();
    for (name, value) in headers {
        if let Some(Name { prefix, limit, field }) = Name::read(name.as_str())
            && !habits.has(name.as_str())
        {
            families.entry((prefix, limit)).or_default().take(field, value, reference);
        }
    }
    let mut vendors: Vec<&str> =
        families.keys().map(|(prefix, _)| *prefix).filter(|prefix| !is_common(prefix)).collect();
    vendors.dedup();
    for ((prefix, name), family) in families {
        let believed = is_common(prefix) || vendors.len() == 1;
        // More than a name that happens to end like one of ours.
        let plain = is_common(prefix) && name == DEFAULT;
        if believed && (plain || family.plausible()) {
            told.add(name, family.reading(name));
        }
    }
}

/// Prefixes that are nobody's in particular.
fn is_common(prefix: &str) -> bool {
    matches!(prefix, "ratelimit" | "x-ratelimit" | "rate-limit" | "x-rate-limit")
}

// === impl Name ===

impl<'a> Name<'a> {
    fn read(name: &'a str) -> Option<Self> {
        let mut spelt = ["ratelimit", "rate-limit"].into_iter();
        let ends = spelt.find_map(|spelt| Some(name.find(spelt)? + spelt.len()))?;
        let (prefix, rest) = name.split_at(ends);
        // A vendor's name is set off from what is common.
        let named = is_common(prefix) || (prefix.starts_with("x-") && is_set_off(prefix));
        if !named {
            return None;
        }
        let Some(rest) = rest.strip_prefix('-') else {
            // `X-Rate-Limit: 700` beside `X-Rate-Limit-Remaining`.
            let whole = rest.is_empty() && matches!(prefix, "x-ratelimit" | "x-rate-limit");
            return whole.then_some(Self { prefix, limit: DEFAULT, field: Field::Limit });
        };
        let (limit, field) = field(rest)?;
        (limit.len() <= NAME_BYTES_MAX).then_some(Self { prefix, limit, field })
    }
}

fn is_set_off(prefix: &str) -> bool {
    let vendor = prefix.strip_suffix("ratelimit").or_else(|| prefix.strip_suffix("rate-limit"));
    vendor.is_some_and(|vendor| vendor.len() > 2 && vendor.ends_with('-'))
}

/// The limit and the value that the end of a name speaks of: `remaining`, `remaining-requests`, `requests-remaining`.
fn field(rest: &str) -> Option<(&str, Field)> {
    let fields = [
        ("reset-milliseconds", Field::ResetMilliseconds),
        ("reset-ms", Field::ResetMilliseconds),
        ("reset-after", Field::Reset),
        ("reset-time", Field::Reset),
        ("reset-date", Field::Reset),
        ("reset-seconds", Field::Reset),
        ("reset-at", Field::Reset),
        ("reset-in", Field::Reset),
        ("reset", Field::Reset),
        ("remaining", Field::Remaining),
        ("limit", Field::Limit),
    ];
    let exact = fields.iter().find(|(name, _)| rest == *name).map(|(_, field)| (DEFAULT, *field));
    let named = |(name, field): &(&str, Field)| {
        let before = rest.strip_suffix(*name).and_then(|limit| limit.strip_suffix('-'));
        let limit = before.or_else(|| rest.strip_prefix(*name)?.strip_prefix('-'))?;
        (!limit.is_empty()).then_some((limit, *field))
    };
    exact.or_else(|| fields.iter().find_map(named))
}

// === impl Plain ===

impl<'a> Plain<'a> {
    fn take(&mut self, field: Field, value: &'a HeaderValue, reference: f64) {
        match field {
            Field::Limit => self.limit.push(value),
            Field::Remaining => {
                let left = split(value).filter_map(number).map(whole).min();
                self.remaining = least(self.remaining, left);
            }
            Field::Reset => {
                let moments = moments(value, reference).into_iter().flatten();
                self.reset = self.reset.max(moments.max());
            }
            Field::ResetMilliseconds => {
                self.reset = self.reset.max(split(value).filter_map(milliseconds).max());
            }
        }
    }

    fn plausible(&self) -> bool {
        self.remaining.is_some() && (self.reset.is_some() || !self.limit.is_empty())
    }

    fn reading(&self, name: &str) -> Reading {
        let limit = self.limit.iter().filter_map(|value| first_number(value)).min();
        let window = period(name);
        let uncounted = window.is_none() && !REQUESTS.contains(&name);
        Reading { limit, window, remaining: self.remaining, reset: self.reset, uncounted }
    }
}

/// Seconds of a window that a limit is called after.
fn period(name: &str) -> Option<u32> {
    match name {
        "second" => Some(1),
        "minute" => Some(60),
        "hour" => Some(3_600),
        "day" => Some(86_400),
        _ => None,
    }
}
