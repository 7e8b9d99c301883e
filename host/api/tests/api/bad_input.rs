//! Bad input: a clear error with a stable code, nothing lost, nothing changed.

use axum::body::Body;
use axum::http::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use keyway_core::limits::{INPUT_BYTES_MAX, JSON_DEPTH_MAX, REASON_BYTES_MAX};
use serde_json::{Value, json};

use crate::world::{World, at, bearer, limited};

#[tokio::test]
async fn names_that_are_paths_or_look_alikes_are_no_names() {
    let world = World::pinned().await;
    for tenant in
        ["..%2f", "%2e%2e", "..", "a%2Fb", "a%00", "%00", "%D0%B0cme", "a%20b", "%ff", "a%5Cb"]
    {
        let path = at("/pin").replace("acme", tenant);
        world.get(&path).await.refused(400, "invalid-name");
        let call = at("/actions/echo").replace("acme", tenant);
        world.post(&call, json!({})).await.refused(400, "invalid-name");
    }
    for (from, to) in [("dev", "De%76"), ("pub", "P"), ("things", "thi_ngs")] {
        world.get(&at("/pin").replace(from, to)).await.refused(400, "invalid-name");
    }
    world.post(&at("/actions/..%2fecho"), json!({})).await.refused(400, "invalid-name");
    world.post(&at("/objects/%2e%2e/read"), json!({})).await.refused(400, "invalid-name");
    world.put(&at("/connections/%2e"), json!({"token": "x"})).await.refused(400, "invalid-name");
    assert!(world.dispatch.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn unknown_things_say_what_is_unknown() {
    let world = World::pinned().await;
    world.get(&at("/pin").replace("/dev/", "/moon/")).await.refused(404, "unknown-environment");
    world.get(&at("/pin").replace("acme", "nobody")).await.refused(404, "unknown-installation");
    world.get(&at("/history").replace("acme", "nobody")).await.refused(404, "unknown-installation");
    let other = at("/pin").replace("things", "gadgets");
    let body = json!({"release": "1.0.0", "reason": "x"});
    world.put(&other, body.clone()).await.refused(404, "unknown-connector");
    world.pin("9.9.9").await.refused(404, "unknown-release");
    world.pin("sha256:000000000000").await.refused(404, "unknown-release");
    world.pin("newest").await.refused(400, "invalid-name");
    let moon = "/v1/environments/moon/defaults/pub/things";
    world.put(moon, body).await.refused(404, "unknown-environment");
}

#[tokio::test]
async fn json_is_strict() {
    let world = World::pinned().await;
    let path = at("/actions/echo");
    let deep = "[".repeat(JSON_DEPTH_MAX) + &"]".repeat(JSON_DEPTH_MAX);
    let deeper = "[".repeat(10_000) + &"]".repeat(10_000);
    for bad in [
        "",
        "{",
        "nul",
        "NaN",
        "[NaN]",
        "{\"a\":1,\"a\":2}",
        "{\"a\":{\"b\":1,\"\\u0062\":2}}",
        "\u{feff}",
        "{} {}",
        &deep,
        &deeper,
    ] {
        let reply = world.post_text(&path, bad).await;
        assert_eq!(reply.code(), (400, "malformed-json".to_owned()), "{bad:?}");
    }
    let shallow = "[".repeat(JSON_DEPTH_MAX - 1) + &"]".repeat(JSON_DEPTH_MAX - 1);
    world.post_text(&path, &shallow).await.ok();
    // Digits are the connector's business, and a mark before the text is nobody's.
    for good in ["[1e400]", "[-1E+400,123456789012345678901234567890]"] {
        assert_eq!(world.post_text(&path, good).await.body, good);
        assert_eq!(world.post_text(&path, &format!("\u{feff}{good}")).await.body, good);
    }
}

#[tokio::test]
async fn shapes_are_strict() {
    let world = World::pinned().await;
    for body in [
        json!({}),
        json!([]),
        json!({"release": "1.0.0"}),
        json!({"release": 1, "reason": "x"}),
        json!({"release": "1.0.0", "reason": "x", "force": true}),
        json!({"release": "1.0.0", "reason": "x", "generation": -1}),
        json!({"release": "1.0.0", "reason": " "}),
        json!(["1.0.0", "x"]),
        json!({"release": "1.0.0", "reason": "x".repeat(REASON_BYTES_MAX + 1)}),
    ] {
        let reply = world.put(&at("/pin"), body.clone()).await;
        assert_eq!(reply.code(), (400, "invalid-request".to_owned()), "{body}");
    }
    let listed = json!({"operation": "create", "items": [["ref", null, {}, null]]});
    world.post(&at("/objects/widgets/write"), listed).await.refused(400, "invalid-request");
    let longest = json!({"release": "1.0.0", "reason": "x".repeat(REASON_BYTES_MAX)});
    world.put(&at("/pin"), longest).await.ok();
    for query in
        ["?limit=0", "?limit=1001", "?limit=x", "?before=-1", "?page=2", "?limit=1&limit=2"]
    {
        let reply = world.get(&at(&format!("/history{query}"))).await;
        assert_eq!(reply.code(), (400, "invalid-request".to_owned()), "{query}");
    }
    for limit in [1, 1_000] {
        world.get(&at(&format!("/history?limit={limit}"))).await.ok();
    }
    world.get("/v1/pins?after=nonsense").await.refused(400, "invalid-name");
}

/// What the document does not call nullable is refused as `null`: leaving a field out often means all, or unguarded.
#[tokio::test]
async fn null_is_not_the_same_as_left_out() {
    let world = World::pinned().await;
    let document = world.get("/openapi.json").await.ok();
    let mut refused = 0;
    for (method, path, field) in optional_fields(&document) {
        let path = path.replace("{environment}", "dev").replace("{tenant}", "acme");
        let path = path.replace("{publisher}", "pub").replace("{name}", "things");
        let path = path.replace("{slot}", "token").replace("{object}", "widgets");
        let request = Request::builder().method(method.to_uppercase().as_str()).uri(&path);
        let request = request
            .header(AUTHORIZATION, bearer(&world.admin))
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(format!("{{\"{field}\":null}}")))
            .unwrap();
        let reply = world.send(request).await;
        reply.refused(400, "invalid-request");
        let problem: Value = serde_json::from_slice(&reply.body).unwrap();
        let detail = problem["detail"].as_str().unwrap();
        // What is wrong with a body of secrets is not said in words that could repeat one.
        let of_secrets =
            ["complete", "token", "obtain", "import"].contains(&path.rsplit('/').next().unwrap());
        assert!(of_secrets || detail.contains("null"), "{path}, `{field}`: {detail}");
        refused += 1;
    }
    assert!(refused > 20, "{refused} fields: this test looks in the wrong place");
    for body in [
        json!({"token": "s3cret", "user": null}),
        json!({"token": "s3cret", "password": null}),
        json!({"token": "s3cret", "base_url": null}),
    ] {
        world.put(&at("/connections/token"), body).await.refused(400, "invalid-request");
    }
    world.put(&at("/connections/token"), json!({"token": "s3cret"})).await.ok();
}

/// Method, path and name of each field of a JSON body that may be left out and may not be `null`.
fn optional_fields(document: &Value) -> Vec<(String, String, String)> {
    let mut fields = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let body = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
            let Some(name) = body.as_str().and_then(|name| name.rsplit('/').next()) else {
                continue;
            };
            let schema = &document["components"]["schemas"][name];
            let required = |field: &str| {
                schema["required"].as_array().is_some_and(|names| names.iter().any(|n| n == field))
            };
            for (field, shape) in schema["properties"].as_object().unwrap() {
                if !required(field) && shape["type"].is_string() {
                    fields.push((method.clone(), path.clone(), field.clone()));
                }
            }
        }
    }
    fields
}

