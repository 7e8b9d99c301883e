//! One call at a time: what guests answer, and every way in which they end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keyway_core::call::{
    Failure, FailureKind, Operation, Output, ReadRequest, WriteItem, WriteRequest,
};
use keyway_core::descriptor::WriteOperation;
use keyway_core::said::LogLevel;
use keyway_core::{Code, Retry, limits};

use crate::guest::Guest;
use crate::harness::{Host, LONG, World, failing, invoke, response, run, run_in};

const LOG: (&str, &str) = (
    "keyway:connector/log@1.0.0",
    r#"(import "keyway:connector/log@1.0.0" "write"
         (func $log (param i32 i32 i32 i32 i32)))"#,
);

const HTTP: (&str, &str) = (
    "keyway:connector/http@1.0.0",
    r#"(import "keyway:connector/http@1.0.0" "send-all"
         (func $send_all (param i32 i32 i32)))"#,
);

const RANDOM: &str = "package wasi:random@0.2.0;
    interface random { get-random-bytes: func(len: u64) -> list<u8>; }";

const RANDOM_IMPORT: (&str, &str) = (
    "wasi:random/random@0.2.0",
    r#"(import "wasi:random/random@0.2.0" "get-random-bytes" (func $random (param i64 i32)))"#,
);

/// Answers `0x200..`, so many bytes.
fn answers(length: usize) -> String {
    format!("(call $ok (i32.const 0x200) (i32.const {length}))")
}

/// Answers a JSON string of `length` bytes in all.
fn answers_string(length: usize) -> Guest {
    let pages = length.div_ceil(0x1_0000) + 4;
    let body = format!(
        r#"(drop (memory.grow (i32.const {pages})))
           (local.set $at (i32.const 0x20000))
           (memory.fill (local.get $at) (i32.const 120) (i32.const {length}))
           (i32.store8 (local.get $at) (i32.const 34))
           (i32.store8 (i32.add (local.get $at) (i32.const {last})) (i32.const 34))
           (call $ok (local.get $at) (i32.const {length}))"#,
        last = length - 1,
    );
    Guest::action("large", &body)
}

