//! A person's consent and time: sessions that are over or used, states that come back late, twice or elsewhere, and what
//! is left behind of either; and what becomes of tokens that were issued for nothing.
//!
//! The clock stands until a test moves it, so each limit is met to the second. What happens in a browser is tested with one,
//! in `tests/it/connect.rs`.

#[path = "consent/probe.rs"]
mod probe;
#[path = "consent/scopes.rs"]
mod scopes;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyway_core::Fault;
use keyway_core::call::Failure;
use keyway_core::descriptor::SlotSpec;
use keyway_core::exchange::{HostRequest, Response, Unfinished};
use keyway_core::ids::{Actor, ConnectionRef, Installation};
use keyway_core::ports::{Clock, Outbound};
use keyway_store::Store;
use keyway_vault::consent::{
    Begun, CONSENTS_MAX, Returned, SESSION_TIME, STATE_TIME, SessionToken,
};
use keyway_vault::facts::Facts;
use keyway_vault::import::Trial;
use keyway_vault::oauth::client::{Accepted, ClientRef, ClientSetting};
use keyway_vault::{KeyRing, Keys, Parts, Sealer, Vault};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use tokio::sync::Notify;

use crate::probe::ProbeInstead;

const SECOND: Duration = Duration::SECOND;
const CALLBACK: &str = "https://keyway.example.com/connect/callback";

/// A clock that stands.
struct Hands(Mutex<OffsetDateTime>);

/// A token endpoint that takes each code once.
#[derive(Default)]
struct Server {
    codes: Mutex<Vec<String>>,
    /// What it answers besides the tokens.
    besides: Mutex<Value>,
    /// What it answers instead, letter by letter.
    instead: Mutex<Option<&'static str>>,
    /// Whether the connection breaks behind that.
    breaks: AtomicBool,
    /// What it was asked to revoke.
    revoked: Mutex<Vec<String>>,
    /// What the probe is answered, where there is one.
    probe: Mutex<(u16, Value)>,
    /// What it is answered instead: a header and a body, or nothing at all.
    probe_instead: Mutex<Option<ProbeInstead>>,
    verifier: Mutex<Option<String>>,
    /// Where it was asked, last.
    asked_at: Mutex<String>,
    /// While there is somebody who waits, exchanges do.
    gate: Mutex<Option<Arc<Notify>>>,
}

struct World {
    clock: Arc<Hands>,
    server: Arc<Server>,
    store: Store,
    vault: Vault,
    spec: SlotSpec,
    of: ConnectionRef,
    /// What is said for the variables of URLs when a session begins.
    given: Facts,
    /// What comes back besides a code.
    besides: Vec<(String, String)>,
}

// === impl Hands ===

impl Hands {
    fn advance(&self, by: Duration) {
        *self.0.lock().expect("not poisoned") += by;
    }
}

impl Clock for Hands {
    fn now(&self) -> OffsetDateTime {
        *self.0.lock().expect("not poisoned")
    }
}

#[async_trait]
impl Outbound for Server {
    async fn fetch(&self, request: HostRequest) -> Result<Response, Unfinished> {
        *self.asked_at.lock().expect("not poisoned") = request.url.clone();
        let (status, body) = match request.purpose {
            "probe" => self.probe.lock().expect("not poisoned").clone(),
            "revoke" => self.revoke(&form(&request)),
            _ => {
                let gate = self.gate.lock().expect("not poisoned").clone();
                if let Some(gate) = gate {
                    gate.notified().await;
                }
                self.exchange(&form(&request))
            }
        };
        if let Some(instead) = *self.probe_instead.lock().expect("not poisoned")
            && request.purpose == "probe"
        {
            return instead.answer().map_err(|unfinished| *unfinished);
        }
        let instead =
            self.instead.lock().expect("not poisoned").filter(|_| request.purpose == "token");
        let body = instead.map_or_else(|| body.to_string(), str::to_owned);
        let response = Response { status, headers: vec![], body: body.into() };
        if request.purpose == "token" && self.breaks.load(Ordering::SeqCst) {
            let mut failure = Failure::denied("connection-lost", "the connection ended");
            failure.request_sent = true;
            return Err(Unfinished { failure, partial: Some(response) });
        }
        Ok(response)
    }
}

// === impl Server ===

