//! Answers that must not be believed (C43), addresses that must not be sent to (C44), and sessions of callers who have
//! the person themselves.

use harness::Http;
use harness::parties::consent;
use serde_json::{Value, json};
use url::Url;

use super::{CLIENT, CLIENT_SECRET, OAUTH, World, register, text};
use crate::setup::path;
use crate::upstream::Plain;

pub(super) const COMPLETE: &str = "/v1/environments/dev/connect-sessions/complete";

/// Begins a headless session, and gives what it was answered with.
async fn headless(world: &mut World, redirect_uri: &str) -> Value {
    let body = json!({"headless": true, "redirect_uri": redirect_uri});
    world.begin(body).await.ok().json()
}

/// Catches: a callback that believes an answer without a state, with somebody else's, or of another server.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_fit_no_consent_are_refused() {
    let mut world = World::new().await;
    let address = world.setup.host.address;
    for query in [
        "",
        "code=canary-code",
        "code=canary-code&state=",
        "code=canary-code&state=6vJrFJQz0Gv1mGnPl7R1w2uYd1kQvX0bU9h8sT4aE3o",
        "code=canary-code&state=a&state=b",
        "error=access_denied",
        "state=%00%ff",
    ] {
        let reply = Http::new(address, "").get(&format!("/connect/callback?{query}")).await;
        assert_eq!(reply.status, 400, "{query}");
        let body = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(
            body.contains("connect-state-invalid") && !body.contains("canary-code"),
            "{query}: {body}"
        );
    }
    let issuer = "https://auth.example.test";
    for (iss, binding) in [
        (Some("https://auth.example.test/"), None),
        (Some("https://evil.example"), None),
        (None, None),
        (Some(issuer), Some("bm90IHRoZSBvbmUgdGhhdCB3YXMgc2VudA")),
    ] {
        let begun = headless(&mut world, "https://shop.example/back").await;
        let binding = binding.map_or_else(|| begun["binding"].clone(), Value::from);
        let mut answer = json!({"state": begun["state"], "code": "abc", "binding": binding});
        if let Some(iss) = iss {
            answer["iss"] = iss.into();
        }
        let reply = world.setup.http.post(COMPLETE, answer.clone()).await;
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (400, "connect-state-invalid"));
        // Once is enough: the right answer comes too late.
        answer["iss"] = issuer.into();
        answer["binding"] = begun["binding"].clone();
        assert_eq!(world.setup.http.post(COMPLETE, answer).await.code(), "connect-state-invalid");
    }
    // No code was shown to the provider.
    let asked = world.server.look("requests").await;
    assert!(!asked["requests"].to_string().contains("authorization_code"), "{asked}");
    assert_eq!(world.connections("acme").await, Vec::<Value>::new());
}

/// Catches: an answer that is taken in another environment than the one its session is of.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_belongs_to_one_environment() {
    let mut world = World::new().await;
    let begun = headless(&mut world, "https://shop.example/back").await;
    let answer = json!({
        "state": begun["state"], "code": "abc", "binding": begun["binding"],
        "iss": "https://auth.example.test",
    });
    let elsewhere = COMPLETE.replace("/dev/", "/prod/");
    assert_eq!(world.setup.http.post(&elsewhere, answer).await.code(), "connect-state-invalid");
    assert_eq!(world.connections("acme").await, Vec::<Value>::new());
}

/// Catches: a provider's answer that a caller who has the person cannot hand in.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_has_the_person_hands_the_answer_in() {
    let mut world = World::new().await;
    let shop = Plain::start().await;
    let redirect_uri = format!("http://{}/oauth/back", shop.address);
    register(&world.server, std::slice::from_ref(&redirect_uri)).await;
    let begun = headless(&mut world, &redirect_uri).await;
    assert_eq!((&begun["url"], &begun["token"]), (&Value::Null, &Value::Null));
    // There is no page of the host's: the person is at the provider already.
    let seen = world.visit(&text(&begun["authorize_url"]), &["--button", "h1"]).await;
    let back = Url::parse(&text(&seen.report["url"])).expect("a URL");
    assert!(back.as_str().starts_with(&redirect_uri), "{back}");
    let query =
        |name: &str| back.query_pairs().find(|(n, _)| n == name).map(|(_, v)| v.to_string());
    let answer = json!({
        "state": query("state"), "code": query("code"), "iss": query("iss"),
        "binding": begun["binding"],
    });
    let connected = world.setup.http.post(COMPLETE, answer.clone()).await.ok().json();
    assert_eq!((&connected["slot"], &connected["account"]), (&json!("token"), &json!("account-1")));
    assert_eq!(world.called().await, 200);
    assert_eq!(world.setup.http.post(COMPLETE, answer).await.code(), "connect-state-invalid");
}

