//! A token server on loopback, and the way to it: as much of HTTP as the two need between them.
//!
//! It rotates: each refresh token is taken once, and a second use ends the grant. It writes down what was presented.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use keyway_core::call::{Failure, FailureKind};
use keyway_core::exchange::{HostRequest, Response, Unfinished};
use keyway_core::ports::Outbound;
use rand::Rng as _;
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// The longest time the server takes, before and after it takes a token.
const BUSY_MAX: Duration = Duration::from_millis(5);

/// Between two looks whether the server is idle.
const POLL: Duration = Duration::from_millis(1);

pub(crate) struct Server {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
}

#[derive(Default)]
struct Book {
    grants: u32,
    /// The token that each grant takes next; none once it has ended.
    live: HashMap<String, Option<u32>>,
    presented: HashMap<String, u32>,
    issued: u32,
    busy: u32,
}

/// The way to the server: whatever host is asked for, it goes there.
pub(crate) struct Loopback(pub(crate) SocketAddr);

// === impl Server ===

impl Server {
    pub(crate) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let book = Arc::<Mutex<Book>>::default();
        let kept = Arc::clone(&book);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                lock(&kept).busy += 1;
                let book = Arc::clone(&kept);
                tokio::spawn(async move {
                    // A client that was killed takes no answer, which is the point.
                    drop(serve(stream, &book).await);
                    lock(&book).busy -= 1;
                });
            }
        });
        Ok(Self { address, book })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins a grant: its first access and refresh token.
    pub(crate) fn grant(&self) -> (String, String) {
        let mut book = lock(&self.book);
        book.grants += 1;
        let grant = book.grants.to_string();
        book.live.insert(grant.clone(), Some(0));
        (format!("access-{grant}-0"), format!("refresh-{grant}-0"))
    }

    pub(crate) fn presented(&self, token: &str) -> u32 {
        lock(&self.book).presented.get(token).copied().unwrap_or(0)
    }

    pub(crate) fn presented_most(&self) -> u32 {
        lock(&self.book).presented.values().copied().max().unwrap_or(0)
    }

    /// Whether the server takes this token next.
    pub(crate) fn live(&self, token: &str) -> bool {
        split(token).is_some_and(|(grant, number)| {
            lock(&self.book).live.get(grant).copied().flatten() == Some(number)
        })
    }

    pub(crate) fn issued(&self) -> u32 {
        lock(&self.book).issued
    }

    /// Ends once no request is being served.
    pub(crate) async fn idle(&self) {
        while lock(&self.book).busy > 0 {
            sleep(POLL).await;
        }
    }
}

/// Answers one request.
async fn serve(mut stream: TcpStream, book: &Mutex<Book>) -> io::Result<()> {
    let message = read(&mut stream).await?;
    let form = message.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let mut fields = url::form_urlencoded::parse(form.as_bytes());
    let token = fields.find(|(name, _)| name == "refresh_token");
    let token = token.map(|(_, token)| token.into_owned()).unwrap_or_default();
    sleep(busy()).await;
    let (status, body) = take(&mut lock(book), &token);
    sleep(busy()).await;
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await
}

fn take(book: &mut Book, token: &str) -> (&'static str, String) {
    *book.presented.entry(token.to_owned()).or_default() += 1;
    let refused = || ("400 Bad Request", r#"{"error":"invalid_grant"}"#.to_owned());
    let Some((grant, number)) = split(token) else { return refused() };
    let Some(live) = book.live.get_mut(grant) else { return refused() };
    if *live != Some(number) {
        *live = None;
        return refused();
    }
    let next = number + 1;
    *live = Some(next);
    book.issued += 1;
    let body = format!(
        r#"{{"access_token":"access-{grant}-{next}","refresh_token":"refresh-{grant}-{next}","expires_in":3600}}"#
    );
    ("200 OK", body)
}

/// The grant and the number of `refresh-GRANT-NUMBER`.
fn split(token: &str) -> Option<(&str, u32)> {
    let (grant, number) = token.strip_prefix("refresh-")?.split_once('-')?;
    Some((grant, number.parse().ok()?))
}

fn busy() -> Duration {
    BUSY_MAX.mul_f64(rand::rng().random_range(0.0..1.0))
}

/// One message, whole. Fails if it was cut off.
async fn read(stream: &mut TcpStream) -> io::Result<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                return Ok(text);
            }
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Loopback ===

#[async_trait]
impl Outbound for Loopback {
    async fn fetch(&self, request: HostRequest) -> Result<Response, Unfinished> {
        let mut stream = connect(self.0).await.map_err(|error| failed(&error, false))?;
        let body = request.body.as_ref().map_or("", |body| body.expose_secret());
        let head = format!("POST /token HTTP/1.1\r\ncontent-length: {}\r\n\r\n", body.len());
        let message = format!("{head}{body}");
        stream.write_all(message.as_bytes()).await.map_err(|error| failed(&error, true))?;
        let text = read(&mut stream).await.map_err(|error| failed(&error, true))?;
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(599);
        Ok(Response { status, headers: Vec::new(), body: body.to_owned().into() })
    }
}

#[expect(clippy::disallowed_methods, reason = "the child talks to the process that started it")]
async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect(address).await
}

fn failed(error: &io::Error, request_sent: bool) -> Unfinished {
    let failure = Failure {
        kind: FailureKind::Transient,
        code: None,
        message: error.to_string(),
        retry_after: None,
        request_sent,
        extra: Vec::new(),
    };
    failure.into()
}
