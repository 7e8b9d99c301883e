//! The call path, top to bottom.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use keyway_core::call::{Operation, Output};
use keyway_core::ids::{CallId, Installation};
use keyway_core::ports::{
    self, Answer, Call, CallLog, Clock, Egress, Ended, Inputs, Outcomes, Proxy, Redact,
    RelayAnswer, RelayCall, Route, Routes,
};
use keyway_core::release::ReleaseRef;
use keyway_core::said::{CallFailure, SaidCall};
use keyway_core::{Code, Fault, Whose};

use crate::admission::{self, Admission};
use crate::fit;
use crate::limit;
use crate::metrics::{Metrics, Running};
use crate::outside::{Live, Parts};
use crate::said::{Gathered, Said};

/// What bounds the calls of a host.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many calls may be under way.
    pub admission: admission::Limits,
    /// What an operation may carry.
    pub fit: fit::Limits,
    /// Time for one call where the caller names none, and the most a caller may name. Two minutes: the
    /// slowest page of a slow provider, and short enough that a drain ends.
    pub call_time_max: Duration,
    /// Bytes that the call log keeps of what one guest says; the oldest lines go first. 64 KiB: with a thousand calls
    /// under way, 64 MiB that wait for their ends.
    pub said_bytes_max: usize,
}

/// Runs calls. Cheap to clone.
#[derive(Clone)]
pub struct Dispatch {
    shared: Arc<Shared>,
}

/// The ways out.
pub struct Ways {
    /// For what guests ask.
    pub egress: Arc<dyn Egress>,
    /// For what callers ask themselves.
    pub proxy: Arc<dyn Proxy>,
}

/// Where what guests say goes.
pub struct Words {
    /// Keeps it.
    pub log: Arc<dyn CallLog>,
    /// Masks it first, here and in the host's own log.
    pub redact: Arc<dyn Redact>,
}

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) routes: Arc<dyn Routes>,
    pub(crate) ways: Ways,
    words: Words,
    pub(crate) inputs: Arc<dyn Inputs>,
    outcomes: Arc<dyn Outcomes>,
    clock: Arc<dyn Clock>,
    pub(crate) admission: Admission,
    pub(crate) metrics: Metrics,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            admission: admission::Limits::default(),
            fit: fit::Limits::default(),
            call_time_max: Duration::from_secs(120),
            said_bytes_max: 64 << 10,
        }
    }
}

impl Dispatch {
    /// Puts the parts together.
    pub fn new(
        config: Config,
        routes: Arc<dyn Routes>,
        ways: Ways,
        words: Words,
        inputs: Arc<dyn Inputs>,
        outcomes: Arc<dyn Outcomes>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let admission = Admission::new(config.admission.clone());
        let metrics = Metrics::default();
        let shared =
            Shared { config, routes, ways, words, inputs, outcomes, clock, admission, metrics };
        Self { shared: Arc::new(shared) }
    }

    /// What this crate counts.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }
}

#[async_trait]
impl ports::Dispatch for Dispatch {
    async fn call(&self, call: Call) -> Answer {
        let id = CallId(rand::random());
        let mut release = None;
        let result = self.shared.run(id, call, &mut release).await;
        Answer { call: id, release, result }
    }

    async fn relay(&self, call: RelayCall) -> RelayAnswer {
        let id = CallId(rand::random());
        let mut release = None;
        let result = self.shared.relay(id, call, &mut release).await;
        RelayAnswer { call: id, release, result }
    }
}

impl Shared {
    async fn run(
        &self,
        id: CallId,
        call: Call,
        release: &mut Option<ReleaseRef>,
    ) -> Result<Output, Fault> {
        let Call { installation, operation, time, user, pace } = call;
        // Deadline first: every later wait is part of the caller's time.
        let deadline = Deadline::within(time, self.config.call_time_max);
        // Admission before anything is looked up: a flood costs one counter each.
        let _permit = self.admission.admit(&installation.environment, &installation.tenant)?;
        // The route is taken once; from here on the release cannot change under the call.
        let route = self.routes.resolve(&installation)?;
        *release = Some(route.connector.release().clone());
        // What the descriptor does not declare never reaches the guest.
        let operation = fit::check(&self.config.fit, route.connector.descriptor(), operation)?;
        // Nor does what its schema does not take. It may take a while, and is part of the caller's time.
        let operation = self.hold_input(&route, operation, &deadline).await?;
        let said = Said::new(self.config.said_bytes_max);
        let route_held = Arc::clone(&route);
        let live =
            Arc::new(Live::new(id, route_held, self.parts(), deadline.at, (user, pace), said));
        let underway = Underway::begin(self, id, &route, operation.verb(), Arc::clone(&live));
        let outside = Arc::clone(&live);
        let result = instance(&route, operation, outside, &deadline).await;
        let met = live.limit_met();
        let result = match result {
            Ok(output) => Ok(limit::explain_items(output, met)),
            Err(fault) => Err(self.told(&route, limit::explain(fault, met))),
        };
        underway.end(result.as_ref().err());
        result
    }

