//! The secret goes out where its scheme says and does not come back (C25, C26).

use std::cell::Cell;
use std::sync::{Arc, Mutex};

use async_compression::tokio::bufread::GzipEncoder;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use keyway_broker::Reason;
use keyway_core::call::FailureKind;
use keyway_core::exchange::Response;
use tokio::io::AsyncReadExt as _;
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::prelude::*;

use crate::support::{
    BASIC_PASSWORD, SECRET, Step, Upstream, answer, bench, get, header, ok, post, text, with_slot,
};

#[tokio::test]
async fn each_scheme_is_sent_in_its_place() {
    let upstream = Upstream::start(|_, _| ok("")).await;
    let bench = bench(&upstream, "");
    for slot in ["bearer", "basic", "header", "query"] {
        bench.send(with_slot(slot, get("/x?a=b"))).await.unwrap();
    }
    bench.send(get("/x")).await.unwrap();
    let requests = upstream.requests();
    assert!(requests[0].contains(&format!("authorization: Bearer {SECRET}\r\n")));
    let pair = STANDARD.encode(format!("alice@example.com:{BASIC_PASSWORD}"));
    assert!(requests[1].contains(&format!("authorization: Basic {pair}\r\n")));
    assert!(requests[2].contains(&format!("x-api-key: {SECRET}\r\n")));
    assert!(
        requests[3].starts_with("GET /x?a=b&hapikey=pat-na1-C4n4ry%2B0f%2FS3cr3t%3D HTTP/1.1\r\n")
    );
    assert!(!requests[4].contains("C4n4ry") && !requests[4].contains("authorization"));
}

/// A credential that cannot be had, or cannot stand where its scheme puts it: nothing is looked up or opened
/// for it, and what is wrong with it is the log's to know.
#[tokio::test]
async fn credentials_that_are_none_end_the_exchange_before_it_begins() {
    let upstream = Upstream::start(|_, _| ok("")).await;
    let bench = bench(&upstream, "");
    for (slot, reason, kind) in [
        ("unfit", Reason::CredentialUnfit, FailureKind::Unauthenticated),
        ("unreadable", Reason::CredentialUnavailable, FailureKind::Transient),
        ("unset", Reason::CredentialMissing, FailureKind::Unauthenticated),
    ] {
        let failure = bench.send(with_slot(slot, get("/"))).await.unwrap_err();
        assert_eq!(failure.code.as_deref(), Some(reason.as_str()), "{slot}");
        assert_eq!((failure.kind, failure.request_sent), (kind, false), "{slot}");
        let seen = format!("{failure:?}");
        assert!(seen.contains(slot), "{seen}");
        for part in ["on fire", "open sesame", "alice"] {
            assert!(!seen.contains(part), "{part} in {seen}");
        }
    }
    assert_eq!((upstream.connections(), bench.names.asked()), (0, 0));
    // The next exchange is not the worse for it.
    bench.send(with_slot("bearer", get("/"))).await.unwrap();
}

/// No spelling of the canary is in what a connector sees.
fn clean(response: &Response) {
    let body = String::from_utf8_lossy(&response.body);
    let seen = format!("{:?}{body}", response.headers);
    for part in ["C4n4ry", "S3cr3t", "QzRuNHJ5", "open sesame", "quoted"] {
        assert!(!seen.contains(part), "{part} in {seen}");
    }
}

#[tokio::test]
async fn echoes_are_masked() {
    let upstream = Upstream::start(|_, request| {
        // Everything that came, as JSON, as base64 and in headers.
        let lines: Vec<_> = request.lines().collect();
        let json = format!("{{\"request\":{lines:?}}}");
        let token = lines.iter().find_map(|line| line.split_once("authorization: ")).map_or("", |(_, v)| v);
        let body = format!("{json}\n{}\n{}", STANDARD.encode(request), URL_SAFE_NO_PAD.encode(token));
        let headers = format!(
            "x-echo: {token}\r\nlocation: https://x.com/?t={token}\r\nset-cookie: s={token}\r\n\
             www-authenticate: Bearer realm=\"{token}\"\r\nauthorization: {token}\r\nproxy-authenticate: Basic\r\n"
        );
        answer(&headers, &body)
    })
    .await;
    let bench = bench(&upstream, "");
    for slot in ["bearer", "basic", "header", "query"] {
        let response = bench.send(with_slot(slot, get("/"))).await.unwrap();
        clean(&response);
        for name in ["set-cookie", "www-authenticate", "authorization", "proxy-authenticate"] {
            assert_eq!(header(&response, name), None, "{name}");
        }
        assert!(String::from_utf8_lossy(&response.body).contains("[keyway:redacted]"), "{slot}");
    }
}

