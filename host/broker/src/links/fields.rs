//! Links as they stand in header fields: what a field's value is a link, or has links in it.
//!
//! Values are bytes. What is not a link goes through as it came, whatever its bytes are; in a link, bytes that are no text are
//! escaped, as browsers do. A field that breaks its grammar is read as lenient clients read it, because it is those who would
//! follow what is in it.

use std::borrow::Cow;

use http::header::HeaderValue;

use super::absolute;

/// The value with its link led elsewhere; none if it stays.
pub(super) fn whole(
    value: &HeaderValue,
    lead: impl Fn(&str) -> Option<String>,
) -> Option<HeaderValue> {
    let led = lead(text(value.as_bytes()).trim())?;
    HeaderValue::from_str(&led).ok()
}

/// The value of a `Link` field (RFC 8288 section 3) with its targets led elsewhere: what stands in angle brackets outside of
/// quotes. Where quotes do not match, they are no quotes, and a bracket that is not closed ends where the next one opens.
pub(super) fn each(
    value: &HeaderValue,
    lead: impl Fn(&str) -> Option<String>,
) -> Option<HeaderValue> {
    let value = value.as_bytes();
    let quotes = quotes_match(value);
    let (mut led, mut changed) = (Vec::with_capacity(value.len()), false);
    let mut rest = value;
    if let Some(end) = bare(value) {
        let link = lead(text(&value[..end]).trim());
        changed |= link.is_some();
        led.extend_from_slice(link.as_deref().map_or(&value[..end], str::as_bytes));
        rest = &value[end..];
    }
    while let Some(at) = rest.iter().position(|byte| *byte == b'<' || quotes && *byte == b'"') {
        let (before, from) = rest.split_at(at);
        led.extend_from_slice(before);
        let end = if from[0] == b'"' { string(from).unwrap_or(from.len()) } else { target(from) };
        let (piece, after) = from.split_at(end);
        let link = piece.strip_prefix(b"<").and_then(|link| lead(text(link).trim()));
        match link {
            Some(link) => {
                changed = true;
                led.push(b'<');
                led.extend_from_slice(link.as_bytes());
            }
            None => led.extend_from_slice(piece),
        }
        rest = after;
    }
    led.extend_from_slice(rest);
    changed.then(|| HeaderValue::from_bytes(&led).ok()).flatten()
}

/// The value of `refresh` with its link led elsewhere: a number of seconds, then a link, which `url=` and quotes may stand
/// around, as browsers read it (HTML, "shared declarative refresh steps").
pub(super) fn behind_time(
    value: &HeaderValue,
    lead: impl Fn(&str) -> Option<String>,
) -> Option<HeaderValue> {
    let value = value.as_bytes();
    let time = value.iter().position(|b| !b.is_ascii_digit() && !b" \t.".contains(b))?;
    let rest = &value[time..];
    if !value[..time].iter().any(u8::is_ascii_digit) || !matches!(rest[0], b';' | b',') {
        return None;
    }
    let rest = rest[1..].trim_ascii_start();
    let rest = assigned(rest).unwrap_or(rest);
    let (link, after) = match rest.first() {
        Some(quote @ (b'"' | b'\'')) => {
            let end = rest[1..].iter().position(|byte| byte == quote);
            rest[1..].split_at(end.unwrap_or(rest.len() - 1))
        }
        _ => (rest, &[][..]),
    };
    let before = &value[..value.len() - after.len() - link.len()];
    let led = lead(text(link).trim())?;
    HeaderValue::from_bytes(&[before, led.as_bytes(), after].concat()).ok()
}

/// What stands behind `url=`.
fn assigned(text: &[u8]) -> Option<&[u8]> {
    let (name, rest) = text.split_at_checked(3)?;
    let value = rest.trim_ascii_start().strip_prefix(b"=")?;
    name.eq_ignore_ascii_case(b"url").then(|| value.trim_ascii_start())
}

/// Where the target ends that begins with this bracket.
fn target(from: &[u8]) -> usize {
    let end = from[1..].iter().position(|byte| matches!(byte, b'>' | b'<'));
    end.map_or(from.len(), |at| at + 1)
}

/// Bytes of the quoted string that begins here, with its quotes.
fn string(from: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match from.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Whether each quote is one of a pair around the value of a parameter.
fn quotes_match(value: &[u8]) -> bool {
    let mut at = 0;
    while let Some(byte) = value.get(at) {
        match byte {
            b'<' => at += target(&value[at..]),
            b'"' => {
                let Some(bytes) = string(&value[at..]) else { return false };
                let before = value[..at].trim_ascii_end();
                let after = value[at + bytes..].trim_ascii_start();
                if !before.ends_with(b"=") || !matches!(after.first(), None | Some(b',' | b';')) {
                    return false;
                }
                at += bytes;
            }
            _ => at += 1,
        }
    }
    true
}

/// Where the first target ends, if its opening bracket is missing.
fn bare(value: &[u8]) -> Option<usize> {
    let end = value.iter().position(|byte| matches!(byte, b'<' | b'>'))?;
    (value[end] == b'>' && absolute(&text(&value[..end]))).then_some(end)
}

/// Bytes as text: bytes that are none are escaped.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => bytes
            .iter()
            .map(|byte| match byte.is_ascii() {
                true => char::from(*byte).to_string(),
                false => format!("%{byte:02X}"),
            })
            .collect(),
    }
}
