//! A release: one immutable version of a connector.

use std::fmt;

use semver::Version;
use time::OffsetDateTime;

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::ids::{Actor, Connector};

/// What a release is called and which bytes it is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ReleaseRef {
    /// `publisher/name`.
    pub connector: Connector,
    /// As its descriptor says.
    pub version: Version,
    /// SHA-256 of the component.
    pub digest: Digest,
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

impl fmt::Display for ReleaseRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.connector, self.version)
    }
}
