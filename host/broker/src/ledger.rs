//! What the exchange log is told: who asked, what went over the wire, and where the time went. Redacted here, by name
//! and by secret, so that nothing behind this file has to be trusted with a credential.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_LOCATION, HeaderMap, HeaderValue, LINK, LOCATION, REFERER};
use keyway_core::Descriptor;
use keyway_core::exchange::{Exchange, HostRequest, Origin, Timings};
use keyway_core::ids::Slot;
use keyway_core::ports::ExchangeLog;
use time::OffsetDateTime;
use tokio::time::Instant;
use url::Url;

use crate::names;
use crate::payload::{Meter, Payload};
use crate::redact;
use crate::request::Parts;
use crate::scrub::{Kind, MASK, MASKED, Scrubber};
use crate::send::Raw;
use crate::target::Target;
use crate::wire::Inner;

/// The purpose of an exchange that a caller sends through the proxy.
pub(crate) const PROXY: &str = "proxy";

/// Bytes that are kept of a method or a URL that nobody has approved.
const WANTED_BYTES_MAX: usize = 256;

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
    /// Says which headers and parameters carry a credential; none for what the host itself sends.
    descriptor: Option<Arc<Descriptor>>,
    /// What was asked for, until something is sent: it is made fit to be shown only if nothing ever is.
    wanted: String,
    scrubber: Scrubber,
}

// === impl Sketch ===

impl Sketch {
    /// Of an exchange for a caller.
    pub(crate) fn of(wire: &Inner, origin: &Origin, purpose: &'static str, began: Instant) -> Self {
        let Some(log) = &wire.log else { return Self(None) };
        let mut exchange = blank(wire.clock.now(), purpose);
        exchange.environment = Some(origin.installation.environment.clone());
        exchange.call = Some(origin.call);
        exchange.installation = Some(origin.installation.clone());
        exchange.user.clone_from(&origin.user);
        exchange.release = Some(origin.release.clone());
        let mut draft = Draft::new(log, exchange, began);
        draft.body_bytes_max = log.body_bytes_max();
        draft.descriptor = Some(Arc::clone(&origin.descriptor));
        Self(Some(Box::new(draft)))
    }

    /// Of an exchange of the host's own: no header and no body of it is kept, sent or received. Both are made of
    /// credentials, and a token endpoint that echoes one would do it in a header that nobody foresaw.
    pub(crate) fn of_host(wire: &Inner, request: &HostRequest) -> Self {
        let Some(log) = &wire.log else { return Self(None) };
        let mut exchange = blank(wire.clock.now(), request.purpose);
        exchange.environment.clone_from(&request.environment);
        request.method.as_str().clone_into(&mut exchange.method);
        let mut draft = Draft::new(log, exchange, Instant::now());
        let url = Url::parse(&request.url).map(|url| draft.shown(&url));
        draft.exchange.url = url.unwrap_or_else(|_| MASK.to_owned());
        Self(Some(Box::new(draft)))
    }

    /// The credential that is used, to be kept out.
    pub(crate) fn credential(&mut self, slot: Option<&Slot>, scrubber: &Scrubber) {
        let Some(draft) = &mut self.0 else { return };
        draft.exchange.slot = slot.cloned();
        draft.scrubber = scrubber.clone();
    }

    /// What is asked for, before anybody has looked at it.
    pub(crate) fn wanted(&mut self, method: &str, url: &str) {
        let Some(draft) = &mut self.0 else { return };
        let cut = |text: &str| text[..text.floor_char_boundary(WANTED_BYTES_MAX)].to_owned();
        (draft.exchange.method, draft.wanted) = (cut(method), cut(url));
    }

    /// The request, before it is sent.
    pub(crate) fn request(&mut self, target: &Target, parts: &Parts, payload: &Payload) {
        let Some(draft) = &mut self.0 else { return };
        draft.wanted.clear();
        let body = payload.bytes().and_then(|bytes| draft.kept(bytes));
        draft.upload = payload.meter();
        let url = draft.shown(target.url());
        let headers = draft.redacted(&parts.headers, &draft.scrubber);
        let exchange = &mut draft.exchange;
        parts.method.as_str().clone_into(&mut exchange.method);
        exchange.url = url;
        exchange.request_headers = headers;
        exchange.request_bytes = payload.length().unwrap_or_default();
        exchange.request_body = body;
    }

    /// The head of the response. `echoes` finds the secrets that are in it: see [`Scrubber::echoes`].
    pub(crate) fn head(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        (connected, first_byte): (Duration, Duration),
        echoes: &Scrubber,
    ) {
        let Some(draft) = &mut self.0 else { return };
        let ours = draft.descriptor.is_none();
        let headers = if ours { HeaderMap::new() } else { draft.redacted(headers, echoes) };
        let exchange = &mut draft.exchange;
        exchange.status = Some(status.as_u16());
        exchange.response_headers = headers;
        exchange.timings.connected = connected;
        exchange.timings.first_byte = first_byte;
    }

