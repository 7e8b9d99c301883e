//! People connect accounts: a real browser, a certified authorization server, and an API that asks it about tokens.
//!
//! What each browser saw is what a person would have seen. The authorization server says what became of a token.

mod answers;
mod broken;
mod grants;

use std::time::Duration;

use fixtures::Guest;
use harness::parties::{AuthServer, Party, Seen, consent};
use harness::{Http, Reply};
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::setup::{Setup, path, stand_in};
use crate::upstream::Plain;

/// The operator's client at the authorization server.
const CLIENT: &str = "shop";

/// Nowhere but at the token endpoint.
const CLIENT_SECRET: &str = "canary-client-6b1f-do-not-leak";

/// The connector whose slot people connect.
const OAUTH: &str = "fixtures/oauth";

/// What the API answers with 200 for a good token.
const QUERY: &str = "/services/data/v62.0/query?q=SELECT%20Id%20FROM%20Contact%20LIMIT%201";

/// A token that is younger is not refreshed because it is rejected (`host/vault/src/oauth/refresh.rs`: 10 s).
pub(crate) const REJECTED_TOO_SOON: Duration = Duration::from_secs(11);

/// How the operator's page looks, and that it does not name us.
const BRAND: &str = "
[connect.environments.dev]
name = \"Shop & Sons\"
accent = \"#0b6e4f\"
background = \"#fdfaf3\"
text = \"#222222\"
";

/// A host with a pinned release, an authorization server that knows the operator, and an API.
struct World {
    setup: Setup,
    server: AuthServer,
    _api: Party,
    _folder: TempDir,
}

// === impl World ===

impl World {
    async fn new() -> Self {
        Self::with(&[], &[]).await
    }

    /// With options for the authorization server, and with these paths of the host as redirect URIs at it; none means
    /// the one there is.
    async fn with(options: &[&str], redirects: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let server = AuthServer::start(folder.path(), options);
        let introspect = format!("http://{}", server.control_address());
        let api = Party::start("api/salesforce.mjs", &["--introspect", &introspect]);
        let config = format!(
            "[egress]\nextra-roots = [{:?}]\n{}{}{BRAND}",
            server.certificate,
            stand_in("auth.example.test", server.address()).replace("http://", "https://"),
            stand_in("api.example.com", api.address("port")),
        );
        let mut setup = Setup::new(&config);
        let redirects = if redirects.is_empty() { &["/connect/callback"] } else { redirects };
        let base = format!("http://{}", setup.host.address);
        let redirects: Vec<_> = redirects.iter().map(|path| format!("{base}{path}")).collect();
        register(&server, &redirects).await;
        setup.http.publish(Guest::named("oauth").load().expect("built")).await.ok();
        setup.pin("acme", OAUTH, "1.0.0").await;
        let client = "/v1/environments/dev/connectors/fixtures/oauth/clients/token";
        let body = json!({"client_id": CLIENT, "client_secret": CLIENT_SECRET});
        setup.http.put(client, body).await.ok();
        Self { setup, server, _api: api, _folder: folder }
    }

    /// Begins a session.
    async fn begin(&mut self, body: Value) -> Reply {
        self.setup.http.post(&path("acme", OAUTH, "/connect-sessions"), body).await
    }

    /// A link for a person.
    async fn link(&mut self) -> String {
        text(&self.begin(json!({})).await.ok().json()["url"])
    }

    /// What a person with a browser sees who follows a link.
    async fn visit(&self, url: &str, options: &[&str]) -> Seen {
        let seen = consent(url, &self.server, options).await;
        assert!(seen.ended, "{:#}", seen.report);
        seen
    }

    /// A person connects `account-1`.
    async fn connect(&mut self) {
        let url = self.link().await;
        let seen = self.visit(&url, &[]).await;
        assert_eq!(seen.report["status"], 200, "{:#}", seen.report);
    }

    /// A call that uses the connection.
    async fn call(&mut self) -> Reply {
        self.setup.act("acme", OAUTH, "get", json!({"path": QUERY})).await
    }

