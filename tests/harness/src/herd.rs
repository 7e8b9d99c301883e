//! Callers who all come when a token has just ended: what the torture `refresh-herd` and its short form share.
//!
//! The authorization server rotates refresh tokens, takes its time, and ends the grant when one is presented twice;
//! the same server is the provider's API, and takes only the access token that it issued last.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::http::Http;

/// The fixture whose slot has tokens.
pub const CONNECTOR: &str = "fixtures/oauth";

/// The tenant that everybody calls for.
pub const TENANT: &str = "acme";

/// What every token is issued for.
pub const SCOPE: &str = "contacts.read";

/// Path of its installation.
const PATH: &str = "/v1/environments/dev/tenants/acme/connectors/fixtures/oauth";

/// An authorization server and a provider. Dropping it closes its door.
pub struct Authority {
    /// Where it listens.
    pub address: SocketAddr,
    book: Arc<Mutex<Book>>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Book {
    /// The number of the refresh token that is taken next; none once the grant has ended.
    live: Option<u32>,
    token_requests: u32,
    calls: u32,
    unauthorized: u32,
}

/// What became of a herd. Shown as one line.
#[derive(Debug)]
pub struct Outcome {
    callers: usize,
    /// Callers who had no answer from the provider.
    pub failed: usize,
    /// What one of them was told.
    pub example: Option<String>,
    /// Requests to the token endpoint since the server began.
    pub token_requests: u32,
    calls: u32,
    unauthorized: u32,
    slowest: Duration,
}

// === impl Authority ===

impl Authority {
    /// Starts one that takes `delay` for each token.
    pub async fn start(delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let book = Arc::new(Mutex::new(Book { live: Some(0), ..Book::default() }));
        let accepting = tokio::spawn(accept(listener, Arc::clone(&book), delay));
        Self { address, book, accepting }
    }

    /// What a host's configuration needs: both names stand for this server, and a herd is let in.
    pub fn config(&self) -> String {
        let stand_in = |host: &str| {
            format!(
                "[[egress.stand-in]]\nhost = \"{host}\"\naddress = \"http://{}\"\n",
                self.address
            )
        };
        let calls = "[calls]\ntenant-calls-max = 1000\n";
        format!("{calls}{}{}", stand_in("auth.example.test"), stand_in("api.example.com"))
    }

    /// Gives the tenant a connection whose access token has ended.
    pub async fn connect(&self, operator: &mut Http) {
        let client = json!({"client_id": "client", "client_secret": "canary-client-secret"});
        let path = "/v1/environments/dev/connectors/fixtures/oauth/clients/token";
        operator.put(path, client).await.ok();
        let tokens = json!({
            "access_token": "canary-access-0",
            "refresh_token": "canary-refresh-0",
            "expires_at": "2026-01-01T00:00:00Z",
        });
        operator.post(&format!("{PATH}/connections/token/import"), tokens).await.ok();
    }

    /// Sends all callers at once, each on a connection of its own.
    pub async fn herd(&self, callers: usize, client: impl Fn() -> Http) -> Outcome {
        let started_at = Instant::now();
        let mut calls = JoinSet::new();
        for _ in 0..callers {
            let mut http = client();
            calls.spawn(async move { (call(&mut http).await, started_at.elapsed()) });
        }
        let answers = calls.join_all().await;
        let slowest = answers.iter().map(|(_, took)| *took).max().unwrap_or_default();
        let mut failures: Vec<String> =
            answers.into_iter().filter_map(|(answer, _)| answer.err()).collect();
        let book = lock(&self.book);
        Outcome {
            callers,
            failed: failures.len(),
            example: failures.pop(),
            token_requests: book.token_requests,
            calls: book.calls,
            unauthorized: book.unauthorized,
            slowest,
        }
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

// === impl Outcome ===

impl Outcome {
    /// Whether there was one refresh, and nobody noticed but by waiting.
    pub fn held(&self) -> bool {
        let all = u32::try_from(self.callers).is_ok_and(|callers| self.calls == callers);
        self.failed == 0 && self.token_requests == 1 && self.unauthorized == 0 && all
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { callers, failed, example, token_requests, calls, unauthorized, slowest } = self;
        write!(f, "callers={callers} refreshes={token_requests} failed={failed} calls={calls}")?;
        write!(f, " unauthorized={unauthorized} slowest={:.1}s", slowest.as_secs_f64())?;
        match example {
            Some(example) => write!(f, " such as {example}"),
            None => Ok(()),
        }
    }
}

async fn call(http: &mut Http) -> Result<(), String> {
    let body = json!({"path": "/contacts"}).to_string();
    let path = format!("{PATH}/actions/get");
    let reply = http.try_send(Method::POST, &path, "application/json", body.into()).await?;
    if reply.status.is_success() && reply.json()["status"] == 200 {
        Ok(())
    } else {
        Err(format!("{} {}", reply.status, reply.json()))
    }
}

async fn accept(listener: TcpListener, book: Arc<Mutex<Book>>, delay: Duration) {
    while let Ok((stream, _)) = listener.accept().await {
        let book = Arc::clone(&book);
        let service = service_fn(move |request| answer(request, Arc::clone(&book), delay));
        let io = TokioIo::new(stream);
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
    }
}

async fn answer(
    request: Request<Incoming>,
    book: Arc<Mutex<Book>>,
    delay: Duration,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() != "/token" {
        let shown = request.headers().get(header::AUTHORIZATION);
        let shown = shown.and_then(|value| value.to_str().ok()).unwrap_or_default();
        return Ok(contacts(&mut lock(&book), shown));
    }
    let form = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let issued = issue(&mut lock(&book), &String::from_utf8_lossy(&form));
    tokio::time::sleep(delay).await;
    Ok(match issued {
        Some(tokens) => response(200, &tokens),
        None => response(400, &json!({"error": "invalid_grant"})),
    })
}

/// Takes the refresh token of a form, if it is the one to be taken.
fn issue(book: &mut Book, form: &str) -> Option<Value> {
    book.token_requests += 1;
    let shown =
        form.split('&').find_map(|pair| pair.strip_prefix("refresh_token=canary-refresh-"))?;
    let next = book.live.filter(|live| live.to_string() == shown).map(|live| live + 1);
    book.live = next;
    next.map(|next| {
        json!({
            "access_token": format!("canary-access-{next}"),
            "refresh_token": format!("canary-refresh-{next}"),
            "token_type": "bearer",
            "expires_in": 3600,
            "scope": SCOPE,
        })
    })
}

fn contacts(book: &mut Book, shown: &str) -> Response<Full<Bytes>> {
    book.calls += 1;
    if book.live.is_some_and(|live| shown == format!("Bearer canary-access-{live}")) {
        return response(200, &json!({"records": []}));
    }
    book.unauthorized += 1;
    response(401, &json!({"error": "expired"}))
}

fn response(status: u16, body: &Value) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(Full::new(body.to_string().into())).expect("a valid response")
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}
