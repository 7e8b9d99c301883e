//! The torture `canary`: a secret in every slot of several tenants, a host that logs everything and dies by signals, and a
//! search for the secrets in all that it said and left behind.

use harness::canary::{self, Plan};

use crate::machine;

/// Its name.
pub(crate) const NAME: &str = "canary";

/// Tenants that trade side by side, and again in each of the host's lives.
const PLAN: Plan = Plan { tenants: 3, lives: 3, rounds: 2 };

/// The torture: whether it held, and its figures, after whatever it has to complain of.
pub(crate) async fn torture() -> anyhow::Result<(bool, String)> {
    let folder = machine::scratch()?;
    let outcome = canary::run(folder.path(), PLAN).await;
    let held = outcome.held();
    let word = if held { "held" } else { "did not hold" };
    let mut lines = outcome.complaints();
    lines.push(format!("{NAME}: {word}: {outcome}"));
    Ok((held, lines.join("\n")))
}
