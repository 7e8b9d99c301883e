//! Secrets that are too short to be looked for anywhere: found where they are a whole value.
//!
//! A value is a string of JSON that is no key, a number of JSON that is as long as what is looked for anywhere, the value of a
//! form's field, or a whole text. A document is read as it comes,
//! in pieces: what could become a value that is looked for is kept until it is known what it is.

use std::borrow::Cow;
use std::ops::Range;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use zeroize::Zeroizing;

use super::spell::{self, ANYWHERE_BYTES_MIN};

/// Bytes that one byte of a value has at most when it is written: `\u0061`.
const ESCAPED_BYTES_MAX: usize = 6;

/// White space behind a string of JSON that is waited through for the colon of a key. Nobody writes so much before one, and
/// what waits is held.
const SPACE_BYTES_MAX: usize = 64;

/// How a body says which of it are values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Json,
    Form,
    /// Anything else: it is one value.
    Text,
}

/// How far a body was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Before anything of a text; of JSON, between strings; of a form, where a value begins.
    Ready,
    /// In a string of JSON, or a value of a form, that is none that is looked for; of a text, behind its beginning.
    Inside,
    /// The same, behind a backslash.
    Escaped,
    /// Within a number of JSON, or a letter of a word that is none.
    Bare,
    /// In the name of a form's field.
    Name,
}

/// Reads a body for values.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    kind: Kind,
    state: State,
}

/// What was found in a piece of a body.
#[derive(Default)]
pub(super) struct Found {
    /// Where values are, without their quotes.
    pub(super) ranges: Vec<Range<usize>>,
    /// From here on it is not known yet.
    pub(super) open: Option<usize>,
}

/// What a value may be.
pub(super) type Values = [Zeroizing<String>];

// === impl Kind ===

impl Kind {
    /// By the label, and by the first letter where the label is none or only says that it is text.
    pub(crate) fn of(headers: &HeaderMap, body: &[u8]) -> Self {
        let label = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let label = label.unwrap_or_default().to_ascii_lowercase();
        if label.contains("json") {
            Self::Json
        } else if label.contains("x-www-form-urlencoded") {
            Self::Form
        } else if (label.is_empty() || label.starts_with("text/")) && looks_like_json(body) {
            Self::Json
        } else {
            Self::Text
        }
    }

    /// By the first letter alone, for who keeps bodies without their labels.
    pub(crate) fn guessed(body: &[u8]) -> Self {
        if looks_like_json(body) { Self::Json } else { Self::Form }
    }
}

fn looks_like_json(body: &[u8]) -> bool {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    matches!(body.iter().find(|byte| !byte.is_ascii_whitespace()), Some(b'{' | b'['))
}

/// Whether a text is one of these, but for spaces around it.
pub(super) fn whole(values: &Values, text: &[u8]) -> bool {
    values.iter().any(|value| value.as_bytes() == text.trim_ascii())
}

/// Where parameters of a URL have one of these values: in a header, such as a link.
pub(super) fn parameters(values: &Values, text: &[u8]) -> Vec<Range<usize>> {
    let ends = |byte: &u8| b"&;#>\"', \t".contains(byte);
    let mut found = Vec::new();
    for equals in memchr::memchr_iter(b'=', text) {
        let rest = &text[equals + 1..];
        let end = rest.iter().position(ends).unwrap_or(rest.len());
        if decoded_is_one(values, &rest[..end]) {
            found.push(equals + 1..equals + 1 + end);
        }
    }
    found
}

fn decoded_is_one(values: &Values, text: &[u8]) -> bool {
    let value = Zeroizing::new([b"v=", text].concat());
    let pair = url::form_urlencoded::parse(&value).next();
    pair.is_some_and(|(_, value)| is_one(values, &value))
}

/// A byte of a number of JSON, or of a word such as `true`, which only then has its own end.
const fn bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')
}

