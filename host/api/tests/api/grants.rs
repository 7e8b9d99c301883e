//! Connections without consent, where base URLs may be, and what pins, reverts and defaults say of scopes and clients.
//!
//! The provider of `world` issues `good-…` tokens, and knows them.

use serde_json::{Value, json};

use crate::world::{Reply, World};

fn at(tenant: &str, rest: &str) -> String {
    format!("/v1/environments/dev/tenants/{tenant}/connectors/pub/grants{rest}")
}

/// A release whose provider has an address for each customer, and issues tokens without consent.
fn component(version: &str, scopes: &[&str]) -> String {
    json!({
        "format": 1, "name": "pub/grants", "version": version, "summary": "CRM",
        "hosts": ["api.example.com", "*.my.example.com"], "base-url": "https://api.example.com",
        "slots": {
            "machine": {
                "scheme": {"kind": "oauth2", "grant": "client-credentials",
                    "token-url": "https://login.example.com/token",
                    "base-url-suffixes": ["my.example.com"]},
                "scopes": scopes, "probe": {"path": "/me", "account": "/account"}},
            "delegated": {
                "scheme": {"kind": "oauth2", "grant": "token-exchange", "user-param": "for",
                    "token-url": "https://login.example.com/token"}},
            "hand": {"scheme": {"kind": "bearer"}},
        },
    })
    .to_string()
}

/// With a release that needs `read`, and one that needs `write` too.
async fn world() -> World {
    let world = World::new().await;
    for (version, scopes) in [("1.0.0", &["read"][..]), ("2.0.0", &["read", "write"])] {
        assert_eq!(world.publish(&component(version, scopes)).await.status, 201);
    }
    pin(&world, "acme", "1.0.0").await.ok();
    world
}

async fn pin(world: &World, tenant: &str, release: &str) -> Reply {
    world.put(&at(tenant, "/pin"), json!({"release": release, "reason": "test"})).await
}

async fn default(world: &World, release: &str, allow: bool) -> Reply {
    let body = json!({"release": release, "reason": "test", "allow_missing_scopes": allow});
    world.put("/v1/environments/dev/defaults/pub/grants", body).await
}

async fn set_client(world: &World, environment: &str, slot: &str) {
    let path = format!("/v1/environments/{environment}/connectors/pub/grants/clients/{slot}");
    let body = json!({"client_id": "id", "client_secret": "canary-client"});
    world.put(&path, body).await.ok();
}

async fn obtain(world: &World, slot: &str, body: Value) -> Reply {
    let reply = world.post(&at("acme", &format!("/connections/{slot}/obtain")), body).await;
    let text = String::from_utf8_lossy(&reply.body);
    assert!(!text.contains("canary") && !text.contains("good-"), "{text}");
    reply
}

/// Fails if nobody can have a connection of these grants, or if its token is believed untried.
#[tokio::test]
async fn a_connection_is_had_without_a_person() {
    let world = world().await;
    obtain(&world, "machine", json!({})).await.refused(409, "oauth-client-missing");
    set_client(&world, "dev", "machine").await;
    let made = obtain(&world, "machine", json!({})).await.ok();
    assert_eq!((&made["kind"], &made["account"]), (&json!("oauth2"), &json!("renewed")));
    assert_eq!(
        made["scopes"],
        json!(["contacts.read"]),
        "what the provider says, not what was asked for"
    );
    assert_eq!(
        (&made["state"]["phase"], &made["state"]["refreshable"]),
        (&json!("ready"), &json!(true))
    );
    let asked = ["token https://login.example.com/token", "probe https://api.example.com/me"];
    assert_eq!(*world.outbound.seen.lock().unwrap(), asked);

    set_client(&world, "dev", "delegated").await;
    let subject = json!({"subject_token": "canary-subject"});
    obtain(&world, "delegated", json!({})).await.refused(422, "credential-invalid");
    obtain(&world, "delegated", subject.clone()).await.ok();
    let for_ann = at("acme", "/connections/delegated/obtain?user=ann");
    assert_eq!(world.post(&for_ann, json!({})).await.ok()["user"], "ann");
    for (slot, body, status, code) in [
        ("machine", subject.clone(), 422, "credential-invalid"),
        ("hand", json!({}), 422, "credential-invalid"),
        ("nothing", json!({}), 404, "unknown-slot"),
        ("delegated", json!({"subject_token": {"canary": 1}}), 400, "invalid-request"),
        ("delegated", json!({"subject": "canary"}), 400, "invalid-request"),
        ("machine", json!({"base_url": "https://api.example.com"}), 422, "base-url-refused"),
    ] {
        obtain(&world, slot, body).await.refused(status, code);
    }
    let audit = world.get("/v1/audit?limit=1000").await.ok();
    let entries = audit["entries"].as_array().unwrap();
    let made = entries.iter().filter(|entry| entry["action"] == "connection.obtain");
    assert_eq!(made.count(), 3);
    assert!(!audit.to_string().contains("canary"), "{audit}");
}

