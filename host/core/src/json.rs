//! JSON of others as a tree, member by member as it is written.
//!
//! `serde_json` hands raw values, and where it is built so exact numbers, through serde as an object with one member of a name
//! of its own (`$serde_json::private::…`). Its `Value` takes an object that really has such a member for what it would stand
//! for: text that a caller, a provider or a publisher has put there is parsed once more, past every bound, and what is no JSON
//! ends the reading of all that is around it. A tree that is read here is what it was.

use std::fmt;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

/// A tree, for whoever has it within something else.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Tree(pub Value);

struct Reader;

/// Reads a text.
pub fn tree(text: impl AsRef<[u8]>) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(text.as_ref()).map(|Tree(value)| value)
}

/// For a field of a derived type, with `deserialize_with`.
pub fn field<'de, D: Deserializer<'de>>(from: D) -> Result<Value, D::Error> {
    Tree::deserialize(from).map(|Tree(value)| value)
}

/// The same for one that may be left out, or `null`.
pub fn optional<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Ok(Option::<Tree>::deserialize(from)?.map(|Tree(value)| value))
}

// === impl Tree ===

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader).map(Self)
    }
}

// === impl Reader ===

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Tree(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((name, Tree(value))) = members.next_entry::<String, Tree>()? {
            map.insert(name, value);
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Members by these names, of which one is what `Value` takes for something else.
    fn odd(value: &str) -> [String; 3] {
        ["RawValue", "Number", "Other"]
            .map(|name| format!(r#"{{"$serde_json::private::{name}":{value}}}"#))
    }

    #[test]
    fn an_object_is_what_it_was_whatever_its_member_is_called() {
        for inner in [r#""17""#, r#""no JSON""#, r#""{\"a\":[1]}""#, "17", "null", r#"{"b":"c"}"#] {
            for text in odd(inner) {
                assert_eq!(tree(&text).unwrap().to_string(), text);
                let within = format!(r#"{{"a":[1,{text}],"b":null}}"#);
                assert_eq!(tree(&within).unwrap().to_string(), within);
                // Also the way back, which knows names of its own.
                assert_eq!(
                    serde_json::to_value(Tree(tree(&text).unwrap())).unwrap().to_string(),
                    text
                );
            }
        }
    }

    #[test]
    fn anything_else_is_read_as_ever() {
        for text in [
            r#"{"a":{"b":[1,-1,1.5,18446744073709551615,"x\u00e9\n",true,null,[],{}]},"a\"":""}"#,
            "1e300",
            "\"x\"",
            "null",
            " [ ] ",
        ] {
            assert_eq!(tree(text).unwrap(), serde_json::from_str::<Value>(text).unwrap(), "{text}");
        }
        for text in ["", "{", "[1,]", "1e400", "[1] 2", &"[".repeat(128)] {
            assert!(tree(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_field_may_be_left_out() {
        #[derive(Deserialize)]
        struct Of {
            #[serde(default, deserialize_with = "optional")]
            one: Option<Value>,
            #[serde(deserialize_with = "field")]
            two: Value,
        }
        for (one, read) in
            [("", None), (r#""one":null,"#, None), (r#""one":[1],"#, Some(json!([1])))]
        {
            let of: Of = serde_json::from_str(&format!(r#"{{{one}"two":null}}"#)).unwrap();
            assert_eq!((of.one, of.two), (read, Value::Null));
        }
    }
}
