//! Cases of the control plane: releases, pins, settings, tokens, audit, watching.

use std::time::Duration;

use bytes::Bytes;
use keyway_core::Digest;
use keyway_core::address::UserMark;
use keyway_core::ids::{ConnectionRef, Installation};
use keyway_core::limits::CONFIG_GENERATIONS_MAX;
use keyway_core::release::{Release, ReleaseRef};
use time::macros::datetime;

use super::{Subject, config, entry, installation, name, pin, reference, release};
use crate::model::Cell;
use crate::model::{Bounds, Verb};
use crate::{
    By, Collision, Config, Connection, EnvironmentDefault, Error, Filter, Generation, Role,
    TakenConfig, Token, Tx,
};

/// What a change must be refused with.
macro_rules! refused {
    ($result:expr, $collision:ident) => {
        match $result {
            Err(Error::Conflict { what: Collision::$collision }) => {}
            other => panic!("expected a conflict about {}: {other:?}", stringify!($collision)),
        }
    };
}

/// By either name it is the same, and comes back as it was published, however long its descriptor.
pub async fn a_release_is_found_by_digest_and_by_version(subject: &Subject) {
    let store = &subject.store;
    for (version, summary_bytes) in [("1.0.0", 10), ("1.1.0-rc.1+build.7", 100_000)] {
        let mut published = release(version);
        published.descriptor.summary = "s".repeat(summary_bytes);
        let at = &published.reference;
        assert!(store.release(&at.digest).await.expect("read").is_none());
        store.tx().publish(published.clone()).commit(entry(version)).await.expect("publish");
        let by_digest = store.release(&at.digest).await.expect("read").expect("by digest");
        let by_version = store.release_by_version(&at.connector, &at.version).await;
        let by_version = by_version.expect("read").expect("by version");
        for found in [by_digest, by_version] {
            assert_eq!(format!("{found:?}"), format!("{published:?}"));
        }
    }
}

/// `1.10.0` comes after `1.9.0`, and one connector's list holds nothing of another's.
pub async fn releases_are_listed_by_precedence(subject: &Subject) {
    let store = &subject.store;
    for version in ["1.10.0", "1.9.0", "2.0.0-rc.1", "2.0.0"] {
        store.tx().publish(release(version)).commit(entry(version)).await.expect("publish");
    }
    let named = |connector: &str, version: &str| {
        ReleaseRef::new(name(connector), name(version), Digest::of(connector.as_bytes()))
    };
    let other = Release { reference: named("keyway/hubspot-beta", "0.1.0"), ..release("0.1.0") };
    store.tx().publish(other).commit(entry("other")).await.expect("publish");

    let versions = async |connector: Option<&str>| {
        let connector = connector.map(name);
        let found = store.releases(connector.as_ref()).await.expect("list");
        found.iter().map(|found| found.reference.version.to_string()).collect::<Vec<_>>()
    };
    let mut expected = vec!["1.9.0", "1.10.0", "2.0.0-rc.1", "2.0.0"];
    assert_eq!(versions(Some("keyway/hubspot")).await, expected);
    expected.push("0.1.0");
    assert_eq!(versions(None).await, expected);
    assert!(versions(Some("keyway/none")).await.is_empty());
}

/// Neither other bytes under a version nor the same bytes under another.
pub async fn a_version_and_a_digest_are_published_once(subject: &Subject) {
    let store = &subject.store;
    store.tx().publish(release("1.0.0")).commit(entry("first")).await.expect("publish");
    let called = |version: &str, digest: Digest| {
        let reference = ReleaseRef::new(name("keyway/hubspot"), name(version), digest);
        Release { reference, ..release("1.0.0") }
    };
    let other_bytes = called("1.0.0", Digest::of(b"other"));
    refused!(store.tx().publish(other_bytes).commit(entry("bytes")).await, Version);
    let other_version = called("1.0.1", reference("1.0.0").digest);
    refused!(store.tx().publish(other_version).commit(entry("version")).await, Release);
    assert_eq!(store.releases(None).await.expect("list").len(), 1);
}

