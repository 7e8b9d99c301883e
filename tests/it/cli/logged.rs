//! `keyway logs calls`: what connectors said, call by call, to those who may read it, and why calls ended.

use std::time::{Duration, Instant};

use harness::Http;
use serde_json::{Value, json};

use super::logs::{Going, PATIENCE};
use super::{CALL_FAILED, Cli, REFUSED, UNAUTHORISED};
use crate::setup::{Setup, path};

const HOSTILE: &str = "fixtures/hostile";
const TOOLCHAIN: &str = "fixtures/toolchain";
const LOGS: [&str; 2] = ["logs", "calls"];

/// What the guest panics with, and what of it may be told.
const SECRET: &str = "s3cr3t-of-the-guest";
const MASKED: &str = "token=[keyway:redacted]";

/// A host on which one tenant runs a guest that greets, and another one that does what it should not.
async fn with_tenants() -> Setup {
    let mut setup = Setup::new("");
    setup.publish("hostile").await.ok();
    setup.publish("toolchain-wasm-tools").await.ok();
    setup.pin("acme", HOSTILE, "1.0.0").await;
    setup.pin("globex", TOOLCHAIN, "1.0.0").await;
    setup
}

/// The command with more of it.
fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&LOGS[..], more].concat()
}

/// Calls once there are so many: one is written a moment after it is answered.
async fn calls(cli: &Cli<'_>, more: &[&str], count: usize) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let page = cli.json(&with(more));
        let calls = page["calls"].as_array().expect("a list").clone();
        if calls.len() == count {
            return calls;
        }
        assert!(begun.elapsed() < PATIENCE, "{count} wanted for {more:?}: {page}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn id(call: &Value) -> &str {
    call["call"].as_str().expect("an id")
}

/// A token of this role, for `dev`.
async fn token(setup: &mut Setup, role: &str) -> String {
    let grant = json!({"name": role, "role": role, "environments": ["dev"]});
    let issued = setup.http.post("/v1/tokens", grant).await.ok().json();
    issued["secret"].as_str().expect("a secret").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_connector_says_is_found_by_its_call() {
    let mut setup = with_tenants().await;
    let failed = setup.act("acme", HOSTILE, "panic", json!(null)).await;
    let greeted = setup.act("globex", TOOLCHAIN, "greet", json!(1)).await.ok();
    let cli = Cli::new(&setup);
    let all = calls(&cli, &[], 2).await;
    let [panicked, greeting] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(id(panicked), failed.header("keyway-call"), "the newest last");
    assert_eq!(id(greeting), greeted.header("keyway-call"));
    let said = json!([{"source": "log", "level": "info", "message": "greeting",
        "fields": {"polite": true}, "after_ms": greeting["lines"][0]["after_ms"]}]);
    assert_eq!((&greeting["lines"], greeting.get("failure")), (&said, None));
    assert_eq!((&panicked["tenant"], &panicked["verb"]), (&json!("acme"), &json!("invoke")));
    assert_eq!(panicked["failure"]["code"], "guest-trap");
    let lines = panicked["lines"].to_string();
    assert!(lines.contains("stderr") && lines.contains("panicked at"), "{lines}");
    assert!(lines.contains(MASKED) && !lines.contains(SECRET), "{lines}");

    for (more, count) in [
        (&["--tenant", "globex"][..], 1),
        (&["--connector", HOSTILE], 1),
        (&["--call", id(greeting)], 1),
        (&["--failed"], 1),
        (&["--since", "10m"], 2),
        (&["--until", "10m"], 0),
        (&["--limit", "1"], 1),
        (&["--release", "2.0.0"], 0),
        (&["--env", "prod"], 0),
    ] {
        calls(&cli, more, count).await;
    }
    assert_eq!(id(&calls(&cli, &["--failed"], 1).await[0]), id(panicked));

    // To people, lines stand below their call, and a narrow terminal cuts no id.
    let text = Cli::new(&setup).with("KEYWAY_COLUMNS", "80").ok(&LOGS);
    for whole in [id(panicked), id(greeting), "greeting {\"polite\":true}", MASKED, "guest-trap"] {
        assert!(text.contains(whole), "{whole}: {text}");
    }
    cli.fails(&with(&["--call", "7"]), REFUSED, "invalid-name: ");
    cli.fails(&with(&["--token", "kw_x", "--follow"]), UNAUTHORISED, "token-invalid: ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_went_well_and_said_nothing_is_not_kept() {
    let mut setup = with_tenants().await;
    setup.publish("echo").await.ok();
    setup.pin("acme", "fixtures/echo", "1.0.0").await;
    setup.act("acme", "fixtures/echo", "echo", json!(1)).await.ok();
    setup.act("globex", TOOLCHAIN, "greet", json!(1)).await.ok();
    let all = calls(&Cli::new(&setup), &[], 1).await;
    assert_eq!(all[0]["connector"], TOOLCHAIN);
}

#[tokio::test(flavor = "multi_thread")]
async fn following_shows_calls_as_they_end_and_the_log_outlives_a_crash() {
    let mut setup = with_tenants().await;
    setup.act("globex", TOOLCHAIN, "greet", json!(1)).await.ok();
    calls(&Cli::new(&setup), &[], 1).await;
    let mut http = setup.host.http();
    let cli = Cli::new(&setup);
    let mut going = Going::start(&cli, &with(&["--follow", "--json"]));
    let mut next = || -> Value {
        let line: Value = serde_json::from_str(&going.line()).expect("JSON");
        line["call"].clone()
    };
    let before = next();
    assert_eq!(before["connector"], TOOLCHAIN);
    http.post(&path("acme", HOSTILE, "/actions/panic"), json!(null)).await;
    let after = next();
    assert_eq!(after["failure"]["code"], "guest-trap");
    drop(going);
    let setup = setup.crash();
    let left = calls(&Cli::new(&setup), &[], 2).await;
    assert_eq!(left, [before, after]);
}

/// Catches words of one customer's data that reach who may only look, or only call.
#[tokio::test(flavor = "multi_thread")]
async fn a_panics_message_is_for_operators() {
    let mut setup = with_tenants().await;
    let action = path("acme", HOSTILE, "/actions/panic");
    let said = |problem: &Value| problem["guest_said"].as_str().map(str::to_owned);
    let (operator, caller) =
        (token(&mut setup, "operator").await, token(&mut setup, "caller").await);
    for (role, secret, told) in [("operator", &operator, true), ("caller", &caller, false)] {
        let mut http = Http::new(setup.host.address, secret);
        let problem = http.post(&action, json!(null)).await;
        assert_eq!(problem.code(), "guest-trap", "{role}");
        let words = said(&problem.json());
        assert_eq!(words.is_some(), told, "{role}: {words:?}");
        let panicked = |words: String| words.contains("panicked at") && words.contains(MASKED);
        assert!(words.is_none_or(panicked), "{role}");
        assert!(!String::from_utf8_lossy(&problem.body).contains(SECRET), "{role}");
    }
    let viewer = token(&mut setup, "viewer").await;
    let mut http = Http::new(setup.host.address, &viewer);
    assert_eq!(http.post(&action, json!(null)).await.code(), "not-permitted");

    let cli = Cli::new(&setup);
    let kept = calls(&cli, &["--failed", "--token", &viewer], 2).await;
    for call in &kept {
        assert_eq!(call["failure"], json!({"code": "guest-trap", "whose": "connector"}));
        assert!(call.get("lines").is_none(), "{call}");
    }
    assert!(!cli.ok(&with(&["--token", &viewer])).contains("panicked"));
    let whole = calls(&cli, &["--failed", "--token", &operator], 2).await;
    assert!(whole.iter().all(|call| call["lines"].to_string().contains("panicked")));
    cli.fails(&with(&["--token", &caller]), UNAUTHORISED, "not-permitted: ");
}

/// At a terminal the command line shows the same.
#[tokio::test(flavor = "multi_thread")]
async fn who_operates_reads_a_panics_message_where_the_call_failed() {
    let setup = with_tenants().await;
    let cli = Cli::new(&setup);
    let said = cli.run(&["invoke", "acme", HOSTILE, "panic"]);
    assert_eq!(said.code, CALL_FAILED, "{said:?}");
    let panicked = said.err.lines().find(|line| line.starts_with("| thread "));
    assert!(panicked.is_some_and(|line| line.contains("panicked at ")), "{said:?}");
    assert!(said.err.contains(&format!("\n| {MASKED}\n")), "{said:?}");
}

/// Catches a log that a flood empties of the one line that matters.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_flood_the_newest_lines_are_there_and_how_many_are_not() {
    let mut setup = Setup::new("[call-log]\ncall-bytes-max = 4096\n");
    setup.publish("hostile").await.ok();
    setup.pin("acme", HOSTILE, "1.0.0").await;
    setup.act("acme", HOSTILE, "log-lines", json!(100_000)).await.ok();
    let call = calls(&Cli::new(&setup), &[], 1).await.remove(0);
    let lines = call["lines"].as_array().expect("lines");
    let last = lines.last().expect("a line");
    assert_eq!(last["source"], "host");
    let message = last["message"].as_str().expect("text");
    assert!(message.ends_with("lines of this log were dropped: it is over its limits"), "{last}");
    assert!(lines.len() > 5 && lines.len() < 100, "{}", lines.len());
    assert!(call["lines_dropped"].as_u64() > Some(800), "{}", call["lines_dropped"]);
}
