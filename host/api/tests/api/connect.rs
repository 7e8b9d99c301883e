//! Pages of links that lead nowhere any more: they are the operator's, as long as it is known which environment's.
//!
//! What happens in a browser is tested with one, in `tests/it/connect.rs`.

use axum::body::Body;
use axum::http::Request;
use axum::http::header::COOKIE;
use keyway_api::Config;
use keyway_vault::consent::SESSION_TIME;
use serde_json::{Value, json};

use crate::world::{Reply, World};

const CLIENT: &str = "/v1/environments/dev/connectors/pub/people/clients/login";
const GRANT: &str = "/v1/environments/dev/tenants/acme/connectors/pub/people";

/// With a release whose slot people connect, and a brand for `dev` alone.
async fn world() -> World {
    stating(json!({})).await
}

/// The same, whose release says this of the provider besides.
async fn stating(besides: Value) -> World {
    let connect = serde_json::from_value(json!({
        "public-url": "http://127.0.0.1:8700",
        "environments": {"dev": {"name": "Shop & Sons", "accent": "#0b6e4f"}},
    }))
    .unwrap();
    let world = World::with(Config { connect, ..Config::default() }).await;
    let mut component = json!({
        "format": 1, "name": "pub/people", "version": "1.0.0", "summary": "People",
        "hosts": ["api.example.com"], "base-url": "https://api.example.com",
        "slots": {"login": {"scheme": {"kind": "oauth2",
            "authorize-url": "https://login.example.com/authorize",
            "token-url": "https://login.example.com/token"}}},
    });
    let scheme = component["slots"]["login"]["scheme"].as_object_mut().unwrap();
    scheme.extend(besides.as_object().unwrap().clone());
    assert_eq!(world.publish(&component.to_string()).await.status, 201);
    for environment in ["dev", "prod"] {
        world.put(&in_(environment, CLIENT), json!({"client_id": "id"})).await.ok();
        let pin = json!({"release": "1.0.0", "reason": "test"});
        world.put(&in_(environment, &format!("{GRANT}/pin")), pin).await.ok();
    }
    world
}

fn in_(environment: &str, path: &str) -> String {
    path.replace("/dev/", &format!("/{environment}/"))
}

/// The path of a new link.
async fn link(world: &World, environment: &str) -> String {
    link_with(world, environment, json!({})).await
}

async fn link_with(world: &World, environment: &str, wanted: Value) -> String {
    let path = in_(environment, &format!("{GRANT}/connect-sessions"));
    let url = world.post(&path, wanted).await.ok()["url"].as_str().unwrap().to_owned();
    url.strip_prefix("http://127.0.0.1:8700").unwrap().to_owned()
}

/// What somebody without a token of the API gets.
async fn look(world: &World, path: &str) -> Reply {
    world.ask("GET", path, "", None).await
}

async fn start(world: &World, path: &str) -> Reply {
    world.ask("POST", &format!("{path}/start"), "", None).await
}

/// The `state` that the provider is sent.
fn state(sent: &Reply) -> &str {
    assert_eq!(sent.status, 303, "{sent:?}");
    let (_, state) = sent.header("location").rsplit_once("state=").unwrap();
    state.split('&').next().unwrap()
}

/// What a browser gets that comes back from the provider.
async fn back(world: &World, sent: &Reply) -> Reply {
    back_with(world, sent, "code=c").await
}

async fn back_with(world: &World, sent: &Reply, answer: &str) -> Reply {
    let path = format!("/connect/callback?{answer}&state={}", state(sent));
    let cookie = sent.header("set-cookie").split(';').next().unwrap();
    world.send(Request::get(path).header(COOKIE, cookie).body(Body::empty()).unwrap()).await
}

