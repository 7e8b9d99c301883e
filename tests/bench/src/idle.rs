//! Rows `idle-installation` and `restart`: ten thousand installations over fifty releases, on a host that
//! was killed and started again.
//!
//! The host is measured after a restart, with everything that a restart reads and nothing that setting
//! up left behind.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fixtures::Guest;
use harness::{Host, Http};
use serde_json::json;
use tokio::task::JoinSet;

use crate::machine::{self, resident_bytes};
use crate::report::Row;
use crate::rows;
use crate::stats::median;
use crate::tenants::{path, pin, publish};

/// Releases: all of them loaded, before and after.
const RELEASES: usize = 50;

/// Installations. The first [`RELEASES`] of them run one release each.
const INSTALLATIONS: usize = 10_000;

/// Restarts that are measured, before and after.
const RESTARTS: usize = 5;

/// Operators that pin at once.
const OPERATORS: usize = 16;

/// After a start, until what it freed has been given back.
const SETTLING: Duration = Duration::from_secs(1);

const CONNECTOR: &str = "fixtures/echo";

/// Measures both rows.
pub(crate) async fn measure() -> anyhow::Result<Vec<Row>> {
    let folder = machine::scratch()?;
    let data = folder.path().join("data");
    let host = Host::start(&data, "");
    let versions = publish_all(&mut host.http()).await?;
    pin_all(&host, &versions, 0..RELEASES).await;
    host.kill();
    let few = restarts(&data, &versions).await?;
    let host = Host::start(&data, "");
    let pinning = Instant::now();
    pin_all(&host, &versions, RELEASES..INSTALLATIONS).await;
    let pinning = pinning.elapsed().as_secs_f64();
    host.kill();
    let many = restarts(&data, &versions).await?;
    let base = median(&few.bytes);
    let added = (INSTALLATIONS - RELEASES) as f64;
    let each = many.bytes.iter().map(|bytes| (bytes - base) / added).collect();
    let detail = format!(
        "{RESTARTS} restarts with {RELEASES} installations, {:.1} MiB, and {RESTARTS} with \
         {INSTALLATIONS}, {:.1} MiB (medians); pinning them took {pinning:.0} s",
        base / f64::from(1 << 20),
        median(&many.bytes) / f64::from(1 << 20),
    );
    let restart = format!(
        "{RESTARTS} restarts after SIGKILL; with {RELEASES} installations it takes {:.2} s",
        median(&few.seconds)
    );
    Ok(vec![Row::alone(rows::IDLE, each, detail), Row::alone("restart", many.seconds, restart)])
}

/// What restarts came to, one by one.
struct Restarts {
    bytes: Vec<f64>,
    seconds: Vec<f64>,
}

async fn restarts(data: &Path, versions: &[String]) -> anyhow::Result<Restarts> {
    let mut restarts = Restarts { bytes: Vec::new(), seconds: Vec::new() };
    for _ in 0..RESTARTS {
        let start = Instant::now();
        let host = Host::start(data, "");
        restarts.seconds.push(start.elapsed().as_secs_f64());
        tokio::time::sleep(SETTLING).await;
        // Below 2^53, so exact.
        restarts.bytes.push(resident_bytes(host.id())? as f64);
        all_run(&mut host.http(), versions).await?;
        host.kill();
    }
    Ok(restarts)
}

/// One call on each release: what was measured is a host that works.
async fn all_run(http: &mut Http, versions: &[String]) -> anyhow::Result<()> {
    for (tenant, version) in versions.iter().enumerate() {
        let path = path(&name(tenant), CONNECTOR, "/actions/version");
        let answer = http.post(&path, json!(null)).await.ok().json();
        anyhow::ensure!(answer == version.as_str(), "{version} answered {answer}");
    }
    Ok(())
}

