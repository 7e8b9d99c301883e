//! How an HTTP response becomes a [`Failure`]: status to kind, `Retry-After` to a wait.

use std::time::{Duration, SystemTime};

use crate::{Failure, FailureKind, Response, clock};

/// The longest wait that is believed: no provider studied resets less than once a day.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

impl FailureKind {
    /// The kind that a status which is no success means, unless the provider says otherwise.
    pub const fn of_status(status: u16) -> Self {
        match status {
            400 | 413 | 414 | 422 | 431 => Self::InvalidInput,
            401 => Self::Unauthenticated,
            402 | 403 | 451 => Self::Forbidden,
            404 | 410 => Self::NotFound,
            409 | 412 | 423 => Self::Conflict,
            429 => Self::RateLimited,
            // 501 and 505 do not pass by waiting: the provider does not know the request.
            408 | 425 | 500 | 502..=504 | 506..=599 => Self::Transient,
            // Redirects that the host did not follow, and 405, 406, 415: not what was agreed on.
            _ => Self::Contract,
        }
    }
}

impl Failure {
    /// A failure by status alone, with `Retry-After` if there is one. A connector whose provider
    /// explains itself reads the body too: see [`crate::Http::errors`].
    pub fn of_response(response: &Response) -> Self {
        let status = response.status;
        let mut failure =
            Self::new(FailureKind::of_status(status), format!("provider answered {status}"))
                .code(status.to_string());
        failure.retry_after = response.retry_after();
        failure.request_sent = true;
        failure
    }
}

impl Response {
    /// The wait that `Retry-After` asks for, given in seconds or as an HTTP date (RFC 9110 section
    /// 10.2.3). No time at all, a date in the past, more than a day and what is neither say nothing: whoever
    /// kept to them would ask again at once, or never.
    pub fn retry_after(&self) -> Option<Duration> {
        let value = self.header("retry-after")?.trim();
        let wait = if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
            value.parse().ok().map(Duration::from_secs)
        } else {
            let at = httpdate::parse_http_date(value).ok()?;
            at.duration_since(SystemTime::from(clock::now())).ok()
        };
        wait.filter(|wait| !wait.is_zero() && *wait <= WAIT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Cassette;

    fn with_retry_after(value: &str) -> Response {
        Response {
            status: 429,
            headers: vec![("retry-after".to_owned(), value.to_owned())],
            body: Vec::new(),
        }
    }

    #[test]
    fn statuses_say_whose_fault_it_is() {
        use FailureKind::*;
        for (statuses, kind) in [
            (&[400, 413, 422][..], InvalidInput),
            (&[401], Unauthenticated),
            (&[402, 403], Forbidden),
            (&[404, 410], NotFound),
            (&[409, 412], Conflict),
            (&[429], RateLimited),
            (&[408, 425, 500, 502, 503, 504, 520, 599], Transient),
            (&[301, 304, 405, 406, 415, 418, 501, 505], Contract),
        ] {
            for status in statuses {
                assert_eq!(FailureKind::of_status(*status), kind, "{status}");
            }
        }
    }

    #[test]
    fn waits_come_in_seconds_or_as_a_date() {
        let cassette = Cassette::new().at("2026-03-01T00:00:00Z");
        cassette.play(|| {
            for (value, wait) in [
                ("0", None),
                ("86400", Some(86_400)),
                ("86401", None),
                (" 17 ", Some(17)),
                ("Sun, 01 Mar 2026 00:00:42 GMT", Some(42)),
                ("Sunday, 01-Mar-26 00:00:42 GMT", Some(42)),
                ("Sun Mar  1 00:00:42 2026", Some(42)),
                ("Sat, 28 Feb 2026 23:59:59 GMT", None),
                ("Sun, 01 Mar 2026 00:00:00 GMT", None),
                ("18446744073709551615", None),
                ("18446744073709551616", None),
                ("-1", None),
                ("1.5", None),
                ("soon", None),
                ("", None),
            ] {
                let expected = wait.map(Duration::from_secs);
                assert_eq!(with_retry_after(value).retry_after(), expected, "{value:?}");
            }
        });
    }

    #[test]
    fn failures_of_responses_were_sent_and_keep_the_wait() {
        let failure = Cassette::new().play(|| Failure::of_response(&with_retry_after("3")));
        assert_eq!(failure.kind, FailureKind::RateLimited);
        assert_eq!(failure.code.as_deref(), Some("429"));
        assert_eq!(failure.retry_after, Some(Duration::from_secs(3)));
        assert!(failure.request_sent);
    }
}
