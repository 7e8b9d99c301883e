//! JSON read without rounding: a number that no `f64` holds reaches `serde_json::Value` digit for digit.
//!
//! `serde_json` is built with `arbitrary_precision`, which by itself has a price: where serde buffers a value before it
//! knows its type (`flatten`, `untagged`, `tag`), a fraction then arrives as a map with a private name, and a field of
//! type `f64` refuses it. So what is read here goes through a deserializer of our own. `Value` and `Number` get the text;
//! everybody else gets the `f64` that they would get without the feature, unless it is another number than the text
//! says. Text that no reader takes, such as half a surrogate pair, is mended first, in [`mended`].

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::Deserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, EnumAccess, Error as _, IntoDeserializer as _, MapAccess,
    SeqAccess, VariantAccess, Visitor, value,
};

/// The name under which `serde_json` hands a number over as text.
const NUMBER: &str = "$serde_json::private::Number";

/// What a broken escape becomes: U+FFFD, as the standards for text have it, spelled as JSON.
const REPLACEMENT: &str = "\\ufffd";

/// UTF-8's byte order mark, which readers of JSON may skip (RFC 8259 section 8.1).
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Reads JSON. Numbers keep their digits in a `serde_json::Value`, which writes exponents as `e+400`; a byte order mark is skipped; bytes that are not
/// UTF-8, halves of surrogate pairs and broken escapes become U+FFFD.
///
/// # Errors
/// For text that is no JSON all the same, and for JSON of another shape.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    let text = readable(bytes);
    let text = mended(&text);
    let reading = Reading { rounds: false, rounded: Cell::new(false) };
    match reading.read(&text) {
        // What was buffered cannot be a number that no `f64` holds, after all. Rounded, as its type says.
        Err(error) if error.is_data() && reading.rounded.get() => {
            Reading { rounds: true, ..reading }.read(&text)
        }
        done => done,
    }
}

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
fn mended(text: &str) -> Cow<'_, str> {
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

/// How one text is read.
struct Reading {
    /// Whether a number that no `f64` holds is rounded where serde buffers it.
    rounds: bool,
    /// Whether there was such a number.
    rounded: Cell<bool>,
}

/// A part of serde's machinery for `I`, which sees numbers as `reading` has it.
struct Seen<'r, I> {
    inner: I,
    reading: &'r Reading,
    /// Of a visitor: whether it takes whatever comes.
    any: bool,
}

/// The members of a map that was begun to be read.
struct Members<'r, A> {
    inner: A,
    reading: &'r Reading,
    /// The first name, which has been read already.
    first: Option<String>,
}

/// A number as `serde_json` hands it over where text is wanted.
struct AsText(Option<String>);

// === impl Reading ===

impl Reading {
    fn read<T: DeserializeOwned>(&self, text: &str) -> serde_json::Result<T> {
        let mut inner = serde_json::Deserializer::from_str(text);
        let value = T::deserialize(self.seen(&mut inner))?;
        inner.end()?;
        Ok(value)
    }

    const fn seen<I>(&self, inner: I) -> Seen<'_, I> {
        Seen { inner, reading: self, any: false }
    }

    /// Gives a visitor that takes whatever comes a number of this text.
    fn number<'de, V: Visitor<'de>, E: serde::de::Error>(
        &self,
        visitor: V,
        text: String,
    ) -> Result<V::Value, E> {
        let float = text.parse::<f64>().map_err(E::custom)?;
        let exact =
            decimal(&text).is_some_and(|exactly| decimal(&format!("{float:e}")) == Some(exactly));
        if exact || (self.rounds && float.is_finite()) {
            return visitor.visit_f64(float);
        }
        if self.rounds {
            return Err(E::custom("number out of range"));
        }
        self.rounded.set(true);
        visitor.visit_map(AsText(Some(text))).map_err(E::custom)
    }
}

/// A decimal number as its sign, its digits without zeros around them, and the power of ten of the last.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (mantissa, power) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_end_matches('0');
    let shift = i64::try_from(digits.len() - significant.len()).ok()?
        - i64::try_from(fraction.len()).ok()?;
    let significant = significant.trim_start_matches('0');
    if significant.is_empty() {
        return Some((negative, String::new(), 0));
    }
    Some((negative, significant.to_owned(), power.parse::<i64>().ok()?.checked_add(shift)?))
}

/// Whether a visitor's value is one of `serde_json`'s own, which alone understand a number as text.
fn takes_text<T>() -> bool {
    use std::any::type_name;
    let name = type_name::<T>();
    name == type_name::<serde_json::Value>() || name == type_name::<serde_json::Number>()
}

// === impl Deserializer ===

