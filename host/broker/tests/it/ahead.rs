//! What is read of an answer before its head goes on: no more than can be an error that the release declares.

use std::sync::Arc;

use http_body_util::BodyExt as _;
use keyway_core::Descriptor;
use keyway_core::exchange::{Pace, Relay};
use tokio::sync::Barrier;
use tokio::time::timeout;

use crate::relay::{PATIENCE, World, get, read};
use crate::support::{Step, Upstream, ok, text};

const LIMITED: &str = r#"{"error":{"code":17}}"#;

/// A world whose release declares an error that comes with success, and with a refusal.
fn declared(upstream: &Upstream) -> World {
    let mut world = World::of(upstream, "");
    let descriptor = r#"{"format":1,"name":"acme/crm","version":"1.0.0","hosts":["api.example.com"],
        "base-url":"https://api.example.com","slots":{"token":{"scheme":{"kind":"bearer"}}},
        "rate-limit-errors":[{"pointer":"/error/code","values":["17"],"statuses":[200,400]}]}"#;
    world.origin.descriptor = Arc::new(Descriptor::parse(descriptor).unwrap());
    world
}

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

fn chunked(kind: &str, data: &str) -> Step {
    text(&format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n{}",
        chunk(data)
    ))
}

async fn first_piece(relay: &mut Relay) -> String {
    let frame = timeout(PATIENCE, relay.body.frame()).await.unwrap().unwrap().unwrap();
    String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
}

/// Catches a stream that reaches its reader only once 64 KiB of it are there.
#[tokio::test]
async fn a_stream_passes_as_it_comes() {
    for (kind, data) in [
        ("text/event-stream", "data: {\"error\":{\"code\":17}}\n\n"),
        ("application/x-ndjson", "{\"a\":1}\n"),
        ("application/json", "[{\"a\":1},"),
        ("text/plain", "line\n"),
        ("application/octet-stream", "{\"error\""),
    ] {
        let reads = Arc::new(Barrier::new(2));
        let reader = Arc::clone(&reads);
        let upstream = Upstream::start(move |_, _| {
            // Says more only once what it has said was read.
            vec![
                chunked(kind, data),
                Step::Meet(Arc::clone(&reader)),
                text(&chunk("more")),
                text("0\r\n\r\n"),
            ]
        })
        .await;
        let world = declared(&upstream);
        let mut relay = timeout(PATIENCE, world.get("/x")).await.unwrap();
        assert_eq!(first_piece(&mut relay).await, data, "{kind}");
        reads.wait().await;
        assert_eq!(read(relay).await.unwrap(), "more", "{kind}");
    }
}

#[tokio::test]
async fn an_error_is_known_once_its_document_is_there() {
    for (status, kind, end) in [
        // Nothing says that the body is at its end.
        ("200 OK", "application/json", ""),
        ("200 OK", "text/plain", ""),
        ("400 Bad Request", "application/octet-stream", "0\r\n\r\n"),
    ] {
        let upstream = Upstream::start(move |number, _| match number {
            0 => vec![
                text(&format!(
                    "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nretry-after: 1\r\ntransfer-encoding: chunked\r\n\r\n{}{end}",
                    chunk(LIMITED)
                )),
                Step::Hang,
            ],
            _ => ok("done"),
        })
        .await;
        let mut world = declared(&upstream);
        world.origin.pace = Pace::Throttle;
        let relay = timeout(PATIENCE, world.relay(get("/x"))).await.unwrap().unwrap();
        assert_eq!(read(relay).await.unwrap(), "done", "{kind}: waited, and asked again");
    }
}

/// Catches a text that is not found because the body is no JSON, or comes in pieces, and a body that is cut because of it.
#[tokio::test]
async fn a_text_is_found_wherever_it_stands_in_a_refusal() {
    for (code, refused) in [("SlowDown", true), ("InternalError", false)] {
        let upstream = Upstream::start(move |_, _| {
            let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/xml\r\n";
            let head = format!("{head}transfer-encoding: chunked\r\n\r\n{}", chunk("<Error>"));
            let code = chunk(&format!("<Code>{code}</Code></Error>"));
            vec![text(&head), text(&code), text("0\r\n\r\n")]
        })
        .await;
        let mut world = declared(&upstream);
        let descriptor = r#"{"format":1,"name":"acme/crm","version":"1.0.0","hosts":["api.example.com"],
            "base-url":"https://api.example.com","slots":{"token":{"scheme":{"kind":"bearer"}}},
            "rate-limit-errors":[{"texts":["<Code>SlowDown</Code>"]}]}"#;
        world.origin.descriptor = Arc::new(Descriptor::parse(descriptor).unwrap());
        let relay = timeout(PATIENCE, world.get("/x")).await.unwrap();
        assert_eq!(world.origin.limit_met.was_refused(), refused, "{code}");
        let whole = format!("<Error><Code>{code}</Code></Error>");
        assert_eq!(read(relay).await.unwrap(), whole.as_bytes(), "{code}");
    }
}
