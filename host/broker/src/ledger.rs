//! What the exchange log is told: who asked, what went over the wire, and where the time went. Redacted here, by name
//! and by secret, so that nothing behind this file has to be trusted with a credential.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use keyway_core::Descriptor;
use keyway_core::descriptor::Scheme;
use keyway_core::exchange::{Exchange, HostRequest, Origin, Timings};
use keyway_core::ids::Slot;
use keyway_core::ports::ExchangeLog;
use tokio::time::Instant;
use url::Url;

use crate::payload::{Meter, Payload};
use crate::request::Parts;
use crate::scrub::{MASK, Scrubber};
use crate::send::Raw;
use crate::target::Target;
use crate::wire::Inner;

/// Parts of names whose values are not kept, in lower case: of headers and of query parameters.
const SECRET_NAMES: [&str; 12] = [
    "authorization",
    "cookie",
    "token",
    "secret",
    "password",
    "api-key",
    "apikey",
    "api_key",
    "session",
    "signature",
    "credential",
    "sig",
];

/// The purpose of an exchange that a caller sends through the proxy.
pub(crate) const PROXY: &str = "proxy";

/// Letters that are kept of a method or a URL that nobody has approved.
const WANTED_MAX: usize = 256;

/// An exchange as far as it is known. Nothing at all where nobody keeps exchanges. Dropped without an end, it was
/// given up by whoever waited for it, and is recorded as that.
pub(crate) struct Sketch(Option<Box<Draft>>);

struct Draft {
    log: Arc<dyn ExchangeLog>,
    began: Instant,
    exchange: Exchange,
    /// Of a request's body that is sent as it comes.
    upload: Option<Meter>,
    body_bytes_max: usize,
    /// Names, in lower case, of headers and parameters that carry a credential of the descriptor.
    places: Vec<String>,
    scrubber: Scrubber,
}

// === impl Sketch ===

impl Sketch {
    /// Of an exchange for a caller.
    pub(crate) fn of(wire: &Inner, origin: &Origin, purpose: &'static str) -> Self {
        let Some(log) = &wire.log else { return Self(None) };
        let mut exchange = blank(wire, purpose);
        exchange.environment = Some(origin.installation.environment.clone());
        exchange.call = Some(origin.call);
        exchange.installation = Some(origin.installation.clone());
        exchange.user.clone_from(&origin.user);
        exchange.release = Some(origin.release.clone());
        let mut draft = Draft::new(log, exchange);
        draft.body_bytes_max = log.body_bytes_max();
        draft.places = places(&origin.descriptor);
        Self(Some(Box::new(draft)))
    }

    /// Of an exchange of the host's own: no header and no body of it is kept, both are made of credentials.
    pub(crate) fn of_host(wire: &Inner, request: &HostRequest) -> Self {
        let Some(log) = &wire.log else { return Self(None) };
        let mut exchange = blank(wire, request.purpose);
        exchange.environment.clone_from(&request.environment);
        request.method.as_str().clone_into(&mut exchange.method);
        exchange.url = redacted_url(&request.url, &[], &Scrubber::default());
        Self(Some(Box::new(Draft::new(log, exchange))))
    }

    /// The credential that is used, to be kept out.
    pub(crate) fn credential(&mut self, slot: Option<&Slot>, scrubber: &Scrubber) {
        let Some(draft) = &mut self.0 else { return };
        draft.exchange.slot = slot.cloned();
        draft.scrubber = scrubber.clone();
    }

    /// What is asked for, before anybody has looked at it: what is refused is shown as it was wanted, without a query.
    pub(crate) fn wanted(&mut self, method: &str, url: &str) {
        let Some(draft) = &mut self.0 else { return };
        let plain =
            |text: &str| text.chars().filter(|c| !c.is_control()).take(WANTED_MAX).collect();
        draft.exchange.method = plain(method);
        let bare = url.split(['?', '#']).next().unwrap_or_default();
        draft.exchange.url = match Url::parse(bare) {
            Ok(_) => plain(&redacted_url(bare, &draft.places, &draft.scrubber)),
            Err(_) => plain(bare),
        };
    }

