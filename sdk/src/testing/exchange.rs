//! One expected request and its answer.
//!
//! A request and an expectation are the same if they read the same: both are written out as text, one
//! line a part, and the same text is what a diff shows.

use std::fmt::Write;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::{Failure, Request, Response};

/// A request that a connector should send, and what it gets back. Answers 200 with an empty body
/// unless told otherwise.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) slot: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<Vec<u8>>,
    pub(super) answer: Result<Response, Failure>,
}

// === impl Exchange ===

impl Exchange {
    /// Expects a request of any method. The URL's query is compared decoded, in any order of names.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            slot: None,
            headers: Vec::new(),
            body: None,
            answer: Ok(Response { status: 200, ..Response::default() }),
        }
    }

    /// Expects a `GET`.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// Expects a `POST`.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new("POST", url)
    }

    /// Expects a `PUT`.
    pub fn put(url: impl Into<String>) -> Self {
        Self::new("PUT", url)
    }

    /// Expects a `PATCH`.
    pub fn patch(url: impl Into<String>) -> Self {
        Self::new("PATCH", url)
    }

    /// Expects a `DELETE`.
    pub fn delete(url: impl Into<String>) -> Self {
        Self::new("DELETE", url)
    }

    /// Expects the credential of this slot. Without it the request must ask for none.
    #[must_use]
    pub fn slot(mut self, slot: impl Into<String>) -> Self {
        self.slot = Some(slot.into());
        self
    }

    /// Expects a header. Headers that are not named may be anything.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Expects a JSON body. Without a body the request must have none.
    #[must_use]
    pub fn json(self, body: Value) -> Self {
        self.body(body.to_string())
    }

    /// Expects a body of these bytes.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Answers with this status.
    #[must_use]
    pub fn reply(mut self, status: u16) -> Self {
        self.response().status = status;
        self
    }

    /// Answers with this header.
    #[must_use]
    pub fn reply_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.response().headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// Answers with this JSON.
    #[must_use]
    pub fn reply_json(self, body: Value) -> Self {
        self.reply_header("content-type", "application/json").reply_body(body.to_string())
    }

    /// Answers with these bytes.
    #[must_use]
    pub fn reply_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.response().body = body.into();
        self
    }

    /// No response comes: the host or the network fails so.
    #[must_use]
    pub fn fails(mut self, failure: Failure) -> Self {
        self.answer = Err(failure);
        self
    }

    fn response(&mut self) -> &mut Response {
        if self.answer.is_err() {
            self.answer = Ok(Response { status: 200, ..Response::default() });
        }
        self.answer.as_mut().expect("made a response just above")
    }

    /// The expectation, written out.
    pub(super) fn text(&self) -> String {
        let (slot, body) = (self.slot.as_deref(), self.body.as_deref());
        written(&self.method, &self.url, slot, &self.headers, body)
    }

    /// What was really sent, written out with no more headers than this expects.
    pub(super) fn text_of(&self, request: &Request) -> String {
        let expected = |(name, _): &&(String, String)| {
            self.headers.iter().any(|(wanted, _)| wanted.eq_ignore_ascii_case(name))
        };
        let headers: Vec<_> = request.headers.iter().filter(expected).cloned().collect();
        let (slot, body) = (request.slot.as_deref(), request.body.as_deref());
        written(&request.method, &request.url, slot, &headers, body)
    }
}

/// A request as lines: method and path, query by name, slot, headers by name, body.
fn written(
    method: &str,
    url: &str,
    slot: Option<&str>,
    headers: &[(String, String)],
    body: Option<&[u8]>,
) -> String {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let mut text = format!("{method} {path}\n");
    for (name, value) in sorted_query(query) {
        line(&mut text, format_args!("query {name}={value}"));
    }
    line(&mut text, format_args!("slot {}", slot.unwrap_or("none")));
    let mut headers: Vec<_> =
        headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    headers.sort();
    for (name, value) in headers {
        line(&mut text, format_args!("header {name}: {value}"));
    }
    match body {
        Some(body) => text.push_str(&body_text(body)),
        None => text.push_str("no body\n"),
    }
    text
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("text takes any line");
}

/// Decoded and by name; values of one name stay in their order.
fn sorted_query(query: &str) -> Vec<(String, String)> {
    let decoded =
        |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let mut pairs: Vec<_> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect();
    pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
    pairs
}

/// JSON with its members by name, text as it is, anything else escaped.
fn body_text(body: &[u8]) -> String {
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        return format!("{value:#}\n");
    }
    match std::str::from_utf8(body) {
        Ok(text) => format!("{text}\n"),
        Err(_) => format!("{}\n", body.escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Http;

    #[test]
    fn order_of_query_names_and_json_members_does_not_matter() {
        let expected = Exchange::post("/p?b=2&a=x%20y").json(json!({"m": 1, "n": [1, 2]}));
        let request = Http::new()
            .post("/p")
            .query("a", "x y")
            .query("b", 2)
            .header("x-other", "ignored")
            .body(r#"{"n":[1,2],"m":1}"#);
        assert_eq!(expected.text(), expected.text_of(&request));
    }

    #[test]
    fn everything_else_matters() {
        let expected = || Exchange::post("/p?a=1&a=2").slot("token").header("X-Tag", "t").body("b");
        let sent = || {
            let request = Http::new().slot("token").post("/p").query("a", 1).query("a", 2);
            request.header("x-tag", "t").body("b")
        };
        assert_eq!(expected().text(), expected().text_of(&sent()));
        for other in [
            Request { method: "PUT".to_owned(), ..sent() },
            Request { url: "/p?a=2&a=1".to_owned(), ..sent() },
            Request { slot: None, ..sent() },
            Request { headers: Vec::new(), ..sent() },
            Request { body: None, ..sent() },
            Request { body: Some(vec![0xff]), ..sent() },
        ] {
            assert_ne!(expected().text(), expected().text_of(&other), "{other:?}");
        }
    }
}
