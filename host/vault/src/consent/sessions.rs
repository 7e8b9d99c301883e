//! Connect sessions and the states of consents that have begun: cells that a restart does not lose, and that go when
//! their time is over.
//!
//! A session makes one connection. Whoever comes back with an answer takes the session, so that of two answers at once
//! one is exchanged; that it is used is then written with the connection itself ([`super`]), against the version under
//! which it was taken. A session that was taken by a process which died is good again after [`TAKEN_TIME`].
//!
//! What is over is refused when it is looked at and removed when others begin, at most once in [`SWEEP_TIME`]: a start
//! needs no token of the API, so nothing of it may pile up.

use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyway_core::ids::{Actor, ConnectionRef, Environment, Tenant};
use keyway_core::{Code, Digest, Fault};
use keyway_store::{Cell, Error, Tx};
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::Returned;
use super::posted::{self, ANSWERS};
use crate::connections::Vault;
use crate::facts::Facts;

/// How long a person has from the link to the end: a lunch break is another session.
pub const SESSION_TIME: Duration = Duration::minutes(30);

/// How long a person has at the provider.
pub const STATE_TIME: Duration = Duration::minutes(10);

/// Attempts of one session: consents that it begins, and credentials that are typed on its page. Enough for somebody who goes
/// back, tries another browser and signs in wrongly a few times. A consent is a cell until its time is over, what is typed is
/// tried at the provider, and whoever has the link may do either.
pub const CONSENTS_MAX: u32 = 16;

/// For how long one answer has the session to itself: twice what the exchange, the probe and a revocation may take.
const TAKEN_TIME: Duration = Duration::minutes(2);

/// Between two looks for what is over. As long as a state lives, so at most as many again are left lying.
const SWEEP_TIME: Duration = STATE_TIME;

/// Cells that are removed at once: bounds how long others wait behind it.
const SWEEP_CELLS: usize = 64;

/// Attempts to write a session that others write as well: who begins at the same time with the same link.
const ROUNDS: u32 = 8;

/// Bytes of a `state`, a session's token and a verifier: 256 bits, twice what RFC 9700 asks for.
const RANDOM_BYTES: usize = 32;

const SESSIONS: &str = "vault/connect-session";
pub(super) const STATES: &str = "vault/connect-state";

/// What a connect session is for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Session {
    /// The connection that it makes, or makes anew.
    pub of: ConnectionRef,
    /// Where the person goes afterwards.
    pub return_url: Option<String>,
    /// Who made it.
    pub actor: Actor,
    /// Values for the variables of the provider's URLs, as far as they are known.
    #[serde(default)]
    pub facts: Facts,
    /// After this it is over.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    /// Whether it has made a connection.
    pub used: bool,
    /// How many attempts it has had.
    pub begun: u32,
    /// Until then an answer has it to itself.
    #[serde(with = "time::serde::rfc3339::option")]
    pub taken_until: Option<OffsetDateTime>,
}

/// A session's token: whoever has it may connect. Shown once.
#[derive(Debug)]
pub struct SessionToken(pub SecretString);

/// What a `state` stands for.
#[derive(Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) session: String,
    /// Digest of what the browser must show.
    pub(super) binding: Digest,
    /// Sealed, in hex: with the code, it is as good as the tokens.
    pub(super) verifier: Option<String>,
    pub(super) redirect_uri: String,
    #[serde(default)]
    pub(super) facts: Facts,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) expires_at: OffsetDateTime,
}

/// A session that one answer has to itself.
pub(super) struct Taken {
    key: String,
    pub(super) session: Session,
    /// Under which it was taken.
    version: u64,
}

/// When what is over was last looked for.
#[derive(Default)]
pub(crate) struct Swept(Mutex<Option<OffsetDateTime>>);

/// What every one of these cells says.
#[derive(Deserialize)]
struct Ends {
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
}

// === impl Vault ===

impl Vault {
    /// The session of a token, while it is good.
    pub async fn session(&self, token: &SecretString) -> Result<Session, Fault> {
        Ok(self.live_session(&key_of(token)).await?.0)
    }

    /// The session that an answer would complete, for finding its release; takes nothing.
    pub async fn session_of(&self, state: &str) -> Result<Session, Fault> {
        let key = Digest::of(state.as_bytes()).hex();
        let cell = self.shared.store.cell(STATES, key.as_bytes()).await?.ok_or_else(foreign)?;
        let pending: Pending = serde_json::from_slice(&cell.value).map_err(|_| foreign())?;
        Ok(self.live_session(&pending.session).await?.0)
    }

    /// The environment of a token's session, also of one that is used or over, until it is swept: whose page says so.
    pub async fn environment(&self, token: &SecretString) -> Option<Environment> {
        self.environment_kept(&key_of(token)).await
    }

    /// The same of the session that an answer would complete.
    pub async fn environment_of(&self, state: &str) -> Option<Environment> {
        let key = Digest::of(state.as_bytes()).hex();
        let cell = self.shared.store.cell(STATES, key.as_bytes()).await.ok()??;
        let pending: Pending = serde_json::from_slice(&cell.value).ok()?;
        self.environment_kept(&pending.session).await
    }

