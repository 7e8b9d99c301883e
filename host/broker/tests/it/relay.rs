//! A caller's own request through the broker: what reaches the provider, what comes back, and how it ends.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame};
use keyway_broker::{Broker, Config, Resolve, Wire};
use keyway_core::call::Failure;
use keyway_core::credential::Credential;
use keyway_core::descriptor::SlotSpec;
use keyway_core::exchange::{Exchange, Origin, Relay, Relayed, Streamed};
use keyway_core::ids::ConnectionRef;
use keyway_core::ports::{Credentials, ExchangeLog, Held, Proxy as _};
use keyway_core::{Descriptor, Fault};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::frames::{Frames, HEADERS};
use crate::limits::arrived;
use crate::stuck::Uses;
use crate::support::{Fixed, Names, SECRET, Step, Upstream, answer, ok, opened, origin, text};
use crate::tls::identity;

/// What the provider takes after it has rejected [`SECRET`].
pub(crate) const RENEWED: &str = "pat-na1-R3newed-0f-S3cr3t";

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A broker, on whose behalf it is asked, and what it recorded.
pub(crate) struct World {
    pub(crate) broker: Broker,
    pub(crate) wire: Wire,
    pub(crate) origin: Origin,
    log: Arc<Log>,
    pub(crate) vault: Arc<Vault>,
}

#[derive(Default)]
struct Log(Mutex<Vec<Exchange>>);

/// Gives [`SECRET`], and [`RENEWED`] once that was rejected.
#[derive(Default)]
pub(crate) struct Vault {
    rejected: AtomicUsize,
    /// Held by every use of a credential.
    pub(crate) uses: Arc<Uses>,
}

/// A body of unknown length, piece by piece.
struct Pieces(mpsc::Receiver<Bytes>);

impl ExchangeLog for Log {
    fn body_bytes_max(&self) -> usize {
        0
    }

    fn record(&self, exchange: Exchange) {
        self.0.lock().unwrap().push(exchange);
    }
}

#[async_trait]
impl Credentials for Vault {
    async fn credential(&self, _: &ConnectionRef, _: &SlotSpec) -> Result<Option<Held>, Fault> {
        Ok(Some(Held { in_use: Arc::clone(&self.uses) as _, ..held(SECRET, 1) }))
    }

    async fn connected(&self, _: &ConnectionRef) -> Result<bool, Fault> {
        Ok(true)
    }

