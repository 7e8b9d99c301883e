//! A transit engine in memory, as a real one answers, and what is made of its answers.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use keyway_core::exchange::Unfinished;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

/// What agents leave in the token file.
const SHOWN: &str = "s.canary-of-the-token";

/// The engine, with its key's versions from 1 on.
pub(crate) struct Engine {
    versions: Mutex<Vec<SecretKey>>,
    oldest: AtomicU64,
    derived: AtomicBool,
    pub(crate) up: AtomicBool,
    /// After so many requests it is not up any more.
    pub(crate) requests_left: Mutex<Option<usize>>,
    /// An answer instead of the right one.
    said: Mutex<Option<(u16, String)>>,
    /// Requests so far: purpose, method, URL, timeout, hosts.
    pub(crate) seen: Mutex<Vec<String>>,
    folder: TempDir,
}

impl Engine {
    pub(crate) fn new() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        private_file::write(&folder.path().join("token"), format!("{SHOWN}\n").as_bytes()).unwrap();
        Arc::new(Self {
            versions: Mutex::new(vec![SecretKey::generate().unwrap()]),
            oldest: AtomicU64::new(1),
            derived: AtomicBool::new(true),
            up: AtomicBool::new(true),
            requests_left: Mutex::default(),
            said: Mutex::default(),
            seen: Mutex::default(),
            folder,
        })
    }

    pub(crate) fn config(&self) -> Config {
        Config {
            address: "https://kms.example.com:8200".to_owned(),
            mount: mount(),
            key: "keyway".to_owned(),
            namespace: None,
            token_file: self.folder.path().join("token"),
            timeout: timeout(),
        }
    }

    pub(crate) fn service(self: &Arc<Self>) -> Transit {
        Transit::new(self.config(), Arc::clone(self) as Arc<dyn Outbound>).unwrap()
    }

    fn answer(&self, method: &Method, path: &str, body: &Value) -> (u16, Value) {
        let mut versions = self.versions.lock().unwrap();
        let bytes = |name: &str| STANDARD.decode(body[name].as_str().unwrap_or_default()).unwrap();
        let refused = |why: &str| (400, json!({"errors": [why]}));
        match (method.as_str(), path) {
            ("GET", "keys/keyway") => (200, self.described(versions.len())),
            ("POST", "keys/keyway/rotate") => {
                versions.push(SecretKey::generate().unwrap());
                (200, self.described(versions.len()))
            }
            ("POST", "encrypt/keyway") => {
                let newest = versions.last().unwrap();
                let sealed = newest.seal(&bytes("context"), &bytes("plaintext")).unwrap();
                (200, ciphertext(versions.len(), &sealed))
            }
            ("POST", "decrypt/keyway" | "rewrap/keyway") => {
                let text = body["ciphertext"].as_str().unwrap();
                let (version, sealed) =
                    text.strip_prefix("vault:v").unwrap().split_once(':').unwrap();
                let version: usize = version.parse().unwrap();
                if (version as u64) < self.oldest.load(Ordering::SeqCst) {
                    let why = "ciphertext or signature version is disallowed by policy (too old)";
                    return refused(why);
                }
                let Some(key) = versions.get(version - 1) else {
                    return refused("invalid ciphertext: version is too new");
                };
                let sealed = STANDARD.decode(sealed).unwrap();
                let Ok(plain) = key.open(&bytes("context"), &sealed) else {
                    return refused("cipher: message authentication failed");
                };
                if path.starts_with("decrypt") {
                    return (200, json!({"data": {"plaintext": STANDARD.encode(&*plain)}}));
                }
                let sealed = versions.last().unwrap().seal(&bytes("context"), &plain).unwrap();
                (200, ciphertext(versions.len(), &sealed))
            }
            _ => (404, json!({"errors": []})),
        }
    }

    fn described(&self, versions: usize) -> Value {
        let oldest = self.oldest.load(Ordering::SeqCst);
        let keys: serde_json::Map<_, _> = (oldest..=versions as u64)
            .map(|version| (version.to_string(), json!(1_795_247_756)))
            .collect();
        json!({"data": {"derived": self.derived.load(Ordering::SeqCst), "keys": keys,
            "min_decryption_version": oldest, "latest_version": versions, "type": "aes256-gcm96",
            "supports_encryption": true, "supports_decryption": true}})
    }
}

fn ciphertext(version: usize, sealed: &[u8]) -> Value {
    let ciphertext = format!("vault:v{version}:{}", STANDARD.encode(sealed));
    json!({"data": {"ciphertext": ciphertext, "key_version": version}})
}

