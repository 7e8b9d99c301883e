//! The wire: one request over an approved connection, without knowing whose credential is on it.
//!
//! Resolves, classifies, dials and sends; keeps connections. What may be sent at all is decided before. It is also the
//! way out for what the host itself has to say, to token endpoints and key services: under the same policy, with
//! connections of its own.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, Method, StatusCode, Version};
use hyper::body::Incoming;
use keyway_core::exchange::{HostRequest, Response, Unfinished};
use keyway_core::ids::Installation;
use keyway_core::ports::{Clock, EgressPolicy, ExchangeLog, Outbound};
use keyway_core::{Code, Descriptor, Fault};
use secrecy::ExposeSecret as _;
use tokio::time::{Instant, timeout, timeout_at};

use crate::broker::late;
use crate::classify::ApprovedTarget;
use crate::config::{Config, Limits};
use crate::decode;
use crate::dial::{self, Connection};
use crate::inject::{self, Injection};
use crate::keep_alive;
use crate::ledger::Sketch;
use crate::metrics::Metrics;
use crate::observe::{Progress, Queue};
use crate::payload::Payload;
use crate::places::{Place, Places};
use crate::policy::{self, Error, Policy};
use crate::pool::{Key, Pool};
use crate::reason::{Reason, Stop};
use crate::request::Parts;
use crate::resolve::{self, Resolve};
use crate::respond;
use crate::scrub::Scrubber;
use crate::send::{self, Gathered, Raw, Unanswered};
use crate::target::Target;

