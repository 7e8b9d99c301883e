//! Between the generated bindings and the SDK's own types, both ways. Only for WebAssembly.
//!
//! Nothing is decided here: each function moves fields, so that a new major of the contract is a new
//! copy of this file and no change for authors.

use std::marker::PhantomData;
use std::time::Duration;

use crate::bindings::acts::exports::keyway::connector::actions;
use crate::bindings::connector::exports::keyway::connector::descriptor;
use crate::bindings::connector::keyway::connector::{clock, http, log as lines, settings, types};
use crate::bindings::listens::exports::keyway::connector::webhooks;
use crate::bindings::reads::exports::keyway::connector::reader;
use crate::bindings::remembers::exports::keyway::connector::state;
use crate::bindings::writes::exports::keyway::connector::writer;
use crate::log::Level;
use crate::{
    Act, Delivery, Describe, Event, Failure, FailureKind, Item, Listen, Obstacle, Operation,
    Outcome, Page, Read, ReadRequest, Record, Remember, Request, Response, Result, Write,
    WriteRequest, json_text,
};

/// What `register!` exports: a connector seen through the contract.
pub struct Exported<T>(PhantomData<T>);

// === imports ===

pub(crate) fn send(request: Request) -> Result<Response> {
    answer(http::send(&outgoing(request)))
}

pub(crate) fn send_all(requests: Vec<Request>) -> Vec<Result<Response>> {
    let requests: Vec<_> = requests.into_iter().map(outgoing).collect();
    http::send_all(&requests).into_iter().map(answer).collect()
}

pub(crate) fn config() -> String {
    settings::config()
}

pub(crate) fn connection() -> String {
    settings::connection()
}

pub(crate) fn now() -> u64 {
    clock::now()
}

pub(crate) fn log(level: Level, message: &str, fields: &str) {
    let level = match level {
        Level::Debug => lines::Level::Debug,
        Level::Info => lines::Level::Info,
        Level::Warn => lines::Level::Warn,
        Level::Error => lines::Level::Error,
    };
    lines::write(level, message, fields);
}

fn outgoing(request: Request) -> http::Request {
    http::Request {
        method: request.method,
        url: request.url,
        headers: request.headers,
        body: request.body,
        auth: request.slot,
        timeout_ms: request.timeout.map(|wait| wait.as_millis().try_into().unwrap_or(u32::MAX)),
        extra: Vec::new(),
    }
}

fn answer(result: Result<http::Response, types::Failure>) -> Result<Response> {
    match result {
        Ok(response) => {
            Ok(Response { status: response.status, headers: response.headers, body: response.body })
        }
        Err(failure) => Err(failure.into()),
    }
}

// === exports ===

impl<T: Describe> descriptor::Guest for Exported<T> {
    fn describe() -> String {
        // A descriptor is maps of text: JSON can say it.
        json_text(&T::describe()).unwrap_or_default()
    }
}

impl<T: Read> reader::Guest for Exported<T> {
    fn discover(object: Option<String>) -> Result<String, types::Failure> {
        Ok(json_text(&T::discover(object.as_deref())?)?)
    }

    fn read(request: reader::ReadRequest) -> Result<reader::Page, types::Failure> {
        let page = T::read(ReadRequest {
            object: request.object,
            fields: request.fields,
            cursor: request.cursor,
            since: request.since,
            until: request.until,
            page_size: request.page_size,
            extra: request.extra,
        })?;
        Ok(page.into())
    }
}

impl<T: Write> writer::Guest for Exported<T> {
    fn write(request: writer::WriteRequest) -> Result<Vec<writer::Outcome>, types::Failure> {
        let outcomes = T::write(WriteRequest {
            object: request.object,
            operation: match request.operation {
                writer::Operation::Create => Operation::Create,
                writer::Operation::Update => Operation::Update,
                writer::Operation::Upsert => Operation::Upsert,
                writer::Operation::Delete => Operation::Delete,
            },
            match_on: request.match_on,
            items: request.items.into_iter().map(Into::into).collect(),
            all_or_none: request.all_or_none,
            extra: request.extra,
        })?;
        Ok(outcomes.into_iter().map(Into::into).collect())
    }
}

