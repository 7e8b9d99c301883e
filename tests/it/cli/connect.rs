//! `keyway connect`.

use super::{Cli, REFUSED};
use crate::setup::Setup;

const OAUTH: &str = "fixtures/oauth";

#[tokio::test(flavor = "multi_thread")]
async fn the_link_is_the_only_thing_on_standard_output() {
    let mut setup = Setup::new("");
    setup.publish("oauth").await.ok();
    setup.pin("acme", OAUTH, "1.0.0").await;
    let cli = Cli::new(&setup);
    cli.fails(&["connect", "acme", OAUTH], REFUSED, "oauth-client-missing");
    let client = "/v1/environments/dev/connectors/fixtures/oauth/clients/token";
    let body = serde_json::json!({"client_id": "shop", "client_secret": "secret-of-the-shop"});
    setup.host.http().put(client, body).await.ok();
    let link = format!("http://{}/connect/", setup.host.address);
    let said = cli.run(&["connect", "acme", OAUTH, "--return-url", "https://shop.example/"]);
    assert_eq!((said.code, said.out.lines().count()), (0, 1), "{said:?}");
    let token = said.out.trim_end().strip_prefix(&link).expect("a link to this host");
    assert_eq!(token.len(), 43, "256 bits in base64url: {token}");
    assert!(said.err.contains("good once") && !said.err.contains(token), "{said:?}");
    let json = cli.json(&["connect", "acme", OAUTH, "--slot", "token", "--user", "ann"]);
    assert_eq!((&json["slot"], &json["user"]), (&"token".into(), &"ann".into()));
    cli.fails(&["connect", "acme", OAUTH, "--slot", "login"], REFUSED, "unknown-slot");
}
