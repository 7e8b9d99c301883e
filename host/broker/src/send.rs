//! Sends one request over an open connection and reads the response, within limits.
//!
//! What comes out is still as the upstream wrote it: coded, and with every header.

use std::error::Error as _;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::task::AtomicWaker;
use http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use http::{Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::Limits;
use crate::dial::Connection;
use crate::payload::{Meter, Outgoing};
use crate::reason::{Reason, Stop};

/// A response as it came.
pub(crate) struct Raw {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Looking up and connecting.
    pub(crate) connected: Duration,
    /// From sending until the head.
    pub(crate) first_byte: Duration,
}

/// Why there is no response.
pub(crate) enum Unanswered {
    /// None of the request was written: here it is, to be sent again.
    Unsent(Box<Request<Outgoing>>),
    /// The other side says that it has not looked at the request.
    Refused,
    /// The connection ended after something was written and before anything was read.
    Lost,
    /// This exchange is over.
    Stopped(Stop),
}

/// Counts interim responses of one request.
#[derive(Default)]
struct Interim {
    seen: AtomicU32,
    /// Whoever waits for the response.
    waiting: AtomicWaker,
}

/// A body, as far as it was read.
#[derive(Default)]
pub(crate) struct Gathered {
    /// Most bodies are one piece, which is handed on as it is.
    first: Bytes,
    /// All of it, once there is more than one.
    rest: BytesMut,
}

const ENDLESS: &str = "upstream sends interim responses without end";

// === impl Interim ===

impl Interim {
    /// Waits until there are more than `max`.
    async fn exceed(&self, max: u32) {
        poll_fn(|context| {
            // Before looking: one that comes in between wakes.
            self.waiting.register(context.waker());
            if self.seen.load(Ordering::Relaxed) > max { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

// === impl Gathered ===

impl Gathered {
    pub(crate) fn len(&self) -> usize {
        self.first.len() + self.rest.len()
    }

    /// One more piece, after which so many bytes are expected.
    fn push(&mut self, data: Bytes, expected: usize) {
        if self.len() == 0 {
            self.first = data;
            return;
        }
        if self.rest.is_empty() {
            self.rest.reserve(self.first.len() + data.len() + expected);
            self.rest.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.rest.extend_from_slice(&data);
    }

    /// All of it, which stays here as well.
    pub(crate) fn bytes(&mut self) -> Bytes {
        if !self.rest.is_empty() {
            self.first = self.rest.split().freeze();
        }
        self.first.clone()
    }
}

/// Sends, and waits until then for the head of the response.
pub(crate) async fn head(
    connection: &mut Connection,
    mut request: Request<Outgoing>,
    until: Instant,
    limits: &Limits,
) -> Result<Response<Incoming>, Unanswered> {
    let interim = Arc::new(Interim::default());
    let (watch, max) = (Arc::clone(&interim), limits.interim_responses_max);
    hyper::ext::on_informational(&mut request, move |_| {
        if watch.seen.fetch_add(1, Ordering::Relaxed) >= max {
            watch.waiting.wake();
        }
    });
    let stop = |reason, detail| Err(Unanswered::Stopped(Stop::new(reason, detail)));
    let (upload, mut until) = (request.body().meter(), until);
    let mut sending = pin!(connection.send(request));
    let sent = loop {
        let gone = upload.as_ref().map(Meter::bytes);
        tokio::select! {
            biased;
            sent = timeout_at(until, &mut sending) => match sent {
                Ok(sent) => break sent,
                // A body that is still going out is not waited for, as long as it moves.
                Err(_) if gone != upload.as_ref().map(Meter::bytes) => {
                    until = Instant::now() + limits.first_byte_timeout;
                }
                Err(_) => {
                    let detail = "upstream did not begin to answer in time";
                    return stop(Reason::FirstByteTimeout, detail);
                }
            },
            () = interim.exceed(max) => return stop(Reason::TooManyInterim, ENDLESS),
        }
    };
    // Many that come at once are read at once, together with what follows them.
    if interim.seen.load(Ordering::Relaxed) > max {
        return stop(Reason::TooManyInterim, ENDLESS);
    }
    match sent {
        Ok(response) => check_head(response.version(), response.headers(), limits)
            .and_then(|()| check_status(response.status()))
            .map(|()| response)
            .map_err(Unanswered::Stopped),
        Err(_) if upload.as_ref().is_some_and(Meter::refused) => {
            Err(Unanswered::Stopped(Stop::token_in_body()))
        }
        // Handing the request back is how hyper says that it wrote none of it.
        Err(mut failed) => match failed.take_message() {
            Some(request) => Err(Unanswered::Unsent(Box::new(request))),
            None => Err(unanswered(failed.error())),
        },
    }
}

fn unanswered(error: &hyper::Error) -> Unanswered {
    tracing::debug!(error = error as &dyn std::error::Error, "no response");
    if error.is_parse_too_large() {
        let detail = "upstream's response headers are too many or too large";
        Unanswered::Stopped(Stop::new(Reason::ResponseHeadersTooLarge, detail))
    } else if error.is_parse() {
        Unanswered::Stopped(Stop::new(Reason::ResponseMalformed, "upstream's response is not http"))
    } else if refused(error) {
        Unanswered::Refused
    } else {
        Unanswered::Lost
    }
}

/// Whether the other side says that it has not looked at the request: it reset the stream so (RFC 9113 section 8.7), or it
/// goes away and names an earlier stream as its last (section 6.8). Of streams up to that one, it goes on with the rest.
fn refused(error: &hyper::Error) -> bool {
    let mut next = error.source();
    while let Some(source) = next {
        if let Some(reset) = source.downcast_ref::<h2::Error>() {
            let unprocessed =
                reset.is_reset() && reset.reason() == Some(h2::Reason::REFUSED_STREAM);
            return reset.is_remote() && (unprocessed || reset.is_go_away());
        }
        next = source.source();
    }
    false
}

/// Framing that two readers could understand differently ends the exchange and the connection.
fn check_head(version: Version, headers: &HeaderMap, limits: &Limits) -> Result<(), Stop> {
    let bytes: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if headers.len() > limits.response_headers_max || bytes > limits.response_header_bytes_max {
        let detail = "upstream's response headers are too many or too large";
        return Err(Stop::new(Reason::ResponseHeadersTooLarge, detail));
    }
    if version == Version::HTTP_2 {
        return Ok(());
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next();
    let lengths = headers.get_all(CONTENT_LENGTH).iter().count();
    let plain = codings.next().is_none()
        && coding.is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if plain && lengths <= 1 && (coding.is_none() || lengths == 0) {
        Ok(())
    } else {
        Err(Stop::new(Reason::ResponseMalformed, "upstream's response has more than one length"))
    }
}

fn check_status(status: StatusCode) -> Result<(), Stop> {
    // 101 would be a change of protocol that nobody asked for; above 599 is no status.
    if (200..600).contains(&status.as_u16()) {
        Ok(())
    } else {
        Err(Stop::new(Reason::ResponseMalformed, "upstream's response has no usable status"))
    }
}

/// Refuses a body that says at once that it is too long to be read.
pub(crate) fn check_length(body: &Incoming, limits: &Limits) -> Result<(), Stop> {
    let max = limits.response_body_bytes_max;
    if body.size_hint().lower() > max as u64 { Err(too_large(max)) } else { Ok(()) }
}

/// Reads a body to its end. Trailers are dropped: nothing that a connector needs stands in them. What is gathered stays
/// there also where this fails, or is not waited for.
pub(crate) async fn gather(
    connection: &mut Connection,
    body: &mut Incoming,
    limits: &Limits,
    gathered: &mut Gathered,
) -> Result<(), Stop> {
    let max = limits.response_body_bytes_max;
    while let Some(mut data) = piece(connection, body, limits).await? {
        let room = max - gathered.len();
        let over = data.len() > room;
        data.truncate(room);
        let expected = usize::try_from(body.size_hint().lower()).unwrap_or(0);
        gathered.push(data, expected.min(max));
        if over {
            return Err(too_large(max));
        }
    }
    Ok(())
}

fn too_large(max: usize) -> Stop {
    Stop::new(Reason::ResponseBodyTooLarge, format!("upstream's body is over {max} bytes"))
}

/// The next piece of a body; none at its end.
pub(crate) async fn piece(
    connection: &mut Connection,
    body: &mut Incoming,
    limits: &Limits,
) -> Result<Option<Bytes>, Stop> {
    loop {
        let frame = match timeout(limits.between_bytes_timeout, connection.frame(body)).await {
            Err(_) => {
                let detail = "upstream stopped in the middle of a body";
                return Err(Stop::new(Reason::BodyStalled, detail));
            }
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => return Err(broken(&error)),
            Ok(Some(Ok(frame))) => frame,
        };
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
}

fn broken(error: &hyper::Error) -> Stop {
    tracing::debug!(error = error as &dyn std::error::Error, "body broke off");
    let kind =
        error.source().and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind);
    match kind {
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => {
            Stop::new(Reason::ResponseMalformed, "upstream's body breaks its framing")
        }
        _ => Stop::new(Reason::ConnectionLost, "the connection ended in the middle of a body"),
    }
}