macro_rules! forward {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method(self.reading.seen(visitor))
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Seen<'_, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        if takes_text::<V::Value>() {
            return self.inner.deserialize_any(visitor);
        }
        self.inner.deserialize_any(Seen { any: true, ..self.reading.seen(visitor) })
    }

    forward! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32
        deserialize_f64 deserialize_char deserialize_str deserialize_string deserialize_bytes
        deserialize_byte_buf deserialize_option deserialize_unit deserialize_seq deserialize_map
        deserialize_identifier deserialize_ignored_any
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit_struct(name, self.reading.seen(visitor))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_newtype_struct(name, self.reading.seen(visitor))
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_tuple(len, self.reading.seen(visitor))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_tuple_struct(name, len, self.reading.seen(visitor))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_struct(name, fields, self.reading.seen(visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_enum(name, variants, self.reading.seen(visitor))
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

// === impl Visitor ===

macro_rules! forward_values {
    ($($method:ident: $type:ty,)*) => {
        $(fn $method<E: serde::de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value)
        })*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Seen<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    forward_values! {
        visit_bool: bool,
        visit_i64: i64,
        visit_i128: i128,
        visit_u64: u64,
        visit_u128: u128,
        visit_f64: f64,
        visit_str: &str,
        visit_borrowed_str: &'de str,
        visit_string: String,
        visit_bytes: &[u8],
        visit_borrowed_bytes: &'de [u8],
        visit_byte_buf: Vec<u8>,
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(self.reading.seen(from))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(self.reading.seen(from))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(self.reading.seen(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<V::Value, A::Error> {
        let reading = self.reading;
        let first = if self.any { members.next_key::<String>()? } else { None };
        if first.as_deref() == Some(NUMBER) {
            let text = members.next_value()?;
            return reading.number(self.inner, text);
        }
        self.inner.visit_map(Members { inner: members, reading, first })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(self.reading.seen(variant))
    }
}

// === impl DeserializeSeed, SeqAccess, MapAccess, EnumAccess, VariantAccess ===

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Seen<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(self.reading.seen(from))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Seen<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_element_seed(self.reading.seen(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Members<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        match self.first.take() {
            Some(first) => {
                let first: value::StringDeserializer<A::Error> = first.into_deserializer();
                seed.deserialize(first).map(Some)
            }
            None => self.inner.next_key_seed(self.reading.seen(seed)),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(self.reading.seen(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'r, 'de, A: EnumAccess<'de>> EnumAccess<'de> for Seen<'r, A> {
    type Error = A::Error;
    type Variant = Seen<'r, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, variant) = self.inner.variant_seed(self.reading.seen(seed))?;
        Ok((value, self.reading.seen(variant)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Seen<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.newtype_variant_seed(self.reading.seen(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(len, self.reading.seen(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.struct_variant(fields, self.reading.seen(visitor))
    }
}

// === impl AsText ===

impl<'de> MapAccess<'de> for AsText {
    type Error = value::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, value::Error> {
        if self.0.is_none() {
            return Ok(None);
        }
        let name: value::BorrowedStrDeserializer<'_, value::Error> =
            value::BorrowedStrDeserializer::new(NUMBER);
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, value::Error> {
        let text = self.0.take().ok_or_else(|| value::Error::custom("a number has one value"))?;
        seed.deserialize(text.into_deserializer())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::value::RawValue;
    use serde_json::{Map, Number, Value};

    use super::*;

    /// Numbers that an `f64` does not hold, or spells otherwise.
    const NUMBERS: [&str; 9] = [
        "12345678901234567.89",
        "123456789012345678901234567890",
        "-123456789012345678901234567890",
        "1e+400",
        "-1e-400",
        "19.90",
        "1.0",
        "0.1000000000000000055511151231257827",
        "9007199254740993",
    ];

    #[derive(Deserialize, Debug)]
    struct Typed {
        #[serde(flatten)]
        price: Price,
        #[serde(flatten)]
        rest: Map<String, Value>,
    }

    #[derive(Deserialize, Debug)]
    struct Price {
        amount: f64,
        count: u64,
    }

    #[derive(Deserialize, PartialEq, Debug)]
    #[serde(tag = "kind", rename_all = "kebab-case")]
    enum Tagged {
        Sum { of: f64, exactly: Value },
        Other,
    }

    #[derive(Deserialize, PartialEq, Debug)]
    #[serde(untagged)]
    enum Untagged {
        Count(u64),
        Float(f64),
        Text(String),
        List(Vec<Untagged>),
    }

    #[derive(Deserialize, PartialEq, Debug)]
    enum External {
        Unit,
        New(Value),
        Tuple(f64, Number),
        Struct { value: Option<Value> },
    }

    fn read<T: DeserializeOwned>(text: &str) -> T {
        from_json(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// An object whose one member this is.
    fn object(value: &str) -> String {
        r#"{"a":X}"#.replace('X', value)
    }

    #[test]
    fn values_keep_every_digit() {
        for number in NUMBERS {
            for text in
                [number.to_owned(), format!("[{number}]"), object(&format!("[{}]", object(number)))]
            {
                assert_eq!(read::<Value>(&text).to_string(), text);
                assert_eq!(read::<Option<Box<Value>>>(&text).unwrap().to_string(), text);
            }
            assert_eq!(read::<Number>(number).to_string(), number);
            assert_eq!(read::<Box<RawValue>>(number).get(), number);
            let map: BTreeMap<String, Vec<Value>> = read(&object(&format!("[{number}]")));
            assert_eq!(map["a"][0].to_string(), number);
        }
    }

    #[test]
    fn floats_are_floats_where_serde_buffers_them() {
        for (text, amount) in [
            ("19.90", 19.9),
            ("1", 1.0),
            ("1e2", 100.0),
            ("3.141592653589793238", std::f64::consts::PI),
        ] {
            let text = r#"{"amount":X,"count":18446744073709551615,"more":"x"}"#.replace('X', text);
            let typed: Typed = read(&text);
            assert_eq!((typed.price.amount, typed.price.count), (amount, u64::MAX), "{text}");
            assert_eq!(typed.rest["more"], "x");
        }
        let sum = |of, exactly: &str| Tagged::Sum { of, exactly: read(exactly) };
        assert_eq!(read::<Tagged>(r#"{"kind":"sum","of":1.5,"exactly":2.50}"#), sum(1.5, "2.5"));
        assert_eq!(read::<Tagged>(r#"{"kind":"other","x":1e400}"#), Tagged::Other);
        let mixed = [Untagged::Count(1), Untagged::Float(1.5), Untagged::Text("x".to_owned())];
        assert_eq!(read::<Untagged>(r#"[1,1.50,"x"]"#), Untagged::List(mixed.into()));
    }

    #[test]
    fn values_keep_every_digit_where_serde_buffers_them() {
        let typed: Typed =
            read(r#"{"amount":1.5,"count":1,"more":[12345678901234567.89,{"a":1E400}]}"#);
        assert_eq!(typed.rest["more"].to_string(), r#"[12345678901234567.89,{"a":1e+400}]"#);
        let tagged: Tagged =
            read(r#"{"kind":"sum","of":1.5,"exactly":123456789012345678901234567890}"#);
        let Tagged::Sum { exactly, .. } = tagged else { panic!("{tagged:?}") };
        assert_eq!(exactly.to_string(), "123456789012345678901234567890");
    }

    #[test]
    fn exponents_are_written_as_serde_json_writes_them() {
        for (text, written) in [("1e400", "1e+400"), ("1E-400", "1e-400"), ("2.50E+3", "2.50e+3")] {
            assert_eq!(read::<Value>(text).to_string(), written);
        }
    }

    #[test]
    fn a_float_that_cannot_be_is_an_error_and_no_infinity() {
        assert!(from_json::<f64>(b"1e400").is_err());
        assert!(from_json::<Typed>(br#"{"amount":1e400,"count":1}"#).is_err());
        assert!(from_json::<Untagged>(b"1e400").is_err());
    }

    #[test]
    fn every_shape_of_an_enum_is_read() {
        let all: Vec<External> = read(
            r#"["Unit",{"New":1e400},{"Tuple":[1.5,1.50]},{"Struct":{"value":0.10}},{"Struct":{"value":null}}]"#,
        );
        assert_eq!(all[0], External::Unit);
        assert_eq!(all[1], External::New(read("1e400")));
        assert_eq!(all[2], External::Tuple(1.5, read("1.50")));
        assert_eq!(all[3], External::Struct { value: Some(read("0.10")) });
        assert_eq!(all[4], External::Struct { value: None });
    }

    #[test]
    fn text_that_no_reader_takes_is_mended() {
        for (text, expected) in [
            (r#""\ud800""#, "\u{fffd}"),
            (r#""a\udfffb""#, "a\u{fffd}b"),
            (r#""\ud83d\ude00""#, "\u{1f600}"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (r#""\ud83dx""#, "\u{fffd}x"),
            (r#""\x41""#, "\u{fffd}41"),
            (r#""\u12""#, "\u{fffd}"),
            (r#""\uzz""#, "\u{fffd}zz"),
            (r#""\é""#, "\u{fffd}"),
            (r#""\\ud800\"""#, "\\ud800\""),
            ("\u{feff}\"x\"", "x"),
        ] {
            assert_eq!(read::<String>(text), expected, "{text}");
            assert_eq!(read::<Value>(text), expected, "{text}");
        }
        assert_eq!(from_json::<String>(b"\"a\xffb\"").unwrap(), "a\u{fffd}b");
        assert_eq!(from_json::<String>(b"\xef\xbb\xbf\"\xff\"").unwrap(), "\u{fffd}");
        let raw: Box<RawValue> = read(r#"{"a":"\ud800"}"#);
        assert_eq!(raw.get(), r#"{"a":"\ufffd"}"#);
    }

    #[test]
    fn what_is_no_json_stays_none() {
        for text in ["", "{", "[1,]", "{} {}", "\\", "\"\\", "<html>", "\u{feff}"] {
            assert!(from_json::<Value>(text.as_bytes()).is_err(), "{text}");
        }
        assert!(from_json::<u8>(b"300").is_err());
    }
}
