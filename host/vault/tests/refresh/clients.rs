//! Clients that a provider refuses (C35): the operator's fault is said once, and asked about once.

use std::time::Duration;

use keyway_core::ids::ConnectionRef;
use tokio::time::sleep;

use crate::seen::Log;
use crate::support::Answer;
use crate::world::{World, call, connection, expire};

const REFUSED: Answer = Answer::Error(401, Vec::new(), r#"{"error":"invalid_client"}"#);

/// The connections of fifty users, whose tokens are over.
async fn users(world: &World) -> Vec<ConnectionRef> {
    let mut users = Vec::new();
    for number in 0..50 {
        let user = connection(Some(&format!("u{number}")));
        world.connect(&user, &format!("u{number}")).await;
        users.push(user);
    }
    expire().await;
    users
}

async fn met(world: &World, users: &[ConnectionRef]) -> Vec<Result<String, &'static str>> {
    let mut met = Vec::new();
    for user in users {
        let call = call(&world.vault, user, &world.spec).await;
        met.push(call.map_err(|fault| fault.code.as_str()));
    }
    met
}

/// Would fail if each connection had to find out, and raise the alarm, for itself.
#[tokio::test(start_paused = true)]
async fn a_refused_client_costs_one_request_and_one_alarm() {
    let log = Log::new();
    let world = World::new().await;
    let users = users(&world).await;
    world.server.script(vec![REFUSED; 1_000]);
    for round in 1..=4 {
        for _ in 0..3 {
            let met = met(&world, &users).await;
            assert!(met.iter().all(|met| *met == Err("oauth-client-refused")), "{met:?}");
            sleep(Duration::from_secs(90)).await;
        }
        assert_eq!(world.server.requests(), round, "one in five minutes, of all of them");
        sleep(Duration::from_secs(60)).await;
    }
    assert_eq!(log.count("oauth-client.refused"), 1);
    // It is taken again: all go on, and it is said.
    world.server.script([]);
    let met = met(&world, &users).await;
    assert!(met.iter().all(Result::is_ok), "{met:?}");
    assert_eq!(log.count("oauth-client.taken"), 1);
}

/// An operator who has mended it does not wait, and nor does anybody after him.
#[tokio::test(start_paused = true)]
async fn setting_the_client_ends_its_rest() {
    let world = World::new().await;
    let users = users(&world).await;
    world.server.script([REFUSED]);
    assert_eq!(met(&world, &users[..1]).await, [Err("oauth-client-refused")]);
    world.set_client().await;
    let met = met(&world, &users).await;
    assert!(met.iter().all(Result::is_ok), "{met:?}");
}

/// Without waiting for the end of the rest, and for everybody.
#[tokio::test(start_paused = true)]
async fn a_refresh_by_hand_asks_and_ends_the_rest_if_it_works() {
    let world = World::new().await;
    let users = users(&world).await;
    world.server.script([REFUSED, REFUSED]);
    let refused = met(&world, &users[..2]).await;
    assert!(refused.iter().all(|met| *met == Err("oauth-client-refused")), "{refused:?}");
    let refresh = async || world.vault.refresh(&users[3], &world.spec, false).await;
    assert_eq!(refresh().await.unwrap_err().code.as_str(), "oauth-client-refused");
    refresh().await.unwrap();
    assert_eq!(met(&world, &users[..1]).await, [Ok("access-u0-1".to_owned())]);
}

/// Would fail if one tenant's odd request could stop the refreshes of all.
#[tokio::test(start_paused = true)]
async fn what_is_said_of_one_request_is_no_word_about_the_client() {
    for error in ["unauthorized_client", "invalid_request", "invalid_scope"] {
        let world = World::new().await;
        let users = users(&world).await;
        let text: &'static str = format!(r#"{{"error":"{error}"}}"#).leak();
        world.server.script([Answer::Error(400, vec![], text)]);
        let met = met(&world, &users).await;
        assert_eq!(met[0], Err("oauth-client-refused"), "{error}");
        assert!(met[1..].iter().all(Result::is_ok), "{error}: {met:?}");
    }
}
