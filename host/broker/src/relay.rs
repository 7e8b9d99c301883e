//! The proxy's way through the broker: a caller's own request, with bodies that go through as they come.
//!
//! The layers are those of a connector's exchange, with three differences. Redirects are the caller's to follow. A
//! body is neither decoded nor held: a secret in it is masked, byte for byte, where it is not compressed. And the time
//! for a body is bounded between its bytes, not as a whole.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use keyway_core::call::Failure;
use keyway_core::exchange::{Origin, Relay, Relayed, Streamed};
use keyway_core::ports::Proxy;
use tokio::time::{Instant, Sleep, sleep, timeout_at};

use crate::broker::{self, Broker, foreseen, late, settled};
use crate::budget::Permit;
use crate::decode;
use crate::dial::Connection;
use crate::inject::{self, Loan};
use crate::ledger::{self, Sketch};
use crate::observe::{Progress, Watch};
use crate::pace;
use crate::payload::{Meter, Payload, whole};
use crate::policy::Policy;
use crate::pool::Key;
use crate::reason::{Reason, Stop};
use crate::request::Parts;
use crate::respond;
use crate::scrub::Scrubber;
use crate::wire::{self, Opened};

/// A response's body on its way to the caller. Holds what the exchange holds until the last byte is through.
struct Flow {
    /// None once the body is at its end.
    open: Option<(Connection, Incoming, Key)>,
    wire: Arc<wire::Inner>,
    policy: Arc<Policy>,
    mask: Option<Mask>,
    /// The request's body, where it was still on its way when the response began.
    upload: Option<Meter>,
    /// Runs while the provider is waited for, and not while the caller is. None before it first is: most bodies are
    /// there with the head.
    idle: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    sketch: Sketch,
    stopped: Option<&'static str>,
    _loan: Loan,
    _permit: Permit,
}

/// Masks secrets in a stream, keeping its length. Holds back as many bytes as a secret that begins there could have.
struct Mask {
    scrubber: Scrubber,
    held: BytesMut,
}

#[async_trait]
impl Proxy for Broker {
    async fn relay(&self, origin: &Origin, request: Relayed) -> Result<Relay, Failure> {
        let inner = &*self.0;
        let policy = inner.wire.policy();
        let time = policy.limits.exchange_timeout.min(origin.time_left);
        let mut progress = Progress::within(time);
        let watch = Watch::begin(&inner.wire.metrics, origin, progress.began);
        let mut sketch = Sketch::of(&inner.wire, origin, ledger::PROXY, progress.began);
        let carried = {
            let until = progress.until;
            // Pinned here: it is large, and moving it into the timeout would copy it.
            let carried = pin!(inner.relay(&policy, origin, request, &mut progress, &mut sketch));
            timeout_at(until, carried).await
        };
        let result = carried.unwrap_or_else(|_| Err(late(&progress)));
        match result {
            Ok((relay, source)) => {
                watch.answered(relay.status.as_u16(), &progress);
                let body = source.through(&inner.wire, sketch);
                Ok(Relay { body, ..relay })
            }
            Err(stop) => {
                sketch.end(Some(stop.reason.as_str()));
                watch.stopped(&stop, &progress);
                Err(stop.failure(progress.sent))
            }
        }
    }
}

/// A body that is about to go through.
struct Source {
    open: (Connection, Incoming, Key),
    policy: Arc<Policy>,
    mask: Option<Mask>,
    upload: Option<Meter>,
    loan: Loan,
    permit: Permit,
}

// === impl Inner ===

