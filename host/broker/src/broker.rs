//! The broker: carries one exchange of a guest through the layers, top to bottom, in one function.
//!
//! A provider that is down meets as many requests as callers make (C95): no failure is answered by
//! sending again. What is sent again met a kept connection that had ended, or a provider that is up and said 401, or that it was asked too often.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use http::StatusCode;
use keyway_core::call::Failure;
use keyway_core::exchange::{Origin, Request, Response};
use keyway_core::ports::{Credentials, Egress};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::time::{Instant, timeout_at};

use crate::budget::Budget;
use crate::inject::{self, Loan};
use crate::ledger::Sketch;
use crate::limit_error;
use crate::metrics::Carried;
use crate::observe::{Progress, Queue, Watch};
use crate::pace::{Paces, Place};
use crate::payload::Payload;
use crate::policy::Policy;
use crate::reason::{Reason, Stop};
use crate::redirect::Trail;
use crate::request::{self, Parts};
use crate::respond;
use crate::scrub::Scrubber;
use crate::send::Raw;
use crate::target::{self, Target};
use crate::underway::{Ticket, Underway};
use crate::wire::{self, Wire};

/// The only way out for connectors and for those who use their credentials. Clones are the same broker.
#[derive(Clone)]
pub struct Broker(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) wire: Arc<wire::Inner>,
    pub(crate) credentials: Arc<dyn Credentials>,
    pub(crate) budget: Budget,
    pub(crate) paces: Paces,
    pub(crate) underway: Underway,
}

// === impl Broker ===

impl Broker {
    /// Sends over `wire` with what `credentials` gives.
    pub fn new(wire: &Wire, credentials: Arc<dyn Credentials>) -> Self {
        let (wire, budget, paces) = (Arc::clone(&wire.0), Budget::default(), Paces::default());
        let underway = Underway::default();
        Self(Arc::new(Inner { wire, credentials, budget, paces, underway }))
    }

    /// Makes its metrics visible, beside those of the wire. Once for a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Waiting(self.0.paces.clone())));
    }
}

/// Shows how many accounts have to wait for their provider. No label holds a tenant: there may be thousands.
struct Waiting(Paces);

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiting")
    }
}

