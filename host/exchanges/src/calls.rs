//! The call log: takes what calls said, and says which of them fit.

mod row;

use std::ops::RangeInclusive;
use std::time::Duration;

use keyway_core::ids::{CallId, Connector, Environment, Installation, Tenant, User};
use keyway_core::ports::CallLog;
use keyway_core::release::ReleaseRef;
use keyway_core::said::SaidCall;
use serde_json::Value;
use time::OffsetDateTime;

use self::row::Row;
use crate::find::{Look, Names};
use crate::kept::Position;
use crate::log::Log;
use crate::metrics::Dropped;
use crate::release::ReleaseFilter;
use crate::segment;

/// The call log.
pub type Calls = Log<CallFilter>;

/// Which calls are looked for. What is not set fits all.
#[derive(Clone, Debug, Default)]
pub struct CallFilter {
    /// Of this environment.
    pub environment: Option<Environment>,
    /// Of this tenant.
    pub tenant: Option<Tenant>,
    /// Of this connector.
    pub connector: Option<Connector>,
    /// This call.
    pub call: Option<CallId>,
    /// Of this release.
    pub release: Option<ReleaseFilter>,
    /// Only those that failed.
    pub failed: bool,
    /// That began then or later.
    pub since: Option<OffsetDateTime>,
    /// That began then or earlier.
    pub until: Option<OffsetDateTime>,
}

/// A call that was kept. Fields as in [`SaidCall`].
#[derive(Clone, Debug)]
pub struct KeptCall {
    /// Its id.
    pub id: Position,
    /// When it began.
    pub at: OffsetDateTime,
    /// Which.
    pub call: CallId,
    /// For whom.
    pub installation: Installation,
    /// For which user.
    pub user: Option<User>,
    /// What ran.
    pub release: ReleaseRef,
    /// What was asked.
    pub verb: String,
    /// From beginning to end.
    pub elapsed: Duration,
    /// Why it failed; none if it did not.
    pub failure: Option<KeptFailure>,
    /// What the guest said, oldest first.
    pub lines: Vec<KeptLine>,
    /// How many lines came before these, and are not kept.
    pub lines_dropped: u64,
}

/// Why a call failed.
#[derive(Clone, Debug)]
pub struct KeptFailure {
    /// The stable code.
    pub code: String,
    /// Whose fault it is.
    pub whose: String,
    /// What the caller was told.
    pub detail: Option<String>,
}

/// A line that was kept.
#[derive(Clone, Debug)]
pub struct KeptLine {
    /// How long after the call began.
    pub after: Duration,
    /// Where it came from.
    pub source: String,
    /// How loud it is.
    pub level: String,
    /// The line.
    pub message: String,
    /// A JSON object.
    pub fields: Option<Value>,
}

// === impl Calls ===

impl CallLog for Calls {
    fn record(&self, call: SaidCall) {
        // First of all: a log that cannot keep up must not cost each call its row.
        let Some(place) = self.place() else { return };
        let row = row::write(&call).filter(|row| row.len() <= self.options().exchange_bytes_max);
        let row = row.ok_or(Dropped::TooLarge);
        self.count(row.and_then(|row| self.add(place, segment::nanos(call.at), &row)));
    }
}

// === impl CallFilter ===

impl Look for CallFilter {
    type Found = KeptCall;

    const NAMES: Names = Names { log: "call log", thread: "call-log", metrics: "keyway_call_log" };

    fn times(&self) -> RangeInclusive<i64> {
        segment::times(self.since, self.until)
    }

    fn look(&self, id: u64, row: &[u8]) -> Option<KeptCall> {
        let row = row::read(row).ok()?;
        self.fits(&row).then(|| row.kept(id).ok()).flatten()
    }
}

impl CallFilter {
    fn fits(&self, row: &Row<'_>) -> bool {
        let is = |wanted: Option<&str>, text: &crate::row::Text<'_>| {
            wanted.is_none_or(|wanted| text.is(wanted))
        };
        let call = self.call.map(|call| call.to_string());
        is(self.environment.as_ref().map(Environment::as_str), &row.environment)
            && is(self.tenant.as_ref().map(Tenant::as_str), &row.tenant)
            && is(self.connector.as_ref().map(Connector::as_str), &row.connector)
            && self.since.is_none_or(|since| row.at >= since)
            && self.until.is_none_or(|until| row.at <= until)
            && (!self.failed || row.code.is_some())
            && self.release.as_ref().is_none_or(|wanted| wanted.fits(Some(&row.release)))
            && is(call.as_deref(), &row.call)
    }
}
