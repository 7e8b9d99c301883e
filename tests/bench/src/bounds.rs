//! The torture `bounds`: one tenant's inputs that cost as much as the limits of the documents let them, then its calls that
//! compute without end and answer with megabytes, and what the host's memory and a neighbour's calls show of either.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use fixtures::{Guest, stating};
use harness::{Host, Http};
use http::Method;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::machine;
use crate::stats::percentile;
use crate::tenants::{path, pin, publish};

/// Its name.
pub(crate) const NAME: &str = "bounds";

/// Callers with such inputs.
const INPUTS_AT_ONCE: usize = 8;

/// Callers whose guests compute, and those whose guests answer with as much as they may.
const SPINNING_AT_ONCE: usize = 100;
const ANSWERS_AT_ONCE: usize = 4;

/// How long the neighbour is measured alone, and beside either.
const ALONE: Duration = Duration::from_secs(15);
const BESIDE: Duration = Duration::from_secs(30);

/// What each heavy call may take: those that compute without end must end some time.
const TIMEOUT: (&str, &str) = ("keyway-timeout-ms", "20000");

/// Between two calls of the neighbour.
const PAUSE: Duration = Duration::from_millis(5);

/// What one request may take of memory, and what all of them may add to the neighbour's p99.
const REQUEST_BYTES_MAX: u64 = 64 << 20;
const P99_MORE_MAX: Duration = Duration::from_millis(50);

/// Bytes of the largest body, and values in it.
const BODY_BYTES: usize = 4 << 20;
const BODY_VALUES: usize = 500_000;

/// Bytes of the largest answer.
const ANSWER_BYTES: u64 = 32 << 20;

/// One call of the heavy tenant, and how it may end.
#[derive(Clone)]
struct Heavy {
    path: String,
    body: Bytes,
    statuses: &'static [u16],
}

/// Callers that go on until they are told to stop.
#[derive(Default)]
struct Callers {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

/// The torture: whether it held, and its figures.
pub(crate) async fn torture() -> anyhow::Result<(bool, String)> {
    let folder = machine::scratch()?;
    let host = Host::start(&folder.path().join("data"), "");
    let mut operator = host.http();
    publish(&mut operator, Guest::named("echo").load()?).await;
    publish(&mut operator, Guest::named("hostile").load()?).await;
    publish(&mut operator, stating(&descriptor())).await;
    pin(&mut operator, "neighbour", "fixtures/echo", "1.0.0").await;
    pin(&mut operator, "heavy", "fixtures/stated", "1.0.0").await;
    pin(&mut operator, "heavy", "fixtures/hostile", "1.0.0").await;
    let mut neighbour = host.http();
    let alone = p99(&mut neighbour, ALONE).await;

    let before = status(&host, "VmRSS:")?;
    std::fs::write(format!("/proc/{}/clear_refs", host.id()), "5").context("peak of memory")?;
    let mut callers = Callers::default();
    callers.begin(&host, INPUTS_AT_ONCE, &inputs());
    let inputs = p99(&mut neighbour, BESIDE).await;
    let checked = callers.end().await?;
    let memory = status(&host, "VmHWM:")?.saturating_sub(before);

    let mut callers = Callers::default();
    callers.begin(&host, SPINNING_AT_ONCE, &[hostile("spin", "null", &[502, 504])]);
    callers.begin(
        &host,
        ANSWERS_AT_ONCE,
        &[hostile("answer-bytes", &ANSWER_BYTES.to_string(), &[200, 504])],
    );
    let computing = p99(&mut neighbour, BESIDE).await;
    let computed = callers.end().await?;

    let most = alone + P99_MORE_MAX;
    let held = memory <= INPUTS_AT_ONCE as u64 * REQUEST_BYTES_MAX
        && inputs <= most
        && computing <= most
        && checked > 0
        && computed > 0;
    let (word, memory) = (if held { "held" } else { "did not hold" }, memory >> 20);
    Ok((
        held,
        format!(
            "{NAME}: {word}: inputs={checked} at-once={INPUTS_AT_ONCE} memory-more={memory}MiB computing={computed} at-once={SPINNING_AT_ONCE} p99-alone={alone:.1?} p99-beside-inputs={inputs:.1?} p99-beside-computing={computing:.1?}"
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

/// Inputs that get as far as the checker, but for the last.
fn inputs() -> Vec<Heavy> {
    // All steps: one that is deeper is refused for that, and at once.
    let deep = format!("{}1{}", "[".repeat(60), "]".repeat(60));
    let count = BODY_VALUES - 2;
    let fits = format!("[{}\"abcde\"]", "\"abcde\",".repeat(BODY_BYTES / 8 - 30_000));
    let misfits = format!("[{}0]", "\"abcd\",".repeat(count));
    let wrong = format!("[{}0]", "0,      ".repeat(count));
    let many = format!("[{}0]", "0,".repeat(BODY_BYTES / 2 - 2));
    let call = |action: &str, body: String, statuses| {
        let path = path("heavy", "fixtures/stated", &format!("/actions/{action}"));
        Heavy { path, body: body.into(), statuses }
    };
    vec![
        call("tree", deep, &[422]),
        call("list", fits, &[200]),
        call("list", misfits, &[422]),
        call("list", wrong, &[422]),
        call("list", many, &[400]),
    ]
}

fn hostile(action: &str, input: &str, statuses: &'static [u16]) -> Heavy {
    let path = path("heavy", "fixtures/hostile", &format!("/actions/{action}"));
    Heavy { path, body: input.to_owned().into(), statuses }
}

// === impl Callers ===

impl Callers {
    /// So many more, each with one of these after the other.
    fn begin(&mut self, host: &Host, count: usize, calls: &[Heavy]) {
        for caller in 0..count {
            let (mut http, calls) = (host.http().with(TIMEOUT.0, TIMEOUT.1), calls.to_vec());
            let (over, answered) = (Arc::clone(&self.over), Arc::clone(&self.answered));
            self.tasks.push(tokio::spawn(async move {
                for Heavy { path, body, statuses } in calls.iter().cycle().skip(caller) {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let kind = "application/json";
                    let reply = http.send(Method::POST, path, kind, body.clone()).await;
                    let status = reply.status.as_u16();
                    assert!(statuses.contains(&status), "{path}: {status} {}", reply.code());
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
    }

    /// Waits for the last call of each; how many there were.
    async fn end(self) -> anyhow::Result<usize> {
        self.over.store(true, Ordering::Relaxed);
        for caller in self.tasks {
            caller.await?;
        }
        Ok(self.answered.load(Ordering::Relaxed))
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