impl Collector for Waiting {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let quotas = self.0.all(Instant::now());
        let blocked = quotas.iter().filter(|(_, standing)| standing.blocked_for.is_some()).count();
        let waiting: usize = quotas.iter().map(|(_, standing)| standing.waiting).sum();
        for (name, help, value) in [
            (
                "keyway_broker_accounts_blocked",
                "Accounts whose provider has asked to wait",
                blocked,
            ),
            ("keyway_broker_rate_limit_waiting", "Exchanges that wait for a rate limit", waiting),
        ] {
            let value = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            value.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Egress for Broker {
    async fn exchange(&self, origin: &Origin, request: Request) -> Result<Response, Failure> {
        let inner = &*self.0;
        let policy = inner.wire.policy();
        let wanted = request.timeout.unwrap_or(policy.limits.exchange_timeout);
        let time = policy.limits.exchange_timeout.min(origin.time_left).min(wanted);
        let mut progress = Progress::within(time);
        let watch = Watch::begin(&inner.wire.metrics, origin, progress.began);
        let mut sketch = Sketch::of(&inner.wire, origin, "call", progress.began);
        let ticket = inner.underway.begin();
        let carried = {
            // Pinned here: it is large, and moving it into the timeout would copy it.
            let until = progress.until;
            let carried =
                pin!(inner.carry(&policy, origin, request, &ticket, &mut progress, &mut sketch));
            tokio::select! {
                biased;
                carried = timeout_at(until, carried) => carried,
                reason = ticket.ended() => Ok(Err(cut(reason))),
            }
        };
        let result = carried.unwrap_or_else(|_| Err(late(&progress)));
        let stopped = result.as_ref().err().map(|stop| stop.reason.as_str());
        sketch.end(stopped);
        match result {
            Ok(response) => {
                drop(watch.answered(response.status, &progress));
                Ok(response)
            }
            Err(stop) => {
                watch.stopped(&stop, &progress);
                Err(stop.failure(progress.sent))
            }
        }
    }
}

// === impl Inner ===

impl Inner {
    /// The layers. Reads from top to bottom; each has a file of its name.
    async fn carry(
        &self,
        policy: &Policy,
        origin: &Origin,
        mut request: Request,
        ticket: &Ticket,
        progress: &mut Progress,
        sketch: &mut Sketch,
    ) -> Result<Response, Stop> {
        let (limits, descriptor) = (&policy.limits, &*origin.descriptor);

        // Policy: nothing is looked up, counted or opened for a request that may not be sent.
        let (slot, url) = (request.slot.take(), std::mem::take(&mut request.url));
        sketch.wanted(&request.method, &url);
        // In the log it has its host, also where it goes no further.
        let foreseen = foreseen(policy, origin, slot.is_some(), &url, progress)?;
        foreseen.iter().for_each(|target| sketch.wanted(&request.method, target.as_str()));
        let (mut parts, mut payload) = Parts::parse(request, descriptor, limits)?;

        // Inject: the secret is fetched once, and before a lookup or a connection could be for nothing.
        let slot = slot.as_deref().map(inject::named).transpose()?;
        let mut loan = inject::lend(&*self.credentials, origin, slot).await?;
        ticket.uses(loan.in_use.clone());
        let mut target = settled(policy, origin, &loan, foreseen, &url, progress)?;
        sketch.credential(loan.slot.as_ref(), &loan.scrubber);
        // Pace: under the limit of the account that the credential is for, each time. Before the budget, the first time:
        // who waits for a provider must not keep the tenant's permits. Whoever sends once more keeps the one it has.
        let mut place = self.place(origin, &loan, progress.until).await?;
        // Budget: before the first lookup, because asking a name server is work for others too.
        let _permit = progress.wait(Queue::Permit, self.budget.acquire(origin, limits)).await;
        let mut trail = Trail::new(descriptor.redirects);
        let (raw, echoes) = loop {
            sketch.waited();
            // Resolve, classify, dial: in one step, so that what was looked at is what is dialled.
            // Send: within limits, and never a byte twice that may have arrived.
            sketch.request(&target, &parts, &payload);
            let raw =
                self.send(policy, origin, &target, &parts, &loan, &mut payload, progress).await?;
            let echoes = loan.scrubber.echoes(&raw.headers);
            sketch.answered(&raw, &echoes);
            let limited = self.limited(policy, origin, &mut place, &echoes, &raw).await;

            // Once more, where that may help.
            let (refusal, until, again) = ((raw.status, limited), progress.until, payload.again());
            if let Some(again) =
                self.once_more(origin, &mut loan, refusal, again, until, sketch).await?
            {
                place = again;
                continue;
            }

            // Redirect: a hop is a request like the first.
            let (changes, scrubber) = ((&mut parts, &mut payload), &loan.scrubber);
            let next = trail.next(&target, changes, &raw, scrubber, limits.url_bytes_max)?;
            let Some(next) = next else { break (raw, echoes) };
            sketch.again(&self.wire);
            sketch.wanted(parts.method.as_str(), next.as_str());
            target = hop(policy, origin, &target, next, &mut loan, progress)?;
            place = self.place(origin, &loan, progress.until).await?;
        };

        // Decode, then scrub: a secret inside compressed bytes cannot be seen from outside.
        let (response, masked) =
            respond::respond(raw, &parts.method, (&echoes, &loan.scrubber), limits).await?;
        if masked {
            self.wire.metrics.masked(Carried::Call);
        }
        sketch.body(&response.body);
        Ok(response)
    }

    /// Whether an answer is a refusal for the rate; what it says of limits is learnt.
    async fn limited(
        &self,
        policy: &Policy,
        origin: &Origin,
        place: &mut Place,
        echoes: &Scrubber,
        raw: &Raw,
    ) -> bool {
        let answer = (raw.status, &raw.headers, Some(&raw.body));
        let signalled = limit_error::is_in(&origin.descriptor, answer, &policy.limits).await;
        let answer = (raw.status, &raw.headers, signalled);
        self.learn(origin, place, echoes, answer, Instant::now())
    }

    /// A place for the same request once more: with the successor of a credential that the provider has stopped taking,
    /// or after a wait that it asked for, where the caller wants that and has the time. `limited` says whether it refused
    /// for the rate, and `again` whether there is still a body to send.
    pub(crate) async fn once_more(
        &self,
        origin: &Origin,
        loan: &mut Loan,
        (status, limited): (StatusCode, bool),
        again: bool,
        until: Instant,
        sketch: &mut Sketch,
    ) -> Result<Option<Place>, Stop> {
        // Also where the body is gone and cannot be sent again: the next request has the new credential.
        let renewed = inject::renew(&*self.credentials, origin, loan, status).await?;
        let place = match again {
            false => None,
            true if renewed => Some(self.place(origin, loan, until).await?),
            true => self.place_again(origin, loan, limited, until).await,
        };
        if place.is_some() {
            if limited {
                origin.limit_met.sent_again(status.as_u16());
            }
            sketch.again(&self.wire);
            sketch.credential(loan.slot.as_ref(), &loan.scrubber);
        }
        Ok(place)
    }

    #[expect(clippy::too_many_arguments, reason = "one request, and all that goes into it")]
    async fn send(
        &self,
        policy: &Policy,
        origin: &Origin,
        target: &Target,
        parts: &Parts,
        loan: &Loan,
        payload: &mut Payload,
        progress: &mut Progress,
    ) -> Result<Raw, Stop> {
        let (owner, injection) = (Some(&origin.installation), loan.injection.as_deref());
        let opened =
            self.wire.open(policy, owner, target, (parts, injection), payload, progress).await?;
        self.wire.finish(opened, &policy.limits).await
    }
}

/// Where a redirect leads, if a request may go there: it passes the policy like the first.
fn hop(
    policy: &Policy,
    origin: &Origin,
    from: &Target,
    to: Target,
    loan: &mut Loan,
    progress: &mut Progress,
) -> Result<Target, Stop> {
    progress.host = Some(Arc::clone(&to.host));
    policy.admit(&origin.installation.environment, &origin.descriptor, &to)?;
    // The credential was for one origin. Once away from it, it never comes back: whoever sent
    // us away could otherwise send us back with a request of their choice.
    let away = !to.same_origin(from);
    // First what it put into the query, which a server repeats in the address that it names.
    let to = loan.parameter_names().fold(to, Target::without_parameter);
    if away {
        loan.withdraw();
    }
    Ok(to)
}

/// Where a request is to go, as far as that is known before its credential is. None for a path without a base URL, which
/// the connection may still have.
pub(crate) fn foreseen(
    policy: &Policy,
    origin: &Origin,
    borrows: bool,
    url: &str,
    progress: &mut Progress,
) -> Result<Option<Target>, Stop> {
    match admitted(policy, origin, None, url, progress) {
        Err(stop) if borrows && stop.reason == Reason::BaseUrlMissing => Ok(None),
        foreseen => foreseen.map(Some),
    }
}

/// Where it goes: a connection with a base URL of its own, such as a user's, has its token sent there and nowhere else.
pub(crate) fn settled(
    policy: &Policy,
    origin: &Origin,
    loan: &Loan,
    foreseen: Option<Target>,
    url: &str,
    progress: &mut Progress,
) -> Result<Target, Stop> {
    let target = match foreseen {
        Some(target) if loan.base_url.is_none() || loan.base_url == origin.base_url => target,
        _ => admitted(policy, origin, loan.base_url.as_deref(), url, progress)?,
    };
    check_suffix(origin, loan, url, &target)?;
    Ok(target)
}

/// A credential goes to an address that somebody set only below the domains that the release names for it. It was held
/// to them when it was set, but by the release of that time, which may have named more.
fn check_suffix(origin: &Origin, loan: &Loan, url: &str, target: &Target) -> Result<(), Stop> {
    let set = loan.base_url.is_some() || origin.base_url.is_some();
    let spec = loan.slot.as_ref().and_then(|slot| origin.descriptor.slots.get(slot));
    let naming = spec
        .and_then(|spec| spec.scheme.oauth())
        .filter(|oauth| set && !oauth.base_url_suffixes.is_empty());
    match naming {
        Some(oauth) if target::is_path(url) && !oauth.below_suffix(&target.host) => {
            let detail = "the base url is not below the domains that the release names";
            Err(Stop::new(Reason::BaseUrlRefused, detail))
        }
        _ => Ok(()),
    }
}

/// Where a request is to go, if it may go there.
fn admitted(
    policy: &Policy,
    origin: &Origin,
    own: Option<&str>,
    url: &str,
    progress: &mut Progress,
) -> Result<Target, Stop> {
    let descriptor = &*origin.descriptor;
    let base_url = own.or(origin.base_url.as_deref()).or(descriptor.base_url.as_deref());
    let target = policy.bases.read(url, base_url, policy.limits.url_bytes_max)?;
    progress.host = Some(Arc::clone(&target.host));
    policy.admit(&origin.installation.environment, descriptor, &target)?;
    request::check_query(descriptor, &target)?;
    Ok(target)
}

/// An exchange that somebody has ended.
pub(crate) fn cut(reason: Reason) -> Stop {
    Stop::new(reason, "the exchange outlived the wait of a pause and was cut")
}

pub(crate) fn late(progress: &Progress) -> Stop {
    let (reason, detail) = match progress.queue {
        Some(Queue::Permit) => {
            (Reason::BudgetExhausted, "too many exchanges of this call or tenant are under way")
        }
        Some(Queue::Place) => (
            Reason::ConnectionsExhausted,
            "this host has as many connections to providers open as it may",
        ),
        None => (Reason::ExchangeTimeout, "the exchange's time was over before it had ended"),
    };
    Stop::new(reason, detail)
}
