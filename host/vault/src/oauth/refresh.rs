//! The rule of a refresh, step by step; the parent module says why.
//!
//! Callers come by [`Vault::token`]. Whoever finds a token over starts a flight, or joins the one under way; the
//! flight is a task of its own, so that a caller who goes away leaves nothing half done. What comes of a flight that
//! brings no tokens is in [`refused`].
//!
//! **After an outage** (C95) nothing bounds how many connections ask a server at once. What spreads them is that each
//! waits for itself, up to ten minutes, a fifth more or less. 200 connections that ended together make some 8,500
//! requests in six hours (51 each at most), then come back within twelve minutes, about four in the busiest second. To
//! a longer wait that the server names up to a fifth is added, for the same reason.

mod besides;
mod refusals;
mod refused;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keyway_core::descriptor::{Grant, Oauth, Refresh, SlotSpec};
use keyway_core::ids::ConnectionRef;
use keyway_core::{Code, Digest, Fault, Retry};
use keyway_store::model::{Connection, Lease};
use secrecy::ExposeSecret as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::barrier::{held_back, paused};
use crate::connections::Vault;
use crate::facts::{self, Facts};
use crate::oauth::client::{Client, ClientRef};
use crate::oauth::endpoint::{Ask, Endpoint, Issued, Refused};
use crate::oauth::expiry::{Freshness, Life};
use crate::oauth::obtain::{self, Lent};
use crate::oauth::record::{OwnClient, Phase, Record, State, Tokens, Unwritten};
use crate::oauth::refresh::besides::Besides;
use crate::oauth::refresh::refusals::Refusals;
use crate::steps::Step;

/// For how long a refresh has the sole right to a connection. Twice what the request may take: what is left is for
/// two writes, on a disk that has a bad day.
const LEASE_TIME: Duration = Duration::from_secs(90);

/// For one request to a token endpoint. Slow ones are seen to take a quarter of a minute.
const ASK_TIME: Duration = Duration::from_secs(40);

/// How often a flight looks whether another host has given the lease back.
const LEASE_POLL: Duration = Duration::from_millis(250);

/// A token that is rejected so soon after it was issued is not rejected for its age: another would not help.
const REJECTED_TOO_SOON: Duration = Duration::from_secs(10);

/// For how long tokens that were issued are tried to be written. There is no second copy of them anywhere, and
/// another host may have the lease for all of its time.
const KEEP_TIME: Duration = Duration::from_secs(2 * LEASE_TIME.as_secs());

/// Pauses between these attempts grow this often.
const KEEP_STEPS: u32 = 8;

/// What a flight comes to.
type Landing = Option<Result<(), Fault>>;

/// Tokens that are known, and flights that are under way.
#[derive(Default)]
pub(crate) struct Tower {
    records: Mutex<HashMap<ConnectionRef, (u64, Arc<Record>)>>,
    flights: Mutex<HashMap<ConnectionRef, watch::Receiver<Landing>>>,
    /// Connections that are being removed, and by how many: no refresh of them begins.
    grounded: Mutex<HashMap<ConnectionRef, usize>>,
    pub(crate) refusals: Refusals,
}

/// Keeps a connection's refreshes from beginning while it lives.
pub(crate) struct Grounded<'a> {
    tower: &'a Tower,
    of: ConnectionRef,
}

/// What one refresh is about.
#[derive(Clone)]
struct Subject {
    of: ConnectionRef,
    epoch: u64,
    spec: SlotSpec,
    facts: Facts,
    /// The client that is the connection's own.
    own: Option<OwnClient>,
    /// The version that was found wanting.
    seen: u64,
    /// Who wants it.
    wanted: Wanted,
    /// What is exchanged for a user's token: the tenant's own. None until it is fetched, and for all other tokens.
    lent: Option<Lent>,
    /// Whether it has to be.
    borrows: bool,
}

