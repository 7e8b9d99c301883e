//! Upstreams that misuse HTTP/2, frame by frame (C22, and C19, C20 over HTTP/2).
//!
//! Whatever they do ends as one exchange's clear reason within its limits, is not sent on and on, and is not
//! noticed by anybody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use keyway_broker::Reason;
use keyway_core::exchange::Request;
use keyway_core::ports::Egress as _;
use tokio::time::timeout;

use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, PING,
    PUSH_PROMISE, RST_STREAM, SETTINGS, STATUS_200, WINDOW_UPDATE, answer, field, frame, head,
};
use crate::support::{Bench, Step, Upstream, bench_of, get, header, ok, post, stopped};
use crate::tls::{Identity, identity, serve_script, trusting};

fn h2() -> Identity {
    identity("api.example.com", &[b"h2"], 4000)
}

/// Answers every request in the same way.
async fn answering(
    identity: &Identity,
    answer: impl Fn(usize, u32) -> Vec<Bytes> + Send + Sync + 'static,
) -> Frames {
    Frames::start(identity, move |connection, frame| match frame.kind {
        HEADERS => answer(connection, frame.stream),
        _ => Vec::new(),
    })
    .await
}

/// The script begins when the client's preface is read, because that ends like the head of an HTTP/1 request.
pub(crate) async fn speaking(steps: Vec<Step>) -> (Upstream, Bench) {
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

/// Each kind of flood, while somebody else's exchanges go on over the same broker.
#[tokio::test]
async fn floods_are_not_noticed_by_another_tenant() {
    let headers = |flags| Step::Send(frame(HEADERS, flags, 1, STATUS_200));
    let flood = |bytes: Bytes| Step::Flood(bytes);
    for (kind, steps) in [
        ("continuation", vec![headers(0), flood(frame(CONTINUATION, 0, 1, &[]))]),
        ("empty data", vec![headers(END_HEADERS), flood(frame(DATA, 0, 1, &[]))]),
        ("resets", vec![flood(frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]))]),
        ("pings", vec![flood(frame(PING, 0, 0, &[0; 8]))]),
        ("windows", vec![flood(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]))]),
        ("body", vec![headers(END_HEADERS), flood(frame(DATA, 0, 1, &[b'a'; 1_000]))]),
    ] {
        let calm = Upstream::start(|_, _| ok("calm")).await;
        let identity = h2();
        let upstream = serve_script(&identity, move |_, _| {
            let mut all = vec![Step::Send(frame(SETTINGS, 0, 0, &[]))];
            all.extend(steps.clone());
            all
        })
        .await;
        let config = format!(
            "extra-roots = [{:?}]\nlimits.idle-timeout = '200ms'\n{}{}",
            identity.root(),
            upstream.stand_in_by("https", "api.example.com"),
            calm.stand_in("calm.example.com"),
        );
        let bench = bench_of(&config, &["api.example.com", "calm.example.com"], 0);
        let (broker, mut other) = (bench.broker.clone(), bench.origin.clone());
        other.installation.tenant = "t2".parse().unwrap();
        let flooded = AtomicBool::new(true);
        let bystander = async {
            let mut answered = 0;
            while flooded.load(Ordering::SeqCst) || answered == 0 {
                let exchange = broker.exchange(&other, get("https://calm.example.com/"));
                assert_eq!(&exchange.await.unwrap().body[..], b"calm", "{kind}");
                answered += 1;
            }
            answered
        };
        let victim = async {
            let timeout = Some(Duration::from_secs(1));
            let result = bench.send(Request { timeout, ..post("/", "x") }).await;
            flooded.store(false, Ordering::SeqCst);
            result
        };
        let (result, answered) = tokio::join!(victim, bystander);
        let (reason, sent) = stopped(result);
        let expected =
            [Reason::ConnectionLost, Reason::ResponseBodyTooLarge, Reason::ExchangeTimeout];
        assert!(sent && expected.contains(&reason), "{kind}: {reason:?}");
        assert!(answered > 0, "{kind}");
        timeout(Duration::from_secs(10), upstream.ended(1)).await.expect(kind);
    }
}

