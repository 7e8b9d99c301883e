//! What survives a crash: every pin, configuration, credential and token that was acknowledged.

use serde_json::json;

use crate::setup::{Setup, files_below, path, stand_in};
use crate::upstream::Plain;

#[tokio::test(flavor = "multi_thread")]
async fn everything_acknowledged_is_there_after_kill_9() {
    let upstream = Plain::start().await;
    let mut setup = Setup::new(&stand_in("api.example.com", upstream.address));
    setup.publish("echo").await.ok();
    setup.publish("echo-next").await.ok();
    setup.publish("fetch").await.ok();
    for tenant in 0..20 {
        let release = if tenant % 2 == 0 { "1.0.0" } else { "1.1.0" };
        setup.pin(&format!("tenant-{tenant}"), "fixtures/echo", release).await;
    }
    setup.pin("fetcher", "fixtures/fetch", "1.0.0").await;
    let slot = path("fetcher", "fixtures/fetch", "/connections/token");
    setup.http.put(&slot, json!({"token": "kept-over-the-crash"})).await.ok();
    let before = setup.http.get("/v1/audit?limit=1000").await.ok().json();

    let mut setup = setup.crash();
    assert_eq!(setup.http.get("/v1/audit?limit=1000").await.ok().json(), before);
    for tenant in 0..20 {
        let release = if tenant % 2 == 0 { "1.0.0" } else { "1.1.0" };
        let name = format!("tenant-{tenant}");
        let reply = setup.act(&name, "fixtures/echo", "version", json!(null)).await.ok();
        assert_eq!(reply.json(), release, "{name}");
    }
    let reply = setup.act("fetcher", "fixtures/fetch", "get", json!({"path": "/x"})).await.ok();
    assert_eq!(reply.json()["status"], 200);
    let sent = upstream.seen();
    assert_eq!(sent[0].target, "/x");
    assert_eq!(sent[0].headers["authorization"], "Bearer kept-over-the-crash");
}

#[tokio::test(flavor = "multi_thread")]
async fn compiled_code_that_somebody_touched_is_compiled_again_not_run() {
    let mut setup = Setup::new("");
    setup.publish("echo").await.ok();
    setup.pin("acme", "fixtures/echo", "1.0.0").await;
    let compiled = files_below(&setup.data().join("compiled"));
    assert!(!compiled.is_empty());
    for file in compiled {
        let mut bytes = std::fs::read(&file).expect("readable");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&file, bytes).expect("writable");
    }
    let mut setup = setup.crash();
    let reply = setup.act("acme", "fixtures/echo", "echo", json!({"n": 1})).await.ok();
    assert_eq!(reply.json(), json!({"n": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_somebody_touched_is_never_served() {
    let mut setup = Setup::new("");
    setup.publish("echo").await.ok();
    setup.publish("fetch").await.ok();
    setup.pin("acme", "fixtures/echo", "1.0.0").await;
    setup.pin("other", "fixtures/fetch", "1.0.0").await;
    let data = setup.data();
    // Without compiled code the bytes are needed, and they are not what the digest says.
    std::fs::remove_dir_all(data.join("compiled")).expect("removable");
    let digest = setup.http.get("/v1/releases/fixtures/echo/1.0.0").await.ok().json();
    let digest = digest["release"]["digest"].as_str().expect("text")["sha256:".len()..].to_owned();
    let component = files_below(&data.join("store/blobs"))
        .into_iter()
        .find(|file| file.to_string_lossy().replace('/', "").ends_with(&digest))
        .expect("the component is a blob");
    let mut bytes = std::fs::read(&component).expect("readable");
    bytes[100] ^= 1;
    std::fs::write(&component, bytes).expect("writable");
    let mut setup = setup.crash();
    let reply = setup.act("acme", "fixtures/echo", "echo", json!(1)).await;
    assert_eq!(reply.code(), "release-unavailable", "{}", reply.json());
    // The other connector's tenant is not touched by it.
    let reply =
        setup.act("other", "fixtures/fetch", "get", json!({"path": "/x", "slot": "nobody"})).await;
    assert_eq!(reply.code(), "denied");
}
