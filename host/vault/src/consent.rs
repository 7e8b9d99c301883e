//! A person's consent at a provider: from a connect session to a connection (RFC 6749 section 4.1 with RFC 7636, 9207
//! and 9700).
//!
//! A session is made by the operator for one slot and lives for half an hour. Beginning a consent draws a `state` that
//! is good once, for ten minutes, and only in the browser that began; the challenge of PKCE binds the code to it as
//! well. Both are cells, so that a restart in between loses nobody. What comes back is believed only if the state, the
//! browser and the issuer are those that were sent out.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyway_core::descriptor::{Grant, Oauth, SlotSpec};
use keyway_core::ids::{Actor, ConnectionRef};
use keyway_core::{Code, Digest, Fault};
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use url::Url;

use crate::connections::{Info, Vault};
use crate::import::{Established, Trial, Tried};
use crate::oauth::client::ClientRef;
use crate::oauth::endpoint::{Ask, Endpoint, Issued, Refused};
use crate::oauth::record::{State, Tokens};

/// How long a person has from the link to the end: a lunch break is another session.
pub const SESSION_TIME: time::Duration = time::Duration::minutes(30);

/// How long a person has at the provider.
pub const STATE_TIME: time::Duration = time::Duration::minutes(10);

/// Bytes of a `state`, a session's token and a verifier: 256 bits, twice what RFC 9700 asks for.
const RANDOM_BYTES: usize = 32;

/// For the request that exchanges a code. A person is waiting.
const EXCHANGE_TIME: std::time::Duration = std::time::Duration::from_secs(30);

const SESSIONS: &str = "vault/connect-session";
const STATES: &str = "vault/connect-state";

/// What a connect session is for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Session {
    /// The connection that it makes, or makes anew.
    pub of: ConnectionRef,
    /// Where the person goes afterwards.
    pub return_url: Option<String>,
    /// Who made it.
    pub actor: Actor,
    /// After this it is over.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    /// Whether it has made a connection.
    pub used: bool,
}

/// A session's token: whoever has it may connect. Shown once.
#[derive(Debug)]
pub struct SessionToken(pub SecretString);

/// A consent that has begun.
#[derive(Debug)]
pub struct Begun {
    /// Where the person is sent.
    pub authorize_url: Url,
    /// What the answer must have; in `authorize_url` as well.
    pub state: SecretString,
    /// What the browser must show when it comes back. Goes into a cookie.
    pub binding: SecretString,
}

/// What came back from a provider.
#[derive(Debug)]
pub struct Returned {
    /// Whose answer it is.
    pub state: String,
    /// What is exchanged for tokens.
    pub code: Option<SecretString>,
    /// `iss` (RFC 9207).
    pub issuer: Option<String>,
    /// `error`, where the answer is no.
    pub error: Option<String>,
    /// What the browser showed.
    pub binding: Option<SecretString>,
}

/// What a `state` stands for.
#[derive(Serialize, Deserialize)]
struct Pending {
    session: String,
    /// Digest of what the browser must show.
    binding: Digest,
    verifier: Option<String>,
    redirect_uri: String,
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
}

// === impl Vault ===

