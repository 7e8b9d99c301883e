//! Masks what is secret by its name, wherever names stand beside values: in JSON, in forms and in queries.
//!
//! Looks at text and understands as little of it as it can: what is cut off, or no JSON after all, is masked as far as
//! names can be seen. Which names are secret, the caller knows. What is secret by its value is [`crate::scrub`]'s
//! business.

use serde::de::IgnoredAny;

use crate::scrub::MASK;

/// What ends one in what a program says, also where that is a string within JSON: no URL and no form has a backslash.
const SPOKEN_ENDS: &[u8] = b"&;#>\"' \t\r\n\\";

/// Bytes from which on a word behind a secret name may be a secret.
const SPOKEN_BYTES_MIN: usize = 8;

/// What ends a value in a form or a query, in headers too.
const ENDS: &[u8] = b"&;#>\"' \t\r\n";

/// A body with the values of secret fields masked; none if there is no such field.
pub(crate) fn body(text: &[u8], hides: impl Fn(&str) -> bool) -> Option<Vec<u8>> {
    match text.iter().find(|byte| !byte.is_ascii_whitespace())? {
        b'{' | b'[' => json(text, hides),
        // A form, or text in which a form or a URL stands.
        _ => parameters(text, hides),
    }
}

/// Text with the values of secret parameters masked: after its beginning, a `?` or a `&`. None if there is none.
pub(crate) fn parameters(text: &[u8], hides: impl Fn(&str) -> bool) -> Option<Vec<u8>> {
    pairs(text, ENDS, hides)
}

fn pairs(text: &[u8], ends: &[u8], hides: impl Fn(&str) -> bool) -> Option<Vec<u8>> {
    let mut clean = Clean::of(text);
    let mut at = 0;
    while let Some(equals) = memchr::memchr(b'=', &text[at..]).map(|found| at + found) {
        let starts = |byte: &u8| matches!(byte, b'?' | b'&') || ends.contains(byte);
        let name = text[at..equals].iter().rposition(starts).map_or(at, |before| at + before + 1);
        let end = equals + 1 + end_of_value(&text[equals + 1..], ends);
        if hides(&decoded(&text[name..equals])) {
            clean.mask(equals + 1..end, MASK.as_bytes());
        }
        at = end.max(equals + 1);
    }
    clean.done()
}

/// What a program says, with the values of secret names masked. None if there is none. A document of JSON stays one.
pub(crate) fn words(text: &str, hides: &dyn Fn(&str) -> bool) -> Option<String> {
    // Without either there is no name with a value.
    memchr::memchr2(b':', b'=', text.as_bytes())?;
    let document = text.trim_start().starts_with(['{', '['])
        && serde_json::from_str::<IgnoredAny>(text).is_ok();
    if document { strings(text, hides) } else { spoken(text, hides) }
}

/// A document of JSON with secret fields masked, and with what else its strings say as it may be said.
fn strings(text: &str, hides: &dyn Fn(&str) -> bool) -> Option<String> {
    let bytes = text.as_bytes();
    let (mask, mut clean, mut at) = (format!("\"{MASK}\""), Clean::of(bytes), 0);
    while let Some(start) = memchr::memchr(b'"', &bytes[at..]).map(|found| at + found) {
        let end = end_of_string(bytes, start);
        let said = serde_json::from_slice::<String>(&bytes[start..end]).unwrap_or_default();
        at = match after_colon(bytes, end) {
            Some(value) if hides(&said) => {
                let end = end_of_json(bytes, value);
                clean.mask(value..end, mask.as_bytes());
                end
            }
            Some(value) => value,
            None => {
                if let Some(masked) = spoken(&said, hides) {
                    clean.mask(start..end, serde_json::Value::from(masked).to_string().as_bytes());
                }
                end
            }
        };
    }
    clean.text()
}

