//! The kill test of the refresh: a child process refreshes a rotating token again and again and is killed with
//! SIGKILL, at each step and anywhere between.
//!
//! ```text
//!  parent: token server on loopback ◄── child: a vault on a sled store, refreshing
//!    │ ◄── one line for each step reached ──┘   (stands still at the step it was told to stop at)
//!    ├── SIGKILL, then until the server has nothing to do
//!    └── opens the store itself, compares it with the server's book, closes it ── next round
//! ```
//!
//! The step between a write and its fsync is the store's: it is told to stand still in the commit that makes new tokens
//! durable.
//!
//! After each kill: no refresh token was presented twice; what is stored is the token that the server takes next,
//! unless the kill fell between the server's answer and the write; that window is said to be uncertain, and left to
//! an operator. A killed process leaves the kernel's page cache intact: this says nothing about power loss.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyway_core::credential::Credential;
use keyway_core::descriptor::SlotSpec;
use keyway_core::ids::{Actor, ConnectionRef, Installation};
use keyway_core::ports::{Clock, Credentials as _};
use keyway_core::{Code, Fault};
use keyway_store::{OpenError, Options, Store};
use keyway_vault::import::{Import, Trial};
use keyway_vault::oauth::client::{Accepted, ClientRef, ClientSetting};
use keyway_vault::oauth::record::{State, Tokens};
use keyway_vault::steps::{Listener, Step};
use keyway_vault::{KeyRing, Keys, Parts, Sealer, Vault};
use rand::Rng as _;
use secrecy::ExposeSecret as _;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::server::{Loopback, Server};

/// Names the store's directory, and makes a process the child.
pub(crate) const CHILD: &str = "KEYWAY_REFRESH_KILL_CHILD";

/// Where the token server is.
const SERVER: &str = "KEYWAY_REFRESH_KILL_SERVER";

/// The step at which the child stands still; absent, it goes on.
const STOP: &str = "KEYWAY_REFRESH_KILL_STOP";

/// How long a child without a step to stop at may go on.
const GO_ON_MAX: Duration = Duration::from_millis(150);

/// For a child to say that it has reached its step.
const STEP_MAX: Duration = Duration::from_secs(60);

/// A request of a killed process may still be on its way through the kernel for this long.
const SETTLE: Duration = Duration::from_millis(30);

/// What a run came to. Shown as one line.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    kills: u32,
    at_step: BTreeMap<&'static str, u32>,
    anywhere: u32,
    refreshes: u32,
    uncertain: u32,
    unsent_kept: u32,
}

/// How the test failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the child or its server failed")]
    Io(#[from] io::Error),
    #[error("the store did not open")]
    Open(#[from] OpenError),
    #[error("the vault failed")]
    Vault(#[from] Fault),
    #[error("round {0}: {1}")]
    NotHeld(u32, String),
}

/// Where a child stands still.
#[derive(Clone, Copy, Debug)]
enum Stop {
    At(Step),
    /// New tokens are written, and not on the disk.
    Written,
}

/// The system's clock: the parent's and the child's must agree.
struct System;

/// One opened store and what it takes to look into it.
struct World {
    vault: Vault,
    of: ConnectionRef,
    spec: SlotSpec,
}

// === impl Figures ===

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kills, at_step, anywhere, refreshes, uncertain, unsent_kept } = self;
        write!(f, "kills={kills}")?;
        for (step, count) in at_step {
            write!(f, " at-{step}={count}")?;
        }
        write!(f, " anywhere={anywhere} refreshes={refreshes} uncertain={uncertain}")?;
        write!(f, " unsent-kept={unsent_kept} presented-twice=0 lost=0")
    }
}

impl Clock for System {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }
}

/// Kills `rounds` times, in turn at each step and then anywhere. `child` must start a process that calls
/// [`refresh_until_killed`].
pub(crate) async fn run(
    dir: &Path,
    rounds: u32,
    child: impl Fn() -> Command,
) -> Result<Figures, Broken> {
    let server = Server::start().await?;
    let mut figures = Figures::default();
    let world = World::open(dir, server.address(), None).await?;
    world.set_client().await?;
    world.connect(&server).await?;
    drop(world);
    for round in 1..=rounds {
        let stop = match round % 6 {
            1 => Some(Stop::At(Step::Intended)),
            2 => Some(Stop::At(Step::Answered)),
            3 => Some(Stop::Written),
            4 => Some(Stop::At(Step::Kept)),
            _ => None,
        };
        let mut command = child();
        command.env(CHILD, dir).env(SERVER, server.address().to_string());
        if let Some(stop) = stop {
            command.env(STOP, stop.name());
        }
        tokio::task::spawn_blocking(move || kill_one(command, stop))
            .await
            .map_err(io::Error::other)??;
        tokio::time::sleep(SETTLE).await;
        accepted(&server).await?;
        server.idle().await;
        figures.kills += 1;
        match stop {
            Some(stop) => *figures.at_step.entry(stop.name()).or_default() += 1,
            None => figures.anywhere += 1,
        }
        let world = World::open(dir, server.address(), None).await?;
        let held = world.check(&server, stop, &mut figures).await?;
        held.map_err(|what| Broken::NotHeld(round, what))?;
        figures.refreshes = server.issued();
    }
    Ok(figures)
}

