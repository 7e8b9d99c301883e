//! Many calls at once: permits, spinning neighbours, calls that nobody waits for any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

use keyway_core::{Code, Retry};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::guest::Guest;
use crate::harness::{Host, LONG, World, invoke, response, run, run_in};

/// Sends one request, then answers `1`.
fn waiting(name: &str) -> Guest {
    let body = r#"(call $send_all (i32.const 0x8000) (i32.const 1) (i32.const 0x80))
        (i32.store8 (i32.const 0x200) (i32.const 49))
        (call $ok (i32.const 0x200) (i32.const 1))"#;
    Guest::action(name, body).import(
        "keyway:connector/http@1.0.0",
        r#"(import "keyway:connector/http@1.0.0" "send-all" (func $send_all (param i32 i32 i32)))"#,
    )
}

/// An outside that says when it was asked, and answers when told.
fn gate() -> (Arc<World>, Arc<Notify>, Arc<Notify>) {
    gate_of(None)
}

/// The same, for whom this tenant pays.
fn gate_of(tenant: Option<&str>) -> (Arc<World>, Arc<Notify>, Arc<Notify>) {
    let (asked, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (ask, go) = (Arc::clone(&asked), Arc::clone(&answer));
    let send = move |_| {
        let (ask, go) = (Arc::clone(&ask), Arc::clone(&go));
        async move {
            ask.notify_one();
            go.notified().await;
            Ok(response("x"))
        }
    };
    let world = match tenant {
        Some(tenant) => World::paid_by(tenant, send),
        None => World::sending(send),
    };
    (world, asked, answer)
}

#[tokio::test]
async fn a_dropped_call_leaves_nothing_alive() {
    let host = Host::new();
    let connector = host.loaded(&waiting("waiting")).await;
    let digest = connector.release().digest;
    let (world, asked, _) = gate();
    {
        let mut call = std::pin::pin!(connector.call(invoke("{}"), world, LONG));
        tokio::select! {
            _ = &mut call => panic!("nothing answered it"),
            () = asked.notified() => assert_eq!(host.runtime.live(&digest), 1),
        }
    }
    assert_eq!(host.runtime.live(&digest), 0);
    // And its slot and permit are free.
    let (world, _, answer) = gate();
    answer.notify_one();
    assert_eq!(run_in(&connector, &world, "{}").await.unwrap(), "1");
}

#[tokio::test]
async fn a_full_pool_is_waited_for_and_then_refused() {
    let host = Host::limited(|limits| limits.pool.instances_max = 1);
    let connector = host.loaded(&waiting("waiting")).await;
    let (world, asked, answer) = gate();
    let first = tokio::spawn({
        let (connector, world) = (Arc::clone(&connector), Arc::clone(&world));
        async move { run_in(&connector, &world, "{}").await }
    });
    asked.notified().await;
    let refused = connector.call(invoke("{}"), World::quiet(), Duration::from_millis(20)).await;
    assert_eq!(refused.unwrap_err().code, Code::Overloaded);
    let patient = tokio::spawn({
        let connector = Arc::clone(&connector);
        async move { run(&connector, "{}").await }
    });
    tokio::task::yield_now().await;
    answer.notify_one();
    assert_eq!(first.await.unwrap().unwrap(), "1");
    assert_eq!(patient.await.unwrap().unwrap(), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spinning_guests_do_not_stop_their_neighbours() {
    let host = Host::limited(|limits| limits.call.cpu_time_max = LONG);
    let spin = host.loaded(&Guest::action("spin", "(loop (br 0)) (unreachable)")).await;
    let echo = host.loaded(&Guest::echo()).await;
    // Four times as many as there are workers.
    let mut spinning = JoinSet::new();
    for _ in 0..8 {
        let spin = Arc::clone(&spin);
        spinning.spawn(async move { spin.call(invoke("{}"), World::quiet(), LONG).await });
    }
    while host.runtime.live(&spin.release().digest) < 8 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for _ in 0..10 {
        assert_eq!(run(&echo, "7").await.unwrap(), "7");
    }
    assert_eq!(host.runtime.live(&spin.release().digest), 8, "one ended before it was told to");
    spinning.shutdown().await;
    assert_eq!(host.runtime.live(&spin.release().digest), 0);
}

/// Computes for some hundred microseconds, sends a request, and so on without end.
fn computing_in_between(name: &str) -> Guest {
    let body = r#"(loop $again
          (local.set $i (i32.const 400000))
          (loop $count
            (local.set $i (i32.sub (local.get $i) (i32.const 1)))
            (br_if $count (local.get $i)))
          (call $send_all (i32.const 0x8000) (i32.const 1) (i32.const 0x80))
          (br $again))
        (unreachable)"#;
    Guest::action(name, body).import(
        "keyway:connector/http@1.0.0",
        r#"(import "keyway:connector/http@1.0.0" "send-all" (func $send_all (param i32 i32 i32)))"#,
    )
}

/// Whoever leaves its worker often is still held to its share. Counted in polls, and not in time: without turns, all calls of
/// the one tenant are polled for each step of the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_computes_in_short_polls_is_not_polled_for_each_step_of_another() {
    const STEPS: usize = 100;
    let calls = 100 + 8 * available_parallelism().map_or(1, usize::from);
    let host = Host::limited(|limits| {
        limits.call.cpu_time_max = LONG;
        limits.pool.instances_max = u32::try_from(calls).unwrap() + 10;
    });
    let hog = host.loaded(&computing_in_between("hog")).await;
    let echo = host.loaded(&Guest::echo()).await;
    let polls = Arc::<AtomicUsize>::default();
    let mut computing = JoinSet::new();
    for _ in 0..calls {
        let (hog, polls) = (Arc::clone(&hog), Arc::clone(&polls));
        let world = World::paid_by("hog", move |_| {
            polls.fetch_add(1, Ordering::Relaxed);
            async {
                tokio::task::yield_now().await;
                Ok(response("x"))
            }
        });
        computing.spawn(async move { hog.call(invoke("{}"), world, LONG).await });
    }
    // Each has been polled, and what a tenant may use without waiting is used up.
    while polls.load(Ordering::Relaxed) < 2 * calls {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let before = polls.load(Ordering::Relaxed);
    let neighbour = tokio::spawn(async move {
        for _ in 0..STEPS {
            let world = World::paid_by("good", |_| async { Ok(response("x")) });
            assert_eq!(run_in(&echo, &world, "7").await.unwrap(), "7");
            // As whoever waits for the network: to the end of the queue.
            tokio::task::yield_now().await;
        }
    });
    neighbour.await.unwrap();
    let polled = polls.load(Ordering::Relaxed) - before;
    assert!(polled < STEPS * calls / 4, "{polled} polls of {calls} calls for {STEPS} steps");
    computing.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_at_once_answer_each_its_own() {
    let host = Host::limited(|limits| limits.pool.instances_max = 4);
    let echo = host.loaded(&Guest::echo()).await;
    let mut calls = JoinSet::new();
    for call in 0..200 {
        let echo = Arc::clone(&echo);
        calls.spawn(async move { (call, run(&echo, &call.to_string()).await.unwrap()) });
    }
    while let Some(ended) = calls.join_next().await {
        let (call, answer) = ended.unwrap();
        assert_eq!(answer, call.to_string());
    }
    assert_eq!(host.runtime.live(&echo.release().digest), 0);
}

/// Holds so many pages and waits for an answer, then answers `1`.
fn holding(pages: usize) -> Guest {
    let body = format!(
        r#"(if (i32.eq (i32.const -1) (memory.grow (i32.const {pages}))) (then (unreachable)))
        (call $send_all (i32.const 0x8000) (i32.const 1) (i32.const 0x80))
        (i32.store8 (i32.const 0x200) (i32.const 49))
        (call $ok (i32.const 0x200) (i32.const 1))"#
    );
    Guest::action("holding", &body).import(
        "keyway:connector/http@1.0.0",
        r#"(import "keyway:connector/http@1.0.0" "send-all" (func $send_all (param i32 i32 i32)))"#,
    )
}

/// Catches a tenant whose calls, each within its limit, hold the memory of the whole host.
#[tokio::test]
async fn the_calls_of_a_tenant_hold_its_part_of_memory_and_no_more() {
    const MIB: usize = 1 << 20;
    let host = Host::limited(|limits| {
        limits.pool.memory_bytes_max = Some(100 * MIB);
        limits.pool.tenant_memory_bytes_max = Some(50 * MIB);
    });
    let connector = host.loaded(&holding(20 * MIB / 0x1_0000)).await;
    let mut calls = JoinSet::new();
    let mut answers = Vec::new();
    for tenant in ["acme", "acme", "globex"] {
        let (world, asked, answer) = gate_of(Some(tenant));
        let connector = Arc::clone(&connector);
        calls.spawn(async move { run_in(&connector, &world, "{}").await });
        asked.notified().await;
        answers.push(answer);
    }
    let (world, ..) = gate_of(Some("acme"));
    let refused = run_in(&connector, &world, "{}").await.unwrap_err();
    assert_eq!(refused.code, Code::Overloaded, "{}", refused.detail);
    assert!(
        refused.detail.contains("the tenant's calls hold 52428800 bytes"),
        "{}",
        refused.detail
    );
    assert!(matches!(refused.retry, Retry::After(_)));
    // What one has given back, the next may have.
    answers[0].notify_one();
    assert_eq!(calls.join_next().await.unwrap().unwrap().unwrap(), "1");
    answers[1].notify_one();
    answers[2].notify_one();
    while let Some(ended) = calls.join_next().await {
        assert_eq!(ended.unwrap().unwrap(), "1");
    }
}
