//! Every bound on a guest, with its unit and the reason for its default.
//!
//! Each is a field that an operator may override; nothing here enforces anything. What the contract
//! itself states, and more than this crate must agree on, is in [`keyway_core::limits`].

use std::num::NonZeroUsize;
use std::time::Duration;

use keyway_core::limits;
use serde::{Deserialize, Serialize};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Every bound on a guest.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Limits {
    /// Of all calls together.
    pub pool: Pool,
    /// Of one call.
    pub call: Call,
    /// Of one call's log.
    pub log: Log,
    /// Of checking one component.
    pub admission: Admission,
}

/// Bounds on all calls together.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Pool {
    /// Live instances. Default 1,000: at 60 KiB and 4 mappings each that is 60 MiB and a sixteenth of
    /// Linux's default `vm.max_map_count`, and it is more calls than one host's cores can keep moving.
    pub instances_max: u32,
    /// Slots that keep their pages for the next instance of the same code. Default 2,000: at least the
    /// releases in use times the calls each has at once, or instantiation is four times slower.
    pub warm_slots_max: u32,
    /// Bytes of linear memory that a warm slot keeps resident where the kernel can tell which pages
    /// were written. Default 1 MiB: a Rust connector's whole memory.
    pub resident_bytes_max: usize,
    /// The same where the kernel cannot tell, and keeping means clearing by hand. Default 64 KiB: more
    /// costs 250 times the resident memory after a burst.
    pub resident_blind_bytes_max: usize,
    /// Bytes of linear memory that all calls together may hold, beyond the first 2 MiB of each. Default: half of what the
    /// machine, the control group or the limit on data gives, whichever is least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes_max: Option<usize>,
    /// The same, of one tenant's calls. Default: a quarter of what all may hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_memory_bytes_max: Option<usize>,
}

/// Bounds on one call.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Call {
    /// Bytes of linear memory, over all memories. Default 128 MiB: a Python connector begins at 40.
    pub memory_bytes_max: usize,
    /// Linear memories. Default 2: the connector's, and that of an adapter for older toolchains.
    pub memories_max: u32,
    /// Tables. Default 8: Rust needs 2, Python 4.
    pub tables_max: u32,
    /// Elements in one table. Default 100,000: interpreters have more than the usual 20,000 functions.
    pub table_elements_max: usize,
    /// Core module instances. Default 64: Rust needs 4, Python some 20.
    pub core_instances_max: u32,
    /// Bytes of stack for WebAssembly frames. Default 512 KiB.
    pub stack_bytes_max: usize,
    /// Time on a processor. Default 10 s: no connector computes that long, and the wall clock has a
    /// bound of its own.
    #[serde(with = "keyway_core::humane")]
    pub cpu_time_max: Duration,
    /// Live handles to host resources, such as streams. Default 4,096.
    pub handles_max: usize,
    /// Bytes that the guest may answer with, and hand to the host at once. Default 32 MiB.
    pub output_bytes_max: usize,
    /// Records in a page, items in a batch, and what callers may ask for of either. Default 1,000.
    pub batch_items_max: u32,
    /// Random bytes, in all. Default 64 KiB: keys and ids need 32 at a time.
    pub random_bytes_max: u64,
    /// Requests of one `send-all`. Default 256; those beyond are answered with a failure.
    pub send_all_requests_max: usize,
    /// Requests of one `send-all` that are under way at once. Default 16: browsers do with 6.
    pub send_all_in_flight_max: NonZeroUsize,
}

/// Bounds on what one call writes to its log. Beyond them lines are dropped and counted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Log {
    /// Bytes of one line, and of its fields. Default 4 KiB: what collectors take without splitting.
    pub line_bytes_max: usize,
    /// Lines. Default 1,000.
    pub lines_max: u32,
    /// Bytes in all. Default 256 KiB.
    pub bytes_max: usize,
}

/// Bounds on checking and compiling one component.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Admission {
    /// Bytes of the component. Default 64 MiB.
    pub component_bytes_max: usize,
    /// Components that are checked at once; more wait. Default 2: each can use a core and 2 GiB.
    pub processes_max: NonZeroUsize,
    /// Time from start to answer, after which the process is killed. Default 60 s: the largest known
    /// component compiles in 10 s on two cores.
    #[serde(with = "keyway_core::humane")]
    pub time_max: Duration,
    /// Bytes of memory that the process may write to (`RLIMIT_DATA`). Default 2 GiB.
    pub memory_bytes_max: u64,
    /// Bytes of address space (`RLIMIT_AS`). Default 64 GiB: a linear memory reserves 4 GiB and its
    /// guards without using them, so this is only the outer fence.
    pub address_bytes_max: u64,
    /// Bytes of compiled code taken from the process. Default 512 MiB: 8 times the largest component.
    pub code_bytes_max: usize,
    /// Time that start-up and `describe` may take together. Default 2 s.
    #[serde(with = "keyway_core::humane")]
    pub describe_time_max: Duration,
}

// === impl Limits ===

impl Default for Pool {
    fn default() -> Self {
        Self {
            instances_max: 1_000,
            warm_slots_max: 2_000,
            resident_bytes_max: MIB,
            resident_blind_bytes_max: 64 * KIB,
            memory_bytes_max: None,
            tenant_memory_bytes_max: None,
        }
    }
}

impl Default for Call {
    fn default() -> Self {
        Self {
            memory_bytes_max: 128 * MIB,
            memories_max: 2,
            tables_max: 8,
            table_elements_max: 100_000,
            core_instances_max: 64,
            stack_bytes_max: 512 * KIB,
            cpu_time_max: Duration::from_secs(10),
            handles_max: 4_096,
            output_bytes_max: limits::OUTPUT_BYTES_MAX,
            batch_items_max: limits::BATCH_ITEMS_MAX,
            random_bytes_max: 64 << 10,
            send_all_requests_max: 256,
            send_all_in_flight_max: NonZeroUsize::new(16).expect("16 is not 0"),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { line_bytes_max: 4 * KIB, lines_max: 1_000, bytes_max: 256 * KIB }
    }
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            component_bytes_max: limits::COMPONENT_BYTES_MAX,
            processes_max: NonZeroUsize::new(2).expect("2 is not 0"),
            time_max: Duration::from_secs(60),
            memory_bytes_max: 2 << 30,
            address_bytes_max: 64 << 30,
            code_bytes_max: 512 * MIB,
            describe_time_max: Duration::from_secs(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_refuses_unknown_keys() {
        let limits = Limits::default();
        let text = serde_json::to_string(&limits).unwrap();
        assert_eq!(serde_json::from_str::<Limits>(&text).unwrap(), limits);
        let one = r#"{"call":{"cpu-time-max":"250ms"}}"#;
        let limits: Limits = serde_json::from_str(one).unwrap();
        assert_eq!(limits.call.cpu_time_max, Duration::from_millis(250));
        assert_eq!(limits.log, Log::default());
        assert!(serde_json::from_str::<Limits>(r#"{"call":{"cpu-time":"1s"}}"#).is_err());
        // With none, an admission would wait for ever.
        assert!(serde_json::from_str::<Limits>(r#"{"admission":{"processes-max":0}}"#).is_err());
    }
}
