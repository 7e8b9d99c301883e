//! A provider that gives away whatever it is told, and an authorization server that does so as well, in one: what
//! comes back from it has every credential that was sent, in headers and in bodies of every form.
//!
//! The tokens that it issues are canaries. It remembers which canaries it was shown: one that never arrived was not
//! looked for where it could have been.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request, Response, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use memchr::memmem;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::pieces::{Pieces, gzip};
use super::secrets::Canaries;

/// In everything that it says to whoever asks for the provider: what a guest sees, and may tell.
pub(super) const DECOY: &str = "said-by-the-provider";

/// Longer than any request of a run may take.
const NEVER: Duration = Duration::from_secs(3_600);

/// What the echo of a request is written as: path segments below `/echo/`.
pub(super) const FORMS: [&str; 7] =
    ["header", "json", "gzip", "chunks", "base64", "form", "refused"];

/// How the authorization server answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mood {
    /// As it should.
    Well,
    /// Does not take the grant, and says which it was.
    Refusing,
    /// Does not take the client.
    Suspicious,
    /// Is broken, and prints the request.
    Broken,
    /// Says yes in a form that nobody reads.
    Garbled,
    /// Hangs up instead of answering.
    Gone,
}

/// The server. Dropping it closes its door.
pub(super) struct Provider {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    canaries: Canaries,
    mood: Mutex<Mood>,
    shown: Mutex<BTreeSet<String>>,
}

type Answer = Response<Pieces>;

// === impl Provider ===

impl Provider {
    pub(super) async fn start(canaries: &Canaries) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            canaries: canaries.clone(),
            mood: Mutex::new(Mood::Well),
            shown: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, accepting }
    }

    /// How the authorization server answers from now on.
    pub(super) fn be(&self, mood: Mood) {
        *lock(&self.shared.mood) = mood;
    }

    /// Names of the canaries that it was shown.
    pub(super) fn shown(&self) -> BTreeSet<String> {
        lock(&self.shared.shown).clone()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
        let server = hyper::server::conn::http1::Builder::new();
        tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Answer, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let said = said(&parts, &body);
    shared.remember(&said);
    Ok(match parts.uri.path() {
        "/token" => shared.tokens(&parts, &body, &said),
        "/revoke" => with_headers(shared.revoked(&said), &parts.headers, &parts),
        "/me" => {
            let me = json_of(200, &json!({ "account": "account-1", "you": said }));
            with_headers(me, &parts.headers, &parts)
        }
        "/slow" => {
            tokio::time::sleep(NEVER).await;
            text(200, said)
        }
        "/cut" => Response::new(Pieces::broken_off(said.into())),
        "/away" => away(&parts, &said),
        path => echo(path.rsplit('/').next().unwrap_or_default(), &parts, said).await,
    })
}

/// Everything that a request says, as text.
fn said(parts: &Parts, body: &[u8]) -> String {
    let mut said = format!("{DECOY}: {} {}", parts.method, parts.uri);
    for (name, value) in &parts.headers {
        said.push_str(&format!("\n{name}: {}", String::from_utf8_lossy(value.as_bytes())));
        // What stands in there as base64 is said in the clear, too.
        let encoded = value.to_str().ok().and_then(|value| value.strip_prefix("Basic "));
        if let Some(pair) = encoded.and_then(|pair| STANDARD.decode(pair).ok()) {
            said.push_str(&format!("\n{}", String::from_utf8_lossy(&pair)));
        }
    }
    said.push_str(&format!("\n\n{}", String::from_utf8_lossy(body)));
    said
}

/// A request, given back in one of the [`FORMS`].
async fn echo(form: &str, parts: &Parts, said: String) -> Answer {
    match form {
        "header" => with_headers(text(200, DECOY.to_owned()), &parts.headers, parts),
        "gzip" => {
            let mut response = Response::new(Pieces::whole(gzip(said.as_bytes()).await));
            let value = header::HeaderValue::from_static("gzip");
            response.headers_mut().insert(header::CONTENT_ENCODING, value);
            response
        }
        "chunks" => Response::new(Pieces::of(said.as_bytes())),
        "base64" => text(200, format!("{DECOY}: {}", STANDARD.encode(said))),
        "form" => text(200, format!("{DECOY}={}", percent_encoded(&said))),
        "refused" => {
            let mut response = json_of(401, &json!({ "error": said }));
            let challenge = format!("Bearer error_description=\"{}\"", STANDARD.encode(&said));
            if let Ok(value) = challenge.parse() {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
            }
            response
        }
        _ => json_of(200, &json!({ "records": [], "said": said })),
    }
}

