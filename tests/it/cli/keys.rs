//! `keyway keys`: listed, and exchanged while the host runs.

use serde_json::json;

use super::{Cli, UNAUTHORISED, cells, time};
use crate::setup::{Setup, path, stand_in};
use crate::upstream::Plain;

const HEADER: [&str; 4] = ["SEALING KEY", "STATE", "DATA KEYS", "SINCE"];

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_exchanged_while_calls_go_on() {
    let upstream = Plain::start().await;
    let mut setup = Setup::new(&stand_in("api.example.com", upstream.address));
    setup.publish("fetch").await.ok();
    for tenant in ["acme", "other"] {
        setup.pin(tenant, "fixtures/fetch", "1.0.0").await;
        let slot = path(tenant, "fixtures/fetch", "/connections/token");
        setup.http.put(&slot, json!({"token": format!("sealed-for-{tenant}")})).await.ok();
    }
    let cli = Cli::new(&setup);
    let listed = || {
        let said = cli.run(&["keys"]);
        assert_eq!(said.code, 0, "{said:?}");
        let mut rows = cells(&said.out, &HEADER);
        assert!(rows.iter().all(|row| time(&row[3])), "{said:?}");
        rows.sort_by(|a, b| a[1].cmp(&b[1]));
        let rows: Vec<_> = rows.iter().map(|row| row[..3].join(" ")).collect();
        (rows, said.err)
    };
    let (rows, note) = listed();
    let [first] = &rows[..] else { panic!("{rows:?}") };
    let first = first.strip_suffix(" current 2").expect("two tenants, two data keys").to_owned();
    assert_eq!(note, "kept in: file; 2 data keys in use, 0 older ones\n");

    let said = cli.run(&["keys", "rotate"]);
    let second = said.out.trim().to_owned();
    assert_eq!(said.err, format!("2 data keys are wrapped with {second} now\n"));
    assert_eq!(listed().0, [format!("{second} current 2"), format!("{first} older 0")]);

    let said = cli.run(&["keys", "rotate", "--data", "acme"]);
    assert_eq!((said.code, said.out.as_str()), (0, "1\n"));
    assert_eq!(cli.ok(&["keys", "rotate", "--data", "acme", "--env", "prod"]), "0\n");
    assert_eq!(cli.ok(&["keys", "rotate", "--all-data"]), "2\n");
    let json = cli.json(&["keys"]);
    assert_eq!((&json["data_keys"], &json["data_keys_current"]), (&json!(5), &json!(2)));
    assert_eq!(listed().1, "kept in: file; 2 data keys in use, 3 older ones\n");
    assert_eq!(cli.exit(&["keys", "rotate", "--all-data", "--data", "acme"]), 2);

    let operator = cli.ok(&["token", "issue", "on-call", "--role", "operator"]);
    cli.fails(&["--token", operator.trim(), "keys", "rotate"], UNAUTHORISED, "not-permitted: ");
    cli.fails(&["--token", operator.trim(), "keys"], UNAUTHORISED, "not-permitted: ");
    let audit = cli.ok(&["audit"]);
    for entry in [format!("sealing key {second}"), "data keys of dev/acme".to_owned()] {
        assert!(audit.contains(&entry), "{audit}");
    }

    // What was sealed before all of it still opens, now and after a crash.
    for _ in 0..2 {
        for tenant in ["acme", "other"] {
            setup.act(tenant, "fixtures/fetch", "get", json!({"path": "/x"})).await.ok();
            let sent = upstream.seen().pop().expect("a request");
            assert_eq!(sent.headers["authorization"], format!("Bearer sealed-for-{tenant}"));
        }
        setup = setup.crash();
    }
}
