//! `keyway check`: what publication would say of a component, without a host.
//!
//! The same code in the same child process, under the same limits. What needs a host is left out: whether the version is
//! taken, and for whom the token publishes.

use std::sync::Arc;

use anyhow::Context as _;
use keyway_artifacts::publish;
use keyway_broker::{Dns, Wire};
use keyway_core::ports::{Admitted, Clock};
use keyway_core::{Code, Fault};
use keyway_runtime::admission;
use serde_json::json;

use crate::args::Check;
use crate::clock::SystemClock;
use crate::commands::admit;
use crate::commands::remote::Unfit;
use crate::config::Config;
use crate::exit::Exit;
use crate::output;

/// Checks a component.
pub(crate) fn check(typed: &Check, as_json: bool) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(checked(typed))? {
        Ok(admitted) => Ok(passed(&admitted, as_json)),
        Err(fault) => Err(refused(fault)),
    }
}

async fn checked(Check { file, config }: &Check) -> anyhow::Result<Result<Admitted, Fault>> {
    let config = Config::load(config.as_deref())?;
    let component = std::fs::read(file).with_context(|| format!("component {}", file.display()))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    // Nothing is sent: it is asked what may be declared.
    let policy = Wire::new(config.egress, Arc::new(Dns::system()?), None, clock)?;
    let admitted =
        admission::check(admit::worker()?, config.runtime.limits, component.into()).await;
    Ok(admitted.and_then(|admitted| {
        publish::check(&admitted.descriptor, &admitted.exports, &policy)?;
        Ok(admitted)
    }))
}

fn passed(admitted: &Admitted, as_json: bool) -> Exit {
    let Admitted { digest, descriptor, exports, contract } = admitted;
    if as_json {
        let (connector, version) = (&descriptor.name, &descriptor.version);
        let release = json!({"connector": connector, "version": version, "digest": digest});
        let said = json!({"release": release, "contract": contract, "exports": exports, "descriptor": descriptor});
        output::json(&said.to_string(), false);
        return Exit::Success;
    }
    output::line(format!("{}@{} {digest}", descriptor.name, descriptor.version));
    output::note(format!("contract {contract}; it exports {}", exports.join(", ")));
    Exit::Success
}

/// Why not, in the words of a publication. What this machine could not do says nothing about the component.
fn refused(Fault { code, detail, .. }: Fault) -> anyhow::Error {
    match code {
        Code::Internal => anyhow::anyhow!("{detail}"),
        code => Unfit { code, detail }.into(),
    }
}
