//! Connections that nobody has to consent to: a first token, and the next ones, of a server that counts what it is asked.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use keyway_core::descriptor::SlotSpec;
use keyway_core::exchange::{HostRequest, Response, Unfinished};
use keyway_core::ids::ConnectionRef;
use keyway_core::ports::{Credentials as _, Outbound};
use keyway_core::{Code, Fault};
use keyway_vault::Vault;
use keyway_vault::connections::Switch;
use keyway_vault::import::Trial;
use keyway_vault::oauth::client::{Accepted, ClientRef, ClientSetting};
use keyway_vault::oauth::obtain::{Given, Obtain};
use keyway_vault::standing::Info;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::seen::Log;
use crate::world::{HOUR, Wall, actor, call, connection, expire, vault_with};

type Form = BTreeMap<String, String>;

/// Issues `access-1`, `access-2`, … for an hour each; probes find the account that it is told.
#[derive(Default)]
struct Server {
    asked: Mutex<Vec<Form>>,
    revoked: Mutex<Vec<String>>,
    /// Instead of a token.
    answer: Mutex<Option<(u16, &'static str)>>,
    /// Over the usual members of an answer.
    members: Mutex<Value>,
    /// Of the probe: none means that the token does not work.
    account: Mutex<Option<&'static str>>,
    /// Whether it cannot tell.
    unwell: AtomicBool,
    takes: Mutex<Duration>,
}

#[async_trait]
impl Outbound for Server {
    async fn fetch(&self, request: HostRequest) -> Result<Response, Unfinished> {
        let answer =
            |status: u16, body: String| Response { status, headers: vec![], body: body.into() };
        if request.purpose == "probe" && self.unwell.load(Ordering::SeqCst) {
            return Ok(answer(503, String::new()));
        }
        if request.purpose == "probe" {
            return Ok(match *self.account.lock().unwrap() {
                Some(account) => answer(200, json!({"id": account}).to_string()),
                None => answer(401, String::new()),
            });
        }
        let body = request.body.expect("a form");
        let form: Form =
            url::form_urlencoded::parse(body.expose_secret().as_bytes()).into_owned().collect();
        if request.purpose == "revoke" {
            self.revoked.lock().unwrap().push(form["token"].clone());
            return Ok(answer(200, String::new()));
        }
        let takes = *self.takes.lock().unwrap();
        sleep(takes).await;
        self.asked.lock().unwrap().push(form);
        if let Some((status, body)) = *self.answer.lock().unwrap() {
            return Ok(answer(status, body.to_owned()));
        }
        let number = self.asked.lock().unwrap().len();
        let mut fields = json!({"access_token": format!("access-{number}"), "expires_in": 3600});
        if let Value::Object(members) = &*self.members.lock().unwrap() {
            fields.as_object_mut().unwrap().extend(members.clone());
        }
        Ok(answer(200, fields.to_string()))
    }
}

struct World {
    server: Arc<Server>,
    vault: Vault,
    spec: SlotSpec,
}

impl World {
    async fn new(facts: Value) -> Self {
        let server = Arc::new(Server { account: Mutex::new(Some("a1")), ..Server::default() });
        let vault = vault_with(&Arc::new(Wall::new()), server.clone());
        let mut scheme = json!({"kind": "oauth2", "token-url": "https://login.example.com/token",
            "revoke-url": "https://login.example.com/revoke"});
        scheme.as_object_mut().unwrap().extend(facts.as_object().unwrap().clone());
        let spec = json!({"scheme": scheme, "scopes": ["read", "write"],
            "probe": {"path": "/me", "account": "/id"}});
        let spec = serde_json::from_value(spec).unwrap();
        let setting = ClientSetting {
            key_id: None,
            accepted: Accepted::TEXT,
            id: "client".to_owned(),
            secret: Some("secret".into()),
            hosts: ["login.example.com".to_owned()].into(),
        };
        let client = ClientRef::of(&connection(None));
        vault.set_client(&client, setting, &actor()).await.unwrap();
        Self { server, vault, spec }
    }

