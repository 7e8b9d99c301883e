//! Grants without consent, at the certified authorization server.

use std::time::Duration;

use fixtures::Guest;
use harness::Reply;
use serde_json::{Value, json};

use super::{CLIENT, CLIENT_SECRET, OAUTH, QUERY, World, text};
use crate::setup::path;

const GRANTS: &str = "fixtures/grants";

impl World {
    /// With the release whose slots need no person pinned as well, and the operator's client allowed to do without.
    async fn without_consent(options: &[&str]) -> Self {
        let mut world = Self::with(options, &[]).await;
        let redirect = format!("http://{}/connect/callback", world.setup.host.address);
        let client = json!({
            "client_id": CLIENT,
            "client_secret": CLIENT_SECRET,
            "redirect_uris": [redirect],
            "grant_types": ["authorization_code", "refresh_token", "client_credentials",
                "urn:ietf:params:oauth:grant-type:token-exchange"],
            "token_endpoint_auth_method": "client_secret_basic",
        });
        world.server.turn("clients", client).await;
        world.setup.http.publish(Guest::named("grants").load().expect("built")).await.ok();
        world.setup.pin("acme", GRANTS, "1.0.0").await;
        for slot in ["machine", "delegated"] {
            let client = format!("/v1/environments/dev/connectors/{GRANTS}/clients/{slot}");
            let body = json!({"client_id": CLIENT, "client_secret": CLIENT_SECRET});
            world.setup.http.put(&client, body).await.ok();
        }
        world
    }

    async fn obtain(&mut self, slot: &str, rest: &str, body: Value) -> Reply {
        let path = path("acme", GRANTS, &format!("/connections/{slot}/obtain{rest}"));
        self.setup.http.post(&path, body).await
    }

    /// The status that the API gave a call with a slot's token.
    async fn used(&mut self, slot: &str, user: Option<&str>) -> Value {
        let mut http = self.setup.host.http();
        if let Some(user) = user {
            http = http.with("keyway-user", user);
        }
        let input = json!({"path": QUERY, "slot": slot});
        let reply = http.post(&path("acme", GRANTS, "/actions/get"), input).await;
        reply.ok().json()["status"].clone()
    }
}

/// Fails if a connection of client credentials cannot be had, or is not asked for again when it ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_s_own_token_is_had_and_had_again() {
    let mut world = World::without_consent(&["--access-token-seconds", "2"]).await;
    let made = world.obtain("machine", "", json!({})).await.ok().json();
    assert_eq!(made["scopes"], json!(["contacts.read"]));
    for round in 1..=2 {
        assert_eq!(world.used("machine", None).await, 200, "round {round}");
        tokio::time::sleep(Duration::from_millis(2_200)).await;
    }
    assert_eq!(world.used("machine", None).await, 200);
    let asked = world.server.look("requests").await;
    let times = asked["processed"]["token"]["client_credentials"]["ok"].as_u64();
    assert!(times >= Some(3), "{asked}");
    let wrong = format!("/v1/environments/dev/connectors/{GRANTS}/clients/machine");
    let body = json!({"client_id": CLIENT, "client_secret": "not-the-secret"});
    world.setup.http.put(&wrong, body).await.ok();
    assert_eq!(world.obtain("machine", "", json!({})).await.code(), "oauth-client-refused");
}

/// Fails if a token is not exchanged, if a user has somebody else's, or if a subject that is over is tried for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_s_token_is_exchanged_for_users() {
    let mut world = World::without_consent(&[]).await;
    world.connect().await;
    let export = path("acme", OAUTH, "/connections/token/export");
    let line = world.setup.http.post(&export, json!({})).await.ok().json();
    let subject = text(&line["clear"]["access_token"]);
    let own = world.obtain("delegated", "", json!({"subject_token": subject})).await.ok().json();
    assert_eq!(own["account"], "account-1");
    let ann = world.obtain("delegated", "?user=ann", json!({})).await.ok().json();
    assert_eq!((&ann["user"], &ann["account"]), (&json!("ann"), &json!("ann")));
    assert_eq!(world.used("delegated", None).await, 200);
    assert_eq!(world.used("delegated", Some("ann")).await, 200);
    let slot = |rest: &str| path("acme", GRANTS, &format!("/connections/delegated{rest}"));
    let renewed = world.setup.http.post(&slot("/refresh?user=ann"), json!({})).await.ok().json();
    assert_eq!(renewed["phase"], "ready");
    assert_eq!(world.used("delegated", Some("ann")).await, 200);
    // Whose token it was takes it back: what was exchanged for it cannot be had again.
    world.server.turn("revoke", json!({"account": "account-1"})).await;
    let refused = world.setup.http.post(&slot("/refresh"), json!({})).await;
    assert_eq!(refused.code(), "needs-reauth", "{}", refused.json());
    let refused =
        world.obtain("delegated", "", json!({"subject_token": "no-token-of-yours"})).await;
    assert_eq!(refused.code(), "credential-invalid", "{}", refused.json());
}
