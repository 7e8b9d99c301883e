//! `keyway connection` and `keyway config`.

use serde_json::json;

use super::{Cli, REFUSED, cells, time};
use crate::setup::{Setup, stand_in};
use crate::upstream::Plain;

const AMBIENT: &str = "fixtures/ambient";
const FETCH: &str = "fixtures/fetch";

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_comes_from_a_file_and_reaches_the_connector() {
    let setup = Setup::new("");
    let cli = Cli::new(&setup);
    cli.publish("ambient");
    cli.ok(&["pin", "acme", AMBIENT, "1.0.0", "--reason", "first"]);
    let get = ["config", "get", "acme", AMBIENT];
    assert_eq!(cli.ok(&get), "{}\n", "none yet");
    let file = cli.file("config.json", r#"{"greeting": "hello"}"#);
    let said = cli.ok(&["config", "set", "acme", AMBIENT, "--file", &file]);
    let kept = cli.json(&get);
    let digest = kept["digest"].as_str().expect("a digest");
    assert_eq!(said, format!("configuration of acme is {digest}, generation 1\n"));
    assert_eq!(kept["config"], json!({"greeting": "hello"}));
    assert_eq!(cli.ok(&get), "{\n  \"greeting\": \"hello\"\n}\n");
    let settings = cli.json(&["invoke", "acme", AMBIENT, "settings", "--input", "null"]);
    assert_eq!(settings["config"], json!({"greeting": "hello"}));

    let piped = ["config", "set", "acme", AMBIENT, "--file", "-", "--json"];
    let set = cli.with_input(&piped, r#"{"greeting": "good day"}"#).json();
    assert_eq!((&set["generation"], &set["config"]["greeting"]), (&json!(2), &json!("good day")));

    // What does not fit is refused, and what was there stays.
    for (name, text, code) in [
        ("wrong.json", r#"{"greeting": 7}"#, "config-invalid: "),
        ("list.json", "[]", "config-invalid: "),
        ("half.json", r#"{"greeting": "#, "malformed-json: "),
    ] {
        let file = cli.file(name, text);
        cli.fails(&["config", "set", "acme", AMBIENT, "--file", &file], REFUSED, code);
    }
    cli.fails(
        &["config", "set", "acme", AMBIENT, "--file", "no-such.json"],
        1,
        "configuration no-such.json: ",
    );
    assert_eq!(cli.json(&get), set);
    cli.fails(&["config", "get", "nobody", AMBIENT], REFUSED, "unknown-installation: ");

    // And back, and away.
    let reverted = cli.ok(&["config", "revert", "acme", AMBIENT, "--reason", "too stiff"]);
    let back = format!("configuration of acme is {digest}, generation 3, back to generation 1\n");
    assert_eq!(reverted, back);
    let removed = cli.ok(&["config", "remove", "acme", AMBIENT]);
    assert_eq!(removed, "acme has no configuration, generation 4\n");
    assert_eq!(cli.ok(&get), "{}\n");
    let first = cli.ok(&[&get[..], &["--generation", "1"]].concat());
    assert_eq!(first, "{\n  \"greeting\": \"hello\"\n}\n");
    let rows = cells(
        &cli.ok(&["config", "history", "acme", AMBIENT]),
        &["GEN", "CONFIG", "AT", "BY", "REASON"],
    );
    let told: Vec<_> = rows.iter().map(|row| [&*row[0], &row[1], &row[3]]).collect();
    let (one, two) = (&digest[..19], &set["digest"].as_str().expect("a digest")[..19]);
    assert_eq!(
        told,
        [
            ["4", "none", "admin"],
            ["3 (back to 1)", one, "admin"],
            ["2", two, "admin"],
            ["1", one, "admin"],
        ]
    );
    assert_eq!(rows[1][4], "too stiff");
    cli.fails(&["config", "revert", "acme", AMBIENT, "--to", "9"], REFUSED, "no-history: ");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_come_by_file_or_standard_input_and_never_come_back() {
    let upstream = Plain::start().await;
    let setup = Setup::new(&stand_in("api.example.com", upstream.address));
    let cli = Cli::new(&setup);
    cli.publish("fetch");
    cli.ok(&["pin", "acme", FETCH, "1.0.0", "--reason", "first"]);
    let set = ["connection", "set", "acme", FETCH];
    // By default the slot `token`, by standard input. The line break is not part of it.
    let said = cli.with_input(&set, "canary-of-the-cli\n");
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert_eq!(said.out, "slot token of acme is set (bearer), generation 1\n");
    let file = cli.file("secret.txt", "canary-in-a-file\r\n");
    let login = ["--slot", "login", "--user", "ann", "--secret-file", &file];
    let login = cli.json(&[&set[..], &login].concat());
    assert_eq!((&login["slot"], &login["kind"]), (&json!("login"), &json!("basic")));

    for (slot, expected) in [
        ("token", "Bearer canary-of-the-cli"),
        // `ann:canary-in-a-file` in base64.
        ("login", "Basic YW5uOmNhbmFyeS1pbi1hLWZpbGU="),
    ] {
        let input = json!({"path": "/x", "slot": slot}).to_string();
        cli.ok(&["invoke", "acme", FETCH, "get", "--input", &input]);
        let seen = upstream.seen();
        assert_eq!(seen.last().expect("a request").headers["authorization"], expected);
    }

    let list = ["connection", "list", "acme", FETCH];
    let (text, json) = (cli.ok(&list), cli.json(&list));
    assert!(!text.contains("canary") && !json.to_string().contains("canary"), "{text}{json}");
    let rows = cells(&text, &["SLOT", "USER", "KIND", "GEN", "STATE", "BASE URL", "SET"]);
    let shown: Vec<_> = rows.iter().map(|row| row[..6].join(" ")).collect();
    assert_eq!(shown, ["login - basic 1 set -", "token - bearer 1 set -"]);
    assert!(rows.iter().all(|row| time(&row[6])), "{text}");

    let said = cli.run(&["connection", "remove", "acme", FETCH]);
    assert_eq!((said.code, said.out.as_str()), (0, ""));
    assert_eq!(said.err, "slot token of acme has no credential any more\n");
    let left = cli.json(&list);
    assert_eq!(left["connections"].as_array().map(Vec::len), Some(1), "{left}");
    let removed =
        cli.json(&["connection", "remove", "acme", FETCH, "--slot", "login"])["removed"].take();
    assert_eq!(
        removed,
        json!({"tenant": "acme", "connector": FETCH, "slot": "login", "user": null})
    );
    assert_eq!(cli.json(&list), json!({"connections": []}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_url_is_what_paths_are_joined_to() {
    let upstream = Plain::start().await;
    let setup = Setup::new(&stand_in("api.example.com", upstream.address));
    let cli = Cli::new(&setup);
    cli.publish("fetch");
    cli.ok(&["pin", "acme", FETCH, "1.0.0", "--reason", "first"]);
    let file = cli.file("secret.txt", "canary-in-a-file");
    let set = |more: &[&'static str]| {
        let set = ["connection", "set", "acme", FETCH, "--secret-file"];
        [&set[..], &[&file], more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let base = set(&["--base-url", "https://api.example.com/eu"]);
    let base: Vec<_> = base.iter().map(String::as_str).collect();
    assert_eq!(cli.json(&base)["base_url"], "https://api.example.com/eu");
    cli.ok(&["invoke", "acme", FETCH, "get", "--input", r#"{"path": "/x"}"#]);
    assert_eq!(upstream.seen()[0].target, "/eu/x");
    let rows = cli.ok(&["connection", "list", "acme", FETCH]);
    assert!(rows.contains("  https://api.example.com/eu  "), "{rows}");
    for (more, exit, why) in [
        (&["--base-url", "https://api.example.org"][..], REFUSED, "base-url-refused: "),
        (&["--slot", "no-such-slot"], REFUSED, "unknown-slot: "),
        // The slot takes a token, not user and password.
        (&["--user", "ann"], REFUSED, "credential-invalid: "),
    ] {
        let args = set(more);
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        cli.fails(&args, exit, why);
    }
    let nothing = cli.file("empty.txt", "\n");
    let set = ["connection", "set", "acme", FETCH, "--secret-file"];
    cli.fails(&[&set[..], &[&nothing]].concat(), 1, "the secret is empty");
    cli.fails(&[&set[..], &["no-such.txt"]].concat(), 1, "secret file no-such.txt: ");
}