impl Server {
    fn exchange(&self, form: &HashMap<String, String>) -> (u16, Value) {
        assert_eq!(
            (form["grant_type"].as_str(), form["redirect_uri"].as_str()),
            ("authorization_code", CALLBACK)
        );
        *self.verifier.lock().expect("not poisoned") = form.get("code_verifier").cloned();
        let mut codes = self.codes.lock().expect("not poisoned");
        if codes.contains(&form["code"]) {
            return (400, json!({"error": "invalid_grant"}));
        }
        codes.push(form["code"].clone());
        let refresh = format!("refresh-of-{}", form["code"]);
        let mut answer =
            json!({"access_token": "access", "refresh_token": refresh, "expires_in": 3600});
        let besides = self.besides.lock().expect("not poisoned");
        for (name, value) in besides.as_object().into_iter().flatten() {
            answer[name] = value.clone();
        }
        (200, answer)
    }

    fn revoke(&self, form: &HashMap<String, String>) -> (u16, Value) {
        self.revoked.lock().expect("not poisoned").push(form["token"].clone());
        (200, json!({}))
    }

    fn answer_besides(&self, besides: Value) {
        *self.besides.lock().expect("not poisoned") = besides;
    }
}

fn form(request: &HostRequest) -> HashMap<String, String> {
    let body = request.body.as_ref().expect("a form").expose_secret();
    url::form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

// === impl World ===

impl World {
    async fn new() -> Self {
        let clock = Arc::new(Hands(Mutex::new(datetime!(2026-03-01 12:00 UTC))));
        let store = Store::memory(clock.clone());
        let server = Arc::new(Server::default());
        let ring = format!("current test {}", STANDARD.encode([9; 32]));
        let ring = Arc::new(KeyRing::parse(&ring).expect("valid"));
        let vault = Vault::new(Parts {
            sealer: Sealer::new(Keys::new(store.clone(), ring, clock.clone())),
            store: store.clone(),
            clock: clock.clone(),
            outbound: server.clone(),
            owner: "host".to_owned(),
            listener: None,
        });
        let spec = json!({"scheme": {
            "kind": "oauth2",
            "authorize-url": "https://login.example.com/authorize",
            "token-url": "https://login.example.com/token",
            "revoke-url": "https://login.example.com/revoke",
            "account": "/account",
        }});
        let spec = serde_json::from_value(spec).expect("valid");
        let (given, besides) = (Facts::new(), vec![]);
        let world = Self { clock, server, store, vault, spec, of: connection(), given, besides };
        world.set_client().await;
        world
    }

    async fn set_client(&self) {
        let ConnectionRef { installation, slot, .. } = self.of.clone();
        let Installation { environment, connector, .. } = installation;
        let of = ClientRef { environment, connector, slot };
        let setting = ClientSetting {
            key_id: None,
            accepted: Accepted::TEXT,
            id: "client".to_owned(),
            secret: None,
            hosts: ["login.example.com".to_owned(), "*.eu.example.com".to_owned()].into(),
        };
        self.vault.set_client(&of, setting, &actor()).await.expect("a good vault");
    }

    async fn session(&self) -> SessionToken {
        let began = self
            .vault
            .begin_session(self.of.clone(), &self.spec, (None, &self.given), &actor())
            .await;
        began.expect("there is a client").0
    }

    async fn begin(&self, session: &SessionToken) -> Result<Begun, &'static str> {
        self.vault
            .begin_consent(&session.0, &self.spec, CALLBACK, &Facts::new())
            .await
            .map_err(|fault| code(&fault))
    }

    /// The provider sends the person back with a code, and the browser shows what it was given.
    async fn complete(&self, begun: &Begun, code_given: &str) -> Result<u64, &'static str> {
        self.complete_in(begun, code_given, begun.binding.clone()).await
    }

    async fn complete_in(
        &self,
        begun: &Begun,
        code_given: &str,
        binding: SecretString,
    ) -> Result<u64, &'static str> {
        let returned = Returned {
            state: begun.state.expose_secret().to_owned(),
            code: Some(code_given.into()),
            issuer: None,
            error: None,
            besides: self.besides.clone(),
            binding: Some(binding),
        };
        let trial = Trial { base_url: "https://api.example.com".to_owned(), hosts: vec![] };
        let completed = self.vault.complete_consent(returned, &self.spec, &trial, |_| Ok(())).await;
        completed.map(|(_, info)| info.connection.generation).map_err(|fault| code(&fault))
    }

    /// What a look at a session finds.
    async fn look(&self, session: &SessionToken) -> Option<&'static str> {
        self.vault.session(&session.0).await.err().map(|fault| code(&fault))
    }

    /// How many codes have reached the provider.
    fn exchanged(&self) -> usize {
        self.server.codes.lock().expect("not poisoned").len()
    }

    /// A person connects, by a session of its own.
    async fn connect(&self, code_given: &str) -> Result<u64, &'static str> {
        let begun = self.begin(&self.session().await).await?;
        self.complete(&begun, code_given).await
    }

    fn revoked(&self) -> Vec<String> {
        self.server.revoked.lock().expect("not poisoned").clone()
    }

    async fn account(&self) -> Option<String> {
        self.vault.existing(&self.of).await.expect("connected").account
    }

    /// How many cells there are of sessions, and of states.
    async fn left(&self) -> (usize, usize) {
        let cells = async |space: &str| self.store.cells(space).await.expect("readable").len();
        (cells("vault/connect-session").await, cells("vault/connect-state").await)
    }
}

