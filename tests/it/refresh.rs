//! Refreshing through the whole host: fifty callers here, a thousand by `just torture refresh-herd`; and for nobody, before
//! the provider drops what is not used.

use std::time::Duration;

use harness::herd::{Authority, CONNECTOR, SCOPE, TENANT};
use serde_json::{Value, json};

use crate::setup::{Setup, path};
use crate::store::copy;

/// Months ago: the fixture says that its provider drops what is unused for two weeks.
const OBTAINED_AT: &str = "2026-01-01T00:00:00Z";

/// Would fail if callers did not share a refresh: the authorization server takes each refresh token once.
#[tokio::test(flavor = "multi_thread")]
async fn a_herd_at_the_end_of_a_token_brings_one_refresh_and_nobody_fails() {
    let authority = Authority::start(Duration::from_secs(1)).await;
    let mut setup = Setup::new(&authority.config());
    setup.publish("oauth").await.ok();
    setup.pin(TENANT, CONNECTOR, "1.0.0").await;
    authority.connect(&mut setup.http).await;
    let outcome = authority.herd(50, || setup.host.http()).await;
    assert!(outcome.held(), "{outcome}");
}

/// A connection whose access token is good for years, and whose refresh token was used for the last time long ago.
async fn unused(authority: &Authority) -> Setup {
    let config = format!("{}[keep-alive]\ninterval = \"100ms\"\n", authority.config());
    let mut setup = Setup::new(&config);
    setup.publish("oauth").await.ok();
    setup.pin(TENANT, CONNECTOR, "1.0.0").await;
    let client = json!({"client_id": "client", "client_secret": "canary-client-secret"});
    let path_of_client = format!("/v1/environments/dev/connectors/{CONNECTOR}/clients/token");
    setup.http.put(&path_of_client, client).await.ok();
    let tokens = json!({
        "access_token": "canary-access-0",
        "refresh_token": "canary-refresh-0",
        "obtained_at": OBTAINED_AT,
        "expires_at": "2100-01-01T00:00:00Z",
    });
    let import = path(TENANT, CONNECTOR, "/connections/token/import");
    setup.http.post(&import, tokens).await.ok();
    setup
}

/// Where the connection stands, once it stands so.
async fn comes_to(setup: &mut Setup, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut state = Value::Null;
    for _ in 0..600 {
        let list = setup.http.get(&path(TENANT, CONNECTOR, "/connections")).await.ok().json();
        state = list["connections"][0]["state"].clone();
        if wanted(&state) {
            return state;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it stays {state}")
}

/// Fails if nobody looks after connections that nobody uses, or if they are refreshed more often than need be.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_uses_is_refreshed_once_and_works() {
    let authority = Authority::start(Duration::ZERO).await;
    let mut setup = unused(&authority).await;
    let state = comes_to(&mut setup, |state| state["obtained_at"] != OBTAINED_AT).await;
    assert_eq!(state["phase"], "ready", "{state}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let kept = [("keyway_keep_alive_refreshes_total", 1.0), ("keyway_refreshes_total", 1.0)];
    for (name, count) in kept {
        assert_eq!(setup.metric(name, &[]).await, count, "{name}");
    }
    let reply = setup.act(TENANT, CONNECTOR, "get", json!({"path": "/contacts"})).await.ok();
    assert_eq!(
        reply.json()["status"],
        200,
        "the provider takes only the token that it issued last"
    );
}

/// Fails if a host that stops cuts off a refresh that no caller waits for: its token would be spent, and lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_stops_lands_what_is_in_flight() {
    let authority = Authority::start(Duration::from_secs(4)).await;
    let mut setup = unused(&authority).await;
    comes_to(&mut setup, |state| state["phase"] == "refreshing").await;
    let mut setup = setup.stop().await.up();
    let state = comes_to(&mut setup, |_| true).await;
    assert_eq!((&state["phase"], &state["failures"]), (&json!("ready"), &json!(0)), "{state}");
    assert_ne!(state["obtained_at"], OBTAINED_AT);
    let reply = setup.act(TENANT, CONNECTOR, "get", json!({"path": "/contacts"})).await.ok();
    assert_eq!(reply.json()["status"], 200);
}

/// Fails if nobody can be alerted to a connection that needs a person, or if a restart forgets that there is one.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_needs_a_person_is_an_event_and_stands_in_the_metrics() {
    let authority = Authority::start(Duration::ZERO).await;
    let mut setup = Setup::new(&authority.config());
    setup.publish("oauth").await.ok();
    setup.pin(TENANT, CONNECTOR, "1.0.0").await;
    authority.connect(&mut setup.http).await;
    let refresh = path(TENANT, CONNECTOR, "/connections/token/refresh");
    setup.http.post(&refresh, json!({})).await.ok();
    let dead = ["phase=\"needs-reauth\""];
    assert_eq!(setup.metric("keyway_connections", &dead).await, 0.0);
    assert_eq!(setup.metric("keyway_connections", &["phase=\"ready\""]).await, 1.0);
    // The token that is spent by now once more, as from a backup.
    let spent = json!({
        "access_token": "canary-access-0", "refresh_token": "canary-refresh-0",
        "expires_at": "2026-01-01T00:00:00Z", "replace": true,
    });
    let import = path(TENANT, CONNECTOR, "/connections/token/import");
    setup.http.post(&import, spent).await.ok();
    let refused = setup.http.post(&refresh, json!({})).await;
    assert_eq!(refused.code(), "needs-reauth", "{}", refused.json());
    assert_eq!(setup.metric("keyway_connections", &dead).await, 1.0);
    let attempts = setup.metric("keyway_refreshes_total", &["outcome=\"needs-reauth\""]).await;
    assert_eq!(attempts, 1.0);
    assert_eq!(setup.log().matches("connection.needs-reauth").count(), 1, "{}", setup.log());
    let mut setup = setup.crash();
    assert_eq!(setup.metric("keyway_connections", &dead).await, 1.0);
}

