//! An HMAC (RFC 2104) over parts of a request that a descriptor lists, put where it says.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use keyway_core::descriptor::{Encoding, Hmac, Part, TimeFormat};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Signed, Unsigned, hash, header, hex, mac};

/// None where something cannot stand in a header.
pub(super) fn sign(
    rules: &Hmac,
    key_id: &str,
    key: &str,
    request: &Unsigned<'_>,
) -> Option<Signed> {
    let body: &[u8] = request.body.map_or(&[], |body| body);
    let timestamp = match &rules.timestamp {
        Some(timestamp) => shown(timestamp.format, request.at)?,
        None => String::new(),
    };
    let whole = request.target.path_and_query();
    let (path, query) = whole.split_once('?').unwrap_or((&whole, ""));
    let mut text = Vec::new();
    for (number, part) in rules.parts.iter().enumerate() {
        if number > 0 {
            text.extend_from_slice(rules.separator.as_bytes());
        }
        match part {
            Part::Method => text.extend_from_slice(request.method.as_str().as_bytes()),
            Part::Host => text.extend_from_slice(request.target.authority().as_bytes()),
            Part::Path => text.extend_from_slice(path.as_bytes()),
            Part::Query => text.extend_from_slice(query.as_bytes()),
            Part::PathAndQuery => text.extend_from_slice(whole.as_bytes()),
            Part::Body => text.extend_from_slice(body),
            Part::BodyDigest => {
                text.extend_from_slice(
                    encoded(rules.encoding, &hash(rules.algorithm, body)).as_bytes(),
                );
            }
            Part::Timestamp => text.extend_from_slice(timestamp.as_bytes()),
            Part::KeyId => text.extend_from_slice(key_id.as_bytes()),
        }
    }
    let signature = encoded(rules.encoding, &mac(rules.algorithm, key.as_bytes(), &text));
    // One pass: what is filled in is no template.
    let value = filled(
        &rules.value,
        &[("signature", &signature), ("key-id", key_id), ("timestamp", &timestamp)],
    );
    let mut signed = vec![header(&rules.header, &value)?];
    if let Some(own) = &rules.timestamp {
        signed.push(header(&own.header, &timestamp)?);
    }
    if let Some(name) = &rules.key_id_header {
        signed.push(header(name, key_id)?);
    }
    Some(signed)
}

fn shown(format: TimeFormat, at: OffsetDateTime) -> Option<String> {
    Some(match format {
        TimeFormat::Unix => at.unix_timestamp().to_string(),
        TimeFormat::UnixMs => (at.unix_timestamp_nanos() / 1_000_000).to_string(),
        TimeFormat::Rfc3339 => at.replace_nanosecond(0).ok()?.format(&Rfc3339).ok()?,
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
    use keyway_core::descriptor::Scheme;
    use serde_json::json;

    use super::super::Signer;
    use super::*;
    use crate::target::Target;

    fn signed(scheme: serde_json::Value) -> Vec<(String, String)> {
        let scheme: Scheme = serde_json::from_value(scheme).unwrap();
        let target =
            Target::parse("https://api.example.com/v1/orders?a=b&c=%20d", 8 << 10).unwrap();
        let body = Bytes::from_static(b"{\"price\":1}");
        let request = Unsigned {
            method: &Method::POST,
            target: &target,
            headers: &HeaderMap::new(),
            body: Some(&body),
            at: OffsetDateTime::from_unix_timestamp(1_500_000_000).unwrap(),
        };
        let signed = Signer::new(&scheme, "key-1", "the-secret-of-the-key").unwrap().sign(&request);
        let text = |(name, value): (http::HeaderName, http::HeaderValue)| {
            assert!(value.is_sensitive());
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        signed.unwrap().into_iter().map(text).collect()
    }

    /// RFC 4231 section 4.3 (test case 2), of the function beneath.
    #[test]
    fn the_standards_own_case() {
        let mac = |digest| hex(&mac(digest, b"Jefe", b"what do ya want for nothing?"));
        assert_eq!(
            mac(keyway_core::descriptor::MacHash::Sha256),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert!(
            mac(keyway_core::descriptor::MacHash::Sha512)
                .starts_with("164b7a7bfcf819e2e395fbe73b56e0a387bd6422")
        );
    }

    /// Expected values by `openssl dgst -sha256 -hmac the-secret-of-the-key` over the text that stands beside them.
    #[test]
    fn parts_are_joined_in_their_order() {
        let headers = signed(json!({
            "kind": "hmac", "parts": ["timestamp", "method", "path-and-query", "body"], "separator": "",
            "header": "X-Sign", "timestamp": {"header": "X-Time", "format": "unix"}, "key-id-header": "X-Key",
        }));
        let text = "1500000000POST/v1/orders?a=b&c=%20d{\"price\":1}";
        let expected = mac(
            keyway_core::descriptor::MacHash::Sha256,
            b"the-secret-of-the-key",
            text.as_bytes(),
        );
        assert_eq!(
            headers,
            [
                ("x-sign", hex(&expected)),
                ("x-time", "1500000000".to_owned()),
                ("x-key", "key-1".to_owned())
            ]
            .map(|(name, value)| (name.to_owned(), value))
        );
    }

    #[test]
    fn a_value_is_filled_in_once() {
        let headers = signed(json!({
            "kind": "hmac", "parts": ["key-id", "query", "body-digest", "host"], "algorithm": "sha512", "encoding": "base64",
            "header": "Authorization", "value": "HMAC id={key-id}, at={timestamp}, {other}, s={signature}",
        }));
        assert!(headers[0].1.starts_with("HMAC id=key-1, at=, {other}, s="), "{headers:?}");
        assert_eq!(filled("{a}{b}", &[("a", "{b}"), ("b", "x")]), "{b}x");
        assert_eq!(filled("{", &[]), "{");
    }
}