/// Text in which JSON, forms, URLs, headers and names with their values may stand.
fn spoken(text: &str, hides: &dyn Fn(&str) -> bool) -> Option<String> {
    let begins = memchr::memchr2(b'{', b'[', text.as_bytes());
    let fields = begins.and_then(|begins| {
        let (before, document) = text.as_bytes().split_at(begins);
        json(document, hides).map(|document| [before, &document].concat())
    });
    let now = fields.as_deref().unwrap_or(text.as_bytes());
    let pairs = pairs(now, SPOKEN_ENDS, hides);
    let named = named(pairs.as_deref().unwrap_or(now), hides);
    // Whole characters were replaced by whole characters.
    let clean = named.or(pairs).or(fields)?;
    Some(String::from_utf8(clean).unwrap_or_else(|_| MASK.to_owned()))
}

/// Text with the values masked that stand behind a secret name and a colon: in a header, or in what a program prints of its
/// variables. What is neither in quotes nor looks like a secret stays: "token: expired" says what went wrong.
fn named(text: &[u8], hides: &dyn Fn(&str) -> bool) -> Option<Vec<u8>> {
    let mut clean = Clean::of(text);
    let mut at = 0;
    while let Some(colon) = memchr::memchr(b':', &text[at..]).map(|found| at + found) {
        at = colon + 1;
        let ends = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let end = text[..colon].iter().rposition(ends).map_or(0, |last| last + 1);
        let close = text[end..colon].iter().all(|byte| matches!(byte, b'"' | b'\'' | b' '));
        let start = text[..end].iter().rposition(|byte| !ends(byte)).map_or(0, |last| last + 1);
        let name = std::str::from_utf8(&text[start..end]).unwrap_or_default();
        if !close || name.is_empty() || !hides(name) {
            continue;
        }
        // A scheme, such as `Bearer`, may stand before the value.
        for _ in 0..2 {
            at += text[at..].iter().take_while(|byte| **byte == b' ').count();
            let (value, secret) = value_at(text, at);
            at = value.end.max(at);
            if secret && value.start >= clean.done {
                clean.mask(value, MASK.as_bytes());
                break;
            }
        }
    }
    clean.done()
}

/// The value that begins here, and whether it is to be taken for a secret.
fn value_at(text: &[u8], at: usize) -> (std::ops::Range<usize>, bool) {
    let closed = |end: usize| end - usize::from(end > at + 1 && text[end - 1] == text[at]);
    match text.get(at) {
        Some(b'"') => {
            let end = closed(end_of_string(text, at));
            return (at + 1..end, end > at + 1);
        }
        Some(b'\'') => {
            let end = memchr::memchr(b'\'', &text[at + 1..]).map_or(text.len(), |end| at + 1 + end);
            return (at + 1..end, end > at + 1);
        }
        _ => {}
    }
    let ends = |byte: &u8| byte.is_ascii_whitespace() || b"\"'\\,;(){}[]".contains(byte);
    let end = text[at..].iter().position(ends).map_or(text.len(), |found| at + found);
    let word = &text[at..end];
    (at..end, word.len() >= SPOKEN_BYTES_MIN && word.iter().any(u8::is_ascii_digit))
}

fn end_of_value(text: &[u8], ends: &[u8]) -> usize {
    text.iter().position(|byte| ends.contains(byte)).unwrap_or(text.len())
}

fn decoded(name: &[u8]) -> String {
    // One encoding of a name is undone, as whoever reads the form does.
    let pair = url::form_urlencoded::parse(name).next();
    pair.map_or_else(String::new, |(name, _)| name.into_owned())
}

/// JSON with the values of secret fields masked, whatever they are; none if there is no such field.
fn json(text: &[u8], hides: impl Fn(&str) -> bool) -> Option<Vec<u8>> {
    let mask = format!("\"{MASK}\"");
    let mut clean = Clean::of(text);
    let mut at = 0;
    while let Some(start) = memchr::memchr(b'"', &text[at..]).map(|found| at + found) {
        let end = end_of_string(text, start);
        at = end;
        let Some(value) = after_colon(text, end) else { continue };
        let raw = &text[start..end];
        let name = serde_json::from_slice::<String>(raw)
            .unwrap_or_else(|_| String::from_utf8_lossy(raw).into_owned());
        if hides(&name) {
            let end = end_of_json(text, value);
            clean.mask(value..end, mask.as_bytes());
            at = end;
        } else {
            at = value;
        }
    }
    clean.done()
}

