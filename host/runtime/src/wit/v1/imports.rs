//! The contract's imports, answered from the port to the outside.
//!
//! Policy is not here: whether a request may be sent is the broker's to say.

use futures_util::{StreamExt as _, stream};
use keyway_core::call::Failure;
use keyway_core::exchange::Response;
use keyway_core::said::{LogLevel, Source};
use wasmtime::StoreContextMut;
use wasmtime::component::{HasData, Linker, WasmStr};

use super::bindings::keyway::connector::{clock, http, log, settings, types};
use super::{PACKAGE, VERSION};
use crate::state::State;

/// Every import is implemented on the store's state itself.
struct Ours;

impl HasData for Ours {
    type Data<'a> = &'a mut State;
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    types::add_to_linker::<State, Ours>(linker, |state| state)?;
    http::add_to_linker::<State, Ours>(linker, |state| state)?;
    settings::add_to_linker::<State, Ours>(linker, |state| state)?;
    clock::add_to_linker::<State, Ours>(linker, |state| state)?;
    // By hand, because the generated function would copy a line before we could cut it.
    linker.instance(&format!("{PACKAGE}/log@{VERSION}"))?.func_wrap("write", write_log)
}

fn write_log(
    mut store: StoreContextMut<'_, State>,
    (level, message, fields): (log::Level, WasmStr, WasmStr),
) -> wasmtime::Result<()> {
    store.data().reach("keyway:connector/log.write")?;
    let log = std::sync::Arc::clone(store.data_mut().log());
    if !log.drops_next() {
        let level = match level {
            log::Level::Debug => LogLevel::Debug,
            log::Level::Info => LogLevel::Info,
            log::Level::Warn => LogLevel::Warn,
            log::Level::Error => LogLevel::Error,
        };
        log.write(Source::Log, level, &message.to_str(&store)?, &fields.to_str(&store)?);
    }
    Ok(())
}

impl types::Host for State {}

impl http::Host for State {
    async fn send(
        &mut self,
        request: http::Request,
    ) -> wasmtime::Result<Result<http::Response, types::Failure>> {
        self.reach("keyway:connector/http.send")?;
        // While it is under way it may have been sent; the call can end right here.
        let before = std::mem::replace(&mut self.request_sent, true);
        let answer = self.outside.send(request.into()).await;
        self.request_sent = before || reached(&answer);
        Ok(answer.map(Into::into).map_err(Into::into))
    }

    async fn send_all(
        &mut self,
        mut requests: Vec<http::Request>,
    ) -> wasmtime::Result<Vec<Result<http::Response, types::Failure>>> {
        self.reach("keyway:connector/http.send-all")?;
        let most = self.limits.call.send_all_requests_max;
        let excess = requests.len().saturating_sub(most);
        requests.truncate(most);
        let before = std::mem::replace(&mut self.request_sent, true);
        let outside = &self.outside;
        let mut sent = before;
        let mut answers: Vec<_> = stream::iter(requests)
            .map(|request| outside.send(request.into()))
            .buffered(self.limits.call.send_all_in_flight_max.get())
            .inspect(|answer| sent |= reached(answer))
            .map(|answer| answer.map(Into::into).map_err(Into::into))
            .collect()
            .await;
        self.request_sent = sent;
        answers.extend((0..excess).map(|_| Err(super::map::too_many_requests(most))));
        Ok(answers)
    }
}

/// Whether a request with this answer can have reached the provider.
fn reached(answer: &Result<Response, Failure>) -> bool {
    answer.as_ref().map_or_else(|failure| failure.request_sent, |_| true)
}

impl settings::Host for State {
    fn config(&mut self) -> wasmtime::Result<String> {
        self.reach("keyway:connector/settings.config")?;
        Ok(self.outside.config())
    }

    fn connection(&mut self) -> wasmtime::Result<String> {
        self.reach("keyway:connector/settings.connection")?;
        Ok(self.outside.connection())
    }
}

impl clock::Host for State {
    fn now(&mut self) -> wasmtime::Result<u64> {
        self.reach("keyway:connector/clock.now")?;
        Ok(Self::now(self))
    }
}
