//! How tokens come into the vault and leave it: established by a consent, imported from another system, exported to one.
//!
//! A token is established in one change: the connection's row, a new epoch, and its first record. Before an import is
//! believed, the token is tried; where another system goes on refreshing it, refreshing is held here until somebody
//! says otherwise. For two days an import is watched, and its state says so.

use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use keyway_core::descriptor::{HostPattern, Scheme, SlotSpec};
use keyway_core::exchange::HostRequest;
use keyway_core::ids::{Actor, ConnectionRef};
use keyway_core::{Code, Fault};
use keyway_store::model::{Connection, Entry};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use time::OffsetDateTime;

use crate::connections::{Info, Vault, entry, version};
use crate::oauth::record::{State, TOKEN_BYTES_MAX, Tokens};
use crate::secret::SECRET_BYTES_MIN;

/// How long an import is watched. Two days see every refresh that a provider's usual lifetimes bring, and a night.
const WATCH: time::Duration = time::Duration::hours(48);

/// For the one request that tries a token.
const PROBE_TIME: Duration = Duration::from_secs(15);

/// Tokens from another system.
#[derive(Debug)]
pub struct Import {
    /// For which connection.
    pub of: ConnectionRef,
    /// The tokens.
    pub tokens: Tokens,
    /// When they were issued.
    pub obtained_at: Option<OffsetDateTime>,
    /// When the access token ends; absolute, because a lifetime says nothing once time has passed.
    pub expires_at: Option<OffsetDateTime>,
    /// What was granted.
    pub scopes: Option<Vec<String>>,
    /// The provider's name of the account.
    pub account: Option<String>,
    /// What paths are joined to instead of the descriptor's base URL; checked by the caller.
    pub base_url: Option<String>,
    /// Another system goes on refreshing.
    pub hold_refresh: bool,
}

/// How a token is tried.
#[derive(Clone, Debug)]
pub struct Trial {
    /// What the probe's path is joined to.
    pub base_url: String,
    /// Where it may go.
    pub hosts: Vec<HostPattern>,
}

/// What came of trying a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tried {
    /// It works; for this account, where the answer tells.
    Works(Option<String>),
    /// The release says of no request that would tell.
    Untried,
}

/// What a connection is established with.
pub(crate) struct Established {
    pub(crate) tokens: Tokens,
    pub(crate) state: State,
    pub(crate) scopes: Option<Vec<String>>,
    pub(crate) account: Option<String>,
    pub(crate) base_url: Option<String>,
    pub(crate) hold_refresh: bool,
    pub(crate) watch_until: Option<OffsetDateTime>,
}

// === impl Vault ===

impl Vault {
    /// Tries tokens of another system and, unless it is `dry`, takes them. What was there before is replaced.
    pub async fn import(
        &self,
        import: Import,
        spec: &SlotSpec,
        trial: &Trial,
        dry: bool,
        actor: &Actor,
    ) -> Result<(Option<Info>, Tried), Fault> {
        check(&import, spec)?;
        let of = import.of.clone();
        self.check_one_base_url(&of, import.base_url.as_deref()).await?;
        let tried = self.try_token(&of, spec, &import.tokens.access, trial).await?;
        let account = match &tried {
            Tried::Works(Some(found)) => {
                if import.account.as_ref().is_some_and(|account| account != found) {
                    let detail = format!("{of}: the token is of another account");
                    return Err(Fault::new(Code::AccountMismatch, detail));
                }
                Some(found.clone())
            }
            _ => import.account.clone(),
        };
        if dry {
            return Ok((None, tried));
        }
        let now = self.shared.clock.now();
        let state = State {
            obtained_at: import.obtained_at,
            expires_at: import.expires_at,
            ..State::issued(0, now, None, &import.tokens)
        };
        let established = Established {
            state,
            tokens: import.tokens,
            scopes: import.scopes,
            account,
            base_url: import.base_url,
            hold_refresh: import.hold_refresh,
            watch_until: Some(now + WATCH),
        };
        let connection = self.establish(&of, established, "connection.import", actor).await?;
        Ok((Some(self.info(connection).await?), tried))
    }

