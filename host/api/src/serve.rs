//! Serving connections: bounded in number and in time, and ended in order.
//!
//! HTTP/1.1 without TLS, which a proxy in front brings. HTTP/2 without TLS is not offered: telling it
//! from HTTP/1 means waiting for a client's first bytes without a limit.
//!
//! ```text
//!   accepting ──drain──> no new connections; idle ones end, busy ones get `drain_time_max`
//!             ──────────> what is left is cut off; the call futures drop, which ends their guests
//! ```

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1::{Builder, Connection};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::api::{Api, Host, Limits};
use crate::route::Router;

/// Pause after a failed accept: out of file descriptors, say, which passes as connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
    builder: Builder,
    places: Arc<Semaphore>,
    /// Each connection holds a receiver. Dropped to cut off those that are left.
    phase: watch::Sender<Phase>,
}

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
            places: Arc::new(Semaphore::new(limits.connections_max)),
            phase: watch::Sender::new(Phase::Serving),
        }
    }

    /// Accepts for ever.
    async fn accept(&self, listener: &TcpListener) {
        // Never closed, so the loop ends only with the future.
        while let Ok(place) = Arc::clone(&self.places).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => self.begin(stream, place),
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn begin(&self, stream: TcpStream, place: OwnedSemaphorePermit) {
        // Answers are small and written whole; waiting to fill a segment only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "connection without nodelay");
        }
        let connection = self.builder.serve_connection(TokioIo::new(stream), self.router.clone());
        let phase = self.phase.subscribe();
        let open = self.host.metrics.opened();
        tokio::spawn(async move {
            let _held = (place, open);
            carry(connection, phase).await;
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

/// Carries a connection until it ends or is cut off.
async fn carry(
    connection: Connection<TokioIo<TcpStream>, Router>,
    mut phase: watch::Receiver<Phase>,
) {
    let mut connection = pin!(connection);
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error = &error as &dyn std::error::Error, "connection ended early");
                }
                return;
            }
            changed = phase.changed() => match changed.map(|()| *phase.borrow_and_update()) {
                Ok(Phase::Serving) => {}
                Ok(Phase::Draining) => connection.as_mut().graceful_shutdown(),
                Err(_) => return,
            }
        }
    }
}

fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time_max)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
}
