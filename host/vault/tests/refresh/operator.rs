//! What operators may do about a refresh, and what releases may say of one.

use std::time::Duration;

use keyway_vault::connections::Switch;
use serde_json::json;
use tokio::time::sleep;

use crate::support::Answer;
use crate::world::{HOUR, World, actor, expire};

#[tokio::test(start_paused = true)]
async fn held_back_it_is_used_to_its_end_and_not_refreshed() {
    let world = World::new().await;
    world.vault.switch(&world.of, Switch::HoldRefresh, true, &actor()).await.unwrap();
    sleep(HOUR - Duration::from_secs(60)).await;
    assert_eq!(world.call().await.unwrap(), "access-acme-0");
    sleep(Duration::from_secs(61)).await;
    assert_eq!(world.call().await.unwrap_err().code.as_str(), "refresh-held");
    for forced in [false, true] {
        let fault = world.vault.refresh(&world.of, &world.spec, forced).await.unwrap_err();
        assert_eq!(fault.code.as_str(), "refresh-held");
    }
    let version = world.state().await.version;
    assert_eq!(world.rejected(version).await, None);
    assert_eq!(world.server.requests(), 0);
    world.vault.switch(&world.of, Switch::HoldRefresh, false, &actor()).await.unwrap();
    assert_eq!(world.call().await.unwrap(), "access-acme-1");
}

/// Whoever was told that a connection is idle relies on it, also against an operator's own refresh.
#[tokio::test(start_paused = true)]
async fn paused_nothing_is_handed_out_and_nothing_sent() {
    let world = World::new().await;
    world.server.takes(Duration::from_secs(15));
    expire().await;
    let pause = async {
        sleep(Duration::from_secs(1)).await;
        let short = world.vault.pause(&world.of, Duration::from_secs(1), &actor()).await;
        assert_eq!(short.unwrap_err().code.as_str(), "connection-paused", "a refresh is in flight");
        world.vault.pause(&world.of, Duration::from_secs(60), &actor()).await.unwrap()
    };
    let (answer, receipt) = tokio::join!(world.call(), pause);
    assert_eq!(answer.unwrap(), "access-acme-1", "it had begun before the pause");
    assert!(receipt.info.connection.paused);
    assert_eq!(receipt.info.state.unwrap().phase.as_str(), "ready");
    expire().await;
    assert_eq!(world.call().await.unwrap_err().code.as_str(), "connection-paused");
    for forced in [false, true] {
        let fault = world.vault.refresh(&world.of, &world.spec, forced).await.unwrap_err();
        assert_eq!(fault.code.as_str(), "connection-paused");
    }
    assert_eq!(world.server.requests(), 1);
}

/// Only force presents a token that may be spent; whether it was is for the server to say.
#[tokio::test(start_paused = true)]
async fn an_uncertain_connection_is_refreshed_by_force_alone() {
    for (spent, comes_to) in [(true, "needs-reauth"), (false, "ready")] {
        let world = World::new().await;
        world.server.script([Answer::Lost]);
        if !spent {
            // It took the request, and then nothing of it.
            world.server.script([Answer::Error(200, vec![], "")]);
        }
        expire().await;
        world.call().await.unwrap_err();
        let fault = world.vault.refresh(&world.of, &world.spec, false).await.unwrap_err();
        assert_eq!((fault.code.as_str(), world.server.requests()), ("refresh-uncertain", 1));
        let forced = world.vault.refresh(&world.of, &world.spec, true).await;
        assert_eq!((forced.is_err(), world.server.requests()), (spent, 2));
        assert_eq!(world.phase().await, comes_to);
    }
}

/// A person who has mended something does not wait for the end of a wait.
#[tokio::test(start_paused = true)]
async fn an_operator_need_not_wait() {
    let world = World::new().await;
    world.server.script([Answer::Error(429, vec![("retry-after", "3600")], "")]);
    expire().await;
    world.call().await.unwrap_err();
    let state = world.vault.refresh(&world.of, &world.spec, false).await.unwrap();
    assert_eq!((state.failures, state.retry_at), (0, None));
    assert_eq!(world.call().await.unwrap(), "access-acme-1");
}

/// A documented grace permits one repetition, within it.
#[tokio::test(start_paused = true)]
async fn within_the_grace_a_lost_answer_is_asked_for_once_more() {
    let world = World::with(json!({"reuse-grace": 30})).await;
    world.server.lenient();
    world.server.script([Answer::Lost]);
    expire().await;
    assert_eq!(world.call().await.unwrap(), "access-acme-2");
    assert_eq!(world.server.most_presented(), 2);
    world.server.script([Answer::Lost, Answer::Lost, Answer::Lost]);
    expire().await;
    assert_eq!(world.call().await.unwrap_err().code.as_str(), "refresh-uncertain");
    assert_eq!(world.server.requests(), 4, "twice, and no third time");
}

/// A timeout may outlast the grace: then it is too late for a repetition.
#[tokio::test(start_paused = true)]
async fn beyond_the_grace_it_is_not_asked_for_again() {
    let world = World::with(json!({"reuse-grace": 30})).await;
    world.server.takes(Duration::from_secs(40));
    world.server.script([Answer::Lost]);
    expire().await;
    assert_eq!(world.call().await.unwrap_err().code.as_str(), "refresh-uncertain");
    assert_eq!(world.server.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn where_tokens_are_kept_a_lost_answer_is_asked_for_until_it_comes() {
    let world = World::with(json!({"refresh": "keep"})).await;
    world.server.keeps();
    world.server.script(vec![Answer::Lost; 5]);
    expire().await;
    let mut answer = world.call().await;
    for _ in 0..20 {
        assert_eq!(world.phase().await, "ready");
        sleep(Duration::from_secs(5)).await;
        answer = world.call().await;
    }
    assert_eq!(answer.unwrap(), "access-acme-6");
}

/// What debug output may end up in is not up to the one who writes it.
#[tokio::test(start_paused = true)]
async fn secrets_are_in_no_debug_output() {
    let world = World::new().await;
    world.server.script([Answer::Error(500, vec![], "refresh-acme-0 client-secret")]);
    expire().await;
    let fault = world.call().await.unwrap_err();
    let (info, tokens) = world.vault.export(&world.of, None, &actor()).await.unwrap();
    let audit = world.store.audit(0, 100).await.unwrap();
    let said = format!("{info:?} {tokens:?} {fault:?} {} {audit:?}", fault.chain());
    for secret in ["access-acme", "refresh-acme", "client-secret"] {
        assert!(!said.contains(secret), "{secret} is in {said}");
    }
}
