//! Handlers, mounted on their endpoints.

use std::sync::Arc;

use axum::handler::Handler;
use axum::routing::{MethodFilter, on};
use keyway_core::{Code, Fault};

use crate::api::Host;
use crate::contract::Endpoint;
use crate::contract::endpoint::{self, Method};
use crate::handlers::{
    audit, calls, clients, config, connect, connections, exchanges, health, keys, moves, obtain,
    pins, proxy, quotas, releases, tokens,
};
use crate::layer::{self, Around};
use crate::metrics::Metrics;

/// The whole API.
pub(crate) fn router(api: Host) -> axum::Router {
    let mounted = Mounting { metrics: api.metrics.clone(), router: axum::Router::new() }
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
        .mount(&endpoint::CONNECTION_STANDING, connections::standing)
        .mount(&endpoint::CONNECTION_PAUSE, connections::pause)
        .mount(&endpoint::CONNECTION_RESUME, connections::resume)
        .mount(&endpoint::CONNECTION_HOLD_REFRESH, connections::hold_refresh)
        .mount(&endpoint::CONNECTION_RELEASE_REFRESH, connections::release_refresh)
        .mount(&endpoint::CONNECTION_REFRESH, connections::refresh)
        .mount(&endpoint::CONNECTION_OBTAIN, obtain::obtain)
        .mount(&endpoint::CONNECTION_IMPORT, moves::import)
        .mount(&endpoint::CONNECTION_EXPORT, moves::export)
        .mount(&endpoint::CONNECTION_IMPORT_MANY, moves::import_many)
        .mount(&endpoint::SCOPES_GET, connections::scopes)
        .mount(&endpoint::CLIENT_LIST, clients::list)
        .mount(&endpoint::CLIENT_SET, clients::set)
        .mount(&endpoint::CLIENT_GET, clients::get)
        .mount(&endpoint::CLIENT_REMOVE, clients::remove)
        .mount(&endpoint::CONNECT_BEGIN, connect::begin)
        .mount(&endpoint::CONNECT_COMPLETE, connect::complete)
        .mount(&endpoint::CONNECT_PAGE, connect::show)
        .mount(&endpoint::CONNECT_START, connect::start)
        .mount(&endpoint::CONNECT_CALLBACK, connect::callback)
        .mount(&endpoint::ACTION_INVOKE, calls::invoke)
        .mount(&endpoint::OBJECT_LIST, calls::discover_all)
        .mount(&endpoint::OBJECT_GET, calls::discover)
        .mount(&endpoint::OBJECT_READ, calls::read)
        .mount(&endpoint::OBJECT_WRITE, calls::write)
        .mount(&endpoint::PROXY, proxy::relay)
        .mount(&endpoint::EXCHANGE_LIST, exchanges::list)
        .mount(&endpoint::EXCHANGE_FOLLOW, exchanges::follow)
        .mount(&endpoint::QUOTA_LIST, quotas::list)
        .mount(&endpoint::TOKEN_LIST, tokens::list)
        .mount(&endpoint::TOKEN_ISSUE, tokens::issue)
        .mount(&endpoint::TOKEN_REVOKE, tokens::revoke)
        .mount(&endpoint::KEYS_GET, keys::get)
        .mount(&endpoint::KEYS_ROTATE, keys::rotate)
        .mount(&endpoint::AUDIT_LIST, audit::list)
        .mount(&endpoint::HEALTH, health::alive)
        .mount(&endpoint::READY, health::ready)
        .mount(&endpoint::METRICS, health::metrics)
        .mount(&endpoint::OPENAPI, health::openapi);
    completed(mounted.router, api)
}

/// With answers for whatever no handler is mounted on.
fn completed(router: axum::Router<Host>, api: Host) -> axum::Router {
    let absent = Arc::new(api.metrics.of("other", "unmatched"));
    let other = Arc::clone(&absent);
    router
        .fallback(async move || {
            let fault = Fault::new(Code::NoSuchEndpoint, "no endpoint has this path");
            layer::unmatched(&absent, fault).await
        })
        .method_not_allowed_fallback(async move || {
            let fault = Fault::new(Code::MethodNotAllowed, "the path exists; the method does not");
            layer::unmatched(&other, fault).await
        })
        .with_state(api)
}

/// Handlers mounted so far.
struct Mounting {
    metrics: Metrics,
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
            Method::Any => MethodFilter::GET
                .or(MethodFilter::HEAD)
                .or(MethodFilter::PUT)
                .or(MethodFilter::POST)
                .or(MethodFilter::PATCH)
                .or(MethodFilter::DELETE)
                .or(MethodFilter::OPTIONS),
        };
        let around = Around::new(&self.metrics, endpoint, handler);
        self.router = self.router.route(endpoint.path, on(filter, around));
        self
    }
}
