//! Credential slots of a descriptor: how a credential is obtained and how it is put on a request.
//!
//! Provider facts are data here, so that no code of the host knows a provider. What the operator owns, the
//! OAuth client's id and secret, is never in a descriptor.

use serde::{Deserialize, Serialize};

use crate::descriptor::{InvalidDescriptor, invalid};
use crate::ids::Slot;
use crate::oauth::{Oauth, pointer};

/// A credential that a connector needs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SlotSpec {
    /// How the credential is put on a request.
    pub scheme: Scheme,
    /// What the provider must have granted.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// One line for whoever must find the credential.
    #[serde(default)]
    pub summary: String,
    /// A request that succeeds with every working credential of the slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
}

/// A request that tells whether a credential works, and whose it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Probe {
    /// A path on the base URL, asked for with GET. Any 2xx means that the credential works.
    pub path: String,
    /// JSON Pointer (RFC 6901) to the provider's name of the account in the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

/// How a credential is put on a request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "kind")]
pub enum Scheme {
    /// Nothing is put on it. A connection of such a slot has a base URL and no secret.
    None,
    /// `Authorization: Bearer …` (RFC 6750).
    Bearer,
    /// `Authorization: Basic …` (RFC 7617).
    Basic,
    /// A key in a header of this name.
    ApiKeyHeader {
        /// Field name.
        name: String,
    },
    /// A key in a query parameter of this name.
    ApiKeyQuery {
        /// Parameter name.
        name: String,
    },
    /// A bearer token that an authorization server issues (RFC 6749). One that an operator has made by
    /// hand at the provider may be set instead.
    Oauth2(Box<Oauth>),
}

// === impl SlotSpec ===

impl SlotSpec {
    pub(crate) fn check(&self, slot: &Slot) -> Result<(), InvalidDescriptor> {
        self.scheme.check(slot)?;
        let Some(probe) = &self.probe else { return Ok(()) };
        if !probe.path.starts_with('/') || probe.path.starts_with("//") {
            return Err(invalid(format!("slots.{slot}.probe.path"), "is no path"));
        }
        pointer(probe.account.as_deref(), || format!("slots.{slot}.probe.account"))
    }
}

// === impl Scheme ===

impl Scheme {
    fn check(&self, slot: &Slot) -> Result<(), InvalidDescriptor> {
        let name = match self {
            Self::None | Self::Bearer | Self::Basic => return Ok(()),
            Self::Oauth2(oauth) => return oauth.check(slot),
            Self::ApiKeyHeader { name } | Self::ApiKeyQuery { name } => name,
        };
        // RFC 9110 section 5.6.2: a field name is a token. Query parameters keep to the same letters.
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(token) {
            return Err(invalid(format!("slots.{slot}.scheme.name"), "is not a token"));
        }
        Ok(())
    }

    /// The word for it in answers, without any parameter.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bearer => "bearer",
            Self::Basic => "basic",
            Self::ApiKeyHeader { .. } => "api-key-header",
            Self::ApiKeyQuery { .. } => "api-key-query",
            Self::Oauth2(_) => "oauth2",
        }
    }

    /// Whether a credential that was set for a slot of this kind can be put on a request in this way. A slot of an
    /// authorization server's tokens takes a bearer token that an operator has made by hand as well.
    pub fn takes(&self, kind: &str) -> bool {
        kind == self.kind() || (self.oauth().is_some() && kind == Self::Bearer.kind())
    }

    /// The authorization server, for a slot that has one.
    pub fn oauth(&self) -> Option<&Oauth> {
        match self {
            Self::Oauth2(oauth) => Some(oauth),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_a_path_on_the_base_url() {
        let probe = r#"{"scheme":{"kind":"bearer"},"probe":{"path":"//evil.com/"}}"#;
        let spec: SlotSpec = serde_json::from_str(probe).unwrap();
        let refused = spec.check(&"login".parse().unwrap()).unwrap_err().to_string();
        assert!(refused.contains("probe.path"), "{refused}");
    }
}
