//! Takes a secret out of a response, for upstreams that echo requests.
//!
//! The secret is looked for as it is, in base64 (both alphabets, at each of the three positions it can
//! have in a longer text), percent-encoded and escaped as JSON, and as either of these within a URL or a document that was
//! encoded once more. The whole decoded body is in memory, so neither chunks nor compression can split it. An upstream that means to leak a secret it was sent can
//! encode it in ways not listed here; this is against accidents.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use memchr::memmem::Finder;
use self_cell::self_cell;
use zeroize::Zeroizing;

/// What stands where a secret was.
pub(crate) const MASK: &str = "[keyway:redacted]";

/// [`MASK`] as the value of a header.
pub(crate) const MASKED: HeaderValue = HeaderValue::from_static(MASK);

/// Bytes of the shortest text that is looked for. Shorter ones occur everywhere by chance, and no
/// provider issues them.
const NEEDLE_BYTES_MIN: usize = 4;

/// Finds a credential in a response.
#[derive(Clone, Default)]
pub(crate) struct Scrubber {
    /// None where there is nothing to find. Shared: the log of an exchange looks for the same.
    needles: Option<Arc<Needles>>,
}

self_cell! {
    /// Every spelling, longest first, and a finder of each. Finders borrow: a copy of theirs would not be wiped.
    struct Needles {
        owner: Spellings,
        #[covariant]
        dependent: Finders,
    }
}

type Spellings = Vec<Zeroizing<Vec<u8>>>;
type Finders<'a> = Vec<Finder<'a>>;

/// Percent-encodes all but RFC 3986's unreserved characters and those of `keep`.
pub(crate) fn percent_encoded(text: &[u8], keep: &[u8], lower: bool) -> String {
    let mut encoded = String::with_capacity(text.len() * 3);
    for &byte in text {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let digits = if lower { format!("%{byte:02x}") } else { format!("%{byte:02X}") };
            encoded.push_str(&digits);
        }
    }
    encoded
}

/// The letters of `secret`'s base64 that do not depend on its neighbours, when `offset` bytes stand
/// before it in a group of three.
fn base64_at(secret: &[u8], offset: usize, engine: &base64::engine::GeneralPurpose) -> String {
    let mut padded = Zeroizing::new(vec![0; offset]);
    padded.extend_from_slice(secret);
    let text = Zeroizing::new(engine.encode(&*padded));
    let start = (offset * 8).div_ceil(6);
    let end = padded.len() * 8 / 6;
    text[start..end.max(start)].to_owned()
}

/// How the digits of an escaped character are written.
#[derive(Clone, Copy)]
enum Hex {
    Lower,
    Upper,
}

/// `text` inside a JSON string, with characters escaped that need not be where `also` says so.
fn json_escaped(text: &str, hex: Hex, also: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' => escaped.push_str("\\\\"),
            '/' if also('/') => escaped.push_str("\\/"),
            '\t' => escaped.push_str("\\t"),
            '"' if !also('"') => escaped.push_str("\\\""),
            letter if letter.is_control() || also(letter) => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    // Writing to a string cannot fail.
                    match hex {
                        Hex::Lower => write!(escaped, "\\u{unit:04x}"),
                        Hex::Upper => write!(escaped, "\\u{unit:04X}"),
                    }
                    .unwrap_or_default();
                }
            }
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// What writers of JSON escape beyond what they must: which letters, and in which digits.
fn json_writers(secret: &str, add: &mut impl FnMut(String)) {
    let ascii = |letter: char| letter.is_ascii();
    // Nothing; the slash, as PHP does, alone or with all that is not ASCII.
    add(json_escaped(secret, Hex::Lower, |_| false));
    add(json_escaped(secret, Hex::Lower, |letter| letter == '/'));
    add(json_escaped(secret, Hex::Lower, |letter| letter == '/' || !ascii(letter)));
    add(json_escaped(secret, Hex::Lower, |letter| !ascii(letter)));
    // What HTML would read: Go's encoding/json; Gson, which adds the equals sign and the apostrophe.
    let html = |letter: char| matches!(letter, '<' | '>' | '&');
    add(json_escaped(secret, Hex::Lower, html));
    add(json_escaped(secret, Hex::Lower, |letter| html(letter) || matches!(letter, '=' | '\'')));
    // System.Text.Json, by default and with all of Unicode allowed.
    let net = |letter: char| html(letter) || matches!(letter, '"' | '\'' | '+' | '`');
    add(json_escaped(secret, Hex::Upper, |letter| net(letter) || !ascii(letter)));
    add(json_escaped(secret, Hex::Upper, net));
}