fn code(fault: &Fault) -> &'static str {
    fault.code.as_str()
}

fn actor() -> Actor {
    "ann".parse().expect("a name")
}

fn connection() -> ConnectionRef {
    ConnectionRef {
        installation: Installation {
            environment: "dev".parse().expect("a name"),
            tenant: "acme".parse().expect("a name"),
            connector: "a/b".parse().expect("a name"),
        },
        slot: "login".parse().expect("a name"),
        user: None,
    }
}

const STATE: Result<u64, &str> = Err("connect-state-invalid");
const SESSION: Result<u64, &str> = Err("connect-session-invalid");

#[tokio::test]
async fn a_state_is_good_for_ten_minutes_and_not_a_second_longer() {
    let world = World::new().await;
    let session = world.session().await;
    let late = world.begin(&session).await.unwrap();
    world.clock.advance(SECOND);
    let in_time = world.begin(&session).await.unwrap();
    world.clock.advance(STATE_TIME - SECOND);
    assert_eq!(world.complete(&late, "late").await, STATE);
    assert_eq!(world.exchanged(), 0, "a late code is not exchanged");
    assert_eq!(world.complete(&in_time, "in-time").await, Ok(1));
    assert_eq!(world.exchanged(), 1);
}

/// It is used up by being late: a clock that is set back does not bring it back.
#[tokio::test]
async fn a_state_that_came_late_does_not_come_back() {
    let world = World::new().await;
    let begun = world.begin(&world.session().await).await.unwrap();
    world.clock.advance(STATE_TIME);
    assert_eq!(world.complete(&begun, "late").await, STATE);
    world.clock.advance(-STATE_TIME);
    assert_eq!(world.complete(&begun, "again").await, STATE);
    assert_eq!(world.exchanged(), 0);
}

#[tokio::test]
async fn a_state_is_good_once_and_only_in_the_browser_that_began() {
    let world = World::new().await;
    let session = world.session().await;
    let begun = world.begin(&session).await.unwrap();
    let another = world.begin(&session).await.unwrap();
    let elsewhere = world.complete_in(&begun, "stolen", another.binding.clone()).await;
    assert_eq!(elsewhere, STATE);
    assert_eq!(world.complete(&begun, "mine").await, STATE, "it was used up");
    assert_eq!(world.exchanged(), 0);
    assert_eq!(world.complete(&another, "mine").await, Ok(1));
    assert_eq!(world.complete(&another, "mine").await, STATE);
}

#[tokio::test]
async fn a_session_is_good_for_half_an_hour_and_not_a_second_longer() {
    let world = World::new().await;
    let session = world.session().await;
    world.clock.advance(SESSION_TIME - SECOND);
    assert_eq!(world.look(&session).await, None);
    let begun = world.begin(&session).await.unwrap();
    world.clock.advance(SECOND);
    assert_eq!(world.look(&session).await, Some("connect-session-invalid"));
    assert_eq!(world.begin(&session).await.err(), Some("connect-session-invalid"));
    // A state ends with its session, however late it was begun.
    assert_eq!(world.complete(&begun, "late").await, STATE);
    let state = begun.state.expose_secret();
    let fault = world.vault.session_of(state).await.unwrap_err();
    assert_eq!(code(&fault), "connect-state-invalid", "and it is gone");
    assert_eq!(world.exchanged(), 0);
}

