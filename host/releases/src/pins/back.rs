//! The way back: which generation a revert goes to.
//!
//! A revert that names no generation changes which release runs, or is refused. It goes to the newest generation at
//! which another release was to run than now. A generation without a pin stands for what the environment's default says
//! now.

use keyway_core::ids::Installation;
use keyway_core::release::ReleaseRef;
use keyway_core::{Code, Fault};
use keyway_store::model::Generation;

use super::Shared;

/// Where an installation goes back to.
pub(super) struct WayBack {
    /// What is so now.
    pub(super) newest: Generation,
    /// What was so then.
    pub(super) target: Generation,
    /// What runs there, if anything.
    pub(super) runs: Option<ReleaseRef>,
}

impl Shared {
    pub(super) async fn way_back(
        &self,
        installation: &Installation,
        to_generation: Option<u64>,
    ) -> Result<WayBack, Fault> {
        let Some(newest) = self.store.newest_generation(installation).await? else {
            let detail = format!("{installation} was never pinned");
            return Err(Fault::new(Code::NoHistory, detail));
        };
        let default = self.default_of(installation).await?;
        let runs = |of: &Generation| of.release.clone().or_else(|| default.clone());
        let target = match to_generation {
            Some(number) => self.store.generation_at(installation, number).await?,
            None => self.newest_other(&newest, runs).await?,
        };
        match target {
            Some(target) => Ok(WayBack { runs: runs(&target), newest, target }),
            None => Err(no_way(installation, to_generation)),
        }
    }

    /// The newest generation at which another release was to run. One row after the other, not the whole history: that
    /// may be long, and every other change waits for this one.
    async fn newest_other(
        &self,
        newest: &Generation,
        runs: impl Fn(&Generation) -> Option<ReleaseRef>,
    ) -> Result<Option<Generation>, Fault> {
        let now = runs(newest);
        for number in (1..newest.number).rev() {
            let Some(earlier) = self.store.generation_at(&newest.installation, number).await?
            else {
                continue;
            };
            let then = runs(&earlier);
            if then.is_some() && then != now {
                return Ok(Some(earlier));
            }
        }
        Ok(None)
    }
}

fn no_way(installation: &Installation, to_generation: Option<u64>) -> Fault {
    let detail = match to_generation {
        Some(number) => format!("{installation} has no generation {number} to go back to"),
        None => format!("{installation} has never run another release to go back to"),
    };
    Fault::new(Code::NoHistory, detail)
}