/// The wire. Clones are the same.
#[derive(Clone)]
pub struct Wire(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    policy: ArcSwap<Policy>,
    generation: AtomicU64,
    resolver: Arc<dyn Resolve>,
    places: Places,
    pub(crate) pool: Pool,
    pub(crate) metrics: Metrics,
    pub(crate) log: Option<Arc<dyn ExchangeLog>>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// The head of a response, and the connection that the body comes over.
pub(crate) struct Opened {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Incoming,
    pub(crate) connection: Connection,
    pub(crate) key: Key,
    /// Looking up and connecting.
    pub(crate) connected: Duration,
    /// From sending until the head.
    pub(crate) first_byte: Duration,
    /// When the head was there.
    pub(crate) answered: Instant,
}

/// How far a response to the host itself has come. It outlives the exchange that it is of.
#[derive(Default)]
struct Begun {
    /// Of a success.
    head: Option<(StatusCode, HeaderMap)>,
    body: Gathered,
}

/// Time that a kept connection has to take a request. It is ready at once unless the upstream answered a
/// request without reading all of it; then it may never be.
const READY_TIMEOUT: Duration = Duration::from_millis(50);

/// A connection and whether it carried an exchange before.
struct Lease {
    connection: Connection,
    reused: bool,
}

// === impl Wire ===

impl Wire {
    /// Compiles the configuration; reads certificate authorities from disk. There are as many places for connections as
    /// it says, also once another policy is in force.
    pub fn new(
        config: Config,
        resolver: Arc<dyn Resolve>,
        log: Option<Arc<dyn ExchangeLog>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let metrics = Metrics::new();
        let places = Places::new(config.limits.connections_max);
        Ok(Self(Arc::new(Inner {
            policy: ArcSwap::from_pointee(Policy::compile(config, 0)?),
            generation: AtomicU64::new(0),
            resolver,
            places: places.clone(),
            pool: Pool::new(metrics.pooled.clone(), places),
            metrics,
            log,
            clock,
        })))
    }

    /// Puts another policy in force. Exchanges under way end under the one they began with; connections
    /// of the old one are not used again.
    pub fn replace_policy(&self, config: Config) -> Result<(), Error> {
        let generation = self.0.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let policy = Policy::compile(config, generation)?;
        self.0.policy.store(Arc::new(policy));
        self.0.pool.begin_generation(generation);
        Ok(())
    }

    /// Its metrics, for a registry.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }
}

impl EgressPolicy for Wire {
    fn check_descriptor(&self, descriptor: &Descriptor) -> Result<(), Fault> {
        let policy = self.0.policy.load();
        policy::check_descriptor(descriptor, &policy.allow_wildcards_on)
            .map_err(|refused| Fault::new(Code::DescriptorInvalid, refused.to_string()))
    }

    fn check_base_url(&self, descriptor: &Descriptor, base_url: &str) -> Result<(), Fault> {
        policy::base_url_allowed(descriptor, base_url)
            .map_err(|refused| Fault::new(Code::BaseUrlRefused, refused.to_string()))
    }
}

#[async_trait]
impl Outbound for Wire {
    async fn fetch(&self, request: HostRequest) -> Result<Response, Unfinished> {
        let mut sketch = Sketch::of_host(&self.0, &request);
        let mut progress = Progress::within(request.timeout);
        let mut begun = Begun::default();
        let carried = {
            let until = progress.until;
            let carried = pin!(self.0.fetch(request, &mut sketch, &mut progress, &mut begun));
            timeout_at(until, carried).await
        };
        sketch.received(begun.body.len() as u64);
        let result = carried.unwrap_or_else(|_| Err(late(&progress)));
        let stopped = result.as_ref().err().map(|stop| stop.reason.as_str());
        sketch.end(stopped);
        match result {
            Ok(response) => Ok(response),
            Err(stop) => Err(Unfinished {
                failure: stop.failure(progress.sent),
                partial: begun.salvage().await,
            }),
        }
    }
}

// === impl Begun ===

impl Begun {
    /// What there is of an answer.
    async fn salvage(mut self) -> Option<Response> {
        let (status, headers) = self.head?;
        let body = decode::salvage(&headers, self.body.bytes()).await;
        drop(self.body);
        Some(respond::as_it_came(status, &headers, body))
    }
}

// === impl Inner ===

impl Inner {
    /// The policy in force.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Carries one request of the host's own.
    async fn fetch(
        &self,
        request: HostRequest,
        sketch: &mut Sketch,
        progress: &mut Progress,
        begun: &mut Begun,
    ) -> Result<Response, Stop> {
        let policy = self.policy();
        let limits = &policy.limits;
        let target = Target::parse(&request.url, limits.url_bytes_max)?;
        policy.admit_host(request.environment.as_ref(), &request.hosts, &target)?;
        let body = request.body.map(|body| Bytes::copy_from_slice(body.expose_secret().as_bytes()));
        let parts = Parts::of_host(request.purpose, request.method, request.headers);
        let mut payload = Payload::Whole(body.unwrap_or_default());
        let placed = request.credential.as_ref().map(inject::of_host).transpose()?;
        let (injection, scrubber) = placed.unwrap_or_default();
        let parts_of = (&parts, injection.as_ref());
        let opened = self.open(&policy, None, &target, parts_of, &mut payload, progress).await?;
        let Opened { status, connected, first_byte, .. } = opened;
        sketch.head(status, &opened.headers, (connected, first_byte), &scrubber);
        begun.head = Some((status, opened.headers.clone()));
        // A body of any length is begun: what a server has issued stands at its beginning.
        let raw = self.gather(opened, limits, &mut begun.body).await?;
        // A token endpoint's answer is made of secrets, which have to arrive as they are.
        let none = Scrubber::default();
        let answer = respond::respond(raw, &parts.method, (&none, &none), limits).await?;
        Ok(answer.0)
    }

    /// Reads a body to its end and keeps the connection.
    pub(crate) async fn finish(&self, opened: Opened, limits: &Limits) -> Result<Raw, Stop> {
        send::check_length(&opened.body, limits)?;
        self.gather(opened, limits, &mut Gathered::default()).await
    }

    /// The same, for a body of which also a part is of use.
    async fn gather(
        &self,
        opened: Opened,
        limits: &Limits,
        gathered: &mut Gathered,
    ) -> Result<Raw, Stop> {
        let Opened {
            status,
            headers,
            mut body,
            mut connection,
            key,
            connected,
            first_byte,
            answered: _,
        } = opened;
        send::gather(&mut connection, &mut body, limits, gathered).await?;
        drop(body);
        self.pool.put(key, connection, limits);
        let body = gathered.bytes();
        Ok(Raw { status, headers, body, connected, first_byte })
    }

    /// Sends one request, over a connection kept from before if there is one, and waits for the head of the response.
    /// `progress` says, also where this fails, whether anything can have reached the provider.
    pub(crate) async fn open(
        &self,
        policy: &Policy,
        owner: Option<&Installation>,
        target: &Target,
        (parts, injection): (&Parts, Option<&Injection>),
        payload: &mut Payload,
        progress: &mut Progress,
    ) -> Result<Opened, Stop> {
        let limits = &policy.limits;
        let key = key(policy, owner, target);
        let (mut kept, mut refused_before) = (!parts.fresh, false);
        // What must not be repeated goes over a connection that is fresh, or sure to be there.
        let proven = !safe(&parts.method);
        let lost = |detail| Err(Stop::new(Reason::ConnectionLost, detail));
        loop {
            let began = Instant::now();
            let Lease { mut connection, reused } =
                self.lease(policy, &key, target, kept.then_some((began, proven)), progress).await?;
            // A second try is on a fresh connection: another kept one may be as stale as the first, and of an
            // HTTP/2 connection everybody gets the same one again.
            kept = false;
            let sending = if reused { began } else { Instant::now() };
            let request =
                parts.build(target, injection, connection.version(), payload, self.clock.now())?;
            let sent_before = std::mem::replace(&mut progress.sent, true);
            let until = sending + limits.first_byte_timeout;
            match send::head(&mut connection, request, until, limits).await {
                Ok(response) => {
                    let answered = Instant::now();
                    let (head, body) = response.into_parts();
                    let took = answered - sending;
                    connection.promised(match head.version {
                        Version::HTTP_2 => keep_alive::heard(answered, took),
                        _ => keep_alive::read(&head.headers, answered, took),
                    });
                    return Ok(Opened {
                        status: head.status,
                        headers: head.headers,
                        body,
                        connection,
                        key,
                        connected: sending - began,
                        first_byte: took,
                        answered,
                    });
                }
                Err(Unanswered::Unsent(request)) => {
                    payload.give_back(request.into_body());
                    progress.sent = sent_before;
                    // The other side closed it while it was idle. A fresh one is not idle, so this ends.
                    if !reused || !payload.again() {
                        return lost("the connection took no request");
                    }
                }
                Err(Unanswered::Refused) => {
                    progress.sent = sent_before;
                    // It was not looked at, whatever it does. Once, so that nobody is refused without end.
                    if std::mem::replace(&mut refused_before, true) || !payload.again() {
                        return lost("the upstream refused to look at the request");
                    }
                }
                Err(Unanswered::Lost) if reused && safe(&parts.method) && payload.again() => {}
                Err(Unanswered::Lost) => return lost("the connection ended without a response"),
                Err(Unanswered::Stopped(stop)) => return Err(stop),
            }
        }
    }

    /// A connection to the target: one that is kept, or a new one to an address that was approved now.
    /// It may be one that is kept and was used a moment before `kept`, if that is given, and is proven, if that is asked.
    async fn lease(
        &self,
        policy: &Policy,
        key: &Key,
        target: &Target,
        kept: Option<(Instant, bool)>,
        progress: &mut Progress,
    ) -> Result<Lease, Stop> {
        let limits = &policy.limits;
        while let Some(mut connection) =
            kept.and_then(|(now, proven)| self.pool.take(key, now, proven, limits.idle_timeout))
        {
            if ready(&mut connection).await {
                return Ok(Lease { connection, reused: true });
            }
        }
        // Boxed: looking up and shaking hands need room that most exchanges would carry about for nothing.
        let connection = Box::pin(self.connect(policy, target, progress)).await?;
        self.metrics.dials.inc();
        if let Some(shared) = connection.share() {
            self.pool.put(key.clone(), shared, limits);
        }
        Ok(Lease { connection, reused: false })
    }

    /// A new connection, to an address that was approved now.
    async fn connect(
        &self,
        policy: &Policy,
        target: &Target,
        progress: &mut Progress,
    ) -> Result<Connection, Stop> {
        let limits = &policy.limits;
        // Before its name is looked up: that takes sockets too.
        let place = self.place(progress).await;
        match policy.stand_in(target) {
            // The operator named the address. The allowlist has been passed all the same.
            Some(stand_in) => {
                let tls = stand_in.tls.then_some(&policy.tls);
                dial::dial(&stand_in.target, &target.host, tls, limits, place).await
            }
            None => {
                let answers = resolve::resolve(&*self.resolver, &target.host, limits).await?;
                let approved = ApprovedTarget::approve(
                    &answers,
                    target.port,
                    &policy.networks,
                    limits.addresses_tried_max,
                )?;
                dial::dial(&approved, &target.host, Some(&policy.tls), limits, place).await
            }
        }
    }

    /// A place for a new connection: one that is free, that of an unused connection, or whichever comes free.
    async fn place(&self, progress: &mut Progress) -> Place {
        if let Some(place) = self.places.free() {
            return place;
        }
        let wanting = self.places.want();
        while self.pool.give_way() {
            if let Some(place) = self.places.free() {
                return place;
            }
        }
        progress.wait(Queue::Place, wanting.wait()).await
    }
}

/// Whose connection goes there, under this policy.
fn key(policy: &Policy, owner: Option<&Installation>, target: &Target) -> Key {
    Key {
        owner: owner.cloned(),
        host: Arc::clone(&target.host),
        port: target.port,
        generation: policy.generation,
        stand_in: policy.stand_in(target).is_some(),
    }
}

/// Whether a kept connection takes a request, now or in a moment.
async fn ready(connection: &mut Connection) -> bool {
    // Nearly always now, and then no timer need be set.
    match connection.ready().now_or_never() {
        Some(ready) => ready,
        None => matches!(timeout(READY_TIMEOUT, connection.ready()).await, Ok(true)),
    }
}

/// Whether sending it twice is like sending it once (RFC 9110 section 9.2.1).
fn safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}
