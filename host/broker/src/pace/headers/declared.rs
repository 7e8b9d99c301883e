//! The headers that a release declares as its provider's own.

use std::time::Duration;

use http::header::HeaderMap;
use keyway_core::Descriptor;
use keyway_core::descriptor::{RateLimit, RateLimitHeaders};

use super::values::{buckets, length, milliseconds, moments, number, texts, wait, whole};
use super::{Reading, Told, window};

/// What a release declares of its provider's limits.
#[derive(Clone, Copy, Default)]
pub(crate) struct Habits<'a> {
    limits: &'a [RateLimit],
    headers: &'a [RateLimitHeaders],
}

// === impl Habits ===

impl<'a> Habits<'a> {
    /// Of a release.
    pub(crate) fn of(descriptor: &'a Descriptor) -> Self {
        Self { limits: &descriptor.rate_limits, headers: &descriptor.rate_limit_headers }
    }

    /// Whether a header is one that is read as declared, and as nothing else.
    pub(super) fn has(self, name: &str) -> bool {
        self.headers.iter().any(|one| one.names().any(|own| own.eq_ignore_ascii_case(name)))
    }

    /// Whether any of them is there.
    pub(super) fn speak(self, headers: &HeaderMap) -> bool {
        self.headers.iter().any(|one| one.names().any(|name| headers.contains_key(name)))
    }

    /// Reads them. Returns the wait that they ask for.
    pub(super) fn read(
        self,
        headers: &HeaderMap,
        reference: f64,
        told: &mut Told,
    ) -> Option<Duration> {
        let mut asked = None;
        for one in self.headers {
            let mut reading = reading(one, headers, reference);
            if reading != Reading::default() {
                let declared = self.limits.iter().find(|limit| limit.name == one.name);
                reading.window = reading.window.or(declared.map(|limit| limit.window));
                told.add(&one.name, reading);
            }
            let plain = all(headers, &one.wait).filter_map(|text| wait(text, reference)).max();
            let ms = all(headers, &one.wait_ms).filter_map(milliseconds).max();
            asked = asked.max(plain).max(ms);
        }
        asked
    }
}

/// What the headers say. Where they have lists, as of several windows, what stands at one place in each belongs together,
/// and the window with the least left is the one that counts.
fn reading(one: &RateLimitHeaders, headers: &HeaderMap, reference: f64) -> Reading {
    let windows = windows(one, headers);
    let left = windows.iter().filter_map(|window| window.remaining).min();
    let tight = |window: &&Window| left.is_none() || window.remaining == left;
    let limit = windows.iter().filter(tight).filter_map(|window| window.limit).min();
    let limit = limit.or_else(|| windows.iter().filter_map(|window| window.limit).min());

    let seconds = all(headers, &one.window).flat_map(listed).map(length);
    let ms = all(headers, &one.window_ms).flat_map(listed).map(|ms| Some(number(ms)? / 1e3));
    let lengths = |s: Option<f64>| s.and_then(|s| window(whole(s.ceil())));
    let of_seconds = longest(&windows, left, seconds.map(lengths).collect());
    let of_ms = longest(&windows, left, ms.map(lengths).collect());

    let values = one.reset.iter().flat_map(|name| headers.get_all(name.as_str()));
    let resets = values.flat_map(|value| moments(value, reference)).collect();
    let ms = all(headers, &one.reset_ms).flat_map(listed).map(milliseconds).collect();
    let reset = longest(&windows, left, resets).max(longest(&windows, left, ms));
    Reading { limit, window: of_seconds.max(of_ms), remaining: left, reset, uncounted: false }
}

/// What is said of one window.
#[derive(Clone, Copy)]
struct Window {
    limit: Option<u64>,
    remaining: Option<u64>,
}

/// Each by its place in the lists. Of lists that differ in length, only what has its like is of use.
fn windows(one: &RateLimitHeaders, headers: &HeaderMap) -> Vec<Window> {
    let column = |name| all(headers, name).flat_map(listed).map(number).collect::<Vec<_>>();
    let (limits, used, left) = (column(&one.limit), column(&one.used), column(&one.remaining));
    let cell = |column: &[Option<f64>], place| column.get(place).copied().flatten();
    let places = 0..limits.len().max(left.len());
    let paired = places.map(|place| {
        let limit = cell(&limits, place).map(whole);
        let used = cell(&used, place).map(|used| whole(used.ceil()));
        let unused = limit.zip(used).map(|(limit, used)| limit.saturating_sub(used));
        let remaining = super::least(cell(&left, place).map(whole), unused);
        Window { limit, remaining }
    });
    let buckets =
        all(headers, &one.bucket).flat_map(|text| buckets(text, one.bucket_key.as_deref()));
    let buckets = buckets.map(|(used, limit)| Window {
        limit: Some(limit),
        remaining: Some(limit.saturating_sub(used)),
    });
    paired.chain(buckets).collect()
}

/// The longest of a list: of the windows with the least left, where it has one for each window, and otherwise of all.
fn longest<T: Ord + Copy>(
    windows: &[Window],
    left: Option<u64>,
    list: Vec<Option<T>>,
) -> Option<T> {
    let by_window = left.is_some() && list.len() == windows.len();
    let counts = |place: usize| !by_window || windows[place].remaining == left;
    list.into_iter()
        .enumerate()
        .filter(|(place, _)| counts(*place))
        .filter_map(|(_, one)| one)
        .max()
}

fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim)
}

fn all<'a>(headers: &'a HeaderMap, name: &'a Option<String>) -> impl Iterator<Item = &'a str> {
    name.iter().flat_map(move |name| texts(headers, name.as_str()))
}