/// An upstream that answers nothing but resets. What is not safe to repeat is sent once; what is safe may be
/// sent once more, on the chance that the connection had gone stale, and no oftener.
#[tokio::test]
async fn resets_do_not_start_a_storm_of_our_own() {
    for (kind, code) in [
        ("internal error", 2_u32),
        ("refused", 7),
        ("cancelled", 8),
        ("enhance your calm", 11),
        ("use http/1.1", 13),
    ] {
        let identity = h2();
        let answered = Arc::new(AtomicBool::new(false));
        let first = Arc::clone(&answered);
        let upstream = answering(&identity, move |_, stream| {
            if first.swap(true, Ordering::SeqCst) {
                return vec![frame(RST_STREAM, 0, stream, &code.to_be_bytes())];
            }
            answer(stream, b"fine")
        })
        .await;
        let bench = upstream.bench(&identity, "limits.exchange-timeout = '5s'");
        assert_eq!(&bench.send(get("/")).await.unwrap().body[..], b"fine");
        // A stream that was refused was not looked at, whatever its request does.
        let once_more = if kind == "refused" { 2 } else { 1 };
        for (request, more) in [(post("/", "x"), once_more), (get("/"), 2)] {
            let (method, before) = (request.method.clone(), upstream.requests());
            let (reason, _) = bench.stop(request).await;
            assert_eq!(reason, Reason::ConnectionLost, "{kind} {method}");
            let sent = upstream.requests() - before;
            assert!((1..=more).contains(&sent), "{kind} {method}: sent {sent} times");
        }
    }
}

/// The other side says that it will take no more, and finishes what it has.
#[tokio::test]
async fn goaway_lets_what_is_under_way_end_and_sends_the_next_elsewhere() {
    let identity = h2();
    let upstream = answering(&identity, |_, stream| {
        let mut frames = head(stream, 0, &[]);
        frames.push(frame(DATA, 0, stream, b"first half, "));
        frames.push(frame(GOAWAY, 0, 0, &[stream.to_be_bytes(), [0; 4]].concat()));
        frames.push(frame(DATA, END_STREAM, stream, b"second half"));
        frames
    })
    .await;
    let bench = upstream.bench(&identity, "");
    for connections in 1..=3 {
        let response = bench.send(post("/", "x")).await.unwrap();
        assert_eq!(&response.body[..], b"first half, second half");
        assert_eq!(upstream.connections(), connections);
    }
}

/// Not every server says that a connection is over before it ends it. What must not be repeated takes one over which
/// something has just come, or is under way; what may be repeated takes any.
#[tokio::test]
async fn a_write_takes_no_connection_that_was_quiet() {
    let quiet = || tokio::time::sleep(Duration::from_millis(1_050));
    let identity = h2();
    let upstream = answering(&identity, |_, stream| match stream {
        // Never finished.
        5 => head(stream, 0, &[]),
        _ => answer(stream, b"fine"),
    })
    .await;
    let bench = upstream.bench(&identity, "");
    bench.send(get("/")).await.unwrap();
    bench.send(post("/", "x")).await.unwrap();
    assert_eq!(upstream.connections(), 1, "it has just answered");
    quiet().await;
    bench.send(post("/", "x")).await.unwrap();
    assert_eq!(upstream.connections(), 2, "nobody knows whether it is still there");
    quiet().await;
    bench.send(get("/")).await.unwrap();
    assert_eq!(upstream.connections(), 2);
    let under_way = bench.send(get("/"));
    let next = async {
        quiet().await;
        bench.send(post("/", "x")).await.unwrap();
    };
    tokio::select! {
        _ = under_way => panic!("it is not answered"),
        () = next => {}
    }
    assert_eq!(upstream.connections(), 2, "the server answers over it");
}

