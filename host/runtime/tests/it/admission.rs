//! What is admitted and what is refused, with which code, by a process that dies alone.

use std::time::Duration;

use keyway_core::Code;
use keyway_runtime::Worker;

use crate::guest::Guest;
use crate::harness::{Host, LONG, run};

const SPIN: &str = "(loop (br 0)) (unreachable)";

#[tokio::test]
async fn says_what_a_component_is() {
    let host = Host::new();
    let guest = Guest::echo().stamp("1.0.0 keyway-sdk/0.1.0");
    let admitted = host.admit(&guest.build()).await.unwrap();
    assert_eq!(admitted.descriptor.name.to_string(), "test/echo");
    assert_eq!(admitted.exports, ["actions", "descriptor"]);
    assert_eq!(admitted.contract.to_string(), "1.0.0");
    assert_eq!(admitted.digest, keyway_core::Digest::of(&guest.build()));
    assert_eq!(host.cached().len(), 1, "its code was not kept");
}

#[tokio::test]
async fn bytes_that_are_no_component_are_refused() {
    let host = Host::new();
    let good = Guest::echo().build();
    let mut broken = good.clone();
    broken.truncate(good.len() - 7);
    let mut future = good.clone();
    future[4] = 0x7f;
    let mut flipped = good.clone();
    let middle = good.len() / 2;
    flipped[middle..middle + 16].fill(0xff);
    for (what, bytes, code) in [
        ("empty", vec![], Code::ComponentMalformed),
        ("text", b"(component)".to_vec(), Code::ComponentMalformed),
        ("magic alone", b"\0asm".to_vec(), Code::ComponentMalformed),
        ("cut in the header", good[..6].to_vec(), Code::ComponentMalformed),
        ("cut at the end", broken, Code::ComponentMalformed),
        ("another version of the format", future, Code::ComponentMalformed),
        ("garbage in the middle", flipped, Code::ComponentMalformed),
        ("a core module", wat::parse_str("(module)").unwrap(), Code::ComponentIsModule),
        ("an empty component", wat::parse_str("(component)").unwrap(), Code::DescriptorMissing),
    ] {
        let (actual, detail) = host.refusal(&bytes).await;
        assert_eq!(actual, code, "{what}: {detail}");
        assert!(!detail.is_empty(), "{what}");
    }
    assert!(host.cached().is_empty());
}

#[tokio::test]
async fn size_is_held_at_the_limit() {
    let good = Guest::echo().build();
    let host = Host::limited(|limits| limits.admission.component_bytes_max = good.len());
    assert!(host.admit(&good).await.is_ok());
    let host = Host::limited(|limits| limits.admission.component_bytes_max = good.len() - 1);
    assert_eq!(host.refusal(&good).await.0, Code::ComponentTooLarge);
}

#[tokio::test]
async fn contracts_of_the_future_are_refused_in_one_line() {
    let host = Host::new();
    let stamped = |stamp: &str| Guest::echo().stamp(stamp).build();
    let (code, detail) = host.refusal(&stamped("2.0.0 keyway-sdk/9.0.0")).await;
    assert_eq!(code, Code::ContractUnsupported);
    assert_eq!(detail, "it needs keyway:connector@2.0.0; this host speaks 1.0.0");
    for stamp in ["0.9.0 old/1", "soon", "", "1.0 sdk/1"] {
        assert_eq!(host.refusal(&stamped(stamp)).await.0, Code::ContractUnsupported, "{stamp:?}");
    }
    // A later minor whose imports all exist is as good as ours.
    let admitted = host.admit(&stamped("1.7.0 keyway-sdk/1.7.0")).await.unwrap();
    assert_eq!(admitted.contract.to_string(), "1.7.0");
}

#[tokio::test]
async fn imports_of_later_minors_need_a_later_host() {
    let host = Host::new();
    // A function that a later minor added to an interface, and an interface that it added.
    for import in [
        r#"(import "keyway:connector/clock@1.3.0" (instance (export "zone" (func (result string)))))"#,
        r#"(import "keyway:connector/queue@1.3.0" (instance (export "push" (func))))"#,
    ] {
        let (code, detail) = host.refusal(&importing(import)).await;
        assert_eq!(code, Code::ContractUnsupported, "{detail}");
        assert!(detail.contains("keyway:connector@1.3.0"), "{detail}");
    }
}

