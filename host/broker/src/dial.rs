//! Opens connections: TCP to an approved address, TLS with the declared name, HTTP/2 or HTTP/1.1.
//!
//! The only place of the host that connects to anything. Takes an [`ApprovedTarget`] and nothing else;
//! reads no proxy from the environment. A proxy that resolves names by itself (C24) has no case here: no proxy can be
//! configured, and CONNECT is not sent.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, Incoming};
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::TokioIo;
use keyway_core::transient;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use crate::classify::ApprovedTarget;
use crate::config::Limits;
use crate::payload::Outgoing;
use crate::places::{Place, Placed};
use crate::reason::{Reason, Stop};

/// An open connection. One exchange at a time on HTTP/1, many on HTTP/2. Dropping the last one who uses it
/// closes it, whatever it was in the middle of.
pub(crate) enum Connection {
    /// Carried on by whoever uses it: a task of its own would cost each exchange two changes of task.
    Http1 {
        sender: http1::SendRequest<Outgoing>,
        /// None once it has ended.
        carrier: Option<Carrier>,
        /// What the other side has said of how long it keeps it.
        promise: Promise,
    },
    /// Carried on by tasks, because several use it.
    Http2 { sender: http2::SendRequest<Outgoing>, driver: Arc<Driver> },
}

/// How long the other side keeps an unused connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Promise {
    /// It has said nothing.
    #[default]
    None,
    /// At least until then.
    Until(Instant),
}

/// Reads and writes an HTTP/1 connection when polled, until it ends.
type Carrier = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// Runs an HTTP/2 connection for as long as somebody holds it.
pub(crate) struct Driver {
    began: Instant,
    /// Milliseconds from then on, up to which it is sure to be there.
    sure_until: AtomicU64,
    task: JoinHandle<()>,
    /// What runs beside it.
    tasks: Tasks,
}

/// Runs what hyper spawns. Ended together: a peer that reads nothing more would otherwise keep the task that
/// wants to say goodbye to it, and the socket with it, for ever.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

/// Bytes of a body that an HTTP/2 peer may send ahead of us on one stream. 1 MiB fills a 100 Mbit/s line
/// at 80 ms; the rest waits at the peer.
const WINDOW_BYTES: u32 = 1 << 20;

/// Between two tries to connect while this host has no descriptor free.
const SHORT_PAUSE: Duration = Duration::from_millis(20);

/// What TLS needs to know, made once for a policy: the system's roots and the operator's.
pub(crate) fn tls_config(
    extra: Vec<CertificateDer<'static>>,
) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "some of the system's certificate authorities could not be read");
    }
    roots.add_parsable_certificates(native.certs);
    for certificate in extra {
        roots.add(certificate)?;
    }
    if roots.is_empty() {
        tracing::warn!("there is no certificate authority to trust: every https request will fail");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Connects, in a place that was kept for it. Without `tls` the target is a stand-in on this machine.
pub(crate) async fn dial(
    target: &ApprovedTarget,
    host: &str,
    tls: Option<&Arc<ClientConfig>>,
    limits: &Limits,
    place: Place,
) -> Result<Connection, Stop> {
    timeout(limits.connect_timeout, open(target, host, tls, limits, place))
        .await
        .unwrap_or_else(|_| Err(late(host)))
}

fn late(host: &str) -> Stop {
    Stop::new(Reason::ConnectTimeout, format!("no connection to host {host} in time"))
}

async fn open(
    target: &ApprovedTarget,
    host: &str,
    tls: Option<&Arc<ClientConfig>>,
    limits: &Limits,
    place: Place,
) -> Result<Connection, Stop> {
    let stream = Placed::new(connect(target, host, limits).await?, place);
    let Some(config) = tls else {
        return http1_over(stream, limits).await;
    };
    let refused = |detail: &str| {
        Stop::new(Reason::TlsFailed, format!("tls with host {host} failed: {detail}"))
    };
    let name =
        ServerName::try_from(host.to_owned()).map_err(|_| refused("the name is no server name"))?;
    let stream =
        TlsConnector::from(Arc::clone(config)).connect(name, stream).await.map_err(|error| {
            tracing::debug!(host, error = &error as &dyn std::error::Error, "tls handshake failed");
            refused(tls_problem(&error))
        })?;
    match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => http2_over(stream, limits).await,
        _ => http1_over(stream, limits).await,
    }
}

