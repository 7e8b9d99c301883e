//! An HMAC (RFC 2104) over parts of a request that a descriptor lists, put where it says.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderMap;
use keyway_core::descriptor::{Encoding, Hmac, Part, TimeFormat};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Signed, Unsigned, hash, header, hex, mac};
use crate::scrub::percent_encoded;

/// What is made anew for each request.
struct Made {
    timestamp: String,
    nonce: String,
}

/// None where something cannot stand in a header. What stands in the query is a part of what is signed, but for the
/// signature, which comes last.
pub(super) fn sign(
    rules: &Hmac,
    (key_id, key): (&str, &[u8]),
    request: &Unsigned<'_>,
) -> Option<Signed> {
    let timestamp = match &rules.timestamp {
        Some(timestamp) => shown(timestamp.format, request.at)?,
        None => String::new(),
    };
    let nonce = match &rules.nonce_header {
        Some(_) => format!("{:032x}", rand::random::<u128>()),
        None => String::new(),
    };
    let made = Made { timestamp, nonce };
    let mut whole = request.target.path_and_query();
    let timestamp_query = rules.timestamp.as_ref().and_then(|own| own.query.as_deref());
    if let Some(name) = timestamp_query {
        whole = Cow::Owned(with_parameter(&whole, name, &made.timestamp));
    }
    let signature = mac(rules.algorithm, key, &text(rules, key_id, request, &made, &whole));
    let signature = encoded(rules.encoding, &signature);
    // One pass: what is filled in is no template.
    let value = filled(
        &rules.value,
        &[
            ("signature", &signature),
            ("key-id", key_id),
            ("timestamp", &made.timestamp),
            ("nonce", &made.nonce),
        ],
    );
    if let Some(name) = &rules.query {
        whole = Cow::Owned(with_parameter(&whole, name, &value));
    }
    let mut signed = Vec::new();
    if let Some(name) = &rules.header {
        signed.push(header(name, &value)?);
    }
    if let Some(name) = rules.timestamp.as_ref().and_then(|own| own.header.as_deref()) {
        signed.push(header(name, &made.timestamp)?);
    }
    if let Some(name) = &rules.key_id_header {
        signed.push(header(name, key_id)?);
    }
    if let Some(name) = &rules.nonce_header {
        signed.push(header(name, &made.nonce)?);
    }
    let path_and_query = rules.parameters().next().map(|_| whole.into_owned());
    Some(Signed { headers: signed, path_and_query })
}

/// A path and a query with one parameter more, behind the others.
fn with_parameter(whole: &str, name: &str, value: &str) -> String {
    let mark = match whole.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some(_) => "&",
    };
    let encode = |text: &str| percent_encoded(text.as_bytes(), b"", false);
    format!("{whole}{mark}{}={}", encode(name), encode(value))
}

/// What is signed.
fn text(rules: &Hmac, key_id: &str, request: &Unsigned<'_>, made: &Made, whole: &str) -> Vec<u8> {
    let body: &[u8] = request.body.map_or(&[], |body| body);
    let (path, query) = whole.split_once('?').unwrap_or((whole, ""));
    let authority = request.target.authority();
    let mut text = Vec::new();
    for (number, part) in rules.parts.iter().enumerate() {
        if number > 0 {
            text.extend_from_slice(rules.separator.as_bytes());
        }
        let bytes: Cow<'_, [u8]> = match part {
            Part::Method => request.method.as_str().as_bytes().into(),
            Part::Host => authority.as_bytes().into(),
            Part::Path => path.as_bytes().into(),
            Part::Query => query.as_bytes().into(),
            Part::PathAndQuery => whole.as_bytes().into(),
            Part::Body => body.into(),
            Part::BodyDigest => {
                encoded(rules.encoding, &hash(rules.algorithm, body)).into_bytes().into()
            }
            Part::BodyLength => body.len().to_string().into_bytes().into(),
            Part::Timestamp => made.timestamp.as_bytes().into(),
            Part::Nonce => made.nonce.as_bytes().into(),
            Part::KeyId => key_id.as_bytes().into(),
            Part::Header(name) => value_of(request.headers, name).into(),
            Part::Text(own) => own.as_bytes().into(),
        };
        text.extend_from_slice(&bytes);
    }
    text
}

/// The value of a header; of one that is there several times, all of them (RFC 9110 section 5.2).
fn value_of(headers: &HeaderMap, name: &str) -> Vec<u8> {
    let values: Vec<&[u8]> =
        headers.get_all(name).iter().map(|value| value.as_bytes().trim_ascii()).collect();
    values.join(&b", "[..])
}

