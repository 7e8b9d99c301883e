//! People consent, each provider in its own way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::Http;
use serde_json::{Value, json};

use super::provider::{Answer, Asked, Pairs, Provider};
use super::{CLIENT, CLIENT_SECRET, World, expire, now};

/// What a provider issues: `access-1` and `refresh-1` for a code, the next for each refresh, each good once.
#[derive(Clone, Default)]
struct Issuer(Arc<AtomicU32>);

impl Issuer {
    /// The number of what is issued for these fields, if they are right.
    fn issue(&self, fields: &Pairs) -> Option<u32> {
        let field = |name: &str| fields.get(name).map_or("", String::as_str);
        let number = self.0.load(Ordering::SeqCst);
        let right = match field("grant_type") {
            "authorization_code" => {
                field("code") == "canary-c0de"
                    && field("redirect_uri").ends_with("/connect/callback")
            }
            "refresh_token" => field("refresh_token") == format!("refresh-{number}"),
            _ => false,
        };
        right.then(|| self.0.fetch_add(1, Ordering::SeqCst) + 1)
    }

    fn number(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    /// Whether a value is this, and the newest access token behind it.
    fn knows(&self, value: &str, prefix: &str) -> bool {
        value == format!("{prefix}access-{}", self.number())
    }
}

fn unauthorized() -> Answer {
    Answer::refused(401, &json!({"error": "who are you"}))
}

fn invalid(what: &str) -> Answer {
    Answer::refused(400, &json!({"error": "invalid_request", "error_description": what}))
}

/// Whether the page of consent was asked for with these.
fn asks(asked: &Asked, wanted: &[(&str, &str)]) -> bool {
    let query = asked.queried();
    let mut wanted = wanted.iter().chain(&[("response_type", "code"), ("client_id", CLIENT)]);
    wanted.all(|(name, value)| query.get(*name).is_some_and(|own| own == value))
}

fn strings(body: &Value) -> Pairs {
    let members = body.as_object().expect("an object").iter();
    members.map(|(name, value)| (name.clone(), value.as_str().expect("text").to_owned())).collect()
}

/// A help desk: an address for each customer, token requests as JSON with the client in them, `%20` between scopes.
fn desk(issuer: &Issuer, asked: &Asked) -> Answer {
    if asked.host != "acme.desk.example.com" {
        return Answer::refused(404, &json!({"error": "no such customer"}));
    }
    match asked.what() {
        ("GET", "/oauth/new") => match asked.query.contains("scope=read%20tickets%3Awrite") {
            true if asks(asked, &[("code_challenge_method", "S256")]) => {
                Answer::back(asked, &[("code", "canary-c0de")])
            }
            _ => invalid("scope"),
        },
        ("POST", "/oauth/tokens") => {
            let fields = strings(&asked.json());
            let known = fields.get("client_id").is_some_and(|id| id == CLIENT)
                && fields.get("client_secret").is_some_and(|secret| secret == CLIENT_SECRET);
            match issuer.issue(&fields).filter(|_| known) {
                Some(number) => Answer::json(&json!({
                    "access_token": format!("access-{number}"), "expires_in": 1,
                    "refresh_token": format!("refresh-{number}"), "scope": "read tickets:write",
                })),
                None => Answer::refused(400, &json!({"error": "invalid_grant"})),
            }
        }
        _ if issuer.knows(asked.header("authorization"), "Bearer ") => Answer::json(&json!({})),
        _ => unauthorized(),
    }
}

async fn desk_world() -> World {
    let issuer = Issuer::default();
    let provider = Provider::start(move |asked| desk(&issuer, asked)).await;
    let stated = json!({
        "hosts": ["*.desk.example.com"],
        "slots": {"login": {"scopes": ["read", "tickets:write"], "scheme": {
            "kind": "oauth2",
            "authorize-url": "https://{subdomain}.desk.example.com/oauth/new",
            "token-url": "https://{subdomain}.desk.example.com/oauth/tokens",
            "base-url": "https://{subdomain}.desk.example.com",
            "variables": {"subdomain": {"summary": "Your subdomain"}},
            "client-auth": "post", "token-format": "json",
        }}},
    });
    World::with_client(&["acme.desk.example.com"], stated, provider).await
}

/// Fails if a customer's address is not asked for or not used, for the page, the tokens, their refresh and the calls.
#[tokio::test(flavor = "multi_thread")]
async fn a_customer_s_own_address_is_asked_for_and_used() {
    let mut world = desk_world().await;
    for evil in ["evil.com/", "a@evil.com", "evil.com#", "..", ""] {
        let refused = world.connect(json!({}), &[("variable.subdomain", evil)]).await;
        assert_eq!(refused.status, 400, "{evil}");
    }
    let other = world.connect(json!({}), &[("variable.subdomain", "other")]).await;
    assert_eq!(other.status, 404, "{}", other.json());
    let done = world.connect(json!({}), &[("variable.subdomain", "acme")]).await.ok();
    assert!(String::from_utf8_lossy(&done.body).contains("is connected"));
    let made = world.connection("login").await;
    assert_eq!(made["base_url"], "https://acme.desk.example.com");
    assert_eq!(made["facts"], json!({"subdomain": "acme"}));
    for round in 0..2 {
        assert_eq!(world.call("login", "/tickets").await, 200, "round {round}");
        expire().await;
    }
    let asked = world.provider.asked_at("/oauth/tokens");
    let grants: Vec<_> = asked.iter().map(|asked| asked.json()["grant_type"].clone()).collect();
    assert_eq!(grants[..2], ["authorization_code", "refresh_token"], "{grants:?}");
    world.hides(&[CLIENT_SECRET, "canary-client", "access-1", "refresh-1"]).await;
    // What is known is not asked for again, and goes with the connection.
    let link = world.link(json!({})).await;
    let mut anybody = Http::new(world.setup.host.address, "");
    let page = anybody.get(&link[link.find("/connect/").expect("a path")..]).await.ok();
    assert!(!String::from_utf8_lossy(&page.body).contains("variable.subdomain"));
    world.browser.connect(&link, &[]).await.ok();
    assert_eq!(world.connection("login").await["facts"], json!({"subdomain": "acme"}));
}

/// Books of a company: the callback says which company it is, and the client is in `Authorization`, encoded first.
#[tokio::test(flavor = "multi_thread")]
async fn a_fact_of_the_callback_reaches_the_connector() {
    let issuer = Issuer::default();
    let judged = issuer.clone();
    let provider = Provider::start(move |asked| match asked.what() {
        ("GET", "/connect/oauth2") if asks(asked, &[("scope", "accounting")]) => {
            Answer::back(asked, &[("code", "canary-c0de"), ("realmId", "9341453"), ("other", "x")])
        }
        ("POST", "/token") => {
            // RFC 6749 section 2.3.1.
            let right =
                asked.basic().as_deref() == Some("shop+%26+sons:canary%2Bclient%25secret%3A77ad");
            match judged.issue(&asked.form()).filter(|_| right) {
                Some(number) => Answer::json(&json!({"access_token": format!("access-{number}"),
                    "refresh_token": format!("refresh-{number}"), "expires_in": 3600,
                    "x_refresh_token_expires_in": 8_726_400})),
                None => Answer::refused(400, &json!({"error": "invalid_grant"})),
            }
        }
        _ if judged.knows(asked.header("authorization"), "Bearer ") => Answer::json(&json!({})),
        _ => unauthorized(),
    })
    .await;
    let stated = json!({
        "hosts": ["books.example.com"], "base-url": "https://books.example.com",
        "slots": {"login": {"scopes": ["accounting"], "scheme": {
            "kind": "oauth2", "authorize-url": "https://app.books.example.com/connect/oauth2",
            "token-url": "https://oauth.books.example.com/token", "callback-facts": ["realmId"],
        }}},
    });
    let hosts = ["books.example.com", "oauth.books.example.com"];
    let mut world = World::with_client(&hosts, stated, provider).await;
    world.connect(json!({}), &[]).await.ok();
    assert_eq!(world.connection("login").await["facts"], json!({"realmId": "9341453"}));
    assert_eq!(world.call("login", "/v3/company/9341453").await, 200);
    let seen = world.setup.act("acme", super::STATED, "settings", json!({})).await.ok().json();
    assert_eq!(seen["slots"]["login"]["facts"], json!({"realmId": "9341453"}), "{seen}");
    assert_eq!(issuer.number(), 1);
}

/// A messenger: two tokens in one answer, and the one of the person is not in the standard's place; a client that is not
/// encoded; commas between scopes.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_found_where_the_release_says() {
    let issuer = Issuer::default();
    let provider = Provider::start(move |asked| match asked.what() {
        ("GET", "/oauth/v2/authorize") if asks(asked, &[("scope", "chat,users.read")]) => {
            Answer::back(asked, &[("code", "canary-c0de")])
        }
        ("POST", "/api/oauth.access") => {
            let right = asked.basic().as_deref() == Some("shop & sons:canary+client%secret:77ad");
            let number = issuer.issue(&asked.form()).filter(|_| right);
            let Some(number) = number else {
                return Answer::json(&json!({"ok": false, "error": "invalid_code"}));
            };
            let own = json!({"access_token": format!("access-{number}"), "expires_in": 1,
                "refresh_token": format!("refresh-{number}"), "scope": "chat,users.read"});
            let bot = json!({"ok": true, "access_token": "bot", "refresh_token": "of-bot", "scope": "bot",
                "authed_user": own});
            // A refresh answers of the token that was presented.
            Answer::json(if number == 1 { &bot } else { &own })
        }
        _ if issuer.knows(asked.header("authorization"), "Bearer ") => {
            Answer::json(&json!({"ok": true}))
        }
        _ => unauthorized(),
    })
    .await;
    let stated = json!({
        "hosts": ["chat.example.com"], "base-url": "https://chat.example.com",
        "slots": {"login": {"scopes": ["chat", "users.read"], "scheme": {
            "kind": "oauth2", "authorize-url": "https://chat.example.com/oauth/v2/authorize",
            "token-url": "https://chat.example.com/api/oauth.access",
            "client-auth": "basic-raw", "scope-separator": ",",
            "answer": {"access-token": "/authed_user/access_token",
                "refresh-token": "/authed_user/refresh_token",
                "expires": "/authed_user/expires_in", "scope": "/authed_user/scope"},
        }}},
    });
    let mut world = World::with_client(&["chat.example.com"], stated, provider).await;
    world.connect(json!({}), &[]).await.ok();
    assert_eq!(world.connection("login").await["scopes"], json!(["chat", "users.read"]));
    for round in 0..3 {
        assert_eq!(world.call("login", "/api/chat.list").await, 200, "round {round}");
        expire().await;
    }
}

