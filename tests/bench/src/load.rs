//! The load generator: as many connections as wanted, each sending its next request once the last is
//! answered. Knows nothing of what it loads.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What every request is.
#[derive(Clone)]
pub(crate) struct Shot {
    pub(crate) method: Method,
    pub(crate) path: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// What an answer's body must contain, so that a quick wrong answer is not counted as a good one.
    pub(crate) contains: &'static str,
}

/// Open connections to one server.
pub(crate) struct Load {
    shot: Shot,
    connections: Vec<SendRequest<Full<Bytes>>>,
}

// === impl Load ===

impl Load {
    /// Opens the connections.
    pub(crate) async fn open(to: SocketAddr, count: usize, shot: Shot) -> anyhow::Result<Self> {
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            connections.push(connect(to).await.with_context(|| to.to_string())?);
        }
        Ok(Self { shot, connections })
    }

    /// Sends for so long over all connections; answers a second. An error is an answer that was none.
    pub(crate) async fn rate(&mut self, time: Duration) -> anyhow::Result<f64> {
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for connection in self.connections.drain(..) {
            tasks.spawn(fire(connection, self.shot.clone(), start + time));
        }
        let mut answers = 0;
        while let Some(ended) = tasks.join_next().await {
            let (connection, count) = ended??;
            self.connections.push(connection);
            answers += count;
        }
        // Until the last answer: requests under way at the end count, and so does their time.
        Ok(f64::from(answers) / start.elapsed().as_secs_f64())
    }
}

/// Rates of `ours` and of `floor`, by turns, after a turn each that does not count.
pub(crate) async fn by_turns(
    ours: &mut Load,
    floor: &mut Load,
    rounds: usize,
    turn: Duration,
) -> anyhow::Result<Vec<(f64, f64)>> {
    ours.rate(turn).await?;
    floor.rate(turn).await?;
    let mut rates = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        rates.push((ours.rate(turn).await?, floor.rate(turn).await?));
    }
    Ok(rates)
}

async fn fire(
    mut connection: SendRequest<Full<Bytes>>,
    shot: Shot,
    until: Instant,
) -> anyhow::Result<(SendRequest<Full<Bytes>>, u32)> {
    let mut count = 0;
    while Instant::now() < until {
        connection.ready().await?;
        let response = connection.send_request(shot.request()).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let right = body.windows(shot.contains.len()).any(|part| part == shot.contains.as_bytes());
        anyhow::ensure!(
            status.is_success() && right,
            "{} {}: {status}: {}",
            shot.method,
            shot.path,
            String::from_utf8_lossy(&body)
        );
        count += 1;
    }
    Ok((connection, count))
}

#[expect(clippy::disallowed_methods, reason = "the load goes to processes that this one started")]
async fn connect(to: SocketAddr) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

// === impl Shot ===

impl Shot {
    fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.path.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}
