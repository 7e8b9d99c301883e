//! Faults as answers: the status, the problem document, the headers, and the one log line.
//!
//! What a caller may read is the fault's `detail`; the chain of causes goes to the log under the id
//! that the caller is given. Of a defect of the host the caller learns the id only.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use keyway_core::ids::CallId;
use keyway_core::quota::fields::{self, Own};
use keyway_core::release::ReleaseRef;
use keyway_core::{Code, Fault, Retry};

use crate::contract::problem::{MEDIA_TYPE, Problem, ProblemError};
use crate::contract::{CALL_HEADER, DIGEST_HEADER, RELEASE_HEADER};

/// Bytes of `detail` and of `provider_code`: a connector writes them, and a page of HTML is no help.
const DETAIL_BYTES_MAX: usize = 1_024;

/// Bytes of the two repetitions of `detail` for clients of providers: the sentence, without what a connector's page of
/// HTML would make of it.
const MESSAGE_BYTES_MAX: usize = 512;

/// Headers that an answer to a call has from this host: those of [`Trace`], and two that every answer has.
const ADDED: usize = 5;

/// A fault on its way out. Its answer has it along, for whoever knows more of what it says.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    // Boxed: every handler's result carries one.
    fault: Box<Fault>,
    trace: Option<Box<Trace>>,
    /// The id under which the log has more, once it has been said.
    instance: Option<String>,
    /// What the URL of the code's page begins with, where the page is not at the origin that was asked.
    pages: String,
}

/// Which call an answer is of, and what ran.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    /// The call.
    pub(crate) call: CallId,
    /// What ran, or would have.
    pub(crate) release: Option<ReleaseRef>,
}

/// What the access log says of a refusal beside its status.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noted(pub(crate) Code);

// === impl Refusal ===

impl Refusal {
    /// A fault of a call.
    pub(crate) fn of_call(fault: Fault, trace: Trace) -> Self {
        Self { trace: Some(Box::new(trace)), ..fault.into() }
    }

    /// What it says.
    pub(crate) fn fault(&self) -> &Fault {
        &self.fault
    }

    /// The same, saying this.
    pub(crate) fn saying(self, fault: Fault) -> Self {
        Self { fault: Box::new(fault), ..self }
    }

    /// The same, with the code's page there: a relative URL would lead to what the request was for.
    pub(crate) fn with_page_at(self, pages: String) -> Self {
        Self { pages, ..self }
    }

    /// The id under which the log has more.
    fn instance(&self) -> Option<String> {
        match &self.trace {
            Some(trace) => Some(trace.call.to_string()),
            None if ailing(self.fault.code) => {
                Some(format!("request_{:032x}", rand::random::<u128>()))
            }
            None => None,
        }
    }

