//! The beginning of an answer's body: a caller is told that there is an answer once it is known to come.
//!
//! A provider may say how long its answer is and then go away. Before anything was told to the caller, that is an error
//! like any other, with a code and the call's id. A short body whose length is known is therefore waited for to its end,
//! and what is there already of any other is looked at once. An answer without a length may take hours to say its first
//! word, so nothing is waited for there.
//!
//! Once an answer has begun it can only break off. It does so after what came before has left: a server that is told of
//! the end at once throws away what it has not written yet, the head included.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, SizeHint};
use keyway_core::exchange::Streamed;

use crate::service::Deadline;

/// Bytes of a body that is waited for to its end: what comes with the head in one or two reads of a socket. A longer
/// one is worth beginning with, and costs memory that the proxy promises not to use.
const SHORT_BYTES_MAX: u64 = 16 << 10;

/// A body, as far as it has come.
struct Arriving {
    /// What is there already.
    begun: VecDeque<Bytes>,
    rest: Streamed,
    /// How it ended early, to be told once what came before has left.
    broken: Option<io::Error>,
}

/// The body, unless it has broken off before the caller was told of it. `length` is what the provider said.
pub(crate) async fn begin(
    body: Streamed,
    length: Option<u64>,
    deadline: &Deadline,
) -> io::Result<Streamed> {
    let mut body = Arriving { begun: VecDeque::new(), rest: body, broken: None };
    let short = length.is_some_and(|bytes| bytes <= SHORT_BYTES_MAX);
    while !body.rest.is_end_stream() {
        let Some(frame) = next(&mut body.rest, short).await.transpose()? else { break };
        body.begun.extend(frame.into_data().ok());
        // Who sends a byte now and then is not waited for beyond the time for a head.
        if !short || deadline.left().is_zero() {
            break;
        }
    }
    Ok(body.boxed_unsync())
}

/// The next piece of a body. None at its end, and where nothing is there and it is not waited for.
async fn next(body: &mut Streamed, wait: bool) -> Option<io::Result<Frame<Bytes>>> {
    poll_fn(|context| match Pin::new(&mut *body).poll_frame(context) {
        Poll::Pending if !wait => Poll::Ready(None),
        polled => polled,
    })
    .await
}

// === impl Arriving ===

impl Body for Arriving {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Self { begun, rest, broken } = self.get_mut();
        if let Some(data) = begun.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if let Some(error) = broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match ready!(Pin::new(rest).poll_frame(context)) {
            Some(Err(error)) => {
                *broken = Some(error);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            frame => Poll::Ready(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.begun.is_empty() && self.broken.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let begun = self.begun.iter().map(|data| data.len() as u64).sum::<u64>();
        match self.rest.size_hint().exact() {
            _ if begun == 0 => self.rest.size_hint(),
            _ if self.rest.is_end_stream() => SizeHint::with_exact(begun),
            Some(rest) => SizeHint::with_exact(begun + rest),
            None => SizeHint::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;
    use std::time::Duration;

    use super::*;

    /// A body of these pieces; where there are no more, it stays silent if `silent`.
    struct Script {
        pieces: VecDeque<io::Result<Bytes>>,
        length: Option<u64>,
        silent: bool,
    }

    impl Body for Script {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
            match self.pieces.pop_front() {
                None if self.silent => Poll::Pending,
                piece => Poll::Ready(piece.map(|piece| piece.map(Frame::data))),
            }
        }

        fn size_hint(&self) -> SizeHint {
            self.length.map_or_else(SizeHint::new, SizeHint::with_exact)
        }

        fn is_end_stream(&self) -> bool {
            self.pieces.is_empty() && !self.silent
        }
    }

    fn lost() -> io::Result<Bytes> {
        Err(io::Error::other("connection-lost"))
    }

    fn piece(text: &'static str) -> io::Result<Bytes> {
        Ok(Bytes::from_static(text.as_bytes()))
    }

    fn begin_now(
        pieces: impl IntoIterator<Item = io::Result<Bytes>>,
        length: Option<u64>,
        silent: bool,
    ) -> Poll<io::Result<Streamed>> {
        let script = Script { pieces: pieces.into_iter().collect(), length, silent };
        let deadline = Deadline::within(None, Duration::from_secs(60));
        let body = script.boxed_unsync();
        let begun = std::pin::pin!(begin(body, length, &deadline));
        begun.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn text(mut body: Streamed) -> (String, Vec<Option<String>>) {
        let (mut text, mut ends) = (String::new(), Vec::new());
        let mut context = Context::from_waker(Waker::noop());
        while ends.len() < 2 {
            match Pin::new(&mut body).poll_frame(&mut context) {
                Poll::Ready(Some(Ok(frame))) => {
                    text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
                }
                Poll::Ready(Some(Err(error))) => ends.push(Some(error.to_string())),
                Poll::Ready(None) => break,
                Poll::Pending => ends.push(None),
            }
        }
        (text, ends)
    }

    fn begun(polled: Poll<io::Result<Streamed>>) -> Streamed {
        match polled {
            Poll::Ready(Ok(body)) => body,
            Poll::Ready(Err(error)) => panic!("{error}"),
            Poll::Pending => panic!("it waits"),
        }
    }

    #[test]
    fn a_short_body_is_whole_before_an_answer_begins() {
        let body = begun(begin_now([piece("ab"), piece("cd")], Some(4), false));
        assert_eq!(body.size_hint().exact(), Some(4));
        assert_eq!(text(body), ("abcd".to_owned(), vec![]));
        for length in [4, SHORT_BYTES_MAX] {
            let broken = begin_now([piece("ab"), lost()], Some(length), false);
            assert!(matches!(broken, Poll::Ready(Err(_))), "{length}");
            assert!(begin_now([piece("ab")], Some(length), true).is_pending(), "{length}");
        }
    }

    #[test]
    fn a_body_that_ends_before_its_first_byte_is_no_answer() {
        for length in [None, Some(4), Some(SHORT_BYTES_MAX + 1)] {
            let broken = begin_now([lost()], length, false);
            assert!(matches!(broken, Poll::Ready(Err(_))), "{length:?}");
        }
    }

    /// A stream of events may be silent for long, and its caller has to know that it is open.
    #[test]
    fn nothing_is_waited_for_where_no_length_is_known() {
        let body = begun(begin_now([], None, true));
        assert_eq!(text(body), (String::new(), vec![None, None]));
        let body = begun(begin_now([piece("event")], None, true));
        assert_eq!(text(body).0, "event");
        let long = begun(begin_now([piece("ab")], Some(SHORT_BYTES_MAX + 1), true));
        assert_eq!(long.size_hint().exact(), Some(SHORT_BYTES_MAX + 1 + 2), "as the script says");
    }

    /// Catches a head that never leaves, because the end was told along with it.
    #[test]
    fn what_came_leaves_before_the_end_is_told() {
        let body = begun(begin_now([piece("ab"), piece("cd"), lost()], None, false));
        assert_eq!(text(body), ("abcd".to_owned(), vec![None, Some("connection-lost".to_owned())]));
    }

    #[test]
    fn a_body_that_is_at_its_end_stays_as_it_is() {
        let body = begun(begin_now([], None, false));
        assert!(body.is_end_stream());
        assert_eq!(body.size_hint().exact(), None, "the length of a 304 is not made up");
    }
}
