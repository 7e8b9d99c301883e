//! A person's consent at a provider: from a connect session to a connection (RFC 6749 section 4.1 with RFC 7636, 9207
//! and 9700).
//!
//! A session is made by the operator for one slot, lives for half an hour and makes one connection. Beginning a consent
//! draws a `state` that is good once, for ten minutes, and only in the browser that began; the challenge of PKCE binds the
//! code to it as well. Both are cells ([`sessions`]). What comes back is believed only if the state, the browser and the
//! issuer are those that were sent out.
//!
//! Tokens that were issued are kept, also where the provider cannot say at the moment whose they are: then the connection
//! has no account until a test of it finds one.
//!
//! **Invariant:** tokens that were issued and do not become the connection's are revoked at the provider, whatever went
//! wrong in between: nobody else knows of them. But for those that may be of the grant of a connection that works: that is
//! not ended because a provider could not say whether they are.

mod posted;
mod refused;
mod sessions;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyway_core::descriptor::{Grant, Oauth, Scheme, SlotSpec};
use keyway_core::ids::{Actor, ConnectionRef};
use keyway_core::{Code, Digest, Fault};
use keyway_store::model::Connection;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::base_url;
use crate::connections::{Setting, Vault};
use crate::facts::{self, Facts};
use crate::import::{Established, Trial, Tried};
use crate::oauth::client::ClientRef;
use crate::oauth::endpoint::{Ask, Endpoint, Issued, Refused};
use crate::oauth::record::{State, Tokens};
use crate::probe::names_account;
use crate::seal::{Field, Place};
use crate::secret::SecretInput;
use crate::standing::Info;

pub(crate) use sessions::Swept;
pub use sessions::{CONSENTS_MAX, SESSION_TIME, STATE_TIME, Session, SessionToken};
use sessions::{Pending, Taken, key_of, random};

/// For the request that exchanges a code. A person is waiting.
const EXCHANGE_TIME: std::time::Duration = std::time::Duration::from_secs(30);

/// Of a sealed verifier: it is good once, so there is none before it.
const CONSENT_VERSION: u64 = 0;

/// A consent that has begun.
pub struct Begun {
    /// Where the person is sent.
    pub authorize_url: Url,
    /// What the answer must have; in `authorize_url` as well.
    pub state: SecretString,
    /// What the browser must show when it comes back. Goes into a cookie.
    pub binding: SecretString,
}

/// What came back from a provider.
pub struct Returned {
    /// Whose answer it is.
    pub state: String,
    /// What is exchanged for tokens.
    pub code: Option<SecretString>,
    /// `iss` (RFC 9207).
    pub issuer: Option<String>,
    /// `error`, where the answer is no.
    pub error: Option<String>,
    /// What else came with it.
    pub besides: Vec<(String, String)>,
    /// What the browser showed.
    pub binding: Option<SecretString>,
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address has the state in it.
        let host = self.authorize_url.host_str();
        f.debug_struct("Begun").field("host", &host).finish_non_exhaustive()
    }
}

impl fmt::Debug for Returned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { issuer, error, .. } = self;
        let mut said = f.debug_struct("Returned");
        said.field("issuer", issuer).field("error", error).finish_non_exhaustive()
    }
}

/// The session of a consent, and what the release says of its slot.
struct Consent<'a> {
    taken: &'a Taken,
    spec: &'a SlotSpec,
    oauth: &'a Oauth,
    facts: Facts,
}

// === impl Vault ===

