//! How tokens come into the vault and leave it: established by a consent, imported from another system, exported to one.
//!
//! A token is established in one change: the connection's row, a new epoch, and its first record. Before an import is
//! believed, the token is tried, unless it has ended and can be refreshed; where another system goes on refreshing it,
//! refreshing is held here until somebody says otherwise. For two days an import is watched: whether it is proven by a
//! refresh, waits for one, or fails.
//!
//! **Invariant:** an import never takes the place of another account, and of tokens that are newer than its own only
//! where it says so: what was refreshed here is the last of its grant, and what is brought back may be spent.

use std::collections::HashSet;

use keyway_core::descriptor::{HostPattern, Scheme, SlotSpec, split_scopes};
use keyway_core::ids::{Actor, ConnectionRef};
use keyway_core::{Code, Fault};
use keyway_store::Tx;
use keyway_store::model::{Connection, Entry};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use time::OffsetDateTime;

use crate::connections::{ISSUED, Vault, entry, is_by_hand, version};
use crate::facts::{self, Facts};
use crate::oauth::record::{Phase, State, TOKEN_BYTES_MAX, Tokens};
use crate::probe::decided;
use crate::secret::SECRET_BYTES_MIN;
use crate::standing::Info;

/// How long an import is watched. Two days see every refresh that a provider's usual lifetimes bring, and a night.
const WATCH: time::Duration = time::Duration::hours(48);

/// Attempts to establish tokens while those before them are refreshed. One flight writes twice at most.
const ESTABLISH_ROUNDS: u32 = 5;

/// Bytes of a list of scopes, as JSON, that is read: as many as a token has. A longer one is as good as none.
const SCOPES_TOLD_BYTES_MAX: usize = TOKEN_BYTES_MAX;

/// Bytes of what is kept of a connection in the clear, as JSON. Together they fit a row of the store, which takes 4 KiB,
/// and leave half a KiB for the rest of it.
const SCOPES_BYTES_MAX: usize = 2_560;
pub(crate) const ACCOUNT_BYTES_MAX: usize = 256;
const BASE_URL_BYTES_MAX: usize = 512;
const FACTS_BYTES_MAX: usize = 1_024;

/// The sum of the first three: where there are facts, they have to share.
const KEPT_BYTES_MAX: usize = SCOPES_BYTES_MAX + ACCOUNT_BYTES_MAX + BASE_URL_BYTES_MAX;

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
    /// Values for the variables of the provider's URLs. Those that are not named stay as they were.
    pub facts: Facts,
    /// Whether another system goes on refreshing. Where nobody says, a hold stays as it was.
    pub hold_refresh: Option<bool>,
    /// Also over tokens that were refreshed here, or were issued later than these.
    pub replace: bool,
}

/// What came of an import.
#[derive(Debug)]
pub struct Taken {
    /// The connection; none after a dry run.
    pub info: Option<Info>,
    /// What came of trying the token.
    pub tried: Tried,
    /// What it takes the place of, or would.
    pub before: Option<Connection>,
}

/// How an import does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watch {
    /// In a word.
    pub state: WatchState,
    /// Until when it is watched.
    pub until: OffsetDateTime,
    /// How often its tokens were refreshed here.
    pub refreshes: u64,
}

/// How an import does, in a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
    /// The release says of no request that would tell, or the token has ended and is refreshed before it is used.
    Untried,
}

/// What a connection is established with.
pub(crate) struct Established {
    pub(crate) tokens: Tokens,
    pub(crate) state: State,
    pub(crate) scopes: Option<Vec<String>>,
    pub(crate) account: Option<String>,
    pub(crate) base_url: Option<String>,
    pub(crate) facts: Facts,
    /// On hold from here on. A hold that was there stays in any case, unless [`Terms`] end it.
    pub(crate) hold_refresh: bool,
    pub(crate) watch_until: Option<OffsetDateTime>,
}

/// What is kept of a connection in the clear.
struct Kept<'a> {
    scopes: Option<&'a [String]>,
    account: Option<&'a str>,
    base_url: Option<&'a str>,
    facts: &'a Facts,
}

/// On what terms an import takes the place of a connection.
struct Terms {
    account: Option<String>,
    obtained_at: Option<OffsetDateTime>,
    hold_refresh: Option<bool>,
    replace: bool,
}