/// Who wants a refresh, and so what stands in its way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// A call, or a token's age: not before the wait after a failure is over.
    Use,
    /// An operator, who need not wait.
    Operator,
    /// An operator who takes it upon himself that the token may be spent.
    Force,
}

// === impl Tower ===

impl Tower {
    /// Lets no refresh of a connection begin. One that is in flight goes on.
    pub(crate) fn ground(&self, of: &ConnectionRef) -> Grounded<'_> {
        *lock(&self.grounded).entry(of.clone()).or_default() += 1;
        Grounded { tower: self, of: of.clone() }
    }

    pub(crate) fn is_grounded(&self, of: &ConnectionRef) -> bool {
        lock(&self.grounded).contains_key(of)
    }
}

impl Drop for Grounded<'_> {
    fn drop(&mut self) {
        if let Entry::Occupied(mut by) = lock(&self.tower.grounded).entry(self.of.clone()) {
            *by.get_mut() -= 1;
            if *by.get() == 0 {
                by.remove();
            }
        }
    }
}

// === impl Vault ===

impl Vault {
    /// The tokens to use now. Waits for a refresh where there is no other way.
    pub(crate) async fn token(
        &self,
        connection: &Connection,
        spec: &SlotSpec,
    ) -> Result<Arc<Record>, Fault> {
        let record = self.record(connection).await?;
        match record.life.freshness(Instant::now()) {
            Freshness::Fresh => return Ok(record),
            Freshness::Due => {
                // Nobody waits, and nobody fails: the token at hand is good for a while.
                if self.may_refresh(connection, &record).is_ok()
                    && let Ok(subject) = subject(connection, spec, &record, Wanted::Use)
                {
                    drop(self.flight(subject));
                }
                return Ok(record);
            }
            Freshness::Over => {}
        }
        let record = match self.may_refresh(connection, &record) {
            Ok(()) => record,
            // What stands in the way here may be over elsewhere: another host, or a person there, has new tokens.
            Err(_) => {
                let record = self.reload(&connection.reference(), connection.epoch).await?;
                if record.life.freshness(Instant::now()) != Freshness::Over {
                    return Ok(record);
                }
                self.may_refresh(connection, &record)?;
                record
            }
        };
        land(self.flight(subject(connection, spec, &record, Wanted::Use)?)).await?;
        self.record(connection).await
    }

    /// Another token than the one that the provider rejected; none if there is no hope of one.
    pub(crate) async fn other_token(
        &self,
        connection: &Connection,
        spec: &SlotSpec,
        version: u64,
    ) -> Result<Option<Arc<Record>>, Fault> {
        let record = self.record(connection).await?;
        if record.state.version != version {
            return Ok(Some(record));
        }
        let young = self.age(&record).is_some_and(|age| age < REJECTED_TOO_SOON);
        if young || self.may_refresh(connection, &record).is_err() {
            return Ok(None);
        }
        land(self.flight(subject(connection, spec, &record, Wanted::Use)?)).await?;
        let renewed = self.record(connection).await?;
        Ok((renewed.state.version != version).then_some(renewed))
    }

    /// Refreshes now, because an operator says so. `forced` also where the token may be spent already.
    pub async fn refresh(
        &self,
        of: &ConnectionRef,
        spec: &SlotSpec,
        forced: bool,
    ) -> Result<State, Fault> {
        // In use from here on, and only then looked at: a pause waits for it, or is seen by it.
        let _in_use = self.shared.uses(of).await?;
        let connection = self.existing(of).await?;
        let record = self.record(&connection).await?;
        if connection.paused {
            return Err(paused(of));
        }
        if connection.hold_refresh {
            return Err(held_back(of));
        }
        let wanted = if forced { Wanted::Force } else { Wanted::Operator };
        land(self.flight(subject(&connection, spec, &record, wanted)?)).await?;
        Ok(self.record(&connection).await?.state.clone())
    }