/// Whether a number is one of these. A short one is met by chance also as a whole.
fn is_number(values: &Values, text: &[u8]) -> bool {
    text.len() >= ANYWHERE_BYTES_MIN
        && spell::digits(text)
        && values.iter().any(|value| value.as_bytes() == text)
}

fn is_one(values: &Values, text: &str) -> bool {
    values.iter().any(|value| value.as_str() == text)
}

// === impl Reader ===

impl Reader {
    pub(super) fn new(kind: Kind) -> Self {
        let state = if kind == Kind::Form { State::Name } else { State::Ready };
        Self { kind, state }
    }

    /// Values in a piece, which begins where this stands. `last` says that nothing comes after it.
    pub(super) fn find(&self, values: &Values, piece: &[u8], last: bool) -> Found {
        let longest = values.iter().map(|value| value.len()).max().unwrap_or_default();
        let most = longest * ESCAPED_BYTES_MAX;
        match self.kind {
            Kind::Json => self.in_json(values, piece, last, most),
            Kind::Form => self.in_form(values, piece, last, most),
            Kind::Text => self.in_text(values, piece, last, most),
        }
    }

    /// Goes on behind this piece, in which no value is open.
    pub(super) fn pass(&mut self, piece: &[u8]) {
        for &byte in piece {
            self.state = self.after(byte);
        }
    }

    fn after(&self, byte: u8) -> State {
        match (self.kind, self.state, byte) {
            (Kind::Text, ..) => State::Inside,
            (Kind::Form, _, b'&') => State::Name,
            (Kind::Form, State::Name, b'=') => State::Ready,
            (Kind::Form, State::Name, _) => State::Name,
            (Kind::Form, ..) => State::Inside,
            (Kind::Json, State::Inside, b'\\') => State::Escaped,
            (Kind::Json, State::Escaped, _) => State::Inside,
            (Kind::Json, State::Inside, b'"') => State::Ready,
            (Kind::Json, State::Inside, _) | (Kind::Json, _, b'"') => State::Inside,
            (Kind::Json, _, byte) if bare(byte) => State::Bare,
            (Kind::Json, ..) => State::Ready,
        }
    }

    fn in_json(&self, values: &Values, piece: &[u8], last: bool, most: usize) -> Found {
        let mut found = Found::default();
        let (mut reader, mut at) = (self.clone(), 0);
        while at < piece.len() {
            if reader.state == State::Ready && bare(piece[at]) {
                let length = piece[at..].iter().position(|byte| !bare(*byte));
                if length.is_none() && !last && piece.len() - at <= most {
                    found.open = Some(at);
                    return found;
                }
                let end = at + length.unwrap_or(piece.len() - at);
                if is_number(values, &piece[at..end]) {
                    found.ranges.push(at..end);
                }
                reader.state = State::Bare;
                at = end;
                continue;
            }
            // In a string that begins here, `end_of_string` goes to its end.
            let begins = piece[at] == b'"' && matches!(reader.state, State::Ready | State::Bare);
            if !begins {
                reader.state = reader.after(piece[at]);
                at += 1;
                continue;
            }
            reader.state = State::Ready;
            let Some(end) = end_of_string(piece, at) else {
                // It goes on in the next piece, or is too long already.
                found.open = (!last && piece.len() - at <= most + 2).then_some(at);
                return found;
            };
            let raw = &piece[at..end];
            let one = raw.len() <= most + 2
                && serde_json::from_slice::<Cow<'_, str>>(raw)
                    .is_ok_and(|text| is_one(values, &text));
            if one {
                let behind = &piece[end..];
                match behind.iter().find(|byte| !byte.is_ascii_whitespace()) {
                    None if !last && behind.len() <= SPACE_BYTES_MAX => {
                        found.open = Some(at);
                        return found;
                    }
                    // A key.
                    Some(b':') => {}
                    _ => found.ranges.push(at + 1..end - 1),
                }
            }
            at = end;
        }
        found
    }