// === impl Vault ===

impl Vault {
    /// Tries tokens of another system and, unless it is `dry`, takes them. What was there before is replaced, if it may
    /// be.
    pub async fn import(
        &self,
        import: Import,
        spec: &SlotSpec,
        trial: &Trial,
        dry: bool,
        actor: &Actor,
    ) -> Result<Taken, Fault> {
        check(&import, spec)?;
        let of = import.of.clone();
        self.check_one_base_url(&of, import.base_url.as_deref()).await?;
        let before = self.find(&of).await?;
        let known = before.as_ref().map(|before| before.facts.clone()).unwrap_or_default();
        let import = Import { facts: facts::read(spec, &import.facts, &known)?, ..import };
        facts::complete(spec, &import.facts)?;
        let own = match spec.scheme.oauth() {
            Some(oauth) => facts::filled(&of, oauth, &import.facts)?.own_base_url(),
            None => None,
        };
        let base_url = import.base_url.clone().or(own);
        let trial = &Trial {
            base_url: base_url.clone().unwrap_or_else(|| trial.base_url.clone()),
            hosts: trial.hosts.clone(),
        };
        let import = Import { base_url, ..import };
        let held_before = before.as_ref().is_some_and(|before| before.hold_refresh);
        let tried = if ended(&import, held_before, self.shared.clock.now()) {
            Tried::Untried
        } else {
            decided(self.try_token(&of, spec, &import.tokens.access, trial).await)?
        };
        let account = account(&import, &tried)?;
        let Import { obtained_at, hold_refresh, replace, .. } = import;
        let terms = Terms { account: account.clone(), obtained_at, hold_refresh, replace };
        // The last word is in the change itself; this is for whoever only wants to know.
        if let Some(before) = &before {
            terms.check(before, self.info(before.clone()).await?.state.as_ref())?;
        }
        if dry {
            return Ok(Taken { info: None, tried, before });
        }
        let established = self.imported(import, account, &tried).with_scopes_for(&spec.scopes);
        let action = "connection.import";
        let connection =
            self.establish_on(&of, established, Some(&terms), (action, actor), |tx| tx).await?;
        Ok(Taken { info: Some(self.info(connection).await?), tried, before })
    }

    /// What an import makes.
    fn imported(&self, import: Import, account: Option<String>, tried: &Tried) -> Established {
        let now = self.shared.clock.now();
        let state = State {
            obtained_at: import.obtained_at,
            expires_at: import.expires_at,
            tried: matches!(tried, Tried::Works(_)),
            ..State::issued(0, now, None, &import.tokens)
        };
        Established {
            state,
            tokens: import.tokens,
            scopes: import.scopes.map(apart),
            account,
            base_url: import.base_url,
            facts: import.facts,
            hold_refresh: import.hold_refresh == Some(true),
            watch_until: Some(now + WATCH),
        }
    }

    /// Makes a connection of tokens, in one audited change.
    pub(crate) async fn establish(
        &self,
        of: &ConnectionRef,
        new: Established,
        action: &str,
        actor: &Actor,
    ) -> Result<Connection, Fault> {
        self.establish_with(of, new, action, actor, |tx| tx).await
    }

    /// The same, with what `along` adds to the change.
    pub(crate) async fn establish_with(
        &self,
        of: &ConnectionRef,
        new: Established,
        action: &str,
        actor: &Actor,
        along: impl Fn(Tx) -> Tx + Send + Sync,
    ) -> Result<Connection, Fault> {
        self.establish_on(of, new, None, (action, actor), along).await
    }