/// Ends once the server has accepted whoever connected before: it takes them in turn, and this is one of them.
#[expect(clippy::disallowed_methods, reason = "the test talks to a server of its own")]
async fn accepted(server: &Server) -> io::Result<()> {
    let mut own = TcpStream::connect(server.address()).await?;
    own.shutdown().await?;
    // Without a request the server ends it, and writes nothing down.
    own.read_to_end(&mut Vec::new()).await?;
    Ok(())
}

/// The child: refreshes on and on, and stands still at the step that it was told.
pub(crate) async fn refresh_until_killed(dir: &Path) -> Result<(), Broken> {
    let stop = std::env::var(STOP).ok();
    let server = std::env::var(SERVER).map_err(io::Error::other)?;
    let server = server.parse().map_err(io::Error::other)?;
    let before_disk = stop.as_deref() == Some(Stop::Written.name());
    // Whether the next commit is the one of new tokens.
    let keeping = Arc::new(AtomicBool::new(false));
    let kept = Arc::clone(&keeping);
    let listener: Listener = Arc::new(move |step| {
        let still = stop.as_deref() == Some(name(step));
        kept.store(step == Step::Answered, Ordering::SeqCst);
        Box::pin(async move {
            say(name(step));
            if still {
                std::future::pending::<()>().await;
            }
        })
    });
    let written = move || {
        if before_disk && keeping.load(Ordering::SeqCst) {
            say(Stop::Written.name());
            loop {
                std::thread::park();
            }
        }
    };
    let store = Store::open_watched(dir, Arc::new(System), Options::default(), written).await?;
    let world = World::over(store, server, Some(listener))?;
    say("ready");
    loop {
        world.vault.refresh(&world.of, &world.spec, false).await?;
    }
}

/// A line of the child's. Nobody reads on once it is to be killed.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

// === impl Stop ===

impl Stop {
    const fn name(self) -> &'static str {
        match self {
            Self::At(step) => name(step),
            Self::Written => "written",
        }
    }
}

const fn name(step: Step) -> &'static str {
    match step {
        Step::Intended => "intended",
        Step::Answered => "answered",
        Step::Kept => "kept",
    }
}

/// Starts a child and kills it at its step, or some while after it is ready.
fn kill_one(mut command: Command, stop: Option<Stop>) -> io::Result<()> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().ok_or_else(|| io::Error::other("no pipe"))?;
    let wanted = stop.map_or("ready", Stop::name);
    let (reached, reaching) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        // A test's first line begins with the harness's own words.
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if line.ends_with(wanted) && reached.send(()).is_err() {
                break;
            }
        }
    });
    let came = reaching.recv_timeout(STEP_MAX);
    drop(reaching);
    if came.is_ok() && stop.is_none() {
        std::thread::sleep(GO_ON_MAX.mul_f64(rand::rng().random_range(0.0..1.0)));
    }
    let ended = child.try_wait()?;
    child.kill()?;
    child.wait()?;
    drop(reader);
    match (came, ended) {
        (Ok(()), None) => Ok(()),
        (Ok(()), Some(status)) => Err(io::Error::other(format!("it ended by itself: {status}"))),
        (Err(_), _) => Err(io::Error::other(format!("it did not come to `{wanted}`"))),
    }
}

// === impl World ===

impl World {
    async fn open(
        dir: &Path,
        server: SocketAddr,
        listener: Option<Listener>,
    ) -> Result<Self, Broken> {
        Self::over(Store::open(dir, Arc::new(System), Options::default()).await?, server, listener)
    }

