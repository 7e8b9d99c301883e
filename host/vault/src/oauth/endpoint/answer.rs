//! What a server answered. Any of its text may be a token, so all of it is wiped when it is dropped: the body as it came,
//! and what was read of it, also where reading it stopped half-way.
//!
//! Buffers of the libraries that carried and parsed it are not.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use bytes::{Bytes, BytesMut};
use keyway_core::exchange::Response;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use zeroize::{Zeroize as _, Zeroizing};

/// A response whose body is wiped.
pub(super) struct Answer(pub(super) Response);

/// The members of an answer.
pub(super) struct Fields(BTreeMap<String, Value>);

/// One of them.
pub(super) enum Value {
    Null,
    Text(Zeroizing<String>),
    Number(Number),
    Bool(bool),
    List(Vec<Value>),
    Fields(Fields),
    /// Nothing that an answer has a use for.
    Other,
}

/// Reads a value piece by piece: JSON's own tree is not wiped.
struct Reader;

// === impl Answer ===

impl Answer {
    /// Its members, as JSON or as a form: some providers answer in the form of the request.
    pub(super) fn fields(&self) -> Option<Fields> {
        if let Ok(Value::Fields(fields)) = serde_json::from_slice(&self.body) {
            return Some(fields);
        }
        let form = self.headers.iter().any(|(name, value)| {
            name == "content-type" && value.starts_with("application/x-www-form-urlencoded")
        });
        form.then(|| Fields::of_form(&self.body))
    }

    /// Whether it is a page for people: of a gateway or a proxy, and not of what was asked.
    pub(super) fn is_page(&self) -> bool {
        let start = self.body.iter().find(|byte| !byte.is_ascii_whitespace());
        start == Some(&b'<')
    }
}

impl Deref for Answer {
    type Target = Response;

    fn deref(&self) -> &Response {
        &self.0
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        drop(wiped(std::mem::take(&mut self.0.body)));
    }
}

/// None of a body that somebody else has as well.
fn wiped(body: Bytes) -> Option<BytesMut> {
    let mut body = body.try_into_mut().ok()?;
    body.as_mut().zeroize();
    Some(body)
}

// === impl Fields ===

impl Fields {
    fn of_form(body: &[u8]) -> Self {
        let text = |value: String| Value::Text(Zeroizing::new(value));
        let pairs = url::form_urlencoded::parse(body);
        Self(pairs.map(|(name, value)| (name.into_owned(), text(value.into_owned()))).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// By a JSON Pointer (RFC 6901).
    pub(super) fn pointer(&self, pointer: &str) -> Option<&Value> {
        let steps = pointer.strip_prefix('/')?.split('/');
        let mut steps = steps.map(|step| step.replace("~1", "/").replace("~0", "~"));
        let first = self.get(&steps.next()?)?;
        steps.try_fold(first, |value, step| match value {
            Value::Fields(fields) => fields.get(&step),
            Value::List(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        })
    }
}

// === impl Value ===

impl Value {
    /// As text: of what is not text, as it is written in JSON.
    pub(super) fn written(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Number(number) => Some(Cow::Owned(number.to_string())),
            Self::Bool(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
            Self::Null | Self::List(_) | Self::Fields(_) | Self::Other => None,
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader)
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Other, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(Zeroizing::new(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some((name, value)) = from.next_entry()? {
            fields.insert(name, value);
        }
        Ok(Value::Fields(Fields(fields)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_wiped_unless_somebody_else_has_it() {
        for body in [Bytes::from(b"t0ken".to_vec()), BytesMut::from(&b"t0ken"[..]).freeze()] {
            assert_eq!(wiped(body).unwrap(), [0; 5][..]);
        }
        let body = Bytes::from(b"t0ken".to_vec());
        assert!(wiped(body.clone()).is_none());
        assert_eq!(body, "t0ken");
    }

    /// Fails if a pointer finds anything else than it did in JSON's own tree.
    #[test]
    fn a_pointer_finds_what_it_names() {
        let text = r#"{"a":{"b/c":[{"d":"found"},17]},"~":"tilde","n":null}"#;
        let Value::Fields(fields) = serde_json::from_str(text).unwrap() else { panic!("members") };
        let tree: serde_json::Value = serde_json::from_str(text).unwrap();
        for pointer in ["/a/b~1c/0/d", "/a/b~1c/1", "/~0", "/a/b~1c/2", "/a/b", "/x", "a", "/n/x"] {
            let found = fields.pointer(pointer).and_then(|value| match value {
                Value::Text(text) => Some(serde_json::Value::from(text.as_str())),
                Value::Number(number) => Some(number.clone().into()),
                _ => None,
            });
            assert_eq!(found.as_ref(), tree.pointer(pointer), "{pointer}");
        }
    }
}
