//! `keyway token`: issued, shown once, bound, revoked.

use std::path::Path;

use serde_json::json;

use super::{Cli, REFUSED, UNAUTHORISED, cells, time};
use crate::setup::{Setup, files_below};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_printed_once_and_good_until_it_is_revoked() {
    let setup = Setup::new("");
    let cli = Cli::new(&setup);
    cli.publish("echo");
    let said = cli.run(&["token", "issue", "on-call", "--role", "viewer"]);
    assert_eq!((said.code, said.err.as_str()), (0, "keep it: it is not shown again\n"));
    // Nothing else on standard output, so that it can be sent to a file.
    let secret = said.out.strip_suffix('\n').expect("one line");
    assert!(secret.starts_with("kw_") && !secret.contains(char::is_whitespace), "{secret}");
    let shown = |args: &[&'static str]| cli.run(&[&["--token", secret], args].concat());
    assert_eq!(shown(&["releases"]).code, 0);
    let pin = ["pin", "acme", "fixtures/echo", "1.0.0", "--reason", "x"];
    let refused = shown(&pin);
    assert_eq!(refused.code, UNAUTHORISED, "a viewer only looks: {refused:?}");
    assert!(refused.err.starts_with("keyway: not-permitted: "), "{refused:?}");

    let header = ["NAME", "ROLE", "ENVIRONMENTS", "PUBLISHER", "EXPIRES", "MADE"];
    let listed = cli.ok(&["token", "list"]);
    let rows = cells(&listed, &header);
    let told: Vec<_> = rows.iter().map(|row| row[..5].join(" ")).collect();
    assert_eq!(told, ["admin admin all all never", "on-call viewer all all never"]);
    assert!(rows.iter().all(|row| time(&row[5])), "{listed}");
    let json = cli.json(&["token", "list"]).to_string();
    for (what, text) in [("list", &listed), ("JSON list", &json), ("log", &setup.log())] {
        assert!(!text.contains(secret), "the secret is in the {what}");
    }
    assert!(!kept(&setup.data(), secret), "the host keeps a hash only");

    let said = cli.run(&["token", "revoke", "on-call"]);
    assert_eq!((said.code, said.out.as_str()), (0, ""));
    assert_eq!(said.err, "token on-call is revoked\n");
    let refused = shown(&["releases"]);
    assert_eq!(refused.code, UNAUTHORISED, "{refused:?}");
    assert!(refused.err.starts_with("keyway: token-invalid: "), "{refused:?}");
    cli.fails(&["token", "revoke", "on-call"], REFUSED, "unknown-token: ");
}

fn kept(data: &Path, secret: &str) -> bool {
    files_below(data).iter().any(|file| {
        let bytes = std::fs::read(file).expect("readable");
        bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_bound_to_environments_a_publisher_and_a_time() {
    let setup = Setup::new("");
    let cli = Cli::new(&setup);
    cli.publish("echo");
    let ci = ["token", "issue", "ci", "--role", "publisher", "--publisher", "acme"];
    let ends = ["--expires-at", "2099-01-01T00:00:00Z"];
    let issued = cli.json(&[&ci[..], &ends].concat());
    assert_eq!(issued["token"]["publisher"], "acme");
    let secret = issued["secret"].as_str().expect("a secret");
    let component = fixtures::Guest::named("fetch").load().expect("built");
    let file = cli.file("fetch.wasm", component);
    cli.fails(&["--token", secret, "publish", &file], UNAUTHORISED, "publisher-mismatch: ");

    let bound = ["token", "issue", "abroad", "--role", "operator"];
    let only = ["--only", "staging", "--only", "prod"];
    let issued = cli.json(&[&bound[..], &only].concat());
    assert_eq!(issued["token"]["environments"], json!(["staging", "prod"]));
    let secret = issued["secret"].as_str().expect("a secret");
    let pin = ["pin", "acme", "fixtures/echo", "1.0.0", "--reason", "x"];
    let token = ["--token", secret];
    cli.fails(&[&token[..], &pin].concat(), UNAUTHORISED, "not-permitted: ");
    assert_eq!(cli.exit(&[&token[..], &["--env", "staging"], &pin].concat()), 0);

    let rows = cli.ok(&["token", "list"]);
    let rows = cells(&rows, &["NAME", "ROLE", "ENVIRONMENTS", "PUBLISHER", "EXPIRES", "MADE"]);
    let told: Vec<_> = rows.iter().map(|row| row[..5].join(" ")).collect();
    assert_eq!(
        told,
        [
            "abroad operator staging,prod all never",
            "admin admin all all never",
            "ci publisher all acme 2099-01-01T00:00:00Z",
        ]
    );

    let issue = |more: &[&'static str]| [&["token", "issue"], more].concat();
    for (more, code) in [
        (&["ci", "--role", "viewer"][..], "conflict: "),
        (&["x", "--role", "owner"], "invalid-request: "),
        (&["x", "--role", "viewer", "--expires-at", "tomorrow"], "invalid-request: "),
        (&["x", "--role", "viewer", "--only", "nowhere"], "unknown-environment: "),
    ] {
        cli.fails(&issue(more), REFUSED, code);
    }
}
