//! Where a read stands, as the host keeps it between two pages.
//!
//! A read without bounds lists the live records and then the archived ones. A read with a bound
//! searches by modification time and then lists the archived ones. Searches are never paged by the
//! provider's `after`: that is an offset, of which a search gives out 10,000 at most, and a record
//! that changes while it is read would shift all behind it, so that one is skipped. Each page is
//! a search of its own instead, from the time at which the page before ended:
//!
//! ```text
//!            ┌─ from the last time T of the page; those at T are held back and come again
//!            ▼      │
//!   ──► Changed ────┴──────────────── end ──► Archived ── end ──► done
//!            │  ▲
//!            │  └── strictly after T ◄── end ── Tied ──┐
//!            └── the whole page is of one time T ──► ▲ └─ above the last id of the page
//! ```
//!
//! Any number of records may share one time, as an import makes them: a page of nothing else is read
//! by id, which is unique. Nothing is lost, each step moves on, so nothing loops, and no position
//! depends on the line that wrote it.

use keyway_sdk::{Failure, ReadRequest, Result};
use serde::{Deserialize, Serialize};

/// Milliseconds since 1970.
pub(crate) type Millis = i64;

/// Where a read stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cursor {
    /// The generation that wrote it: `after` means nothing to another.
    api: String,
    pub(crate) since: Option<Millis>,
    pub(crate) until: Option<Millis>,
    pub(crate) step: Step,
}

/// What comes next.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) enum Step {
    /// Listing what exists.
    Live { after: Option<String> },
    /// Searching what changed, oldest first, from a time on or strictly after it.
    Changed { from: Option<Millis>, strict: bool },
    /// Searching what changed at exactly this time, by id.
    Tied { at: Millis, above: u64 },
    /// Listing what is archived.
    Archived { after: Option<String> },
}

impl Cursor {
    /// Where to go on, for a line of this generation.
    pub(crate) fn resume(api: &str, request: &ReadRequest) -> Result<Self> {
        let Some(cursor) = request.cursor_as::<Self>()? else { return Self::begin(api, request) };
        if cursor.api == api {
            return Ok(cursor);
        }
        let step = match cursor.step {
            Step::Live { after: Some(_) } => {
                let by = &cursor.api;
                return Err(Failure::invalid_input(format!(
                    "cursor stands inside a list of API {by}, which API {api} cannot go on with; \
                     finish the run on that line, or begin again without a cursor"
                ))
                .code("cursor-foreign"));
            }
            // Archived records may come twice; that they are gone stays true.
            Step::Archived { .. } => Step::Archived { after: None },
            portable => portable,
        };
        Ok(Self { api: api.to_owned(), step, ..cursor })
    }

    fn begin(api: &str, request: &ReadRequest) -> Result<Self> {
        let millis = |at: keyway_sdk::time::OffsetDateTime| millis_of(at);
        let since = request.since_time()?.map(millis);
        let until = request.until_time()?.map(millis);
        let step = match (since, until) {
            (None, None) => Step::Live { after: None },
            _ => Step::Changed { from: since, strict: false },
        };
        Ok(Self { api: api.to_owned(), since, until, step })
    }

    /// The same run, further on.
    pub(crate) fn at(&self, step: Step) -> Self {
        Self { step, ..self.clone() }
    }

    /// Whether a time is within the bounds of the run.
    pub(crate) fn admits(&self, at: Millis) -> bool {
        self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at <= until)
    }
}

/// Milliseconds, rounded down: a bound between two of them must not lose the earlier.
pub(crate) fn millis_of(at: keyway_sdk::time::OffsetDateTime) -> Millis {
    let millis = at.unix_timestamp_nanos().div_euclid(1_000_000);
    // Years are four digits: the range of RFC 3339 fits many times over.
    Millis::try_from(millis).unwrap_or(Millis::MAX)
}