#[async_trait]
impl Outbound for Engine {
    async fn fetch(&self, request: HostRequest) -> Result<Response, Unfinished> {
        let HostRequest { purpose, method, url, hosts, headers, body, timeout, .. } = request;
        // As a network would: others come to run meanwhile.
        tokio::task::yield_now().await;
        self.seen.lock().unwrap().push(format!("{purpose} {method} {url} {timeout:?} {hosts:?}"));
        let left = self.requests_left.lock().unwrap().as_mut().map(|left| {
            *left = left.saturating_sub(1);
            *left
        });
        if !self.up.load(Ordering::SeqCst) || left == Some(0) {
            let failure = Failure::denied("connect", "no answer from kms.example.com");
            return Err(Failure { kind: FailureKind::Transient, ..failure }.into());
        }
        assert!(headers[TOKEN].is_sensitive() && headers[REQUEST] == "true", "{headers:?}");
        let path = url.strip_prefix("https://kms.example.com:8200/v1/transit/").unwrap();
        let body = body.map_or(Value::Null, |body| {
            serde_json::from_str(body.expose_secret()).expect("the body is JSON")
        });
        let said = self.said.lock().unwrap().clone();
        let (status, body) = match said {
            Some((status, body)) => (status, body),
            None if headers[TOKEN] != SHOWN => (403, r#"{"errors":["permission denied"]}"#.into()),
            None => {
                let (status, body) = self.answer(&method, path, &body);
                (status, body.to_string())
            }
        };
        Ok(Response { status, headers: vec![], body: Bytes::from(body) })
    }
}

fn key(byte: u8) -> SecretKey {
    SecretKey::from_bytes(&[byte; KEY_BYTES]).unwrap()
}

async fn ids(service: &Transit) -> Vec<String> {
    service.known().await.unwrap().keys.iter().map(|key| key.id.to_string()).collect()
}

#[tokio::test]
async fn keys_are_wrapped_by_version_and_wrapped_anew_without_coming_out() {
    let engine = Engine::new();
    let service = engine.service();
    assert_eq!(ids(&service).await, ["transit/keyway:v1"]);
    let wrapped = service.wrap(&key(9), b"here").await.unwrap();
    assert_eq!(wrapped.sealing_key.as_str(), "transit/keyway:v1");
    assert_eq!(service.unwrap(&wrapped, b"here").await.unwrap().expose(), &[9; KEY_BYTES]);

    assert_eq!(service.rotate().await.unwrap().as_str(), "transit/keyway:v2");
    assert_eq!(ids(&service).await, ["transit/keyway:v1", "transit/keyway:v2"]);
    engine.seen.lock().unwrap().clear();
    let anew = service.rewrap(&wrapped, b"here").await.unwrap();
    assert_eq!(anew.sealing_key.as_str(), "transit/keyway:v2");
    let seen = engine.seen.lock().unwrap().join("\n");
    assert!(seen.contains("/rewrap/keyway") && !seen.contains("decrypt"), "{seen}");
    for wrapped in [&wrapped, &anew] {
        assert_eq!(service.unwrap(wrapped, b"here").await.unwrap().expose(), &[9; KEY_BYTES]);
    }
}

#[tokio::test]
async fn each_request_goes_to_the_service_only_and_is_bounded() {
    let engine = Engine::new();
    engine.service().known().await.unwrap();
    let seen = engine.seen.lock().unwrap()[0].clone();
    let url = "https://kms.example.com:8200/v1/transit/keys/keyway";
    assert!(seen.starts_with(&format!("key GET {url} 5s ")), "{seen}");
    assert!(seen.contains("domain: \"kms.example.com\", wildcard: false, port: 8200"), "{seen}");
}

#[tokio::test]
async fn a_wrapped_key_is_of_its_place_its_version_and_its_key() {
    let engine = Engine::new();
    let service = engine.service();
    let wrapped = service.wrap(&key(9), b"here").await.unwrap();
    let error = service.unwrap(&wrapped, b"there").await.unwrap_err();
    assert!(matches!(error, ServiceError::Authentication), "{error:?}");
    let error = service.rewrap(&wrapped, b"there").await.unwrap_err();
    assert!(matches!(error, ServiceError::Authentication), "{error:?}");

    // What the row says and what the ciphertext says must be the same.
    let named = |id: &str| Wrapped { sealing_key: id.parse().unwrap(), ..wrapped.clone() };
    let error = service.unwrap(&named("transit/keyway:v2"), b"here").await.unwrap_err();
    assert!(matches!(error, ServiceError::Authentication), "{error:?}");
    for id in ["transit/other:v1", "k-0011223344556677"] {
        let error = service.unwrap(&named(id), b"here").await.unwrap_err();
        assert!(matches!(error, ServiceError::Unknown { .. }), "{error:?}");
    }
    // And nothing that is no ciphertext reaches the JSON that is sent.
    engine.seen.lock().unwrap().clear();
    for text in ["", "vault:v1:", "vault:v01:AA==", "vault:v1:\"}", "vault:vx:AA==", "\u{e4}"] {
        let bad = Wrapped { bytes: text.as_bytes().to_vec(), ..wrapped.clone() };
        let error = service.unwrap(&bad, b"here").await.unwrap_err();
        assert!(matches!(error, ServiceError::Authentication), "{text}: {error:?}");
    }
    assert!(engine.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn versions_that_no_longer_decrypt_are_missing() {
    let engine = Engine::new();
    let service = engine.service();
    let old = service.wrap(&key(9), b"here").await.unwrap();
    service.rotate().await.unwrap();
    let newer = service.wrap(&key(9), b"here").await.unwrap();
    engine.oldest.store(2, Ordering::SeqCst);
    assert_eq!(ids(&service).await, ["transit/keyway:v2"]);
    // The service itself went back to before version 2.
    engine.versions.lock().unwrap().truncate(1);
    for wrapped in [old, newer] {
        let error = service.unwrap(&wrapped, b"here").await.unwrap_err();
        assert_eq!(error.to_string(), format!("sealing key {} is missing", wrapped.sealing_key));
    }
}

#[tokio::test]
async fn a_key_that_ignores_the_context_is_refused() {
    let engine = Engine::new();
    engine.derived.store(false, Ordering::SeqCst);
    let error = engine.service().known().await.unwrap_err();
    assert!(error.to_string().contains("not a derived one"), "{error}");
}

#[tokio::test]
async fn what_may_pass_is_told_from_what_somebody_must_change() {
    let engine = Engine::new();
    let service = engine.service();
    let says = async |status: u16, body: &str| {
        *engine.said.lock().unwrap() = Some((status, body.to_owned()));
        service.known().await.unwrap_err()
    };
    for status in [412, 429, 472, 473, 500, 502, 503] {
        let error = says(status, r#"{"errors":["Vault is sealed"]}"#).await;
        assert!(matches!(error, ServiceError::Unavailable { .. }), "{status}: {error:?}");
        assert!(error.to_string().contains("Vault is sealed"), "{error}");
    }
    for status in [301, 400, 401, 403, 404] {
        let error = says(status, r#"{"errors":["no"]}"#).await;
        assert!(matches!(error, ServiceError::Refused { .. }), "{status}: {error:?}");
    }
    for body in ["", "<html>", "{}", r#"{"data":{}}"#, r#"{"data":{"derived":true,"keys":{}}}"#] {
        let error = says(200, body).await;
        assert!(matches!(error, ServiceError::Unavailable { .. }), "{body}: {error:?}");
    }
    let long = format!(r#"{{"errors":["{}"]}}"#, "ä".repeat(1_000));
    assert!(says(500, &long).await.to_string().len() < 400);

    *engine.said.lock().unwrap() = None;
    engine.up.store(false, Ordering::SeqCst);
    let error = service.known().await.unwrap_err();
    assert!(matches!(error, ServiceError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("no answer from kms.example.com"), "{error}");
}

#[tokio::test]
async fn the_token_is_read_anew_and_never_shown() {
    let engine = Engine::new();
    let service = engine.service();
    let file = engine.config().token_file;
    private_file::write(&file, b"another-canary").unwrap();
    let error = service.known().await.unwrap_err();
    assert!(error.to_string().contains("permission denied"), "{error}");
    private_file::write(&file, SHOWN.as_bytes()).unwrap();
    service.known().await.unwrap();
    for (content, why) in [(Some("a\nb"), "holds no token"), (None, "is missing")] {
        match content {
            Some(content) => private_file::write(&file, content.as_bytes()).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let error = service.known().await.unwrap_err();
        assert!(matches!(error, ServiceError::Refused { .. }), "{error:?}");
        assert!(error.to_string().contains(why), "{error}");
    }
    assert!(!format!("{service:?}").contains("canary"));
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let engine = Engine::new();
    type Change = fn(&mut Config);
    let with = |change: Change| {
        let mut config = engine.config();
        change(&mut config);
        let outbound = Arc::clone(&engine) as Arc<dyn Outbound>;
        Transit::new(config, outbound).map_err(|error| error.field)
    };
    assert!(
        with(|config| config.address = "https://kms.example.com/behind/a/path/".into()).is_ok()
    );
    assert!(with(|config| config.mount = "teams/ours/transit".into()).is_ok());
    let bad: [(Change, &str); 11] = [
        (|config| config.address = "http://kms.example.com".into(), "address"),
        (|config| config.address = "https://kms".into(), "address"),
        (|config| config.address = "https://10.0.0.1:8200".into(), "address"),
        (|config| config.address = "https://u:p@kms.example.com".into(), "address"),
        (|config| config.address = "https://kms.example.com/?x=1".into(), "address"),
        (|config| config.address = "kms.example.com".into(), "address"),
        (|config| config.mount = "../sys".into(), "mount"),
        (|config| config.mount = "a//b".into(), "mount"),
        (|config| config.key = "a/b".into(), "key"),
        (|config| config.key = "x".repeat(128), "key"),
        (|config| config.namespace = Some("a\nb".into()), "namespace"),
    ];
    for (change, field) in bad {
        assert_eq!(with(change).unwrap_err(), field);
    }
}