    /// The status that the provider gave a call.
    async fn called(&mut self) -> Value {
        self.call().await.ok().json()["status"].clone()
    }

    /// The tenant's connections.
    async fn connections(&mut self, tenant: &str) -> Vec<Value> {
        let list = self.setup.http.get(&path(tenant, OAUTH, "/connections")).await.ok().json();
        list["connections"].as_array().expect("a list").clone()
    }

    /// The phase that the tenant's connection is in.
    async fn phase(&mut self, tenant: &str) -> String {
        let connections = self.connections(tenant).await;
        assert_eq!(connections.len(), 1, "{connections:?}");
        text(&connections[0]["state"]["phase"])
    }

    /// Every refresh token that the provider issued, oldest first.
    async fn refresh_tokens(&self) -> Vec<Value> {
        let tokens = self.server.look("refresh-tokens").await;
        let tokens = tokens.get("refresh-tokens").or(tokens.get("tokens")).unwrap_or(&tokens);
        tokens.as_array().expect("a list").clone()
    }
}

/// Tells the authorization server of the operator's client.
async fn register(server: &AuthServer, redirects: &[String]) {
    let client = json!({
        "client_id": CLIENT,
        "client_secret": CLIENT_SECRET,
        "redirect_uris": redirects,
        "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": "client_secret_basic",
    });
    server.turn("clients", client).await;
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}")).to_owned()
}

/// Catches: a consent that is not exchanged, a connection that calls do not see, a cookie that stays, and a page that
/// names the host.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_connects_and_calls_work() {
    let mut world = World::new().await;
    let missing = world.call().await;
    assert_eq!(missing.json()["code"], "credential-missing", "{}", missing.json());
    let url = world.link().await;
    let seen = world.visit(&url, &["--replay"]).await;
    let report = &seen.report;
    assert_eq!(report["status"], 200, "{report:#}");
    assert_eq!(report["title"], "Connected – Shop & Sons");
    assert!(
        !report["text"].as_str().expect("text").to_lowercase().contains("keyway"),
        "{report:#}"
    );
    let ours = |name: &&Value| name.as_str().is_some_and(|name| name.contains("connect-"));
    let cookies = report["cookies"].as_array().expect("a list");
    assert!(cookies.iter().find(ours).is_none(), "{cookies:?}");
    // C43: the same answer, in the same browser, once more.
    assert_eq!(report["replayed"]["status"], 400, "{report:#}");
    assert_eq!(world.phase("acme").await, "ready");
    let connection = world.connections("acme").await.remove(0);
    assert_eq!(connection["account"], "account-1");
    assert_eq!(connection["scopes"], json!(["contacts.read", "contacts.write", "offline_access"]));
    assert_eq!(world.called().await, 200);
    // The link has done what it was for.
    let again = page(&world, &url).await;
    assert_eq!(again.status, 410, "{again:?}");
    let log = world.setup.log();
    let token = url.rsplit('/').next().expect("a token");
    assert!(!log.contains(token) && !log.contains(CLIENT_SECRET), "a secret is in the log");
}

/// Catches: a token that is used after its time, a rotated refresh token that is not kept, one that is sent twice.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_end_are_refreshed_and_rotated() {
    let mut world = World::with(&["--access-token-seconds", "2"], &[]).await;
    world.connect().await;
    for round in 1..=3 {
        tokio::time::sleep(Duration::from_millis(2_200)).await;
        assert_eq!(world.called().await, 200, "round {round}");
    }
    let tokens = world.refresh_tokens().await;
    assert!(tokens.len() >= 4, "{tokens:#?}");
    let (newest, older) = tokens.split_last().expect("some");
    assert_eq!((&newest["state"], &newest["presented"]), (&json!("valid"), &json!(0)));
    for token in older {
        assert_eq!(token["presented"], 1, "spent twice, or lost: {tokens:#?}");
    }
    assert_eq!(world.phase("acme").await, "ready");
}

