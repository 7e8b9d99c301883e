//! The proxy API of the real host: official clients that know nothing of it, and raw requests.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use bytes::Bytes;
use harness::component;
use harness::parties::Party;
use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hubspot_upstream::{Options, Token, Upstream};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::setup::{Setup, path, stand_in};

const HUBSPOT: &str = "keyway/hubspot";

/// A connector with one host and one slot: all that the proxy needs of it.
const PAGES: &str = "fixtures/pages";

/// What the provider takes, and no caller may see.
const CREDENTIAL: &str = "canary-of-the-proxy-1c7e";

/// Of a big body: more than any buffer on the way.
const BIG_BYTES: usize = 64 << 20;

// --- a provider ---

/// Sends a request's body back as it comes, and says in headers what it was asked. Paths choose: `/head` answers with
/// a length, `/chunked` without one, `/unchanged` 304, `/big` many bytes, `/echo` with the request as text.
pub(crate) struct Mirror {
    address: SocketAddr,
    accepting: tokio::task::JoinHandle<()>,
}

type Mirrored = BoxBody<Bytes, hyper::Error>;

impl Mirror {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = hyper::server::conn::http1::Builder::new();
                let service = service_fn(async |request| Ok::<_, Infallible>(mirror(request)));
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, accepting }
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn full(bytes: impl Into<Bytes>) -> Mirrored {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// A request as text: its line, and its headers but for the credential.
fn told(request: &Request<Incoming>) -> String {
    let mut text = format!("{} {} \n", request.method(), request.uri());
    for (name, value) in
        request.headers().iter().filter(|(name, _)| **name != header::AUTHORIZATION)
    {
        text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    }
    text
}

fn mirror(request: Request<Incoming>) -> Response<Mirrored> {
    let target = request.uri().to_string();
    let value = |name: header::HeaderName| request.headers().get(name).cloned();
    let said = value(header::AUTHORIZATION).map_or("none", |value| match value.to_str() {
        Ok(text) if text.contains(CREDENTIAL) => "tenant",
        Ok(text) if text.contains("anns-own") => "ann",
        _ => "other",
    });
    let length = value(header::CONTENT_LENGTH);
    let mut response = Response::builder()
        .header("x-method", request.method().as_str())
        .header("x-target", &target)
        .header("x-credential", said)
        .header(
            "x-length",
            length.as_ref().and_then(|value| value.to_str().ok()).unwrap_or("none"),
        );
    let body = match target.split('?').next().unwrap_or_default() {
        "/unchanged" => {
            response = response.status(304).header("etag", "\"v\"");
            full("")
        }
        "/big" => full(vec![b'x'; BIG_BYTES]),
        "/chunked" => full("abc").map_frame(|frame| frame).boxed(),
        "/head" => full("12345"),
        "/echo" => full(told(&request)),
        _ => request.into_body().boxed(),
    };
    response.body(body).expect("a valid response")
}

// --- a caller ---

/// What came back.
pub(crate) struct Got {
    pub(crate) status: u16,
    headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    pub(crate) fn code(&self) -> String {
        self.problem("code")
    }

    /// Whose fault it is.
    fn whose(&self) -> String {
        self.problem("whose")
    }

    fn problem(&self, member: &str) -> String {
        let problem: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        problem[member].as_str().unwrap_or_default().to_owned()
    }
}

/// A request that is written as it stands, over a connection of its own.
pub(crate) async fn ask(
    setup: &Setup,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Got {
    ask_as(setup, &setup.host.token, method, path, headers, body).await
}

async fn ask_as(
    setup: &Setup,
    token: &str,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Got {
    let bearer = format!("Bearer {token}");
    let all = [&[("host", "keyway.example"), ("authorization", &*bearer)], headers].concat();
    ask_at(setup.host.address, method, path, &all, body).await
}

/// A request with these headers and no others.
#[expect(clippy::disallowed_methods, reason = "the test talks to the host that it started")]
pub(crate) async fn ask_at(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Got {
    let stream = TcpStream::connect(address).await.expect("it listens");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("http");
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).expect("a valid request");
    let (head, body) = sender.send_request(request).await.expect("an answer").into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    Got { status: head.status.as_u16(), headers: head.headers, body }
}

/// A host with a tenant whose provider is the mirror.
pub(crate) async fn mirrored(tenant: &str) -> (Mirror, Setup) {
    mirrored_with(tenant, "").await
}

/// The same, with more of a configuration.
pub(crate) async fn mirrored_with(tenant: &str, config: &str) -> (Mirror, Setup) {
    let mirror = Mirror::start().await;
    let setup = with_config(tenant, mirror.address, CREDENTIAL, config).await;
    (mirror, setup)
}

pub(crate) async fn with_pages(tenant: &str, provider: SocketAddr, credential: &str) -> Setup {
    with_config(tenant, provider, credential, "").await
}

async fn with_config(tenant: &str, provider: SocketAddr, credential: &str, config: &str) -> Setup {
    let mut setup = Setup::new(&[config, &stand_in("api.example.com", provider)].concat());
    setup.publish("pages").await.ok();
    setup.pin(tenant, PAGES, "1.0.0").await;
    let slot = path(tenant, PAGES, "/connections/token");
    setup.http.put(&slot, json!({"token": credential})).await.ok();
    setup
}

pub(crate) fn proxy(tenant: &str, rest: &str) -> String {
    path(tenant, PAGES, &format!("/proxy{rest}"))
}

// --- official clients ---

/// Runs a client of `tests/parties` to its end; what it printed.
pub(crate) async fn client(script: &'static str, options: Vec<String>) -> Value {
    let output = client_output(script, options).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let summary = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
    assert!(output.status.success(), "{summary} {said}");
    summary
}

/// The same, however it ends.
pub(crate) async fn client_output(script: &'static str, options: Vec<String>) -> Output {
    client_below(Vec::new(), script, options).await
}

/// The same, started by these words, if there are any.
pub(crate) async fn client_below(
    below: Vec<String>,
    script: &'static str,
    options: Vec<String>,
) -> Output {
    let parties = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/parties"));
    let installed = parties.join("node_modules/.package-lock.json");
    assert!(installed.exists(), "no {}: run script/parties", installed.display());
    let run = tokio::task::spawn_blocking(move || {
        let words = below.iter().map(String::as_str).chain(["node"]);
        let words: Vec<&str> = words.collect();
        let mut node = Command::new(words[0]);
        node.args(&words[1..]).arg(parties.join(script)).args(options).stdin(Stdio::null());
        node.output().expect("node starts: script/parties says what it needs")
    });
    run.await.expect("no panic")
}

/// Catches whatever an unmodified client trips over: joined paths, lengths, encodings, credentials, paging by link.
#[tokio::test(flavor = "multi_thread")]
async fn the_official_hubspot_client_lists_creates_and_pages() {
    let options =
        Options { records: 230, tokens: vec![Token::new(CREDENTIAL)], ..Options::default() };
    let upstream = Upstream::start(options).await.expect("mock provider starts");
    let mut setup = Setup::new(&stand_in("api.hubapi.com", upstream.addr));
    let release = setup.http.publish(component("connectors", "hubspot-1")).await.ok().json();
    let digest = release["release"]["digest"].as_str().expect("text").to_owned();
    setup.pin("acme", HUBSPOT, &digest).await;
    let slot = path("acme", HUBSPOT, "/connections/token?test=false");
    setup.http.put(&slot, json!({"token": CREDENTIAL})).await.ok();
    let url = format!("http://{}{}", setup.host.address, path("acme", HUBSPOT, "/proxy"));
    let options = ["--base-url", &url, "--token", &setup.host.token].map(str::to_owned).to_vec();
    let summary = client("clients/hubspot.mjs", options).await;
    assert_eq!((&summary["held"], &summary["contacts"]), (&json!(true), &json!(231)), "{summary}");
    let asked = upstream.requests();
    assert!(asked.by_status.keys().all(|status| *status < 400), "{:?}", asked.by_status);
    assert!(!setup.log().contains(CREDENTIAL));
}

#[tokio::test(flavor = "multi_thread")]
async fn jsforce_queries_creates_and_retrieves() {
    let org = Party::start("api/salesforce.mjs", &["--token", CREDENTIAL, "--records", "4321"]);
    let setup = with_pages("acme", org.address("port"), CREDENTIAL).await;
    let url = format!("http://{}{}", setup.host.address, proxy("acme", ""));
    let options =
        ["--instance-url", &url, "--token", &setup.host.token].map(str::to_owned).to_vec();
    let summary = client("clients/salesforce.mjs", options).await;
    assert_eq!((&summary["held"], &summary["contacts"]), (&json!(true), &json!(4322)), "{summary}");
}

// --- raw requests ---

#[tokio::test(flavor = "multi_thread")]
async fn every_method_goes_through_with_its_body_and_says_what_ran() {
    let (_mirror, mut setup) = mirrored("acme").await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let method: Method = method.parse().expect("a method");
        let got =
            ask(&setup, method.clone(), &proxy("acme", "/x"), &[], format!("of {method}")).await;
        assert_eq!((got.status, got.header("x-method")), (200, method.as_str()));
        assert_eq!(got.body, format!("of {method}"));
        assert_eq!(got.header("x-length"), got.body.len().to_string(), "the length is kept");
        assert_eq!(got.header("x-credential"), "tenant");
        assert_eq!(got.header("keyway-release"), "fixtures/pages@1.0.0");
        assert!(got.header("keyway-digest").starts_with("sha256:"), "{:?}", got.headers);
        assert!(!got.header("keyway-call").is_empty());
    }
    assert_eq!(setup.metric("keyway_calls_running", &[]).await, 0.0);
}

/// Catches a length that is made up: 0 for a HEAD, or for a 304.
#[tokio::test(flavor = "multi_thread")]
async fn answers_without_a_body_keep_the_length_that_they_tell() {
    let (mirror, setup) = mirrored("acme").await;
    let got = ask(&setup, Method::HEAD, &proxy("acme", "/head"), &[], "").await;
    assert_eq!((got.status, got.header("content-length")), (200, "5"));
    let got = ask(&setup, Method::HEAD, &proxy("acme", "/chunked"), &[], "").await;
    let told = got.headers.get("content-length").map(|value| value.as_bytes().to_owned());
    let direct = ask_directly(mirror.address, "/chunked").await;
    assert_eq!(told, direct, "as the provider itself tells it");
    let got = ask(&setup, Method::GET, &proxy("acme", "/unchanged"), &[], "").await;
    assert_eq!((got.status, got.header("etag")), (304, "\"v\""));
    let direct = ask_directly(mirror.address, "/unchanged").await;
    let told = got.headers.get("content-length").map(|value| value.as_bytes().to_owned());
    assert_eq!(told, direct);
}

/// The length that the provider tells of a HEAD.
#[expect(clippy::disallowed_methods, reason = "the test talks to a server of its own")]
async fn ask_directly(provider: SocketAddr, target: &str) -> Option<Vec<u8>> {
    let stream = TcpStream::connect(provider).await.expect("it listens");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("http");
    tokio::spawn(connection);
    let request = Request::head(target).header(header::HOST, "x").body(Full::<Bytes>::default());
    let answer = sender.send_request(request.expect("a valid request")).await.expect("an answer");
    answer.headers().get(header::CONTENT_LENGTH).map(|value| value.as_bytes().to_owned())
}

/// Catches a path that is found by its first `/proxy/`, and an encoder that knows better.
#[tokio::test(flavor = "multi_thread")]
async fn paths_and_queries_arrive_byte_for_byte() {
    let (_mirror, setup) = mirrored("proxy").await;
    for target in [
        "/a%20b/%C3%BC/c%2Fd?q=%2f+x&x='y'&&empty=&z=[1]",
        "/proxy/x?proxy=/proxy/",
        "/x?",
        "/odata(1)/Name!$value;v=1,2?$filter=a%20eq%20'b'",
    ] {
        let got = ask(&setup, Method::GET, &proxy("proxy", target), &[], "").await;
        assert_eq!(got.header("x-target"), target, "{:?}", got.body);
    }
    let got = ask(&setup, Method::GET, &proxy("proxy", "//evil.example/x"), &[], "").await;
    assert_eq!(
        (got.status, got.code().as_str(), got.whose().as_str()),
        (400, "url-malformed", "tenant")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn big_bodies_go_both_ways_and_are_not_held() {
    let (_mirror, setup) = mirrored("acme").await;
    let before = resident(setup.host.id());
    let got = ask(&setup, Method::GET, &proxy("acme", "/big"), &[], "").await;
    assert_eq!((got.status, got.body.len()), (200, BIG_BYTES));
    let upload = vec![b'u'; BIG_BYTES];
    let got = ask(&setup, Method::PUT, &proxy("acme", "/back"), &[], upload.clone()).await;
    assert_eq!(got.header("x-length"), BIG_BYTES.to_string());
    assert!(got.body == upload, "{} bytes came back", got.body.len());
    let grown = resident(setup.host.id()).saturating_sub(before);
    assert!(grown < BIG_BYTES / 2, "the host keeps {grown} bytes");
}

/// Catches a request that counts no more once its answer has begun, while its caller still reads.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_counts_until_its_last_byte_is_read() {
    let (_mirror, mut setup) = mirrored("acme").await;
    let request = Request::get(proxy("acme", "/big"))
        .header(header::HOST, "x")
        .header(header::AUTHORIZATION, format!("Bearer {}", setup.host.token))
        .body(Full::<Bytes>::default())
        .expect("a valid request");
    #[expect(clippy::disallowed_methods, reason = "the test talks to the host that it started")]
    let stream = TcpStream::connect(setup.host.address).await.expect("it listens");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("http");
    tokio::spawn(connection);
    let mut answer = sender.send_request(request).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let gauges = ["keyway_calls_running", "keyway_broker_in_flight"];
    for gauge in gauges {
        assert_eq!(setup.metric(gauge, &[]).await, 1.0, "{gauge}, and nothing was read");
    }
    let mut bytes = 0;
    while bytes < BIG_BYTES {
        let frame = answer.frame().await.expect("more of it").expect("not cut");
        let before = bytes;
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if before < BIG_BYTES / 2 && bytes >= BIG_BYTES / 2 {
            for gauge in gauges {
                assert_eq!(setup.metric(gauge, &[]).await, 1.0, "{gauge}, and half was read");
            }
        }
    }
    let ended = async {
        for gauge in gauges {
            while setup.metric(gauge, &[]).await != 0.0 {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
    };
    let patience = std::time::Duration::from_secs(20);
    tokio::time::timeout(patience, ended).await.expect("it is over with its last byte");
}

/// The most memory that a process has had so far.
fn resident(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_call_may_not_use_the_proxy() {
    let (_mirror, mut setup) = mirrored("acme").await;
    let grant = json!({"name": "onlooker", "role": "viewer"});
    let viewer = setup.http.post("/v1/tokens", grant).await.ok().json()["secret"].clone();
    let viewer = viewer.as_str().expect("a token").to_owned();
    let path = proxy("acme", "/x");
    let got = ask_as(&setup, &viewer, Method::GET, &path, &[], "").await;
    assert_eq!((got.status, got.code().as_str()), (403, "not-permitted"));
    let got = ask_as(&setup, "wrong", Method::GET, &path, &[], "").await;
    assert_eq!(got.status, 401);
    let got = ask(&setup, Method::GET, &proxy("nobody", "/x"), &[], "").await;
    assert_eq!((got.status, got.code().as_str()), (404, "unknown-installation"));
    for (name, value, code) in [
        ("keyway-host", "evil.example", "invalid-request"),
        ("keyway-host", "api.example.com@evil.example", "invalid-request"),
        ("keyway-host", "api.example.com/v2", "invalid-request"),
        ("keyway-host", "api.example.com?a=b", "invalid-request"),
        ("keyway-host", "api.example.com#x", "invalid-request"),
        ("keyway-host", "*.example.com", "invalid-request"),
        ("keyway-host", "https://api.example.com", "invalid-request"),
        ("keyway-host", "api.example.com:0443", "invalid-request"),
        ("keyway-host", "127.0.0.1", "invalid-request"),
        ("keyway-slot", "other", "unknown-slot"),
        ("keyway-slot", "No Slot", "invalid-request"),
    ] {
        let got = ask(&setup, Method::GET, &path, &[(name, value)], "").await;
        assert_eq!(
            (got.code().as_str(), got.whose().as_str()),
            (code, "tenant"),
            "{name}: {value}"
        );
    }
    let named = [("keyway-host", "api.example.com"), ("keyway-slot", "token")];
    let got = ask(&setup, Method::GET, &path, &named, "").await;
    assert_eq!((got.status, got.header("x-target")), (200, "/x"));
}

/// Catches a mistake of the caller's own that is answered as a failure that passes: clients of providers try a 5xx again.
#[tokio::test(flavor = "multi_thread")]
async fn a_callers_own_mistake_is_a_4xx_that_says_so() {
    let (_mirror, setup) = mirrored("acme").await;
    let get = Method::GET;
    let custom = |name: &str| Method::from_bytes(name.as_bytes()).expect("a token");
    let long = format!("/x?q={}", "a".repeat(9 << 10));
    let one = |name, value| vec![(name, value)];
    for (method, rest, headers, status, code, why) in [
        (&get, &*long, vec![], 400, "invalid-request", "url-too-long"),
        (&get, "//x", vec![], 400, "url-malformed", "url-malformed"),
        (&get, "/x?access_token=a", vec![], 400, "invalid-request", "credential-place-taken"),
        (&get, "/x", one("keyway-host", "evil.example"), 400, "invalid-request", "undeclared-host"),
        (&get, "/keyway-host=evil.example/x", vec![], 400, "invalid-request", "undeclared-host"),
        (&get, "/x", one("keyway-slot", "other"), 404, "unknown-slot", ""),
        (&get, "/x", one("keyway-links", "cooked"), 400, "invalid-request", ""),
        (&get, "/x", one("keyway-timeout-ms", "soon"), 400, "invalid-request", ""),
        (&get, "/x", one("keyway-rate-limit", "maybe"), 400, "invalid-request", ""),
        (&Method::TRACE, "/x", vec![], 405, "method-not-allowed", ""),
        (&custom("GeT"), "/x", vec![], 405, "method-not-allowed", ""),
    ] {
        let got = ask(&setup, method.clone(), &proxy("acme", rest), &headers, "").await;
        let what = format!("{method} {rest:.40} {why}");
        assert_eq!((got.status, got.code().as_str()), (status, code), "{what}");
        assert_eq!(got.whose(), "tenant", "{what}");
        let problem: Value = serde_json::from_slice(&got.body).expect("a problem");
        assert_eq!(problem["retry"], false, "{what}");
        assert_eq!(problem["provider_code"].as_str().unwrap_or_default(), why, "{what}");
    }
}

/// Catches a call for a user that goes out with the tenant's credential.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_a_user_has_the_users_credential_or_none() {
    let (_mirror, mut setup) = mirrored("acme").await;
    let own = path("acme", PAGES, "/connections/token?user=ann");
    setup.http.put(&own, json!({"token": "anns-own-credential"})).await.ok();
    let target = proxy("acme", "/x");
    let got = ask(&setup, Method::GET, &target, &[("keyway-user", "ann")], "").await;
    assert_eq!((got.status, got.header("x-credential")), (200, "ann"));
    let got = ask(&setup, Method::GET, &target, &[("keyway-user", "bob")], "").await;
    assert_eq!(got.code(), "credential-missing");
    assert_eq!(got.header("x-credential"), "", "nothing was sent");
    let got = ask(&setup, Method::GET, &target, &[], "").await;
    assert_eq!(got.header("x-credential"), "tenant");
}
