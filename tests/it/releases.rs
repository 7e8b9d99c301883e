//! Releases: the same bytes again, other bytes as the same version, what a release tells of itself.

use fixtures::{Guest, padded};
use http::StatusCode;
use serde_json::{Value, json};

use crate::setup::Setup;

#[tokio::test(flavor = "multi_thread")]
async fn the_same_bytes_are_the_same_release_and_other_bytes_never_are() {
    let mut setup = Setup::new("");
    let first = setup.publish("echo").await.ok();
    assert_eq!(first.status, StatusCode::CREATED);
    let again = setup.publish("echo").await.ok();
    assert_eq!((again.status, again.json()), (StatusCode::OK, first.json()));

    let echo = Guest::named("echo").load().expect("built");
    let other = setup.http.publish(padded(&echo, echo.len() + 64)).await;
    assert_eq!(other.code(), "version-taken");
    let releases = setup.http.get("/v1/releases/fixtures/echo").await.ok().json();
    assert_eq!(releases["releases"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_are_found_by_version_digest_and_prefix() {
    let mut setup = Setup::new("");
    let one = setup.publish("echo").await.ok().json()["release"].clone();
    let two = setup.publish("echo-next").await.ok().json()["release"].clone();
    let digest = one["digest"].as_str().expect("text");
    for name in ["1.0.0", digest, &digest[..7 + 12]] {
        let found = setup.http.get(&format!("/v1/releases/fixtures/echo/{name}")).await.ok().json();
        assert_eq!(found["release"], one, "{name}");
    }
    for (name, code) in [
        ("9.9.9", "unknown-release"),
        ("sha256:000000000000", "unknown-release"),
        ("latest", "invalid-name"),
        (&digest[..7 + 11], "invalid-name"),
    ] {
        let reply = setup.http.get(&format!("/v1/releases/fixtures/echo/{name}")).await;
        assert_eq!(reply.code(), code, "{name}");
    }
    let diff = setup.http.get("/v1/releases/fixtures/echo/1.0.0/diff/1.1.0").await.ok().json();
    assert_eq!((&diff["before"], &diff["after"]), (&one, &two));
    let paths: Vec<&Value> =
        diff["differences"].as_array().expect("a list").iter().map(|d| &d["path"]).collect();
    assert!(paths.contains(&&json!("/descriptor/version")), "{paths:?}");
}