/// Fails if a token can be sent past the domains that the release names, whoever says where to.
#[tokio::test]
async fn a_base_url_lies_below_the_domains_of_the_release() {
    let world = world().await;
    set_client(&world, "dev", "machine").await;
    let (inside, outside) = ("https://eu.my.example.com", "https://api.example.com");
    let tokens = |base_url: &str| json!({"access_token": "good-a1", "base_url": base_url});
    let hand = |base_url: &str| json!({"token": "good-hand", "base_url": base_url});
    let import = at("acme", "/connections/machine/import");
    let by_hand = at("acme", "/connections/machine");
    // Of a slot that names none: what it sets is where the other's token would go.
    let other = at("acme", "/connections/hand");
    let of_ann = at("acme", "/connections/hand?user=ann");
    world.post(&import, tokens(outside)).await.refused(422, "base-url-refused");
    for path in [&by_hand, &other, &of_ann] {
        world.put(path, hand(outside)).await.refused(422, "base-url-refused");
    }
    obtain(&world, "machine", json!({"base_url": outside})).await.refused(422, "base-url-refused");
    assert_eq!(*world.outbound.seen.lock().unwrap(), Vec::<String>::new(), "nothing was sent");

    assert_eq!(world.post(&import, tokens(inside)).await.ok()["connection"]["base_url"], inside);
    for path in [&by_hand, &other, &of_ann] {
        assert_eq!(world.put(path, hand(inside)).await.ok()["base_url"], inside);
    }
    assert_eq!(
        obtain(&world, "machine", json!({"base_url": inside})).await.ok()["base_url"],
        inside
    );
}

/// Fails if a release comes to run that cannot use what is set, unless somebody said so or went back.
#[tokio::test]
async fn a_release_that_takes_another_kind_of_credential_is_refused_like_missing_scopes() {
    let world = world().await;
    let text = component("3.0.0", &["read"]);
    let mut other: Value = serde_json::from_str(&text).unwrap();
    other["slots"]["hand"]["scheme"] = json!({"kind": "basic"});
    assert_eq!(world.publish(&other.to_string()).await.status, 201);
    world.put(&at("acme", "/connections/hand"), json!({"token": "canary-hand"})).await.ok();
    let refused = pin(&world, "acme", "3.0.0").await;
    refused.refused(409, "scheme-mismatch");
    let detail = "pub/grants@3.0.0 takes another kind of credential than is set: slot `hand` takes basic and has bearer";
    assert_eq!(refused.json()["detail"], detail);
    let body = json!({"release": "3.0.0", "reason": "test", "allow_other_scheme": true});
    let marked = "test [credential of another scheme: slot `hand` takes basic and has bearer]";
    assert_eq!(world.put(&at("acme", "/pin"), body).await.ok()["reason"], marked);
    // Now it can be set as the release takes it, and nothing is marked on the way there again.
    let login = json!({"user": "ann", "password": "canary-hand"});
    world.put(&at("acme", "/connections/hand"), login).await.ok();
    let back = world.post(&at("acme", "/revert"), json!({"reason": "back"})).await.ok();
    assert_eq!(
        back["reason"],
        marked.replace("test", "back").replace("basic and has bearer", "bearer and has basic")
    );
    assert_eq!(pin(&world, "acme", "3.0.0").await.ok()["reason"], "test");
}

async fn granted(world: &World, tenant: &str, scopes: &[&str]) {
    let tokens = json!({"access_token": "good-a1", "scopes": scopes});
    world.post(&at(tenant, "/connections/machine/import"), tokens).await.ok();
}

