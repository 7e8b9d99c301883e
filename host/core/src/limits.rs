//! Limits that more than one crate must agree on, each with its unit and its reason.
//!
//! Limits of one crate live in that crate's `Limits` struct; these are the defaults and ceilings that
//! the contract itself states.

/// Redirects that a descriptor may ask the broker to follow. Five covers every provider studied; more
/// is a loop.
pub const REDIRECTS_MAX: u8 = 5;

/// Bytes of a component. A Python connector is 18 MB; 64 MiB leaves room without letting one upload
/// fill the admission process.
pub const COMPONENT_BYTES_MAX: usize = 64 << 20;

/// Bytes of a descriptor's JSON. The largest real one is a few KiB; schemas of custom objects are found
/// by `discover`, not stated here.
pub const DESCRIPTOR_BYTES_MAX: usize = 256 << 10;

/// Bytes of an installation's configuration.
pub const CONFIG_BYTES_MAX: usize = 256 << 10;

/// Bytes of the JSON that goes into one call, and of any JSON body the API takes.
pub const INPUT_BYTES_MAX: usize = 4 << 20;

/// Bytes that one call may answer with, records included.
pub const OUTPUT_BYTES_MAX: usize = 32 << 20;

/// Records in one page, and items in one batch of writes.
pub const BATCH_ITEMS_MAX: u32 = 1_000;

/// Depth of nested JSON that is read, as in `serde_json`.
pub const JSON_DEPTH_MAX: usize = 128;

/// Bytes of a reason given for a change: enough for a sentence and a link, small enough for the audit.
pub const REASON_BYTES_MAX: usize = 1_024;