#[tokio::test]
async fn answers_an_action() {
    let host = Host::new();
    let echo = host.loaded(&Guest::echo()).await;
    assert_eq!(run(&echo, r#"{"a":[1,2]}"#).await.unwrap(), r#"{"a":[1,2]}"#);
    assert_eq!(echo.release().to_string(), "test/echo@1.0.0");
    assert_eq!(host.runtime.live(&echo.release().digest), 0);
}

#[tokio::test]
async fn keeps_nothing_from_one_call_to_the_next() {
    let counter = r#"(i32.store (i32.const 0x300) (i32.add (i32.load (i32.const 0x300)) (i32.const 1)))
        (i32.store8 (i32.const 0x200) (i32.add (i32.load (i32.const 0x300)) (i32.const 48)))"#;
    let host = Host::new();
    let counter = Guest::action("counter", &format!("{counter} {}", answers(1)));
    let counter = host.loaded(&counter).await;
    for _ in 0..3 {
        assert_eq!(run(&counter, "{}").await.unwrap(), "1");
    }
}

#[tokio::test]
async fn a_reported_failure_is_data() {
    let body = r#"
        (i32.store8 (i32.const 0x100) (i32.const 1))
        (i32.store8 (i32.const 0x108) (i32.const 7))  ;; rate-limited
        (i32.store8 (i32.const 0x10c) (i32.const 1))
        (i32.store (i32.const 0x110) (i32.const 0x200)) (i32.store (i32.const 0x114) (i32.const 4))
        (i32.store (i32.const 0x118) (i32.const 0x204)) (i32.store (i32.const 0x11c) (i32.const 5))
        (i32.store8 (i32.const 0x120) (i32.const 1)) (i64.store (i32.const 0x128) (i64.const 1500))
        (i32.store8 (i32.const 0x130) (i32.const 1))
        (i32.store (i32.const 0x134) (i32.const 0)) (i32.store (i32.const 0x138) (i32.const 0))
        (i32.const 0x100)"#;
    let guest =
        Guest::action("failing", body).functions(r#"(data (i32.const 0x200) "SLOWa\1b[0m")"#);
    let host = Host::new();
    let fault = run(&host.loaded(&guest).await, "{}").await.unwrap_err();
    assert_eq!(fault.code, Code::RateLimited);
    assert_eq!(fault.provider_code.as_deref(), Some("SLOW"));
    assert_eq!(fault.detail, "a\\u001b[0m");
    assert_eq!(fault.retry, Retry::After(Duration::from_millis(1_500)));
    assert!(fault.request_sent);
}

#[tokio::test]
async fn operations_without_an_export_are_unsupported() {
    let host = Host::new();
    let echo = host.loaded(&Guest::echo()).await;
    let discover = Operation::Discover { object: None };
    let fault = echo.call(discover, World::quiet(), LONG).await.unwrap_err();
    assert_eq!(fault.code, Code::Unsupported);
    let silent = host.loaded(&Guest::new("silent")).await;
    assert_eq!(run(&silent, "{}").await.unwrap_err().code, Code::Unsupported);
}

#[tokio::test]
async fn ends_of_guests_are_told_apart() {
    let host = Host::limited(|limits| limits.call.cpu_time_max = Duration::from_secs(1));
    let cases = [
        ("trap", "(unreachable)", Code::GuestTrap, "unreachable"),
        ("divide", "(i32.div_u (i32.const 1) (i32.const 0))", Code::GuestTrap, "divide by zero"),
        ("spin", "(loop (br 0)) (unreachable)", Code::GuestCpu, "used more than 1s"),
        ("recurse", "(call $down)", Code::GuestStack, "524288 bytes of stack"),
        (
            "grow",
            "(loop (br_if 0 (i32.ne (i32.const -1) (memory.grow (i32.const 16))))) (unreachable)",
            Code::GuestMemory,
            "134217728 bytes of memory",
        ),
        ("beyond", "(call $ok (i32.const -8) (i32.const 64))", Code::GuestOutputInvalid, ""),
    ];
    for (name, body, code, detail) in cases {
        let guest = Guest::action(name, body).functions(
            "(func $down (result i32) (i32.add (call $down) (i32.load (i32.const 0x200))))",
        );
        let (actual, said) = failing(&host, &guest).await;
        assert_eq!(actual, code, "{name}: {said}");
        assert!(said.contains(detail), "{name}: {said}");
    }
}

#[tokio::test]
async fn names_of_a_guests_functions_do_nothing_to_the_log() {
    // Ten frames of it, so that the chain would be long as well.
    let name =
        format!("\\1b[2J\\0aERROR forged\\c2\\9b\\e2\\80\\ae\\e2\\80\\a8\\00{}", "x".repeat(2_000));
    let guest = Guest::action("named", "(call $begin (i32.const 10))").functions(&format!(
        r#"(func $begin (@name "{name}") (param $left i32) (result i32)
             (if (i32.eqz (local.get $left)) (then (unreachable)))
             (i32.add (call $begin (i32.sub (local.get $left) (i32.const 1))) (i32.const 1)))"#
    ));
    let host = Host::new();
    let fault = run(&host.loaded(&guest).await, "{}").await.unwrap_err();
    assert_eq!(fault.code, Code::GuestTrap);
    assert!(fault.detail.contains("forged"), "the name is told: {}", fault.detail);
    for text in [&fault.detail, &fault.chain()] {
        let raw = text
            .chars()
            .find(|letter| letter.is_control() || ['\u{202e}', '\u{2028}'].contains(letter));
        assert_eq!(raw, None, "{:?}", text.chars().take(1_000).collect::<String>());
        assert!(text.len() < 8 << 10, "{} bytes", text.len());
    }
}

#[tokio::test]
async fn growth_that_is_refused_and_borne_is_no_fault() {
    let body = format!(
        "(i32.store8 (i32.const 0x200) (i32.const 49))
         (if (i32.ne (i32.const -1) (memory.grow (i32.const 4096))) (then (unreachable))) {}",
        answers(1)
    );
    let host = Host::new();
    assert_eq!(run(&host.loaded(&Guest::action("bear", &body)).await, "{}").await.unwrap(), "1");
}

#[tokio::test]
async fn memory_is_held_at_the_limit() {
    // Two pages at the start, one for the parameters, and the limit is five.
    let host = Host::limited(|limits| limits.call.memory_bytes_max = 5 << 16);
    for (pages, granted) in [(2, true), (3, false)] {
        let body = format!(
            "(if (i32.eq (i32.const -1) (memory.grow (i32.const {pages}))) (then (unreachable)))
             (i32.store8 (i32.const 0x200) (i32.const 49)) {}",
            answers(1)
        );
        let connector = host.loaded(&Guest::action(&format!("grow-{pages}"), &body)).await;
        let code = run(&connector, "").await.map_err(|fault| fault.code);
        assert_eq!(code, if granted { Ok("1".into()) } else { Err(Code::GuestMemory) });
    }
}

#[tokio::test]
async fn answers_that_are_no_json_are_invalid() {
    let host = Host::new();
    for (name, text) in [("words", "nope"), ("cut", "{\"a\":"), ("two", "{}{}")] {
        let data = text.replace('"', "\\\"");
        let guest = Guest::action(name, &answers(text.len()))
            .functions(&format!("(data (i32.const 0x200) \"{data}\")"));
        assert_eq!(failing(&host, &guest).await.0, Code::GuestOutputInvalid, "{name}");
    }
    let guest =
        Guest::action("latin", &answers(3)).functions(r#"(data (i32.const 0x200) "\"\ff\"")"#);
    assert_eq!(failing(&host, &guest).await.0, Code::GuestOutputInvalid);
}

#[tokio::test]
async fn the_largest_answer_passes_and_larger_ones_are_refused() {
    let host = Host::new();
    let most = limits::OUTPUT_BYTES_MAX;
    let connector = host.loaded(&answers_string(most)).await;
    assert_eq!(run(&connector, "{}").await.unwrap().len(), most);
    for more in [most + 1, 100 << 20] {
        let (code, detail) = failing(&host, &answers_string(more)).await;
        assert_eq!(code, Code::GuestOutputTooLarge, "{more}: {detail}");
    }
}

#[tokio::test]
async fn time_over_is_not_the_guests_processor_time() {
    let host = Host::new();
    let spin = host.loaded(&Guest::action("spin", "(loop (br 0)) (unreachable)")).await;
    let call = spin.call(invoke("{}"), World::quiet(), Duration::from_millis(100));
    assert_eq!(call.await.unwrap_err().code, Code::DeadlineExceeded);
    assert_eq!(host.runtime.live(&spin.release().digest), 0);
}

#[tokio::test]
async fn waiting_is_not_processor_time() {
    let host = Host::limited(|limits| limits.call.cpu_time_max = Duration::from_millis(500));
    let body = r#"
        (call $send_all (i32.const 0x400) (i32.const 1) (i32.const 0x80))
        (i32.store8 (i32.const 0x200) (i32.const 49))
        (loop (local.set $i (i32.add (local.get $i) (i32.const 1)))
              (br_if 0 (i32.lt_u (local.get $i) (i32.const 1000000))))
        (call $ok (i32.const 0x200) (i32.const 1))"#;
    let guest = Guest::action("patient", body).import(HTTP.0, HTTP.1);
    let connector = host.loaded(&guest).await;
    let world = World::sending(|_| async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        Ok(response("x"))
    });
    assert_eq!(run_in(&connector, &world, "{}").await.unwrap(), "1");
}

#[tokio::test]
async fn start_up_is_part_of_the_call() {
    // Only after admission, or it would not have been admitted: the clock tells the two apart.
    let start = r#"(func $start (if (i64.gt_u (call $clock) (i64.const 0)) (then (loop (br 0)))))
        (start $start)"#;
    let guest = Guest::echo()
        .package("package wasi:clocks@0.2.0; interface monotonic-clock { now: func() -> u64; }")
        .import(
            "wasi:clocks/monotonic-clock@0.2.0",
            r#"(import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $clock (result i64)))"#,
        )
        .functions(start);
    let host = Host::limited(|limits| limits.call.cpu_time_max = Duration::from_millis(100));
    assert_eq!(failing(&host, &guest).await.0, Code::GuestCpu);
}

#[tokio::test]
async fn random_bytes_end_at_the_limit() {
    let host = Host::new();
    let guest = |name: &str, second: usize| {
        let body = format!(
            "(call $random (i64.const 65000) (i32.const 0x80))
             (call $random (i64.const {second}) (i32.const 0x80))
             (i32.store8 (i32.const 0x200) (i32.const 49)) {}",
            answers(1)
        );
        Guest::action(name, &body).package(RANDOM).import(RANDOM_IMPORT.0, RANDOM_IMPORT.1)
    };
    assert_eq!(run(&host.loaded(&guest("enough", 536)).await, "{}").await.unwrap(), "1");
    let (code, detail) = failing(&host, &guest("greedy", 537)).await;
    assert_eq!(code, Code::GuestTrap);
    assert!(detail.contains("more than 65536 random bytes"), "{detail}");
}

#[tokio::test]
async fn the_monotonic_clock_does_not_go_back() {
    let body = format!(
        "(if (i64.gt_u (call $clock) (call $clock)) (then (unreachable)))
         (i32.store8 (i32.const 0x200) (i32.const 49)) {}",
        answers(1)
    );
    let guest = Guest::action("clock", &body).import(
        "keyway:connector/clock@1.0.0",
        r#"(import "keyway:connector/clock@1.0.0" "now" (func $clock (result i64)))"#,
    );
    let host = Host::new();
    let connector = host.loaded(&guest).await;
    let world = World::quiet();
    world.times(&[900, 900, 1_000]);
    assert_eq!(run_in(&connector, &world, "{}").await.unwrap(), "1");
}

#[tokio::test]
async fn settings_reach_the_guest() {
    let guest = Guest::action(
        "settings",
        "(call $config (i32.const 0x80))
         (call $ok (i32.load (i32.const 0x80)) (i32.load (i32.const 0x84)))",
    )
    .import(
        "keyway:connector/settings@1.0.0",
        r#"(import "keyway:connector/settings@1.0.0" "config" (func $config (param i32)))"#,
    );
    let host = Host::new();
    let answer = run(&host.loaded(&guest).await, "{}").await.unwrap();
    assert_eq!(answer, r#"{"greeting":"hello"}"#);
}

#[tokio::test]
async fn a_flood_of_lines_is_cut_and_counted() {
    let body = format!(
        r#"(loop
             (call $log (i32.const 3) (i32.const 0x400) (i32.const 5) (i32.const 0) (i32.const 0))
             (local.set $i (i32.add (local.get $i) (i32.const 1)))
             (br_if 0 (i32.lt_u (local.get $i) (i32.const 1000000))))
           (i32.store8 (i32.const 0x200) (i32.const 49)) {}"#,
        answers(1)
    );
    let guest = Guest::action("flood", &body)
        .import(LOG.0, LOG.1)
        .functions(r#"(data (i32.const 0x400) "\1b[31m")"#);
    let host = Host::limited(|limits| limits.call.cpu_time_max = LONG);
    let world = World::quiet();
    run_in(&host.loaded(&guest).await, &world, "{}").await.unwrap();
    let lines = world.lines();
    assert_eq!(lines.len(), 1_001);
    assert_eq!(lines[0], "\\u001b[31m");
    assert_eq!(lines[1_000], "999000 lines of this log were dropped: it is over its limits");
    assert_eq!(world.log.lock().unwrap()[0].0, LogLevel::Error);
}

#[tokio::test]
async fn a_long_line_is_cut_and_one_beyond_all_limits_ends_the_call() {
    let host = Host::new();
    let guest = |name: &str, bytes: usize| {
        let body = format!(
            r#"(drop (memory.grow (i32.const {})))
               (memory.fill (i32.const 0x400) (i32.const 120) (i32.const {bytes}))
               (call $log (i32.const 1) (i32.const 0x400) (i32.const {bytes})
                          (i32.const 0) (i32.const 0))
               (i32.store8 (i32.const 0x200) (i32.const 49)) {}"#,
            bytes / 0x1_0000 + 1,
            answers(1)
        );
        Guest::action(name, &body).import(LOG.0, LOG.1)
    };
    let world = World::quiet();
    run_in(&host.loaded(&guest("long", 20 << 20)).await, &world, "{}").await.unwrap();
    let line = world.lines().remove(0);
    assert_eq!(line, format!("{} [cut]", "x".repeat(4 << 10)));
    let (code, _) = failing(&host, &guest("endless", 100 << 20)).await;
    assert_eq!(code, Code::GuestOutputTooLarge);
}

#[tokio::test]
async fn send_all_is_concurrent_capped_and_in_order() {
    const REQUESTS: usize = 40;
    // Request `i` has the one-letter URL at 0x600 + i; the answer is the first letter of each body.
    let body = format!(
        r#"(loop
             (local.set $at (i32.add (i32.const 0x8000) (i32.mul (local.get $i) (i32.const 64))))
             (i32.store offset=8 (local.get $at) (i32.add (i32.const 0x600) (local.get $i)))
             (i32.store offset=12 (local.get $at) (i32.const 1))
             (local.set $i (i32.add (local.get $i) (i32.const 1)))
             (br_if 0 (i32.lt_u (local.get $i) (i32.const {REQUESTS}))))
           (call $send_all (i32.const 0x8000) (i32.const {REQUESTS}) (i32.const 0x80))
           (if (i32.ne (i32.load (i32.const 0x84)) (i32.const {REQUESTS})) (then (unreachable)))
           (local.set $i (i32.const 0))
           (i32.store8 (i32.const 0x200) (i32.const 34))
           (loop
             (local.set $at (i32.add (i32.load (i32.const 0x80))
                                     (i32.mul (local.get $i) (i32.const 64))))
             (i32.store8 offset=0x201 (local.get $i)
               (i32.load8_u (i32.load offset=20 (local.get $at))))
             (local.set $i (i32.add (local.get $i) (i32.const 1)))
             (br_if 0 (i32.lt_u (local.get $i) (i32.const {REQUESTS}))))
           (i32.store8 offset=0x201 (local.get $i) (i32.const 34))
           (call $ok (i32.const 0x200) (i32.const {}))"#,
        REQUESTS + 2
    );
    let letters: String =
        (0..REQUESTS).map(|i| char::from(b'A' + u8::try_from(i).unwrap())).collect();
    let guest = Guest::action("many", &body)
        .import(HTTP.0, HTTP.1)
        .functions(&format!("(data (i32.const 0x600) \"{}\")", letters.replace('\\', "\\\\")));
    let host = Host::new();
    let connector = host.loaded(&guest).await;
    let flying = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&most);
    let world = World::sending(move |request| {
        let (flying, most) = (Arc::clone(&flying), Arc::clone(&most));
        async move {
            most.fetch_max(flying.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // The first to be asked are the last to answer.
            let late = u64::from(0x80 - request.url.as_bytes()[0]);
            tokio::time::sleep(Duration::from_millis(late)).await;
            flying.fetch_sub(1, Ordering::SeqCst);
            Ok(response(request.url.replace('\\', "/")))
        }
    });
    let answer = run_in(&connector, &world, "{}").await.unwrap();
    assert_eq!(answer, format!("\"{}\"", letters.replace('\\', "/")));
    assert_eq!(seen.load(Ordering::SeqCst), 16);
}

#[tokio::test]
async fn requests_beyond_one_send_all_fail_without_being_sent() {
    let body = format!(
        r#"(call $send_all (i32.const 0x8000) (i32.const 257) (i32.const 0x80))
           ;; The last of 257 is a failure, the one before it a response.
           (local.set $at (i32.load (i32.const 0x80)))
           (i32.store8 (i32.const 0x200) (i32.add (i32.const 48)
             (i32.add (i32.mul (i32.const 2) (i32.load8_u offset=16384 (local.get $at)))
                      (i32.load8_u offset=16320 (local.get $at)))))
           {}"#,
        answers(1)
    );
    let guest = Guest::action("greedy", &body).import(HTTP.0, HTTP.1);
    let host = Host::new();
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let world = World::sending(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Ok(response("x")) }
    });
    assert_eq!(run_in(&host.loaded(&guest).await, &world, "{}").await.unwrap(), "2");
    assert_eq!(sent.load(Ordering::SeqCst), 256);
}