#[tokio::test]
async fn a_session_that_is_over_names_nobody_for_a_state_that_is_left() {
    let world = World::new().await;
    let begun = world.begin(&world.session().await).await.unwrap();
    let state = begun.state.expose_secret();
    assert_eq!(world.vault.session_of(state).await.unwrap().of, world.of);
    world.clock.advance(SESSION_TIME);
    let fault = world.vault.session_of(state).await.unwrap_err();
    assert_eq!(code(&fault), "connect-session-invalid");
}

/// One session makes one connection: not by its link, and not by a consent that was begun before.
#[tokio::test]
async fn a_used_session_is_over() {
    let world = World::new().await;
    let session = world.session().await;
    let (first, second) =
        (world.begin(&session).await.unwrap(), world.begin(&session).await.unwrap());
    assert_eq!(world.complete(&first, "first").await, Ok(1));
    assert_eq!(world.look(&session).await, Some("connect-session-invalid"));
    assert_eq!(world.begin(&session).await.err(), Some("connect-session-invalid"));
    assert_eq!(world.complete(&second, "second").await, SESSION);
    assert_eq!(world.exchanged(), 1, "the second code is not exchanged");
    assert_eq!(world.vault.existing(&world.of).await.unwrap().generation, 1);
    // Another session is another connection's beginning, in the same place.
    let again = world.begin(&world.session().await).await.unwrap();
    assert_eq!(world.complete(&again, "third").await, Ok(2));
}

/// A consent that failed at the provider has used the state, and not the session: the person may try again.
#[tokio::test]
async fn a_code_that_the_provider_refuses_leaves_the_session_good() {
    let world = World::new().await;
    let session = world.session().await;
    world.server.codes.lock().expect("not poisoned").push("spent".to_owned());
    let begun = world.begin(&session).await.unwrap();
    assert_eq!(world.complete(&begun, "spent").await, STATE);
    assert_eq!(world.look(&session).await, None);
    let begun = world.begin(&session).await.unwrap();
    assert_eq!(world.complete(&begun, "fresh").await, Ok(1));
}

/// Nobody learns by trying: a session that never was is refused in the same words as any other.
#[tokio::test]
async fn a_token_that_was_never_issued_opens_nothing() {
    let world = World::new().await;
    let guess = SessionToken("guess".into());
    assert_eq!(world.look(&guess).await, Some("connect-session-invalid"));
    assert_eq!(world.begin(&guess).await.err(), Some("connect-session-invalid"));
    let fault = world.vault.session_of(&"x".repeat(43)).await.unwrap_err();
    assert_eq!(code(&fault), "connect-state-invalid");
}

/// C30: what is written down of a consent is enough to finish it in another browser, unless it is left out.
#[tokio::test]
async fn debug_output_shows_neither_state_nor_binding() {
    let world = World::new().await;
    let begun = world.begin(&world.session().await).await.unwrap();
    let returned = Returned {
        state: begun.state.expose_secret().to_owned(),
        code: Some("canary-code".to_owned().into()),
        issuer: None,
        error: None,
        besides: vec![],
        binding: Some(begun.binding.clone()),
    };
    let said = format!("{begun:?} {returned:?}");
    for secret in [begun.state.expose_secret(), begun.binding.expose_secret(), "canary"] {
        assert!(!said.contains(secret), "{said}");
    }
}

/// Two answers to one link at the same time: the second code is not even exchanged, and the link makes one connection.
#[tokio::test]
async fn of_two_answers_at_once_one_is_taken() {
    let world = World::new().await;
    let session = world.session().await;
    let (first, second) =
        (world.begin(&session).await.unwrap(), world.begin(&session).await.unwrap());
    let gate = Arc::new(Notify::new());
    *world.server.gate.lock().expect("not poisoned") = Some(gate.clone());
    let slow = world.complete(&first, "first");
    let fast = async {
        // The first is with the provider by now, or it would not be a test: it was polled before.
        assert_eq!(world.complete(&second, "second").await, SESSION);
        assert_eq!(world.begin(&session).await.err(), Some("connect-session-invalid"));
        gate.notify_one();
    };
    let (slow, ()) = tokio::join!(slow, fast);
    assert_eq!(slow, Ok(1));
    assert_eq!((world.exchanged(), world.revoked()), (1, vec![]));
    assert_eq!(world.look(&session).await, Some("connect-session-invalid"));
}

