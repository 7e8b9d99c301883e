//! The matrix: tenant × declared × actually executed release.
//!
//! Declared is what a pin or a default says; executed is what the last call really ran. Where the two
//! differ, no call has come since the change, or calls from before it are still ending.

use keyway_core::Fault;
use keyway_core::ids::Installation;
use keyway_store::model::{EnvironmentDefault, Filter, Pin};

use crate::executed::Execution;
use crate::pins::Releases;

/// One installation's row.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// Whose.
    pub installation: Installation,
    /// What it should run, and why.
    pub declared: Declared,
    /// What it ran last; none before its first call since the host started.
    pub executed: Option<Execution>,
}

/// What an installation should run.
#[derive(Clone, PartialEq, Debug)]
pub enum Declared {
    /// Its own pin says.
    Pin(Pin),
    /// The environment's default says.
    Default(EnvironmentDefault),
    /// Nothing says.
    Nothing,
}

impl Releases {
    /// The matrix of the installations that fit `filter`, ordered by installation.
    pub async fn matrix(&self, filter: &Filter) -> Result<Vec<Row>, Fault> {
        let defaults = self.store().environment_defaults().await?;
        let states = self.store().installations(filter).await?;
        let rows = states.into_iter().map(|state| {
            let installation = state.installation;
            let fallback = || defaults.iter().find(|default| governs(default, &installation));
            let declared = match (state.pin, fallback()) {
                (Some(pin), _) => Declared::Pin(pin),
                (None, Some(default)) => Declared::Default(default.clone()),
                (None, None) => Declared::Nothing,
            };
            let executed = self.executed().of(&installation);
            Row { installation, declared, executed }
        });
        Ok(rows.collect())
    }
}

/// Whether the default is of the installation's environment and connector.
pub(crate) fn governs(default: &EnvironmentDefault, installation: &Installation) -> bool {
    default.environment == installation.environment
        && default.release.connector == installation.connector
}
