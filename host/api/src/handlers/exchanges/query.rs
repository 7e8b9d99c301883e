//! What is asked of the exchange log, from a query string.

use keyway_core::Fault;
use keyway_core::ids::Environment;
use keyway_exchanges::{Filter, Order, Position, StatusFilter};
use serde::Deserialize;
use time::OffsetDateTime;

use crate::handlers::logs::{Direction, invalid, moment, release};
use crate::place::{self, Limit};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExchangesQuery {
    tenant: Option<String>,
    connector: Option<String>,
    call: Option<String>,
    release: Option<String>,
    host: Option<String>,
    status: Option<String>,
    #[serde(default)]
    stopped: bool,
    #[serde(default)]
    failed: bool,
    purpose: Option<String>,
    since: Option<String>,
    until: Option<String>,
    after: Option<u64>,
    limit: Option<Limit>,
    order: Option<Direction>,
    format: Option<Format>,
}

/// What a page is written as.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    Json,
    Har,
}

// === impl ExchangesQuery ===

impl ExchangesQuery {
    pub(super) fn format(&self) -> Option<Format> {
        self.format
    }

    /// Which page.
    pub(super) fn page(&self) -> (Order, Option<Position>, usize) {
        let order = self.order.unwrap_or_default().into();
        (order, self.after.map(Position), self.limit.unwrap_or_default().rows())
    }

    /// Refuses what only pages have: a stream begins now, and has no end.
    pub(super) fn check_unpaged(&self) -> Result<(), Fault> {
        let Self { since, until, after, limit, order, format, .. } = self;
        let timed = since.is_some() || until.is_some();
        if timed || after.is_some() || limit.is_some() || order.is_some() || format.is_some() {
            return Err(invalid(
                "a stream has no `since`, `until`, `after`, `limit`, `order` or `format`: it begins now",
            ));
        }
        Ok(())
    }

    /// Which exchanges.
    pub(super) fn filter(
        self,
        environment: Environment,
        now: OffsetDateTime,
    ) -> Result<Filter, Fault> {
        Ok(Filter {
            environment: Some(environment),
            tenant: self.tenant.as_deref().map(place::parse).transpose()?,
            connector: self.connector.as_deref().map(place::parse).transpose()?,
            call: self.call.as_deref().map(place::parse).transpose()?,
            release: self.release.as_deref().map(release).transpose()?,
            host: self.host,
            status: self.status.as_deref().map(status).transpose()?,
            stopped: self.stopped,
            failed: self.failed,
            purpose: self.purpose,
            since: self.since.as_deref().map(|text| moment("since", text, now)).transpose()?,
            until: self.until.as_deref().map(|text| moment("until", text, now)).transpose()?,
        })
    }
}

/// `429`, or `4xx`.
fn status(text: &str) -> Result<StatusFilter, Fault> {
    let wrong = || invalid("`status` is one such as 429, or a class such as 4xx");
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match text.strip_suffix("xx") {
        Some(class) if class.len() == 1 && digits(class) => {
            class.parse().map(StatusFilter::Class).map_err(|_| wrong())
        }
        None if text.len() == 3 && digits(text) => {
            text.parse().map(StatusFilter::Exactly).map_err(|_| wrong())
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_number_or_a_class() {
        assert_eq!(status("429").unwrap(), StatusFilter::Exactly(429));
        assert_eq!(status("4xx").unwrap(), StatusFilter::Class(4));
        for bad in ["", "4", "42", "4xxx", "xx", "44xx", "+29", "4XX", "4290", "٤xx"] {
            assert!(status(bad).is_err(), "{bad}");
        }
    }
}
