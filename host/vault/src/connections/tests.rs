//! Secrets that are set by hand: handed out, kept open, replaced, removed, and refused.

use keyway_core::exchange::{HostRequest, Response, Unfinished};
use secrecy::ExposeSecret as _;

use super::*;
use crate::consent::CONSENTS_MAX;
use crate::import::Trial;
use crate::open::OPEN_TIME;
use crate::secret::SECRET_BYTES_MAX;

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH
    }
}

/// Secrets that are set by hand need nobody outside.
struct NoWay;

#[async_trait]
impl Outbound for NoWay {
    async fn fetch(&self, _: HostRequest) -> Result<Response, Unfinished> {
        panic!("nothing is sent for a secret that was set by hand")
    }
}

fn vault(store: &Store) -> Vault {
    with_key(store, 9)
}

fn with_key(store: &Store, byte: u8) -> Vault {
    Vault::new(Parts {
        store: store.clone(),
        sealer: Sealer::fixed(store, byte),
        clock: Arc::new(Fixed),
        outbound: Arc::new(NoWay),
        owner: "host".to_owned(),
        listener: None,
    })
}

fn setting(tenant: &str, scheme: Scheme, secret: SecretInput) -> Setting {
    Setting {
        installation: Installation {
            environment: "dev".parse().unwrap(),
            tenant: tenant.parse().unwrap(),
            connector: "a/b".parse().unwrap(),
        },
        slot: "token".parse().unwrap(),
        user: None,
        scheme,
        base_url: None,
        secret,
    }
}

fn reference(setting: &Setting) -> ConnectionRef {
    setting.reference()
}

fn token(text: &str) -> SecretInput {
    SecretInput::Token(text.to_owned().into())
}

async fn opened(vault: &Vault, tenant: &str) -> Option<Arc<Opened>> {
    let setting = setting(tenant, Scheme::Bearer, token("unused"));
    let spec = SlotSpec {
        scheme: Scheme::Bearer,
        scopes: vec![],
        summary: String::new(),
        probe: None,
        header: None,
    };
    let of = reference(&setting);
    Some(vault.credential(&of, &spec).await.unwrap()?.opened)
}

async fn held(vault: &Vault, tenant: &str) -> Option<String> {
    match opened(vault, tenant).await?.credential() {
        Credential::Token(token) => Some(token.expose_secret().to_owned()),
        other => panic!("a token was set, not {other:?}"),
    }
}

#[tokio::test]
async fn what_is_set_is_handed_out_to_its_own_tenant_and_audited_without_the_secret() {
    let store = Store::memory(Arc::new(Fixed));
    let vault = vault(&store);
    let actor = "ann".parse().unwrap();
    vault.set(setting("acme", Scheme::Bearer, token("canary-1")), &actor).await.unwrap();
    assert_eq!(held(&vault, "acme").await.as_deref(), Some("canary-1"));
    assert_eq!(held(&vault, "other").await, None);
    vault.set(setting("acme", Scheme::Bearer, token("canary-2")), &actor).await.unwrap();
    assert_eq!(held(&vault, "acme").await.as_deref(), Some("canary-2"));
    let audit = store.audit(0, 10).await.unwrap();
    assert_eq!(audit.len(), 2);
    assert!(!format!("{audit:?}").contains("canary"));
}

