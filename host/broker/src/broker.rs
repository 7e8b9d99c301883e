//! The broker: carries one exchange of a guest through the layers, top to bottom, in one function.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use keyway_core::call::Failure;
use keyway_core::exchange::{Origin, Request, Response};
use keyway_core::ports::{Credentials, Egress};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::time::{Instant, timeout};

use crate::budget::{Budget, Permit};
use crate::config::Limits;
use crate::inject::{self, Loan};
use crate::ledger::Sketch;
use crate::observe::{Progress, Watch};
use crate::pace::Paces;
use crate::policy::Policy;
use crate::reason::{Reason, Stop};
use crate::redirect::Trail;
use crate::request::{self, Parts};
use crate::respond;
use crate::send::Raw;
use crate::target::{self, Target};
use crate::wire::{self, Wire};

/// The only way out for connectors and for those who use their credentials. Clones are the same broker.
#[derive(Clone)]
pub struct Broker(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) wire: Arc<wire::Inner>,
    pub(crate) credentials: Arc<dyn Credentials>,
    pub(crate) budget: Budget,
    pub(crate) paces: Paces,
}

// === impl Broker ===

impl Broker {
    /// Sends over `wire` with what `credentials` gives.
    pub fn new(wire: &Wire, credentials: Arc<dyn Credentials>) -> Self {
        let (wire, budget, paces) = (Arc::clone(&wire.0), Budget::default(), Paces::default());
        Self(Arc::new(Inner { wire, credentials, budget, paces }))
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
        let watch = Watch::begin(&inner.wire.metrics, origin);
        let mut sketch = Sketch::of(&inner.wire, origin, "call");
        let policy = inner.wire.policy();
        let wanted = request.timeout.unwrap_or(policy.limits.exchange_timeout);
        let time = policy.limits.exchange_timeout.min(origin.time_left).min(wanted);
        let mut progress = Progress::until(Instant::now() + time);
        let carried = {
            // Pinned here: it is large, and moving it into the timeout would copy it.
            let carried = pin!(inner.carry(&policy, origin, request, &mut progress, &mut sketch));
            timeout(time, carried).await
        };
        let result = carried.unwrap_or_else(|_| Err(late(&progress)));
        let stopped = result.as_ref().err().map(|stop| stop.reason.as_str());
        sketch.end(stopped);
        match result {
            Ok(response) => {
                watch.answered(response.status, &progress);
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
        progress: &mut Progress,
        sketch: &mut Sketch,
    ) -> Result<Response, Stop> {
        let (began, limits, descriptor) = (Instant::now(), &policy.limits, &*origin.descriptor);

        // Policy: nothing is looked up, counted or opened for a request that may not be sent.
        let (slot, url) = (request.slot.take(), std::mem::take(&mut request.url));
        sketch.wanted(&request.method, &url);
        let foreseen = foreseen(policy, origin, slot.is_some(), &url, progress)?;
        let (mut parts, mut payload) = Parts::parse(request, descriptor, limits)?;

        // Inject: the secret is fetched once, and before a lookup or a connection could be for nothing.
        let mut loan = inject::lend(&*self.credentials, origin, slot.as_deref()).await?;
        let mut target = settled(policy, origin, &loan, foreseen, &url, progress)?;
        sketch.credential(loan.slot.as_ref(), &loan.scrubber);
        let (mut trail, mut permit) = (Trail::new(descriptor.redirects), None);
        let (raw, echoes) = loop {
            // Pace: under the limit of the account that the credential is for, each time that something is sent.
            // Before the budget, the first time: who waits for a provider must not keep the tenant's permits. Whoever
            // sends once more, to where it was sent on or with another credential, has one and keeps it.
            let quota = self.place(origin, &loan, progress.until).await?;
            // Budget: before the first lookup, because asking a name server is work for others too.
            if permit.is_none() {
                permit = Some(self.permit(origin, limits, progress).await);
                sketch.waited(began.elapsed());
            }

            // Resolve, classify, dial: in one step, so that what was looked at is what is dialled.
            // Send: within limits, and never a byte twice that may have arrived.
            sketch.request(&target, &parts, &payload);
            let raw =
                self.send(policy, origin, &target, &parts, &loan, &mut payload, progress).await?;
            let echoes = loan.scrubber.echoes(&raw.headers);
            sketch.answered(&raw, &echoes);
            self.learn(origin, &quota, &echoes, raw.status, &raw.headers);

            // A credential that the provider has stopped taking is exchanged for its successor, once.
            if inject::renew(&*self.credentials, origin, &mut loan, raw.status).await? {
                sketch.credential(loan.slot.as_ref(), &loan.scrubber);
                continue;
            }

            // Redirect: a hop is a request like the first, so it passes the policy and all that follows.
            let (changes, scrubber) = ((&mut parts, &mut payload), &loan.scrubber);
            let next = trail.next(&target, changes, &raw, scrubber, limits.url_bytes_max)?;
            let Some(next) = next else { break (raw, echoes) };
            progress.host = Some(Arc::clone(&next.host));
            policy.admit(&origin.installation.environment, descriptor, &next)?;
            // The credential was for one origin. Once away from it, it never comes back: whoever sent
            // us away could otherwise send us back with a request of their choice.
            if !next.same_origin(&target) {
                loan.withdraw();
            }
            target = match loan.parameter_name() {
                Some(name) => next.without_parameter(name),
                None => next,
            };
        };

        // Decode, then scrub: a secret inside compressed bytes cannot be seen from outside.
        let response =
            respond::respond(raw, &parts.method, (&echoes, &loan.scrubber), limits).await?;
        sketch.body(&response.body);
        Ok(response)
    }

    /// Waits for a permit.
    pub(crate) async fn permit(
        &self,
        origin: &Origin,
        limits: &Limits,
        progress: &mut Progress,
    ) -> Permit {
        progress.waiting = true;
        let permit = self.budget.acquire(origin, limits).await;
        progress.waiting = false;
        permit
    }

    #[expect(clippy::too_many_arguments, reason = "one request, and all that goes into it")]
    async fn send(
        &self,
        policy: &Policy,
        origin: &Origin,
        target: &Target,
        parts: &Parts,
        loan: &Loan,
        payload: &mut crate::payload::Payload,
        progress: &mut Progress,
    ) -> Result<Raw, Stop> {
        let (owner, injection) = (Some(&origin.installation), loan.injection.as_deref());
        let sent = &mut progress.sent;
        let opened =
            self.wire.open(policy, owner, target, (parts, injection), payload, sent).await?;
        self.wire.finish(opened, &policy.limits).await
    }
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
    match foreseen {
        Some(target) if loan.base_url.is_none() || loan.base_url == origin.base_url => Ok(target),
        _ => admitted(policy, origin, loan.base_url.as_deref(), url, progress),
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
    let url = target::absolute(url, base_url)?;
    let target = Target::parse(&url, policy.limits.url_bytes_max)?;
    progress.host = Some(Arc::clone(&target.host));
    policy.admit(&origin.installation.environment, descriptor, &target)?;
    request::check_query(descriptor, &target)?;
    Ok(target)
}

pub(crate) fn late(progress: &Progress) -> Stop {
    if progress.waiting {
        Stop::new(
            Reason::BudgetExhausted,
            "too many exchanges of this call or tenant are under way",
        )
    } else {
        Stop::new(Reason::ExchangeTimeout, "the exchange's time was over before it had ended")
    }
}
