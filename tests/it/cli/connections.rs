//! `keyway connection` with tokens and users, `keyway client`, `keyway scopes`, and `keyway show` of a tenant.

use serde_json::{Value, json};

use super::{Cli, REFUSED, cells, time};
use crate::setup::{Setup, stand_in};
use crate::upstream::Plain;

const OAUTH: &str = "fixtures/oauth";
const GRANTS: &str = "fixtures/grants";
const FETCH: &str = "fixtures/fetch";
const HEADER: [&str; 7] = ["SLOT", "USER", "KIND", "GEN", "STATE", "BASE URL", "SET"];

fn line(user: Option<&str>, token: &str) -> String {
    let mut line = json!({"tenant": "acme", "connector": OAUTH, "slot": "token",
        "access_token": token, "refresh_token": "canary-refresh", "account": "a1",
        "scopes": ["contacts.read"], "expires_at": "2100-01-01T00:00:00Z"});
    if let Some(user) = user {
        line["user"] = user.into();
    }
    format!("{line}\n")
}

/// Fails if a line that is bad takes others with it, or if what is exported is not what was imported.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_come_from_a_file_and_leave_as_a_line_for_another() {
    let upstream = Plain::start().await;
    let setup = Setup::new(&stand_in("api.example.com", upstream.address));
    let cli = Cli::new(&setup);
    cli.publish("oauth");
    cli.ok(&["pin", "acme", OAUTH, "1.0.0", "--reason", "first"]);
    let own = line(None, "canary-own");
    let file = cli.file("one.ndjson", &own);
    let import = ["connection", "import", &file];
    let untried = "line 1: the token is not tried: it has ended, or the release names no request that would tell; ";
    let dry = cli.ok(&[&import[..], &["--dry-run"]].concat());
    assert_eq!(dry, format!("{untried}it would be a new connection; nothing is changed\n"));
    let list = ["connection", "list", "acme", OAUTH];
    assert_eq!(cli.json(&list)["connections"], json!([]));
    assert_eq!(cli.ok(&import), format!("{untried}slot token is imported, generation 1\n"));
    let again = cli.run(&[&import[..], &["--dry-run", "--replace"]].concat());
    let replaced = "it would replace generation 1, for account a1; nothing is changed\n";
    assert_eq!((again.code, again.out), (0, format!("{untried}{replaced}")));
    let lacking = "keyway: warning: line 1: scopes are missing: contacts.write\n";
    assert!(again.err.starts_with(lacking), "{}", again.err);
    assert!(again.err.contains("no OAuth client"), "{}", again.err);
    cli.ok(&["invoke", "acme", OAUTH, "get"]);
    assert_eq!(upstream.seen()[0].headers["authorization"], "Bearer canary-own");

    let many = [line(Some("ann"), "canary-ann"), "{\"tenant\": 7}\n".to_owned()].concat();
    let said = cli.with_input(&["connection", "import", "-"], &many);
    assert_eq!(said.code, REFUSED, "{said:?}");
    assert!(said.out.contains("slot token of user ann is imported"), "{said:?}");
    assert!(said.err.contains("keyway: line 2: invalid-request: "), "{said:?}");
    let rows = cells(&cli.ok(&list), &HEADER);
    let shown: Vec<_> = rows.iter().map(|row| row[..4].join(" ")).collect();
    assert_eq!(shown, ["token - oauth2 1", "token ann oauth2 1"]);
    assert!(rows.iter().all(|row| row[4].starts_with("ready, watched until ")), "{rows:?}");
    assert!(rows.iter().all(|row| row[4].ends_with(" (waiting, refreshes: 0)")), "{rows:?}");

    let export = ["connection", "export", "acme", OAUTH];
    let clear: Value =
        serde_json::from_str(&cli.ok(&[&export[..], &["--clear"]].concat())).expect("JSON");
    let mut whole: Value = serde_json::from_str(&own).expect("JSON");
    whole["hold_refresh"] = false.into();
    whole.as_object_mut().expect("an object").remove("obtained_at");
    assert_eq!(clear, whole);
    assert_eq!(cli.exit(&export), 2, "sealed or clear: it must be said");
    let nobody = [&export[..], &["--recipient", "age1nobody"]].concat();
    cli.fails(&nobody, REFUSED, "invalid-request: ");
    let seen = [setup.log(), cli.ok(&list), cli.json(&["audit"]).to_string()];
    assert!(!seen.iter().any(|text| text.contains("canary")), "{seen:?}");
}