#[tokio::test]
async fn of_a_guest_that_ended_it_is_known_whether_it_had_sent() {
    let send = "(call $send_all (i32.const 0x8000) (i32.const 1) (i32.const 0x80))";
    let guest = |name: &str, body: &str| Guest::action(name, body).import(HTTP.0, HTTP.1);
    let host = Host::new();
    let trap = host.loaded(&guest("trap", &format!("{send} (unreachable)"))).await;
    let nonsense = host.loaded(&guest("nonsense", &format!("{send} {}", answers(1)))).await;
    let answering = World::sending(|_| async { Ok(response("x")) });
    for connector in [&trap, &nonsense] {
        assert!(run_in(connector, &answering, "{}").await.unwrap_err().request_sent);
        // Refused by the host, so nothing was sent.
        assert!(!run_in(connector, &World::quiet(), "{}").await.unwrap_err().request_sent);
    }
    let hanging = World::sending(|_| std::future::pending());
    let fault = trap.call(invoke("{}"), hanging, Duration::from_secs(1)).await.unwrap_err();
    assert_eq!((fault.code, fault.request_sent), (Code::DeadlineExceeded, true));
}

#[tokio::test]
async fn a_failure_outside_reaches_the_guest_as_data() {
    // kind (denied is 2) of the first result's failure.
    let body = format!(
        r#"(call $send_all (i32.const 0x8000) (i32.const 1) (i32.const 0x80))
           (i32.store8 (i32.const 0x200) (i32.add (i32.const 48)
             (i32.load8_u offset=8 (i32.load (i32.const 0x80))))) {}"#,
        answers(1)
    );
    let guest = Guest::action("denied", &body).import(HTTP.0, HTTP.1);
    let host = Host::new();
    assert_eq!(run(&host.loaded(&guest).await, "{}").await.unwrap(), "2");
    let failure = Failure::denied("x", "y");
    assert_eq!(failure.kind, FailureKind::Denied);
}

