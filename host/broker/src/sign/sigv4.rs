//! AWS Signature Version 4: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.
//!
//! In headers only. A signature in the query makes a URL that anybody can use, and a connector would have it.
//!
//! Held against the test suite that AWS publishes ([`tests`]). There is a crate for it, `aws-sigv4`; it brings a runtime of
//! its own along, for what is a page of hashing.

use http::header::CONTENT_TYPE;
use keyway_core::descriptor::{MacHash, Sigv4};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::{Signed, Unsigned, hash, header, hex, mac};
use crate::scrub::percent_encoded;

/// What stands where the digest of a body would, if that is not signed.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// An access key.
pub(crate) struct Key {
    pub(super) id: String,
    pub(super) secret: SecretString,
    /// Of a key that is good for hours.
    pub(super) session: Option<SecretString>,
}

/// None where something cannot stand in a header, or no region is known.
pub(super) fn sign(rules: &Sigv4, key: &Key, request: &Unsigned<'_>) -> Option<Signed> {
    let format = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
    let at = request.at.to_offset(time::UtcOffset::UTC).format(format).ok()?;
    let payload = if rules.unsigned_payload {
        UNSIGNED.to_owned()
    } else {
        hex(&hash(MacHash::Sha256, request.body.map_or(&[], |body| body)))
    };
    let mut own = vec![("x-amz-date", at.as_str())];
    if rules.content_sha256_header {
        own.push(("x-amz-content-sha256", &payload));
    }
    if let Some(token) = &key.session {
        own.push(("x-amz-security-token", token.expose_secret()));
    }
    let (headers, names) = canonical_headers(rules, request, &own)?;
    let whole = request.target.path_and_query();
    let (path, query) = whole.split_once('?').unwrap_or((&whole, ""));
    let (path, query) = (canonical_path(rules, path), canonical_query(query));
    let method = request.method;
    let canonical =
        Zeroizing::new(format!("{method}\n{path}\n{query}\n{}\n{names}\n{payload}", *headers));
    let (scope, signature) = signature(rules, key, request, (&at, &canonical))?;
    let id = &key.id;
    let value = format!(
        "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"
    );
    let mut signed = vec![header("authorization", &value)?];
    for (name, value) in &own {
        signed.push(header(name, value)?);
    }
    Some(Signed { headers: signed, path_and_query: None })
}

/// The scope of a signature, and itself.
fn signature(
    rules: &Sigv4,
    key: &Key,
    request: &Unsigned<'_>,
    (at, canonical): (&str, &str),
) -> Option<(String, String)> {
    let (day, _) = at.split_once('T')?;
    let region = rules.region_of(&request.target.host)?;
    let scope = format!("{day}/{region}/{}/aws4_request", rules.service);
    let digest = hex(&hash(MacHash::Sha256, canonical.as_bytes()));
    let text = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{digest}");
    let derive =
        |key: Zeroizing<Vec<u8>>, part: &str| mac(MacHash::Sha256, &key, part.as_bytes()).into();
    let start = Zeroizing::new([b"AWS4", key.secret.expose_secret().as_bytes()].concat());
    let key = [day, region, &*rules.service, "aws4_request"].into_iter().fold(start, derive);
    let signature = hex(&mac(MacHash::Sha256, &key, text.as_bytes()));
    Some((scope, signature))
}

/// Each signed header in a line, by name, and the names: `host`, the type of the body, all that are AWS's own, and what the
/// release names besides.
fn canonical_headers(
    rules: &Sigv4,
    request: &Unsigned<'_>,
    own: &[(&str, &str)],
) -> Option<(Zeroizing<String>, String)> {
    let host = request.target.authority();
    let mut all = vec![("host", Zeroizing::new(host.into_owned()))];
    all.extend(own.iter().map(|(name, value)| (*name, Zeroizing::new((*value).to_owned()))));
    for name in request.headers.keys() {
        let named =
            || rules.signed_headers.iter().any(|own| own.eq_ignore_ascii_case(name.as_str()));
        let set = all.iter().any(|(own, _)| *own == name.as_str());
        if set || !(*name == CONTENT_TYPE || name.as_str().starts_with("x-amz-") || named()) {
            continue;
        }
        let single = |value: &str| value.split_whitespace().collect::<Vec<_>>().join(" ");
        let values = request.headers.get_all(name).iter();
        let values: Option<Vec<String>> =
            values.map(|value| Some(single(value.to_str().ok()?))).collect();
        all.push((name.as_str(), Zeroizing::new(values?.join(","))));
    }
    all.sort_unstable_by(|one, other| one.0.cmp(other.0));
    let bytes = all.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    let mut lines = Zeroizing::new(String::with_capacity(bytes));
    for (name, value) in &all {
        lines.extend([*name, ":", value, "\n"]);
    }
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    Some((lines, names.join(";")))
}

/// The path is sent encoded once. Most services want it encoded twice and without empty segments; S3 as it is sent, where a
/// slash within a key's name stays what it is, and every letter has one spelling.
fn canonical_path(rules: &Sigv4, path: &str) -> String {
    if rules.path_as_sent {
        let spelt = |segment: &str| {
            let decoded: Vec<u8> = percent_decode_str(segment).collect();
            percent_encoded(&decoded, b"", false)
        };
        return path.split('/').map(spelt).collect::<Vec<_>>().join("/");
    }
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    if segments.is_empty() {
        return "/".to_owned();
    }
    let end = if path.ends_with('/') { "/" } else { "" };
    percent_encoded(format!("/{}{end}", segments.join("/")).as_bytes(), b"/", false)
}

/// Sorted as it is encoded, with an equals sign in each pair.
fn canonical_query(query: &str) -> String {
    let encoded = |text: &str| {
        let decoded: Vec<u8> = percent_decode_str(text).collect();
        percent_encoded(&decoded, b"", false)
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<(String, String)> = pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encoded(name), encoded(value)))
        .collect();
    pairs.sort();
    let pairs: Vec<String> =
        pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

#[cfg(test)]
mod tests;
