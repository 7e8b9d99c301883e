//! Cassettes as JSON files, for exchanges too long to write inline.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::{Failure, FailureKind};

use super::cassette::Cassette;
use super::exchange::Exchange;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Document {
    now: Option<String>,
    config: Option<Value>,
    connection: Option<Value>,
    #[serde(default)]
    exchanges: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    request: RequestPart,
    response: Option<ResponsePart>,
    failure: Option<FailurePart>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RequestPart {
    method: String,
    url: String,
    slot: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    json: Option<Value>,
    text: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ResponsePart {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    json: Option<Value>,
    text: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FailurePart {
    kind: String,
    message: String,
    retry_after_ms: Option<u64>,
    #[serde(default)]
    request_sent: bool,
}

impl Cassette {
    /// Reads a cassette from a JSON file; see the SDK's README for its form.
    ///
    /// # Panics
    /// If it cannot be read, or is no cassette.
    #[track_caller]
    pub fn load(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path)
            .unwrap_or_else(|error| panic!("cassette {} cannot be read: {error}", path.display()));
        Self::parse(&text)
            .unwrap_or_else(|error| panic!("{} is no cassette: {error}", path.display()))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let document: Document = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut cassette = Self::new();
        if let Some(now) = document.now {
            cassette = cassette.at(&now);
        }
        cassette.config = document.config.unwrap_or(cassette.config);
        cassette.connection = document.connection.unwrap_or(cassette.connection);
        for entry in document.exchanges {
            cassette = cassette.expect(entry.exchange()?);
        }
        Ok(cassette)
    }
}

// === impl Entry ===

impl Entry {
    fn exchange(self) -> Result<Exchange, String> {
        let RequestPart { method, url, slot, headers, json, text } = self.request;
        let mut exchange = Exchange::new(method, url);
        exchange.slot = slot;
        exchange.headers = headers.into_iter().collect();
        exchange.body = body(json, text)?;
        match (self.response, self.failure) {
            (Some(response), None) => {
                exchange = exchange.reply(response.status);
                for (name, value) in response.headers {
                    exchange = exchange.reply_header(&name, value);
                }
                Ok(exchange.reply_body(body(response.json, response.text)?.unwrap_or_default()))
            }
            (None, Some(failure)) => Ok(exchange.fails(failure.failure()?)),
            _ => Err("an exchange has either a response or a failure".to_owned()),
        }
    }
}

fn body(json: Option<Value>, text: Option<String>) -> Result<Option<Vec<u8>>, String> {
    match (json, text) {
        (Some(_), Some(_)) => Err("a body is either `json` or `text`".to_owned()),
        (Some(json), None) => Ok(Some(json.to_string().into_bytes())),
        (None, text) => Ok(text.map(String::into_bytes)),
    }
}

// === impl FailurePart ===

impl FailurePart {
    fn failure(self) -> Result<Failure, String> {
        let kind = kind(&self.kind).ok_or_else(|| format!("`{}` is no kind", self.kind))?;
        let mut failure = Failure::new(kind, self.message);
        failure.retry_after = self.retry_after_ms.map(Duration::from_millis);
        failure.request_sent = self.request_sent;
        Ok(failure)
    }
}

/// The kinds that a host or a network can fail with; the others are a connector's own judgement.
fn kind(name: &str) -> Option<FailureKind> {
    use FailureKind::{Denied, Internal, InvalidInput, RateLimited, Transient};
    [Denied, Internal, InvalidInput, RateLimited, Transient]
        .into_iter()
        .find(|kind| kind.as_str() == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Http;

    const TEXT: &str = r#"{
        "now": "2026-03-01T00:00:00Z",
        "exchanges": [
            {
                "request": {"method": "POST", "url": "/a", "slot": "token", "json": {"x": 1}},
                "response": {"status": 201, "headers": {"X-Id": "7"}, "json": {"y": 2}}
            },
            {
                "request": {"method": "GET", "url": "/b"},
                "failure": {"kind": "transient", "message": "reset", "request-sent": true}
            }
        ]
    }"#;

    #[test]
    fn files_play_like_what_is_written_inline() {
        Cassette::parse(TEXT).unwrap().play(|| {
            let request = Http::new().slot("token").post("/a").json(&serde_json::json!({"x": 1}));
            let response = request.send().unwrap();
            assert_eq!((response.status, response.header("x-id")), (201, Some("7")));
            assert_eq!(response.text(), r#"{"y":2}"#);
            let failure = Http::new().get("/b").send().unwrap_err();
            assert_eq!(failure.kind, FailureKind::Transient);
        });
    }

    #[test]
    fn files_of_another_form_are_refused() {
        for (from, to) in [
            ("\"now\"", "\"then\""),
            ("\"transient\"", "\"unlucky\""),
            ("\"json\": {\"x\": 1}", "\"json\": 1, \"text\": \"1\""),
            (
                "\"response\": {\"status\": 201, \"headers\": {\"X-Id\": \"7\"}, \"json\": {\"y\": 2}}",
                "\"failure\": null",
            ),
        ] {
            assert!(TEXT.contains(from), "{from}");
            assert!(Cassette::parse(&TEXT.replace(from, to)).is_err(), "{to}");
        }
    }
}
