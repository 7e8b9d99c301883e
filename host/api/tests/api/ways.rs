//! Ways in which people connect: at an address of their own, with an answer that comes as a form, by typing a key, and not
//! at all.

use axum::body::Body;
use axum::http::Request;
use axum::http::header::{CONTENT_TYPE, COOKIE};
use keyway_api::Config;
use serde_json::{Value, json};

use crate::world::{Reply, World};

const AT: &str = "/v1/environments/dev/tenants/acme/connectors/pub/ways";

/// A release whose provider has an address for each customer, and slots that a person types.
async fn world() -> World {
    let connect = serde_json::from_value(json!({"public-url": "http://127.0.0.1:8700"})).unwrap();
    let world = World::with(Config { connect, ..Config::default() }).await;
    let component = json!({
        "format": 1, "name": "pub/ways", "version": "1.0.0", "summary": "Ways",
        "hosts": ["*.example.com"], "base-url": "https://api.example.com",
        "slots": {
            "login": {"scheme": {"kind": "oauth2",
                "authorize-url": "https://{sub}.example.com/authorize",
                "token-url": "https://{sub}.example.com/token",
                "variables": {"sub": {"summary": "Your subdomain"}},
                "base-url": "https://{sub}.example.com",
                "callback-facts": ["realmId"]}},
            "key": {"scheme": {"kind": "bearer"}, "probe": {"path": "/me", "account": "/account"}},
            "basic": {"scheme": {"kind": "basic"}},
        },
    });
    let published = world.publish(&component.to_string()).await;
    assert_eq!(published.status, 201, "{}", published.json());
    let client = "/v1/environments/dev/connectors/pub/ways/clients/login";
    let set = world.put(client, json!({"client_id": "id"})).await.ok();
    assert_eq!(set["hosts"], json!(["*.example.com"]), "what the operator confirms");
    let pin = json!({"release": "1.0.0", "reason": "test"});
    world.put(&format!("{AT}/pin"), pin).await.ok();
    world
}

/// The path of a new link.
async fn link(world: &World, wanted: Value) -> String {
    let session = world.post(&format!("{AT}/connect-sessions"), wanted).await.ok();
    let url = session["url"].as_str().unwrap().to_owned();
    url.strip_prefix("http://127.0.0.1:8700").unwrap().to_owned()
}

/// What a browser gets for a form that a person has filled in.
async fn submit(world: &World, path: &str, form: &str) -> Reply {
    let request = Request::post(path).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    world.send(request.body(Body::from(form.to_owned())).unwrap()).await
}

fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).into_owned()
}

fn state(sent: &Reply) -> String {
    let (_, state) = sent.header("location").rsplit_once("state=").unwrap();
    state.split('&').next().unwrap().to_owned()
}

/// What the store keeps there, as text.
async fn cells(world: &World, space: &str) -> Vec<String> {
    let cells = world.store.cells(space).await.unwrap().into_iter();
    cells.map(|(_, cell)| String::from_utf8_lossy(&cell.value).into_owned()).collect()
}

async fn connection(world: &World, slot: &str) -> Value {
    let list = world.get(&format!("{AT}/connections")).await.ok();
    let found = list["connections"].as_array().unwrap().iter().find(|of| of["slot"] == slot);
    found.cloned().unwrap_or_default()
}

