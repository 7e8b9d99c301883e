//! What holds a secret on its way to a server. Each buffer is wiped, and has room from the start for all that it can come
//! to: one that grew would leave a copy behind.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use secrecy::SecretString;
use url::form_urlencoded::{Serializer, byte_serialize};
use zeroize::Zeroizing;

/// Letters that one becomes at most when it is form-encoded.
const ENCODED_MAX: usize = 3;

/// A form, not yet written.
#[derive(Default)]
pub(super) struct Form<'a>(Vec<(&'a str, Cow<'a, str>)>);

// === impl Form ===

impl<'a> Form<'a> {
    pub(super) fn add(&mut self, name: &'a str, value: impl Into<Cow<'a, str>>) {
        self.0.push((name, value.into()));
    }

    pub(super) fn finish(&self) -> SecretString {
        // From a copy of just its length: a string with room to spare would be moved to be cut.
        SecretString::from(self.written().as_str())
    }

    fn written(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(self.bytes_max()));
        Serializer::new(&mut *text).extend_pairs(&self.0);
        text
    }

    fn bytes_max(&self) -> usize {
        self.0.iter().map(|(name, value)| ENCODED_MAX * (name.len() + value.len()) + 2).sum()
    }
}

/// RFC 6749 section 2.3.1: each part is form-encoded before the two are joined.
pub(super) fn basic(id: &str, secret: &str) -> Option<HeaderValue> {
    let pair_max = ENCODED_MAX * (id.len() + secret.len()) + 1;
    let mut pair = Zeroizing::new(String::with_capacity(pair_max));
    pair.extend(byte_serialize(id.as_bytes()));
    pair.push(':');
    pair.extend(byte_serialize(secret.as_bytes()));
    let text_max = "Basic ".len() + pair.len().div_ceil(3) * 4;
    let mut text = Zeroizing::new(String::with_capacity(text_max));
    text.push_str("Basic ");
    STANDARD.encode_string(pair.as_bytes(), &mut text);
    debug_assert!(pair.capacity() == pair_max && text.capacity() == text_max, "neither has grown");
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
            let text = form.written();
            assert_eq!(text.capacity(), form.bytes_max());
            assert_eq!(form.finish().expose_secret(), text.as_str());
        }
    }

    /// Likewise; what is asserted there is met by the longest that there is.
    #[test]
    fn a_client_s_header_has_room_for_the_worst_from_the_start() {
        for letters in 0..5 {
            assert!(basic(&"%".repeat(letters), &"&".repeat(1_024)).unwrap().is_sensitive());
        }
    }
}
