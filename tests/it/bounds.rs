//! What neither a publisher nor a caller can make the host spend: memory, and the time of others.
//!
//! The host runs under a limit on its data (`RLIMIT_DATA`) that lets one request have 64 MiB beyond what an idle host has;
//! what takes more ends it, and fails the test. Meanwhile a neighbour calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fixtures::stating;
use harness::{Http, Reply, component};
use http::Method;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::setup::{Setup, connect, path};

/// What one request may take.
const REQUEST_BYTES_MAX: u64 = 64 << 20;

/// Bytes of the largest body that the API takes.
const BODY_BYTES: usize = 4 << 20;

/// Values in the largest body, names of members counted.
const BODY_VALUES: usize = 500_000;

/// Bytes of the largest descriptor.
const DESCRIPTOR_BYTES: usize = 256 << 10;

const STATED: &str = "fixtures/stated";

/// A descriptor of the guest `stated`.
fn stated(more: Value) -> String {
    let mut descriptor = json!({"format": 1, "name": STATED, "version": "1.0.0"});
    let fields = descriptor.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    descriptor.to_string()
}

/// An action whose input has this schema.
fn takes(schema: &Value) -> String {
    stated(json!({"actions": {"echo": {"input": schema}}}))
}

/// A host, and a neighbour that has something to call.
struct World {
    setup: Setup,
}

impl World {
    async fn new() -> Self {
        Self::with("").await
    }

    /// A host with this configuration.
    async fn with(config: &str) -> Self {
        let mut setup = Setup::new(config);
        setup.publish("echo").await.ok();
        setup.pin("neighbour", "fixtures/echo", "1.0.0").await;
        let mut world = Self { setup };
        // What a host makes once, it makes before it is measured.
        world.neighbour().await;
        world
    }

    /// One call of the neighbour.
    async fn neighbour(&mut self) {
        self.setup.act("neighbour", "fixtures/echo", "echo", json!([1])).await.ok();
    }

    /// From now on, what the host has now and so much more is all that it gets.
    fn limit(&self, bytes: u64) {
        let id = self.setup.host.id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
        let data = status.lines().find_map(|line| line.strip_prefix("VmData:")).expect("a line");
        let kib: u64 = data.trim().trim_end_matches(" kB").parse().expect("a number");
        let most = Some((kib << 10) + bytes);
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
        prlimit(pid, Resource::Data, Rlimit { current: most, maximum: None }).expect("it is ours");
    }

    /// Sends requests at once, while the neighbour calls until all are answered.
    async fn all_at_once(&mut self, requests: Vec<(Method, String, Bytes)>) -> Vec<Reply> {
        let mut under_way = JoinSet::new();
        for (method, path, body) in requests {
            let mut http: Http = self.setup.host.http();
            let kind = if path == "/v1/releases" { "application/wasm" } else { "application/json" };
            under_way.spawn(async move { http.send(method, &path, kind, body).await });
        }
        let answered = Arc::new(AtomicBool::new(false));
        let neighbour = tokio::spawn(calls(self.setup.host.http(), Arc::clone(&answered)));
        let mut replies = Vec::new();
        while let Some(reply) = under_way.join_next().await {
            replies.push(reply.expect("a request ends"));
        }
        answered.store(true, Ordering::Relaxed);
        neighbour.await.expect("the neighbour is answered all the while");
        replies
    }

    async fn publish(&mut self, descriptor: &str) -> Reply {
        self.setup.http.publish(stating(descriptor)).await
    }

    /// Publishes it, and has the tenant `heavy` run it.
    async fn run(&mut self, descriptor: &str) {
        self.publish(descriptor).await.ok();
        self.setup.pin("heavy", STATED, "1.0.0").await;
    }
}

/// One call after the other, until those of somebody else are answered.
async fn calls(mut http: Http, answered: Arc<AtomicBool>) {
    let path = path("neighbour", "fixtures/echo", "/actions/echo");
    loop {
        http.post(&path, json!([1])).await.ok();
        if answered.load(Ordering::Relaxed) {
            return;
        }
    }
}

fn post(path: String, body: impl Into<Bytes>) -> (Method, String, Bytes) {
    (Method::POST, path, body.into())
}