    /// Refreshes a token for its own sake, because nobody has used it for long.
    pub(crate) async fn refresh_unused(
        &self,
        connection: &Connection,
        spec: &SlotSpec,
        record: &Record,
    ) -> Result<(), Fault> {
        self.may_refresh(connection, record)?;
        land(self.flight(subject(connection, spec, record, Wanted::Use)?)).await
    }

    /// Waits for every refresh that is under way in this process: each has a token that may be spent.
    pub async fn landed(&self) {
        let flights: Vec<_> = lock(&self.shared.tower.flights).values().cloned().collect();
        for landing in flights {
            drop(land(landing).await);
        }
    }

    /// Whether a refresh of the connection is under way in this process.
    pub(crate) fn in_flight(&self, of: &ConnectionRef) -> bool {
        let flights = lock(&self.shared.tower.flights);
        flights.get(of).is_some_and(under_way)
    }

    /// Forgets what is known of a connection's tokens.
    pub(crate) fn forget_tokens(&self, of: &ConnectionRef) {
        lock(&self.shared.tower.records).remove(of);
    }

    /// Forgets what is known of tokens before an epoch.
    pub(crate) fn forget_tokens_before(&self, of: &ConnectionRef, epoch: u64) {
        let mut records = lock(&self.shared.tower.records);
        if records.get(of).is_some_and(|(known, _)| *known < epoch) {
            records.remove(of);
        }
    }

    /// What is known, or read, of a connection's tokens.
    pub(crate) async fn record(&self, connection: &Connection) -> Result<Arc<Record>, Fault> {
        let of = connection.reference();
        if let Some((epoch, record)) = lock(&self.shared.tower.records).get(&of)
            && *epoch == connection.epoch
        {
            return Ok(Arc::clone(record));
        }
        self.reload(&of, connection.epoch).await
    }

    async fn reload(&self, of: &ConnectionRef, epoch: u64) -> Result<Arc<Record>, Fault> {
        let wall = self.shared.clock.now();
        let record = self.shared.records.load(of, epoch, wall).await?.ok_or_else(|| {
            Fault::new(Code::UnknownConnection, format!("there are no tokens of {of}"))
        })?;
        Ok(self.know(of, epoch, record))
    }

    /// Takes note of a record, unless a newer one is known. Of tokens that are known already, the time that is left
    /// stays as it was counted: what was read anew only has the wall clock's word for it.
    fn know(&self, of: &ConnectionRef, epoch: u64, mut record: Record) -> Arc<Record> {
        let mut records = lock(&self.shared.tower.records);
        if let Some((known_epoch, known)) = records.get(of) {
            match (*known_epoch, known.state.version).cmp(&(epoch, record.state.version)) {
                Ordering::Greater => return Arc::clone(known),
                Ordering::Equal if known.written() > record.written() => return Arc::clone(known),
                Ordering::Equal => {
                    record.life = known.life;
                    if known.state.retry_at == record.state.retry_at {
                        record.rest = known.rest;
                    }
                }
                Ordering::Less => {}
            }
        }
        let record = Arc::new(record);
        records.insert(of.clone(), (epoch, Arc::clone(&record)));
        if !record.state.by_hand {
            self.shared.standings.note(of, Some((&record.state.phase).into()));
        }
        record
    }

    /// Refuses where nobody but an operator may begin a refresh.
    fn may_refresh(&self, connection: &Connection, record: &Record) -> Result<(), Fault> {
        let of = connection.reference();
        if connection.hold_refresh {
            return Err(held_back(&of));
        }
        match record.state.phase {
            Phase::NeedsReauth { .. } => return Err(needs_reauth(&of)),
            Phase::Uncertain { .. } => return Err(uncertain(&of)),
            Phase::Ready | Phase::Refreshing { .. } => {}
        }
        if self.in_flight(&of) {
            return Ok(());
        }
        let shared = record.tokens.own.is_none();
        match self.shared.tower.refusals.rest(&ClientRef::of(&of)).filter(|_| shared) {
            Some(rest) => Err(client_rests(&of, rest)),
            None => rested(&of, record),
        }
    }

