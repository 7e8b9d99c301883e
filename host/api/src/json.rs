//! JSON as the API takes it: RFC 8259 with what RFC 7493 (I-JSON) forbids taken out.
//!
//! Checks text and hands the same text on. A repeated key is refused because two readers would each
//! believe another of them; depth is bounded; numbers are checked to be numbers and otherwise left alone.

use keyway_core::schema::{Document, NotRead};
use keyway_core::{Code, Fault};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde_json::error::Category;
use serde_json::value::RawValue;
use time::OffsetDateTime;

/// A byte order mark. RFC 8259 section 8.1: a reader may pass over it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The bytes as JSON text, without a byte order mark and otherwise the same, and how many values it has; or why they are none.
pub(crate) fn text(mut bytes: Vec<u8>) -> Result<(String, usize), Fault> {
    let values = check(&bytes)?.1;
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    let text = String::from_utf8(bytes).map_err(|_| not_utf8())?;
    Ok((text, values))
}

/// The bytes as JSON text without a byte order mark, and how many values it has; or why they are none. Nothing is made of
/// it but a list of where its values are.
pub(crate) fn check(bytes: &[u8]) -> Result<(&str, usize), Fault> {
    let refuse = |detail: String| Err(Fault::new(Code::MalformedJson, detail));
    if bytes.is_empty() {
        return refuse("the body is empty; JSON is expected".to_owned());
    }
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|_| not_utf8())?;
    let document = match Document::read(text) {
        Ok(document) => document,
        Err(NotRead::Syntax(error)) => return refuse(format!("the body is not JSON: {error}")),
        Err(other) => return refuse(format!("the body {other}")),
    };
    match document.flaw() {
        None => Ok((text, document.len())),
        Some(flaw) => refuse(format!("the body is not JSON for everybody: {flaw}")),
    }
}

fn not_utf8() -> Fault {
    Fault::new(Code::MalformedJson, "the body is not UTF-8")
}

/// Bytes of the string that a text begins with.
fn string(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}

/// Checked text without what stands between its parts.
pub(crate) fn compact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string(rest),
            _ => rest.find('"').unwrap_or(rest.len()),
        };
        let (part, behind) = rest.split_at(length);
        match first {
            '"' => out.push_str(part),
            _ => out.extend(part.chars().filter(|c| !c.is_ascii_whitespace())),
        }
        rest = behind;
    }
    out
}

/// Checked text as an object of a shape. What `serde` derives would take a list of the fields, too.
pub(crate) fn object<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    if !text.trim_start().starts_with('{') {
        return Err(Fault::new(Code::InvalidRequest, "the body is a JSON object"));
    }
    serde_json::from_str(text).map_err(|error| misfit(&error))
}

/// For a field that may be left out: `null` is refused. Leaving a field out often means all, or unguarded, and a caller whose
/// variable is empty does not mean that.
pub(crate) fn present<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(from).map(Some)
}

/// As [`present`], for a time.
pub(crate) fn present_time<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<OffsetDateTime>, D::Error> {
    time::serde::rfc3339::deserialize(from).map(Some)
}

/// For a field that is a list of objects: as [`object`].
pub(crate) fn objects<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let items: Vec<Box<RawValue>> = Vec::deserialize(from)?;
    let object = |item: Box<RawValue>| {
        if !item.get().starts_with('{') {
            return Err(D::Error::custom("an item is not a JSON object"));
        }
        serde_json::from_str(item.get()).map_err(D::Error::custom)
    };
    items.into_iter().map(object).collect()
}

fn misfit(error: &serde_json::Error) -> Fault {
    match error.classify() {
        Category::Data => {
            Fault::new(Code::InvalidRequest, format!("the body does not fit: {error}"))
        }
        _ => Fault::new(Code::MalformedJson, format!("the body is not JSON: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use keyway_core::limits::{JSON_DEPTH_MAX, JSON_NODES_MAX};

    use super::*;

    fn refused(text: &[u8]) -> bool {
        check(text).is_err_and(|fault| fault.code == Code::MalformedJson)
    }

    #[test]
    fn takes_json_and_hands_on_the_same_text() {
        for text in [
            "1",
            "null",
            r#""x""#,
            "[]",
            r#"{"n":9007199254740993,"m":{"n":1.0}}"#,
            r#"{"big":123456789012345678901234567890}"#,
            r#"{"larger":[1e400,-1E+400,{"1e400":"\"1e400"}],"small":1e-400}"#,
            " {\"a\" : [1e2, -0.0] } ",
        ] {
            assert_eq!(check(text.as_bytes()).unwrap().0, text);
        }
    }

    #[test]
    fn refuses_what_readers_disagree_about() {
        for text in [
            "",
            "{",
            "NaN",
            "[Infinity]",
            "{'a':1}",
            "{\"a\":1,}",
            "[1] [2]",
            "01",
            "1e999x",
            "[01e999]",
            r#"{"a":1e999,"a":2}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"x":[{"a":1,"\u0061":2}]}"#,
            "\u{feff}",
            "\u{feff}\u{feff}{}",
            r#""\ud800""#,
        ] {
            assert!(refused(text.as_bytes()), "{text:?}");
        }
        assert!(refused(b"\"\xff\""));
    }

    #[test]
    fn a_byte_order_mark_is_passed_over() {
        let marked = "\u{feff}{\"a\":1}";
        assert_eq!(check(marked.as_bytes()).unwrap(), ("{\"a\":1}", 3));
        assert_eq!(text(marked.into()).unwrap(), ("{\"a\":1}".to_owned(), 3));
    }

    #[test]
    fn compact_text_has_every_part_as_it_was() {
        let text = " { \"b a\" :\n[ 1.50 , \"\\\" \\\\\" ,true,1e400 ],\t\"a\":{ } } ";
        assert_eq!(compact(text), r#"{"b a":[1.50,"\" \\",true,1e400],"a":{}}"#);
        assert_eq!(compact("\"x y\""), "\"x y\"");
    }

    #[test]
    fn values_and_names_are_counted() {
        let list = |items: usize| format!("[{}0]", "0,".repeat(items - 1));
        assert!(check(list(JSON_NODES_MAX - 1).as_bytes()).is_ok());
        let fault = check(list(JSON_NODES_MAX).as_bytes()).unwrap_err();
        assert_eq!(fault.code, Code::MalformedJson);
        assert!(fault.detail.contains("values"), "{fault}");
        let members = (0..JSON_NODES_MAX / 2).map(|n| format!("\"{n}\":0")).collect::<Vec<_>>();
        assert!(refused(format!("{{{}}}", members.join(",")).as_bytes()));
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(check(nested(JSON_DEPTH_MAX - 1).as_bytes()).is_ok());
        let fault = check(nested(JSON_DEPTH_MAX).as_bytes()).unwrap_err();
        assert!(fault.detail.contains("deep"), "{fault}");
        assert!(refused(nested(10_000).as_bytes()));
    }
}