    async fn rejected(
        &self,
        _: &ConnectionRef,
        _: &SlotSpec,
        version: u64,
    ) -> Result<Option<Held>, Fault> {
        self.rejected.fetch_add(1, Ordering::SeqCst);
        let in_use = Arc::clone(&self.uses) as _;
        Ok((version == 1).then(|| Held { in_use, ..held(RENEWED, 2) }))
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

impl World {
    fn new(config: &str) -> Self {
        let config: Config = toml::from_str(config).unwrap();
        let (log, vault) = (Arc::new(Log::default()), Arc::new(Vault::default()));
        let names = Arc::new(Names::default()) as Arc<dyn Resolve>;
        let wire = Wire::new(config, names, Some(Arc::clone(&log) as _), Arc::new(Fixed)).unwrap();
        let descriptor = r#"{"format":1,"name":"acme/crm","version":"1.0.0",
            "hosts":["api.example.com","files.example.com"],
            "base-url":"https://api.example.com/base/","slots":{
            "key":{"scheme":{"kind":"api-key-header","name":"X-Api-Key"}},
            "signed":{"scheme":{"kind":"hmac","header":"X-Sign","parts":["method","body-digest"]}},
            "token":{"scheme":{"kind":"oauth2","grant":"client-credentials",
                "token-url":"https://api.example.com/token"}}}}"#;
        let origin = Origin {
            descriptor: Arc::new(Descriptor::parse(descriptor).unwrap()),
            ..origin("t1", &["api.example.com"], 0)
        };
        Self { broker: Broker::new(&wire, Arc::clone(&vault) as _), wire, origin, log, vault }
    }

    /// With the upstream in the place of the declared hosts.
    pub(crate) fn of(upstream: &Upstream, config: &str) -> Self {
        let hosts = ["api.example.com", "files.example.com"].map(|host| upstream.stand_in(host));
        Self::new(&format!("{config}\n{}", hosts.concat()))
    }

    /// With what listens at an address in the place of the host.
    pub(crate) async fn at(listener: &TcpListener, config: &str) -> Self {
        let address = listener.local_addr().unwrap();
        Self::new(&format!(
            "{config}\n[[stand-in]]\nhost = \"api.example.com\"\naddress = \"http://{address}\"\n"
        ))
    }

    pub(crate) async fn relay(&self, request: Relayed) -> Result<Relay, Failure> {
        timeout(PATIENCE, self.broker.relay(&self.origin, request, Box::new(()))).await.unwrap()
    }

    pub(crate) async fn get(&self, url: &str) -> Relay {
        self.relay(get(url)).await.unwrap()
    }

    /// The code of a refusal.
    pub(crate) async fn code(&self, request: Relayed) -> String {
        self.relay(request).await.unwrap_err().code.unwrap()
    }

    /// What was recorded.
    pub(crate) fn rows(&self) -> Vec<Exchange> {
        self.log.0.lock().unwrap().clone()
    }

    /// How each exchange ended, once there are so many.
    pub(crate) async fn ends(&self, count: usize) -> Vec<Option<&'static str>> {
        let recorded = async {
            while self.log.0.lock().unwrap().len() < count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, recorded).await.unwrap();
        self.log.0.lock().unwrap().iter().map(|exchange| exchange.stopped).collect()
    }
}

fn held(token: &str, version: u64) -> Held {
    let opened = opened(Credential::Token(token.to_owned().into()));
    Held { opened, version, account: None, base_url: None, in_use: Arc::new(()) }
}

pub(crate) fn whole(bytes: impl Into<Bytes>) -> Streamed {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

pub(crate) fn pieces() -> (mpsc::Sender<Bytes>, Streamed) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, Pieces(receiver).boxed_unsync())
}

pub(crate) fn get(url: &str) -> Relayed {
    Relayed {
        slot: Some("token".parse().unwrap()),
        method: Method::GET,
        url: url.to_owned(),
        headers: HeaderMap::new(),
        tokens: None,
        links: None,
        body: whole(""),
    }
}

pub(crate) fn post(body: Streamed) -> Relayed {
    Relayed { method: Method::POST, body, ..get("/upload") }
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    let mut headers = HeaderMap::new();
    headers.extend(pairs.iter().map(pair));
    headers
}

pub(crate) async fn read(relay: Relay) -> Result<Bytes, io::Error> {
    let body = timeout(PATIENCE, relay.body.collect()).await.unwrap();
    body.map(http_body_util::Collected::to_bytes)
}

/// The next piece of a response.
async fn piece(relay: &mut Relay) -> Bytes {
    let frame = timeout(PATIENCE, relay.body.frame()).await.unwrap();
    frame.unwrap().unwrap().into_data().unwrap()
}

/// Reads until this comes.
pub(crate) async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut seen = Vec::new();
    while !seen.ends_with(end.as_bytes()) {
        seen.push(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
    }
    String::from_utf8(seen).unwrap()
}

