//! The way of a request to its endpoint: by its host name, if that is an address of an installation; else by its path, then
//! by its method.
//!
//! Handlers and what they take are axum's; this is not its router. That one copies each name of a path, with its key, and
//! every handler that it calls: some forty allocations for each request. Here names stay in the path; where each stands
//! is known from finding the endpoint, and who wants one reads it there ([`crate::place`]).

use std::collections::BTreeMap;
use std::future::ready;
use std::ops::Range;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::header::ALLOW;
use axum::http::{HeaderValue, Method};
use keyway_core::{Code, Fault};

use crate::address;
use crate::api::Host;
use crate::contract::Endpoint;
use crate::contract::endpoint;
use crate::layer::{Answering, Answers, Found, unmatched};
use crate::metrics::Counted;
use crate::site;

/// What answers requests. Cheap to clone.
#[derive(Clone)]
pub struct Router(Arc<Inner>);

struct Inner {
    host: Host,
    paths: matchit::Router<Path>,
    /// What is asked of addresses by host name, whatever its path.
    proxy: Path,
    /// Counts what fits no endpoint.
    other: Counted,
}

/// Endpoints by their paths, with names in these.
#[derive(Default)]
pub(crate) struct Routes(BTreeMap<&'static str, Path>);

/// The endpoints of one path.
#[derive(Default)]
struct Path(Vec<(endpoint::Method, Box<dyn Answers>)>);

// === impl Router ===

impl Router {
    /// `proxy` answers what is asked of addresses by host name.
    pub(crate) fn new(host: Host, routes: Routes, proxy: impl Answers + 'static) -> Self {
        let proxy = Path(vec![(endpoint::PROXY.method, Box::new(proxy))]);
        let mut paths = matchit::Router::new();
        for (path, endpoints) in routes.0 {
            paths.insert(path, endpoints).expect("the table's paths can be told apart");
        }
        let other = host.metrics.of("other", "unmatched");
        Self(Arc::new(Inner { host, paths, proxy, other }))
    }

    /// Answers a request that came over a connection, where it has to say which host it is for.
    pub(crate) fn receive(&self, request: Request) -> Answering {
        match site::check_host(request.version(), request.headers()) {
            Ok(()) => self.answer(request),
            Err(fault) => Box::pin(ready(unmatched(&self.0.other, fault))),
        }
    }

    /// Answers a request.
    pub fn answer(&self, request: Request) -> Answering {
        let Inner { host, paths, proxy, other } = &*self.0;
        match address::asked(&host.config.proxy, &request) {
            Ok(None) => {}
            Ok(Some(label)) => {
                let Some(endpoint) = proxy.of(request.method()) else {
                    return not_allowed(other, proxy);
                };
                let found = Found::Host(label.into());
                return endpoint.answer(host, request, found);
            }
            Err(fault) => return Box::pin(ready(unmatched(other, fault))),
        }
        let path = request.uri().path();
        let Ok(found) = paths.at(path) else {
            let fault = Fault::new(Code::NoSuchEndpoint, "no endpoint has this path");
            return Box::pin(ready(unmatched(other, fault)));
        };
        if let Some(endpoint) = found.value.of(request.method()) {
            let parts = found.params.iter().map(|(_, part)| within(path, part)).collect();
            return endpoint.answer(host, request, Found::Path(parts));
        }
        not_allowed(other, found.value)
    }
}

fn not_allowed(counted: &Counted, path: &Path) -> Answering {
    let fault = Fault::new(Code::MethodNotAllowed, "the path exists; the method does not");
    let mut response = unmatched(counted, fault);
    response.headers_mut().insert(ALLOW, path.allowed());
    Box::pin(ready(response))
}

// === impl Routes ===

impl Routes {
    pub(crate) fn add(&mut self, endpoint: &'static Endpoint, answer: impl Answers + 'static) {
        self.0.entry(endpoint.path).or_default().0.push((endpoint.method, Box::new(answer)));
    }
}

// === impl Path ===

impl Path {
    fn of(&self, method: &Method) -> Option<&dyn Answers> {
        let takes = |(own, _): &&(endpoint::Method, _)| own.methods().contains(method);
        self.0.iter().find(takes).map(|(_, answer)| &**answer)
    }

    /// RFC 9110 section 10.2.1.
    fn allowed(&self) -> HeaderValue {
        let methods = self.0.iter().flat_map(|(method, _)| method.methods());
        let names: Vec<&str> = methods.map(Method::as_str).collect();
        HeaderValue::from_str(&names.join(", ")).expect("methods are visible ASCII")
    }
}

/// Which bytes of the path a part of it is.
fn within(path: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - path.as_ptr().addr();
    start..start + part.len()
}
