//! The broker: carries one exchange through the layers, top to bottom, in one function.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use http::Method;
use keyway_core::call::Failure;
use keyway_core::exchange::{Origin, Request, Response};
use keyway_core::ports::{Credentials, Egress, EgressPolicy};
use keyway_core::{Code, Descriptor, Fault};
use tokio::time::timeout;

use crate::budget::Budget;
use crate::classify::ApprovedTarget;
use crate::config::Config;
use crate::dial::{self, Connection};
use crate::inject::{self, Injection};
use crate::metrics::Metrics;
use crate::observe::{Progress, Watch};
use crate::policy::{self, Error, Policy};
use crate::pool::{Key, Pool};
use crate::reason::{Reason, Stop};
use crate::redirect::Trail;
use crate::request::{self, Parts};
use crate::resolve::{self, Resolve};
use crate::respond;
use crate::scrub::Scrubber;
use crate::send::{self, Raw, Unanswered};
use crate::target::{self, Target};

/// The only way out. Clones are the same broker.
#[derive(Clone)]
pub struct Broker(Arc<Inner>);

struct Inner {
    policy: ArcSwap<Policy>,
    generation: AtomicU64,
    credentials: Arc<dyn Credentials>,
    resolver: Arc<dyn Resolve>,
    budget: Budget,
    pool: Pool,
    metrics: Metrics,
}

/// Time that a kept connection has to take a request. It is ready at once unless the upstream answered a
/// request without reading all of it; then it may never be.
const READY_TIMEOUT: Duration = Duration::from_millis(50);

/// A connection and whether it carried an exchange before.
struct Lease {
    connection: Connection,
    reused: bool,
}

// === impl Broker ===

