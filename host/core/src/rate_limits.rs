//! How a provider limits its rate, as a descriptor states it: how much, in which headers, by which errors.
//!
//! Data, part of the descriptor's format. What every provider may send (`RateLimit`, `X-RateLimit-…`, `Retry-After`) is
//! not stated here: the host reads it anyway. These are one provider's own habits.

use serde::{Deserialize, Serialize};

use crate::descriptor::{InvalidDescriptor, invalid};

/// Entries of each list. The most that a studied provider needs is four.
pub(crate) const ENTRIES_MAX: usize = 16;
/// Values of one error. The most that a studied provider has is six.
pub(crate) const VALUES_MAX: usize = 64;
/// Bytes of a header's name, a pointer or a value.
pub(crate) const TEXT_BYTES_MAX: usize = 256;

/// How many requests the provider takes from one account in a time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RateLimit {
    /// What it is called in answers, such as `burst`.
    pub name: String,
    /// Requests.
    pub quota: u32,
    /// Seconds.
    pub window: u32,
}

/// Headers in which a provider says how one limit stands. Each field names a header; at least one is there. Lists, as of
/// several windows, are read place by place, and the one with the least left counts.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RateLimitHeaders {
    /// The limit they speak of. One of this name in `rate-limits` lends its window where none is told. Default:
    /// `default`, which is also what headers without a name speak of.
    #[serde(default = "default_name")]
    pub name: String,
    /// Requests in a window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// Requests left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining: Option<String>,
    /// Requests used, of `limit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<String>,
    /// Used and limit in one: `39/40`, or `api-usage=14999/15000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// Which part of `bucket` counts: `api-usage` in `api-usage=1/9; per-app=2/9`. Default: the one with the least left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket_key: Option<String>,
    /// Length of the window: seconds, or a duration such as `1m30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    /// Length of the window in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_ms: Option<String>,
    /// When there is more: seconds to wait, seconds or milliseconds since 1970, a duration, a date of HTTP or of RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset: Option<String>,
    /// Milliseconds until there is more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_ms: Option<String>,
    /// How long to wait after a refusal, in the forms of `reset`. Beside `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<String>,
    /// The same in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<String>,
}

/// An error of the provider's that means: too often. It is known by a member of the body, by a header, by a text in the body,
/// or by its status alone.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RateLimitError {
    /// Statuses that it comes with. Default: all from 400 to 599. Only where 2xx is named is a success looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<u16>,
    /// Where in the body its name stands: a JSON pointer (RFC 6901), such as `/0/errorCode`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Or the header that has its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// What it is called there, compared as a whole. Numbers and booleans as JSON spells them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// Or what stands anywhere in the body, which need not be JSON: `<Code>SlowDown</Code>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub texts: Vec<String>,
}

fn default_name() -> String {
    "default".to_owned()
}

/// Checks what the types cannot say.
pub(crate) fn check(
    limits: &[RateLimit],
    headers: &[RateLimitHeaders],
    errors: &[RateLimitError],
) -> Result<(), InvalidDescriptor> {
    for (field, length) in
        [("rate-limit-headers", headers.len()), ("rate-limit-errors", errors.len())]
    {
        if length > ENTRIES_MAX {
            return Err(invalid(field, format!("has more than {ENTRIES_MAX} entries")));
        }
    }
    for limit in limits {
        if !is_name(&limit.name) || limit.quota == 0 || limit.window == 0 {
            let field = format!("rate-limits.{}", limit.name);
            return Err(invalid(field, "needs a name, and a quota and a window above 0"));
        }
    }
    for (index, one) in headers.iter().enumerate() {
        one.check().map_err(|problem| invalid(format!("rate-limit-headers.{index}"), problem))?;
    }
    for (index, error) in errors.iter().enumerate() {
        error.check().map_err(|problem| invalid(format!("rate-limit-errors.{index}"), problem))?;
    }
    Ok(())
}

// === impl RateLimitHeaders ===

