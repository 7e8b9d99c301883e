//! What happens around every handler: count and log the request, authorise it.
//!
//! One access-log event a request, with the path's template and not the path: which tenant a call was for
//! is in dispatch's line, under the call's id. A request whose caller hung up is logged as such.

use std::marker::PhantomData;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::handler::Handler;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::response::{IntoResponse as _, Response};
use keyway_core::ids::{Actor, Slot, User};
use keyway_core::{Code, Fault};
use keyway_vault::model::Verb;

use crate::address;
use crate::api::Host;
use crate::auth::Identity;
use crate::contract::problem::MEDIA_TYPE;
use crate::contract::{Access, Endpoint};
use crate::handlers::calls::{USER, user};
use crate::handlers::proxy::SLOT;
use crate::metrics::{Counted, Metrics};
use crate::place::{self, Known, Places};
use crate::problem::{self, Noted, Refusal};
use crate::serve::Member;
use crate::site;
use crate::there;

/// An answer that is being made.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// Answers requests to one endpoint.
pub(crate) trait Answers: Send + Sync {
    fn answer(&self, api: &Host, request: Request, found: Found) -> Answering;
}

/// By what a request was found to be for an endpoint.
pub(crate) enum Found {
    /// By its path: these bytes of it stand where the endpoint's has names.
    Path(Vec<Range<usize>>),
    /// By its host name: this stands below the domain of addresses.
    Host(Box<str>),
}

/// A handler that takes `T`, and what happens around it.
pub(crate) struct Around<H, T> {
    endpoint: &'static Endpoint,
    names: Arc<[&'static str]>,
    counted: Arc<Counted>,
    handler: H,
    takes: PhantomData<fn(T)>,
}

impl<H, T> Around<H, T> {
    pub(crate) fn new(metrics: &Metrics, endpoint: &'static Endpoint, handler: H) -> Self {
        let counted = Arc::new(metrics.of(endpoint.method.as_str(), endpoint.path));
        let names = endpoint.path_names().collect();
        Self { endpoint, names, counted, handler, takes: PhantomData }
    }
}

impl<H: Handler<T, Host>, T: 'static> Answers for Around<H, T> {
    fn answer(&self, api: &Host, mut request: Request, found: Found) -> Answering {
        let (endpoint, handler, api) = (self.endpoint, self.handler.clone(), Host::clone(api));
        let names = Arc::clone(&self.names);
        let counted = Arc::clone(&self.counted);
        Box::pin(async move {
            let mut observation = Observation::new(&counted);
            let bodiless = request.method() == Method::HEAD;
            let plain = endpoint.call == Some(Verb::Proxy)
                && !takes_problems(request.headers(), matches!(found, Found::Host(_)));
            let pages = matches!(found, Found::Host(_))
                .then(|| address::api(&api, request.headers(), request.uri()));
            let mut response = match admit(&api, endpoint, (names, found), &mut request).await {
                // What is known is kept until it is answered: what was made of its body lives as long.
                Ok(known) => {
                    observation.actor = known.identity.as_ref().map(|who| who.actor().clone());
                    let uri = request.uri().clone();
                    let response = handler.call(request, Host::clone(&api)).await;
                    there::told(&api, &known, &uri, response).await
                }
                Err(fault) => Refusal::from(fault).into_response(),
            };
            if let Some(pages) = pages {
                response = problem::with_page_at(pages, response);
            }
            guard(&mut response);
            if plain {
                problem::label_plainly(&mut response);
            }
            observation.end(&response);
            if bodiless {
                leave_out_body(&mut response);
            }
            response
        })
    }
}

/// Answers a request that fits no endpoint.
pub(crate) fn unmatched(counted: &Counted, fault: Fault) -> Response {
    let observation = Observation::new(counted);
    let mut response = Refusal::from(fault).into_response();
    guard(&mut response);
    observation.end(&response);
    response
}

/// Whether a client takes a problem document under its own label: it names it, or takes anything. At an address by host
/// name nobody knows that this host is there, and some clients look for a message in `application/json` alone.
fn takes_problems(headers: &HeaderMap, by_host_name: bool) -> bool {
    let mut accept = headers.get_all(ACCEPT).iter().peekable();
    let anything = !by_host_name && accept.peek().is_none();
    let takes = |range: &str| {
        let range = range.split(';').next().unwrap_or_default().trim();
        let all = ["*/*", "application/*"].contains(&range) && !by_host_name;
        all || range.eq_ignore_ascii_case(MEDIA_TYPE)
    };
    let mut texts = accept.filter_map(|value| value.to_str().ok());
    anything || texts.any(|text| text.split(',').any(takes))
}

