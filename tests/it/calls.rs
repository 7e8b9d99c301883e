//! Calls at their bounds: the caller's time, a caller who hangs up, a tenant's share of the host, and what
//! is missing.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use fixtures::twins;
use serde_json::{Value, json};

use crate::setup::{Setup, path, stand_in};
use crate::upstream::Plain;

const SLEEPS: &str = "fixtures/sleeps";
const ECHO: &str = "fixtures/echo";
const FETCH: &str = "fixtures/fetch";

/// Between two looks at something that must come. A test that never sees it has failed.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// Longer than any answer takes: a call that is not ended in time fails, instead of stalling the run.
const PATIENCE: Duration = Duration::from_secs(120);

/// A call that sleeps for a week, on a connection of its own. Dropping it hangs up.
struct Sleeper(TcpStream);

impl Sleeper {
    fn call(setup: &Setup, tenant: &str, header: &str) -> Self {
        let path = path(tenant, SLEEPS, "/actions/sleep");
        let (address, token) = (setup.host.address, &setup.host.token);
        let mut stream = connect(address);
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: 4\r\nconnection: close\r\n\
             {header}\r\nnull"
        )
        .expect("a socket takes a request");
        Self(stream)
    }

    /// Status line and body of the answer.
    fn answer(mut self) -> (String, Value) {
        self.0.set_read_timeout(Some(PATIENCE)).expect("longer than nothing");
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).expect("an answer of text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
        let status = head.lines().next().unwrap_or_default().to_owned();
        (status, serde_json::from_str(body).expect("a body of JSON"))
    }
}

#[expect(clippy::disallowed_methods, reason = "a test talks to a host that it started")]
fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).expect("it listens")
}

async fn with_sleeps(config: &str, tenants: &[&str]) -> Setup {
    let mut setup = Setup::new(config);
    setup.publish("sleeps").await.ok();
    for tenant in tenants {
        setup.pin(tenant, SLEEPS, "1.0.0").await;
    }
    setup
}

