//! Links lead back through the proxy, in headers and bodies, or are left alone.

use http::header::{CONTENT_TYPE, HeaderName};

use super::*;

const PROXY: &str = "http://127.0.0.1:8700/v1/x/proxy";

/// What was asked for.
const ASKED: &str = "https://api.example.com/v2/items/7?page=1";

fn links(base_url: &str) -> Links {
    let text = r#"{"format":1,"name":"a/b","version":"1.0.0",
        "hosts":["api.example.com","*.files.example.com","other.example.com:8443"],
        "link-members":["next_page"],"link-headers":["X-Next-Page"],"slots":{
            "key":{"scheme":{"kind":"api-key-query","name":"api_key"}},"token":{"scheme":{"kind":"bearer"}}}}"#;
    let descriptor = Arc::new(Descriptor::parse(text).unwrap());
    let asked = ASKED.parse().unwrap();
    Links::new(PROXY.into(), descriptor, Some(base_url), &asked)
}

fn led(base_url: &str, link: &str) -> Option<String> {
    let led = links(base_url).lead(link)?;
    Some(led.strip_prefix(PROXY).expect("it leads to the proxy").to_owned())
}

#[test]
fn links_below_the_base_are_paths_and_others_name_their_host() {
    let base = "https://api.example.com/v2/";
    for (link, expected) in [
        ("https://api.example.com/v2/items?page=2#x", "/items?page=2#x"),
        ("HTTPS://API.example.com:443/v2/items", "/items"),
        ("https://api.example.com./v2/items", "/items"),
        ("http://api.example.com/v2/items", "/items"),
        ("http://api.example.com:80/v2/items", "/items"),
        ("https://api.example.com/v2/", "/"),
        ("https://api.example.com/v2", "/keyway-host=api.example.com/v2"),
        ("https://api.example.com/v2?x", "/keyway-host=api.example.com/v2?x"),
        ("https://api.example.com/v22/x", "/keyway-host=api.example.com/v22/x"),
        ("https://api.example.com/other", "/keyway-host=api.example.com/other"),
        ("https://api.example.com", "/keyway-host=api.example.com"),
        ("https://api.example.com/v2//x", "/keyway-host=api.example.com/v2//x"),
        (
            "https://api.example.com/v2/keyway-host=evil/x",
            "/keyway-host=api.example.com/v2/keyway-host=evil/x",
        ),
        ("https://eu.files.example.com/f", "/keyway-host=eu.files.example.com/f"),
        ("https://other.example.com:8443/f", "/keyway-host=other.example.com:8443/f"),
        // A template, as some providers write them, stays one.
        ("https://api.example.com/v2/assets{?name,label}", "/assets{?name,label}"),
    ] {
        assert_eq!(led(base, link).as_deref(), Some(expected), "{link}");
    }
    for (link, expected) in [
        ("https://api.example.com", "/"),
        ("https://api.example.com?page=2", "/?page=2"),
        ("https://api.example.com/a", "/a"),
    ] {
        assert_eq!(led("https://api.example.com", link).as_deref(), Some(expected), "{link}");
    }
}

/// Catches a link that climbs out of the proxy and into the API, with the caller's token.
#[test]
fn no_link_climbs_out_of_the_proxy() {
    let base = "https://api.example.com";
    for link in [
        "https://api.example.com/../../pin",
        "https://api.example.com/a/../../../pin",
        "https://api.example.com/%2e%2E/%2e./pin",
        "https://api.example.com/\\..\\../pin",
        "https://api.example.com\\..\\../pin",
        "https:api.example.com/../pin",
        "https:/\\api.example.com/../pin",
        "https://api.example.com/./pin",
        " https://api.example.com/\t../p\nin",
    ] {
        assert_eq!(led(base, link).as_deref(), Some("/pin"), "{link:?}");
    }
    assert_eq!(
        led(base, "https://api.example.com/a..b/.c?x=../..").as_deref(),
        Some("/a..b/.c?x=../..")
    );
}

#[test]
fn links_elsewhere_are_left_alone() {
    for link in [
        "https://evil.example/x",
        "https://api.example.com.evil.example/x",
        "https://api.example.com@evil.example/x",
        "https://evil.example/api.example.com",
        "https://user@api.example.com/x",
        "https://api.example.com:8443/x",
        "https://a.b.files.example.com/x",
        "ftp://api.example.com/x",
        "//api.example.com/x",
        "/v2/items",
        "mailto:a@api.example.com",
        "https://",
        "",
        "not a link: https://api.example.com/x",
    ] {
        assert_eq!(led("https://api.example.com", link), None, "{link}");
    }
}

