//! Connect sessions: what takes a person to a provider, and what comes back.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::json::present;

/// A connect session, wanted.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BeginConnect {
    /// Which slot; may be left out where the release has one that people connect.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub slot: Option<String>,
    /// Whose connection it is; left out, the tenant's own.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub user: Option<String>,
    /// Where the person goes afterwards, with `status` and `code` in the query. Not with `headless`.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub return_url: Option<String>,
    /// Whether the caller itself sends the person to the provider, and takes the answer.
    #[serde(default)]
    pub headless: bool,
    /// With `headless`: where the provider sends the person back, exactly as the provider knows it.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub redirect_uri: Option<String>,
    /// Values for the variables of the provider's URLs, such as a subdomain. A page asks the person for those that are
    /// neither here nor known of the connection; with `headless` all are needed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
}

/// A connect session. What is in it is good for one connection, and shown once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct ConnectSession {
    /// Which slot it connects.
    pub slot: String,
    /// Whose connection it is, if not the tenant's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub user: Option<String>,
    /// After this it is over.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: OffsetDateTime,
    /// What the page's address ends with. Whoever has it may connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub token: Option<String>,
    /// The page to send the person to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub url: Option<String>,
    /// With `headless`: where the person is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub authorize_url: Option<String>,
    /// With `headless`: what the provider's answer must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub state: Option<String>,
    /// With `headless`: to be kept for the person's browser, such as in its session, and given back with the answer.
    /// It shows that the browser that comes back is the one that was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub binding: Option<String>,
}

// Whoever has what is left out here may connect.
impl fmt::Debug for ConnectSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { slot, user, expires_at, .. } = self;
        let mut said = f.debug_struct("ConnectSession");
        said.field("slot", slot).field("user", user).field("expires_at", expires_at);
        said.finish_non_exhaustive()
    }
}

// Has no `Debug` and is not `Serialize`: it cannot be printed or sent by accident.
/// What a provider answered to a headless session.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteConnect {
    /// `state` of the answer.
    pub state: String,
    /// `code` of the answer.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, nullable = false, format = Password)]
    pub code: Option<SecretString>,
    /// `iss` of the answer (RFC 9207).
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    pub iss: Option<String>,
    /// `error` of the answer.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    pub error: Option<String>,
    /// What else the answer had in its query: what the release wants of it is kept as facts of the connection.
    #[serde(default)]
    pub besides: BTreeMap<String, String>,
    /// What was kept for the browser that brought it.
    #[schema(value_type = String, format = Password)]
    pub binding: SecretString,
}

/// A connection that a person has made.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Connected {
    /// Which slot.
    pub slot: String,
    /// Whose connection it is, if not the tenant's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub user: Option<String>,
    /// 1 for the first, one more with each.
    pub generation: u64,
    /// The provider's name of the account, where it says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub account: Option<String>,
    /// What was granted.
    pub scopes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C30. All that is in it is good for a connection.
    #[test]
    fn debug_output_of_a_session_shows_nothing_that_connects() {
        let canary = || Some("canary".to_owned());
        let session = ConnectSession {
            slot: "login".to_owned(),
            user: None,
            expires_at: OffsetDateTime::UNIX_EPOCH,
            token: canary(),
            url: canary(),
            authorize_url: canary(),
            state: canary(),
            binding: canary(),
        };
        let said = format!("{session:?}");
        assert!(said.contains("login") && !said.contains("canary"), "{said}");
    }
}