/// Accounts on several continents: the whole host is said, below a domain that the release names; what is issued stands in a
/// wrapper with a time in milliseconds; and the token goes behind another word.
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_host_stays_below_its_domain_and_a_token_has_its_own_prefix() {
    let issuer = Issuer::default();
    let provider = Provider::start(move |asked| match asked.what() {
        _ if asked.host != "accounts.eu.crm.example.com" => unauthorized(),
        ("GET", "/oauth/v2/auth") if asks(asked, &[("access_type", "offline")]) => {
            Answer::back(asked, &[("code", "canary-c0de")])
        }
        ("POST", "/oauth/v2/token") => match issuer.issue(&asked.form()) {
            Some(number) => {
                let lives = if number == 1 { 1 } else { 3_600 };
                let until = (now() + lives) * 1_000;
                Answer::json(&json!({"data": {"token": format!("access-{number}"),
                    "renew": format!("refresh-{number}"), "until": until}}))
            }
            None => Answer::json(&json!({"error": "invalid_code"})),
        },
        _ if issuer.knows(asked.header("authorization"), "Crm-oauthtoken ") => {
            Answer::json(&json!({}))
        }
        _ => unauthorized(),
    })
    .await;
    let stated = json!({
        "hosts": ["accounts.eu.crm.example.com"],
        "slots": {"login": {"header": {"name": "Authorization", "prefix": "Crm-oauthtoken "}, "scheme": {
            "kind": "oauth2", "authorize-url": "https://{host}/oauth/v2/auth",
            "token-url": "https://{host}/oauth/v2/token", "base-url": "https://{host}/crm",
            "variables": {"host": {"summary": "Your accounts server", "suffixes": ["crm.example.com"]}},
            "authorize-params": {"access_type": "offline"}, "client-auth": "post",
            "answer": {"access-token": "/data/token", "refresh-token": "/data/renew", "expires": "/data/until"},
        }}},
    });
    let mut world = World::with_client(&["accounts.eu.crm.example.com"], stated, provider).await;
    for evil in
        ["evil.com", "evilcrm.example.com", "crm.example.com.evil.com", "x.crm.example.com:8443"]
    {
        let refused = world.connect(json!({}), &[("variable.host", evil)]).await;
        assert_eq!(refused.status, 400, "{evil}");
    }
    assert!(world.provider.asked().is_empty(), "nothing was sent anywhere");
    // As people copy it from where they see it.
    let copied = "https://Accounts.eu.crm.example.com/";
    world.connect(json!({}), &[("variable.host", copied)]).await.ok();
    expire().await;
    assert_eq!(world.call("login", "/v2/Leads").await, 200);
    let calls = world.provider.asked_at("/crm/v2/Leads");
    assert_eq!(calls[0].header("authorization"), "Crm-oauthtoken access-2", "refreshed in time");
}