    /// A response that is there whole.
    pub(crate) fn answered(&mut self, raw: &Raw, echoes: &Scrubber) {
        self.head(raw.status, &raw.headers, (raw.connected, raw.first_byte), echoes);
        self.received(raw.body.len() as u64);
    }

    /// The response leads to another request of the same exchange: to where it was sent on, with another credential, or
    /// after a wait. Each request is a row of its own; the time of one that was not the last goes to its response's head.
    pub(crate) fn again(&mut self, wire: &Inner) {
        let Some(draft) = self.0.take() else { return };
        self.0 = Some(Box::new(draft.anew(wire.clock.now())));
        let Timings { waited, connected, first_byte, .. } = draft.exchange.timings;
        draft.hand_over(None, waited + connected + first_byte);
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

    /// The request can be sent now.
    pub(crate) fn waited(&mut self) {
        let Some(draft) = &mut self.0 else { return };
        draft.exchange.timings.waited = draft.began.elapsed();
    }

    /// Hands it over, once.
    pub(crate) fn end(&mut self, stopped: Option<&'static str>) {
        let Some(mut draft) = self.0.take() else { return };
        draft.refused();
        let total = draft.began.elapsed();
        draft.hand_over(stopped, total);
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
    fn new(log: &Arc<dyn ExchangeLog>, exchange: Exchange, began: Instant) -> Self {
        Self {
            log: Arc::clone(log),
            began,
            exchange,
            upload: None,
            body_bytes_max: 0,
            descriptor: None,
            wanted: String::new(),
            scrubber: Scrubber::default(),
        }
    }

    fn hand_over(self, stopped: Option<&'static str>, total: Duration) {
        let Self { mut exchange, log, upload, .. } = self;
        exchange.stopped = stopped;
        exchange.timings.total = total;
        if let Some(upload) = upload {
            exchange.request_bytes = upload.bytes();
        }
        log.record(exchange);
    }

    /// Of another request for the same.
    fn anew(&self, at: OffsetDateTime) -> Self {
        let Exchange { environment, call, installation, user, release, slot, .. } = &self.exchange;
        let exchange = Exchange {
            environment: environment.clone(),
            call: *call,
            installation: installation.clone(),
            user: user.clone(),
            release: release.clone(),
            slot: slot.clone(),
            method: self.exchange.method.clone(),
            ..blank(at, self.exchange.purpose)
        };
        Self {
            wanted: self.exchange.url.clone(),
            body_bytes_max: self.body_bytes_max,
            descriptor: self.descriptor.clone(),
            scrubber: self.scrubber.clone(),
            ..Self::new(&self.log, exchange, Instant::now())
        }
    }

    /// What was never sent is shown as it was wanted: without a query, and without what terminals act upon.
    fn refused(&mut self) {
        if self.wanted.is_empty() {
            return;
        }
        let wanted = std::mem::take(&mut self.wanted);
        let bare = wanted.split(['?', '#']).next().unwrap_or_default();
        let url = Url::parse(bare).map_or_else(|_| bare.to_owned(), |url| self.shown(&url));
        let plain = |text: &str| text.chars().filter(|c| !c.is_control()).collect();
        self.exchange.url = plain(&url);
        self.exchange.method = plain(&self.exchange.method);
    }

    /// Headers as they may be kept. `scrubber` finds the secrets that are in them.
    fn redacted(&self, headers: &HeaderMap, scrubber: &Scrubber) -> HeaderMap {
        // Values are shared and not copied.
        let mut headers = headers.clone();
        let named: Vec<_> =
            headers.keys().filter(|name| scrubber.finds_in_name(name)).cloned().collect();
        for name in named {
            headers.remove(name);
        }
        for (name, value) in &mut headers {
            if value.is_sensitive() || self.hides(name.as_str()) {
                *value = MASKED;
                continue;
            }
            if let Some(masked) = scrubber.masked(value) {
                *value = masked;
            }
            if [LOCATION, CONTENT_LOCATION, REFERER, LINK].contains(name) {
                let clean = redact::parameters(value.as_bytes(), |name| self.hides(name));
                *value = clean.map_or(value.clone(), |clean| {
                    HeaderValue::from_maybe_shared(Bytes::from(clean)).unwrap_or(MASKED)
                });
            }
        }
        headers
    }

    /// A URL without user and password, and with the values of secret parameters masked.
    fn shown(&self, url: &Url) -> String {
        if url.query().is_none() && url.username().is_empty() && url.password().is_none() {
            return self.scrubber.text(Cow::Borrowed(url.as_str())).into_owned();
        }
        let mut url = url.clone();
        // Neither can fail for a URL that has a host.
        if url.set_password(None).is_err() || url.set_username("").is_err() {
            return MASK.to_owned();
        }
        if url.query_pairs().any(|(name, _)| self.hides(&name)) {
            let pairs: Vec<(String, String)> = url
                .query_pairs()
                .map(|(name, value)| {
                    let value = if self.hides(&name) { MASK.into() } else { value };
                    (name.into_owned(), value.into_owned())
                })
                .collect();
            url.query_pairs_mut().clear().extend_pairs(pairs);
        }
        self.scrubber.text(Cow::Owned(url.into())).into_owned()
    }

    /// Whether what stands under this name, in a header or a query, is not kept.
    fn hides(&self, name: &str) -> bool {
        names::hides(name, self.descriptor.as_deref())
    }

    /// What is kept of a body. Cut after it was scrubbed: a secret must not lie across the cut.
    fn kept(&self, bytes: &Bytes) -> Option<Bytes> {
        if self.body_bytes_max == 0 || bytes.is_empty() {
            return None;
        }
        let clean = self.scrubber.clean(bytes, Kind::guessed(bytes));
        let clean = clean.unwrap_or_else(|| bytes.clone());
        let clean = redact::body(&clean, |name| self.hides(name)).map_or(clean, Bytes::from);
        let end = clean.len().min(self.body_bytes_max);
        Some(clean.slice(..end))
    }
}

/// Nothing but when and why.
fn blank(at: OffsetDateTime, purpose: &'static str) -> Exchange {
    Exchange {
        at,
        environment: None,
        call: None,
        installation: None,
        user: None,
        release: None,
        purpose,
        slot: None,
        method: String::new(),
        url: String::new(),
        request_headers: HeaderMap::new(),
        request_body: None,
        request_bytes: 0,
        status: None,
        response_headers: HeaderMap::new(),
        response_body: None,
        response_bytes: 0,
        stopped: None,
        timings: Timings::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nowhere;

    impl ExchangeLog for Nowhere {
        fn body_bytes_max(&self) -> usize {
            0
        }

        fn record(&self, _: Exchange) {}
    }

    /// Of a connector with one slot of this scheme, whose secret is `s3cret-value`.
    fn draft(scheme: &str) -> Draft {
        let text = format!(
            r#"{{"format":1,"name":"a/b","version":"1.0.0","slots":{{"key":{{"scheme":{scheme}}}}}}}"#
        );
        let log: Arc<dyn ExchangeLog> = Arc::new(Nowhere);
        Draft {
            descriptor: Some(Arc::new(Descriptor::parse(&text).unwrap())),
            scrubber: crate::scrub::Secrets::default().secret("s3cret-value").scrubber(),
            ..Draft::new(&log, blank(OffsetDateTime::UNIX_EPOCH, "call"), Instant::now())
        }
    }

    #[test]
    fn what_was_refused_is_shown_as_wanted_and_without_its_query() {
        let shown = |method: &str, url: &str| {
            let mut sketch = Sketch(Some(Box::new(draft(r#"{"kind":"bearer"}"#))));
            sketch.wanted(method, url);
            let mut draft = sketch.0.take().unwrap();
            draft.refused();
            (draft.exchange.method, draft.exchange.url)
        };
        let long = format!("https://a.com/{}", "\u{e4}".repeat(WANTED_BYTES_MAX));
        assert_eq!(shown("GE\nT", "https://u:p@a.com/x?token=1").0, "GET");
        assert_eq!(shown("GET", "https://u:p@a.com/x?token=1").1, "https://a.com/x");
        assert_eq!(shown("GET", "/x\u{1b}[2J?token=1").1, "/x[2J");
        assert!(shown("GET", &long).1.len() <= 3 * WANTED_BYTES_MAX);
        assert!(!shown("GET", "https://a.com/s3cret-value").1.contains("s3cret"));
    }

    #[test]
    fn urls_lose_what_is_secret_by_name_or_by_value() {
        let draft = draft(r#"{"kind":"api-key-query","name":"hapiKey"}"#);
        let shown = |url: &str| draft.shown(&Url::parse(url).unwrap());
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
            headers.append(http::HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let draft = draft(r#"{"kind":"api-key-header","name":"X-Own"}"#);
        let shown = draft.redacted(&headers, &draft.scrubber);
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        let kept: Vec<_> =
            shown.iter().filter(|(_, value)| !text(value).contains("redacted")).collect();
        assert_eq!(kept.len(), 1);
        assert_eq!(shown["x-plain"], "kept");
        assert!(!format!("{shown:?}").contains("s3cret"));
    }
}