/// The answer to a HEAD says how long the one to a GET is (RFC 9110 section 9.3.2).
fn leave_out_body(response: &mut Response) {
    let length = response.body().size_hint().exact();
    if let Some(length) = length.filter(|_| !response.headers().contains_key(CONTENT_LENGTH)) {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    *response.body_mut() = Body::empty();
}

/// Answers hold what a token may see: no cache keeps them, and no browser guesses what they are.
fn guard(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// What is known of a request and of who asks, if the endpoint wants to know; refuses whoever may not.
async fn admit(
    api: &Host,
    endpoint: &Endpoint,
    (names, found): (Arc<[&'static str]>, Found),
    request: &mut Request,
) -> Result<Known, Fault> {
    let open = match endpoint.access {
        Access::Open => true,
        Access::Metrics => api.config.metrics_public,
        Access::View | Access::Publish | Access::Call | Access::Operate | Access::Administer => {
            false
        }
    };
    let identity = match open {
        // The connect page's own check is stricter.
        true => None,
        false => {
            let public_url = api.config.connect.public_url.as_ref();
            site::check(request.method(), request.headers(), public_url)?;
            let headers = request.headers();
            let identity = match endpoint.call {
                Some(Verb::Proxy) => {
                    api.auth.identify_client(headers, request.uri().query()).await?
                }
                _ => api.auth.identify(headers, endpoint.access).await?,
            };
            let member = request.extensions().get::<Arc<Member>>();
            if member.is_some_and(|member| !member.know(identity.mark())) {
                let name = identity.actor();
                let detail = format!("token `{name}` has as many connections as one token may");
                return Err(Fault::new(Code::Overloaded, detail));
            }
            Some(identity)
        }
    };
    // Who may not ask is not told who has an address.
    let places = match found {
        Found::Path(parts) => Places::new(names, parts),
        Found::Host(label) => Places::of(address::find(api, &label).await?),
    };
    if let Some(identity) = &identity {
        permit(api, endpoint, identity, &places, request)?;
    }
    let known = Known { places: Arc::new(places), identity, held: Arc::default() };
    request.extensions_mut().insert(known.clone());
    Ok(known)
}

/// Refuses what the token does not allow, and what is of no environment of this host.
fn permit(
    api: &Host,
    endpoint: &Endpoint,
    identity: &Identity,
    places: &Places,
    request: &mut Request,
) -> Result<(), Fault> {
    let environment = places.environment(request.uri())?;
    identity.check(endpoint.access, environment.as_ref())?;
    if let Some(environment) = &environment {
        place::known(api, environment)?;
    }
    if let Some(address) = places.address() {
        say(request.headers_mut(), &SLOT, address.slot.as_ref().map(Slot::as_str))?;
        say(request.headers_mut(), &USER, address.user.as_ref().map(User::as_str))?;
    }
    let Some(verb) = endpoint.call.filter(|_| identity.bound()) else { return Ok(()) };
    if !request.headers().contains_key(&USER) {
        say(request.headers_mut(), &USER, identity.only_user().map(User::as_str))?;
    }
    let installation = places.installation(request.uri())?;
    let user = user(request.headers())?;
    identity.check_call(&installation, user.as_ref(), verb, request.method())
}

/// Says in a header what the address or the token says already. A caller who says something else is refused.
fn say(headers: &mut HeaderMap, name: &HeaderName, text: Option<&str>) -> Result<(), Fault> {
    let Some(text) = text else { return Ok(()) };
    if headers.get_all(name).iter().any(|value| value.as_bytes() != text.as_bytes()) {
        let detail =
            format!("the address says `{name}: {text}`, and the request says something else");
        return Err(Fault::new(Code::InvalidRequest, detail));
    }
    // Names are visible ASCII.
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name.clone(), value);
    }
    Ok(())
}

/// One request, until it is answered or given up.
struct Observation<'a> {
    counted: &'a Counted,
    actor: Option<Actor>,
    status: Option<u16>,
    /// Which call it was, as the answer says it.
    call: Option<HeaderValue>,
    /// Why it was refused.
    code: Option<Code>,
    started: Instant,
}

impl<'a> Observation<'a> {
    fn new(counted: &'a Counted) -> Self {
        let started = Instant::now();
        Self { counted, actor: None, status: None, call: None, code: None, started }
    }

    fn end(mut self, response: &Response) {
        self.status = Some(response.status().as_u16());
        self.call = response.headers().get(&problem::CALL).cloned();
        self.code = response.extensions().get().map(|Noted(code)| *code);
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
        let call = self.call.as_ref().and_then(|call| call.to_str().ok());
        // A call that went well is one of thousands a second; metrics count it.
        if let (Some(call), true) = (call, succeeded) {
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
            call = call.map(tracing::field::display),
            code = self.code.map(Code::as_str),
            "request",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_no_problem_documents_gets_them_under_a_label_that_it_takes() {
        let takes = |accept: Option<&'static str>| {
            let headers = accept.map(|text| (ACCEPT, HeaderValue::from_static(text)));
            let headers = headers.into_iter().collect();
            (takes_problems(&headers, false), takes_problems(&headers, true))
        };
        for named in ["application/problem+json", "text/html, Application/Problem+JSON;q=0.9"] {
            assert_eq!(takes(Some(named)), (true, true), "{named}");
        }
        for anything in [None, Some("*/*"), Some("application/json, text/plain, */*;q=0.1")] {
            assert_eq!(takes(anything), (true, false), "{anything:?}");
        }
        for other in ["application/json", "application/vnd.github.v3+json", "text/*"] {
            assert_eq!(takes(Some(other)), (false, false), "{other}");
        }
    }
}
