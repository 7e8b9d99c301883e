//! Bodies as a provider may send them: whole, in pieces that come apart, broken off, compressed.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_compression::tokio::write::GzipEncoder;
use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Sleep, sleep};

/// Bytes of a piece: no credential fits into one.
const PIECE_BYTES: usize = 7;

/// Pieces that come apart before the rest comes whole: as far as the headers of a request reach.
const PIECES_MAX: usize = 60;

/// Between two pieces, so that they do not come in one packet.
const PAUSE: Duration = Duration::from_millis(1);

/// A body.
pub(super) struct Pieces {
    left: VecDeque<Bytes>,
    /// Whether it ends before its end.
    broken: bool,
    pause: Pin<Box<Sleep>>,
}

// === impl Pieces ===

impl Pieces {
    pub(super) fn whole(body: Bytes) -> Self {
        Self::made(VecDeque::from([body]), false)
    }

    /// In pieces that are shorter than what is to be found in them.
    pub(super) fn of(body: &[u8]) -> Self {
        let (apart, rest) = body.split_at(body.len().min(PIECE_BYTES * PIECES_MAX));
        let pieces = apart.chunks(PIECE_BYTES).chain([rest]);
        let full = pieces.filter(|piece| !piece.is_empty());
        Self::made(full.map(Bytes::copy_from_slice).collect(), false)
    }

    /// All of it, and then an end that is none.
    pub(super) fn broken_off(body: Bytes) -> Self {
        Self::made(VecDeque::from([body]), true)
    }

    fn made(left: VecDeque<Bytes>, broken: bool) -> Self {
        Self { left, broken, pause: Box::pin(sleep(Duration::ZERO)) }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        ready!(self.pause.as_mut().poll(context));
        match self.left.pop_front() {
            Some(piece) => {
                self.pause = Box::pin(sleep(PAUSE));
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            None if self.broken => Poll::Ready(Some(Err(io::Error::other("broken off")))),
            None => Poll::Ready(None),
        }
    }
}

/// The bytes, compressed.
pub(super) async fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzipEncoder::new(Vec::new());
    encoder.write_all(bytes).await.expect("a vector takes everything");
    encoder.shutdown().await.expect("a vector takes everything");
    encoder.into_inner().into()
}