/// A connection that ends names the last request that it looked at: a later one has had no effect, whatever it does.
#[tokio::test]
async fn what_goaway_did_not_look_at_is_sent_elsewhere_once() {
    let identity = h2();
    let ended = Arc::new(AtomicBool::new(false));
    let first = Arc::clone(&ended);
    let upstream = answering(&identity, move |_, stream| {
        if stream > 1 && !first.swap(true, Ordering::SeqCst) {
            return vec![frame(GOAWAY, 0, 0, &[1_u32.to_be_bytes(), [0; 4]].concat())];
        }
        answer(stream, b"fine")
    })
    .await;
    let bench = upstream.bench(&identity, "");
    for _ in 0..2 {
        assert_eq!(&bench.send(post("/", "x")).await.unwrap().body[..], b"fine");
    }
    assert_eq!((upstream.connections(), upstream.requests()), (2, 3));
}

#[tokio::test]
async fn a_body_cut_off_by_a_reset_is_not_whole() {
    let identity = h2();
    for (kind, lengths) in [("known", vec![field("content-length", "6")]), ("unknown", Vec::new())]
    {
        let upstream = answering(&identity, move |_, stream| {
            let mut frames = head(stream, 0, &lengths);
            frames.push(frame(DATA, 0, stream, b"abc"));
            frames.push(frame(RST_STREAM, 0, stream, &[0, 0, 0, 2]));
            frames
        })
        .await;
        let bench = upstream.bench(&identity, "");
        assert_eq!(bench.stop(post("/", "x")).await, (Reason::ConnectionLost, true), "{kind}");
        assert_eq!(upstream.requests(), 1, "{kind}");
    }
}

#[tokio::test]
async fn lengths_that_are_not_the_bodys_are_refused() {
    for length in ["2", "4", "x", "-3"] {
        let identity = h2();
        let upstream = answering(&identity, move |_, stream| {
            let mut frames = head(stream, 0, &[field("content-length", length)]);
            frames.push(frame(DATA, END_STREAM, stream, b"abc"));
            frames
        })
        .await;
        let (reason, sent) = upstream.bench(&identity, "").stop(post("/", "x")).await;
        assert!(sent, "{length}");
        let expected = [Reason::ResponseMalformed, Reason::ConnectionLost];
        assert!(expected.contains(&reason), "{length}: {reason:?}");
    }
}

/// C20 over HTTP/2, at the limit and beyond.
#[tokio::test]
async fn header_sections_are_limited_in_bytes_and_number() {
    let limits = "[limits]\nresponse-headers-max = 20\nresponse-header-bytes-max = 2000";
    let fields = |number: usize| (0..number).map(|n| field(&format!("x-{n}"), "v")).collect();
    let sized = |bytes: usize| vec![field("x", &"v".repeat(bytes - 5))];
    let too_large: &[Reason] = &[Reason::ResponseHeadersTooLarge];
    // Far beyond, nobody reads on to see what it is: the connection ends as that of a flood does.
    let flood = &[Reason::ResponseHeadersTooLarge, Reason::ConnectionLost];
    type Case<'a> = (&'a str, Vec<Vec<u8>>, Option<&'a [Reason]>);
    let cases: [Case<'_>; 8] = [
        ("20 fields", fields(20), None),
        ("21 fields", fields(21), Some(too_large)),
        ("2,000 bytes", sized(2_000), None),
        ("2,001 bytes", sized(2_001), Some(too_large)),
        ("16,000 bytes", sized(16_000), Some(flood)),
        ("10,000 fields", fields(10_000), Some(flood)),
        ("64 KiB", sized(64 << 10), Some(flood)),
        ("1 MiB", sized(1 << 20), Some(flood)),
    ];
    for (kind, fields, expected) in cases {
        let identity = h2();
        let upstream =
            answering(&identity, move |_, stream| head(stream, END_STREAM, &fields)).await;
        let bench = upstream.bench(&identity, limits);
        let result = bench.send(post("/", "x")).await;
        match expected {
            None => assert_eq!(result.unwrap().status, 200, "{kind}"),
            Some(expected) => {
                let (reason, sent) = stopped(result);
                assert!(sent && expected.contains(&reason), "{kind}: {reason:?}");
            }
        }
        assert_eq!(upstream.requests(), 1, "{kind}");
    }
}