    fn in_form(&self, values: &Values, piece: &[u8], last: bool, most: usize) -> Found {
        let mut found = Found::default();
        let mut reader = self.clone();
        for (at, &byte) in piece.iter().enumerate() {
            if reader.state == State::Ready {
                let length = piece[at..].iter().position(|byte| *byte == b'&');
                if length.is_none() && !last {
                    found.open = (piece.len() - at <= most).then_some(at);
                    return found;
                }
                let end = at + length.unwrap_or(piece.len() - at);
                let value = piece[at..end].trim_ascii_end();
                if value.len() <= most && decoded_is_one(values, value) {
                    found.ranges.push(at..at + value.len());
                }
            }
            reader.state = reader.after(byte);
        }
        // A value that begins with the next piece.
        found
    }

    fn in_text(&self, values: &Values, piece: &[u8], last: bool, most: usize) -> Found {
        let mut found = Found::default();
        if self.state != State::Ready || piece.len() > most {
            return found;
        }
        if !last {
            found.open = Some(0);
        } else if whole(values, piece) {
            let begin = piece.len() - piece.trim_ascii_start().len();
            found.ranges.push(begin..begin + piece.trim_ascii().len());
        }
        found
    }
}

/// Behind the last quote of a string that begins here, if that is in the piece.
fn end_of_string(piece: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', piece.get(at..)?)?;
        if piece[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Vec<Zeroizing<String>> {
        ["true", "a&b\"c"].map(|value| Zeroizing::new(value.to_owned())).to_vec()
    }

    fn found(kind: Kind, text: &str) -> Vec<String> {
        let found = Reader::new(kind).find(&values(), text.as_bytes(), true);
        found.ranges.into_iter().map(|range| text[range].to_owned()).collect()
    }

    #[test]
    fn strings_of_json_are_values_where_they_are_no_keys() {
        let text = r#"{"ok":true,"true":"x","a":["true","untrue"], "b" : "tru\u0065","c":"a&b\"c","true" :1}"#;
        assert_eq!(found(Kind::Json, text), ["true", "tru\\u0065", "a&b\\\"c"]);
        assert_eq!(found(Kind::Json, "\"true\""), ["true"]);
        assert!(found(Kind::Json, "true").is_empty());
        assert!(found(Kind::Json, r#"{"a":"\"true\"","b":"tru"#).is_empty());
    }

    #[test]
    fn fields_of_a_form_are_values() {
        assert_eq!(
            found(Kind::Form, "true=1&a=true&b=a%26b%22c&c=untrue\n"),
            ["true", "a%26b%22c"]
        );
        assert_eq!(found(Kind::Form, "a=true\r\n"), ["true"]);
    }

    #[test]
    fn a_text_is_one_value() {
        assert_eq!(found(Kind::Text, " true\n"), ["true"]);
        assert!(found(Kind::Text, "true, true").is_empty());
    }

    #[test]
    fn parameters_of_a_link_are_values() {
        let text = "<https://a.com/?true=1&b=true>; rel=\"true\", <https://a.com/?b=true1>";
        let found = parameters(&values(), text.as_bytes());
        let found: Vec<&str> =
            found.into_iter().map(|range| &text[range.start - 2..range.end]).collect();
        assert_eq!(found, ["b=true"]);
    }

    #[test]
    fn kinds_are_told_by_label_and_then_by_the_first_letter() {
        let kind = |label: &str, body: &str| {
            let mut headers = HeaderMap::new();
            if !label.is_empty() {
                headers.insert(CONTENT_TYPE, label.parse().unwrap());
            }
            Kind::of(&headers, body.as_bytes())
        };
        assert_eq!(kind("application/problem+JSON; charset=utf-8", "x"), Kind::Json);
        assert_eq!(kind("application/x-www-form-urlencoded", "{"), Kind::Form);
        assert_eq!(kind("text/html", " {"), Kind::Json);
        assert_eq!(kind("", "\u{feff}["), Kind::Json);
        assert_eq!(kind("application/octet-stream", "{"), Kind::Text);
        assert_eq!(kind("", "a=b"), Kind::Text);
    }
}
