//! An exchange, written down as the JSON that [`super::Row`] reads.
//!
//! By hand and not by serde: it happens with every request, names need no escapes, and values rarely do. And always in
//! the same place: memory that was just written to is near.

use std::cell::RefCell;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use keyway_core::exchange::{Exchange, Timings};
use keyway_core::ids::CallId;
use keyway_core::release::ReleaseRef;
use time::error;
use time::format_description::well_known::Rfc3339;

/// Bytes of room that a thread keeps for the next row: more than one without bodies takes.
const KEPT_BYTES_MAX: usize = 16 << 10;

thread_local! {
    /// Where this thread writes rows.
    static LINE: RefCell<Line> = const { RefCell::new(Line(Vec::new())) };
}

/// What stands before a value that is not the first.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

/// Writes an exchange down and hands it on, without its bodies where they make it larger than `bytes_max`. None if it is
/// still larger, or has a time that cannot be written.
pub(crate) fn write<T>(
    exchange: &Exchange,
    bytes_max: usize,
    then: impl FnOnce(&[u8]) -> T,
) -> Option<T> {
    LINE.with_borrow_mut(|line| {
        let has_bodies = exchange.request_body.is_some() || exchange.response_body.is_some();
        let mut fits =
            |bodies| line.exchange(exchange, bodies).is_ok() && line.0.len() <= bytes_max;
        let handed_on = (fits(true) || (has_bodies && fits(false))).then(|| then(&line.0));
        if line.0.capacity() > KEPT_BYTES_MAX {
            line.0 = Vec::new();
        }
        handed_on
    })
}

/// A row as far as it is written.
struct Line(Vec<u8>);

// === impl Line ===

impl Line {
    /// An exchange, and nothing of the one before it.
    fn exchange(&mut self, exchange: &Exchange, bodies: bool) -> Result<(), error::Format> {
        self.0.clear();
        self.raw("{\"at\":\"");
        exchange.at.format_into(&mut self.0, &Rfc3339)?;
        self.raw("\"");
        self.whose(exchange);
        self.what(exchange);
        self.times(exchange);
        self.headers(key!("request_headers"), &exchange.request_headers);
        self.headers(key!("response_headers"), &exchange.response_headers);
        if bodies {
            self.body(key!("request_body"), exchange.request_body.as_ref());
            self.body(key!("response_body"), exchange.response_body.as_ref());
        }
        self.raw("}");
        Ok(())
    }

    fn whose(&mut self, exchange: &Exchange) {
        let installation = exchange.installation.as_ref();
        let environment = exchange.environment.as_ref().or(installation.map(|of| &of.environment));
        let mut call = [0; CallId::LENGTH];
        self.word(key!("call"), exchange.call.map(|id| id.encode(&mut call)));
        self.word(key!("environment"), environment.map(|environment| environment.as_str()));
        self.word(key!("tenant"), installation.map(|of| of.tenant.as_str()));
        self.word(key!("connector"), installation.map(|of| of.connector.as_str()));
        self.text(key!("user"), exchange.user.as_ref().map(|user| user.as_str()));
        if let Some(release) = &exchange.release {
            self.release(release);
        }
    }

    fn release(&mut self, release: &ReleaseRef) {
        self.raw(",\"release\":{\"connector\":");
        self.quoted(release.connector.as_str());
        self.word(key!("version"), Some(release.version_str()));
        self.word(key!("digest"), Some(release.digest_str()));
        self.raw("}");
    }

    fn what(&mut self, exchange: &Exchange) {
        self.word(key!("purpose"), Some(exchange.purpose));
        self.word(key!("slot"), exchange.slot.as_ref().map(|slot| slot.as_str()));
        self.text(key!("method"), Some(&exchange.method));
        self.text(key!("url"), Some(&exchange.url));
        if let Some(status) = exchange.status {
            self.number(key!("status"), status.into());
        }
        self.text(key!("stopped"), exchange.stopped);
    }

    fn times(&mut self, exchange: &Exchange) {
        let Timings { waited, connected, first_byte, total } = exchange.timings;
        for (key, time) in [
            (key!("waited_us"), waited),
            (key!("connected_us"), connected),
            (key!("first_byte_us"), first_byte),
            (key!("total_us"), total),
        ] {
            self.number(key, u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        }
        self.number(key!("request_bytes"), exchange.request_bytes);
        self.number(key!("response_bytes"), exchange.response_bytes);
    }

    /// A list of names and values.
    fn headers(&mut self, key: &'static str, headers: &HeaderMap) {
        self.raw(key);
        let mut before = "[[";
        for (name, value) in headers {
            self.raw(before);
            self.quoted(name.as_str());
            self.raw(",");
            self.value(value.as_bytes());
            before = "],[";
        }
        self.raw(if headers.is_empty() { "[]" } else { "]]" });
    }

    /// As text where it is text.
    fn body(&mut self, key: &'static str, body: Option<&Bytes>) {
        let Some(body) = body else { return };
        self.raw(key);
        match std::str::from_utf8(body) {
            Ok(text) => {
                self.raw("{\"text\":");
                self.string(text);
            }
            Err(_) => {
                self.raw("{\"base64\":");
                self.string(&STANDARD.encode(body));
            }
        }
        self.raw("}");
    }

    /// Text that needs no escapes by its type, as no name of ours, no version, no digest and no name of a header does.
    fn word(&mut self, key: &'static str, value: Option<&str>) {
        let Some(value) = value else { return };
        self.raw(key);
        self.quoted(value);
    }

    fn text(&mut self, key: &'static str, value: Option<&str>) {
        let Some(value) = value else { return };
        self.raw(key);
        self.string(value);
    }

    fn number(&mut self, key: &'static str, value: u64) {
        self.raw(key);
        self.json(&value);
    }

    /// A header's value: nearly always visible ASCII, and what is not UTF-8 in it is replaced.
    fn value(&mut self, value: &[u8]) {
        if plain(value) {
            self.0.push(b'"');
            self.0.extend_from_slice(value);
            self.0.push(b'"');
        } else {
            self.json(&String::from_utf8_lossy(value));
        }
    }

    fn string(&mut self, text: &str) {
        if plain(text.as_bytes()) { self.quoted(text) } else { self.json(text) }
    }

    fn quoted(&mut self, text: &str) {
        debug_assert!(plain(text.as_bytes()), "{text:?}");
        self.raw("\"");
        self.raw(text);
        self.raw("\"");
    }

    fn json(&mut self, value: &(impl serde::Serialize + ?Sized)) {
        serde_json::to_writer(&mut self.0, value).expect("text and numbers go into memory");
    }

    fn raw(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }
}

/// Whether a string of JSON has these bytes as they are (RFC 8259 section 7), and they are ASCII. Looks at all of them, so
/// that it can look at many at once.
fn plain(text: &[u8]) -> bool {
    let other = |byte: u8| !(b' '..=b'~').contains(&byte) | (byte == b'"') | (byte == b'\\');
    !text.iter().fold(false, |any, byte| any | other(*byte))
}
