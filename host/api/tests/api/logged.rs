//! The call log through the API: pages, streams, and what of it a role sees. What logs have in common is tested with
//! exchanges.

use std::time::Duration;

use keyway_core::ids::{CallId, Installation};
use keyway_core::ports::{CallLog as _, Clock as _};
use keyway_core::release::ReleaseRef;
use keyway_core::said::{CallFailure, KeptLine, LogLevel, SaidCall, Source};
use keyway_core::{Code, Digest, Whose};
use keyway_releases::model::Role::{Caller, Operator, Publisher, Viewer};
use serde_json::{Value, json};

use crate::stream::Stream;
use crate::world::World;

const LIST: &str = "/v1/environments/dev/calls";
const FOLLOW: &str = "/v1/environments/dev/calls/follow";

fn release(version: &str) -> ReleaseRef {
    let digest = Digest::of(version.as_bytes());
    ReleaseRef::new("pub/things".parse().unwrap(), version.parse().unwrap(), digest)
}

fn line(source: Source, level: LogLevel, message: &str, fields: &str) -> KeptLine {
    let after = Duration::from_millis(3);
    KeptLine { after, source, level, message: message.into(), fields: fields.into() }
}

/// A call that went well, by its number.
fn call(world: &World, number: u64) -> SaidCall {
    SaidCall {
        at: world.clock.now(),
        call: CallId(u128::from(number)),
        installation: Installation {
            environment: "dev".parse().unwrap(),
            tenant: "acme".parse().unwrap(),
            connector: "pub/things".parse().unwrap(),
        },
        user: None,
        release: release("1.0.0"),
        verb: "invoke",
        elapsed: Duration::from_millis(12),
        failure: None,
        lines: vec![line(Source::Log, LogLevel::Info, "canary-word", "")],
        lines_dropped: 0,
    }
}

