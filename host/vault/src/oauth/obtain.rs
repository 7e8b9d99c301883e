//! Tokens that nobody has to consent to: those of the operator's client itself (RFC 6749 section 4.4), and those that
//! another token is exchanged for (RFC 8693).
//!
//! What is presented for them is not spent by being presented, so the first one is asked for without an intent: under
//! the connection's lease, that of two hosts one asks, and tried before it is believed. From then on it is a connection
//! like any other: [`super::refresh`] asks again when its token is due, with what is kept of it.
//!
//! A token for one of the tenant's users is had in two ways. Somebody else vouches for the user, by a subject token that
//! is kept and exchanged again; or the tenant's own token of the slot is exchanged each time, and the request names the
//! user. **Invariant:** where the request cannot name the user, the tenant's rights are not handed to one.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keyway_core::credential::Credential;
use keyway_core::descriptor::{Grant, Oauth, SlotSpec};
use keyway_core::ids::{Actor, ConnectionRef};
use keyway_core::ports::{Credentials as _, InUse};
use keyway_core::{Code, Digest, Fault};
use secrecy::SecretString;

use crate::base_url;
use crate::connections::Vault;
use crate::facts::{self, Facts};
use crate::import::{Established, Trial, Tried, fits};
use crate::oauth::assertion::{self, Stated};
use crate::oauth::client::{Accepted, Client};
use crate::oauth::confirmed;
use crate::oauth::endpoint::{Ask, Endpoint, Issued, Refused};
use crate::oauth::record::{OwnClient, State, Tokens};
use crate::probe::Doubt;
use crate::standing::Info;

/// For the one request. Somebody waits for it.
const ASK_TIME: Duration = Duration::from_secs(30);

/// For how long asking, trying and writing have the sole right to the connection: twice what they may take.
const LEASE_TIME: Duration = Duration::from_secs(90);

/// Why nothing is asked for a user.
const UNNAMED: &str = "the release does not say how the provider is told which user is meant";

/// A connection without a person's consent, wanted.
#[derive(Debug)]
pub struct Obtain {
    /// Which.
    pub of: ConnectionRef,
    /// What is exchanged. None for client credentials, and where it is the tenant's own token.
    pub subject: Option<SecretString>,
    /// What paths are joined to instead of the descriptor's base URL; checked by the caller.
    pub base_url: Option<String>,
    /// Values for the variables of the provider's URLs. Those that are not named stay as they were.
    pub facts: Facts,
    /// The connection's own client, instead of the operator's.
    pub client: Option<Given>,
}

/// A client of the connection's own.
#[derive(Clone, Debug)]
pub struct Given {
    /// What the provider calls it.
    pub id: String,
    /// Its secret, or the key that it signs with, in PEM.
    pub secret: SecretString,
    /// What the provider calls the key.
    pub key_id: Option<String>,
}

/// The tenant's own token, to be exchanged for a user's. In use for as long as this is held, which must be until the
/// exchange is over: somebody may be told meanwhile that the tenant's connection is idle.
#[derive(Clone)]
pub(crate) struct Lent {
    pub(crate) token: SecretString,
    _in_use: Arc<dyn InUse>,
}

/// Connections that this process is about to make: a lease tells hosts apart, and not two operators at one host.
#[derive(Default)]
pub(crate) struct Obtaining(Mutex<HashSet<ConnectionRef>>);

/// Takes one out again.
struct Place<'v>(&'v Obtaining, ConnectionRef);

// === impl Vault ===

