//! Errors of a provider's that its release declares to mean "too often": by status, in a header, or in the body.
//!
//! Whether one is there decides what becomes of the request, so it is looked for before the answer goes on. Only bodies
//! of statuses that a declaration names are looked into, and only small ones: an error is a few lines.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use keyway_core::Descriptor;
use keyway_core::descriptor::RateLimitError;
use memchr::memmem;

use crate::config::Limits;
use crate::decode;
use crate::pointer::Document;

/// Bytes of a body, as sent and as decoded, that is looked into. Errors of the studied providers have at most four KiB.
pub(crate) const BODY_BYTES_MAX: usize = 64 << 10;

/// Whether the body is needed to know.
pub(crate) fn wants_body(descriptor: &Descriptor, status: StatusCode) -> bool {
    candidates(descriptor, status).any(|error| error.pointer.is_some() || !error.texts.is_empty())
}

/// Whether a text is looked for in it, which may stand at its very end.
pub(crate) fn wants_text(descriptor: &Descriptor, status: StatusCode) -> bool {
    candidates(descriptor, status).any(|error| !error.texts.is_empty())
}

/// Whether the headers of an answer, or its body where that is at hand and whole, have such an error.
pub(crate) async fn is_in(
    descriptor: &Descriptor,
    (status, headers, body): (StatusCode, &HeaderMap, Option<&Bytes>),
    limits: &Limits,
) -> bool {
    let in_header = |error: &RateLimitError| {
        error.header.as_deref().is_some_and(|name| {
            let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            values.any(|value| error.values.iter().any(|known| known == value.trim()))
        })
    };
    if candidates(descriptor, status).any(|error| error.is_status() || in_header(error)) {
        return true;
    }
    let Some(body) = body.filter(|body| !body.is_empty() && body.len() <= BODY_BYTES_MAX) else {
        return false;
    };
    if !wants_body(descriptor, status) {
        return false;
    }
    let limits = Limits { response_body_bytes_max: BODY_BYTES_MAX, ..limits.clone() };
    // What cannot be decoded has its own end later on.
    let Ok(body) = decode::decode(headers, body.clone(), &limits).await else { return false };
    let document = Document::of(&body);
    let in_text = |error: &RateLimitError| {
        error.texts.iter().any(|text| memmem::find(&body, text.as_bytes()).is_some())
    };
    candidates(descriptor, status).any(|error| in_text(error) || in_body(error, &document))
}

fn candidates(
    descriptor: &Descriptor,
    status: StatusCode,
) -> impl Iterator<Item = &RateLimitError> {
    descriptor.rate_limit_errors.iter().filter(move |error| error.comes_with(status.as_u16()))
}

fn in_body(error: &RateLimitError, document: &Document) -> bool {
    let found = error.pointer.as_deref().and_then(|pointer| document.at(pointer));
    found.is_some_and(|found| error.values.contains(&found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor() -> Descriptor {
        Descriptor::parse(
            r#"{"format":1,"name":"a/b","version":"1.0.0","rate-limit-errors":[
                {"pointer":"/0/errorCode","values":["REQUEST_LIMIT_EXCEEDED"],"statuses":[403]},
                {"pointer":"/error/code","values":["17","true"],"statuses":[200,400]},
                {"header":"X-Reason","values":["slow"]},
                {"texts":["<Code>SlowDown</Code>","quota \u00fcber"],"statuses":[400,503]},
                {"statuses":[430]}]}"#,
        )
        .unwrap()
    }

    async fn found(status: u16, pairs: &[(&'static str, &'static str)], body: &[u8]) -> bool {
        let headers =
            pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let headers: HeaderMap = headers.collect();
        let body = Bytes::copy_from_slice(body);
        let answer = (StatusCode::from_u16(status).unwrap(), &headers, Some(&body));
        is_in(&descriptor(), answer, &Limits::default()).await
    }

    #[tokio::test]
    async fn an_error_is_found_where_it_is_declared() {
        let limit = br#"[{"errorCode":"REQUEST_LIMIT_EXCEEDED"}]"#;
        assert!(found(403, &[], limit).await);
        assert!(!found(400, &[], limit).await, "another status");
        assert!(!found(403, &[], br#"[{"errorCode":"REQUEST_LIMIT"}]"#).await);
        assert!(!found(403, &[], br#"[{"errorCode":["REQUEST_LIMIT_EXCEEDED"]}]"#).await);
        assert!(found(200, &[], br#"{"error":{"code":17}}"#).await);
        assert!(found(400, &[], b"\xef\xbb\xbf{\"error\":{\"code\":true}}").await);
        assert!(!found(200, &[], br#"{"error":{"code":1.7}}"#).await);
        // What no parser takes stands beside it.
        for beside in [&br#""by":"Ren\ud800""#[..], b"\"by\":\"Ren\xe9\"", br#""n":1e400"#] {
            let body = [b"{", beside, &br#","error":{"code":17}}"#[..]].concat();
            assert!(found(200, &[], &body).await, "{}", String::from_utf8_lossy(&body));
        }
        assert!(!found(201, &[], br#"{"error":{"code":17}}"#).await, "no success but those named");
        // Beside an object that is made to be taken for something else.
        for odd in ["Number", "RawValue"] {
            let odd =
                format!(r#"{{"x":{{"$serde_json::private::{odd}":"?"}},"error":{{"code":17}}}}"#);
            assert!(found(200, &[], odd.as_bytes()).await, "{odd}");
        }
        let within = br#"{"error":{"$serde_json::private::RawValue":"{"code":17}"}}"#;
        assert!(!found(200, &[], within).await, "a text is no object");
        assert!(found(503, &[("x-reason", "slow")], b"").await);
        assert!(!found(503, &[("x-reason", "slower")], b"").await);
        assert!(!found(200, &[("x-reason", "slow")], b"").await);
        assert!(!found(403, &[], b"not json").await && !found(403, &[], b"").await);
        assert!(found(403, &[("content-encoding", "gzip")], limit).await, "coded in name only");
        assert!(
            !found(403, &[("content-encoding", "gzip, br")], limit).await,
            "it does not decode"
        );
    }

    #[tokio::test]
    async fn an_error_may_be_a_text_or_a_status_alone() {
        let body = b"<?xml version=\"1.0\"?>\n<Error><Code>SlowDown</Code><Message>Ren\xe9</Message></Error>";
        assert!(found(503, &[], body).await && found(400, &[], body).await);
        assert!(!found(500, &[], body).await, "another status");
        assert!(!found(503, &[], b"<Error><Code>InternalError</Code></Error>").await);
        assert!(found(503, &[], "<p>quota \u{fc}ber</p>".as_bytes()).await);
        assert!(found(430, &[], b"").await && found(430, &[], b"anything").await);
        assert!(!found(431, &[], b"").await);
    }

    #[tokio::test]
    async fn a_body_is_looked_into_up_to_the_number() {
        let padded = |bytes: usize| {
            let mut body = br#"[{"errorCode":"REQUEST_LIMIT_EXCEEDED"}]"#.to_vec();
            body.resize(bytes, b' ');
            body
        };
        assert!(found(403, &[], &padded(BODY_BYTES_MAX)).await);
        assert!(!found(403, &[], &padded(BODY_BYTES_MAX + 1)).await);
    }
}
