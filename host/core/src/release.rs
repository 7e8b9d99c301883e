//! A release: one immutable version of a connector.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use semver::Version;
use time::OffsetDateTime;

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::ids::{Actor, Connector};

/// What a release is called and which bytes it is. Clones are the same: every call makes some, and writes down what they
/// say, so that is put in words once.
#[derive(Clone)]
pub struct ReleaseRef(Arc<Named>);

/// What a [`ReleaseRef`] refers to.
pub struct Named {
    /// `publisher/name`.
    pub connector: Connector,
    /// As its descriptor says.
    pub version: Version,
    /// SHA-256 of the component.
    pub digest: Digest,
    /// `publisher/name@version`.
    label: String,
    /// The digest in words.
    digest_text: String,
}

/// A release as published.
#[derive(Clone, Debug)]
pub struct Release {
    /// Its name.
    pub reference: ReleaseRef,
    /// What it says of itself.
    pub descriptor: Descriptor,
    /// Size of the component in bytes.
    pub component_bytes: u64,
    /// Interfaces of the contract that the component exports, such as `reader`.
    pub exports: Vec<String>,
    /// Version of the contract it was built against.
    pub contract: Version,
    /// Who published it.
    pub published_by: Actor,
    /// When.
    pub published_at: OffsetDateTime,
}

// === impl ReleaseRef ===

impl ReleaseRef {
    /// A release of these bytes.
    pub fn new(connector: Connector, version: Version, digest: Digest) -> Self {
        let label = format!("{connector}@{version}");
        let digest_text = digest.to_string();
        Self(Arc::new(Named { connector, version, digest, label, digest_text }))
    }

    /// `publisher/name@version`.
    pub fn as_str(&self) -> &str {
        &self.label
    }

    /// The version in words.
    pub fn version_str(&self) -> &str {
        &self.label[self.connector.as_str().len() + 1..]
    }

    /// The digest in words.
    pub fn digest_str(&self) -> &str {
        &self.digest_text
    }
}

impl Deref for ReleaseRef {
    type Target = Named;

    fn deref(&self) -> &Named {
        &self.0
    }
}

impl PartialEq for ReleaseRef {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.digest == other.digest && self.label == other.label)
    }
}

impl Eq for ReleaseRef {}

impl Hash for ReleaseRef {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl fmt::Display for ReleaseRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ReleaseRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.as_str(), self.digest_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_says_what_its_parts_say() {
        let (connector, version, digest) = ("pub/crm", "1.2.3-rc.1+b", Digest::of(b"x"));
        let release = ReleaseRef::new(connector.parse().unwrap(), version.parse().unwrap(), digest);
        assert_eq!(release.to_string(), "pub/crm@1.2.3-rc.1+b");
        assert_eq!(release.version_str(), version);
        assert_eq!(release.digest_str(), digest.to_string());
        let other =
            ReleaseRef::new(connector.parse().unwrap(), version.parse().unwrap(), Digest::of(b"y"));
        assert_ne!(release, other);
    }
}
