//! Requests, built up in one expression, and responses, read as JSON or turned into failures.
//!
//! The host checks the destination, adds the credential of the slot and enforces its limits; nothing
//! here retries or waits, because the host does that too, with the whole tenant in view.

use std::fmt::Display;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::exact::readable;
use crate::{Failure, Result, backend, from_json, json_text};

/// What the requests of a connector have in common.
#[derive(Clone, Debug)]
pub struct Http {
    slot: Option<String>,
    headers: Vec<(String, String)>,
    timeout: Option<Duration>,
    errors: fn(&Response) -> Failure,
}

/// One request. A mistake made while building it comes out when it is sent.
#[derive(Clone, Debug)]
pub struct Request {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) slot: Option<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) errors: fn(&Response) -> Failure,
    pub(crate) defect: Option<Failure>,
}

/// What came back, whatever its status.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Decoded: the host undoes `content-encoding`.
    pub body: Vec<u8>,
}

/// Sends concurrently; results stand in the order of the requests. As with [`Request::send`], a
/// status that is no success is a failure.
pub fn send_all(requests: Vec<Request>) -> Vec<Result<Response>> {
    let defects: Vec<_> = requests.iter().map(|request| request.defect.clone()).collect();
    let mappers: Vec<_> = requests.iter().map(|request| request.errors).collect();
    let sound = requests.into_iter().filter(|request| request.defect.is_none()).collect();
    let mut answers = backend::send_all(sound).into_iter();
    let result = |(defect, errors): (Option<Failure>, fn(&Response) -> Failure)| match defect {
        Some(defect) => Err(defect),
        None => answers
            .next()
            .unwrap_or_else(|| Err(Failure::internal("host left a request unanswered")))
            .and_then(|response| response.or_failure(errors)),
    };
    defects.into_iter().zip(mappers).map(result).collect()
}

/// RFC 3986 section 2.3: what stands for itself.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn encoded(text: &str) -> impl Display + '_ {
    percent_encode(text.as_bytes(), UNRESERVED)
}

// === impl Http ===

impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}

impl Http {
    /// Unauthenticated, with the host's own timeout.
    pub const fn new() -> Self {
        Self { slot: None, headers: Vec::new(), timeout: None, errors: Failure::of_response }
    }

    /// Uses the credential of a slot that the descriptor declares.
    #[must_use]
    pub fn slot(mut self, slot: impl Into<String>) -> Self {
        self.slot = Some(slot.into());
        self
    }

    /// One more header on every request.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Time for each whole exchange, where the host's is not shorter.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How this provider explains what it refuses. Without it the status alone decides.
    #[must_use]
    pub fn errors(mut self, mapper: fn(&Response) -> Failure) -> Self {
        self.errors = mapper;
        self
    }

    /// `GET` of a path on the connection's base URL, or of an absolute URL on a declared host.
    pub fn get(&self, url: impl Into<String>) -> Request {
        self.request("GET", url)
    }

    /// `POST`, as [`Http::get`].
    pub fn post(&self, url: impl Into<String>) -> Request {
        self.request("POST", url)
    }

    /// `PUT`, as [`Http::get`].
    pub fn put(&self, url: impl Into<String>) -> Request {
        self.request("PUT", url)
    }

    /// `PATCH`, as [`Http::get`].
    pub fn patch(&self, url: impl Into<String>) -> Request {
        self.request("PATCH", url)
    }

    /// `DELETE`, as [`Http::get`].
    pub fn delete(&self, url: impl Into<String>) -> Request {
        self.request("DELETE", url)
    }

    /// Any other method.
    pub fn request(&self, method: impl Into<String>, url: impl Into<String>) -> Request {
        Request {
            method: method.into(),
            url: url.into(),
            headers: self.headers.clone(),
            body: None,
            slot: self.slot.clone(),
            timeout: self.timeout,
            errors: self.errors,
            defect: None,
        }
    }
}

// === impl Request ===

impl Request {
    /// Appends one path segment, encoded. Ids come from outside: an empty one, `.` and `..` would
    /// address something else, so they are the caller's fault and nothing is sent.
    #[must_use]
    pub fn segment(mut self, segment: impl AsRef<str>) -> Self {
        let segment = segment.as_ref();
        if matches!(segment, "" | "." | "..") {
            return self.fail(Failure::invalid_input(format!("`{segment}` cannot be an id")));
        }
        self.url = format!("{}/{}", self.url, encoded(segment));
        self
    }