    async fn machine() -> Self {
        Self::new(json!({"grant": "client-credentials"})).await
    }

    /// A slot whose tokens are exchanged; users are named.
    async fn exchange() -> Self {
        Self::new(json!({"grant": "token-exchange", "user-param": "requested_subject"})).await
    }

    async fn obtain(&self, user: Option<&str>, subject: Option<&str>) -> Result<Info, Fault> {
        let wanted = Obtain {
            of: connection(user),
            subject: subject.map(Into::into),
            base_url: None,
            facts: <_>::default(),
            client: None,
        };
        let trial = Trial { base_url: "https://api.example.com".to_owned(), hosts: vec![] };
        self.vault.obtain(wanted, &self.spec, &trial, |_| Ok(()), &actor()).await
    }

    async fn refused(&self, user: Option<&str>, subject: Option<&str>) -> Code {
        self.obtain(user, subject).await.unwrap_err().code
    }

    async fn call(&self, of: &ConnectionRef) -> Result<String, &'static str> {
        let called = call(&self.vault, of, &self.spec).await;
        called.map_err(|fault| fault.code.as_str())
    }

    fn asked(&self) -> Vec<Form> {
        self.server.asked.lock().unwrap().clone()
    }

    fn last(&self, name: &str) -> Option<String> {
        self.asked().last().unwrap().get(name).cloned()
    }

