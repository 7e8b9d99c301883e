//! How a log is kept: every bound on its memory, its disk, and those who read it.

use std::time::Duration;

use serde::Deserialize;

/// How the exchange log is kept, and the call log but for its size and age.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Options {
    /// Exchanges that wait to be written; the next is dropped and counted. 8,192: a second of a busy
    /// host, in which a disk may stand still.
    pub waiting_max: usize,
    /// Bytes of exchanges that wait to be written. 32 MiB: the same second with large headers.
    pub waiting_bytes_max: usize,
    /// Bytes kept of each body. 0: bodies hold customers' data, and whoever wants them here has to say so.
    pub body_bytes_max: usize,
    /// Bytes of one exchange as it is kept. A larger one is kept without its bodies; one that is still
    /// larger is dropped and counted. 1 MiB: four times the headers that the broker lets through.
    pub exchange_bytes_max: usize,
    /// Bytes of one segment: what is read at once, and what retention deletes at once. 8 MiB.
    pub segment_bytes_max: u64,
    /// Time from the first to the last exchange of a segment: how much longer than `age-max` an exchange
    /// may stay because it shares a segment with younger ones. 6 h.
    #[serde(with = "keyway_core::humane")]
    pub segment_time_max: Duration,
    /// Bytes of all segments; the oldest go first. 512 MiB: some 300,000 exchanges without bodies.
    pub total_bytes_max: u64,
    /// Age at which exchanges go, a segment at a time. 7 days: last week's incident can still be looked at.
    #[serde(with = "keyway_core::humane")]
    pub age_max: Duration,
    /// How often what was written is synced to the disk: what a loss of power costs at most. 1 s.
    #[serde(with = "keyway_core::humane")]
    pub flush_interval: Duration,
    /// Pages that are read at once; more wait. Each holds a segment and a page in memory. 2.
    pub readers_max: usize,
    /// Bytes of the log that one page looks through; one that finds too little until then ends early and says
    /// where to go on. 64 MiB: some tenths of a second.
    pub scan_bytes_max: u64,
    /// Bytes of exchanges in one page; it ends early too. 8 MiB.
    pub page_bytes_max: usize,
    /// Followers at once. 32: each is somebody at a terminal.
    pub followers_max: usize,
    /// Exchanges that a follower may be behind before it is told that it missed some. 1,024, each up to
    /// `exchange-bytes-max`.
    pub follower_lag_max: usize,
}

impl Options {
    /// Bytes at which a segment is closed: also so few that retention always has a whole one to delete.
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment_bytes_max.min(self.total_bytes_max / 2)
    }

    /// Time after which a segment is closed: also so little that age never waits for a quiet log.
    pub(crate) fn segment_time(&self) -> Duration {
        self.segment_time_max.min(self.age_max)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            waiting_max: 8_192,
            waiting_bytes_max: 32 << 20,
            body_bytes_max: 0,
            exchange_bytes_max: 1 << 20,
            segment_bytes_max: 8 << 20,
            segment_time_max: Duration::from_secs(6 * 60 * 60),
            total_bytes_max: 512 << 20,
            age_max: Duration::from_secs(7 * 24 * 60 * 60),
            flush_interval: Duration::from_secs(1),
            readers_max: 2,
            scan_bytes_max: 64 << 20,
            page_bytes_max: 8 << 20,
            followers_max: 32,
            follower_lag_max: 1_024,
        }
    }
}