impl Vault {
    /// Asks the authorization server for a connection's first token, tries it, and establishes the connection. What was
    /// there before is replaced, unless it is of another account.
    pub async fn obtain(
        &self,
        wanted: Obtain,
        spec: &SlotSpec,
        trial: &Trial,
        base_url_fits: impl Fn(&str) -> Result<(), Fault> + Send + Sync,
        actor: &Actor,
    ) -> Result<Info, Fault> {
        let known = self.find(&wanted.of).await?.map(|before| before.facts).unwrap_or_default();
        let wanted = Obtain { facts: facts::read(spec, &wanted.facts, &known)?, ..wanted };
        facts::complete(spec, &wanted.facts)?;
        let of = &wanted.of;
        let oauth = check(&wanted, spec)?;
        self.check_one_base_url(of, wanted.base_url.as_deref()).await?;
        let lent = match &wanted.subject {
            None if oauth.grant == Grant::TokenExchange => Some(self.lent(of, spec).await?),
            _ => None,
        };
        let taken = || Fault::new(Code::Conflict, format!("{of} is being had anew: look again"));
        let _place = self.shared.obtaining.take(of).ok_or_else(taken)?;
        if self.in_flight(of) {
            return Err(taken());
        }
        // The name under which it is refreshed: what a refresh brings now would be written over.
        let name = format!("refresh {}", Digest::of(of.to_string().as_bytes()).hex());
        let store = &self.shared.store;
        let lease = store.acquire_lease(&name, &self.shared.owner, LEASE_TIME).await?;
        let lease = lease.ok_or_else(taken)?;
        let outcome = async {
            let subject = wanted.subject.as_ref().or(lent.as_ref().map(|lent| &lent.token));
            let own = own_client(&wanted, oauth);
            let asked = (of, &wanted.facts, own.as_ref());
            let issued = self.ask_first(asked, oauth, subject, &spec.scopes).await?;
            let wanted = (&wanted, own);
            self.accept_first(wanted, spec, oauth, issued, trial, base_url_fits, actor).await
        }
        .await;
        if let Err(error) = store.release_lease(&lease).await {
            tracing::debug!(%error, "lease not given back; it ends by itself");
        }
        outcome
    }

    async fn ask_first(
        &self,
        (of, facts, own): (&ConnectionRef, &Facts, Option<&OwnClient>),
        oauth: &Oauth,
        subject: Option<&SecretString>,
        scopes: &[String],
    ) -> Result<Issued, Fault> {
        let client = self.client_of(of, own, oauth).await?;
        let filled = facts::filled(of, oauth, facts)?;
        let endpoint =
            Endpoint::new(&self.shared, &of.installation.environment, (&filled, &client), ASK_TIME);
        let signed = match oauth.grant {
            Grant::JwtBearer => Some(self.assert((of, facts), &filled, &client, scopes)?),
            _ => None,
        };
        let presented = signed.as_ref().or(subject);
        let asked = endpoint.ask(ask(of, presented, oauth.grant), scopes).await;
        if let Err(Refused::Broken(_, leftover)) = &asked {
            self.revoke_leftover((of, facts), oauth, own, leftover).await;
        }
        asked.map_err(|refused| match refused {
            Refused::Client(problem) if own.is_some() => {
                Fault::new(Code::CredentialInvalid, format!("{of}: {problem}"))
            }
            Refused::Grant => {
                let detail = format!("{of}: the provider does not take what is presented");
                Fault::new(Code::CredentialInvalid, detail)
            }
            Refused::Client(problem) | Refused::Request(_, problem) => {
                Fault::new(Code::OauthClientRefused, problem)
            }
            Refused::Busy(_, problem)
            | Refused::Plain(_, problem)
            | Refused::Unsent(problem)
            | Refused::Broken(problem, _)
            | Refused::Ambiguous(problem) => Fault::new(Code::TokenEndpointFailed, problem),
        })
    }