    async fn establish_on(
        &self,
        of: &ConnectionRef,
        new: Established,
        terms: Option<&Terms>,
        (action, actor): (&str, &Actor),
        along: impl Fn(Tx) -> Tx + Send + Sync,
    ) -> Result<Connection, Fault> {
        check_size(&Kept::of(&new))?;
        // A pause that is answered while this waits for its turn would not be the last word.
        let _in_use = self.shared.uses(of).await?;
        let _changing = self.shared.changing.lock().await;
        let mut round = 1;
        loop {
            // Outside of the match: a connection that may not be replaced is no reason to look again.
            let (connection, before, tx) = self.prepared(of, &new, terms).await?;
            let entry = entry(action, &connection, actor, before.as_ref());
            match along(tx).commit(entry).await.map_err(Fault::from) {
                // A refresh of the tokens that were there has landed in between: it is theirs that go, if they may.
                Err(fault) if fault.code == Code::Conflict && round < ESTABLISH_ROUNDS => {
                    round += 1
                }
                Err(fault) => return Err(fault),
                Ok(_) => {
                    // In this order: a call in between would find the old row without its tokens.
                    self.show(of, Some(connection.clone()));
                    self.forget_tokens_before(of, connection.epoch);
                    self.shared.standings.note(of, Some((&new.state.phase).into()));
                    return Ok(connection);
                }
            }
        }
    }

    /// A connection of new tokens, what it takes the place of, and the change that makes it.
    async fn prepared(
        &self,
        of: &ConnectionRef,
        new: &Established,
        terms: Option<&Terms>,
    ) -> Result<(Connection, Option<Connection>, Tx), Fault> {
        let before = self.shared.store.connection(of).await?;
        let mut connection = self.next_epoch(of).await?;
        ISSUED.clone_into(&mut connection.kind);
        connection.scopes.clone_from(&new.scopes);
        connection.account.clone_from(&new.account);
        connection.base_url.clone_from(&new.base_url);
        connection.facts.clone_from(&new.facts);
        connection.hold_refresh |= new.hold_refresh;
        connection.watch_until = new.watch_until;
        let state = State { version: version(connection.epoch), ..new.state.clone() };
        let (records, epoch) = (&self.shared.records, connection.epoch);
        let mut tx = records.create(self.shared.store.tx(), of, epoch, &state, &new.tokens).await?;
        if let Some(before) = &before {
            tx = records.remove(tx, of, before.epoch).await?;
            if let Some(terms) = terms {
                // Read after the versions of what is removed: a refresh that lands later fails the commit.
                terms.check(before, self.info(before.clone()).await?.state.as_ref())?;
                terms.keep(before, &mut connection);
            }
        }
        let tx = tx.set_connection(connection.clone());
        Ok((connection, before, tx))
    }

    /// The connection, if there is one.
    pub async fn find(&self, of: &ConnectionRef) -> Result<Option<Connection>, Fault> {
        Ok(self.shared.store.connection(of).await?)
    }

    /// A connection whose state is known.
    pub(crate) fn informed(&self, connection: Connection, state: Option<State>) -> Info {
        let watch = Watch::of(&connection, state.as_ref(), self.shared.clock.now());
        Info { connection, state, watch }
    }

    /// Whether a connection is an import that is still watched. One that nobody can look up is not said to be.
    pub(crate) async fn is_watched(&self, of: &ConnectionRef) -> bool {
        let until = self.existing(of).await.ok().and_then(|connection| connection.watch_until);
        until.is_some_and(|until| self.shared.clock.now() < until)
    }

    /// Everything of a connection, to go elsewhere: sealed to this public key by the caller, or in the clear. Audited
    /// before it is handed out, with whoever can read it.
    pub async fn export(
        &self,
        of: &ConnectionRef,
        recipient: Option<&str>,
        actor: &Actor,
    ) -> Result<(Info, Tokens), Fault> {
        let connection = self.existing(of).await?;
        if is_by_hand(&connection) {
            let detail =
                format!("{of} was set by hand, and only tokens are exported: set it there too");
            return Err(Fault::new(Code::Unsupported, detail));
        }
        let record = self.record(&connection).await?;
        let readable =
            recipient.map_or("in the clear".to_owned(), |key| format!("sealed to {key}"));
        let entry =
            Entry { after: Some(readable), ..entry("connection.export", &connection, actor, None) };
        self.shared.store.tx().commit(entry).await?;
        let info = self.informed(connection, Some(record.state.clone()));
        Ok((info, record.tokens.clone()))
    }
}

// === impl Established ===

impl Established {
    /// With a list of scopes that its row takes. Of a longer one those are kept that the release asks for, and where even
    /// they are too long it is as if nobody had said what was granted: tokens are worth more than the list of what they are
    /// good for.
    pub(crate) fn with_scopes_for(self, asked: &[String]) -> Self {
        let bytes_max = Kept::of(&self).scopes_bytes_max();
        let scopes = self.scopes.and_then(|scopes| kept_scopes(scopes, asked, bytes_max));
        Self { scopes, ..self }
    }
}

