//! Credentials that a person types, an operator sets, and a probe tries.

use serde_json::{Value, json};

use super::provider::{Answer, Asked, Provider};
use super::{STATED, World};
use crate::cli::Cli;
use crate::setup::path;

const KEY: &str = "canary-key-0123456789abcdef";

/// Of users whose password is not ASCII (RFC 7617 section 2.1), and of one whose password is empty.
const LOGINS: [&str; 3] =
    ["ann:canary-pässwörd-✓", "bob:canary-plain-password", "canary-key-as-user:"];

/// A provider that takes one key in a header or in the query, and these logins.
fn judge(asked: &Asked) -> Answer {
    let known = match asked.path.as_str() {
        "/by-header" => asked.header("x-api-key") == KEY,
        "/by-query" => asked.queried().get("key").is_some_and(|key| key == KEY),
        "/by-login" => asked.basic().is_some_and(|login| LOGINS.contains(&login.as_str())),
        "/by-token" => asked.header("authorization").len() == "Bearer ".len() + TOKEN_BYTES,
        _ => true,
    };
    match known {
        true => Answer::json(&json!({"account": {"id": 4711}})),
        false => Answer::refused(401, &json!({"error": "who are you"})),
    }
}

/// As long as a token that is imported.
const TOKEN_BYTES: usize = 16 << 10;

async fn world() -> World {
    let slot = |scheme: Value, path: &str| json!({"scheme": scheme, "probe": {"path": path, "account": "/account/id"}});
    let stated = json!({
        "hosts": ["api.example.com"], "base-url": "https://api.example.com",
        "slots": {
            "header": slot(json!({"kind": "api-key-header", "name": "X-Api-Key"}), "/by-header"),
            "query": slot(json!({"kind": "api-key-query", "name": "key"}), "/by-query"),
            "basic": slot(json!({"kind": "basic"}), "/by-login"),
            "long": slot(json!({"kind": "bearer"}), "/by-token"),
        },
    });
    World::new(&["api.example.com"], stated, Provider::start(judge).await).await
}

/// Fails if a key or a login that a person types is set without having been tried, is lost on the way, or stands anywhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_types_a_key_or_a_login_on_the_page() {
    let mut world = world().await;
    let refused = world.connect(json!({"slot": "header"}), &[("key", "canary-wrong-key")]).await;
    assert_eq!(refused.status, 422, "{}", String::from_utf8_lossy(&refused.body));
    assert_eq!(world.connection("header").await, Value::Null);
    let login = [("user", "ann"), ("password", "canary-pässwörd-✓")];
    let none = [("user", "canary-key-as-user"), ("password", "")];
    for (slot, typed, target) in [
        ("header", &[("key", KEY)][..], "/by-header"),
        ("query", &[("key", KEY)], "/by-query"),
        ("basic", &login, "/by-login"),
        ("basic", &none, "/by-login"),
    ] {
        let done = world.connect(json!({"slot": slot}), typed).await;
        assert_eq!(done.status, 200, "{slot}: {}", String::from_utf8_lossy(&done.body));
        assert_eq!(world.call(slot, target).await, 200, "{slot}");
    }
    world.hides(&["canary"]).await;
}

/// Fails if the command line cannot say a password that is empty or not ASCII, or sets what the provider does not take.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sets_what_works_and_tests_it() {
    let mut world = world().await;
    {
        let cli = Cli::new(&world.setup);
        let set = ["connection", "set", "acme", STATED, "--slot"];
        let test = ["connection", "test", "acme", STATED, "--slot"];
        for (user, password) in LOGINS.map(|login| login.split_once(':').expect("two parts")) {
            let said = cli.with_input(&[&set[..], &["basic", "--user", user]].concat(), password);
            assert_eq!(said.code, 0, "{said:?}");
            let tested = cli.ok(&[&test[..], &["basic"]].concat());
            assert_eq!(tested, "slot basic of acme works, for account 4711\n");
        }
        let said = cli.with_input(&[&set[..], &["header"]].concat(), "canary-wrong-key");
        assert!(said.code == 3 && said.err.contains("probe-failed"), "{said:?}");
        let untried = [&set[..], &["header", "--no-test"]].concat();
        assert_eq!(cli.with_input(&untried, "canary-wrong-key").code, 0);
        cli.fails(&[&test[..], &["header"]].concat(), 3, "probe-failed: ");
        let long = "a".repeat(TOKEN_BYTES);
        assert_eq!(cli.with_input(&[&set[..], &["long"]].concat(), &long).code, 0);
        assert_eq!(cli.with_input(&[&set[..], &["long"]].concat(), &format!("{long}a")).code, 3);
    }
    assert_eq!(world.call("basic", "/by-login").await, 200);
    assert_eq!(world.call("long", "/by-token").await, 200);
    world.hides(&["canary"]).await;
}

/// Fails if of several slots some are set and others not, or if each is a change of its own.
#[tokio::test(flavor = "multi_thread")]
async fn several_slots_are_set_in_one_act_or_none_is() {
    let mut world = world().await;
    let all = path("acme", STATED, "/connections");
    let of = |key: &str| {
        json!({"connections": {"header": {"token": key}, "query": {"token": KEY},
            "basic": {"user": "ann", "password": "canary-pässwörd-✓"}}})
    };
    let refused = world.setup.http.put(&all, of("canary-wrong-key")).await;
    assert_eq!(refused.code(), "probe-failed", "{}", refused.json());
    for slot in ["header", "query", "basic"] {
        assert_eq!(world.connection(slot).await, Value::Null, "{slot}");
    }
    {
        let cli = Cli::new(&world.setup);
        let file = cli.file("all.json", of(KEY)["connections"].to_string());
        let said = cli.ok(&["connection", "set-all", "acme", STATED, "--file", &file]);
        assert_eq!(said.lines().count(), 3, "{said}");
    }
    for (slot, target) in [("header", "/by-header"), ("query", "/by-query"), ("basic", "/by-login")]
    {
        assert_eq!(world.call(slot, target).await, 200, "{slot}");
    }
    let audit = world.setup.http.get("/v1/audit?limit=1000").await.ok().json();
    let entries = audit["entries"].as_array().expect("a list");
    assert_eq!(entries.iter().filter(|entry| entry["action"] == "connection.set").count(), 1);
    world.hides(&["canary"]).await;
}