/// Each pin follows the one before, and none is forgotten.
pub async fn pins_count_up_and_are_kept(subject: &Subject) {
    let store = &subject.store;
    let acme = installation("acme");
    assert_eq!(store.pin(&acme).await.expect("read"), None);
    assert_eq!(store.history(&acme).await.expect("read"), []);
    // Generations over 255 sort as numbers.
    let pins: Vec<_> = (1..=260).map(|n| pin("acme", n, &format!("1.{n}.0"))).collect();
    for next in &pins {
        store.tx().pin(next.clone()).commit(entry("acme")).await.expect("pin");
    }
    let revert = crate::Pin { reverts_to: Some(259), ..pin("acme", 261, "1.259.0") };
    store.tx().pin(revert.clone()).commit(entry("acme")).await.expect("revert");
    for wrong in [0, 1, 261, 263, u64::MAX] {
        refused!(store.tx().pin(pin("acme", wrong, "9.9.9")).commit(entry("x")).await, Pin);
    }
    assert_eq!(store.pin(&acme).await.expect("read").as_ref(), Some(&revert));
    let history = store.history(&acme).await.expect("read");
    let all: Vec<Generation> = pins.into_iter().chain([revert]).map(Generation::from).collect();
    assert_eq!(history, all);
    assert_eq!(store.history(&installation("acm")).await.expect("read"), []);
}

/// What was pinned and is no more is still an installation, and the next pin counts on.
pub async fn an_installation_without_a_pin_keeps_its_history(subject: &Subject) {
    let store = &subject.store;
    let acme = installation("acme");
    let taken = TakenConfig { generation: 7, back_to: 0 };
    let first = crate::Pin { config: Some(taken), ..pin("acme", 1, "1.0.0") };
    let none = Generation { release: None, number: 2, ..pin("acme", 2, "1.0.0").into() };
    store.tx().pin(first.clone()).commit(entry("pin")).await.expect("pin");
    store.tx().pin(none.clone()).commit(entry("unpin")).await.expect("unpin");
    refused!(store.tx().pin(none.clone()).commit(entry("again")).await, Pin);
    assert_eq!(store.pin(&acme).await.expect("read"), None);
    assert_eq!(store.newest_generation(&acme).await.expect("read"), Some(none.clone()));
    let state = store.installation(&acme).await.expect("read").expect("still there");
    assert_eq!(state.pin, None);
    store.tx().pin(pin("acme", 3, "1.0.0")).commit(entry("pin")).await.expect("pin again");
    let all = [first.into(), none, pin("acme", 3, "1.0.0").into()];
    assert_eq!(store.history(&acme).await.expect("read"), all);
    assert_eq!(store.generation_at(&acme, 2).await.expect("read"), Some(all[1].clone()));
    assert_eq!(store.generation_at(&acme, 4).await.expect("read"), None);
}

/// Two operators, one generation: one is told that it was too late.
pub async fn of_two_pins_at_once_one_lands(subject: &Subject) {
    let store = &subject.store;
    for generation in 1..=20 {
        let change = |version: &str| {
            let change = store.tx().pin(pin("acme", generation, version));
            tokio::spawn(change.commit(entry(version)))
        };
        let (left, right) = (change("1.0.0"), change("2.0.0"));
        let (left, right) = (left.await.expect("no panic"), right.await.expect("no panic"));
        assert!(left.is_ok() != right.is_ok(), "{left:?} {right:?}");
        let winner = if left.is_ok() { "1.0.0" } else { "2.0.0" };
        refused!(if left.is_ok() { right } else { left }, Pin);
        let found = store.pin(&installation("acme")).await.expect("read").expect("pin");
        assert_eq!(found, pin("acme", generation, winner));
    }
    assert_eq!(store.seq().await.expect("read"), 20, "the loser leaves no audit entry");
}

/// A refused change leaves neither itself nor an audit entry.
pub async fn what_is_refused_leaves_no_trace(subject: &Subject) {
    let store = &subject.store;
    refused!(store.tx().pin(pin("acme", 2, "1.0.0")).commit(entry("acme")).await, Pin);
    assert_eq!(store.seq().await.expect("read"), 0);
    assert_eq!(store.audit(0, 10).await.expect("read"), []);
    assert_eq!(store.installation(&installation("acme")).await.expect("read"), None);
    assert_eq!(store.history(&installation("acme")).await.expect("read"), []);
}

/// Several changes in one.
pub async fn changes_land_together_or_not_at_all(subject: &Subject) {
    let store = &subject.store;
    let both = |generation| {
        let change = store.tx().publish(release("1.0.0")).pin(pin("acme", 1, "1.0.0"));
        change.pin(pin("beta", generation, "1.0.0"))
    };
    refused!(both(7).commit(entry("wrong")).await, Pin);
    assert!(store.releases(None).await.expect("list").is_empty());
    assert_eq!(store.pin(&installation("acme")).await.expect("read"), None);

    assert_eq!(both(1).commit(entry("right")).await.expect("both"), 1);
    assert!(store.pin(&installation("acme")).await.expect("read").is_some());
    assert!(store.pin(&installation("beta")).await.expect("read").is_some());
}