    async fn environment_kept(&self, key: &str) -> Option<Environment> {
        Some(self.session_kept(key).await?.of.installation.environment)
    }

    /// A session that is there, whether it is good or over.
    pub(super) async fn session_kept(&self, key: &str) -> Option<Session> {
        let cell = self.shared.store.cell(SESSIONS, key.as_bytes()).await.ok()??;
        serde_json::from_slice(&cell.value).ok()
    }

    /// Removes sessions and states whose time is over. What cannot be read is left to whoever can.
    pub async fn sweep_consents(&self) -> Result<(), Fault> {
        let now = self.shared.clock.now();
        for space in [SESSIONS, STATES, ANSWERS] {
            let cells = self.shared.store.cells(space).await?;
            let over = cells.into_iter().filter(|(_, cell)| {
                serde_json::from_slice(&cell.value)
                    .is_ok_and(|Ends { expires_at }| expires_at <= now)
            });
            let over: Vec<_> = over.collect();
            // An answer goes with all of its cells.
            let each = if space == ANSWERS { posted::CELLS_MAX } else { 1 };
            for some in over.chunks(SWEEP_CELLS / each) {
                let batch = self.shared.store.batch();
                let batch = some.iter().fold(batch, |batch, (key, cell)| match space {
                    ANSWERS => posted::without(batch, key, cell),
                    _ => batch.remove_cell(space, key, cell.version),
                });
                match batch.commit().await {
                    // An answer that came late has taken one of them: they go the next time.
                    Ok(()) | Err(Error::Conflict { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// The sessions that are for a tenant, with their versions.
    pub(crate) async fn sessions_of(
        &self,
        environment: &Environment,
        tenant: &Tenant,
    ) -> Result<Vec<(Vec<u8>, u64)>, Fault> {
        let cells = self.shared.store.cells(SESSIONS).await?;
        let is = |cell: &Cell| {
            serde_json::from_slice::<Session>(&cell.value).is_ok_and(|session| {
                let of = &session.of.installation;
                of.environment == *environment && of.tenant == *tenant
            })
        };
        let own = cells.into_iter().filter(|(_, cell)| is(cell));
        Ok(own.map(|(key, cell)| (key, cell.version)).collect())
    }

    /// Ends the sessions that are for a tenant: an answer that comes later belongs to none, and its code is not
    /// exchanged. How many those were.
    pub(crate) async fn end_sessions(
        &self,
        environment: &Environment,
        tenant: &Tenant,
    ) -> Result<usize, Fault> {
        let mut ended = 0;
        for _ in 0..ROUNDS {
            let own = self.sessions_of(environment, tenant).await?;
            if own.is_empty() {
                return Ok(ended);
            }
            for (key, version) in own {
                let remove = self.shared.store.batch().remove_cell(SESSIONS, &key, version);
                match remove.commit().await {
                    Ok(()) => ended += 1,
                    // Somebody is at it: the next round has its version.
                    Err(Error::Conflict { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Err(busy())
    }

    /// The same, if it is time again. Whoever begins has no trouble with what others have left.
    async fn sweep_in_passing(&self) {
        if self.shared.swept.is_due(self.shared.clock.now())
            && let Err(fault) = self.sweep_consents().await
        {
            tracing::warn!(problem = fault.chain(), "connect sessions that are over not removed");
        }
    }

    /// Keeps a session that begins.
    pub(super) async fn keep_session(
        &self,
        of: ConnectionRef,
        (return_url, facts): (Option<String>, Facts),
        actor: &Actor,
    ) -> Result<(SessionToken, Session), Fault> {
        self.sweep_in_passing().await;
        let token = random()?;
        let session = Session {
            of,
            return_url,
            actor: actor.clone(),
            facts,
            expires_at: self.shared.clock.now() + SESSION_TIME,
            used: false,
            begun: 0,
            taken_until: None,
        };
        let (key, value) = (key_of(&token), json(&session)?);
        self.shared.store.batch().put_cell(SESSIONS, key.as_bytes(), None, value).commit().await?;
        Ok((SessionToken(token), session))
    }

    /// Keeps a consent that begins, and counts it.
    pub(super) async fn keep_state(
        &self,
        state: &SecretString,
        pending: &Pending,
    ) -> Result<(), Fault> {
        self.sweep_in_passing().await;
        let (state, pending_json) = (key_of(state), json(pending)?);
        let key = pending.session.as_bytes();
        for _ in 0..ROUNDS {
            let (session, version) = self.live_session(&pending.session).await?;
            let counted = json(&session.counted()?)?;
            let batch = self.shared.store.batch();
            let batch = batch.put_cell(STATES, state.as_bytes(), None, pending_json.clone());
            match batch.put_cell(SESSIONS, key, Some(version), counted).commit().await {
                Err(Error::Conflict { .. }) => {}
                done => return Ok(done?),
            }
        }
        Err(busy())
    }

    /// Takes the state of an answer: it is good once, whatever comes of it.
    pub(super) async fn take_state(&self, returned: &Returned) -> Result<Pending, Fault> {
        let refuse = |detail: &str| Fault::new(Code::ConnectStateInvalid, detail);
        let key = Digest::of(returned.state.as_bytes()).hex();
        let cell = self.shared.store.cell(STATES, key.as_bytes()).await?;
        let cell = cell.ok_or_else(foreign)?;
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

    /// Takes a session for one answer: another that comes meanwhile is refused, and its code is not exchanged.
    pub(super) async fn take_session(&self, key: &str) -> Result<Taken, Fault> {
        self.take(key, Ok).await
    }

    /// The same for an answer that nothing was begun for: it counts as what is begun does, whatever comes of it.
    pub(super) async fn take_attempt(&self, key: &str) -> Result<Taken, Fault> {
        self.take(key, Session::counted).await
    }

    async fn take(
        &self,
        key: &str,
        counted: fn(Session) -> Result<Session, Fault>,
    ) -> Result<Taken, Fault> {
        for _ in 0..ROUNDS {
            let (session, version) = self.live_session(key).await?;
            let session = counted(session)?;
            let taken_until = Some(self.shared.clock.now() + TAKEN_TIME);
            let taken = json(&Session { taken_until, ..session.clone() })?;
            let batch = self.shared.store.batch();
            match batch.put_cell(SESSIONS, key.as_bytes(), Some(version), taken).commit().await {
                Err(Error::Conflict { .. }) => {}
                done => {
                    done?;
                    return Ok(Taken { key: key.to_owned(), session, version: version + 1 });
                }
            }
        }
        Err(busy())
    }

    /// Gives a session back that has made nothing: the person may try again.
    pub(super) async fn return_session(&self, taken: Taken) {
        let Taken { key, session, version } = taken;
        let Ok(value) = json(&session) else { return };
        let batch = self.shared.store.batch();
        let batch = batch.put_cell(SESSIONS, key.as_bytes(), Some(version), value);
        if let Err(error) = batch.commit().await {
            tracing::debug!(%error, "connect session not given back; it is good again by itself");
        }
    }

    pub(super) async fn live_session(&self, key: &str) -> Result<(Session, u64), Fault> {
        let refuse = |detail: &str| Fault::new(Code::ConnectSessionInvalid, detail);
        let cell = self.shared.store.cell(SESSIONS, key.as_bytes()).await?;
        let cell = cell.ok_or_else(|| refuse("there is no such session"))?;
        let session: Session = serde_json::from_slice(&cell.value)
            .map_err(|error| refuse("the session is unreadable").caused_by(error))?;
        let now = self.shared.clock.now();
        if session.used {
            return Err(refuse("the session was used already"));
        }
        if session.expires_at <= now {
            return Err(refuse("the session is over"));
        }
        if session.taken_until.is_some_and(|until| now < until) {
            return Err(busy());
        }
        Ok((session, cell.version))
    }
}

// === impl Session ===

impl Session {
    /// With one attempt more, if it has one left.
    fn counted(self) -> Result<Self, Fault> {
        if self.begun >= CONSENTS_MAX {
            let detail = format!("the session has had {CONSENTS_MAX} attempts, and has no more");
            return Err(Fault::new(Code::ConnectSessionInvalid, detail));
        }
        Ok(Self { begun: self.begun + 1, ..self })
    }
}

// === impl Taken ===

impl Taken {
    /// That it is used, as a part of the change which makes it so.
    pub(super) fn used(&self) -> Result<impl Fn(Tx) -> Tx + Send + Sync + use<>, Fault> {
        let used = json(&Session { used: true, ..self.session.clone() })?;
        let (key, version) = (self.key.clone(), self.version);
        Ok(move |tx: Tx| tx.put_cell(SESSIONS, key.as_bytes(), Some(version), used.clone()))
    }
}

// === impl Swept ===

impl Swept {
    /// Whether it is time to look again, which counts as a look. Also after a clock that was set back.
    fn is_due(&self, now: OffsetDateTime) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| now < last || now - last >= SWEEP_TIME);
        if due {
            *last = Some(now);
        }
        due
    }
}

pub(super) fn foreign() -> Fault {
    let detail = "the answer belongs to no consent that was begun here";
    Fault::new(Code::ConnectStateInvalid, detail)
}

fn busy() -> Fault {
    let detail = "another answer to the session is being looked at";
    Fault::new(Code::ConnectSessionInvalid, detail)
}

pub(super) fn key_of(secret: &SecretString) -> String {
    Digest::of(secret.expose_secret().as_bytes()).hex()
}

pub(super) fn random() -> Result<SecretString, Fault> {
    let mut bytes = [0; RANDOM_BYTES];
    OsRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| Fault::new(Code::Internal, "no random bytes").caused_by(error))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes).into())
}

pub(super) fn json(value: &impl Serialize) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(value)
        .map_err(|error| Fault::new(Code::Internal, "not written as JSON").caused_by(error))
}