/// Gives headers back under names of its own, and as cookies.
fn with_headers(mut response: Answer, headers: &HeaderMap, parts: &Parts) -> Answer {
    let given = response.headers_mut();
    for (at, value) in headers.values().enumerate() {
        let name = header::HeaderName::from_bytes(format!("x-echo-{at}").as_bytes());
        given.extend(name.ok().map(|name| (name, value.clone())));
        given.append(header::SET_COOKIE, value.clone());
    }
    if let Ok(target) = parts.uri.to_string().parse() {
        given.insert("x-target", target);
    }
    response
}

/// A redirect to another host that takes the request's credential along in its URL.
fn away(parts: &Parts, said: &str) -> Answer {
    let query = parts.uri.query().unwrap_or_default();
    let encoded = percent_encoded(said);
    let location = format!("https://other.example.com/echo/json?{query}&said={encoded}");
    let response = Response::builder().status(302).header(header::LOCATION, location);
    response.body(Pieces::whole(Bytes::new())).expect("a valid response")
}

// === impl Shared ===

impl Shared {
    /// Takes note of each canary in what was said.
    fn remember(&self, said: &str) {
        let mut shown = lock(&self.shown);
        for canary in self.canaries.all() {
            let plain = String::from_utf8_lossy(&canary.value);
            let encoded = percent_encoded(&plain);
            let holds = |text: &str| memmem::find(said.as_bytes(), text.as_bytes()).is_some();
            if holds(&plain) || holds(&encoded) || holds(&encoded.replace("%20", "+")) {
                shown.insert(canary.name);
            }
        }
    }

    /// The token endpoint.
    fn tokens(&self, parts: &Parts, body: &[u8], said: &str) -> Answer {
        let form = String::from_utf8_lossy(body).into_owned();
        let field = |name: &str| {
            form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        };
        // A verifier is the host's own secret.
        if let Some(verifier) = field("code_verifier") {
            self.canaries.keep("a verifier of PKCE", verifier);
        }
        let error = |status, error: &str| {
            json_of(status, &json!({ "error": error, "error_description": said, "hint": said }))
        };
        match *lock(&self.mood) {
            Mood::Well => self.issued(field("grant_type").unwrap_or_default()),
            Mood::Refusing => error(400, "invalid_grant"),
            Mood::Suspicious => with_headers(error(401, "invalid_client"), &parts.headers, parts),
            Mood::Broken => with_headers(error(500, said), &parts.headers, parts),
            Mood::Garbled => text(200, format!("<html>{said}</html>")),
            Mood::Gone => Response::new(Pieces::broken_off(said.to_owned().into())),
        }
    }

    fn issued(&self, grant: &str) -> Answer {
        let plant = |what: &str| self.canaries.plant(format!("{what} token issued by {grant}"));
        let mut tokens = json!({
            "access_token": plant("access"),
            "token_type": "bearer",
            "expires_in": 3_600,
            "scope": "things.read",
        });
        if matches!(grant, "authorization_code" | "refresh_token") {
            tokens["refresh_token"] = plant("refresh").into();
        }
        json_of(200, &tokens)
    }

    fn revoked(&self, said: &str) -> Answer {
        match *lock(&self.mood) {
            Mood::Well => text(200, said.to_owned()),
            _ => json_of(503, &json!({ "error": said })),
        }
    }
}

/// As a form writes it: every byte but letters and digits.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn text(status: u16, text: String) -> Answer {
    response(status, "text/plain", text.into())
}

fn json_of(status: u16, value: &Value) -> Answer {
    response(status, "application/json", value.to_string().into())
}

fn response(status: u16, kind: &str, body: Bytes) -> Answer {
    let response = Response::builder().status(status).header(header::CONTENT_TYPE, kind);
    response.body(Pieces::whole(body)).expect("a valid response")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
