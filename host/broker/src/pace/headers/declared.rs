//! The headers that a release declares as its provider's own.

use std::time::Duration;

use http::header::HeaderMap;
use keyway_core::Descriptor;
use keyway_core::descriptor::{RateLimit, RateLimitHeaders};

use super::values::{bucket, length, milliseconds, moments, number, texts, wait, whole};
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

fn reading(one: &RateLimitHeaders, headers: &HeaderMap, reference: f64) -> Reading {
    let numbers = |name| all(headers, name).flat_map(|text| text.split(',')).map(str::trim);
    let least = |name| numbers(name).filter_map(number).map(whole).min();
    let mut limit = least(&one.limit);
    let mut remaining = least(&one.remaining);
    let used = numbers(&one.used).filter_map(number).map(|used| whole(used.ceil())).max();
    let left = limit.zip(used).map(|(limit, used)| limit.saturating_sub(used));
    remaining = super::least(remaining, left);
    for (used, most) in
        all(headers, &one.bucket).filter_map(|text| bucket(text, one.bucket_key.as_deref()))
    {
        limit = super::least(limit, Some(most));
        remaining = super::least(remaining, Some(most.saturating_sub(used)));
    }
    let seconds = all(headers, &one.window).filter_map(length);
    let ms = all(headers, &one.window_ms).filter_map(number).map(|ms| ms / 1e3);
    let window = seconds.chain(ms).filter_map(|s| window(whole(s.ceil()))).max();
    let values = one.reset.iter().flat_map(|name| headers.get_all(name.as_str()));
    let reset = values.filter_map(|value| moments(value, reference)).max();
    let reset = reset.max(all(headers, &one.reset_ms).filter_map(milliseconds).max());
    Reading { limit, window, remaining, reset, uncounted: false }
}

fn all<'a>(headers: &'a HeaderMap, name: &'a Option<String>) -> impl Iterator<Item = &'a str> {
    name.iter().flat_map(move |name| texts(headers, name.as_str()))
}
