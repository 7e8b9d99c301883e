//! A probe that could not decide, behind a consent: what was granted is kept, and what works is not ended.

use keyway_core::Retry;
use keyway_core::call::{Failure, FailureKind};
use keyway_core::descriptor::SlotSpec;
use keyway_core::exchange::{Response, Unfinished};
use keyway_vault::import::Trial;
use serde_json::{Value, json};

use crate::{World, code};

/// An answer to a probe.
#[derive(Clone, Copy)]
pub(crate) enum ProbeInstead {
    /// A header and a body.
    Answer(u16, (&'static str, &'static str), &'static [u8]),
    /// Of a yes that broke off, its beginning.
    Broken(&'static [u8]),
    /// Nothing at all.
    Silence,
}

/// Answers to a probe that decide nothing.
const UNDECIDED: [ProbeInstead; 11] = [
    ProbeInstead::Answer(429, ("retry-after", "7"), b""),
    ProbeInstead::Answer(500, ("x", "y"), b"{}"),
    ProbeInstead::Answer(503, ("retry-after", "0"), b"<html>"),
    ProbeInstead::Answer(403, ("x-ratelimit-remaining", "0"), b"{}"),
    ProbeInstead::Answer(403, ("x", "y"), b"{}"),
    ProbeInstead::Answer(404, ("x", "y"), b"{}"),
    ProbeInstead::Answer(302, ("location", "/login"), b""),
    ProbeInstead::Answer(200, ("x", "y"), b"<html>welcome"),
    ProbeInstead::Answer(200, ("x", "y"), b""),
    ProbeInstead::Broken(b"{\"id\":\"an"),
    ProbeInstead::Silence,
];

impl ProbeInstead {
    pub(crate) fn answer(self) -> Result<Response, Box<Unfinished>> {
        let mut failure = Failure::denied("exchange-timeout", "the time was over");
        failure.kind = FailureKind::Transient;
        failure.request_sent = true;
        match self {
            Self::Answer(status, (name, value), body) => {
                let headers = vec![(name.to_owned(), value.to_owned())];
                Ok(Response { status, headers, body: body.into() })
            }
            Self::Broken(body) => {
                let begun = Response { status: 200, headers: vec![], body: body.into() };
                Err(Box::new(Unfinished { failure, partial: Some(begun) }))
            }
            Self::Silence => Err(Box::new(Unfinished { failure, partial: None })),
        }
    }
}

/// The account is had of the probe only.
fn probed(spec: SlotSpec) -> SlotSpec {
    let mut spec = serde_json::to_value(spec).expect("JSON");
    spec["scheme"]["account"] = Value::Null;
    spec["probe"] = json!({"path": "/me", "account": "/id"});
    serde_json::from_value(spec).expect("valid")
}

/// After a person's yes, what was granted is kept, unless the provider says of the very tokens that it does not take them.
#[tokio::test]
async fn tokens_are_kept_where_the_probe_could_not_decide() {
    for (at, undecided) in UNDECIDED.into_iter().enumerate() {
        let mut world = World::new().await;
        world.spec = probed(world.spec);
        *world.server.probe_instead.lock().expect("not poisoned") = Some(undecided);
        assert_eq!(world.connect("first").await, Ok(1), "{at}");
        assert_eq!((world.account().await, world.revoked()), (None, vec![]), "{at}");
        // As soon as the provider can tell, a test finds whose they are; from then on it is held to.
        *world.server.probe_instead.lock().expect("not poisoned") = None;
        *world.server.probe.lock().expect("not poisoned") = (200, json!({"id": "ann"}));
        let trial = Trial { base_url: "https://api.example.com".to_owned(), hosts: vec![] };
        world.vault.test(&world.of, &world.spec, &trial).await.unwrap();
        assert_eq!(world.account().await.as_deref(), Some("ann"), "{at}");
        *world.server.probe.lock().expect("not poisoned") = (200, json!({"id": "bob"}));
        assert_eq!(world.connect("bob").await, Err("account-mismatch"), "{at}");
        world.vault.test(&world.of, &world.spec, &trial).await.unwrap();
        assert_eq!(world.account().await.as_deref(), Some("ann"), "{at}: a test changes no name");
    }
}

/// It may be of another account, and some providers end a whole grant with one token of it.
#[tokio::test]
async fn a_connection_that_works_is_not_ended_by_a_probe_that_could_not_decide() {
    for (at, undecided) in UNDECIDED.into_iter().enumerate() {
        let mut world = World::new().await;
        world.spec = probed(world.spec);
        *world.server.probe.lock().expect("not poisoned") = (200, json!({"id": "ann"}));
        assert_eq!(world.connect("first").await, Ok(1));
        *world.server.probe_instead.lock().expect("not poisoned") = Some(undecided);
        let session = world.session().await;
        let begun = world.begin(&session).await.unwrap();
        assert_eq!(world.complete(&begun, "second").await, Err("probe-undecided"), "{at}");
        assert_eq!(world.revoked(), Vec::<String>::new(), "{at}");
        assert_eq!(world.account().await.as_deref(), Some("ann"), "{at}");
        // The same link does it as soon as the provider can tell.
        *world.server.probe_instead.lock().expect("not poisoned") = None;
        let begun = world.begin(&session).await.unwrap();
        assert_eq!(world.complete(&begun, "third").await, Ok(2), "{at}");
        assert_eq!(world.account().await.as_deref(), Some("ann"), "{at}");
    }
}

/// Where no release can tell the account, there is nothing to wait for.
#[tokio::test]
async fn an_undecided_probe_that_would_name_nobody_holds_nothing_up() {
    let mut world = World::new().await;
    world.server.answer_besides(json!({"account": "ann@example.com"}));
    assert_eq!(world.connect("first").await, Ok(1));
    let mut spec = serde_json::to_value(&world.spec).expect("JSON");
    spec["scheme"]["account"] = Value::Null;
    spec["probe"] = json!({"path": "/me"});
    world.spec = serde_json::from_value(spec).expect("valid");
    *world.server.probe_instead.lock().expect("not poisoned") = Some(ProbeInstead::Silence);
    assert_eq!(world.connect("second").await, Ok(2));
    assert_eq!((world.account().await, world.revoked()), (None, vec![]));
}

/// Fails if what the provider could not say is told as a mistake of whoever asks, or one of theirs as the provider's.
#[tokio::test]
async fn a_test_says_whose_fault_it_is_that_nothing_was_decided() {
    let mut world = World::new().await;
    world.spec = probed(world.spec);
    *world.server.probe.lock().expect("not poisoned") = (200, json!({"id": "ann"}));
    assert_eq!(world.connect("first").await, Ok(1));
    let trial = Trial { base_url: "https://api.example.com".to_owned(), hosts: vec![] };
    let mut said = Vec::new();
    for undecided in UNDECIDED {
        *world.server.probe_instead.lock().expect("not poisoned") = Some(undecided);
        let tested = world.vault.test(&world.of, &world.spec, &trial).await;
        said.push(tested.map_or_else(
            |fault| {
                let wait = match fault.retry {
                    Retry::After(wait) => wait.as_secs(),
                    _ => 0,
                };
                (code(&fault), fault.whose().as_str(), wait)
            },
            |_| ("works", "", 0),
        ));
    }
    let undecided = |wait| ("probe-undecided", "upstream", wait);
    let failed = ("probe-failed", "tenant", 0);
    let works = ("works", "", 0);
    let (now, then) = (undecided(0), undecided(7));
    assert_eq!(said, [then, now, now, now, failed, failed, failed, works, works, works, now]);
}

/// An id of thirty digits is another than its neighbour, and what nobody can read elsewhere in the answer hides no account.
#[tokio::test]
async fn an_account_is_read_whatever_stands_beside_it() {
    let bodies: [(&[u8], &str); 6] = [
        (b"{\"id\":123456789012345678901234567890}", "123456789012345678901234567890"),
        (b"\xef\xbb\xbf{\"id\":\"ann\"}", "ann"),
        (b"{\"name\":\"J\\ud800\",\"id\":\"ann\"}", "ann"),
        (b"{\"id\":\"J\\ud800\"}", "J\u{fffd}"),
        (b"{\"name\":\"Caf\xe9\",\"rate\":1e400,\"id\":\"ann\"}", "ann"),
        (b"{\"id\":\"Caf\xe9\"}\r\n<!-- 12 ms -->", "Caf\u{fffd}"),
    ];
    for (body, account) in bodies {
        let mut world = World::new().await;
        world.spec = probed(world.spec);
        *world.server.probe_instead.lock().expect("not poisoned") =
            Some(ProbeInstead::Answer(200, ("x", "y"), body));
        assert_eq!(world.connect("first").await, Ok(1), "{account}");
        assert_eq!(world.account().await.as_deref(), Some(account));
        assert_eq!(world.connect("second").await, Ok(2), "{account}");
        let other = b"{\"id\":123456789012345678901234567891}";
        *world.server.probe_instead.lock().expect("not poisoned") =
            Some(ProbeInstead::Answer(200, ("x", "y"), other));
        assert_eq!(world.connect("third").await, Err("account-mismatch"), "{account}");
    }
}
