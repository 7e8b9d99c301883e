//! Who may do what: every endpoint, every role, and every way of not being somebody.

use std::time::Duration;

use axum::http::header::WWW_AUTHENTICATE;
use keyway_api::contract::endpoint::Method;
use keyway_api::contract::{ENDPOINTS, Endpoint};
use keyway_store::Store;
use keyway_vault::Tokens;
use keyway_vault::model::Role::{self, Admin, Caller, Operator, Publisher, Viewer};
use serde_json::json;

use crate::world::{World, at, issue, limited};

const ANYONE: &[Role] = &[Viewer, Publisher, Operator, Admin];
const OPERATORS: &[Role] = &[Operator, Admin];
const CALLERS: &[Role] = &[Caller, Operator, Admin];

/// Who may use an endpoint, said a second time. None: needs no token.
const CASES: &[(&str, Option<&[Role]>)] = &[
    ("RELEASE_PUBLISH", Some(&[Publisher, Admin])),
    ("RELEASE_LIST", Some(ANYONE)),
    ("RELEASE_LIST_OF", Some(ANYONE)),
    ("RELEASE_GET", Some(ANYONE)),
    ("RELEASE_DIFF", Some(ANYONE)),
    ("PIN_SET", Some(OPERATORS)),
    ("PIN_REVERT", Some(OPERATORS)),
    ("PIN_UNPIN", Some(OPERATORS)),
    ("PIN_GET", Some(ANYONE)),
    ("PIN_HISTORY", Some(ANYONE)),
    ("PIN_MATRIX", Some(ANYONE)),
    ("DEFAULT_SET", Some(OPERATORS)),
    ("DEFAULT_GET", Some(ANYONE)),
    ("DEFAULT_UNSET", Some(OPERATORS)),
    ("TENANT_DELETE", Some(&[Admin])),
    ("CONFIG_SET", Some(OPERATORS)),
    ("CONFIG_GET", Some(ANYONE)),
    ("CONFIG_REMOVE", Some(OPERATORS)),
    ("CONFIG_HISTORY", Some(ANYONE)),
    ("CONFIG_REVERT", Some(OPERATORS)),
    ("CONNECTION_SET", Some(OPERATORS)),
    ("CONNECTION_SET_ALL", Some(OPERATORS)),
    ("CONNECTION_REMOVE", Some(OPERATORS)),
    ("CONNECTION_LIST", Some(ANYONE)),
    ("CONNECTION_PAUSE", Some(OPERATORS)),
    ("CONNECTION_RESUME", Some(OPERATORS)),
    ("CONNECTION_HOLD_REFRESH", Some(OPERATORS)),
    ("CONNECTION_RELEASE_REFRESH", Some(OPERATORS)),
    ("CONNECTION_REFRESH", Some(OPERATORS)),
    ("CONNECTION_TEST", Some(OPERATORS)),
    ("CONNECTION_OBTAIN", Some(OPERATORS)),
    ("CONNECTION_IMPORT", Some(OPERATORS)),
    ("CONNECTION_EXPORT", Some(OPERATORS)),
    ("CONNECTION_STANDING", Some(ANYONE)),
    ("CONNECTION_IMPORT_MANY", Some(OPERATORS)),
    ("SCOPES_GET", Some(ANYONE)),
    ("CLIENT_LIST", Some(&[Admin])),
    ("CLIENT_SET", Some(&[Admin])),
    ("CLIENT_GET", Some(&[Admin])),
    ("CLIENT_REMOVE", Some(&[Admin])),
    ("CONNECT_BEGIN", Some(OPERATORS)),
    ("CONNECT_COMPLETE", Some(OPERATORS)),
    ("CONNECT_PAGE", None),
    ("CONNECT_START", None),
    ("CONNECT_CALLBACK", None),
    ("CONNECT_CALLBACK_FORM", None),
    ("ACTION_INVOKE", Some(CALLERS)),
    ("OBJECT_LIST", Some(CALLERS)),
    ("OBJECT_GET", Some(CALLERS)),
    ("OBJECT_READ", Some(CALLERS)),
    ("OBJECT_WRITE", Some(CALLERS)),
    ("PROXY", Some(CALLERS)),
    ("PROXY_URL", Some(ANYONE)),
    ("CALL_LIST", Some(ANYONE)),
    ("CALL_FOLLOW", Some(ANYONE)),
    ("EXCHANGE_LIST", Some(ANYONE)),
    ("EXCHANGE_FOLLOW", Some(ANYONE)),
    ("QUOTA_LIST", Some(ANYONE)),
    ("TOKEN_LIST", Some(&[Admin])),
    ("TOKEN_ISSUE", Some(&[Admin])),
    ("TOKEN_REVOKE", Some(&[Admin])),
    ("KEYS_GET", Some(&[Admin])),
    ("KEYS_ROTATE", Some(&[Admin])),
    ("AUDIT_LIST", Some(OPERATORS)),
    ("HEALTH", None),
    ("READY", None),
    ("CODE_GET", None),
    ("METRICS", Some(ANYONE)),
    ("OPENAPI", None),
];

