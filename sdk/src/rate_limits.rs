//! How the provider limits its rate, beyond what every host reads anyway: its own headers, and its own errors.

use serde::Serialize;

/// Headers in which the provider says how one limit stands, for
/// [`Descriptor::rate_limit_headers`](crate::Descriptor::rate_limit_headers).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RateLimitHeaders {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window_ms: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reset: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reset_ms: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wait: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wait_ms: Option<String>,
}

/// An error of the provider's that means "too often", for
/// [`Descriptor::rate_limit_error`](crate::Descriptor::rate_limit_error).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RateLimitError {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    statuses: Vec<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    values: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    texts: Vec<String>,
}

// === impl RateLimitHeaders ===

impl RateLimitHeaders {
    /// Of the limit with this name. One of the same name in
    /// [`Descriptor::rate_limit`](crate::Descriptor::rate_limit) lends its window where no header tells one.
    pub fn of(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// The header with the number of requests in a window.
    #[must_use]
    pub fn limit(self, header: impl Into<String>) -> Self {
        Self { limit: Some(header.into()), ..self }
    }

    /// The header with the number of requests left.
    #[must_use]
    pub fn remaining(self, header: impl Into<String>) -> Self {
        Self { remaining: Some(header.into()), ..self }
    }

    /// The header with the number of requests used, of [`limit`](Self::limit).
    #[must_use]
    pub fn used(self, header: impl Into<String>) -> Self {
        Self { used: Some(header.into()), ..self }
    }

    /// The header with both in one: `39/40`. Of several, `1/5, 40/40`, the one with the least left counts.
    #[must_use]
    pub fn bucket(self, header: impl Into<String>) -> Self {
        Self { bucket: Some(header.into()), ..self }
    }

    /// The header with both in one, in the part with this key: `api-usage=14999/15000`.
    #[must_use]
    pub fn bucket_part(self, header: impl Into<String>, key: impl Into<String>) -> Self {
        Self { bucket: Some(header.into()), bucket_key: Some(key.into()), ..self }
    }

    /// The header with the length of the window: seconds, or a duration such as `1m30s`.
    #[must_use]
    pub fn window(self, header: impl Into<String>) -> Self {
        Self { window: Some(header.into()), ..self }
    }

    /// The header with the length of the window in milliseconds.
    #[must_use]
    pub fn window_ms(self, header: impl Into<String>) -> Self {
        Self { window_ms: Some(header.into()), ..self }
    }

    /// The header that says when there is more: seconds to wait, seconds or milliseconds since 1970, a duration such as
    /// `6m0s`, or a date of HTTP or of RFC 3339.
    #[must_use]
    pub fn reset(self, header: impl Into<String>) -> Self {
        Self { reset: Some(header.into()), ..self }
    }

    /// The header with the milliseconds until there is more.
    #[must_use]
    pub fn reset_ms(self, header: impl Into<String>) -> Self {
        Self { reset_ms: Some(header.into()), ..self }
    }

    /// The header that says how long to wait after a refusal, in the forms of [`reset`](Self::reset). `Retry-After` is
    /// read anyway.
    #[must_use]
    pub fn wait(self, header: impl Into<String>) -> Self {
        Self { wait: Some(header.into()), ..self }
    }

    /// The same in milliseconds.
    #[must_use]
    pub fn wait_ms(self, header: impl Into<String>) -> Self {
        Self { wait_ms: Some(header.into()), ..self }
    }
}

// === impl RateLimitError ===

impl RateLimitError {
    /// In the body: one of these values at this JSON pointer (RFC 6901), such as `/0/errorCode`.
    pub fn in_body<V: Into<String>>(
        pointer: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        Self { pointer: Some(pointer.into()), values, ..Self::default() }
    }

    /// In this header: one of these values.
    pub fn in_header<V: Into<String>>(
        header: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        Self { header: Some(header.into()), values, ..Self::default() }
    }

    /// Anywhere in the body, which need not be JSON: one of these texts, such as `<Code>SlowDown</Code>`.
    pub fn in_text<V: Into<String>>(texts: impl IntoIterator<Item = V>) -> Self {
        Self { texts: texts.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// By one of these statuses alone, of 400 to 599. A 429 need not be declared.
    pub fn status(statuses: impl IntoIterator<Item = u16>) -> Self {
        Self::default().at(statuses)
    }

    /// With these statuses only. Without them, with any of 400 to 599: a success is looked at only where it is named.
    #[must_use]
    pub fn at(self, statuses: impl IntoIterator<Item = u16>) -> Self {
        Self { statuses: statuses.into_iter().collect(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Descriptor;

    #[test]
    fn habits_are_written_as_the_host_reads_them() {
        let descriptor = Descriptor::new("acme/crm", "1.0.0")
            .rate_limit_headers(
                RateLimitHeaders::of("burst")
                    .limit("x-max")
                    .remaining("x-left")
                    .used("x-used")
                    .window("x-window")
                    .window_ms("x-window-ms")
                    .reset("x-reset")
                    .reset_ms("x-reset-ms")
                    .wait("x-wait")
                    .wait_ms("x-wait-ms"),
            )
            .rate_limit_headers(RateLimitHeaders::of("calls").bucket("x-calls"))
            .rate_limit_headers(RateLimitHeaders::of("daily").bucket_part("x-info", "api"))
            .rate_limit_error(RateLimitError::in_body("/0/errorCode", ["SLOW"]).at([403, 200]))
            .rate_limit_error(RateLimitError::in_header("x-reason", ["slow"]))
            .rate_limit_error(RateLimitError::in_text(["<Code>SlowDown</Code>"]).at([503]))
            .rate_limit_error(RateLimitError::status([430]));
        let written = serde_json::to_value(descriptor).unwrap();
        assert_eq!(
            written["rate-limit-headers"],
            json!([
                {
                    "name": "burst",
                    "limit": "x-max",
                    "remaining": "x-left",
                    "used": "x-used",
                    "window": "x-window",
                    "window-ms": "x-window-ms",
                    "reset": "x-reset",
                    "reset-ms": "x-reset-ms",
                    "wait": "x-wait",
                    "wait-ms": "x-wait-ms",
                },
                {"name": "calls", "bucket": "x-calls"},
                {"name": "daily", "bucket": "x-info", "bucket-key": "api"},
            ])
        );
        assert_eq!(
            written["rate-limit-errors"],
            json!([
                {"statuses": [403, 200], "pointer": "/0/errorCode", "values": ["SLOW"]},
                {"header": "x-reason", "values": ["slow"]},
                {"statuses": [503], "texts": ["<Code>SlowDown</Code>"]},
                {"statuses": [430]},
            ])
        );
    }
}
