//! Request bodies, bounded in bytes and in time, each by itself and all together ([`crate::bodies`]).
//!
//! A body over its limit is refused, but what a client is still sending is read and thrown away for a
//! while: closing under it would cost it the answer.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use keyway_core::{Code, Fault, Whose};
use serde::de::DeserializeOwned;

use crate::api::Host;
use crate::bodies::Holder;
use crate::handlers::calls;
use crate::json;
use crate::problem::Refusal;

/// Checked JSON text.
pub(crate) struct JsonText(pub(crate) String);

/// A JSON body of a shape.
pub(crate) struct Json<T>(pub(crate) T);

/// As [`Json`]; where it does not fit, the handler says so in its own words. A parser quotes what it complains about, which
/// may be a secret.
pub(crate) struct Shaped<T>(pub(crate) Result<T, Fault>);

/// Bytes of JSON that is read or written where it is asked for: some hundred microseconds at most. What is longer waits in the
/// lane of who pays for it, where it holds up nobody else.
pub(crate) const SHORT_BYTES_MAX: usize = 64 << 10;

/// Bytes that one value of a text takes in a shape, at the most.
pub(crate) const SHAPE_BYTES_MAX: usize = 100;

/// What bounds one body.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) bytes_max: usize,
    pub(crate) drain_bytes_max: usize,
    pub(crate) time_max: Duration,
    /// What a body over the limit is refused with.
    pub(crate) code: Code,
}

impl FromRequest<Host> for JsonText {
    type Rejection = Refusal;

    async fn from_request(request: Request, api: &Host) -> Result<Self, Refusal> {
        Ok(Self(json(request, api, |text, _, _| Ok(text)).await?))
    }
}

impl<T: DeserializeOwned + Send + 'static> FromRequest<Host> for Shaped<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, api: &Host) -> Result<Self, Refusal> {
        let shape = |text: String, values: usize, holder: &Holder| {
            holder.hold(text.len() + values * SHAPE_BYTES_MAX)?;
            Ok(json::object(&text))
        };
        Ok(Self(json(request, api, shape).await?))
    }
}

impl<T: DeserializeOwned + Send + 'static> FromRequest<Host> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, api: &Host) -> Result<Self, Refusal> {
        let Shaped(shape) = Shaped::from_request(request, api).await?;
        Ok(Self(shape?))
    }
}

/// What is made of a JSON body: of its text, of how many values that has, and of who holds it.
async fn json<T: Send + 'static>(
    request: Request,
    api: &Host,
    make: impl FnOnce(String, usize, &Holder) -> Result<T, Fault> + Send + 'static,
) -> Result<T, Refusal> {
    check_type(request.headers())?;
    let time_max = api.config.limits.json_time_max;
    let time = calls::timeout(request.headers())?.map_or(time_max, |time| time.min(time_max));
    let (bytes, holder) = held(request, api, api.config.limits.json_bytes_max).await?;
    let (payer, short) = (holder.payer().clone(), bytes.len() <= SHORT_BYTES_MAX);
    let made = move || {
        let (text, values) = json::text(bytes)?;
        make(text, values, &holder)
    };
    if short {
        return Ok(made()?);
    }
    let made = tokio::time::timeout(time, api.lanes.once(&payer, made)).await;
    Ok(made.unwrap_or_else(|_| {
        // It waited for its own tenant, and for next to nobody else.
        let fault = Fault::new(Code::DeadlineExceeded, "no time was left to read the body");
        Err(fault.blame(Whose::Tenant))
    })?)
}

/// The fields of a form; none of a body that is something else.
pub(crate) struct FormText(pub(crate) Vec<(String, String)>);

/// Bytes of a form: what a browser sends here is a code, or what a person has typed: three times the longest token.
const FORM_BYTES_MAX: usize = 64 << 10;

impl FromRequest<Host> for FormText {
    type Rejection = Refusal;

    async fn from_request(request: Request, api: &Host) -> Result<Self, Refusal> {
        let (bytes, _) = held(request, api, FORM_BYTES_MAX).await?;
        let text = String::from_utf8(bytes).unwrap_or_default();
        Ok(Self(url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()))
    }
}

/// A body of up to so many bytes, which its request holds until it is answered.
pub(crate) async fn held(
    request: Request,
    api: &Host,
    bytes_max: usize,
) -> Result<(Vec<u8>, Holder), Refusal> {
    let limits = &api.config.limits;
    let bounds = Bounds {
        bytes_max,
        drain_bytes_max: limits.drain_bytes_max,
        time_max: limits.json_time_max,
        code: Code::BodyTooLarge,
    };
    let (parts, body) = request.into_parts();
    let holder = Holder::of(api, &parts)?;
    let hold = |bytes| holder.hold(bytes);
    let bytes = within(bounds, collect(&parts.headers, body, bounds, &hold)).await?;
    Ok((bytes, holder))
}