    /// For how long the access token has been here; for one that another process received, by the wall clock.
    fn age(&self, record: &Record) -> Option<Duration> {
        match record.life.received() {
            Some(received) => Some(received.elapsed()),
            None => (self.shared.clock.now() - record.state.obtained_at?).try_into().ok(),
        }
    }

    /// Starts a flight, or joins the one under way.
    fn flight(&self, subject: Subject) -> watch::Receiver<Landing> {
        let mut flights = lock(&self.shared.tower.flights);
        if let Some(landing) = flights.get(&subject.of)
            && under_way(landing)
        {
            return landing.clone();
        }
        let (report, landing) = watch::channel(None);
        flights.insert(subject.of.clone(), landing.clone());
        let vault = self.clone();
        tokio::spawn(async move {
            let of = subject.of.clone();
            let outcome = vault.fly(subject).await;
            vault.shared.metrics.refreshed(outcome.as_ref().err().map(|fault| fault.code));
            lock(&vault.shared.tower.flights).remove(&of);
            // Nobody may be waiting any more.
            report.send_replace(Some(outcome));
        });
        landing
    }

    async fn fly(&self, mut subject: Subject) -> Result<(), Fault> {
        // Before the intent: without a client nothing could be sent.
        let oauth = oauth(&subject.spec)?;
        let client = self.client_of(&subject.of, subject.own.as_ref(), oauth).await?;
        if subject.borrows {
            subject.lent = Some(self.lent(&subject.of, &subject.spec).await?);
        }
        let Some(lease) = self.refresh_lease(&subject).await? else { return Ok(()) };
        let outcome = self.refresh_under(&subject, &client, &lease).await;
        self.give_back_lease(&lease).await;
        outcome
    }

    async fn give_back_lease(&self, lease: &Lease) {
        if let Err(error) = self.shared.store.release_lease(lease).await {
            tracing::debug!(%error, "lease not given back; it ends by itself");
        }
    }

    /// The right to refresh; none if another host has meanwhile done it.
    async fn refresh_lease(&self, subject: &Subject) -> Result<Option<Lease>, Fault> {
        let name = format!("refresh {}", Digest::of(subject.of.to_string().as_bytes()).hex());
        let patience = Instant::now() + LEASE_TIME;
        loop {
            let (store, owner) = (&self.shared.store, &self.shared.owner);
            if let Some(lease) = store.acquire_lease(&name, owner, LEASE_TIME).await? {
                return Ok(Some(lease));
            }
            let record = self.reload(&subject.of, subject.epoch).await?;
            if record.state.version != subject.seen {
                return Ok(None);
            }
            if Instant::now() >= patience {
                let detail = format!("another host has been refreshing {} for long", subject.of);
                return Err(Fault::new(Code::TokenEndpointFailed, detail));
            }
            sleep(LEASE_POLL).await;
        }
    }

