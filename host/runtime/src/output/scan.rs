//! JSON text, checked a part at a time (RFC 8259), in a state of a few bytes.
//!
//! A parser that takes a whole text holds its thread for as long as that takes. This one can be left between two parts, at
//! any byte. It builds nothing, and what the text means is for others.

use keyway_core::limits::JSON_DEPTH_MAX;

/// A text of which some was read.
pub(super) struct Scan {
    state: State,
    /// What is open, the innermost last: a bit that is set for an object, and one that is not for a list.
    open: u128,
    depth: usize,
    /// Bytes that were read.
    at: usize,
}

/// Why a text is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum NotJson {
    /// It is none.
    #[error("byte {at} of the text does not belong there")]
    Byte {
        /// Which, from 0.
        at: usize,
    },
    /// It is the beginning of one.
    #[error("the text ends early")]
    Ended,
    /// Its values are nested too deep.
    #[error("the text is nested {JSON_DEPTH_MAX} deep, or more")]
    Deep,
}

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Value,
    /// The first item of a list, or its end.
    Item,
    /// The first name of an object, or its end.
    FirstName,
    Name,
    Colon,
    /// Behind a value.
    Behind,
    Text {
        name: bool,
    },
    Escape {
        name: bool,
    },
    Hex {
        name: bool,
        left: u8,
    },
    /// The rest of `true`, `false` or `null`.
    Word(&'static [u8]),
    /// Behind a minus: a digit.
    Minus,
    /// Behind a 0 that a number begins with.
    Zero,
    Digits,
    /// Behind a point: a digit.
    Point,
    Fraction,
    /// Behind an `e`: a sign or a digit.
    Exponent,
    /// Behind the sign of an exponent: a digit.
    Sign,
    Power,
}

const _: () = assert!(JSON_DEPTH_MAX <= u128::BITS as usize, "a bit for each level");

// === impl Scan ===

impl Scan {
    pub(super) const fn new() -> Self {
        Self { state: State::Value, open: 0, depth: 0, at: 0 }
    }

    /// Reads on.
    pub(super) fn take(&mut self, part: &[u8]) -> Result<(), NotJson> {
        let mut rest = part;
        while let Some((byte, behind)) = rest.split_first() {
            if matches!(self.state, State::Text { .. }) {
                let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
                let plain = rest.iter().position(special).unwrap_or(rest.len());
                if plain > 0 {
                    rest = &rest[plain..];
                    self.at += plain;
                    continue;
                }
            }
            self.state = self.next(*byte)?;
            self.at += 1;
            rest = behind;
        }
        Ok(())
    }

    /// There is no more.
    pub(super) fn end(&self) -> Result<(), NotJson> {
        let whole = self.state == State::Behind || self.state.ends_number();
        if whole && self.depth == 0 { Ok(()) } else { Err(NotJson::Ended) }
    }

    fn next(&mut self, byte: u8) -> Result<State, NotJson> {
        use State::*;
        Ok(match (self.state, byte) {
            (Value | Item | FirstName | Name | Colon | Behind, b' ' | b'\t' | b'\n' | b'\r') => {
                self.state
            }
            (Item, b']') | (FirstName, b'}') => self.close(byte)?,
            (Value | Item, _) => self.begin(byte)?,
            (FirstName | Name, b'"') => Text { name: true },
            (Colon, b':') => Value,
            (Behind, _) => self.behind(byte)?,
            (Text { name: true }, b'"') => Colon,
            (Text { name: false }, b'"') => Behind,
            (Text { name }, b'\\') => Escape { name },
            (Escape { name }, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                Text { name }
            }
            (Escape { name }, b'u') => Hex { name, left: 4 },
            (Hex { name, left }, digit) if digit.is_ascii_hexdigit() => match left {
                1 => Text { name },
                left => Hex { name, left: left - 1 },
            },
            (Word([only]), byte) if byte == *only => Behind,
            (Word([first, rest @ ..]), byte) if byte == *first => Word(rest),
            (Minus, b'0') => Zero,
            (Minus | Digits, b'0'..=b'9') => Digits,
            (Zero | Digits, b'.') => Point,
            (Point | Fraction, b'0'..=b'9') => Fraction,
            (Zero | Digits | Fraction, b'e' | b'E') => Exponent,
            (Exponent, b'+' | b'-') => Sign,
            (Exponent | Sign | Power, b'0'..=b'9') => Power,
            // A number has no end of its own.
            (state, b' ' | b'\t' | b'\n' | b'\r') if state.ends_number() => Behind,
            (state, byte) if state.ends_number() => self.behind(byte)?,
            _ => return Err(self.refused()),
        })
    }