async fn pin_all(host: &Host, versions: &[String], tenants: std::ops::Range<usize>) {
    let next = Arc::new(AtomicUsize::new(tenants.start));
    let versions: Arc<[String]> = versions.into();
    let mut operators = JoinSet::new();
    for _ in 0..OPERATORS {
        let (address, token) = (host.address, host.token.clone());
        let (next, versions) = (Arc::clone(&next), Arc::clone(&versions));
        operators.spawn(pin_until(address, token, next, tenants.end, versions));
    }
    while let Some(ended) = operators.join_next().await {
        ended.expect("every pin is taken");
    }
}

async fn pin_until(
    host: SocketAddr,
    token: String,
    next: Arc<AtomicUsize>,
    end: usize,
    versions: Arc<[String]>,
) {
    let mut operator = Http::new(host, &token);
    loop {
        let tenant = next.fetch_add(1, Ordering::Relaxed);
        if tenant >= end {
            return;
        }
        let version = &versions[tenant % versions.len()];
        pin(&mut operator, &name(tenant), CONNECTOR, version).await;
    }
}

async fn publish_all(operator: &mut Http) -> anyhow::Result<Vec<String>> {
    let echo = Guest::named("echo").load()?;
    let places = version_places(&echo, &Guest::named("echo-next").load()?)?;
    let mut versions = Vec::with_capacity(RELEASES);
    for n in 0..RELEASES {
        let (version, component) = at_version(&echo, &places, n);
        publish(operator, component).await;
        versions.push(version);
    }
    Ok(versions)
}

const VERSION: &str = "1.0.0";
const NEXT_VERSION: &str = "1.1.0";

/// Where the connector's version stands in its bytes: where the same source, built at two versions, has the
/// one and the other. The contract's version has the same digits and stays.
fn version_places(echo: &[u8], next: &[u8]) -> anyhow::Result<Vec<usize>> {
    let in_both =
        |bytes: (&[u8], &[u8])| bytes.0 == VERSION.as_bytes() && bytes.1 == NEXT_VERSION.as_bytes();
    let windows = echo.windows(VERSION.len()).zip(next.windows(NEXT_VERSION.len()));
    let places: Vec<usize> =
        windows.enumerate().filter(|(_, bytes)| in_both(*bytes)).map(|(at, _)| at).collect();
    anyhow::ensure!(
        echo.len() == next.len() && !places.is_empty(),
        "the two builds of echo differ in more than their version"
    );
    Ok(places)
}

/// The component at the version `1.x.y` with these two digits.
fn at_version(echo: &[u8], places: &[usize], digits: usize) -> (String, Vec<u8>) {
    assert!(digits < 100, "two digits");
    let version = format!("1.{}.{}", digits / 10, digits % 10);
    let mut component = echo.to_vec();
    for &at in places {
        component[at..at + VERSION.len()].copy_from_slice(version.as_bytes());
    }
    (version, component)
}

fn name(tenant: usize) -> String {
    format!("tenant-{tenant:05}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_version_changes() {
        let echo = Guest::named("echo").load().unwrap();
        let next = Guest::named("echo-next").load().unwrap();
        let places = version_places(&echo, &next).unwrap();
        // In the descriptor, and in the answer to `version`.
        assert_eq!(places.len(), 2);
        assert_eq!(at_version(&echo, &places, 0), (VERSION.to_owned(), echo.clone()));
        let (version, component) = at_version(&echo, &places, 49);
        assert_eq!(version, "1.4.9");
        let changed = component.iter().zip(&echo).filter(|(a, b)| a != b).count();
        assert_eq!(changed, 4);
    }

    #[test]
    fn builds_that_differ_otherwise_are_refused() {
        assert!(version_places(b"\"1.0.0\"", b"\"1.1.0\"").is_ok());
        assert!(version_places(b"\"1.0.0\"", b"\"1.2.0\"").is_err());
        assert!(version_places(b"\"1.0.0\"", b"\"1.1.0\" ").is_err());
    }
}
