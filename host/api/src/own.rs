//! Tokens of this host, taken out of what a caller sends to a provider.
//!
//! A caller's client puts its key where the provider wants one: in a header, in the query, in both. Here the key is a token
//! of this host, and no provider may have it, whatever it may do. A token is known by its looks, so one of another kind, of
//! another caller, or one that has ended is found as well. It is looked for as it is, percent-encoded (twice at most) and in
//! base64. Bodies are looked through where they stream, in the broker, and for the tokens that there are: text that only looks
//! like one is common in files.

use std::borrow::Cow;

use axum::http::{HeaderMap, HeaderName};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use keyway_core::token::stands_in;
use keyway_core::{Code, Fault};
use percent_encoding::percent_decode;

/// Letters of base64 that a token of 46 bytes has at least.
const CODED_LETTERS_MIN: usize = 61;

/// Whatever stands behind the last whole byte.
const CODED: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CODED);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CODED);

/// Takes out headers that hold one.
pub(crate) fn strip(headers: &mut HeaderMap) {
    let holds =
        |name: &&HeaderName| headers.get_all(*name).iter().any(|value| found(value.as_bytes()));
    let held: Vec<HeaderName> = headers.keys().filter(holds).cloned().collect();
    for name in held {
        headers.remove(name);
    }
}

/// What is asked for, without parameters of its query that hold one. A path that holds one is refused: without it, it would
/// be another path.
pub(crate) fn stripped(target: &str) -> Result<Cow<'_, str>, Fault> {
    let (path, query) =
        target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    if found(path.as_bytes()) {
        let detail = "the path holds a token of this host, which no provider may have";
        return Err(Fault::new(Code::InvalidRequest, detail));
    }
    let Some(query) = query.filter(|query| found(query.as_bytes())) else {
        return Ok(Cow::Borrowed(target));
    };
    let kept: Vec<&str> = query.split('&').filter(|pair| !found(pair.as_bytes())).collect();
    Ok(Cow::Owned(match kept.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{}", kept.join("&")),
    }))
}

/// Whether a token stands in a text, in any of the ways.
fn found(text: &[u8]) -> bool {
    if plain_or_coded(text) {
        return true;
    }
    let mut text = Cow::Borrowed(text);
    for _ in 0..2 {
        if memchr::memchr(b'%', &text).is_none() {
            return false;
        }
        text = Cow::Owned(percent_decode(&text).collect());
        if plain_or_coded(&text) {
            return true;
        }
    }
    false
}

fn plain_or_coded(text: &[u8]) -> bool {
    stands_in(text) || text.len() >= CODED_LETTERS_MIN && coded(text)
}

/// Whether a token stands in base64 of a text, wherever it begins.
fn coded(text: &[u8]) -> bool {
    // Each alphabet has two letters that end a word of the other.
    [(&STANDARD, b"+/"), (&URL_SAFE, b"-_")].into_iter().any(|(engine, more)| {
        let outside = |byte: &u8| !(byte.is_ascii_alphanumeric() || more.contains(byte));
        let mut words = text.split(outside).filter(|word| word.len() >= CODED_LETTERS_MIN);
        // What stands before it, such as the name of a parameter, may be letters of base64 too.
        words.any(|word| (0..4).any(|skipped| decoded(engine, &word[skipped..])))
    })
}

/// Whether a token stands in what this is base64 of, as far as whole bytes go.
fn decoded(engine: &GeneralPurpose, word: &[u8]) -> bool {
    let whole = word.len() - usize::from(word.len() % 4 == 1);
    engine.decode(&word[..whole]).is_ok_and(|bytes| stands_in(&bytes))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const TOKEN: &str = "kw_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_AbCdE";

    fn forms() -> Vec<String> {
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let percent =
            |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
        vec![
            TOKEN.to_owned(),
            format!("Bearer {TOKEN}"),
            format!("key={TOKEN};x"),
            percent(TOKEN),
            percent(&percent(TOKEN)),
            TOKEN.replace('_', "%5F"),
            format!("Basic {}", encode(&format!("user:{TOKEN}"))),
            encode(&format!("{TOKEN}:x")),
            encode(&format!("ab{TOKEN}")).trim_end_matches('=').to_owned(),
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!("??>{TOKEN}")),
            encode(TOKEN).replace('=', "%3D"),
        ]
    }

    #[test]
    fn no_header_leaves_with_a_token_in_any_form() {
        for form in forms() {
            let mut headers = HeaderMap::new();
            for (name, value) in
                [("x-api-key", &*form), ("accept", "*/*"), ("x-note", "kw_ is short")]
            {
                headers
                    .insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
            }
            headers.append("x-note", HeaderValue::from_str(&form).unwrap());
            strip(&mut headers);
            let left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
            assert_eq!(left, ["accept"], "{form}");
        }
    }

    #[test]
    fn no_parameter_leaves_with_a_token_in_any_form() {
        for form in forms() {
            let form = form.replace(['+', '&', ' ', '?'], "_");
            let target = format!("/x?a=1&key={form}&b=%2f+x&&c");
            assert_eq!(stripped(&target).unwrap(), "/x?a=1&b=%2f+x&&c", "{form}");
            assert_eq!(stripped(&format!("/x?{form}")).unwrap(), "/x", "{form}");
            assert_eq!(stripped(&format!("/x/{form}/y?a")).unwrap_err().code, Code::InvalidRequest);
        }
    }

    #[test]
    fn whatever_else_leaves_as_it_is() {
        let long = "A".repeat(500);
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiYWRtaW4iOnRydWV9.x";
        for target in [
            "/",
            "/x?",
            "/x?a=1&&b",
            "/kw_/x?kw_=%zz&%",
            &format!("/{long}?{long}"),
            &format!("/x?t={jwt}"),
        ] {
            assert!(
                matches!(stripped(target).unwrap(), Cow::Borrowed(same) if same == target),
                "{target}"
            );
        }
    }
}