    /// The request, before it is sent.
    pub(crate) fn request(&mut self, target: &Target, parts: &Parts, payload: &Payload) {
        let Some(draft) = &mut self.0 else { return };
        let body = payload.bytes().and_then(|bytes| draft.kept(bytes));
        draft.upload = payload.meter();
        let exchange = &mut draft.exchange;
        parts.method.as_str().clone_into(&mut exchange.method);
        exchange.url = redacted_url(target.as_str(), &draft.places, &draft.scrubber);
        exchange.request_headers = redacted(&parts.headers, &draft.places, &draft.scrubber);
        exchange.request_bytes = payload.length().unwrap_or_default();
        exchange.request_body = body;
    }

    /// The head of the response.
    pub(crate) fn head(
        &mut self,
        status: u16,
        headers: &HeaderMap,
        connected: Duration,
        first_byte: Duration,
    ) {
        let Some(draft) = &mut self.0 else { return };
        let exchange = &mut draft.exchange;
        exchange.status = Some(status);
        exchange.response_headers = redacted(headers, &draft.places, &draft.scrubber);
        exchange.timings.connected += connected;
        exchange.timings.first_byte += first_byte;
    }

    /// A response that is there whole.
    pub(crate) fn answered(&mut self, raw: &Raw) {
        self.head(raw.status.as_u16(), &raw.headers, raw.connected, raw.first_byte);
        self.received(raw.body.len() as u64);
    }

    /// Bytes of body that came.
    pub(crate) fn received(&mut self, bytes: u64) {
        let Some(draft) = &mut self.0 else { return };
        draft.exchange.response_bytes += bytes;
    }

    /// The response's body, decoded and scrubbed.
    pub(crate) fn body(&mut self, bytes: &Bytes) {
        let Some(draft) = &mut self.0 else { return };
        draft.exchange.response_body = draft.kept(bytes);
    }

    /// The time until the request could be sent.
    pub(crate) fn waited(&mut self, waited: Duration) {
        let Some(draft) = &mut self.0 else { return };
        draft.exchange.timings.waited = waited;
    }

    /// Hands it over, once.
    pub(crate) fn end(&mut self, stopped: Option<&'static str>) {
        let Some(draft) = self.0.take() else { return };
        let Draft { mut exchange, log, began, upload, .. } = *draft;
        exchange.stopped = stopped;
        exchange.timings.total = began.elapsed();
        if let Some(upload) = upload {
            exchange.request_bytes = upload.bytes();
        }
        log.record(exchange);
    }
}

impl Drop for Sketch {
    fn drop(&mut self) {
        let proxied = self.0.as_ref().is_some_and(|draft| draft.exchange.purpose == PROXY);
        self.end(Some(if proxied { "caller-gone" } else { "cancelled" }));
    }
}

// === impl Draft ===

impl Draft {
    /// One that keeps no body.
    fn new(log: &Arc<dyn ExchangeLog>, exchange: Exchange) -> Self {
        Self {
            log: Arc::clone(log),
            began: Instant::now(),
            exchange,
            upload: None,
            body_bytes_max: 0,
            places: Vec::new(),
            scrubber: Scrubber::default(),
        }
    }

    /// What is kept of a body. Cut after it was scrubbed: a secret must not lie across the cut.
    fn kept(&self, bytes: &Bytes) -> Option<Bytes> {
        if self.body_bytes_max == 0 || bytes.is_empty() {
            return None;
        }
        let clean = self.scrubber.bytes(bytes.clone());
        let end = clean.len().min(self.body_bytes_max);
        Some(clean.slice(..end))
    }
}