#[test]
fn a_credential_that_a_provider_repeats_in_a_link_is_left_out() {
    let base = "https://api.example.com";
    for (query, expected) in [
        ("?a=1&api_key=*****&b=2", "?a=1&b=2"),
        ("?API_KEY=x#y", "#y"),
        ("?api%5Fkey=x&a=%2f+x", "?a=%2f+x"),
        ("?access_token=x&after=7", "?after=7"),
        ("?api_keys=x", "?api_keys=x"),
    ] {
        let led = led(base, &format!("{base}/x{query}")).unwrap();
        assert_eq!(led, format!("/x{expected}"), "{query}");
    }
}

fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
    let parse = |(name, value): &(HeaderName, &str)| (name.clone(), value.parse().unwrap());
    pairs.iter().map(parse).collect()
}

#[test]
fn headers_lead_here_whether_absolute_or_relative() {
    let lead = |name: HeaderName, value: &str| {
        let mut headers = headers(&[(name.clone(), value)]);
        links("https://api.example.com/v2").lead_headers(&mut headers);
        headers[name].to_str().unwrap().replace(PROXY, "PROXY")
    };
    for (value, expected) in [
        ("https://api.example.com/v2/items/8", "PROXY/items/8"),
        ("/v2/items/8", "PROXY/items/8"),
        ("8", "PROXY/items/8"),
        ("?page=2", "PROXY/items/7?page=2"),
        ("../../login", "PROXY/keyway-host=api.example.com/login"),
        ("//eu.files.example.com/f", "PROXY/keyway-host=eu.files.example.com/f"),
        ("https://bucket.example/f?sig=%2f+", "https://bucket.example/f?sig=%2f+"),
        ("//evil.example/x", "//evil.example/x"),
    ] {
        assert_eq!(lead(LOCATION, value), expected, "{value}");
        assert_eq!(lead(CONTENT_LOCATION, value), expected, "{value}");
    }
    for (value, expected) in [
        (
            r#"<https://api.example.com/v2/items?page=2>; rel="next", <https://api.example.com/v2/items?page=9>; rel="last""#,
            r#"<PROXY/items?page=2>; rel="next", <PROXY/items?page=9>; rel="last""#,
        ),
        (r#"</v2/items?page=2>;rel=next"#, r#"<PROXY/items?page=2>;rel=next"#),
        (
            r#"<https://evil.example/a,b>; title="<https://api.example.com/v2/x>\"<y>", <https://api.example.com/v2/z>"#,
            r#"<https://evil.example/a,b>; title="<https://api.example.com/v2/x>\"<y>", <PROXY/z>"#,
        ),
        ("<https://api.example.com/v2/open", "<PROXY/open"),
        ("no link at all", "no link at all"),
    ] {
        assert_eq!(lead(LINK, value), expected, "{value}");
    }
}

/// Catches a client that polls an operation, goes on with an upload or turns a page past the host, with its token.
#[test]
fn links_in_headers_that_are_known_or_declared_lead_here() {
    let lead = |name: &str, value: &str| {
        let name: HeaderName = name.parse().unwrap();
        let mut headers = headers(&[(name.clone(), value)]);
        links("https://api.example.com/v2").lead_headers(&mut headers);
        headers[name].to_str().unwrap().replace(PROXY, "PROXY").replace("/v1/x/proxy", "/PROXY")
    };
    for name in ["operation-location", "azure-asyncoperation", "x-goog-upload-url", "x-next-page"] {
        for (value, expected) in [
            ("https://api.example.com/v2/operations/8?a=%2f", "PROXY/operations/8?a=%2f"),
            ("https://eu.files.example.com/f", "PROXY/keyway-host=eu.files.example.com/f"),
            ("/v2/operations/8", "/PROXY/operations/8"),
            ("<https://api.example.com/v2/x>; rel=next", "<PROXY/x>; rel=next"),
            ("https://evil.example/x", "https://evil.example/x"),
            ("2", "2"),
            ("", ""),
        ] {
            assert_eq!(lead(name, value), expected, "{name}: {value}");
        }
    }
    for (value, expected) in [
        ("5; url=https://api.example.com/v2/x", "5; url=PROXY/x"),
        ("0;URL = '/v2/x'", "0;URL = '/PROXY/x'"),
        ("1.5 , url=\"https://api.example.com/v2/x\"; more", "1.5 , url=\"PROXY/x\"; more"),
        ("5; https://api.example.com/v2/x", "5; PROXY/x"),
        ("5; url=\"https://api.example.com/v2/x", "5; url=\"PROXY/x"),
        ("5; url=https://evil.example/x", "5; url=https://evil.example/x"),
        ("5; url=", "5; url="),
        ("5; url=\"", "5; url=\""),
        ("5;", "5;"),
        ("5", "5"),
        ("", ""),
        ("url=https://api.example.com/v2/x", "url=https://api.example.com/v2/x"),
    ] {
        assert_eq!(lead("refresh", value), expected, "{value}");
    }
    let other = "https://api.example.com/v2/x";
    assert_eq!(lead("x-other", other), other, "what nobody declares stays");
}

/// What is said of a body with this label, coding and beginning: whether it is edited, and decoded before.
fn editing(status: u16, label: &str, coding: &str, begun: &str) -> Option<bool> {
    editing_with(&[], status, label, coding, begun)
}

/// The same, with more in the head.
fn editing_with(
    more: &[(HeaderName, &str)],
    status: u16,
    label: &str,
    coding: &str,
    begun: &str,
) -> Option<bool> {
    let mut headers = headers(&[
        (CONTENT_TYPE, label),
        (CONTENT_ENCODING, coding),
        (CONTENT_LENGTH, "5"),
        (ETAG, "\"v\""),
        (HeaderName::from_static("content-md5"), "x"),
    ]);
    headers.extend(more.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())));
    let status = StatusCode::from_u16(status).unwrap();
    let answer = (status, &mut headers, begun.as_bytes());
    let editing = links("https://api.example.com").editing(answer, &Limits::default());
    let (edited, decoded) = (editing.is_some(), editing.is_some_and(|one| one.inflate.is_some()));
    assert_eq!(headers.contains_key(CONTENT_LENGTH), !edited, "a length of what?");
    assert_eq!(headers.contains_key("content-md5"), !edited);
    assert_eq!(headers.contains_key(CONTENT_ENCODING), !decoded);
    assert_eq!(headers[ETAG], if decoded { "W/\"v\"" } else { "\"v\"" });
    edited.then_some(decoded)
}