/// A host that died in the middle of an answer leaves a session that nobody has used.
#[tokio::test]
async fn a_session_that_nobody_gives_back_is_good_again() {
    let world = World::new().await;
    let session = world.session().await;
    let begun = world.begin(&session).await.unwrap();
    *world.server.gate.lock().expect("not poisoned") = Some(Arc::default());
    let never =
        tokio::time::timeout(std::time::Duration::from_millis(50), world.complete(&begun, "lost"));
    assert!(never.await.is_err(), "nobody opens the gate");
    *world.server.gate.lock().expect("not poisoned") = None;
    assert_eq!(world.look(&session).await, Some("connect-session-invalid"));
    world.clock.advance(Duration::minutes(2));
    let begun = world.begin(&session).await.unwrap();
    assert_eq!(world.complete(&begun, "found").await, Ok(1));
}

/// One change: whoever looks between two commits must not find a connection and a link that makes another.
#[tokio::test]
async fn a_session_is_used_by_the_change_that_connects() {
    let world = World::new().await;
    let before = world.store.seq().await.unwrap();
    let session = world.session().await;
    let begun = world.begin(&session).await.unwrap();
    // A session that somebody else has written since it was taken: the connection does not land either.
    let gate = Arc::new(Notify::new());
    *world.server.gate.lock().expect("not poisoned") = Some(gate.clone());
    let meddle = async {
        let (key, cell) = world.store.cells("vault/connect-session").await.unwrap().remove(0);
        let batch = world.store.batch();
        batch
            .put_cell("vault/connect-session", &key, Some(cell.version), cell.value)
            .commit()
            .await
            .unwrap();
        gate.notify_one();
    };
    let (completed, ()) = tokio::join!(world.complete(&begun, "first"), meddle);
    assert_eq!(completed, Err("conflict"));
    assert!(world.vault.existing(&world.of).await.is_err(), "nothing was connected");
    assert_eq!(world.store.seq().await.unwrap(), before);
    assert_eq!(world.revoked(), ["refresh-of-first"]);
}

#[tokio::test]
async fn what_is_over_goes_when_others_begin() {
    let world = World::new().await;
    world.begin(&world.session().await).await.unwrap();
    assert_eq!(world.connect("used").await, Ok(1));
    assert_eq!(world.left().await, (2, 1));
    world.clock.advance(STATE_TIME);
    let late = world.session().await;
    assert_eq!(world.left().await, (3, 0), "a state lives shorter than its session");
    world.clock.advance(SESSION_TIME - STATE_TIME);
    assert_eq!(world.look(&late).await, None);
    world.session().await;
    assert_eq!(world.left().await, (2, 0));
    world.clock.advance(SESSION_TIME * 2);
    world.vault.sweep_consents().await.unwrap();
    assert_eq!(world.left().await, (0, 0));
}

#[tokio::test]
async fn a_session_begins_so_many_consents_and_no_more() {
    let world = World::new().await;
    let session = world.session().await;
    let mut begun = Vec::new();
    for _ in 0..CONSENTS_MAX {
        begun.push(world.begin(&session).await.unwrap());
    }
    let fault = world
        .vault
        .begin_consent(&session.0, &world.spec, CALLBACK, &Facts::new())
        .await
        .unwrap_err();
    assert_eq!(code(&fault), "connect-session-invalid");
    assert!(fault.detail.contains("16 attempts"), "{}", fault.detail);
    assert_eq!(world.left().await, (1, CONSENTS_MAX as usize));
    // Those that have begun may end.
    assert_eq!(world.complete(&begun[0], "one of them").await, Ok(1));
}

/// With a code, it is as good as the tokens: a copy of the store must not have it.
#[tokio::test]
async fn a_verifier_is_sealed_while_it_waits() {
    let world = World::new().await;
    let begun = world.begin(&world.session().await).await.unwrap();
    let cells = world.store.cells("vault/connect-state").await.unwrap();
    let kept = String::from_utf8(cells[0].1.value.to_vec()).expect("JSON");
    assert_eq!(world.complete(&begun, "first").await, Ok(1));
    let verifier = world.server.verifier.lock().expect("not poisoned").clone().expect("PKCE");
    let hex: String = verifier.bytes().map(|byte| format!("{byte:02x}")).collect();
    assert!(verifier.len() >= 43 && kept.contains("verifier"), "{kept}");
    assert!(!kept.contains(&verifier) && !kept.contains(&hex), "{kept}");
}