/// Catches a body that is collected before it goes on: the provider then writes all of it while nobody reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_comes_through_and_is_not_held() {
    const PIECE: usize = 1 << 18;
    const PIECES: usize = 1 << 12;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut world = World::at(&listener, "[limits]\nexchange-timeout = '30m'\n").await;
    world.origin.time_left = Duration::from_secs(1_800);
    let written = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&written);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        until(&mut stream, "\r\n\r\n").await;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", PIECE * PIECES);
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..PIECES {
            stream.write_all(&[b'x'; PIECE]).await.unwrap();
            counter.fetch_add(PIECE, Ordering::SeqCst);
        }
    });
    let mut relay = world.relay(Relayed { slot: None, ..get("/file") }).await.unwrap();
    let mut read = piece(&mut relay).await.len();
    tokio::time::sleep(Duration::from_millis(300)).await;
    // What two sockets' buffers hold.
    assert!(written.load(Ordering::SeqCst) < 64 << 20, "it was taken in although nobody read");
    while let Some(frame) = relay.body.frame().await {
        read += frame.unwrap().into_data().unwrap().len();
    }
    assert_eq!(read, PIECE * PIECES);
}

/// Catches a pause that is answered while a body still comes: the provider is not done with the credential.
#[tokio::test]
async fn a_credential_is_in_use_until_the_last_byte_is_through() {
    let upstream = Upstream::start(|number, _| match number {
        0 => vec![text("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")],
        _ => answer("", "0123456789"),
    })
    .await;
    let world = World::of(&upstream, "");
    // One is the vault's own.
    let uses = || Arc::strong_count(&world.vault.uses) - 1;
    for rejected in [1, 1] {
        let mut relay = world.get("/file").await;
        assert_eq!(world.vault.rejected.load(Ordering::SeqCst), rejected);
        assert!(uses() > 0, "the body has not been read");
        piece(&mut relay).await;
        drop(relay);
        let idle = async {
            while uses() > 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, idle).await.expect("it is idle in the end");
    }
}

/// Catches whoever waits for the end of a request before it hands the response on.
#[tokio::test]
async fn a_request_goes_on_while_its_response_has_begun() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::at(&listener, "").await;
    let provider = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = until(&mut stream, "\r\n\r\n").await.to_lowercase();
        assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        for n in 0..3 {
            until(&mut stream, &format!("1\r\n{n}\r\n")).await;
            stream.write_all(format!("1\r\n{n}\r\n").as_bytes()).await.unwrap();
        }
        until(&mut stream, "0\r\n\r\n").await;
        stream.write_all(b"0\r\n\r\n").await.unwrap();
        stream
    });
    let (sender, body) = pieces();
    let mut relay = world.relay(post(body)).await.unwrap();
    for n in 0..3 {
        sender.send(n.to_string().into()).await.unwrap();
        assert_eq!(piece(&mut relay).await, n.to_string());
    }
    drop(sender);
    assert!(relay.body.frame().await.is_none());
    assert_eq!(world.ends(0).await.len(), 0, "not recorded while the body is held");
    drop((relay, provider.await.unwrap()));
    assert_eq!(world.ends(1).await, [None]);
    assert_eq!(world.log.0.lock().unwrap()[0].request_bytes, 3);
}

/// Catches a connection that is kept although nobody will read the rest of the request: the caller's own connection
/// would hang on it.
#[tokio::test]
async fn an_answer_before_the_request_is_through_ends_both() {
    let upstream = Upstream::start(|_, _| ok("early")).await;
    let world = World::of(&upstream, "");
    let (sender, body) = pieces();
    let relay = world.relay(post(body)).await.unwrap();
    assert_eq!(read(relay).await.unwrap(), "early");
    timeout(PATIENCE, sender.closed()).await.unwrap();
    timeout(PATIENCE, upstream.ended(1)).await.unwrap();
}

// --- framing ---