/// Fails if a default is a way around what a pin must have, or a way back is barred or not marked.
#[tokio::test]
async fn defaults_need_the_scopes_that_a_pin_needs_and_reverts_are_marked() {
    let world = world().await;
    granted(&world, "acme", &["read", "write"]).await;
    pin(&world, "acme", "2.0.0").await.ok();
    pin(&world, "acme", "1.0.0").await.ok();
    // Connected anew since, with less.
    granted(&world, "acme", &["read"]).await;
    let path = at("acme", "/revert");
    let back = || json!({"reason": "back"});
    let pinned = world.post(&path, back()).await.ok();
    assert_eq!(pinned["reason"], "back [scopes missing: slot `machine`: write]");
    assert_eq!(pinned["release"]["version"], "2.0.0");
    let again = world.post(&path, back()).await.ok();
    assert_eq!((&again["reason"], &again["release"]["version"]), (&json!("back"), &json!("1.0.0")));

    // Tenants with a pin do not count; of many others the first are named.
    default(&world, "1.0.0", false).await.ok();
    for tenant in ["t1", "t2", "t3", "t4", "t5"] {
        granted(&world, tenant, &["read"]).await;
    }
    let refused = default(&world, "2.0.0", false).await;
    refused.refused(409, "scopes-missing");
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    for named in ["tenant t1: slot `machine`: write", "tenant t3", "and 2 more tenants"] {
        assert!(detail.contains(named), "{detail}");
    }
    assert!(!detail.contains("acme") && !detail.contains("t4"), "{detail}");
    let path = "/v1/environments/dev/defaults/pub/grants";
    assert_eq!(world.get(path).await.ok()["release"]["version"], "1.0.0");
    let set = default(&world, "2.0.0", true).await.ok();
    assert!(
        set["reason"].as_str().unwrap().starts_with("test [scopes missing: tenant t1: "),
        "{set}"
    );
    assert_eq!(default(&world, "1.0.0", false).await.ok()["reason"], "test");
}

/// Fails if a newly pinned release has tokens and the client's secret sent to another host than the operator knows of.
#[tokio::test]
async fn a_release_that_names_another_host_waits_for_the_operator() {
    let world = world().await;
    let path = "/v1/environments/dev/connectors/pub/grants/clients/machine";
    let body = json!({"client_id": "id", "client_secret": "canary-client"});
    assert_eq!(world.put(path, body.clone()).await.ok()["hosts"], json!(["login.example.com"]));
    obtain(&world, "machine", json!({})).await.ok();
    let moved =
        component("3.0.0", &["contacts.read"]).replace("login.example.com", "login.example.net");
    assert_eq!(world.publish(&moved).await.status, 201);
    pin(&world, "acme", "3.0.0").await.ok();
    let refresh = at("acme", "/connections/machine/refresh");
    let seen = world.outbound.seen.lock().unwrap().len();
    world.post(&refresh, json!({"force": true})).await.refused(409, "oauth-client-unconfirmed");
    obtain(&world, "machine", json!({})).await.refused(409, "oauth-client-unconfirmed");
    assert_eq!(world.outbound.seen.lock().unwrap().len(), seen, "nothing was sent");
    let hosts = json!(["login.example.com", "login.example.net"]);
    assert_eq!(world.put(path, body).await.ok()["hosts"], hosts);
    assert_eq!(world.post(&refresh, json!({})).await.ok()["phase"], "ready");
    let last = world.outbound.seen.lock().unwrap().last().unwrap().clone();
    assert_eq!(last, "token https://login.example.net/token");
}

/// Fails if a release comes to an environment whose client is another one's too, and nobody is told.
#[tokio::test]
async fn a_client_of_two_environments_is_warned_of_when_a_release_comes_there() {
    let world = world().await;
    set_client(&world, "dev", "machine").await;
    assert_eq!(pin(&world, "acme", "2.0.0").await.ok()["warnings"], Value::Null);
    set_client(&world, "prod", "machine").await;
    let warned = |answer: &Value| {
        let warnings = answer["warnings"].as_array().unwrap_or_else(|| panic!("none: {answer}"));
        assert_eq!(warnings.len(), 1, "{answer}");
        let text = warnings[0].as_str().unwrap();
        assert!(text.starts_with("slot `machine`: environment prod has the same client"), "{text}");
    };
    warned(&pin(&world, "acme", "1.0.0").await.ok());
    warned(&world.post(&at("acme", "/revert"), json!({"reason": "back"})).await.ok());
    warned(&default(&world, "1.0.0", false).await.ok());
    assert_eq!(world.get(&at("acme", "/pin")).await.ok()["warnings"], Value::Null, "said once");
    // A release that does not use it has nothing to do with it.
    let bare = json!({"format": 1, "name": "pub/grants", "version": "3.0.0"}).to_string();
    assert_eq!(world.publish(&bare).await.status, 201);
    assert_eq!(pin(&world, "acme", "3.0.0").await.ok()["warnings"], Value::Null);
}