/// Where the release says how the provider names an account and the provider does not, it may be any account.
#[tokio::test]
async fn a_connection_of_an_account_is_not_made_anew_with_one_that_is_not_named() {
    let world = World::new().await;
    world.server.answer_besides(json!({"account": "ann@example.com"}));
    assert_eq!(world.connect("first").await, Ok(1));
    world.server.answer_besides(json!({}));
    assert_eq!(world.connect("second").await, Err("account-mismatch"));
    world.server.answer_besides(json!({"account": "bob@example.com"}));
    assert_eq!(world.connect("third").await, Err("account-mismatch"));
    assert_eq!(world.revoked(), ["refresh-of-second", "refresh-of-third"]);
    assert_eq!(world.account().await.as_deref(), Some("ann@example.com"));
    world.server.answer_besides(json!({"account": "ann@example.com"}));
    assert_eq!(world.connect("fourth").await, Ok(2));
}

/// Where no release can tell, a person may connect again, and the old name is not said of the new tokens.
#[tokio::test]
async fn an_account_that_nobody_has_seen_is_not_kept() {
    let mut world = World::new().await;
    world.server.answer_besides(json!({"account": "ann@example.com"}));
    assert_eq!(world.connect("first").await, Ok(1));
    world.spec = serde_json::from_value(json!({"scheme": {
        "kind": "oauth2",
        "authorize-url": "https://login.example.com/authorize",
        "token-url": "https://login.example.com/token",
    }}))
    .expect("valid");
    assert_eq!(world.connect("second").await, Ok(2));
    assert_eq!(world.account().await, None);
}

/// Whatever comes after the exchange: nobody else knows of the tokens, so nobody else would ever end them.
#[tokio::test]
async fn tokens_that_make_no_connection_are_revoked() {
    let mut world = World::new().await;
    world.server.answer_besides(json!({"account": "a".repeat(255)}));
    assert_eq!(world.connect("a name").await, Err("credential-invalid"));
    let longest = json!({"scope": "s".repeat(2_556), "account": "a".repeat(254)});
    world.server.answer_besides(longest);
    assert_eq!(world.connect("longest").await, Ok(1), "it fits its row");
    world.server.answer_besides(json!({}));
    let mut spec = serde_json::to_value(&world.spec).expect("JSON");
    spec["scheme"]["account"] = Value::Null;
    spec["probe"] = json!({"path": "/me"});
    world.spec = serde_json::from_value(spec).expect("valid");
    *world.server.probe.lock().expect("not poisoned") = (401, json!({}));
    assert_eq!(world.connect("probed").await, Err("probe-failed"));
    assert_eq!(world.revoked(), ["refresh-of-a name", "refresh-of-probed"]);
    // The session of a consent that came to nothing is still good.
    let session = world.session().await;
    let begun = world.begin(&session).await.unwrap();
    assert_eq!(world.complete(&begun, "again").await, Err("probe-failed"));
    assert_eq!(world.look(&session).await, None);
    *world.server.probe.lock().expect("not poisoned") = (200, json!({}));
    let begun = world.begin(&session).await.unwrap();
    assert_eq!(world.complete(&begun, "works").await, Ok(2));
}

