//! The log: structured lines on standard error.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::{Log, LogFormat};
use crate::env;

/// Starts logging. The environment's filter wins over the configuration's.
pub(crate) fn start(log: &Log) -> anyhow::Result<()> {
    let filter = match std::env::var(env::LOG) {
        Ok(filter) => EnvFilter::try_new(filter)?,
        Err(_) => EnvFilter::try_new(&log.filter)?,
    };
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
        LogFormat::Text => lines.with_ansi(false).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!(error))
}
