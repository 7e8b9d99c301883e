//! Values of headers about rate limits: numbers, moments and lengths of time, in every spelling that providers use.
//!
//! A moment is read as how far ahead it lies. What is over already, or further than [`WAIT_MAX`], is no moment.

use std::time::{Duration, SystemTime};

use http::header::{DATE, HeaderMap, HeaderName};
use http::{HeaderValue, header::AsHeaderName};
use keyway_core::quota::WAIT_MAX;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The values of a header that are text.
pub(super) fn texts(headers: &HeaderMap, name: impl AsHeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(str::trim)
}

pub(super) fn split(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim)
}

/// The limit in `100, 50;w=1, 1000;w=3600`, which is the first.
pub(super) fn first_number(value: &HeaderValue) -> Option<u64> {
    let first = value.to_str().ok()?.split([',', ';']).next()?;
    number(first.trim()).map(whole)
}

/// Digits, perhaps with a fraction.
pub(super) fn number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    text.parse().ok().filter(|_| plain)
}

/// Rounded down, which is careful about quotas and remainders.
pub(super) fn whole(number: f64) -> u64 {
    // Saturates.
    number as u64
}

/// Used and limit of `39/40`, `api-usage=14999/15000` or `used 3/9 (app=x)`: of each part with this key, or of each that has
/// them.
pub(super) fn buckets<'t>(
    text: &'t str,
    key: Option<&'t str>,
) -> impl Iterator<Item = (u64, u64)> + use<'t> {
    let fraction = |part: &str| {
        let (used, limit) = part.split_once('/')?;
        let used = used.trim_end().rsplit(|c: char| !c.is_ascii_digit() && c != '.').next()?;
        let limit = limit.trim_start().split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
        // What is used is rounded up: careful about what is left.
        Some((whole(number(used)?.ceil()), whole(number(limit)?)))
    };
    text.split([',', ';']).map(str::trim).filter_map(move |part| match key {
        None => fraction(part),
        Some(key) => {
            let (name, rest) = part.split_once(['=', ':'])?;
            fraction(rest).filter(|_| name.trim().eq_ignore_ascii_case(key))
        }
    })
}

/// A moment, as how far ahead it lies: seconds to wait, seconds or milliseconds since 1970, a duration such as `6m0s`, or
/// a date of HTTP (RFC 9110 section 5.6.7) or of RFC 3339.
pub(super) fn when(text: &str, reference: f64) -> Option<Duration> {
    if let Some(number) = number(text) {
        return ahead(number, reference);
    }
    if let Ok(date) = httpdate::parse_http_date(text) {
        return within_a_day(seconds(date.into()) - reference);
    }
    if let Some(date) = rfc3339(text) {
        return within_a_day(seconds(date) - reference);
    }
    within_a_day(duration(text)?)
}

/// The moments in a header that may have several. What is none has its place all the same.
pub(super) fn moments(value: &HeaderValue, reference: f64) -> Vec<Option<Duration>> {
    // A date of HTTP has a comma of its own.
    let whole = value.to_str().ok().and_then(|text| when(text.trim(), reference));
    match whole {
        Some(_) => vec![whole],
        None => split(value).map(|text| when(text, reference)).collect(),
    }
}

/// The value of `Retry-After`: beyond the forms of a moment, an exponent is understood, because a wait misread as none
/// does harm.
pub(super) fn wait(text: &str, reference: f64) -> Option<Duration> {
    let loose = || {
        let numeric = text.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
        ahead(text.parse().ok().filter(|_| numeric)?, reference)
    };
    when(text, reference).or_else(loose)
}

/// A length of time: seconds, or a duration.
pub(super) fn length(text: &str) -> Option<f64> {
    number(text).or_else(|| duration(text))
}

/// So many milliseconds, as a moment ahead.
pub(super) fn milliseconds(text: &str) -> Option<Duration> {
    within_a_day(number(text)? / 1e3)
}