#[tokio::test]
async fn only_json_is_json() {
    let world = World::pinned().await;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        let request = Request::post(at("/actions/echo"))
            .header(AUTHORIZATION, bearer(&world.admin))
            .header(CONTENT_TYPE, kind)
            .body(Body::from("{}"))
            .unwrap();
        world.send(request).await.refused(400, "invalid-request");
    }
}

#[tokio::test]
async fn a_body_has_at_most_so_many_bytes() {
    let world = World::pinned().await;
    let ten = format!("\"{}\"", "x".repeat(10 << 20));
    world.post_text(&at("/actions/echo"), &ten).await.refused(413, "body-too-large");
    let sized = |size: usize| format!("\"{}\"", "x".repeat(size - 2));
    world.post_text(&at("/actions/echo"), &sized(INPUT_BYTES_MAX)).await.ok();
    let over = sized(INPUT_BYTES_MAX + 1);
    world.post_text(&at("/actions/echo"), &over).await.refused(413, "body-too-large");
    let world = World::with(limited(|limits| limits.json_bytes_max = 2)).await;
    let path = at("/actions/echo");
    world.post_text(&path, "12").await.refused(404, "unknown-installation");
    world.post_text(&path, "123").await.refused(413, "body-too-large");
}

#[tokio::test]
async fn other_tenants_are_untouched() {
    let world = World::pinned().await;
    let other = at("").replace("acme", "other");
    let body = json!({"release": "2.0.0", "reason": "x"});
    world.put(&format!("{other}/pin"), body).await.ok();
    world
        .put(&format!("{other}/config"), json!({"region": 7}))
        .await
        .refused(422, "config-invalid");
    world.post(&format!("{other}/revert"), json!({"reason": "x"})).await.refused(409, "no-history");
    let reply = world.post(&at("/actions/echo"), json!(1)).await;
    assert_eq!(reply.header("keyway-release"), "pub/things@1.0.0");
}
