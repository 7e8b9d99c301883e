//! A transit engine of a few lines: the endpoints that the host uses, as Vault and OpenBao answer them.
//!
//! It encrypts nothing: a ciphertext is the number of a plaintext that it remembers, with the context that it came with.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What a host must show.
pub(crate) const TOKEN: &str = "s.canary-of-the-vault-token";

/// The engine. Dropping it closes its door.
pub(crate) struct Engine {
    pub(crate) address: SocketAddr,
    book: Arc<Mutex<Book>>,
    accepting: JoinHandle<()>,
}

struct Book {
    /// Versions of the key that there are, and the oldest that still decrypts.
    newest: u64,
    oldest: u64,
    sealed: bool,
    /// Plaintext and context of each ciphertext, both in base64.
    kept: Vec<(String, String)>,
    /// Requests that were answered, by their path.
    asked: BTreeMap<String, u64>,
}

// === impl Engine ===

impl Engine {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (kept, asked) = (Vec::new(), BTreeMap::new());
        let book = Book { newest: 1, oldest: 1, sealed: false, kept, asked };
        let book = Arc::new(Mutex::new(book));
        let accepting = tokio::spawn(accept(listener, Arc::clone(&book)));
        Self { address, book, accepting }
    }

    /// Makes it answer as one that is sealed, or as one that is not.
    pub(crate) fn seal(&self, sealed: bool) {
        lock(&self.book).sealed = sealed;
    }

    /// Has versions from this one on, and makes it if there is none.
    pub(crate) fn decrypts_from(&self, version: u64) {
        let mut book = lock(&self.book);
        book.oldest = version;
        book.newest = book.newest.max(version);
    }

    /// How often a path was asked for with success.
    pub(crate) fn asked(&self, path: &str) -> u64 {
        lock(&self.book).asked.get(path).copied().unwrap_or(0)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

// === impl Book ===

impl Book {
    fn answer(&mut self, method: &Method, path: &str, body: &Value) -> (u16, Value) {
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        match (method, path) {
            (&Method::GET, "keys/keyway") => (200, self.described()),
            (&Method::POST, "keys/keyway/rotate") => {
                self.newest += 1;
                (200, self.described())
            }
            (&Method::POST, "encrypt/keyway") => {
                (200, self.keep(text("plaintext"), text("context")))
            }
            (&Method::POST, "decrypt/keyway") => {
                match self.find(&text("ciphertext"), &text("context")) {
                    Ok(plaintext) => (200, json!({"data": {"plaintext": plaintext}})),
                    Err(why) => (400, json!({"errors": [why]})),
                }
            }
            (&Method::POST, "rewrap/keyway") => {
                match self.find(&text("ciphertext"), &text("context")) {
                    Ok(plaintext) => (200, self.keep(plaintext, text("context"))),
                    Err(why) => (400, json!({"errors": [why]})),
                }
            }
            _ => (404, json!({"errors": []})),
        }
    }

    fn described(&self) -> Value {
        let keys: serde_json::Map<_, _> = (self.oldest..=self.newest)
            .map(|version| (version.to_string(), json!(1_795_247_756)))
            .collect();
        json!({"data": {
            "name": "keyway", "type": "aes256-gcm96", "derived": true, "keys": keys,
            "min_decryption_version": self.oldest, "latest_version": self.newest,
            "supports_encryption": true, "supports_decryption": true,
        }})
    }

    fn keep(&mut self, plaintext: String, context: String) -> Value {
        self.kept.push((plaintext, context));
        let ciphertext = format!("vault:v{}:{}", self.newest, self.kept.len() - 1);
        json!({"data": {"ciphertext": ciphertext, "key_version": self.newest}})
    }

    fn find(&self, ciphertext: &str, context: &str) -> Result<String, &'static str> {
        let parts = ciphertext.strip_prefix("vault:v").and_then(|rest| rest.split_once(':'));
        let (version, number) = parts.ok_or("invalid ciphertext: no prefix")?;
        let version: u64 = version.parse().map_err(|_| "invalid ciphertext: no version")?;
        if version < self.oldest {
            return Err("ciphertext or signature version is disallowed by policy (too old)");
        }
        let number: usize = number.parse().map_err(|_| "invalid ciphertext: no base64")?;
        match self.kept.get(number) {
            Some((plaintext, sealed_with)) if sealed_with == context => Ok(plaintext.clone()),
            _ => Err("cipher: message authentication failed"),
        }
    }
}

async fn accept(listener: TcpListener, book: Arc<Mutex<Book>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let book = Arc::clone(&book);
        let service = service_fn(move |request| answer(request, Arc::clone(&book)));
        let io = TokioIo::new(stream);
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
    }
}

async fn answer(
    request: Request<Incoming>,
    book: Arc<Mutex<Book>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let shown = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let path = parts.uri.path().strip_prefix("/v1/transit/").unwrap_or_default();
    let mut book = lock(&book);
    let (status, body) = if book.sealed {
        (503, json!({"errors": ["Vault is sealed"]}))
    } else if shown("x-vault-token") != Some(TOKEN) || shown("x-vault-request") != Some("true") {
        (403, json!({"errors": ["permission denied"]}))
    } else {
        book.answer(&parts.method, path, &body)
    };
    if status == 200 {
        *book.asked.entry(path.to_owned()).or_default() += 1;
    }
    let response = Response::builder().status(status).header("content-type", "application/json");
    Ok(response.body(Full::new(body.to_string().into())).expect("a valid response"))
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().expect("not poisoned")
}
