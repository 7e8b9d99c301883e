//! Takes a secret out of a response, for upstreams that echo requests.
//!
//! The secret is looked for as it is, in base64 (both alphabets, at each of the three positions it can
//! have in a longer text, in one line or in many), percent-encoded and escaped as JSON, and as either of these within a URL
//! or a document that was encoded once more. One that is too short for that, or too much like ordinary text, is looked for as a
//! whole value ([`value`]): in the middle of a text it is met by chance, and what is met by chance is somebody's data. One of
//! digits is no part of a longer number. An upstream that
//! means to leak a secret it was sent can encode it in ways not listed here; this is against accidents.

mod spell;
mod stream;
mod value;
mod wrapped;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use memchr::memmem::Finder;
use self_cell::self_cell;
use zeroize::Zeroizing;

use self::spell::{ANYWHERE_BYTES_MIN, Spelling};
use self::value::Reader;
use self::wrapped::Unwrapped;

pub(crate) use self::spell::percent_encoded;
pub(crate) use self::stream::Mask;
pub(crate) use self::value::Kind;

/// What stands where a secret was.
pub(crate) const MASK: &str = "[keyway:redacted]";

/// [`MASK`] as the value of a header.
pub(crate) const MASKED: HeaderValue = HeaderValue::from_static(MASK);

/// Bytes of the shortest secret. The vault takes no shorter one; of a user and a password, a shorter part is none.
pub(crate) const SECRET_BYTES_MIN: usize = 4;

/// Finds a credential in a response.
#[derive(Clone, Default)]
pub(crate) struct Scrubber {
    /// None where there is nothing to find. Shared: the log of an exchange looks for the same.
    needles: Option<Arc<Needles>>,
}

/// What a scrubber is to find, until it is made.
#[derive(Clone, Default)]
pub(crate) struct Secrets {
    /// Longest first, once it is made.
    spellings: Vec<Spelling>,
    /// The spellings in small letters, as the name of a field would have them.
    names: Vec<Zeroizing<Vec<u8>>>,
    /// What is only looked for as a whole value.
    values: Vec<Zeroizing<String>>,
}

self_cell! {
    /// Every spelling, and a finder of each. Finders borrow: a copy of theirs would not be wiped.
    struct Needles {
        owner: Secrets,
        #[covariant]
        dependent: Finders,
    }
}

struct Finders<'s> {
    anywhere: Vec<Finder<'s>>,
    /// Those of `anywhere` that are base64.
    base64: Vec<Finder<'s>>,
    names: Vec<Finder<'s>>,
}

// === impl Secrets ===

impl Secrets {
    /// Looks for this, in every spelling.
    pub(crate) fn secret(mut self, secret: &str) -> Self {
        if secret.len() < SECRET_BYTES_MIN {
            return self;
        }
        let chance = spell::met_by_chance(secret);
        if chance {
            self.values.push(Zeroizing::new(secret.to_owned()));
        }
        // In base64, a short one is longer, and a number or a word is what it was: a part of an encoded text.
        if !chance || secret.len() < ANYWHERE_BYTES_MIN {
            spell::spellings(secret, &mut self.spellings);
        } else {
            self.values.push(Zeroizing::new(STANDARD.encode(secret)));
            self.values.push(Zeroizing::new(URL_SAFE_NO_PAD.encode(secret)));
        }
        self
    }

    /// Looks for this as it is sent, and for its base64 within a longer text: a user and a password in one.
    pub(crate) fn pair(mut self, pair: &str, encoded: &str) -> Self {
        spell::in_base64(pair.as_bytes(), &mut self.spellings);
        self.secret(encoded)
    }

    /// Looks for this where it is a whole value: what a header was, with its prefix.
    pub(crate) fn sent(mut self, value: &str, secret: &str) -> Self {
        if spell::met_by_chance(secret) {
            self.values.push(Zeroizing::new(value.to_owned()));
        }
        self
    }

