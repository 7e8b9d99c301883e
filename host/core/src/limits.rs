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
/// by `discover`, not stated here. Part of the contract and no setting: what one host takes, every host takes.
pub const DESCRIPTOR_BYTES_MAX: usize = 256 << 10;

/// Bytes of an installation's configuration. It lists what to read and how, and is no place for data: it stays in
/// memory with the installation's route, and each call may have it parsed anew. Part of the contract and no setting:
/// a configuration fits wherever the release runs.
pub const CONFIG_BYTES_MAX: usize = 256 << 10;

/// Generations of an installation's configuration that are kept. A change of what runs may hold all of them against a schema,
/// at up to fifty milliseconds each, and reads their rows while other changes wait. Set anew every day, they go back three
/// months.
pub const CONFIG_GENERATIONS_MAX: usize = 100;

/// Bytes of the JSON that goes into one call, and of any JSON body the API takes. 4 KiB for each item of the largest
/// batch; it is held whole until its request is answered. How much all bodies may take together is another setting, of the
/// API. The default of a setting.
pub const INPUT_BYTES_MAX: usize = 4 << 20;

/// Bytes that one call may answer with, records included. 32 KiB for each record of the largest page; as much as one
/// response of a provider may have, and a quarter of a guest's memory. The default of a setting.
pub const OUTPUT_BYTES_MAX: usize = 32 << 20;

/// Records in one page, and items in one batch of writes. Ten requests to a provider that takes a hundred at once; a
/// call that breaks off leaves no more than this in doubt, and longer lists are several calls. The default of a setting;
/// as the ceiling of the page size that a descriptor declares it is no setting.
pub const BATCH_ITEMS_MAX: u32 = 1_000;

/// Pairs in one `extra` of the contract. A dozen of a provider's own fields, and as many again; lists belong into the data.
/// Part of the contract and no setting.
pub const EXTRA_PAIRS_MAX: usize = 32;

/// Bytes of the names and values in one `extra`. The longest thing that has no other place is a cursor of an
/// incremental API, of a KiB or two; a caller keeps it beside its own rows. Part of the contract and no setting.
pub const EXTRA_BYTES_MAX: usize = 8 << 10;

/// Depth of nested JSON that is read, as in `serde_json`.
pub const JSON_DEPTH_MAX: usize = 128;

/// Bytes of a reason given for a change: enough for a sentence and a link, small enough for the audit.
pub const REASON_BYTES_MAX: usize = 1_024;

/// Values in one JSON text that the API takes, names of members counted: one for each eight bytes of the largest body.
/// What reads it into a shape needs up to 100 bytes for each, and one request is not to take more than 64 MiB.
pub const JSON_NODES_MAX: usize = 500_000;

/// Steps of holding one input against its schema: some tens of nanoseconds each, so half a second at worst. A full batch of a
/// thousand records with a hundred members each takes half a million.
pub const SCHEMA_STEPS_MAX: u64 = 10_000_000;

/// Steps of holding one configuration against its schema: fifty milliseconds. It has 256 KiB at most, and a change of what runs
/// may look through all that are kept.
pub const CONFIG_STEPS_MAX: u64 = 1_000_000;

/// Values in a descriptor, names of members counted. It stays in memory as long as its release is loaded, at up to
/// 300 bytes each. Two hundred actions with large schemas have ten thousand.
pub const DESCRIPTOR_NODES_MAX: usize = 20_000;

/// Bytes of the paths to all values of a descriptor: what a difference of two releases names. Twenty thousand paths of 200.
pub const DESCRIPTOR_PATHS_BYTES_MAX: u64 = 4 << 20;

/// Hosts that a descriptor declares: each request is held against all of them. The widest provider has twenty.
pub const HOSTS_MAX: usize = 100;

/// Slots that a descriptor declares: each is a credential that a person must find.
pub const SLOTS_MAX: usize = 32;

/// Rate limits that a descriptor states: each request is counted against all of them.
pub const RATE_LIMITS_MAX: usize = 16;