    #[expect(clippy::too_many_arguments, reason = "one connection, and all that it is made of")]
    async fn accept_first(
        &self,
        (wanted, own): (&Obtain, Option<OwnClient>),
        spec: &SlotSpec,
        oauth: &Oauth,
        issued: Issued,
        trial: &Trial,
        base_url_fits: impl Fn(&str) -> Result<(), Fault> + Send + Sync,
        actor: &Actor,
    ) -> Result<Info, Fault> {
        let of = &wanted.of;
        let Issued { access, refresh, lifetime, scopes, base_url, account, date, doubtful: _ } =
            issued;
        let tokens = Tokens { access, refresh, subject: wanted.subject.clone(), own };
        let made = async {
            if let Some(base_url) = &base_url {
                base_url::below(base_url, oauth)?;
                base_url_fits(base_url)?;
            }
            let own = facts::filled(of, oauth, &wanted.facts)?.own_base_url();
            if let Some(own) = &own {
                base_url_fits(own)?;
            }
            let base_url = base_url.or(own).or_else(|| wanted.base_url.clone());
            let tried_at = base_url.as_ref().unwrap_or(&trial.base_url).clone();
            let trial = Trial { base_url: tried_at, hosts: trial.hosts.clone() };
            self.check_one_base_url(of, base_url.as_deref()).await?;
            let account = match (account, self.try_token(of, spec, &tokens.access, &trial).await) {
                (_, Err(Doubt::Refused(fault))) => return Err(fault),
                (Some(account), _) | (None, Ok(Tried::Works(Some(account)))) => Some(account),
                (None, Ok(Tried::Works(None) | Tried::Untried)) => None,
                (None, Err(doubt)) => {
                    self.check_unverified(of, spec, doubt).await?;
                    None
                }
            };
            self.check_same_account(of, account.as_deref()).await?;
            let state = State::issued(0, self.noted_at(date), lifetime, &tokens);
            let established = Established {
                // There is always a way to the next one: by asking again.
                state: State { refreshable: true, ..state },
                tokens: tokens.clone(),
                // RFC 6749 section 5.1: silence means what was asked for.
                scopes: scopes.or_else(|| Some(spec.scopes.clone())),
                account,
                base_url,
                facts: wanted.facts.clone(),
                hold_refresh: false,
                watch_until: None,
            };
            let established = established.with_scopes_for(&spec.scopes);
            self.establish(of, established, "connection.obtain", actor).await
        };
        match made.await {
            Ok(connection) => self.info(connection).await,
            // What works here may have come of the same grant.
            Err(fault) if fault.code == Code::ProbeUndecided => Err(fault),
            Err(fault) => {
                // It was issued all the same, and nobody would ever end it.
                let revoked = self.revoke_tokens((of, &wanted.facts), oauth, &tokens).await;
                tracing::warn!(connection = %of, revoked, "an issued token is not used");
                Err(fault)
            }
        }
    }

    async fn check_same_account(
        &self,
        of: &ConnectionRef,
        found: Option<&str>,
    ) -> Result<(), Fault> {
        let before = self.shared.store.connection(of).await?;
        match (before.and_then(|before| before.account), found) {
            (Some(known), Some(found)) if known != found => {
                let detail = format!("{of} was made with another account");
                Err(Fault::new(Code::AccountMismatch, detail))
            }
            _ => Ok(()),
        }
    }

    /// Signs what a token is asked for with.
    pub(crate) fn assert(
        &self,
        (of, facts): (&ConnectionRef, &Facts),
        oauth: &Oauth,
        client: &Client,
        scopes: &[String],
    ) -> Result<SecretString, Fault> {
        let user = of.user.as_ref().map(|user| user.as_str());
        let stated = Stated { facts, user, scopes, now: self.shared.clock.now() };
        assertion::sign(oauth, client, &stated).map_err(|problem| {
            Fault::new(Code::CredentialInvalid, format!("{of}: its release {problem}"))
        })
    }

    /// The tenant's own token of the slot, to be exchanged for a user's. Refreshed first, if it must be.
    pub(crate) async fn lent(&self, of: &ConnectionRef, spec: &SlotSpec) -> Result<Lent, Fault> {
        let own = ConnectionRef { user: None, ..of.clone() };
        let none = || {
            let detail = format!("there is no {own}, which {of} is had with");
            Fault::new(Code::UnknownConnection, detail)
        };
        let held = self.credential(&own, spec).await?.ok_or_else(none)?;
        let Credential::Token(token) = held.opened.credential() else { return Err(none()) };
        Ok(Lent { token: token.clone(), _in_use: held.in_use })
    }
}

// === impl Obtaining ===

impl Obtaining {
    fn take(&self, of: &ConnectionRef) -> Option<Place<'_>> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.insert(of.clone()).then(|| Place(self, of.clone()))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Self(Obtaining(taken), of) = self;
        taken.lock().unwrap_or_else(PoisonError::into_inner).remove(of);
    }
}