// === impl Kept ===

impl<'a> Kept<'a> {
    fn of(new: &'a Established) -> Self {
        Self {
            scopes: new.scopes.as_deref(),
            account: new.account.as_deref(),
            base_url: new.base_url.as_deref(),
            facts: &new.facts,
        }
    }

    /// Bytes that a list of scopes may have beside the rest.
    fn scopes_bytes_max(&self) -> usize {
        let Self { scopes: _, account, base_url, facts } = self;
        let beside = bytes(account) + bytes(base_url) + bytes(facts);
        match facts.is_empty() {
            true => SCOPES_BYTES_MAX,
            false => SCOPES_BYTES_MAX.min(KEPT_BYTES_MAX.saturating_sub(beside)),
        }
    }
}

// === impl Watch ===

impl Watch {
    /// Of an import; none for what came in another way, or has no tokens any more.
    pub(crate) fn of(
        connection: &Connection,
        state: Option<&State>,
        now: OffsetDateTime,
    ) -> Option<Self> {
        let (until, tokens) = (connection.watch_until?, state?);
        let refreshes = refreshes(connection, tokens);
        let lost = matches!(tokens.phase, Phase::NeedsReauth { .. } | Phase::Uncertain { .. });
        let state = if until <= now {
            WatchState::Over
        } else if lost || tokens.failures > 0 {
            WatchState::Failing
        } else if refreshes > 0 || (tokens.tried && !tokens.refreshable) {
            WatchState::Proven
        } else {
            WatchState::Waiting
        };
        Some(Self { state, until, refreshes })
    }
}

// === impl Terms ===

impl Terms {
    /// Refuses what would put one account in the place of another, or lose tokens that are newer.
    fn check(&self, before: &Connection, state: Option<&State>) -> Result<(), Fault> {
        let of = before.reference();
        if let (Some(known), Some(account)) = (&before.account, &self.account)
            && known != account
        {
            let detail = format!("{of} is of another account: remove it first");
            return Err(Fault::new(Code::AccountMismatch, detail));
        }
        let Some(state) = state.filter(|_| !self.replace) else { return Ok(()) };
        let later = state.obtained_at.zip(self.obtained_at).is_some_and(|(has, new)| has > new);
        let why = if matches!(state.phase, Phase::Refreshing { .. }) {
            "are being refreshed"
        } else if refreshes(before, state) > 0 {
            "were refreshed here, and what is imported may be spent"
        } else if later {
            "were issued later than what is imported"
        } else {
            return Ok(());
        };
        let detail = format!("the tokens of {of} {why}: only with `replace` are they given up");
        Err(Fault::new(Code::Conflict, detail))
    }

    /// What a connection keeps where the import is silent.
    fn keep(&self, before: &Connection, connection: &mut Connection) {
        connection.hold_refresh = self.hold_refresh.unwrap_or(before.hold_refresh);
        if connection.base_url.is_none() {
            connection.base_url.clone_from(&before.base_url);
        }
    }
}

/// Scopes one by one: another system may keep them as its provider wrote them.
fn apart(scopes: Vec<String>) -> Vec<String> {
    scopes.iter().flat_map(|text| split_scopes(text)).map(str::to_owned).collect()
}

/// How often a connection's tokens were refreshed since they came here.
const fn refreshes(connection: &Connection, state: &State) -> u64 {
    state.version.saturating_sub(version(connection.epoch))
}

/// Whose the tokens are: the provider's word, else the import's.
fn account(import: &Import, tried: &Tried) -> Result<Option<String>, Fault> {
    match (tried, &import.account) {
        (Tried::Works(Some(found)), Some(account)) if found != account => {
            let detail = format!("{}: the token is of another account", import.of);
            Err(Fault::new(Code::AccountMismatch, detail))
        }
        (Tried::Works(Some(found)), _) => Ok(Some(found.clone())),
        (_, account) => Ok(account.clone()),
    }
}