#[tokio::test]
async fn lengths_are_kept_where_they_are_known() {
    let upstream = Upstream::start(|n, _| match n {
        0 => ok("four"),
        _ => {
            vec![text("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")]
        }
    })
    .await;
    let world = World::of(&upstream, "");
    let relay = world.relay(post(whole("12345"))).await.unwrap();
    assert_eq!(relay.headers["content-length"], "4");
    assert_eq!(relay.body.size_hint().exact(), Some(4));
    assert_eq!(read(relay).await.unwrap(), "four");
    let relay = world.get("/chunked").await;
    assert!(!relay.headers.contains_key("transfer-encoding"), "{:?}", relay.headers);
    assert!(!relay.headers.contains_key("content-length"));
    assert_eq!(read(relay).await.unwrap(), "abc");
    let sent = upstream.requests()[0].to_lowercase();
    assert!(
        sent.contains("content-length: 5\r\n") && !sent.contains("transfer-encoding"),
        "{sent}"
    );
    assert_eq!(upstream.connections(), 1);
}

/// Each answer that has no body, over the same connection: one misread would be the beginning of the next.
#[tokio::test]
async fn answers_without_a_body_have_none() {
    let heads = [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\netag: \"x\"\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ];
    let upstream = Upstream::start(move |n, _| vec![text(heads[n])]).await;
    let world = World::of(&upstream, "");
    for (n, (method, status, body)) in [
        (Method::HEAD, StatusCode::OK, ""),
        (Method::DELETE, StatusCode::NO_CONTENT, ""),
        (Method::GET, StatusCode::NOT_MODIFIED, ""),
        (Method::GET, StatusCode::OK, "ok"),
    ]
    .into_iter()
    .enumerate()
    {
        let relay = world.relay(Relayed { method, ..get("/") }).await.unwrap();
        assert_eq!(relay.status, status, "{n}");
        if n == 0 {
            assert_eq!(relay.headers["content-length"], "5", "HEAD says how long GET would be");
            assert_eq!(relay.body.size_hint().exact(), None, "and its body says nothing else");
        }
        assert_eq!(read(relay).await.unwrap(), body, "{n}");
    }
    // The others all go over one; what must not be repeated has a fresh one.
    assert_eq!(upstream.connections(), 2);
    assert_eq!(world.ends(4).await, [None; 4]);
}

/// Catches a connection that only goes back once somebody asks for what comes after the last byte: servers do not.
#[tokio::test]
async fn a_body_of_known_length_is_over_with_its_last_byte() {
    let upstream = Upstream::start(|_, _| ok("four")).await;
    let world = World::of(&upstream, "");
    for slot in [None, Some("token".parse().unwrap())] {
        let mut relay = world.relay(Relayed { slot, ..get("/") }).await.unwrap();
        assert_eq!(piece(&mut relay).await, "four");
        assert!(relay.body.is_end_stream());
    }
    assert_eq!(world.ends(2).await, [None; 2]);
    assert_eq!(upstream.connections(), 1);
}

/// C19: lengths that the caller's own framing claims are not what is sent.
#[tokio::test]
async fn framing_is_rebuilt() {
    let upstream = Upstream::start(|_, _| ok("")).await;
    let world = World::of(&upstream, "");
    for claims in [
        &[("content-length", "3"), ("transfer-encoding", "chunked")][..],
        &[("content-length", "3"), ("content-length", "99")],
        &[("transfer-encoding", "chunked, identity"), ("te", "trailers"), ("trailer", "x-y")],
    ] {
        let request = Relayed { headers: headers(claims), ..post(whole("12345")) };
        read(world.relay(request).await.unwrap()).await.unwrap();
    }
    for sent in upstream.requests() {
        let sent = sent.to_lowercase();
        assert_eq!(sent.matches("content-length:").count(), 1, "{sent}");
        assert!(
            sent.contains("content-length: 5\r\n") && sent.ends_with("\r\n\r\n12345"),
            "{sent}"
        );
        for gone in ["transfer-encoding", "te:", "trailer"] {
            assert!(!sent.contains(&format!("\r\n{gone}")), "{gone} in {sent}");
        }
    }
}

#[tokio::test]
async fn http2_providers_are_asked_over_one_connection() {
    let identity = identity("api.example.com", &[b"h2"], 4000);
    let frames = Frames::start(&identity, |_, frame| match frame.kind {
        HEADERS => crate::frames::answer(frame.stream, b"over h2"),
        _ => Vec::new(),
    })
    .await;
    let world = World::new(&format!(
        "extra-roots = [{:?}]\n[[stand-in]]\nhost = 'api.example.com'\naddress = 'https://{}'",
        identity.root(),
        frames.address()
    ));
    for _ in 0..2 {
        assert_eq!(read(world.get("/").await).await.unwrap(), "over h2");
    }
    let (sender, body) = pieces();
    let relay = world.relay(post(body)).await.unwrap();
    drop(sender);
    assert_eq!(read(relay).await.unwrap(), "over h2");
    assert_eq!(frames.connections(), 1);
}

// --- what is not handed on ---

#[tokio::test]
async fn compressed_bodies_stay_as_they_are_with_their_header() {
    let upstream = Upstream::start(|_, request| {
        assert!(request.to_lowercase().contains("accept-encoding: gzip\r\n"), "{request}");
        answer("content-encoding: gzip\r\nvary: accept-encoding\r\n", "not really gzip")
    })
    .await;
    let world = World::of(&upstream, "");
    let request = Relayed { headers: headers(&[("accept-encoding", "gzip")]), ..get("/") };
    let relay = world.relay(request).await.unwrap();
    assert_eq!(relay.headers["content-encoding"], "gzip");
    assert_eq!(relay.headers["vary"], "accept-encoding");
    assert_eq!(read(relay).await.unwrap(), "not really gzip");
    // Who asks for no coding is sent none: the host asks for nothing of its own.
    let upstream = Upstream::start(|_, request| {
        assert!(!request.to_lowercase().contains("accept-encoding"), "{request}");
        ok("")
    })
    .await;
    World::of(&upstream, "").get("/").await;
    assert_eq!(upstream.requests().len(), 1);
}

/// Catches a search that looks at each piece alone.
#[tokio::test]
async fn a_secret_is_masked_across_pieces_and_in_headers() {
    let (first, second) = SECRET.split_at(9);
    let echo = [first, second].map(|half| half.to_owned());
    let upstream = Upstream::start(move |n, _| {
        let coding = ["", "content-encoding: identity\r\n"][n];
        let length = SECRET.len() + 8;
        vec![
            text(&format!(
                "HTTP/1.1 200 OK\r\n{coding}x-echo: Bearer {SECRET}\r\ncontent-length: {length}\r\n\r\n"
            )),
            text(&format!("you:{}", echo[0])),
            Step::Pause(Duration::from_millis(40)),
            text(&format!("{}:me,", echo[1])),
        ]
    })
    .await;
    let world = World::of(&upstream, "");
    for _ in 0..2 {
        let relay = world.get("/").await;
        assert!(!format!("{:?}", relay.headers).contains(SECRET));
        assert_eq!(relay.headers["content-length"], (SECRET.len() + 8).to_string());
        let expected = format!("you:{}:me,", "*".repeat(SECRET.len()));
        assert_eq!(read(relay).await.unwrap(), expected);
    }
    assert!(!format!("{:?}", world.log.0.lock().unwrap()).contains(SECRET));
}

/// What is held back until more comes is not lost where nothing does, and a body that only begins like a secret is its own.
#[tokio::test]
async fn a_body_that_ends_like_a_secret_begins_is_whole() {
    let half = &SECRET[..9];
    let upstream = Upstream::start(move |n, _| match n {
        0 => answer("", half),
        // Without a length, and the end comes by itself.
        _ => vec![
            text("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
            text(&format!("9\r\n{half}\r\n")),
            text("0\r\n\r\n"),
        ],
    })
    .await;
    let world = World::of(&upstream, "");
    for _ in 0..2 {
        let relay = world.get("/").await;
        assert!(!relay.headers.contains_key("keyway-masked"));
        assert_eq!(read(relay).await.unwrap(), half);
    }
}

/// A header is left out if its name has the secret, which servers spell in small letters.
#[tokio::test]
async fn a_secret_in_the_name_of_a_header_does_not_come_back() {
    let upstream = Upstream::start(|n, _| match n {
        0 => vec![text("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")],
        _ => answer(&format!("X-{RENEWED}: 1\r\nx-own: kept\r\n"), ""),
    })
    .await;
    let world = World::of(&upstream, "");
    let relay = world.get("/").await;
    let mut names: Vec<&str> = relay.headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "keyway-masked", "x-own"]);
    assert_eq!(relay.headers["keyway-masked"], "head");
    let log = format!("{:?}", world.log.0.lock().unwrap()).to_lowercase();
    assert!(!log.contains(&RENEWED.to_lowercase()), "{log}");
}

