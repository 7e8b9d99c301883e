//! Connect sessions: what takes a person to a provider, and what comes back.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// A connect session, wanted.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BeginConnect {
    /// Which slot; may be left out where the release has one that people connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub slot: Option<String>,
    /// Whose connection it is; left out, the tenant's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub user: Option<String>,
    /// Where the person goes afterwards, with `status` and `code` in the query. Not with `headless`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub return_url: Option<String>,
    /// Whether the caller itself sends the person to the provider, and takes the answer.
    #[serde(default)]
    pub headless: bool,
    /// With `headless`: where the provider sends the person back, exactly as the provider knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub redirect_uri: Option<String>,
}

/// A connect session. What is in it is good for one connection, and shown once.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
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

// Has no `Debug` and is not `Serialize`: it cannot be printed or sent by accident.
/// What a provider answered to a headless session.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteConnect {
    /// `state` of the answer.
    pub state: String,
    /// `code` of the answer.
    #[serde(default)]
    #[schema(value_type = Option<String>, nullable = false, format = Password)]
    pub code: Option<SecretString>,
    /// `iss` of the answer (RFC 9207).
    #[serde(default)]
    #[schema(nullable = false)]
    pub iss: Option<String>,
    /// `error` of the answer.
    #[serde(default)]
    #[schema(nullable = false)]
    pub error: Option<String>,
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