/// Fails if the address of a customer is not asked for, is not held to the provider's domain, or is lost on the way.
#[tokio::test]
async fn a_person_says_the_address_that_is_theirs_and_comes_back_with_a_form() {
    let world = world().await;
    let path = link(&world, json!({"slot": "login"})).await;
    let page = text(&world.ask("GET", &path, "", None).await);
    assert!(page.contains("Your subdomain") && page.contains(r#"name="variable.sub""#), "{page}");
    let start = format!("{path}/start");
    for form in ["", "variable.sub=evil.net%2F", "variable.sub=a%40evil.net", "variable.other=a"] {
        let refused = submit(&world, &start, form).await;
        assert_eq!(refused.status, 400, "{form}: {}", text(&refused));
        assert!(text(&refused).contains("What you typed"), "{form}: {}", text(&refused));
    }
    let sent = submit(&world, &start, "variable.sub=acme").await;
    assert_eq!(sent.status, 303, "{}", text(&sent));
    assert!(sent.header("location").starts_with("https://acme.example.com/authorize?"));
    // The browser shows no cookie to a form of another site: it is sent on, and its address says nothing.
    let answer = format!("code=c0de&realmId=4711&id_token=eyJ&user=%7B%7D&state={}", state(&sent));
    let again = submit(&world, "/connect/callback", &answer).await;
    assert_eq!(again.status, 303);
    let to = again.header("location").strip_prefix("http://127.0.0.1:8700").unwrap().to_owned();
    let name = to.strip_prefix("/connect/callback?answer=").unwrap_or_else(|| panic!("{to}"));
    assert!(name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit()), "{to}");
    assert_ne!(name, state(&sent));
    let kept = cells(&world, "vault/connect-answer").await;
    assert!(kept.len() == 1 && !kept[0].contains("c0de"), "sealed: {kept:?}");
    assert_eq!(submit(&world, "/connect/callback", &answer).await.status, 400, "once");
    let cookie = sent.header("set-cookie").split(';').next().unwrap();
    let done =
        world.send(Request::get(&to).header(COOKIE, cookie).body(Body::empty()).unwrap()).await;
    assert_eq!(done.status, 200, "{}", text(&done));
    assert!(cells(&world, "vault/connect-answer").await.is_empty());
    let twice =
        world.send(Request::get(&to).header(COOKIE, cookie).body(Body::empty()).unwrap()).await;
    assert_eq!(twice.status, 400, "{}", text(&twice));
    let made = connection(&world, "login").await;
    assert_eq!(made["facts"], json!({"sub": "acme", "realmId": "4711"}));
    assert_eq!(made["base_url"], "https://acme.example.com");
    let asked = world.outbound.seen.lock().unwrap().clone();
    assert!(asked.contains(&"token https://acme.example.com/token".to_owned()), "{asked:?}");
    // It is known by now, and not asked for again; an operator may say another.
    let path = link(&world, json!({"slot": "login"})).await;
    assert!(!text(&world.ask("GET", &path, "", None).await).contains("variable.sub"));
    let path = link(&world, json!({"slot": "login", "variables": {"sub": "other"}})).await;
    let sent = submit(&world, &format!("{path}/start"), "variable.sub=acme").await;
    assert!(sent.header("location").starts_with("https://other.example.com/authorize?"));
    let unknown = json!({"slot": "login", "variables": {"tenant": "acme"}});
    world.post(&format!("{AT}/connect-sessions"), unknown).await.refused(400, "invalid-request");
}

/// Fails if a form is believed that no browser of ours comes for, or if one that belongs to nothing is kept.
#[tokio::test]
async fn a_form_is_good_only_in_the_browser_that_was_sent() {
    let world = world().await;
    for form in ["", "code=c", "code=c&state=unknown", "state=a&state=b"] {
        assert_eq!(submit(&world, "/connect/callback", form).await.status, 400, "{form}");
    }
    let path = link(&world, json!({"slot": "login", "variables": {"sub": "acme"}})).await;
    let sent = submit(&world, &format!("{path}/start"), "").await;
    let again =
        submit(&world, "/connect/callback", &format!("code=c&state={}", state(&sent))).await;
    let to = again.header("location").strip_prefix("http://127.0.0.1:8700").unwrap().to_owned();
    let other = world.ask("GET", &to, "", None).await;
    assert_eq!(other.status, 400, "without its cookie: {}", text(&other));
    assert_eq!(connection(&world, "login").await, Value::Null);
    let unknown = format!("/connect/callback?answer={}", "0".repeat(64));
    assert_eq!(world.ask("GET", &unknown, "", None).await.status, 400);
}

/// What providers send in a form beside a code, such as a token and a person's name, is not kept; a code that carries what it
/// stands for may be long. Fails at one byte more or less than what is documented, and if any of it stays.
#[tokio::test]
async fn a_form_may_have_a_long_code_and_all_of_it_goes_again() {
    let world = world().await;
    let path = link(&world, json!({"slot": "login", "variables": {"sub": "acme"}})).await;
    let sent = submit(&world, &format!("{path}/start"), "").await;
    let around = json!({"state": state(&sent), "code": "", "issuer": null, "error": null,
        "besides": []});
    let code = "c0de".repeat(4 << 10);
    let longest = &code[..code.len() - around.to_string().len()];
    let besides = format!("id_token={}&user={}", "e".repeat(10 << 10), "u".repeat(10 << 10));
    let form = |code: &str| format!("{besides}&code={code}&state={}", state(&sent));
    let over = submit(&world, "/connect/callback", &form(&format!("{longest}c"))).await;
    assert_eq!(over.status, 400, "{}", text(&over));
    assert_eq!(kept(&world).await, 0);
    let again = submit(&world, "/connect/callback", &form(longest)).await;
    assert_eq!(again.status, 303, "{}", text(&again));
    let to = again.header("location").strip_prefix("http://127.0.0.1:8700").unwrap().to_owned();
    assert_eq!(to.len(), "/connect/callback?answer=".len() + 64, "{to}");
    assert_eq!(kept(&world).await, 6, "in as few cells as it takes");
    let cookie = sent.header("set-cookie").split(';').next().unwrap();
    let done =
        world.send(Request::get(&to).header(COOKIE, cookie).body(Body::empty()).unwrap()).await;
    assert_eq!(done.status, 200, "{}", text(&done));
    assert_eq!(kept(&world).await, 0);
    // One that nobody comes for.
    for _ in 0..20 {
        let path = link(&world, json!({"slot": "login"})).await;
        let sent = submit(&world, &format!("{path}/start"), "").await;
        let form = format!("code={longest}&state={}", state(&sent));
        assert_eq!(submit(&world, "/connect/callback", &form).await.status, 303);
    }
    assert_eq!(kept(&world).await, 20 * 6);
    world.clock.advance(std::time::Duration::from_secs(60 * 60));
    link(&world, json!({"slot": "login"})).await;
    assert_eq!(kept(&world).await, 0);
}

/// How many cells have something of an answer, none of it to be read.
async fn kept(world: &World) -> usize {
    let mut found = cells(world, "vault/connect-answer").await;
    found.extend(cells(world, "vault/connect-answer-part").await);
    assert!(found.iter().all(|cell| !cell.contains("c0de")), "sealed");
    found.len()
}

/// Fails if nobody learns why a consent came to nothing, or if the wrong one is blamed.
#[tokio::test]
async fn the_providers_error_is_in_the_redirect_and_in_the_audit() {
    let world = world().await;
    for (error, code) in [
        ("access_denied", "consent-refused"),
        ("invalid_scope", "oauth-client-refused"),
        ("server_error", "token-endpoint-failed"),
    ] {
        let wanted = json!({"slot": "login", "variables": {"sub": "acme"},
            "return_url": "https://shop.example/apps"});
        let path = link(&world, wanted).await;
        let sent = submit(&world, &format!("{path}/start"), "").await;
        let back = format!("/connect/callback?error={error}&state={}", state(&sent));
        let cookie = sent.header("set-cookie").split(';').next().unwrap();
        let ended = world
            .send(Request::get(back).header(COOKIE, cookie).body(Body::empty()).unwrap())
            .await;
        let to = format!("https://shop.example/apps?status=failed&code={code}&error={error}");
        assert_eq!(ended.header("location"), to);
        let audit = world.get("/v1/audit?limit=1000").await.ok();
        let last = audit["entries"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(last["action"], "connection.refused");
        assert_eq!(last["after"], format!("{code}: {error}"));
    }
    assert_eq!(connection(&world, "login").await, Value::Null);
}

/// Fails if a key cannot be typed, is set without having been tried, or stands on a page.
#[tokio::test]
async fn a_person_types_a_key_or_a_login() {
    let world = world().await;
    let path = link(&world, json!({"slot": "key"})).await;
    let page = text(&world.ask("GET", &path, "", None).await);
    assert!(page.contains(r#"name="key" type="password""#), "{page}");
    let start = format!("{path}/start");
    let refused = submit(&world, &start, "key=canary-bad").await;
    assert_eq!(refused.status, 422, "{}", text(&refused));
    assert!(text(&refused).contains("probe-failed") && !text(&refused).contains("canary"));
    assert_eq!(connection(&world, "key").await, Value::Null);
    // The link is still good.
    let done = submit(&world, &start, "key=good-account").await;
    assert_eq!(done.status, 200, "{}", text(&done));
    assert_eq!(connection(&world, "key").await["kind"], "bearer");
    assert_eq!(submit(&world, &start, "key=good-account").await.status, 410, "it is used");
    let path = link(&world, json!({"slot": "basic"})).await;
    let page = text(&world.ask("GET", &path, "", None).await);
    assert!(page.contains(r#"name="user""#) && page.contains(r#"name="password""#), "{page}");
    let done = submit(&world, &format!("{path}/start"), "user=ann&password=pass%20word").await;
    assert_eq!(done.status, 200, "{}", text(&done));
    assert_eq!(connection(&world, "basic").await["kind"], "basic");
}

/// Fails if a credential that the provider refuses is set, or if nobody can ask whether one works.
#[tokio::test]
async fn a_credential_is_tried_before_it_is_set_and_tested_at_any_time() {
    let world = world().await;
    let slot = format!("{AT}/connections/key");
    let token = |token: &str| json!({ "token": token });
    world.put(&slot, token("canary-bad")).await.refused(422, "probe-failed");
    assert_eq!(connection(&world, "key").await, Value::Null);
    world.put(&format!("{slot}?test=false"), token("canary-bad")).await.ok();
    world.post(&format!("{slot}/test"), json!({})).await.refused(422, "probe-failed");
    world.put(&slot, token("good-account")).await.ok();
    let tested = world.post(&format!("{slot}/test"), json!({})).await.ok();
    assert_eq!(tested, json!({"works": true, "account": "account"}));
    let untold = format!("{AT}/connections/basic");
    world.put(&untold, json!({"user": "ann", "password": "pass word"})).await.ok();
    world.post(&format!("{untold}/test"), json!({})).await.refused(422, "unsupported");

    // Several at once: all of them or none.
    let all = |key: &str| json!({"connections": {"key": token(key), "basic": {"user": "bob", "password": "pass word"}}});
    let before = connection(&world, "basic").await;
    world.put(&format!("{AT}/connections"), all("canary-bad")).await.refused(422, "probe-failed");
    assert_eq!(connection(&world, "basic").await, before);
    let set = world.put(&format!("{AT}/connections"), all("good-account")).await.ok();
    assert_eq!(set["connections"].as_array().unwrap().len(), 2);
    assert_ne!(connection(&world, "basic").await["generation"], before["generation"]);
    let none = json!({"connections": {}});
    world.put(&format!("{AT}/connections"), none).await.refused(400, "invalid-request");
}

/// Fails if a provider that cannot tell is told as a mistake of the tenant's, or of whoever typed.
#[tokio::test]
async fn a_provider_that_cannot_tell_has_refused_nothing() {
    let world = world().await;
    let slot = format!("{AT}/connections/key");
    let busy = json!({"token": "busy-token"});
    let refused = world.put(&slot, busy.clone()).await;
    refused.refused(502, "probe-undecided");
    let problem: Value = serde_json::from_str(&refused.text()).unwrap();
    assert_eq!((&problem["whose"], &problem["retry"]), (&json!("upstream"), &json!(true)));
    assert_eq!(connection(&world, "key").await, Value::Null);
    world.put(&format!("{slot}?test=false"), busy).await.ok();
    world.post(&format!("{slot}/test"), json!({})).await.refused(502, "probe-undecided");
    let path = link(&world, json!({"slot": "key"})).await;
    let page = submit(&world, &format!("{path}/start"), "key=busy-token").await;
    let shown = text(&page);
    assert_eq!(page.status, 502, "{shown}");
    assert!(
        shown.contains("is not answering as it should") && !shown.contains("does not take"),
        "{shown}"
    );
    let page = submit(&world, &format!("{path}/start"), "key=canary-bad").await;
    assert!(text(&page).contains("does not take what it was shown"), "{}", text(&page));
}