/// Waits until so many calls are in a guest.
async fn running(setup: &mut Setup, count: f64) {
    while setup.metric("keyway_calls_running", &[]).await != count {
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_gives_a_call_less_time_than_the_host_would() {
    let mut setup = with_sleeps("[calls]\ntime-max = \"1h\"\n", &["acme"]).await;
    let call = Sleeper::call(&setup, "acme", "keyway-timeout-ms: 300\r\n");
    let (status, problem) = tokio::task::spawn_blocking(|| call.answer()).await.expect("answered");
    assert!(status.contains(" 504 "), "{status}");
    assert_eq!(problem["code"], "deadline-exceeded");
    assert_eq!(problem["whose"], "connector", "it asked nobody, so nobody else used up the time");
    let detail = problem["detail"].as_str().expect("text");
    assert!(detail.starts_with("did not answer within "), "{detail}");
    running(&mut setup, 0.0).await;
    let ended = setup.metric("keyway_calls_total", &[SLEEPS, "whose=\"connector\""]).await;
    assert_eq!(ended, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_caller_gives_a_call_more_time_than_the_host_does() {
    let setup = with_sleeps("[calls]\ntime-max = \"300ms\"\n", &["acme"]).await;
    for header in ["keyway-timeout-ms: 4000000000\r\n", ""] {
        let call = Sleeper::call(&setup, "acme", header);
        let answer = tokio::task::spawn_blocking(|| call.answer()).await.expect("answered");
        assert_eq!(answer.1["code"], "deadline-exceeded", "{header:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_caller_hangs_up_ends_and_is_counted() {
    let mut setup = with_sleeps("", &["acme"]).await;
    let call = Sleeper::call(&setup, "acme", "");
    running(&mut setup, 1.0).await;
    assert_eq!(setup.metric("keyway_runtime_live_stores", &[SLEEPS]).await, 1.0);
    drop(call);
    running(&mut setup, 0.0).await;
    assert_eq!(setup.metric("keyway_runtime_live_stores", &[SLEEPS]).await, 0.0);
    // Nobody's connector is to blame for it.
    let ended = setup.metric("keyway_calls_total", &[SLEEPS, "whose=\"tenant\""]).await;
    assert_eq!(ended, 1.0);
    let log = setup.log();
    let ended: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["message"] == "call ended")
        .collect();
    let [ended] = ended.as_slice() else { panic!("not one line: {ended:?}") };
    assert_eq!((&ended["code"], &ended["whose"]), (&json!("call-abandoned"), &json!("tenant")));
    let of = ["tenant", "release"].map(|key| &ended[key]);
    assert_eq!(of, [&json!("acme"), &json!("fixtures/sleeps@1.0.0")]);
    // A release that callers give up waiting for does not look idle.
    let rows = setup.http.get("/v1/pins?tenant=acme").await.ok().json();
    let executed = &rows["rows"][0]["executed"];
    assert_eq!((&executed["calls"], &executed["failures"]), (&json!(1), &json!(1)), "{rows}");
    assert_eq!(executed["release"]["version"], "1.0.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_at_its_limit_takes_nothing_from_another() {
    let config = "[calls]\ntenant-calls-max = 3\n";
    let mut setup = with_sleeps(config, &["greedy", "patient"]).await;
    setup.publish("echo").await.ok();
    setup.pin("greedy", ECHO, "1.0.0").await;
    setup.pin("patient", ECHO, "1.0.0").await;
    let mut held: Vec<_> = (0..3).map(|_| Sleeper::call(&setup, "greedy", "")).collect();
    running(&mut setup, 3.0).await;
    // Whatever it calls: the limit is on the tenant and not on an installation.
    let refused = setup.act("greedy", ECHO, "echo", json!(1)).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (503, "overloaded"));
    assert_eq!(refused.json()["whose"], "host");
    assert!(!refused.header("retry-after").is_empty(), "it is told when to come again");
    let served = setup.act("patient", ECHO, "echo", json!(2)).await.ok();
    assert_eq!(served.json(), json!(2));
    // One below its limit it is served again, and no call of its was lost meanwhile.
    drop(held.pop());
    let served = loop {
        let reply = setup.act("greedy", ECHO, "echo", json!(3)).await;
        if reply.code() != "overloaded" {
            break reply.ok();
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    };
    assert_eq!(served.json(), json!(3));
    running(&mut setup, 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_without_a_credential_is_the_tenants_to_fill() {
    let upstream = Plain::start().await;
    let mut setup = Setup::new(&stand_in("api.example.com", upstream.address));
    setup.publish("fetch").await.ok();
    setup.pin("acme", FETCH, "1.0.0").await;
    let get = json!({"path": "/things", "slot": "token"});
    let refused = setup.act("acme", FETCH, "get", get.clone()).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (409, "credential-missing"));
    let problem = refused.json();
    assert_eq!((&problem["whose"], &problem["request_sent"]), (&json!("tenant"), &json!(false)));
    assert!(
        problem["detail"].as_str().is_some_and(|detail| detail.contains("`token`")),
        "{problem}"
    );
    assert!(upstream.seen().is_empty(), "a request without its credential was sent");
    // And once it is filled, the same call passes.
    let slot = path("acme", FETCH, "/connections/token");
    setup.http.put(&slot, json!({"token": "now-it-is-there"})).await.ok();
    setup.act("acme", FETCH, "get", get).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn digits_that_begin_two_digests_name_neither() {
    let mut setup = Setup::new("");
    let mut digests = Vec::new();
    for twin in twins::twins().expect("built") {
        let release = setup.http.publish(twin).await.ok().json()["release"].clone();
        assert_eq!(release["connector"], "fixtures/toolchain");
        digests.push(release["digest"].as_str().expect("text").to_owned());
    }
    let shared = digests[0].bytes().zip(digests[1].bytes()).take_while(|(a, b)| a == b).count();
    assert!((7 + 12..7 + 64).contains(&shared), "{digests:?}");
    let show = |name: &str| format!("/v1/releases/fixtures/toolchain/{name}");
    let refused = setup.http.get(&show(&digests[0][..shared])).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (409, "ambiguous-release"));
    let pin = json!({"release": &digests[0][..7 + 12], "reason": "which of them?"});
    let refused = setup.http.put(&path("acme", "fixtures/toolchain", "/pin"), pin).await;
    assert_eq!(refused.code(), "ambiguous-release");
    let nothing = setup.http.get(&path("acme", "fixtures/toolchain", "/pin")).await;
    assert!(!nothing.status.is_success(), "it was pinned all the same: {}", nothing.json());
    // One digit more tells them apart.
    for (digest, version) in digests.iter().zip(twins::versions()) {
        let found = setup.http.get(&show(&digest[..=shared])).await.ok().json();
        assert_eq!(found["release"]["version"], version);
    }
}
