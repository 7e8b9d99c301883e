//! A provider of a few lines: answers every request with JSON about it, and remembers what came.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// What came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    /// When.
    pub(crate) at: Instant,
}

/// A provider that answers 200. Dropping it closes its door; its connections end with the test.
pub(crate) struct Plain {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Plain {
    /// Answers with `{"seen": PATH}` and, for the path `/echo`, with every header it got. For `/limited` it answers 429,
    /// and how many requests it takes.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let accepting = tokio::spawn(accept(listener, Arc::clone(&seen)));
        Self { address, seen, accepting }
    }

    /// Requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("not poisoned").clone()
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, seen: Arc<Mutex<Vec<Seen>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let seen = Arc::clone(&seen);
        let service = service_fn(move |request| answer(request, Arc::clone(&seen)));
        let io = TokioIo::new(stream);
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: Arc<Mutex<Vec<Seen>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().to_string();
    let headers = request.headers().clone();
    let mut body = serde_json::json!({"seen": path, "records": [], "next": null});
    if path.starts_with("/echo") {
        let pairs = headers.iter().map(|(name, value)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned().into())
        });
        body["headers"] = serde_json::Value::Object(pairs.collect());
    }
    seen.lock().expect("not poisoned").push(Seen {
        target: path.clone(),
        headers,
        at: Instant::now(),
    });
    let mut response = Response::builder().header("content-type", "application/json");
    if path.starts_with("/limited") {
        response = response
            .status(429)
            .header("retry-after", "300")
            .header("ratelimit-policy", r#""burst";q=100;w=600"#)
            .header("ratelimit", r#""burst";r=0;t=300"#);
    }
    Ok(response.body(Full::new(body.to_string().into())).expect("a valid response"))
}
