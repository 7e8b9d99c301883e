//! The least that runs a connector for an HTTP caller: a bare hyper server, raw wasmtime, a bare hyper client.
//!
//! A fresh pooled instance for each request, as the contract has it, and nothing else of a host: nobody is asked who they
//! are, no route, no policy, no limit, no credential, no log. What a host adds to this is its own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::anyhow;
use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use wasmtime::component::{Component, HasSelf, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use bindings::InvokedPre;
use bindings::keyway::connector::http as contract;
use bindings::keyway::connector::types::{self, Failure};

use crate::engine;
use crate::peers::client;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/v1",
        inline: "
            package keyway:bench;
            world invoked {
                include keyway:connector/connector@1.0.0;
                include keyway:connector/acts@1.0.0;
            }
        ",
        imports: { "keyway:connector/http": async | trappable },
        exports: { default: async },
    });
}

/// A component and its way to the upstream.
#[derive(Clone)]
pub(super) struct Server(Arc<Prepared>);

struct Prepared {
    engine: Engine,
    component: InvokedPre<State>,
    client: Client<HttpConnector, Full<Bytes>>,
    to: SocketAddr,
}

/// What one instance has.
struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    prepared: Arc<Prepared>,
}

// === impl Server ===

impl Server {
    /// Of the component in this file, whose requests go to `to`.
    pub(super) fn new(component: &Path, to: SocketAddr) -> anyhow::Result<Self> {
        Self::prepare(component, to).map_err(|error| anyhow!("raw wasmtime: {error:#}"))
    }

    fn prepare(component: &Path, to: SocketAddr) -> wasmtime::Result<Self> {
        let engine = engine::of_the_host()?;
        let component = Component::from_file(&engine, component)?;
        component.initialize_copy_on_write_image()?;
        let mut linker = Linker::<State>::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        types::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
        contract::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
        // What is left of the contract, which this component never calls.
        linker.define_unknown_imports_as_traps(&component)?;
        let component = InvokedPre::new(linker.instantiate_pre(&component)?)?;
        Ok(Self(Arc::new(Prepared { engine, component, client: client(), to })))
    }

    /// The action `get` with the request's body as its input.
    pub(super) async fn answer(self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match self.invoke(request).await {
            Ok(answer) => Response::new(Full::new(Bytes::from(answer))),
            Err(error) => {
                let mut response = Response::new(Full::new(Bytes::from(format!("{error:#}"))));
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                response
            }
        }
    }

    async fn invoke(self, request: Request<Incoming>) -> wasmtime::Result<String> {
        let input = request.into_body().collect().await?.to_bytes();
        let input = String::from_utf8(input.into())?;
        let prepared = self.0;
        let state = State {
            wasi: WasiCtx::builder().build(),
            table: ResourceTable::new(),
            prepared: Arc::clone(&prepared),
        };
        let mut store = Store::new(&prepared.engine, state);
        // Epochs are compiled in; nobody advances this engine's.
        store.set_epoch_deadline(1);
        let guest = prepared.component.instantiate_async(&mut store).await?;
        let answer =
            guest.keyway_connector_actions().call_invoke(&mut store, "get", &input).await?;
        answer.map_err(|failure| wasmtime::format_err!("the guest failed: {}", failure.message))
    }
}

// === impl State ===

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl types::Host for State {}

impl contract::Host for State {
    async fn send(
        &mut self,
        request: contract::Request,
    ) -> wasmtime::Result<Result<contract::Response, Failure>> {
        let Prepared { client, to, .. } = &*self.prepared;
        let uri = Uri::builder()
            .scheme("http")
            .authority(to.to_string())
            .path_and_query(request.url)
            .build()?;
        let mut outgoing = Request::builder().method(&*request.method).uri(uri);
        for (name, value) in &request.headers {
            outgoing = outgoing.header(name, value);
        }
        let body = Full::new(Bytes::from(request.body.unwrap_or_default()));
        let (head, body) = client.request(outgoing.body(body)?).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        let text =
            |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
        Ok(Ok(contract::Response {
            status: head.status.as_u16(),
            headers: headers.collect(),
            body: body.into(),
            extra: Vec::new(),
        }))
    }

    async fn send_all(
        &mut self,
        _: Vec<contract::Request>,
    ) -> wasmtime::Result<Vec<Result<contract::Response, Failure>>> {
        Err(wasmtime::format_err!("the measured component sends one request"))
    }
}