impl RateLimitHeaders {
    /// Every header that is named.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let Self {
            limit,
            remaining,
            used,
            bucket,
            window,
            window_ms,
            reset,
            reset_ms,
            wait,
            wait_ms,
            ..
        } = self;
        [limit, remaining, used, bucket, window, window_ms, reset, reset_ms, wait, wait_ms]
            .into_iter()
            .filter_map(Option::as_deref)
    }

    fn check(&self) -> Result<(), &'static str> {
        if !is_name(&self.name) {
            return Err("has a `name` that is not printable ASCII without quotes");
        }
        if self.names().next().is_none() {
            return Err("names no header");
        }
        if !self.names().all(is_header) {
            return Err("names a header that cannot be one");
        }
        if self.used.is_some() && self.limit.is_none() {
            return Err("has `used` without `limit`");
        }
        if self.bucket_key.is_some() && self.bucket.is_none() {
            return Err("has `bucket-key` without `bucket`");
        }
        Ok(())
    }
}

// === impl RateLimitError ===

impl RateLimitError {
    /// Whether it is looked for in a response with this status.
    pub fn comes_with(&self, status: u16) -> bool {
        match &*self.statuses {
            [] => (400..600).contains(&status),
            statuses => statuses.contains(&status),
        }
    }

    /// Whether it is known by its status alone.
    pub const fn is_status(&self) -> bool {
        self.pointer.is_none() && self.header.is_none() && self.texts.is_empty()
    }

    fn check(&self) -> Result<(), &'static str> {
        let refusals = !self.statuses.is_empty() && self.statuses.iter().all(|it| *it >= 400);
        match (&self.pointer, &self.header, &*self.texts) {
            (Some(pointer), None, []) if pointer.starts_with('/') && is_short(pointer) => {
                Self::check_list(&self.values)?;
            }
            (None, Some(header), []) if is_header(header) => Self::check_list(&self.values)?,
            (None, None, texts) if self.values.is_empty() => {
                match texts {
                    // Every success would be one.
                    [] if !refusals => {
                        return Err(
                            "needs a JSON pointer, a header, `texts`, or `statuses` of 400 to 599",
                        );
                    }
                    [] => {}
                    // A success may be long, and is not read for a text that is not there.
                    _ if !refusals && !self.statuses.is_empty() => {
                        return Err("has `texts` at a status that is not 400 to 599");
                    }
                    texts => Self::check_list(texts)?,
                }
            }
            _ => {
                return Err(
                    "needs a JSON pointer that begins with `/`, a header, or `texts`, and not both; \
                    `values` go with the first two",
                );
            }
        }
        if self.statuses.len() > VALUES_MAX
            || !self.statuses.iter().all(|status| (200..600).contains(status))
        {
            return Err("has a status that is not 200 to 599");
        }
        Ok(())
    }

    fn check_list(values: &[String]) -> Result<(), &'static str> {
        if values.is_empty() || values.len() > VALUES_MAX {
            return Err("needs 1 to 64 values");
        }
        if !values.iter().all(|value| is_short(value)) {
            return Err("has a value that is empty or over 256 bytes");
        }
        Ok(())
    }
}

/// What a structured field may have as a string without escapes.
fn is_name(name: &str) -> bool {
    is_short(name) && name.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}

/// RFC 9110 section 5.1.
fn is_header(name: &str) -> bool {
    is_short(name) && http::HeaderName::from_bytes(name.as_bytes()).is_ok()
}

fn is_short(text: &str) -> bool {
    (1..=TEXT_BYTES_MAX).contains(&text.len())
}

#[cfg(test)]
mod tests {
    use crate::Descriptor;

