//! Credentials and where they stand, OAuth clients, and what a release needs of its provider.
//!
//! What takes a secret cannot be printed or sent: it has no `Debug` and is not `Serialize`. What is sent has none.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::json::present;

/// A credential, wanted: `token`, or `user` and `password`, as the slot's scheme asks; neither for a slot of
/// scheme `none`. Of a slot that signs, the user is the key's id and the password the key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetConnection {
    /// A bearer token or an API key.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, nullable = false, format = Password)]
    pub token: Option<SecretString>,
    /// A user, for a slot of scheme `basic`.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, nullable = false)]
    pub user: Option<SecretString>,
    /// Its password.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, nullable = false, format = Password)]
    pub password: Option<SecretString>,
    /// The token of the session that a key of `aws-sigv4` is good for.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, nullable = false, format = Password)]
    pub session_token: Option<SecretString>,
    /// What the connector's paths are joined to instead of the descriptor's base URL.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    pub base_url: Option<String>,
}

/// Credentials of several slots, wanted together.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetConnections {
    /// By slot.
    pub connections: BTreeMap<String, SetConnection>,
}

/// A connection. Its secret never comes back.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Connection {
    /// Which slot.
    pub slot: String,
    /// Of which user; absent for the tenant's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub user: Option<String>,
    /// Scheme of the credential, such as `bearer`.
    pub kind: String,
    /// 1 for the first, one more with each change.
    pub generation: u64,
    /// What the connector's paths are joined to, if not the descriptor's base URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub base_url: Option<String>,
    /// The provider's name of the account, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub account: Option<String>,
    /// What the provider granted, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub scopes: Option<Vec<String>>,
    /// What else is known of it by name: what was filled into the provider's URLs, and what a consent came back with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
    /// Whether nothing may use it.
    pub paused: bool,
    /// Whether its tokens are not refreshed, because another system does.
    pub hold_refresh: bool,
    /// How an import does; absent for what came in another way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub watch: Option<Watch>,
    /// Where its tokens stand; absent for a secret that was set by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub state: Option<TokenState>,
    /// When it was set.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub at: OffsetDateTime,
}

/// How an import does in its first two days.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Watch {
    /// In a word.
    pub state: WatchState,
    /// Until when it is watched.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub until: OffsetDateTime,
    /// How often its tokens were refreshed here.
    pub refreshes: u64,
}

/// How an import does, in a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WatchState {
    /// Nothing has shown yet that it goes on working here.
    Waiting,
    /// Its tokens were refreshed here; or there is nothing to refresh, and the provider took the token.
    Proven,
    /// The last attempt to refresh failed.
    Failing,
    /// The two days are past.
    Over,
}

/// A connection that works.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Tested {
    /// True: the provider took its credential. A connection that does not work is a problem.
    pub works: bool,
    /// The account that the provider named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub account: Option<String>,
}

/// Connections of an installation.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ConnectionList {
    /// The tenant's own by slot, then its users'.
    pub connections: Vec<Connection>,
}

/// Connections of an environment that have tokens.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct StandingList {
    /// By tenant, connector, slot and user.
    pub connections: Vec<Standing>,
    /// `after` of the page behind this one; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next: Option<String>,
}

/// A connection, and whose it is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Standing {
    /// Whose.
    pub tenant: String,
    /// Of which connector, `publisher/name`.
    pub connector: String,
    /// Itself.
    pub connection: Connection,
}

/// Where tokens stand with their authorization server.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenState {
    /// What may happen next.
    pub phase: TokenPhase,
    /// When the access token ends, where it is known.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, nullable = false, format = DateTime)]
    pub expires_at: Option<OffsetDateTime>,
    /// When the tokens were issued, where it is known.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, nullable = false, format = DateTime)]
    pub obtained_at: Option<OffsetDateTime>,
    /// Before this no refresh is attempted.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, nullable = false, format = DateTime)]
    pub retry_at: Option<OffsetDateTime>,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub problem: Option<String>,
    /// Whether there is something to refresh with.
    pub refreshable: bool,
    /// Attempts to refresh that failed since the last that did not.
    pub failures: u32,
}

