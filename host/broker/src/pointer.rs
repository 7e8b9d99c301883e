//! A value of a JSON body by its pointer (RFC 6901), whatever stands beside it.
//!
//! Errors are written by servers in a hurry: a byte order mark before them, a name in Latin-1 or half of a surrogate pair in
//! a message, a number that nobody can hold. None of it changes what the member says that is looked for, and a parser that
//! takes all or nothing would not find it. Only the way to the value is read; numbers are what they are written as.

use std::collections::BTreeMap;

use serde::Deserialize as _;
use serde_json::Deserializer;
use serde_json::value::RawValue;

/// What UTF-8 files of some systems begin with.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// U+FFFD as an escape, as long as the one that it stands for.
const REPLACEMENT: &str = "\\ufffd";

/// A body to look into.
pub(crate) struct Document(String);

// === impl Document ===

impl Document {
    /// Of what is JSON but for bytes and escapes that stand for no character.
    pub(crate) fn of(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        Self(mended(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text).to_owned()))
    }

    /// The text, number or boolean at a place. What is behind the document does not count.
    pub(crate) fn at(&self, pointer: &str) -> Option<String> {
        let mut value = <&RawValue>::deserialize(&mut Deserializer::from_str(&self.0)).ok()?.get();
        for step in pointer.strip_prefix('/')?.split('/') {
            value = inner(value, &step.replace("~1", "/").replace("~0", "~"))?;
        }
        match value.as_bytes().first()? {
            b'"' => serde_json::from_str(value).ok(),
            b'{' | b'[' | b'n' => None,
            _ => Some(value.to_owned()),
        }
    }
}

fn inner<'d>(value: &'d str, step: &str) -> Option<&'d str> {
    let found = match value.as_bytes().first()? {
        b'{' => serde_json::from_str::<BTreeMap<String, &RawValue>>(value).ok()?.remove(step),
        b'[' if step == "0" || !step.starts_with(['0', '+']) => {
            let at: usize = step.parse().ok()?;
            serde_json::from_str::<Vec<&RawValue>>(value).ok()?.get(at).copied()
        }
        _ => None,
    };
    found.map(RawValue::get)
}

/// With U+FFFD for each half of a surrogate pair that is escaped alone: a string with one is no text to a parser.
fn mended(mut text: String) -> String {
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', &text.as_bytes()[at..]) {
        let (start, behind) = (at + found, at + found + REPLACEMENT.len());
        at = match (unit(&text, start), unit(&text, behind)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => behind + REPLACEMENT.len(),
            (Some(0xd800..=0xdfff), _) => {
                text.replace_range(start..behind, REPLACEMENT);
                behind
            }
            // A backslash takes the byte after it along.
            _ => (start + 2).min(text.len()),
        };
    }
    text
}

/// The code unit of the `\uXXXX` that stands there, if one does.
fn unit(text: &str, at: usize) -> Option<u16> {
    let digits = text.as_bytes().get(at..at + REPLACEMENT.len())?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(body: &[u8], pointer: &str) -> Option<String> {
        Document::of(body).at(pointer)
    }

    #[test]
    fn a_value_is_found_whatever_stands_beside_it() {
        for (pre, post) in [
            (&b""[..], &b""[..]),
            (b"\xef\xbb\xbf", b""),
            (b" ", b"\r\n<!-- 12 ms -->"),
            (br#"{"by":"Ren\ud800","#, b"}"),
            (br#"{"by\udfff":1,"#, b"}"),
            (b"{\"by\":\"Ren\xe9\",", b"}"),
            (br#"{"n":1e400,"m":123456789012345678901234567890,"#, b"}"),
            (br#"{"path":"C:\\ud800","pair":"\ud83d\ude00\ud83d","#, b"}"),
        ] {
            let member = match pre.contains(&b'{') {
                true => r#""error":{"a/b":["x",{"code":17}]}"#,
                false => r#"{"error":{"a/b":["x",{"code":17}]}}"#,
            };
            let body = [pre, member.as_bytes(), post].concat();
            let shown = String::from_utf8_lossy(&body).into_owned();
            assert_eq!(at(&body, "/error/a~1b/1/code").as_deref(), Some("17"), "{shown}");
            assert_eq!(at(&body, "/error/a~1b/0").as_deref(), Some("x"), "{shown}");
        }
    }

    #[test]
    fn values_are_what_they_are_written_as_and_nothing_else_is_found() {
        let body =
            br#"{"t":true,"n":1e400,"s":"a\"\u00e9\ud800","null":null,"list":[1],"o":{"":2}}"#;
        for (pointer, expected) in [
            ("/t", Some("true")),
            ("/n", Some("1e400")),
            ("/s", Some("a\"é\u{fffd}")),
            ("/list/0", Some("1")),
            ("/o/", Some("2")),
            ("/null", None),
            ("/list", None),
            ("/list/00", None),
            ("/list/+0", None),
            ("/list/1", None),
            ("/o", None),
            ("/t/x", None),
            ("t", None),
            ("", None),
        ] {
            assert_eq!(at(body, pointer).as_deref(), expected, "{pointer}");
        }
        for body in [&b""[..], b"not json", b"{\"t\":1", b"<t>1</t>", b"\\", b"\"\\u"] {
            assert_eq!(at(body, "/t"), None, "{body:?}");
        }
    }
}
