//! `keyway invoke`, `discover`, `read`, `write`: the answer is data, what ran is not.

use harness::component;
use hubspot_upstream::{Fault, Options, Running, Token, Upstream};
use serde_json::{Value, json};

use super::{CALL_FAILED, Cli, REFUSED, Said};
use crate::setup::{Setup, stand_in};

const HUBSPOT: &str = "keyway/hubspot";
const CREDENTIAL: &str = "pat-of-the-command-line";

/// A provider, and a host that reaches it.
async fn with_provider() -> (Running, Setup) {
    let tokens = vec![Token::new(CREDENTIAL)];
    let options = Options { records: 30, archived: 0, tokens, ..Options::default() };
    let upstream = Upstream::start(options).await.expect("mock provider starts");
    let setup = Setup::new(&stand_in("api.hubapi.com", upstream.addr));
    (upstream, setup)
}

/// The real connector, published, pinned and connected by commands.
fn connected(setup: &Setup) -> Cli<'_> {
    let cli = Cli::new(setup);
    let file = cli.file("hubspot.wasm", component("connectors", "hubspot-1"));
    let release = cli.json(&["publish", &file]);
    let digest = release["release"]["digest"].as_str().expect("a digest");
    cli.ok(&["pin", "acme", HUBSPOT, digest, "--reason", "first"]);
    let set = cli.with_input(&["connection", "set", "acme", HUBSPOT], CREDENTIAL);
    assert_eq!(set.code, 0, "{set:?}");
    cli
}

