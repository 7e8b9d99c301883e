//! AWS Signature Version 4: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.
//!
//! Held against the vectors that AWS publishes. There is a crate for it, `aws-sigv4`; it brings a runtime of its own along,
//! for what is a page of hashing.

use http::header::CONTENT_TYPE;
use keyway_core::descriptor::{MacHash, Sigv4};
use percent_encoding::percent_decode_str;

use super::{Signed, Unsigned, hash, header, hex, mac};
use crate::scrub::percent_encoded;

/// What stands where the digest of a body would, if that is not signed.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// None where something cannot stand in a header, or no region is known.
pub(super) fn sign(
    rules: &Sigv4,
    key_id: &str,
    key: &str,
    request: &Unsigned<'_>,
) -> Option<Signed> {
    let format = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
    let at = request.at.to_offset(time::UtcOffset::UTC).format(format).ok()?;
    let day = at.split('T').next()?.to_owned();
    let payload = if rules.unsigned_payload {
        UNSIGNED.to_owned()
    } else {
        hex(&hash(MacHash::Sha256, request.body.map_or(&[], |body| body)))
    };
    let mut own = vec![("x-amz-date".to_owned(), at.clone())];
    if rules.content_sha256_header {
        own.push(("x-amz-content-sha256".to_owned(), payload.clone()));
    }
    let (headers, names) = canonical_headers(request, &own)?;
    let whole = request.target.path_and_query();
    let (path, query) = whole.split_once('?').unwrap_or((&whole, ""));
    let (path, query) = (canonical_path(rules, path), canonical_query(query));
    let canonical = format!("{}\n{path}\n{query}\n{headers}\n{names}\n{payload}", request.method);
    let region = rules.region_of(&request.target.host)?;
    let scope = format!("{day}/{region}/{}/aws4_request", rules.service);
    let digest = hex(&hash(MacHash::Sha256, canonical.as_bytes()));
    let text = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{digest}");
    let derive = |key: Vec<u8>, part: &str| mac(MacHash::Sha256, &key, part.as_bytes());
    let start = format!("AWS4{key}").into_bytes();
    let key = [&*day, region, &*rules.service, "aws4_request"].into_iter().fold(start, derive);
    let signature = hex(&mac(MacHash::Sha256, &key, text.as_bytes()));
    let value = format!(
        "AWS4-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    );
    let mut signed = vec![header("authorization", &value)?];
    for (name, value) in &own {
        signed.push(header(name, value)?);
    }
    Some(signed)
}

/// Each signed header in a line, by name, and the names: `host`, the type of the body, and all that are AWS's own.
fn canonical_headers(request: &Unsigned<'_>, own: &[(String, String)]) -> Option<(String, String)> {
    let mut all = vec![("host".to_owned(), request.target.authority().into_owned())];
    all.extend(own.iter().cloned());
    for name in request.headers.keys() {
        if *name != CONTENT_TYPE && !name.as_str().starts_with("x-amz-") {
            continue;
        }
        let values: Option<Vec<String>> = request
            .headers
            .get_all(name)
            .iter()
            .map(|value| {
                Some(value.to_str().ok()?.split_whitespace().collect::<Vec<_>>().join(" "))
            })
            .collect();
        all.push((name.as_str().to_owned(), values?.join(",")));
    }
    all.sort();
    let lines = all.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    Some((lines, names.join(";")))
}

/// The path is sent encoded once. Most services want it encoded twice and without empty segments; S3 as it is.
fn canonical_path(rules: &Sigv4, path: &str) -> String {
    let encoded = |text: &str| percent_encoded(text.as_bytes(), b"/", false);
    if rules.path_as_sent {
        let decoded: Vec<u8> = percent_decode_str(path).collect();
        return percent_encoded(&decoded, b"/", false);
    }
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    if segments.is_empty() {
        return "/".to_owned();
    }
    let end = if path.ends_with('/') { "/" } else { "" };
    encoded(&format!("/{}{end}", segments.join("/")))
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
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderName, Method};
    use keyway_core::descriptor::Scheme;
    use serde_json::{Value, json};
    use time::macros::datetime;

    use super::super::Signer;
    use super::*;
    use crate::target::Target;

    fn signature(
        scheme: Value,
        (id, key): (&str, &str),
        (method, url): (Method, &str),
        headers: &[(&str, &str)],
        body: &'static str,
        at: time::OffsetDateTime,
    ) -> String {
        let scheme: Scheme = serde_json::from_value(scheme).unwrap();
        let target = Target::parse(url, 8 << 10).unwrap();
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect();
        let body = Bytes::from_static(body.as_bytes());
        let request =
            Unsigned { method: &method, target: &target, headers: &headers, body: Some(&body), at };
        let signed = Signer::new(&scheme, id, key).unwrap().sign(&request).unwrap();
        let value = signed[0].1.to_str().unwrap();
        value.rsplit('=').next().unwrap().to_owned()
    }

    /// A request of AWS's test suite for Signature Version 4 (`aws-sig-v4-test-suite`), as it stands there, and its signature.
    type Case = (
        &'static str,
        Method,
        &'static str,
        &'static [(&'static str, &'static str)],
        &'static str,
        &'static str,
    );

    const FORM: &[(&str, &str)] = &[("content-type", "application/x-www-form-urlencoded")];

    const SUITE: [Case; 7] = [
        (
            "get-vanilla",
            Method::GET,
            "/",
            &[],
            "",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "get-slashes",
            Method::GET,
            "//",
            &[],
            "",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "get-relative",
            Method::GET,
            "/example/..",
            &[],
            "",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "get-unreserved",
            Method::GET,
            "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            &[],
            "",
            "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
        ),
        (
            "get-vanilla-query-order-key-case",
            Method::GET,
            "/?Param2=value2&Param1=value1",
            &[],
            "",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "post-vanilla",
            Method::POST,
            "/",
            &[],
            "",
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ),
        (
            "post-x-www-form-urlencoded",
            Method::POST,
            "/",
            FORM,
            "Param1=value1",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ];

    #[test]
    fn the_published_suite_is_met() {
        for (name, method, path, headers, body, expected) in SUITE {
            let scheme = json!({"kind": "aws-sigv4", "service": "service", "region": "us-east-1"});
            let key = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
            let url = format!("https://example.amazonaws.com{path}");
            let at = datetime!(2015-08-30 12:36:00 UTC);
            assert_eq!(
                signature(scheme, key, (method, &url), headers, body, at),
                expected,
                "{name}"
            );
        }
    }

    /// The examples of S3's own page, "Authenticating Requests: Using the Authorization Header", and of IAM's guide.
    #[test]
    fn the_examples_of_the_guides_are_met() {
        let s3 = json!({
            "kind": "aws-sigv4", "service": "s3", "region": "us-east-1",
            "content-sha256-header": true, "path-as-sent": true,
        });
        let key = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        let at = datetime!(2013-05-24 00:00:00 UTC);
        for (query, expected) in [
            ("?lifecycle", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
            (
                "?max-keys=2&prefix=J",
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ] {
            let url = format!("https://examplebucket.s3.amazonaws.com/{query}");
            assert_eq!(
                signature(s3.clone(), key, (Method::GET, &url), &[], "", at),
                expected,
                "{query}"
            );
        }
        let iam = json!({"kind": "aws-sigv4", "service": "iam", "region": "us-east-1"});
        let key = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let url = "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08";
        let form = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
        assert_eq!(
            signature(iam, key, (Method::GET, url), &form, "", datetime!(2015-08-30 12:36:00 UTC)),
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
    }

    #[test]
    fn paths_and_queries_have_one_spelling() {
        let rules = |sent: bool| {
            let scheme = json!({"service": "x", "region": "y", "path-as-sent": sent});
            serde_json::from_value::<Sigv4>(scheme).unwrap()
        };
        assert_eq!(canonical_path(&rules(false), "/a%20b//c/"), "/a%2520b/c/");
        assert_eq!(canonical_path(&rules(true), "/a%20b//c/"), "/a%20b//c/");
        assert_eq!(canonical_query("b=2&a=%7e&a&c=x%2Fy"), "a=&a=~&b=2&c=x%2Fy");
    }

    #[test]
    fn a_region_may_stand_in_the_host() {
        let scheme = json!({"kind": "aws-sigv4", "service": "sts", "region-label": 1});
        let sign = |host: &str| {
            let scheme: Scheme = serde_json::from_value(scheme.clone()).unwrap();
            let target = Target::parse(&format!("https://{host}/"), 8 << 10).unwrap();
            let (headers, at) = (HeaderMap::new(), datetime!(2015-08-30 12:36:00 UTC));
            let request = Unsigned {
                method: &Method::GET,
                target: &target,
                headers: &headers,
                body: None,
                at,
            };
            Signer::new(&scheme, "AKID", "secret").unwrap().sign(&request)
        };
        let signed = sign("sts.eu-west-1.amazonaws.com").unwrap();
        assert!(signed[0].1.to_str().unwrap().contains("/20150830/eu-west-1/sts/aws4_request,"));
        assert!(sign("localhost.localdomain").is_ok());
    }
}