    fn parts(&self) -> Parts {
        Parts {
            egress: Arc::clone(&self.ways.egress),
            clock: Arc::clone(&self.clock),
            redact: Arc::clone(&self.words.redact),
        }
    }

    /// The fault, as it may be told: a guest's last words go to operators, and no secret with them.
    fn told(&self, route: &Route, mut fault: Fault) -> Fault {
        let (said, descriptor) = (fault.guest_said.take(), route.connector.descriptor());
        fault.guest_said = said.map(|said| match self.words.redact.masked(descriptor, &said) {
            Cow::Borrowed(_) => said.clone(),
            Cow::Owned(masked) => Arc::new(masked),
        });
        fault
    }
}

async fn instance(
    route: &Route,
    operation: Operation,
    outside: Arc<Live>,
    deadline: &Deadline,
) -> Result<Output, Fault> {
    let time_left = deadline.left();
    if time_left.is_zero() {
        let fault = Fault::new(Code::DeadlineExceeded, "no time was left to begin the call");
        return Err(fault.blame(Whose::Tenant));
    }
    route.connector.call(operation, outside, time_left).await
}

/// A call in a guest. However it ends, it is reported once: a release that callers give up waiting for
/// must not look idle.
struct Underway<'s> {
    shared: &'s Shared,
    id: CallId,
    route: &'s Route,
    verb: &'static str,
    live: Arc<Live>,
    started: Instant,
    reported: bool,
    _running: Running,
}

impl<'s> Underway<'s> {
    fn begin(
        shared: &'s Shared,
        id: CallId,
        route: &'s Route,
        verb: &'static str,
        live: Arc<Live>,
    ) -> Self {
        let (started, _running) = (Instant::now(), shared.metrics.running());
        Self { shared, id, route, verb, live, started, reported: false, _running }
    }

    fn end(mut self, fault: Option<&Fault>) {
        self.report(fault);
    }

    /// Tells everyone who counts, and the log, whose fault it was.
    fn report(&mut self, fault: Option<&Fault>) {
        self.reported = true;
        let (release, elapsed) = (self.route.connector.release(), self.started.elapsed());
        self.shared.metrics.ended(self.verb, release, elapsed, fault);
        self.log(release, elapsed, fault);
        self.keep(release, elapsed, fault);
        self.shared.outcomes.ended(&Ended {
            call: self.id,
            installation: self.route.installation.clone(),
            release: release.clone(),
            order: self.route.order,
            verb: self.verb,
            elapsed,
            fault: fault.cloned(),
        });
    }
}

impl Underway<'_> {
    /// One line. Of what went well, metrics say enough unless somebody asks: at thousands of calls a
    /// second the lines would cost more than the calls.
    fn log(&self, release: &ReleaseRef, elapsed: Duration, fault: Option<&Fault>) {
        let Installation { environment, tenant, .. } = &self.route.installation;
        let (call, verb, seconds) = (self.id, self.verb, elapsed.as_secs_f64());
        match fault {
            None => {
                tracing::debug!(%call, %environment, %tenant, %release, verb, seconds, "call ended")
            }
            Some(fault) => tracing::info!(
                %call,
                %environment,
                %tenant,
                %release,
                verb,
                seconds,
                code = fault.code.as_str(),
                whose = fault.whose().as_str(),
                error = fault.chain(),
                "call ended",
            ),
        }
    }
}

impl Underway<'_> {
    /// Tells the call log, if there is anything to tell: a call that went well and said nothing costs nothing.
    fn keep(&self, release: &ReleaseRef, elapsed: Duration, fault: Option<&Fault>) {
        let Gathered { lines, dropped: lines_dropped, .. } = self.live.said();
        if lines.is_empty() && lines_dropped == 0 && fault.is_none() {
            return;
        }
        let Words { log, redact } = &self.shared.words;
        let descriptor = self.route.connector.descriptor();
        let failure = fault.map(|fault| CallFailure {
            code: fault.code,
            whose: fault.whose(),
            detail: redact.masked(descriptor, &fault.detail).into_owned(),
        });
        log.record(SaidCall {
            at: self.shared.clock.now() - elapsed,
            call: self.id,
            installation: self.route.installation.clone(),
            user: self.live.user().cloned(),
            release: release.clone(),
            verb: self.verb,
            elapsed,
            failure,
            lines: lines.into(),
            lines_dropped,
        });
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        if !self.reported {
            let fault =
                Fault::new(Code::CallAbandoned, "the caller went away before the call ended");
            self.report(Some(&fault));
        }
    }
}

/// When a call must have ended.
pub(crate) struct Deadline {
    pub(crate) began: Instant,
    at: Instant,
}

impl Deadline {
    pub(crate) fn within(asked: Option<Duration>, max: Duration) -> Self {
        let began = Instant::now();
        Self { began, at: began + asked.unwrap_or(max).min(max) }
    }

    /// All the time that there was.
    pub(crate) fn whole(&self) -> Duration {
        self.at - self.began
    }

    pub(crate) fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}
