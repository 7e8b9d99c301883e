//! `keyway pin`, `unpin`, `revert`, `pins`, `history`, `default`, `audit`, and `--env`.

use serde_json::{Value, json};

use super::{Cli, REFUSED, cells, time};
use crate::setup::Setup;

const ECHO: &str = "fixtures/echo";

/// The header of the matrix.
const MATRIX: [&str; 9] =
    ["ENVIRONMENT", "TENANT", "CONNECTOR", "DECLARED", "BY", "GEN", "EXECUTED", "CALLS", "FAILED"];

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_moves_goes_back_and_all_of_it_is_told() {
    let setup = Setup::new("");
    let cli = Cli::new(&setup);
    let (one, two) = (cli.publish("echo"), cli.publish("echo-next"));
    let pinned = cli.ok(&["pin", "acme", ECHO, "1.0.0", "--reason", "first"]);
    assert_eq!(pinned, format!("acme runs fixtures/echo@1.0.0 {one}, generation 1\n"));
    let newer = ["pin", "acme", ECHO, &two[..7 + 12], "--reason", "newer"];
    let pin = cli.json(&newer);
    assert_eq!(cli.json(&newer), pin, "a job that runs twice");
    assert_eq!((&pin["generation"], &pin["release"]["digest"]), (&json!(2), &json!(two)));
    let stale = ["pin", "acme", ECHO, "1.0.0", "--reason", "late", "--generation", "1"];
    cli.fails(&stale, REFUSED, "conflict: ");
    cli.ok(&["invoke", "acme", ECHO, "version", "--input", "null"]);

    let reverted = cli.ok(&["revert", "acme", ECHO, "--reason", "prefer the old one"]);
    let back = format!("acme runs fixtures/echo@1.0.0 {one}, generation 3, back to generation 1\n");
    assert_eq!(reverted, back);
    let to = ["revert", "acme", ECHO, "--reason", "no", "--to", "2", "--generation", "3"];
    let pin = cli.json(&to);
    assert_eq!((&pin["reverts_to"], &pin["release"]["digest"]), (&json!(2), &json!(two)));
    cli.fails(&to, REFUSED, "conflict: ");

    let history =
        cells(&cli.ok(&["history", "acme", ECHO]), &["GEN", "RELEASE", "AT", "BY", "REASON"]);
    let told: Vec<_> = history.iter().map(|row| [&*row[0], &row[1], &row[3], &row[4]]).collect();
    let (old, new) = (format!("1.0.0 {}", &one[..19]), format!("1.1.0 {}", &two[..19]));
    assert_eq!(
        told,
        [
            ["4 (back to 2)", &*new, "admin", "no"],
            ["3 (back to 1)", &*old, "admin", "prefer the old one"],
            ["2", &*new, "admin", "newer"],
            ["1", &*old, "admin", "first"],
        ]
    );
    assert!(history.iter().all(|row| time(&row[2])), "{history:?}");
    let history = cli.json(&["history", "acme", ECHO]);
    assert_eq!(history["pins"].as_array().map(Vec::len), Some(4));

    let row = &cells(&cli.ok(&["pins"]), &MATRIX)[0];
    assert_eq!(row[..6], ["dev", "acme", ECHO, &*new, "pin", "4"].map(str::to_owned));
    assert_eq!(
        row[6..],
        [&*new, "1", "0"].map(str::to_owned),
        "the last call was before the revert"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_matrix_is_of_what_was_asked_for() {
    let setup = Setup::new("");
    let cli = Cli::new(&setup);
    for guest in ["echo", "echo-next", "fetch"] {
        cli.publish(guest);
    }
    let pin = |environment: &str, tenant: &str, connector: &str, release: &str| {
        cli.ok(&["--env", environment, "pin", tenant, connector, release, "--reason", "first"]);
    };
    pin("dev", "acme", ECHO, "1.0.0");
    pin("dev", "acme", "fixtures/fetch", "1.0.0");
    pin("dev", "globex", ECHO, "1.1.0");
    pin("staging", "acme", ECHO, "1.1.0");
    let (acme, fetch) = ("dev acme fixtures/echo 1.0.0", "dev acme fixtures/fetch 1.0.0");
    let (globex, staging) = ("dev globex fixtures/echo 1.1.0", "staging acme fixtures/echo 1.1.0");
    for (filter, expected) in [
        (&[][..], &[acme, fetch, globex][..]),
        (&["--tenant", "acme"], &[acme, fetch]),
        (&["--connector", ECHO], &[acme, globex]),
        (&["--tenant", "acme", "--connector", ECHO], &[acme]),
        (&["--tenant", "nobody"], &[]),
        (&["--env", "staging"], &[staging]),
        (&["--all"], &[acme, fetch, globex, staging]),
        (&["--all", "--tenant", "acme", "--connector", ECHO], &[acme, staging]),
    ] {
        let args = [&["pins"], filter].concat();
        let text = cells(&cli.ok(&args), &MATRIX);
        let shown = text.iter().map(|row| {
            format!("{} {} {} {}", row[0], row[1], row[2], row[3].split(' ').next().unwrap_or(""))
        });
        assert_eq!(shown.collect::<Vec<_>>(), expected, "{filter:?}");
        let json = cli.json(&args);
        let rows = json["rows"].as_array().expect("a list").iter();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let told = rows.map(|row| {
            let names = ["environment", "tenant", "connector"].map(|name| text(&row[name]));
            format!("{} {}", names.join(" "), text(&row["declared"]["release"]["version"]))
        });
        assert_eq!(told.collect::<Vec<_>>(), expected, "{filter:?}");
    }
    cli.fails(&["pins", "--env", "nowhere"], REFUSED, "unknown-environment: ");
    cli.fails(&["pins", "--connector", "no-publisher"], REFUSED, "invalid-name: ");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environments_default_runs_where_no_pin_says_otherwise() {
    let setup = Setup::new("");
    let cli = Cli::new(&setup);
    let (one, two) = (cli.publish("echo"), cli.publish("echo-next"));
    cli.fails(&["default", "get", ECHO], REFUSED, "not-pinned: ");
    let set = cli.ok(&["default", "set", ECHO, "1.0.0", "--reason", "for all"]);
    assert_eq!(set, format!("dev runs fixtures/echo@1.0.0 {one} by default, generation 1\n"));
    assert_eq!(cli.ok(&["default", "get", ECHO]), set);
    let staging = ["--env", "staging"];
    let set = [&staging[..], &["default", "set", ECHO, &two, "--reason", "try it"]].concat();
    let default = cli.json(&set);
    assert_eq!(default["environment"], "staging");
    assert_eq!(default["release"]["version"], "1.1.0");
    let get = [&staging[..], &["default", "get", ECHO]].concat();
    assert_eq!(cli.json(&get), default);
    assert_eq!(cli.json(&["default", "get", ECHO])["reason"], "for all", "dev keeps its own");

    for (environment, version) in [("dev", "\"1.0.0\"\n"), ("staging", "\"1.1.0\"\n")] {
        // A tenant is known by its settings, without a pin of its own.
        let config = ["--env", environment, "config", "set", "acme", ECHO, "--file", "-"];
        assert_eq!(cli.with_input(&config, "{}").code, 0, "{environment}");
        let invoke = ["--env", environment, "invoke", "acme", ECHO, "version", "--input", "null"];
        assert_eq!(cli.ok(&invoke), version, "{environment}");
    }
    let row = &cells(&cli.ok(&["pins"]), &MATRIX)[0];
    let old = format!("1.0.0 {}", &one[..19]);
    assert_eq!(row[3..6], [&*old, "default", "1"].map(str::to_owned));
    cli.ok(&["pin", "acme", ECHO, "1.1.0", "--reason", "this one only"]);
    assert_eq!(cli.ok(&["invoke", "acme", ECHO, "version", "--input", "null"]), "\"1.1.0\"\n");
    cli.fails(&["default", "set", ECHO, "9.9.9", "--reason", "x"], REFUSED, "unknown-release: ");

    let unpinned = cli.ok(&["unpin", "acme", ECHO, "--reason", "as all"]);
    let runs =
        format!("acme has no pin and runs fixtures/echo@1.0.0 {one} by default, generation 2\n");
    assert_eq!(unpinned, runs);
    let history =
        cells(&cli.ok(&["history", "acme", ECHO]), &["GEN", "RELEASE", "AT", "BY", "REASON"]);
    assert_eq!((history[0][1].as_str(), history[0][4].as_str()), ("no pin", "as all"));
    let said = cli.run(&["default", "unset", ECHO, "--reason", "over"]);
    assert_eq!(said.out, "dev has no default for fixtures/echo, generation 2\n");
    assert_eq!(said.err, "keyway: warning: calls are refused for want of a pin: acme\n");
    cli.fails(&["default", "get", ECHO], REFUSED, "not-pinned: ");
    cli.fails(&["unpin", "nobody", ECHO, "--reason", "x"], REFUSED, "not-pinned: ");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_goes_on_after_an_entry() {
    let setup = Setup::new("");
    let cli = Cli::new(&setup);
    cli.publish("echo");
    cli.publish("echo-next");
    for (release, reason) in [("1.0.0", "one"), ("1.1.0", "two"), ("1.0.0", "three")] {
        cli.ok(&["pin", "acme", ECHO, release, "--reason", reason]);
    }
    let header = ["SEQ", "AT", "ACTOR", "ACTION", "OBJECT", "AFTER", "REASON"];
    let newest = cells(&cli.ok(&["audit"]), &header);
    let last = newest.first().expect("entries");
    assert_eq!((last[2].as_str(), last[3].as_str(), last[6].as_str()), ("admin", "pin", "three"));
    let before: u64 = last[0].parse().expect("a number");
    let after = (before - 2).to_string();
    let some = cli.json(&["audit", "--after", &after, "--limit", "1"]);
    let entries = some["entries"].as_array().expect("a list");
    assert_eq!((entries.len(), &entries[0]["reason"]), (1, &json!("two")), "{some}");
    assert_eq!(cells(&cli.ok(&["audit", "--after", &after]), &header).len(), 2);
    let mut oldest = cells(&cli.ok(&["audit", "--after", "0"]), &header);
    oldest.reverse();
    assert_eq!(newest, oldest);
    let two = cli.run(&["audit", "--limit", "2"]);
    assert_eq!(cells(&two.out, &header), newest[..2]);
    assert_eq!(two.err, "there are more: --limit\n");
    let all = newest.len().to_string();
    assert_eq!(cli.run(&["audit", "--limit", &all]).err, "");
}
