//! Tokens of HubSpot's authorization server under both lines: imported, consented to, made by hand, revoked.
//!
//! What a person does on HubSpot's pages is said to the mock. A browser is in `tests/it/connect.rs`.

use std::collections::HashMap;

use bytes::Bytes;
use harness::component;
use http::Method;
use hubspot_upstream::{App, Consent, Options, Running, Token, Upstream};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::Url;

use super::HUBSPOT;
use crate::setup::{Setup, path, stand_in};

const TENANT: &str = "acme";
const PORTAL: u64 = 4711;

/// Where the operator's own site takes the answer.
const CALLBACK: &str = "https://shop.example.com/hubspot";

/// Who the operator is at the provider.
const CLIENT: &str = "/v1/environments/dev/connectors/keyway/hubspot/clients/token";
const CLIENT_SECRET: &str = "canary-of-the-app";
const REFRESH_TOKEN: &str = "canary-of-the-grant";

/// As the vendor counts the mock's requests.
const REFRESH: &str = "POST /oauth/v1/token";

const SCOPES: [&str; 5] = [
    "oauth",
    "crm.objects.contacts.read",
    "crm.objects.contacts.write",
    "crm.objects.companies.read",
    "crm.objects.companies.write",
];

/// A provider that knows the operator's app, and a host with both lines, the older of which the tenant is pinned to.
struct World {
    upstream: Running,
    setup: Setup,
    /// Digests, the older line first.
    lines: Vec<String>,
}

// === impl World ===

impl World {
    async fn new() -> Self {
        let apps = vec![App { id: "an-app".to_owned(), secret: CLIENT_SECRET.to_owned() }];
        let options = Options { records: 30, archived: 0, apps, ..Options::default() };
        let upstream = Upstream::start(options).await.expect("mock provider starts");
        let mut setup = Setup::new(&stand_in("api.hubapi.com", upstream.addr));
        let mut lines = Vec::new();
        for name in ["hubspot-1", "hubspot-2"] {
            let release = setup.http.publish(component("connectors", name)).await.ok().json();
            lines.push(release["release"]["digest"].as_str().expect("text").to_owned());
        }
        setup.pin(TENANT, HUBSPOT, &lines[0]).await;
        let client = json!({"client_id": "an-app", "client_secret": CLIENT_SECRET});
        setup.http.put(CLIENT, client).await.ok();
        Self { upstream, setup, lines }
    }

    /// Imports tokens of another system, where the access token has ended.
    async fn import_ended(&mut self) {
        let access = Token { value: "canary-that-has-ended".to_owned(), portal: PORTAL };
        self.upstream.expire_token(access.clone());
        let refresh = Token { value: REFRESH_TOKEN.to_owned(), portal: PORTAL };
        self.upstream.connected(refresh, SCOPES.map(str::to_owned).to_vec());
        let tokens = json!({
            "access_token": access.value, "refresh_token": REFRESH_TOKEN, "scopes": SCOPES,
            "obtained_at": "2026-01-01T12:00:00Z", "expires_at": "2026-01-01T12:30:00Z",
        });
        let import = path(TENANT, HUBSPOT, "/connections/token/import");
        let imported = self.setup.http.post(&import, tokens).await.ok().json();
        assert_eq!(imported["tried"], false, "it would fail, and mean nothing: {imported}");
    }

    /// The account that an action is answered for.
    async fn portal(&mut self) -> Value {
        let account = self.setup.act(TENANT, HUBSPOT, "account.info", json!({})).await.ok();
        account.json()["portalId"].clone()
    }

    async fn connection(&mut self) -> Value {
        let list = self.setup.http.get(&path(TENANT, HUBSPOT, "/connections")).await.ok().json();
        list["connections"][0].clone()
    }

    fn count(&self, operation: &str) -> u64 {
        self.upstream.requests().by_operation.get(operation).copied().unwrap_or(0)
    }
}

/// Fails if a token that has ended is sent, if each line refreshes for itself, or if the later one needs another consent.
#[tokio::test(flavor = "multi_thread")]
async fn an_imported_connection_is_refreshed_once_and_is_the_same_for_both_lines() {
    let mut world = World::new().await;
    world.import_ended().await;
    assert_eq!(world.portal().await, PORTAL);
    assert_eq!(world.count(REFRESH), 1);
    assert_eq!(world.upstream.requests().by_status.get(&401), None, "the ended token was not sent");
    let state = world.connection().await["state"].clone();
    let at = |name: &str| {
        let text = state[name].as_str().expect("a time");
        OffsetDateTime::parse(text, &Rfc3339).expect("RFC 3339")
    };
    assert_eq!(at("expires_at") - at("obtained_at"), time::Duration::minutes(30), "{state}");

    let newer = world.lines[1].clone();
    world.setup.pin(TENANT, HUBSPOT, &newer).await;
    assert_eq!(world.portal().await, PORTAL);
    let contact = world.setup.act(TENANT, HUBSPOT, "contacts.get", json!({"id": "1001"})).await;
    assert_eq!(contact.ok().header("keyway-digest"), newer);
    assert_eq!(world.count(REFRESH), 1, "the later line uses what the earlier one got");
    assert!(world.count("GET /crm/objects/2026-03/{object}/{id}") > 0, "and speaks its own paths");

    // The provider ends the access token early: one more refresh, with the same refresh token, by the later line.
    let issued = Token { value: format!("mock-access-{PORTAL}-1"), portal: PORTAL };
    world.upstream.expire_token(issued);
    tokio::time::sleep(crate::connect::REJECTED_TOO_SOON).await;
    assert_eq!(world.portal().await, PORTAL);
    assert_eq!(world.count(REFRESH), 2);
    let log = world.setup.log();
    assert!(!log.contains("canary"), "a secret is in the log");
}

