//! The torture `refresh-herd`: a thousand callers at the end of a token, an authorization server that takes a quarter
//! of a minute, one refresh.

use std::time::Duration;

use fixtures::Guest;
use harness::Host;
use harness::herd::{Authority, CONNECTOR, TENANT};

use crate::machine;
use crate::tenants::{pin, publish};

/// Its name.
pub(crate) const NAME: &str = "refresh-herd";

/// As many as a host takes at once by default.
const CALLERS: usize = 1_000;

/// Slow authorization servers are seen to take this long.
const DELAY: Duration = Duration::from_secs(15);

/// The torture: whether it held, and its figures.
pub(crate) async fn torture() -> anyhow::Result<(bool, String)> {
    let folder = machine::scratch()?;
    let authority = Authority::start(DELAY).await;
    let host = Host::start(&folder.path().join("data"), &authority.config());
    let mut operator = host.http();
    publish(&mut operator, Guest::named("oauth").load()?).await;
    pin(&mut operator, TENANT, CONNECTOR, "1.0.0").await;
    authority.connect(&mut operator).await;
    let outcome = authority.herd(CALLERS, || host.http()).await;
    let held = outcome.held();
    let word = if held { "held" } else { "did not hold" };
    Ok((held, format!("{NAME}: {word}: {outcome}")))
}
