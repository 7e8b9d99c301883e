//! The host's clock: coarse, and recorded with the call, so that a replay sees the same time.

use std::time::Duration;

use time::OffsetDateTime;

use crate::backend;

/// Now, UTC, to the millisecond at best.
pub fn now() -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::from_millis(backend::now())
}