impl Vault {
    /// Makes a session for a slot with an authorization code.
    pub async fn begin_session(
        &self,
        of: ConnectionRef,
        spec: &SlotSpec,
        return_url: Option<String>,
        actor: &Actor,
    ) -> Result<(SessionToken, Session), Fault> {
        let oauth = by_code(spec)?;
        // Without a client the person would be sent away for nothing.
        self.shared.clients.open(&ClientRef::of(&of)).await?;
        if let Some(url) = &return_url
            && !Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "https" | "http"))
        {
            return Err(Fault::new(Code::InvalidRequest, "`return_url` is no URL"));
        }
        debug_assert!(oauth.authorize_url.is_some(), "the descriptor was checked");
        let token = random()?;
        let session = Session {
            of,
            return_url,
            actor: actor.clone(),
            expires_at: self.shared.clock.now() + SESSION_TIME,
            used: false,
        };
        let key = key_of(&token);
        let value = json(&session)?;
        self.shared.store.batch().put_cell(SESSIONS, key.as_bytes(), None, value).commit().await?;
        Ok((SessionToken(token), session))
    }

    /// The session of a token, while it is good.
    pub async fn session(&self, token: &SecretString) -> Result<Session, Fault> {
        Ok(self.live_session(&key_of(token)).await?.0)
    }

    /// Begins a consent: where the person is to be sent, and what the browser is to keep.
    pub async fn begin_consent(
        &self,
        token: &SecretString,
        spec: &SlotSpec,
        redirect_uri: &str,
    ) -> Result<Begun, Fault> {
        let oauth = by_code(spec)?;
        let (session, _) = self.live_session(&key_of(token)).await?;
        let client = self.shared.clients.open(&ClientRef::of(&session.of)).await?;
        let (state, binding) = (random()?, random()?);
        let verifier = if oauth.pkce { Some(random()?) } else { None };
        let pending = Pending {
            session: key_of(token),
            binding: Digest::of(binding.expose_secret().as_bytes()),
            verifier: verifier.as_ref().map(|verifier| verifier.expose_secret().to_owned()),
            redirect_uri: redirect_uri.to_owned(),
            expires_at: session.expires_at.min(self.shared.clock.now() + STATE_TIME),
        };
        let key = key_of(&state);
        let value = json(&pending)?;
        self.shared.store.batch().put_cell(STATES, key.as_bytes(), None, value).commit().await?;
        let mut url = authorize_url(oauth)?;
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
            query.extend_pairs(&oauth.authorize_params);
        }
        Ok(Begun { authorize_url: url, state, binding })
    }

    /// Which session an answer belongs to. Takes the state: it is good once, whatever comes of it.
    async fn take_state(&self, returned: &Returned) -> Result<Pending, Fault> {
        let refuse = |detail: &str| Fault::new(Code::ConnectStateInvalid, detail);
        let key = Digest::of(returned.state.as_bytes()).hex();
        let cell = self.shared.store.cell(STATES, key.as_bytes()).await?;
        let cell =
            cell.ok_or_else(|| refuse("the answer belongs to no consent that was begun here"))?;
        let taken = self.shared.store.batch().remove_cell(STATES, key.as_bytes(), cell.version);
        taken.commit().await.map_err(|_| refuse("the answer was used already"))?;
        let pending: Pending = serde_json::from_slice(&cell.value)
            .map_err(|error| refuse("the consent is unreadable").caused_by(error))?;
        if pending.expires_at <= self.shared.clock.now() {
            return Err(refuse("the consent took too long"));
        }
        let shown = returned.binding.as_ref();
        let shown = shown.map(|binding| Digest::of(binding.expose_secret().as_bytes()));
        if shown != Some(pending.binding) {
            return Err(refuse("the answer came back in another browser"));
        }
        Ok(pending)
    }

    /// The session that an answer would complete, for finding its release; takes nothing.
    pub async fn session_of(&self, state: &str) -> Result<Session, Fault> {
        let refuse = || {
            let detail = "the answer belongs to no consent that was begun here";
            Fault::new(Code::ConnectStateInvalid, detail)
        };
        let key = Digest::of(state.as_bytes()).hex();
        let cell = self.shared.store.cell(STATES, key.as_bytes()).await?.ok_or_else(refuse)?;
        let pending: Pending = serde_json::from_slice(&cell.value).map_err(|_| refuse())?;
        Ok(self.live_session(&pending.session).await?.0)
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
        let (session, version) = self.live_session(&pending.session).await?;
        // RFC 9207 section 2.4. Where the descriptor names no issuer, the provider is known to send none.
        if oauth.issuer.is_some() && returned.issuer != oauth.issuer {
            let detail = "the answer is of another authorization server";
            return Err(Fault::new(Code::ConnectStateInvalid, detail));
        }
        let Some(code) = returned.code.filter(|_| returned.error.is_none()) else {
            let detail = "the provider, or the person, did not consent";
            return Err(Fault::new(Code::ConsentRefused, detail));
        };
        let issued = self.exchange_code(&session.of, oauth, &code, &pending).await?;
        let info = self.accept(&session, spec, oauth, issued, trial, base_url_fits).await?;
        let used = json(&Session { used: true, ..session.clone() })?;
        let key = pending.session.as_bytes();
        let batch = self.shared.store.batch().put_cell(SESSIONS, key, Some(version), used);
        batch.commit().await?;
        Ok((session, info))
    }

    async fn exchange_code(
        &self,
        of: &ConnectionRef,
        oauth: &Oauth,
        code: &SecretString,
        pending: &Pending,
    ) -> Result<Issued, Fault> {
        let client = self.shared.clients.open(&ClientRef::of(of)).await?;
        let endpoint = Endpoint {
            outbound: &*self.shared.outbound,
            environment: &of.installation.environment,
            oauth,
            client: &client,
            timeout: EXCHANGE_TIME,
        };
        let verifier = pending.verifier.as_deref().map(SecretString::from);
        let (redirect_uri, verifier) = (pending.redirect_uri.as_str(), verifier.as_ref());
        let asked = endpoint.ask(Ask::Code { code, redirect_uri, verifier }, &[]).await;
        asked.map_err(|refused| match refused {
            Refused::Grant => {
                Fault::new(Code::ConnectStateInvalid, "the provider does not take the code")
            }
            Refused::Client(problem) => Fault::new(Code::OauthClientRefused, problem),
            Refused::Busy(_, problem) | Refused::Unsent(problem) | Refused::Ambiguous(problem) => {
                Fault::new(Code::TokenEndpointFailed, problem)
            }
        })
    }

    async fn accept(
        &self,
        session: &Session,
        spec: &SlotSpec,
        oauth: &Oauth,
        issued: Issued,
        trial: &Trial,
        base_url_fits: impl Fn(&str) -> Result<(), Fault> + Send + Sync,
    ) -> Result<Info, Fault> {
        let of = &session.of;
        if let Some(base_url) = &issued.base_url {
            base_url_below(base_url, &oauth.base_url_suffixes)?;
            base_url_fits(base_url)?;
        }
        let tokens = Tokens { access: issued.access, refresh: issued.refresh, subject: None };
        let trial = Trial {
            base_url: issued.base_url.clone().unwrap_or_else(|| trial.base_url.clone()),
            hosts: trial.hosts.clone(),
        };
        let found = match issued.account {
            Some(account) => Some(account),
            None => match self.try_token(of, spec, &tokens.access, &trial).await? {
                Tried::Works(account) => account,
                Tried::Untried => None,
            },
        };
        let before = self.shared.store.connection(of).await?;
        if let (Some(known), Some(found)) =
            (before.as_ref().and_then(|before| before.account.as_ref()), &found)
            && known != found
        {
            // They were issued all the same, and nobody would ever end them.
            let revoked = self.revoke_tokens(of, oauth, &tokens).await;
            tracing::warn!(connection = %of, revoked, "consent of another account refused");
            let detail = format!("{of} was made with another account");
            return Err(Fault::new(Code::AccountMismatch, detail));
        }
        let (known, kept_url) = before.map_or((None, None), |b| (b.account, b.base_url));
        let base_url = issued.base_url.or(kept_url);
        self.check_one_base_url(of, base_url.as_deref()).await?;
        let now = self.shared.clock.now();
        let established = Established {
            state: State::issued(0, now, issued.lifetime, &tokens),
            tokens,
            // RFC 6749 section 5.1: silence means what was asked for.
            scopes: issued.scopes.or_else(|| Some(spec.scopes.clone())),
            account: found.or(known),
            base_url,
            hold_refresh: false,
            watch_until: None,
        };
        let connection =
            self.establish(of, established, "connection.connect", &session.actor).await?;
        self.info(connection).await
    }

    async fn live_session(&self, key: &str) -> Result<(Session, u64), Fault> {
        let refuse = |detail: &str| Fault::new(Code::ConnectSessionInvalid, detail);
        let cell = self.shared.store.cell(SESSIONS, key.as_bytes()).await?;
        let cell = cell.ok_or_else(|| refuse("there is no such session"))?;
        let session: Session = serde_json::from_slice(&cell.value)
            .map_err(|error| refuse("the session is unreadable").caused_by(error))?;
        if session.used {
            return Err(refuse("the session was used already"));
        }
        if session.expires_at <= self.shared.clock.now() {
            return Err(refuse("the session is over"));
        }
        Ok((session, cell.version))
    }
}

