//! Connections by token: imported, exported, paused, held, refreshed; for users; OAuth clients; scopes.
//!
//! The provider of `world` knows tokens that begin with `good-`, for the account that follows.

use std::time::Duration;

use age::secrecy::ExposeSecret as _;
use age::x25519::Identity;
use axum::body::Body;
use axum::http::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use keyway_releases::model::Role::{Operator, Viewer};
use serde_json::{Value, json};

use crate::world::{Reply, World, bearer};

fn at(rest: &str) -> String {
    format!("/v1/environments/dev/tenants/acme/connectors/pub/crm{rest}")
}

fn component(version: &str, scopes: &[&str]) -> String {
    json!({
        "format": 1, "name": "pub/crm", "version": version, "summary": "CRM",
        "hosts": ["api.example.com"], "base-url": "https://api.example.com",
        "slots": {
            "oauth": {
                "scheme": {"kind": "oauth2", "authorize-url": "https://login.example.com/authorize",
                    "token-url": "https://login.example.com/token",
                    "revoke-url": "https://login.example.com/revoke"},
                "scopes": scopes, "probe": {"path": "/me", "account": "/account"}},
            "open": {"scheme": {"kind": "none"}},
            "key": {"scheme": {"kind": "bearer"}},
        },
    })
    .to_string()
}

/// With a release that needs `contacts.read`, pinned, and one that needs `contacts.write` too.
async fn world() -> World {
    let world = World::new().await;
    for (version, scopes) in
        [("1.0.0", &["contacts.read"][..]), ("2.0.0", &["contacts.read", "contacts.write"])]
    {
        assert_eq!(world.publish(&component(version, scopes)).await.status, 201);
    }
    pin(&world, "1.0.0", false).await.ok();
    world
}

async fn pin(world: &World, release: &str, allow: bool) -> Reply {
    let body = json!({"release": release, "reason": "test", "allow_missing_scopes": allow});
    world.put(&at("/pin"), body).await
}