/// Fails if the descriptor says another thing to the provider than the provider's documents do.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_connects_an_account_and_disconnects_it() {
    let mut world = World::new().await;
    for (line, revoke) in
        ["/oauth/v3/token/revoke", "/oauth/2026-03/token/revoke"].iter().enumerate()
    {
        let digest = world.lines[line].clone();
        world.setup.pin(TENANT, HUBSPOT, &digest).await;
        let asked = json!({"headless": true, "redirect_uri": CALLBACK});
        let begin = path(TENANT, HUBSPOT, "/connect-sessions");
        let session = world.setup.http.post(&begin, asked).await.ok().json();
        let url: Url = session["authorize_url"].as_str().expect("a URL").parse().expect("a URL");
        assert!(url.as_str().starts_with("https://app.hubspot.com/oauth/authorize?"), "{url}");
        let query: HashMap<_, _> = url.query_pairs().into_owned().collect();
        assert_eq!(query["scope"], SCOPES.join(" "));
        let code = format!("a-code-{line}");
        let scopes = SCOPES.map(str::to_owned).to_vec();
        let consent =
            Consent { portal: PORTAL, scopes, redirect_uri: query["redirect_uri"].clone() };
        world.upstream.consented(code.clone(), consent);
        let answer =
            json!({"state": session["state"], "binding": session["binding"], "code": code});
        let complete = "/v1/environments/dev/connect-sessions/complete";
        let connected = world.setup.http.post(complete, answer).await.ok().json();
        assert_eq!(connected["account"], PORTAL.to_string());
        assert_eq!(world.portal().await, PORTAL);

        let slot = path(TENANT, HUBSPOT, "/connections/token");
        world.setup.http.send(Method::DELETE, &slot, "", Bytes::new()).await.ok();
        assert_eq!(world.count(&format!("POST {revoke}")), 1);
        let gone = world.setup.act(TENANT, HUBSPOT, "account.info", json!({})).await;
        assert_eq!(gone.code(), "credential-missing");
    }
}

/// Fails if a grant that a person took back at the provider is tried for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_was_taken_back_needs_a_person() {
    let mut world = World::new().await;
    let tokens = json!({
        "access_token": "canary-that-has-ended", "refresh_token": "canary-nobody-knows",
        "expires_at": "2026-01-01T12:30:00Z",
    });
    let import = path(TENANT, HUBSPOT, "/connections/token/import");
    world.setup.http.post(&import, tokens).await.ok();
    let dead = ["phase=\"needs-reauth\""];
    assert_eq!(world.setup.metric("keyway_connections", &dead).await, 0.0);
    for _ in 0..2 {
        let refused = world.setup.act(TENANT, HUBSPOT, "account.info", json!({})).await;
        assert_eq!(refused.code(), "needs-reauth", "{}", refused.json());
        assert_eq!(refused.json()["retry"], false, "{}", refused.json());
    }
    assert_eq!(world.count(REFRESH), 1);
    assert_eq!(world.connection().await["state"]["phase"], "needs-reauth");
    assert_eq!(world.setup.log().matches("connection.needs-reauth").count(), 1);
    assert_eq!(world.setup.metric("keyway_connections", &dead).await, 1.0);
}

/// What a token that was made by hand may do is only known to the provider: nothing is held against it.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_private_app_fits_the_same_slot_and_moves_between_the_lines() {
    let mut world = World::new().await;
    let made = Token { value: "pat-eu1-made-by-hand".to_owned(), portal: PORTAL };
    world.upstream.add_token(made.clone());
    let slot = path(TENANT, HUBSPOT, "/connections/token");
    let set = world.setup.http.put(&slot, json!({"token": made.value})).await.ok().json();
    assert_eq!(set["kind"], "bearer");
    assert_eq!(world.portal().await, PORTAL);
    let scopes = path(TENANT, HUBSPOT, "/scopes?release=2.0.0");
    let scopes = world.setup.http.get(&scopes).await.ok().json();
    let of_slot = &scopes["slots"][0];
    assert_eq!((&of_slot["required"], &of_slot["missing"]), (&json!(SCOPES), &json!([])));
    assert!(of_slot.get("granted").is_none(), "{scopes}");
    let newer = world.lines[1].clone();
    world.setup.pin(TENANT, HUBSPOT, &newer).await;
    assert_eq!(world.portal().await, PORTAL);
    // A token that was rejected cannot be refreshed, and none is asked for.
    world.upstream.expire_token(made);
    let refused = world.setup.act(TENANT, HUBSPOT, "account.info", json!({})).await;
    assert_eq!((refused.code().as_str(), world.count(REFRESH)), ("unauthenticated", 0));
}
