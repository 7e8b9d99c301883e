//! Publishing, listing, showing, comparing.

use axum::body::Body;
use axum::http::Request;
use axum::http::header::AUTHORIZATION;
use keyway_releases::model::Role;
use serde_json::json;

use crate::world::{World, bearer, component, limited, named};

#[tokio::test]
async fn bytes_become_a_release_once() {
    let world = World::new().await;
    let first = world.publish(&component("1.0.0")).await;
    assert_eq!(first.status, 201);
    assert_eq!(first.header("location"), "/v1/releases/pub/things/1.0.0");
    let again = world.publish(&component("1.0.0")).await;
    assert_eq!((again.status.as_u16(), again.json()), (200, first.json()));
    let release = world.get(first.header("location")).await.ok();
    assert_eq!(release, first.json());
    assert_eq!(release["published_by"], "root");
    assert_eq!(release["descriptor"]["summary"], "Things");
}

#[tokio::test]
async fn the_same_version_with_other_bytes_is_refused() {
    let world = World::new().await;
    world.publish(&component("1.0.0")).await.ok();
    let other = component("1.0.0").replace("\"Things\"", "\"Other\"");
    world.publish(&other).await.refused(409, "version-taken");
    let listed = world.get("/v1/releases/pub/things").await.ok();
    assert_eq!(listed["releases"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn bad_bytes_leave_nothing_behind() {
    let world = World::new().await;
    world.publish("").await.refused(422, "component-malformed");
    world.publish("\0asm").await.refused(422, "component-malformed");
    assert_eq!(world.get("/v1/releases").await.ok(), json!({"releases": []}));
}

#[tokio::test]
async fn a_component_has_at_most_so_many_bytes() {
    let component = component("1.0.0");
    let size = component.len();
    let world = World::with(keyway_api::Config {
        component_bytes_max: size,
        ..keyway_api::Config::default()
    })
    .await;
    assert_eq!(world.publish(&component).await.status, 201);
    let world = World::with(keyway_api::Config {
        component_bytes_max: size - 1,
        ..keyway_api::Config::default()
    })
    .await;
    world.publish(&component).await.refused(413, "component-too-large");
}

/// A publication by this token whose component never comes.
fn slow(token: &str) -> Request<Body> {
    let silence = futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
    Request::post("/v1/releases")
        .header(AUTHORIZATION, bearer(token))
        .body(Body::from_stream(silence))
        .unwrap()
}

#[tokio::test]
async fn publications_of_a_token_are_bounded_and_nobody_else_waits_for_them() {
    let config = limited(|limits| {
        limits.publications_max = 1;
        limits.token_uploads_max = 2;
    });
    let world = World::with(config).await;
    let ann = world.token("ann", Role::Publisher, None).await;
    let others = async {
        // The slow ones are polled first, and have taken all that one token may have.
        let refused = world.publish_as(&ann, &component("1.0.0")).await;
        refused.refused(503, "overloaded");
        assert_eq!(refused.header("retry-after"), "2");
        assert_eq!(world.publish(&component("1.0.0")).await.status, 201, "another token's");
    };
    tokio::select! {
        biased;
        reply = world.send(slow(&ann)) => panic!("its body never ends: {reply:?}"),
        reply = world.send(slow(&ann)) => panic!("its body never ends: {reply:?}"),
        () = others => {}
    }
    assert_eq!(world.publish_as(&ann, &component("1.1.0")).await.status, 201, "free again");
}

#[tokio::test]
async fn components_on_their_way_are_bounded_in_all() {
    let config = limited(|limits| limits.uploads_max = 1);
    let world = World::with(config).await;
    let ann = world.token("ann", Role::Publisher, None).await;
    let component = component("1.0.0");
    let reply = tokio::select! {
        biased;
        reply = world.send(slow(&ann)) => panic!("its body never ends: {reply:?}"),
        reply = world.publish(&component) => reply,
    };
    reply.refused(503, "overloaded");
    assert_eq!(world.publish(&component).await.status, 201, "the place is free again");
}

#[tokio::test]
async fn releases_are_listed_and_found_as_operators_type_them() {
    let world = World::pinned().await;
    world.publish(&named("other/gadgets", "0.1.0")).await.ok();
    let all = world.get("/v1/releases").await.ok();
    assert_eq!(all["releases"].as_array().unwrap().len(), 3);
    let own = world.get("/v1/releases/pub/things").await.ok();
    let own = own["releases"].as_array().unwrap();
    assert_eq!(own.len(), 2);
    let digest = own[0]["release"]["digest"].as_str().unwrap();
    for name in [digest, &digest[..19]] {
        let found = world.get(&format!("/v1/releases/pub/things/{name}")).await.ok();
        assert_eq!(found["release"], own[0]["release"]);
    }
    let path = |rest: &str| format!("/v1/releases/{rest}");
    world.get(&path("pub/nothing")).await.refused(404, "unknown-connector");
    world.get(&path("pub/things/9.9.9")).await.refused(404, "unknown-release");
    world.get(&path("pub/nothing/1.0.0")).await.refused(404, "unknown-connector");
    world.get(&path("pub/things/latest")).await.refused(400, "invalid-name");
}

#[tokio::test]
async fn two_releases_are_compared() {
    let world = World::pinned().await;
    let diff = world.get("/v1/releases/pub/things/1.0.0/diff/2.0.0").await.ok();
    assert_eq!(diff["before"]["version"], "1.0.0");
    let differences = diff["differences"].as_array().unwrap();
    let version = differences.iter().find(|d| d["path"] == "/descriptor/version").unwrap();
    assert_eq!((&version["before"], &version["after"]), (&json!("1.0.0"), &json!("2.0.0")));
    let same = world.get("/v1/releases/pub/things/1.0.0/diff/1.0.0").await.ok();
    assert_eq!(same["differences"], json!([]));
}
