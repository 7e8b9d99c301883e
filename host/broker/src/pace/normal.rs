//! What a caller reads of rate limits, in the same form whatever the provider's is.
//!
//! - `RateLimit-Policy` and `RateLimit` as lists of strings: the current form. What the provider has in this
//!   form stays as it is;
//! - `RateLimit-Limit`, `-Remaining`, `-Reset` of the one policy that has the least left, the reset in
//!   seconds to wait;
//! - `Retry-After` in seconds, while nothing may go.
//!
//! Headers with other names, a vendor's own among them, are not touched.

use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use sfv::{Integer, KeyRef, ListSerializer, StringRef};

use super::account::ceil;
use super::headers::{LIMIT, RATE_LIMIT, RATE_LIMIT_POLICY, REMAINING, RESET, current};
use super::{Allowance, Standing};

/// The name of the policy that says: wait, for a reason of the provider's that has no name.
const BLOCKED: &str = "blocked";

/// Sets the headers. Those of the provider that are already in the current form stay; so does a `Retry-After`
/// in seconds that asks for more.
pub(crate) fn normalise(headers: &mut HeaderMap, standing: &Standing) {
    let blocked = standing.blocked_for.map(ceil);
    if !current(headers, &RATE_LIMIT_POLICY, "q") {
        set(headers, RATE_LIMIT_POLICY, policies(standing));
    }
    if !current(headers, &RATE_LIMIT, "r") {
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

/// The provider's own `Retry-After`, if it is in seconds.
fn asked(headers: &HeaderMap) -> Option<u64> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn allowance(name: &str, remaining: Option<u64>, reset: Option<u64>) -> Allowance {
        Allowance { name: name.into(), quota: Some(100), window: Some(10), remaining, reset }
    }

    fn standing(policies: &[Allowance], blocked_for: Option<Duration>) -> Standing {
        Standing { policies: policies.to_vec(), blocked_for, waiting: 0 }
    }

    fn normal(pairs: &[(&'static str, &str)], standing: &Standing) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, text) in pairs {
            headers.append(*name, text.parse().unwrap());
        }
        normalise(&mut headers, standing);
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", value.to_str().unwrap())
        };
        let mut lines: Vec<_> = headers.iter().map(line).collect();
        lines.sort();
        lines
    }

    #[test]
    fn both_forms_are_written() {
        let daily = Allowance { quota: None, window: None, ..allowance("daily", Some(7), None) };
        let standing = standing(&[allowance("burst", Some(42), Some(9)), daily], None);
        let expected = [
            "ratelimit-policy: \"burst\";q=100;w=10",
            "ratelimit-remaining: 7",
            "ratelimit: \"burst\";r=42;t=9, \"daily\";r=7",
            "x-vendor: kept",
        ];
        // The trio is of one policy: a limit and a reset of another's would be lies.
        let provider = [("x-vendor", "kept"), ("ratelimit-limit", "9"), ("ratelimit-reset", "1")];
        assert_eq!(normal(&provider, &standing), expected);
    }

    #[test]
    fn nothing_known_is_nothing_said() {
        let provider = [("ratelimit", "limit=1"), ("ratelimit-reset", "x"), ("retry-after", "3")];
        let expected = ["ratelimit-reset: x", "ratelimit: limit=1", "retry-after: 3"];
        assert_eq!(normal(&provider, &standing(&[], None)), expected);
    }

    #[test]
    fn the_current_form_of_the_provider_stays() {
        let standing = standing(&[allowance("burst", Some(42), Some(9))], None);
        let own = [("ratelimit", "\"x\";r=1;t=2;pk=:YQ==:"), ("ratelimit-policy", "\"x\";q=5")];
        let lines = normal(&own, &standing);
        assert!(lines.contains(&"ratelimit: \"x\";r=1;t=2;pk=:YQ==:".to_owned()), "{lines:?}");
        assert!(lines.contains(&"ratelimit-policy: \"x\";q=5".to_owned()), "{lines:?}");
        // Those before it do not: a dictionary, tokens, numbers.
        for (name, old) in [
            ("ratelimit", "limit=100, remaining=50, reset=30"),
            ("ratelimit", "burst;r=50;t=30"),
            ("ratelimit-policy", "100;w=10"),
        ] {
            let lines = normal(&[(name, old)], &standing);
            assert!(!lines.iter().any(|line| line.ends_with(&format!(": {old}"))), "{lines:?}");
            assert_eq!(lines.len(), 5, "{lines:?}");
        }
    }

    #[test]
    fn a_block_is_said_in_every_form() {
        let blocked = standing(&[], Some(Duration::from_millis(4_200)));
        let expected = [
            "ratelimit-remaining: 0",
            "ratelimit-reset: 5",
            "ratelimit: \"blocked\";r=0;t=5",
            "retry-after: 5",
        ];
        assert_eq!(normal(&[], &blocked), expected);
        let burst = allowance("burst", Some(0), Some(5));
        let known = standing(&[burst], Some(Duration::from_secs(5)));
        let lines = normal(&[("retry-after", "Mon, 01 Jun 2026 12:00:20 GMT")], &known);
        let expected = [
            "ratelimit-limit: 100",
            "ratelimit-policy: \"burst\";q=100;w=10",
            "ratelimit-remaining: 0",
            "ratelimit-reset: 5",
            "ratelimit: \"burst\";r=0;t=5",
            "retry-after: 5",
        ];
        assert_eq!(lines, expected);
        for (own, expected) in [("3", "5"), ("9", "9"), ("soon", "5")] {
            let lines = normal(&[("retry-after", own)], &known);
            assert!(lines.contains(&format!("retry-after: {expected}")), "{own}");
        }
    }

    #[test]
    fn numbers_beyond_structured_fields_are_cut() {
        let huge = Allowance { quota: Some(u64::MAX), ..allowance("x", Some(u64::MAX), None) };
        let lines = normal(&[], &standing(&[huge], None));
        assert!(lines.contains(&"ratelimit: \"x\";r=999999999999999".to_owned()), "{lines:?}");
    }
}
