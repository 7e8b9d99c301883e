//! The API's parts, its configuration and its limits, put together once.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use keyway_artifacts::Artifacts;
use keyway_artifacts::lanes::Lanes;
use keyway_core::ids::Environment;
use keyway_core::limits::{COMPONENT_BYTES_MAX, INPUT_BYTES_MAX};
use keyway_core::ports::{Clock, Dispatch, EgressPolicy, Quotas, Routes};
use keyway_exchanges::{Calls, Exchanges};
use keyway_releases::Releases;
use keyway_vault::{Keys, Tokens, Vault};
use prometheus_client::registry::Registry;
use serde::Deserialize;
use tokio::sync::{Semaphore, watch};

use crate::address;
use crate::auth::Auth;
use crate::bodies::{self, Bodies};
use crate::connect;
use crate::metrics::Metrics;
use crate::ports::{Health, Reads};
use crate::route::Router;
use crate::router;
use crate::uploads::Uploads;

/// The API. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    pub(crate) host: Host,
}

/// What the API is made of.
pub struct Deps {
    /// Publishes.
    pub artifacts: Artifacts,
    /// Pins.
    pub releases: Releases,
    /// Holds credentials.
    pub vault: Vault,
    /// What credentials are sealed with.
    pub keys: Keys,
    /// Issues and checks tokens.
    pub tokens: Tokens,
    /// Runs calls.
    pub dispatch: Arc<dyn Dispatch>,
    /// Says which base URLs a connection may have.
    pub policy: Arc<dyn EgressPolicy>,
    /// Reads what no service decides about.
    pub reads: Arc<dyn Reads>,
    /// Keeps the exchanges.
    pub exchanges: Exchanges,
    /// Keeps what calls said.
    pub calls: Calls,
    /// Where long JSON is read and written.
    pub lanes: Lanes,
    /// Keeps to the rate limits of providers.
    pub quotas: Arc<dyn Quotas>,
    /// Says whether the host is ready.
    pub health: Arc<dyn Health>,
    /// By which a cached token expires.
    pub clock: Arc<dyn Clock>,
    /// What this crate counts; registered in `registry` by the caller.
    pub metrics: Metrics,
    /// What `/metrics` shows.
    pub registry: Arc<Registry>,
}

/// How the API is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The environments there are. Any other is unknown to every endpoint.
    pub environments: Vec<Environment>,
    /// Whether `/metrics` answers without a token: for a scraper on a private network. Off by default;
    /// then a viewer's token is needed.
    pub metrics_public: bool,
    /// Bytes of a component: what admission takes, refused before it is read whole.
    pub component_bytes_max: usize,
    /// Time that requests under way are given once the host is to stop.
    pub drain_time_max: Duration,
    /// Where people connect accounts.
    pub connect: connect::Config,
    /// How clients of providers reach this host.
    pub proxy: address::Config,
    /// What bounds requests.
    pub limits: Limits,
}

/// What bounds requests.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Limits {
    /// Bytes of a JSON body: what a call may take.
    pub json_bytes_max: usize,
    /// Bytes that are read and thrown away beyond a limit, so that a client that is still sending gets
    /// to read its answer instead of a reset.
    pub drain_bytes_max: usize,
    /// Bytes of JSON bodies, and of what is made of them, in all requests that are not answered. A body alone has up to
    /// 52 MiB of it: 4 MiB of text, and a hundred bytes for each value where its values are read one by one.
    pub bodies_bytes_max: usize,
    /// The same, of one tenant; and of one token in requests that are of no tenant's. An eighth of all, as of calls. Of all
    /// its requests together a token has no more than half, whichever tenants it names.
    pub tenant_bodies_bytes_max: usize,
    /// Time for a JSON body to arrive: 4 MiB on a slow line, and no longer for who sends a byte a second.
    #[serde(with = "keyway_core::humane")]
    pub json_time_max: Duration,
    /// Time for a component to arrive: 64 MiB on a slow line.
    #[serde(with = "keyway_core::humane")]
    pub component_time_max: Duration,
    /// Publications that are checked at once, each by a process; more wait, with their components in memory.
    pub publications_max: usize,
    /// Components that are on their way, wait to be checked or are checked: each is held in memory.
    pub uploads_max: usize,
    /// The same, of one token: a quarter of them, so that no token stops the others.
    pub token_uploads_max: usize,
    /// Bytes a second that a component comes with at least, over all of it: what is slower holds a place that others need. It
    /// is what the slowest ADSL lines send.
    pub upload_rate_bytes_min: u32,
    /// Open connections. Where another one comes, one that has shown no token and is silent goes for it; where
    /// there is none, it waits in the listener's backlog.
    pub connections_max: usize,
    /// Of these, and half of them at most, places that only those get who have shown a token: whoever floods the host
    /// has none.
    pub known_connections_min: usize,
    /// Open connections from one address, or one network of 64 bits of IPv6. Behind a proxy every caller has the
    /// proxy's address.
    pub peer_connections_max: usize,
    /// Open connections on which one token was shown last: half of them, so that no token takes all.
    pub token_connections_max: usize,
    /// Time for which a peer may keep the host waiting in the middle of a message: while it takes nothing of an answer
    /// that is ready, or sends nothing of a body that is wanted.
    #[serde(with = "keyway_core::humane")]
    pub stall_max: Duration,
    /// Bytes by which a peer wins back a second of that time: its least rate. 1 KiB a second is a tenth of what the
    /// slowest mobile networks carry.
    pub rate_bytes_min: u32,
    /// Time for a request's head to arrive, idle time between requests included.
    #[serde(with = "keyway_core::humane")]
    pub header_time_max: Duration,
    /// How often whoever follows the exchange log hears from the host, whatever comes: proxies cut connections
    /// that are silent for half a minute, and a follower that is gone is noticed by it.
    #[serde(with = "keyway_core::humane")]
    pub follow_pulse: Duration,
}

