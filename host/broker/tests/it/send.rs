//! What reaches the upstream, and what comes back, when all is well.

use std::time::Duration;

use keyway_broker::Reason;
use keyway_core::exchange::Request;

use crate::support::{Step, Upstream, answer, bench, get, header, ok, post, text};

#[tokio::test]
async fn a_get_goes_out_rebuilt_and_its_answer_comes_back() {
    let upstream = Upstream::start(|_, _| answer("X-Thing: a\r\nX-Thing: b\r\n", "hello")).await;
    let bench = bench(&upstream, "");
    let mut request = get("https://API.example.com./crm/../v3?limit=2#part");
    request.headers = vec![("X-Own".to_owned(), "1".to_owned())];
    let response = bench.send(request).await.unwrap();
    assert_eq!((response.status, &response.body[..]), (200, &b"hello"[..]));
    assert_eq!(response.headers.iter().filter(|(name, _)| name == "x-thing").count(), 2);
    assert_eq!(header(&response, "content-length"), None);

    let sent = upstream.requests().remove(0);
    assert!(sent.starts_with("GET /v3?limit=2 HTTP/1.1\r\n"), "{sent}");
    let lines: Vec<_> = sent.lines().skip(1).take_while(|line| !line.is_empty()).collect();
    assert_eq!(lines.iter().filter(|line| line.to_lowercase().starts_with("host:")).count(), 1);
    assert!(lines.contains(&"host: api.example.com"), "{sent}");
    assert!(lines.contains(&"x-own: 1"), "{sent}");
    assert!(lines.contains(&"accept-encoding: gzip, br, zstd"), "{sent}");
    assert!(!sent.to_lowercase().contains("authorization"), "{sent}");
    assert_eq!(bench.names.asked(), 0);
}

#[tokio::test]
async fn a_body_goes_out_with_its_own_length() {
    let upstream = Upstream::start(|_, _| ok("")).await;
    let bench = bench(&upstream, "");
    bench.send(post("/v3/contacts", "{\"a\":1}")).await.unwrap();
    bench.send(post("/v3/contacts", "")).await.unwrap();
    let requests = upstream.requests();
    assert!(requests[0].contains("content-length: 7\r\n"), "{}", requests[0]);
    assert!(requests[0].ends_with("\r\n\r\n{\"a\":1}"), "{}", requests[0]);
    assert!(requests[1].contains("content-length: 0\r\n"), "{}", requests[1]);
}

#[tokio::test]
async fn any_status_is_a_response() {
    let upstream = Upstream::start(|number, _| {
        let status =
            ["204 No Content", "302 Found", "404 Not Found", "429 Slow Down", "503 Down"][number];
        vec![text(&format!(
            "HTTP/1.1 {status}\r\nretry-after: 3\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n"
        ))]
    })
    .await;
    let bench = bench(&upstream, "");
    for status in [204, 302, 404, 429, 503] {
        let response = bench.send(get("/")).await.unwrap();
        assert_eq!(response.status, status);
        assert_eq!(header(&response, "retry-after"), Some("3"));
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn bodies_of_every_framing_are_read_whole() {
    let upstream = Upstream::start(|number, _| match number {
        0 => vec![
            text("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"),
            Step::Pause(Duration::from_millis(5)),
            text("4\r\ndefg\r\n0\r\nAuthorization: Bearer trailer\r\nx-late: 1\r\n\r\n"),
        ],
        1 => vec![text("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nabc"), text("defg")],
        2 => vec![
            text("HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"),
            text("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nabcdefg"),
        ],
        _ => vec![text("HTTP/1.1 200 OK\r\n\r\nabc"), text("defg"), Step::Close],
    })
    .await;
    let bench = bench(&upstream, "");
    for framing in 0..4 {
        let response = bench.send(get("/")).await.unwrap();
        assert_eq!(&response.body[..], b"abcdefg", "framing {framing}");
        // Trailers do not become headers, whatever they say.
        assert_eq!(header(&response, "authorization"), None);
        assert_eq!(header(&response, "x-late"), None);
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn head_keeps_the_length_it_was_told() {
    let upstream = Upstream::start(|_, _| {
        vec![text("HTTP/1.1 200 OK\r\ncontent-length: 1234\r\ncontent-encoding: gzip\r\n\r\n")]
    })
    .await;
    let bench = bench(&upstream, "");
    let response = bench.send(Request { method: "HEAD".to_owned(), ..get("/") }).await.unwrap();
    assert_eq!(header(&response, "content-length"), Some("1234"));
    assert!(response.body.is_empty());
}

#[tokio::test]
async fn paths_go_to_the_connections_base_url() {
    let upstream = Upstream::start(|_, _| ok("")).await;
    let mut bench = bench(&upstream, "");
    bench.origin.base_url = Some("https://api.example.com/tenant/7/".into());
    bench.send(get("/x")).await.unwrap();
    assert!(upstream.requests()[0].starts_with("GET /tenant/7/x HTTP/1.1\r\n"));
    // A base URL out of a store is trusted no more than a connector.
    for (base_url, reason) in [
        ("https://evil.example.com", Reason::UndeclaredHost),
        ("http://api.example.com", Reason::SchemeRefused),
        ("https://api.example.com:8443", Reason::UndeclaredHost),
        ("https://api.example.com@evil.com", Reason::UserinfoRefused),
    ] {
        bench.origin.base_url = Some(base_url.into());
        assert_eq!(bench.stop(get("/x")).await, (reason, false), "{base_url}");
    }
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn exchanges_are_counted_by_how_they_ended() {
    let upstream = Upstream::start(|_, _| ok("")).await;
    let bench = bench(&upstream, "");
    bench.send(get("/")).await.unwrap();
    bench.stop(get("https://evil.com")).await;
    let page = bench.metrics();
    for line in [
        "keyway_broker_exchanges_total{outcome=\"response\",class=\"2xx\"} 1",
        "keyway_broker_exchanges_total{outcome=\"denied\",class=\"none\"} 1",
        "keyway_broker_denied_total{code=\"undeclared-host\"} 1",
        "keyway_broker_exchange_seconds_count 2",
        "keyway_broker_in_flight 0",
        "keyway_broker_pooled_connections 1",
        "keyway_broker_dials_total 1",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
    }
}
