//! The demonstration: twenty tenants, two lines of one connector, moves and reverts under traffic, a
//! crash in the middle, and a table that says what every tenant ran.
//!
//! Uses the real host binary, the real components and the mock provider. Ends with exit code 0 only if
//! no call failed, every call ran what its tenant was pinned to, every pin survived the crash, and all of it
//! took less than two minutes.

#![expect(clippy::print_stdout, reason = "it shows what it does")]

mod outage;
mod pins;
mod plan;
mod report;
mod traffic;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::{Host, Http, component};
use hubspot_upstream::{Options, Token, Upstream};
use serde_json::{Value, json};

use crate::outage::Outage;
use crate::pins::{Pin, Pins};
use crate::plan::{CONNECTOR, LINE_1, LINE_2, MOVED, REVERTED, Releases, TENANTS, path};
use crate::report::{Found, report, text};
use crate::traffic::Traffic;

/// How long traffic flows undisturbed before and after each step.
const PAUSE: Duration = Duration::from_secs(2);

/// What all of it may take: longer, and nobody would watch.
const TIME_MAX: Duration = Duration::from_secs(120);

/// One defect may fail every call: this many are enough to see it.
const PROBLEMS_SHOWN: usize = 20;

#[tokio::main]
async fn main() -> ExitCode {
    let started = Instant::now();
    // Whatever is given up is dropped, and with it the host and the provider.
    let problems = match tokio::time::timeout(TIME_MAX, run()).await {
        Ok(problems) => problems,
        Err(_) => vec![format!("it is not done after {} s", TIME_MAX.as_secs())],
    };
    println!();
    for problem in problems.iter().take(PROBLEMS_SHOWN) {
        println!("  PROBLEM  {problem}");
    }
    if problems.len() > PROBLEMS_SHOWN {
        println!("  and {} problems more", problems.len() - PROBLEMS_SHOWN);
    }
    let seconds = started.elapsed().as_secs_f64();
    if problems.is_empty() {
        println!(
            "  held: no failed call, every tenant on its pin, every pin survived ({seconds:.1} s)"
        );
        ExitCode::SUCCESS
    } else {
        println!("  did not hold ({seconds:.1} s)");
        ExitCode::FAILURE
    }
}

async fn run() -> Vec<String> {
    let folder = tempfile::tempdir().expect("temporary folder");
    let data = folder.path().join("data");

    step("start the mock provider and a host on an empty store");
    let tokens = (0..TENANTS).map(|tenant| Token::new(plan::credential(tenant))).collect();
    let options = Options { tokens, ..Options::default() };
    let upstream = Upstream::start(options).await.expect("mock provider starts");
    let config = plan::config(upstream.addr);
    let host = Host::start(&data, &config);
    let (address, token) = (host.address, host.token.clone());
    say(format!("provider on {}, host on {address} (process {})", upstream.addr, host.id()));

    step("publish both lines of keyway/hubspot");
    let pins = Arc::new(Pins::new(TENANTS));
    let mut operator = Operator { http: host.http(), pins: Arc::clone(&pins) };
    let releases = operator.publish().await;

    step(&format!("configure {TENANTS} tenants on line 1.x"));
    for tenant in 0..TENANTS {
        operator.configure(tenant, &releases[LINE_1]).await;
    }

    step("steady traffic of every tenant");
    let outage = Arc::<Outage>::default();
    let traffic = Traffic::start(address, &token, Arc::clone(&outage), Arc::clone(&pins));
    tokio::time::sleep(PAUSE).await;
    say(format!("{} calls so far", traffic.calls()));

    step(&format!("move {MOVED} tenants to line 2.x, one by one, while it flows"));
    for tenant in 0..MOVED {
        operator.pin(tenant, &releases[LINE_2], "try the dated API").await;
    }
    tokio::time::sleep(PAUSE).await;

    step(&format!("revert {REVERTED} of them"));
    for tenant in 0..REVERTED {
        operator.revert(tenant, &releases[LINE_1]).await;
    }
    tokio::time::sleep(PAUSE).await;

    step("kill -9 the host in the middle of it, and start it again");
    let restarting = Instant::now();
    outage.begin(restarting);
    host.kill();
    let host = Host::start_at(&data, &config, address);
    outage.end(Instant::now());
    say(format!("back after {} ms (process {})", restarting.elapsed().as_millis(), host.id()));
    tokio::time::sleep(PAUSE).await;

    step("compare");
    let tally = traffic.stop().await;
    operator.http = host.http();
    let found = operator.look().await;
    report(&releases, &tally, &pins, &found)
}

/// Who decides what runs.
struct Operator {
    http: Http,
    pins: Arc<Pins>,
}

// === impl Operator ===

impl Operator {
    async fn publish(&mut self) -> Releases {
        let mut releases = Releases::new();
        for (line, crate_name) in [(LINE_1, "hubspot-1"), (LINE_2, "hubspot-2")] {
            let component = component("connectors", crate_name);
            let reply = self.http.publish(component).await.ok().json();
            let release = &reply["release"];
            let (version, digest) = (text(&release["version"]), text(&release["digest"]));
            say(format!("{CONNECTOR}@{version} {digest}"));
            releases.insert(line, digest);
        }
        releases
    }

    async fn configure(&mut self, tenant: usize, digest: &str) {
        self.pin(tenant, digest, "first pin").await;
        let credential = json!({"token": plan::credential(tenant)});
        self.http.put(&path(tenant, "/connections/token"), credential).await.ok();
    }

    async fn pin(&mut self, tenant: usize, digest: &str, reason: &str) {
        self.pins.ask(tenant, digest, Instant::now());
        let body = json!({"release": digest, "reason": reason});
        let pin = self.http.put(&path(tenant, "/pin"), body).await.ok().json();
        self.pins.acknowledge(tenant, seen(&pin), Instant::now());
    }

    /// `digest` is what the tenant ran before.
    async fn revert(&mut self, tenant: usize, digest: &str) {
        self.pins.ask(tenant, digest, Instant::now());
        let body = json!({"reason": "prefer the old one"});
        let pin = self.http.post(&path(tenant, "/revert"), body).await.ok().json();
        self.pins.acknowledge(tenant, seen(&pin), Instant::now());
    }

    /// What the host says that tenants run and ran.
    async fn look(&mut self) -> Found {
        let matrix = self.http.get("/v1/pins?environment=dev").await.ok().json();
        let mut histories = Vec::new();
        for tenant in 0..TENANTS {
            let history = self.http.get(&path(tenant, "/history")).await.ok().json();
            let pins = history["pins"].as_array().into_iter().flatten();
            histories.push(pins.rev().map(seen).collect());
        }
        Found { matrix, histories }
    }
}

/// A pin as the API shows it.
fn seen(pin: &Value) -> Pin {
    let generation = pin["generation"].as_u64().unwrap_or_default();
    Pin { generation, digest: text(&pin["release"]["digest"]) }
}

fn step(what: &str) {
    println!("\n==> {what}");
}

fn say(what: impl std::fmt::Display) {
    println!("  {what}");
}
