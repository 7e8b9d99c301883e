//! Masks what is secret by its name, wherever names stand beside values: in JSON, in forms and in queries.
//!
//! Looks at text and understands as little of it as it can: what is cut off, or no JSON after all, is masked as far as
//! names can be seen. Which names are secret, the caller knows. What is secret by its value is [`crate::scrub`]'s
//! business.

use crate::scrub::MASK;

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
    let mut clean = Clean::of(text);
    let mut at = 0;
    while let Some(equals) = memchr::memchr(b'=', &text[at..]).map(|found| at + found) {
        let starts = |byte: &u8| matches!(byte, b'?' | b'&') || ENDS.contains(byte);
        let name = text[at..equals].iter().rposition(starts).map_or(at, |before| at + before + 1);
        let end = equals + 1 + end_of_value(&text[equals + 1..]);
        if hides(&decoded(&text[name..equals])) {
            clean.mask(equals + 1..end, MASK.as_bytes());
        }
        at = end.max(equals + 1);
    }
    clean.done()
}

fn end_of_value(text: &[u8]) -> usize {
    text.iter().position(|byte| ENDS.contains(byte)).unwrap_or(text.len())
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

    proptest! {
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
