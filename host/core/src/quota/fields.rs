//! What a caller reads of rate limits: a [`Standing`] as header fields, the same for every answer that has them.
//!
//! - `RateLimit-Policy` and `RateLimit` as lists of strings (draft-ietf-httpapi-ratelimit-headers 09 and later);
//! - `RateLimit-Limit`, `-Remaining`, `-Reset` (up to draft 06) of the one policy that has the least left, the reset
//!   in seconds to wait;
//! - `Retry-After` in seconds, while nothing may go.
//!
//! Headers with other names, a vendor's own among them, are not touched.

use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use sfv::{Integer, KeyRef, ListSerializer, StringRef};

use super::{Allowance, Standing, WAIT_MAX, whole_seconds};

/// What is left.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// What there is.
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// The older form of what there is.
pub const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
/// The older form of what is left.
pub const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
/// The older form of when there is more.
pub const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// The name of the policy that says: wait, for a reason of the provider's that has no name.
const BLOCKED: &str = "blocked";

/// What an answer has already, in the current form. It stays.
#[derive(Clone, Copy, Default, Debug)]
pub struct Own {
    /// `RateLimit-Policy`.
    pub policies: bool,
    /// `RateLimit`.
    pub remainders: bool,
}

/// Sets the fields. A `Retry-After` in seconds that asks for more, and for no more than [`WAIT_MAX`], stays.
pub fn write(headers: &mut HeaderMap, standing: &Standing, own: Own) {
    let blocked = standing.blocked_for.map(whole_seconds);
    if !own.policies {
        set(headers, RATE_LIMIT_POLICY, policies(standing));
    }
    if !own.remainders {
        set(headers, RATE_LIMIT, remainders(standing, blocked));
    }
    trio(headers, standing, blocked);
    if let Some(seconds) = blocked
        && asked(headers).is_none_or(|asked| asked < seconds)
    {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
}

/// `"burst";q=100;w=60`
fn policies(standing: &Standing) -> Option<String> {
    let mut list = ListSerializer::new();
    for policy in &standing.policies {
        let (Ok(name), Some(quota)) = (StringRef::from_str(&policy.name), policy.quota) else {
            continue;
        };
        let item = list.bare_item(name).parameter(KeyRef::constant("q"), integer(quota));
        if let Some(window) = policy.window {
            let _ = item.parameter(KeyRef::constant("w"), integer(window.into()));
        }
    }
    list.finish()
}

/// `"burst";r=50;t=30`
fn remainders(standing: &Standing, blocked: Option<u64>) -> Option<String> {
    let said = |wait| {
        let used_up = |policy: &&Allowance| policy.remaining == Some(0);
        standing.policies.iter().filter(used_up).any(|policy| policy.reset >= Some(wait))
    };
    let unsaid = blocked.filter(|wait| !said(*wait));
    let known = standing
        .policies
        .iter()
        .filter_map(|policy| Some((&*policy.name, policy.remaining?, policy.reset)));
    let mut list = ListSerializer::new();
    for (name, remaining, reset) in known.chain(unsaid.map(|wait| (BLOCKED, 0, Some(wait)))) {
        let Ok(name) = StringRef::from_str(name) else { continue };
        let item = list.bare_item(name).parameter(KeyRef::constant("r"), integer(remaining));
        if let Some(reset) = reset {
            let _ = item.parameter(KeyRef::constant("t"), integer(reset));
        }
    }
    list.finish()
}

/// The older three. They speak of one policy, so what is not known of it is taken away, not left to speak of
/// another.
fn trio(headers: &mut HeaderMap, standing: &Standing, blocked: Option<u64>) {
    let tightest = standing
        .policies
        .iter()
        .filter(|policy| policy.remaining.is_some())
        .min_by_key(|policy| (policy.remaining, std::cmp::Reverse(policy.reset)));
    let (remaining, reset) = match (blocked, tightest) {
        (Some(wait), policy) => {
            let used_up = policy.filter(|policy| policy.remaining == Some(0));
            (Some(0), used_up.and_then(|policy| policy.reset).max(Some(wait)))
        }
        (None, Some(policy)) => (policy.remaining, policy.reset),
        (None, None) => return,
    };
    let limit = tightest.and_then(|policy| policy.quota);
    for (name, value) in [(LIMIT, limit), (REMAINING, remaining), (RESET, reset)] {
        match value {
            Some(value) => drop(headers.insert(name, HeaderValue::from(value))),
            None => drop(headers.remove(name)),
        }
    }
}

/// The provider's own `Retry-After`, if it is in seconds and can be meant.
fn asked(headers: &HeaderMap) -> Option<u64> {
    let asked = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok();
    asked.filter(|seconds| *seconds <= WAIT_MAX.as_secs())
}

fn set(headers: &mut HeaderMap, name: HeaderName, text: Option<String>) {
    // A list of ASCII strings and integers is a header's value.
    if let Some(value) = text.and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(name, value);
    }
}

/// Structured fields have integers of 15 digits.
fn integer(value: u64) -> Integer {
    Integer::try_from(value).unwrap_or(Integer::MAX)
}