// === impl Scrubber ===

impl Scrubber {
    /// Knows these secrets.
    pub(crate) fn new(secrets: &[&str]) -> Self {
        let mut needles = Vec::new();
        for secret in secrets {
            spellings(secret, &mut needles);
        }
        needles.retain(|needle| needle.len() >= NEEDLE_BYTES_MIN);
        Self::of(needles)
    }

    fn of(mut spellings: Spellings) -> Self {
        // Equal spellings stand together after this; most secrets have only four that differ.
        spellings.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        spellings.dedup();
        if spellings.is_empty() {
            return Self::default();
        }
        let needles =
            Needles::new(spellings, |all| all.iter().map(|one| Finder::new(&**one)).collect());
        Self { needles: Some(Arc::new(needles)) }
    }

    /// Finds what either finds.
    pub(crate) fn and(self, other: &Self) -> Self {
        match (&self.needles, &other.needles) {
            (None, _) => other.clone(),
            (_, None) => self,
            (Some(_), Some(_)) => {
                Self::of(self.spellings().iter().chain(other.spellings()).cloned().collect())
            }
        }
    }

    fn spellings(&self) -> &[Zeroizing<Vec<u8>>] {
        self.needles.as_ref().map_or(&[], |needles| needles.borrow_owner())
    }

    fn finders(&self) -> &[Finder<'_>] {
        self.needles.as_ref().map_or(&[], |needles| needles.borrow_dependent())
    }

    /// Whether some spelling of a secret is in there.
    pub(crate) fn finds(&self, text: &[u8]) -> bool {
        // Most texts are headers, and shorter than any secret: the shortest stands last.
        self.spellings().last().is_some_and(|shortest| shortest.len() <= text.len())
            && self.finders().iter().any(|finder| finder.find(text).is_some())
    }

    /// Itself if there is something to find in these headers, and else what finds nothing: they are looked through
    /// once, however many then have to know.
    pub(crate) fn echoes(&self, headers: &HeaderMap) -> Self {
        let echoes = headers.iter().any(|(name, value)| {
            self.finds(value.as_bytes()) || self.finds(name.as_str().as_bytes())
        });
        if echoes { self.clone() } else { Self::default() }
    }

    /// Whether there is nothing to find.
    pub(crate) fn is_empty(&self) -> bool {
        self.needles.is_none()
    }

    /// Blanks every secret out, keeping the length.
    pub(crate) fn blank(&self, text: &mut [u8]) {
        for range in self.ranges(text) {
            text[range].fill(b'*');
        }
    }

    /// How many bytes at the end could be the beginning of a secret.
    pub(crate) fn tail(&self, text: &[u8]) -> usize {
        let longest = self.spellings().first().map_or(0, |needle| needle.len());
        let most = text.len().min(longest.saturating_sub(1));
        // Nearly no byte begins a secret, so most are looked at once and not once for each spelling.
        let mut first = [false; 1 << u8::BITS];
        for needle in self.spellings() {
            first[usize::from(needle[0])] = true;
        }
        let begins = |at: &usize| {
            let end = &text[*at..];
            first[usize::from(end[0])] && self.spellings().iter().any(|all| all.starts_with(end))
        };
        (text.len() - most..text.len()).find(begins).map_or(0, |at| text.len() - at)
    }