/// Fails if a file may only have as many lines as one request, or if a line is called by another number than it has.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_any_length_is_imported_and_its_lines_are_numbered() {
    let setup = Setup::new("");
    let cli = Cli::new(&setup);
    cli.publish("oauth");
    cli.ok(&["pin", "acme", OAUTH, "1.0.0", "--reason", "first"]);
    let mut lines: Vec<String> =
        (1..=250).map(|n| line(Some(&format!("user-{n}")), "canary-access")).collect();
    lines[119] = "{\"tenant\": 7}\n".to_owned();
    lines[129] = "\n".to_owned();
    let said = cli.with_input(&["connection", "import", "-"], &lines.concat());
    assert_eq!(said.code, REFUSED, "{said:?}");
    assert!(said.err.contains("keyway: line 120: invalid-request: "), "{said:?}");
    assert!(said.out.contains("line 250: the token "), "{said:?}");
    let listed = cli.json(&["connection", "list", "--phase", "ready"]);
    assert_eq!(listed["connections"].as_array().map(Vec::len), Some(248), "{listed}");

    for nothing in [String::new(), "\n".repeat(250)] {
        let said = cli.with_input(&["connection", "import", "-"], &nothing);
        assert_eq!(said.code, REFUSED, "{said:?}");
        assert!(
            said.err.starts_with("keyway: invalid-request: the body has no line\n"),
            "{said:?}"
        );
    }

    let twice = [&lines[..], &lines[..1]].concat().concat();
    let said = cli.with_input(&["connection", "import", "-", "--replace"], &twice);
    assert_eq!(
        said.err,
        "keyway: line 251 is of the same connection as line 1; nothing was sent\n"
    );
}

/// Fails if a call for a user is sent with the tenant's own credential.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_for_a_user_uses_the_user_s_connection_or_none() {
    let upstream = Plain::start().await;
    let setup = Setup::new(&stand_in("api.example.com", upstream.address));
    let cli = Cli::new(&setup);
    cli.publish("fetch");
    cli.ok(&["pin", "acme", FETCH, "1.0.0", "--reason", "first"]);
    let set = ["connection", "set", "acme", FETCH];
    assert_eq!(cli.with_input(&set, "canary-own\n").code, 0);
    let invoke = ["invoke", "acme", FETCH, "get", "--input", r#"{"path": "/x"}"#];
    let for_ann = [&invoke[..], &["--user", "ann"]].concat();
    let said = cli.run(&for_ann);
    assert!(said.err.starts_with("keyway: credential-missing: "), "{said:?}");
    assert!(upstream.seen().is_empty(), "nothing is sent in the tenant's name");
    let said = cli.with_input(&[&set[..], &["--for-user", "ann"]].concat(), "canary-ann\n");
    assert_eq!(said.out, "slot token of user ann of acme is set (bearer), generation 1\n");
    cli.ok(&for_ann);
    cli.ok(&invoke);
    let sent: Vec<_> =
        upstream.seen().iter().map(|seen| seen.headers["authorization"].clone()).collect();
    assert_eq!(sent, ["Bearer canary-ann", "Bearer canary-own"]);
    let said = cli.run(&["connection", "remove", "acme", FETCH, "--for-user", "ann"]);
    assert_eq!(said.err, "slot token of user ann of acme has no credential any more\n");
    cli.fails(&for_ann, REFUSED, "credential-missing: ");
}

