//! Disconnecting: refreshes end, tokens are revoked at the provider, and the connection is gone.
//!
//! In this order: a refresh that rotates while its older tokens are revoked would leave newer ones good, with nobody
//! left to end them. Whatever keeps the tokens from being revoked keeps nobody from disconnecting, and is in the audit.

use std::time::Duration;

use keyway_core::descriptor::{Oauth, SlotSpec};
use keyway_core::ids::{Actor, ConnectionRef};
use keyway_core::{Code, Fault};
use keyway_store::model::Connection;
use secrecy::SecretString;

use crate::connections::{Vault, entry, is_by_hand};
use crate::facts::{self, Facts};
use crate::oauth::client::ClientRef;
use crate::oauth::endpoint::{Endpoint, Leftover};
use crate::oauth::record::{OwnClient, Tokens};

/// For one request that revokes a token, of two at most. A provider that is down must not keep a person from disconnecting.
const REVOKE_TIME: Duration = Duration::from_secs(10);

/// For a refresh that is in flight. A little over what its request may take.
const LANDING_TIME: Duration = Duration::from_secs(45);

/// That a connection is gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Disconnected {
    /// Whether its tokens were revoked at the provider, or why not, as in the audit; none where it never had any.
    pub revoked: Option<String>,
}

/// What [`Disconnected`] says of tokens that were.
pub const REVOKED: &str = "revoked at the provider";

// === impl Vault ===

impl Vault {
    /// Removes a connection; where the provider offers it and `spec` says how, its tokens are revoked first. False if
    /// there was none.
    pub async fn remove(
        &self,
        of: &ConnectionRef,
        spec: Option<&SlotSpec>,
        actor: &Actor,
    ) -> Result<bool, Fault> {
        Ok(self.disconnect(of, spec, actor).await?.is_some())
    }

    /// The same, with what came of revoking its tokens; that is none where it never had any.
    pub async fn disconnect(
        &self,
        of: &ConnectionRef,
        spec: Option<&SlotSpec>,
        actor: &Actor,
    ) -> Result<Option<Disconnected>, Fault> {
        // Until the end of this function no refresh begins.
        let _grounded = self.shared.tower.ground(of);
        let landed = self.is_idle(LANDING_TIME, || self.in_flight(of)).await;
        loop {
            let Some(seen) = self.shared.store.connection(of).await? else { return Ok(None) };
            let mut revoked = self.revoke(&seen, spec).await;
            if !landed {
                let said = revoked.get_or_insert_with(|| "not revoked".to_owned());
                said.push_str("; a refresh was still in flight");
            }
            let _changing = self.shared.changing.lock().await;
            // A person may have connected again meanwhile: those tokens are revoked as well.
            let Some(before) = self.shared.store.connection(of).await? else { return Ok(None) };
            if before.epoch != seen.epoch {
                continue;
            }
            let tx = self.shared.store.tx().remove_connection(of, before.generation);
            let tx = self.shared.records.remove(tx, of, before.epoch).await?;
            let mut entry = entry("connection.remove", &before, actor, Some(&before));
            entry.after.clone_from(&revoked);
            tx.commit(entry).await?;
            self.show(of, None);
            self.forget_tokens(of);
            self.shared.standings.note(of, None);
            return Ok(Some(Disconnected { revoked }));
        }
    }

    /// What came of revoking a connection's tokens, for the audit; none where it never had any.
    async fn revoke(&self, connection: &Connection, spec: Option<&SlotSpec>) -> Option<String> {
        if is_by_hand(connection) {
            return None;
        }
        let Some(oauth) = spec.and_then(|spec| spec.scheme.oauth()) else {
            return Some("not revoked: no release says where".to_owned());
        };
        match self.record(connection).await {
            Ok(record) => {
                let of = (&connection.reference(), &connection.facts);
                self.revoke_tokens(of, oauth, &record.tokens).await
            }
            Err(fault) => {
                let of = connection.reference();
                tracing::warn!(connection = %of, problem = fault.chain(), "tokens not revoked");
                Some(format!("not revoked: its tokens cannot be read ({})", fault.code))
            }
        }
    }