    /// Masks every secret in a body. Without one it is the same bytes, not a copy.
    pub(crate) fn bytes(&self, body: Bytes) -> Bytes {
        let ranges = self.ranges(&body);
        if ranges.is_empty() {
            return body;
        }
        let mut clean = Vec::with_capacity(body.len());
        let mut end = 0;
        for range in ranges {
            clean.extend_from_slice(&body[end..range.start]);
            clean.extend_from_slice(MASK.as_bytes());
            end = range.end;
        }
        clean.extend_from_slice(&body[end..]);
        clean.into()
    }

    /// Masks every secret in a header's value.
    pub(crate) fn text<'a>(&self, text: Cow<'a, str>) -> Cow<'a, str> {
        if !self.finds(text.as_bytes()) {
            return text;
        }
        let clean = self.bytes(Bytes::copy_from_slice(text.as_bytes()));
        Cow::Owned(String::from_utf8_lossy(&clean).into_owned())
    }

    /// The value of a header with every secret in it masked, if there is one.
    pub(crate) fn masked(&self, value: &HeaderValue) -> Option<HeaderValue> {
        if !self.finds(value.as_bytes()) {
            return None;
        }
        let clean = self.bytes(Bytes::copy_from_slice(value.as_bytes()));
        // A part of a value is a value, and so is the mask.
        Some(HeaderValue::from_maybe_shared(clean).unwrap_or(MASKED))
    }

    /// Where secrets are, ascending, without overlaps.
    fn ranges(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        for finder in self.finders() {
            let length = finder.needle().len();
            found.extend(finder.find_iter(text).map(|start| start..start + length));
        }
        found.sort_unstable_by_key(|range| range.start);
        let mut merged: Vec<Range<usize>> = Vec::with_capacity(found.len());
        for range in found {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        merged
    }
}

fn spellings(secret: &str, needles: &mut Vec<Zeroizing<Vec<u8>>>) {
    let bytes = secret.as_bytes();
    let mut add = |text: String| needles.push(Zeroizing::new(text.into_bytes()));
    add(secret.to_owned());
    in_base64(bytes, &mut add);
    // A secret of unreserved characters, as nearly all are, has no other spellings.
    if bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte)) {
        return;
    }
    for lower in [false, true] {
        // What is left alone by: RFC 3986; JavaScript's two functions; form encoding.
        for keep in [&b""[..], b"!'()*", b"!'()*;/?:@&=+$,#", b"*"] {
            let encoded = percent_encoded(bytes, keep, lower);
            add(encoded.replace("%20", "+"));
            add(encoded);
        }
    }
    json_writers(secret, &mut add);
    // As it is sent in a query, and as a document has it, when that is encoded as a whole.
    let sent = Zeroizing::new(percent_encoded(bytes, b"", false));
    in_base64(sent.as_bytes(), &mut add);
    add(percent_encoded(sent.as_bytes(), b"", false));
    add(percent_encoded(sent.as_bytes(), b"", true));
    let escaped = Zeroizing::new(json_escaped(secret, Hex::Lower, |_| false));
    in_base64(escaped.as_bytes(), &mut add);
}

