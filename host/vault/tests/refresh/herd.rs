//! Many callers, one refresh.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::support::Answer;
use crate::world::{HOUR, World, call, connection, expire};

/// C31. Without flights, each caller would present the token.
#[tokio::test(start_paused = true)]
async fn callers_at_expiry_share_one_refresh_and_all_get_the_new_token() {
    for callers in [100, 1_000] {
        let world = World::new().await;
        world.server.takes(Duration::from_secs(15));
        expire().await;
        let mut calls = JoinSet::new();
        for _ in 0..callers {
            let (vault, of, spec) = (world.vault.clone(), world.of.clone(), world.spec.clone());
            calls.spawn(async move { call(&vault, &of, &spec).await });
        }
        let answers = calls.join_all().await;
        assert_eq!(answers.len(), callers);
        for answer in answers {
            assert_eq!(answer.unwrap(), "access-acme-1");
        }
        assert_eq!(world.server.requests(), 1);
    }
}

/// A refresh ahead of expiry that callers waited for would be felt by each of them.
#[tokio::test(start_paused = true)]
async fn a_token_that_is_due_is_handed_out_while_the_next_is_fetched() {
    let world = World::new().await;
    world.server.takes(Duration::from_secs(15));
    sleep(HOUR - Duration::from_secs(5 * 60)).await;
    let asked = Instant::now();
    for _ in 0..10 {
        assert_eq!(world.call().await.unwrap(), "access-acme-0");
    }
    assert_eq!(asked.elapsed(), Duration::ZERO);
    sleep(Duration::from_secs(16)).await;
    assert_eq!(world.call().await.unwrap(), "access-acme-1");
    assert_eq!(world.server.requests(), 1);
}

/// A token that cannot be refreshed is as good as any until its time is over.
#[tokio::test(start_paused = true)]
async fn due_and_without_a_client_or_an_answer_it_is_still_handed_out() {
    let world = World::new().await;
    world.server.script([Answer::Error(500, vec![], ""), Answer::Lost]);
    sleep(HOUR - Duration::from_secs(5 * 60)).await;
    for _ in 0..20 {
        assert_eq!(world.call().await.unwrap(), "access-acme-0");
        sleep(Duration::from_secs(10)).await;
    }
    assert_eq!((world.phase().await, world.server.requests()), ("uncertain", 2));
    sleep(Duration::from_secs(5 * 60)).await;
    let fault = world.call().await.unwrap_err();
    assert_eq!((fault.code.as_str(), world.server.requests()), ("refresh-uncertain", 2));
}

/// The flight is a task of its own; were it the caller's, dropping it after sending would lose the answer.
#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_leaves_the_refresh_running() {
    let world = World::new().await;
    world.server.takes(Duration::from_secs(15));
    expire().await;
    let gone = tokio::time::timeout(Duration::from_secs(1), world.call()).await;
    assert!(gone.is_err(), "it went away while the server was busy");
    sleep(Duration::from_secs(15)).await;
    assert_eq!(world.call().await.unwrap(), "access-acme-1");
    assert_eq!(world.server.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn connections_of_a_user_and_of_the_tenant_are_refreshed_apart() {
    let world = World::new().await;
    let users = connection(Some("bob"));
    world.connect(&users, "bob").await;
    expire().await;
    let (own, bobs) = tokio::join!(world.call(), call(&world.vault, &users, &world.spec));
    assert_eq!((own.unwrap().as_str(), bobs.unwrap().as_str()), ("access-acme-1", "access-bob-1"));
    assert_eq!((world.server.requests(), world.server.most_presented()), (2, 1));
}

/// A provider that answers 401 to everything would otherwise have a refresh for each of its answers.
#[tokio::test(start_paused = true)]
async fn a_rejected_token_is_refreshed_once_and_a_young_one_is_not() {
    let world = World::new().await;
    sleep(HOUR / 2).await;
    let old = world.held().await.version;
    let both = tokio::join!(world.rejected(old), world.rejected(old));
    let new = Some("access-acme-1".to_owned());
    assert_eq!(both, (new.clone(), new.clone()));
    assert_eq!(world.rejected(old).await, new, "a late rejection of the old one costs nothing");
    assert_eq!(world.server.requests(), 1);
    let young = world.held().await.version;
    // Whatever the wall clock says.
    world.clock.set(-time::Duration::DAY);
    assert_eq!(world.rejected(young).await, None);
    world.clock.set(time::Duration::DAY * 2);
    assert_eq!(world.rejected(young).await, None);
    assert_eq!(world.server.requests(), 1);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(world.rejected(young).await.as_deref(), Some("access-acme-2"));
}

/// C36. By the wall clock, the first jump would end the token, and the second keep a dead one for a day.
#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_by_a_day_changes_nothing_for_tokens_received_here() {
    for jump in [time::Duration::DAY, -time::Duration::DAY] {
        let world = World::new().await;
        world.vault.refresh(&world.of, &world.spec, false).await.unwrap();
        world.clock.set(jump);
        world.server.takes(Duration::from_secs(15));
        sleep(HOUR / 2).await;
        assert_eq!(world.call().await.unwrap(), "access-acme-1");
        assert_eq!(world.server.requests(), 1, "{jump}: still fresh");
        sleep(HOUR / 2 - Duration::from_secs(60)).await;
        let asked = Instant::now();
        assert_eq!(world.call().await.unwrap(), "access-acme-1");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(world.call().await.unwrap(), "access-acme-1", "{jump}: read anew, and not over");
        assert_eq!(asked.elapsed(), Duration::from_secs(1));
        sleep(Duration::from_secs(60)).await;
        assert_eq!(world.call().await.unwrap(), "access-acme-2");
        assert_eq!(world.server.requests(), 2);
    }
}

/// C36, while a failed refresh waits: set back by a day, the wait must not take a day longer.
#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_back_does_not_prolong_a_wait() {
    let world = World::new().await;
    world.server.script([Answer::Error(503, vec![], "")]);
    expire().await;
    world.call().await.unwrap_err();
    world.clock.set(-time::Duration::DAY);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(world.call().await.unwrap(), "access-acme-1");
}

/// After a restart there is only the wall clock to tell how long is left to wait; that it was set back by days must not
/// make it more than a day.
#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_was_set_back_before_a_restart_holds_a_wait_for_a_day_at_most() {
    let world = World::new().await;
    world.server.script([Answer::Error(503, vec![], "")]);
    expire().await;
    world.call().await.unwrap_err();
    world.clock.set(-time::Duration::DAY * 5);
    let restarted = world.another("host-a");
    call(&restarted, &world.of, &world.spec).await.ok();
    sleep(25 * HOUR).await;
    let answer = call(&restarted, &world.of, &world.spec).await;
    assert_eq!(answer.unwrap(), "access-acme-1");
}

/// Waiting for a refresh and being connected again meanwhile is no failure.
#[tokio::test(start_paused = true)]
async fn a_caller_that_waits_while_a_person_connects_again_gets_the_new_grant() {
    let world = World::new().await;
    world.server.takes(Duration::from_secs(15));
    expire().await;
    let again = async {
        sleep(Duration::from_secs(5)).await;
        world.connect(&world.of, "again").await;
    };
    let (answer, ()) = tokio::join!(world.call(), again);
    assert_eq!(answer.unwrap(), "access-again-0");
    assert!(world.is_ready().await);
}
