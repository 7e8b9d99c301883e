//! The host's log: whose each line is, and what guests can make it say.

use std::collections::BTreeSet;

use harness::Reply;
use serde_json::{Map, Value, json};

use crate::guests::LIMITS;
use crate::setup::Setup;

const HOSTILE: &str = "fixtures/hostile";

/// Who pins and calls [`HOSTILE`] in these tests.
const TENANT: &str = "loud";

/// What guests claim in the host's name. None of it is said by the host.
const CLAIMS: [&str; 4] = ["audit disabled", "other", "forged", "evil.example"];

/// Lines that guests write by every way there is, and the calls in which they did: fields and messages of
/// their log, what they print, a panic, and the texts of a failure.
async fn spoken_to(format: &str) -> (Setup, BTreeSet<String>) {
    let mut setup = Setup::new(&format!("{LIMITS}[log]\nformat = \"{format}\"\n"));
    setup.publish("hostile").await.ok();
    setup.pin(TENANT, HOSTILE, "1.0.0").await;
    let mut calls = BTreeSet::new();
    for action in
        ["log-escapes", "log-fields", "log-forgery", "print", "panic", "answer-escapes", "trap"]
    {
        // The number is for `print`: so many lines of each kind are enough.
        let reply = setup.act(TENANT, HOSTILE, action, json!(3)).await;
        assert!(calls.insert(call_of(&reply)), "two calls have one id");
    }
    (setup, calls)
}

fn call_of(reply: &Reply) -> String {
    let call = reply.header("keyway-call");
    assert!(call.starts_with("call_"), "{reply:?}");
    call.to_owned()
}

/// Letters that do something other than stand there: controls, the line's end apart; marks that reorder
/// text; separators that begin a line.
fn acts(letter: char) -> bool {
    let marks = ['\u{61c}', '\u{200e}', '\u{200f}', '\u{feff}'];
    (letter.is_control() && letter != '\n')
        || marks.contains(&letter)
        || ('\u{2028}'..='\u{202e}').contains(&letter)
        || ('\u{2066}'..='\u{2069}').contains(&letter)
}

#[track_caller]
fn assert_nothing_acts(log: &str) {
    for line in log.lines() {
        let raw = line.chars().find(|letter| acts(*letter));
        assert_eq!(raw, None, "{}", line.escape_debug());
    }
}

