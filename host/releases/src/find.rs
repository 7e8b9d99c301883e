//! Finding a release by what an operator types: `1.4.0`, `sha256:…`, or a unique prefix of a digest.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use keyway_core::digest::DigestPrefix;
use keyway_core::ids::Connector;
use keyway_core::release::Release;
use keyway_core::{Code, Digest, Fault};
use keyway_store::Store;
use semver::Version;

/// A release as typed.
#[derive(Clone, PartialEq, Debug)]
pub enum Selector {
    /// A version.
    Version(Version),
    /// All digits of a digest.
    Digest(Digest),
    /// The first digits of one.
    Prefix(DigestPrefix),
}

// === impl Selector ===

impl FromStr for Selector {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let parsed = if text.starts_with("sha256:") {
            text.parse().map(Self::Digest).or_else(|_| text.parse().map(Self::Prefix)).ok()
        } else {
            text.parse().map(Self::Version).ok()
        };
        parsed.ok_or_else(|| {
            let detail =
                "a release is a version such as 1.4.0, or `sha256:` and 12 or more digits of a digest";
            Fault::new(Code::InvalidName, detail)
        })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => version.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
            Self::Prefix(prefix) => prefix.fmt(f),
        }
    }
}

/// The one release of a connector that `selector` means.
pub async fn release(
    store: &Store,
    connector: &Connector,
    selector: &Selector,
) -> Result<Release, Fault> {
    let found = match selector {
        Selector::Version(version) => store.release_by_version(connector, version).await?,
        Selector::Digest(digest) => {
            store.release(digest).await?.filter(|found| found.reference.connector == *connector)
        }
        Selector::Prefix(prefix) => {
            let releases = store.releases(Some(connector)).await?;
            unique(prefix, releases)?
        }
    };
    match found {
        Some(release) => Ok(release),
        None => Err(not_found(store, connector, selector).await?),
    }
}

/// Why there is no such release, with what there is: versions, the newest first, or connectors.
async fn not_found(
    store: &Store,
    connector: &Connector,
    selector: &Selector,
) -> Result<Fault, Fault> {
    let releases = store.releases(Some(connector)).await?;
    if releases.is_empty() {
        let all = store.releases(None).await?.into_iter();
        let there: BTreeSet<String> =
            all.map(|release| release.reference.connector.to_string()).collect();
        let detail = format!("no release of {connector} was published");
        return Ok(Fault::new(Code::UnknownConnector, detail).but_there_is(there));
    }
    let mut versions: Vec<_> = releases.iter().map(|release| &release.reference.version).collect();
    versions.sort_unstable_by(|one, other| other.cmp(one));
    let detail = format!("{connector} has no release {selector}");
    Ok(Fault::new(Code::UnknownRelease, detail).but_there_is(versions))
}

fn unique(prefix: &DigestPrefix, releases: Vec<Release>) -> Result<Option<Release>, Fault> {
    let mut fitting =
        releases.into_iter().filter(|release| prefix.matches(&release.reference.digest));
    let first = fitting.next();
    match fitting.next() {
        None => Ok(first),
        Some(_) => {
            Err(Fault::new(Code::AmbiguousRelease, format!("{prefix} begins more than one digest")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_operators_type() {
        let digest = Digest::of(b"x").to_string();
        assert!(matches!("1.4.0".parse(), Ok(Selector::Version(_))));
        assert!(matches!(digest.parse(), Ok(Selector::Digest(_))));
        assert!(matches!(digest[..19].parse(), Ok(Selector::Prefix(_))));
        for bad in ["", "1.4", "latest", "sha256:", "sha256:abc", "../1.0.0", "sha512:aaaaaaaaaaaa"]
        {
            let parsed: Result<Selector, Fault> = bad.parse();
            assert_eq!(parsed.unwrap_err().code, Code::InvalidName, "{bad:?}");
        }
    }
}