/// A path of the endpoint with names in it.
pub(crate) fn path(endpoint: &Endpoint) -> String {
    let mut path = endpoint.path.to_owned();
    for name in endpoint.path_names() {
        let value = match name {
            "environment" => "dev",
            "tenant" => "acme",
            "publisher" => "pub",
            "name" => "things",
            "release" => "1.0.0",
            "other" => "2.0.0",
            "slot" => "token",
            "action" => "echo",
            "object" => "widgets",
            "token" => "nobody",
            "path" => "crm/v3",
            "code" => "denied",
            other => panic!("no sample for {{{other}}}"),
        };
        path = path.replace(&format!("{{{name}}}"), value).replace(&format!("{{*{name}}}"), value);
    }
    path
}

/// A method of the endpoint.
pub(crate) fn method(endpoint: &Endpoint) -> &'static str {
    match endpoint.method {
        Method::Any => "PATCH",
        method => method.as_str(),
    }
}

fn closed() -> impl Iterator<Item = (&'static Endpoint, &'static [Role])> {
    ENDPOINTS.iter().filter_map(|endpoint| {
        let case = CASES.iter().find(|(name, _)| *name == endpoint.name);
        let (_, roles) =
            case.unwrap_or_else(|| panic!("{} has no authorisation case", endpoint.name));
        Some((*endpoint, (*roles)?))
    })
}

#[test]
fn every_endpoint_has_an_authorisation_case() {
    let declared: Vec<_> = ENDPOINTS.iter().map(|endpoint| endpoint.name).collect();
    let cases: Vec<_> = CASES.iter().map(|(name, _)| *name).collect();
    assert_eq!(declared, cases, "each endpoint of the contract, in its order, has a line in CASES");
}

