//! What happens around every handler: count and log the request, authorise it.
//!
//! One access-log event a request, with the path's template and not the path: which tenant a call was for
//! is in dispatch's line, under the call's id. A request whose caller hung up is logged as such.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use axum::RequestExt as _;
use axum::extract::{RawPathParams, Request};
use axum::handler::Handler;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse as _, Response};
use keyway_core::ids::{Actor, Environment};
use keyway_core::{Code, Fault};

use crate::api::Host;
use crate::contract::{Access, Endpoint};
use crate::metrics::{Counted, Metrics};
use crate::place;
use crate::problem::{Noted, Refusal};

/// A handler, and what happens around it. A handler itself and no layer of the router: each of those costs a request
/// two allocations and a copy of everything behind it.
#[derive(Clone)]
pub(crate) struct Around<H> {
    endpoint: &'static Endpoint,
    /// See [`Endpoint::environmental`]: asked once and not with each request.
    environmental: bool,
    counted: Arc<Counted>,
    handler: H,
}

impl<H> Around<H> {
    pub(crate) fn new(metrics: &Metrics, endpoint: &'static Endpoint, handler: H) -> Self {
        let counted = Arc::new(metrics.of(endpoint.method.as_str(), endpoint.path));
        Self { endpoint, environmental: endpoint.environmental(), counted, handler }
    }
}

impl<H: Handler<T, Host>, T: 'static> Handler<T, Host> for Around<H> {
    type Future = Pin<Box<dyn Future<Output = Response> + Send>>;

    fn call(self, mut request: Request, api: Host) -> Self::Future {
        let Self { endpoint, environmental, counted, handler } = self;
        Box::pin(async move {
            let mut observation = Observation::new(&counted);
            let mut response = match admit(&api, endpoint, environmental, &mut request).await {
                Ok(actor) => {
                    observation.actor = actor;
                    handler.call(request, Host::clone(&api)).await
                }
                Err(fault) => Refusal::from(fault).into_response(),
            };
            guard(&mut response);
            observation.end(&response);
            response
        })
    }
}

/// Answers a request that fits no endpoint.
pub(crate) async fn unmatched(counted: &Counted, fault: Fault) -> Response {
    let observation = Observation::new(counted);
    let mut response = Refusal::from(fault).into_response();
    guard(&mut response);
    observation.end(&response);
    response
}

/// Answers hold what a token may see: no cache keeps them, and no browser guesses what they are.
fn guard(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// Who asks, if the endpoint wants to know; refuses whoever may not.
async fn admit(
    api: &Host,
    endpoint: &Endpoint,
    environmental: bool,
    request: &mut Request,
) -> Result<Option<Actor>, Fault> {
    let open = match endpoint.access {
        Access::Open => true,
        Access::Metrics => api.config.metrics_public,
        Access::View | Access::Publish | Access::Operate | Access::Administer => false,
    };
    if open {
        return Ok(None);
    }
    let identity = api.auth.identify(request.headers()).await?;
    let environment = if environmental { Some(environment(request).await?) } else { None };
    identity.check(endpoint.access, environment.as_ref())?;
    if let Some(environment) = &environment {
        place::known(api, environment)?;
    }
    let actor = identity.actor().clone();
    request.extensions_mut().insert(identity);
    Ok(Some(actor))
}

async fn environment(request: &mut Request) -> Result<Environment, Fault> {
    let params: RawPathParams = request.extract_parts().await.map_err(|_| place::not_text())?;
    place::name(&params, "environment")
}

/// One request, until it is answered or given up.
struct Observation<'a> {
    counted: &'a Counted,
    actor: Option<Actor>,
    noted: Noted,
    status: Option<u16>,
    started: Instant,
}

impl<'a> Observation<'a> {
    fn new(counted: &'a Counted) -> Self {
        Self {
            counted,
            actor: None,
            noted: Noted::default(),
            status: None,
            started: Instant::now(),
        }
    }

    fn end(mut self, response: &Response) {
        self.status = Some(response.status().as_u16());
        self.noted = response.extensions().get().cloned().unwrap_or_default();
    }
}

impl Drop for Observation<'_> {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        self.counted.answered(self.status, elapsed);
        let succeeded = self.status.is_some_and(|status| status < 400);
        let actor = self.actor.as_ref().map(Actor::as_str);
        let Counted { method, path, .. } = *self.counted;
        let (status, seconds) = (self.status, elapsed.as_secs_f64());
        // A call that went well is one of thousands a second; metrics count it.
        if let (Some(call), true) = (self.noted.call, succeeded) {
            tracing::debug!(method, path, status, seconds, actor, %call, "request");
            return;
        }
        tracing::info!(
            method,
            path,
            status,
            hung_up = status.is_none(),
            seconds,
            actor,
            call = self.noted.call.map(tracing::field::display),
            code = self.noted.code.map(Code::as_str),
            "request",
        );
    }
}
