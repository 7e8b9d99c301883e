//! Handlers, mounted on their endpoints.

use axum::handler::Handler;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::middleware;
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use keyway_core::{Code, Fault};

use crate::api::Host;
use crate::contract::Endpoint;
use crate::contract::endpoint::{self, Method};
use crate::handlers::{audit, calls, config, connections, health, pins, releases, tokens};
use crate::layer;

/// The whole API.
pub(crate) fn router(api: Host) -> axum::Router {
    let mounted = Mounting { api: api.clone(), router: axum::Router::new() }
        .mount(&endpoint::RELEASE_PUBLISH, releases::publish)
        .mount(&endpoint::RELEASE_LIST, releases::list)
        .mount(&endpoint::RELEASE_LIST_OF, releases::list_of)
        .mount(&endpoint::RELEASE_GET, releases::get)
        .mount(&endpoint::RELEASE_DIFF, releases::diff)
        .mount(&endpoint::PIN_SET, pins::set)
        .mount(&endpoint::PIN_REVERT, pins::revert)
        .mount(&endpoint::PIN_GET, pins::get)
        .mount(&endpoint::PIN_HISTORY, pins::history)
        .mount(&endpoint::PIN_MATRIX, pins::matrix)
        .mount(&endpoint::DEFAULT_SET, pins::set_default)
        .mount(&endpoint::DEFAULT_GET, pins::get_default)
        .mount(&endpoint::CONFIG_SET, config::set)
        .mount(&endpoint::CONFIG_GET, config::get)
        .mount(&endpoint::CONNECTION_SET, connections::set)
        .mount(&endpoint::CONNECTION_REMOVE, connections::remove)
        .mount(&endpoint::CONNECTION_LIST, connections::list)
        .mount(&endpoint::ACTION_INVOKE, calls::invoke)
        .mount(&endpoint::OBJECT_LIST, calls::discover_all)
        .mount(&endpoint::OBJECT_GET, calls::discover)
        .mount(&endpoint::OBJECT_READ, calls::read)
        .mount(&endpoint::OBJECT_WRITE, calls::write)
        .mount(&endpoint::TOKEN_LIST, tokens::list)
        .mount(&endpoint::TOKEN_ISSUE, tokens::issue)
        .mount(&endpoint::TOKEN_REVOKE, tokens::revoke)
        .mount(&endpoint::AUDIT_LIST, audit::list)
        .mount(&endpoint::HEALTH, health::alive)
        .mount(&endpoint::READY, health::ready)
        .mount(&endpoint::METRICS, health::metrics)
        .mount(&endpoint::OPENAPI, health::openapi);
    let (absent, other) = (api.clone(), api.clone());
    mounted
        .router
        .fallback(async move || {
            let fault = Fault::new(Code::NoSuchEndpoint, "no endpoint has this path");
            layer::unmatched(&absent, fault).await
        })
        .method_not_allowed_fallback(async move || {
            let fault = Fault::new(Code::MethodNotAllowed, "the path exists; the method does not");
            layer::unmatched(&other, fault).await
        })
        .layer(middleware::map_response(guarded))
        .with_state(api)
}

/// Handlers mounted so far.
struct Mounting {
    api: Host,
    router: axum::Router<Host>,
}

impl Mounting {
    fn mount<H, T>(mut self, endpoint: &'static Endpoint, handler: H) -> Self
    where
        H: Handler<T, Host>,
        T: 'static,
    {
        let filter = match endpoint.method {
            Method::Get => MethodFilter::GET,
            Method::Put => MethodFilter::PUT,
            Method::Post => MethodFilter::POST,
            Method::Delete => MethodFilter::DELETE,
        };
        let around = middleware::from_fn_with_state((self.api.clone(), endpoint), layer::around);
        self.router = self.router.route(endpoint.path, on(filter, handler).route_layer(around));
        self
    }
}

/// Answers hold what a token may see: no cache keeps them, and no browser guesses what they are.
async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
