//! `keyway quotas`.

use serde_json::json;

use super::{Cli, REFUSED, cells};
use crate::setup::{Setup, stand_in};
use crate::upstream::Plain;

const FETCH: &str = "fixtures/fetch";

const HEADER: [&str; 9] =
    ["TENANT", "CONNECTOR", "ACCOUNT", "POLICY", "QUOTA", "LEFT", "MORE IN", "BLOCKED", "WAITING"];

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_shown_a_row_for_each_policy() {
    let upstream = Plain::start().await;
    let setup = Setup::new(&stand_in("api.example.com", upstream.address));
    let cli = Cli::new(&setup);
    assert_eq!(cells(&cli.ok(&["quotas"]), &HEADER), Vec::<Vec<String>>::new());
    cli.publish("fetch");
    for tenant in ["acme", "zeta"] {
        cli.ok(&["pin", tenant, FETCH, "1.0.0", "--reason", "first"]);
        let set = cli.with_input(&["connection", "set", tenant, FETCH], "canary-own\n");
        assert_eq!(set.code, 0, "{set:?}");
        cli.ok(&["invoke", tenant, FETCH, "get", "--input", r#"{"path": "/limited"}"#]);
    }
    let rows = cells(&cli.ok(&["quotas"]), &HEADER);
    let known = |row: &Vec<String>| [&row[..6], &row[8..]].concat().join(" ");
    assert_eq!(
        rows.iter().map(known).collect::<Vec<_>>(),
        [
            "acme fixtures/fetch - burst 100 in 600 s 0 0",
            "zeta fixtures/fetch - burst 100 in 600 s 0 0",
        ]
    );
    for wait in rows.iter().flat_map(|row| &row[6..8]) {
        let seconds: u64 = wait.trim_end_matches(" s").parse().expect("seconds");
        assert!((240..=300).contains(&seconds), "{wait}");
    }
    let of_zeta = ["quotas", "--tenant", "zeta", "--connector", FETCH];
    assert_eq!(cells(&cli.ok(&of_zeta), &HEADER).len(), 1);
    assert_eq!(cli.json(&of_zeta)["quotas"][0]["policies"][0]["remaining"], json!(0));
    assert_eq!(cli.json(&["--env", "prod", "quotas"]), json!({"quotas": []}));
    cli.fails(&["quotas", "--tenant", "no/body"], REFUSED, "invalid-name: ");
}