/// What a token is asked for with, where there is no refresh token.
pub(crate) fn ask<'a>(
    of: &'a ConnectionRef,
    subject: Option<&'a SecretString>,
    grant: Grant,
) -> Ask<'a> {
    let user = of.user.as_ref();
    match subject {
        Some(signed) if grant == Grant::JwtBearer => Ask::Assertion(signed),
        Some(subject) => Ask::Exchange { subject, user },
        None => Ask::ClientCredentials { user },
    }
}

/// Whether a connection's next token is had with the tenant's own. Refuses where it would be the tenant's, for a user.
pub(crate) fn borrows(of: &ConnectionRef, oauth: &Oauth, tokens: &Tokens) -> Result<bool, Fault> {
    if of.user.is_none() || tokens.refresh.is_some() || tokens.subject.is_some() {
        return Ok(false);
    }
    // A client of the user's own has the user's rights.
    if tokens.own.is_some() && oauth.grant != Grant::TokenExchange {
        return Ok(false);
    }
    // The release may be another than the one with which the first token was had.
    match oauth.names_user() {
        true => Ok(oauth.grant == Grant::TokenExchange),
        false => Err(Fault::new(Code::CredentialInvalid, format!("{of}: {UNNAMED}"))),
    }
}

/// What is said of a connection whose server does not take what it has.
pub(crate) const fn refused(tokens: &Tokens) -> &'static str {
    match (&tokens.refresh, &tokens.own) {
        (Some(_), _) => "the provider does not take the refresh token any more",
        (None, Some(_)) => "the provider does not take the connection's own client any more",
        (None, None) if tokens.subject.is_none() => {
            "the provider does not take what the operator's client presents any more"
        }
        (None, None) => "the provider does not take the subject token any more",
    }
}

fn check<'s>(wanted: &Obtain, spec: &'s SlotSpec) -> Result<&'s Oauth, Fault> {
    let refuse = |detail: &str| Err(Fault::new(Code::CredentialInvalid, detail));
    let Some(oauth) = spec.scheme.oauth() else {
        return refuse("tokens are obtained for slots of scheme `oauth2`; others are set");
    };
    let asks = matches!(oauth.grant, Grant::ClientCredentials | Grant::JwtBearer);
    if wanted.client.is_some() && !asks {
        return refuse("a client of its own is for slots with client credentials or an assertion");
    }
    let named = wanted.of.user.is_none() || oauth.names_user() || wanted.client.is_some();
    if let Some(Given { id, secret, key_id }) = &wanted.client {
        Accepted::of(oauth).check(id, Some(secret), key_id.as_deref())?;
    }
    match (oauth.grant, &wanted.subject) {
        (Grant::JwtBearer, Some(_)) => {
            refuse("`subject_token` is for slots whose tokens are exchanged")
        }
        (Grant::AuthorizationCode, _) => refuse("a person connects this slot"),
        (Grant::ClientCredentials, Some(_)) => {
            refuse("`subject_token` is for slots whose tokens are exchanged")
        }
        (Grant::JwtBearer | Grant::ClientCredentials | Grant::TokenExchange, None) if !named => {
            refuse(UNNAMED)
        }
        (Grant::TokenExchange, None) if wanted.of.user.is_none() => {
            refuse("`subject_token` is needed: what is exchanged for the tenant's own token")
        }
        (Grant::TokenExchange, Some(subject)) if !fits(subject) => {
            refuse("`subject_token` is no token")
        }
        (Grant::JwtBearer | Grant::ClientCredentials, None) | (Grant::TokenExchange, _) => {
            Ok(oauth)
        }
    }
}

/// The client that is the connection's own, good for the hosts that its release names now.
fn own_client(wanted: &Obtain, oauth: &Oauth) -> Option<OwnClient> {
    let Given { id, secret, key_id } = wanted.client.clone()?;
    Some(OwnClient { id, secret, hosts: confirmed::hosts(oauth), key_id })
}