/// What comes of each credential that a person types on the page of one session.
async fn typed(vault: &Vault, secrets: Vec<SecretInput>) -> Vec<Result<u64, String>> {
    let spec: SlotSpec = serde_json::from_str(r#"{"scheme":{"kind":"bearer"}}"#).unwrap();
    let of = reference(&setting("acme", Scheme::Bearer, token("unused")));
    let (facts, actor) = (Default::default(), "ann".parse().unwrap());
    let session = vault.begin_session(of, &spec, (None, &facts), &actor).await.unwrap().0;
    let trial = Trial { base_url: "https://api.example.com".to_owned(), hosts: vec![] };
    let mut outcomes = Vec::new();
    for secret in secrets {
        let done = vault.complete_typed(&session.0, &spec, secret, &trial).await;
        outcomes.push(match done {
            Ok((_, info)) => Ok(info.connection.generation),
            Err(fault) => Err(fault.code.to_string()),
        });
    }
    outcomes
}

/// Fails if whoever has a link may have a provider try credentials without end.
#[tokio::test]
async fn a_session_has_so_many_attempts_to_type_a_credential() {
    let vault = vault(&Store::memory(Arc::new(Fixed)));
    let attempts = |wrong: u32| {
        let pair =
            |_| SecretInput::Basic { user: "ann".into(), password: "not for this slot".into() };
        (0..wrong).map(pair).chain([token("right")]).collect::<Vec<_>>()
    };
    let outcomes = typed(&vault, attempts(CONSENTS_MAX - 1)).await;
    let (last, wrong) = outcomes.split_last().unwrap();
    assert_eq!(*last, Ok(1), "the last one of all");
    assert!(wrong.iter().all(|outcome| *outcome == Err("credential-invalid".to_owned())));
    let outcomes = typed(&vault, attempts(CONSENTS_MAX)).await;
    assert_eq!(outcomes.last(), Some(&Err("connect-session-invalid".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_secret_stays_open_for_a_while_and_is_closed_also_where_nobody_asks_again() {
    let store = Store::memory(Arc::new(Fixed));
    let vault = vault(&store);
    let actor = "ann".parse().unwrap();
    vault.set(setting("acme", Scheme::Bearer, token("canary-1")), &actor).await.unwrap();
    let first = opened(&vault, "acme").await.unwrap();
    tokio::time::advance(OPEN_TIME / 2).await;
    assert!(Arc::ptr_eq(&first, &opened(&vault, "acme").await.unwrap()), "opened once");
    tokio::time::advance(OPEN_TIME / 2).await;
    let second = opened(&vault, "acme").await.unwrap();
    assert!(!Arc::ptr_eq(&first, &second), "also one in use is not open for ever");

    let closing = tokio::spawn(vault.clone().close_behind());
    let left = Arc::downgrade(&second);
    drop(second);
    tokio::time::sleep(OPEN_TIME / 2).await;
    assert!(left.upgrade().is_some());
    tokio::time::sleep(OPEN_TIME).await;
    assert!(left.upgrade().is_none(), "nobody asked, and nobody has it");
    closing.abort();

    let left = Arc::downgrade(&opened(&vault, "acme").await.unwrap());
    vault.set(setting("acme", Scheme::Bearer, token("canary-2")), &actor).await.unwrap();
    assert!(left.upgrade().is_none(), "a change closes it at once");
}

#[tokio::test]
async fn users_without_a_connection_leave_nothing_behind() {
    let store = Store::memory(Arc::new(Fixed));
    let vault = vault(&store);
    let setting = setting("acme", Scheme::Bearer, token("canary"));
    for user in 0..100 {
        let user = Some(format!("user-{user}").parse().unwrap());
        let of = ConnectionRef { user, ..reference(&setting) };
        assert!(vault.in_use(&of).await.unwrap().is_none());
    }
    assert_eq!(vault.shared.rows.read().unwrap().len(), 0);
}

#[tokio::test]
async fn removed_means_gone() {
    let store = Store::memory(Arc::new(Fixed));
    let vault = vault(&store);
    let actor = "ann".parse().unwrap();
    let set = setting("acme", Scheme::Bearer, token("canary-1"));
    let of = reference(&set);
    vault.set(set, &actor).await.unwrap();
    assert!(vault.remove(&of, None, &actor).await.unwrap());
    assert_eq!(held(&vault, "acme").await, None);
    assert!(!vault.remove(&of, None, &actor).await.unwrap());
}

#[tokio::test]
async fn another_key_is_noticed_before_the_first_call() {
    let store = Store::memory(Arc::new(Fixed));
    let actor = "ann".parse().unwrap();
    vault(&store).set(setting("acme", Scheme::Bearer, token("canary")), &actor).await.unwrap();
    assert_eq!(vault(&store).check_all().await.unwrap(), 1);
    assert!(with_key(&store, 8).check_all().await.is_err());
}

#[tokio::test]
async fn an_installation_has_one_base_url() {
    let store = Store::memory(Arc::new(Fixed));
    let vault = vault(&store);
    let actor = "ann".parse().unwrap();
    let at = |slot: &str, base_url: &str| Setting {
        slot: slot.parse().unwrap(),
        base_url: Some(base_url.to_owned()),
        ..setting("acme", Scheme::Bearer, token("canary"))
    };
    vault.set(at("one", "https://eu.example.com"), &actor).await.unwrap();
    vault.set(at("two", "https://eu.example.com"), &actor).await.unwrap();
    let fault = vault.set(at("two", "https://us.example.com"), &actor).await.unwrap_err();
    assert_eq!(fault.code, Code::BaseUrlRefused);
    // Together they can move, and none of them does if one cannot.
    let elsewhere = |slot: &str| at(slot, "https://us.example.com");
    let bad = Setting { secret: token("abc"), ..elsewhere("two") };
    vault.set_all(vec![elsewhere("one"), bad], &actor).await.unwrap_err();
    let one = reference(&elsewhere("one"));
    assert_eq!(vault.existing(&one).await.unwrap().generation, 1);
    let both = vec![elsewhere("one"), elsewhere("two")];
    let before = store.audit(0, 100).await.unwrap().len();
    let set = vault.set_all(both, &actor).await.unwrap();
    let urls: Vec<_> = set.iter().filter_map(|set| set.base_url.as_deref()).collect();
    assert_eq!(urls, ["https://us.example.com"; 2]);
    let audit = store.audit(0, 100).await.unwrap();
    assert_eq!(audit.len(), before + 1, "one change");
    assert!(audit.last().unwrap().entry.object.contains("slot one; dev/acme/a/b slot two"));
}

#[tokio::test]
async fn secrets_of_the_wrong_form_are_refused() {
    let store = Store::memory(Arc::new(Fixed));
    let vault = vault(&store);
    let actor = "ann".parse().unwrap();
    let login = |user: &str, password: &str| SecretInput::Basic {
        user: user.to_owned().into(),
        password: password.to_owned().into(),
    };
    let basic = |user: &str| login(user, "pass word");
    let bad = [
        (Scheme::Bearer, token("")),
        (Scheme::Bearer, token("abc")),
        (Scheme::Bearer, token("line\r\nbreak")),
        (Scheme::Bearer, token("naïve")),
        (Scheme::Bearer, token(&"x".repeat(SECRET_BYTES_MAX + 1))),
        (Scheme::Bearer, basic("ann")),
        (Scheme::Basic, token("abcd")),
        (Scheme::Basic, basic("a:b")),
        (Scheme::Basic, basic("")),
        (Scheme::Basic, login("abc", "def")),
    ];
    for (scheme, secret) in bad {
        let fault = vault.set(setting("acme", scheme, secret), &actor).await.unwrap_err();
        assert_eq!(fault.code, Code::CredentialInvalid);
    }
    // As long as one that is imported, and kept elsewhere than a short one; each takes the other's place.
    let long = "x".repeat(SECRET_BYTES_MAX);
    for text in [&long[..], "short", &long[..2_049], &long[..2_048], &long] {
        let set = setting("acme", Scheme::Bearer, token(text));
        let of = reference(&set);
        let made = vault.set(set, &actor).await.unwrap();
        assert_eq!(held(&vault, "acme").await.as_deref(), Some(text), "{} bytes", text.len());
        assert_eq!(held(&self::vault(&store), "acme").await.as_deref(), Some(text));
        let info = vault.info(made).await.unwrap();
        assert!(info.state.is_none() && info.connection.kind == "bearer", "it is set by hand");
        let spec = SlotSpec {
            scheme: Scheme::Bearer,
            scopes: vec![],
            summary: String::new(),
            probe: None,
            header: None,
        };
        let version = vault.credential(&of, &spec).await.unwrap().unwrap().version;
        assert!(vault.rejected(&of, &spec, version).await.unwrap().is_none());
        assert_eq!(vault.export(&of, None, &actor).await.unwrap_err().code, Code::Unsupported);
    }
    let of = reference(&setting("acme", Scheme::Bearer, token("long")));
    assert!(vault.remove(&of, None, &actor).await.unwrap());
    assert_eq!(store.cells("vault/tokens").await.unwrap().len(), 0, "its cells are gone");
    vault.set(setting("acme", Scheme::Basic, basic("ann")), &actor).await.unwrap();
    // RFC 7617 section 2.1, and its example.
    vault.set(setting("acme", Scheme::Basic, login("tést", "123£-")), &actor).await.unwrap();
    let broken = setting("acme", Scheme::Basic, login("ann", "line\nbreak"));
    let fault = vault.set(broken, &actor).await.unwrap_err();
    assert_eq!(fault.code, Code::CredentialInvalid);
    let key_as_user = login("an-api-key", "");
    vault.set(setting("acme", Scheme::Basic, key_as_user), &actor).await.unwrap();
}
