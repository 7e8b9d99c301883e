//! Clients that a provider refuses (C35): the operator's fault is said once, and asked about once.

use std::time::Duration;

use keyway_core::descriptor::Oauth;
use keyway_core::ids::ConnectionRef;
use keyway_store::model::Entry;
use keyway_vault::oauth::client::{Accepted, ClientRef, ClientSetting};
use serde_json::json;
use tokio::time::sleep;

use crate::obtain::KEY;
use crate::seen::Log;
use crate::support::Answer;
use crate::world::{World, actor, call, connection, expire};

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

/// Another client than the world's, which is set in `dev` for `a/b`.
fn elsewhere(environment: &str, connector: &str) -> ClientRef {
    let environment = environment.parse().expect("a name");
    let connector = connector.parse().expect("a name");
    ClientRef { environment, connector, ..ClientRef::of(&connection(None)) }
}

/// Would fail if two connectors of one provider hid that two environments can revoke each other's tokens.
#[tokio::test(start_paused = true)]
async fn a_client_is_shared_where_its_id_is_at_the_same_server() {
    let world = World::new().await;
    for (connector, id, host, shared) in [
        ("a/b", "client", "login.example.com", true),
        ("c/d", "client", "login.example.com", true),
        ("c/d", "other", "login.example.com", false),
        ("c/d", "client", "login.example.net", false),
        // The connector's releases have moved to another host since.
        ("a/b", "client", "login.example.net", true),
    ] {
        let of = elsewhere("prod", connector);
        let hosts = [host.to_owned()].into();
        let setting = ClientSetting {
            key_id: None,
            accepted: Accepted::TEXT,
            id: id.to_owned(),
            secret: None,
            hosts,
        };
        let info = world.vault.set_client(&of, setting, &actor()).await.unwrap();
        let found: Vec<_> = info.shared_with.iter().map(ToString::to_string).collect();
        let expected: &[&str] = if shared { &["dev"] } else { &[] };
        assert_eq!(found, expected, "{connector} {id} {host}");
        let listed = world.vault.clients(&"dev".parse().unwrap()).await.unwrap();
        assert_eq!(listed[0].shared_with.len(), expected.len(), "{connector} {id} {host}");
        world.vault.remove_client(&of, &actor()).await.unwrap();
    }
}

/// Would fail if a key that signs had no room, if what it was kept in were left lying, or if the same again were another.
#[tokio::test(start_paused = true)]
async fn a_long_key_is_kept_in_parts_that_go_with_it() {
    let world = World::new().await;
    let of = elsewhere("prod", "a/b");
    let oauth: Oauth = serde_json::from_value(json!({"grant": "jwt-bearer",
        "token-url": "https://login.example.com/token", "assertion": {"algorithm": "ES256"}}))
    .unwrap();
    let set = async |secret: &str| {
        let setting = ClientSetting {
            key_id: None,
            accepted: Accepted::of(&oauth),
            id: "app".to_owned(),
            secret: Some(secret.into()),
            hosts: ["login.example.com".to_owned()].into(),
        };
        world.vault.set_client(&of, setting, &actor()).await.map(|info| info.generation)
    };
    let parts = async || world.store.cells("vault/oauth-client-part").await.unwrap().len();
    // White space is no part of a key.
    let [long, too_long] = [1_000, 2_000].map(|lines| KEY.replace('\n', &"\n".repeat(lines)));
    assert_eq!((set(&long).await.unwrap(), parts().await), (1, 2));
    assert_eq!((set(&long).await.unwrap(), parts().await), (1, 2), "the same again");
    assert_eq!(world.another("host-b").check_all().await.unwrap(), 1, "it opens elsewhere");
    assert_eq!((set(KEY).await.unwrap(), parts().await), (2, 0));
    assert_eq!((set(&long).await.unwrap(), parts().await), (3, 2));
    assert_eq!(set(&too_long).await.unwrap_err().code.as_str(), "credential-invalid");
    assert_eq!(set("a text").await.unwrap_err().code.as_str(), "credential-invalid");
    assert!(world.vault.remove_client(&of, &actor()).await.unwrap());
    assert_eq!(parts().await, 0);
    assert_eq!((set(&long).await.unwrap(), parts().await), (5, 2), "generations go on");
}

/// Would fail if a host started with connections that open, and every refresh failed: clients have data keys of their own.
#[tokio::test(start_paused = true)]
async fn a_host_without_the_data_key_of_a_client_does_not_start() {
    let world = World::new().await;
    let before = data_keys(&world).await;
    let of = elsewhere("prod", "a/b");
    let setting = ClientSetting {
        key_id: None,
        accepted: Accepted::TEXT,
        id: "client".to_owned(),
        secret: Some("client-secret".to_owned().into()),
        hosts: ["login.example.com".to_owned()].into(),
    };
    world.vault.set_client(&of, setting, &actor()).await.unwrap();
    assert_eq!(world.another("host-b").check_all().await.unwrap(), 1);
    let after = data_keys(&world).await;
    let (key, version) = after.iter().find(|key| !before.contains(key)).expect("prod's own");
    let entry = Entry {
        actor: actor(),
        action: "test.lose".to_owned(),
        object: "data key".to_owned(),
        reason: None,
        before: None,
        after: None,
    };
    world.store.tx().remove_cell(DATA_KEYS, key, *version).commit(entry).await.unwrap();
    let fault = world.another("host-c").check_all().await.unwrap_err();
    assert!(fault.detail.contains("OAuth client"), "{}", fault.detail);
}

const DATA_KEYS: &str = "vault/data-key";

async fn data_keys(world: &World) -> Vec<(Vec<u8>, u64)> {
    let cells = world.store.cells(DATA_KEYS).await.expect("a name").into_iter();
    cells.map(|(key, cell)| (key.to_vec(), cell.version)).collect()
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
