//! Tokens that may be spent (C34): what comes after the answer that was lost does not make them good again.

use std::time::Duration;

use keyway_vault::oauth::record::Phase;
use keyway_vault::steps::Step;
use serde_json::json;
use tokio::time::sleep;

use crate::answers::call_for;
use crate::support::Answer;
use crate::world::{HOUR, World, call, expire, stops_at};

/// What a server says that has not looked at the token, and how many requests that takes.
fn answers_about_nothing() -> [(Answer, u32); 5] {
    [
        (Answer::Error(503, vec![], ""), 1),
        (Answer::Error(429, vec![("retry-after", "10")], ""), 1),
        (Answer::Error(401, vec![], r#"{"error":"invalid_client"}"#), 1),
        (Answer::Error(400, vec![], r#"{"error":"invalid_request"}"#), 1),
        (Answer::Unsent, 0),
    ]
}

/// Within the grace the token is presented once more; that the server is busy then says nothing about the first time.
#[tokio::test(start_paused = true)]
async fn an_error_after_a_lost_answer_leaves_it_uncertain() {
    for (answer, presented) in answers_about_nothing() {
        let world = World::with(json!({"reuse-grace": 30})).await;
        world.server.lenient();
        let what = format!("{answer:?}");
        world.server.script([Answer::Lost, answer]);
        expire().await;
        let met = call_for(&world, HOUR).await;
        assert!(met.iter().all(|met| *met == Err("refresh-uncertain")), "{what}: {met:?}");
        assert_eq!(world.phase().await, "uncertain", "{what}");
        assert_eq!(world.server.most_presented(), 1 + presented, "{what}");
    }
}

/// A host died after it had sent; the next one, within the grace, is told that the server is busy.
#[tokio::test(start_paused = true)]
async fn an_error_after_a_crash_leaves_it_uncertain() {
    for (answer, presented) in answers_about_nothing() {
        let world = World::with(json!({"reuse-grace": 30})).await;
        world.server.lenient();
        let what = format!("{answer:?}");
        expire().await;
        let dies = world.another_heard("host-a", stops_at(Step::Answered));
        let died =
            tokio::time::timeout(Duration::from_secs(1), call(&dies, &world.of, &world.spec));
        died.await.expect_err("it stands still");
        world.server.script([answer]);
        let met = call_for(&world, HOUR).await;
        assert!(met.iter().all(|met| *met == Err("refresh-uncertain")), "{what}: {met:?}");
        assert_eq!(world.phase().await, "uncertain", "{what}");
        assert_eq!(world.server.most_presented(), 1 + presented, "{what}");
    }
}

/// One word of the operator is one request, not a repetition every few minutes from then on.
#[tokio::test(start_paused = true)]
async fn an_error_after_force_leaves_it_uncertain_since_the_first_time() {
    for (answer, presented) in answers_about_nothing() {
        let world = World::new().await;
        let what = format!("{answer:?}");
        world.server.script([Answer::Lost]);
        expire().await;
        world.call().await.unwrap_err();
        let Phase::Uncertain { since } = world.state().await.phase else { panic!("{what}") };
        sleep(HOUR).await;
        world.server.script([answer]);
        let fault = world.vault.refresh(&world.of, &world.spec, true).await.unwrap_err();
        assert_eq!(fault.code.as_str(), "refresh-uncertain", "{what}");
        let met = call_for(&world, HOUR).await;
        assert!(met.iter().all(|met| *met == Err("refresh-uncertain")), "{what}: {met:?}");
        assert_eq!(world.server.most_presented(), 1 + presented, "{what}");
        let state = world.state().await;
        assert_eq!((state.phase, state.retry_at), (Phase::Uncertain { since }, None), "{what}");
    }
}

/// A dead token that is forced on a server which is down is as dead as before.
#[tokio::test(start_paused = true)]
async fn an_error_after_force_leaves_a_dead_token_dead() {
    let world = World::new().await;
    world.server.revoke();
    expire().await;
    world.call().await.unwrap_err();
    world.server.script([Answer::Error(503, vec![], "")]);
    let fault = world.vault.refresh(&world.of, &world.spec, true).await.unwrap_err();
    assert_eq!(fault.code.as_str(), "needs-reauth");
    let met = call_for(&world, HOUR).await;
    assert!(met.iter().all(|met| *met == Err("needs-reauth")), "{met:?}");
    assert_eq!(world.server.requests(), 2);
}

/// The grace counts from the first time that the token was presented, through a crash and a failure.
#[tokio::test(start_paused = true)]
async fn where_tokens_are_kept_an_error_after_a_lost_answer_is_waited_out() {
    let world = World::with(json!({"refresh": "keep"})).await;
    world.server.keeps();
    world.server.script([Answer::Lost, Answer::Error(503, vec![], "")]);
    expire().await;
    assert_eq!(world.call().await.unwrap_err().code.as_str(), "token-endpoint-failed");
    assert!(world.is_ready().await);
    sleep(Duration::from_secs(10)).await;
    world.call().await.unwrap();
}