fn tokens() -> Value {
    json!({
        "access_token": "good-a1", "refresh_token": "canary-refresh", "scopes": ["contacts.read"],
        "obtained_at": "2023-11-14T22:00:00Z", "expires_at": "2023-11-14T23:00:00Z",
    })
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

async fn import(world: &World, query: &str, body: &Value) -> Reply {
    world.post(&at(&format!("/connections/oauth/import{query}")), body.clone()).await
}

async fn listed(world: &World) -> Vec<Value> {
    let list = world.get(&at("/connections")).await.ok();
    list["connections"].as_array().unwrap().clone()
}

/// Actions of the audit that are about connections and clients, oldest first.
async fn audited(world: &World) -> Vec<String> {
    let audit = world.get("/v1/audit?limit=1000").await;
    let text = String::from_utf8_lossy(&audit.body);
    assert!(!text.contains("canary") && !text.contains("good-"), "{text}");
    let entries = audit.ok()["entries"].as_array().unwrap().clone();
    let actions = entries.iter().map(|entry| entry["action"].as_str().unwrap().to_owned());
    actions
        .filter(|action| !["token.issue", "release.publish", "pin"].contains(&&**action))
        .collect()
}

/// Fails if an import is not tried, if a dry run writes, or if a listing hides what was imported or shows a secret.
#[tokio::test]
async fn an_import_is_tried_and_then_shown_without_its_secrets() {
    let world = world().await;
    let dry = import(&world, "?dry_run=true", &tokens()).await.ok();
    let warning = "environment dev has no OAuth client for pub/crm slot `oauth`: its tokens are not refreshed until it is set";
    assert_eq!(dry, json!({"tried": true, "account": "a1", "warning": warning}));
    assert_eq!(listed(&world).await, Vec::<Value>::new());
    assert_eq!(*world.outbound.seen.lock().unwrap(), ["probe https://api.example.com/me"]);

    let taken = import(&world, "", &tokens()).await;
    assert_eq!(taken.ok()["connection"]["account"], "a1");
    let list = world.get(&at("/connections")).await;
    for reply in [&taken, &list] {
        let text = String::from_utf8_lossy(&reply.body);
        assert!(!text.contains("canary") && !text.contains("good-"), "{text}");
    }
    let shown = &listed(&world).await[0];
    assert_eq!((&shown["slot"], &shown["kind"]), (&json!("oauth"), &json!("oauth2")));
    assert_eq!(shown["scopes"], json!(["contacts.read"]));
    assert_eq!((&shown["paused"], &shown["hold_refresh"]), (&json!(false), &json!(false)));
    // The clock stands at 22:13:20; an import is watched for two days.
    let watch = json!({"state": "waiting", "until": "2023-11-16T22:13:20Z", "refreshes": 0});
    assert_eq!(shown["watch"], watch);
    let state = json!({"phase": "ready", "expires_at": "2023-11-14T23:00:00Z",
        "obtained_at": "2023-11-14T22:00:00Z", "refreshable": true, "failures": 0});
    assert_eq!(shown["state"], state);
    assert_eq!(audited(&world).await, ["connection.import"]);
}

async fn set_client(world: &World) {
    let client = "/v1/environments/dev/connectors/pub/crm/clients/oauth";
    world.put(client, json!({"client_id": "id", "client_secret": "canary-client"})).await.ok();
}

/// Fails if a dry run does not say what would be replaced and missed, or if one account takes another's place.
#[tokio::test]
async fn an_import_says_what_it_replaces_and_lacks_and_keeps_to_the_account() {
    let world = world().await;
    let there = "https://api.example.com/there";
    import(&world, "", &with(tokens(), "base_url", json!(there))).await.ok();
    let lacking = with(tokens(), "scopes", json!([]));
    let dry = import(&world, "?dry_run=true", &lacking).await.ok();
    assert_eq!(dry["replaces"], json!({"generation": 1, "account": "a1"}));
    assert_eq!(dry["missing_scopes"], json!(["contacts.read"]));
    assert!(dry["warning"].as_str().unwrap().contains("no OAuth client"), "{dry}");
    let probed = world.outbound.seen.lock().unwrap().last().cloned();
    assert_eq!(probed.unwrap(), format!("probe {there}/me"), "where its calls go");
    assert!(import(&world, "", &lacking).await.ok()["warning"].is_string());
    set_client(&world).await;
    let taken = import(&world, "", &tokens()).await.ok();
    assert_eq!((&taken["warning"], &taken["missing_scopes"]), (&Value::Null, &Value::Null));
    assert_eq!(taken["connection"]["base_url"], there);

    let ended = with(tokens(), "expires_at", json!("2023-11-14T22:13:20Z"));
    let told = with(ended, "account", json!("b2"));
    let found = with(tokens(), "access_token", json!("good-b2"));
    for query in ["?dry_run=true", "", "?replace=true"] {
        for other in [&told, &found] {
            import(&world, query, other).await.refused(409, "account-mismatch");
        }
    }
    assert_eq!(listed(&world).await[0]["generation"], 3);
}

/// Fails if a spent token can come back unasked, or if nobody sees whether an import works here.
#[tokio::test]
async fn what_was_refreshed_here_is_replaced_on_request_and_the_watch_shows_it() {
    let world = world().await;
    set_client(&world).await;
    let watch = async || listed(&world).await[0]["watch"]["state"].clone();
    let alone = with(tokens(), "refresh_token", Value::Null);
    import(&world, "", &alone).await.ok();
    assert_eq!(watch().await, "proven", "there is nothing to refresh, and it was tried");
    import(&world, "", &tokens()).await.ok();
    let refresh = at("/connections/oauth/refresh");
    world.post(&refresh, json!({})).await.ok();
    let shown = listed(&world).await[0]["watch"].clone();
    assert_eq!((&shown["state"], &shown["refreshes"]), (&json!("proven"), &json!(1)));

    for query in ["", "?dry_run=true", "?replace=false"] {
        import(&world, query, &tokens()).await.refused(409, "conflict");
    }
    let asked = with(tokens(), "replace", json!(true));
    import(&world, "", &asked).await.ok();
    world.post(&refresh, json!({})).await.ok();
    import(&world, "?replace=true", &tokens()).await.ok();
    assert_eq!(watch().await, "waiting");
    world.clock.advance(Duration::from_secs(48 * 60 * 60));
    assert_eq!(watch().await, "over");
}

#[tokio::test]
async fn an_import_that_is_wrong_changes_nothing_and_is_not_quoted() {
    let world = world().await;
    let long = format!("canary{}", "x".repeat(100 << 10));
    let elsewhere = json!("https://evil.example.net");
    let cases = [
        (with(tokens(), "access_token", json!(long)), 422, "credential-invalid"),
        (with(tokens(), "access_token", json!("canary\n1")), 422, "credential-invalid"),
        (with(tokens(), "expires_at", json!("2023-11-14T21:00:00Z")), 422, "credential-invalid"),
        (with(tokens(), "access_token", json!("canary-bad")), 422, "probe-failed"),
        (with(tokens(), "account", json!("b2")), 409, "account-mismatch"),
        (with(tokens(), "base_url", elsewhere), 422, "base-url-refused"),
        (with(tokens(), "expires_at", json!("canary")), 400, "invalid-request"),
        (with(tokens(), "expires_in", json!(3600)), 400, "invalid-request"),
        (with(tokens(), "access_token", json!({"canary": 1})), 400, "invalid-request"),
        (json!({"refresh_token": "canary"}), 400, "invalid-request"),
    ];
    for (body, status, code) in cases {
        let reply = import(&world, "", &body).await;
        reply.refused(status, code);
        assert!(!String::from_utf8_lossy(&reply.body).contains("canary"), "{reply:?}");
    }
    for (slot, status, code) in
        [("nothing", 404, "unknown-slot"), ("key", 422, "credential-invalid")]
    {
        let path = at(&format!("/connections/{slot}/import"));
        world.post(&path, tokens()).await.refused(status, code);
    }
    import(&world, "?user=.", &tokens()).await.refused(400, "invalid-name");
    import(&world, "?dry_run=perhaps", &tokens()).await.refused(400, "invalid-request");
    assert_eq!(listed(&world).await, Vec::<Value>::new());
    assert_eq!(audited(&world).await, Vec::<String>::new());
}

async fn lines(world: &World, query: &str, kind: &str, text: String) -> Reply {
    let path = format!("/v1/environments/dev/connections/import{query}");
    let request = Request::post(path).header(AUTHORIZATION, bearer(&world.admin));
    world.send(request.header(CONTENT_TYPE, kind).body(Body::from(text)).unwrap()).await
}

/// Fails if a bad line takes another one with it, or if outcomes are told in another order than the lines.
#[tokio::test]
async fn of_many_lines_each_stands_for_itself() {
    let world = world().await;
    let line = |slot: &str, user: &str, token: &str| {
        json!({"tenant": "acme", "connector": "pub/crm", "slot": slot, "user": user,
            "access_token": token})
        .to_string()
    };
    let text = [
        line("oauth", "ann", "good-1"),
        "{\"tenant\": \"canary".to_owned(),
        String::new(),
        line("oauth", "bob", "canary-bad"),
        line("nothing", "bob", "good-2"),
        line("oauth", "ann", "good-3"),
        line("oauth", "cid", "good-4"),
    ]
    .join("\n");
    let reply = lines(&world, "", "application/x-ndjson", text).await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("content-type")),
        (200, "application/x-ndjson")
    );
    let text = String::from_utf8_lossy(&reply.body);
    assert!(!text.contains("canary") && !text.contains("good-"), "{text}");
    let outcomes: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            let said = outcome["problem"]["code"].as_str();
            let taken = outcome["imported"]["connection"]["user"].as_str();
            (outcome["line"].as_u64().unwrap(), said.or(taken).unwrap())
        })
        .collect();
    let expected = [
        (1, "ann"),
        (2, "invalid-request"),
        (4, "probe-failed"),
        (5, "unknown-slot"),
        (6, "invalid-request"),
        (7, "cid"),
    ];
    assert_eq!(told, expected);
    let users: Vec<_> = listed(&world).await.iter().map(|of| of["user"].clone()).collect();
    assert_eq!(users, ["ann", "cid"]);
    assert_eq!(audited(&world).await.len(), 2);
}

