//! The torture `scrub`: 1 GiB of random bytes, of text and of base64 through the proxy with each kind of credential, of which
//! not a byte may change.

use harness::scrub;

use crate::machine;

/// Its name.
pub(crate) const NAME: &str = "scrub";

/// Of each kind of download, with each credential: what the least length of a spelling was calculated for.
const BYTES: u64 = 1 << 30;

/// The torture: whether it held, and its figures, after whatever it has to complain of.
pub(crate) async fn torture() -> anyhow::Result<(bool, String)> {
    let folder = machine::scratch()?;
    let outcome = scrub::run(folder.path(), BYTES).await;
    let held = outcome.held();
    let word = if held { "held" } else { "did not hold" };
    let mut lines = outcome.complaints();
    lines.push(format!("{NAME}: {word}: {outcome}"));
    Ok((held, lines.join("\n")))
}
