//! Places for connections to providers: each is one open file, and a process has so many.
//!
//! Whoever wants a connection has a place first, and the socket keeps it until it is closed. A kept connection has one as
//! well; where places are short it gives way, and nothing is kept while somebody waits. Who gets none in its time is told so.
//!
//! How many there are is decided where all open files are shared out. Who may have how many under way is decided in
//! [`crate::budget`].

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// All places. Clones are the same.
#[derive(Clone)]
pub(crate) struct Places(Arc<Inner>);

struct Inner {
    free: Arc<Semaphore>,
    wanting: AtomicUsize,
}

/// The right to have one socket open.
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
}

/// A socket in its place, which is free again once it is closed.
pub(crate) struct Placed<S> {
    // Before its place: closed first.
    socket: S,
    _place: Place,
}

/// Somebody who wants a place, until it is dropped.
pub(crate) struct Wanting<'p>(&'p Inner);

// === impl Places ===

impl Places {
    pub(crate) fn new(connections_max: usize) -> Self {
        let free = Arc::new(Semaphore::new(connections_max.clamp(1, Semaphore::MAX_PERMITS)));
        Self(Arc::new(Inner { free, wanting: AtomicUsize::new(0) }))
    }

    /// A place that is free now.
    pub(crate) fn free(&self) -> Option<Place> {
        let permit = Arc::clone(&self.0.free).try_acquire_owned().ok();
        permit.map(|permit| Place { _permit: permit })
    }

    /// Makes known that somebody wants one that is not free.
    pub(crate) fn want(&self) -> Wanting<'_> {
        self.0.wanting.fetch_add(1, Ordering::Relaxed);
        Wanting(&self.0)
    }

    /// Whether somebody does.
    pub(crate) fn wanted(&self) -> bool {
        self.0.wanting.load(Ordering::Relaxed) > 0
    }
}

// === impl Wanting ===

impl Wanting<'_> {
    /// Waits for it, first come, first served.
    pub(crate) async fn wait(self) -> Place {
        let permit = Arc::clone(&self.0.free).acquire_owned().await;
        Place { _permit: permit.expect("nothing closes this semaphore") }
    }
}

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        self.0.wanting.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Placed ===

impl<S> Placed<S> {
    pub(crate) fn new(socket: S, place: Place) -> Self {
        Self { socket, _place: place }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Placed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Placed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_place_is_free_again_once_its_socket_is_closed() {
        let places = Places::new(2);
        let (socket, _far) = tokio::io::duplex(1);
        let placed = Placed::new(socket, places.free().unwrap());
        let second = places.free().unwrap();
        assert!(places.free().is_none() && !places.wanted());
        let mut third = Box::pin(places.want().wait());
        assert!(third.as_mut().now_or_never().is_none() && places.wanted());
        drop(placed);
        let third = third.await;
        assert!(!places.wanted() && places.free().is_none());
        // Who waits no more is forgotten.
        let mut gone = Box::pin(places.want().wait());
        assert!(gone.as_mut().now_or_never().is_none());
        drop(gone);
        assert!(!places.wanted());
        drop((second, third));
        assert!(places.free().is_some());
    }
}