/// Whose page it is, and what for.
#[track_caller]
fn is_page(reply: &Reply, status: u16, code: &str, branded: bool) {
    let page = String::from_utf8_lossy(&reply.body);
    assert_eq!(reply.status, status, "{page}");
    assert!(page.contains(code), "{page}");
    assert!(!page.to_lowercase().contains("keyway"), "{page}");
    for mark in ["<header>Shop &amp; Sons</header>", "--accent:#0b6e4f"] {
        assert_eq!(page.contains(mark), branded, "{mark}: {page}");
    }
}

/// Fails if a page that says no is another than the operator's, or names what it is made with.
#[tokio::test]
async fn a_link_that_is_good_no_more_shows_the_operators_page() {
    let world = world().await;
    let used = link(&world, "dev").await;
    let open = link(&world, "dev").await;
    is_page(&look(&world, &used).await, 200, "Connect your account", true);
    let (tab, another) = (start(&world, &used).await, start(&world, &used).await);
    is_page(&back(&world, &tab).await, 200, "Your account is connected", true);
    let over = "connect-session-invalid";
    is_page(&look(&world, &used).await, 410, over, true);
    is_page(&start(&world, &used).await, 410, over, true);
    is_page(&back(&world, &another).await, 410, over, true);

    world.clock.advance(SESSION_TIME.try_into().unwrap());
    is_page(&look(&world, &open).await, 410, over, true);
    is_page(&start(&world, &open).await, 410, over, true);
    // The next session sweeps; then nobody knows any more whose it was.
    link(&world, "dev").await;
    is_page(&look(&world, &open).await, 410, over, false);
    is_page(&look(&world, "/connect/guess").await, 410, over, false);
}

/// Fails if what goes wrong behind the button is said on another's page.
#[tokio::test]
async fn a_start_that_fails_shows_the_operators_page() {
    let world = world().await;
    let (branded, plain) = (link(&world, "dev").await, link(&world, "prod").await);
    // Browsers that do not say which site it is say where it came from.
    for (name, value) in
        [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example"), ("origin", "null")]
    {
        let abroad = Request::post(format!("{branded}/start")).header(name, value);
        let abroad = world.send(abroad.body(Body::empty()).unwrap()).await;
        is_page(&abroad, 400, "connect-state-invalid", true);
    }
    for environment in ["dev", "prod"] {
        let gone = world.delete(&in_(environment, CLIENT)).await;
        assert!(gone.status.is_success(), "{gone:?}");
    }
    is_page(&start(&world, &branded).await, 409, "oauth-client-missing", true);
    is_page(&start(&world, &plain).await, 409, "oauth-client-missing", false);
}

/// Fails if a provider's no is lost where it does not say of whom it is, or if one that another server has sent is believed.
#[tokio::test]
async fn a_no_without_an_issuer_says_what_the_provider_said() {
    let world = stating(json!({"issuer": "https://login.example.com"})).await;
    let answered = async |answer: &str| {
        let wanted = json!({"return_url": "https://shop.example/done"});
        let sent = start(&world, &link_with(&world, "dev", wanted).await).await;
        back_with(&world, &sent, answer).await
    };
    for iss in ["", "&iss=https://login.example.com"] {
        let back = answered(&format!("error=access_denied{iss}")).await;
        let there =
            "https://shop.example/done?status=failed&code=consent-refused&error=access_denied";
        assert_eq!((back.status.as_u16(), back.header("location")), (303, there), "{iss}");
        // What else came with it is not looked at.
        let back = answered(&format!("error=access_denied&code=c{iss}")).await;
        assert_eq!(back.header("location"), there, "{iss}");
    }
    for answer in [
        "error=access_denied&iss=https://evil.example",
        "error=access_denied&iss=",
        "code=c",
        "code=c&iss=https://evil.example",
        "",
    ] {
        is_page(&answered(answer).await, 400, "connect-state-invalid", true);
    }
    let audit = world.get("/v1/audit").await.ok().to_string();
    assert_eq!(audit.matches("consent-refused: access_denied").count(), 4, "{audit}");
}