impl broker::Inner {
    async fn relay(
        &self,
        policy: &Arc<Policy>,
        origin: &Origin,
        request: Relayed,
        progress: &mut Progress,
        sketch: &mut Sketch,
    ) -> Result<(Relay, Source), Stop> {
        let (limits, descriptor) = (&policy.limits, &*origin.descriptor);

        sketch.wanted(request.method.as_str(), &request.url);
        let foreseen = foreseen(policy, origin, request.slot.is_some(), &request.url, progress)?;
        if let Some(target) = &foreseen {
            sketch.wanted(request.method.as_str(), target.as_str());
        }
        let parts = Parts::relayed(request.method, request.headers, descriptor, limits)?;
        let mut payload = Payload::streamed(request.body);

        let mut loan = inject::lend(&*self.credentials, origin, request.slot).await?;
        let target = settled(policy, origin, &loan, foreseen, &request.url, progress)?;
        sketch.credential(loan.slot.as_ref(), &loan.scrubber);
        let mut quota = self.place(origin, &loan, progress.until).await?;
        let permit = progress.wait(self.budget.acquire_alone(origin, limits)).await;

        let mut waited = false;
        let (opened, echoes) = loop {
            sketch.waited();
            sketch.request(&target, &parts, &payload);
            let (owner, injection) = (Some(&origin.installation), loan.injection.as_deref());
            let sent = &mut progress.sent;
            let opened = self
                .wire
                .open(policy, owner, &target, (&parts, injection), &mut payload, sent)
                .await?;
            let Opened { status, connected, first_byte, answered, .. } = opened;
            let echoes = loan.scrubber.echoes(&opened.headers);
            sketch.head(status, &opened.headers, (connected, first_byte), &echoes);
            self.learn(origin, &quota, &echoes, (status, &opened.headers), answered);
            let until = progress.until;
            match self.once_more(origin, &mut loan, status, payload.again(), until, sketch).await? {
                Some(again) => {
                    quota = again.quota;
                    waited |= again.waited;
                }
                None if waited && status == StatusCode::TOO_MANY_REQUESTS => {
                    return Err(self.given_up(origin, &quota));
                }
                None => break (opened, echoes),
            }
        };
        let Opened { status, headers, body, connection, key, answered, .. } = opened;
        let mask = Mask::of(&loan.scrubber, &headers);
        let mut headers = respond::relayed(headers, &echoes);
        let declared = &descriptor.rate_limits;
        pace::normalise(&mut headers, &self.paces.standing(&quota, declared, answered));
        let relay = Relay { status, headers, body: whole(Bytes::new()) };
        let (policy, upload) = (Arc::clone(policy), payload.meter());
        Ok((relay, Source { open: (connection, body, key), policy, mask, upload, loan, permit }))
    }
}

// === impl Source ===

impl Source {
    fn through(self, wire: &Arc<wire::Inner>, sketch: Sketch) -> Streamed {
        let Self { open, policy, mask, upload, loan, permit } = self;
        let mut flow = Flow {
            idle: None,
            open: Some(open),
            wire: Arc::clone(wire),
            policy,
            mask,
            upload,
            waiting: false,
            sketch,
            stopped: None,
            _loan: loan,
            _permit: permit,
        };
        if flow.open.as_ref().is_some_and(|(_, body, _)| body.is_end_stream()) {
            flow.close();
        }
        flow.boxed_unsync()
    }
}

// === impl Flow ===

impl Flow {
    /// The body is at its end: the connection is free for the next, unless the provider answered without waiting for
    /// the whole request. What is left of that has nobody to go to any more.
    fn close(&mut self) {
        let Some((connection, _, key)) = self.open.take() else { return };
        if self.upload.as_ref().is_none_or(Meter::over) {
            self.wire.pool.put(key, connection, &self.policy.limits);
        }
    }

    fn fail(&mut self, reason: Reason) -> io::Error {
        // Dropped, not kept: nobody knows what else would come over it.
        self.open = None;
        self.stopped = Some(reason.as_str());
        io::Error::other(reason.as_str())
    }