/// Seconds in `1h2m3.5s`, `250ms` and the like.
fn duration(text: &str) -> Option<f64> {
    let (mut rest, mut total) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (amount, after) = rest.split_at(digits);
        let unit_ends = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_ends);
        let factor = match unit.trim() {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" | "sec" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        total += number(amount)? * factor;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// RFC 3339, also without seconds, and without a zone, which then is UTC.
fn rfc3339(text: &str) -> Option<OffsetDateTime> {
    let parse = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
    if !text.is_ascii() || text.len() < 16 {
        return None;
    }
    let text = &text.replacen(' ', "T", 1);
    let (minute, rest) = text.split_at(16);
    parse(text)
        .or_else(|| parse(&format!("{text}Z")))
        .or_else(|| parse(&format!("{minute}:00{rest}")))
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

/// When the response was made, by the provider's clock.
pub(super) fn date(headers: &HeaderMap) -> Option<OffsetDateTime> {
    let date: SystemTime =
        texts(headers, &DATE).find_map(|text| httpdate::parse_http_date(text).ok())?;
    Some(date.into())
}

/// Since 1970.
pub(super) fn seconds(at: OffsetDateTime) -> f64 {
    at.unix_timestamp_nanos() as f64 / 1e9
}

pub(super) fn longest(
    headers: &HeaderMap,
    name: &HeaderName,
    read: impl Fn(&str) -> Option<Duration>,
) -> Option<Duration> {
    texts(headers, name).filter_map(read).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: f64 = 1_780_315_200.0;

    #[test]
    fn a_moment_has_many_spellings() {
        for (text, expected) in [
            ("90", Some(90.0)),
            ("1780315290", Some(90.0)),
            ("1780315290000", Some(90.0)),
            ("2026-06-01T12:01:30Z", Some(90.0)),
            ("2026-06-01T12:01:30.5Z", Some(90.5)),
            ("2026-06-01T14:01:30+02:00", Some(90.0)),
            ("2026-06-01 12:01:30Z", Some(90.0)),
            ("2026-06-01T12:01:30", Some(90.0)),
            ("2026-06-01T12:02Z", Some(120.0)),
            ("Mon, 01 Jun 2026 12:01:30 GMT", Some(90.0)),
            ("1m30s", Some(90.0)),
            ("6m0s", Some(360.0)),
            ("1.5s", Some(1.5)),
            ("250ms", Some(0.25)),
            ("1h0m0.5s", Some(3_600.5)),
            ("24h", Some(86_400.0)),
            ("24h1s", None),
            ("2026-06-01T11:59:59Z", None),
            ("Mon, 01 Jun 2026 11:59:59 GMT", None),
            ("2026-13-01T00:00:00Z", None),
            ("1m30", None),
            ("m", None),
            ("1x", None),
            ("-1s", None),
            ("1s 2", None),
            ("", None),
            (".", None),
            ("日曜日のこの時刻です", None),
        ] {
            let got = when(text, WALL).map(|wait| wait.as_secs_f64());
            assert_eq!(got, expected, "{text:?}");
        }
    }

    #[test]
    fn a_bucket_has_what_is_used_and_what_there_is() {
        let two = "api-usage=1/5; per-app=17/250(appName=a/b)";
        for (text, key, expected) in [
            ("39/40", None, &[(39, 40)][..]),
            (" 39 / 40 ", None, &[(39, 40)]),
            ("38.2/40.0", None, &[(39, 40)]),
            ("api-usage=14999/15000", None, &[(14_999, 15_000)]),
            ("1/5, 40/40", None, &[(1, 5), (40, 40)]),
            (two, None, &[(1, 5), (17, 250)]),
            (two, Some("per-app"), &[(17, 250)]),
            (two, Some("API-Usage"), &[(1, 5)]),
            ("api-usage=1/5", Some("other"), &[]),
            ("40", None, &[]),
            ("a/b", None, &[]),
            ("/", None, &[]),
        ] {
            assert_eq!(buckets(text, key).collect::<Vec<_>>(), expected, "{text:?}");
        }
    }
}