/// What was masked is said in the head, and counted once.
#[tokio::test]
async fn an_answer_says_that_a_credential_was_masked_in_it() {
    let upstream = Upstream::start(|n, _| match n {
        0 => answer("", &format!("{{\"you\":\"{SECRET}\"}}")),
        1 => answer(&format!("x-echo: {SECRET}\r\n"), SECRET),
        _ => answer("", "{\"user\":true}"),
    })
    .await;
    let world = World::of(&upstream, "");
    for expected in [Some("body"), Some("head, body"), None] {
        let relay = world.get("/").await;
        let said =
            relay.headers.get("keyway-masked").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(said.as_deref(), expected);
        read(relay).await.unwrap();
    }
    let mut registry = prometheus_client::registry::Registry::default();
    world.wire.metrics().register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("keyway_broker_masked_total{carried=\"proxy\"} 2"), "{text}");
}

#[tokio::test]
async fn headers_of_one_hop_and_of_the_host_do_not_go_out() {
    let upstream = Upstream::start(|_, _| ok("")).await;
    let world = World::of(&upstream, "");
    let sent = headers(&[
        ("connection", "close, X-Hop"),
        ("x-hop", "this hop's"),
        ("keep-alive", "timeout=5"),
        ("proxy-authorization", "Basic callers"),
        ("te", "trailers"),
        ("upgrade", "websocket"),
        ("authorization", "Bearer the-callers-own"),
        ("cookie", "session=callers"),
        ("host", "keyway.example.com"),
        ("forwarded", "for=10.0.0.1"),
        ("x-forwarded-for", "10.0.0.1"),
        ("via", "1.1 before"),
        ("x-api-key", "of another slot"),
        ("keyway-user", "ann"),
        ("keyway-anything", "x"),
        ("expect", "100-continue"),
        ("if-none-match", "\"kept\""),
        ("x-own", "kept too"),
    ]);
    world.relay(Relayed { headers: sent, ..get("/") }).await.unwrap();
    let request = upstream.requests().remove(0);
    let mut names: Vec<String> = request
        .lines()
        .skip(1)
        .filter_map(|line| Some(line.split_once(':')?.0.to_lowercase()))
        .collect();
    names.sort();
    assert_eq!(names, ["authorization", "host", "if-none-match", "user-agent", "x-own"]);
    assert!(request.contains(&format!("Bearer {SECRET}\r\n")), "{request}");
    assert!(request.contains("host: api.example.com\r\n"), "{request}");
}

