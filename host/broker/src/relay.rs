//! The proxy's way through the broker: a caller's own request, with bodies that go through as they come.
//!
//! The layers are those of a connector's exchange, with three differences. Redirects are the caller's to follow. A
//! body is neither decoded nor held: a secret in it is masked, byte for byte, where it is not compressed. And the time
//! for a body is bounded between its bytes, not as a whole.

use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use keyway_core::Fault;
use keyway_core::call::Failure;
use keyway_core::exchange::{Origin, Relay, Relayed};
use keyway_core::ids::{ConnectionRef, Installation, Slot, User};
use keyway_core::ports::Proxy;
use tokio::time::{Instant, Sleep, sleep, timeout_at};

use crate::broker::{self, Broker, foreseen, late, settled};
use crate::budget::Permit;
use crate::dial::Connection;
use crate::inject::{self, Loan};
use crate::ledger::{self, Sketch};
use crate::links;
use crate::members::Editor;
use crate::metrics::Carried;
use crate::observe::{Progress, Watch};
use crate::pace;
use crate::payload::{Meter, Payload, whole};
use crate::policy::Policy;
use crate::pool::Key;
use crate::reason::{Reason, Stop};
use crate::request::Parts;
use crate::respond;
use crate::scrub::Mask;
use crate::wire::{self, Opened};

/// Says that a credential was masked in an answer, and where: `head`, `body`, or both.
const MASKED: HeaderName = HeaderName::from_static("keyway-masked");

/// Bytes of a body that are looked at before the head goes out, so that it can say whether a secret was masked in them.
/// Most answers of an API are shorter; more would keep a download waiting.
const AHEAD_BYTES_MAX: u64 = 64 << 10;

/// For so long the head waits for the rest of a body that is shorter than that: mostly it is in the next packet.
const AHEAD_TIME_MAX: Duration = Duration::from_millis(100);

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
    /// What was read before the head went out.
    ahead: VecDeque<Bytes>,
    /// Why nothing comes after that.
    failed: Option<io::Error>,
    /// Whether it is counted already that a secret was masked.
    counted: bool,
    sketch: Sketch,
    stopped: Option<&'static str>,
    _loan: Loan,
    _permit: Permit,
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
            Ok((mut relay, mut source)) => {
                watch.answered(relay.status.as_u16(), &progress);
                let (echoed, editor) = (source.echoed, source.editor.take());
                let mut flow = source.through(&inner.wire, sketch);
                flow.look_ahead().await;
                tell(&mut relay.headers, echoed, flow.masked());
                // Behind the mask: what is changed holds no secret any more.
                let body = flow.boxed_unsync();
                let body = match editor {
                    Some(editor) => editor.edit(body),
                    None => body,
                };
                Ok(Relay { body, ..relay })
            }
            Err(stop) => {
                sketch.end(Some(stop.reason.as_str()));
                watch.stopped(&stop, &progress);
                Err(stop.failure(progress.sent))
            }
        }
    }

    async fn connected(
        &self,
        installation: &Installation,
        user: &User,
        slots: Vec<Slot>,
    ) -> Result<Vec<Slot>, Fault> {
        let mut set = Vec::new();
        for slot in slots {
            let (installation, user) = (installation.clone(), Some(user.clone()));
            let of = ConnectionRef { installation, slot, user };
            if self.0.credentials.connected(&of).await? {
                set.push(of.slot);
            }
        }
        Ok(set)
    }
}

/// A body that is about to go through.
struct Source {
    open: (Connection, Incoming, Key),
    policy: Arc<Policy>,
    mask: Option<Mask>,
    /// Whether a secret was masked in the head.
    echoed: bool,
    editor: Option<Editor>,
    upload: Option<Meter>,
    loan: Loan,
    permit: Permit,
}