/// One change cannot set the same thing twice.
pub async fn contradicting_changes_are_refused(subject: &Subject) {
    let store = &subject.store;
    let twice = store.tx().pin(pin("acme", 1, "1.0.0")).pin(pin("acme", 1, "2.0.0"));
    refused!(twice.commit(entry("pin")).await, Contended);
    let twice = store.tx().publish(release("1.0.0")).publish(release("1.0.0"));
    refused!(twice.commit(entry("publish")).await, Contended);
    assert_eq!(store.seq().await.expect("read"), 0);
}

/// However many write at once.
pub async fn audit_numbers_have_no_gaps(subject: &Subject) {
    let store = &subject.store;
    let tasks: Vec<_> = (0..50)
        .map(|n| {
            let tenant = format!("tenant-{n}");
            tokio::spawn(store.tx().pin(pin(&tenant, 1, "1.0.0")).commit(entry(&tenant)))
        })
        .collect();
    let mut answered = Vec::new();
    for task in tasks {
        answered.push(task.await.expect("no panic").expect("pin"));
    }
    answered.sort_unstable();
    assert_eq!(answered, (1..=50).collect::<Vec<_>>());
    let mut after = 0;
    let mut objects = Vec::new();
    loop {
        let page = store.audit(after, 7).await.expect("audit");
        let Some(last) = page.last() else { break };
        assert!(page.iter().zip(after + 1..).all(|(entry, seq)| entry.seq == seq));
        after = last.seq;
        objects.extend(page.into_iter().map(|found| found.entry.object));
    }
    objects.sort();
    let mut expected: Vec<_> = (0..50).map(|n| format!("tenant-{n}")).collect();
    expected.sort();
    assert_eq!((after, objects), (50, expected));
    assert_eq!(store.seq().await.expect("read"), 50);
}

/// Per environment and connector.
pub async fn environment_defaults_count_up(subject: &Subject) {
    let store = &subject.store;
    let default = |environment, generation| EnvironmentDefault {
        environment: name(environment),
        generation,
        release: reference("1.0.0"),
        actor: super::actor(),
        reason: "because".to_owned(),
        at: datetime!(2026-02-02 12:00 UTC),
    };
    let set = async |to: &EnvironmentDefault| {
        store.tx().set_default(to.clone()).commit(entry("default")).await
    };
    set(&default("prod", 1)).await.expect("set");
    set(&default("dev", 1)).await.expect("set");
    set(&default("dev", 2)).await.expect("set");
    refused!(set(&default("dev", 2)).await, EnvironmentDefault);
    let found = store.environment_default(&name("dev"), &name("keyway/hubspot")).await;
    assert_eq!(found.expect("read"), Some(default("dev", 2)));
    let all = store.environment_defaults().await.expect("list");
    assert_eq!(all, [default("dev", 2), default("prod", 1)]);
    let none = store.environment_default(&name("dev"), &name("keyway/other")).await;
    assert_eq!(none.expect("read"), None);
}

/// The next one counts on, so that who saw the one before is told.
pub async fn a_default_that_was_unset_keeps_its_generation(subject: &Subject) {
    let store = &subject.store;
    let (dev, connector) = (name("dev"), name("keyway/hubspot"));
    let default = |generation| EnvironmentDefault {
        environment: name("dev"),
        generation,
        release: reference("1.0.0"),
        actor: super::actor(),
        reason: "because".to_owned(),
        at: datetime!(2026-02-02 12:00 UTC),
    };
    let by = || By {
        actor: super::actor(),
        reason: Some("over".to_owned()),
        at: datetime!(2026-02-02 12:00 UTC),
    };
    let unset = async |generation| {
        store.tx().unset_default(&dev, &connector, generation, by()).commit(entry("unset")).await
    };
    assert_eq!(store.newest_default(&dev, &connector).await.expect("read"), None);
    store.tx().set_default(default(1)).commit(entry("set")).await.expect("set");
    unset(2).await.expect("unset");
    refused!(unset(2).await, EnvironmentDefault);
    assert_eq!(store.environment_default(&dev, &connector).await.expect("read"), None);
    assert_eq!(store.environment_defaults().await.expect("read"), []);
    let newest = store.newest_default(&dev, &connector).await.expect("read").expect("was set");
    assert_eq!((newest.number, newest.release, newest.by), (2, None, by()));
    refused!(store.tx().set_default(default(1)).commit(entry("set")).await, EnvironmentDefault);
    store.tx().set_default(default(3)).commit(entry("set")).await.expect("set again");
    let found = store.environment_default(&dev, &connector).await.expect("read");
    assert_eq!(found, Some(default(3)));
}