impl<T: Act> actions::Guest for Exported<T> {
    fn invoke(name: String, input: String) -> Result<String, types::Failure> {
        Ok(T::invoke(&name, &input)?)
    }
}

impl<T: Listen> webhooks::Guest for Exported<T> {
    fn receive(delivery: webhooks::Delivery) -> Result<webhooks::Received, types::Failure> {
        let received = T::receive(Delivery {
            method: delivery.method,
            path: delivery.path,
            query: delivery.query,
            headers: delivery.headers,
            body: delivery.body,
            extra: delivery.extra,
        })?;
        Ok(webhooks::Received {
            events: received.events.into_iter().map(Into::into).collect(),
            reply: received.reply.map(|reply| (reply.status, reply.body)),
            extra: received.extra,
        })
    }
}

impl<T: Remember> state::Guest for Exported<T> {
    fn migrate(
        object: String,
        from_version: u32,
        to_version: u32,
        state: String,
    ) -> Result<String, state::Obstacle> {
        T::migrate(&object, from_version, to_version, &state).map_err(|obstacle| match obstacle {
            Obstacle::Irreversible(why) => state::Obstacle::Irreversible(why),
            Obstacle::Unknown(why) => state::Obstacle::Unknown(why),
        })
    }
}

// === conversions ===

impl From<types::Failure> for Failure {
    fn from(failure: types::Failure) -> Self {
        Self {
            kind: failure.kind.into(),
            code: failure.code,
            message: failure.message,
            retry_after: failure.retry_after_ms.map(Duration::from_millis),
            request_sent: failure.request_sent,
            extra: failure.extra,
        }
    }
}

impl From<Failure> for types::Failure {
    fn from(failure: Failure) -> Self {
        let milliseconds = |wait: Duration| wait.as_millis().try_into().unwrap_or(u64::MAX);
        Self {
            kind: failure.kind.into(),
            code: failure.code,
            message: failure.message,
            retry_after_ms: failure.retry_after.map(milliseconds),
            request_sent: failure.request_sent,
            extra: failure.extra,
        }
    }
}

macro_rules! same_cases {
    ($ours:ident, $theirs:path, $($case:ident),+) => {
        impl From<$theirs> for $ours {
            fn from(value: $theirs) -> Self {
                use $theirs as Theirs;
                match value { $(Theirs::$case => Self::$case),+ }
            }
        }

        impl From<$ours> for $theirs {
            fn from(value: $ours) -> Self {
                match value { $($ours::$case => Self::$case),+ }
            }
        }
    };
}

same_cases!(
    FailureKind,
    types::FailureKind,
    InvalidInput,
    Unsupported,
    Denied,
    Unauthenticated,
    Forbidden,
    NotFound,
    Conflict,
    RateLimited,
    Transient,
    Contract,
    Internal
);

impl From<Page> for reader::Page {
    fn from(page: Page) -> Self {
        Self {
            records: page.records.into_iter().map(Into::into).collect(),
            next: page.next,
            extra: page.extra,
        }
    }
}

impl From<Record> for reader::Rec {
    fn from(record: Record) -> Self {
        Self {
            id: record.id,
            updated_at: record.updated_at,
            deleted: record.deleted,
            data: record.data,
            extra: record.extra,
        }
    }
}

impl From<writer::Item> for Item {
    fn from(item: writer::Item) -> Self {
        Self {
            reference: item.reference,
            id: item.id,
            data: item.data,
            idempotency_key: item.idempotency_key,
            extra: item.extra,
        }
    }
}

impl From<Outcome> for writer::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Written(written) => Self::Written(writer::Written {
                reference: written.reference,
                id: written.id,
                data: written.data,
                extra: written.extra,
            }),
            Outcome::Rejected(rejected) => Self::Rejected(writer::Rejected {
                reference: rejected.reference,
                failure: rejected.failure.into(),
            }),
        }
    }
}

impl From<Event> for webhooks::Event {
    fn from(event: Event) -> Self {
        Self {
            id: event.id,
            kind: event.kind,
            account: event.account,
            object: event.object,
            record_id: event.record_id,
            occurred_at: event.occurred_at,
            data: event.data,
            extra: event.extra,
        }
    }
}