/// As many of these as fit into so many bytes, as a list.
fn list_within(bytes: usize, item: &str) -> String {
    let count = (bytes - 2) / (item.len() + 1);
    format!("[{}]", vec![item; count].join(","))
}

/// As many of these, each of so many values, as the largest body has in bytes and in values, or nearly, as a list: what the
/// API lets pass, and a check looks at.
fn most_of(item: &str, values: usize) -> String {
    let room = (BODY_BYTES - 100).div_ceil(BODY_VALUES / values) - 1;
    let list = list_within(BODY_BYTES - 100, &format!("{item:room$}"));
    assert!(list.len() > BODY_BYTES - 1_000, "{}", list.len());
    list
}

/// Each level refers twice to the next one.
fn doubling(levels: usize) -> Value {
    let mut levels: serde_json::Map<_, _> = (0..levels)
        .map(|level| {
            let next = json!({"$ref": format!("#/$defs/{}", level + 1)});
            (level.to_string(), json!({"anyOf": [next, next]}))
        })
        .collect();
    levels.insert(levels.len().to_string(), json!({"type": "string"}));
    json!({"$defs": levels, "$ref": "#/$defs/0"})
}

/// Each level of a value doubles what is looked at.
fn tree() -> Value {
    json!({"$defs": {"tree": {"anyOf": [
        {"items": {"$ref": "#/$defs/tree"}, "type": "array"},
        {"items": {"$ref": "#/$defs/tree"}, "type": ["array", "null"]},
    ]}}, "$ref": "#/$defs/tree"})
}

/// The input of a few bytes that takes all steps there are; one that is deeper is refused for that, and at once.
fn deep() -> String {
    format!("{}1{}", "[".repeat(60), "]".repeat(60))
}

#[tokio::test]
async fn schemas_that_could_cost_much_are_refused_by_name() {
    let mut world = World::new().await;
    world.limit(2 * REQUEST_BYTES_MAX);
    let patterns: serde_json::Map<_, _> = (0..3_000)
        .map(|n| (format!("p{n}"), json!({"pattern": format!("^[a-z]{{1,{n}}}$")})))
        .collect();
    let many = |item: Value| takes(&json!({"enum": vec![item; 50_000]}));
    let leaves: serde_json::Map<_, _> = (0..2_000).map(|n| (n.to_string(), json!(0))).collect();
    let nested = (0..60).fold(json!(leaves), |inner, _| json!({"k".repeat(1_000): inner}));
    let wide: Vec<_> = (0..1_000).map(|n| format!("h{n}.example.com")).collect();
    let room = DESCRIPTOR_BYTES - stated(json!({"summary": ""})).len();
    let large = stated(json!({"summary": "x".repeat(room + 1)}));
    let cases = [
        (takes(&doubling(20)), "actions.echo.input"),
        (takes(&json!({"properties": patterns.clone()})), "actions.echo.input"),
        (stated(json!({"config": {"properties": patterns}})), "config/properties"),
        (
            takes(&json!({"properties": {"a": {"$ref": "#/properties/a"}}})),
            "actions.echo.input/properties/a",
        ),
        (takes(&json!({"properties": {"a": {"pattern": "\\p{L}{900}"}}})), "/properties/a"),
        (many(json!(0)), "values"),
        (many(json!({})), "values"),
        (stated(json!({"actions": {"echo": {"output": {"const": nested}}}})), "paths"),
        (stated(json!({"hosts": wide})), "`hosts`"),
        (large, "bytes"),
    ];
    let mut sent = Vec::new();
    for (descriptor, named) in &cases {
        assert!(descriptor.len() <= DESCRIPTOR_BYTES + 1, "{named}: {} bytes", descriptor.len());
        sent.push((Method::POST, "/v1/releases".to_owned(), Bytes::from(stating(descriptor))));
    }
    for (request, (_, named)) in sent.into_iter().zip(&cases) {
        let replies = world.all_at_once(vec![request]).await;
        assert_eq!(replies[0].code(), "descriptor-invalid", "{named}");
        let detail = replies[0].json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.contains(named), "{named}: {detail}");
    }
}

