//! The spellings of a secret that are looked for anywhere in a text, and how long one has to be for that.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// Bytes of the shortest text that is looked for anywhere. What is shorter is met by chance, and then data is damaged.
///
/// The worst case is random base64, of which 1 GiB has 2^30 places where a text can begin. A text of n letters stands at one
/// of them with a chance of 64^-n. A credential has at most [`SPELLINGS_MAX`] = 2^7 spellings, so the chance of any hit is
/// 2^30 * 2^7 * 2^-6n. With n = 8 that is 2^-11, one in 2,048. With n = 9 it is 2^-17, one in 131,072: rarer than one in
/// 100,000. In random bytes, of which there are 256 and not 64, it is rarer still.
pub(super) const ANYWHERE_BYTES_MIN: usize = 9;

/// The same of digits alone. Text is not base64: it is full of numbers. A number that is looked for stands alone, so 1 GiB has
/// 2^30/(n+1) places for one of n digits, and it is at one of them with a chance of 10^-n: with n = 12 that is one in 12,000,
/// and with n = 13 one in 130,000.
const DIGITS_BYTES_MIN: usize = 13;

/// The same of words, in letters. They are not random, so there is no arithmetic: hardly one in a text, or in the keys of a
/// document, is so long, and passwords of small letters that a machine made are (Google's have 16).
const WORDS_BYTES_MIN: usize = 16;

/// Letters of the shortest word. What a machine made of letters has capitals closer than that.
const WORD_LETTERS_MIN: usize = 3;

/// Spellings of one credential, at most: what the arithmetic of [`ANYWHERE_BYTES_MIN`] holds for. Counted by a test.
#[cfg(test)]
pub(super) const SPELLINGS_MAX: usize = 128;

/// A text that is looked for.
#[derive(Clone)]
pub(super) struct Spelling {
    pub(super) text: Zeroizing<Vec<u8>>,
    /// Whether it is of base64, which is written in lines at times.
    pub(super) base64: bool,
}

/// Percent-encodes all but RFC 3986's unreserved characters and those of `keep`.
pub(crate) fn percent_encoded(text: &[u8], keep: &[u8], lower: bool) -> String {
    let mut encoded = String::with_capacity(text.len() * 3);
    for &byte in text {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let digits = if lower { format!("%{byte:02x}") } else { format!("%{byte:02X}") };
            encoded.push_str(&digits);
        }
    }
    encoded
}

/// The letters of `secret`'s base64 that do not depend on its neighbours, when `offset` bytes stand
/// before it in a group of three.
fn base64_at(secret: &[u8], offset: usize, engine: &base64::engine::GeneralPurpose) -> String {
    let mut padded = Zeroizing::new(vec![0; offset]);
    padded.extend_from_slice(secret);
    let text = Zeroizing::new(engine.encode(&*padded));
    let start = (offset * 8).div_ceil(6);
    let end = padded.len() * 8 / 6;
    text[start..end.max(start)].to_owned()
}

/// How the digits of an escaped character are written.
#[derive(Clone, Copy)]
pub(super) enum Hex {
    Lower,
    Upper,
}

/// `text` inside a JSON string, with characters escaped that need not be where `also` says so.
pub(super) fn json_escaped(text: &str, hex: Hex, also: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' => escaped.push_str("\\\\"),
            '/' if also('/') => escaped.push_str("\\/"),
            '\t' => escaped.push_str("\\t"),
            '"' if !also('"') => escaped.push_str("\\\""),
            letter if letter.is_control() || also(letter) => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    // Writing to a string cannot fail.
                    match hex {
                        Hex::Lower => write!(escaped, "\\u{unit:04x}"),
                        Hex::Upper => write!(escaped, "\\u{unit:04X}"),
                    }
                    .unwrap_or_default();
                }
            }
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// What writers of JSON escape beyond what they must: which letters, and in which digits.
fn json_writers(secret: &str, add: &mut impl FnMut(String)) {
    let ascii = |letter: char| letter.is_ascii();
    // Nothing; the slash, as PHP does, alone or with all that is not ASCII.
    add(json_escaped(secret, Hex::Lower, |_| false));
    add(json_escaped(secret, Hex::Lower, |letter| letter == '/'));
    add(json_escaped(secret, Hex::Lower, |letter| letter == '/' || !ascii(letter)));
    add(json_escaped(secret, Hex::Lower, |letter| !ascii(letter)));
    // What HTML would read: Go's encoding/json; Gson, which adds the equals sign and the apostrophe.
    let html = |letter: char| matches!(letter, '<' | '>' | '&');
    add(json_escaped(secret, Hex::Lower, html));
    add(json_escaped(secret, Hex::Lower, |letter| html(letter) || matches!(letter, '=' | '\'')));
    // System.Text.Json, by default and with all of Unicode allowed.
    let net = |letter: char| html(letter) || matches!(letter, '"' | '\'' | '+' | '`');
    add(json_escaped(secret, Hex::Upper, |letter| net(letter) || !ascii(letter)));
    add(json_escaped(secret, Hex::Upper, net));
}

