//! Every environment variable that Keyway reads.

/// Address of the host that a command talks to, such as `http://127.0.0.1:8700`.
pub(crate) const HOST: &str = "KEYWAY_HOST";

/// The token that a command shows.
pub(crate) const TOKEN: &str = "KEYWAY_TOKEN";

/// Environment that tenants are named in, such as `prod`.
pub(crate) const ENVIRONMENT: &str = "KEYWAY_ENV";

/// Columns of the terminal, as shells say them; wins over what the terminal says itself. Of no matter where there is no
/// terminal: a shell that exports it exports it to pipelines too.
pub(crate) const COLUMNS: &str = "COLUMNS";

/// Columns that tables have wherever they are printed; wins over both.
pub(crate) const TABLE_COLUMNS: &str = "KEYWAY_COLUMNS";

/// Log filter of `keyway serve`, in `tracing-subscriber`'s form; wins over the configuration file.
pub(crate) const LOG: &str = "KEYWAY_LOG";

/// Sealing keys of `keyway serve`, in the form of the file that they stand for; for containers.
pub(crate) const SEALING_KEYS: &str = "KEYWAY_SEALING_KEYS";