    fn parse(fields: &str) -> Result<Descriptor, String> {
        let text = format!(r#"{{"format":1,"name":"a/b","version":"1.0.0",{fields}}}"#);
        Descriptor::parse(&text).map_err(|error| error.to_string())
    }

    #[test]
    fn habits_of_a_provider_are_read_and_checked() {
        let good = [
            r#""rate-limit-headers":[{"limit":"X-Max","remaining":"x-left","window-ms":"x-ms"}]"#,
            r#""rate-limit-headers":[{"name":"daily","bucket":"usage","bucket-key":"api"}]"#,
            r#""rate-limit-errors":[{"pointer":"/0/code","values":["SLOW"],"statuses":[403,200]}]"#,
            r#""rate-limit-errors":[{"header":"x-reason","values":["slow"]}]"#,
            r#""rate-limit-errors":[{"statuses":[430]}]"#,
            r#""rate-limit-errors":[{"texts":["<Code>SlowDown</Code>"]}]"#,
            r#""rate-limit-errors":[{"texts":["<Code>SlowDown</Code>"],"statuses":[400,503]}]"#,
        ];
        for fields in good {
            let descriptor = parse(fields).unwrap();
            let text = serde_json::to_string(&descriptor).unwrap();
            assert_eq!(Descriptor::parse(&text).unwrap(), descriptor);
        }
        let name = parse(good[0]).unwrap().rate_limit_headers[0].name.clone();
        assert_eq!(name, "default");
        for (fields, problem) in [
            (r#""rate-limit-headers":[{"name":"x"}]"#, "names no header"),
            (r#""rate-limit-headers":[{"name":"","reset":"x"}]"#, "`name`"),
            (r#""rate-limit-headers":[{"reset":"a b"}]"#, "cannot be one"),
            (r#""rate-limit-headers":[{"used":"x"}]"#, "`used` without"),
            (r#""rate-limit-headers":[{"reset":"x","bucket-key":"k"}]"#, "`bucket-key` without"),
            (r#""rate-limit-errors":[{"values":["x"]}]"#, "JSON pointer"),
            (r#""rate-limit-errors":[{"pointer":"code","values":["x"]}]"#, "JSON pointer"),
            (r#""rate-limit-errors":[{"pointer":"/a"}]"#, "1 to 64 values"),
            (r#""rate-limit-errors":[{}]"#, "`statuses` of 400 to 599"),
            (r#""rate-limit-errors":[{"statuses":[200,430]}]"#, "`statuses` of 400 to 599"),
            (r#""rate-limit-errors":[{"statuses":[430],"values":["x"]}]"#, "`values` go with"),
            (r#""rate-limit-errors":[{"texts":["x"],"values":["x"]}]"#, "`values` go with"),
            (r#""rate-limit-errors":[{"texts":["x"],"header":"b","values":["x"]}]"#, "not both"),
            (r#""rate-limit-errors":[{"texts":["x"],"statuses":[200]}]"#, "not 400 to 599"),
            (r#""rate-limit-errors":[{"texts":[""]}]"#, "empty"),
            (r#""rate-limit-errors":[{"pointer":"/a","header":"b","values":["x"]}]"#, "not both"),
            (r#""rate-limit-errors":[{"pointer":"/a","values":[]}]"#, "values"),
            (r#""rate-limit-errors":[{"pointer":"/a","values":[""]}]"#, "empty"),
            (r#""rate-limit-errors":[{"pointer":"/a","values":["x"],"statuses":[100]}]"#, "status"),
        ] {
            let error = parse(fields).unwrap_err();
            assert!(error.contains(problem), "{fields}: {error}");
        }
    }

    #[test]
    fn lists_are_limited_at_the_number() {
        let many = |count: usize| {
            let one = r#"{"reset":"x"}"#;
            parse(&format!(r#""rate-limit-headers":[{}]"#, vec![one; count].join(",")))
        };
        assert!(many(super::ENTRIES_MAX).is_ok());
        assert!(many(super::ENTRIES_MAX + 1).is_err());
        let values = |count: usize| {
            let values = vec![r#""v""#; count].join(",");
            parse(&format!(r#""rate-limit-errors":[{{"header":"x","values":[{values}]}}]"#))
        };
        assert!(values(super::VALUES_MAX).is_ok());
        assert!(values(super::VALUES_MAX + 1).is_err());
    }

    #[test]
    fn an_error_is_looked_for_where_it_may_be() {
        let with = |statuses: &str| {
            let fields =
                format!(r#""rate-limit-errors":[{{"header":"x","values":["v"]{statuses}}}]"#);
            parse(&fields).unwrap().rate_limit_errors.remove(0)
        };
        let any = with("");
        assert_eq!(
            [200, 400, 403, 599].map(|status| any.comes_with(status)),
            [false, true, true, true]
        );
        let some = with(r#","statuses":[200,403]"#);
        assert_eq!(
            [200, 400, 403, 201].map(|status| some.comes_with(status)),
            [true, false, true, false]
        );
    }
}
