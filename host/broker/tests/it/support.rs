//! A raw TCP server that does what a script says, and fakes of the broker's ports.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use keyway_broker::{Broker, Config, Reason, Resolve, ResolveError, Wire};
use keyway_core::call::Failure;
use keyway_core::credential::{Credential, Opened};
use keyway_core::descriptor::SlotSpec;
use keyway_core::exchange::{HostRequest, Origin, Pace, Request, Response};
use keyway_core::ids::{CallId, ConnectionRef, Installation};
use keyway_core::ports::{Clock, Credentials, Egress as _, Held};
use keyway_core::quota::LimitMet;
use keyway_core::release::ReleaseRef;
use keyway_core::{Code, Descriptor, Digest, Fault};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Barrier;
use tokio::task::JoinHandle;

/// What the host itself says to a token endpoint, in this form.
pub(crate) fn token_request(form: &str) -> HostRequest {
    HostRequest {
        purpose: "token",
        environment: None,
        method: http::Method::POST,
        url: "https://api.example.com/token".to_owned(),
        hosts: vec!["api.example.com".to_owned().try_into().unwrap()],
        headers: http::HeaderMap::new(),
        body: Some(form.to_owned().into()),
        credential: None,
        timeout: Duration::from_secs(10),
    }
}

/// One thing that the upstream does after it has read a request.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Writes bytes.
    Send(Bytes),
    /// Writes them again and again until the broker goes away.
    Flood(Bytes),
    /// Does nothing for a while.
    Pause(Duration),
    /// Waits until as many requests as this is for are there.
    Meet(Arc<Barrier>),
    /// Keeps the connection open and says nothing more.
    Hang,
    /// Ends the connection in good order.
    Close,
    /// Ends it without a word, as a broken line does.
    Cut,
}

type Script = dyn Fn(usize, &str) -> Vec<Step> + Send + Sync;

/// A server on loopback.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

#[derive(Default)]
pub(crate) struct Seen {
    requests: Mutex<Vec<String>>,
    connections: AtomicUsize,
    ended: AtomicUsize,
}

/// Answers with what it was given, and counts how often it was asked.
#[derive(Default)]
pub(crate) struct Names {
    answers: Mutex<HashMap<String, Vec<Answer>>>,
    asked: AtomicUsize,
}

/// What a name server says.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Addresses(Vec<IpAddr>),
    NoName,
    NoAddress,
    Failed,
    Silence,
}