#[tokio::test]
async fn no_input_takes_much_memory_or_stops_the_neighbour() {
    let mut world = World::new().await;
    world.run(&takes(&tree())).await;
    let calls = path("heavy", STATED, "/actions/echo");
    world.setup.http.post(&calls, json!([[null]])).await.ok();
    world.limit(REQUEST_BYTES_MAX);
    let replies = world.all_at_once(vec![post(calls.clone(), deep())]).await;
    assert_eq!(replies[0].code(), "input-invalid");
    assert!(replies[0].json()["detail"].as_str().is_some_and(|text| text.contains("steps")));
    for (item, values) in [
        ("0", 1),
        ("[]", 1),
        ("{}", 1),
        (r#"{"":0}"#, 3),
        (r#"[{"":{}}]"#, 4),
        (r#""a""#, 1),
        (r#""\n""#, 1),
        ("-1e9", 1),
    ] {
        let replies = world.all_at_once(vec![post(calls.clone(), most_of(item, values))]).await;
        // Empty lists of lists are what the schema takes; all others it has looked at and refused.
        let expected = if item == "[]" { "" } else { "input-invalid" };
        assert_eq!(replies[0].code(), expected, "{item}");
        let many = list_within(BODY_BYTES, item);
        let replies = world.all_at_once(vec![post(calls.clone(), many)]).await;
        assert_eq!(replies[0].code(), "malformed-json", "{item}");
    }
    let names: Vec<_> = (0..BODY_VALUES / 2 - 1).map(|n| format!("\"{n:08x}\":0")).collect();
    let names = format!("{{{}}}", names.join(","));
    let replies = world.all_at_once(vec![post(calls, names)]).await;
    assert_eq!(replies[0].code(), "input-invalid");
}

/// Held against what one dear check takes in the same run, whatever the machine: in one queue of all tenants, each call of the
/// neighbour would wait for one of them at the least.
#[tokio::test]
async fn dear_inputs_of_one_tenant_do_not_make_anothers_wait() {
    let mut world = World::new().await;
    world.run(&takes(&tree())).await;
    world.setup.pin("neighbour", STATED, "1.0.0").await;
    let (heavy, neighbour) =
        (path("heavy", STATED, "/actions/echo"), path("neighbour", STATED, "/actions/echo"));
    // Too long to be checked where it is asked for, and soon done.
    let long = json!(vec![Value::Null; 10_000]);
    world.setup.http.post(&neighbour, long.clone()).await.ok();
    let begun = Instant::now();
    world.all_at_once(vec![post(heavy.clone(), deep())]).await;
    let dear = begun.elapsed();

    let mut under_way = JoinSet::new();
    for _ in 0..6 {
        let (mut http, path) = (world.setup.host.http(), heavy.clone());
        under_way.spawn(async move {
            http.send(Method::POST, &path, "application/json", deep().into()).await
        });
    }
    let mut waited = Vec::new();
    while under_way.try_join_next().is_none() {
        let asked = Instant::now();
        world.setup.http.post(&neighbour, long.clone()).await.ok();
        waited.push(asked.elapsed());
    }
    for reply in under_way.join_all().await {
        assert_eq!(reply.code(), "input-invalid");
    }
    waited.sort_unstable();
    let median = waited[waited.len() / 2];
    assert!(median < dear / 3, "{median:?} beside checks of {dear:?}: {waited:?}");
}

/// Whose time is over before its turn comes is told so, and its check is given up.
#[tokio::test]
async fn waiting_for_a_check_is_part_of_the_calls_time() {
    let mut world = World::new().await;
    world.run(&takes(&tree())).await;
    let calls = path("heavy", STATED, "/actions/echo");
    world.setup.http.post(&calls, json!([[null]])).await.ok();
    let mut http = world.setup.host.http().with("keyway-timeout-ms", "20");
    let reply = http.send(Method::POST, &calls, "application/json", deep().into()).await;
    assert_eq!(reply.code(), "deadline-exceeded", "{}", reply.json());
    assert_eq!(reply.json()["whose"], "tenant");
    assert!(
        reply.headers.contains_key("keyway-release") && reply.headers.contains_key("keyway-call")
    );
    world.setup.http.post(&calls, json!([[null]])).await.ok();
}

#[tokio::test]
async fn a_shipped_action_refuses_two_million_wrong_items() {
    let mut world = World::new().await;
    let hubspot = world.setup.http.publish(component("connectors", "hubspot-2")).await.ok().json();
    let digest = hubspot["release"]["digest"].as_str().expect("text").to_owned();
    world.setup.pin("heavy", "keyway/hubspot", &digest).await;
    let calls = path("heavy", "keyway/hubspot", "/actions/contacts.get");
    world.setup.http.post(&calls, json!({"id": 1})).await;
    for at_once in [1, 8] {
        world.limit(at_once as u64 * REQUEST_BYTES_MAX);
        for item in ["0", "\"x\"", "1.25000", "\"lastname\""] {
            let body = format!(r#"{{"id":1,"properties":{}}}"#, most_of(item, 1));
            let requests = vec![post(calls.clone(), body); at_once];
            for reply in world.all_at_once(requests).await {
                assert_eq!(reply.code(), "input-invalid", "{item}");
                assert!(reply.body.len() < 4 << 10, "{} bytes", reply.body.len());
            }
        }
        for item in ["0", "\"x\"", "1.25000"] {
            let list = list_within(BODY_BYTES - 100, item);
            let body = format!(r#"{{"id":"1","properties":{list}}}"#);
            let requests = vec![post(calls.clone(), body); at_once];
            for reply in world.all_at_once(requests).await {
                assert_eq!(reply.code(), "malformed-json", "{item}");
            }
        }
    }
}

/// Sixty bodies of 4 MiB that lack their last byte. The host has memory for half of them, and the tenant for a quarter.
#[tokio::test]
async fn slow_bodies_of_one_tenant_take_its_share_and_the_neighbour_is_served() {
    let mut world = World::with("[api]\ntenant-bodies-bytes-max = 60000000").await;
    world.run(&stated(json!({"actions": {"echo": {}}}))).await;
    let (address, token) = (world.setup.host.address, world.setup.host.token.clone());
    world.limit(2 * REQUEST_BYTES_MAX);
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {BODY_BYTES}\r\n\r\n",
        path("heavy", STATED, "/actions/echo"),
    );
    let mut sending = JoinSet::new();
    for _ in 0..60 {
        let head = head.clone();
        sending.spawn(async move {
            let mut stream = connect(address).await;
            stream.write_all(head.as_bytes()).await.expect("it reads");
            stream.write_all(&vec![b'x'; BODY_BYTES - 1]).await.expect("it reads");
            stream
        });
    }
    let streams = sending.join_all().await;
    for _ in 0..10 {
        world.neighbour().await;
    }
    let (mut held, mut refused) = (0, 0);
    for mut stream in streams {
        stream.write_all(b"x").await.expect("it reads");
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.expect("it answers");
        match &status {
            b"HTTP/1.1 400" => held += 1,
            b"HTTP/1.1 503" => refused += 1,
            other => panic!("{}", String::from_utf8_lossy(other)),
        }
    }
    assert_eq!((held, refused), (14, 46));
}

#[tokio::test]
async fn no_other_body_takes_much_memory() {
    let mut world = World::new().await;
    world.run(&stated(json!({"config": {"type": "object"}, "actions": {"echo": {}}}))).await;
    let at = |rest: &str| path("heavy", STATED, rest);
    world.setup.http.put(&at("/config"), json!({"a": 1})).await.ok();
    world.limit(REQUEST_BYTES_MAX);
    for item in ["0", "{}", r#"{"":0}"#, r#""a""#] {
        let list = list_within(BODY_BYTES, item);
        let within = |before: &str, after: &str| {
            let room = BODY_BYTES - before.len() - after.len() - 2;
            let kept = &list[..list.len().min(room)];
            let kept = kept.rsplit_once(',').map_or(kept, |(kept, _)| kept);
            format!("{before}{kept}]{after}")
        };
        let requests = [
            (Method::PUT, at("/config"), within(r#"{"a":"#, "}").into()),
            post(at("/objects/things/read"), within(r#"{"fields":"#, "}")),
            post(at("/objects/things/read"), within(r#"{"cursor":"#, "}")),
            post(at("/objects/things/write"), within(r#"{"operation":"create","items":"#, "}")),
        ];
        for request in requests {
            let what = format!("{} {item}", request.1);
            let replies = world.all_at_once(vec![request]).await;
            assert!(
                (400..500).contains(&replies[0].status.as_u16()),
                "{what}: {}",
                replies[0].status
            );
        }
    }
    let paused = tokio::time::timeout(Duration::from_secs(60), world.neighbour()).await;
    paused.expect("the host answers still");
}
