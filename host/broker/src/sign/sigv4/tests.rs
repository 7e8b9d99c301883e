//! Signatures, held against figures that others have made: the test suite that AWS publishes
//! (`aws-sig-v4-test-suite`, and its later form in `aws-c-auth`), the examples of its guides, and its SDK for Python.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method};
use keyway_core::credential::Credential;
use keyway_core::descriptor::Scheme;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::datetime;

use super::super::Signer;
use super::*;
use crate::target::Target;

type Headers = &'static [(&'static str, &'static str)];

/// A request.
struct Sent {
    method: Method,
    url: String,
    headers: Headers,
    body: &'static str,
    at: OffsetDateTime,
}

/// A request of the suite, and its signature.
struct Case {
    name: &'static str,
    method: Method,
    path: &'static str,
    headers: Headers,
    signature: &'static str,
}

const ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// The key of the guide to S3.
const S3_ID: &str = "AKIAIOSFODNN7EXAMPLE";
const S3_SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// What `GET /` has.
const PLAIN: &str = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";

/// What `POST /` has.
const PLAIN_POST: &str = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b";

const UNRESERVED: &str = "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

const UNRESERVED_QUERY: &str = "/?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=\
                                -._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

const fn get(name: &'static str, path: &'static str, signature: &'static str) -> Case {
    Case { name, method: Method::GET, path, headers: &[], signature }
}

const fn with(name: &'static str, headers: Headers, signature: &'static str) -> Case {
    Case { name, method: Method::GET, path: "/", headers, signature }
}

const fn post(name: &'static str, headers: Headers, signature: &'static str) -> Case {
    Case { name, method: Method::POST, path: "/", headers, signature }
}

