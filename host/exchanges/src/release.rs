//! Which release an entry of a log is of: how it is written down, read back and looked for.

use keyway_core::Digest;
use keyway_core::digest::DigestPrefix;
use keyway_core::release::ReleaseRef;
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::row::{Text, Unreadable};

/// Which release.
#[derive(Clone, PartialEq, Debug)]
pub enum ReleaseFilter {
    /// Of this version.
    Version(Version),
    /// With this digest.
    Digest(Digest),
    /// With a digest that begins like this.
    Prefix(DigestPrefix),
}

/// A release's name, as it lies in a row.
#[derive(Serialize, Deserialize)]
pub(crate) struct Release<'a> {
    #[serde(borrow)]
    connector: Text<'a>,
    #[serde(borrow)]
    version: Text<'a>,
    #[serde(borrow)]
    digest: Text<'a>,
}

// === impl ReleaseFilter ===

impl ReleaseFilter {
    pub(crate) fn fits(&self, release: Option<&Release<'_>>) -> bool {
        let Some(release) = release else { return false };
        match self {
            Self::Version(version) => release.version.is(&version.to_string()),
            Self::Digest(digest) => release.digest.is(&digest.to_string()),
            Self::Prefix(prefix) => release.digest.0.starts_with(&prefix.to_string()),
        }
    }
}

// === impl Release ===

impl<'a> Release<'a> {
    pub(crate) fn of(release: &'a ReleaseRef) -> Self {
        Self {
            connector: Text::of(release.connector.as_str()),
            version: Text::of(release.version_str()),
            digest: Text::of(release.digest_str()),
        }
    }

    pub(crate) fn reference(&self) -> Result<ReleaseRef, Unreadable> {
        Ok(ReleaseRef::new(
            self.connector.0.parse()?,
            self.version.0.parse().map_err(|_| Unreadable::Release)?,
            self.digest.0.parse().map_err(|_| Unreadable::Release)?,
        ))
    }
}
