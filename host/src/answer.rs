//! What a host answered, as the text that it sent: a number keeps its digits, and members keep their order.
//!
//! A value of `serde_json` would keep neither. Text is read into a type where a command shows a part of it as text.

use std::fmt;

use anyhow::{Context as _, anyhow};
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// What a host of another version is told by.
const OTHER_SHAPE: &str = "answer of another shape than this version's";

/// UTF-8's byte order mark, which readers of JSON may skip (RFC 8259 section 8.1).
pub(crate) const BYTE_ORDER_MARK: char = '\u{feff}';

/// JSON text of a host, or put together from such.
#[derive(Clone, Debug)]
pub(crate) struct Answer(String);

/// An object's members in their order, each as text.
#[derive(Default)]
pub(crate) struct Members(Vec<(String, Box<RawValue>)>);

// === impl Answer ===

impl Answer {
    /// The body of an answer, if it is JSON.
    pub(crate) fn read(body: &str) -> anyhow::Result<Self> {
        let text = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
        serde_json::from_str::<IgnoredAny>(text)
            .map_err(|error| anyhow!("the answer is no JSON: {error}"))?;
        Ok(Self(text.to_owned()))
    }

    /// What is made of parts that are text already.
    pub(crate) fn of(value: &impl Serialize) -> anyhow::Result<Self> {
        Ok(Self(serde_json::to_string(value)?))
    }

    /// The text.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// As a type of the API's.
    pub(crate) fn to<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        serde_json::from_str(&self.0).context(OTHER_SHAPE)
    }

    /// As an object.
    pub(crate) fn members(&self) -> anyhow::Result<Members> {
        self.to()
    }
}

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        Self(value.to_string())
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(to)
    }
}

// === impl Members ===

impl Members {
    /// The member of this name; `null` is none.
    pub(crate) fn get(&self, name: &str) -> Option<&RawValue> {
        let mut named = self.0.iter().filter(|(known, _)| known == name);
        named.next().map(|(_, value)| &**value).filter(|value| value.get() != "null")
    }

    /// The member of this name as a type; none if there is no such member.
    pub(crate) fn read<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<Option<T>> {
        let read = |value: &RawValue| serde_json::from_str(value.get()).context(OTHER_SHAPE);
        self.get(name).map(read).transpose()
    }

    /// Sets a member where it stands, or behind the others.
    pub(crate) fn set(&mut self, name: &str, value: &impl Serialize) -> anyhow::Result<()> {
        let value = serde_json::value::to_raw_value(value)?;
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(InOrder)
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Members, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = from.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_what_it_is() {
        let text = r#"{"z":12345678901234567.89,"a":[1e400,1.0,{"\ud800":null}]}"#;
        let answer = Answer::read(text).unwrap();
        assert_eq!(answer.text(), text);
        assert_eq!(Answer::of(&answer.members().unwrap()).unwrap().text(), text);
        assert_eq!(Answer::read(&format!("{BYTE_ORDER_MARK}{text}")).unwrap().text(), text);
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        for body in ["", "<html>", "{", "{} {}", "\"\\x\""] {
            assert!(Answer::read(body).is_err(), "{body}");
        }
    }

    #[test]
    fn a_member_is_set_where_it_stands() {
        let mut members = Answer::read(r#"{"b":1,"a":2.50,"c":null}"#).unwrap().members().unwrap();
        members.set("b", &Answer::read("[1.0]").unwrap()).unwrap();
        members.set("d", &"x").unwrap();
        assert_eq!(
            Answer::of(&members).unwrap().text(),
            r#"{"b":[1.0],"a":2.50,"c":null,"d":"x"}"#
        );
        assert_eq!(members.read::<f64>("a").unwrap(), Some(2.5));
        assert_eq!(members.read::<u64>("c").unwrap(), None);
        assert!(members.read::<String>("a").is_err());
    }
}