impl Vault {
    /// Makes a session for a slot with an authorization code.
    pub async fn begin_session(
        &self,
        of: ConnectionRef,
        spec: &SlotSpec,
        (return_url, given): (Option<String>, &Facts),
        actor: &Actor,
    ) -> Result<(SessionToken, Session), Fault> {
        if !is_typed(spec) {
            // Without a client the person would be sent away for nothing.
            self.shared.clients.open(&ClientRef::of(&of), by_code(spec)?).await?;
        }
        let known = self.find(&of).await?.map(|before| before.facts).unwrap_or_default();
        let facts = facts::read(spec, given, &known)?;
        if let Some(url) = &return_url
            && !Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "https" | "http"))
        {
            return Err(Fault::new(Code::InvalidRequest, "`return_url` is no URL"));
        }
        self.keep_session(of, (return_url, facts), actor).await
    }

    /// Takes the credential that a person has typed on the page of a session, once the provider has shown that it works.
    /// The session is used by the change that sets it. Each time is an attempt of the session's, so that nobody with a link
    /// has a provider try passwords without end.
    pub async fn complete_typed(
        &self,
        token: &SecretString,
        spec: &SlotSpec,
        secret: SecretInput,
        trial: &Trial,
    ) -> Result<(Session, Info), Fault> {
        if !is_typed(spec) {
            let detail = "the slot is not connected by what a person types";
            return Err(Fault::new(Code::CredentialInvalid, detail));
        }
        let taken = self.take_attempt(&key_of(token)).await?;
        let of = taken.session.of.clone();
        let set = async {
            let before = self.find(&of).await?.and_then(|before| before.base_url);
            let trial = Trial {
                base_url: before.clone().unwrap_or_else(|| trial.base_url.clone()),
                hosts: trial.hosts.clone(),
            };
            self.try_setting(&of, spec, &secret, &trial).await?;
            let ConnectionRef { installation, slot, user } = of.clone();
            let scheme = spec.scheme.clone();
            let setting = Setting { installation, slot, user, scheme, base_url: before, secret };
            self.set_with(vec![setting], &taken.session.actor, taken.used()?).await
        };
        match set.await.map(|set| set.into_iter().next()) {
            Ok(Some(connection)) => Ok((taken.session, self.info(connection).await?)),
            Ok(None) => Err(Fault::new(Code::Internal, "nothing was set")),
            Err(fault) => {
                self.return_session(taken).await;
                Err(fault)
            }
        }
    }

    /// Begins a consent: where the person is to be sent, and what the browser is to keep.
    pub async fn begin_consent(
        &self,
        token: &SecretString,
        spec: &SlotSpec,
        redirect_uri: &str,
        given: &Facts,
    ) -> Result<Begun, Fault> {
        let oauth = by_code(spec)?;
        let session = self.session(token).await?;
        let facts = facts::read(spec, given, &session.facts)?;
        facts::complete(spec, &facts)?;
        let client = self.shared.clients.open(&ClientRef::of(&session.of), oauth).await?;
        let (state, binding) = (random()?, random()?);
        let verifier = if oauth.pkce { Some(random()?) } else { None };
        let sealed = match &verifier {
            Some(verifier) => Some(self.seal_verifier(&session.of, verifier).await?),
            None => None,
        };
        let pending = Pending {
            session: key_of(token),
            binding: Digest::of(binding.expose_secret().as_bytes()),
            verifier: sealed,
            redirect_uri: redirect_uri.to_owned(),
            facts,
            expires_at: session.expires_at.min(self.shared.clock.now() + STATE_TIME),
        };
        self.keep_state(&state, &pending).await?;
        let filled = facts::filled(&session.of, oauth, &pending.facts)?;
        let mut url = authorize_url(&filled)?;
        {
            let mut query = url.query_pairs_mut();
            query
                .append_pair("response_type", "code")
                .append_pair("client_id", &client.id)
                .append_pair("redirect_uri", redirect_uri)
                .append_pair("state", state.expose_secret());
            if !spec.scopes.is_empty() {
                query.append_pair("scope", &spec.scopes.join(&oauth.scope_separator));
            }
            if let Some(verifier) = &verifier {
                let challenge = Sha256::digest(verifier.expose_secret().as_bytes());
                query
                    .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(challenge))
                    .append_pair("code_challenge_method", "S256");
            }
            query.extend_pairs(&filled.authorize_params);
        }
        spaced(&mut url);
        Ok(Begun { authorize_url: url, state, binding })
    }

    /// Completes a consent with what came back: exchanges the code and establishes the connection. A connection that
    /// was there keeps its place; one of another account is refused.
    pub async fn complete_consent(
        &self,
        returned: Returned,
        spec: &SlotSpec,
        trial: &Trial,
        base_url_fits: impl Fn(&str) -> Result<(), Fault> + Send + Sync,
    ) -> Result<(Session, Info), Fault> {
        let oauth = by_code(spec)?;
        let pending = self.take_state(&returned).await?;
        if !is_of_issuer(oauth, &returned) {
            let detail = "the answer is of another authorization server";
            return Err(Fault::new(Code::ConnectStateInvalid, detail));
        }
        let Some(code) = returned.code.filter(|_| returned.error.is_none()) else {
            let fault = refused::fault(returned.error.as_deref());
            self.note_refusal(&pending.session, &fault).await?;
            return Err(fault);
        };
        let mut facts = pending.facts.clone();
        facts.extend(facts::of_callback(oauth, &returned.besides)?);
        let taken = self.take_session(&pending.session).await?;
        let consent = Consent { taken: &taken, spec, oauth, facts };
        let connected = async {
            let issued = self.exchange_code(&taken.session.of, oauth, &code, &pending).await?;
            self.accept(&consent, issued, trial, base_url_fits).await
        };
        match connected.await {
            Ok(connection) => Ok((taken.session, self.info(connection).await?)),
            Err(fault) => {
                self.return_session(taken).await;
                Err(fault)
            }
        }
    }

    async fn seal_verifier(
        &self,
        of: &ConnectionRef,
        verifier: &SecretString,
    ) -> Result<String, Fault> {
        let place = Place::connection(of, Field::Consent, CONSENT_VERSION);
        let sealed = self.shared.sealer.seal(place, verifier.expose_secret().as_bytes()).await;
        let sealed = sealed.map_err(|error| error.fault("a consent's verifier is not sealed"))?;
        Ok(hex::encode(sealed))
    }

    async fn open_verifier(&self, of: &ConnectionRef, sealed: &str) -> Result<SecretString, Fault> {
        let closed = "a consent's verifier does not open";
        let broken = || Fault::new(Code::Internal, closed);
        let sealed = hex::decode(sealed).map_err(|error| broken().caused_by(error))?;
        let place = Place::connection(of, Field::Consent, CONSENT_VERSION);
        let plain = self.shared.sealer.open(place, &sealed).await;
        let plain = plain.map_err(|error| error.fault(closed))?;
        Ok(std::str::from_utf8(&plain).map_err(|_| broken())?.into())
    }

    async fn exchange_code(
        &self,
        of: &ConnectionRef,
        oauth: &Oauth,
        code: &SecretString,
        pending: &Pending,
    ) -> Result<Issued, Fault> {
        let client = self.shared.clients.open(&ClientRef::of(of), oauth).await?;
        let filled = facts::filled(of, oauth, &pending.facts)?;
        let endpoint = Endpoint::new(
            &self.shared,
            &of.installation.environment,
            (&filled, &client),
            EXCHANGE_TIME,
        );
        let verifier = match &pending.verifier {
            Some(sealed) => Some(self.open_verifier(of, sealed).await?),
            None => None,
        };
        let (redirect_uri, verifier) = (pending.redirect_uri.as_str(), verifier.as_ref());
        let asked = endpoint.ask(Ask::Code { code, redirect_uri, verifier }, &[]).await;
        if let Err(Refused::Broken(_, leftover)) = &asked {
            self.revoke_leftover((of, &pending.facts), oauth, None, leftover).await;
        }
        asked.map_err(|refused| match refused {
            Refused::Grant => {
                Fault::new(Code::ConnectStateInvalid, "the provider does not take the code")
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

    /// Makes a connection of what was issued, or has it revoked.
    async fn accept(
        &self,
        consent: &Consent<'_>,
        issued: Issued,
        trial: &Trial,
        base_url_fits: impl Fn(&str) -> Result<(), Fault> + Send + Sync,
    ) -> Result<Connection, Fault> {
        let Session { of, actor, .. } = &consent.taken.session;
        let tokens = Tokens {
            access: issued.access.clone(),
            refresh: issued.refresh.clone(),
            subject: None,
            own: None,
        };
        let made = async {
            let new = self.judge(consent, issued, &tokens, trial, base_url_fits).await?;
            let used = consent.taken.used()?;
            self.establish_with(of, new, "connection.connect", actor, used).await
        };
        match made.await {
            Ok(connection) => Ok(connection),
            Err(fault) if fault.code == Code::ProbeUndecided => {
                // At some providers a token goes with all of its grant, and that may be the one that works here.
                tracing::warn!(connection = %of, problem = fault.chain(), "issued tokens are neither used nor revoked");
                Err(fault)
            }
            Err(fault) => {
                let of_facts = (of, &consent.facts);
                let revoked = self.revoke_tokens(of_facts, consent.oauth, &tokens).await;
                tracing::warn!(connection = %of, revoked, code = fault.code.as_str(), "an issued token is not used");
                Err(fault)
            }
        }
    }

    /// What a connection of these tokens would be, if it may be.
    async fn judge(
        &self,
        consent: &Consent<'_>,
        issued: Issued,
        tokens: &Tokens,
        trial: &Trial,
        base_url_fits: impl Fn(&str) -> Result<(), Fault> + Send + Sync,
    ) -> Result<Established, Fault> {
        let Consent { taken, spec, oauth, facts } = consent;
        let of = &taken.session.of;
        if let Some(base_url) = &issued.base_url {
            base_url::below(base_url, oauth)?;
            base_url_fits(base_url)?;
        }
        let before = self.shared.store.connection(of).await?;
        let (known, kept_url) = before.map_or((None, None), |b| (b.account, b.base_url));
        let own = facts::filled(of, oauth, facts)?.own_base_url();
        if let Some(own) = &own {
            base_url_fits(own)?;
        }
        let base_url = issued.base_url.or(own).or(kept_url);
        self.check_one_base_url(of, base_url.as_deref()).await?;
        let trial = Trial {
            base_url: base_url.clone().unwrap_or_else(|| trial.base_url.clone()),
            hosts: trial.hosts.clone(),
        };
        let found = match issued.account {
            Some(account) => Ok(Tried::Works(Some(account))),
            None => self.try_token(of, spec, &tokens.access, &trial).await,
        };
        let account = match found {
            Ok(Tried::Works(account)) => {
                check_account(of, spec, known.as_deref(), account.as_deref())?;
                account
            }
            Ok(Tried::Untried) => {
                check_account(of, spec, known.as_deref(), None)?;
                None
            }
            Err(doubt) => {
                self.check_unverified(of, spec, doubt).await?;
                None
            }
        };
        let established = Established {
            state: State::issued(0, self.noted_at(issued.date), issued.lifetime, tokens),
            tokens: tokens.clone(),
            // RFC 6749 section 5.1: silence means what was asked for.
            scopes: issued.scopes.or_else(|| Some(spec.scopes.clone())),
            account,
            base_url,
            facts: facts.clone(),
            hold_refresh: false,
            watch_until: None,
        };
        Ok(established.with_scopes_for(&spec.scopes))
    }
}

/// A connection that was there keeps its account. Where the release says how the provider names it and the provider does
/// not, it may be any; where no release can tell, the name goes, because nobody has seen it with these tokens.
fn check_account(
    of: &ConnectionRef,
    spec: &SlotSpec,
    known: Option<&str>,
    found: Option<&str>,
) -> Result<(), Fault> {
    let detail = match (known, found) {
        (Some(known), Some(found)) if known != found => {
            format!("{of} was made with another account")
        }
        (Some(_), None) if names_account(spec) => {
            format!(
                "{of} was made with an account, and the provider does not say whether it is the same"
            )
        }
        _ => return Ok(()),
    };
    Err(Fault::new(Code::AccountMismatch, detail))
}

/// Whether a person connects a slot by typing its credential.
pub fn is_typed(spec: &SlotSpec) -> bool {
    match spec.scheme {
        Scheme::None | Scheme::Oauth2(_) => false,
        Scheme::Bearer | Scheme::Basic => true,
        Scheme::ApiKeyHeader { .. } | Scheme::ApiKeyQuery { .. } => true,
        Scheme::Hmac(_) | Scheme::AwsSigv4(_) => true,
    }
}

fn by_code(spec: &SlotSpec) -> Result<&Oauth, Fault> {
    let oauth = spec.scheme.oauth().filter(|oauth| oauth.grant == Grant::AuthorizationCode);
    oauth.ok_or_else(|| {
        Fault::new(Code::CredentialInvalid, "the slot is not connected by a person's consent")
    })
}

/// Whether an answer is of the server that was asked (RFC 9207 section 2.4). Where the descriptor names no issuer, the provider
/// is known to send none. A no may come without, since many servers that send it with codes do not with errors: it carries
/// nothing that another server could have wanted, and the state, which is used up by now, says what it belongs to.
fn is_of_issuer(oauth: &Oauth, returned: &Returned) -> bool {
    let silent_no = returned.issuer.is_none() && returned.error.is_some();
    oauth.issuer.is_none() || returned.issuer == oauth.issuer || silent_no
}

/// Writes spaces of the query as `%20`: every server reads that, and not every one the plus of a form. A plus that stands
/// for itself is `%2B` by now.
fn spaced(url: &mut Url) {
    let query = url.query().map(|query| query.replace('+', "%20"));
    url.set_query(query.as_deref());
}

fn authorize_url(oauth: &Oauth) -> Result<Url, Fault> {
    let url = oauth.authorize_url.as_deref().and_then(|url| Url::parse(url).ok());
    url.ok_or_else(|| Fault::new(Code::Internal, "the descriptor's `authorize-url` is no URL"))
}
