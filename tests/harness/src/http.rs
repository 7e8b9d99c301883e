//! An HTTP client on one kept connection, as plain as a test needs it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// Longer than any call of a test may take: a hang fails instead of stalling the run.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A client of one address. Not shared: each task makes its own.
pub struct Http {
    address: SocketAddr,
    token: Option<String>,
    extra: HeaderMap,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: StatusCode,
    /// HTTP fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Why there is no answer: the peer is gone or never was there.
pub(crate) type Gone = String;

// === impl Http ===

impl Http {
    /// A client that shows `token`; an empty one is not shown.
    pub fn new(address: SocketAddr, token: &str) -> Self {
        let token = (!token.is_empty()).then(|| token.to_owned());
        Self { address, token, extra: HeaderMap::new(), connection: None }
    }

    /// The same, with another field on every request.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("a field's value");
        self.extra.insert(HeaderName::from_static(name), value);
        self
    }

    /// Gives up the kept connection: the next request makes a new one.
    pub fn disconnect(&mut self) {
        self.connection = None;
    }

    /// `GET path`.
    pub async fn get(&mut self, path: &str) -> Reply {
        self.send(Method::GET, path, "application/json", Bytes::new()).await
    }

    /// `PUT path` with JSON.
    pub async fn put(&mut self, path: &str, json: Value) -> Reply {
        self.send(Method::PUT, path, "application/json", json.to_string().into()).await
    }

    /// `POST path` with JSON.
    pub async fn post(&mut self, path: &str, json: Value) -> Reply {
        self.send(Method::POST, path, "application/json", json.to_string().into()).await
    }

    /// `POST /v1/releases` with a component.
    pub async fn publish(&mut self, component: impl Into<Bytes>) -> Reply {
        self.send(Method::POST, "/v1/releases", "application/wasm", component.into()).await
    }

    /// Any request; panics if nobody answers.
    pub async fn send(&mut self, method: Method, path: &str, kind: &str, body: Bytes) -> Reply {
        let what = format!("{method} {path}");
        self.try_send(method, path, kind, body)
            .await
            .unwrap_or_else(|gone| panic!("{what}: {gone}"))
    }

    /// Any request.
    pub async fn try_send(
        &mut self,
        method: Method,
        path: &str,
        kind: &str,
        body: Bytes,
    ) -> Result<Reply, Gone> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string())
            .header(header::CONTENT_TYPE, kind);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let mut request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        request.headers_mut().extend(self.extra.clone());
        match tokio::time::timeout(TIMEOUT, self.exchange(request)).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => {
                self.connection = None;
                Err(error.to_string())
            }
            Err(_) => {
                self.connection = None;
                Err(format!("no answer within {TIMEOUT:?}"))
            }
        }
    }

    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
        let usable = self.connection.as_ref().is_some_and(|sender| !sender.is_closed());
        if !usable {
            self.connection = Some(connect(self.address).await?);
        }
        let sender = self.connection.as_mut().expect("just connected");
        sender.ready().await?;
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Reply { status: head.status, headers: head.headers, body })
    }
}

#[expect(clippy::disallowed_methods, reason = "the harness talks to processes it started")]
async fn connect(
    address: SocketAddr,
) -> Result<SendRequest<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

// === impl Reply ===

impl Reply {
    /// The body as JSON; a text where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&self.body).into_owned()))
    }

    /// The problem's code; empty where the answer is no problem.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// A field of the answer.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// This, if the request succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.status.is_success(), "{}: {}", self.status, self.json());
        self
    }
}