#[tokio::test]
async fn headers_of_one_hop_and_credentials_do_not_come_back() {
    let upstream = Upstream::start(|_, _| {
        answer(
            "connection: keep-alive, x-hop\r\nx-hop: this hop's\r\nkeep-alive: timeout=5\r\n\
             proxy-authenticate: Basic\r\nset-cookie: a=b\r\nwww-authenticate: Bearer\r\n\
             keyway-release: of/another@9.9.9\r\nx-own: kept\r\nretry-after: 7\r\netag: \"v\"\r\n",
            "",
        )
    })
    .await;
    let relay = World::of(&upstream, "").get("/").await;
    let mut names: Vec<&str> = relay.headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "etag", "retry-after", "x-own"]);
}

// --- where it may go ---

#[tokio::test]
async fn paths_stay_on_the_declared_hosts() {
    let upstream = Upstream::start(|_, _| ok("")).await;
    let world = World::of(&upstream, "");
    for (url, code) in [
        ("https://evil.com/x", "undeclared-host"),
        ("https://api.example.com.evil.com/", "undeclared-host"),
        ("https://api.example.com@evil.com/", "userinfo-refused"),
        ("https://api.example.com:8443/", "undeclared-host"),
        ("http://api.example.com/", "scheme-refused"),
        ("//evil.com/x", "url-malformed"),
        ("https://127.0.0.1/", "undeclared-host"),
        ("/x?access_token=mine", "credential-place-taken"),
        ("/../../x", "url-malformed"),
        ("/%2e%2e/%2E%2e/x", "url-malformed"),
        ("/..//evil.com/x", "url-malformed"),
        ("/a/..%2f..%2fx", "url-malformed"),
        ("/a/.%2e/..;x/y", "url-malformed"),
    ] {
        assert_eq!(world.code(get(url)).await, code, "{url}");
    }
    assert_eq!(world.code(Relayed { method: Method::CONNECT, ..get("/") }).await, "method-refused");
    assert_eq!(upstream.connections(), 0, "nothing was opened for what is refused");
    for url in ["/a/../x", "/a/%2e%2e/x", "/https://evil.com/x", "/a/@evil.com", "/...%2f"] {
        world.get(url).await;
    }
    let sent = upstream.requests();
    assert!(sent.iter().all(|request| request.starts_with("GET /base/")), "{sent:?}");
    assert!(sent.iter().all(|request| request.contains("host: api.example.com\r\n")), "{sent:?}");
    world.get("https://files.example.com/y").await;
    assert!(upstream.requests()[5].contains("host: files.example.com\r\n"));
}

