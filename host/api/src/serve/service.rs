//! What hyper asks for each request of one connection: the router, between a body that is held to a pace and an
//! answer that says when it is over.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::http::{Request, Response};
use bytes::Bytes;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::service::Service;

use super::crowd::{ANSWERING, BUSY, Doing, Member, TAKING};
use super::pace::{Allowance, Pace};
use crate::layer;
use crate::route::Router;

/// Answers the requests of one connection.
pub(super) struct Connected {
    pub(super) router: Router,
    pub(super) member: Arc<Member>,
    pub(super) pace: Pace,
}

/// An answer in the making.
pub(super) struct Answering {
    answer: layer::Answering,
    doing: Option<Doing>,
}

/// The body of an answer, on its way.
pub(super) struct Answer {
    body: Body,
    _doing: Option<Doing>,
}

/// The body of a request, on its way.
struct Taken {
    body: Incoming,
    allowance: Allowance,
    /// Until its end.
    doing: Option<Doing>,
}

// === impl Connected ===

impl Connected {
    fn take(&self, body: Incoming) -> Body {
        if body.is_end_stream() {
            return Body::empty();
        }
        let doing = Some(self.member.begin(TAKING));
        Body::new(Taken { body, allowance: Allowance::new(self.pace), doing })
    }
}

impl Service<Request<Incoming>> for Connected {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let doing = Some(self.member.begin(BUSY));
        let mut request = request.map(|body| self.take(body));
        request.extensions_mut().insert(Arc::clone(&self.member));
        Answering { answer: self.router.receive(request), doing }
    }
}

// === impl Answering ===

impl Future for Answering {
    type Output = Result<Response<Answer>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(self.answer.as_mut().poll(context));
        let doing = self.doing.take().map(|doing| doing.also(ANSWERING));
        Poll::Ready(Ok(answer.map(|body| Answer { body, _doing: doing })))
    }
}

// === impl Answer ===

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

// === impl Taken ===

impl hyper::body::Body for Taken {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                self.allowance.moved(frame.data_ref().map_or(0, Bytes::len));
                if self.body.is_end_stream() {
                    self.doing = None;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(end) => {
                self.doing = None;
                Poll::Ready(end.map(|failed| failed.map_err(axum::Error::new)))
            }
            Poll::Pending => {
                let too_slow = ready!(self.allowance.wait(context));
                self.doing = None;
                let error = io::Error::new(io::ErrorKind::TimedOut, too_slow);
                Poll::Ready(Some(Err(axum::Error::new(error))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
