//! What holds a secret on its way to a server. Each buffer is wiped, and has room from the start for all that it can come
//! to: one that grew would leave a copy behind.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use keyway_core::descriptor::TokenFormat;
use secrecy::SecretString;
use url::form_urlencoded::{Serializer, byte_serialize};
use zeroize::Zeroizing;

/// Letters that one becomes at most when it is form-encoded.
const ENCODED_MAX: usize = 3;

/// Letters that one becomes at most in a string of JSON (RFC 8259 section 7).
const ESCAPED_MAX: usize = 6;

/// A form, not yet written.
#[derive(Default)]
pub(super) struct Form<'a>(Vec<(&'a str, Cow<'a, str>)>);

// === impl Form ===

impl<'a> Form<'a> {
    pub(super) fn add(&mut self, name: &'a str, value: impl Into<Cow<'a, str>>) {
        self.0.push((name, value.into()));
    }

    pub(super) fn finish(&self, format: TokenFormat) -> SecretString {
        // From a copy of just its length: a string with room to spare would be moved to be cut.
        SecretString::from(self.written(format).as_str())
    }

    fn written(&self, format: TokenFormat) -> Zeroizing<String> {
        match format {
            TokenFormat::Form => self.as_form(),
            TokenFormat::Json => self.as_json(),
        }
    }

    fn as_form(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(self.bytes_max(TokenFormat::Form)));
        Serializer::new(&mut *text).extend_pairs(&self.0);
        // A plus that stands for itself is `%2B` by now. Every reader of forms knows `%20`, and not every one the plus.
        let mut spaced = Zeroizing::new(String::with_capacity(self.bytes_max(TokenFormat::Form)));
        for (place, part) in text.split('+').enumerate() {
            spaced.push_str(if place > 0 { "%20" } else { "" });
            spaced.push_str(part);
        }
        spaced
    }

    fn as_json(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(Vec::with_capacity(self.bytes_max(TokenFormat::Json)));
        let members: BTreeMap<&str, &str> =
            self.0.iter().map(|(name, value)| (*name, value.as_ref())).collect();
        // Texts by name: there is nothing that JSON could not say.
        serde_json::to_writer(&mut *text, &members).unwrap_or_default();
        let text = String::from_utf8(std::mem::take(&mut *text));
        Zeroizing::new(text.unwrap_or_default())
    }

    fn bytes_max(&self, format: TokenFormat) -> usize {
        let (each, around) = match format {
            TokenFormat::Form => (ENCODED_MAX, 2),
            TokenFormat::Json => (ESCAPED_MAX, 6),
        };
        let members = self.0.iter();
        members.map(|(name, value)| each * (name.len() + value.len()) + around).sum::<usize>() + 2
    }
}

/// RFC 6749 section 2.3.1: each part is form-encoded before the two are joined.
pub(super) fn basic(id: &str, secret: &str) -> Option<HeaderValue> {
    let pair_max = ENCODED_MAX * (id.len() + secret.len()) + 1;
    let mut pair = Zeroizing::new(String::with_capacity(pair_max));
    pair.extend(byte_serialize(id.as_bytes()));
    pair.push(':');
    pair.extend(byte_serialize(secret.as_bytes()));
    debug_assert!(pair.capacity() == pair_max, "it has not grown");
    header(&pair)
}

/// RFC 7617 alone: each part as it is.
pub(super) fn basic_raw(id: &str, secret: &str) -> Option<HeaderValue> {
    let mut pair = Zeroizing::new(String::with_capacity(id.len() + secret.len() + 1));
    pair.push_str(id);
    pair.push(':');
    pair.push_str(secret);
    header(&pair)
}

fn header(pair: &str) -> Option<HeaderValue> {
    let text_max = "Basic ".len() + pair.len().div_ceil(3) * 4;
    let mut text = Zeroizing::new(String::with_capacity(text_max));
    text.push_str("Basic ");
    STANDARD.encode_string(pair.as_bytes(), &mut text);
    debug_assert!(text.capacity() == text_max, "it has not grown");
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    /// Fails if a form grows while it is written, which leaves what it held in memory that nobody wipes.
    #[test]
    fn a_form_has_room_for_the_worst_from_the_start() {
        let secret = "%&=\u{e9}".repeat(500);
        for pairs in [1, 2, 30] {
            let mut form = Form::default();
            (0..pairs).for_each(|_| form.add("&name&", secret.as_str()));
            for format in [TokenFormat::Form, TokenFormat::Json] {
                let text = form.written(format);
                assert_eq!(text.capacity(), form.bytes_max(format));
                assert_eq!(form.finish(format).expose_secret(), text.as_str());
            }
        }
    }

    #[test]
    fn a_space_is_never_a_plus() {
        let mut form = Form::default();
        form.add("scope", "read write+all");
        form.add("a b", "c");
        let text = form.written(TokenFormat::Form);
        assert_eq!(text.as_str(), "scope=read%20write%2Ball&a%20b=c");
        assert_eq!(
            form.written(TokenFormat::Json).as_str(),
            r#"{"a b":"c","scope":"read write+all"}"#
        );
    }

    /// Likewise; what is asserted there is met by the longest that there is.
    #[test]
    fn a_client_s_header_has_room_for_the_worst_from_the_start() {
        for letters in 0..5 {
            assert!(basic(&"%".repeat(letters), &"&".repeat(1_024)).unwrap().is_sensitive());
        }
    }
}
