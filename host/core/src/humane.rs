//! Durations in configuration as people write them: `30s`, `2min`, `250ms`.
//!
//! For `#[serde(with = "keyway_core::humane")]`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// Writes a duration.
pub fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&humantime::format_duration(*time))
}

/// Reads a duration. None is refused: whatever it bounds would end before it began.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let time = humantime::parse_duration(&String::deserialize(from)?).map_err(D::Error::custom)?;
    if time.is_zero() {
        return Err(D::Error::custom("must be longer than nothing"));
    }
    Ok(time)
}
