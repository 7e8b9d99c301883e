//! JSON read without rounding: a number that no `f64` holds reaches `serde_json::Value` digit for digit.
//!
//! `serde_json` is built with `arbitrary_precision`, which by itself has a price: where serde buffers a value before it
//! knows its type (`flatten`, `untagged`, `tag`), a fraction then arrives as a map with a private name, and a field of
//! type `f64` refuses it. So what is read here goes through a deserializer of our own. `Value` and `Number` get the text;
//! everybody else gets the `f64` that they would get without the feature, unless it is another number than the text
//! says. Where a type takes nothing but an `f64` all the same, it has the nearest one, and numbers elsewhere keep their
//! digits: see [`Sparing`]. Text that no reader takes, such as half a surrogate pair, is mended first, in [`mended`], and
//! so are names that `serde_json` would take for its own, in [`renamed`].

mod mend;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;

use serde::Deserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, EnumAccess, Error as _, IntoDeserializer as _, MapAccess,
    SeqAccess, VariantAccess, Visitor, value,
};

use self::mend::{mended, renamed};

pub(crate) use self::mend::readable;

/// The name under which `serde_json` hands a number over as text.
const NUMBER: &str = "$serde_json::private::Number";

/// Reads JSON. Numbers keep their digits in a `serde_json::Value`, which writes exponents as `e+400`; a byte order mark is
/// skipped; bytes that are not UTF-8, halves of surrogate pairs and broken escapes become U+FFFD. A member whose name begins
/// with `$serde_json::private::`, which no `Value` can hold, has a U+FFFD before it.
///
/// # Errors
/// For text that is no JSON all the same, and for JSON of another shape.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    let text = readable(bytes);
    let text = mended(&text);
    let text = renamed(&text);
    let exactly = Reading::rounding(BTreeSet::new());
    match exactly.read(&text) {
        // What was buffered cannot be a number that no `f64` holds, after all.
        Err(error) if error.is_data() && !exactly.inexact.borrow().is_empty() => {
            Sparing::read(&text)
        }
        done => done,
    }
}

/// How one text is read.
struct Reading {
    /// Where numbers that no `f64` holds are rounded where serde buffers them; none: wherever they stand.
    rounded: Option<BTreeSet<Place>>,
    /// Where such numbers were met.
    inexact: RefCell<BTreeSet<Place>>,
    /// The name of a member that was read last.
    name: Cell<Place>,
}

/// Where a value stands: the names that lead there, and that it is one of a list, whichever, as one number. What stands at
/// one place is of one type, so that it can be decided for all of it at once.
type Place = u64;

/// Tells apart the places whose numbers must be rounded, because their types hold nothing else, from those whose numbers
/// keep their digits. Which is which only shows in whether the whole can be read.
struct Sparing<'t, T> {
    text: &'t str,
    rounded: BTreeSet<Place>,
    /// What was read with these rounded.
    value: T,
}

/// What a part of serde's machinery is about.
#[derive(Clone, Copy)]
struct Context<'r> {
    reading: &'r Reading,
    place: Place,
    /// Whether it is the name of a member.
    name: bool,
}

/// A part of serde's machinery for `I`, which sees numbers as its reading has it.
struct Seen<'r, I> {
    inner: I,
    context: Context<'r>,
    /// Of a visitor: whether it takes whatever comes.
    any: bool,
}

/// The members of a map that was begun to be read.
struct Members<'r, A> {
    inner: A,
    context: Context<'r>,
    /// Where the value of the member stands that was read last.
    member: Place,
    /// The first name, which has been read already.
    first: Option<String>,
}

/// A number as `serde_json` hands it over where text is wanted.
struct AsText(Option<String>);

// === impl Sparing ===

impl<'t, T: DeserializeOwned> Sparing<'t, T> {
    fn read(text: &'t str) -> serde_json::Result<T> {
        let everywhere = Reading { rounded: None, ..Reading::rounding(BTreeSet::new()) };
        let value = everywhere.read(text)?;
        let rounded = everywhere.inexact.into_inner();
        let places: Vec<Place> = rounded.iter().copied().collect();
        let mut sparing = Self { text, rounded, value };
        // Not all of them: that has been tried.
        sparing.halves(&places);
        Ok(sparing.value)
    }

