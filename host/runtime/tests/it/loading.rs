//! From a published release to a callable one and back out of memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};

use keyway_core::ports::Loader as _;
use keyway_core::release::{Named, ReleaseRef};
use keyway_core::{Code, Digest};
use keyway_runtime::{Allocation, CacheKey};
use prometheus_client::registry::Registry;
use tokio::sync::Notify;

use crate::guest::Guest;
use crate::harness::{Host, World, response, run, run_in};

fn scrape(host: &Host) -> String {
    let mut registry = Registry::default();
    host.runtime.metrics().register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    text
}

#[tokio::test]
async fn code_goes_when_the_last_call_and_the_last_route_let_go() {
    let host = Host::new();
    let old = Guest::action(
        "swap",
        r#"(call $send_all (i32.const 0x8000) (i32.const 1) (i32.const 0x80))
           (i32.store8 (i32.const 0x200) (i32.const 49))
           (call $ok (i32.const 0x200) (i32.const 1))"#,
    )
    .import(
        "keyway:connector/http@1.0.0",
        r#"(import "keyway:connector/http@1.0.0" "send-all" (func $send_all (param i32 i32 i32)))"#,
    );
    let new = Guest::action("swap", "(call $ok (local.get $input) (local.get $input_length))");
    let (old, new) = (host.loaded(&old).await, host.loaded(&new.version("2.0.0")).await);
    let old_digest = old.release().digest;
    let (asked, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (ask, go) = (Arc::clone(&asked), Arc::clone(&answer));
    let world = World::sending(move |_| {
        let (ask, go) = (Arc::clone(&ask), Arc::clone(&go));
        async move {
            ask.notify_one();
            go.notified().await;
            Ok(response("x"))
        }
    });
    // The route is swapped while a call is under way: only the call still holds the old release.
    let call = tokio::spawn(async move { run_in(&old, &world, "{}").await });
    asked.notified().await;
    assert_eq!(run(&new, "2").await.unwrap(), "2");
    assert_eq!(host.runtime.loaded().len(), 2);
    assert_eq!(host.runtime.live(&old_digest), 1);
    let metrics = scrape(&host);
    let digits = &old_digest.hex()[..12];
    let line = format!(
        "keyway_runtime_live_stores{{connector=\"test/swap@1.0.0\",digest=\"{digits}\"}} 1"
    );
    assert!(metrics.contains(&line), "{metrics}");
    assert!(metrics.contains("keyway_runtime_loaded_releases 2"), "{metrics}");
    answer.notify_one();
    assert_eq!(call.await.unwrap().unwrap(), "1");
    let left: Vec<_> = host.runtime.loaded().into_iter().map(|(release, _)| release).collect();
    assert_eq!(left, [new.release().clone()]);
    assert!(!scrape(&host).contains(digits));
}

#[tokio::test]
async fn a_release_is_loaded_once_however_many_ask() {
    let host = Host::new();
    let published = host.publish(&Guest::echo()).await;
    // Without cached code, loading it means compiling it.
    for file in host.cached() {
        host.cache.remove_file(file).unwrap();
    }
    let loads = (0..8).map(|_| host.load(&published));
    let loaded = futures_util::future::join_all(loads).await;
    assert_eq!(host.shelf.asked.load(Ordering::SeqCst), 1);
    assert!(loaded.iter().all(|one| Arc::ptr_eq(one, &loaded[0])));
    drop(loaded);
    assert!(host.runtime.loaded().is_empty());
    // And again, from what was kept.
    let again = host.load(&published).await;
    assert_eq!(host.shelf.asked.load(Ordering::SeqCst), 1);
    assert_eq!(run(&again, "1").await.unwrap(), "1");
}

#[tokio::test]
async fn a_load_that_is_dropped_leaves_its_turn_to_the_next() {
    let host = Host::new();
    let published = host.publish(&Guest::echo()).await;
    for file in host.cached() {
        host.cache.remove_file(file).unwrap();
    }
    {
        let mut first = std::pin::pin!(host.load(&published));
        // Far enough to hold its turn, not to its end: files are read on another thread.
        let mut context = Context::from_waker(Waker::noop());
        assert!(first.as_mut().poll(&mut context).is_pending());
    }
    assert_eq!(run(&host.load(&published).await, "1").await.unwrap(), "1");
}

#[tokio::test]
async fn compiled_code_that_was_touched_is_compiled_again() {
    let host = Host::new();
    let published = host.publish(&Guest::echo()).await;
    let [file] = &host.cached()[..] else { panic!("{:?}", host.cached()) };
    let honest = host.cache.read(file).unwrap();
    let flipped = {
        let mut bytes = honest.clone();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 64].iter_mut().for_each(|byte| *byte ^= 0xff);
        bytes
    };
    for (asked, forged) in [(1, flipped), (2, honest[..honest.len() / 2].to_vec()), (3, Vec::new())]
    {
        host.cache.write(file, forged).unwrap();
        let connector = host.load(&published).await;
        assert_eq!(host.shelf.asked.load(Ordering::SeqCst), asked, "it was believed");
        assert_eq!(run(&connector, "1").await.unwrap(), "1");
        assert_eq!(host.cache.read(file).unwrap().len(), honest.len(), "it was not replaced");
    }
    assert!(scrape(&host).contains("keyway_runtime_cache_total{result=\"forged\"} 3"));
}

#[tokio::test]
async fn another_host_does_not_believe_this_ones_code() {
    let host = Host::new();
    let published = host.publish(&Guest::echo()).await;
    let other = Host::with(|config| {
        config.cache = host.cache.try_clone().unwrap();
        config.cache_key = CacheKey::new([8; 32]);
    });
    let fault = other.runtime.load(&published.release, &published.descriptor).await.err().unwrap();
    // It asked for the component, and has none.
    assert_eq!(fault.code, Code::ReleaseUnavailable);
    assert_eq!(other.shelf.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn runs_on_demand_with_the_same_code_where_there_is_no_room_for_a_pool() {
    let pooled = Host::new();
    let published = pooled.publish(&Guest::echo()).await;
    let host = Host::with(|config| {
        config.allocation = Allocation::Auto;
        // More address space than there is.
        config.limits.pool.instances_max = 50_000;
        config.cache = pooled.cache.try_clone().unwrap();
    });
    assert_eq!(pooled.runtime.allocation(), Allocation::Pooling);
    assert_eq!(host.runtime.allocation(), Allocation::OnDemand);
    let connector = host.load(&published).await;
    assert_eq!(host.shelf.asked.load(Ordering::SeqCst), 0, "the code was compiled again");
    assert_eq!(run(&connector, "1").await.unwrap(), "1");
    assert_eq!(host.runtime.live(&published.release.digest), 0);
}

#[tokio::test]
async fn a_release_whose_bytes_are_gone_is_unavailable() {
    let host = Host::new();
    let published = host.publish(&Guest::echo()).await;
    let Named { connector, version, .. } = &*published.release;
    let gone = ReleaseRef::new(connector.clone(), version.clone(), Digest::of(b"gone"));
    let fault = host.runtime.load(&gone, &published.descriptor).await.err().unwrap();
    assert_eq!(fault.code, Code::ReleaseUnavailable);
    assert!(host.runtime.loaded().is_empty());
}
