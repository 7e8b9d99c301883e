//! Tokens that nobody consents to: with a client of each tenant's own, and with keys that sign. openssl makes the keys, and
//! says whether a signature is right.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::provider::{Answer, Asked, Provider};
use super::{STATED, World, expire, now, openssl};
use crate::cli::Cli;
use crate::setup::path;

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A pair of keys of RSA, in files.
struct Keys {
    folder: TempDir,
}

/// What a provider was told in an assertion, once the signature was found to be right.
#[derive(Clone, Debug)]
struct Told {
    head: Value,
    claims: Value,
}

// === impl Keys ===

impl Keys {
    fn of_bits(bits: u32) -> Self {
        let keys = Self { folder: tempfile::tempdir().expect("temporary folder") };
        let (own, size) = (keys.private(), format!("rsa_keygen_bits:{bits}"));
        openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", &size, "-out", text(&own)], b"");
        openssl(&["pkey", "-in", text(&own), "-pubout", "-out", text(&keys.public())], b"");
        keys
    }

    fn private(&self) -> PathBuf {
        self.folder.path().join("private.pem")
    }

    fn public(&self) -> PathBuf {
        self.folder.path().join("public.pem")
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

/// Reads an assertion as a provider that has the public key would; none if it is not to be believed.
fn told(public: &Path, form: &super::provider::Pairs) -> Option<Told> {
    if form.get("grant_type")? != JWT_BEARER {
        return None;
    }
    let (message, signature) = form.get("assertion")?.rsplit_once('.')?;
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("signature");
    std::fs::write(&file, URL_SAFE_NO_PAD.decode(signature).ok()?).expect("writable");
    let verify = ["dgst", "-sha256", "-verify", text(public), "-signature", text(&file)];
    if openssl(&verify, message.as_bytes()) != b"Verified OK\n" {
        return None;
    }
    let (head, claims) = message.split_once('.')?;
    let part = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
    let told = Told { head: part(head)?, claims: part(claims)? };
    let (issued, until) = (told.claims["iat"].as_i64()?, told.claims["exp"].as_i64()?);
    (issued <= now() + 1 && now() < until && until <= issued + 3600).then_some(told)
}

fn bearer(asked: &Asked, issued: &AtomicU32) -> Answer {
    let newest = format!("Bearer access-{}", issued.load(Ordering::SeqCst));
    match asked.header("authorization") == newest {
        true => Answer::json(&json!({})),
        false => Answer::refused(401, &json!({"error": "who are you"})),
    }
}

fn issue(issued: &AtomicU32, more: &Value) -> Answer {
    let number = issued.fetch_add(1, Ordering::SeqCst) + 1;
    let mut answer = json!({"access_token": format!("access-{number}"), "expires_in": 1});
    let fields = answer.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    Answer::json(&answer)
}

/// Fails if one tenant's client is used for another, if it is not kept for the next token, or if its end is anybody else's.
#[tokio::test(flavor = "multi_thread")]
async fn each_tenant_has_a_client_of_its_own() {
    let gone = Arc::new(Mutex::new(BTreeSet::<String>::new()));
    let judged = Arc::clone(&gone);
    let provider = Provider::start(move |asked| {
        let form = if asked.path == "/token" { asked.form() } else { Default::default() };
        let field = |name: &str| form.get(name).cloned().unwrap_or_default();
        if asked.path != "/token" {
            return Answer::json(&json!({"seen": asked.header("authorization")}));
        }
        let (id, secret) = (field("client_id"), field("client_secret"));
        let known =
            secret == format!("canary-of-{id}") && field("grant_type") == "client_credentials";
        if !known || judged.lock().expect("not poisoned").contains(&id) {
            return Answer::refused(401, &json!({"error": "invalid_client"}));
        }
        Answer::json(&json!({"access_token": format!("token-of-{id}"), "expires_in": 1}))
    })
    .await;
    let stated = json!({
        "hosts": ["api.example.com"], "base-url": "https://api.example.com",
        "slots": {"login": {"scheme": {"kind": "oauth2", "grant": "client-credentials",
            "token-url": "https://api.example.com/token", "client-auth": "post", "refresh": "none"}}},
    });
    let mut world = World::new(&["api.example.com"], stated, provider).await;
    world.setup.pin("umbrella", STATED, "1.0.0").await;
    for tenant in ["acme", "umbrella"] {
        let cli = Cli::new(&world.setup);
        let file = cli.file("secret.txt", format!("canary-of-{tenant}\n"));
        let obtain = ["connection", "obtain", tenant, STATED, "--slot", "login"];
        let own = ["--client-id", tenant, "--client-secret-file", &file];
        let said = cli.ok(&[&obtain[..], &own].concat());
        assert_eq!(said, format!("slot login of {tenant} is connected, generation 1\n"));
    }
    for tenant in ["acme", "umbrella", "acme"] {
        expire().await;
        let input = json!({"slot": "login", "path": "/x"});
        let reply = world.setup.act(tenant, STATED, "send", input).await.ok().json();
        let body = reply["body"].as_str().expect("text");
        assert!(
            body.contains(&format!("Bearer token-of-{tenant}")) || body.contains("redacted"),
            "{body}"
        );
        let shown = world.provider.asked_at("/x").pop().expect("a call");
        assert_eq!(shown.header("authorization"), format!("Bearer token-of-{tenant}"));
    }
    gone.lock().expect("not poisoned").insert("acme".to_owned());
    expire().await;
    let mut phase = async |tenant: &str| {
        let input = json!({"slot": "login", "path": "/x"});
        world.setup.act(tenant, STATED, "send", input).await;
        let list = world.setup.http.get(&path(tenant, STATED, "/connections")).await.ok().json();
        list["connections"][0]["state"]["phase"].clone()
    };
    assert_eq!(
        (phase("acme").await, phase("umbrella").await),
        (json!("needs-reauth"), json!("ready"))
    );
    world.hides(&["canary-of-acme", "canary-of-umbrella"]).await;
}

/// A service account: the tenant's own key, with its id; the scopes are in what is signed.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_s_own_key_signs_for_each_token() {
    let keys = Keys::of_bits(2048);
    let (public, issued) = (keys.public(), Arc::new(AtomicU32::new(0)));
    let heard = Arc::new(Mutex::new(Vec::<Told>::new()));
    let (kept, counted) = (Arc::clone(&heard), Arc::clone(&issued));
    let provider = Provider::start(move |asked| {
        if asked.path != "/token" {
            return bearer(asked, &counted);
        }
        let form = asked.form();
        let told = told(&public, &form).filter(|told| {
            let names: Vec<_> = form.keys().map(String::as_str).collect();
            names == ["assertion", "grant_type"]
                && asked.header("authorization").is_empty()
                && told.head == json!({"alg": "RS256", "kid": "key-42", "typ": "JWT"})
                && told.claims["iss"] == "svc@project.example.com"
                && told.claims["aud"] == "https://oauth2.cloud.example.com/token"
                && told.claims["scope"] == "drive.read sheets.read"
        });
        let Some(told) = told else {
            return Answer::refused(400, &json!({"error": "invalid_grant"}));
        };
        kept.lock().expect("not poisoned").push(told);
        issue(&counted, &json!({}))
    })
    .await;
    let stated = json!({
        "hosts": ["drive.cloud.example.com"], "base-url": "https://drive.cloud.example.com",
        "slots": {"login": {"scopes": ["drive.read", "sheets.read"], "scheme": {
            "kind": "oauth2", "grant": "jwt-bearer",
            "token-url": "https://oauth2.cloud.example.com/token", "refresh": "none",
            "assertion": {"scope-claim": true, "key-id": true, "lifetime": 3600},
        }}},
    });
    let hosts = ["drive.cloud.example.com", "oauth2.cloud.example.com"];
    let mut world = World::new(&hosts, stated, provider).await;
    {
        let cli = Cli::new(&world.setup);
        let key = keys.private();
        let obtain = ["connection", "obtain", "acme", STATED, "--slot", "login"];
        let own = ["--client-id", "svc@project.example.com", "--client-secret-file", text(&key)];
        let without = [&obtain[..], &own].concat();
        cli.fails(&without, 3, "credential-invalid: `key_id` is needed");
        let said = cli.ok(&[&without[..], &["--key-id", "key-42"]].concat());
        assert_eq!(said, "slot login of acme is connected, generation 1\n");
    }
    for round in 0..2 {
        expire().await;
        assert_eq!(world.call("login", "/files").await, 200, "round {round}");
    }
    let heard = heard.lock().expect("not poisoned").clone();
    let ids: BTreeSet<_> = heard.iter().map(|told| told.claims["jti"].to_string()).collect();
    assert!(heard.len() >= 3 && ids.len() == heard.len(), "one for each: {heard:?}");
    world.hides(&["PRIVATE KEY"]).await;
}

/// A server that speaks for users: the operator's one key, of 4,096 bits, and an audience that depends on where the customer
/// is. Also after a crash.
#[tokio::test(flavor = "multi_thread")]
async fn the_operator_s_key_signs_for_users_of_each_customer() {
    let keys = Keys::of_bits(4096);
    let (public, issued) = (keys.public(), Arc::new(AtomicU32::new(0)));
    let counted = Arc::clone(&issued);
    let provider = Provider::start(move |asked| {
        if asked.path != "/services/oauth2/token" {
            return bearer(asked, &counted);
        }
        let told = told(&public, &asked.form()).filter(|told| {
            asked.host == "test.force.example.com"
                && told.claims["aud"] == "https://test.force.example.com"
                && told.claims["iss"] == "the-app"
                && told.claims["sub"] == "ann@example.com"
                && told.claims["prn_type"] == "at test"
                && told.head == json!({"alg": "RS256", "typ": "JWT"})
        });
        match told {
            Some(_) => issue(&counted, &json!({"instance_url": "https://acme.force.example.com"})),
            None => Answer::refused(400, &json!({"error": "invalid_grant"})),
        }
    })
    .await;
    let stated = json!({
        "hosts": ["*.force.example.com"],
        "slots": {"login": {"scheme": {
            "kind": "oauth2", "grant": "jwt-bearer", "refresh": "none",
            "token-url": "https://{login}.force.example.com/services/oauth2/token",
            "variables": {"login": {"summary": "login, or test for a sandbox"}},
            "assertion": {"audience": "https://{login}.force.example.com", "subject": "{user}", "lifetime": 180,
                "claims": {"prn_type": "at {login}"}},
            "base-url": "/instance_url", "base-url-suffixes": ["force.example.com"],
        }}},
    });
    let hosts = ["test.force.example.com", "acme.force.example.com"];
    let mut world = World::new(&hosts, stated, provider).await;
    let key = std::fs::read_to_string(keys.private()).expect("readable");
    let client = |key: &str| json!({"client_id": "the-app", "client_secret": key});
    assert_eq!(world.set_client(client("no key")).await.code(), "credential-invalid");
    let set = world.set_client(client(&key)).await.ok().json();
    assert_eq!((&set["has_secret"], &set["generation"]), (&json!(true), &json!(1)), "{set}");
    // The same again is the same: no generation, and nothing in the audit.
    assert_eq!(world.set_client(client(&key)).await.ok().json(), set);
    let audit = world.setup.http.get("/v1/audit?limit=1000").await.ok().json();
    let entries = audit["entries"].as_array().expect("a list");
    assert_eq!(entries.iter().filter(|entry| entry["action"] == "oauth-client.set").count(), 1);

    let obtain = path("acme", STATED, "/connections/login/obtain?user=ann@example.com");
    let wrong = json!({"variables": {"login": "evil.com/"}});
    assert_eq!(world.setup.http.post(&obtain, wrong).await.code(), "invalid-request");
    let wanted = json!({"variables": {"login": "test"}});
    let made = world.setup.http.post(&obtain, wanted).await.ok().json();
    assert_eq!(made["base_url"], "https://acme.force.example.com");
    let World { setup, provider, browser } = world;
    let mut world = World { setup: setup.crash(), provider, browser };
    expire().await;
    let mut http = world.setup.host.http().with("keyway-user", "ann@example.com");
    let input = json!({"slot": "login", "path": "/services/data"});
    let reply = http.post(&path("acme", STATED, "/actions/send"), input).await.ok().json();
    assert_eq!(reply["status"], 200, "{reply}");
    assert_eq!(world.provider.asked_at("/services/data")[0].host, "acme.force.example.com");
    assert!(issued.load(Ordering::SeqCst) >= 2);
    world.hides(&["PRIVATE KEY", &key[100..160]]).await;
}
