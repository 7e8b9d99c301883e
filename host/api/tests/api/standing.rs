//! The connections of an environment that have tokens: who sees which, page by page, and where they stand.

use keyway_releases::model::Role::Viewer;
use serde_json::{Value, json};

use crate::world::{World, encoded};

const LIST: &str = "/v1/environments/dev/connections";

fn component(name: &str) -> String {
    json!({
        "format": 1, "name": name, "version": "1.0.0", "hosts": ["login.example.com"],
        "slots": {
            "oauth": {"scheme": {"kind": "oauth2", "authorize-url": "https://login.example.com/authorize",
                "token-url": "https://login.example.com/token"}},
            "key": {"scheme": {"kind": "bearer"}},
        },
    })
    .to_string()
}

/// Two connectors, each the default of two environments, and these connections: (environment, tenant, connector, user).
async fn world() -> World {
    let world = World::new().await;
    for name in ["pub/crm", "pub/erp"] {
        assert_eq!(world.publish(&component(name)).await.status, 201);
        for environment in ["dev", "prod"] {
            let default = format!("/v1/environments/{environment}/defaults/{name}");
            world.put(&default, json!({"release": "1.0.0", "reason": "test"})).await.ok();
        }
    }
    for (environment, tenant, connector, user) in [
        ("dev", "acme", "pub/crm", None),
        ("dev", "acme", "pub/crm", Some("ann+eu@example.com")),
        ("dev", "acme", "pub/erp", None),
        // Nothing else was ever set for this one.
        ("dev", "zeta", "pub/crm", Some("ann")),
        ("prod", "acme", "pub/crm", None),
    ] {
        let refresh = if tenant == "zeta" { "canary-spent" } else { "canary-refresh" };
        let tokens = json!({"access_token": "canary-access", "refresh_token": refresh,
            "expires_at": "2100-01-01T00:00:00Z"});
        let user = user.map_or(String::new(), |user| format!("?user={}", encoded(user)));
        let import = format!(
            "/v1/environments/{environment}/tenants/{tenant}/connectors/{connector}/connections/oauth/import{user}"
        );
        world.post(&import, tokens).await.ok();
    }
    world
}

/// Tenant, connector and user of each.
fn named(list: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let name = |of: &Value| {
        [&of["tenant"], &of["connector"], &of["connection"]["user"]].map(text).join(" ")
    };
    list["connections"].as_array().unwrap().iter().map(name).collect()
}

const ALL: [&str; 4] =
    ["acme pub/crm -", "acme pub/crm ann+eu@example.com", "acme pub/erp -", "zeta pub/crm ann"];

/// Catches: a listing that has another environment's, or what no token endpoint has a say in.
#[tokio::test]
async fn an_environment_has_its_own_and_filters_narrow_them() {
    let world = world().await;
    let by_hand = "/v1/environments/dev/tenants/acme/connectors/pub/crm/connections/key";
    world.put(by_hand, json!({"token": "canary-key"})).await.ok();
    for (query, expected) in [
        ("", &ALL[..]),
        ("?tenant=acme", &ALL[..3]),
        ("?tenant=acme&connector=pub/crm", &ALL[..2]),
        ("?phase=ready", &ALL[..]),
        ("?phase=uncertain", &[]),
        ("?tenant=nobody", &[]),
    ] {
        let reply = world.get(&format!("{LIST}{query}")).await;
        assert_eq!(named(&reply.ok()), expected, "{query}");
        assert!(!String::from_utf8_lossy(&reply.body).contains("canary"), "{query}");
    }
    let prod = world.get("/v1/environments/prod/connections").await.ok();
    assert_eq!(named(&prod), ["acme pub/crm -"]);
}

/// Catches: a listing that does not follow what becomes of the tokens.
#[tokio::test]
async fn those_whose_rights_are_gone_are_found_until_they_are_connected_again() {
    let world = world().await;
    let client = "/v1/environments/dev/connectors/pub/crm/clients/oauth";
    world.put(client, json!({"client_id": "id", "client_secret": "canary-client"})).await.ok();
    let gone = async || named(&world.get(&format!("{LIST}?phase=needs-reauth")).await.ok());
    let of = |tenant: &str, user: &str, verb: &str| {
        format!(
            "/v1/environments/dev/tenants/{tenant}/connectors/pub/crm/connections/oauth{verb}?user={user}"
        )
    };
    assert_eq!(gone().await, Vec::<String>::new());
    let refused = world.post(&of("zeta", "ann", "/refresh"), json!({})).await;
    refused.refused(424, "needs-reauth");
    assert_eq!(gone().await, ["zeta pub/crm ann"]);
    let shown = world.get(&format!("{LIST}?phase=needs-reauth")).await.ok();
    let connection = &shown["connections"][0]["connection"];
    assert_eq!(
        (&connection["slot"], &connection["state"]["phase"]),
        (&json!("oauth"), &json!("needs-reauth"))
    );
    let import = json!({"access_token": "canary-anew", "refresh_token": "canary-anew"});
    world.post(&of("zeta", "ann", "/import"), import).await.ok();
    assert_eq!(gone().await, Vec::<String>::new());
    world.delete(&of("zeta", "ann", "")).await;
    assert_eq!(named(&world.get(LIST).await.ok()), ALL[..3]);
}

#[tokio::test]
async fn pages_have_each_once_whatever_users_are_called() {
    let world = world().await;
    let pages = world.pages(LIST, ALL.len()).await;
    assert_eq!(pages.iter().flat_map(named).collect::<Vec<_>>(), ALL);
}

#[tokio::test]
async fn a_viewer_sees_those_of_the_token_s_environments_only() {
    let world = world().await;
    let viewer = world.token("onlooker", Viewer, Some(&["prod"])).await;
    let own = world.ask("GET", "/v1/environments/prod/connections", &viewer, None).await;
    assert_eq!(named(&own.ok()).len(), 1);
    world.ask("GET", LIST, &viewer, None).await.refused(403, "not-permitted");
}

#[tokio::test]
async fn what_is_asked_for_badly_is_refused() {
    let world = world().await;
    for (query, code) in [
        ("tenant=a%2Fb", "invalid-name"),
        ("connector=things", "invalid-name"),
        ("after=acme", "invalid-name"),
        ("after=acme/pub/crm", "invalid-name"),
        ("after=acme/pub/crm/oauth/", "invalid-name"),
        ("phase=dead", "invalid-request"),
        ("limit=0", "invalid-request"),
        ("limit=1001", "invalid-request"),
        ("user=ann", "invalid-request"),
    ] {
        world.get(&format!("{LIST}?{query}")).await.refused(400, code);
    }
    world.get("/v1/environments/test/connections").await.refused(404, "unknown-environment");
}
