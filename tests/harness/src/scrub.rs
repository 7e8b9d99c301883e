//! Downloads through the proxy with a credential in use: what the torture `scrub` and its short form share.
//!
//! A provider sends random bytes, text and base64, in one line and in many. None of it has a credential in it, and all of it
//! has names and words that are one in another place. What arrives has to be what was sent, byte for byte, and nothing
//! may say that something was masked. A provider that does give back the credential must be caught at it, or nothing was
//! measured.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::host::{Host, component};
use crate::http::Http;

/// An installation of the fixture with a slot for each scheme.
const PATH: &str = "/v1/environments/dev/tenants/acme/connectors/fixtures/spy";

/// Bytes of one piece of a body.
const PIECE_BYTES: usize = 48 << 10;

/// Bytes of a line of base64 (RFC 2045 section 6.8).
const LINE_BYTES: usize = 76;

/// Says that a credential was masked.
const MASKED: &str = "keyway-masked";

/// What a credential is put on, and what it is: with every letter that texts escape; a name and a password that are short;
/// a word of JSON; as short as what is found anywhere; digits, few and many; words that stand in texts and in keys.
const CREDENTIALS: [(&str, &str, Option<&str>); 9] = [
    ("token", "t0ken-\"/+\\&<>=%-of-a-tenant", None),
    ("login", "user", Some("hunter22")),
    ("key", "true", None),
    ("token", "hunter222", None),
    ("key", "123456789", None),
    ("token", "1780315290123", None),
    ("token", "anonymous", None),
    ("key", "production", None),
    ("login", "user", Some("accessToken")),
];

/// Words of a text, among them those that are credentials, and numbers in which one is. Whatever its end cuts off, none is left
/// of which one is the whole.
const WORDS: [&str; 32] = [
    "user",
    "username",
    "hunter22,",
    "true",
    "the",
    "provider",
    "\"user\":",
    "key",
    "token",
    "login",
    "untrue",
    "\n",
    "{\"ok\":true}",
    "and",
    "password",
    "authorization: Basic",
    "anonymous",
    "\"anonymous\":",
    "production",
    "{\"production\":1,\"x\":\"in production\"}",
    "https://example.com/production/anonymous",
    "accessToken",
    "\"accessToken\":",
    "91234567890",
    "{\"id\":91234567890,\"n\":0.123456789}",
    "0123456789",
    "917803152901234",
    "\"91780315290123\"",
    "{\"at\":91780315290123}",
    "hunter22",
    "1780315290.123",
    "-123456789",
];

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Random,
    Text,
    Base64,
    Lines,
}

const KINDS: [(&str, Kind); 4] = [
    ("random", Kind::Random),
    ("text", Kind::Text),
    ("base64", Kind::Base64),
    ("lines", Kind::Lines),
];

/// What became of the downloads. Shown as one line.
#[derive(Debug)]
pub struct Outcome {
    bytes: u64,
    downloads: usize,
    /// Downloads that were not what was sent.
    altered: Vec<String>,
    /// Credentials that came back and were not masked, or of which nothing said so.
    missed: Vec<String>,
    /// Answers in which something was masked, as the host counts them.
    counted: String,
    took: Duration,
}

/// A body that is made as it is read, always the same for a seed.
struct Stream {
    kind: Kind,
    left: u64,
    state: u64,
    digest: Sha256,
}

/// Downloads so many bytes of each kind with each credential, in a folder that is empty.
pub async fn run(folder: &Path, bytes: u64) -> Outcome {
    let began = Instant::now();
    let (provider, accepting) = provide().await;
    let host = Host::start(
        &folder.join("data"),
        &format!(
            "[[egress.stand-in]]\nhost = \"api.example.com\"\naddress = \"http://{provider}\"\n"
        ),
    );
    install(&mut host.http()).await;
    let (mut altered, mut missed) = (Vec::new(), Vec::new());
    for (number, (slot, secret, password)) in CREDENTIALS.iter().enumerate() {
        connect(&mut host.http(), slot, secret, *password).await;
        for (name, kind) in KINDS {
            let expected = Stream::of(kind, bytes, number as u64).finish();
            let path = format!("/{name}/{number}/{bytes}");
            let (headers, digest, length) = download(&host, slot, &path).await;
            if digest != expected || length != bytes || headers.contains_key(MASKED) {
                altered.push(format!("{name} with {slot}: {length} bytes, {headers:?}"));
            }
        }
        let mut http = host.http().with("keyway-slot", slot);
        let reply = http.get(&format!("{PATH}/proxy/echo")).await.ok();
        let shown = reply.json();
        let masked = |shown: &str| shown.contains("***") || shown.bytes().all(|byte| byte == b'9');
        let bare = shown["secret"].as_str().is_none_or(|shown| !masked(shown));
        if bare || shown["secret"] == *secret || reply.header(MASKED) != "body" {
            missed.push(format!("{slot}: {shown} {:?}", reply.headers));
        }
    }
    let metrics = host.http().get("/metrics").await.ok();
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let counted = metrics.lines().find(|line| line.starts_with("keyway_broker_masked_total"));
    let counted = counted.and_then(|line| line.rsplit(' ').next()).unwrap_or("0").to_owned();
    accepting.abort();
    let downloads = CREDENTIALS.len() * KINDS.len();
    Outcome { bytes, downloads, altered, missed, counted, took: began.elapsed() }
}