#[test]
fn json_that_can_be_seen_whole_is_edited_whatever_its_label() {
    for label in ["application/json", "application/hal+json", "application/x-ndjson"] {
        for status in [200, 404] {
            assert_eq!(editing(status, label, "identity", ""), Some(false), "{label}");
        }
    }
    for nothing in ["utf-8", "none", "", "aws-chunked"] {
        assert_eq!(
            editing(200, "application/json", nothing, ""),
            Some(false),
            "{nothing:?} is no coding"
        );
    }
    for label in ["text/plain", "text/html; charset=utf-8", "application/javascript"] {
        assert_eq!(editing(200, label, "identity", " [{"), Some(false), "{label}");
        assert_eq!(editing(200, label, "identity", "id,name"), None, "{label}");
    }
    for coding in ["gzip", "br", "deflate", "zstd"] {
        assert_eq!(editing(200, "application/json", coding, ""), Some(true), "{coding}");
    }
    for (status, label, coding) in [
        (304, "application/json", "identity"),
        (200, "text/csv", "identity"),
        (200, "application/octet-stream", "identity"),
        (200, "text/event-stream", "identity"),
        (200, "application/json", "gzip, br"),
        (200, "application/json", "compress"),
        (200, "application/octet-stream", "gzip"),
    ] {
        assert_eq!(editing(status, label, coding, "{"), None, "{status} {label} {coding}");
    }
}