/// What every handler has.
pub(crate) type Host = Arc<Shared>;

/// What every handler sees.
pub(crate) struct Shared {
    pub(crate) artifacts: Artifacts,
    pub(crate) releases: Releases,
    pub(crate) vault: Vault,
    pub(crate) keys: Keys,
    pub(crate) dispatch: Arc<dyn Dispatch>,
    pub(crate) policy: Arc<dyn EgressPolicy>,
    pub(crate) reads: Arc<dyn Reads>,
    pub(crate) exchanges: Exchanges,
    pub(crate) calls: Calls,
    pub(crate) quotas: Arc<dyn Quotas>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) health: Arc<dyn Health>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: Metrics,
    pub(crate) config: Config,
    pub(crate) auth: Auth,
    pub(crate) routes: Arc<dyn Routes>,
    pub(crate) publications: Arc<Semaphore>,
    pub(crate) uploads: Uploads,
    pub(crate) bodies: Arc<Bodies>,
    pub(crate) lanes: Lanes,
    /// True once the host is to stop: answers without an end then end.
    pub(crate) stopping: watch::Sender<bool>,
    /// Where the host listens, once it does.
    pub(crate) listening: OnceLock<SocketAddr>,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        let dev = "dev".parse().expect("`dev` is a slug");
        Self {
            environments: vec![dev],
            metrics_public: false,
            component_bytes_max: COMPONENT_BYTES_MAX,
            drain_time_max: Duration::from_secs(30),
            connect: connect::Config::default(),
            proxy: address::Config::default(),
            limits: Limits::default(),
        }
    }
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            json_bytes_max: INPUT_BYTES_MAX,
            drain_bytes_max: 256 << 20,
            bodies_bytes_max: 1 << 30,
            tenant_bodies_bytes_max: 128 << 20,
            json_time_max: Duration::from_secs(30),
            component_time_max: Duration::from_secs(300),
            publications_max: 4,
            uploads_max: 16,
            token_uploads_max: 4,
            upload_rate_bytes_min: 16 << 10,
            connections_max: 4_096,
            known_connections_min: 1_024,
            peer_connections_max: 2_048,
            token_connections_max: 2_048,
            stall_max: Duration::from_secs(30),
            rate_bytes_min: 1 << 10,
            header_time_max: Duration::from_secs(30),
            follow_pulse: Duration::from_secs(15),
        }
    }
}

impl Limits {
    /// Two limits that do not go together: a body of the largest size would be refused as if it could come again.
    pub fn contradiction(&self) -> Option<String> {
        let largest = bodies::bytes_max(self);
        let under = |name, bytes, least| {
            let problem = format!(
                "api.{name} is under {least}: a body of api.json-bytes-max ({}) would never have room",
                self.json_bytes_max
            );
            (bytes < least).then_some(problem)
        };
        let own = under("tenant-bodies-bytes-max", self.tenant_bodies_bytes_max, largest);
        own.or_else(|| {
            under("bodies-bytes-max", self.bodies_bytes_max, largest.saturating_mul(bodies::TOKENS))
        })
    }
}

// === impl Api ===

impl Api {
    /// Puts the parts together.
    pub fn new(config: Config, deps: Deps) -> Self {
        let shared = Shared {
            auth: Auth::new(deps.tokens, Arc::clone(&deps.clock)),
            clock: deps.clock,
            exchanges: deps.exchanges,
            calls: deps.calls,
            quotas: deps.quotas,
            stopping: watch::Sender::new(false),
            routes: deps.releases.routes(),
            listening: OnceLock::new(),
            publications: Arc::new(Semaphore::new(config.limits.publications_max)),
            uploads: Uploads::new(config.limits.uploads_max, config.limits.token_uploads_max),
            bodies: Bodies::new(&config.limits),
            lanes: deps.lanes,
            artifacts: deps.artifacts,
            releases: deps.releases,
            vault: deps.vault,
            keys: deps.keys,
            dispatch: deps.dispatch,
            policy: deps.policy,
            reads: deps.reads,
            health: deps.health,
            registry: deps.registry,
            metrics: deps.metrics,
            config,
        };
        Self { host: Arc::new(shared) }
    }

    /// What answers requests.
    pub fn router(&self) -> Router {
        router::router(Arc::clone(&self.host))
    }
}