/// A shop: the token goes into a header of the shop's own, lives for ever, and there is no PKCE.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_goes_into_a_header_of_the_provider_s_own() {
    let issuer = Issuer::default();
    let provider = Provider::start(move |asked| match asked.what() {
        ("GET", "/admin/oauth/authorize") if !asked.query.contains("code_challenge") => {
            Answer::back(
                asked,
                &[("code", "canary-c0de"), ("shop", "acme.shops.example.com"), ("hmac", "700e")],
            )
        }
        ("POST", "/admin/oauth/access_token") => match issuer.issue(&asked.form()) {
            Some(number) => Answer::json(&json!({"access_token": format!("access-{number}")})),
            None => invalid("code"),
        },
        _ if issuer.knows(asked.header("x-shop-access-token"), "")
            && asked.header("authorization").is_empty() =>
        {
            Answer::json(&json!({}))
        }
        _ => unauthorized(),
    })
    .await;
    let stated = json!({
        "hosts": ["*.shops.example.com"],
        "slots": {"login": {"header": {"name": "X-Shop-Access-Token"}, "scheme": {
            "kind": "oauth2", "authorize-url": "https://{shop}/admin/oauth/authorize",
            "token-url": "https://{shop}/admin/oauth/access_token", "base-url": "https://{shop}/admin/api",
            "variables": {"shop": {"suffixes": ["shops.example.com"]}},
            "client-auth": "post", "pkce": false, "refresh": "none",
        }}},
    });
    let mut world = World::with_client(&["acme.shops.example.com"], stated, provider).await;
    let wanted = json!({"variables": {"shop": "acme.shops.example.com"}});
    world.connect(wanted, &[]).await.ok();
    assert_eq!(world.call("login", "/orders.json").await, 200);
    let forged =
        json!({"slot": "login", "path": "/x", "headers": [["X-Shop-Access-Token", "mine"]]});
    let refused = world.setup.act("acme", super::STATED, "send", forged).await;
    assert_eq!(refused.json()["provider_code"], "credential-place-taken", "{}", refused.json());
}

