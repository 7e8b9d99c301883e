//! Which endpoint a request comes to, and what that reads from its path.

use axum::http::header::{ALLOW, CONTENT_LENGTH};

use crate::world::{World, at};

#[tokio::test]
async fn an_endpoint_is_found_by_path_and_then_by_method() {
    let world = World::new().await;
    world.get("/v1/nothing").await.refused(404, "no-such-endpoint");
    world.get("/").await.refused(404, "no-such-endpoint");
    // Every segment counts, also where nothing is between two slashes.
    for path in ["/v1/releases/", "/v1//releases", "//v1/releases", "/V1/releases"] {
        world.get(path).await.refused(404, "no-such-endpoint");
    }
    world.get("/v1/releases?at=/v1/nothing").await.ok();
    for (method, path, allowed) in [
        ("DELETE", "/v1/releases", "POST, GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
        ("PATCH", &*at("/connections/token"), "PUT, DELETE"),
        ("TRACE", &*at("/proxy/x"), "GET, HEAD, PUT, POST, PATCH, DELETE, OPTIONS"),
        ("get", "/healthz", "GET, HEAD"),
    ] {
        let reply = world.ask(method, path, "", None).await;
        reply.refused(405, "method-not-allowed");
        assert_eq!(reply.header(ALLOW.as_str()), allowed, "{method} {path}");
    }
}

#[tokio::test]
async fn a_head_is_answered_as_a_get_is_but_for_the_body() {
    let world = World::new().await;
    let ask = async |method: &str, path: &str| world.ask(method, path, &world.admin, None).await;
    for path in ["/healthz", "/v1/releases", "/openapi.json"] {
        let (get, head) = (ask("GET", path).await, ask("HEAD", path).await);
        assert_eq!(head.status, get.status, "{path}");
        assert_eq!(head.header(CONTENT_LENGTH.as_str()), get.body.len().to_string(), "{path}");
        assert!(head.body.is_empty(), "{path}");
    }
    let refused = world.ask("HEAD", "/v1/releases", "", None).await;
    assert_eq!((refused.status.as_u16(), refused.body.len()), (401, 0));
}

#[tokio::test]
async fn names_are_decoded_once_and_a_proxied_path_is_not() {
    let world = World::pinned().await;
    for (from, to) in [("dev", "%64ev"), ("acme", "ac%6De"), ("things", "thin%67%73")] {
        assert_eq!(world.get(&at("/pin").replace(from, to)).await.status, 200, "{to}");
        let twice = to.replace('%', "%25");
        world.get(&at("/pin").replace(from, &twice)).await.refused(400, "invalid-name");
    }
    // What a provider understands by a path is its own business: it need not be UTF-8.
    for rest in ["a%2Fb", "caf%E9?q=%E9", "a//b/", "..%2f", "%252F"] {
        let reply = world.get(&at(&format!("/proxy/{rest}"))).await;
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert_eq!(detail, format!("nothing answers /{rest}"));
    }
    world.get(&at("/proxy/")).await.refused(404, "no-such-endpoint");
    world.get(&at("/proxy")).await.refused(404, "no-such-endpoint");
}