/// At each of the three positions it can have, in both alphabets, where they differ.
fn in_base64(secret: &[u8], add: &mut impl FnMut(String)) {
    for offset in 0..3 {
        let standard = base64_at(secret, offset, &STANDARD_NO_PAD);
        if standard.contains(['+', '/']) {
            add(base64_at(secret, offset, &URL_SAFE_NO_PAD));
        }
        add(standard);
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use proptest::prelude::*;

    use super::*;

    fn clean(scrubber: &Scrubber, text: &str) -> String {
        String::from_utf8(scrubber.bytes(Bytes::copy_from_slice(text.as_bytes())).to_vec()).unwrap()
    }

    #[test]
    fn a_body_without_the_secret_is_not_copied() {
        let body = Bytes::from_static(b"{\"name\":\"value\"}");
        let same = Scrubber::new(&["s3cret-t0ken"]).bytes(body.clone());
        assert_eq!(same.as_ptr(), body.as_ptr());
    }

    #[test]
    fn every_spelling_is_masked() {
        let secret = "p\"w/+\\ü&<x>=~ 1";
        let scrubber = Scrubber::new(&[secret]);
        for text in [
            secret.to_owned(),
            r#"p\"w/+\\ü&<x>=~ 1"#.to_owned(),
            r#"p\"w\/+\\ü&<x>=~ 1"#.to_owned(),
            r#"p\"w/+\\ü\u0026\u003cx\u003e=~ 1"#.to_owned(),
            r#"p\"w/+\\\u00fc&<x>=~ 1"#.to_owned(),
            // PHP, Gson, System.Text.Json in two settings.
            r#"p\"w\/+\\\u00fc&<x>=~ 1"#.to_owned(),
            r#"p\"w/+\\ü\u0026\u003cx\u003e\u003d~ 1"#.to_owned(),
            r#"p\u0022w/\u002B\\\u00FC\u0026\u003Cx\u003E=~ 1"#.to_owned(),
            r#"p\u0022w/\u002B\\ü\u0026\u003Cx\u003E=~ 1"#.to_owned(),
            "p%22w%2F%2B%5C%C3%BC%26%3Cx%3E%3D~%201".to_owned(),
            "p%22w%2f%2b%5c%c3%bc%26%3cx%3e%3d~%201".to_owned(),
            "p%22w%2F%2B%5C%C3%BC%26%3Cx%3E%3D~+1".to_owned(),
        ] {
            assert_eq!(clean(&scrubber, &format!("<{text}>")), format!("<{MASK}>"), "{text}");
        }
    }

    /// As a provider does that gives back a URL it was asked for, or a document it was sent.
    #[test]
    fn what_was_encoded_twice_is_masked() {
        let secret = "a+b/c=\"d\"&e";
        let scrubber = Scrubber::new(&[secret]);
        let url = format!("GET /x?key={}", percent_encoded(secret.as_bytes(), b"", false));
        let document = format!("{{\"key\":\"{}\"}}", json_escaped(secret, Hex::Lower, |_| false));
        for text in [
            STANDARD.encode(&url),
            URL_SAFE.encode(format!("{url} ")),
            STANDARD.encode(&document),
            percent_encoded(url.as_bytes(), b"", false),
            percent_encoded(url.as_bytes(), b"/", true),
        ] {
            assert!(clean(&scrubber, &text).contains(MASK), "{text}");
        }
    }

    #[test]
    fn neighbours_and_repeats_are_masked_once_each() {
        let scrubber = Scrubber::new(&["user:hunter22", "hunter22"]);
        assert_eq!(clean(&scrubber, "hunter22,user:hunter22;x"), format!("{MASK},{MASK};x"));
        assert_eq!(clean(&scrubber, "hunter2"), "hunter2");
    }

    #[test]
    fn short_texts_are_left_alone() {
        assert_eq!(clean(&Scrubber::new(&["abc"]), "abcabc"), "abcabc");
        assert_eq!(clean(&Scrubber::new(&["abcd"]), "abcd"), MASK);
    }

    proptest! {
        #[test]
        fn base64_is_found_wherever_the_secret_stands(
            secret in "[ -~]{8,40}",
            before in "[ -~]{0,7}",
            after in "[ -~]{0,7}",
        ) {
            let scrubber = Scrubber::new(&[&secret]);
            let whole = format!("{before}{secret}{after}");
            for text in [STANDARD.encode(&whole), URL_SAFE.encode(&whole), URL_SAFE_NO_PAD.encode(&whole)] {
                prop_assert!(scrubber.finds(text.as_bytes()));
                let cleaned = clean(&scrubber, &text);
                prop_assert!(cleaned.contains(MASK));
                prop_assert!(cleaned.split(MASK).all(|rest| !scrubber.finds(rest.as_bytes())));
            }
        }
    }
}