/// A provider that has the browser send its answer as a form. Fails if anything of the answer stands in an address, where
/// logs and histories have it, or if the form is believed in another browser.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_as_a_form_stands_in_no_address() {
    let issuer = Issuer::default();
    let provider = Provider::start(move |asked| match asked.what() {
        ("GET", "/auth/authorize") if asks(asked, &[("response_mode", "form_post")]) => {
            let user = r#"{"name":{"firstName":"Ann"}}"#;
            Answer::back_as_form(asked, &[("code", "canary-c0de"), ("user", user), ("org", "4711")])
        }
        ("POST", "/auth/token") => match issuer.issue(&asked.form()) {
            Some(number) => Answer::json(&json!({"access_token": format!("access-{number}")})),
            None => invalid("code"),
        },
        _ if issuer.knows(asked.header("authorization"), "Bearer ") => Answer::json(&json!({})),
        _ => unauthorized(),
    })
    .await;
    let stated = json!({
        "hosts": ["id.example.com"], "base-url": "https://id.example.com",
        "slots": {"login": {"scheme": {
            "kind": "oauth2", "authorize-url": "https://id.example.com/auth/authorize",
            "token-url": "https://id.example.com/auth/token", "client-auth": "post", "refresh": "none",
            "authorize-params": {"response_mode": "form_post"}, "callback-facts": ["org"],
        }}},
    });
    let mut world = World::with_client(&["id.example.com"], stated, provider).await;
    world.connect(json!({}), &[]).await.ok();
    assert_eq!(world.connection("login").await["facts"], json!({"org": "4711"}));
    assert_eq!(world.call("login", "/me").await, 200);
    let sent = world.provider.asked_at("/auth/authorize")[0].queried();
    let (last, before) = world.browser.history.split_last().expect("some");
    assert!(last.contains("/connect/callback?answer="), "{last}");
    for address in before.iter().chain([last]).filter(|address| address.contains("/connect/")) {
        assert!(!address.contains(&sent["state"]) && !address.contains("firstName"), "{address}");
    }
    world.hides(&["canary-c0de", "firstName"]).await;
    assert!(!world.setup.log().contains(&sent["state"]));
}