    /// A value begins.
    fn begin(&mut self, byte: u8) -> Result<State, NotJson> {
        Ok(match byte {
            b'{' | b'[' => {
                self.depth += 1;
                if self.depth >= JSON_DEPTH_MAX {
                    return Err(NotJson::Deep);
                }
                let object = byte == b'{';
                self.open = self.open << 1 | u128::from(object);
                if object { State::FirstName } else { State::Item }
            }
            b'"' => State::Text { name: false },
            b't' => State::Word(b"rue"),
            b'f' => State::Word(b"alse"),
            b'n' => State::Word(b"ull"),
            b'-' => State::Minus,
            b'0' => State::Zero,
            b'1'..=b'9' => State::Digits,
            _ => return Err(self.refused()),
        })
    }

    /// Something follows a value.
    fn behind(&mut self, byte: u8) -> Result<State, NotJson> {
        let object = self.open & 1 == 1;
        match byte {
            b',' if self.depth > 0 => Ok(if object { State::Name } else { State::Value }),
            b'}' | b']' => self.close(byte),
            _ => Err(self.refused()),
        }
    }

    fn close(&mut self, byte: u8) -> Result<State, NotJson> {
        let object = self.open & 1 == 1;
        if self.depth == 0 || object != (byte == b'}') {
            return Err(self.refused());
        }
        self.depth -= 1;
        self.open >>= 1;
        Ok(State::Behind)
    }

    fn refused(&self) -> NotJson {
        NotJson::Byte { at: self.at }
    }
}

// === impl State ===

impl State {
    /// Whether a number could be over.
    fn ends_number(self) -> bool {
        matches!(self, Self::Zero | Self::Digits | Self::Fraction | Self::Power)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    /// In parts of so many bytes.
    fn scan(text: &[u8], part: usize) -> Result<(), NotJson> {
        let mut scan = Scan::new();
        text.chunks(part).try_for_each(|part| scan.take(part))?;
        scan.end()
    }

    #[test]
    fn it_says_where_a_text_goes_wrong() {
        for (text, why) in [
            ("", NotJson::Ended),
            ("[1,", NotJson::Ended),
            ("-", NotJson::Ended),
            ("[1,]", NotJson::Byte { at: 3 }),
            ("{\"a\":1,}", NotJson::Byte { at: 7 }),
            ("[}", NotJson::Byte { at: 1 }),
            ("{]", NotJson::Byte { at: 1 }),
            ("1]", NotJson::Byte { at: 1 }),
            ("01", NotJson::Byte { at: 1 }),
            ("\"\n\"", NotJson::Byte { at: 1 }),
            ("nul1", NotJson::Byte { at: 3 }),
        ] {
            for part in [1, 100] {
                assert_eq!(scan(text.as_bytes(), part), Err(why), "{text}");
            }
        }
    }

    #[test]
    fn depth_is_held_at_the_limit() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(scan(nested(JSON_DEPTH_MAX - 1).as_bytes(), 7), Ok(()));
        assert_eq!(scan(nested(JSON_DEPTH_MAX).as_bytes(), 7), Err(NotJson::Deep));
        let objects = |depth: usize| "{\"a\":".repeat(depth) + "0" + &"}".repeat(depth);
        assert_eq!(scan(objects(JSON_DEPTH_MAX - 1).as_bytes(), 7), Ok(()));
        assert_eq!(scan(objects(JSON_DEPTH_MAX).as_bytes(), 7), Err(NotJson::Deep));
    }

    /// JSON, or nearly.
    fn nearly() -> impl Strategy<Value = String> {
        let token = prop_oneof![
            "[\\[\\]{},: \\t\\n]",
            Just("\"a\":".to_owned()),
            "-?[0-9]{0,2}(\\.[0-9]{0,2})?([eE][+-]?[0-9]{0,2})?",
            "(true|false|null|nul|tru e)",
            "\"[a-z\\\\/\"u0-9é\u{1}]{0,6}\"?",
        ];
        let loose = prop::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat());
        let value = (any::<i64>(), ".{0,8}", any::<bool>()).prop_map(|(number, text, flag)| {
            serde_json::json!({"a": [number, {}, [], text.clone()], text: [flag, null, 1.5e-7]})
                .to_string()
        });
        // A whole one in which at most one letter is another.
        let whole = (value, any::<prop::sample::Index>(), "[\\[\\]{},:\"\\\\0a ]?").prop_map(
            |(text, at, other)| {
                let mut letters: Vec<String> = text.chars().map(String::from).collect();
                let at = at.index(letters.len());
                if !other.is_empty() {
                    letters[at] = other;
                }
                letters.concat()
            },
        );
        prop_oneof![loose, whole]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        // Catches any text that one takes and the other does not, wherever its parts end.
        #[test]
        fn it_takes_what_serde_json_takes(text in nearly(), part in 1_usize..20) {
            let theirs = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            prop_assert_eq!(scan(text.as_bytes(), part).is_ok(), theirs, "{}", text);
        }
    }
}