fn check(import: &Import, spec: &SlotSpec) -> Result<(), Fault> {
    let refuse = |detail: &str| Err(Fault::new(Code::CredentialInvalid, detail));
    if !matches!(spec.scheme, Scheme::Oauth2(_)) {
        return refuse("tokens are imported into slots of scheme `oauth2`; others are set");
    }
    let Tokens { access, refresh, subject, own: _ } = &import.tokens;
    if !fits(access) || !refresh.iter().chain(subject).all(fits) {
        return Err(unusable());
    }
    check_size(&Kept {
        // Too many of them are no reason to leave tokens where they are.
        scopes: None,
        account: import.account.as_deref(),
        base_url: import.base_url.as_deref(),
        facts: &import.facts,
    })?;
    match (import.obtained_at, import.expires_at) {
        (Some(obtained), Some(expires)) if expires < obtained => {
            refuse("`expires_at` is before `obtained_at`")
        }
        _ => Ok(()),
    }
}

/// What a connection's row takes of scopes that were granted, with those in mind that a release asks for. None says as
/// little as a provider that does not say.
pub(crate) fn scopes_for(
    connection: &Connection,
    granted: Vec<String>,
    asked: &[String],
) -> Option<Vec<String>> {
    let Connection { account, base_url, facts, .. } = connection;
    let (account, base_url) = (account.as_deref(), base_url.as_deref());
    let bytes_max = Kept { scopes: None, account, base_url, facts }.scopes_bytes_max();
    kept_scopes(granted, asked, bytes_max)
}

fn kept_scopes(
    mut granted: Vec<String>,
    asked: &[String],
    bytes_max: usize,
) -> Option<Vec<String>> {
    let told = bytes(&granted);
    if told > bytes_max {
        let asked: HashSet<&str> = asked.iter().flat_map(|text| split_scopes(text)).collect();
        granted.retain(|scope| asked.contains(scope.as_str()));
        // Nothing of what nobody asked for is no word about anything.
        if told > SCOPES_TOLD_BYTES_MAX || asked.is_empty() || bytes(&granted) > bytes_max {
            return None;
        }
    }
    Some(granted)
}

/// As JSON, which texts and lists of them always are.
fn bytes(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |json| json.len())
}

/// Refuses what a row does not take, while nothing depends on it yet.
fn check_size(kept: &Kept<'_>) -> Result<(), Fault> {
    let Kept { scopes, account, base_url, facts } = kept;
    let sizes = [
        ("list of scopes", bytes(scopes), SCOPES_BYTES_MAX),
        ("account's name", bytes(account), ACCOUNT_BYTES_MAX),
        ("base URL", bytes(base_url), BASE_URL_BYTES_MAX),
        ("list of facts", bytes(facts), FACTS_BYTES_MAX),
    ];
    let all = sizes.iter().fold(0, |all: usize, (_, bytes, _)| all.saturating_add(*bytes));
    let whole = match facts.is_empty() {
        true => None,
        false => Some(("scopes, account, base URL and facts together", all, KEPT_BYTES_MAX)),
    };
    for (what, bytes, bytes_max) in sizes.into_iter().chain(whole) {
        if bytes > bytes_max {
            let detail = format!("the {what} has {bytes} bytes, the limit is {bytes_max}");
            return Err(Fault::new(Code::CredentialInvalid, detail));
        }
    }
    Ok(())
}

/// Whether an access token has ended that can be refreshed here: the provider would say no, and it would mean nothing.
/// Trying the refresh token instead would spend it, in a dry run as well.
fn ended(import: &Import, held_before: bool, now: OffsetDateTime) -> bool {
    let Tokens { refresh, subject, .. } = &import.tokens;
    let held = import.hold_refresh.unwrap_or(held_before);
    let refreshable = !held && (refresh.is_some() || subject.is_some());
    refreshable && import.expires_at.is_some_and(|expires_at| expires_at <= now)
}

