//! The exchange log: takes exchanges, and says which of them fit.

use std::ops::RangeInclusive;

use bytes::Bytes;
use keyway_core::exchange::Exchange;
use keyway_core::ids::{CallId, Connector, Environment, Tenant};
use keyway_core::ports::ExchangeLog;
use time::OffsetDateTime;

use crate::find::{Look, Names};
use crate::kept::Kept;
use crate::log::Log;
use crate::metrics::Dropped;
use crate::release::ReleaseFilter;
use crate::row::{self, Row};
use crate::segment;

/// The exchange log.
pub type Exchanges = Log<Filter>;

/// Which exchanges are looked for. What is not set fits all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this environment.
    pub environment: Option<Environment>,
    /// Of this tenant.
    pub tenant: Option<Tenant>,
    /// Of this connector.
    pub connector: Option<Connector>,
    /// Of this call.
    pub call: Option<CallId>,
    /// Of this release.
    pub release: Option<ReleaseFilter>,
    /// With this host.
    pub host: Option<String>,
    /// With this status.
    pub status: Option<StatusFilter>,
    /// Only those of which no response was handed on.
    pub stopped: bool,
    /// Only those, and responses with a status from 400 on.
    pub failed: bool,
    /// For this purpose: `call`, `proxy`, or one of the host's own.
    pub purpose: Option<String>,
    /// That began then or later.
    pub since: Option<OffsetDateTime>,
    /// That began then or earlier.
    pub until: Option<OffsetDateTime>,
}

/// Which status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StatusFilter {
    /// Exactly this one.
    Exactly(u16),
    /// Those that begin with this digit.
    Class(u16),
}

// === impl Exchanges ===

impl ExchangeLog for Exchanges {
    fn body_bytes_max(&self) -> usize {
        self.options().body_bytes_max
    }

    fn record(&self, mut exchange: Exchange) {
        // First of all: a log that cannot keep up must not cost each exchange its row.
        let Some(place) = self.place() else { return };
        let options = self.options();
        cut(&mut exchange.request_body, options.body_bytes_max);
        cut(&mut exchange.response_body, options.body_bytes_max);
        // Written down here and not by the writer: memory is given back by the thread that took it, and what waits is
        // one piece for all instead of thirty for each.
        let at = segment::nanos(exchange.at);
        let queued =
            row::write(&exchange, options.exchange_bytes_max, |row| self.add(place, at, row));
        self.count(queued.unwrap_or(Err(Dropped::TooLarge)));
    }
}

/// Keeps the beginning of a body.
fn cut(body: &mut Option<Bytes>, bytes_max: usize) {
    let whole = body.take().filter(|_| bytes_max > 0);
    *body = whole.map(|whole| whole.slice(..whole.len().min(bytes_max)));
}

// === impl Filter ===

impl Look for Filter {
    type Found = Kept;

    const NAMES: Names =
        Names { log: "exchange log", thread: "exchange-log", metrics: "keyway_exchanges" };

    fn times(&self) -> RangeInclusive<i64> {
        segment::times(self.since, self.until)
    }

    fn look(&self, id: u64, row: &[u8]) -> Option<Kept> {
        let row = row::read(row).ok()?;
        self.fits(&row).then(|| row.kept(id).ok()).flatten()
    }
}

impl Filter {
    /// Whether a row is one that is looked for.
    fn fits(&self, row: &Row<'_>) -> bool {
        let is = |wanted: Option<&str>, text: Option<&row::Text<'_>>| {
            wanted.is_none_or(|wanted| text.is_some_and(|text| text.is(wanted)))
        };
        let call = || self.call.map(|call| call.to_string());
        let host = |host: &str| host_of(&row.url.0).is_some_and(|it| it.eq_ignore_ascii_case(host));
        let failed = row.stopped.is_some() || row.status.is_none_or(|status| status >= 400);
        is(self.environment.as_ref().map(Environment::as_str), row.environment.as_ref())
            && is(self.tenant.as_ref().map(Tenant::as_str), row.tenant.as_ref())
            && is(self.connector.as_ref().map(Connector::as_str), row.connector.as_ref())
            && self.since.is_none_or(|since| row.at >= since)
            && self.until.is_none_or(|until| row.at <= until)
            && self.status.is_none_or(|wanted| row.status.is_some_and(|it| wanted.fits(it)))
            && (!self.stopped || row.stopped.is_some())
            && (!self.failed || failed)
            && is(self.purpose.as_deref(), Some(&row.purpose))
            && self.host.as_deref().is_none_or(host)
            && self.release.as_ref().is_none_or(|wanted| wanted.fits(row.release.as_ref()))
            && is(call().as_deref(), row.call.as_ref())
    }
}

/// The host of an absolute URL, without its port.
fn host_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    match host.strip_prefix('[') {
        Some(address) => address.split(']').next(),
        None => host.split(':').next(),
    }
}

// === impl StatusFilter ===

impl StatusFilter {
    fn fits(self, status: u16) -> bool {
        match self {
            Self::Exactly(wanted) => status == wanted,
            Self::Class(digit) => status / 100 == digit,
        }
    }
}
