//! The proxy's way through the broker: a caller's own request, with bodies that go through as they come.
//!
//! The layers are those of a connector's exchange, with three differences. Redirects are the caller's to follow. A
//! body is not held, and decoded only where links in it are changed: a secret in it is masked, byte for byte, where it is not
//! compressed. And the exchange
//! goes on after its head: its limits hold, and it counts, until the last byte is with the caller, whoever is slow.

use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use keyway_core::call::Failure;
use keyway_core::exchange::{Origin, Pace, Relay, Relayed};
use keyway_core::ids::{ConnectionRef, Installation, Slot, User};
use keyway_core::ports::{Keeps, Proxy};
use keyway_core::quota::Quota;
use keyway_core::{Descriptor, Fault};
use tokio::time::{Instant, Sleep, sleep, timeout, timeout_at};

use crate::broker::{self, Broker, cut, foreseen, late, settled};
use crate::budget::Permit;
use crate::config::Limits;
use crate::decode::{self, Inflate};
use crate::dial::Connection;
use crate::document::{Document, Label};
use crate::inject::{self, Loan};
use crate::ledger::{self, Sketch};
use crate::limit_error;
use crate::links;
use crate::members::Editor;
use crate::metrics::Carried;
use crate::observe::{InFlight, Progress, Queue, Watch};
use crate::pace;
use crate::payload::{Meter, Payload, whole};
use crate::policy::Policy;
use crate::pool::Key;
use crate::reason::{Reason, Stop};
use crate::request::Parts;
use crate::respond;
use crate::scrub::{Mask, Scrubber};
use crate::send;
use crate::target::Target;
use crate::tokens;
use crate::underway::Ticket;
use crate::wire::{self, Opened};

/// Says that a credential was masked in an answer, and where: `head`, `body`, or both.
const MASKED: HeaderName = HeaderName::from_static("keyway-masked");

/// Bytes of a body that are looked at before the head goes out, so that it can say whether a secret was masked in them.
/// Most answers of an API are shorter; more would keep a download waiting.
const AHEAD_BYTES_MAX: u64 = 64 << 10;

/// For so long the head waits for the rest of a body that is shorter than that: mostly it is in the next packet.
const AHEAD_TIME_MAX: Duration = Duration::from_millis(100);

/// Bytes of a coded body that are decoded at a time: what comes of them is in memory at once.
const INFLATED_BYTES_MAX: usize = 16 << 10;

/// A response's body on its way to the caller.
struct Flow {
    ticket: Ticket,
    /// Whether the caller has been told of an end that came from elsewhere.
    told: bool,
}

/// What an exchange holds until the last byte is through, and the body as it is read.
pub(crate) struct Running {
    /// None once the body is at its end.
    open: Option<(Connection, Incoming, Key)>,
    /// What was read of it, as it came, to know whether it is an error that the release declares.
    peeked: Bytes,
    /// Where it is decoded on the way.
    inflating: Option<Inflating>,
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
    _in_flight: Option<InFlight>,
    _keeps: Keeps,
}