/// The answer of a call for a person: JSON over several lines, and what ran beside it.
#[track_caller]
fn answer(said: &Said) -> Value {
    assert_eq!(said.code, 0, "{said:?}");
    let (release, call) = said.err.trim_end().split_once(' ').expect("what ran");
    assert!(release.starts_with("keyway/hubspot@1.") && call.starts_with("call_"), "{}", said.err);
    assert_eq!(said.err.lines().count(), 1, "{}", said.err);
    assert!(said.out.lines().count() > 2, "for eyes: {}", said.out);
    serde_json::from_str(&said.out).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_takes_its_input_as_typed_or_from_standard_input() {
    let (_upstream, setup) = with_provider().await;
    let cli = connected(&setup);
    let get = ["invoke", "acme", HUBSPOT, "contacts.get", "--input"];
    let typed = answer(&cli.run(&[&get[..], &[r#"{"id": "1001"}"#]].concat()));
    assert_eq!(typed["id"], "1001");
    let piped = [&get[..], &["-"]].concat();
    assert_eq!(answer(&cli.with_input(&piped, "{\"id\": \"1001\"}\n")), typed);
    let for_programs = [&piped[..], &["--json"]].concat();
    assert_eq!(cli.with_input(&for_programs, r#"{"id": "1001"}"#).json(), typed);
    // `{}` unless stated.
    let account = ["invoke", "acme", HUBSPOT, "account.info"];
    assert_eq!(answer(&cli.run(&account))["portalId"], Token::new(CREDENTIAL).portal);
    let said = cli.with_input(&piped, r#"{"id": "#);
    assert_eq!((said.code, said.out.as_str()), (REFUSED, ""), "{said:?}");
    cli.fails(&["invoke", "acme", HUBSPOT, "deals.get"], REFUSED, "unknown-action: ");
    cli.fails(&["invoke", "acme", HUBSPOT, "contacts.get"], REFUSED, "input-invalid: ");
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_discovered_read_and_written() {
    let (_upstream, setup) = with_provider().await;
    let cli = connected(&setup);
    let all = answer(&cli.run(&["discover", "acme", HUBSPOT]));
    assert!(all["contacts"]["properties"]["email"].is_object(), "{all}");
    assert!(all["companies"]["properties"]["domain"].is_object(), "{all}");
    assert_eq!(cli.json(&["discover", "acme", HUBSPOT]), all);
    let one = cli.json(&["discover", "acme", HUBSPOT, "contacts"]);
    assert_eq!(one, json!({"contacts": all["contacts"]}));
    cli.fails(&["discover", "acme", HUBSPOT, "deals"], REFUSED, "unknown-object: ");

    let read = ["read", "acme", HUBSPOT, "contacts"];
    let page = answer(&cli.run(&[&read[..], &["--request", r#"{"page_size": 20}"#]].concat()));
    assert_eq!(page["records"].as_array().map(Vec::len), Some(20));
    let request = json!({"page_size": 20, "cursor": page["next"]}).to_string();
    let rest = cli.with_input(&[&read[..], &["--request", "-", "--json"]].concat(), &request);
    assert_eq!(rest.json()["records"].as_array().map(Vec::len), Some(10), "the next page");
    assert_eq!(cli.json(&read)["records"].as_array().map(Vec::len), Some(30), "from the beginning");
    cli.fails(&["read", "acme", HUBSPOT, "deals"], REFUSED, "unknown-object: ");
    cli.fails(
        &[&read[..], &["--request", r#"{"size": 1}"#]].concat(),
        REFUSED,
        "invalid-request: ",
    );

    let write = ["write", "acme", HUBSPOT, "contacts", "--request"];
    let batch = |email: &str| {
        let item = json!({"reference": "a", "data": {"email": email, "firstname": "Ann"}});
        json!({"operation": "create", "items": [item]}).to_string()
    };
    let typed = answer(&cli.run(&[&write[..], &[&batch("ann@acme.example")]].concat()));
    let id = typed["outcomes"][0]["written"]["id"].as_str().expect("written");
    let piped = [&write[..], &["-", "--json"]].concat();
    let piped = cli.with_input(&piped, &batch("bob@acme.example")).json();
    assert_eq!(piped["outcomes"][0]["reference"], "a", "{piped}");
    let get = ["invoke", "acme", HUBSPOT, "contacts.get", "--input"];
    let contact = cli.json(&[&get[..], &[&json!({"id": id}).to_string()]].concat());
    assert_eq!(contact["properties"]["firstname"], "Ann");
    let empty = json!({"operation": "create"}).to_string();
    cli.fails(&[&write[..], &[&empty]].concat(), REFUSED, "invalid-request: ");
    assert_eq!(cli.exit(&["write", "acme", HUBSPOT, "contacts"]), 2, "there is nothing to write");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_is_told_from_one_that_was_refused() {
    let (upstream, setup) = with_provider().await;
    let cli = connected(&setup);
    let get = ["invoke", "acme", HUBSPOT, "contacts.get", "--input", r#"{"id": "1001"}"#];
    let fail = |status| {
        let fault = Fault { status: Some(status), times: Some(2), ..Fault::default() };
        upstream.fault(fault).expect("a valid fault");
    };
    for (status, exit, why) in [
        (401, CALL_FAILED, "unauthenticated: "),
        (404, REFUSED, "not-found: "),
        (409, REFUSED, "upstream-conflict: "),
        (503, CALL_FAILED, "transient: "),
    ] {
        fail(status);
        cli.fails(&get, exit, why);
    }
    cli.publish("hostile");
    cli.ok(&["pin", "acme", "fixtures/hostile", "1.0.0", "--reason", "first"]);
    let trap = ["invoke", "acme", "fixtures/hostile", "trap", "--input", "null"];
    cli.fails(&trap, CALL_FAILED, "guest-trap: ");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_reads_more_properties_than_a_url_takes() {
    let (_upstream, setup) = with_provider().await;
    let cli = connected(&setup);
    let names: Vec<String> = (0..600).map(|at| format!("custom_property_number_{at}")).collect();
    let file = cli.file("wide.json", json!({"properties": {"contacts": names}}).to_string());
    cli.ok(&["config", "set", "acme", HUBSPOT, "--file", &file]);
    let page = cli.json(&["read", "acme", HUBSPOT, "contacts"]);
    assert_eq!(page["records"].as_array().map(Vec::len), Some(30));
    assert!(page["records"][0]["data"]["email"].is_string(), "{page}");
    let since = json!({"since": "2000-01-01T00:00:00Z", "page_size": 10}).to_string();
    let page = cli.json(&["read", "acme", HUBSPOT, "contacts", "--request", &since]);
    assert!(page["records"][0]["data"]["email"].is_string(), "{page}");
    let input = json!({"id": "1001", "properties": names}).to_string();
    assert_eq!(
        cli.json(&["invoke", "acme", HUBSPOT, "contacts.get", "--input", &input])["id"],
        "1001"
    );
    let with_email = [names, vec!["email".to_owned()]].concat();
    let search = json!({"properties": with_email}).to_string();
    let found = cli.json(&["invoke", "acme", HUBSPOT, "contacts.search", "--input", &search]);
    assert!(found["results"][0]["properties"]["email"].is_string(), "{found}");
    // What the provider has no name for, nobody can configure.
    let file =
        cli.file("long.json", json!({"properties": {"contacts": ["x".repeat(101)]}}).to_string());
    cli.fails(&["config", "set", "acme", HUBSPOT, "--file", &file], REFUSED, "config-invalid: ");
}
