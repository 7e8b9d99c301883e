//! The body of a request on its way out: whole, and then it can be sent again, or as it comes from a caller.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, SizeHint};
use keyway_core::exchange::Streamed;

use crate::tokens;

/// What is to be sent. Hands itself out for one attempt at a time.
pub(crate) enum Payload {
    /// Whole.
    Whole(Bytes),
    /// As it comes; gone once it was sent.
    Streamed(Option<Streamed>, Meter),
}

/// A body that goes over a connection.
pub(crate) enum Outgoing {
    Whole(Full<Bytes>),
    Streamed(Streamed, Meter),
}

/// How far a caller's body has gone out. Clones count the same.
#[derive(Clone, Default)]
pub(crate) struct Meter(Arc<Counts>);

#[derive(Default)]
struct Counts {
    bytes: AtomicU64,
    over: AtomicBool,
    /// Ended because it held a token of this host.
    refused: AtomicBool,
}

// === impl Payload ===

impl Payload {
    /// A caller's body. One that is known to be empty can be sent again like a whole one.
    pub(crate) fn streamed(body: Streamed) -> Self {
        if body.is_end_stream() {
            Self::Whole(Bytes::new())
        } else {
            Self::Streamed(Some(body), Meter::default())
        }
    }

    /// For an attempt; none if an earlier one has used it up.
    pub(crate) fn take(&mut self) -> Option<Outgoing> {
        match self {
            Self::Whole(bytes) => Some(Outgoing::Whole(Full::new(bytes.clone()))),
            Self::Streamed(body, meter) => {
                body.take().map(|body| Outgoing::Streamed(body, meter.clone()))
            }
        }
    }

    /// Back from an attempt that sent nothing of it.
    pub(crate) fn give_back(&mut self, outgoing: Outgoing) {
        if let (Self::Streamed(body, _), Outgoing::Streamed(given, _)) = (self, outgoing) {
            *body = Some(given);
        }
    }

    /// Waits until all of it is there: whoever signs it has to have seen it. False if it is over so many bytes.
    pub(crate) async fn hold(&mut self, bytes_max: usize) -> io::Result<bool> {
        let Self::Streamed(body, _) = self else { return Ok(true) };
        let Some(mut body) = body.take() else { return Ok(true) };
        let mut held = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            if held.len() + data.len() > bytes_max {
                return Ok(false);
            }
            held.extend_from_slice(&data);
        }
        *self = Self::Whole(held.freeze());
        Ok(true)
    }

    /// Whether there is another attempt in it.
    pub(crate) fn again(&self) -> bool {
        matches!(self, Self::Whole(_) | Self::Streamed(Some(_), _))
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    /// Bytes of it, where they are known.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::Whole(bytes) => Some(bytes.len() as u64),
            Self::Streamed(body, _) => body.as_ref()?.size_hint().exact(),
        }
    }

    /// It, where it is whole.
    pub(crate) fn bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Whole(bytes) => Some(bytes),
            Self::Streamed(..) => None,
        }
    }

    /// How far it has gone out, where it is not whole.
    pub(crate) fn meter(&self) -> Option<Meter> {
        match self {
            Self::Whole(_) => None,
            Self::Streamed(_, meter) => Some(meter.clone()),
        }
    }
}

// === impl Meter ===

impl Meter {
    /// Bytes that went out.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Whether all of the body went out.
    pub(crate) fn over(&self) -> bool {
        self.0.over.load(Ordering::Relaxed)
    }

    /// Whether the body was ended because it held a token of this host.
    pub(crate) fn refused(&self) -> bool {
        self.0.refused.load(Ordering::Relaxed)
    }

    fn broke_off(&self, error: &io::Error) {
        if tokens::held_one(error) {
            self.0.refused.store(true, Ordering::Relaxed);
        }
    }

    fn went(&self, frame: Option<&Frame<Bytes>>, last: bool) {
        let bytes = frame.and_then(Frame::data_ref).map_or(0, Bytes::len);
        self.0.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if last {
            self.0.over.store(true, Ordering::Relaxed);
        }
    }
}

// === impl Outgoing ===

impl Outgoing {
    /// How far it has gone out, where it is not whole.
    pub(crate) fn meter(&self) -> Option<Meter> {
        match self {
            Self::Whole(_) => None,
            Self::Streamed(_, meter) => Some(meter.clone()),
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(body) => {
                Pin::new(body).poll_frame(context).map_err(|never: Infallible| match never {})
            }
            Self::Streamed(body, meter) => {
                let frame = ready!(Pin::new(&mut *body).poll_frame(context)).transpose();
                let frame = frame.inspect_err(|error| meter.broke_off(error))?;
                // Who knows the length does not ask for more once it has come.
                meter.went(frame.as_ref(), frame.is_none() || body.is_end_stream());
                Poll::Ready(frame.map(Ok))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Streamed(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Streamed(body, _) => body.size_hint(),
        }
    }
}

/// A whole body, as a streamed one.
pub(crate) fn whole(bytes: Bytes) -> Streamed {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed_unsync()
}