/// Paths that are normalised, queries and headers.
const SUITE: &[Case] = &[
    get("get-vanilla", "/", PLAIN),
    get("get-slash-normalized", "//", PLAIN),
    get("get-relative-normalized", "/example/..", PLAIN),
    get("get-relative-relative-normalized", "/example1/example2/../..", PLAIN),
    get("get-slash-dot-slash-normalized", "/./", PLAIN),
    get(
        "get-slash-pointless-dot-normalized",
        "/./example",
        "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5",
    ),
    get(
        "get-slashes-normalized",
        "//example//",
        "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84",
    ),
    get(
        "get-unreserved",
        UNRESERVED,
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    ),
    get(
        "get-vanilla-empty-query-key",
        "/?Param1=value1",
        "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
    ),
    get(
        "get-vanilla-query-order-encoded",
        "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
        "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
    ),
    get(
        "get-vanilla-query-order-key",
        "/?Param1=value2&Param1=Value1",
        "eedbc4e291e521cf13422ffca22be7d2eb8146eecf653089df300a15b2382bd1",
    ),
    get(
        "get-vanilla-query-order-key-case",
        "/?Param2=value2&Param1=value1",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    get(
        "get-vanilla-query-order-value",
        "/?Param1=value2&Param1=value1",
        "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694",
    ),
    get(
        "get-vanilla-query-unreserved",
        UNRESERVED_QUERY,
        "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
    ),
    get(
        "get-vanilla-utf8-query",
        "/?%E1%88%B4=bar",
        "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
    ),
    with(
        "get-header-key-duplicate",
        &[("my-header1", "value2"), ("my-header1", "value2"), ("my-header1", "value1")],
        "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
    ),
    // A line that goes on in the next one comes as one with more white space.
    with(
        "get-header-value-multiline",
        &[("my-header1", "value1  value2     value3")],
        "cfd34249e4b1c8d6b91ef74165d41a32e5fab3306300901bb65a51a73575eefd",
    ),
    with(
        "get-header-value-order",
        &[
            ("my-header1", "value4"),
            ("my-header1", "value1"),
            ("my-header1", "value3"),
            ("my-header1", "value2"),
        ],
        "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
    ),
    with(
        "get-header-value-trim",
        &[("my-header1", " value1"), ("my-header2", " \"a   b   c\"")],
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    post("post-vanilla", &[], PLAIN_POST),
    post(
        "post-header-key-sort",
        &[("my-header1", "value1")],
        "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
    ),
    post(
        "post-header-value-case",
        &[("my-header1", "VALUE1")],
        "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
    ),
    Case {
        name: "post-vanilla-query",
        method: Method::POST,
        path: "/?Param1=value1",
        headers: &[],
        signature: "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
    },
];

/// Paths that are signed as they are sent. Dots do not get so far: a URL has none of them left when it is sent.
const AS_SENT: &[Case] = &[
    get("get-vanilla", "/", PLAIN),
    get(
        "get-slash-unnormalized",
        "//",
        "c88bcd3d312d75078c0cd961d6deae3f4c754924b01669efcfcb439fd5e5b76e",
    ),
    get(
        "get-slashes-unnormalized",
        "//example//",
        "87cca117541a147f6df867677d98a7d80dff226d2bfca9e4ffa899665623c7e5",
    ),
    get(
        "get-space-unnormalized",
        "/example%20space/",
        "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
    ),
    get(
        "get-utf8",
        "/%E1%88%B4",
        "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
    ),
    get(
        "get-unreserved",
        UNRESERVED,
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    ),
];

fn key(id: &str, secret: &str) -> Credential {
    Credential::Basic { user: id.to_owned().into(), password: secret.to_owned().into() }
}

fn session(id: &str, secret: &str, token: &str) -> Credential {
    let [id, key, token] = [id, secret, token].map(|text| text.to_owned().into());
    Credential::Session { id, key, token }
}

fn signed(rules: Value, credential: &Credential, sent: &Sent) -> Vec<(String, String)> {
    let mut scheme = json!({"kind": "aws-sigv4"});
    scheme.as_object_mut().unwrap().extend(rules.as_object().unwrap().clone());
    let scheme: Scheme = serde_json::from_value(scheme).unwrap();
    let target = Target::parse(&sent.url, 8 << 10).unwrap();
    let mut headers = HeaderMap::new();
    for (name, value) in sent.headers {
        headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    let body = Bytes::from_static(sent.body.as_bytes());
    let request = Unsigned {
        method: &sent.method,
        target: &target,
        headers: &headers,
        body: Some(&body),
        at: sent.at,
    };
    let signed = Signer::new(&scheme, credential).unwrap().sign(&request).unwrap();
    let text = |value: http::HeaderValue| value.to_str().unwrap().to_owned();
    signed.headers.into_iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

fn signature(rules: Value, credential: &Credential, sent: &Sent) -> String {
    let signed = signed(rules, credential, sent);
    signed[0].1.rsplit('=').next().unwrap().to_owned()
}

/// Where and when the suite's requests are sent.
fn of_suite(method: Method, path: &str, headers: Headers, body: &'static str) -> Sent {
    let url = format!("https://example.amazonaws.com{path}");
    Sent { method, url, headers, body, at: datetime!(2015-08-30 12:36:00 UTC) }
}

fn of_s3(method: Method, path: &str, headers: Headers, body: &'static str) -> Sent {
    let url = format!("https://examplebucket.s3.amazonaws.com{path}");
    Sent { method, url, headers, body, at: datetime!(2013-05-24 00:00:00 UTC) }
}

#[test]
fn the_published_suite_is_met() {
    let named = json!(["My-Header1", "my-header2"]);
    for (cases, sent) in [(SUITE, false), (AS_SENT, true)] {
        for Case { name, method, path, headers, signature: expected } in cases {
            let rules = json!({"service": "service", "region": "us-east-1",
                "signed-headers": named, "path-as-sent": sent});
            let request = of_suite(method.clone(), path, headers, "");
            assert_eq!(signature(rules, &key(ID, SECRET), &request), *expected, "{name}");
        }
    }
}

/// The older form of the suite signs less than the later one.
#[test]
fn the_published_suite_is_met_by_forms() {
    let older = json!({"service": "service", "region": "us-east-1"});
    let newer = json!({"service": "service", "region": "us-east-1",
        "content-sha256-header": true, "signed-headers": ["content-length"]});
    let form: Headers = &[("content-type", "application/x-www-form-urlencoded")];
    let long: Headers = &[
        ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
        ("content-length", "13"),
    ];
    let measured: Headers =
        &[("content-type", "application/x-www-form-urlencoded"), ("content-length", "13")];
    for (rules, headers, expected) in [
        (&older, form, "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"),
        (&newer, measured, "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b"),
        (&newer, long, "328d1b9eaadca9f5818ef05e8392801e091653bafec24fcab71e7344e7f51422"),
    ] {
        let request = of_suite(Method::POST, "/", headers, "Param1=value1");
        assert_eq!(signature(rules.clone(), &key(ID, SECRET), &request), expected, "{headers:?}");
    }
}

/// `get-vanilla-with-session-token`, `post-sts-header-before` and `post-sts-header-after` of the suite.
#[test]
fn a_session_token_is_sent_and_signed() {
    let rules = json!({"service": "service", "region": "us-east-1"});
    let short = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";
    let long = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";
    for (method, token, expected) in [
        (Method::GET, short, "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8"),
        (Method::POST, long, "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"),
    ] {
        let request = of_suite(method, "/", &[], "");
        let signed = signed(rules.clone(), &session(ID, SECRET, token), &request);
        assert_eq!(signed[0].1.rsplit('=').next(), Some(expected));
        assert_eq!(signed.last().unwrap(), &("x-amz-security-token".to_owned(), token.to_owned()));
    }
    let request = of_suite(Method::POST, "/", &[], "");
    assert_eq!(signature(rules, &key(ID, SECRET), &request), PLAIN_POST);
}

/// S3's own page, "Authenticating Requests: Using the Authorization Header", and IAM's guide.
#[test]
fn the_examples_of_the_guides_are_met() {
    let s3 = json!({"service": "s3", "region": "us-east-1", "content-sha256-header": true,
        "path-as-sent": true, "signed-headers": ["range", "date"]});
    let put: Headers =
        &[("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")];
    for (sent, expected) in [
        (
            of_s3(Method::GET, "/?lifecycle", &[], ""),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            of_s3(Method::GET, "/?max-keys=2&prefix=J", &[], ""),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
        (
            of_s3(Method::GET, "/test.txt", &[("range", "bytes=0-9")], ""),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            of_s3(Method::PUT, "/test%24file.text", put, "Welcome to Amazon S3."),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
    ] {
        assert_eq!(signature(s3.clone(), &key(S3_ID, S3_SECRET), &sent), expected, "{}", sent.url);
    }
    let iam = json!({"service": "iam", "region": "us-east-1"});
    let form: Headers = &[("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
    let sent = Sent {
        url: "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08".to_owned(),
        ..of_suite(Method::GET, "/", form, "")
    };
    assert_eq!(
        signature(iam, &key(ID, SECRET), &sent),
        "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    );
}

/// Expected values by `botocore` 1.43 for the same URLs: a slash within a key's name stays what it is for S3, and is encoded
/// once more for all others.
#[test]
fn a_slash_that_is_encoded_stays_so() {
    let s3 = json!({"service": "s3", "region": "us-east-1", "content-sha256-header": true,
        "path-as-sent": true});
    let sent = of_s3(Method::GET, "/a%2Fb%20c//d", &[], "");
    assert_eq!(
        signature(s3, &key(S3_ID, S3_SECRET), &sent),
        "234cf4dde99293aa3f9769e824492b35404d024ba018553cdace8ff4b559cf6a"
    );
    let other = json!({"service": "execute-api", "region": "us-east-1"});
    let of_api = |path: &str| Sent {
        url: format!("https://api.us-east-1.amazonaws.com{path}"),
        ..of_s3(Method::GET, "/", &[], "")
    };
    assert_eq!(
        signature(other.clone(), &key(S3_ID, S3_SECRET), &of_api("/a%2Fb%20c//d/")),
        "ac17b5f2ca24640df15d0fe63a39389d5d8a7e03ff5182a5d4ca9ea6987cf48f"
    );
    let credential = session(S3_ID, S3_SECRET, "session+token/==");
    assert_eq!(
        signature(other, &credential, &of_api("/a%2Fb%20c//d/?b=%2F&a=x%20y")),
        "ae8b8e84c03e28134634606208838fb329f057f268c56171091efbd62dcc9f17"
    );
}

/// `get-space` and `get-utf8` as botocore has them, which signs for services that encode twice.
#[test]
fn paths_and_queries_have_one_spelling() {
    let rules = |sent: bool| {
        let scheme = json!({"service": "x", "region": "y", "path-as-sent": sent});
        serde_json::from_value::<Sigv4>(scheme).unwrap()
    };
    for (sent, path, expected) in [
        (false, "/%20/foo", "/%2520/foo"),
        (false, "/%E1%88%B4", "/%25E1%2588%25B4"),
        (false, "/a%20b//c/", "/a%2520b/c/"),
        (false, "/a(b)", "/a%28b%29"),
        (true, "/a%20b//c/", "/a%20b//c/"),
        (true, "/a%2fb/c", "/a%2Fb/c"),
        (true, "/a(b)%7e", "/a%28b%29~"),
        (true, "", ""),
    ] {
        assert_eq!(canonical_path(&rules(sent), path), expected, "{sent} {path}");
    }
    assert_eq!(canonical_query("b=2&a=%7e&a&c=x%2Fy"), "a=&a=~&b=2&c=x%2Fy");
}

#[test]
fn a_region_may_stand_in_the_host() {
    let rules = json!({"service": "sts", "region-label": 1});
    let of_host = |host: &str| Sent {
        url: format!("https://{host}/"),
        ..of_suite(Method::GET, "/", &[], "")
    };
    let signed = signed(rules, &key(ID, SECRET), &of_host("sts.eu-west-1.amazonaws.com"));
    assert!(signed[0].1.contains("/20150830/eu-west-1/sts/aws4_request,"), "{signed:?}");
}

/// Fails if somebody else's credential makes a signature that nobody takes.
#[test]
fn a_key_that_cannot_sign_is_refused() {
    let sigv4: Scheme =
        serde_json::from_value(json!({"kind": "aws-sigv4", "service": "s3", "region": "x"}))
            .unwrap();
    let hmac: Scheme =
        serde_json::from_value(json!({"kind": "hmac", "parts": ["path"], "header": "X-Sign"}))
            .unwrap();
    assert!(Signer::new(&sigv4, &Credential::Token("secret".to_owned().into())).is_none());
    assert!(Signer::new(&sigv4, &Credential::None).is_none());
    assert!(Signer::new(&sigv4, &session(ID, SECRET, "t")).is_some());
    assert!(Signer::new(&hmac, &session(ID, SECRET, "t")).is_none());
    assert!(Signer::new(&hmac, &key(ID, SECRET)).is_none(), "it uses no id");
    assert!(Signer::new(&Scheme::Bearer, &key(ID, SECRET)).is_none());
}