/// Whether a token can be kept, and stand in a header.
pub(crate) fn fits(token: &SecretString) -> bool {
    let text = token.expose_secret();
    (SECRET_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
}

pub(crate) fn unusable() -> Fault {
    let detail =
        format!("a token is {SECRET_BYTES_MIN} to {TOKEN_BYTES_MAX} printable ASCII letters");
    Fault::new(Code::CredentialInvalid, detail)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use futures_util::FutureExt as _;
    use keyway_core::exchange::{HostRequest, Response, Unfinished};
    use keyway_core::ids::Installation;
    use keyway_core::ports::{Clock, Outbound};
    use keyway_store::Store;

    use super::*;
    use crate::connections::{Parts, Switch};
    use crate::seal::Sealer;

    struct Fixed;

    impl Clock for Fixed {
        fn now(&self) -> OffsetDateTime {
            OffsetDateTime::UNIX_EPOCH
        }
    }

    #[async_trait]
    impl Outbound for Fixed {
        async fn fetch(&self, _: HostRequest) -> Result<Response, Unfinished> {
            panic!("nothing is asked for tokens that are there")
        }
    }

    fn vault(store: &Store) -> Vault {
        Vault::new(Parts {
            store: store.clone(),
            sealer: Sealer::fixed(store, 9),
            clock: Arc::new(Fixed),
            outbound: Arc::new(Fixed),
            owner: "host".to_owned(),
            listener: None,
        })
    }

    fn tokens(access: &str) -> Established {
        let tokens = Tokens { access: access.into(), refresh: None, subject: None, own: None };
        Established {
            state: State::issued(0, OffsetDateTime::UNIX_EPOCH, None, &tokens),
            tokens,
            scopes: None,
            account: None,
            base_url: None,
            facts: Facts::new(),
            hold_refresh: false,
            watch_until: None,
        }
    }

    /// Writes the head of the record that is there, as a refresh does.
    fn refresh_lands(store: &Store) {
        let write = async {
            let cells = store.cells("vault/tokens").await.unwrap();
            let (key, cell) = cells.into_iter().find(|(key, _)| key.ends_with(b".0")).unwrap();
            let batch = store.batch();
            batch.put_cell("vault/tokens", &key, Some(cell.version), cell.value).commit().await
        };
        write.now_or_never().expect("memory does not wait").unwrap();
    }

    fn login() -> ConnectionRef {
        ConnectionRef {
            installation: Installation {
                environment: "dev".parse().unwrap(),
                tenant: "acme".parse().unwrap(),
                connector: "a/b".parse().unwrap(),
            },
            slot: "login".parse().unwrap(),
            user: None,
        }
    }

    /// A consent, and tokens that are obtained, are no word about another system that refreshes.
    #[tokio::test]
    async fn whatever_establishes_a_connection_anew_leaves_it_on_hold() {
        let store = Store::memory(Arc::new(Fixed));
        let vault = vault(&store);
        let (of, actor) = (login(), "ann".parse().unwrap());
        vault.establish(&of, tokens("first"), "connection.connect", &actor).await.unwrap();
        vault.switch(&of, Switch::HoldRefresh, true, &actor).await.unwrap();
        for action in ["connection.connect", "connection.obtain"] {
            let made = vault.establish(&of, tokens("second"), action, &actor).await.unwrap();
            assert!(made.hold_refresh, "{action}");
        }
    }

    /// New tokens were issued, and those before them go in any case: a refresh of those is no reason to lose both.
    #[tokio::test]
    async fn tokens_are_established_while_those_before_them_are_refreshed() {
        let store = Store::memory(Arc::new(Fixed));
        let vault = vault(&store);
        let actor = "ann".parse().unwrap();
        let of = login();
        vault.establish(&of, tokens("first"), "connection.connect", &actor).await.unwrap();
        let rounds = std::sync::atomic::AtomicU32::new(0);
        let meddle = |rounds_max: u32| {
            let (rounds, store) = (&rounds, &store);
            move |tx: Tx| {
                if rounds.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < rounds_max {
                    refresh_lands(store);
                }
                tx
            }
        };
        let action = "connection.connect";
        let second =
            vault.establish_with(&of, tokens("second"), action, &actor, meddle(1)).await.unwrap();
        assert_eq!(second.generation, 2);
        assert_eq!(vault.record(&second).await.unwrap().tokens.access.expose_secret(), "second");
        // Others who never stop are trouble, and reported.
        let third = vault.establish_with(&of, tokens("third"), action, &actor, meddle(u32::MAX));
        assert_eq!(third.await.unwrap_err().code, Code::Conflict);
        assert_eq!(vault.existing(&of).await.unwrap().generation, 2);
    }
}