/// Lines of a log in JSON.
fn json_lines(log: &str) -> Vec<Map<String, Value>> {
    let parse = |line: &str| {
        let fields: Map<String, Value> =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        // A key that came twice would be lost in between, and with it one of its two values.
        let again = Value::Object(fields.clone()).to_string();
        assert_eq!(again.len(), line.len(), "a key is there twice: {line}");
        fields
    };
    log.lines().map(parse).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_guest_forges_a_line_of_a_log_in_json() {
    let (setup, calls) = spoken_to("json").await;
    let log = setup.log();
    assert_nothing_acts(&log);
    let (mut said, mut loud) = (String::new(), BTreeSet::new());
    for line in json_lines(&log) {
        let of_guest = line.get("guest") == Some(&json!(true));
        if of_guest || line.get("message") == Some(&json!("call ended")) {
            assert_eq!(line["tenant"], TENANT, "{line:?}");
            assert_eq!(line["environment"], "dev", "{line:?}");
            assert_eq!(line["release"], "fixtures/hostile@1.0.0", "{line:?}");
            assert_eq!(line["level"], "INFO", "{line:?}");
            assert!(line["call"].as_str().is_some_and(|call| calls.contains(call)), "{line:?}");
        }
        if of_guest {
            assert_eq!(line["message"], "guest log");
            assert_eq!(line["target"], "keyway_dispatch::outside");
            loud.insert(line["call"].as_str().expect("checked").to_owned());
            said.push_str(line["guest_message"].as_str().expect("text"));
            said.push_str(line["guest_fields"].as_str().expect("text"));
        }
        for (key, value) in &line {
            let theirs = (of_guest && ["guest_message", "guest_fields"].contains(&key.as_str()))
                || (key == "error" && line["message"] == "call ended");
            let claimed = CLAIMS.iter().find(|claim| value.to_string().contains(*claim));
            assert!(theirs || claimed.is_none(), "{key} is not the guest's to say: {line:?}");
        }
    }
    // All but a trap and a failure wrote lines, and what they wrote is there, harmless.
    assert_eq!(loud.len(), 5, "{loud:?}");
    for told in ["audit disabled", "\\u001b[31mred", "\\u009b31m", "\\u202e", "\\u2028", "\\u0000"]
    {
        assert!(said.contains(told), "{told} was not told");
    }
    assert!(said.contains("raw \u{fffd}31m"), "bytes that are no text were not replaced");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_guest_forges_a_line_of_a_log_in_text() {
    let (setup, calls) = spoken_to("text").await;
    let log = setup.log();
    assert_nothing_acts(&log);
    let mut loud = BTreeSet::new();
    for line in log.lines() {
        let said_by_host = unquoted(line);
        let claimed = CLAIMS.iter().find(|claim| said_by_host.contains(*claim));
        assert_eq!(claimed, None, "{line}");
        let mut words = said_by_host.split_whitespace();
        let began = words.next().is_some_and(|time| time.starts_with("20") && time.ends_with('Z'));
        let level = words.next().unwrap_or_default();
        assert!(began && ["INFO", "WARN"].contains(&level), "no line of the host's: {line}");
        let of = |key: &str| -> Vec<&str> {
            said_by_host.split(' ').filter_map(|word| word.strip_prefix(key)).collect()
        };
        if said_by_host.contains("guest=true") || said_by_host.contains(": call ended") {
            assert_eq!(of("tenant="), [TENANT], "{line}");
            assert_eq!(of("release="), ["fixtures/hostile@1.0.0"], "{line}");
            assert_eq!(level, "INFO", "{line}");
            let [call] = of("call=")[..] else { panic!("{line}") };
            assert!(calls.contains(call), "{line}");
            loud.insert(call.to_owned());
        } else {
            assert!(of("tenant=").is_empty(), "{line}");
        }
    }
    assert!(!loud.is_empty() && log.contains("audit disabled"), "guests' lines are not there");
}

/// A line without what stands between quotes, where a backslash takes the next letter along.
fn unquoted(line: &str) -> String {
    let (mut kept, mut quoted, mut letters) = (String::new(), false, line.chars());
    while let Some(letter) = letters.next() {
        match letter {
            '"' => quoted = !quoted,
            '\\' if quoted => drop(letters.next()),
            _ if quoted => {}
            _ => kept.push(letter),
        }
    }
    assert!(!quoted, "a quotation does not end: {line}");
    kept
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_bounded_and_its_end_is_said() {
    let mut setup = Setup::new(LIMITS);
    setup.publish("hostile").await.ok();
    setup.pin(TENANT, HOSTILE, "1.0.0").await;
    for action in ["log-lines", "log-line", "print"] {
        setup.act(TENANT, HOSTILE, action, json!(null)).await;
    }
    let log = setup.log();
    // Three calls of 256 KiB and a little for what is around each line.
    assert!(log.len() < 4 << 20, "the log has {} bytes", log.len());
    let lines = json_lines(&log);
    let cut = lines.iter().filter_map(|line| line.get("guest_message")?.as_str());
    let cut = cut.filter(|message| message.ends_with("were dropped: it is over its limits"));
    assert!(cut.count() >= 1, "nobody is told that lines are missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_a_call_says_whose_it_is() {
    let mut setup = Setup::new("[log]\nfilter = \"info,keyway_dispatch=debug\"\n");
    setup.publish("hostile").await.ok();
    setup.publish("toolchain-wasm-tools").await.ok();
    setup.pin("acme", HOSTILE, "1.0.0").await;
    setup.pin("globex", "fixtures/toolchain", "1.0.0").await;
    let failed = setup.act("acme", HOSTILE, "panic", json!(null)).await;
    let answered = setup.act("globex", "fixtures/toolchain", "greet", json!(1)).await.ok();
    assert_eq!(failed.json()["instance"], call_of(&failed), "the caller's id is the log's");
    let log = json_lines(&setup.log());
    let lines = |message: &str, reply: &Reply| -> Vec<Map<String, Value>> {
        let call = json!(call_of(reply));
        let all = log.iter().filter(|line| line["message"] == message);
        all.filter(|line| line.get("call") == Some(&call)).cloned().collect()
    };
    for (reply, tenant, release, level) in [
        (&failed, "acme", "fixtures/hostile@1.0.0", "INFO"),
        (&answered, "globex", "fixtures/toolchain@1.0.0", "DEBUG"),
    ] {
        let ended = lines("call ended", reply);
        let [ended] = ended.as_slice() else { panic!("not one line: {ended:?}") };
        assert_eq!((&ended["level"], &ended["verb"]), (&json!(level), &json!("invoke")));
        assert!(ended["seconds"].is_number(), "{ended:?}");
        let own = lines("guest log", reply);
        assert!(!own.is_empty(), "the guest's own line is not there");
        for line in own.iter().chain([ended]) {
            let places = ["environment", "tenant", "release"].map(|key| &line[key]);
            assert_eq!(places, [&json!("dev"), &json!(tenant), &json!(release)], "{line:?}");
        }
    }
    let of_failure = &lines("call ended", &failed)[0];
    assert_eq!(
        (&of_failure["code"], &of_failure["whose"]),
        (&json!("guest-trap"), &json!("connector"))
    );
    assert!(of_failure["error"].as_str().is_some_and(|error| error.starts_with("guest-trap: ")));
    let words = lines("guest log", &failed);
    let panicked =
        |line: &Map<String, Value>| line["guest_message"].to_string().contains("panicked");
    assert!(words.iter().any(panicked), "{words:?}");
    let greeting = &lines("guest log", &answered)[0];
    assert_eq!(greeting["guest_message"], "greeting");
    assert_eq!(greeting["guest_fields"], r#"{"polite":true}"#);
    assert!(!lines("call ended", &answered)[0].contains_key("code"));
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_calls_that_went_well_leave_no_line() {
    let mut setup = Setup::new("");
    setup.publish("echo").await.ok();
    setup.pin("acme", "fixtures/echo", "1.0.0").await;
    let answered = setup.act("acme", "fixtures/echo", "echo", json!(1)).await.ok();
    let failed = setup.act("acme", "fixtures/echo", "no-such-action", json!(1)).await;
    let log = setup.log();
    assert!(!log.contains(&call_of(&answered)), "{log}");
    assert!(log.contains(&call_of(&failed)), "{log}");
}