    /// Rounds nothing at these places, as far as the whole can be read without.
    fn spare(&mut self, places: &[Place]) {
        let kept = |place: &Place| !places.contains(place);
        let rounded: BTreeSet<Place> = self.rounded.iter().copied().filter(kept).collect();
        let reading = Reading::rounding(rounded);
        match (reading.read(self.text), reading.rounded) {
            (Ok(value), Some(rounded)) => (self.value, self.rounded) = (value, rounded),
            _ => self.halves(places),
        }
    }

    fn halves(&mut self, places: &[Place]) {
        if places.len() > 1 {
            let (one, other) = places.split_at(places.len() / 2);
            self.spare(one);
            self.spare(other);
        }
    }
}

// === impl Reading ===

impl Reading {
    fn rounding(places: BTreeSet<Place>) -> Self {
        Self { rounded: Some(places), inexact: RefCell::default(), name: Cell::default() }
    }

    fn read<T: DeserializeOwned>(&self, text: &str) -> serde_json::Result<T> {
        let mut inner = serde_json::Deserializer::from_str(text);
        let context = Context { reading: self, place: 0, name: false };
        let value = T::deserialize(context.seen(&mut inner))?;
        inner.end()?;
        Ok(value)
    }

    /// Gives a visitor that takes whatever comes a number of this text.
    fn number<'de, V: Visitor<'de>, E: serde::de::Error>(
        &self,
        visitor: V,
        text: String,
        place: Place,
    ) -> Result<V::Value, E> {
        let float = text.parse::<f64>().map_err(E::custom)?;
        if decimal(&text).is_some_and(|exactly| decimal(&format!("{float:e}")) == Some(exactly)) {
            return visitor.visit_f64(float);
        }
        self.inexact.borrow_mut().insert(place);
        let rounds = self.rounded.as_ref().is_none_or(|places| places.contains(&place));
        if rounds && float.is_finite() {
            return visitor.visit_f64(float);
        }
        visitor.visit_map(AsText(Some(text))).map_err(E::custom)
    }
}

// === impl Context ===

impl<'r> Context<'r> {
    const fn seen<I>(self, inner: I) -> Seen<'r, I> {
        Seen { inner, context: self, any: false }
    }

    /// Notes the text of a name.
    fn hear(self, text: &str) {
        if self.name {
            self.reading.name.set(step(self.place, text));
        }
    }
}