/// Whether a secret is so short, or so much like what stands in ordinary text, that it would be met by chance.
pub(super) fn met_by_chance(secret: &str) -> bool {
    let least = match secret.as_bytes() {
        bytes if digits(bytes) => DIGITS_BYTES_MIN,
        bytes if words(bytes) => WORDS_BYTES_MIN,
        _ => ANYWHERE_BYTES_MIN,
    };
    secret.len() < least
}

/// Whether a text is a number, which is looked for where no other digit stands beside it.
pub(super) fn digits(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_digit)
}

/// Whether a text is words as texts and keys have them: `anonymous`, `PRODUCTION`, `client_secret`, `accessToken`.
fn words(text: &[u8]) -> bool {
    text.split(|byte| b"-_. ".contains(byte)).all(|part| {
        let capitals = part.iter().all(u8::is_ascii_uppercase) && part.len() >= WORD_LETTERS_MIN;
        capitals || part.iter().all(u8::is_ascii_alphabetic) && in_words(part)
    })
}

/// Whether letters are words of which each may begin with a capital.
fn in_words(part: &[u8]) -> bool {
    let begins = (1..part.len()).filter(|at| part[*at].is_ascii_uppercase());
    let ends: Vec<usize> = begins.chain([part.len()]).collect();
    let begins = [0].into_iter().chain(ends.iter().copied());
    begins.zip(&ends).all(|(begin, end)| end - begin >= WORD_LETTERS_MIN)
}

/// Every spelling of a secret that is long enough to be looked for anywhere.
pub(super) fn spellings(secret: &str, all: &mut Vec<Spelling>) {
    let bytes = secret.as_bytes();
    in_base64(bytes, all);
    // What stands for one byte each is as likely to be met as the secret is, however much longer it is.
    if bytes.len() < ANYWHERE_BYTES_MIN {
        return;
    }
    let mut add = |text: String| {
        all.push(Spelling { text: Zeroizing::new(text.into_bytes()), base64: false });
    };
    add(secret.to_owned());
    // A secret of unreserved characters, as nearly all are, has no other spellings.
    if bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte)) {
        return;
    }
    for lower in [false, true] {
        // What is left alone by: RFC 3986; JavaScript's two functions; form encoding.
        for keep in [&b""[..], b"!'()*", b"!'()*;/?:@&=+$,#", b"*"] {
            let encoded = percent_encoded(bytes, keep, lower);
            add(encoded.replace("%20", "+"));
            add(encoded);
        }
    }
    json_writers(secret, &mut add);
    // As it is sent in a query, and as a document has it, when that is encoded as a whole.
    let sent = Zeroizing::new(percent_encoded(bytes, b"", false));
    add(percent_encoded(sent.as_bytes(), b"", false));
    add(percent_encoded(sent.as_bytes(), b"", true));
    in_base64(sent.as_bytes(), all);
    let escaped = Zeroizing::new(json_escaped(secret, Hex::Lower, |_| false));
    in_base64(escaped.as_bytes(), all);
}

/// At each of the three positions it can have, in both alphabets, where they differ.
pub(super) fn in_base64(secret: &[u8], all: &mut Vec<Spelling>) {
    for offset in 0..3 {
        let mut engines = vec![&STANDARD_NO_PAD];
        if base64_at(secret, offset, &STANDARD_NO_PAD).contains(['+', '/']) {
            engines.push(&URL_SAFE_NO_PAD);
        }
        for engine in engines {
            let text = base64_at(secret, offset, engine).into_bytes();
            all.push(Spelling { text: Zeroizing::new(text), base64: true });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_met_by_chance_is_known_by_its_length_and_its_alphabet() {
        for (secret, expected) in [
            ("hunter22", true),
            ("hunter222", false),
            ("123456789", true),
            ("123456789012", true),
            ("1234567890123", false),
            ("12345678-", false),
            ("anonymous", true),
            ("production", true),
            ("PRODUCTION", true),
            ("Production", true),
            ("client_secret", true),
            ("accessToken", true),
            ("the secret", true),
            ("characteristics", true),
            ("abcdefghijklmnop", false),
            ("pRoDuCtIoN", false),
            ("QmFzZUxldHRlcnM", false),
            ("ab-cd-ef-gh", false),
            ("production1", false),
            ("production!", false),
            ("ungew\u{f6}hnlich", false),
        ] {
            assert_eq!(met_by_chance(secret), expected, "{secret}");
        }
    }
}
