//! What most tests begin with: a host on an empty store, and a few words to drive it with.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use fixtures::Guest;
use harness::{Host, Http, Reply};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A host on a data directory that goes when the test ends.
pub(crate) struct Setup {
    pub(crate) host: Host,
    pub(crate) http: Http,
    folder: TempDir,
    config: String,
}

impl Setup {
    /// A host with this configuration file.
    pub(crate) fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let host = Host::start(&folder.path().join("data"), config);
        let http = host.http();
        Self { host, http, folder, config: config.to_owned() }
    }

    /// Where the host keeps what is durable.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What the host logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("data.log")).expect("log file")
    }

    /// Kills the host as a crash would, and starts it on the same data.
    pub(crate) fn crash(self) -> Self {
        let Self { host, folder, config, .. } = self;
        host.kill();
        let host = Host::start(&folder.path().join("data"), &config);
        let http = host.http();
        Self { host, http, folder, config }
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