/// A base URL that a provider names is taken only below domains that the descriptor names.
fn base_url_below(base_url: &str, suffixes: &[String]) -> Result<(), Fault> {
    let url = Url::parse(base_url).ok().filter(|url| url.scheme() == "https");
    let host = url.as_ref().and_then(|url| url.host_str());
    let below = host.is_some_and(|host| {
        suffixes.iter().any(|suffix| {
            host.strip_suffix(suffix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    });
    if below {
        return Ok(());
    }
    let detail = "the provider named a base URL that is not below its declared domains";
    Err(Fault::new(Code::BaseUrlRefused, detail))
}

fn by_code(spec: &SlotSpec) -> Result<&Oauth, Fault> {
    let oauth = spec.scheme.oauth().filter(|oauth| oauth.grant == Grant::AuthorizationCode);
    oauth.ok_or_else(|| {
        Fault::new(Code::CredentialInvalid, "the slot is not connected by a person's consent")
    })
}

fn authorize_url(oauth: &Oauth) -> Result<Url, Fault> {
    let url = oauth.authorize_url.as_deref().and_then(|url| Url::parse(url).ok());
    url.ok_or_else(|| Fault::new(Code::Internal, "the descriptor's `authorize-url` is no URL"))
}

fn key_of(secret: &SecretString) -> String {
    Digest::of(secret.expose_secret().as_bytes()).hex()
}

fn random() -> Result<SecretString, Fault> {
    let mut bytes = [0; RANDOM_BYTES];
    OsRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| Fault::new(Code::Internal, "no random bytes").caused_by(error))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes).into())
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(value)
        .map_err(|error| Fault::new(Code::Internal, "not written as JSON").caused_by(error))
}