/// Trailers are read and dropped, whatever they say.
#[tokio::test]
async fn trailers_do_not_become_headers() {
    let identity = h2();
    let upstream = answering(&identity, |_, stream| {
        let trailers = [field("authorization", "Bearer x"), field("x-late", "1")].concat();
        let mut frames = head(stream, 0, &[field("x-early", "1")]);
        frames.push(frame(DATA, 0, stream, b"abc"));
        frames.push(frame(HEADERS, END_STREAM | END_HEADERS, stream, &trailers));
        frames
    })
    .await;
    let response = upstream.bench(&identity, "").send(get("/")).await.unwrap();
    assert_eq!((&response.body[..], header(&response, "x-early")), (&b"abc"[..], Some("1")));
    assert_eq!((header(&response, "authorization"), header(&response, "x-late")), (None, None));
}

/// What the broker gives the other side to work with is as much as it says, and no stream takes the others'
/// part: while one body waits, the next exchange of the connection is answered.
#[tokio::test]
async fn an_exchange_that_is_not_answered_does_not_hold_up_the_next() {
    let identity = h2();
    let streams = AtomicU32::new(0);
    let upstream = answering(&identity, move |_, stream| {
        if streams.fetch_add(1, Ordering::SeqCst) == 1 {
            return head(stream, 0, &[]);
        }
        answer(stream, b"fine")
    })
    .await;
    let limits = "limits.between-bytes-timeout = '300ms'";
    let bench = upstream.bench(&identity, limits);
    assert_eq!(&bench.send(get("/")).await.unwrap().body[..], b"fine");
    let stalled = bench.stop(post("/", "x"));
    let next = async {
        while upstream.requests() < 2 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        bench.send(get("/")).await.unwrap()
    };
    let (stalled, next) = tokio::join!(stalled, next);
    assert_eq!((stalled, &next.body[..]), ((Reason::BodyStalled, true), &b"fine"[..]));
    assert_eq!(upstream.connections(), 1);
    // Nobody waits for that body any more, and the other side is told.
    assert_eq!(&bench.send(get("/")).await.unwrap().body[..], b"fine");
    let told = |frame: &Frame| frame.kind == RST_STREAM && frame.stream == 3;
    assert!(upstream.seen().iter().any(told), "{:?}", upstream.seen());
}

/// A response that nobody asked for, pushed or on a stream that there is not, answers nobody.
#[tokio::test]
async fn what_nobody_asked_for_ends_the_connection() {
    for (kind, uncalled) in [
        (
            "push",
            frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82, 0x87, 0x84, 0x01, 0x01, b'a']),
        ),
        ("a stream of its own", frame(HEADERS, END_HEADERS | END_STREAM, 2, STATUS_200)),
        ("a stream to come", frame(HEADERS, END_HEADERS | END_STREAM, 99, STATUS_200)),
    ] {
        let identity = h2();
        let upstream = answering(&identity, move |connection, stream| {
            if connection == 0 {
                return [vec![uncalled.clone()], answer(stream, b"first")].concat();
            }
            answer(stream, b"second")
        })
        .await;
        let bench = upstream.bench(&identity, "");
        let request = Request { method: "DELETE".to_owned(), ..get("/") };
        assert_eq!(bench.stop(request).await, (Reason::ConnectionLost, true), "{kind}");
        assert_eq!(&bench.send(get("/")).await.unwrap().body[..], b"second", "{kind}");
        assert_eq!(upstream.connections(), 2, "{kind}");
    }
}