/// Its rows go, and the bytes that only they named; a connection has to be removed before.
pub async fn a_tenant_is_erased_and_nobody_else(subject: &Subject) {
    let store = &subject.store;
    let (large, shared) =
        (format!("{{{}}}", " ".repeat(9_000)), format!("{{{}}}", " ".repeat(9_001)));
    // One whose name begins like the other's.
    for tenant in ["acme", "acme.eu"] {
        let of = installation(tenant);
        for number in 1..=300 {
            store.tx().pin(pin(tenant, number, "1.0.0")).commit(entry("pin")).await.expect("pin");
        }
        let own = if tenant == "acme" { large.as_str() } else { "{}" };
        for (number, json) in (1..).zip([own, &shared]) {
            let change = store.tx().set_config(config(&of, number, json));
            change.commit(entry("config")).await.expect("set");
        }
    }
    let mut set = connection("token", 1, Bytes::from_static(b"sealed"));
    set.user = Some(name("ann@example.com"));
    store.tx().set_connection(set.clone()).commit(entry("set")).await.expect("set");
    let (dev, acme) = (name("dev"), name("acme"));
    let erase = async || store.erase_tenant(&dev, &acme, &entry("erase")).await;
    refused!(erase().await, Connection);
    let remove = store.tx().remove_connection(&set.reference(), 1);
    remove.commit(entry("remove")).await.expect("remove");
    assert_eq!(erase().await.expect("erase"), crate::Erased { pins: 300, configs: 2 });
    assert_eq!(erase().await.expect("again"), crate::Erased::default());
    let gone = installation("acme");
    assert_eq!(store.installation(&gone).await.expect("read"), None);
    assert_eq!(store.history(&gone).await.expect("read"), []);
    assert_eq!(store.config_history(&gone).await.expect("read"), []);
    assert_eq!(store.connection_generation(&set.reference()).await.expect("read"), 0);
    let blob =
        async |json: &str| store.blobs().get(&Digest::of(json.as_bytes())).await.expect("read");
    assert_eq!(blob(&large).await, None);
    assert!(blob(&shared).await.is_some(), "another tenant has it");
    let other = store.installation(&installation("acme.eu")).await.expect("read").expect("there");
    assert_eq!(other.config.expect("still set").json, shared);
    assert_eq!(store.history(&installation("acme.eu")).await.expect("read").len(), 300);
}