fn blank(wire: &Inner, purpose: &'static str) -> Exchange {
    Exchange {
        at: wire.clock.now(),
        environment: None,
        call: None,
        installation: None,
        user: None,
        release: None,
        purpose,
        slot: None,
        method: String::new(),
        url: String::new(),
        request_headers: Vec::new(),
        request_body: None,
        request_bytes: 0,
        status: None,
        response_headers: Vec::new(),
        response_body: None,
        response_bytes: 0,
        stopped: None,
        timings: Timings::default(),
    }
}

fn places(descriptor: &Descriptor) -> Vec<String> {
    let name = |scheme: &Scheme| match scheme {
        Scheme::ApiKeyHeader { name } | Scheme::ApiKeyQuery { name } => {
            Some(name.to_ascii_lowercase())
        }
        _ => None,
    };
    descriptor.slots.values().filter_map(|slot| name(&slot.scheme)).collect()
}

fn secret(name: &str, places: &[String]) -> bool {
    let name = name.to_ascii_lowercase();
    places.contains(&name) || SECRET_NAMES.iter().any(|part| name.contains(part))
}

fn redacted(headers: &HeaderMap, places: &[String], scrubber: &Scrubber) -> Vec<(String, String)> {
    let shown = headers.iter().map(|(name, value)| {
        let name = name.as_str();
        if value.is_sensitive() || secret(name, places) {
            return (name.to_owned(), MASK.to_owned());
        }
        let value = String::from_utf8_lossy(value.as_bytes());
        (name.to_owned(), scrubber.text(value).into_owned())
    });
    shown.collect()
}

/// A URL without user and password, and with the values of secret parameters masked.
fn redacted_url(text: &str, places: &[String], scrubber: &Scrubber) -> String {
    let Ok(mut url) = Url::parse(text) else { return MASK.to_owned() };
    // Neither can fail for a URL that has a host.
    if url.set_password(None).is_err() || url.set_username("").is_err() {
        return MASK.to_owned();
    }
    let hidden = url.query_pairs().any(|(name, _)| secret(&name, places));
    if hidden {
        let pairs: Vec<(String, String)> = url
            .query_pairs()
            .map(|(name, value)| {
                let value = if secret(&name, places) { MASK.into() } else { value };
                (name.into_owned(), value.into_owned())
            })
            .collect();
        url.query_pairs_mut().clear().extend_pairs(pairs);
    }
    scrubber.text(Cow::Owned(url.into())).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_what_is_secret_by_name_or_by_value() {
        let scrubber = Scrubber::new(&["s3cret-value"]);
        let shown = |url: &str| redacted_url(url, &["hapikey".to_owned()], &scrubber);
        assert_eq!(shown("https://a.com/x?limit=1&after=2"), "https://a.com/x?limit=1&after=2");
        assert_eq!(shown("https://u:p@a.com/x"), "https://a.com/x");
        for secret in
            ["?hapikey=1234", "?access_token=1234", "?X-Amz-Signature=1234", "/s3cret-value"]
        {
            let url = shown(&format!("https://a.com{secret}"));
            assert!(
                url.contains("redacted") && !url.contains("1234") && !url.contains("s3cret"),
                "{url}"
            );
        }
    }

    #[test]
    fn headers_lose_what_is_secret_by_name_or_by_value() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-plain", "kept"),
            ("authorization", "Bearer x"),
            ("set-cookie", "a=b"),
            ("x-auth-token", "x"),
            ("x-own", "x"),
            ("x-echo", "said s3cret-value aloud"),
        ] {
            headers
                .append(http::HeaderName::from_static(name), http::HeaderValue::from_static(value));
        }
        let shown = redacted(&headers, &["x-own".to_owned()], &Scrubber::new(&["s3cret-value"]));
        let kept: Vec<_> = shown.iter().filter(|(_, value)| !value.contains("redacted")).collect();
        assert_eq!(kept, [&("x-plain".to_owned(), "kept".to_owned())]);
        assert!(!format!("{shown:?}").contains("s3cret"));
    }
}