fn reader(name: &str, records: usize) -> Guest {
    let body = format!(
        r#"(local $i i32) (local $at i32)
           (loop
             (local.set $at (i32.add (i32.const 0x10000) (i32.mul (local.get $i) (i32.const 40))))
             (i32.store offset=24 (local.get $at) (i32.const 0x200))
             (i32.store offset=28 (local.get $at) (i32.const 2))
             (local.set $i (i32.add (local.get $i) (i32.const 1)))
             (br_if 0 (i32.lt_u (local.get $i) (i32.const {records}))))
           (i32.store (i32.const 0x108) (i32.const 0x10000))
           (i32.store (i32.const 0x10c) (i32.const {records}))
           (i32.const 0x100)"#
    );
    let params = "i32 ".repeat(16);
    let functions = format!(
        r#"(func (export "keyway:connector/reader@1.0.0#read") (param {params}) (result i32) {body})
           (func (export "keyway:connector/reader@1.0.0#discover")
             (param i32 i32 i32) (result i32) (call $ok (i32.const 0x200) (i32.const 2)))
           (data (i32.const 0x200) "{{}}")"#
    );
    Guest::new(name).export("reader", &functions)
}

#[tokio::test]
async fn pages_are_read_up_to_the_limit() {
    let host = Host::new();
    let read = Operation::Read(ReadRequest {
        object: "contacts".parse().unwrap(),
        fields: vec!["email".to_owned()],
        cursor: Some("{}".to_owned()),
        since: None,
        until: None,
        page_size: 100,
        extra: vec![],
    });
    let connector = host.loaded(&reader("full", 1_000)).await;
    let output = connector.call(read.clone(), World::quiet(), LONG).await.unwrap();
    let Output::Page(page) = output else { panic!("{output:?}") };
    assert_eq!((page.records.len(), page.next), (1_000, None));
    let discover = Operation::Discover { object: Some("contacts".parse().unwrap()) };
    let output = connector.call(discover, World::quiet(), LONG).await.unwrap();
    assert_eq!(output, Output::Json("{}".to_owned()));
    let connector = host.loaded(&reader("overfull", 1_001)).await;
    let fault = connector.call(read, World::quiet(), LONG).await.unwrap_err();
    assert_eq!(fault.code, Code::GuestOutputInvalid);
}

