//! Watching a host: whether it is alive and ready, and what it counts, for who may know.

use http::StatusCode;
use serde_json::json;

use crate::setup::Setup;

/// What a scraper has to be told: this is what `Accept` of Prometheus asks for first.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_openmetrics_for_who_may_look() {
    for (config, nobody) in
        [("", StatusCode::UNAUTHORIZED), ("[server]\nmetrics-public = true\n", StatusCode::OK)]
    {
        let mut setup = Setup::new(config);
        setup.publish("echo").await.ok();
        setup.pin("acme", "fixtures/echo", "1.0.0").await;
        setup.act("acme", "fixtures/echo", "version", json!(null)).await.ok();
        let mut scraper = harness::Http::new(setup.host.address, "");
        assert_eq!(scraper.get("/metrics").await.status, nobody, "{config}");
        let reply = setup.http.get("/metrics").await.ok();
        assert_eq!(reply.header("content-type"), OPENMETRICS);
        let text = String::from_utf8(reply.body.to_vec()).expect("text");
        assert!(text.ends_with("# EOF\n"), "the end that the format asks for: {text}");
        let calls = "# TYPE keyway_calls counter\n";
        assert!(text.contains(calls), "{text}");
        assert!(!text.contains("acme"), "no label names a tenant: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_needs_no_token() {
    let setup = Setup::new("");
    let mut probe = harness::Http::new(setup.host.address, "");
    for (path, states) in [("/healthz", &["alive"][..]), ("/readyz", &["looking", "ready"][..])] {
        let reply = probe.get(path).await.ok();
        assert!(states.iter().any(|state| reply.json() == json!({"state": state})), "{path}");
        assert_eq!(reply.header("content-type"), "application/json");
    }
    let refused = probe.get("/v1/releases").await;
    assert_eq!(
        (refused.status, refused.code()),
        (StatusCode::UNAUTHORIZED, "token-missing".into())
    );
    assert_eq!(refused.header("content-type"), "application/problem+json");
}