#[tokio::test]
async fn lines_are_bounded_and_of_their_own_media_type() {
    let world = world().await;
    let kind = "application/x-ndjson";
    lines(&world, "", "application/json", "{}".to_owned()).await.refused(400, "invalid-request");
    lines(&world, "", kind, "\n\n".to_owned()).await.refused(400, "invalid-request");
    let many = |count: usize| "{}\n".repeat(count);
    lines(&world, "", kind, many(1_001)).await.refused(413, "body-too-large");
    assert_eq!(lines(&world, "", kind, many(1_000)).await.status, 200);
    let large = " ".repeat((4 << 20) + 1);
    lines(&world, "", kind, large).await.refused(413, "body-too-large");
}

/// Fails if what one host exports another does not take, or if an operator gets it in the clear.
#[tokio::test]
async fn an_export_is_sealed_to_its_recipient_and_taken_elsewhere() {
    let world = world().await;
    let operator = world.token("olga", Operator, None).await;
    let sent = with(tokens(), "hold_refresh", json!(true));
    import(&world, "?user=ann", &sent).await.ok();
    let path = at("/connections/oauth/export?user=ann");
    let ask = async |token: &str, body: Value| {
        world.ask("POST", &path, token, Some(body.to_string())).await
    };

    let identity = Identity::generate();
    let to = json!({"recipient": identity.to_public().to_string()});
    let reply = ask(&operator, to.clone()).await;
    let sealed = reply.ok()["sealed"].as_str().unwrap().to_owned();
    assert!(sealed.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n"), "{sealed}");
    let line = age::decrypt(&identity, sealed.as_bytes()).unwrap();
    assert!(age::decrypt(&Identity::generate(), sealed.as_bytes()).is_err());
    let told: Value = serde_json::from_slice(&line).unwrap();
    let mut whole = with(sent.clone(), "tenant", json!("acme"));
    for (field, value) in
        [("connector", "pub/crm"), ("slot", "oauth"), ("user", "ann"), ("account", "a1")]
    {
        whole[field] = json!(value);
    }
    assert_eq!(told, whole, "everything that was imported, and the account that was found");

    ask(&operator, json!({})).await.refused(403, "not-permitted");
    assert_eq!(ask(&world.admin, json!({})).await.ok()["clear"], whole);
    for recipient in ["", "age1nobody", "ssh-ed25519 AAAA"] {
        let body = json!({"recipient": recipient});
        ask(&operator, body).await.refused(400, "invalid-request");
    }
    let own = at("/connections/oauth/export");
    world.post(&own, to.clone()).await.refused(404, "unknown-connection");
    world.put(&at("/connections/key"), json!({"token": "canary-key"})).await.ok();
    world.post(&at("/connections/key/export"), to).await.refused(422, "unsupported");

    let other = self::world().await;
    let text = String::from_utf8(line).unwrap();
    let reply = lines(&other, "", "application/x-ndjson", text).await;
    assert_eq!(reply.ok()["imported"]["connection"]["account"], "a1");
    let audit = audited(&world).await;
    let wanted = ["connection.import", "connection.export", "connection.export", "connection.set"];
    assert_eq!(audit, wanted, "one for each that was handed out, none for those refused");
}

/// Fails if the audit does not say who can read what was handed out, or if it says what they read it with.
#[tokio::test]
async fn the_audit_of_an_export_names_its_recipient() {
    let world = world().await;
    import(&world, "", &tokens()).await.ok();
    let path = at("/connections/oauth/export");
    let identity = Identity::generate();
    let public = identity.to_public().to_string();
    world.post(&path, json!({"recipient": public})).await.ok();
    world.post(&path, json!({})).await.ok();
    // The wrong half of the pair is refused, and repeated nowhere.
    let secret = identity.to_string().expose_secret().to_owned();
    let refused = world.post(&path, json!({"recipient": secret})).await;
    refused.refused(400, "invalid-request");
    let audit = world.get("/v1/audit?limit=1000").await;
    for reply in [&refused, &audit] {
        let text = String::from_utf8_lossy(&reply.body).to_uppercase();
        assert!(!text.contains(&secret.to_uppercase()), "{text}");
    }
    let entries = audit.ok()["entries"].as_array().unwrap().clone();
    let exports: Vec<_> = entries.iter().filter(|e| e["action"] == "connection.export").collect();
    let readable: Vec<_> = exports.iter().map(|entry| entry["after"].as_str().unwrap()).collect();
    assert_eq!(readable, [format!("sealed to {public}"), "in the clear".to_owned()]);
}

/// Fails if a token that has ended is held against an import that can be refreshed, or for one that cannot be.
#[tokio::test]
async fn a_token_that_has_ended_is_not_tried_where_it_can_be_refreshed() {
    let world = world().await;
    let ended = with(tokens(), "expires_at", json!("2023-11-14T22:13:20Z"));
    let ended = with(ended, "access_token", json!("canary-ended"));
    let taken = import(&world, "", &ended).await.ok();
    assert_eq!(
        (&taken["tried"], &taken["connection"]["state"]["phase"]),
        (&json!(false), &json!("ready"))
    );
    assert!(world.outbound.seen.lock().unwrap().is_empty());
    // Nothing else makes up for a token that does not work.
    let alone = with(ended.clone(), "refresh_token", Value::Null);
    let held = with(ended.clone(), "hold_refresh", json!(true));
    let in_time = with(ended, "expires_at", json!("2023-11-14T22:13:21Z"));
    for tokens in [alone, held, in_time] {
        import(&world, "", &tokens).await.refused(422, "probe-failed");
    }
}

#[tokio::test]
async fn a_pause_answers_once_nothing_is_in_flight() {
    let world = world().await;
    import(&world, "", &tokens()).await.ok();
    let client = "/v1/environments/dev/connectors/pub/crm/clients/oauth";
    world.put(client, json!({"client_id": "id", "client_secret": "canary-client"})).await.ok();
    let pause = |wait: u32| at(&format!("/connections/oauth/pause?wait_seconds={wait}"));

    // A refresh that the provider does not answer yet.
    let held = world.outbound.gate.lock().await;
    let seen = world.outbound.seen.lock().unwrap().len();
    let path = at("/connections/oauth/refresh");
    let refreshing = world.post(&path, json!({"force": false}));
    let pausing = async {
        while world.outbound.seen.lock().unwrap().len() == seen {
            tokio::task::yield_now().await;
        }
        world.post(&pause(0), json!({})).await.refused(409, "connection-paused");
        drop(held);
    };
    let (refreshed, ()) = tokio::join!(refreshing, pausing);
    assert_eq!(refreshed.ok()["phase"], "ready");
    let receipt = world.post(&pause(30), json!({})).await.ok();
    assert_eq!(receipt["drained_at"], "2023-11-14T22:13:20Z");
    assert_eq!(receipt["connection"]["paused"], true);
    world.post(&path, json!({"force": true})).await.refused(409, "connection-paused");
    let resumed = world.post(&at("/connections/oauth/resume"), json!({})).await.ok();
    assert_eq!(resumed["paused"], false);

    world.post(&pause(301), json!({})).await.refused(400, "invalid-request");
    let nobody = at("/connections/oauth/pause?user=nobody");
    world.post(&nobody, json!({})).await.refused(404, "unknown-connection");
    let audit = audited(&world).await;
    for action in ["connection.pause", "connection.resume"] {
        assert_eq!(audit.iter().filter(|said| *said == action).count(), 1, "{audit:?}");
    }
}

#[tokio::test]
async fn a_connection_on_hold_is_refreshed_when_it_is_released() {
    let world = world().await;
    import(&world, "", &with(tokens(), "hold_refresh", json!(true))).await.ok();
    let path = at("/connections/oauth/refresh");
    world.post(&path, json!({})).await.refused(409, "refresh-held");
    let released = world.post(&at("/connections/oauth/release-refresh"), json!({})).await.ok();
    assert_eq!(released["hold_refresh"], false);
    world.post(&path, json!({})).await.refused(409, "oauth-client-missing");
    let client = "/v1/environments/dev/connectors/pub/crm/clients/oauth";
    world.put(client, json!({"client_id": "id", "client_secret": "canary"})).await.ok();
    let state = world.post(&path, json!({})).await.ok();
    let expected = (&json!("ready"), &json!("2023-11-14T23:13:20Z"));
    assert_eq!((&state["phase"], &state["expires_at"]), expected);
    let held = world.post(&at("/connections/oauth/hold-refresh"), json!({})).await.ok();
    assert_eq!(held["hold_refresh"], true);
    world.post(&path, json!({"force": "yes"})).await.refused(400, "invalid-request");
    let unknown = at("/connections/nothing/refresh");
    world.post(&unknown, json!({})).await.refused(404, "unknown-slot");
}

/// Fails if a user's connection and the tenant's own are taken for one another.
#[tokio::test]
async fn users_have_connections_of_their_own() {
    let world = world().await;
    world.put(&at("/connections/key?user=ann"), json!({"token": "canary-ann"})).await.ok();
    world.put(&at("/connections/key"), json!({"token": "canary-own"})).await.ok();
    // One that is made by hand, in a slot that could have tokens; and one that takes nothing.
    let own = world.put(&at("/connections/oauth"), json!({"token": "good-hand"})).await.ok();
    assert_eq!((&own["kind"], &own["state"]), (&json!("bearer"), &Value::Null));
    assert_eq!(world.put(&at("/connections/open"), json!({})).await.ok()["kind"], "none");
    world.put(&at("/connections/key"), json!({})).await.refused(400, "invalid-request");
    world
        .put(&at("/connections/open"), json!({"token": "canary"}))
        .await
        .refused(422, "credential-invalid");
    let long = json!({"token": format!("canary{}", "x".repeat(100 << 10))});
    let reply = world.put(&at("/connections/key"), long).await;
    reply.refused(422, "credential-invalid");
    assert!(!String::from_utf8_lossy(&reply.body).contains("canary"));
    let told: Vec<_> = listed(&world)
        .await
        .iter()
        .map(|of| {
            format!("{} {}", of["slot"].as_str().unwrap(), of["user"].as_str().unwrap_or("-"))
        })
        .collect();
    assert_eq!(told, ["key -", "oauth -", "open -", "key ann"]);
    assert_eq!(world.delete(&at("/connections/key?user=ann")).await.status, 204);
    let again = world.delete(&at("/connections/key?user=ann")).await;
    again.refused(404, "unknown-connection");
    assert_eq!(listed(&world).await.len(), 3, "the tenant's own stays");
    world
        .get(&at("/connections").replace("acme", "nobody"))
        .await
        .refused(404, "unknown-installation");
}

#[tokio::test]
async fn what_is_disconnected_is_revoked_at_the_provider() {
    let world = world().await;
    import(&world, "", &tokens()).await.ok();
    let client = "/v1/environments/dev/connectors/pub/crm/clients/oauth";
    world.put(client, json!({"client_id": "id", "client_secret": "canary-client"})).await.ok();
    assert_eq!(world.delete(&at("/connections/oauth")).await.status, 204);
    let seen = world.outbound.seen.lock().unwrap().clone();
    assert_eq!(seen.last().unwrap(), "revoke https://login.example.com/revoke");
}

#[tokio::test]
async fn a_client_of_two_environments_is_said_to_be_one() {
    let world = world().await;
    let path = "/v1/environments/dev/connectors/pub/crm/clients/oauth";
    let body = json!({"client_id": "the-client", "client_secret": "canary-client"});
    let set = world.put(path, body.clone()).await.ok();
    assert_eq!((&set["shared_with"], &set["warning"]), (&json!([]), &Value::Null));
    assert_eq!(set["has_secret"], true);
    let elsewhere = path.replace("dev", "prod");
    let set = world.put(&elsewhere, body.clone()).await.ok();
    assert_eq!(set["shared_with"], json!(["dev"]));
    assert!(set["warning"].as_str().unwrap().contains("environment dev has the same client"));
    assert_eq!(world.get(path).await.ok()["shared_with"], json!(["prod"]));
    let list = world.get("/v1/environments/dev/clients").await.ok();
    assert_eq!(list["clients"].as_array().unwrap().len(), 1);
    assert!(!list.to_string().contains("canary"));
    assert_eq!(world.delete(&elsewhere).await.status, 204);
    world.delete(&elsewhere).await.refused(409, "oauth-client-missing");
    world.get(&elsewhere).await.refused(409, "oauth-client-missing");
    // The same again is the same; another secret is not.
    let same = world.put(path, body.clone()).await.ok();
    assert_eq!((&same["shared_with"], &same["generation"]), (&json!([]), &json!(1)));
    let other = json!({"client_id": "the-client", "client_secret": "canary-another"});
    assert_eq!(world.put(path, other).await.ok()["generation"], 2);

    let key = path.replace("clients/oauth", "clients/key");
    world.put(&key, body.clone()).await.refused(404, "unknown-slot");
    world.put(&path.replace("crm", "none"), body.clone()).await.refused(404, "unknown-connector");
    for bad in
        [json!({"client_secret": "canary"}), json!({"client_id": {"canary": 1}}), json!(["canary"])]
    {
        let reply = world.put(path, bad).await;
        reply.refused(400, "invalid-request");
        assert!(!String::from_utf8_lossy(&reply.body).contains("canary"));
    }
    let long = json!({"client_id": "x".repeat(2_000)});
    world.put(path, long).await.refused(422, "credential-invalid");
    let audit = audited(&world).await;
    let (set, removed) = ("oauth-client.set", "oauth-client.remove");
    assert_eq!(audit, [set, set, removed, set]);
}

/// Fails if a pin goes ahead without the scopes that it needs, or does not say so where it was told to.
#[tokio::test]
async fn a_pin_needs_the_scopes_that_its_release_needs() {
    let world = world().await;
    let viewer = world.token("vera", Viewer, None).await;
    let scopes = async |query: &str| {
        let reply = world.ask("GET", &at(&format!("/scopes{query}")), &viewer, None).await.ok();
        reply["slots"]
            .as_array()
            .unwrap()
            .iter()
            .find(|slot| slot["slot"] == "oauth")
            .unwrap()
            .clone()
    };
    // Nobody knows what was granted: nothing is known to be missing.
    let none = json!({"slot": "oauth", "required": ["contacts.read"], "missing": [], "users": []});
    assert_eq!(scopes("").await, none);
    pin(&world, "2.0.0", false).await.ok();
    pin(&world, "1.0.0", false).await.ok();

    import(&world, "", &tokens()).await.ok();
    import(&world, "?user=ann", &with(tokens(), "scopes", json!([]))).await.ok();
    let both = scopes("?release=2.0.0").await;
    assert_eq!(
        (&both["granted"], &both["missing"]),
        (&json!(["contacts.read"]), &json!(["contacts.write"]))
    );
    let ann = json!([{"user": "ann", "missing": ["contacts.read", "contacts.write"]}]);
    assert_eq!(both["users"], ann);
    let before = world.get(&at("/pin")).await.ok();
    let refused = pin(&world, "2.0.0", false).await;
    refused.refused(409, "scopes-missing");
    assert_eq!(world.get(&at("/pin")).await.ok(), before, "what was refused changed nothing");

    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.ends_with(
            "slot `oauth`: contacts.write; slot `oauth` of 1 user, ann: contacts.read contacts.write"
        ),
        "{detail}"
    );

    let marked = "test [scopes missing: slot `oauth`: contacts.write; slot `oauth` of 1 user: contacts.read contacts.write]";
    assert_eq!(pin(&world, "2.0.0", true).await.ok()["reason"], marked);
    let audit = world.get("/v1/audit?limit=1000").await.ok();
    assert_eq!(audit["entries"].as_array().unwrap().last().unwrap()["reason"], marked);
    import(&world, "?user=ann", &tokens()).await.ok();
    assert_eq!(pin(&world, "1.0.0", true).await.ok()["reason"], "test", "nothing is missing");
    world.get(&at("/scopes?release=9.9.9")).await.refused(404, "unknown-release");
}

