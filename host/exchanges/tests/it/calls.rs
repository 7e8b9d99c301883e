//! The call log: what is told of a call is what is read back, within bounds. What logs have in common is tested with
//! exchanges.

use std::time::Duration;

use keyway_core::ids::CallId;
use keyway_core::ports::CallLog as _;
use keyway_core::said::{CallFailure, KeptLine, LogLevel, SaidCall, Source};
use keyway_core::{Code, Whose};
use keyway_exchanges::{CallFilter, Calls, KeptCall, Options, Order};
use prometheus_client::registry::Registry;

use crate::support::{BEGINNING, Place, installation, release, roomy};

/// A member by a name that means something to a library.
const ODD: &str = r#"{"a":{"$serde_json::private::RawValue":"?"}}"#;

fn call(number: u64, message: &str) -> SaidCall {
    let line = |source, level, fields: &str| KeptLine {
        after: Duration::from_micros(1_500),
        source,
        level,
        message: message.into(),
        fields: fields.into(),
    };
    SaidCall {
        at: BEGINNING,
        call: CallId(u128::from(number)),
        installation: installation("acme"),
        user: Some("zoe@example.com".parse().unwrap()),
        release: release("1.4.0"),
        verb: "read",
        elapsed: Duration::from_millis(7),
        failure: Some(CallFailure {
            code: Code::GuestTrap,
            whose: Whose::Connector,
            detail: "unreachable in `\u{e9}`".to_owned(),
        }),
        lines: vec![
            line(Source::Log, LogLevel::Debug, r#"{"a":{"b":[1.50]}}"#),
            line(Source::Stderr, LogLevel::Warn, ""),
            line(Source::Log, LogLevel::Info, ODD),
        ],
        lines_dropped: 3,
    }
}

fn open(place: &Place) -> Calls {
    Calls::open(place.folder.path(), place.clock.clone(), place.options.clone()).unwrap()
}

async fn all(log: &Calls) -> Vec<KeptCall> {
    log.flush().await;
    let found = log.find(CallFilter::default(), Order::OldestFirst, None, 100).await.unwrap();
    found.entries
}

#[tokio::test]
async fn what_is_told_is_read_back_also_after_a_restart() {
    let place = Place::new(roomy());
    let log = open(&place);
    let told = call(1, "said \"it\" \\ \u{fffd}");
    log.record(told.clone());
    log.record(SaidCall { failure: None, user: None, lines: Vec::new(), ..call(2, "") });
    let first = all(&log).await;
    drop(log);
    let log = open(&place);
    let found = all(&log).await;
    assert_eq!(format!("{first:?}"), format!("{found:?}"));
    let [kept, bare] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((kept.at, kept.call, &kept.installation), (told.at, told.call, &told.installation));
    assert_eq!((&kept.user, &kept.release), (&told.user, &told.release));
    assert_eq!((kept.verb.as_str(), kept.elapsed), (told.verb, told.elapsed));
    let (failure, told_failure) = (kept.failure.as_ref().unwrap(), told.failure.unwrap());
    assert_eq!((failure.code.as_str(), failure.whose.as_str()), ("guest-trap", "connector"));
    assert_eq!(failure.detail.as_deref(), Some(told_failure.detail.as_str()));
    assert_eq!(kept.lines_dropped, 3);
    for (kept, told) in kept.lines.iter().zip(&told.lines) {
        assert_eq!(
            (kept.source.as_str(), kept.level.as_str()),
            (told.source.as_str(), told.level.as_str())
        );
        assert_eq!((kept.after, kept.message.as_str()), (told.after, &*told.message));
    }
    assert_eq!(kept.lines[0].fields.as_ref().unwrap()["a"]["b"][0], 1.5);
    assert!(kept.lines[1].fields.is_none());
    assert_eq!(kept.lines[2].fields.as_ref().unwrap().to_string(), ODD);
    assert!(bare.failure.is_none() && bare.user.is_none() && bare.lines.is_empty());
}

#[tokio::test]
async fn a_call_that_is_too_large_is_dropped_and_counted() {
    let place = Place::new(Options { exchange_bytes_max: 2_000, ..roomy() });
    let log = open(&place);
    log.record(call(1, &"x".repeat(200)));
    log.record(call(2, &"x".repeat(2_000)));
    let found = all(&log).await;
    assert_eq!(found.iter().map(|kept| kept.call.0).collect::<Vec<_>>(), [1]);
    let mut registry = Registry::default();
    log.metrics().register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains(r#"keyway_call_log_dropped_total{why="too_large"} 1"#), "{text}");
    assert!(text.contains("keyway_call_log_recorded_total 1"), "{text}");
}

#[tokio::test]
async fn the_log_is_never_larger_than_it_may_be_and_a_damaged_call_costs_itself() {
    let options = Options { segment_bytes_max: 2_000, total_bytes_max: 6_000, ..roomy() };
    let place = Place::new(options);
    let log = open(&place);
    for number in 0..100 {
        log.record(call(number, "x"));
        log.flush().await;
    }
    assert!(log.metrics().bytes() <= 6_000);
    let before = all(&log).await.len();
    assert!(before > 2);
    drop(log);
    let file = &place.files()[0];
    let mut bytes = std::fs::read(file).unwrap();
    let middle = 72 + 40;
    bytes[middle] ^= 1;
    std::fs::write(file, &bytes).unwrap();
    assert_eq!(all(&open(&place)).await.len(), before - 1);
}
