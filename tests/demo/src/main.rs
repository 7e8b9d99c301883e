//! The demonstration: twenty tenants, two lines of one connector, moves and reverts under traffic, a
//! crash in the middle, and a table that says what every tenant ran.
//!
//! Uses the real host binary, the real components and the mock provider. Ends with exit code 0 only if
//! no call failed, every tenant ran what its pin said, and every pin survived the crash.

#![expect(clippy::print_stdout, reason = "it shows what it does")]

mod plan;
mod traffic;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use harness::{Host, Http, component};
use hubspot_upstream::{Options, Token, Upstream};
use serde_json::{Value, json};

use crate::plan::{CONNECTOR, LINE_1, LINE_2, MOVED, REVERTED, TENANTS, path};
use crate::traffic::{Tally, Traffic};

/// How long traffic flows undisturbed before and after each step.
const PAUSE: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> ExitCode {
    let started = Instant::now();
    let problems = run().await;
    println!();
    for problem in &problems {
        println!("  PROBLEM  {problem}");
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
    let mut operator = host.http();
    let releases = publish(&mut operator).await;

    step(&format!("configure {TENANTS} tenants on line 1.x"));
    for tenant in 0..TENANTS {
        configure(&mut operator, tenant, &releases[LINE_1]).await;
    }

    step("steady traffic of every tenant");
    let traffic = Traffic::start(address, &token);
    tokio::time::sleep(PAUSE).await;
    say(format!("{} calls so far", traffic.calls()));

    step(&format!("move {MOVED} tenants to line 2.x, one by one, while it flows"));
    for tenant in 0..MOVED {
        pin(&mut operator, tenant, &releases[LINE_2], "try the dated API").await;
    }
    tokio::time::sleep(PAUSE).await;

    step(&format!("revert {REVERTED} of them"));
    for tenant in 0..REVERTED {
        revert(&mut operator, tenant).await;
    }
    tokio::time::sleep(PAUSE).await;

    step("kill -9 the host in the middle of it, and start it again");
    traffic.expect_outage(true);
    host.kill();
    let restarting = Instant::now();
    let host = Host::start_at(&data, &config, address);
    say(format!("back after {} ms (process {})", restarting.elapsed().as_millis(), host.id()));
    tokio::time::sleep(PAUSE).await;
    traffic.expect_outage(false);
    tokio::time::sleep(PAUSE).await;

    step("compare");
    let tally = traffic.stop().await;
    let mut operator = host.http();
    let matrix = operator.get("/v1/pins?environment=dev").await.ok().json();
    let history = operator.get(&path(0, "/history")).await.ok().json();
    report(&releases, &tally, &matrix, &history)
}

/// Digest by line.
type Releases = BTreeMap<&'static str, String>;

async fn publish(operator: &mut Http) -> Releases {
    let mut releases = Releases::new();
    for (line, crate_name) in [(LINE_1, "hubspot-1"), (LINE_2, "hubspot-2")] {
        let reply = operator.publish(component("connectors", crate_name)).await.ok().json();
        let release = &reply["release"];
        let (version, digest) = (text(&release["version"]), text(&release["digest"]));
        say(format!("{CONNECTOR}@{version} {digest}"));
        releases.insert(line, digest);
    }
    releases
}

async fn configure(operator: &mut Http, tenant: usize, digest: &str) {
    pin(operator, tenant, digest, "first pin").await;
    let credential = json!({"token": plan::credential(tenant)});
    operator.put(&path(tenant, "/connections/token"), credential).await.ok();
}

async fn pin(operator: &mut Http, tenant: usize, digest: &str, reason: &str) {
    let body = json!({"release": digest, "reason": reason});
    operator.put(&path(tenant, "/pin"), body).await.ok();
}

async fn revert(operator: &mut Http, tenant: usize) {
    operator.post(&path(tenant, "/revert"), json!({"reason": "prefer the old one"})).await.ok();
}

/// Prints the table and says what is wrong.
fn report(releases: &Releases, tally: &Tally, matrix: &Value, history: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    println!();
    println!(
        "  {:<10} {:<8} {:>7} {:>9} {:>12}  pinned",
        "tenant", "release", "calls", "failures", "interrupted"
    );
    for tenant in 0..TENANTS {
        let name = plan::tenant(tenant);
        let expected = &releases[plan::expected(tenant)];
        let row = matrix["rows"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|row| row["tenant"] == name.as_str());
        let declared = row.map(|row| &row["declared"]["release"]);
        let pinned = declared.map_or(String::new(), |release| text(&release["digest"]));
        if pinned != *expected {
            problems.push(format!("{name} is pinned to `{pinned}`, not {expected}"));
        }
        if tally.last(tenant) != Some(expected.as_str()) {
            problems.push(format!("{name} ran {:?} last, not {expected}", tally.last(tenant)));
        }
        let version = declared.map_or(String::new(), |release| text(&release["version"]));
        for (release, counts) in tally.of(tenant) {
            let mark = if counts.last { version.as_str() } else { "" };
            println!(
                "  {name:<10} {release:<8} {:>7} {:>9} {:>12}  {mark}",
                counts.calls, counts.failures, counts.interrupted,
            );
        }
        problems.extend(tally.failures(tenant).map(|failure| format!("{name}: {failure}")));
    }
    let pins = history["pins"].as_array().map_or(0, Vec::len);
    if pins != 3 {
        problems.push(format!("{} has {pins} pins in its history, not 3", plan::tenant(0)));
    }
    if tally.interrupted() == 0 {
        problems.push("the kill met no call: it showed nothing".to_owned());
    }
    println!(
        "\n  {} calls, {} failed, {} met the crash and were answered when asked again",
        tally.calls(),
        tally.failed(),
        tally.interrupted(),
    );
    problems
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn step(what: &str) {
    println!("\n==> {what}");
}

fn say(what: impl std::fmt::Display) {
    println!("  {what}");
}