/// A component with this import, and a `describe` that would do.
fn importing(import: &str) -> Vec<u8> {
    let text = format!(
        r#"(component {import}
             (core module $m
               (memory (export "memory") 1)
               (func (export "describe") (result i32) (i32.const 0)))
             (core instance $i (instantiate $m))
             (func $describe (result string)
               (canon lift (core func $i "describe") (memory (core memory $i "memory"))))
             (instance (export "keyway:connector/descriptor@1.0.0")
               (export "describe" (func $describe))))"#
    );
    wat::parse_str(text).unwrap()
}

#[tokio::test]
async fn imports_that_are_not_offered_are_refused_by_name() {
    let host = Host::new();
    for name in [
        "wasi:sockets/tcp@0.3.0",
        "wasi:http/incoming-handler@0.2.0",
        "wasi:keyvalue/store@0.2.0",
        "wasi:cli/run@0.2.0",
        "wasi:clocks/monotonic-clock@0.3.0",
        "keyway:connector/secrets@1.0.0",
        "evil:thing/door@1.0.0",
    ] {
        let import = format!(r#"(import "{name}" (instance (export "open" (func))))"#);
        let (code, detail) = host.refusal(&importing(&import)).await;
        assert_eq!(code, Code::ImportRefused, "{name}: {detail}");
        assert!(detail.contains(name), "{detail}");
    }
    // No package at all, and a function that an offered interface does not have.
    let (code, _) = host.refusal(&importing(r#"(import "open" (func))"#)).await;
    assert_eq!(code, Code::ImportRefused);
    let extra = r#"(import "wasi:cli/environment@0.2.0" (instance (export "set" (func))))"#;
    let (code, detail) = host.refusal(&importing(extra)).await;
    assert_eq!(code, Code::ImportRefused);
    assert!(detail.contains("wasi:cli/environment"), "{detail}");
}

#[tokio::test]
async fn a_descriptor_must_be_there_and_be_right() {
    let host = Host::new();
    let missing = Guest::echo().without_descriptor().build();
    assert_eq!(host.refusal(&missing).await.0, Code::DescriptorMissing);
    for json in ["nonsense", "{}", r#"{"format":2,"name":"a/b","version":"1.0.0"}"#, "[]"] {
        let guest = Guest::echo().descriptor(json).build();
        let (code, detail) = host.refusal(&guest).await;
        assert_eq!(code, Code::DescriptorInvalid, "{json}: {detail}");
    }
    let long =
        format!("{}{}", " ".repeat(256 << 10), r#"{"format":1,"name":"a/b","version":"1.0.0"}"#);
    let guest = Guest::echo().descriptor(&long).memory("16").build();
    assert_eq!(host.refusal(&guest).await.0, Code::DescriptorInvalid);
}

#[tokio::test]
async fn exports_of_other_types_are_refused() {
    let text = r#"(component
        (core module $m
          (memory (export "memory") 1)
          (func (export "describe") (result i32) (i32.const 7)))
        (core instance $i (instantiate $m))
        (func $describe (result u32) (canon lift (core func $i "describe")))
        (instance (export "keyway:connector/descriptor@1.0.0")
          (export "describe" (func $describe))))"#;
    let host = Host::new();
    let (code, detail) = host.refusal(&wat::parse_str(text).unwrap()).await;
    assert_eq!(code, Code::ContractUnsupported, "{detail}");
}

#[tokio::test]
async fn describe_may_not_fail_call_or_spin() {
    let host = Host::new();
    let (code, detail) = host.refusal(&Guest::echo().describe("(unreachable)").build()).await;
    assert_eq!(code, Code::DescriptorFailed);
    assert!(detail.contains("unreachable"), "{detail}");

    let reaching = Guest::echo()
        .import(
            "keyway:connector/clock@1.0.0",
            r#"(import "keyway:connector/clock@1.0.0" "now" (func $now (result i64)))"#,
        )
        .describe("(drop (call $now)) (unreachable)");
    let (code, detail) = host.refusal(&reaching.build()).await;
    assert_eq!(code, Code::DescriptorFailed);
    assert!(detail.contains("keyway:connector/clock.now"), "{detail}");

    let host = Host::limited(|limits| {
        limits.admission.describe_time_max = Duration::from_millis(200);
    });
    let spinning = Guest::echo().describe(SPIN).build();
    assert_eq!(host.refusal(&spinning).await.0, Code::DescriptorTimeout);
    let starting = Guest::echo().functions(&format!("(func $spin {SPIN}) (start $spin)"));
    assert_eq!(host.refusal(&starting.build()).await.0, Code::DescriptorTimeout);
}

#[tokio::test]
async fn a_description_depends_on_nothing_but_the_bytes() {
    // Three random digits in the patch version.
    let guest = Guest::echo()
        .package("package wasi:random@0.2.0; interface random { get-random-u64: func() -> u64; }")
        .import(
            "wasi:random/random@0.2.0",
            r#"(import "wasi:random/random@0.2.0" "get-random-u64" (func $random (result i64)))"#,
        )
        .descriptor(r#"{"format":1,"name":"test/echo","version":"1.0.1000"}"#)
        .describe(
            r#"(call $digit (i32.const 0x102f))
               (call $digit (i32.const 0x1030))
               (call $digit (i32.const 0x1031))
               (i32.store (i32.const 0x100) (i32.const 0x1000))
               (i32.store (i32.const 0x104) (i32.const 52))
               (i32.const 0x100)"#,
        )
        .functions(
            "(func $digit (param $at i32)
               (i32.store8 (local.get $at) (i32.add (i32.const 48)
                 (i32.wrap_i64 (i64.rem_u (call $random) (i64.const 10))))))",
        )
        .build();
    let first = Host::new().admit(&guest).await.unwrap().descriptor;
    let second = Host::new().admit(&guest).await.unwrap().descriptor;
    assert_eq!(first, second);
}

#[tokio::test]
async fn needs_beyond_one_calls_limits_are_refused() {
    let host = Host::limited(|limits| {
        limits.call.memory_bytes_max = 64 << 16;
        limits.call.table_elements_max = 100;
        limits.call.tables_max = 2;
        limits.call.memories_max = 1;
    });
    let table = |size: u32| format!("(table {size} funcref)");
    for (what, component, fits) in [
        ("memory", Guest::echo().memory("64").build(), true),
        ("memory", Guest::echo().memory("65").build(), false),
        ("a table", Guest::echo().functions(&table(100)).build(), true),
        ("a table", Guest::echo().functions(&table(101)).build(), false),
        ("tables", Guest::echo().functions(&table(1).repeat(2)).build(), true),
        ("tables", Guest::echo().functions(&table(1).repeat(3)).build(), false),
        ("memories", Guest::echo().functions("(memory $second 1)").build(), false),
    ] {
        match host.admit(&component).await {
            Ok(admitted) => {
                assert!(fits, "{what}");
                assert_eq!(admitted.descriptor.name.to_string(), "test/echo");
            }
            Err(fault) => {
                assert!(!fits, "{what}: {}", fault.detail);
                assert_eq!(fault.code, Code::ResourcesExceeded, "{what}: {}", fault.detail);
            }
        }
    }
}

#[tokio::test]
async fn memories_and_instances_are_held_at_the_limit() {
    let host = Host::limited(|limits| {
        limits.call.memories_max = 3;
        limits.call.core_instances_max = 4;
    });
    let memories = |count: usize| Guest::echo().functions(&"(memory 1)".repeat(count)).build();
    assert!(host.admit(&memories(2)).await.is_ok(), "with its own that is three");
    assert_eq!(host.refusal(&memories(3)).await.0, Code::ResourcesExceeded);
    // The component has one instance of its own, and describes itself as nothing at all.
    let instances = |count: usize| {
        let more =
            (0..count).map(|n| format!("(core module $m{n}) (core instance (instantiate $m{n}))"));
        importing(&more.collect::<String>())
    };
    assert_eq!(host.refusal(&instances(3)).await.0, Code::DescriptorInvalid);
    assert_eq!(host.refusal(&instances(4)).await.0, Code::ResourcesExceeded);
}

#[tokio::test]
async fn compiled_code_is_held_at_the_limit() {
    let limited = |bytes: usize| Host::limited(|limits| limits.admission.code_bytes_max = bytes);
    let echo = Guest::echo().build();
    let host = limited(1);
    let (code, detail) = host.refusal(&echo).await;
    assert_eq!(code, Code::AdmissionFailed);
    assert!(host.cached().is_empty(), "code that was refused was kept");
    let bytes = detail.split(' ').next().and_then(|bytes| bytes.parse::<usize>().ok());
    let bytes = bytes.unwrap_or_else(|| panic!("it does not begin with a number: {detail}"));
    assert!(limited(bytes).admit(&echo).await.is_ok(), "{bytes}");
    assert_eq!(limited(bytes - 1).refusal(&echo).await.0, Code::AdmissionFailed);
}

#[tokio::test]
async fn no_more_processes_than_allowed_check_at_once() {
    const MOST: usize = 2;
    let folder = tempfile::tempdir().unwrap();
    let (log, go) = (folder.path().join("log"), folder.path().join("go"));
    // Says that it began, waits until it may go, says that it ends.
    let script = format!(
        "echo + >> '{log}'; while [ ! -e '{go}' ]; do sleep 0.01; done; echo - >> '{log}'",
        log = log.display(),
        go = go.display(),
    );
    let host = Host::with(|config| {
        config.worker =
            Worker { program: "/bin/sh".into(), args: vec!["-c".into(), script.into()] };
        config.limits.admission.processes_max = MOST.try_into().unwrap();
    });
    let echo = Guest::echo().build();
    let opens_the_door = async {
        let begun = || std::fs::read_to_string(&log).unwrap_or_default().len() >= 2 * MOST;
        while !begun() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        std::fs::write(&go, "").unwrap();
    };
    let all = futures_util::future::join_all((0..3 * MOST).map(|_| host.refusal(&echo)));
    let (refusals, ()) = tokio::join!(all, opens_the_door);
    assert!(refusals.iter().all(|(code, _)| *code == Code::AdmissionFailed), "{refusals:?}");
    let (mut running, mut ended) = (0, 0);
    for line in std::fs::read_to_string(&log).unwrap().lines() {
        (running, ended) =
            if line == "+" { (running + 1, ended) } else { (running - 1, ended + 1) };
        assert!(running <= MOST, "{running} at once");
    }
    assert_eq!((running, ended), (0, 3 * MOST));
}

#[tokio::test]
async fn a_process_that_dies_or_hangs_takes_nothing_with_it() {
    let program = |path: &str, args: &[&str]| Worker {
        program: path.into(),
        args: args.iter().map(Into::into).collect(),
    };
    let good = Guest::echo().build();
    for (worker, code) in [
        (program("/bin/sh", &["-c", "kill -9 $$"]), Code::AdmissionFailed),
        (program("/bin/sh", &["-c", "exit 3"]), Code::AdmissionFailed),
        (program("/bin/sh", &["-c", "echo no answer of ours"]), Code::AdmissionFailed),
        (program("/bin/sh", &["-c", "exec sleep 600"]), Code::AdmissionFailed),
        (program("/nowhere/worker", &[]), Code::Internal),
    ] {
        let host = Host::with(|config| {
            config.worker = worker.clone();
            config.limits.admission.time_max = Duration::from_millis(500);
        });
        assert_eq!(host.refusal(&good).await.0, code, "{worker:?}");
    }
}

#[tokio::test]
async fn a_process_whose_time_is_over_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!("echo $$ > '{}'; exec sleep 600", file.display());
    let worker = Worker { program: "/bin/sh".into(), args: vec!["-c".into(), script.into()] };
    let mut time_max = Duration::from_secs(2);
    // The host is kept: what it leaves running must not end with it.
    let (_host, pid) = loop {
        let host = Host::with(|config| {
            config.worker = worker.clone();
            config.limits.admission.time_max = time_max;
        });
        assert_eq!(host.refusal(&Guest::echo().build()).await.0, Code::AdmissionFailed);
        // On a busy machine the time may be over before the process has said its name.
        match std::fs::read_to_string(&file) {
            Ok(pid) if pid.ends_with('\n') => break (host, pid),
            none => assert!(time_max < LONG, "never begun: {none:?}"),
        }
        time_max *= 4;
    };
    // Gone, or a zombie until the runtime reaps it. The signal takes its time; a test that never sees
    // the end of this loop has failed.
    let status = format!("/proc/{}/status", pid.trim());
    while std::fs::read_to_string(&status).is_ok_and(|status| !status.contains("State:\tZ")) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_process_that_wants_too_much_memory_dies_alone() {
    let host = Host::limited(|limits| limits.admission.memory_bytes_max = 1 << 20);
    let good = Guest::echo();
    let (code, detail) = host.refusal(&good.build()).await;
    assert_eq!(code, Code::AdmissionFailed, "{detail}");
    let host = Host::new();
    assert_eq!(run(&host.loaded(&good).await, "1").await.unwrap(), "1");
}