    /// Appends one query parameter, encoded. Repeat it for a list.
    #[must_use]
    pub fn query(mut self, name: &str, value: impl Display) -> Self {
        let mark = if self.url.contains('?') { '&' } else { '?' };
        self.url = format!("{}{mark}{}={}", self.url, encoded(name), encoded(&value.to_string()));
        self
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Uses the credential of this slot.
    #[must_use]
    pub fn slot(mut self, slot: impl Into<String>) -> Self {
        self.slot = Some(slot.into());
        self
    }

    /// Time for the whole exchange, where the host's is not shorter.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// A JSON body, with its content type.
    #[must_use]
    pub fn json<T: Serialize + ?Sized>(mut self, body: &T) -> Self {
        match json_text(body) {
            Ok(text) => {
                self.body = Some(text.into_bytes());
                self.header("content-type", "application/json")
            }
            Err(failure) => self.fail(failure),
        }
    }

    /// A form body (`application/x-www-form-urlencoded`).
    #[must_use]
    pub fn form(mut self, fields: &[(&str, &str)]) -> Self {
        let pairs: Vec<_> = fields
            .iter()
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
            .collect();
        self.body = Some(pairs.join("&").into_bytes());
        self.header("content-type", "application/x-www-form-urlencoded")
    }

    /// A body of any other kind; say which by a header.
    #[must_use]
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = Some(bytes.into());
        self
    }

    /// Sends it. A status that is no success is a failure, made by the mapper of [`Http::errors`].
    pub fn send(self) -> Result<Response> {
        let errors = self.errors;
        self.send_any()?.or_failure(errors)
    }

    /// Sends it and takes any status as an answer.
    pub fn send_any(self) -> Result<Response> {
        match self.defect {
            Some(defect) => Err(defect),
            None => backend::send(self),
        }
    }

    fn fail(mut self, failure: Failure) -> Self {
        self.defect.get_or_insert(failure);
        self
    }
}

// === impl Response ===

impl Response {
    /// Whether the status is 2xx.
    pub const fn success(&self) -> bool {
        matches!(self.status, 200..=299)
    }

    /// The first value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON of the expected shape, read as [`from_json`] reads. Anything else means that the contract
    /// drifted.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        from_json(&self.body)
            .map_err(|error| Failure::contract(format!("answer is not the JSON expected: {error}")))
    }

    /// The body as text, without a byte order mark, bytes that are not UTF-8 replaced.
    pub fn text(&self) -> String {
        readable(&self.body).into_owned()
    }

    fn or_failure(self, errors: fn(&Self) -> Failure) -> Result<Self> {
        if self.success() { Ok(self) } else { Err(errors(&self)) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::FailureKind;
    use crate::testing::{Cassette, Exchange};

    fn http() -> Http {
        Http::new().slot("token")
    }

    #[test]
    fn segments_and_queries_are_encoded() {
        let request = http()
            .get("/people")
            .segment("a/b ?#%é")
            .query("q", "x&y=z +")
            .query("id", 1)
            .query("id", 2);
        assert_eq!(request.url, "/people/a%2Fb%20%3F%23%25%C3%A9?q=x%26y%3Dz%20%2B&id=1&id=2");
    }

    #[test]
    fn ids_that_would_address_something_else_are_never_sent() {
        for id in ["", ".", ".."] {
            let failure =
                Cassette::new().play(|| http().get("/people").segment(id).send()).unwrap_err();
            assert_eq!((failure.kind, failure.request_sent), (FailureKind::InvalidInput, false));
        }
    }

    #[test]
    fn statuses_that_are_no_success_go_through_the_mapper() {
        let cassette = Cassette::new()
            .expect(Exchange::get("/a").slot("token").reply(200).reply_json(json!([1])))
            .expect(Exchange::get("/b").slot("token").reply(404))
            .expect(Exchange::get("/c").slot("token").reply(404));
        cassette.play(|| {
            let http = http().errors(|response| {
                Failure::of_response(response).code("mapped").detail("from", "mapper")
            });
            assert_eq!(http.get("/a").send().unwrap().json(), Ok(vec![1]));
            let failure = http.get("/b").send().unwrap_err();
            assert_eq!(failure.code.as_deref(), Some("mapped"));
            assert!(failure.request_sent);
            assert_eq!(http.get("/c").send_any().unwrap().status, 404);
        });
    }

    #[test]
    fn several_go_out_together_and_come_back_in_order() {
        let cassette = Cassette::new()
            .expect(Exchange::get("/a").slot("token").reply(200))
            .expect(Exchange::get("/c").slot("token").reply(500));
        let results = cassette.play(|| {
            let http = http();
            send_all(vec![http.get("/a"), http.get("/b").segment(".."), http.get("/c")])
        });
        let kinds: Vec<_> =
            results.into_iter().map(|result| result.map(drop).map_err(|f| f.kind)).collect();
        assert_eq!(kinds, [Ok(()), Err(FailureKind::InvalidInput), Err(FailureKind::Transient)]);
    }

    #[test]
    fn bodies_carry_their_type_and_what_is_no_json_is_a_defect() {
        let form = http().post("/token").form(&[("grant_type", "a b"), ("code", "x&y")]);
        assert_eq!(form.body.as_deref(), Some(&b"grant_type=a%20b&code=x%26y"[..]));
        let map = std::collections::BTreeMap::from([(vec![1], 1)]);
        let failure = Cassette::new().play(|| http().post("/x").json(&map).send()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Internal);
    }

    #[test]
    fn answers_of_another_shape_mean_that_the_contract_drifted() {
        let response = Response { status: 200, headers: Vec::new(), body: b"<html>".to_vec() };
        assert_eq!(response.json::<Value>().unwrap_err().kind, FailureKind::Contract);
    }
}