    /// Looks for all of it from now on.
    pub(crate) fn scrubber(mut self) -> Scrubber {
        let long = |text: &[u8]| text.len() >= ANYWHERE_BYTES_MIN;
        self.spellings.retain(|spelling| long(&spelling.text));
        // Equal spellings stand together after this; most secrets have only four that differ.
        self.spellings.sort_unstable_by(|a, b| {
            b.text.len().cmp(&a.text.len()).then_with(|| a.text.as_slice().cmp(&b.text))
        });
        self.spellings.dedup_by(|a, b| {
            let same = a.text == b.text;
            b.base64 |= same && a.base64;
            same
        });
        self.names =
            self.spellings.iter().map(|all| all.text.to_ascii_lowercase().into()).collect();
        self.names.sort_unstable_by(|a, b| a.as_slice().cmp(b));
        self.names.dedup();
        self.values.sort_unstable_by(|a, b| a.as_str().cmp(b));
        self.values.dedup();
        if self.spellings.is_empty() && self.values.is_empty() {
            return Scrubber::default();
        }
        let needles = Needles::new(self, |all| Finders {
            anywhere: all.spellings.iter().map(|one| Finder::new(&**one.text)).collect(),
            base64: all
                .spellings
                .iter()
                .filter(|one| one.base64)
                .map(|one| Finder::new(&**one.text))
                .collect(),
            names: all.names.iter().map(|one| Finder::new(&***one)).collect(),
        });
        Scrubber { needles: Some(Arc::new(needles)) }
    }
}

// === impl Scrubber ===

impl Scrubber {
    /// Finds what either finds.
    pub(crate) fn and(self, other: &Self) -> Self {
        match (&self.needles, &other.needles) {
            (None, _) => other.clone(),
            (_, None) => self,
            (Some(ours), Some(theirs)) => {
                let (mut all, theirs) = (ours.borrow_owner().clone(), theirs.borrow_owner());
                all.spellings.extend(theirs.spellings.iter().cloned());
                all.values.extend(theirs.values.iter().cloned());
                all.scrubber()
            }
        }
    }

    fn spellings(&self) -> &[Spelling] {
        self.needles.as_ref().map_or(&[], |needles| &needles.borrow_owner().spellings)
    }

    fn values(&self) -> &value::Values {
        self.needles.as_ref().map_or(&[], |needles| &needles.borrow_owner().values)
    }

    fn finders(&self) -> &[Finder<'_>] {
        self.needles.as_ref().map_or(&[], |needles| &needles.borrow_dependent().anywhere)
    }

    /// Whether a header's value or a URL has a secret in it, or is one.
    pub(crate) fn finds(&self, text: &[u8]) -> bool {
        self.finds_anywhere(text) || !self.values_of(text).is_empty()
    }

    fn finds_anywhere(&self, text: &[u8]) -> bool {
        // Most texts are headers, and shorter than any secret: the shortest stands last.
        self.spellings().last().is_some_and(|shortest| shortest.text.len() <= text.len())
            && self.finders().iter().any(|finder| places(finder, text, None).next().is_some())
    }

    /// Where a header's value or a URL has short secrets as whole values.
    fn values_of(&self, text: &[u8]) -> Vec<Range<usize>> {
        let values = self.values();
        if values.is_empty() {
            return Vec::new();
        }
        if value::whole(values, text) {
            return std::iter::once(0..text.len()).collect();
        }
        value::parameters(values, text)
    }

    /// Whether the name of a header has a secret in it. Names come in small letters, whatever was sent.
    pub(crate) fn finds_in_name(&self, name: &HeaderName) -> bool {
        let Some(needles) = &self.needles else { return false };
        let name = name.as_str().as_bytes();
        name.len() >= ANYWHERE_BYTES_MIN
            && needles
                .borrow_dependent()
                .names
                .iter()
                .any(|finder| places(finder, name, None).next().is_some())
    }

    /// Itself if there is something to find in these headers, and else what finds nothing: they are looked through
    /// once, however many then have to know.
    pub(crate) fn echoes(&self, headers: &HeaderMap) -> Self {
        let echoes = headers
            .iter()
            .any(|(name, value)| self.finds(value.as_bytes()) || self.finds_in_name(name));
        if echoes { self.clone() } else { Self::default() }
    }

    /// Whether there is nothing to find.
    pub(crate) fn is_empty(&self) -> bool {
        self.needles.is_none()
    }

