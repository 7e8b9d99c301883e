//! Serving connections: bounded in number and in time, and ended in order.
//!
//! Who may stay when there is no place left is in [`crowd`], how slow a peer may be in [`pace`].
//!
//! HTTP/1.1 without TLS, which a proxy in front brings. HTTP/2 without TLS is not offered: telling it
//! from HTTP/1 means waiting for a client's first bytes without a limit.
//!
//! ```text
//!   accepting ──drain──> no new connections; idle ones end, busy ones get `drain_time_max`
//!             ──────────> what is left is cut off; the call futures drop, which ends their guests
//! ```

mod crowd;
mod pace;
mod service;

use std::error::Error;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) use self::crowd::{Member, TokenMark};
pub(crate) use self::pace::TooSlow;

use self::crowd::{Bounds, Crowd, Seat};
use self::pace::{Pace, Paced};
use self::service::Connected;
use crate::api::{Api, Host, Limits};
use crate::metrics::Closed;
use crate::route::Router;

/// Pauses after an accept that failed for the host's own sake: out of file descriptors, say, which passes as
/// connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Bytes of an answer that the system takes before any of it is sent. Without a bound it takes megabytes, and
/// whether a slow peer reads at all could be seen only once a third of them are gone.
const UNSENT_BYTES_MAX: u32 = 128 << 10;

/// Bytes of a request's head, give or take what one read brings: room for a token, a traceparent and
/// what a proxy adds. Over it hyper answers 431 by itself, without a problem document.
const HEAD_BYTES_MAX: usize = 64 << 10;

impl Api {
    /// Serves until `drain` is done and the connections have ended or used up their time.
    pub async fn serve(self, listener: TcpListener, drain: impl Future<Output = ()> + Send) {
        if let Ok(address) = listener.local_addr() {
            self.host.listening.get_or_init(|| address);
        }
        let server = Server::new(&self);
        tokio::pin!(drain);
        tokio::select! {
            biased;
            () = &mut drain => {}
            () = server.accept(&listener) => {}
        }
        drop(listener);
        self.host.stopping.send_replace(true);
        server.end(self.host.config.drain_time_max).await;
    }
}

/// Connections under way.
struct Server {
    host: Host,
    router: Router,
    builder: http1::Builder,
    crowd: Arc<Crowd>,
    pace: Pace,
    /// Each connection holds a receiver. Dropped to cut off those that are left.
    phase: watch::Sender<Phase>,
}

/// A connection as hyper serves it.
type Connection = http1::Connection<TokioIo<Paced<TcpStream>>, Connected>;

/// What connections are told.
#[derive(Clone, Copy)]
enum Phase {
    Serving,
    /// Nothing more comes after the answer under way.
    Draining,
}

// === impl Server ===

impl Server {
    fn new(api: &Api) -> Self {
        let limits = &api.host.config.limits;
        Self {
            host: Arc::clone(&api.host),
            router: api.router(),
            builder: builder(limits),
            crowd: Crowd::new(bounds(limits)),
            pace: pace(limits),
            phase: watch::Sender::new(Phase::Serving),
        }
    }

    /// Accepts for ever.
    async fn accept(&self, listener: &TcpListener) {
        let mut pause = ACCEPT_PAUSE;
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    pause = ACCEPT_PAUSE;
                    match self.crowd.seat(address.ip()).await {
                        Some(seat) => self.begin(stream, seat),
                        None => self.host.metrics.closed(Closed::Peer),
                    }
                }
                Err(error) if of_the_peer(&error) => {}
                Err(error) => {
                    // Once for each row of failures: there may be thousands.
                    if pause == ACCEPT_PAUSE {
                        tracing::warn!(%error, "connections not accepted for the moment");
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
                }
            }
        }
    }

    fn begin(&self, stream: TcpStream, seat: Seat) {
        // Answers are small and written whole; waiting to fill a segment only delays them.
        let options = stream
            .set_nodelay(true)
            .and_then(|()| socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX));
        if let Err(error) = options {
            tracing::debug!(%error, "connection without its options");
        }
        let member = Arc::clone(seat.member());
        let stream = TokioIo::new(Paced::new(stream, Arc::clone(&member), self.pace));
        let service = Connected { router: self.router.clone(), member, pace: self.pace };
        let connection = self.builder.serve_connection(stream, service);
        let (phase, host) = (self.phase.subscribe(), Arc::clone(&self.host));
        let open = self.host.metrics.opened();
        tokio::spawn(async move {
            let _open = open;
            if let Some(why) = carry(connection, &seat, phase).await {
                host.metrics.closed(why);
            }
            // After the connection itself, whose descriptor is the next one's.
            drop(seat);
        });
    }

    /// Lets connections end, for so long.
    async fn end(self, time_max: Duration) {
        let Self { phase, .. } = self;
        tracing::info!(connections = phase.receiver_count(), "draining");
        phase.send_replace(Phase::Draining);
        if tokio::time::timeout(time_max, phase.closed()).await.is_err() {
            tracing::warn!(seconds = time_max.as_secs(), "drain took too long; cutting off");
        }
    }
}

/// Carries a connection until it ends or is cut off; why the host ended it, if it did.
async fn carry(
    connection: Connection,
    seat: &Seat,
    mut phase: watch::Receiver<Phase>,
) -> Option<Closed> {
    let mut connection = pin!(connection);
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                let error = ended.err()?;
                tracing::debug!(error = &error as &dyn Error, "connection ended early");
                return is_slow(&error).then_some(Closed::Slow);
            }
            () = seat.told_to_go() => return Some(Closed::Crowded),
            changed = phase.changed() => match changed.map(|()| *phase.borrow_and_update()) {
                Ok(Phase::Serving) => {}
                Ok(Phase::Draining) => connection.as_mut().graceful_shutdown(),
                Err(_) => return None,
            }
        }
    }
}

/// Whether the peer's pace is behind an error.
pub(crate) fn is_slow(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if error.is::<TooSlow>() || within.is_some_and(|error| error.is::<TooSlow>()) {
            return true;
        }
        next = error.source();
    }
    false
}

/// Whether accepting failed for the sake of that one connection (accept(2), "Error handling").
fn of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, HostUnreachable, NetworkUnreachable};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | HostUnreachable | NetworkUnreachable
    )
}

fn bounds(limits: &Limits) -> Bounds {
    Bounds {
        connections_max: limits.connections_max,
        known_min: limits.known_connections_min,
        peer_max: limits.peer_connections_max,
        token_max: limits.token_connections_max,
    }
}

fn pace(limits: &Limits) -> Pace {
    Pace { stall_max: limits.stall_max, rate_bytes_min: limits.rate_bytes_min }
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time_max)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
}