    async fn refresh_under(
        &self,
        subject: &Subject,
        client: &Client,
        lease: &Lease,
    ) -> Result<(), Fault> {
        let of = &subject.of;
        let record = self.reload(of, subject.epoch).await?;
        if record.state.version != subject.seen {
            return Ok(());
        }
        let oauth = oauth(&subject.spec)?;
        self.check_phase(subject, oauth, &record, lease).await?;
        self.check_not_stopped(of).await?;
        let by = ClientRef::of(of);
        let shared = subject.own.is_none();
        if subject.wanted == Wanted::Use
            && shared
            && let Err(rest) = self.shared.tower.refusals.turn(&by)
        {
            return Err(client_rests(of, rest));
        }
        // A provider's grace counts from the first time that a token was presented, not from the last.
        let since = match record.state.phase {
            Phase::Refreshing { since, .. } | Phase::Uncertain { since } => since,
            Phase::Ready | Phase::NeedsReauth { .. } => self.shared.clock.now(),
        };
        let state = State {
            phase: Phase::Refreshing { fence: lease.fence, since },
            ..record.state.clone()
        };
        let before = record.state.phase.clone();
        let record = self.shared.records.restate(of, subject.epoch, &record, state, lease).await?;
        self.shared.steps.reached(Step::Intended).await;
        let began = Instant::now();
        let mut asked = self.ask(subject, oauth, client, &record.tokens).await;
        let harmless = harmless(oauth, &record.tokens);
        let is_lost = |asked: &Result<Issued, Refused>| asked.as_ref().is_err_and(Refused::is_lost);
        let mut lost = is_lost(&asked);
        // A server that has answered says the same again.
        let unanswered = asked.as_ref().is_err_and(Refused::is_unanswered);
        if unanswered && (harmless || before == Phase::Ready && began.elapsed() < grace(oauth)) {
            asked = self.ask(subject, oauth, client, &record.tokens).await;
        }
        self.shared.steps.reached(Step::Answered).await;
        let asked = asked.or_else(|refused| refused.usable(oauth));
        if shared && matches!(asked, Ok(_) | Err(Refused::Grant | Refused::Request(..))) {
            self.client_taken(&by);
        }
        match asked {
            Ok(mut issued) => {
                let (base_url, account) = (issued.base_url.take(), issued.account.take());
                let left = match issued.doubtful && !harmless {
                    // The one that is kept may be spent, and the next was not to be read.
                    true => Phase::Uncertain { since },
                    false => Phase::Ready,
                };
                self.keep(subject, &record, (issued, left), lease).await?;
                self.compare_account(subject, oauth, &Besides { base_url, account }).await;
                Ok(())
            }
            Err(refused) => {
                lost |= refused.is_lost();
                let left = refused::left_as(&before, lost, harmless, since);
                self.refused(subject, &record, left, refused, lease).await
            }
        }
    }

    /// Notes that a provider takes the operator's client, and says so if it did not before.
    fn client_taken(&self, by: &ClientRef) {
        if self.shared.tower.refusals.clear(by) {
            tracing::info!(event = "oauth-client.taken", environment = %by.environment, connector = %by.connector, slot = %by.slot, "the provider takes the operator's client again");
        }
    }

    /// Refuses to spend a token that may be spent.
    async fn check_phase(
        &self,
        subject: &Subject,
        oauth: &Oauth,
        record: &Record,
        lease: &Lease,
    ) -> Result<(), Fault> {
        if subject.wanted == Wanted::Force {
            return Ok(());
        }
        match record.state.phase {
            // Others who found the token over have meanwhile tried in vain: their wait is ours.
            Phase::Ready if subject.wanted == Wanted::Use => rested(&subject.of, record),
            Phase::Ready => Ok(()),
            Phase::NeedsReauth { .. } => Err(needs_reauth(&subject.of)),
            Phase::Uncertain { .. } => Err(uncertain(&subject.of)),
            // Whoever began it is gone: the lease is ours.
            Phase::Refreshing { since, .. } => {
                // A clock that was set back says nothing about the time that has passed.
                let passed = Duration::try_from(self.shared.clock.now() - since).ok();
                let within = passed.is_some_and(|passed| passed < grace(oauth));
                if within || harmless(oauth, &record.tokens) {
                    return Ok(());
                }
                let problem = "a refresh was cut off after it may have been sent";
                let left = (Phase::Uncertain { since }, record.state.denials);
                self.mark(subject, record, left, None, problem, lease).await?;
                Err(uncertain(&subject.of))
            }
        }
    }