/// Reads a whole body within its bounds. Whoever calls has a place for all of it.
pub(crate) async fn read(request: Request, bounds: Bounds) -> Result<Bytes, Fault> {
    let (parts, body) = request.into_parts();
    let bytes = within(bounds, collect(&parts.headers, body, bounds, &|_| Ok(()))).await?;
    Ok(bytes.into())
}

async fn within<T>(
    bounds: Bounds,
    reading: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    tokio::time::timeout(bounds.time_max, reading).await.unwrap_or_else(|_| {
        let detail = format!("the body did not arrive within {} s", bounds.time_max.as_secs());
        Err(Fault::new(Code::InvalidRequest, detail))
    })
}

/// Asked before memory is taken: whether there is room for a body of so many bytes.
type Hold<'a> = &'a (dyn Fn(usize) -> Result<(), Fault> + Sync);

async fn collect(
    headers: &HeaderMap,
    mut body: Body,
    bounds: Bounds,
    hold: Hold<'_>,
) -> Result<Vec<u8>, Fault> {
    let declared = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok())
        .unwrap_or_default();
    let room = if declared > bounds.bytes_max { Err(bounds.refusal()) } else { hold(declared) };
    if let Err(fault) = room {
        // Who waits for `100 Continue` has not begun to send, and reading would make it.
        if !headers.contains_key(EXPECT) {
            discard(&mut body, bounds.drain_bytes_max).await;
        }
        return Err(fault);
    }
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let slow = crate::serve::is_slow(&error);
            let detail = if slow { "the body came too slowly" } else { "the body ended early" };
            Fault::new(Code::InvalidRequest, detail).caused_by(error)
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if let Err(fault) = make_room(&mut bytes, declared, data.len(), bounds, hold) {
            drop((bytes, data));
            discard(&mut body, bounds.drain_bytes_max).await;
            return Err(fault);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// Room for more of a body: all that was declared, or twice what there was.
fn make_room(
    bytes: &mut Vec<u8>,
    declared: usize,
    more: usize,
    bounds: Bounds,
    hold: Hold<'_>,
) -> Result<(), Fault> {
    let length = bytes.len() + more;
    if length > bounds.bytes_max {
        return Err(bounds.refusal());
    }
    if length > bytes.capacity() {
        let wanted = declared.max(length).max(bytes.capacity() * 2).min(bounds.bytes_max);
        hold(wanted)?;
        bytes.reserve_exact(wanted - bytes.len());
    }
    Ok(())
}

/// Reads and forgets up to `bytes_max` bytes.
async fn discard(body: &mut Body, bytes_max: usize) {
    let mut left = bytes_max;
    while let Some(Ok(frame)) = body.frame().await {
        let size = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(size) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

fn check_type(headers: &HeaderMap) -> Result<(), Fault> {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Fault::new(Code::InvalidRequest, "`content-type` must be application/json"))
}

// === impl Bounds ===

impl Bounds {
    fn refusal(&self) -> Fault {
        Fault::new(self.code, format!("the body is over {} bytes", self.bytes_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds() -> Bounds {
        Bounds {
            bytes_max: 10,
            drain_bytes_max: 5,
            time_max: Duration::from_secs(1),
            code: Code::BodyTooLarge,
        }
    }

    fn code(result: Result<Bytes, Fault>) -> Option<Code> {
        result.err().map(|fault| fault.code)
    }

    #[tokio::test]
    async fn bytes_are_bounded_whether_declared_or_not() {
        for (size, expected) in [(10, None), (11, Some(Code::BodyTooLarge))] {
            let plain = Request::new(Body::from("x".repeat(size)));
            assert_eq!(code(read(plain, bounds()).await), expected);
            let declared = Request::builder()
                .header(CONTENT_LENGTH, size)
                .body(Body::from("x".repeat(size)))
                .unwrap();
            assert_eq!(code(read(declared, bounds()).await), expected);
        }
    }

    #[tokio::test]
    async fn what_is_thrown_away_is_bounded() {
        for (size, rest) in [(15, 0), (16, 0), (17, 0), (18, 1), (30, 13)] {
            let mut sent = (0..size).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(b"x")));
            let (left, body) = {
                let left = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(size));
                let count = std::sync::Arc::clone(&left);
                let frames = futures_util::stream::poll_fn(move |_| {
                    let frame = sent.next();
                    if frame.is_some() {
                        count.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    }
                    std::task::Poll::Ready(frame)
                });
                (left, Body::from_stream(frames))
            };
            assert_eq!(code(read(Request::new(body), bounds()).await), Some(Code::BodyTooLarge));
            // Ten are taken, the eleventh is over, five are thrown away, and one more ends it.
            assert_eq!(left.load(std::sync::atomic::Ordering::SeqCst), rest, "of {size}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_is_bounded() {
        // A client that has said it will send and does not.
        let silence = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        let never = Body::from_stream(silence);
        assert_eq!(code(read(Request::new(never), bounds()).await), Some(Code::InvalidRequest));
    }
}