/// Tries the addresses in turn, each with its share of the time that is left.
async fn connect(target: &ApprovedTarget, host: &str, limits: &Limits) -> Result<TcpStream, Stop> {
    let deadline = Instant::now() + limits.connect_timeout;
    let (mut silent, mut short) = (false, false);
    let addresses = target.addresses();
    for (tried, address) in (0..).zip(addresses) {
        let left = deadline.saturating_duration_since(Instant::now());
        let untried =
            u32::try_from(addresses.len()).unwrap_or(u32::MAX).saturating_sub(tried).max(1);
        match timeout(left / untried, connect_patiently(*address, &mut short)).await {
            Ok(Ok(stream)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(host, %error, "small packets will be delayed");
                }
                return Ok(stream);
            }
            Ok(Err(error)) => tracing::debug!(host, %address, %error, "connect failed"),
            Err(_) => {
                silent = true;
                tracing::debug!(host, %address, "connect timed out");
            }
        }
    }
    if short {
        let detail = format!("this host has no descriptor free for a connection to host {host}");
        return Err(Stop::new(Reason::ConnectTimeout, detail));
    }
    if silent {
        return Err(late(host));
    }
    Err(Stop::new(Reason::ConnectFailed, format!("host {host} accepts no connection")))
}

/// Connects, and tries again while this host has no descriptor or memory for it, which is not the provider's fault and
/// passes as connections end. `short` says whether it still has none.
async fn connect_patiently(address: SocketAddr, short: &mut bool) -> std::io::Result<TcpStream> {
    loop {
        #[expect(clippy::disallowed_methods, reason = "this is where the host connects")]
        let connected = TcpStream::connect(address).await;
        *short = connected.as_ref().is_err_and(transient::is);
        if !*short {
            return connected;
        }
        tokio::time::sleep(SHORT_PAUSE).await;
    }
}

/// What may be said of a failed handshake to a connector: which kind it was.
fn tls_problem(error: &std::io::Error) -> &'static str {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_)) => "the certificate is not valid for it",
        Some(rustls::Error::PeerIncompatible(_)) => "no common version or cipher",
        _ => "the handshake broke off",
    }
}

async fn http1_over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    limits: &Limits,
) -> Result<Connection, Stop> {
    let (sender, connection) = http1::Builder::new()
        .max_headers(limits.response_headers_max)
        .max_header_size(limits.response_header_bytes_max)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| Stop::new(Reason::ConnectFailed, "connection could not be set up"))?;
    let promise = Promise::None;
    Ok(Connection::Http1 { sender, carrier: Some(Box::pin(connection)), promise })
}

async fn http2_over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    limits: &Limits,
) -> Result<Connection, Stop> {
    let tasks = Tasks::default();
    // HTTP/2 counts 32 bytes more for each field than are sent. What is within these is looked at once it is
    // read, by the same rule as over HTTP/1.
    let fields = limits.response_headers_max.saturating_add(2).saturating_mul(32);
    let header_bytes_max = limits.response_header_bytes_max.saturating_add(fields);
    let header_bytes_max = u32::try_from(header_bytes_max).unwrap_or(u32::MAX);
    let (sender, connection) = http2::Builder::new(tasks.clone())
        .max_header_list_size(header_bytes_max)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES * 2)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| Stop::new(Reason::ConnectFailed, "connection could not be set up"))?;
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = &error as &dyn std::error::Error, "connection ended");
        }
    });
    let (began, sure_until) = (Instant::now(), AtomicU64::new(0));
    let driver = Arc::new(Driver { began, sure_until, task, tasks });
    Ok(Connection::Http2 { sender, driver })
}

// === impl Connection ===

impl Connection {
    /// Which HTTP it speaks: HTTP/1.1 or HTTP/2.
    pub(crate) fn version(&self) -> Version {
        match self {
            Self::Http1 { .. } => Version::HTTP_11,
            Self::Http2 { .. } => Version::HTTP_2,
        }
    }

    /// Another user of the same connection, where several may use it.
    pub(crate) fn share(&self) -> Option<Self> {
        match self {
            Self::Http1 { .. } => None,
            Self::Http2 { sender, driver } => {
                Some(Self::Http2 { sender: sender.clone(), driver: Arc::clone(driver) })
            }
        }
    }