/// Where a string ends that begins here, its last quote included.
fn end_of_string(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &text[at.min(text.len())..]) {
        at += found;
        match text[at] {
            b'"' => return at + 1,
            _ => at += 2,
        }
    }
    text.len()
}

/// Where the value begins, if what ends here was a name.
fn after_colon(text: &[u8], end: usize) -> Option<usize> {
    let colon = end + spaces(&text[end..]);
    if text.get(colon) != Some(&b':') {
        return None;
    }
    Some(colon + 1 + spaces(&text[colon + 1..]))
}

fn spaces(text: &[u8]) -> usize {
    text.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(text.len())
}

/// Where a value ends that begins here. One that is cut off ends with the text.
fn end_of_json(text: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_usize);
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => at = end_of_string(text, at),
            b'{' | b'[' => {
                depth += 1;
                at += 1;
                continue;
            }
            b'}' | b']' if depth == 0 => return at,
            b'}' | b']' => {
                depth -= 1;
                at += 1;
            }
            b',' if depth == 0 => return at,
            _ => {
                at += 1;
                continue;
            }
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// A copy in which parts are masked, made once there is a part to mask.
struct Clean<'t> {
    text: &'t [u8],
    copy: Vec<u8>,
    /// Up to where the text is copied or masked.
    done: usize,
    masked: bool,
}

// === impl Clean ===

impl<'t> Clean<'t> {
    fn of(text: &'t [u8]) -> Self {
        Self { text, copy: Vec::new(), done: 0, masked: false }
    }

    fn mask(&mut self, part: std::ops::Range<usize>, with: &[u8]) {
        self.copy.extend_from_slice(&self.text[self.done..part.start]);
        self.copy.extend_from_slice(with);
        (self.done, self.masked) = (part.end, true);
    }

    /// As text, which it was.
    fn text(self) -> Option<String> {
        self.done().map(|clean| String::from_utf8(clean).unwrap_or_else(|_| MASK.to_owned()))
    }