    /// Makes a connection of tokens, in one audited change.
    pub(crate) async fn establish(
        &self,
        of: &ConnectionRef,
        new: Established,
        action: &str,
        actor: &Actor,
    ) -> Result<Connection, Fault> {
        let _changing = self.shared.changing.lock().await;
        let before = self.shared.store.connection(of).await?;
        let mut connection = self.next_epoch(of).await?;
        "oauth2".clone_into(&mut connection.kind);
        connection.scopes = new.scopes;
        connection.account = new.account;
        connection.base_url = new.base_url;
        connection.hold_refresh = new.hold_refresh;
        connection.watch_until = new.watch_until;
        let state = State { version: version(connection.epoch), ..new.state };
        let mut tx = self.shared.store.tx().set_connection(connection.clone());
        let (records, epoch) = (&self.shared.records, connection.epoch);
        tx = records.create(tx, of, epoch, &state, &new.tokens).await?;
        if let Some(before) = &before {
            tx = records.remove(tx, of, before.epoch).await?;
        }
        tx.commit(entry(action, &connection, actor, before.as_ref())).await?;
        self.forget_tokens(of);
        self.show(of, Some(connection.clone()));
        Ok(connection)
    }

    /// Asks the provider whether a token works.
    pub(crate) async fn try_token(
        &self,
        of: &ConnectionRef,
        spec: &SlotSpec,
        token: &SecretString,
        trial: &Trial,
    ) -> Result<Tried, Fault> {
        let Some(probe) = &spec.probe else { return Ok(Tried::Untried) };
        let mut headers = HeaderMap::new();
        let value = format!("Bearer {}", token.expose_secret());
        let mut value = HeaderValue::from_str(&value).map_err(|_| unusable())?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
        let request = HostRequest {
            purpose: "probe",
            environment: Some(of.installation.environment.clone()),
            method: Method::GET,
            url: format!("{}{}", trial.base_url.trim_end_matches('/'), probe.path),
            hosts: trial.hosts.clone(),
            headers,
            body: None,
            timeout: PROBE_TIME,
        };
        let response = self.shared.outbound.fetch(request).await.map_err(|failure| {
            Fault::new(
                Code::ProbeFailed,
                format!("{of}: the provider was not reached: {}", failure.message),
            )
        })?;
        if !(200..300).contains(&response.status) {
            let detail = format!("{of}: the provider answered {} to the token", response.status);
            return Err(Fault::new(Code::ProbeFailed, detail));
        }
        let account = probe.account.as_deref().and_then(|pointer| {
            let answer: Value = serde_json::from_slice(&response.body).ok()?;
            match answer.pointer(pointer)? {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            }
        });
        Ok(Tried::Works(account))
    }

    /// Everything of a connection, to go elsewhere. Audited before it is handed out.
    pub async fn export(&self, of: &ConnectionRef, actor: &Actor) -> Result<(Info, Tokens), Fault> {
        let connection = self.existing(of).await?;
        let record = self.record(&connection).await?;
        let entry = Entry { after: None, ..entry("connection.export", &connection, actor, None) };
        self.shared.store.tx().commit(entry).await?;
        let info = Info { connection, state: Some(record.state.clone()) };
        Ok((info, record.tokens.clone()))
    }
}

fn check(import: &Import, spec: &SlotSpec) -> Result<(), Fault> {
    let refuse = |detail: &str| Err(Fault::new(Code::CredentialInvalid, detail));
    if !matches!(spec.scheme, Scheme::Oauth2(_)) {
        return refuse("tokens are imported into slots of scheme `oauth2`; others are set");
    }
    let fits = |token: &SecretString| {
        let text = token.expose_secret();
        (SECRET_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
    };
    let Tokens { access, refresh, subject } = &import.tokens;
    if !fits(access) || !refresh.iter().chain(subject).all(fits) {
        return Err(unusable());
    }
    match (import.obtained_at, import.expires_at) {
        (Some(obtained), Some(expires)) if expires < obtained => {
            refuse("`expires_at` is before `obtained_at`")
        }
        _ => Ok(()),
    }
}

fn unusable() -> Fault {
    let detail =
        format!("a token is {SECRET_BYTES_MIN} to {TOKEN_BYTES_MAX} printable ASCII letters");
    Fault::new(Code::CredentialInvalid, detail)
}