#[tokio::test]
async fn every_item_written_has_its_outcome() {
    // Answers as many outcomes as asked by the code, each `written` with the first item's reference.
    let writer = |name: &str, outcomes: usize| {
        let params = "i32 ".repeat(6);
        let functions = format!(
            r#"(func (export "keyway:connector/writer@1.0.0#write")
                 (param {params}) (param $items i32) (param i32 i32 i32 i32) (result i32)
                 (i32.store offset=8 (i32.const 0x400) (i32.load (local.get $items)))
                 (i32.store offset=12 (i32.const 0x400) (i32.load offset=4 (local.get $items)))
                 (i32.store (i32.const 0x108) (i32.const 0x400))
                 (i32.store (i32.const 0x10c) (i32.const {outcomes}))
                 (i32.const 0x100))"#
        );
        Guest::new(name).export("writer", &functions)
    };
    let write = Operation::Write(WriteRequest {
        object: "contacts".parse().unwrap(),
        operation: WriteOperation::Upsert,
        match_on: None,
        items: vec![WriteItem {
            reference: "row-1".to_owned(),
            id: None,
            data: "{}".to_owned(),
            idempotency_key: "k".to_owned(),
            extra: vec![],
        }],
        all_or_none: true,
        extra: vec![],
    });
    let host = Host::new();
    let connector = host.loaded(&writer("honest", 1)).await;
    let output = connector.call(write.clone(), World::quiet(), LONG).await.unwrap();
    let Output::Outcomes(outcomes) = output else { panic!("{output:?}") };
    assert_eq!(outcomes[0].reference, "row-1");
    let connector = host.loaded(&writer("forgetful", 0)).await;
    let fault = connector.call(write, World::quiet(), LONG).await.unwrap_err();
    assert_eq!(fault.code, Code::GuestOutputInvalid);
}
