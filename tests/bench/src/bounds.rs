//! The torture `bounds`: inputs that cost as much as the limits of the documents let them, eight at once, and what the host's
//! memory and a neighbour's calls show of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use fixtures::{Guest, stating};
use harness::{Host, Http};
use http::Method;
use serde_json::json;

use crate::machine;
use crate::stats::percentile;
use crate::tenants::{path, pin, publish};

/// Its name.
pub(crate) const NAME: &str = "bounds";

/// Whoever calls with such inputs.
const AT_ONCE: usize = 8;

/// How long the neighbour is measured alone, and beside them.
const ALONE: Duration = Duration::from_secs(10);
const BESIDE: Duration = Duration::from_secs(30);

/// Between two calls of the neighbour.
const PAUSE: Duration = Duration::from_millis(5);

/// What one request may take of memory, and what all of them may add to the neighbour's p99.
const REQUEST_BYTES_MAX: u64 = 64 << 20;
const P99_MORE_MAX: Duration = Duration::from_millis(50);

/// Bytes of the largest body.
const BODY_BYTES: usize = 4 << 20;

/// The torture: whether it held, and its figures.
pub(crate) async fn torture() -> anyhow::Result<(bool, String)> {
    let folder = machine::scratch()?;
    let host = Host::start(&folder.path().join("data"), "");
    let mut operator = host.http();
    publish(&mut operator, Guest::named("echo").load()?).await;
    publish(&mut operator, stating(&descriptor())).await;
    pin(&mut operator, "neighbour", "fixtures/echo", "1.0.0").await;
    pin(&mut operator, "heavy", "fixtures/stated", "1.0.0").await;
    let mut neighbour = host.http();
    let alone = p99(&mut neighbour, ALONE).await;

    let before = status(&host, "VmRSS:")?;
    std::fs::write(format!("/proc/{}/clear_refs", host.id()), "5").context("peak of memory")?;
    let (over, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let heavy: Vec<_> = (0..AT_ONCE)
        .map(|caller| {
            tokio::spawn(call(host.http(), caller, Arc::clone(&over), Arc::clone(&answered)))
        })
        .collect();
    let beside = p99(&mut neighbour, BESIDE).await;
    over.store(true, Ordering::Relaxed);
    for caller in heavy {
        caller.await?;
    }
    let more = status(&host, "VmHWM:")?.saturating_sub(before);
    let slower = beside.saturating_sub(alone);
    let held = more <= AT_ONCE as u64 * REQUEST_BYTES_MAX && slower <= P99_MORE_MAX;
    let word = if held { "held" } else { "did not hold" };
    let (answered, memory) = (answered.load(Ordering::Relaxed), more >> 20);
    Ok((
        held,
        format!(
            "{NAME}: {word}: heavy={answered} at-once={AT_ONCE} memory-more={memory}MiB p99-alone={alone:.1?} p99-beside={beside:.1?}"
        ),
    ))
}

/// An action whose input can double what is looked at with each level, and one that takes a list.
fn descriptor() -> String {
    let tree = json!({"$defs": {"tree": {"anyOf": [
        {"items": {"$ref": "#/$defs/tree"}, "type": "array"},
        {"items": {"$ref": "#/$defs/tree"}, "type": ["array", "null"]},
    ]}}, "$ref": "#/$defs/tree"});
    let list = json!({"items": {"type": "string", "pattern": "^[a-z]+$"}});
    let actions = json!({"tree": {"input": tree}, "list": {"input": list}});
    json!({"format": 1, "name": "fixtures/stated", "version": "1.0.0", "actions": actions})
        .to_string()
}

/// Calls with one heavy input after the other.
async fn call(mut http: Http, caller: usize, over: Arc<AtomicBool>, answered: Arc<AtomicUsize>) {
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    let list =
        |item: &str| format!("[{}0]", format!("{item},").repeat(BODY_BYTES / (item.len() + 1) - 1));
    let inputs: [(&str, Bytes); 4] = [
        ("tree", deep.into()),
        ("list", list("0").into()),
        ("list", list("\"abcdefg\"").into()),
        ("list", list(r#"{"":0}"#).into()),
    ];
    for (action, body) in inputs.iter().cycle().skip(caller) {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let path = path("heavy", "fixtures/stated", &format!("/actions/{action}"));
        let reply = http.send(Method::POST, &path, "application/json", body.clone()).await;
        assert!(reply.status.is_client_error(), "{}", reply.status);
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// The slowest but for one in a hundred of the neighbour's calls in this time.
async fn p99(http: &mut Http, time: Duration) -> Duration {
    let path = path("neighbour", "fixtures/echo", "/actions/echo");
    let (begun, mut taken) = (Instant::now(), Vec::new());
    while begun.elapsed() < time {
        let asked = Instant::now();
        http.post(&path, json!([1])).await.ok();
        taken.push(asked.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    Duration::from_secs_f64(percentile(&mut taken, 0.99) / 1e6)
}

/// A figure of the host's process, in bytes.
fn status(host: &Host, name: &str) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{}/status", host.id()))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).context("a figure")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib << 10)
}