/// The place that one step leads to: FNV-1a, which needs no table and no key.
fn step(place: Place, name: &str) -> Place {
    const PRIME: u64 = 0x0100_0000_01b3;
    let add = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
    // 0xff is in no name, so it tells where one ends.
    name.as_bytes().iter().chain(&[0xff]).fold(place ^ 0xcbf2_9ce4_8422_2325, add)
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
            self.inner.$method(self.context.seen(visitor))
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Seen<'_, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        if takes_text::<V::Value>() {
            return self.inner.deserialize_any(visitor);
        }
        self.inner.deserialize_any(Seen { any: true, ..self.context.seen(visitor) })
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
        self.inner.deserialize_unit_struct(name, self.context.seen(visitor))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_newtype_struct(name, self.context.seen(visitor))
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_tuple(len, self.context.seen(visitor))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_tuple_struct(name, len, self.context.seen(visitor))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_struct(name, fields, self.context.seen(visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_enum(name, variants, self.context.seen(visitor))
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
        visit_bytes: &[u8],
        visit_borrowed_bytes: &'de [u8],
        visit_byte_buf: Vec<u8>,
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<V::Value, E> {
        self.context.hear(value);
        self.inner.visit_str(value)
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, value: &'de str) -> Result<V::Value, E> {
        self.context.hear(value);
        self.inner.visit_borrowed_str(value)
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<V::Value, E> {
        self.context.hear(&value);
        self.inner.visit_string(value)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(self.context.seen(from))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(self.context.seen(from))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        let place = step(self.context.place, "[]");
        self.inner.visit_seq(Context { place, ..self.context }.seen(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<V::Value, A::Error> {
        let (context, member) = (self.context, self.context.place);
        let first = if self.any { members.next_key::<String>()? } else { None };
        if first.as_deref() == Some(NUMBER) {
            let text = members.next_value()?;
            return context.reading.number(self.inner, text, context.place);
        }
        self.inner.visit_map(Members { inner: members, context, member, first })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(self.context.seen(variant))
    }
}

// === impl DeserializeSeed, SeqAccess, MapAccess, EnumAccess, VariantAccess ===

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Seen<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(self.context.seen(from))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Seen<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_element_seed(self.context.seen(seed))
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
        let context = self.context;
        if let Some(first) = self.first.take() {
            self.member = step(context.place, &first);
            let first: value::StringDeserializer<A::Error> = first.into_deserializer();
            return seed.deserialize(first).map(Some);
        }
        let named = Context { name: true, ..context };
        let read = self.inner.next_key_seed(named.seen(seed))?;
        self.member = context.reading.name.get();
        Ok(read)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let context = Context { place: self.member, ..self.context };
        self.inner.next_value_seed(context.seen(seed))
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
        let (value, variant) = self.inner.variant_seed(self.context.seen(seed))?;
        Ok((value, self.context.seen(variant)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Seen<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.newtype_variant_seed(self.context.seen(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(len, self.context.seen(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.struct_variant(fields, self.context.seen(visitor))
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

    /// Catches one float that makes every other number of a page lose its digits.
    #[test]
    fn a_float_is_rounded_where_its_type_wants_it_and_nowhere_else() {
        const LONG: &str = "123456789012345678901234567890";
        let record = |amount: &str| {
            r#"{"amount":A,"count":1,"more":12345678901234567.89,"list":[{"a":1e400,"amount":L}]}"#
                .replace('A', amount)
                .replace('L', LONG)
        };
        let rest = |typed: &Typed| serde_json::to_string(&typed.rest).unwrap();
        let exact =
            r#"{"list":[{"a":1e+400,"amount":L}],"more":12345678901234567.89}"#.replace('L', LONG);
        for (amount, expected) in [
            ("19.90", 19.9),
            ("3.141592653589793238", std::f64::consts::PI),
            (LONG, 1.234_567_890_123_456_8e29),
        ] {
            let typed: Typed = read(&record(amount));
            assert_eq!(typed.price.amount, expected);
            assert_eq!(rest(&typed), exact, "{amount}");
        }
        // A whole page of them, mixed with those that need no rounding.
        let page: Vec<String> = ["1.5", LONG].map(record).into_iter().cycle().take(500).collect();
        let page: Vec<Typed> = read(&format!("[{}]", page.join(",")));
        assert_eq!(page.len(), 500);
        assert!(page.iter().all(|typed| rest(typed) == exact));
        assert_eq!(page[499].price.amount, 1.234_567_890_123_456_8e29);
        // A value of a type that only a float fits, beside one that takes both.
        let tagged = r#"{"kind":"sum","of":3.141592653589793238,"exactly":3.141592653589793238}"#;
        let Tagged::Sum { of, exactly } = read(tagged) else { panic!("another one") };
        assert_eq!(
            (of, exactly.to_string().as_str()),
            (std::f64::consts::PI, "3.141592653589793238")
        );
        // What no float holds even nearly stays an error.
        assert!(from_json::<Typed>(record("1e400").as_bytes()).is_err());
    }

    /// Catches a provider whose object is taken for a number, or whose text is taken for JSON.
    #[test]
    fn a_providers_names_are_not_taken_for_those_of_the_library() {
        for (name, own) in [
            ("$serde_json::private::Number", NUMBER),
            ("\\u0024serde_json\\u003a:private::Number", NUMBER),
            ("$serde_json::private::RawValue", "$serde_json::private::RawValue"),
        ] {
            for value in ["\"1.5\"", "\"[1]\"", "\"x\"", "7", "null"] {
                let text = format!(r#"{{"a":[{{"{name}" : {value}}}],"{name}":{value}}}"#);
                let read: Value = read(&text);
                let (name, value): (_, Value) = (format!("\u{fffd}{own}"), self::read(value));
                let object = serde_json::json!({ name.as_str(): value });
                let expected = serde_json::json!({ "a": [object], name.as_str(): value });
                assert_eq!(read, expected, "{text}");
                let typed: Typed =
                    self::read(&format!(r#"{{"amount":1.5,"count":1,"more":{{"{own}":"1.5"}}}}"#));
                assert_eq!(
                    typed.rest["more"],
                    serde_json::json!({ format!("\u{fffd}{own}"): "1.5" })
                );
            }
        }
        // As text it is text.
        assert_eq!(read::<Value>(&format!(r#"["{NUMBER}"]"#)), serde_json::json!([NUMBER]));
        assert_eq!(read::<BTreeMap<String, String>>(r#"{"\u0024x":"\u0041"}"#)["$x"], "A");
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
