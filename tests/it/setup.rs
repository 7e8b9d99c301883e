//! What most tests begin with: a host on an empty store, and a few words to drive it with.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fixtures::Guest;
use harness::{Ended, Host, Http, Reply, Start};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpSocket, TcpStream};

/// How long a host that was asked to stop may take: what it waits for, and a slow machine.
const STOP_TIME_MAX: Duration = Duration::from_secs(60);

/// A host on a data directory that goes when the test ends.
pub(crate) struct Setup {
    pub(crate) host: Host,
    pub(crate) http: Http,
    place: Place,
}

/// Where a host is or was: its data directory, and the configuration that it is started with.
pub(crate) struct Place {
    /// What is durable.
    pub(crate) data: PathBuf,
    folder: TempDir,
    config: String,
}

// === impl Place ===

impl Place {
    /// Nothing yet.
    pub(crate) fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        Self { data: folder.path().join("data"), folder, config: config.to_owned() }
    }

    /// A start here, to be told more.
    pub(crate) fn start(&self) -> Start<'_> {
        Start::new(&self.data, &self.config)
    }

    /// A start that must fail.
    #[track_caller]
    pub(crate) fn refuse(&self) -> Ended {
        self.start().run().err().expect("it does not start on this")
    }

    /// A start that must succeed.
    #[track_caller]
    pub(crate) fn up(self) -> Setup {
        let host = self.start().run();
        self.started(host)
    }

    /// A start that must succeed, with this variable in its environment.
    #[track_caller]
    pub(crate) fn up_with(self, name: &str, value: &str) -> Setup {
        let host = self.start().variable(name, value).run();
        self.started(host)
    }

    #[track_caller]
    pub(crate) fn started(self, host: Result<Host, Ended>) -> Setup {
        let host = host.unwrap_or_else(|ended| panic!("no start: {ended:?}"));
        let http = host.http();
        Setup { host, http, place: self }
    }
}

// === impl Setup ===

impl Setup {
    /// A host with this configuration file.
    pub(crate) fn new(config: &str) -> Self {
        Place::new(config).up()
    }

    /// Where the host keeps what is durable.
    pub(crate) fn data(&self) -> PathBuf {
        self.place.data.clone()
    }

    /// Where it is.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// What the host logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.place.folder.path().join("data.log")).expect("log file")
    }

    /// Kills the host as a crash would.
    pub(crate) fn kill(self) -> Place {
        self.host.kill();
        self.place
    }

    /// Kills the host as a crash would, and starts it on the same data.
    pub(crate) fn crash(self) -> Self {
        self.kill().up()
    }

    /// Asks the host to stop, once, and waits until it has.
    pub(crate) async fn stop(self) -> Place {
        let id = i32::try_from(self.host.id()).ok().and_then(Pid::from_raw);
        kill_process(id.expect("a process has an id"), Signal::TERM).expect("ours");
        self.host.ended(STOP_TIME_MAX).await;
        self.place
    }

    /// Publishes a guest of the fixtures.
    pub(crate) async fn publish(&mut self, guest: &str) -> Reply {
        let component = Guest::named(guest).load().expect("built");
        self.http.publish(component).await
    }

    /// Pins a tenant, and expects that to work.
    pub(crate) async fn pin(&mut self, tenant: &str, connector: &str, release: &str) -> Value {
        let body = json!({"release": release, "reason": "a test asks"});
        self.http.put(&path(tenant, connector, "/pin"), body).await.ok().json()
    }

    /// Runs an action.
    pub(crate) async fn act(
        &mut self,
        tenant: &str,
        connector: &str,
        action: &str,
        input: Value,
    ) -> Reply {
        self.http.post(&path(tenant, connector, &format!("/actions/{action}")), input).await
    }

    /// The value of a metric, summed over the series whose labels contain all of `labels`.
    pub(crate) async fn metric(&mut self, name: &str, labels: &[&str]) -> f64 {
        let text = self.http.get("/metrics").await.ok().body;
        let text = String::from_utf8(text.to_vec()).expect("metrics are text");
        let series = text.lines().filter(|line| {
            line.starts_with(name) && labels.iter().all(|label| line.contains(label))
        });
        series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }
}

/// Path of an installation in `dev`.
pub(crate) fn path(tenant: &str, connector: &str, rest: &str) -> String {
    format!("/v1/environments/dev/tenants/{tenant}/connectors/{connector}{rest}")
}

/// Configuration that lets a name stand for an upstream on the loopback interface.
pub(crate) fn stand_in(host: &str, upstream: SocketAddr) -> String {
    format!("[[egress.stand-in]]\nhost = \"{host}\"\naddress = \"http://{upstream}\"\n")
}

/// Every file below a folder, for tests that look for what must not be there.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// A bare connection to a host.
pub(crate) async fn connect(address: SocketAddr) -> TcpStream {
    #[expect(clippy::disallowed_methods, reason = "a client of the host under test")]
    TcpSocket::new_v4().expect("a socket").connect(address).await.expect("it listens")
}