    /// A body in which every secret is masked. None where there is none to mask.
    pub(crate) fn clean(&self, body: &[u8], kind: Kind) -> Option<Bytes> {
        let mut ranges = self.ranges(body, None);
        if !self.values().is_empty() {
            ranges.extend(Reader::new(kind).find(self.values(), body, true).ranges);
        }
        masked(body, merged(ranges)).map(Bytes::from)
    }

    /// Masks every secret in a header's value or a URL.
    pub(crate) fn text<'a>(&self, text: Cow<'a, str>) -> Cow<'a, str> {
        match self.in_line(text.as_bytes()) {
            Some(clean) => Cow::Owned(String::from_utf8_lossy(&clean).into_owned()),
            None => text,
        }
    }

    /// The value of a header with every secret in it masked, if there is one.
    pub(crate) fn masked(&self, value: &HeaderValue) -> Option<HeaderValue> {
        let clean = self.in_line(value.as_bytes())?;
        // A part of a value is a value, and so is the mask.
        Some(HeaderValue::from_maybe_shared(Bytes::from(clean)).unwrap_or(MASKED))
    }

    fn in_line(&self, text: &[u8]) -> Option<Vec<u8>> {
        if !self.finds(text) {
            return None;
        }
        let mut ranges = self.ranges(text, None);
        ranges.extend(self.values_of(text));
        masked(text, merged(ranges))
    }

    /// Where secrets are that are found anywhere, in a text that may stand behind another.
    fn ranges(&self, text: &[u8], before: Option<u8>) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        for finder in self.finders() {
            found.extend(places(finder, text, before));
        }
        let base64 = self.needles.as_ref().map(|needles| &needles.borrow_dependent().base64);
        let Some(base64) = base64.filter(|finders| !finders.is_empty()) else { return found };
        let Some(lines) = Unwrapped::of(text) else { return found };
        for finder in base64 {
            let last = finder.needle().len() - 1;
            let places = finder.find_iter(&lines.joined);
            found.extend(
                places.map(|start| lines.original(start)..lines.original(start + last) + 1),
            );
        }
        found
    }
}

/// Where a text has what a finder looks for. A number is none that stands within a longer one.
fn places<'f>(
    finder: &'f Finder<'_>,
    text: &'f [u8],
    before: Option<u8>,
) -> impl Iterator<Item = Range<usize>> + 'f {
    let number = spell::digits(finder.needle());
    let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    let within = move |range: &Range<usize>| {
        let left = match range.start {
            0 => before.as_ref(),
            start => text.get(start - 1),
        };
        digit(left) || digit(text.get(range.end))
    };
    let found = finder.find_iter(text).map(|start| start..start + finder.needle().len());
    found.filter(move |range| !number || !within(range))
}