    fn done(mut self) -> Option<Vec<u8>> {
        self.copy.extend_from_slice(self.text.get(self.done..).filter(|_| self.masked)?);
        Some(self.copy)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hides(name: &str) -> bool {
        name.contains("token") || name == "password"
    }

    fn shown(text: &str) -> String {
        let clean = body(text.as_bytes(), hides);
        String::from_utf8(clean.unwrap_or_else(|| text.as_bytes().to_vec())).unwrap()
    }

    #[test]
    fn fields_of_json_are_masked_whatever_they_hold() {
        let mask = format!("\"{MASK}\"");
        for (text, expected) in [
            (r#"{"a":1,"token":"x\"y","b":2}"#, r#"{"a":1,"token":M,"b":2}"#),
            (r#"{ "access_token" : 12.5e3 }"#, r#"{ "access_token" : M}"#),
            (r#"{"tokens":{"a":["}",1]},"b":[1]}"#, r#"{"tokens":M,"b":[1]}"#),
            (r#"[{"password":null},{"password":[]}]"#, r#"[{"password":M},{"password":M}]"#),
            (r#"{"to\u006ben":"x"}"#, r#"{"to\u006ben":M}"#),
            (r#"{"a":{"token":"cut of"#, r#"{"a":{"token":M"#),
            (r#"{"token":"#, r#"{"token":M"#),
        ] {
            assert_eq!(shown(text), expected.replace('M', &mask), "{text}");
        }
        for same in [r#"{"a":"token"}"#, r#"{"a":"token","b":[1,2]}"#, "{", "[\"token\"]", "", " "]
        {
            assert_eq!(shown(same), same);
        }
    }

    #[test]
    fn parameters_are_masked_in_forms_and_in_urls() {
        for (text, expected) in [
            ("grant_type=x&refresh_token=abc&a=b", "grant_type=x&refresh_token=M&a=b"),
            ("pass%77ord=1", "pass%77ord=M"),
            ("/next?a=1&token=2#f", "/next?a=1&token=M#f"),
            ("<https://a.com/?token=1>; rel=\"next\"", "<https://a.com/?token=M>; rel=\"next\""),
            ("token=", "token=M"),
        ] {
            assert_eq!(shown(text), expected.replace('M', MASK), "{text}");
        }
        assert_eq!(shown("a=token&b=password"), "a=token&b=password");
    }

    #[test]
    fn values_are_masked_in_what_a_program_says() {
        for (text, expected) in [
            ("token: abc12345", "token: M"),
            (
                "sent authorization-token: Bearer eyJhbGciOi1, once",
                "sent authorization-token: Bearer M, once",
            ),
            ("{'token': 'abc', 'a': 1}", "{'token': 'M', 'a': 1}"),
            ("Config { token: \"abc\", a: 1 }", "Config { token: \"M\", a: 1 }"),
            ("answer: {\"token\":\"a\",\"b\":2} at 7", "answer: {\"token\":\"M\",\"b\":2} at 7"),
            ("GET https://a.com/?token=1&b=2: 404", "GET https://a.com/?token=M&b=2: 404"),
            ("{\"m\":\"token: abc12345\",\"n\":\"it's\"}", "{\"m\":\"token: M\",\"n\":\"it's\"}"),
            ("{\"m\":\"'token': 'abc\",\"n\":\"it's\"}", "{\"m\":\"'token': 'M\",\"n\":\"it's\"}"),
        ] {
            assert_eq!(
                words(text, &hides).unwrap_or(text.to_owned()),
                expected.replace('M', MASK),
                "{text}"
            );
        }
        for same in [
            "token: expired, trying again",
            "token:",
            "panicked at src/lib.rs:7:5",
            "a: abc12345",
            "é:",
            "",
        ] {
            assert_eq!(words(same, &hides), None, "{same}");
        }
    }

    proptest! {
        /// A guest's fields are a document, and stay one.
        #[test]
        fn words_leave_a_document_one(text in any::<String>(), other in "[a-z:'\"{}= 0-9]{0,24}") {
            let inner = serde_json::json!({ "token": text, "a": other, "b": format!("token: {other}") });
            let document = serde_json::json!({ "x": inner, "y": text }).to_string();
            let kept = words(&document, &hides).unwrap_or(document);
            let read: serde_json::Value = serde_json::from_str(&kept).unwrap();
            prop_assert_eq!(&read["x"]["token"], MASK);
        }

        #[test]
        fn no_words_are_too_odd(text in any::<String>(), other in "[token:='\"{ é0-9]{0,40}") {
            words(&text, &hides);
            words(&other, &hides);
        }

        /// Whatever else is in a document, the value of a secret field is not, and it stays a document.
        #[test]
        fn no_document_shows_a_secret_field(
            before in any::<String>(),
            secret in "[a-z]{8,12}",
            after in any::<String>(),
        ) {
            let inner = serde_json::json!({ "x": before, "token": [secret, { "y": after }], "z": after });
            let document = serde_json::json!([inner, { "password": secret }]).to_string();
            let kept = shown(&document);
            let read: serde_json::Value = serde_json::from_str(&kept).unwrap();
            prop_assert_eq!(&read[0]["x"], &inner["x"]);
            prop_assert_eq!(&read[0]["z"], &inner["z"]);
            prop_assert_eq!(&read[0]["token"], MASK);
            prop_assert_eq!(&read[1]["password"], MASK);
        }

        #[test]
        fn nothing_is_too_odd(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            body(&text, hides);
            parameters(&text, hides);
            json(&text, hides);
        }
    }
}