#[tokio::test]
async fn chunks_and_compression_hide_nothing() {
    let plain = format!("{{\"token\":\"{SECRET}\"}}");
    let mut packed = Vec::new();
    GzipEncoder::new(plain.as_bytes()).read_to_end(&mut packed).await.unwrap();
    let packed = Bytes::from(packed);
    let upstream = Upstream::start(move |number, _| {
        if number == 0 {
            let mut steps = vec![text("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")];
            // One byte a chunk, each in a packet of its own.
            for letter in plain.chars() {
                steps.push(text(&format!("1\r\n{letter}\r\n")));
                steps.push(Step::Pause(std::time::Duration::from_millis(1)));
            }
            steps.push(text("0\r\n\r\n"));
            return steps;
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
            packed.len()
        );
        vec![text(&head), Step::Send(packed.clone())]
    })
    .await;
    let bench = bench(&upstream, "");
    for _ in 0..2 {
        let response = bench.send(with_slot("bearer", get("/"))).await.unwrap();
        assert_eq!(&response.body[..], b"{\"token\":\"[keyway:redacted]\"}");
        assert_eq!(header(&response, "content-encoding"), None);
    }
}

#[tokio::test]
async fn failures_hold_no_secret() {
    let upstream = Upstream::start(|_, request| vec![text(request), Step::Close]).await;
    let bench = bench(&upstream, "");
    for slot in ["bearer", "query"] {
        let failure = bench.send(with_slot(slot, get("/p4th?quer1=x"))).await.unwrap_err();
        let seen = format!("{failure:?}");
        for part in ["C4n4ry", "p4th", "quer1"] {
            assert!(!seen.contains(part), "{seen}");
        }
    }
}

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
}

/// Takes every event of every crate, at every level.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn events_and_metrics_hold_no_secret() {
    // The broker's part of C29. The runtime has one thread, so this thread's events are all of them. The
    // subscriber is everybody's: one of this thread's own would miss call sites that others reach first.
    let lines = Lines::default();
    let writer = lines.clone();
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(move || writer.clone())
        .with_filter(dynamic_filter_fn(|_, _| WATCHED.get()));
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).unwrap();
    tracing::callsite::rebuild_interest_cache();
    WATCHED.set(true);
    let upstream = Upstream::start(|number, request| match number % 2 {
        0 => ok(request),
        _ => vec![text(request), Step::Close],
    })
    .await;
    let bench = bench(&upstream, "");
    for slot in ["bearer", "basic", "header", "query"] {
        for _ in 0..2 {
            bench.send(with_slot(slot, get("/p4th?quer1=x"))).await.ok();
        }
    }
    WATCHED.set(false);
    assert_eq!(upstream.requests().len(), 8);
    let seen = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap() + &bench.metrics();
    assert!(seen.contains("exchange answered") && seen.contains("exchange stopped"));
    for part in ["C4n4ry", "QzRuNHJ5", "open sesame", "p4th", "quer1"] {
        assert!(!seen.contains(part), "{part} in {seen}");
    }
}

/// C28: what looks like a template is the guest's own text wherever it stands, and no secret comes of it.
#[tokio::test]
async fn what_looks_like_a_template_arrives_as_it_was_written() {
    let upstream = Upstream::start(|_, _| ok("")).await;
    let bench = bench(&upstream, "");
    for slot in ["bearer", "basic", "header", "query"] {
        let mut request = post("/{{secret}}?note={{secret}}", "{\"note\":\"{{secret}}\"}");
        request.headers.push(("x-note".to_owned(), "{{secret}}".to_owned()));
        bench.send(with_slot(slot, request)).await.unwrap();
    }
    for request in upstream.requests() {
        // A brace is escaped in a path by the rules of URLs, and nowhere else.
        assert!(request.starts_with("POST /%7B%7Bsecret%7D%7D?note={{secret}}"), "{request}");
        assert!(request.contains("\r\nx-note: {{secret}}\r\n"), "{request}");
        assert!(request.ends_with("\r\n\r\n{\"note\":\"{{secret}}\"}"), "{request}");
        // Where the slot's scheme puts it, and there alone.
        assert!(request.matches("C4n4ry").count() <= 1, "{request}");
    }
    assert_eq!(upstream.requests().len(), 4);
}