    /// Has tokens revoked where the provider offers it, and says what came of it.
    pub(crate) async fn revoke_tokens(
        &self,
        of: (&ConnectionRef, &Facts),
        oauth: &Oauth,
        tokens: &Tokens,
    ) -> Option<String> {
        let issued = (tokens.refresh.as_ref(), Some(&tokens.access));
        self.revoke_issued(of, oauth, tokens.own.as_ref(), issued).await
    }

    /// Has revoked what could be read of an answer that could not: nobody else knows of it.
    pub(crate) async fn revoke_leftover(
        &self,
        of: (&ConnectionRef, &Facts),
        oauth: &Oauth,
        own: Option<&OwnClient>,
        leftover: &Leftover,
    ) {
        let Leftover { access, refresh, cut: _ } = leftover;
        let issued = (refresh.as_ref(), access.as_ref());
        let revoked = self.revoke_issued(of, oauth, own, issued).await;
        tracing::warn!(connection = %of.0, revoked, "issued tokens are not used");
    }

    /// Has a refresh token revoked, which ends the access token as well (RFC 7009 section 2.1), and where that is not had,
    /// the access token by itself: it would stay good for as long as it lives. None where there is neither.
    async fn revoke_issued(
        &self,
        (connection, facts): (&ConnectionRef, &Facts),
        oauth: &Oauth,
        own: Option<&OwnClient>,
        (refresh, access): (Option<&SecretString>, Option<&SecretString>),
    ) -> Option<String> {
        refresh.or(access)?;
        let client = async {
            let client = self.client_of(connection, own, oauth).await?;
            Ok::<_, Fault>((client, facts::filled(connection, oauth, facts)?))
        };
        let (client, oauth) = match client.await {
            Ok(ready) => ready,
            Err(fault) => {
                tracing::warn!(%connection, problem = fault.chain(), "tokens not revoked");
                let why = match fault.code {
                    Code::OauthClientMissing => "there is no OAuth client".to_owned(),
                    code => format!("the OAuth client cannot be used ({code})"),
                };
                return Some(format!("not revoked: {why}"));
            }
        };
        if oauth.revoke_url.is_none() {
            return Some("not revoked: the release declares no `revoke-url`".to_owned());
        }
        let environment = ClientRef::of(connection).environment;
        let endpoint = Endpoint::new(&self.shared, &environment, (&oauth, &client), REVOKE_TIME);
        let ended = async |token: &SecretString, kind| {
            let result = endpoint.revoke(token, kind).await;
            if let Err(problem) = &result {
                tracing::warn!(%connection, kind, ?problem, "a token is not revoked");
            }
            matches!(result, Ok(true))
        };
        let refresh = match refresh {
            Some(token) => Some(ended(token, "refresh_token").await),
            None => None,
        };
        let access = match access.filter(|_| refresh != Some(true)) {
            Some(token) => Some(ended(token, "access_token").await),
            None => None,
        };
        Some(said(refresh, access).to_owned())
    }

    /// What becomes of tokens that came for an epoch that is gone. After a disconnect nobody else would end them; after
    /// a new consent, ending them could end the new grant with them.
    pub(crate) async fn drop_issued(
        &self,
        (of, facts): (&ConnectionRef, &Facts),
        spec: &SlotSpec,
        issued: &Tokens,
    ) {
        let removed = matches!(self.shared.store.connection(of).await, Ok(None));
        let revoked = match spec.scheme.oauth().filter(|_| removed) {
            Some(oauth) => self.revoke_tokens((of, facts), oauth, issued).await,
            None => None,
        };
        tracing::warn!(connection = %of, revoked, "connected again or removed meanwhile; the tokens issued to us are dropped");
    }
}

/// What came of having a refresh token and an access token revoked; none where that was not tried.
const fn said(refresh: Option<bool>, access: Option<bool>) -> &'static str {
    match (refresh, access) {
        (Some(true), _) | (None, Some(true)) => REVOKED,
        (Some(false), Some(true)) => {
            "not revoked: the provider did not do it for the refresh token, but for the access token"
        }
        (Some(false), Some(false)) => {
            "not revoked: the provider did it for neither the refresh token nor the access token"
        }
        (Some(false), None) => "not revoked: the provider did not do it for the refresh token",
        (None, _) => "not revoked: the provider did not do it for the access token",
    }
}