/// Catches: a connection that is tried for ever after somebody else has spent its refresh token, and one whose state
/// nobody sees.
#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_refresh_token_ends_in_needs_reauth() {
    let mut world = World::new().await;
    world.connect().await;
    let stolen = text(&world.refresh_tokens().await[0]["token"]);
    // The thief is another system that has the same token, and uses it first.
    world.setup.pin("thief", OAUTH, "1.0.0").await;
    let import = json!({
        "access_token": "an-access-token-that-is-over", "refresh_token": stolen,
        "expires_at": "2001-01-01T00:00:00Z",
    });
    let slot = |tenant: &str, rest: &str| path(tenant, OAUTH, &format!("/connections/token{rest}"));
    world.setup.http.post(&slot("thief", "/import"), import).await.ok();
    world.setup.http.post(&slot("thief", "/refresh"), json!({})).await.ok();
    let refused = world.setup.http.post(&slot("acme", "/refresh"), json!({})).await;
    assert_eq!(refused.code(), "needs-reauth", "{}", refused.json());
    assert_eq!(world.phase("acme").await, "needs-reauth");
    // The grant is over, so its access token is as well; the connector sees what the provider says.
    assert_eq!(world.called().await, 401);
    // A person connects again: the same connection, with tokens of a new grant.
    world.connect().await;
    assert_eq!(world.phase("acme").await, "ready");
    assert_eq!(world.called().await, 200);
}

/// Catches: a call that goes on with a token that the provider does not take any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_its_owner_ends_needs_a_person() {
    let mut world = World::new().await;
    world.connect().await;
    assert_eq!(world.called().await, 200);
    // Its age begins here, and not before the browser that connected has ended.
    let refresh = path("acme", OAUTH, "/connections/token/refresh");
    world.setup.http.post(&refresh, json!({})).await.ok();
    world.server.turn("revoke", json!({"account": "account-1"})).await;
    // A token that was issued a moment ago is not exchanged because one answer says 401.
    assert_eq!(world.called().await, 401);
    assert_eq!(world.phase("acme").await, "ready");
    tokio::time::sleep(REJECTED_TOO_SOON).await;
    // From here on the host tries for another token before it passes this on, and finds that there is none.
    assert_eq!(world.called().await, 401);
    assert_eq!(world.phase("acme").await, "needs-reauth");
    // It asks the provider no more.
    let asked = world.server.look("requests").await;
    assert_eq!(world.called().await, 401);
    assert_eq!(world.server.look("requests").await, asked);
}

/// Catches: a consent that counts although it was refused, and a person who is not told what to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_says_no_connects_nothing() {
    let mut world = World::new().await;
    let url = world.link().await;
    let seen = world.visit(&url, &["--deny"]).await;
    assert_eq!(seen.report["status"], 403, "{:#}", seen.report);
    let said = text(&seen.report["text"]);
    assert!(said.contains("consent-refused") && said.contains("open your link"), "{said}");
    assert_eq!(world.connections("acme").await, Vec::<Value>::new());
    // No is not for ever.
    let seen = world.visit(&url, &[]).await;
    assert_eq!(seen.report["status"], 200, "{:#}", seen.report);
}

/// Catches (C92): an answer that is believed in a browser that did not ask. It is used up by being shown there, so
/// the person begins anew from the link, which is still good.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_another_browser_is_refused() {
    let mut world = World::new().await;
    let url = world.link().await;
    let seen = world.visit(&url, &["--second-browser"]).await;
    let (first, second) = (&seen.report["status"], &seen.report["second"]["status"]);
    assert_eq!((first, second), (&json!(400), &json!(400)), "{:#}", seen.report);
    assert_eq!(world.connections("acme").await, Vec::<Value>::new());
    let asked = world.server.look("requests").await;
    assert!(!asked["requests"].to_string().contains("authorization_code"), "{asked}");
    assert_eq!(world.visit(&url, &[]).await.report["status"], 200);
}