/// Says where a credential was masked, as far as it is known when the head goes out.
fn tell(headers: &mut HeaderMap, in_head: bool, in_body: bool) {
    let value = match (in_head, in_body) {
        (false, false) => return,
        (true, false) => "head",
        (false, true) => "body",
        (true, true) => "head, body",
    };
    headers.insert(MASKED, HeaderValue::from_static(value));
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
        let mut parts = Parts::relayed(request.method, request.headers, descriptor, limits)?;
        links::ask(request.links.is_some(), descriptor, &mut parts.headers);
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
        let answer = (status, &mut headers);
        let editor = links::lead(request.links, origin, loan.base_url.as_deref(), &target, answer);
        let relay = Relay { status, headers, body: whole(Bytes::new()) };
        let (policy, upload) = (Arc::clone(policy), payload.meter());
        let echoed = !echoes.is_empty();
        let open = (connection, body, key);
        Ok((relay, Source { open, policy, mask, echoed, editor, upload, loan, permit }))
    }
}

// === impl Source ===

impl Source {
    fn through(self, wire: &Arc<wire::Inner>, sketch: Sketch) -> Flow {
        let Self { open, policy, mask, echoed, editor: _, upload, loan, permit } = self;
        if echoed {
            wire.metrics.masked(Carried::Proxy);
        }
        let mut flow = Flow {
            idle: None,
            open: Some(open),
            wire: Arc::clone(wire),
            policy,
            mask,
            upload,
            waiting: false,
            ahead: VecDeque::new(),
            failed: None,
            counted: echoed,
            sketch,
            stopped: None,
            _loan: loan,
            _permit: permit,
        };
        if flow.open.as_ref().is_some_and(|(_, body, _)| body.is_end_stream()) {
            flow.close();
        }
        flow
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

    /// Whether a secret was masked in it so far.
    fn masked(&self) -> bool {
        self.mask.as_ref().is_some_and(|mask| mask.masked)
    }

    /// Reads what is there already of a body in which secrets are masked, and waits a moment for the rest of a short one.
    async fn look_ahead(&mut self) {
        if self.mask.is_none() {
            return;
        }
        let short = self.size_hint().exact().is_some_and(|bytes| bytes <= AHEAD_BYTES_MAX);
        let until = Instant::now() + if short { AHEAD_TIME_MAX } else { Duration::ZERO };
        let (mut ahead, mut bytes) = (VecDeque::new(), 0);
        while bytes < AHEAD_BYTES_MAX {
            let frame = match self.frame().now_or_never() {
                None if short => timeout_at(until, self.frame()).await.ok().flatten(),
                there => there.flatten(),
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => {
                    bytes += data.len() as u64;
                    ahead.push_back(data);
                }
                Some(Err(error)) => {
                    self.failed = Some(error);
                    break;
                }
                Some(Ok(Err(_))) | None => break,
            }
        }
        self.ahead = ahead;
        // From now on it is the caller who is waited for.
        self.waiting = false;
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
        if let Some(data) = flow.ahead.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if let Some(error) = flow.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            let piece = ready!(flow.poll_raw(context));
            let Some(mask) = &mut flow.mask else {
                return Poll::Ready(piece.map(|piece| piece.map(Frame::data)));
            };
            let over = piece.is_none();
            let clean = match piece {
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(data)) => mask.push(data),
                None => mask.finish(),
            };
            if mask.masked && !std::mem::replace(&mut flow.counted, true) {
                flow.wire.metrics.masked(Carried::Proxy);
            }
            if !clean.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(clean))));
            }
            if over {
                return Poll::Ready(None);
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let read = self.ahead.is_empty() && self.failed.is_none();
        read && self.open.is_none() && self.mask.as_ref().is_none_or(|mask| mask.held() == 0)
    }

    fn size_hint(&self) -> SizeHint {
        let ahead: usize = self.ahead.iter().map(Bytes::len).sum();
        let held = (ahead + self.mask.as_ref().map_or(0, Mask::held)) as u64;
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