/// What may happen next to tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TokenPhase {
    /// They are used, and refreshed when it is time.
    Ready,
    /// A refresh is under way.
    Refreshing,
    /// A refresh was sent, and nobody knows what came of it.
    Uncertain,
    /// The provider took the rights away: a person has to connect again.
    NeedsReauth,
}

/// Says that a connection was idle and stays so.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PauseReceipt {
    /// As it is now: paused.
    pub connection: Connection,
    /// When no refresh and no exchange was in flight any more.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub drained_at: OffsetDateTime,
    /// Exchanges that outlived the wait and were cut.
    #[serde(default)]
    pub cut: usize,
}

/// A refresh, wanted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshConnection {
    /// Also where the refresh token may be spent already.
    #[serde(default)]
    pub force: bool,
}

/// A connection that no person consents to, wanted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ObtainConnection {
    /// What is exchanged for the connection's tokens (RFC 8693), now and each time that they end. Absent for client
    /// credentials, and for a user whose tokens are had with the tenant's own.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, nullable = false, format = Password)]
    pub subject_token: Option<SecretString>,
    /// What the connector's paths are joined to instead of the descriptor's base URL.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    pub base_url: Option<String>,
    /// Values for the variables of the provider's URLs. Those that are not named stay as they were.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// The connection's own client, instead of the operator's: for client credentials, and for what signs an assertion.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    pub client_id: Option<String>,
    /// Its secret; of a slot with an assertion (RFC 7523), its private key in PEM.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, nullable = false, format = Password)]
    pub client_secret: Option<SecretString>,
    /// What the provider calls that key.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    pub key_id: Option<String>,
}

/// Tokens of another system.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportConnection {
    /// Goes on requests.
    #[schema(value_type = String, format = Password)]
    pub access_token: SecretString,
    /// Gets the next one.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    pub refresh_token: Option<SecretString>,
    /// What is exchanged for the next one (RFC 8693).
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    pub subject_token: Option<SecretString>,
    /// When the access token ends.
    #[serde(default, with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<OffsetDateTime>,
    /// When the tokens were issued.
    #[serde(default, with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub obtained_at: Option<OffsetDateTime>,
    /// What was granted.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    /// The provider's name of the account; another one behind the token is refused.
    #[serde(default)]
    pub account: Option<String>,
    /// What the connector's paths are joined to instead of the descriptor's base URL.
    #[serde(default)]
    pub base_url: Option<String>,
    /// Values for the variables of the provider's URLs, and what else is known by name. Those that are not named stay.
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
    /// Whether another system goes on refreshing them. Absent: a hold stays as it was.
    #[serde(default)]
    pub hold_refresh: Option<bool>,
    /// Also over tokens that were refreshed here, or were issued later than these.
    #[serde(default)]
    pub replace: bool,
}

/// A line of an import: tokens of another system as in `ImportConnection`, and whose they are.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportLine {
    /// Whose.
    pub tenant: String,
    /// Of what: `publisher/name`.
    pub connector: String,
    /// Which slot.
    pub slot: String,
    /// Of which user; absent for the tenant's own.
    #[serde(default)]
    pub user: Option<String>,
    /// Goes on requests.
    #[schema(value_type = String, format = Password)]
    pub access_token: SecretString,
    /// Gets the next one.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    pub refresh_token: Option<SecretString>,
    /// What is exchanged for the next one (RFC 8693).
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    pub subject_token: Option<SecretString>,
    /// When the access token ends.
    #[serde(default, with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<OffsetDateTime>,
    /// When the tokens were issued.
    #[serde(default, with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub obtained_at: Option<OffsetDateTime>,
    /// What was granted.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    /// The provider's name of the account.
    #[serde(default)]
    pub account: Option<String>,
    /// What the connector's paths are joined to instead of the descriptor's base URL.
    #[serde(default)]
    pub base_url: Option<String>,
    /// Values for the variables of the provider's URLs, and what else is known by name. Those that are not named stay.
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
    /// Whether another system goes on refreshing them. Absent: a hold stays as it was.
    #[serde(default)]
    pub hold_refresh: Option<bool>,
    /// Also over tokens that were refreshed here, or were issued later than these.
    #[serde(default)]
    pub replace: bool,
}