    async fn connected(&self) -> usize {
        self.vault.connections(&connection(None).installation).await.unwrap().len()
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_s_own_token_is_asked_for_and_asked_for_again() {
    let world = World::machine().await;
    let own = connection(None);
    let info = world.obtain(None, None).await.unwrap();
    assert_eq!(info.connection.scopes.unwrap(), ["read", "write"]);
    assert_eq!(info.connection.account.as_deref(), Some("a1"));
    assert!(info.state.unwrap().refreshable);
    assert_eq!(world.call(&own).await.unwrap(), "access-1");
    for round in 2..5 {
        expire().await;
        assert_eq!(world.call(&own).await.unwrap(), format!("access-{round}"));
        assert_eq!(world.last("grant_type").unwrap(), "client_credentials");
    }
    assert_eq!(world.asked().len(), 4);
}

/// The rule of a refresh holds: one request, however many callers find the token over.
#[tokio::test(start_paused = true)]
async fn many_callers_wait_for_one_request() {
    let world = World::machine().await;
    let own = connection(None);
    world.obtain(None, None).await.unwrap();
    *world.server.takes.lock().unwrap() = Duration::from_secs(15);
    expire().await;
    let calls = futures_util::future::join_all((0..100).map(|_| world.call(&own))).await;
    assert!(calls.iter().all(|call| call.as_deref() == Ok("access-2")), "{calls:?}");
    assert_eq!(world.asked().len(), 2);
    // And of two operators at once, one.
    let (one, other) = tokio::join!(world.obtain(None, None), world.obtain(None, None));
    let refused = one.err().or(other.err()).expect("the second is refused");
    assert_eq!((refused.code, world.asked().len()), (Code::Conflict, 3));
}

/// Nothing was presented that could be spent, so a lost answer is asked for again; an outage is waited out.
#[tokio::test(start_paused = true)]
async fn trouble_at_the_server_is_waited_out() {
    let world = World::machine().await;
    let own = connection(None);
    world.obtain(None, None).await.unwrap();
    expire().await;
    for (status, body, code) in [
        (503, "", "token-endpoint-failed"),
        (200, "<html>", "token-endpoint-failed"),
        (400, r#"{"error":"invalid_grant"}"#, "oauth-client-refused"),
    ] {
        *world.server.answer.lock().unwrap() = Some((status, body));
        assert_eq!(world.call(&own).await, Err(code), "{status} {body}");
        let info = world.vault.existing(&own).await.unwrap();
        let state = world.vault.info(info).await.unwrap().state.unwrap();
        assert_eq!(state.phase.as_str(), "ready", "{status} {body}");
        sleep(HOUR / 2).await;
    }
    *world.server.answer.lock().unwrap() = None;
    assert!(world.call(&own).await.unwrap().starts_with("access-"));
}

#[tokio::test(start_paused = true)]
async fn a_subject_token_is_kept_and_exchanged_again() {
    let world = World::exchange().await;
    let ann = connection(Some("ann"));
    world.obtain(Some("ann"), Some("word-of-ann")).await.unwrap();
    assert_eq!(world.last("subject_token").unwrap(), "word-of-ann");
    assert_eq!(world.call(&ann).await.unwrap(), "access-1");
    expire().await;
    assert_eq!(world.call(&ann).await.unwrap(), "access-2");
    assert_eq!(world.last("subject_token").unwrap(), "word-of-ann");
    assert_eq!(world.last("scope").unwrap(), "read write");
    // RFC 8693 section 2.2.2: a subject token that is over.
    *world.server.answer.lock().unwrap() = Some((400, r#"{"error":"invalid_request"}"#));
    expire().await;
    assert_eq!(world.call(&ann).await, Err("needs-reauth"));
    let asked = world.asked().len();
    assert_eq!(world.call(&ann).await, Err("needs-reauth"));
    assert_eq!(world.asked().len(), asked, "it is not presented again");
    *world.server.answer.lock().unwrap() = None;
    world.obtain(Some("ann"), Some("newer-word-of-ann")).await.unwrap();
    assert_eq!(world.call(&ann).await.unwrap(), format!("access-{}", asked + 1));
}

/// The tenant's own token is the subject, and the request names the user.
#[tokio::test(start_paused = true)]
async fn a_user_s_token_is_had_with_the_tenant_s_own() {
    let world = World::exchange().await;
    let (own, ann) = (connection(None), connection(Some("ann")));
    assert_eq!(world.refused(Some("ann"), None).await, Code::UnknownConnection);
    world.obtain(None, Some("word-of-acme")).await.unwrap();
    assert_eq!(world.last("requested_subject"), None, "the tenant's own is nobody's in particular");
    world.obtain(Some("ann"), None).await.unwrap();
    let sent = (world.last("subject_token").unwrap(), world.last("requested_subject").unwrap());
    assert_eq!(sent, ("access-1".to_owned(), "ann".to_owned()));
    assert_eq!(world.call(&ann).await.unwrap(), "access-2");
    // Both are over: the tenant's own is had first, and then exchanged.
    expire().await;
    assert_eq!(world.call(&ann).await.unwrap(), "access-4");
    let asked = world.asked();
    let subjects: Vec<_> = asked[2..].iter().map(|form| form["subject_token"].as_str()).collect();
    assert_eq!(subjects, ["word-of-acme", "access-3"]);
    assert_eq!(world.call(&own).await.unwrap(), "access-3");
    // Without the tenant's own there is no next one.
    world.vault.remove(&own, None, &actor()).await.unwrap();
    expire().await;
    assert_eq!(world.call(&ann).await, Err("unknown-connection"));
}

/// Fails if a user is given what is the tenant's.
#[tokio::test(start_paused = true)]
async fn where_the_user_cannot_be_named_nothing_is_asked_for() {
    for grant in ["client-credentials", "token-exchange"] {
        let mut world = World::new(json!({"grant": grant, "user-param": "for"})).await;
        let subject = (grant == "token-exchange").then_some("word-of-acme");
        world.obtain(None, subject).await.unwrap();
        world.obtain(Some("ann"), None).await.unwrap();
        assert_eq!(world.last("for").unwrap(), "ann");
        // Another release, which does not say how.
        let mut spec = serde_json::to_value(&world.spec).unwrap();
        spec["scheme"].as_object_mut().unwrap().remove("user-param").unwrap();
        world.spec = serde_json::from_value(spec).unwrap();
        expire().await;
        let asked = world.asked().len();
        assert_eq!(
            world.call(&connection(Some("ann"))).await,
            Err("credential-invalid"),
            "{grant}"
        );
        assert_eq!(world.refused(Some("bob"), None).await, Code::CredentialInvalid, "{grant}");
        assert_eq!(world.asked().len(), asked, "{grant}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_the_grant_is_refused_and_nothing_is_sent() {
    let (machine, exchange) = (World::machine().await, World::exchange().await);
    let consent = json!({"authorize-url": "https://login.example.com/authorize"});
    let person = World::new(consent).await;
    let bare = World {
        spec: serde_json::from_value(json!({"scheme": {"kind": "bearer"}})).unwrap(),
        ..World::machine().await
    };
    for (world, subject) in [
        (&machine, Some("word-of-acme")),
        (&exchange, None),
        (&exchange, Some("a\nb-and-more")),
        (&exchange, Some("abc")),
        (&person, None),
        (&person, Some("word-of-acme")),
        (&bare, None),
    ] {
        assert_eq!(world.refused(None, subject).await, Code::CredentialInvalid, "{subject:?}");
        assert_eq!((world.asked().len(), world.connected().await), (0, 0));
    }
}

/// Fails if a token that was issued and is not used is left to live, or changes what was there.
#[tokio::test(start_paused = true)]
async fn what_is_issued_and_not_taken_is_revoked() {
    let world = World::machine().await;
    let own = connection(None);
    *world.server.account.lock().unwrap() = None;
    assert_eq!(world.refused(None, None).await, Code::ProbeFailed);
    assert_eq!(world.connected().await, 0);
    *world.server.account.lock().unwrap() = Some("a1");
    world.obtain(None, None).await.unwrap();
    *world.server.account.lock().unwrap() = Some("b2");
    assert_eq!(world.refused(None, None).await, Code::AccountMismatch);
    assert_eq!(*world.server.revoked.lock().unwrap(), ["access-1", "access-3"]);
    assert_eq!(world.call(&own).await.unwrap(), "access-2", "what was there goes on");
    *world.server.answer.lock().unwrap() = Some((401, r#"{"error":"invalid_client"}"#));
    assert_eq!(world.refused(None, None).await, Code::OauthClientRefused);
    *world.server.answer.lock().unwrap() = Some((500, ""));
    assert_eq!(world.refused(None, None).await, Code::TokenEndpointFailed);
}

/// Fails if a provider that cannot tell whose a token is costs what it has issued, or a connection that works.
#[tokio::test(start_paused = true)]
async fn what_is_issued_while_the_probe_cannot_tell_is_kept() {
    let world = World::machine().await;
    let own = connection(None);
    world.server.unwell.store(true, Ordering::SeqCst);
    let info = world.obtain(None, None).await.unwrap();
    assert_eq!(info.connection.account, None);
    assert_eq!(world.call(&own).await.unwrap(), "access-1");
    world.server.unwell.store(false, Ordering::SeqCst);
    assert_eq!(world.obtain(None, None).await.unwrap().connection.account.as_deref(), Some("a1"));
    world.server.unwell.store(true, Ordering::SeqCst);
    assert_eq!(world.refused(None, None).await, Code::ProbeUndecided);
    assert_eq!(world.call(&own).await.unwrap(), "access-2", "what was there goes on");
    assert_eq!(*world.server.revoked.lock().unwrap(), [""; 0]);
}

/// Fails if a release alone can say where the client's secret and the tokens go.
#[tokio::test(start_paused = true)]
async fn another_host_is_refused_until_the_client_is_set_for_it() {
    let mut world = World::machine().await;
    let own = connection(None);
    world.obtain(None, None).await.unwrap();
    let mut spec = serde_json::to_value(&world.spec).unwrap();
    spec["scheme"]["token-url"] = "https://login.evil.example/token".into();
    world.spec = serde_json::from_value(spec).unwrap();
    assert_eq!(world.call(&own).await.unwrap(), "access-1", "what is at hand is used to its end");
    expire().await;
    assert_eq!(world.call(&own).await, Err("oauth-client-unconfirmed"));
    assert_eq!(world.refused(None, None).await, Code::OauthClientUnconfirmed);
    for forced in [false, true] {
        let fault = world.vault.refresh(&own, &world.spec, forced).await.unwrap_err();
        assert_eq!(fault.code, Code::OauthClientUnconfirmed);
    }
    assert_eq!(world.asked().len(), 1, "nothing was sent there");
    let hosts = ["login.evil.example", "login.example.com"].map(str::to_owned).into();
    let setting = ClientSetting {
        key_id: None,
        accepted: Accepted::TEXT,
        id: "client".to_owned(),
        secret: Some("secret".into()),
        hosts,
    };
    world.vault.set_client(&ClientRef::of(&own), setting, &actor()).await.unwrap();
    assert_eq!(world.call(&own).await.unwrap(), "access-2");
}

/// Fails if a provider can name any place for the token to be sent to.
#[tokio::test(start_paused = true)]
async fn a_base_url_that_a_provider_names_lies_below_its_domains() {
    let facts = json!({"grant": "client-credentials", "base-url": "/instance_url",
        "base-url-suffixes": ["my.example.com"]});
    let world = World::new(facts).await;
    let own = connection(None);
    *world.server.members.lock().unwrap() = json!({"instance_url": "https://evil.example.net"});
    assert_eq!(world.refused(None, None).await, Code::BaseUrlRefused);
    assert_eq!(*world.server.revoked.lock().unwrap(), ["access-1"]);
    *world.server.members.lock().unwrap() = json!({"instance_url": "https://eu.my.example.com"});
    let info = world.obtain(None, None).await.unwrap();
    assert_eq!(info.connection.base_url.as_deref(), Some("https://eu.my.example.com"));
    let held = world.vault.credential(&own, &world.spec).await.unwrap().unwrap();
    assert_eq!(held.base_url.as_deref(), Some("https://eu.my.example.com"));
}

/// A machine's world whose server names the account's place and name.
async fn placed(base_url: &str) -> World {
    let facts = json!({"grant": "client-credentials", "base-url": "/instance_url",
        "base-url-suffixes": ["my.example.com"], "account": "/account"});
    let world = World::new(facts).await;
    *world.server.members.lock().unwrap() = json!({"instance_url": base_url, "account": "a1"});
    world.obtain(None, None).await.unwrap();
    world
}

/// Fails if an account that has moved, or is another, goes on without a word; or if a refresh moves a token by itself.
#[tokio::test(start_paused = true)]
async fn what_a_refresh_says_of_the_account_is_compared_and_said() {
    let log = Log::new();
    let world = placed("https://eu.my.example.com").await;
    let own = connection(None);
    let events = [
        "connection.base-url-changed",
        "connection.base-url-refused",
        "connection.account-changed",
    ];
    for (members, said) in [
        (json!({"instance_url": "https://eu.my.example.com/", "account": "a1"}), [0, 0, 0]),
        (json!({}), [0, 0, 0]),
        (json!({"instance_url": "https://us.my.example.com"}), [1, 0, 0]),
        (json!({"instance_url": "https://evil.example.net"}), [1, 1, 0]),
        (json!({"account": "b2"}), [1, 1, 1]),
    ] {
        *world.server.members.lock().unwrap() = members;
        expire().await;
        world.call(&own).await.unwrap();
        assert_eq!(events.map(|event| log.count(event)), said);
        let kept = world.vault.existing(&own).await.unwrap();
        assert_eq!(kept.base_url.as_deref(), Some("https://eu.my.example.com"));
        assert_eq!(kept.account.as_deref(), Some("a1"));
    }
}

/// Fails if somebody is told that the tenant's connection is idle, and its token is with the provider.
#[tokio::test(start_paused = true)]
async fn a_pause_waits_for_the_exchange_that_the_tenant_s_token_is_lent_to() {
    let world = World::exchange().await;
    let (own, ann) = (connection(None), connection(Some("ann")));
    world.obtain(None, Some("word-of-acme")).await.unwrap();
    world.obtain(Some("ann"), None).await.unwrap();
    let pause =
        async |seconds| world.vault.pause(&own, Duration::from_secs(seconds), &actor()).await;
    let resume = async || world.vault.switch(&own, Switch::Paused, false, &actor()).await.unwrap();
    expire().await;
    world.call(&own).await.unwrap();
    *world.server.takes.lock().unwrap() = Duration::from_secs(15);
    for first in [false, true] {
        let exchange = async {
            match first {
                false => world.call(&ann).await.map(drop).unwrap(),
                true => world.obtain(Some("bob"), None).await.map(drop).unwrap(),
            }
        };
        let drain = async {
            sleep(Duration::from_secs(1)).await;
            assert_eq!(pause(1).await.unwrap_err().code, Code::ConnectionPaused, "{first}");
            pause(60).await.unwrap();
        };
        tokio::join!(exchange, drain);
        assert_eq!(world.last("subject_token").unwrap(), "access-3");
        resume().await;
    }
}

impl World {
    async fn obtain_with(&self, client: Option<(&str, &str)>) -> Result<Info, Fault> {
        let wanted = Obtain {
            of: connection(None),
            subject: None,
            base_url: None,
            facts: [("username".to_owned(), "ann@example.com".to_owned())]
                .into_iter()
                .filter(|_| {
                    self.spec.scheme.oauth().is_some_and(|oauth| !oauth.variables.is_empty())
                })
                .collect(),
            client: client.map(|(id, secret)| Given {
                id: id.to_owned(),
                secret: secret.into(),
                key_id: None,
            }),
        };
        let trial = Trial { base_url: "https://api.example.com".to_owned(), hosts: vec![] };
        self.vault.obtain(wanted, &self.spec, &trial, |_| Ok(()), &actor()).await
    }
}

/// Two tenants of a provider where each makes a client of its own: its requests are made with it, also the later ones, and a
/// client that is refused is that tenant's matter alone.
#[tokio::test(start_paused = true)]
async fn a_client_of_the_connection_s_own_is_kept_and_used() {
    let facts = json!({"grant": "client-credentials", "client-auth": "post"});
    let world = World::new(facts).await;
    world.obtain_with(Some(("tenant's", "its-secret"))).await.unwrap();
    expire().await;
    call(&world.vault, &connection(None), &world.spec).await.unwrap();
    let asked = world.server.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 2);
    for form in &asked {
        assert_eq!((&*form["client_id"], &*form["client_secret"]), ("tenant's", "its-secret"));
    }
    *world.server.answer.lock().unwrap() = Some((401, r#"{"error":"invalid_client"}"#));
    expire().await;
    let fault = call(&world.vault, &connection(None), &world.spec).await.unwrap_err();
    assert_eq!(fault.code, Code::NeedsReauth);
    // The operator's own is as good as before.
    *world.server.answer.lock().unwrap() = None;
    world.obtain(None, None).await.unwrap();
    let last = world.server.asked.lock().unwrap().last().cloned().unwrap();
    assert_eq!(last["client_id"], "client");
    // It goes where it was given for, and nowhere else.
    world.obtain_with(Some(("tenant's", "its-secret"))).await.unwrap();
    let mut spec = serde_json::to_value(&world.spec).unwrap();
    spec["scheme"]["token-url"] = json!("https://evil.example.net/token");
    let elsewhere = serde_json::from_value(spec).unwrap();
    expire().await;
    let fault = call(&world.vault, &connection(None), &elsewhere).await.unwrap_err();
    assert_eq!(fault.code, Code::OauthClientUnconfirmed);
}

/// Made for these tests: it opens nothing.
pub(crate) const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgsGUO+vqQ3gkDwmUg\n\
    WPmRfEqEmOEg9GtouC29v264VtOhRANCAAQuEre7rd1uh93LZDlt3nLKNUbBJ5gh\n\
    Tqi4/mw63XYaX+Q/iUJb1BIw5JwsblrGwAIgqIFeSCIIp8bvp8IHoEND\n\
    -----END PRIVATE KEY-----\n";

/// A service's key: each token is asked for with a new assertion, and the key itself is in no request.
#[tokio::test(start_paused = true)]
async fn a_key_signs_for_each_token_and_goes_nowhere() {
    let world = World::new(json!({
        "grant": "jwt-bearer",
        "variables": {"username": {"text": true, "summary": "The user at the provider"}},
        "assertion": {"algorithm": "ES256", "subject": "{username}", "scope-claim": true},
    }))
    .await;
    for (client, why) in [(None, "cannot sign"), (Some(("svc", "no key")), "PEM")] {
        let fault = world.obtain_with(client).await.unwrap_err();
        assert!(fault.code == Code::CredentialInvalid && fault.detail.contains(why), "{fault}");
    }
    world.obtain_with(Some(("svc", KEY))).await.unwrap();
    expire().await;
    call(&world.vault, &connection(None), &world.spec).await.unwrap();
    let asked = world.server.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 2);
    for form in &asked {
        assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
        let names: Vec<_> = form.keys().map(String::as_str).collect();
        assert_eq!(names, ["assertion", "grant_type"], "no client, and no key");
        let claims = form["assertion"].split('.').nth(1).unwrap();
        let claims =
            base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims);
        let claims: Value = serde_json::from_slice(&claims.unwrap()).unwrap();
        let said =
            ["iss", "sub", "aud", "scope"].map(|name| claims[name].as_str().unwrap().to_owned());
        let expected = ["svc", "ann@example.com", "https://login.example.com/token", "read write"];
        assert_eq!(said, expected);
    }
    assert_ne!(asked[0]["assertion"], asked[1]["assertion"], "one for each request");
    *world.server.answer.lock().unwrap() = Some((400, r#"{"error":"invalid_grant"}"#));
    expire().await;
    let fault = call(&world.vault, &connection(None), &world.spec).await.unwrap_err();
    assert_eq!(fault.code, Code::NeedsReauth);
}

/// The operator's key for all of them: no connection has one of its own, and a user without a name in it gets no token.
#[tokio::test(start_paused = true)]
async fn the_operator_s_key_signs_for_connections_without_one() {
    for (subject, named) in [("{user}", true), ("somebody", false)] {
        let world = World::new(json!({
            "grant": "jwt-bearer",
            "assertion": {"algorithm": "ES256", "subject": subject, "key-id": true},
        }))
        .await;
        let Some(oauth) = world.spec.scheme.oauth() else { panic!("it is one") };
        let setting = |key_id: Option<&str>| ClientSetting {
            id: "app".to_owned(),
            secret: Some(KEY.into()),
            key_id: key_id.map(str::to_owned),
            accepted: Accepted::of(oauth),
            hosts: ["login.example.com".to_owned()].into(),
        };
        let of = ClientRef::of(&connection(None));
        let nameless = world.vault.set_client(&of, setting(None), &actor()).await.unwrap_err();
        assert!(nameless.detail.contains("key_id"), "{nameless}");
        world.vault.set_client(&of, setting(Some("key-1")), &actor()).await.unwrap();
        let obtained = world.obtain(Some("ann"), None).await;
        assert_eq!(obtained.is_ok(), named, "{subject}: {obtained:?}");
        if named {
            let asked = world.server.asked.lock().unwrap().last().cloned().unwrap();
            let head = asked["assertion"].split('.').next().unwrap().to_owned();
            let head =
                base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, head);
            let head: Value = serde_json::from_slice(&head.unwrap()).unwrap();
            assert_eq!(head["kid"], "key-1");
        }
    }
}
