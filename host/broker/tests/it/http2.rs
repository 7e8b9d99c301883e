//! Upstreams that misuse HTTP/2, frame by frame (C22). The script begins when the client's preface is read,
//! because that ends like the head of an HTTP/1 request.

use std::time::Duration;

use bytes::Bytes;
use keyway_broker::Reason;

use crate::support::{Bench, Step, Upstream, get, post};
use crate::tls::{identity, serve_script, trusting};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_HEADERS: u8 = 4;
/// `:status: 200` of HPACK's static table.
const STATUS_200: &[u8] = &[0x88];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Bytes {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let stream = stream.to_be_bytes();
    [&length[1..], &[kind, flags], &stream, payload].concat().into()
}

async fn speaking(steps: Vec<Step>) -> (Upstream, Bench) {
    let identity = identity("api.example.com", &[b"h2"], 4000);
    let upstream = serve_script(&identity, move |_, _| {
        // Time for the client's first stream to be there.
        let mut all =
            vec![Step::Send(frame(SETTINGS, 0, 0, &[])), Step::Pause(Duration::from_millis(50))];
        all.extend(steps.clone());
        all
    })
    .await;
    let limits = "[limits]\nfirst-byte-timeout = '1s'\nexchange-timeout = '5s'\n";
    let bench = trusting(&identity, &upstream, limits);
    (upstream, bench)
}

#[tokio::test]
async fn floods_end_the_connection() {
    let headers = |flags| Step::Send(frame(HEADERS, flags, 1, STATUS_200));
    for (kind, steps) in [
        ("continuation", vec![headers(0), Step::Flood(frame(CONTINUATION, 0, 1, &[]))]),
        ("empty data", vec![headers(END_HEADERS), Step::Flood(frame(DATA, 0, 1, &[]))]),
        ("resets", vec![Step::Flood(frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]))]),
        ("pings", vec![Step::Flood(frame(PING, 0, 0, &[0; 8]))]),
        ("settings", vec![Step::Flood(frame(SETTINGS, 0, 0, &[]))]),
        ("pushes", vec![Step::Flood(frame(5, END_HEADERS, 1, &[0, 0, 0, 2, 0x82]))]),
        ("junk", vec![Step::Flood(Bytes::from_static(&[0xff; 64]))]),
    ] {
        let (upstream, bench) = speaking(steps).await;
        let (reason, sent) = bench.stop(get("/")).await;
        assert!(sent, "{kind}");
        let expected = [Reason::ConnectionLost, Reason::FirstByteTimeout, Reason::ExchangeTimeout];
        assert!(expected.contains(&reason), "{kind}: {reason:?}");
        drop(bench);
        upstream.ended(1).await;
    }
}

#[tokio::test]
async fn a_body_cut_off_by_goaway_is_not_whole() {
    let (_upstream, bench) = speaking(vec![
        Step::Send(frame(HEADERS, END_HEADERS, 1, STATUS_200)),
        Step::Send(frame(DATA, 0, 1, b"abc")),
        Step::Send(frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])),
        Step::Close,
    ])
    .await;
    assert_eq!(bench.stop(get("/")).await, (Reason::ConnectionLost, true));
}

#[tokio::test]
async fn a_window_that_never_opens_is_given_its_time() {
    let no_window = [0, 4, 0, 0, 0, 0];
    let (_upstream, bench) =
        speaking(vec![Step::Send(frame(SETTINGS, 0, 0, &no_window)), Step::Hang]).await;
    let body = "x".repeat(1 << 20);
    assert_eq!(bench.stop(post("/", &body)).await, (Reason::FirstByteTimeout, true));
}
