//! Pins while calls are under way: swaps, two operators at once, unloading, what cannot be pinned.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use crate::setup::{Setup, path};

const ECHO: &str = "fixtures/echo";

async fn with_both_releases() -> Setup {
    let mut setup = Setup::new("");
    setup.publish("echo").await.ok();
    setup.publish("echo-next").await.ok();
    setup
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_says_what_ran() {
    let mut setup = with_both_releases().await;
    let pin = setup.pin("acme", ECHO, "1.0.0").await;
    let reply = setup.act("acme", ECHO, "version", json!(null)).await.ok();
    assert_eq!(reply.header("keyway-release"), "fixtures/echo@1.0.0");
    assert_eq!(reply.header("keyway-digest"), pin["release"]["digest"]);
    assert!(reply.header("keyway-call").starts_with("call_"));
    // A failing call that reached a release says so too.
    let failed = setup.act("acme", ECHO, "no-such-action", json!(null)).await;
    assert_eq!(failed.code(), "unknown-action");
    assert_eq!(failed.header("keyway-release"), "fixtures/echo@1.0.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn swaps_under_load_fail_no_call_and_old_code_is_unloaded() {
    let mut setup = with_both_releases().await;
    setup.pin("acme", ECHO, "1.0.0").await;
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> =
        (0..8).map(|_| tokio::spawn(caller(setup.host.http(), Arc::clone(&stop)))).collect();
    for round in 0..50 {
        let release = if round % 2 == 0 { "1.1.0" } else { "1.0.0" };
        let pin = setup.pin("acme", ECHO, release).await;
        let reply = setup.act("acme", ECHO, "version", json!(null)).await.ok();
        assert_eq!(reply.json(), release, "the first call after the answer runs the new release");
        assert_eq!(reply.header("keyway-digest"), pin["release"]["digest"]);
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        assert!(caller.await.expect("no call of it failed") > 0, "a caller made no call");
    }
    // Nobody runs 1.1.0 any more: its code goes when the last call has ended.
    assert_eq!(setup.pin("acme", ECHO, "1.0.0").await["release"]["version"], "1.0.0");
    for _ in 0..100 {
        let text = setup.http.get("/metrics").await.ok().body;
        let text = String::from_utf8_lossy(&text).into_owned();
        let live = |version: &str| {
            let series = text.lines().filter(|line| line.starts_with("keyway_runtime_live"));
            series.filter(|line| line.contains(version)).count()
        };
        if live("fixtures/echo@1.1.0") == 0 {
            assert_eq!(live("fixtures/echo@1.0.0"), 1, "{text}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("1.1.0 is still loaded although nothing runs it");
}

/// Calls until told to stop, and says how often it did; any failure is a panic.
async fn caller(mut http: harness::Http, stop: Arc<AtomicBool>) -> u64 {
    let path = path("acme", ECHO, "/actions/version");
    let mut calls = 0;
    while !stop.load(Ordering::Relaxed) {
        let reply = http.post(&path, json!(null)).await.ok();
        assert!(["1.0.0", "1.1.0"].map(|v| json!(v)).contains(&reply.json()), "{}", reply.json());
        calls += 1;
    }
    calls
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_at_once_leave_one_history() {
    let mut setup = with_both_releases().await;
    setup.pin("acme", ECHO, "1.0.0").await;
    let pin = |body: serde_json::Value| {
        let mut http = setup.host.http();
        async move { http.put(&path("acme", ECHO, "/pin"), body).await }
    };
    // Each says which generation it saw: one wins, the other is told.
    let seen = json!({"release": "1.1.0", "reason": "at once", "generation": 1});
    let (one, two) = tokio::join!(pin(seen.clone()), pin(seen));
    let mut statuses = [one.status, two.status];
    statuses.sort();
    assert_eq!(statuses, [StatusCode::OK, StatusCode::CONFLICT]);
    // Neither says: both are recorded, one after the other.
    let (mut http, unpin) = (setup.host.http(), path("acme", ECHO, "/unpin"));
    let (one, two) = tokio::join!(
        pin(json!({"release": "1.0.0", "reason": "at once"})),
        http.post(&unpin, json!({"reason": "at once"})),
    );
    let mut generations = [one.ok().json(), two.ok().json()].map(|pin| pin["generation"].as_u64());
    generations.sort();
    assert_eq!(generations, [Some(3), Some(4)]);
}

/// Fails if compiled code hides that the component is gone: it would be missed when that code goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_whose_component_is_not_there_as_published_is_not_pinned() {
    let mut setup = with_both_releases().await;
    setup.pin("acme", ECHO, "1.0.0").await;
    let release = setup.http.get("/v1/releases/fixtures/echo/1.1.0").await.ok().json();
    let digest = release["release"]["digest"].as_str().expect("text")["sha256:".len()..].to_owned();
    let component = setup.data().join("store/blobs").join(digest);
    let bytes = std::fs::read(&component).expect("the component is a blob");
    let mut damaged = bytes.clone();
    damaged[100] ^= 1;
    let default = "/v1/environments/dev/defaults/fixtures/echo";
    let body = json!({"release": "1.1.0", "reason": "newer"});
    for content in [Some(damaged), None] {
        match content {
            Some(damaged) => std::fs::write(&component, damaged).expect("writable"),
            None => std::fs::remove_file(&component).expect("removable"),
        }
        for path in [&path("acme", ECHO, "/pin"), default] {
            let reply = setup.http.put(path, body.clone()).await;
            assert_eq!(reply.code(), "release-unavailable", "{}", reply.json());
        }
    }
    let reply = setup.act("acme", ECHO, "version", json!(null)).await.ok();
    assert_eq!(reply.json(), "1.0.0");
    let history = setup.http.get(&path("acme", ECHO, "/history")).await.ok().json();
    assert_eq!(history["pins"].as_array().map(Vec::len), Some(1));
    // The same bytes again, and it is as before.
    setup.publish("echo-next").await.ok();
    setup.pin("acme", ECHO, "1.1.0").await;
    let reply = setup.act("acme", ECHO, "version", json!(null)).await.ok();
    assert_eq!(reply.json(), "1.1.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_pinned_changes_nothing() {
    let mut setup = with_both_releases().await;
    let revert = path("acme", ECHO, "/revert");
    let reply = setup.http.post(&revert, json!({"reason": "nothing there"})).await;
    assert_eq!(reply.code(), "no-history");
    setup.pin("acme", ECHO, "1.0.0").await;
    for (release, code) in [("2.0.0", "unknown-release"), ("one", "invalid-name")] {
        let body = json!({"release": release, "reason": "wrong"});
        assert_eq!(setup.http.put(&path("acme", ECHO, "/pin"), body).await.code(), code);
    }
    let body = json!({"release": "1.0.0", "reason": "no such connector"});
    let reply = setup.http.put(&path("acme", "fixtures/nothing", "/pin"), body).await;
    assert_eq!(reply.code(), "unknown-connector");
    let history = setup.http.get(&path("acme", ECHO, "/history")).await.ok().json();
    assert_eq!(history["pins"].as_array().map(Vec::len), Some(1));
    let unknown = setup.act("nobody", ECHO, "version", json!(null)).await;
    assert_eq!(unknown.code(), "unknown-installation");
}