/// Catches an encoder that knows better: what a provider has signed it must get back.
#[tokio::test]
async fn queries_and_encoded_paths_are_sent_byte_for_byte() {
    let upstream = Upstream::start(|_, _| ok("")).await;
    let world = World::of(&upstream, "");
    for target in [
        "/a%20b/%C3%BC/c%2Fd?q=%2f+x&x='y'&&empty=&z=[1]|{2}",
        "/x?",
        "/x??a=?",
        "/x?a=%ZZ",
        "/odata(1)/Name!$value;v=1,2",
    ] {
        world.get(target).await;
        let request = upstream.requests().pop().unwrap();
        assert!(request.starts_with(&format!("GET /base{target} HTTP/1.1\r\n")), "{request}");
    }
}

// --- credentials ---

/// Catches a body that is sent again although it is gone, and one that is not although nothing was in it.
#[tokio::test]
async fn a_rejected_credential_is_renewed_once() {
    let upstream = Upstream::start(|_, request| {
        let good = request.contains(RENEWED);
        let status = if good { "200 OK" } else { "401 Unauthorized" };
        vec![text(&format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok"))]
    })
    .await;
    let world = World::of(&upstream, "");
    assert_eq!(world.get("/").await.status, StatusCode::OK);
    assert_eq!(world.relay(post(whole(""))).await.unwrap().status, StatusCode::OK);
    assert_eq!(upstream.requests().len(), 4);
    let relay = world.relay(post(whole("gone by then"))).await.unwrap();
    assert_eq!(relay.status, StatusCode::UNAUTHORIZED);
    assert_eq!(upstream.requests().len(), 5, "a body that went by is not there to be sent again");
    assert_eq!(
        world.vault.rejected.load(Ordering::SeqCst),
        3,
        "the next one has a good credential"
    );
}

#[tokio::test]
async fn a_credential_that_stays_rejected_is_the_providers_answer() {
    let refusal = || vec![text("HTTP/1.1 401 Unauthorized\r\ncontent-length: 4\r\n\r\nnope")];
    let upstream = Upstream::start(move |_, _| refusal()).await;
    let world = World::of(&upstream, "");
    let relay = world.get("/").await;
    assert_eq!(relay.status, StatusCode::UNAUTHORIZED);
    assert_eq!(read(relay).await.unwrap(), "nope");
    assert_eq!(upstream.requests().len(), 2, "once more, and no more");
}

// --- how it ends ---

/// Catches what outlives a caller: the connection, the permit, the missing line in the log.
#[tokio::test]
async fn a_caller_who_goes_away_leaves_nothing_behind() {
    let upstream = Upstream::start(|n, _| match n {
        0 => vec![text("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart"), Step::Hang],
        1 => vec![Step::Hang],
        _ => ok("next"),
    })
    .await;
    let world = World::of(&upstream, "[limits]\nin-flight-per-tenant-max = 1\n");
    let mut relay = world.get("/").await;
    assert_eq!(piece(&mut relay).await, "part");
    drop(relay);
    timeout(PATIENCE, upstream.ended(1)).await.unwrap();
    // Before there is an answer.
    tokio::select! {
        early = world.broker.relay(&world.origin, get("/"), Box::new(())) => {
            panic!("answered: {:?}", early.map(|relay| relay.status));
        }
        read = timeout(PATIENCE, arrived(&upstream, 2)) => read.unwrap(),
    }
    timeout(PATIENCE, upstream.ended(2)).await.unwrap();
    assert_eq!(read(world.get("/").await).await.unwrap(), "next");
    assert_eq!(world.ends(3).await, [Some("caller-gone"), Some("caller-gone"), None]);
    assert_eq!(world.log.0.lock().unwrap()[0].response_bytes, 4);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_whole() {
    for (name, steps) in [
        ("a length", vec![text("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"), Step::Close]),
        (
            "chunks",
            vec![
                text("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"),
                Step::Close,
            ],
        ),
        ("a cut", vec![text("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"), Step::Cut]),
    ] {
        let upstream = Upstream::start(move |_, _| steps.clone()).await;
        let world = World::of(&upstream, "");
        assert!(read(world.get("/").await).await.is_err(), "{name}");
        assert_eq!(world.ends(1).await, [Some("connection-lost")], "{name}");
    }
}

#[tokio::test]
async fn a_body_that_stalls_is_cut() {
    let upstream = Upstream::start(|_, _| {
        vec![text("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nxyz"), Step::Hang]
    })
    .await;
    let world = World::of(&upstream, "[limits]\nbetween-bytes-timeout = '150ms'\n");
    let mut relay = world.get("/").await;
    assert_eq!(piece(&mut relay).await, "xyz");
    let error = timeout(PATIENCE, relay.body.frame()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "body-stalled");
    assert!(relay.body.frame().await.is_none(), "and nothing after it");
    drop(relay);
    timeout(PATIENCE, upstream.ended(1)).await.unwrap();
    assert_eq!(world.ends(1).await, [Some("body-stalled")]);
}

/// Catches a clock that runs while the caller is the slow one.
#[tokio::test]
async fn a_slow_caller_is_not_a_stalled_provider() {
    let upstream = Upstream::start(|_, _| {
        vec![
            text("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na"),
            Step::Pause(Duration::from_millis(900)),
            text("b"),
        ]
    })
    .await;
    let world = World::of(&upstream, "[limits]\nbetween-bytes-timeout = '600ms'\n");
    let mut relay = world.get("/").await;
    assert_eq!(piece(&mut relay).await, "a");
    tokio::time::sleep(Duration::from_millis(750)).await;
    assert_eq!(piece(&mut relay).await, "b");
}