fn shown(format: TimeFormat, at: OffsetDateTime) -> Option<String> {
    Some(match format {
        TimeFormat::Unix => at.unix_timestamp().to_string(),
        TimeFormat::UnixMs => (at.unix_timestamp_nanos() / 1_000_000).to_string(),
        TimeFormat::Rfc3339 => at.replace_nanosecond(0).ok()?.format(&Rfc3339).ok()?,
        TimeFormat::HttpDate => httpdate::fmt_http_date(at.into()),
    })
}

fn encoded(encoding: Encoding, bytes: &[u8]) -> String {
    match encoding {
        Encoding::Hex => hex(bytes),
        Encoding::Base64 => STANDARD.encode(bytes),
        Encoding::Base64Url => URL_SAFE_NO_PAD.encode(bytes),
    }
}

fn filled(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once('{') {
        text.push_str(before);
        let known = behind.split_once('}').and_then(|(name, after)| {
            let value = values.iter().find(|(own, _)| *own == name)?.1;
            Some((value, after))
        });
        match known {
            Some((value, after)) => {
                text.push_str(value);
                rest = after;
            }
            None => {
                text.push('{');
                rest = behind;
            }
        }
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, Method};
    use keyway_core::credential::Credential;
    use keyway_core::descriptor::{MacHash, Scheme};
    use serde_json::{Value, json};

    use super::super::Signer;
    use super::*;
    use crate::target::Target;

    const KEY: &str = "the-secret-of-the-key";

    fn signer(scheme: Value, key: &str) -> Option<Signer> {
        let scheme: Scheme = serde_json::from_value(scheme).unwrap();
        let key = key.to_owned().into();
        let credential = match scheme.takes_pair() {
            true => Credential::Basic { user: "key-1".to_owned().into(), password: key },
            false => Credential::Token(key),
        };
        Signer::new(&scheme, &credential)
    }

    /// What a request is signed with, by header.
    fn signed(scheme: Value, key: &str) -> Vec<(String, String)> {
        let target =
            Target::parse("https://api.example.com/v1/orders?a=b&c=%20d", 8 << 10).unwrap();
        let body = Bytes::from_static(b"{\"price\":1}");
        let mut headers = HeaderMap::new();
        headers.insert("content-type", " application/json ".parse().unwrap());
        headers.append("x-part", "one".parse().unwrap());
        headers.append("x-part", "two".parse().unwrap());
        let request = Unsigned {
            method: &Method::POST,
            target: &target,
            headers: &headers,
            body: Some(&body),
            at: OffsetDateTime::from_unix_timestamp(1_500_000_000).unwrap(),
        };
        let signed = signer(scheme, key).unwrap().sign(&request);
        let text = |(name, value): (http::HeaderName, http::HeaderValue)| {
            assert!(value.is_sensitive());
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        let Signed { headers, path_and_query } = signed.unwrap();
        let query = path_and_query.into_iter().map(|whole| ("query".to_owned(), whole));
        headers.into_iter().map(text).chain(query).collect()
    }

    fn own(headers: &[(&str, &str)]) -> Vec<(String, String)> {
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// RFC 4231 section 4.3 and RFC 2202 section 3 (test case 2 of both), of the function beneath.
    #[test]
    fn the_standards_own_cases() {
        let mac = |digest| hex(&mac(digest, b"Jefe", b"what do ya want for nothing?"));
        for (digest, expected) in [
            (MacHash::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (MacHash::Sha256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
            (
                MacHash::Sha384,
                "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
            ),
            (
                MacHash::Sha512,
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
        ] {
            assert_eq!(mac(digest), expected, "{digest:?}");
        }
    }

    /// Expected values by `openssl dgst -sha256 -hmac the-secret-of-the-key` over the text that stands beside them.
    #[test]
    fn parts_are_joined_in_their_order() {
        // 1500000000POST/v1/orders?a=b&c=%20d{"price":1}
        let headers = signed(
            json!({
                "kind": "hmac", "parts": ["timestamp", "method", "path-and-query", "body"], "separator": "",
                "header": "X-Sign", "timestamp": {"header": "X-Time", "format": "unix"}, "key-id-header": "X-Key",
            }),
            KEY,
        );
        let signature = "40f08db3a8126191ac4ef9043eb28981aaf73bf67b535592fc06906d557bb488";
        let expected = [("x-sign", signature), ("x-time", "1500000000"), ("x-key", "key-1")];
        assert_eq!(headers, own(&expected));
        // POST, 11, application/json, Fri, 14 Jul 2017 02:40:00 GMT, /v1/orders, one, two, v1; a line each
        let headers = signed(
            json!({
                "kind": "hmac", "algorithm": "sha1", "encoding": "base64", "header": "Authorization",
                "parts": ["method", "body-length", {"header": "Content-Type"}, "timestamp", "path",
                    {"header": "x-part"}, {"header": "x-absent"}, {"text": "v1"}],
                "timestamp": {"header": "Date", "format": "http-date"},
            }),
            KEY,
        );
        let date = "Fri, 14 Jul 2017 02:40:00 GMT";
        assert_eq!(
            headers,
            own(&[("authorization", "1xwIv5crVnPOqXHy/6nSRA7SpQ4="), ("date", date)])
        );
    }

    /// Expected values by `openssl dgst -hmac the-secret-of-the-key` over the text that stands beside them.
    #[test]
    fn a_signature_stands_behind_the_query_that_it_is_of() {
        // a=b&c=%20d&timestamp=1500000000000
        let signed_with = signed(
            json!({
                "kind": "hmac", "parts": ["query"], "query": "signature",
                "timestamp": {"query": "timestamp", "format": "unix-ms"}, "key-id-header": "X-Key",
            }),
            KEY,
        );
        let query = "/v1/orders?a=b&c=%20d&timestamp=1500000000000&signature=b3806876f6b8c8e65c0c9706c3cd19098e740ed2d9b81c6c73326416f99d65aa";
        assert_eq!(signed_with, own(&[("x-key", "key-1"), ("query", query)]));
        // /v1/orders?a=b&c=%20d, with base64 as a query has it
        let signed_with = signed(
            json!({
                "kind": "hmac", "parts": ["path-and-query"], "query": "sign", "algorithm": "sha1",
                "encoding": "base64", "value": "v1 {signature}", "timestamp": {"header": "X-Time"},
            }),
            KEY,
        );
        let query = "/v1/orders?a=b&c=%20d&sign=v1%206WVyK6wnuCoaE0%2B9pKmrgmkbjeE%3D";
        assert_eq!(signed_with, own(&[("x-time", "1500000000"), ("query", query)]));
        assert_eq!(with_parameter("/x", "a", "b&c"), "/x?a=b%26c");
        assert_eq!(with_parameter("/x?", "a", ""), "/x?a=");
    }

    /// Expected values by `openssl dgst -sha384 -mac HMAC -macopt hexkey:000102ff`, over `POST`.
    #[test]
    fn a_key_is_read_as_it_is_written() {
        let rules = |encoding: &str| {
            json!({"kind": "hmac", "algorithm": "sha384", "parts": ["method"], "header": "X-Sign",
                "key-encoding": encoding})
        };
        let expected = "1a4cb0a9d65842068b5ca79fc72ecbd30b0a973fbc2d8f96d862b39f04391c2c892d9d31c5915251ad4d07315f3bbe64";
        for (encoding, key) in [
            ("hex", "000102ff"),
            ("hex", "000102FF"),
            ("base64", "AAEC/w=="),
            ("base64", "AAEC/w"),
            ("base64", "AAEC_w"),
        ] {
            assert_eq!(signed(rules(encoding), key)[0].1, expected, "{encoding} {key}");
        }
        for (encoding, key) in
            [("hex", "000"), ("hex", "0x01"), ("base64", "AAEC/"), ("base64", "?")]
        {
            assert!(signer(rules(encoding), key).is_none(), "{encoding} {key}");
        }
    }

    #[test]
    fn a_value_is_filled_in_once() {
        let headers = signed(
            json!({
                "kind": "hmac", "parts": ["key-id", "query", "body-digest", "host"], "algorithm": "sha512", "encoding": "base64",
                "header": "Authorization", "value": "HMAC id={key-id}, at={timestamp}, {other}, s={signature}",
            }),
            KEY,
        );
        assert!(headers[0].1.starts_with("HMAC id=key-1, at=, {other}, s="), "{headers:?}");
        assert_eq!(filled("{a}{b}", &[("a", "{b}"), ("b", "x")]), "{b}x");
        assert_eq!(filled("{", &[]), "{");
    }

    /// Fails if two requests have one nonce, or if what is signed is not what is sent.
    #[test]
    fn a_nonce_is_signed_and_never_comes_again() {
        let rules = json!({"kind": "hmac", "parts": ["nonce"], "header": "X-Sign", "nonce-header": "X-Nonce"});
        let (first, second) = (signed(rules.clone(), KEY), signed(rules, KEY));
        for headers in [&first, &second] {
            assert_eq!((headers[1].0.as_str(), headers[1].1.len()), ("x-nonce", 32));
            let expected = mac(MacHash::Sha256, KEY.as_bytes(), headers[1].1.as_bytes());
            assert_eq!(headers[0].1, hex(&expected));
        }
        assert_ne!(first, second);
    }
}