/// Catches a page of PostgREST or Heroku whose links lead past the host; and a piece of a file that is taken for a document.
#[test]
fn a_page_that_counts_in_its_own_unit_is_whole_and_a_piece_is_not() {
    let range = |range: &str, label: &str| {
        let more: &[_] = &[(CONTENT_RANGE, range)];
        let more = if range.is_empty() { &[] } else { more };
        editing_with(more, 206, label, "identity", "{")
    };
    for page in ["0-24/3573458", "*/0", "items 0-9/200", "id 1..200", "bytes-like 0-9/20", ""] {
        for label in ["application/json", "text/plain"] {
            assert_eq!(range(page, label), Some(false), "{page:?} {label}");
        }
        assert_eq!(range(page, "application/pdf"), None, "{page:?}");
    }
    for piece in ["bytes 0-9/200", "Bytes 0-9/*", "bytes=0-9/200", " bytes 0-9/200"] {
        for label in ["application/json", "text/plain"] {
            assert_eq!(range(piece, label), None, "{piece:?} {label}");
        }
    }
    assert_eq!(range("", "multipart/byteranges; boundary=x"), None);
}

/// Catches a field that is left alone because of what stands beside the link.
#[test]
fn fields_that_break_their_grammar_lead_here_all_the_same() {
    let lead = |name: HeaderName, value: &[u8]| {
        let value = HeaderValue::from_bytes(value).unwrap();
        let mut headers = HeaderMap::from_iter([(name.clone(), value)]);
        links("https://api.example.com/v2").lead_headers(&mut headers);
        let value = headers[name].as_bytes().to_vec();
        String::from_utf8_lossy(&value).replace(PROXY, "PROXY")
    };
    let next = "https://api.example.com/v2/items?page=2";
    for (value, expected) in [
        (
            format!("<{next}>; rel=\"next, <{next}>; rel=\"last\""),
            r#"<PROXY/items?page=2>; rel="next, <PROXY/items?page=2>; rel="last""#,
        ),
        (
            format!("<{next}>; rel=next\", <{next}>; rel=last\""),
            r#"<PROXY/items?page=2>; rel=next", <PROXY/items?page=2>; rel=last""#,
        ),
        (
            format!("<{next}>; title=\"<{next}"),
            r#"<PROXY/items?page=2>; title="<PROXY/items?page=2"#,
        ),
        (
            format!("<https://evil.example/x <{next}>; rel=next"),
            "<https://evil.example/x <PROXY/items?page=2>; rel=next",
        ),
        (format!("{next}>; rel=\"next\""), r#"PROXY/items?page=2>; rel="next""#),
        (format!("< {next} >; rel=next"), "<PROXY/items?page=2>; rel=next"),
        (format!("<{next}>; title=\"é\""), "<PROXY/items?page=2>; title=\"é\""),
    ] {
        assert_eq!(lead(LINK, value.as_bytes()), expected, "{value}");
    }
    let latin = |text: &str| text.replace('é', "\u{fffd}");
    let bytes =
        |text: &str| text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect::<Vec<u8>>();
    assert_eq!(
        lead(LINK, &bytes(&format!("<{next}>; title=\"café\""))),
        latin("<PROXY/items?page=2>; title=\"café\"")
    );
    assert_eq!(lead(LOCATION, &bytes("https://api.example.com/v2/café")), "PROXY/caf%E9");
    assert_eq!(lead(LOCATION, "https://api.example.com/v2/café".as_bytes()), "PROXY/caf%C3%A9");
    assert_eq!(lead(LINK, &bytes("<https://api.example.com/v2/café>")), "<PROXY/caf%E9>");
}

#[test]
fn relative_links_in_members_lead_here_where_they_would_not_by_themselves() {
    let member = |base: &str, link: &str| {
        let led = links(base).lead_member(link)?;
        Some(led.replace(PROXY, "PROXY").replace("/v1/x/proxy", "/PROXY"))
    };
    let base = "https://api.example.com/v2";
    for (link, expected) in [
        ("https://api.example.com/v2/x", Some("PROXY/x")),
        ("//api.example.com/v2/x", Some("PROXY/x")),
        ("\\\\api.example.com/v2/x", Some("PROXY/x")),
        ("//eu.files.example.com/x", Some("PROXY/keyway-host=eu.files.example.com/x")),
        ("/v2/items?page=2", Some("/PROXY/items?page=2")),
        ("/other", Some("/PROXY/keyway-host=api.example.com/other")),
        ("../../other", Some("PROXY/keyway-host=api.example.com/other")),
        ("./8", None),
        ("?page=2", None),
        ("items?page=2", None),
        ("2", None),
        ("", None),
        ("//evil.example/x", None),
        ("mailto:ann@api.example.com", None),
    ] {
        assert_eq!(member(base, link).as_deref(), expected, "{link}");
    }
}
