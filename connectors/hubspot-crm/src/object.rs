//! The objects that the connector knows, and what differs between them.

use keyway_sdk::{Failure, Result};

/// An object of the CRM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Object {
    Contacts,
    Companies,
}

impl Object {
    pub(crate) const ALL: [Self; 2] = [Self::Contacts, Self::Companies];

    pub(crate) fn parse(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|object| object.name() == name)
            .ok_or_else(|| Failure::unsupported(format!("there is no object `{name}`")))
    }

    /// As paths and descriptors have it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Contacts => "contacts",
            Self::Companies => "companies",
        }
    }

    pub(crate) const fn summary(self) -> &'static str {
        match self {
            Self::Contacts => "People, by their email address.",
            Self::Companies => "Organisations.",
        }
    }

    /// The property that holds when a record last changed. Contacts keep the name from before the
    /// provider gave its own properties a prefix.
    pub(crate) const fn modified(self) -> &'static str {
        match self {
            Self::Contacts => "lastmodifieddate",
            Self::Companies => "hs_lastmodifieddate",
        }
    }

    /// What a read asks for unless told otherwise: what the provider itself answers by default.
    pub(crate) const fn properties(self) -> &'static [&'static str] {
        match self {
            Self::Contacts => &["firstname", "lastname", "email", "createdate", "lastmodifieddate"],
            Self::Companies => &["name", "domain", "createdate", "hs_lastmodifieddate"],
        }
    }
}
