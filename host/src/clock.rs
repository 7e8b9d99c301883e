//! The system's clock, and the only place that reads it.

use keyway_core::ports::Clock;
use time::OffsetDateTime;

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the port's implementation")]
    fn now(&self) -> OffsetDateTime {
        std::time::SystemTime::now().into()
    }
}
