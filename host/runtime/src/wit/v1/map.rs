//! Contract 1's records, from and to the types of `keyway-core`.
//!
//! Shape only; whether what a guest answers makes sense is checked in [`crate::output`]. Text that a
//! guest reports as a failure is cut and made harmless here, because it goes into logs and answers.

use std::time::Duration;

use bytes::Bytes;
use keyway_core::call::{
    Extra, Failure, FailureKind, Outcome, Page, ReadRequest, Record, WriteItem, WriteRequest,
    Written,
};
use keyway_core::descriptor::WriteOperation;
use keyway_core::exchange::{Request, Response};
use keyway_core::limits::{EXTRA_BYTES_MAX, EXTRA_PAIRS_MAX};

use super::bindings::exports::keyway::connector::{reader, writer};
use super::bindings::keyway::connector::{http, types};
use crate::log::harmless;

/// Bytes of a failure's message: a line or two for whoever called.
const MESSAGE_BYTES_MAX: usize = 1 << 10;

/// Bytes of a provider's error code.
const CODE_BYTES_MAX: usize = 128;

/// The name under which a failure says how many of its pairs were left out.
const LEFT_OUT: &str = "keyway.left-out";

/// The longest wait believed. Beyond a day it is no pause but an outage, and adding it to a clock could
/// overflow.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What is answered to requests of one `send-all` beyond the most there may be.
pub(super) fn too_many_requests(most: usize) -> types::Failure {
    Failure::denied("send-all-too-long", format!("one send-all takes {most} requests")).into()
}

// === failures ===

impl From<types::Failure> for Failure {
    fn from(failure: types::Failure) -> Self {
        let wait = failure.retry_after_ms.map(Duration::from_millis);
        Self {
            kind: failure.kind.into(),
            code: failure.code.map(|code| harmless(&code, CODE_BYTES_MAX).into_owned()),
            message: harmless(&failure.message, MESSAGE_BYTES_MAX).into_owned(),
            retry_after: wait.map(|wait| wait.min(RETRY_AFTER_MAX)),
            request_sent: failure.request_sent,
            extra: reported(failure.extra),
        }
    }
}

impl From<Failure> for types::Failure {
    fn from(failure: Failure) -> Self {
        let millis = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Self {
            kind: failure.kind.into(),
            code: failure.code,
            message: failure.message,
            retry_after_ms: failure.retry_after.map(millis),
            request_sent: failure.request_sent,
            extra: failure.extra,
        }
    }
}

/// What a failure says beside its message: whole pairs as far as the limits go, and how many were left out.
fn reported(pairs: Extra) -> Extra {
    let given = pairs.len();
    let mut left = EXTRA_BYTES_MAX;
    let mut kept = Extra::new();
    for (name, value) in pairs.into_iter().take(EXTRA_PAIRS_MAX) {
        let name = harmless(&name, CODE_BYTES_MAX).into_owned();
        let value = harmless(&value, MESSAGE_BYTES_MAX).into_owned();
        let Some(rest) = left.checked_sub(name.len() + value.len()) else { break };
        left = rest;
        kept.push((name, value));
    }
    let left_out = given - kept.len();
    if left_out > 0 {
        kept.push((LEFT_OUT.to_owned(), left_out.to_string()));
    }
    kept
}

macro_rules! kinds {
    ($($kind:ident)*) => {
        impl From<types::FailureKind> for FailureKind {
            fn from(kind: types::FailureKind) -> Self {
                match kind { $(types::FailureKind::$kind => Self::$kind,)* }
            }
        }

        impl From<FailureKind> for types::FailureKind {
            fn from(kind: FailureKind) -> Self {
                match kind { $(FailureKind::$kind => Self::$kind,)* }
            }
        }
    };
}

kinds! {
    InvalidInput Unsupported Denied Unauthenticated Forbidden NotFound Conflict RateLimited Transient
    Contract Internal
}

// === exchanges ===

impl From<http::Request> for Request {
    fn from(request: http::Request) -> Self {
        Self {
            method: request.method,
            url: request.url,
            headers: request.headers,
            body: request.body.map(Bytes::from),
            slot: request.auth,
            timeout: request.timeout_ms.map(|ms| Duration::from_millis(ms.into())),
        }
    }
}

impl From<Response> for http::Response {
    fn from(response: Response) -> Self {
        Self {
            status: response.status,
            headers: response.headers,
            body: response.body.into(),
            extra: Vec::new(),
        }
    }
}

// === reading ===

impl From<ReadRequest> for reader::ReadRequest {
    fn from(request: ReadRequest) -> Self {
        Self {
            object: request.object.as_str().to_owned(),
            fields: request.fields,
            cursor: request.cursor,
            since: request.since,
            until: request.until,
            page_size: request.page_size,
            extra: request.extra,
        }
    }
}

