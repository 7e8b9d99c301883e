//! Text that no reader of JSON takes, and names that `serde_json` takes for its own, made such that it reads them.

use std::borrow::Cow;

/// How every name begins under which `serde_json` hands something over.
const PRIVATE: &str = "$serde_json::private::";

/// What a broken escape becomes: U+FFFD, as the standards for text have it, spelled as JSON.
const REPLACEMENT: &str = "\\ufffd";

/// UTF-8's byte order mark, which readers of JSON may skip (RFC 8259 section 8.1).
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Text without a byte order mark, bytes that are not UTF-8 replaced.
pub(crate) fn readable(bytes: &[u8]) -> Cow<'_, str> {
    match String::from_utf8_lossy(bytes) {
        Cow::Borrowed(text) => Cow::Borrowed(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)),
        Cow::Owned(mut text) => {
            if text.starts_with(BYTE_ORDER_MARK) {
                text.drain(..BYTE_ORDER_MARK.len_utf8());
            }
            Cow::Owned(text)
        }
    }
}

/// JSON text with U+FFFD in place of escapes that stand for no character.
pub(super) fn mended(text: &str) -> Cow<'_, str> {
    let (mut out, mut done, mut at) = (String::new(), 0, 0);
    while let Some(found) = text[at..].find('\\') {
        let start = at + found;
        let (length, sound) = escape(&text[start..]);
        at = start + length;
        if !sound {
            out.push_str(&text[done..start]);
            out.push_str(REPLACEMENT);
            done = at;
        }
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[done..]);
    Cow::Owned(out)
}

/// JSON text in which no member is called as `serde_json` calls what it hands over: U+FFFD stands before such a name. A
/// provider's object would be taken for a number otherwise, or text in it for JSON.
pub(super) fn renamed(text: &str) -> Cow<'_, str> {
    // All of the name is ASCII, whose escapes begin like this.
    if !text.contains(PRIVATE) && !text.contains("\\u00") {
        return Cow::Borrowed(text);
    }
    let (mut out, mut done, mut at) = (String::new(), 0, 0);
    while let Some(found) = text[at..].find('"') {
        let start = at + found;
        at = end_of_string(text, start);
        let name = &text[start..at];
        let is_name = text[at..].trim_start_matches([' ', '\t', '\r', '\n']).starts_with(':');
        let read = || serde_json::from_str::<String>(name).unwrap_or_default();
        if is_name && (name[1..].starts_with(PRIVATE) || read().starts_with(PRIVATE)) {
            out.push_str(&text[done..=start]);
            out.push_str(REPLACEMENT);
            done = start + 1;
        }
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[done..]);
    Cow::Owned(out)
}

/// Where a string ends that begins here, its last quote included.
fn end_of_string(text: &str, start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = text[at..].find(['"', '\\']) {
        let (quoted, escape) = (at + found, text[at + found..].starts_with('\\'));
        if !escape {
            return quoted + 1;
        }
        let escaped = text[quoted + 1..].chars().next().map_or(0, char::len_utf8);
        at = quoted + 1 + escaped;
    }
    text.len()
}

/// Bytes of the escape that a text begins with, and whether it stands for a character (RFC 8259 section 7).
fn escape(text: &str) -> (usize, bool) {
    match text[1..].chars().next() {
        Some('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => (2, true),
        Some('u') => match unit(text) {
            (length, Some(0xd800..=0xdbff)) => match unit(&text[length..]) {
                (rest, Some(0xdc00..=0xdfff)) => (length + rest, true),
                _ => (length, false),
            },
            (length, Some(0xdc00..=0xdfff) | None) => (length, false),
            (length, Some(_)) => (length, true),
        },
        Some(other) => (1 + other.len_utf8(), false),
        None => (1, false),
    }
}

/// Bytes of the `\uXXXX` that a text begins with, and its code unit, if it is whole.
fn unit(text: &str) -> (usize, Option<u32>) {
    let Some(digits) = text.strip_prefix("\\u") else { return (0, None) };
    let count = digits.bytes().take(4).take_while(u8::is_ascii_hexdigit).count();
    let value = (count == 4).then(|| u32::from_str_radix(&digits[..4], 16).ok()).flatten();
    (2 + count, value)
}