    fn document(&self) -> Problem {
        let fault = &self.fault;
        let code = fault.code.as_str();
        let detail = match fault.code {
            Code::Internal => "a defect of Keyway; the host's log has the cause under this id",
            _ => cut(&fault.detail),
        };
        Problem {
            r#type: format!("{}/codes/{code}", self.pages),
            title: title(code),
            status: fault.code.status(),
            detail: detail.to_owned(),
            code: code.to_owned(),
            message: short(detail).to_owned(),
            error: ProblemError { code: code.to_owned(), message: short(detail).to_owned() },
            whose: fault.whose().as_str().to_owned(),
            retry: fault.retry != Retry::No,
            retry_after_ms: wait(fault.retry).map(millis),
            provider_code: fault.provider_code.as_deref().map(|code| cut(code).to_owned()),
            guest_said: fault.guest_said.as_deref().cloned(),
            request_sent: self.trace.is_some().then_some(fault.request_sent),
            extra: fault.extra.iter().cloned().map(Into::into).collect(),
            instance: self.instance.clone(),
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self { fault: Box::new(fault), trace: None, instance: None, pages: String::new() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(mut self) -> Response {
        // Once, however often its answer is made.
        if self.instance.is_none() {
            self.instance = self.instance();
            if ailing(self.fault.code) {
                let id = self.instance.as_deref().unwrap_or_default();
                let code = self.fault.code.as_str();
                tracing::error!(id, code, error = self.fault.chain(), "request failed in the host");
            }
        }
        let document = self.document();
        let bytes = serde_json::to_vec(&document).expect("a problem is text and numbers");
        let mut response = Response::new(Body::from(bytes));
        *response.status_mut() =
            StatusCode::from_u16(document.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(challenge) = challenge(self.fault.code) {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(wait) = wait(self.fault.retry) {
            // Whole seconds, and never sooner than the wait.
            headers.insert(RETRY_AFTER, HeaderValue::from(millis(wait).div_ceil(1_000)));
        }
        if let Some(standing) = &self.fault.rate_limit {
            fields::write(headers, standing, Own::default());
        }
        if let Some(trace) = &self.trace {
            trace.write(headers);
        }
        response.extensions_mut().insert(Noted(self.fault.code));
        response.extensions_mut().insert(self);
        response
    }
}

/// The answer; of a refusal, with the code's page there.
pub(crate) fn with_page_at(pages: String, response: Response) -> Response {
    match response.extensions().get::<Refusal>() {
        Some(refusal) => refusal.clone().with_page_at(pages).into_response(),
        None => response,
    }
}

/// Labels a problem document, if this is one, as JSON and no more, for clients that know nothing of problem documents.
pub(crate) fn label_plainly(response: &mut Response) {
    if response.extensions().get::<Noted>().is_some() {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
}

// === impl Trace ===

impl Trace {
    /// Says on an answer what ran.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        headers.reserve(ADDED);
        // Ids, names, versions and digests are visible ASCII by their types.
        let mut say = |name: &HeaderName, text: &str| {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name.clone(), value);
            }
        };
        say(&CALL, self.call.encode(&mut [0; CallId::LENGTH]));
        if let Some(release) = &self.release {
            say(&RELEASE, release.as_str());
            say(&DIGEST, release.digest_str());
        }
    }
}

pub(crate) static CALL: HeaderName = HeaderName::from_static(CALL_HEADER);
static RELEASE: HeaderName = HeaderName::from_static(RELEASE_HEADER);
static DIGEST: HeaderName = HeaderName::from_static(DIGEST_HEADER);

/// Whether somebody who runs the host must look. Being full or stopping is not an ailment.
fn ailing(code: Code) -> bool {
    matches!(
        code,
        Code::Internal | Code::StoreUnavailable | Code::ReleaseUnavailable | Code::KeysUnavailable
    )
}

/// RFC 6750 section 3.
fn challenge(code: Code) -> Option<&'static str> {
    match code {
        Code::TokenMissing => Some(r#"Bearer realm="keyway""#),
        Code::TokenInvalid | Code::TokenExpired => {
            Some(r#"Bearer realm="keyway", error="invalid_token""#)
        }
        Code::NotPermitted => Some(r#"Bearer realm="keyway", error="insufficient_scope""#),
        _ => None,
    }
}

/// The code in words.
fn title(code: &str) -> String {
    let mut words = code.replace('-', " ");
    if let Some(first) = words.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    words
}

pub(crate) fn wait(retry: Retry) -> Option<Duration> {
    match retry {
        Retry::After(wait) => Some(wait),
        Retry::Yes | Retry::No => None,
    }
}

pub(crate) fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}

/// The beginning of a text, to a whole character.
pub(crate) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(DETAIL_BYTES_MAX)]
}

fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(MESSAGE_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keyway_core::quota::{Allowance, Standing};

    use super::*;

    #[test]
    fn retry_after_is_rounded_up() {
        let of = |millis: u64| {
            let fault = Fault::new(Code::RateLimited, "wait")
                .retry(Retry::After(Duration::from_millis(millis)));
            let response = Refusal::from(fault).into_response();
            response.headers()[RETRY_AFTER].to_str().unwrap().to_owned()
        };
        assert_eq!(
            (of(0), of(1), of(1_000), of(1_001)),
            ("0".into(), "1".into(), "1".into(), "2".into())
        );
    }

    #[test]
    fn a_limit_that_a_call_met_is_said_in_every_form() {
        let wait = Duration::from_millis(4_200);
        let standing = Standing {
            policies: vec![Allowance {
                name: "burst".into(),
                quota: Some(100),
                window: Some(10),
                remaining: Some(7),
                reset: Some(2),
            }],
            blocked_for: Some(wait),
            waiting: 1,
        };
        let mut fault = Fault::new(Code::RateLimited, "wait").retry(Retry::After(wait));
        fault.rate_limit = Some(Arc::new(standing));
        let response = Refusal::from(fault).into_response();
        for (name, value) in [
            ("retry-after", "5"),
            ("ratelimit-policy", r#""burst";q=100;w=10"#),
            ("ratelimit", r#""burst";r=7;t=2, "blocked";r=0;t=5"#),
            ("ratelimit-limit", "100"),
            ("ratelimit-remaining", "0"),
            ("ratelimit-reset", "5"),
        ] {
            assert_eq!(response.headers()[name], value, "{name}");
        }
    }

    #[tokio::test]
    async fn clients_of_providers_find_what_they_look_for() {
        let response = Refusal::from(Fault::new(Code::NotPinned, "nothing to run")).into_response();
        let bytes =
            http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        let problem: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(problem["message"], "nothing to run");
        assert_eq!(problem["message"], problem["detail"]);
        let error = serde_json::json!({"code": "not-pinned", "message": "nothing to run"});
        assert_eq!(problem["error"], error);
    }

    #[test]
    fn detail_is_cut_between_characters() {
        let long = "ä".repeat(DETAIL_BYTES_MAX);
        assert_eq!(cut(&long).len(), DETAIL_BYTES_MAX);
        assert_eq!(cut(&format!("x{long}")).len(), DETAIL_BYTES_MAX - 1);
        assert_eq!(cut("short"), "short");
    }

    #[test]
    fn every_code_has_a_status_that_http_knows() {
        for code in Code::ALL {
            let response = Refusal::from(Fault::new(*code, "x")).into_response();
            assert_eq!(response.status().as_u16(), code.status(), "{code}");
            assert!(response.status().is_client_error() || response.status().is_server_error());
        }
    }
}