/// Ascending, and without overlaps.
fn merged(mut found: Vec<Range<usize>>) -> Vec<Range<usize>> {
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

/// What a secret of digits is blanked out with: a number of JSON has to stay one.
const DIGIT: u8 = b'9';

fn masked(text: &[u8], ranges: Vec<Range<usize>>) -> Option<Vec<u8>> {
    if ranges.is_empty() {
        return None;
    }
    let mut clean = Vec::with_capacity(text.len());
    let mut end = 0;
    for range in ranges {
        clean.extend_from_slice(&text[end..range.start]);
        end = range.end;
        let secret = &text[range];
        if spell::digits(secret) {
            clean.resize(clean.len() + secret.len(), DIGIT);
        } else {
            clean.extend_from_slice(MASK.as_bytes());
        }
    }
    clean.extend_from_slice(&text[end..]);
    Some(clean)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE;
    use proptest::prelude::*;

    use super::spell::{Hex, json_escaped};
    use super::*;

    fn of(secrets: &[&str]) -> Scrubber {
        secrets.iter().fold(Secrets::default(), |all, secret| all.secret(secret)).scrubber()
    }

    fn cleaned(scrubber: &Scrubber, text: &str, kind: Kind) -> String {
        let clean = scrubber.clean(text.as_bytes(), kind);
        clean.map_or(text.to_owned(), |clean| String::from_utf8(clean.to_vec()).unwrap())
    }

    fn clean(scrubber: &Scrubber, text: &str) -> String {
        cleaned(scrubber, text, Kind::Text)
    }

    #[test]
    fn a_body_without_the_secret_is_not_touched() {
        assert_eq!(of(&["s3cret-t0ken"]).clean(b"{\"name\":\"value\"}", Kind::Json), None);
    }

    #[test]
    fn every_spelling_is_masked() {
        let secret = "p\"w/+\\ü&<x>=~ 1";
        let scrubber = of(&[secret]);
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
        let scrubber = of(&[secret]);
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
        let scrubber = of(&["user:hunter2222", "hunter2222"]);
        assert_eq!(clean(&scrubber, "hunter2222,user:hunter2222;x"), format!("{MASK},{MASK};x"));
        assert_eq!(clean(&scrubber, "hunter222"), "hunter222");
    }

    /// At the number: nine bytes are looked for anywhere, eight only as a whole value, and three not at all.
    #[test]
    fn short_secrets_are_masked_as_whole_values_only() {
        let text = r#"{"a":"hunter222","b":"not hunter222"}"#;
        let all = of(&["hunter222"]);
        assert_eq!(cleaned(&all, text, Kind::Json), text.replace("hunter222", MASK));
        let eight = of(&["hunter22"]);
        assert_eq!(cleaned(&eight, text, Kind::Json), text);
        let text = r#"{"hunter22":"not hunter22","b":"hunter22"}"#;
        let expected = text.replace("\"hunter22\"}", &format!("\"{MASK}\"}}"));
        assert_eq!(cleaned(&eight, text, Kind::Json), expected);
        assert!(of(&["abc"]).is_empty());
        let header = |value: &'static str| eight.masked(&HeaderValue::from_static(value));
        assert_eq!(header("hunter22"), Some(MASKED));
        assert_eq!(header("a hunter22"), None);
        let link = header("<https://a.com/?key=hunter22&b=1>; rel=next").unwrap();
        assert_eq!(link, format!("<https://a.com/?key={MASK}&b=1>; rel=next").as_str());
    }

    /// A token that is a word of JSON is no reason to break a document.
    #[test]
    fn a_word_of_json_is_left_alone() {
        let scrubber = of(&["true"]);
        let text = r#"{"ok":true,"said":"true","true":[true]}"#;
        let expected = r#"{"ok":true,"said":"[keyway:redacted]","true":[true]}"#;
        assert_eq!(cleaned(&scrubber, text, Kind::Json), expected);
        let number = of(&["123456789012"]);
        assert_eq!(
            cleaned(&number, r#"{"id":123456789012}"#, Kind::Json),
            r#"{"id":999999999999}"#
        );
    }

    /// RFC 2045 section 6.8: lines of 76 letters, ended by CRLF. Java writes it so, and Python with a bare line feed.
    #[test]
    fn base64_in_lines_is_masked() {
        let secret = "s3cret-t0ken-that-is-quite-long";
        let scrubber = of(&[secret]);
        for before in 0..80 {
            let text = STANDARD.encode(format!("{}{secret} and more", "x".repeat(before)));
            for with in ["\r\n", "\n", "\\r\\n", "\\n"] {
                let lines: Vec<&str> = (0..text.len())
                    .step_by(76)
                    .map(|at| &text[at..text.len().min(at + 76)])
                    .collect();
                let clean = clean(&scrubber, &lines.join(with));
                assert!(clean.contains(MASK), "{before} {with:?}: {clean}");
            }
        }
    }

    /// The pair as it is sent, in a document that was encoded as a whole, and in the name of a header.
    #[test]
    fn a_pair_is_masked_in_base64_of_base64() {
        let (pair, encoded) = ("user:open sesame", STANDARD.encode("user:open sesame"));
        let scrubber = Secrets::default().secret("open sesame").pair(pair, &encoded).scrubber();
        for text in [
            encoded.clone(),
            URL_SAFE_NO_PAD.encode(pair),
            STANDARD.encode(format!("authorization: Basic {encoded}\r\n")),
            STANDARD.encode(format!("https://{pair}@example.com/")),
            percent_encoded(encoded.as_bytes(), b"", false),
        ] {
            assert!(clean(&scrubber, &text).contains(MASK), "{text}");
        }
        let name = HeaderName::from_bytes(format!("x-{encoded}").trim_end_matches('=').as_bytes());
        assert!(scrubber.finds_in_name(&name.unwrap()));
        assert!(!scrubber.finds_in_name(&HeaderName::from_static("x-request-id")));
        let text = r#"{"user":{"username":"user","userful":1}}"#;
        assert_eq!(cleaned(&scrubber, text, Kind::Json), text);
    }

    /// Catches an id that is made another, and a document whose keys are changed.
    #[test]
    fn numbers_and_words_are_masked_where_they_are_whole_values_only() {
        let nine = of(&["123456789"]);
        for same in [
            r#"{"id":1234567890,"b":"1234567890","c":[0123456789,-123456789,123456789.5,1.123456789]}"#,
            r#"{"123456789":1,"text":"order 123456789 of 2","b":{"x":"v123456789"}}"#,
        ] {
            assert_eq!(cleaned(&nine, same, Kind::Json), same);
        }
        let text =
            r#"{"id":123456789,"a":[123456789, "123456789"],"b":"MTIzNDU2Nzg5","n":123456789}"#;
        let expected = text.replace("123456789", "999999999").replace("MTIzNDU2Nzg5", MASK);
        assert_eq!(cleaned(&nine, text, Kind::Json), expected);
        assert!(of(&["12345678"]).clean(br#"{"price":12345678}"#, Kind::Json).is_none(), "short");

        let long = of(&["1234567890123"]);
        let text = "order 1234567890123, 01234567890123, 12345678901234 and x1234567890123.";
        let expected = "order 9999999999999, 01234567890123, 12345678901234 and x9999999999999.";
        assert_eq!(clean(&long, text), expected);
        let header = |value: &'static str| long.masked(&HeaderValue::from_static(value));
        assert_eq!(header("a=12345678901234"), None);
        assert_eq!(header("a=1234567890123").unwrap(), "a=9999999999999");

        for word in ["anonymous", "accessToken", "client_secret"] {
            let scrubber = of(&[word]);
            let text =
                format!(r#"{{"{word}":"is {word}","x_{word}":{{"{word}":1}},"b":"{word}"}}"#);
            let whole = format!(r#""b":"{word}""#);
            let expected = text.replace(&whole, &format!(r#""b":"{MASK}""#));
            assert_eq!(cleaned(&scrubber, &text, Kind::Json), expected);
            assert!(!scrubber.finds_in_name(&HeaderName::from_static("x-anonymous-id")));
            assert!(!scrubber.finds(format!("https://example.com/{word}/x").as_bytes()));
            assert!(scrubber.finds(format!("https://example.com/?key={word}").as_bytes()));
            let inner = STANDARD.encode(format!("some {word} text"));
            assert_eq!(clean(&scrubber, &inner), inner);
            assert_eq!(clean(&scrubber, &STANDARD.encode(word)), MASK);
        }
    }

    /// What the arithmetic of the least length assumes.
    #[test]
    fn a_credential_has_as_many_spellings_as_was_assumed() {
        let password = "p\"w/+\\ü&<x>=~ 1'`ÿ?";
        let pair = format!("user:{password}");
        let encoded = STANDARD.encode(&pair);
        let scrubber = Secrets::default().secret(password).pair(&pair, &encoded).scrubber();
        let twice = scrubber.clone().and(&of(&[&password.replace('1', "2")]));
        assert!(
            scrubber.spellings().len() <= spell::SPELLINGS_MAX,
            "{}",
            scrubber.spellings().len()
        );
        assert!(twice.spellings().len() > scrubber.spellings().len());
        assert!(scrubber.spellings().iter().all(|one| one.text.len() >= ANYWHERE_BYTES_MIN));
    }

    proptest! {
        #[test]
        fn base64_is_found_wherever_the_secret_stands(
            secret in "[ -~]{8,40}",
            before in "[ -~]{0,7}",
            after in "[ -~]{0,7}",
        ) {
            let scrubber = of(&[&secret]);
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