/// Fails if a pin or a default takes scopes for granted that only a user's connection lacks, or if a way back is barred
/// by one.
#[tokio::test]
async fn a_pin_needs_the_scopes_of_users_too() {
    let world = world().await;
    let all = json!(["contacts.read", "contacts.write"]);
    import(&world, "", &with(tokens(), "scopes", all.clone())).await.ok();
    for user in ["ann", "bob", "cyd", "dee"] {
        import(&world, &format!("?user={user}"), &tokens()).await.ok();
    }
    import(&world, "?user=eve", &with(tokens(), "scopes", all)).await.ok();
    let mut silent = tokens();
    silent.as_object_mut().unwrap().remove("scopes");
    import(&world, "?user=fay", &silent).await.ok();
    let refused = pin(&world, "2.0.0", false).await;
    refused.refused(409, "scopes-missing");
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("slot `oauth` of 4 users, such as "), "{detail}");
    assert!(detail.ends_with(": contacts.write"), "{detail}");
    let named = |user: &&str| detail.contains(*user);
    assert_eq!(["ann", "bob", "cyd", "dee"].iter().filter(|user| named(user)).count(), 3);
    assert!(!["eve", "fay"].iter().any(named), "{detail}");

    let marked = "test [scopes missing: slot `oauth` of 4 users: contacts.write]";
    assert_eq!(pin(&world, "2.0.0", true).await.ok()["reason"], marked);
    assert_eq!(pin(&world, "1.0.0", false).await.ok()["reason"], "test");
    let back = world.post(&at("/revert"), json!({"reason": "back"})).await.ok();
    assert_eq!(back["reason"], marked.replace("test", "back"));

    // Of tenants without a pin, the tenant is named and none of its users.
    let path = "/v1/environments/dev/defaults/pub/crm";
    let body = |release: &str, allow: bool| json!({"release": release, "reason": "test", "allow_missing_scopes": allow});
    world.put(path, body("1.0.0", false)).await.ok();
    let unpinned = |rest: &str| at(rest).replace("acme", "t1");
    world.put(&unpinned("/connections/key"), json!({"token": "canary"})).await.ok();
    world.post(&unpinned("/connections/oauth/import?user=ann"), tokens()).await.ok();
    let refused = world.put(path, body("2.0.0", false)).await;
    refused.refused(409, "scopes-missing");
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    let lacking = "tenant t1: slot `oauth` of 1 user: contacts.write";
    assert!(detail.ends_with(&format!("needs what was not granted: {lacking}")), "{detail}");
    let set = world.put(path, body("2.0.0", true)).await.ok();
    assert_eq!(set["reason"], format!("test [scopes missing: {lacking}]"));
}