fn failed(world: &World, number: u64) -> SaidCall {
    let detail = "canary-detail".to_owned();
    let failure = CallFailure { code: Code::GuestTrap, whose: Whose::Connector, detail };
    let lines = vec![
        line(Source::Log, LogLevel::Debug, "canary-word", r#"{"n":12345678901234567890}"#),
        line(Source::Stderr, LogLevel::Warn, "panicked", ""),
    ];
    let user = Some("zoe".parse().unwrap());
    SaidCall { failure: Some(failure), lines, lines_dropped: 2, user, ..call(world, number) }
}

async fn record(world: &World, calls: impl IntoIterator<Item = SaidCall>) {
    calls.into_iter().for_each(|call| world.said.record(call));
    world.said.flush().await;
}

fn number(call: &Value) -> u64 {
    let id = call["call"].as_str().unwrap().strip_prefix("call_").unwrap();
    u64::from_str_radix(id, 16).unwrap()
}

fn numbers(page: &Value) -> Vec<u64> {
    page["calls"].as_array().unwrap().iter().map(number).collect()
}

#[tokio::test]
async fn a_call_says_whose_it_was_how_it_ended_and_what_was_said() {
    let world = World::new().await;
    record(&world, [call(&world, 0), failed(&world, 1)]).await;
    let page = world.get(LIST).await.ok();
    let [trap, well] = page["calls"].as_array().unwrap().as_slice() else { panic!("{page}") };
    assert_eq!(trap["at"], "2023-11-14T22:13:20Z");
    assert_eq!(trap["call"], "call_00000000000000000000000000000001");
    assert_eq!(
        (&trap["environment"], &trap["tenant"], &trap["connector"], &trap["user"]),
        (&json!("dev"), &json!("acme"), &json!("pub/things"), &json!("zoe"))
    );
    assert_eq!(trap["release"]["version"], "1.0.0");
    assert_eq!((&trap["verb"], &trap["elapsed_ms"]), (&json!("invoke"), &json!(12.0)));
    let failure = json!({"code": "guest-trap", "whose": "connector", "detail": "canary-detail"});
    assert_eq!(trap["failure"], failure);
    assert_eq!(trap["lines_dropped"], 2);
    let lines = json!([
        {"after_ms": 3.0, "source": "log", "level": "debug", "message": "canary-word",
         "fields": {"n": 12_345_678_901_234_567_890_u64}},
        {"after_ms": 3.0, "source": "stderr", "level": "warn", "message": "panicked"},
    ]);
    assert_eq!(trap["lines"], lines);
    assert!(well.get("failure").is_none() && well.get("user").is_none(), "{well}");
}

#[tokio::test]
async fn each_parameter_narrows_what_is_found() {
    let world = World::new().await;
    let mut told: Vec<_> = (0..4).map(|number| call(&world, number)).collect();
    told[1].installation.tenant = "globex".parse().unwrap();
    told[2].installation.connector = "pub/others".parse().unwrap();
    told[3].release = release("2.0.0");
    told.push(failed(&world, 4));
    for told in told {
        world.said.record(SaidCall { at: world.clock.now(), ..told });
        world.clock.advance(Duration::from_secs(60));
    }
    let mut elsewhere = call(&world, 5);
    elsewhere.installation.environment = "prod".parse().unwrap();
    record(&world, [elsewhere]).await;
    for (query, expected) in [
        ("tenant=globex", vec![1]),
        ("connector=pub/others", vec![2]),
        ("release=2.0.0", vec![3]),
        ("failed=true", vec![4]),
        ("failed=false", vec![4, 3, 2, 1, 0]),
        ("call=call_00000000000000000000000000000002", vec![2]),
        // Five minutes have passed by the host's clock.
        ("since=2m", vec![4, 3]),
        ("until=4m", vec![1, 0]),
        ("limit=2", vec![4, 3]),
        ("limit=2&order=oldest", vec![0, 1]),
    ] {
        let page = world.get(&format!("{LIST}?{query}")).await.ok();
        assert_eq!(numbers(&page), expected, "{query}");
    }
    let first = world.get(&format!("{LIST}?limit=3")).await.ok();
    let rest = world.get(&format!("{LIST}?after={}", first["next"])).await.ok();
    assert_eq!(numbers(&rest), [1, 0]);
    assert_eq!(numbers(&world.get(&LIST.replace("dev", "prod")).await.ok()), [5]);
}

#[tokio::test]
async fn what_means_nothing_is_refused() {
    let world = World::new().await;
    for (query, code) in [
        ("tenant=../x", "invalid-name"),
        ("call=7", "invalid-name"),
        ("since=yesterday", "invalid-request"),
        ("limit=1001", "invalid-request"),
        ("order=random", "invalid-request"),
        ("status=429", "invalid-request"),
    ] {
        world.get(&format!("{LIST}?{query}")).await.refused(400, code);
        world.get(&format!("{FOLLOW}?{query}")).await.refused(400, code);
    }
    for paged in ["since=10m", "until=10m", "after=1", "limit=5", "order=oldest"] {
        world.get(&format!("{FOLLOW}?{paged}")).await.refused(400, "invalid-request");
    }
    world.get(&LIST.replace("dev", "moon")).await.refused(404, "unknown-environment");
}

#[tokio::test]
async fn whoever_may_only_look_sees_that_it_failed_and_nobodys_words() {
    let world = World::new().await;
    record(&world, [failed(&world, 1)]).await;
    let caller = world.token("caller", Caller, Some(&["dev"])).await;
    for path in [LIST, FOLLOW] {
        world.ask("GET", path, &caller, None).await.refused(403, "not-permitted");
    }
    let elsewhere = world.token("elsewhere", Operator, Some(&["prod"])).await;
    world.ask("GET", LIST, &elsewhere, None).await.refused(403, "not-permitted");
    let roles =
        [("viewer", Viewer, false), ("publisher", Publisher, false), ("op", Operator, true)];
    for (name, role, words) in roles {
        let token = world.token(name, role, None).await;
        let page = world.ask("GET", LIST, &token, None).await;
        page.ok();
        let mut stream = Stream::open(&world, FOLLOW, &token).await;
        record(&world, [failed(&world, 2)]).await;
        let line = stream.heard().await.unwrap();
        assert_eq!(number(&line["call"]), 2, "{name}");
        for text in [String::from_utf8_lossy(&page.body).into_owned(), line.to_string()] {
            assert!(text.contains("guest-trap"), "{name}: {text}");
            for word in ["canary-word", "canary-detail", "panicked"] {
                assert_eq!(text.contains(word), words, "{name}: {text}");
            }
        }
    }
}

#[tokio::test]
async fn a_stream_tells_what_is_new_and_fits() {
    let world = World::new().await;
    let mut stream = Stream::open(&world, &format!("{FOLLOW}?failed=true"), &world.admin).await;
    record(&world, [call(&world, 1), failed(&world, 2)]).await;
    let line = stream.heard().await.unwrap();
    let page = world.get(&format!("{LIST}?failed=true")).await.ok();
    assert_eq!(line["call"], page["calls"][0]);
    record(&world, (0..100).map(|number| failed(&world, number))).await;
    assert_eq!(stream.heard().await, Some(json!({"missed": 92})));
}