/// Catches: a connection that changes hands because somebody signed in elsewhere, and one that loses its place when it
/// is made anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_keeps_its_account() {
    let mut world = World::new().await;
    let back = Plain::start().await;
    world.connect().await;
    let before = world.connections("acme").await.remove(0);
    let body = json!({"return_url": format!("http://{}/settings?tab=apps", back.address)});
    let url = text(&world.begin(body.clone()).await.ok().json()["url"]);
    let seen = world.visit(&url, &["--account", "account-2"]).await;
    let ended = text(&seen.report["url"]);
    let expected = "/settings?tab=apps&status=failed&code=account-mismatch";
    assert!(ended.ends_with(expected), "{ended}");
    assert_eq!(world.connections("acme").await, std::slice::from_ref(&before));
    // What was issued for the other account is nobody's: it must not live on.
    let issued = world.refresh_tokens().await;
    let states: Vec<_> = issued.iter().map(|token| token["state"].clone()).collect();
    assert_eq!(states, ["valid", "revoked"], "{issued:#?}");
    assert_eq!(world.called().await, 200);
    let url = text(&world.begin(body).await.ok().json()["url"]);
    let seen = world.visit(&url, &[]).await;
    assert!(text(&seen.report["url"]).ends_with("/settings?tab=apps&status=connected"));
    let after = world.connections("acme").await;
    assert_eq!(after.len(), 1);
    assert_eq!((&after[0]["slot"], &after[0]["account"]), (&before["slot"], &before["account"]));
    assert!(after[0]["generation"].as_u64() > before["generation"].as_u64(), "{after:?}");
    assert_eq!(world.called().await, 200);
}

/// Catches: tokens that live on at the provider after a disconnect, and one that nobody can trace.
#[tokio::test(flavor = "multi_thread")]
async fn a_disconnect_revokes_at_the_provider() {
    let mut world = World::new().await;
    world.connect().await;
    let token = world.refresh_tokens().await[0]["token"].clone();
    let slot = path("acme", OAUTH, "/connections/token");
    let (method, kind) = (Method::DELETE, "application/json");
    world.setup.http.send(method, &slot, kind, Vec::new().into()).await.ok();
    let state = world.server.turn("introspect", json!({"token": token})).await.json();
    assert_eq!((&state["active"], &state["state"]), (&json!(false), &json!("revoked")), "{state}");
    assert_eq!(world.connections("acme").await, Vec::<Value>::new());
    let audit = world.setup.http.get("/v1/audit?limit=100").await.ok().json();
    let entries = audit["entries"].as_array().expect("a list");
    let of = |action: &str| entries.iter().find(|entry| entry["action"] == action).cloned();
    let removed = of("connection.remove").expect("audited");
    assert_eq!(removed["after"], "revoked at the provider", "{removed}");
    assert_eq!(of("connection.connect").expect("audited")["actor"], "admin");
}

/// Catches: a page that can be framed, cached or scripted, or says less than what is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_what_is_asked_for_and_lets_nothing_in() {
    let mut world = World::new().await;
    let url = world.link().await;
    for _ in 0..2 {
        // Looking uses nothing up: programs that check links look, too.
        let page = page(&world, &url).await.ok();
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("referrer-policy", "same-origin"),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("content-type", "text/html; charset=utf-8"),
        ] {
            assert_eq!(page.header(name), value, "{name}");
        }
        let policy = page.header("content-security-policy").to_owned();
        assert!(policy.starts_with("default-src 'none'; style-src 'nonce-"), "{policy}");
        let body = String::from_utf8_lossy(&page.body).into_owned();
        for said in [
            "Shop &amp; Sons",
            "Example CRM",
            "It will be used for <strong>acme</strong>",
            "contacts.read",
            "contacts.write",
            "offline_access",
            "auth.example.test",
            "<html lang=\"en\">",
            "method=\"post\"",
        ] {
            assert!(body.contains(said), "{said} not in {body}");
        }
        assert!(!body.to_lowercase().contains("keyway") && !body.contains("<script"), "{body}");
    }
}

/// A page, as somebody without a token of the API gets it.
async fn page(world: &World, url: &str) -> Reply {
    let path = url.split_once("127.0.0.1:").and_then(|(_, rest)| Some(&rest[rest.find('/')?..]));
    Http::new(world.setup.host.address, "").get(path.expect("a link to this host")).await
}
