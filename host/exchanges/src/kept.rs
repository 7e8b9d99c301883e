//! An exchange as it was kept and is read back.

use std::fmt;

use bytes::Bytes;
use keyway_core::exchange::Timings;
use keyway_core::ids::{CallId, Environment, Installation, Slot, User};
use keyway_core::release::ReleaseRef;
use time::OffsetDateTime;

/// An exchange's id: its place in the log. Later ones have higher ids, also over restarts; ids have gaps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Position(pub u64);

/// An exchange that was kept. Fields as in [`keyway_core::exchange::Exchange`].
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its id.
    pub id: Position,
    /// When it began.
    pub at: OffsetDateTime,
    /// Where.
    pub environment: Option<Environment>,
    /// The call it belongs to.
    pub call: Option<CallId>,
    /// For whom.
    pub installation: Option<Installation>,
    /// For which user.
    pub user: Option<User>,
    /// What ran.
    pub release: Option<ReleaseRef>,
    /// Who asked.
    pub purpose: String,
    /// The credential slot used.
    pub slot: Option<Slot>,
    /// The method.
    pub method: String,
    /// Where to.
    pub url: String,
    /// As sent.
    pub request_headers: Vec<(String, String)>,
    /// As sent, as far as it was kept.
    pub request_body: Option<Bytes>,
    /// Bytes of body sent.
    pub request_bytes: u64,
    /// None if no response came.
    pub status: Option<u16>,
    /// As received.
    pub response_headers: Vec<(String, String)>,
    /// As received and decoded, as far as it was kept.
    pub response_body: Option<Bytes>,
    /// Bytes of body received, as they came.
    pub response_bytes: u64,
    /// Why no response was handed on.
    pub stopped: Option<String>,
    /// Where the time went, to the microsecond.
    pub timings: Timings,
}

// === impl Kept ===

impl Kept {
    /// The same without its bodies, for whoever may not see them.
    #[must_use]
    pub fn without_bodies(mut self) -> Self {
        self.request_body = None;
        self.response_body = None;
        self
    }
}

// === impl Position ===

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