/// What came of an import.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Imported {
    /// Whether the token was tried at the provider; false where the release names no request that would tell, and where
    /// the token has ended and is refreshed before it is used.
    pub tried: bool,
    /// The account that the provider named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub account: Option<String>,
    /// What it takes the place of, or would; absent for a connection that is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub replaces: Option<Replaced>,
    /// What of the scopes that the release needs is known to be missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_scopes: Vec<String>,
    /// What keeps its tokens from being refreshed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub warning: Option<String>,
    /// The connection; absent for a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub connection: Option<Connection>,
}

/// A connection that an import takes the place of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Replaced {
    /// Its generation.
    pub generation: u64,
    /// Its account, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub account: Option<String>,
}

/// What came of one line of an import.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LineOutcome {
    /// 1 for the first.
    pub line: usize,
    /// For a line that was taken, or would have been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub imported: Option<Imported>,
    /// For a line that was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub problem: Option<LineProblem>,
}

/// Why a line was not taken.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LineProblem {
    /// As in `Problem`.
    pub code: String,
    /// What is wrong.
    pub detail: String,
}

/// An export, wanted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportConnection {
    /// To whom it is sealed: an age recipient, `age1…`. Absent: in the clear, which only an admin may ask for.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub recipient: Option<String>,
}

/// A connection that goes elsewhere: one line of an import, sealed or in the clear.
#[derive(Deserialize, ToSchema)]
pub struct ExportedConnection {
    /// The line as an armored age file.
    #[serde(default)]
    #[schema(nullable = false)]
    pub sealed: Option<String>,
    /// The line.
    #[serde(default)]
    #[schema(value_type = Option<ImportLine>, nullable = false)]
    pub clear: Option<Box<serde_json::value::RawValue>>,
}

/// An OAuth client, wanted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetClient {
    /// What the provider calls it.
    pub client_id: String,
    /// Absent for a public client. Of a slot with an assertion (RFC 7523), its private key in PEM.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, nullable = false, format = Password)]
    pub client_secret: Option<SecretString>,
    /// What the provider calls that key.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    pub key_id: Option<String>,
}

/// An OAuth client. Its secret never comes back.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Client {
    /// Where.
    pub environment: String,
    /// For which connector.
    pub connector: String,
    /// For which of its slots.
    pub slot: String,
    /// What the provider calls it.
    pub client_id: String,
    /// Whether it has a secret.
    pub has_secret: bool,
    /// What the provider calls the key that it signs with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub key_id: Option<String>,
    /// 1 for the first, one more with each that differs.
    pub generation: u64,
    /// Where its secret, and refresh tokens, may go: what the releases named that were published when it was set. One
    /// that names another host is refused until the client is set again.
    pub hosts: Vec<String>,
    /// Other environments that use the same client: for this connector, or at the same hosts.
    pub shared_with: Vec<String>,
    /// What that means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub warning: Option<String>,
    /// When it was set.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub at: OffsetDateTime,
}

/// OAuth clients of an environment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ClientList {
    /// By connector and slot.
    pub clients: Vec<Client>,
}

/// What a release needs, and what was granted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Scopes {
    /// Which release.
    pub release: super::release::ReleaseRef,
    /// By slot.
    pub slots: Vec<SlotScopes>,
}

/// What a release needs in a slot, and what was granted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct SlotScopes {
    /// Which slot.
    pub slot: String,
    /// What the release needs.
    pub required: Vec<String>,
    /// What the provider granted to the tenant; absent where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub granted: Option<Vec<String>>,
    /// What of it is known to be missing.
    pub missing: Vec<String>,
    /// Users whose own connections lack something.
    pub users: Vec<UserScopes>,
}

/// What the connection of a user lacks.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct UserScopes {
    /// Who.
    pub user: String,
    /// What is missing.
    pub missing: Vec<String>,
}