/// Hands out what a test put in.
#[derive(Default)]
pub(crate) struct Secrets(pub(crate) HashMap<&'static str, Credential>);

/// A broker, what it was made of, and on whose behalf it is asked.
pub(crate) struct Bench {
    pub(crate) wire: Wire,
    pub(crate) broker: Broker,
    pub(crate) names: Arc<Names>,
    pub(crate) origin: Origin,
}

pub(crate) fn text(text: &str) -> Step {
    Step::Send(Bytes::copy_from_slice(text.as_bytes()))
}

/// A plain answer.
pub(crate) fn ok(body: &str) -> Vec<Step> {
    answer("", body)
}

/// An answer with more header lines, each ending in CRLF.
pub(crate) fn answer(headers: &str, body: &str) -> Vec<Step> {
    vec![text(&format!("HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()))]
}

pub(crate) fn get(url: &str) -> Request {
    Request {
        method: "GET".to_owned(),
        url: url.to_owned(),
        headers: Vec::new(),
        body: None,
        slot: None,
        timeout: None,
    }
}

pub(crate) fn post(url: &str, body: &str) -> Request {
    let body = Bytes::copy_from_slice(body.as_bytes());
    Request { method: "POST".to_owned(), body: Some(body), ..get(url) }
}

pub(crate) fn with_slot(slot: &str, request: Request) -> Request {
    Request { slot: Some(slot.to_owned()), ..request }
}

pub(crate) fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}

/// What a failure is: its code as a reason, and whether it was sent.
#[track_caller]
pub(crate) fn stopped(result: Result<Response, Failure>) -> (Reason, bool) {
    let failure = result.unwrap_err();
    let code = failure.code.unwrap();
    let reason = Reason::ALL.iter().copied().find(|reason| reason.as_str() == code).unwrap();
    assert_eq!(reason.kind(), failure.kind);
    (reason, failure.request_sent)
}

pub(crate) fn origin(tenant: &str, hosts: &[&str], redirects: u8) -> Origin {
    let descriptor = format!(
        r#"{{"format":1,"name":"acme/crm","version":"1.0.0","hosts":{hosts:?},"redirects":{redirects},
            "base-url":"https://{}","slots":{{
            "bearer":{{"scheme":{{"kind":"bearer"}}}},
            "basic":{{"scheme":{{"kind":"basic"}}}},
            "header":{{"scheme":{{"kind":"api-key-header","name":"X-Api-Key"}}}},
            "query":{{"scheme":{{"kind":"api-key-query","name":"hapikey"}}}},
            "placed":{{"scheme":{{"kind":"bearer"}},"header":{{"name":"X-Token","prefix":"Zoho-oauthtoken "}}}},
            "signed":{{"scheme":{{"kind":"hmac","header":"X-Sign","parts":["timestamp","method","path-and-query","body"],
                "separator":"","timestamp":{{"header":"X-Time"}},"key-id-header":"X-Key"}}}},
            "queried":{{"scheme":{{"kind":"hmac","query":"signature","parts":["path-and-query","body"],
                "separator":"","timestamp":{{"query":"at","format":"unix-ms"}},"key-id-header":"X-Key"}}}},
            "aws":{{"scheme":{{"kind":"aws-sigv4","service":"execute-api","region":"eu-west-1"}}}},
            "unset":{{"scheme":{{"kind":"bearer"}}}},
            "unfit":{{"scheme":{{"kind":"bearer"}}}},
            "unreadable":{{"scheme":{{"kind":"bearer"}}}}}}}}"#,
        hosts[0],
    );
    let descriptor = Descriptor::parse(&descriptor).unwrap();
    Origin {
        call: CallId(1),
        installation: Installation {
            environment: "dev".parse().unwrap(),
            tenant: tenant.parse().unwrap(),
            connector: "acme/crm".parse().unwrap(),
        },
        user: None,
        pace: Pace::PassThrough,
        limit_met: LimitMet::default(),
        release: ReleaseRef::new(
            descriptor.name.clone(),
            descriptor.version.clone(),
            Digest::of(b"component"),
        ),
        descriptor: Arc::new(descriptor),
        base_url: None,
        time_left: Duration::from_secs(60),
    }
}

/// A broker whose every stand-in of `api.example.com` is the upstream.
pub(crate) fn bench(upstream: &Upstream, config: &str) -> Bench {
    let config = format!("{config}\n{}", upstream.stand_in("api.example.com"));
    bench_of(&config, &["api.example.com"], 0)
}

pub(crate) fn bench_of(config: &str, hosts: &[&str], redirects: u8) -> Bench {
    let config: Config = toml::from_str(config).unwrap();
    let token = |text: &str| Credential::Token(text.to_owned().into());
    let basic = Credential::Basic {
        user: "alice@example.com".to_owned().into(),
        password: BASIC_PASSWORD.to_owned().into(),
    };
    let key =
        Credential::Basic { user: KEY_ID.to_owned().into(), password: SECRET.to_owned().into() };
    let secrets = Secrets(HashMap::from([
        ("bearer", token(SECRET)),
        ("unfit", basic.clone()),
        ("basic", basic),
        ("header", token(SECRET)),
        ("query", token(SECRET)),
        ("placed", token(SECRET)),
        ("signed", key.clone()),
        ("queried", key.clone()),
        ("aws", key),
    ]));
    let names = Arc::new(Names::default());
    let wire =
        Wire::new(config, Arc::clone(&names) as Arc<dyn Resolve>, None, Arc::new(Fixed)).unwrap();
    let broker = Broker::new(&wire, Arc::new(secrets));
    Bench { wire, broker, names, origin: origin("t1", hosts, redirects) }
}

/// A canary: anything of it that a connector sees is a defect.
pub(crate) const SECRET: &str = "pat-na1-C4n4ry+0f/S3cr3t=";
pub(crate) const KEY_ID: &str = "AKID-of-the-bench";
pub(crate) const BASIC_PASSWORD: &str = "open sesame \"quoted\"";

// === impl Upstream ===

impl Upstream {
    /// Serves plain TCP. The script gets the number of the request and its text.
    pub(crate) async fn start(
        script: impl Fn(usize, &str) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(script, |stream| async { Some(stream) }).await
    }

    /// Serves what `wrap` makes of each connection, such as TLS.
    pub(crate) async fn start_with<F, S>(
        script: impl Fn(usize, &str) -> Vec<Step> + Send + Sync + 'static,
        wrap: impl Fn(tokio::net::TcpStream) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Option<S>> + Send,
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (script, wrap): (Arc<Script>, _) = (Arc::new(script), Arc::new(wrap));
        let watched = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                watched.connections.fetch_add(1, Ordering::SeqCst);
                let (script, wrap, seen) =
                    (Arc::clone(&script), Arc::clone(&wrap), Arc::clone(&watched));
                connections.spawn(async move {
                    if let Some(stream) = wrap(stream).await {
                        serve(stream, &*script, &seen).await;
                    }
                    seen.ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, seen, task }
    }

    /// The configuration that puts it in the place of a host.
    pub(crate) fn stand_in(&self, host: &str) -> String {
        self.stand_in_by("http", host)
    }

    pub(crate) fn stand_in_by(&self, scheme: &str, host: &str) -> String {
        format!("[[stand-in]]\nhost = \"{host}\"\naddress = \"{scheme}://{}\"\n", self.address)
    }

    /// Every request that was read, whole.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Waits until the broker has closed this many connections.
    pub(crate) async fn ended(&self, connections: usize) {
        while self.seen.ended.load(Ordering::SeqCst) < connections {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads requests and runs the script for each, until one side ends the connection.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, script: &Script, seen: &Seen) {
    while let Some(request) = read_request(&mut stream).await {
        let number = {
            let mut requests = seen.requests.lock().unwrap();
            requests.push(request.clone());
            requests.len() - 1
        };
        for step in script(number, &request) {
            let done = match step {
                Step::Send(bytes) => stream.write_all(&bytes).await.is_err(),
                Step::Flood(bytes) => {
                    while stream.write_all(&bytes).await.is_ok() {}
                    true
                }
                Step::Pause(time) => {
                    tokio::time::sleep(time).await;
                    false
                }
                Step::Meet(barrier) => {
                    barrier.wait().await;
                    false
                }
                Step::Hang => {
                    // Ends when the other side does.
                    while matches!(stream.read(&mut [0; 64]).await, Ok(1..)) {}
                    true
                }
                Step::Close => true,
                Step::Cut => return,
            };
            if done {
                stream.shutdown().await.ok();
                return;
            }
        }
    }
}

/// One request with the body that its `content-length` says.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if bytes.len() >= end + 4 + length {
                return Some(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        let mut step = [0; 4096];
        match stream.read(&mut step).await {
            Ok(read @ 1..) => bytes.extend_from_slice(&step[..read]),
            _ => return None,
        }
    }
}

// === impl Names ===

impl Names {
    /// The answers of a name, one for each time it is asked; the last one stays.
    pub(crate) fn answer(&self, name: &str, answers: Vec<Answer>) {
        self.answers.lock().unwrap().insert(name.to_owned(), answers);
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Resolve for Names {
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = match self.answers.lock().unwrap().get_mut(name) {
            None => Answer::NoName,
            Some(answers) if answers.len() > 1 => answers.remove(0),
            Some(answers) => answers[0].clone(),
        };
        match answer {
            Answer::Addresses(addresses) => Ok(addresses),
            Answer::NoName => Err(ResolveError::NoName),
            Answer::NoAddress => Err(ResolveError::NoAddress),
            Answer::Failed => Err(ResolveError::Failed("servfail".into())),
            Answer::Silence => std::future::pending().await,
        }
    }
}

/// A clock that stands.
pub(crate) struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> time::OffsetDateTime {
        time::OffsetDateTime::UNIX_EPOCH
    }
}

pub(crate) fn opened(credential: Credential) -> Arc<Opened> {
    Arc::new(Opened::new(credential))
}

// === impl Secrets ===

#[async_trait]
impl Credentials for Secrets {
    async fn credential(
        &self,
        of: &ConnectionRef,
        _spec: &SlotSpec,
    ) -> Result<Option<Held>, Fault> {
        if of.slot.as_str() == "unreadable" {
            let fault = Fault::new(Code::StoreUnavailable, "the key store is on fire");
            return Err(fault);
        }
        let credential = self.0.get(of.slot.as_str()).cloned();
        Ok(credential.map(|credential| Held {
            opened: opened(credential),
            version: 1,
            account: None,
            base_url: None,
            in_use: Arc::new(()),
        }))
    }

    async fn connected(&self, of: &ConnectionRef) -> Result<bool, Fault> {
        Ok(self.0.contains_key(of.slot.as_str()))
    }

    async fn rejected(
        &self,
        _of: &ConnectionRef,
        _spec: &SlotSpec,
        _version: u64,
    ) -> Result<Option<Held>, Fault> {
        Ok(None)
    }
}

// === impl Bench ===

impl Bench {
    pub(crate) async fn send(&self, request: Request) -> Result<Response, Failure> {
        self.broker.exchange(&self.origin, request).await
    }

    /// The page that Prometheus would read.
    pub(crate) fn metrics(&self) -> String {
        let mut registry = prometheus_client::registry::Registry::default();
        self.wire.metrics().register(&mut registry);
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
        page
    }

    /// Sends a request that must be stopped.
    pub(crate) async fn stop(&self, request: Request) -> (Reason, bool) {
        stopped(self.send(request).await)
    }
}
