//! Credentials: they reach the provider, and nobody else.

use std::time::Duration;

use harness::herd::{self, Authority, CONNECTOR, TENANT};
use serde_json::json;

use crate::setup::{Place, Setup, files_below, path, stand_in};
use crate::upstream::Plain;

const CANARY: &str = "canary-7f3a9c51-do-not-leak";

/// `ann:` and the canary in base64, as RFC 7617 sends it.
const BASIC: &str = "YW5uOmNhbmFyeS03ZjNhOWM1MS1kby1ub3QtbGVhaw";

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_reaches_the_provider_and_nothing_else() {
    let upstream = Plain::start().await;
    let mut setup = Setup::new(&stand_in("api.example.com", upstream.address));
    setup.publish("fetch").await.ok();
    setup.pin("acme", "fixtures/fetch", "1.0.0").await;
    for (slot, body) in [
        ("token", json!({"token": CANARY})),
        ("key", json!({"token": CANARY})),
        ("query", json!({"token": CANARY})),
        ("login", json!({"user": "ann", "password": CANARY})),
    ] {
        let path = path("acme", "fixtures/fetch", &format!("/connections/{slot}"));
        setup.http.put(&path, body).await.ok();
    }
    // The provider echoes every header back; the guest gives its body to the caller.
    let mut answers = String::new();
    for slot in ["token", "key", "query", "login"] {
        let input = json!({"path": "/echo", "slot": slot});
        let reply = setup.act("acme", "fixtures/fetch", "get", input).await.ok();
        answers.push_str(&reply.json().to_string());
    }
    let sent: String = upstream.seen().iter().map(|seen| format!("{seen:?}")).collect();
    assert_eq!(sent.matches(CANARY).count(), 3, "bearer, header and query reach the provider");
    assert!(sent.contains(BASIC), "user and password reach the provider");
    let listed = setup.http.get(&path("acme", "fixtures/fetch", "/connections")).await.ok();
    let audit = setup.http.get("/v1/audit?limit=100").await.ok();
    let metrics = setup.http.get("/metrics").await.ok();
    for (what, text) in [
        ("answers", answers),
        ("connections", listed.json().to_string()),
        ("audit", audit.json().to_string()),
        ("metrics", String::from_utf8_lossy(&metrics.body).into_owned()),
        ("log", setup.log()),
    ] {
        assert!(!text.contains(CANARY) && !text.contains(BASIC), "the canary is in {what}: {text}");
    }
    for file in files_below(&setup.data()) {
        let bytes = std::fs::read(&file).expect("readable");
        let found = bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
        assert!(!found, "the canary is in {}", file.display());
    }
}

/// Tokens and the client's secret, with everything logged: through a refresh, a refresh that is refused, and a crash.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_reach_the_server_and_the_provider_and_nothing_else() {
    let authority = Authority::start(Duration::ZERO).await;
    let mut setup = Place::new(&authority.config()).up_with("KEYWAY_LOG", "debug");
    setup.publish("oauth").await.ok();
    setup.pin(TENANT, CONNECTOR, "1.0.0").await;
    authority.connect(&mut setup.http).await;
    let outcome = authority.herd(2, || setup.host.http()).await;
    assert!(outcome.held(), "{outcome}");
    // The first tokens again: the server has taken them, and ends the grant.
    authority.connect(&mut setup.http).await;
    let refused = setup.act(TENANT, CONNECTOR, "get", json!({})).await;
    assert_eq!(refused.code(), "needs-reauth");
    let mut said = vec![("problem", refused.json().to_string())];
    for (what, at) in [
        ("connections", path(TENANT, CONNECTOR, "/connections")),
        ("clients", "/v1/environments/dev/clients".to_owned()),
        ("audit", "/v1/audit?limit=100".to_owned()),
        ("exchanges", "/v1/environments/dev/exchanges".to_owned()),
        ("metrics", "/metrics".to_owned()),
    ] {
        let body = setup.http.get(&at).await.ok().body;
        said.push((what, String::from_utf8_lossy(&body).into_owned()));
    }
    let (log, data) = (setup.log(), setup.data());
    assert!(log.contains("DEBUG") || log.contains("debug"), "all of it is logged: {log}");
    said.push(("log", log));
    let _place = setup.kill();
    for (what, text) in said {
        assert!(!text.contains(herd::CANARY), "a secret is in {what}: {text}");
    }
    for file in files_below(&data) {
        let bytes = std::fs::read(&file).expect("readable");
        let found = bytes.windows(herd::CANARY.len()).any(|at| at == herd::CANARY.as_bytes());
        assert!(!found, "a secret is in {}", file.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_url_off_the_declared_hosts_is_refused() {
    let upstream = Plain::start().await;
    let mut setup = Setup::new("");
    setup.publish("fetch").await.ok();
    setup.pin("acme", "fixtures/fetch", "1.0.0").await;
    let slot = path("acme", "fixtures/fetch", "/connections/token");
    let base_url = format!("http://{}", upstream.address);
    let reply = setup.http.put(&slot, json!({"token": CANARY, "base_url": base_url})).await;
    assert_eq!(reply.code(), "base-url-refused");
    assert!(upstream.seen().is_empty());
}