    /// The next piece, as it came.
    fn poll_raw(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let Some((connection, body, _)) = &mut self.open else { return Poll::Ready(None) };
        loop {
            let frame = match connection.poll_frame(body, context) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    let time = self.policy.limits.between_bytes_timeout;
                    let idle = self.idle.get_or_insert_with(|| Box::pin(sleep(time)));
                    if !std::mem::replace(&mut self.waiting, true) {
                        idle.as_mut().reset(Instant::now() + time);
                    }
                    ready!(idle.as_mut().poll(context));
                    return Poll::Ready(Some(Err(self.fail(Reason::BodyStalled))));
                }
            };
            self.waiting = false;
            match frame {
                None => {
                    self.close();
                    return Poll::Ready(None);
                }
                Some(Err(_)) => return Poll::Ready(Some(Err(self.fail(Reason::ConnectionLost)))),
                Some(Ok(frame)) => {
                    // Trailers are dropped, as for a connector.
                    let Ok(data) = frame.into_data() else { continue };
                    self.sketch.received(data.len() as u64);
                    // Who writes a body of known length asks for no more once it is through.
                    if body.is_end_stream() {
                        self.close();
                    }
                    return Poll::Ready(Some(Ok(data)));
                }
            }
        }
    }
}

impl Body for Flow {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let flow = self.get_mut();
        loop {
            let piece = ready!(flow.poll_raw(context));
            let Some(mask) = &mut flow.mask else {
                return Poll::Ready(piece.map(|piece| piece.map(Frame::data)));
            };
            let clean = match piece {
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(data)) => mask.push(data),
                None => mask.finish(),
            };
            let over = flow.open.is_none();
            if !clean.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(clean))));
            }
            if over {
                return Poll::Ready(None);
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.open.is_none() && self.mask.as_ref().is_none_or(|mask| mask.held.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.mask.as_ref().map_or(0, |mask| mask.held.len() as u64);
        let Some((_, body, _)) = &self.open else {
            // Nothing at all is not a length of 0: the answer to a HEAD, or a 304, may tell another or none.
            return if held == 0 { SizeHint::new() } else { SizeHint::with_exact(held) };
        };
        match body.size_hint().exact() {
            Some(exact) => SizeHint::with_exact(exact + held),
            None => SizeHint::new(),
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        // A caller who goes away in the middle of a body is told apart from one who has read it.
        let stopped = self.stopped.or(self.open.is_some().then_some("caller-gone"));
        self.sketch.end(stopped);
    }
}

// === impl Mask ===

impl Mask {
    fn of(scrubber: &Scrubber, headers: &HeaderMap) -> Option<Self> {
        // Inside compressed bytes nothing can be seen.
        let masks = !scrubber.is_empty() && !decode::coded(headers);
        masks.then(|| Self { scrubber: scrubber.clone(), held: BytesMut::new() })
    }

    fn push(&mut self, data: Bytes) -> Bytes {
        // Nearly always: nothing was held back, nothing is found, and nothing has to be held back.
        if self.held.is_empty() && !self.scrubber.finds(&data) && self.scrubber.tail(&data) == 0 {
            return data;
        }
        self.held.extend_from_slice(&data);
        self.scrubber.blank(&mut self.held);
        let tail = self.scrubber.tail(&self.held);
        let through = self.held.len() - tail;
        self.held.split_to(through).freeze()
    }

    fn finish(&mut self) -> Bytes {
        self.scrubber.blank(&mut self.held);
        self.held.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However a body is cut, what comes out is as long as what went in, and holds no secret.
        #[test]
        fn a_secret_is_masked_wherever_the_stream_is_cut(
            before in "[a-z ]{0,40}",
            after in "[a-z ]{0,40}",
            cuts in prop::collection::vec(0_usize..120, 0..8),
        ) {
            let secret = "S3CRET-t0ken_value";
            let text = format!("{before}{secret}{after}{secret}");
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < text.len()).collect();
            cuts.sort_unstable();
            cuts.push(text.len());
            let mut mask = Mask { scrubber: Scrubber::new(&[secret]), held: BytesMut::new() };
            let (mut out, mut from) = (Vec::new(), 0);
            for cut in cuts {
                out.extend_from_slice(&mask.push(Bytes::copy_from_slice(&text.as_bytes()[from..cut])));
                from = cut;
            }
            out.extend_from_slice(&mask.finish());
            let out = String::from_utf8(out).unwrap();
            prop_assert_eq!(out, text.replace(secret, &"*".repeat(secret.len())));
        }
    }
}