    async fn ask(
        &self,
        subject: &Subject,
        oauth: &Oauth,
        client: &Client,
        tokens: &Tokens,
    ) -> Result<Issued, Refused> {
        let filled = facts::filled(&subject.of, oauth, &subject.facts);
        let oauth = filled.map_err(|fault| Refused::Unsent(fault.detail))?;
        let endpoint = Endpoint::new(
            &self.shared,
            &subject.of.installation.environment,
            (&oauth, client),
            ASK_TIME,
        );
        let of = &subject.of;
        let signed = match oauth.grant {
            Grant::JwtBearer if tokens.refresh.is_none() => {
                let signed =
                    self.assert((of, &subject.facts), &oauth, client, &subject.spec.scopes);
                Some(signed.map_err(|fault| Refused::Unsent(fault.detail))?)
            }
            _ => None,
        };
        let ask = match (&tokens.refresh, &tokens.subject) {
            _ if signed.is_some() => obtain::ask(of, signed.as_ref(), oauth.grant),
            (Some(refresh), _) => Ask::Refresh(refresh),
            (None, token) => {
                let lent = subject.lent.as_ref().map(|lent| &lent.token);
                obtain::ask(of, token.as_ref().or(lent), oauth.grant)
            }
        };
        let asked = endpoint.ask(ask, &subject.spec.scopes).await;
        asked.map_err(|refused| match refused {
            // Nobody else's: a person has to give another.
            Refused::Client(_) if subject.own.is_some() => Refused::Grant,
            other => other,
        })
    }

    /// Makes issued tokens durable. They exist nowhere else, so this does not give up easily.
    async fn keep(
        &self,
        subject: &Subject,
        record: &Record,
        (issued, phase): (Issued, Phase),
        lease: &Lease,
    ) -> Result<(), Fault> {
        let (of, epoch) = (&subject.of, subject.epoch);
        let tokens = Tokens {
            access: issued.access,
            // Many providers send no new one: the old one stays.
            refresh: issued.refresh.or_else(|| record.tokens.refresh.clone()),
            subject: record.tokens.subject.clone(),
            own: record.tokens.own.clone(),
        };
        let now = self.noted_at(issued.date);
        let state = State::issued(record.state.version + 1, now, issued.lifetime, &tokens);
        if phase != Phase::Ready {
            tracing::warn!(event = "connection.refresh-uncertain", connection = %of, "a new access token came with a refresh token that cannot be read");
        }
        let state = State { refreshable: true, phase, ..state };
        let life = Life::issued(Instant::now(), issued.lifetime);
        let (mut over, mut held) = (record.clone(), lease.clone());
        let patience = Instant::now() + KEEP_TIME;
        for attempt in 1.. {
            let new = (state.clone(), tokens.clone(), life);
            let problem = match self.shared.records.replace(of, epoch, &over, new, &held).await {
                Ok(kept) => {
                    self.shared.steps.reached(Step::Kept).await;
                    self.know(of, epoch, kept);
                    self.give_back_lease(&held).await;
                    let asked = &subject.spec.scopes;
                    self.note_scopes(of, epoch, issued.scopes, asked).await;
                    return Ok(());
                }
                Err(Unwritten::Fault(fault)) => fault,
                Err(Unwritten::Store(error)) => error.into(),
            };
            tracing::warn!(connection = %of, attempt, problem = problem.chain(), "issued tokens did not land");
            if Instant::now() >= patience {
                break;
            }
            sleep(LEASE_POLL * attempt.min(KEEP_STEPS)).await;
            match self.still_over(subject, &over, &tokens).await {
                Ok(Some(current)) => over = current,
                Ok(None) => return Ok(()),
                Err(fault) => tracing::warn!(problem = fault.chain(), "cannot read tokens"),
            }
            // The lease may have run out while the server took its time.
            let (store, owner) = (&self.shared.store, &self.shared.owner);
            if let Ok(Some(taken)) = store.acquire_lease(&held.name, owner, LEASE_TIME).await {
                held = taken;
            }
        }
        tracing::error!(connection = %of, "tokens were issued and could not be kept");
        Err(Fault::new(Code::StoreUnavailable, format!("new tokens of {of} could not be kept")))
    }