/// Fails if a call is made in another way than it was asked for.
#[tokio::test(flavor = "multi_thread")]
async fn how_a_call_is_made_is_said_to_the_host() {
    // Stands in for a host: what it is asked is what counts.
    let host = Plain::start().await;
    let setup = Setup::new("");
    let cli = Cli::new(&setup);
    let address = format!("http://{}", host.address);
    let call = ["--host", &address, "invoke", "acme", FETCH, "get"];
    let so = ["--user", "ann", "--rate-limit", "throttle", "--timeout-ms", "5000"];
    cli.ok(&[&call[..], &so].concat());
    cli.ok(&call);
    assert_eq!(cli.exit(&[&call[..], &["--rate-limit", "wait"]].concat()), 2);
    let seen = host.seen();
    let fields = ["keyway-user", "keyway-rate-limit", "keyway-timeout-ms"];
    assert_eq!(fields.map(|field| &seen[0].headers[field]), ["ann", "throttle", "5000"]);
    assert!(fields.iter().all(|field| !seen[1].headers.contains_key(*field)));
    assert_eq!(seen.len(), 2);
}

/// Fails if a tenant is not there of whom only users are connected.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_users_alone_are_connected_runs_the_default() {
    let upstream = Plain::start().await;
    let setup = Setup::new(&stand_in("api.example.com", upstream.address));
    let cli = Cli::new(&setup);
    cli.publish("fetch");
    cli.ok(&["default", "set", FETCH, "1.0.0", "--reason", "first"]);
    let set = ["connection", "set", "solo", FETCH, "--for-user", "ann"];
    assert_eq!(cli.with_input(&set, "canary-ann\n").code, 0);
    let invoke = ["invoke", "solo", FETCH, "get", "--input", r#"{"path": "/x"}"#, "--user", "ann"];
    cli.ok(&invoke);
    assert_eq!(upstream.seen()[0].headers["authorization"], "Bearer canary-ann");
    let setup = setup.crash();
    let cli = Cli::new(&setup);
    cli.ok(&invoke);
    assert!(cli.ok(&["pins"]).contains("solo"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_paused_held_and_let_go() {
    let setup = Setup::new("");
    let cli = Cli::new(&setup);
    cli.publish("oauth");
    cli.ok(&["pin", "acme", OAUTH, "1.0.0", "--reason", "first"]);
    assert_eq!(cli.with_input(&["connection", "import", "-"], &line(None, "canary-own")).code, 0);
    let of = |verb: &'static str| ["connection", verb, "acme", OAUTH];
    let said = cli.ok(&of("pause"));
    let at = said.strip_prefix("slot token of acme is paused, and idle since ").expect("a receipt");
    assert!(time(at.trim_end()), "{said}");
    cli.fails(&["invoke", "acme", OAUTH, "get"], REFUSED, "connection-paused: ");
    assert_eq!(cli.ok(&of("resume")), "slot token of acme is in use again, generation 3\n");
    assert_eq!(cli.ok(&of("hold-refresh")), "slot token of acme is not refreshed, generation 4\n");
    cli.fails(&of("refresh"), REFUSED, "refresh-held: ");
    let held = cells(&cli.ok(&["connection", "list", "acme", OAUTH]), &HEADER);
    assert!(held[0][4].starts_with("ready, refresh held, watched until "), "{held:?}");
    let header = ["TENANT", "CONNECTOR", "SLOT", "USER", "GEN", "STATE", "SET"];
    let everywhere = cells(&cli.ok(&["connection", "list", "--phase", "ready"]), &header);
    assert_eq!(everywhere[0][..4], ["acme", OAUTH, "token", "-"]);
    assert!(everywhere[0][5].starts_with("ready, refresh held, "), "{everywhere:?}");
    assert_eq!(
        cli.json(&["connection", "list", "--phase", "needs-reauth"]),
        json!({"connections": []})
    );
    assert_eq!(cli.exit(&["connection", "list", "acme"]), 2, "a tenant of which connector?");
    assert_eq!(cli.exit(&["connection", "list", "--phase", "dead"]), 2);
    let setup = setup.crash();
    let cli = Cli::new(&setup);
    assert_eq!(cells(&cli.ok(&["connection", "list"]), &header), everywhere, "also after a start");
    cli.ok(&of("release-refresh"));
    cli.fails(&of("refresh"), REFUSED, "oauth-client-missing: ");
    cli.fails(
        &[&of("pause")[..], &["--for-user", "ann"]].concat(),
        REFUSED,
        "unknown-connection: ",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_two_environments_is_warned_of() {
    let setup = Setup::new("[server]\nenvironments = [\"dev\", \"prod\"]\n");
    let cli = Cli::new(&setup);
    cli.publish("oauth");
    let file = cli.file("secret.txt", "canary-client\n");
    let set = ["client", "set", OAUTH, "--id", "shop", "--secret-file", &file];
    let said = cli.run(&set);
    assert_eq!((said.code, said.err.as_str()), (0, "it may be presented to auth.example.test\n"));
    assert_eq!(said.out, "slot token of fixtures/oauth in dev has the client shop, generation 1\n");
    let said = cli.run(&[&set[..], &["--env", "prod"]].concat());
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.err.starts_with("keyway: warning: environment dev has the same client"),
        "{said:?}"
    );
    let header = ["CONNECTOR", "SLOT", "CLIENT", "SECRET", "GEN", "SHARED WITH", "SET"];
    let rows = cells(&cli.ok(&["client", "list"]), &header);
    assert_eq!(rows[0][..6].join(" "), "fixtures/oauth token shop yes 1 prod");
    assert!(!cli.json(&["client", "list"]).to_string().contains("canary"));
    let remove = ["client", "remove", OAUTH];
    assert_eq!(cli.run(&remove).err, "slot token of fixtures/oauth has no client any more\n");
    cli.fails(&remove, REFUSED, "oauth-client-missing: ");
    cli.fails(&["client", "set", FETCH, "--id", "x", "--public"], REFUSED, "unknown-connector: ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_obtained_without_a_person_or_refused() {
    let setup = Setup::new("[server]\nenvironments = [\"dev\", \"prod\"]\n");
    let cli = Cli::new(&setup);
    cli.publish("grants");
    let pin = ["pin", "acme", GRANTS, "1.0.0", "--reason", "first"];
    cli.ok(&pin);
    let obtain = ["connection", "obtain", "acme", GRANTS, "--slot"];
    cli.fails(&[&obtain[..], &["machine"]].concat(), REFUSED, "oauth-client-missing: ");
    cli.fails(&[&obtain[..], &["hand"]].concat(), REFUSED, "credential-invalid: ");
    cli.fails(&[&obtain[..], &["delegated"]].concat(), REFUSED, "credential-invalid: ");
    let file = cli.file("subject.txt", "canary-subject\n");
    let exchanged = [&obtain[..], &["delegated", "--subject-file", &file]].concat();
    cli.fails(&exchanged, REFUSED, "oauth-client-missing: ");
    // A client of two environments is said where a release comes to one of them.
    let set = ["client", "set", GRANTS, "--slot", "machine", "--id", "shop", "--public"];
    cli.ok(&set);
    assert_eq!(cli.run(&pin).err, "");
    cli.ok(&[&set[..], &["--env", "prod"]].concat());
    let warning = "keyway: warning: slot `machine`: environment prod has the same client";
    let default = ["default", "set", GRANTS, "1.0.0", "--reason", "first"];
    let unpin = ["unpin", "acme", GRANTS, "--reason", "the default will do"];
    let revert = ["revert", "acme", GRANTS, "--to", "1", "--reason", "back"];
    for command in [&pin[..], &default, &revert] {
        if command == revert {
            cli.ok(&unpin);
        }
        let said = cli.run(command);
        assert!(said.code == 0 && said.err.starts_with(warning), "{said:?}");
    }
    let seen = [setup.log(), cli.json(&["audit"]).to_string()];
    assert!(!seen.iter().any(|text| text.contains("canary")), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_without_its_scopes_must_be_asked_for() {
    let setup = Setup::new("");
    let cli = Cli::new(&setup);
    cli.publish("oauth");
    let pin = ["pin", "acme", OAUTH, "1.0.0", "--reason", "first"];
    cli.ok(&["default", "set", OAUTH, "1.0.0", "--reason", "for all"]);
    let scopes = ["scopes", "acme", OAUTH];
    let header = ["SLOT", "USER", "REQUIRED", "GRANTED", "MISSING"];
    let needs = "contacts.read contacts.write offline_access";
    let unknown = [["token", "-", needs, "unknown", "-"].map(str::to_owned).to_vec()];
    assert_eq!(cells(&cli.ok(&scopes), &header), unknown);
    assert_eq!(cli.with_input(&["connection", "import", "-"], &line(None, "canary-own")).code, 0);
    // `offline_access` is no permission.
    let missing = "contacts.write";
    let known = [["token", "-", needs, "contacts.read", missing].map(str::to_owned).to_vec()];
    assert_eq!(cells(&cli.ok(&scopes), &header), known);
    cli.fails(&pin, REFUSED, "scopes-missing: ");
    cli.ok(&[&pin[..], &["--allow-missing-scopes"]].concat());
    let history = cli.json(&["history", "acme", OAUTH]);
    assert_eq!(history["pins"].as_array().map(Vec::len), Some(1), "the refused one is not there");
    let marked = format!("first [scopes missing: slot `token`: {missing}]");
    assert_eq!(history["pins"][0]["reason"], marked);
    // What is pinned already stays, whatever was granted.
    assert!(cli.ok(&pin).contains("generation 1"));
    let unpin = ["unpin", "acme", OAUTH, "--reason", "the default will do"];
    cli.fails(&unpin, REFUSED, "scopes-missing: ");
    cli.ok(&[&unpin[..], &["--allow-missing-scopes"]].concat());
    cli.ok(&["revert", "acme", OAUTH, "--to", "1", "--reason", "back"]);
    let history = cli.json(&["history", "acme", OAUTH]);
    assert_eq!(history["pins"][0]["reason"], marked.replace("first", "back"));
}

/// Fails if `show` says something else of a tenant than `scopes` does, or means another release.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_shown_beside_what_its_scopes_were_granted() {
    let setup = Setup::new("[server]\nenvironments = [\"dev\", \"prod\"]\n");
    let cli = Cli::new(&setup);
    cli.publish("oauth");
    let of_tenant = ["show", OAUTH, "--tenant", "acme"];
    cli.fails(&of_tenant, REFUSED, "not-pinned: ");
    cli.ok(&["pin", "acme", OAUTH, "1.0.0", "--reason", "first"]);
    let lines = [line(None, "canary-own"), line(Some("ann"), "canary-ann")].concat();
    assert_eq!(cli.with_input(&["connection", "import", "-"], &lines).code, 0);

    let release = format!("{OAUTH}@1.0.0");
    let scopes = cli.ok(&["scopes", "acme", OAUTH, "1.0.0"]);
    assert!(scopes.contains("\ntoken  ann "), "{scopes}");
    let plain = cli.ok(&["show", &release]);
    let shown = cli.ok(&["show", &release, "--tenant", "acme"]);
    assert_eq!(shown, format!("{plain}\n{scopes}"));
    assert_eq!(cli.ok(&of_tenant), shown, "what the tenant runs");
    // Nobody has connected anything there, and nothing runs; the release can be held against it all the same.
    let elsewhere = cli.ok(&["show", &release, "--tenant", "acme", "--env", "prod"]);
    assert!(elsewhere.starts_with(&plain) && elsewhere.contains("unknown"), "{elsewhere}");

    let mut json = cli.json(&of_tenant);
    let scopes = json.as_object_mut().expect("an object").remove("scopes");
    assert_eq!(scopes, Some(cli.json(&["scopes", "acme", OAUTH])));
    assert_eq!(json, cli.json(&["show", &release]), "otherwise as without a tenant");
    let unknown = format!("{OAUTH}@9.9.9");
    cli.fails(&["show", &unknown, "--tenant", "acme"], REFUSED, "unknown-release: ");
    cli.fails(&["show", OAUTH], REFUSED, "unknown-release: ");
}