/// Fails if a provider's reason is not said in log, audit and redirect, or if the wrong one is blamed for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_s_error_is_said_to_whom_it_concerns() {
    let provider = Provider::start(|asked| {
        let error = asked.queried()["login_hint"].clone();
        Answer::back(asked, &[("error", &error), ("error_description", "canary of a text")])
    })
    .await;
    let stated = json!({
        "hosts": ["id.example.com"],
        "slots": {"login": {"scheme": {
            "kind": "oauth2", "authorize-url": "https://id.example.com/authorize",
            "token-url": "https://id.example.com/token", "variables": {"hint": {}},
            "authorize-params": {"login_hint": "{hint}"},
        }}},
    });
    let mut world = World::with_client(&["id.example.com"], stated, provider).await;
    for (error, code, whose) in [
        ("access_denied", "consent-refused", "tenant"),
        ("unauthorized_client", "oauth-client-refused", "host"),
        ("temporarily_unavailable", "token-endpoint-failed", "upstream"),
    ] {
        let back = format!("http://{}/settings", world.setup.host.address);
        let wanted = json!({"variables": {"hint": error}, "return_url": back});
        world.connect(wanted, &[]).await;
        let ended = world.browser.history.last().expect("some").clone();
        assert!(ended.ends_with(&format!("?status=failed&code={code}&error={error}")), "{ended}");
        let log = world.setup.log();
        let line = log.lines().rfind(|line| line.contains("consent.refused")).expect("a line");
        for said in [error, code, whose] {
            assert!(line.contains(&format!("\"{said}\"")), "{said} in {line}");
        }
        let audit = world.setup.http.get("/v1/audit?limit=1000").await.ok().json();
        let last = audit["entries"].as_array().and_then(|all| all.last()).expect("entries").clone();
        assert_eq!(
            (&last["action"], &last["after"]),
            (&json!("connection.refused"), &json!(format!("{code}: {error}")))
        );
    }
    world.hides(&["canary of a text"]).await;
    assert_eq!(world.connection("login").await, Value::Null);
}