#[tokio::test]
async fn whoever_is_nobody_is_refused() {
    let world = World::new().await;
    let elsewhere = Tokens::new(Store::memory(world.clock.clone()), world.clock.clone());
    let foreign = issue(&elsewhere, "root", Admin, None).await;
    let expired = world
        .post(
            "/v1/tokens",
            json!({"name": "late", "role": "admin", "expires_at": "2001-01-01T00:00:00Z"}),
        )
        .await
        .ok()["secret"]
        .as_str()
        .unwrap()
        .to_owned();
    let cases = [
        ("", "token-missing", r#"Bearer realm="keyway""#),
        ("garbage", "token-invalid", r#"Bearer realm="keyway", error="invalid_token""#),
        (&foreign, "token-invalid", r#"Bearer realm="keyway", error="invalid_token""#),
        (&expired, "token-expired", r#"Bearer realm="keyway", error="invalid_token""#),
    ];
    for (endpoint, _) in closed() {
        for (token, code, challenge) in &cases {
            let reply = world.ask(method(endpoint), &path(endpoint), token, None).await;
            reply.refused(401, code);
            assert_eq!(reply.headers[WWW_AUTHENTICATE], *challenge, "{}", endpoint.name);
        }
    }
}

#[tokio::test]
async fn roles_reach_what_they_should_and_nothing_else() {
    let world = World::new().await;
    for role in [Viewer, Publisher, Operator, Admin, Caller] {
        let name = format!("{role:?}").to_lowercase();
        let environments: Option<&[&str]> = (role == Caller).then_some(&["dev"]);
        let token = world.token(&name, role, environments).await;
        for (endpoint, allowed) in closed() {
            let reply = world.ask(method(endpoint), &path(endpoint), &token, None).await;
            if allowed.contains(&role) {
                assert_ne!(reply.status, 401, "{role:?} {}: {reply:?}", endpoint.name);
                assert_ne!(reply.status, 403, "{role:?} {}: {reply:?}", endpoint.name);
                assert_ne!(reply.status, 405, "{}", endpoint.name);
                assert!(
                    !reply.body.windows(16).any(|w| w == b"no-such-endpoint"),
                    "{}",
                    endpoint.name
                );
            } else {
                reply.refused(403, "not-permitted");
                assert!(reply.header("www-authenticate").contains("insufficient_scope"));
            }
        }
    }
}

#[tokio::test]
async fn a_token_of_another_environment_is_refused() {
    let world = World::new().await;
    let token = world.token("prod-only", Admin, Some(&["prod"])).await;
    for (endpoint, roles) in closed() {
        let global_view =
            !endpoint.path_names().any(|name| name == "environment") && roles == ANYONE;
        let reply = world.ask(method(endpoint), &path(endpoint), &token, None).await;
        if global_view {
            assert_ne!(reply.status, 403, "{}", endpoint.name);
        } else {
            reply.refused(403, "not-permitted");
        }
    }
}

#[tokio::test]
async fn open_endpoints_need_no_token() {
    let world = World::new().await;
    for endpoint in ENDPOINTS {
        if CASES.iter().any(|(name, roles)| *name == endpoint.name && roles.is_none()) {
            let reply = world.ask(method(endpoint), &path(endpoint), "", None).await;
            // What opens these is in the address, and nobody has it.
            let expected = match endpoint.name {
                "CONNECT_PAGE" | "CONNECT_START" => 410,
                "CONNECT_CALLBACK" | "CONNECT_CALLBACK_FORM" => 400,
                _ => 200,
            };
            assert_eq!(reply.status, expected, "{}", endpoint.name);
        }
    }
}

#[tokio::test]
async fn metrics_are_public_only_if_set_up_so() {
    let mut config = limited(|_| {});
    config.metrics_public = true;
    let world = World::with(config).await;
    assert_eq!(world.ask("GET", "/metrics", "", None).await.status, 200);
}

#[tokio::test]
async fn the_matrix_shows_a_token_its_own_environments() {
    let world = World::pinned().await;
    let path = at("/pin").replace("/dev/", "/prod/");
    world.put(&path, json!({"release": "2.0.0", "reason": "test"})).await.ok();
    let token = world.token("prod-only", Viewer, Some(&["prod"])).await;
    let rows = world.ask("GET", "/v1/pins", &token, None).await.ok();
    let environments: Vec<_> =
        rows["rows"].as_array().unwrap().iter().map(|row| &row["environment"]).collect();
    assert_eq!(environments, ["prod"]);
    world.ask("GET", "/v1/pins?environment=dev", &token, None).await.refused(403, "not-permitted");
}

#[tokio::test]
async fn a_revoked_token_is_refused_at_once() {
    let world = World::new().await;
    let token = world.token("bob", Viewer, None).await;
    // Twice, so that it is known to the cache.
    for _ in 0..2 {
        world.ask("GET", "/v1/releases", &token, None).await.ok();
    }
    assert_eq!(world.delete("/v1/tokens/bob").await.status, 204);
    world.ask("GET", "/v1/releases", &token, None).await.refused(401, "token-invalid");
    world.delete("/v1/tokens/bob").await.refused(404, "unknown-token");
}

#[tokio::test]
async fn a_token_that_is_known_expires_all_the_same() {
    let world = World::new().await;
    let body = json!({"name": "brief", "role": "viewer", "expires_at": "2023-11-14T22:14:20Z"});
    let issued = world.post("/v1/tokens", body).await.ok();
    let token = issued["secret"].as_str().unwrap();
    world.ask("GET", "/v1/releases", token, None).await.ok();
    world.clock.advance(Duration::from_secs(59));
    world.ask("GET", "/v1/releases", token, None).await.ok();
    world.clock.advance(Duration::from_secs(1));
    world.ask("GET", "/v1/releases", token, None).await.refused(401, "token-expired");
}

#[tokio::test]
async fn a_publisher_publishes_for_itself() {
    let world = World::new().await;
    let body = json!({"name": "vendor", "role": "publisher", "publisher": "other"});
    let issued = world.post("/v1/tokens", body).await.ok();
    let token = issued["secret"].as_str().unwrap();
    let component = Some(crate::world::component("1.0.0"));
    world.ask("POST", "/v1/releases", token, component).await.refused(403, "publisher-mismatch");
    let own = Some(crate::world::named("other/things", "1.0.0"));
    assert_eq!(world.ask("POST", "/v1/releases", token, own).await.status, 201);
}