/// Catches: a browser that does not show its cookie where it comes for an answer which it has sent as a form, and an answer
/// that stands in an address.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_brings_an_answer_as_a_form() {
    const STATED: &str = "fixtures/stated";
    let mut world = World::new().await;
    let descriptor = json!({
        "format": 1, "name": STATED, "version": "1.0.0", "hosts": ["api.example.com"],
        "base-url": "https://api.example.com",
        "slots": {"token": {"scopes": ["contacts.read", "offline_access"], "scheme": {
            "kind": "oauth2", "authorize-url": "https://auth.example.test/auth",
            "token-url": "https://auth.example.test/token", "issuer": "https://auth.example.test",
            "authorize-params": {"prompt": "consent", "response_mode": "form_post"},
            "account": "/account_id",
        }}},
    });
    world.setup.http.publish(fixtures::stating(&descriptor.to_string())).await.ok();
    world.setup.pin("acme", STATED, "1.0.0").await;
    let client = format!("/v1/environments/dev/connectors/{STATED}/clients/token");
    let body = json!({"client_id": CLIENT, "client_secret": CLIENT_SECRET});
    world.setup.http.put(&client, body).await.ok();
    let sessions = path("acme", STATED, "/connect-sessions");
    let session = world.setup.http.post(&sessions, json!({})).await.ok().json();
    let seen = world.visit(&text(&session["url"]), &[]).await;
    assert_eq!(seen.report["status"], 200, "{:#}", seen.report);
    let ended = text(&seen.report["url"]);
    assert!(ended.contains("/connect/callback?answer="), "{ended}");
    let list = world.setup.http.get(&path("acme", STATED, "/connections")).await.ok().json();
    assert_eq!(list["connections"][0]["account"], "account-1", "{list}");
}

/// Catches: a redirect URI that is not the one the provider has, letter by letter; and a host that answers at others.
#[tokio::test(flavor = "multi_thread")]
async fn the_redirect_uri_is_exact() {
    let variants = ["/connect/callback/", "/connect/callback?x=1", "/Connect/callback", "/connect"];
    let mut world = World::with(&[], &variants).await;
    let url = world.link().await;
    let seen = consent(&url, &world.server, &[]).await;
    assert!(!seen.ended, "the provider took another redirect URI: {:#}", seen.report);
    let there = Url::parse(&text(&seen.report["url"])).expect("a URL");
    let sent = there.query_pairs().find(|(name, _)| name == "redirect_uri").map(|(_, uri)| uri);
    let exact = format!("http://{}/connect/callback", world.setup.host.address);
    assert_eq!(sent.as_deref(), Some(exact.as_str()), "{:#}", seen.report);
    assert!(text(&seen.report["text"]).contains("redirect_uri"), "{:#}", seen.report);
    for path in ["/connect/callback/", "/Connect/callback", "/connect/callback/x"] {
        let reply = Http::new(world.setup.host.address, "").get(path).await;
        assert_eq!(reply.code(), "no-such-endpoint", "{path}");
    }
}

/// Catches: a session for what cannot be connected, or with an address that a browser must not be sent to.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_lead_nowhere_are_refused() {
    let mut world = World::new().await;
    for (body, code) in [
        (json!({"slot": "nobody"}), "unknown-slot"),
        (json!({"user": "a b"}), "invalid-name"),
        (json!({"return_url": "javascript:alert(1)"}), "invalid-request"),
        (json!({"return_url": "http://shop.example/"}), "invalid-request"),
        (json!({"return_url": "https://ann:pw@shop.example/"}), "invalid-request"),
        (json!({"headless": true}), "invalid-request"),
        (json!({"headless": true, "redirect_uri": "http://shop.example/"}), "invalid-request"),
        (json!({"redirect_uri": "https://shop.example/"}), "invalid-request"),
        (
            json!({"headless": true, "redirect_uri": "https://shop.example/",
                "return_url": "https://shop.example/"}),
            "invalid-request",
        ),
    ] {
        let reply = world.begin(body.clone()).await;
        assert_eq!(reply.code(), code, "{body}: {}", reply.json());
    }
    let client = "/v1/environments/dev/connectors/fixtures/oauth/clients/token";
    let (method, kind) = (http::Method::DELETE, "application/json");
    world.setup.http.send(method, client, kind, Vec::new().into()).await.ok();
    assert_eq!(world.begin(json!({})).await.code(), "oauth-client-missing");
    world.setup.publish("fetch").await.ok();
    world.setup.pin("acme", "fixtures/fetch", "1.0.0").await;
    let fetch = path("acme", "fixtures/fetch", "/connect-sessions");
    assert_eq!(world.setup.http.post(&fetch, json!({})).await.code(), "unknown-slot");
    // What a person types is typed on the page: there is no provider to be sent to.
    let away = json!({"slot": "token", "headless": true, "redirect_uri": "https://shop.example/"});
    let named = world.setup.http.post(&fetch, away).await;
    assert_eq!(named.code(), "credential-invalid", "{}", named.json());
    let other = path("nobody", OAUTH, "/connect-sessions");
    assert_eq!(world.setup.http.post(&other, json!({})).await.code(), "not-pinned");
}
