//! The example of one action: short, and right. That it becomes a component and a release is checked by
//! `tests/it/sdk.rs` of the host, which `script/guests` builds it for.

use keyway_sdk::serde_json::json;
use keyway_sdk::testing::{Cassette, Exchange};
use keyway_sdk::{Act, Describe, FailureKind, serde_json};

#[expect(unreachable_pub, reason = "public as an example, a module here")]
#[path = "../examples/one_action.rs"]
mod one_action;

use one_action::Weather;

/// What a connector of one action may cost its author, in lines that are not blank.
const LINES_MAX: usize = 40;

#[test]
fn a_connector_of_one_action_is_under_forty_lines() {
    let source = include_str!("../examples/one_action.rs");
    let lines = source.lines().filter(|line| !line.trim().is_empty()).count();
    assert!(lines < LINES_MAX, "{lines} lines");
}

#[test]
fn it_describes_itself_and_its_action() {
    let descriptor = serde_json::to_value(Weather::describe()).unwrap();
    assert_eq!(descriptor["name"], "acme/weather");
    assert_eq!(descriptor["actions"]["today"]["effect"], "read");
}

#[test]
fn it_answers_what_the_provider_answers() {
    let cassette = Cassette::new().expect(
        Exchange::get("/v1/today?city=Bad%20Ems").slot("key").reply_json(json!({"degrees": 3})),
    );
    let answer = cassette.play(|| Weather::invoke("today", r#""Bad Ems""#));
    assert_eq!(answer.as_deref(), Ok(r#"{"degrees":3}"#));
}

#[test]
fn it_says_what_went_wrong() {
    let cassette = Cassette::new().expect(Exchange::get("/v1/today?city=x").slot("key").reply(503));
    let failure = cassette.play(|| Weather::invoke("today", r#""x""#)).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Transient);
}
