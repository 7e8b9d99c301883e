//! Components that are lost behind compiled code, and starts that have everything to compile.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use harness::Http;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::setup::{Setup, files_below, path};

const ECHO: &str = "fixtures/echo";

/// Looks often enough for a test.
const OFTEN: &str = "[releases]\ncheck-interval = \"50ms\"\n";

/// Longer than a busy machine takes for what must happen.
const PATIENCE: Duration = Duration::from_secs(60);

async fn ready(setup: &mut Setup) -> Value {
    setup.http.get("/readyz").await.ok().json()
}

/// Waits until the host says this of itself.
async fn says(setup: &mut Setup, wanted: Value) {
    let said = async {
        while ready(setup).await != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, said).await.unwrap_or_else(|_| panic!("never: {wanted}"));
}

/// The file with the only component there is.
fn component(setup: &Setup) -> PathBuf {
    let files = files_below(&setup.data().join("store/blobs"));
    files.into_iter().find(|file| !file.ends_with("identity")).expect("one component")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_is_lost_or_damaged_is_told_while_its_code_still_runs() {
    let mut setup = Setup::new(OFTEN);
    setup.publish("echo").await.ok();
    says(&mut setup, json!({"state": "ready"})).await;
    let file = component(&setup);
    let bytes = std::fs::read(&file).expect("readable");
    let mut flipped = bytes.clone();
    flipped[100] ^= 1;
    // What is not there is not routed to; then it is, and goes missing.
    std::fs::remove_file(&file).expect("ours");
    let wanted = json!({"release": "1.0.0", "reason": "a test"});
    let refused = setup.http.put(&path("acme", ECHO, "/pin"), wanted).await;
    assert_eq!(refused.code(), "release-unavailable");
    std::fs::write(&file, &bytes).expect("writable");
    setup.pin("acme", ECHO, "1.0.0").await;
    says(&mut setup, json!({"state": "ready"})).await;
    std::fs::remove_file(&file).expect("ours");
    let degraded = json!({"state": "degraded", "components_lost": 1});
    says(&mut setup, degraded.clone()).await;
    let lost = setup.metric("keyway_releases_components_lost", &[]).await;
    assert!((lost - 1.0).abs() < f64::EPSILON, "{lost}");
    let reply = setup.act("acme", ECHO, "version", json!(null)).await.ok();
    assert_eq!(reply.json(), "1.0.0", "it still runs");
    assert!(setup.log().contains("component of a routed release lost"), "{}", setup.log());

    for damaged in [&bytes[..1_000], &flipped[..]] {
        std::fs::write(&file, &bytes).expect("writable");
        says(&mut setup, json!({"state": "ready"})).await;
        std::fs::write(&file, damaged).expect("writable");
        says(&mut setup, degraded.clone()).await;
    }
    // One that cannot be read is as good as lost.
    std::fs::remove_file(&file).expect("ours");
    std::os::unix::fs::symlink(&file, &file).expect("a link to itself");
    says(&mut setup, degraded.clone()).await;
    std::fs::remove_file(&file).expect("ours");
    std::fs::write(&file, &bytes).expect("writable");
    says(&mut setup, json!({"state": "ready"})).await;
    std::fs::write(&file, &flipped).expect("writable");
    says(&mut setup, degraded.clone()).await;
    // A start notices it as well, and publishing the same bytes again mends it.
    let mut setup = setup.crash();
    says(&mut setup, degraded).await;
    setup.publish("echo").await.ok();
    says(&mut setup, json!({"state": "ready"})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_has_to_compile_answers_health_checks_and_says_how_far_it_is() {
    let mut setup = Setup::new("");
    for guest in ["echo", "fetch"] {
        setup.publish(guest).await.ok();
        setup.pin("acme", &format!("fixtures/{guest}"), "1.0.0").await;
    }
    let token = setup.host.token.clone();
    let place = setup.kill();
    std::fs::remove_dir_all(place.data.join("compiled")).expect("removable");
    // A port that was free a moment ago, to ask a host that has not said where it is.
    let address = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr());
    let address = address.expect("a free port");
    let asking = tokio::spawn(async move {
        let (mut alive, mut starting, mut refused) = (0, Vec::new(), 0);
        loop {
            let mut http = Http::new(address, &token);
            let health = http.try_send(Method::GET, "/healthz", "", Bytes::new()).await;
            if health.is_ok_and(|reply| reply.status == StatusCode::OK) {
                alive += 1;
            }
            let Ok(reply) = http.try_send(Method::GET, "/readyz", "", Bytes::new()).await else {
                tokio::time::sleep(Duration::from_millis(2)).await;
                continue;
            };
            if reply.status == StatusCode::OK {
                return (alive, starting, refused);
            }
            starting.push((reply.status.as_u16(), reply.json()));
            let call = path("acme", ECHO, "/actions/version");
            let kind = "application/json";
            let called = http.try_send(Method::POST, &call, kind, Bytes::from("null")).await;
            refused += usize::from(called.is_ok_and(|reply| reply.code() == "starting"));
        }
    });
    let host = tokio::task::block_in_place(|| place.start().listen(address).run());
    let mut setup = place.started(host);
    let (alive, starting, refused) =
        tokio::time::timeout(PATIENCE, asking).await.expect("it is ready").expect("no panic");
    assert!(alive > 0);
    let (status, problem) = starting.first().expect("compiling takes longer than asking");
    assert_eq!((*status, &problem["code"]), (503, &json!("starting")));
    let detail = problem["detail"].as_str().expect("text");
    assert!(detail.starts_with("the host is starting: "), "{detail}");
    assert!(refused > 0, "{starting:?}");
    let reply = setup.act("acme", ECHO, "version", json!(null)).await.ok();
    assert_eq!(reply.json(), "1.0.0");
}