impl From<reader::Page> for Page {
    fn from(page: reader::Page) -> Self {
        Self {
            records: page.records.into_iter().map(Into::into).collect(),
            next: page.next,
            extra: page.extra,
        }
    }
}

impl From<reader::Rec> for Record {
    fn from(record: reader::Rec) -> Self {
        Self {
            id: record.id,
            updated_at: record.updated_at,
            deleted: record.deleted,
            data: record.data,
            extra: record.extra,
        }
    }
}

// === writing ===

impl From<WriteOperation> for writer::Operation {
    fn from(operation: WriteOperation) -> Self {
        match operation {
            WriteOperation::Create => Self::Create,
            WriteOperation::Update => Self::Update,
            WriteOperation::Upsert => Self::Upsert,
            WriteOperation::Delete => Self::Delete,
        }
    }
}

impl From<WriteRequest> for writer::WriteRequest {
    fn from(request: WriteRequest) -> Self {
        Self {
            object: request.object.as_str().to_owned(),
            operation: request.operation.into(),
            match_on: request.match_on,
            items: request.items.into_iter().map(Into::into).collect(),
            all_or_none: request.all_or_none,
            extra: request.extra,
        }
    }
}

impl From<WriteItem> for writer::Item {
    fn from(item: WriteItem) -> Self {
        Self {
            reference: item.reference,
            id: item.id,
            data: item.data,
            idempotency_key: item.idempotency_key,
            extra: item.extra,
        }
    }
}

impl From<writer::Outcome> for Outcome {
    fn from(outcome: writer::Outcome) -> Self {
        match outcome {
            writer::Outcome::Written(written) => Self {
                reference: written.reference,
                result: Ok(Written { id: written.id, data: written.data, extra: written.extra }),
            },
            writer::Outcome::Rejected(rejected) => {
                Self { reference: rejected.reference, result: Err(rejected.failure.into()) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(retry_after_ms: Option<u64>) -> types::Failure {
        types::Failure {
            kind: types::FailureKind::Conflict,
            code: Some("c".repeat(CODE_BYTES_MAX + 1)),
            message: "m\n".repeat(MESSAGE_BYTES_MAX),
            retry_after_ms,
            request_sent: true,
            extra: vec![("correlation\u{1b}".to_owned(), "a\nb".to_owned()); 2],
        }
    }

    #[test]
    fn what_a_guest_reports_is_cut_and_made_harmless() {
        let failure = Failure::from(failure(None));
        assert_eq!(failure.kind, FailureKind::Conflict);
        assert_eq!(failure.code.unwrap(), format!("{} [cut]", "c".repeat(CODE_BYTES_MAX)));
        assert!(failure.message.len() <= MESSAGE_BYTES_MAX + " [cut]".len());
        assert!(!failure.message.contains('\n'));
        let pair = ("correlation\\u001b".to_owned(), "a\\u000ab".to_owned());
        assert_eq!(failure.extra, [pair.clone(), pair], "and a name may come twice");
    }

    #[test]
    fn a_failure_says_how_much_it_left_out() {
        let pairs = |count: usize, bytes: usize| {
            let pair = |at: usize| (format!("{at:04}"), "v".repeat(bytes));
            reported((0..count).map(pair).collect())
        };
        assert_eq!(pairs(EXTRA_PAIRS_MAX, 1).len(), EXTRA_PAIRS_MAX);
        let over = pairs(EXTRA_PAIRS_MAX + 2, 1);
        assert_eq!(over.last().unwrap(), &(LEFT_OUT.to_owned(), "2".to_owned()));
        assert_eq!(over.len(), EXTRA_PAIRS_MAX + 1);
        // Eight of so many bytes with their names are all that there may be.
        let each = EXTRA_BYTES_MAX / 8 - 4;
        assert_eq!(pairs(8, each).len(), 8);
        assert_eq!(pairs(9, each).last().unwrap().1, "1");
        assert_eq!(pairs(8, each + 1).last().unwrap().1, "1");
    }

    #[test]
    fn waits_end_after_a_day() {
        let wait = |ms| Failure::from(failure(Some(ms))).retry_after.unwrap();
        let day = u64::try_from(RETRY_AFTER_MAX.as_millis()).unwrap();
        assert_eq!(wait(day - 1), RETRY_AFTER_MAX - Duration::from_millis(1));
        assert_eq!(wait(day + 1), RETRY_AFTER_MAX);
        assert_eq!(wait(u64::MAX), RETRY_AFTER_MAX);
    }
}