#[async_trait]
impl Proxy for Broker {
    async fn relay(
        &self,
        origin: &Origin,
        request: Relayed,
        keeps: Keeps,
    ) -> Result<Relay, Failure> {
        let inner = &*self.0;
        let policy = inner.wire.policy();
        let time = policy.limits.exchange_timeout.min(origin.time_left);
        let mut progress = Progress::within(time);
        let watch = Watch::begin(&inner.wire.metrics, origin, progress.began);
        let mut sketch = Sketch::of(&inner.wire, origin, ledger::PROXY, progress.began);
        let ticket = inner.underway.begin();
        let carried = {
            let until = progress.until;
            // Pinned here: it is large, and moving it into the timeout would copy it.
            let carried =
                pin!(inner.relay(&policy, origin, request, &ticket, &mut progress, &mut sketch));
            tokio::select! {
                biased;
                carried = timeout_at(until, carried) => carried,
                reason = ticket.ended() => Ok(Err(cut(reason))),
            }
        };
        let result = carried.unwrap_or_else(|_| Err(late(&progress)));
        match result {
            Ok((mut relay, mut source)) => {
                let in_flight = watch.answered(relay.status.as_u16(), &progress);
                let (echoed, editor) = (source.echoed, source.editor.take());
                let mut running = source.running(&inner.wire, sketch, in_flight, keeps);
                running.look_ahead().await;
                tell(&mut relay.headers, echoed, running.masked());
                // Behind the mask: what is changed holds no secret any more.
                let body = Flow::new(ticket, running, progress.until).boxed_unsync();
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

/// What was read of a body before its head goes on: to know whether it is one of the errors that the release declares, or
/// whether it is JSON. Empty where that does not matter.
#[derive(Default)]
struct Ahead {
    bytes: BytesMut,
    /// Where the document in it ends, if it is one and has come.
    end: Option<usize>,
    /// Whether it is all of the body. Of one in chunks, only its end says so.
    whole: bool,
}

/// A body that is decoded on its way.
struct Inflating {
    inflate: Inflate,
    /// What has come and is not decoded yet.
    left: Bytes,
}

/// An answer that is to go on, and what it is of.
struct Answered {
    opened: Opened,
    ahead: Ahead,
    /// What of the credential is in its head.
    echoes: Scrubber,
    target: Target,
    links: Option<Arc<str>>,
    upload: Option<Meter>,
    loan: Loan,
    permit: Permit,
}

/// A body that is about to go through.
struct Source {
    open: (Connection, Incoming, Key),
    peeked: Bytes,
    inflating: Option<Inflating>,
    policy: Arc<Policy>,
    mask: Option<Mask>,
    /// Whether a secret was masked in the head.
    echoed: bool,
    editor: Option<Editor>,
    upload: Option<Meter>,
    loan: Loan,
    permit: Permit,
}

/// A body that is signed is there before its request is sent.
async fn hold(payload: &mut Payload, bytes_max: usize) -> Result<(), Stop> {
    match payload.hold(bytes_max).await {
        Ok(true) => Ok(()),
        Ok(false) => {
            let detail = format!("the slot signs bodies, and this one is over {bytes_max} bytes");
            Err(Stop::new(Reason::RequestBodyTooLarge, detail))
        }
        Err(error) if tokens::held_one(&error) => Err(Stop::token_in_body()),
        Err(_) => Err(Stop::new(Reason::ConnectionLost, "the caller's body broke off")),
    }
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
        ticket: &Ticket,
        progress: &mut Progress,
        sketch: &mut Sketch,
    ) -> Result<(Relay, Source), Stop> {
        let (limits, descriptor) = (&policy.limits, &*origin.descriptor);

        sketch.wanted(request.method.as_str(), &request.url);
        let foreseen = foreseen(policy, origin, request.slot.is_some(), &request.url, progress)?;
        foreseen.iter().for_each(|to| sketch.wanted(request.method.as_str(), to.as_str()));
        let mut parts = Parts::relayed(request.method, request.headers, descriptor, limits)?;
        links::ask(request.links.is_some(), descriptor, &mut parts.headers);
        let body = tokens::guard(request.body, &parts.headers, request.tokens, limits);
        let mut payload = Payload::streamed(body);

        let mut loan = inject::lend(&*self.credentials, origin, request.slot).await?;
        ticket.uses(loan.in_use.clone());
        let target = settled(policy, origin, &loan, foreseen, &request.url, progress)?;
        sketch.credential(loan.slot.as_ref(), &loan.scrubber);
        if loan.signs_body() {
            hold(&mut payload, limits.request_body_bytes_max).await?;
        }
        let mut place = self.place(origin, &loan, progress.until).await?;
        let permit = progress.wait(Queue::Permit, self.budget.acquire_alone(origin, limits)).await;

        let (mut opened, mut ahead, echoes) = loop {
            sketch.waited();
            sketch.request(&target, &parts, &payload);
            let (owner, injection) = (Some(&origin.installation), loan.injection.as_deref());
            let mut opened = self
                .wire
                .open(policy, owner, &target, (&parts, injection), &mut payload, progress)
                .await?;
            let Opened { status, connected, first_byte, answered, .. } = opened;
            let echoes = loan.scrubber.echoes(&opened.headers);
            sketch.head(status, &opened.headers, (connected, first_byte), &echoes);
            let ahead = Ahead::of(descriptor, &mut opened, limits).await?;
            let answer = (status, &opened.headers, opened.body.is_end_stream());
            let signalled = ahead.signals(descriptor, answer, limits).await;
            let answer = (status, &opened.headers, signalled);
            let limited = self.learn(origin, &mut place, &echoes, answer, answered);
            let (refusal, until) = ((status, limited), progress.until);
            match self.once_more(origin, &mut loan, refusal, payload.again(), until, sketch).await?
            {
                Some(again) => place = again,
                None if limited && origin.pace == Pace::Throttle => {
                    return Err(self.given_up(origin, &place.quota));
                }
                None => break (opened, ahead, echoes),
            }
        };
        let answer = (opened.status, &opened.headers);
        if links::peeks(request.links.is_some(), descriptor, answer) {
            ahead.peek(&mut opened, limits).await?;
        }
        let (links, upload) = (request.links, payload.meter());
        let answer = Answered { opened, ahead, echoes, target, links, upload, loan, permit };
        Ok(self.hand_on(policy, origin, &place.quota, answer))
    }

    /// What becomes of an answer on its way to the caller.
    fn hand_on(
        &self,
        policy: &Arc<Policy>,
        origin: &Origin,
        quota: &Quota,
        answer: Answered,
    ) -> (Relay, Source) {
        let Answered { opened, ahead, echoes, target, links, upload, loan, permit } = answer;
        let Opened { status, headers, body, connection, key, answered, .. } = opened;
        let length = body.size_hint().exact();
        let mut headers = respond::relayed(headers, &echoes);
        let declared = &origin.descriptor.rate_limits;
        pace::normalise(&mut headers, &self.paces.standing(quota, declared, answered));
        let (own, answer) = (loan.base_url.as_deref(), (status, &mut headers, &*ahead.bytes));
        let editing = links::lead(links, origin, own, &target, answer, &policy.limits);
        let (editor, inflate) = editing.map(|editing| (editing.editor, editing.inflate)).unzip();
        let inflating = inflate.flatten().map(|inflate| Inflating { inflate, left: Bytes::new() });
        // Of the body as it goes on.
        let mask = Mask::of(&loan.scrubber, &headers);
        let source = Source {
            open: (connection, body, key),
            peeked: ahead.bytes.freeze(),
            inflating,
            policy: Arc::clone(policy),
            mask,
            echoed: !echoes.is_empty(),
            editor,
            upload,
            loan,
            permit,
        };
        (Relay { status, headers, length, body: whole(Bytes::new()) }, source)
    }
}

// === impl Ahead ===

impl Ahead {
    /// Reads as much as an error can have: of a success, which may be a stream, only what comes without a pause and can be
    /// one, and no further than to the end of its document.
    async fn of(
        descriptor: &Descriptor,
        opened: &mut Opened,
        limits: &Limits,
    ) -> Result<Self, Stop> {
        let mut ahead = Self::default();
        let length = opened.body.size_hint();
        // A long one is no error, and goes through as it comes.
        let long = length.lower() > limit_error::BODY_BYTES_MAX as u64;
        if long || !limit_error::wants_body(descriptor, opened.status) {
            return Ok(ahead);
        }
        let refused = opened.status.is_client_error() || opened.status.is_server_error();
        if !refused && Label::of(&opened.headers) == Label::Other {
            return Ok(ahead);
        }
        let patient = refused || length.exact().is_some();
        let document =
            !decode::coded(&opened.headers) && !limit_error::wants_text(descriptor, opened.status);
        let mut document = document.then(Document::default);
        while ahead.bytes.len() <= limit_error::BODY_BYTES_MAX {
            let piece = send::piece(&mut opened.connection, &mut opened.body, limits);
            let data = match patient {
                true => piece.await?,
                false => match timeout(AHEAD_TIME_MAX, piece).await {
                    Ok(data) => data?,
                    Err(_) => break,
                },
            };
            let Some(data) = data else {
                ahead.whole = true;
                break;
            };
            ahead.bytes.extend_from_slice(&data);
            let Some(document) = &mut document else { continue };
            ahead.end = document.read(&data);
            if ahead.end.is_some() || document.is_none() == Some(true) {
                break;
            }
        }
        Ok(ahead)
    }

    /// Reads the first piece of a body that has one.
    async fn peek(&mut self, opened: &mut Opened, limits: &Limits) -> Result<(), Stop> {
        if self.bytes.is_empty()
            && let Some(data) =
                send::piece(&mut opened.connection, &mut opened.body, limits).await?
        {
            self.bytes.extend_from_slice(&data);
        }
        Ok(())
    }

    /// Whether such an error is in it, or in the headers. `whole` says whether it is all of the body.
    async fn signals(
        &self,
        descriptor: &Descriptor,
        (status, headers, whole): (StatusCode, &HeaderMap, bool),
        limits: &Limits,
    ) -> bool {
        if descriptor.rate_limit_errors.is_empty() {
            return false;
        }
        let end = self.end.or((whole || self.whole).then_some(self.bytes.len()));
        let body = end.map(|end| Bytes::copy_from_slice(&self.bytes[..end]));
        limit_error::is_in(descriptor, (status, headers, body.as_ref()), limits).await
    }
}

// === impl Source ===

impl Source {
    fn running(
        self,
        wire: &Arc<wire::Inner>,
        sketch: Sketch,
        in_flight: Option<InFlight>,
        keeps: Keeps,
    ) -> Running {
        let Self { open, peeked, inflating, policy, mask, echoed, upload, loan, permit, .. } = self;
        if echoed {
            wire.metrics.masked(Carried::Proxy);
        }
        let mut running = Running {
            idle: None,
            open: Some(open),
            peeked,
            inflating,
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
            _in_flight: in_flight,
            _keeps: keeps,
        };
        if running.open.as_ref().is_some_and(|(_, body, _)| body.is_end_stream()) {
            running.close();
        }
        running
    }
}

// === impl Running ===

impl Running {
    /// Ends it, wherever it is.
    pub(crate) fn stop(&mut self, reason: Reason) {
        self.open = None;
        self.stopped = Some(reason.as_str());
    }

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
        self.stop(reason);
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
        let coming = self.open.as_ref().and_then(|(_, body, _)| body.size_hint().exact());
        let short = coming.is_some_and(|bytes| bytes <= AHEAD_BYTES_MAX);
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

    /// The next piece, decoded where that is done.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let Some(mut inflating) = self.inflating.take() else { return self.poll_raw(context) };
        loop {
            let data = match inflating.left.is_empty() {
                true => match self.poll_raw(context) {
                    Poll::Pending => {
                        self.inflating = Some(inflating);
                        return Poll::Pending;
                    }
                    Poll::Ready(Some(Ok(data))) => {
                        inflating.left = data;
                        continue;
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                    Poll::Ready(None) => None,
                },
                false => {
                    Some(inflating.left.split_to(inflating.left.len().min(INFLATED_BYTES_MAX)))
                }
            };
            let last = data.is_none();
            match inflating.undo(data) {
                Err(reason) => return Poll::Ready(Some(Err(self.fail(reason)))),
                Ok(decoded) if !decoded.is_empty() => {
                    self.inflating = (!last).then_some(inflating);
                    return Poll::Ready(Some(Ok(decoded)));
                }
                Ok(_) if last => return Poll::Ready(None),
                Ok(_) => {}
            }
        }
    }

    /// The next piece, as it came.
    fn poll_raw(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if !self.peeked.is_empty() {
            let data = std::mem::take(&mut self.peeked);
            self.sketch.received(data.len() as u64);
            return Poll::Ready(Some(Ok(data)));
        }
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

impl Body for Running {
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
            let piece = ready!(flow.poll_piece(context));
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
        let read = self.peeked.is_empty() && self.ahead.is_empty() && self.failed.is_none();
        let decoded = self.inflating.is_none();
        let held = self.mask.as_ref().is_some_and(|mask| mask.held() > 0);
        read && decoded && self.open.is_none() && !held
    }

    fn size_hint(&self) -> SizeHint {
        if self.inflating.is_some() {
            return SizeHint::new();
        }
        let ahead: usize = self.ahead.iter().map(Bytes::len).sum();
        let held = self.peeked.len() + self.mask.as_ref().map_or(0, Mask::held);
        let held = (ahead + held) as u64;
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

// === impl Inflating ===

impl Inflating {
    /// What this piece was made of; without one, what is left at the end.
    fn undo(&mut self, data: Option<Bytes>) -> Result<Bytes, Reason> {
        let mut decoded = Vec::new();
        match data {
            Some(data) => self.inflate.push(&data, &mut decoded)?,
            None => self.inflate.finish(&mut decoded)?,
        }
        Ok(decoded.into())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A caller who goes away in the middle of a body is told apart from one who has read it.
        let stopped = self.stopped.or(self.open.is_some().then_some("caller-gone"));
        self.sketch.end(stopped);
    }
}

// === impl Flow ===

impl Flow {
    fn new(ticket: Ticket, running: Running, until: Instant) -> Self {
        ticket.state().running = Some((running, until));
        Self { ticket, told: false }
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
        let mut state = flow.ticket.state();
        state.woken_by(context);
        let state = &mut *state;
        match (&mut state.running, state.ended) {
            (Some((running, _)), _) => Pin::new(running).poll_frame(context),
            (None, Some(reason)) if !flow.told => {
                flow.told = true;
                Poll::Ready(Some(Err(io::Error::other(reason.as_str()))))
            }
            (None, _) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.ticket.state();
        match &state.running {
            Some((running, _)) => running.is_end_stream(),
            None => self.told || state.ended.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.ticket.state();
        state.running.as_ref().map_or_else(SizeHint::new, |(running, _)| running.size_hint())
    }
}
