//! JSON as the API takes it: RFC 8259 with what RFC 7493 (I-JSON) forbids taken out.
//!
//! Checks text and hands the same text on. A repeated key is refused because two readers would each
//! believe another of them; depth is bounded; numbers are checked to be numbers and otherwise left alone.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use keyway_core::limits::JSON_DEPTH_MAX;
use keyway_core::{Code, Fault};
use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::error::Category;
use serde_json::value::RawValue;
use time::OffsetDateTime;

/// The bytes as JSON text, or why they are none. `serde_json` itself refuses what is nested
/// [`JSON_DEPTH_MAX`] deep.
pub(crate) fn check(bytes: &[u8]) -> Result<&str, Fault> {
    let refuse = |detail: String| Err(Fault::new(Code::MalformedJson, detail));
    if bytes.is_empty() {
        return refuse("the body is empty; JSON is expected".to_owned());
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return refuse("the body begins with a byte order mark (RFC 8259 section 8.1)".to_owned());
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return refuse("the body is not UTF-8".to_owned());
    };
    match serde_json::from_str::<Checked>(text) {
        Ok(Checked) => Ok(text),
        Err(error) if error.to_string().starts_with("recursion limit") => {
            refuse(format!("the body is nested {JSON_DEPTH_MAX} deep, or more"))
        }
        Err(error) => refuse(format!("the body is not JSON: {error}")),
    }
}

/// Checked text as a value.
pub(crate) fn value(text: &str) -> Result<serde_json::Value, Fault> {
    serde_json::from_str(text).map_err(|error| misfit(&error))
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

/// Any JSON without repeated keys.
struct Checked;

struct CheckedVisitor;

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(CheckedVisitor)
    }
}

impl<'de> Visitor<'de> for CheckedVisitor {
    type Value = Checked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Checked, A::Error> {
        while items.next_element::<Checked>()?.is_some() {}
        Ok(Checked)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Checked, A::Error> {
        let mut keys = HashSet::new();
        while let Some(Key(key)) = fields.next_key()? {
            if !keys.insert(key) {
                // Not named: the key is the caller's, and may be long.
                return Err(A::Error::custom("an object has the same key twice"));
            }
            fields.next_value::<Checked>()?;
        }
        Ok(Checked)
    }
}

#[cfg(test)]
mod tests {
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
            " {\"a\" : [1e2, -0.0] } ",
        ] {
            assert_eq!(check(text.as_bytes()).unwrap(), text);
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
            "1e999",
            r#"{"a":1,"a":2}"#,
            r#"{"x":[{"a":1,"\u0061":2}]}"#,
            "\u{feff}{}",
            r#""\ud800""#,
        ] {
            assert!(refused(text.as_bytes()), "{text:?}");
        }
        assert!(refused(b"\"\xff\""));
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