async fn install(http: &mut Http) {
    http.publish(component("fixtures/guests", "examples/spy")).await.ok();
    let pin = json!({"release": "1.0.0", "reason": "downloads"});
    http.put(&format!("{PATH}/pin"), pin).await.ok();
}

/// Sets a credential in the place of the one before it.
async fn connect(http: &mut Http, slot: &str, secret: &str, password: Option<&str>) {
    let secret = match password {
        Some(password) => json!({"user": secret, "password": password}),
        None => json!({"token": secret}),
    };
    http.put(&format!("{PATH}/connections/{slot}"), secret).await.ok();
}

/// What came, without keeping it: its head, the digest of its body, and how long that was.
#[expect(clippy::disallowed_methods, reason = "the harness talks to processes it started")]
async fn download(host: &Host, slot: &str, path: &str) -> (HeaderMap, Vec<u8>, u64) {
    let stream = TcpStream::connect(host.address).await.expect("a host that listens");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    let connection = tokio::spawn(connection);
    let request = Request::get(format!("{PATH}/proxy{path}"))
        .header(header::HOST, host.address.to_string())
        .header(header::AUTHORIZATION, format!("Bearer {}", host.token))
        .header("keyway-slot", slot)
        .body(Empty::<Bytes>::new())
        .expect("a valid request");
    let (head, mut body) = sender.send_request(request).await.expect("an answer").into_parts();
    let (mut digest, mut length) = (Sha256::new(), 0);
    while let Some(frame) = body.frame().await {
        let data = frame.expect("a whole body").into_data().unwrap_or_default();
        length += data.len() as u64;
        digest.update(&data);
    }
    connection.abort();
    (head.headers, digest.finalize().to_vec(), length)
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

async fn provide() -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let accepting = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service =
                service_fn(|request| std::future::ready(Ok::<_, Infallible>(answer(&request))));
            let server = hyper::server::conn::http1::Builder::new();
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, accepting)
}

fn answer(request: &Request<Incoming>) -> Answer {
    let mut parts = request.uri().path().trim_start_matches('/').split('/');
    let kind = parts.next().and_then(|name| KINDS.iter().find(|(known, _)| *known == name));
    let mut numbers = parts.filter_map(|number| number.parse().ok());
    let (seed, bytes) = (numbers.next(), numbers.next());
    let Some(((_, kind), (seed, bytes))) = kind.zip(seed.zip(bytes)) else {
        return echo(request.headers());
    };
    let label = if *kind == Kind::Random { "application/octet-stream" } else { "text/plain" };
    let response = Response::builder().header(header::CONTENT_TYPE, label);
    response.body(Stream::of(*kind, bytes, seed).boxed_unsync()).expect("a valid response")
}

/// Gives back the credential, as it came and as it was meant.
fn echo(headers: &HeaderMap) -> Answer {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let sent = value("authorization").or(value("x-api-key")).unwrap_or_default();
    let bare = sent.strip_prefix("Bearer ").unwrap_or(sent);
    let said: Value = json!({"sent": sent, "secret": bare, "ok": true});
    let response = Response::builder().header(header::CONTENT_TYPE, "application/json");
    response.body(Full::from(said.to_string()).boxed_unsync()).expect("a valid response")
}

// === impl Stream ===

impl Stream {
    fn of(kind: Kind, bytes: u64, seed: u64) -> Self {
        // SplitMix64 takes any seed.
        Self { kind, left: bytes, state: seed, digest: Sha256::new() }
    }

    /// The digest of all of it.
    fn finish(mut self) -> Vec<u8> {
        while let Some(piece) = self.piece() {
            self.digest.update(&piece);
        }
        self.digest.finalize().to_vec()
    }

    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn piece(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let mut piece = Vec::with_capacity(2 * PIECE_BYTES);
        if self.kind == Kind::Text {
            while piece.len() < PIECE_BYTES {
                let word = usize::try_from(self.random() >> 59).unwrap_or_default();
                piece.extend_from_slice(WORDS[word].as_bytes());
                piece.push(b' ');
            }
        } else {
            while piece.len() < PIECE_BYTES {
                piece.extend_from_slice(&self.random().to_le_bytes());
            }
        }
        let mut piece = match self.kind {
            Kind::Random | Kind::Text => piece,
            Kind::Base64 => STANDARD.encode(piece).into_bytes(),
            Kind::Lines => {
                let text = STANDARD.encode(piece);
                text.as_bytes()
                    .chunks(LINE_BYTES)
                    .flat_map(|line| [line, b"\r\n"].concat())
                    .collect()
            }
        };
        piece.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= piece.len() as u64;
        Some(piece.into())
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.get_mut().piece().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

// === impl Outcome ===

impl Outcome {
    /// Whether nothing was changed that is no credential, and each credential that came back was masked and told of.
    pub fn held(&self) -> bool {
        let counted = CREDENTIALS.len().to_string();
        self.altered.is_empty() && self.missed.is_empty() && self.counted == counted
    }

    /// What is wrong, one thing a line.
    pub fn complaints(&self) -> Vec<String> {
        let altered = self.altered.iter().map(|one| format!("altered: {one}"));
        altered.chain(self.missed.iter().map(|one| format!("missed: {one}"))).collect()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, downloads, altered, missed, counted, took } = self;
        write!(f, "bytes={bytes} downloads={downloads} altered={} ", altered.len())?;
        write!(f, "missed={} masked={counted} seconds={:.0}", missed.len(), took.as_secs_f64())
    }
}