/// C42. Fails if a token that is spent by now, as an older store has it, is tried with each call, or not said to be dead.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_with_a_spent_token_asks_once_and_waits_for_a_person() {
    let authority = Authority::start(Duration::ZERO).await;
    let mut setup = Setup::new(&authority.config());
    setup.publish("oauth").await.ok();
    setup.pin(TENANT, CONNECTOR, "1.0.0").await;
    authority.connect(&mut setup.http).await;
    let place = setup.stop().await;
    let (store, backup) = (place.data.join("store"), tempfile::tempdir().expect("a folder"));
    copy(&store, backup.path());

    let setup = place.up();
    let outcome = authority.herd(1, || setup.host.http()).await;
    assert!(outcome.held(), "{outcome}");
    let place = setup.stop().await;
    std::fs::remove_dir_all(&store).expect("ours");
    copy(backup.path(), &store);

    let mut setup = place.up();
    for _ in 0..2 {
        let outcome = authority.herd(20, || setup.host.http()).await;
        assert_eq!((outcome.failed, outcome.token_requests), (20, 2), "{outcome}");
        assert!(outcome.example.is_some_and(|example| example.contains("needs-reauth")));
    }
    let state = comes_to(&mut setup, |_| true).await;
    assert_eq!(state["phase"], "needs-reauth", "{state}");
}

/// Fails if a connector goes on seeing the scopes of a grant that a refresh, which nobody asked for, has changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_connector_sees_the_scopes_that_a_refresh_has_brought() {
    const SPY: &str = "fixtures/spy";
    let authority = Authority::start(Duration::ZERO).await;
    let mut setup = Setup::new(&authority.config());
    setup.publish("spy").await.ok();
    setup.pin(TENANT, SPY, "1.0.0").await;
    let client = json!({"client_id": "client", "client_secret": "canary-client-secret"});
    let path_of_client = format!("/v1/environments/dev/connectors/{SPY}/clients/consent");
    setup.http.put(&path_of_client, client).await.ok();
    let tokens = json!({
        "access_token": "canary-access-0",
        "refresh_token": "canary-refresh-0",
        "expires_at": "2026-01-01T00:00:00Z",
        "scopes": ["contacts.read", "contacts.write"],
    });
    setup.http.post(&path(TENANT, SPY, "/connections/consent/import"), tokens).await.ok();
    let url = "https://api.example.com/contacts";
    let used = json!({"requests": [{"slot": "consent", "url": url}]});
    let seen = setup.act(TENANT, SPY, "look", used).await.ok().json();
    assert_eq!(seen["answers"][0]["status"], 200, "{seen}");
    let mut granted = Value::Null;
    for _ in 0..200 {
        let seen = setup.act(TENANT, SPY, "look", json!({})).await.ok().json();
        let said: Value = match &seen["connection"] {
            Value::String(text) => serde_json::from_str(text).expect("it is JSON"),
            other => other.clone(),
        };
        granted = said["slots"]["consent"]["scopes"].clone();
        if granted == json!([SCOPE]) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it still sees {granted}");
}