impl Broker {
    /// Compiles the configuration; reads certificate authorities from disk.
    pub fn new(
        config: Config,
        credentials: Arc<dyn Credentials>,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Self, Error> {
        let policy = Policy::compile(config, 0)?;
        let metrics = Metrics::new();
        Ok(Self(Arc::new(Inner {
            policy: ArcSwap::from_pointee(policy),
            generation: AtomicU64::new(0),
            credentials,
            resolver,
            budget: Budget::default(),
            pool: Pool::new(metrics.pooled.clone()),
            metrics,
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

impl EgressPolicy for Broker {
    fn check_hosts(&self, descriptor: &Descriptor) -> Result<(), Fault> {
        let policy = self.0.policy.load();
        policy::check_hosts(descriptor, &policy.allow_wildcards_on)
            .map_err(|refused| Fault::new(Code::DescriptorInvalid, refused.to_string()))
    }

    fn check_base_url(&self, descriptor: &Descriptor, base_url: &str) -> Result<(), Fault> {
        policy::base_url_allowed(descriptor, base_url)
            .map_err(|refused| Fault::new(Code::BaseUrlRefused, refused.to_string()))
    }
}

#[async_trait]
impl Egress for Broker {
    async fn exchange(&self, origin: &Origin, request: Request) -> Result<Response, Failure> {
        let inner = &*self.0;
        let watch = Watch::begin(&inner.metrics, origin);
        let policy = inner.policy.load_full();
        let wanted = request.timeout.unwrap_or(policy.limits.exchange_timeout);
        let time = policy.limits.exchange_timeout.min(origin.time_left).min(wanted);
        let mut progress = Progress::default();
        let carried = timeout(time, inner.carry(&policy, origin, request, &mut progress)).await;
        let result = carried.unwrap_or_else(|_| Err(late(&progress)));
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
    ) -> Result<Response, Stop> {
        let (descriptor, limits) = (&*origin.descriptor, &policy.limits);
        let environment = &origin.installation.environment;

        // Policy: nothing is looked up, counted or opened for a request that may not be sent.
        let base_url = origin.base_url.as_deref().or(descriptor.base_url.as_deref());
        let slot = request.slot.take();
        let mut target =
            Target::parse(&target::absolute(&request.url, base_url)?, limits.url_bytes_max)?;
        progress.host = Some(Arc::clone(&target.host));
        policy.admit(environment, descriptor, &target)?;
        request::check_query(descriptor, &target)?;
        let mut parts = Parts::parse(request, descriptor, limits)?;

        // Budget: before the first lookup, because asking a name server is work for others too.
        progress.waiting = true;
        let _permit = self.budget.acquire(origin, limits).await;
        progress.waiting = false;

        // Inject: the secret is fetched once, and before a lookup or a connection could be for nothing.
        let (mut injection, scrubber) = match slot {
            None => (None, Scrubber::default()),
            Some(slot) => {
                let (injection, scrubber) =
                    inject::injection(&*self.credentials, origin, &slot).await?;
                (Some(injection), scrubber)
            }
        };

        let mut trail = Trail::new(descriptor.redirects);
        let raw = loop {
            // Resolve, classify, dial: in one step, so that what was looked at is what is dialled.
            // Send: within limits, and never a byte twice that may have arrived.
            let raw =
                self.send(policy, origin, &target, &parts, injection.as_ref(), progress).await?;

            // Redirect: a hop is a request like the first, so it passes the policy and all that follows.
            let Some(next) =
                trail.next(&target, &mut parts, &raw, &scrubber, limits.url_bytes_max)?
            else {
                break raw;
            };
            progress.host = Some(Arc::clone(&next.host));
            policy.admit(environment, descriptor, &next)?;
            // The credential was for one origin. Once away from it, it never comes back: whoever sent
            // us away could otherwise send us back with a request of their choice.
            if !next.same_origin(&target) {
                injection = None;
            }
            target = match injection.as_ref().and_then(Injection::parameter_name) {
                Some(name) => next.without_parameter(name),
                None => next,
            };
        };

        // Decode, then scrub: a secret inside compressed bytes cannot be seen from outside.
        respond::respond(raw, &parts.method, &scrubber, limits).await
    }

    /// Sends one request, over a connection kept from before if there is one.
    async fn send(
        &self,
        policy: &Policy,
        origin: &Origin,
        target: &Target,
        parts: &Parts,
        injection: Option<&Injection>,
        progress: &mut Progress,
    ) -> Result<Raw, Stop> {
        let key = Key {
            installation: origin.installation.clone(),
            host: Arc::clone(&target.host),
            port: target.port,
            generation: policy.generation,
            stand_in: policy.stand_in(target).is_some(),
        };
        let sent_before = progress.sent;
        loop {
            let mut lease = self.lease(policy, &key, target).await?;
            let request = parts.build(target, injection, lease.connection.version())?;
            progress.sent = true;
            match send::send(&mut lease.connection, request, &policy.limits).await {
                Ok(raw) => {
                    self.pool.put(key, lease.connection, &policy.limits);
                    return Ok(raw);
                }
                // The other side closed it while it was idle. A fresh one is not idle, so this ends.
                Err(Unanswered::Unsent) if lease.reused => progress.sent = sent_before,
                Err(Unanswered::Lost) if lease.reused && safe(&parts.method) => {}
                Err(Unanswered::Unsent) => {
                    progress.sent = sent_before;
                    return Err(Stop::new(
                        Reason::ConnectionLost,
                        "the connection took no request",
                    ));
                }
                Err(Unanswered::Lost) => {
                    return Err(Stop::new(
                        Reason::ConnectionLost,
                        "the connection ended without a response",
                    ));
                }
                Err(Unanswered::Stopped(stop)) => return Err(stop),
            }
        }
    }

    /// A connection to the target: one that is kept, or a new one to an address that was approved now.
    async fn lease(&self, policy: &Policy, key: &Key, target: &Target) -> Result<Lease, Stop> {
        let limits = &policy.limits;
        while let Some(mut connection) = self.pool.take(key, limits.idle_timeout) {
            if matches!(timeout(READY_TIMEOUT, connection.ready()).await, Ok(true)) {
                return Ok(Lease { connection, reused: true });
            }
        }
        let connection = match policy.stand_in(target) {
            // The operator named the address. The allowlist has been passed all the same.
            Some(stand_in) => {
                let tls = stand_in.tls.then_some(&policy.tls);
                dial::dial(&stand_in.target, &target.host, tls, limits).await?
            }
            None => {
                let answers = resolve::resolve(&*self.resolver, &target.host, limits).await?;
                let approved = ApprovedTarget::approve(
                    &answers,
                    target.port,
                    &policy.networks,
                    limits.addresses_tried_max,
                )?;
                dial::dial(&approved, &target.host, Some(&policy.tls), limits).await?
            }
        };
        self.metrics.dials.inc();
        if let Some(shared) = connection.share() {
            self.pool.put(key.clone(), shared, limits);
        }
        Ok(Lease { connection, reused: false })
    }
}

fn late(progress: &Progress) -> Stop {
    if progress.waiting {
        Stop::new(
            Reason::BudgetExhausted,
            "too many exchanges of this call or tenant are under way",
        )
    } else {
        Stop::new(Reason::ExchangeTimeout, "the exchange's time was over before it had ended")
    }
}

/// Whether sending it twice is like sending it once (RFC 9110 section 9.2.1).
fn safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}
