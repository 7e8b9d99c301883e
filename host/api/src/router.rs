//! Handlers, mounted on their endpoints.

use axum::handler::Handler;

use crate::api::Host;
use crate::contract::Endpoint;
use crate::contract::endpoint;
use crate::handlers::{
    audit, calls, clients, config, connect, connections, exchanges, health, keys, logged, moves,
    obtain, pins, proxy, quotas, releases, tenants, tokens,
};
use crate::layer::Around;
use crate::metrics::Metrics;
use crate::route::{Router, Routes};

/// The whole API.
pub(crate) fn router(api: Host) -> Router {
    let mounted = Mounting { metrics: &api.metrics, routes: Routes::default() }
        .mount(&endpoint::RELEASE_PUBLISH, releases::publish)
        .mount(&endpoint::RELEASE_LIST, releases::list)
        .mount(&endpoint::RELEASE_LIST_OF, releases::list_of)
        .mount(&endpoint::RELEASE_GET, releases::get)
        .mount(&endpoint::RELEASE_DIFF, releases::diff)
        .mount(&endpoint::PIN_SET, pins::set)
        .mount(&endpoint::PIN_REVERT, pins::revert)
        .mount(&endpoint::PIN_UNPIN, pins::unpin)
        .mount(&endpoint::PIN_GET, pins::get)
        .mount(&endpoint::PIN_HISTORY, pins::history)
        .mount(&endpoint::PIN_MATRIX, pins::matrix)
        .mount(&endpoint::DEFAULT_SET, pins::set_default)
        .mount(&endpoint::DEFAULT_GET, pins::get_default)
        .mount(&endpoint::DEFAULT_UNSET, pins::unset_default)
        .mount(&endpoint::TENANT_DELETE, tenants::delete)
        .mount(&endpoint::CONFIG_SET, config::set)
        .mount(&endpoint::CONFIG_GET, config::get)
        .mount(&endpoint::CONFIG_REMOVE, config::remove)
        .mount(&endpoint::CONFIG_HISTORY, config::history)
        .mount(&endpoint::CONFIG_REVERT, config::revert)
        .mount(&endpoint::ACTION_INVOKE, calls::invoke)
        .mount(&endpoint::OBJECT_LIST, calls::discover_all)
        .mount(&endpoint::OBJECT_GET, calls::discover)
        .mount(&endpoint::OBJECT_READ, calls::read)
        .mount(&endpoint::OBJECT_WRITE, calls::write)
        .mount(&endpoint::PROXY, proxy::relay)
        .mount(&endpoint::PROXY_URL, proxy::url)
        .mount(&endpoint::CALL_LIST, logged::list)
        .mount(&endpoint::CALL_FOLLOW, logged::follow)
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
        .mount(&endpoint::CODE_GET, health::code)
        .mount(&endpoint::METRICS, health::metrics)
        .mount(&endpoint::OPENAPI, health::openapi);
    let routes = connecting(mounted).routes;
    let proxy = Around::new(&api.metrics, &endpoint::PROXY, proxy::relay);
    Router::new(api, routes, proxy)
}

/// Credentials, and how they come.
fn connecting(mounting: Mounting<'_>) -> Mounting<'_> {
    mounting
        .mount(&endpoint::CONNECTION_SET, connections::set)
        .mount(&endpoint::CONNECTION_SET_ALL, connections::set_all)
        .mount(&endpoint::CONNECTION_REMOVE, connections::remove)
        .mount(&endpoint::CONNECTION_LIST, connections::list)
        .mount(&endpoint::CONNECTION_STANDING, connections::standing)
        .mount(&endpoint::CONNECTION_PAUSE, connections::pause)
        .mount(&endpoint::CONNECTION_RESUME, connections::resume)
        .mount(&endpoint::CONNECTION_HOLD_REFRESH, connections::hold_refresh)
        .mount(&endpoint::CONNECTION_RELEASE_REFRESH, connections::release_refresh)
        .mount(&endpoint::CONNECTION_REFRESH, connections::refresh)
        .mount(&endpoint::CONNECTION_TEST, connections::test)
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
        .mount(&endpoint::CONNECT_CALLBACK_FORM, connect::callback_form)
}

/// Handlers mounted so far.
struct Mounting<'a> {
    metrics: &'a Metrics,
    routes: Routes,
}

impl Mounting<'_> {
    fn mount<H, T>(mut self, endpoint: &'static Endpoint, handler: H) -> Self
    where
        H: Handler<T, Host>,
        T: 'static,
    {
        self.routes.add(endpoint, Around::new(self.metrics, endpoint, handler));
        self
    }
}