    fn over(store: Store, server: SocketAddr, listener: Option<Listener>) -> Result<Self, Broken> {
        let clock = Arc::new(System);
        let ring = KeyRing::parse(&format!("current test {}", STANDARD.encode([9; 32])));
        let ring = Arc::new(ring.map_err(io::Error::other)?);
        let vault = Vault::new(Parts {
            sealer: Sealer::new(Keys::new(store.clone(), ring, clock.clone())),
            store,
            clock,
            outbound: Arc::new(Loopback(server)),
            owner: "host".to_owned(),
            listener,
        });
        let spec = r#"{"scheme":{"kind":"oauth2","authorize-url":"https://login.example.com/authorize",
            "token-url":"https://login.example.com/token"}}"#;
        let spec = serde_json::from_str(spec).map_err(io::Error::other)?;
        Ok(Self { vault, of: connection().map_err(io::Error::other)?, spec })
    }

    async fn set_client(&self) -> Result<(), Broken> {
        let of = ClientRef {
            environment: self.of.installation.environment.clone(),
            connector: self.of.installation.connector.clone(),
            slot: self.of.slot.clone(),
        };
        let setting = ClientSetting {
            key_id: None,
            accepted: Accepted::TEXT,
            id: "client".to_owned(),
            secret: None,
            hosts: ["login.example.com".to_owned()].into(),
        };
        self.vault.set_client(&of, setting, &actor()?).await?;
        Ok(())
    }

    /// Begins a new grant, as a person who connects again does.
    async fn connect(&self, server: &Server) -> Result<(), Broken> {
        let (access, refresh) = server.grant();
        let import = Import {
            of: self.of.clone(),
            tokens: Tokens {
                access: access.into(),
                refresh: Some(refresh.into()),
                subject: None,
                own: None,
            },
            obtained_at: Some(System.now()),
            expires_at: Some(System.now() + Duration::from_secs(3600)),
            scopes: None,
            account: None,
            base_url: None,
            facts: <_>::default(),
            hold_refresh: None,
            replace: true,
        };
        let trial = Trial { base_url: "https://api.example.com".to_owned(), hosts: vec![] };
        self.vault.import(import, &self.spec, &trial, false, &actor()?).await?;
        Ok(())
    }

    /// Compares the store with the server's book, sees what the vault makes of it, and leaves a connection that can
    /// be refreshed. The inner error says what did not hold.
    async fn check(
        &self,
        server: &Server,
        stop: Option<Stop>,
        figures: &mut Figures,
    ) -> Result<Result<(), String>, Broken> {
        let (state, stored) = self.stored().await?;
        let presented = server.presented(&stored);
        let phase = state.phase.as_str();
        let ready = phase == "ready";
        let found = format!("{stored} is {phase}, was presented {presented} times");
        let expected = match stop {
            Some(Stop::At(Step::Intended)) => !ready && presented == 0,
            Some(Stop::At(Step::Answered)) => !ready && presented == 1,
            // All of the write is there, or nothing of it.
            Some(Stop::Written) => ready == (presented == 0) && presented <= 1,
            Some(Stop::At(Step::Kept)) => ready && presented == 0,
            None => !ready || presented == 0,
        };
        if !expected {
            return Ok(Err(format!("{found}, after a kill at {stop:?}")));
        }
        if presented == 0 && !server.live(&stored) {
            return Ok(Err(format!("{found}, and the server takes another")));
        }
        if self.access().await? != stored.replace("refresh", "access") {
            return Ok(Err(format!("{found}, and its access token is not handed out")));
        }
        if !ready && let Err(what) = self.check_cut_off(server, &stored).await? {
            return Ok(Err(format!("{found}; {what}")));
        }
        if !ready {
            figures.uncertain += 1;
            figures.unsent_kept += u32::from(presented == 0);
        }
        match server.presented_most() {
            0 | 1 => Ok(Ok(())),
            times => Ok(Err(format!("a refresh token was presented {times} times"))),
        }
    }

    /// After a refresh that was cut off: nothing by itself, and by force only what the server allows.
    async fn check_cut_off(
        &self,
        server: &Server,
        stored: &str,
    ) -> Result<Result<(), String>, Broken> {
        let presented = server.presented(stored);
        let alone = self.vault.refresh(&self.of, &self.spec, false).await;
        if alone.as_ref().err().map(|fault| fault.code) != Some(Code::RefreshUncertain) {
            return Ok(Err(format!("refreshing it came to {alone:?}")));
        }
        let (state, after) = self.stored().await?;
        if state.phase.as_str() != "uncertain" || after != stored {
            return Ok(Err(format!("it became {after}, {}", state.phase)));
        }
        if server.presented(stored) != presented {
            return Ok(Err("it was presented again".to_owned()));
        }
        if self.access().await? != stored.replace("refresh", "access") {
            return Ok(Err("its access token is not handed out while uncertain".to_owned()));
        }
        if presented > 0 {
            // The unavoidable window: the answer was lost with the process. A person connects again.
            self.connect(server).await?;
            return Ok(Ok(()));
        }
        let forced = self.vault.refresh(&self.of, &self.spec, true).await;
        let (_, after) = self.stored().await?;
        if forced.is_err() || !server.live(&after) || after == stored {
            return Ok(Err(format!("by force it became {after}: {forced:?}")));
        }
        Ok(Ok(()))
    }

    /// The state, and the refresh token.
    async fn stored(&self) -> Result<(State, String), Broken> {
        let (info, tokens) = self.vault.export(&self.of, None, &actor()?).await?;
        let refresh = tokens.refresh.map(|token| token.expose_secret().to_owned());
        // Of an export, not of what this process has seen before.
        let state = info.state.ok_or_else(|| io::Error::other("no state"))?;
        Ok((state, refresh.unwrap_or_default()))
    }

    async fn access(&self) -> Result<String, Broken> {
        let held = self.vault.credential(&self.of, &self.spec).await?;
        match held.as_ref().map(|held| held.opened.credential()) {
            Some(Credential::Token(token)) => Ok(token.expose_secret().to_owned()),
            _ => Err(io::Error::other("no token").into()),
        }
    }
}

fn actor() -> Result<Actor, Broken> {
    Ok("ann".parse().map_err(io::Error::other)?)
}

fn connection() -> Result<ConnectionRef, keyway_core::ids::InvalidName> {
    let installation = Installation {
        environment: "dev".parse()?,
        tenant: "acme".parse()?,
        connector: "a/b".parse()?,
    };
    Ok(ConnectionRef { installation, slot: "login".parse()?, user: None })
}