    /// Whether somebody else uses it now.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Self::Http2 { driver, .. } if Arc::strong_count(driver) > 1)
    }

    /// Whether the other side, or an error, has ended it.
    pub(crate) fn closed(&mut self) -> bool {
        // Nobody carries an unused connection on, so what happened to it meanwhile is seen now.
        self.carry(&mut Context::from_waker(Waker::noop()));
        match self {
            Self::Http1 { sender, .. } => sender.is_closed(),
            Self::Http2 { sender, .. } => sender.is_closed(),
        }
    }

    /// Takes down what a response has said of how long it is kept.
    pub(crate) fn promised(&mut self, said: Promise) {
        match (self, said) {
            (Self::Http1 { promise, .. }, said) => *promise = said,
            (Self::Http2 { driver, .. }, Promise::Until(until)) => driver.is_sure(until),
            (Self::Http2 { .. }, Promise::None) => {}
        }
    }

    /// Whether the other side may have ended it by now, for all that it has said.
    pub(crate) fn expired(&self, now: Instant) -> bool {
        matches!(self, Self::Http1 { promise: Promise::Until(until), .. } if *until <= now)
    }

    /// Whether a request that must not be repeated may go over it once it was unused. Over HTTP/1 only a promise says
    /// that it is still there. HTTP/2 should say what was not looked at before it ends (RFC 9113 section 6.8), and not
    /// every server or balancer does: over it something must have come a moment ago, or be under way.
    pub(crate) fn proven(&self, now: Instant) -> bool {
        match self {
            Self::Http1 { promise: Promise::Until(until), .. } => now < *until,
            Self::Http1 { .. } => false,
            Self::Http2 { driver, .. } => Arc::strong_count(driver) > 1 || driver.sure(now),
        }
    }

    /// Waits until it can take a request. False means that it never will.
    pub(crate) async fn ready(&mut self) -> bool {
        match self {
            Self::Http1 { sender, carrier, .. } => carried(carrier, sender.ready()).await.is_ok(),
            Self::Http2 { sender, .. } => sender.ready().await.is_ok(),
        }
    }

    /// Sends, and waits for the head of the response. The request comes back if none of it was written.
    pub(crate) async fn send(
        &mut self,
        request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Outgoing>>> {
        match self {
            Self::Http1 { sender, carrier, .. } => {
                carried(carrier, sender.try_send_request(request)).await
            }
            Self::Http2 { sender, .. } => sender.try_send_request(request).await,
        }
    }

    /// The next piece of a response's body; none at its end.
    pub(crate) async fn frame(
        &mut self,
        body: &mut Incoming,
    ) -> Option<hyper::Result<Frame<Bytes>>> {
        match self {
            Self::Http1 { carrier, .. } => carried(carrier, body.frame()).await,
            Self::Http2 { .. } => body.frame().await,
        }
    }

    /// As [`frame`](Self::frame), for a body that is polled.
    pub(crate) fn poll_frame(
        &mut self,
        body: &mut Incoming,
        context: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let frame = Pin::new(&mut *body).poll_frame(context);
        if frame.is_ready() {
            return frame;
        }
        self.carry(context);
        Pin::new(body).poll_frame(context)
    }

    fn carry(&mut self, context: &mut Context<'_>) {
        if let Self::Http1 { carrier, .. } = self {
            advance(carrier, context);
        }
    }
}

/// Waits for what comes of a connection, carrying it on meanwhile.
async fn carried<T>(carrier: &mut Option<Carrier>, wanted: impl Future<Output = T>) -> T {
    let mut wanted = pin!(wanted);
    poll_fn(|context| {
        if let Poll::Ready(outcome) = wanted.as_mut().poll(context) {
            return Poll::Ready(outcome);
        }
        advance(carrier, context);
        // What the connection brought is there now: no need to be woken for it.
        wanted.as_mut().poll(context)
    })
    .await
}

fn advance(carrier: &mut Option<Carrier>, context: &mut Context<'_>) {
    let Some(running) = carrier else { return };
    let Poll::Ready(ended) = running.as_mut().poll(context) else { return };
    *carrier = None;
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "connection ended");
    }
}

// === impl Driver ===

impl Driver {
    /// Takes down that it will be there until then.
    fn is_sure(&self, until: Instant) {
        let until = until.saturating_duration_since(self.began).as_millis();
        self.sure_until.fetch_max(u64::try_from(until).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn sure(&self, now: Instant) -> bool {
        let now = now.saturating_duration_since(self.began).as_millis();
        now < u128::from(self.sure_until.load(Ordering::Relaxed))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.task.abort();
        self.tasks.lock().abort_all();
    }
}

// === impl Tasks ===

impl Tasks {
    fn lock(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        let mut tasks = self.lock();
        // One comes for each request with a body: forget those that have ended.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            future.await;
        });
    }
}
