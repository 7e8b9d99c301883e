//! `keyway tenant`, and names of tenants as other systems give them, on every way that they take.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Cli, REFUSED, cells};
use crate::setup::{Setup, stand_in};
use crate::upstream::Plain;

const FETCH: &str = "fixtures/fetch";

/// The exchanges of a tenant, once there are so many: the log does not hold up calls.
async fn exchanges(cli: &Cli<'_>, tenant: &str, count: usize) -> Vec<Value> {
    for _ in 0..200 {
        let logged = cli.json(&["logs", "exchanges", "--tenant", tenant]);
        let rows = logged["exchanges"].as_array().expect("a list");
        if rows.len() == count {
            return rows.clone();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{count} exchanges of {tenant} are not logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_with_a_name_of_another_system_comes_and_goes() {
    let upstream = Plain::start().await;
    let setup = Setup::new(&stand_in("api.example.com", upstream.address));
    let cli = Cli::new(&setup);
    cli.publish("fetch");
    for tenant in ["auth0|5f7c", "user+1@example.com"] {
        let pin = cli.ok(&["pin", tenant, FETCH, "1.0.0", "--reason", "first"]);
        assert!(pin.starts_with(&format!("{tenant} runs fixtures/fetch@1.0.0 ")), "{pin}");
        let set = ["connection", "set", tenant, FETCH];
        assert_eq!(cli.with_input(&set, "canary-of-the-cli").code, 0);
        let user = ["connection", "set", tenant, FETCH, "--for-user", "google-oauth2|1"];
        assert_eq!(cli.with_input(&user, "canary-of-a-user").code, 0);
        cli.ok(&["invoke", tenant, FETCH, "get", "--input", r#"{"path": "/x"}"#]);
        let call = ["invoke", tenant, FETCH, "get", "--input", r#"{"path": "/x"}"#];
        cli.ok(&[&call[..], &["--user", "google-oauth2|1"]].concat());
        let logged = exchanges(&cli, tenant, 2).await;
        assert!(logged.iter().all(|row| row["tenant"] == tenant), "{logged:?}");
        let pins = cli.json(&["pins", "--tenant", tenant]);
        assert_eq!(pins["rows"].as_array().map(Vec::len), Some(1), "{pins}");
    }
    let told = cli.ok(&["tenant", "delete", "auth0|5f7c", "--reason", "they left"]);
    let expected = "auth0|5f7c is gone from dev:\n\
        1 installations, 1 pins, 0 configurations, 2 connections, 0 sessions, 1 data keys\n\
        tokens of 0 connections revoked, of 0 not\n";
    assert_eq!(told, expected);
    let again = cli.json(&["tenant", "delete", "auth0|5f7c", "--reason", "they left"]);
    assert_eq!(again["connections"], json!(0));
    let header = [
        "ENVIRONMENT",
        "TENANT",
        "CONNECTOR",
        "DECLARED",
        "BY",
        "GEN",
        "EXECUTED",
        "CALLS",
        "FAILED",
    ];
    let left = cells(&cli.ok(&["pins"]), &header);
    assert_eq!((left.len(), left[0][1].as_str()), (1, "user+1@example.com"));
    cli.fails(&["pin", "a/b", FETCH, "1.0.0", "--reason", "x"], REFUSED, "invalid-name: ");
}
