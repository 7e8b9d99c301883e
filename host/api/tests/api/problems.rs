//! Problem documents, word for word.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use axum::http::header::{AUTHORIZATION, HOST};
use keyway_core::fault::Retry;
use keyway_core::{Code, Fault};
use serde_json::{Value, json};
use url::Url;

use crate::world::{Reply, World, at, bearer};

/// The document without what differs each time.
fn redacted(reply: &Reply) -> Value {
    let mut problem = reply.json();
    if let Some(instance) = problem.get_mut("instance") {
        let kind = instance.as_str().unwrap().split('_').next().unwrap().to_owned();
        *instance = json!(format!("{kind}_[id]"));
    }
    problem
}

async fn failed(world: &World, fault: Fault) -> Reply {
    world.dispatch.script.lock().unwrap().push_back(Err(fault));
    world.post(&at("/actions/echo"), json!({})).await
}

/// Whether a problem's type leads to the page of its code, for whoever has no token.
async fn leads_to_its_page(world: &World, reply: &Reply, host: &str) {
    let (problem, code) = (reply.json(), reply.json()["code"].as_str().unwrap().to_owned());
    let asked = Url::parse(&format!("http://{host}/v1/x")).unwrap();
    let page = asked.join(problem["type"].as_str().unwrap()).unwrap();
    let authority = format!("{}:{}", page.host_str().unwrap(), page.port().unwrap());
    let request = Request::get(page.path()).header(HOST, authority).body(Body::empty()).unwrap();
    let page = world.send(request).await;
    assert_eq!(page.status, 200, "{code}: {page:?}");
    assert!(page.header("content-type").starts_with("text/plain"), "{code}: {page:?}");
    assert!(page.text().starts_with(&format!("# {code}\n")), "{code}: {}", page.text());
}

#[tokio::test]
async fn the_type_of_every_code_leads_to_its_page() {
    let world = World::pinned().await;
    for code in Code::ALL {
        let reply = failed(&world, Fault::new(*code, "x")).await;
        assert_eq!(reply.json()["code"], code.as_str());
        leads_to_its_page(&world, &reply, "127.0.0.1:8700").await;
    }
}

/// At an address by host name every path is the provider's, also that of a page.
#[tokio::test]
async fn at_an_address_a_type_leads_to_its_page_too() {
    let world = World::pinned().await;
    let url = world.get(&at("/proxy-url")).await.ok()["host_url"].as_str().unwrap().to_owned();
    let host = format!("{}:8700", Url::parse(&url).unwrap().host_str().unwrap());
    for token in [world.admin.as_str(), "kw_x"] {
        let request = Request::get("/things").header(HOST, &host);
        let request = request.header(AUTHORIZATION, bearer(token)).body(Body::empty()).unwrap();
        let reply = world.send(request).await;
        assert_eq!(
            reply.json()["type"].as_str().unwrap().find("http://keyway.localhost:8700/"),
            Some(0)
        );
        leads_to_its_page(&world, &reply, &host).await;
    }
}

#[tokio::test]
async fn of_requests() {
    let world = World::pinned().await;
    let path = at("/pin");
    insta::assert_json_snapshot!("no-endpoint", redacted(&world.get("/nothing").await));
    insta::assert_json_snapshot!("no-token", redacted(&world.ask("GET", &path, "", None).await));
    let reply = world.get(&path.replace("acme", "..%2f")).await;
    insta::assert_json_snapshot!("no-name", redacted(&reply));
    insta::assert_json_snapshot!("no-json", redacted(&world.post_text(&at("/revert"), "{").await));
    let stale = json!({"release": "2.0.0", "reason": "x", "generation": 0});
    insta::assert_json_snapshot!("conflict", redacted(&world.put(&path, stale).await));
    let unknown = json!({"release": "2.0.0", "reason": "x", "force": true});
    insta::assert_json_snapshot!("unknown-field", redacted(&world.put(&path, unknown).await));
    let reply = world.post(&at("/actions/strict"), json!({"id": "x"})).await;
    insta::assert_json_snapshot!("input", redacted(&reply));
}

#[tokio::test]
async fn of_calls() {
    let world = World::pinned().await;
    let mut limited = Fault::new(Code::RateLimited, "the provider asks to wait")
        .retry(Retry::After(Duration::from_millis(250)));
    limited.provider_code = Some("RATE_LIMITS".to_owned());
    limited.request_sent = true;
    insta::assert_json_snapshot!("rate-limited", redacted(&failed(&world, limited).await));
    let trap = Fault::new(Code::GuestTrap, "the connector trapped: unreachable");
    insta::assert_json_snapshot!("trap", redacted(&failed(&world, trap).await));
}

#[tokio::test]
async fn a_defect_of_the_host_shows_its_id_and_nothing_else() {
    let world = World::pinned().await;
    let cause = std::io::Error::other("/var/lib/keyway: canary");
    let fault = Fault::new(Code::Internal, "canary of an inner part").caused_by(cause);
    let reply = failed(&world, fault).await;
    assert!(!String::from_utf8_lossy(&reply.body).contains("canary"));
    insta::assert_json_snapshot!("internal", redacted(&reply));
}

#[tokio::test]
async fn a_connectors_long_words_are_cut() {
    let world = World::pinned().await;
    let mut fault = Fault::new(Code::ConnectorInternal, "<html>".repeat(10_000));
    fault.provider_code = Some("x".repeat(10_000));
    let reply = failed(&world, fault).await;
    reply.refused(502, "connector-internal");
    assert!(reply.body.len() < 4_096, "{} bytes", reply.body.len());
}
