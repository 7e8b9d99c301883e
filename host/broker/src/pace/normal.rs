//! A provider's answer in the form that every answer has, whatever the provider's own is.
//!
//! What the form is, [`keyway_core::quota::fields`] says. What the provider has in the current form of it stays as it
//! is; so does a `Retry-After` in seconds that asks for more.

use http::header::HeaderMap;
use keyway_core::quota::Standing;
use keyway_core::quota::fields::{Own, RATE_LIMIT, RATE_LIMIT_POLICY, write};

use super::headers::current;

/// Sets the headers.
pub(crate) fn normalise(headers: &mut HeaderMap, standing: &Standing) {
    if *standing == Standing::default() {
        return;
    }
    let own = Own {
        policies: current(headers, &RATE_LIMIT_POLICY, "q"),
        remainders: current(headers, &RATE_LIMIT, "r"),
    };
    write(headers, standing, own);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header::{HeaderName, HeaderValue};
    use keyway_core::quota::Allowance;

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