/// Also of an answer that cannot be read to its end: what can be read of it is good at the provider.
#[tokio::test]
async fn tokens_of_an_answer_that_broke_off_are_revoked() {
    let world = World::new().await;
    for (code_given, answer, revoked) in [
        ("one", r#"{"access_token":"a-1","refresh_token":"r-1","expires_in":36"#, "r-1"),
        ("two", r#"{"access_token":"a-2","refresh_token":"r-"#, "a-2"),
        ("three", r#"{"refresh_token":"r-3","token_type":"bearer"}"#, "r-3"),
    ] {
        *world.server.instead.lock().expect("not poisoned") = Some(answer);
        assert_eq!(world.connect(code_given).await, Err("token-endpoint-failed"), "{answer}");
        assert_eq!(world.revoked().pop().as_deref(), Some(revoked), "{answer}");
    }
    assert_eq!(world.revoked().len(), 3);
    // An end that nobody can read is no reason to throw tokens away.
    let odd = r#"{"access_token":"a-4","refresh_token":"r-4","expires_in":1e400}"#;
    *world.server.instead.lock().expect("not poisoned") = Some(odd);
    assert_eq!(world.connect("four").await, Ok(1));
    assert_eq!(world.revoked().len(), 3);
}

/// A server that goes away in the middle of its yes: what it had issued by then is ended.
#[tokio::test]
async fn a_yes_that_broke_off_on_its_way_leaves_no_tokens_behind() {
    let world = World::new().await;
    world.server.breaks.store(true, Ordering::SeqCst);
    for (answer, revoked) in [
        (r#"{"access_token":"a-1","token_type":"be"#, Some("a-1")),
        (r#"{"access_token":"a-2","refresh_token":"r-2""#, Some("r-2")),
        (r#"{"access_token":"a-3","refresh_token":"r-3","expires_in":3600}"#, Some("r-3")),
        ("access_token=a-4&expires_i", Some("a-4")),
        ("access_token=a-5&refresh_token=r-5&expires_in=36", Some("r-5")),
        // It may be whole, and revoking what is none hurts nobody.
        ("access_token=a-6", Some("a-6")),
        (r#"{"access_token":"a-"#, None),
        ("", None),
    ] {
        let before = world.revoked().len();
        *world.server.instead.lock().expect("not poisoned") = Some(answer);
        assert_eq!(world.connect(answer).await, Err("token-endpoint-failed"), "{answer}");
        let ended = world.revoked()[before..].to_vec();
        assert_eq!(ended.iter().map(String::as_str).collect::<Vec<_>>(), Vec::from_iter(revoked));
    }
}

/// C44: the answer names the place that every request's token would go to.
#[tokio::test]
async fn a_base_url_outside_the_release_s_domains_is_refused_and_its_tokens_are_revoked() {
    let mut world = World::new().await;
    let mut spec = serde_json::to_value(&world.spec).expect("JSON");
    spec["scheme"]["base-url"] = json!("/instance_url");
    spec["scheme"]["base-url-suffixes"] = json!(["my.example.com"]);
    world.spec = serde_json::from_value(spec).expect("valid");
    for (code_given, base_url) in [
        ("elsewhere", "https://evil.example.net"),
        ("look-alike", "https://evilmy.example.com"),
        ("in the user's place", "https://eu.my.example.com@evil.example.net"),
    ] {
        world.server.answer_besides(json!({"instance_url": base_url}));
        assert_eq!(world.connect(code_given).await, Err("base-url-refused"), "{base_url}");
        let revoked = world.revoked().pop();
        assert_eq!(revoked, Some(format!("refresh-of-{code_given}")), "{base_url}");
        assert!(world.vault.existing(&world.of).await.is_err(), "nothing was connected");
    }
    world.server.answer_besides(json!({"instance_url": "https://eu.my.example.com"}));
    assert_eq!(world.connect("below").await, Ok(1));
    let connection = world.vault.existing(&world.of).await.unwrap();
    assert_eq!(connection.base_url.as_deref(), Some("https://eu.my.example.com"));
    assert_eq!(world.revoked().len(), 3);
}

/// A provider with an address for each customer, which is the person's own to say.
fn of_customers() -> SlotSpec {
    let spec = json!({"scheme": {
        "kind": "oauth2",
        "authorize-url": "https://{sub}.eu.example.com/authorize",
        "token-url": "https://{sub}.eu.example.com/token",
        "revoke-url": "https://{sub}.eu.example.com/revoke",
        "variables": {"sub": {"summary": "Your subdomain"}},
        "base-url": "https://{sub}.eu.example.com/api",
        "callback-facts": ["realmId"],
    }});
    serde_json::from_value(spec).expect("valid")
}

#[tokio::test]
async fn a_customer_s_own_address_is_filled_in_and_kept() {
    let mut world = World::new().await;
    world.spec = of_customers();
    let session = world.session().await;
    // Nobody has said which.
    assert_eq!(world.begin(&session).await.err(), Some("invalid-request"));
    for value in ["evil.example.net/", "a@evil.example.net", "a_b", ""] {
        let given = [("sub".to_owned(), value.to_owned())].into();
        let began = world.vault.begin_consent(&session.0, &world.spec, CALLBACK, &given).await;
        let fault = began.unwrap_err();
        assert!(
            ["invalid-request", "credential-invalid"].contains(&code(&fault)),
            "{value}: {fault}"
        );
    }
    let given = [("sub".to_owned(), "acme".to_owned())].into();
    let begun = world.vault.begin_consent(&session.0, &world.spec, CALLBACK, &given).await.unwrap();
    assert_eq!(begun.authorize_url.host_str(), Some("acme.eu.example.com"));
    world.besides =
        vec![("realmId".to_owned(), "4711".to_owned()), ("x".to_owned(), "y".to_owned())];
    assert_eq!(world.complete(&begun, "first").await, Ok(1));
    let asked_at = || world.server.asked_at.lock().expect("not poisoned").clone();
    assert_eq!(asked_at(), "https://acme.eu.example.com/token");
    let connection = world.vault.existing(&world.of).await.unwrap();
    assert_eq!(connection.base_url.as_deref(), Some("https://acme.eu.example.com/api"));
    let facts: Vec<_> = connection.facts.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(facts, [("realmId", "4711"), ("sub", "acme")]);
    // Again: it is known by now. Revoked at the same place.
    assert_eq!(world.connect("second").await, Ok(2));
    assert_eq!(asked_at(), "https://acme.eu.example.com/token");
    assert!(world.vault.remove(&world.of, Some(&world.spec), &actor()).await.unwrap());
    assert_eq!(asked_at(), "https://acme.eu.example.com/revoke");
}

/// The client goes below the domain that was confirmed, and to no other.
#[tokio::test]
async fn a_release_with_customers_elsewhere_gets_no_secret() {
    let mut world = World::new().await;
    let mut spec = serde_json::to_value(of_customers()).expect("JSON");
    spec["scheme"]["token-url"] = json!("https://{sub}.evil.example.net/token");
    world.spec = serde_json::from_value(spec).expect("valid");
    world.given = [("sub".to_owned(), "acme".to_owned())].into();
    let began = world
        .vault
        .begin_session(world.of.clone(), &world.spec, (None, &world.given), &actor())
        .await;
    assert_eq!(code(&began.unwrap_err()), "oauth-client-unconfirmed");
    // A name that the slot does not have.
    world.spec = of_customers();
    world.given = [("tenant".to_owned(), "acme".to_owned())].into();
    let began = world
        .vault
        .begin_session(world.of.clone(), &world.spec, (None, &world.given), &actor())
        .await;
    let fault = began.unwrap_err();
    assert!(fault.detail.contains("`sub`"), "it says what there is: {}", fault.detail);
}

/// What a callback has twice, or at any length, is nothing to keep.
#[tokio::test]
async fn a_fact_that_cannot_be_kept_makes_no_connection() {
    let mut world = World::new().await;
    world.spec = of_customers();
    world.given = [("sub".to_owned(), "acme".to_owned())].into();
    let fact = |value: &str| ("realmId".to_owned(), value.to_owned());
    for besides in [vec![fact("1"), fact("2")], vec![fact(&"x".repeat(257))], vec![fact("")]] {
        world.besides = besides;
        assert_eq!(world.connect("odd").await, STATE);
    }
    assert_eq!(world.exchanged(), 0);
}

/// What the provider said is known to whoever is asked, and is not the person's fault where it is the operator's.
#[tokio::test]
async fn a_refused_consent_says_why_and_to_whom_it_matters() {
    let world = World::new().await;
    for (error, expected) in [
        ("access_denied", "consent-refused"),
        ("invalid_scope", "oauth-client-refused"),
        ("temporarily_unavailable", "token-endpoint-failed"),
    ] {
        let begun = world.begin(&world.session().await).await.unwrap();
        let returned = Returned {
            state: begun.state.expose_secret().to_owned(),
            code: None,
            issuer: None,
            error: Some(error.to_owned()),
            besides: vec![],
            binding: Some(begun.binding.clone()),
        };
        let trial = Trial { base_url: "https://api.example.com".to_owned(), hosts: vec![] };
        let completed = world.vault.complete_consent(returned, &world.spec, &trial, |_| Ok(()));
        let fault = completed.await.unwrap_err();
        assert_eq!((code(&fault), fault.provider_code.as_deref()), (expected, Some(error)));
        let audit = world.store.audit(0, 100).await.unwrap();
        let entry = &audit.last().expect("an entry").entry;
        assert_eq!(entry.action, "connection.refused");
        assert_eq!(entry.after.as_deref(), Some(&*format!("{expected}: {error}")));
    }
}