    /// What issued tokens that did not land are to be written over now. None if there is nothing left to do: they had
    /// landed, or somebody else has since got tokens, which came of the same grant and go on from here.
    async fn still_over(
        &self,
        subject: &Subject,
        over: &Record,
        issued: &Tokens,
    ) -> Result<Option<Record>, Fault> {
        let (of, epoch) = (&subject.of, subject.epoch);
        let Some(now) = self.shared.records.load(of, epoch, self.shared.clock.now()).await? else {
            self.drop_issued((of, &subject.facts), &subject.spec, issued).await;
            return Ok(None);
        };
        if now.state.version == over.state.version {
            return Ok(Some(now));
        }
        if now.tokens.access.expose_secret() == issued.access.expose_secret() {
            tracing::info!(connection = %of, "issued tokens had landed after all");
        } else {
            tracing::warn!(connection = %of, "others were faster; the tokens issued to us are dropped");
        }
        self.know(of, epoch, now);
        Ok(None)
    }
}

/// Waits for a flight. One whose task died says nothing.
async fn land(mut landing: watch::Receiver<Landing>) -> Result<(), Fault> {
    let landed = landing.wait_for(Option::is_some).await;
    let outcome = landed.ok().and_then(|outcome| outcome.clone());
    outcome.unwrap_or_else(|| Err(Fault::new(Code::Internal, "a refresh ended without a word")))
}

fn subject(
    connection: &Connection,
    spec: &SlotSpec,
    record: &Record,
    wanted: Wanted,
) -> Result<Subject, Fault> {
    let oauth = oauth(spec)?;
    let of = connection.reference();
    let asks = matches!(oauth.grant, Grant::ClientCredentials | Grant::JwtBearer);
    if !record.state.refreshable && !asks {
        // An access token alone, and its time is over: only a person can get another.
        return Err(needs_reauth(&of));
    }
    Ok(Subject {
        of,
        epoch: connection.epoch,
        spec: spec.clone(),
        facts: connection.facts.clone(),
        own: record.tokens.own.clone(),
        seen: record.state.version,
        wanted,
        lent: None,
        borrows: obtain::borrows(&connection.reference(), oauth, &record.tokens)?,
    })
}

fn oauth(spec: &SlotSpec) -> Result<&Oauth, Fault> {
    spec.scheme.oauth().ok_or_else(|| {
        let detail = "the release declares no authorization server for this slot";
        Fault::new(Code::CredentialInvalid, detail)
    })
}

/// Whether sending the same again cannot revoke anything.
fn harmless(oauth: &Oauth, tokens: &Tokens) -> bool {
    tokens.refresh.is_none() || oauth.refresh != Refresh::Rotate
}

/// For how long the provider takes a token again that was already used.
fn grace(oauth: &Oauth) -> Duration {
    Duration::from_secs(oauth.reuse_grace.unwrap_or(0).into())
}

/// Refuses until the wait after a failure is over.
fn rested(of: &ConnectionRef, record: &Record) -> Result<(), Fault> {
    let wait = record.rest.map(|rest| rest.saturating_duration_since(Instant::now()));
    let Some(wait) = wait.filter(|wait| !wait.is_zero()) else { return Ok(()) };
    let problem = record.state.problem.as_deref().unwrap_or("it failed before");
    let fault = Fault::new(Code::TokenEndpointFailed, format!("{of}: {problem}"));
    Err(fault.retry(Retry::After(wait)))
}

/// Whether a flight goes on. One whose task died has nobody left who could say how it ended.
fn under_way(landing: &watch::Receiver<Landing>) -> bool {
    landing.borrow().is_none() && landing.has_changed().is_ok()
}

fn client_rests(of: &ConnectionRef, rest: Duration) -> Fault {
    let detail = format!("{of}: the provider refuses the operator's client");
    Fault::new(Code::OauthClientRefused, detail).retry(Retry::After(rest))
}

fn needs_reauth(of: &ConnectionRef) -> Fault {
    Fault::new(Code::NeedsReauth, format!("{of} must be connected again by a person"))
}

fn uncertain(of: &ConnectionRef) -> Fault {
    let detail = format!("{of}: a refresh was cut off, and its token may be spent");
    Fault::new(Code::RefreshUncertain, detail)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