/// In a row or in a blob, each is still there under its number.
pub async fn configurations_have_a_history(subject: &Subject) {
    let store = &subject.store;
    let acme = installation("acme");
    assert_eq!(store.config_history(&acme).await.expect("read"), []);
    assert_eq!(store.config_at(&acme, 1).await.expect("read"), None);
    let large = format!("{{{}}}", " ".repeat(10_000));
    let mut removed = config(&acme, 3, "{}");
    (removed.about.removed, removed.about.back_to, removed.about.taken) = (true, Some(0), true);
    let all = [config(&acme, 1, r#"{"n":1}"#), config(&acme, 2, &large), removed];
    for config in &all {
        store.tx().set_config(config.clone()).commit(entry("config")).await.expect("set");
    }
    let history = store.config_history(&acme).await.expect("read");
    assert_eq!(history, all.clone().map(|config| config.about));
    for config in &all {
        let found = store.config_at(&acme, config.about.generation).await.expect("read");
        assert_eq!(found.as_ref(), Some(config));
    }
    assert_eq!(store.config(&acme).await.expect("read").as_ref(), all.last());
    assert_eq!(store.config_history(&installation("acm")).await.expect("read"), []);
}

/// At the limit and one more: copies go before what somebody set, and large bytes go with their rows.
pub async fn the_history_of_a_configuration_ends_somewhere(subject: &Subject) {
    let store = &subject.store;
    let acme = installation("acme");
    let most = CONFIG_GENERATIONS_MAX as u64;
    let set = async |number: u64, taken: bool| {
        let padding = if number == 3 { " ".repeat(10_000) } else { String::new() };
        let mut config = config(&acme, number, &format!(r#"{{"n":{number}{padding}}}"#));
        config.about.taken = taken;
        store.tx().set_config(config.clone()).commit(entry("config")).await.expect("set");
        config
    };
    let kept = async || -> Vec<u64> {
        let history = store.config_history(&acme).await.expect("read");
        history.iter().map(|about| about.generation).collect()
    };
    let mut third = None;
    for number in 1..=most {
        let config = set(number, number == 3 || number == 5).await;
        third = third.or((number == 3).then_some(config));
    }
    assert_eq!(kept().await, (1..=most).collect::<Vec<_>>());
    set(most + 1, true).await;
    let without = |gone: &[u64]| -> Vec<u64> {
        let all = (1..).filter(|number| !gone.contains(number));
        all.take(CONFIG_GENERATIONS_MAX).collect()
    };
    assert_eq!(kept().await, without(&[3]));
    set(most + 2, false).await;
    set(most + 3, false).await;
    set(most + 4, false).await;
    // What came along first, then the oldest.
    assert_eq!(kept().await, without(&[1, 3, 5, most + 1]));
    assert_eq!(store.config_at(&acme, 3).await.expect("read"), None);
    assert_eq!(store.config(&acme).await.expect("read").expect("set").about.generation, most + 4);
    let large = Digest::of(third.expect("set").json.as_bytes());
    assert!(store.blobs().get(&large).await.expect("read").is_some(), "noted");
    store.forget_blobs().await.expect("forget");
    assert_eq!(store.blobs().get(&large).await.expect("read"), None);
}

/// In a row or in a blob, the caller cannot tell.
pub async fn configurations_of_any_size_come_back(subject: &Subject) {
    let store = &subject.store;
    let sizes = [2, 3_900, 4_096, 4_200, 256 << 10];
    for (generation, size) in (1..).zip(sizes) {
        let json = format!("{{{}}}", " ".repeat(size - 2));
        let config: Config = config(&installation("acme"), generation, &json);
        let change = || store.tx().set_config(config.clone()).commit(entry("config"));
        change().await.expect("set");
        refused!(change().await, Config);
        let found = store.config(&config.about.installation).await.expect("read");
        assert_eq!(found, Some(config.clone()));
        let state = store.installation(&config.about.installation).await.expect("read");
        assert_eq!(state.expect("there").config, Some(config));
    }
}

fn connection(slot: &str, generation: u64, sealed: Bytes) -> Connection {
    Connection {
        installation: installation("acme"),
        slot: name(slot),
        user: None,
        generation,
        epoch: generation,
        kind: "bearer".to_owned(),
        base_url: Some("https://api.example.com/".to_owned()),
        account: Some("4711".to_owned()),
        scopes: Some(vec!["contacts.read".to_owned()]),
        facts: [("subdomain".to_owned(), "acme".to_owned())].into(),
        paused: generation.is_multiple_of(2),
        hold_refresh: !generation.is_multiple_of(2),
        watch_until: Some(datetime!(2026-02-04 12:00 UTC)),
        sealed,
        at: datetime!(2026-02-02 12:00 UTC),
    }
}

/// A generation is used once, even across a removal.
pub async fn connections_rotate_and_go(subject: &Subject) {
    let store = &subject.store;
    let acme = installation("acme");
    let of = ConnectionRef { installation: acme.clone(), slot: name("oauth"), user: None };
    let set = async |generation| {
        let sealed = Bytes::from(vec![generation as u8; 200]);
        let change = store.tx().set_connection(connection("oauth", generation, sealed));
        change.commit(entry("connection")).await
    };
    let remove = async |generation| {
        let change = store.tx().remove_connection(&of, generation);
        change.commit(entry("connection")).await
    };
    refused!(remove(0).await, Connection);
    assert_eq!(store.connection_generation(&of).await.expect("read"), 0);
    set(1).await.expect("set");
    set(2).await.expect("rotate");
    refused!(set(2).await, Connection);
    refused!(remove(1).await, Connection);
    let found = store.connection(&of).await.expect("read");
    assert_eq!(found, Some(connection("oauth", 2, Bytes::from(vec![2; 200]))));
    remove(2).await.expect("remove");
    refused!(remove(2).await, Connection);
    assert_eq!(store.connection(&of).await.expect("read"), None);
    let state = store.installation(&acme).await.expect("read").expect("its rows are there");
    assert_eq!(state.connections, []);
    refused!(set(1).await, Connection);
    refused!(set(2).await, Connection);
    assert_eq!(store.connection_generation(&of).await.expect("read"), 2);
    set(3).await.expect("set anew");
}

/// A user's connection and the tenant's in the same slot are two.
pub async fn users_have_connections_of_their_own(subject: &Subject) {
    let store = &subject.store;
    let set = async |user: Option<&str>, generation, text: &'static str| {
        let mut connection = connection("oauth", generation, Bytes::from_static(text.as_bytes()));
        connection.user = user.map(name);
        let change = store.tx().set_connection(connection.clone());
        change.commit(entry("connection")).await.expect("set");
        connection
    };
    let tenants = set(None, 1, "tenant").await;
    let ann = set(Some("ann@example.com"), 1, "ann").await;
    set(Some("bob"), 1, "bob").await;
    let bob = set(Some("bob"), 2, "bob again").await;
    for connection in [&tenants, &ann, &bob] {
        let found = store.connection(&connection.reference()).await.expect("read");
        assert_eq!(found.as_ref(), Some(connection));
    }
    let acme = installation("acme");
    let state = store.installation(&acme).await.expect("read").expect("there");
    assert_eq!(state.connections, std::slice::from_ref(&tenants));
    assert_eq!(store.user_connections(&acme).await.expect("read"), [ann.clone(), bob]);
    for (named, found) in [("ann@example.com", ann.user.clone()), ("ann", None)] {
        let mark = UserMark::of(&name(named));
        let marked = store.user_marked(&acme, &ann.slot, &mark).await.expect("read");
        assert_eq!(marked, found, "{named}");
    }
    let removal = store.tx().remove_connection(&ann.reference(), 1);
    removal.commit(entry("connection")).await.expect("remove");
    assert_eq!(store.connection(&ann.reference()).await.expect("read"), None);
    assert_eq!(store.user_connections(&acme).await.expect("read").len(), 1);
    let kept = store.connection(&tenants.reference()).await.expect("read");
    assert_eq!(kept, Some(tenants));
}

/// An installation that nothing was set for but connections of users is listed, and not taken for any other.
pub async fn users_alone_make_an_installation(subject: &Subject) {
    let store = &subject.store;
    let mut pair = ["ann", "bob"].map(|user| {
        let mut connection = connection("oauth", 1, Bytes::from_static(b"sealed"));
        connection.user = Some(name(user));
        connection
    });
    // Both in one change: what they have in common is written once.
    let [ann, bob] = pair.clone();
    let change = store.tx().set_connection(ann).set_connection(bob);
    change.commit(entry("connection")).await.expect("set");
    pair[0].generation = 2;
    let change = store.tx().set_connection(pair[0].clone());
    change.commit(entry("connection")).await.expect("set anew");
    let acme = installation("acme");
    let state = store.installation(&acme).await.expect("read").expect("it has users");
    assert_eq!((&state.pin, &state.config, &state.connections), (&None, &None, &Vec::new()));
    assert_eq!(store.installations(&Filter::default()).await.expect("list"), [state]);
    assert_eq!(store.user_connections(&acme).await.expect("read"), pair);
}

/// However many pages they take, each is shown once, and nobody else's.
pub async fn users_connections_are_shown_slot_by_slot(subject: &Subject) {
    let store = &subject.store;
    let of = |slot: &str, user: String| {
        let mut connection = connection(slot, 1, Bytes::from_static(b"sealed"));
        connection.user = Some(name(&user));
        connection
    };
    let set = async |connections: Vec<Connection>| {
        let change = connections.into_iter().fold(store.tx(), Tx::set_connection);
        change.commit(entry("connections")).await.expect("set");
    };
    // A page and a bit, and one that was removed.
    set((0..400).map(|n| of("oauth", format!("user-{n}"))).collect()).await;
    set((400..600).map(|n| of("oauth", format!("user-{n}"))).collect()).await;
    let mut elsewhere = of("oauth", "user-1".to_owned());
    elsewhere.installation = installation("acme-2");
    set(vec![of("oauth-2", "user-1".to_owned()), elsewhere]).await;
    let removal = store.tx().remove_connection(&of("oauth", "user-7".to_owned()).reference(), 1);
    removal.commit(entry("connection")).await.expect("remove");

    let mut shown = Vec::new();
    let look = |connection: &Connection| shown.push(connection.clone());
    let (acme, slot) = (installation("acme"), name("oauth"));
    store.each_user_connection(&acme, &slot, look).await.expect("read");
    shown.sort_by(|a, b| a.user.cmp(&b.user));
    let mut listed = store.user_connections(&acme).await.expect("read");
    listed.retain(|connection| connection.slot == slot);
    assert_eq!((shown.len(), shown), (599, listed));
}

/// A cell that is written with a change of the control plane lands with it or not at all.
pub async fn cells_land_with_a_change(subject: &Subject) {
    let store = &subject.store;
    let set = async |generation, expected: Option<u64>| {
        let row = connection("oauth", generation, Bytes::from_static(b"sealed"));
        let tx = store.tx().set_connection(row).put_cell("tokens", b"acme", expected, "secret");
        tx.commit(entry("connection")).await
    };
    set(1, None).await.expect("both");
    refused!(set(2, None).await, Cell);
    refused!(set(1, Some(1)).await, Connection);
    let of = connection("oauth", 1, Bytes::new()).reference();
    assert_eq!(store.connection_generation(&of).await.expect("read"), 1);
    let cells = store.cells("tokens").await.expect("read");
    assert_eq!(cells, [(b"acme".to_vec(), Cell { version: 1, value: "secret".into() })]);
    let removal = store.tx().remove_connection(&of, 1).remove_cell("tokens", b"acme", 1);
    removal.commit(entry("connection")).await.expect("remove");
    assert_eq!(store.cells("tokens").await.expect("read"), []);
    refused!(store.batch().remove_cell("tokens", b"acme", 1).commit().await, Cell);
}

/// 3 KiB and not a byte more.
pub async fn a_sealed_credential_has_a_limit(subject: &Subject) {
    let store = &subject.store;
    let set = async |bytes: usize| {
        let sealed = Bytes::from(vec![0xff; bytes]);
        store.tx().set_connection(connection("key", 1, sealed)).commit(entry("key")).await
    };
    let over = set(3 * 1024 + 1).await;
    assert!(matches!(over, Err(Error::TooLarge { size: 3_073, size_max: 3_072, .. })), "{over:?}");
    assert_eq!(store.seq().await.expect("read"), 0);
    set(3 * 1024).await.expect("set");
}

/// What cannot be written down does not happen.
pub async fn an_entry_too_large_is_refused_with_its_change(subject: &Subject) {
    let store = &subject.store;
    let mut long = entry("acme");
    long.after = Some("x".repeat(5_000));
    let result = store.tx().pin(pin("acme", 1, "1.0.0")).commit(long).await;
    assert!(matches!(result, Err(Error::TooLarge { .. })), "{result:?}");
    assert_eq!(store.pin(&installation("acme")).await.expect("read"), None);
    assert_eq!(store.seq().await.expect("read"), 0);
}

/// By name and by hash.
pub async fn tokens_are_unique_and_removable(subject: &Subject) {
    let store = &subject.store;
    let token = |named: &str, secret: &str, role| Token {
        name: name(named),
        hash: Digest::of(secret.as_bytes()),
        role,
        environments: Some(vec![name("dev"), name("prod")]),
        publisher: Some("keyway".to_owned()),
        bounds: Bounds {
            tenants: Some(vec![name("acme")]),
            connectors: Some(vec![name("a/b")]),
            users: Some(vec![name("zoe@example.com")]),
            verbs: Some(Verb::ALL.to_vec()),
        },
        expires_at: Some(datetime!(2027-01-01 0:00 UTC)),
        at: datetime!(2026-01-01 0:00 UTC),
    };
    let add = async |token: &Token| store.tx().add_token(token.clone()).commit(entry("t")).await;
    let (ci, admin) = (token("ci", "1", Role::Publisher), token("admin", "2", Role::Admin));
    add(&ci).await.expect("add");
    add(&Token { environments: None, publisher: None, expires_at: None, ..admin.clone() })
        .await
        .expect("add");
    refused!(add(&token("ci", "3", Role::Viewer)).await, Token);
    refused!(add(&token("other", "1", Role::Viewer)).await, Token);
    assert_eq!(store.token(&ci.hash).await.expect("read"), Some(ci.clone()));
    assert_eq!(store.token(&Digest::of(b"3")).await.expect("read"), None);
    let names: Vec<_> = store.tokens().await.expect("list").into_iter().map(|t| t.name).collect();
    assert_eq!(names, [admin.name, ci.name.clone()]);

    let remove = async || store.tx().remove_token(&ci.name).commit(entry("t")).await;
    remove().await.expect("remove");
    assert!(matches!(remove().await, Err(Error::UnknownToken { .. })));
    assert_eq!(store.token(&ci.hash).await.expect("read"), None);
    add(&ci).await.expect("the name is free again");
}

/// Across pages, through any filter, as single reads see them.
pub async fn installations_are_listed_whole(subject: &Subject) {
    let store = &subject.store;
    let at = |environment: &str, tenant: String, connector: &str| Installation {
        environment: name(environment),
        tenant: name(&tenant),
        connector: name(connector),
    };
    // Two rows each and more than a page of them.
    let mut all = Vec::new();
    for n in 0..300 {
        let environment = if n % 3 == 0 { "prod" } else { "dev" };
        let connector = if n % 2 == 0 { "keyway/hubspot" } else { "keyway/other" };
        all.push(at(environment, format!("tenant-{n}"), connector));
    }
    all.push(at("dev", "tenant-1".to_owned(), "keyway/third"));
    for chunk in all.chunks(50) {
        let mut change = store.tx();
        for one in chunk {
            let pin = crate::Pin { installation: one.clone(), ..pin("any", 1, "1.0.0") };
            change = change.pin(pin).set_config(config(one, 1, "{}"));
        }
        change.commit(entry("many")).await.expect("pin");
    }
    all.sort();
    let filters = [
        Filter::default(),
        Filter { environment: Some(name("dev")), ..Filter::default() },
        Filter { tenant: Some(name("tenant-1")), ..Filter::default() },
        Filter { connector: Some(name("keyway/other")), ..Filter::default() },
        Filter {
            environment: Some(name("dev")),
            tenant: Some(name("tenant-1")),
            connector: Some(name("keyway/third")),
        },
        Filter { environment: Some(name("de")), ..Filter::default() },
    ];
    for filter in filters {
        let fits = |one: &&Installation| {
            filter.environment.as_ref().is_none_or(|wanted| *wanted == one.environment)
                && filter.tenant.as_ref().is_none_or(|wanted| *wanted == one.tenant)
                && filter.connector.as_ref().is_none_or(|wanted| *wanted == one.connector)
        };
        let expected: Vec<_> = all.iter().filter(fits).cloned().collect();
        let found = store.installations(&filter).await.expect("list");
        let names: Vec<_> = found.iter().map(|state| state.installation.clone()).collect();
        assert_eq!(names, expected, "{filter:?}");
        for state in found.iter().step_by(17) {
            let single = store.installation(&state.installation).await.expect("read");
            assert_eq!(single.as_ref(), Some(state));
            assert_eq!(state.pin, store.pin(&state.installation).await.expect("read"));
            assert_eq!(state.config, store.config(&state.installation).await.expect("read"));
        }
    }
    assert_eq!(store.installation(&installation("nobody")).await.expect("read"), None);
}

/// From any watermark on.
pub async fn changes_say_what_they_touched(subject: &Subject) {
    let store = &subject.store;
    let none = store.changes(0).await.expect("changes");
    assert_eq!(none, crate::Changes::default());
    store.tx().publish(release("1.0.0")).commit(entry("1")).await.expect("publish");
    store.tx().pin(pin("acme", 1, "1.0.0")).commit(entry("2")).await.expect("pin");
    let both = store.tx().pin(pin("acme", 2, "1.0.0")).pin(pin("beta", 1, "1.0.0"));
    both.commit(entry("3")).await.expect("pin");
    // The data plane is not the watchers' business.
    store.batch().put_cell("s", b"k", None, "v").commit().await.expect("cell");

    let changes = store.changes(0).await.expect("changes");
    assert_eq!(changes.watermark, 3);
    assert_eq!(changes.releases, [Digest::of(b"1.0.0")].into());
    assert_eq!(changes.installations, [installation("acme"), installation("beta")].into());
    assert!(!changes.more && !changes.everything && !changes.tokens);
    let changes = store.changes(1).await.expect("changes");
    assert!(changes.releases.is_empty() && changes.installations.len() == 2);
    let changes = store.changes(3).await.expect("changes");
    assert_eq!((changes.watermark, changes.installations.len()), (3, 0));
}

/// A list that does not fit beside its audit entry becomes "everything", never a shorter list.
pub async fn a_change_too_large_to_list_says_so(subject: &Subject) {
    let store = &subject.store;
    let mut change = store.tx();
    for n in 0..200 {
        change = change.pin(pin(&format!("tenant-{n}"), 1, "1.0.0"));
    }
    change.commit(entry("many")).await.expect("pin");
    let changes = store.changes(0).await.expect("changes");
    assert!(changes.everything && changes.installations.is_empty());
}

/// A wake-up comes; without one, the wait ends all the same.
pub async fn watchers_wake_and_look_anyway(subject: &Subject) {
    let store = &subject.store;
    let mut watch = store.watch();
    watch.changed(Duration::from_millis(1)).await;
    assert_eq!(store.seq().await.expect("read"), 0, "it ended without a change");

    let hour = Duration::from_secs(3_600);
    let waiter = tokio::spawn(async move {
        watch.changed(hour).await;
        watch
    });
    store.tx().pin(pin("acme", 1, "1.0.0")).commit(entry("acme")).await.expect("pin");
    let mut watch = waiter.await.expect("it woke up");
    // A change between two waits is not slept through.
    store.tx().pin(pin("acme", 2, "1.0.0")).commit(entry("acme")).await.expect("pin");
    watch.changed(hour).await;
}

/// Checked, and idempotent.
pub async fn blobs_are_kept_by_digest(subject: &Subject) {
    let blobs = subject.store.blobs();
    let bytes = Bytes::from(vec![1; 100_000]);
    let digest = blobs.put(bytes.clone()).await.expect("put");
    assert_eq!(blobs.put(bytes.clone()).await.expect("put"), digest);
    assert_eq!(blobs.get(&digest).await.expect("get"), Some(bytes));
    assert_eq!(blobs.get(&Digest::of(b"none")).await.expect("get"), None);
}
