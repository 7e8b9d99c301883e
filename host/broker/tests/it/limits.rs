//! How much and how long (C20). Each limit at its number and one beyond.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use keyway_broker::Reason;
use keyway_core::call::FailureKind;
use keyway_core::exchange::Request;
use keyway_core::ports::Egress as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::support::{Step, Upstream, bench, get, ok, post, stopped, text, with_slot};

#[tokio::test]
async fn bodies_are_read_to_the_limit_and_no_further() {
    let upstream = Upstream::start(|number, _| {
        let head = "HTTP/1.1 200 OK\r\n";
        match number {
            0 => vec![text(&format!("{head}content-length: 1000\r\n\r\n{}", "a".repeat(1000)))],
            1 => vec![text(&format!("{head}content-length: 1001\r\n\r\n")), Step::Hang],
            2 => vec![text(&format!("{head}content-length: 10737418240\r\n\r\n")), Step::Hang],
            3 => vec![
                text(&format!("{head}transfer-encoding: chunked\r\n\r\n")),
                Step::Flood(Bytes::from_static(b"1\r\na\r\n")),
            ],
            _ => vec![text(&format!("{head}\r\n")), Step::Flood(Bytes::from_static(&[b'a'; 100]))],
        }
    })
    .await;
    let bench = bench(&upstream, "limits.response-body-bytes-max = 1000");
    assert_eq!(bench.send(get("/")).await.unwrap().body.len(), 1000);
    for kind in ["one over", "10 GB", "endless chunks", "endless"] {
        assert_eq!(bench.stop(get("/")).await, (Reason::ResponseBodyTooLarge, true), "{kind}");
    }
    // None of their connections is open any more.
    upstream.ended(4).await;
}

#[tokio::test]
async fn slow_answers_are_given_their_time() {
    // By path and not by number: a request whose time is over soon may never be read.
    let upstream = Upstream::start(|_, request| match request.split(' ').nth(1).unwrap() {
        "/nothing" => vec![Step::Hang],
        "/half-a-head" => vec![text("HTTP/1.1 200 OK\r\nx: "), Step::Hang],
        "/half-a-body" => {
            vec![text("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"), Step::Hang]
        }
        _ => {
            let mut steps = vec![text("HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n")];
            for _ in 0..9000 {
                steps.push(text("a"));
                steps.push(Step::Pause(Duration::from_millis(5)));
            }
            steps
        }
    })
    .await;
    // Each time is short only where it is the one that ends the exchange: on a busy machine others would be over first.
    for (path, limit, reason) in [
        ("/nothing", "first-byte-timeout = '50ms'", Reason::FirstByteTimeout),
        ("/half-a-head", "first-byte-timeout = '50ms'", Reason::FirstByteTimeout),
        ("/half-a-body", "between-bytes-timeout = '50ms'", Reason::BodyStalled),
        ("/a-byte-at-a-time", "exchange-timeout = '1s'", Reason::ExchangeTimeout),
    ] {
        let bench = bench(&upstream, &format!("[limits]\n{limit}"));
        assert_eq!(bench.stop(get(path)).await, (reason, true), "{path}");
        assert_eq!(reason.kind(), FailureKind::Transient);
    }
    upstream.ended(4).await;
}

#[tokio::test]
async fn header_sections_are_limited_in_bytes_and_number() {
    fn fields(number: usize) -> String {
        let fields: String = (0..number - 1).map(|n| format!("x-{n}: v\r\n")).collect();
        format!("HTTP/1.1 200 OK\r\n{fields}content-length: 0\r\n\r\n")
    }
    /// A head of exactly this many bytes.
    fn sized(bytes: usize) -> String {
        let frame = "HTTP/1.1 200 OK\r\nx: \r\ncontent-length: 0\r\n\r\n";
        frame.replace("x: ", &format!("x: {}", "v".repeat(bytes - frame.len())))
    }
    let upstream = Upstream::start(|number, _| match number {
        0 => vec![text(&fields(20))],
        1 => vec![text(&fields(21))],
        2 => vec![text(&fields(10_000))],
        3 => vec![text(&sized(2_000))],
        4 => vec![text(&sized(2_001 + 100))],
        5 => vec![text(&sized(1 << 20)), Step::Hang],
        _ => vec![text("HTTP/1.1 200 OK\r\nx: "), Step::Flood(Bytes::from_static(&[b'v'; 100]))],
    })
    .await;
    let limits = "[limits]\nresponse-headers-max = 20\nresponse-header-bytes-max = 2000";
    let bench = bench(&upstream, limits);
    let too_large = (Reason::ResponseHeadersTooLarge, true);
    assert!(bench.send(get("/")).await.is_ok());
    assert_eq!(bench.stop(get("/")).await, too_large);
    assert_eq!(bench.stop(get("/")).await, too_large);
    assert!(bench.send(get("/")).await.is_ok());
    assert_eq!(bench.stop(get("/")).await, too_large);
    assert_eq!(bench.stop(get("/")).await, too_large);
    assert_eq!(bench.stop(get("/")).await, too_large);
}

/// Catches a count that is looked at only between two reads: a burst comes in one, with the answer behind it.
#[tokio::test]
async fn interim_responses_are_limited_in_a_burst() {
    let upstream = Upstream::start(|number, _| {
        let early = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat([8, 9, 2_000][number]);
        vec![text(&format!("{early}HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine"))]
    })
    .await;
    let bench = bench(&upstream, "limits.idle-max = 0");
    assert_eq!(&bench.send(get("/")).await.unwrap().body[..], b"fine");
    assert_eq!(bench.stop(get("/")).await, (Reason::TooManyInterim, true));
    assert_eq!(bench.stop(get("/")).await, (Reason::TooManyInterim, true));
}

#[tokio::test]
async fn interim_responses_are_limited() {
    fn interim(number: usize) -> Vec<Step> {
        let mut steps = vec![text("HTTP/1.1 100 Continue\r\n\r\n"); number];
        steps.extend(ok("done"));
        steps
    }
    let upstream = Upstream::start(|number, _| match number {
        0 => interim(8),
        1 => interim(9).into_iter().take(9).chain([Step::Hang]).collect(),
        _ => {
            vec![Step::Flood(Bytes::from_static(b"HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n"))]
        }
    })
    .await;
    let bench = bench(&upstream, "");
    assert_eq!(&bench.send(get("/")).await.unwrap().body[..], b"done");
    assert_eq!(bench.stop(get("/")).await, (Reason::TooManyInterim, true));
    assert_eq!(bench.stop(get("/")).await, (Reason::TooManyInterim, true));
    upstream.ended(2).await;
}

#[tokio::test]
async fn nobody_listens() {
    // Bound and never listening: connections to it are refused, and nobody else gets the port.
    let silent = TcpSocket::new_v4().unwrap();
    silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = silent.local_addr().unwrap();
    let config = format!("[[stand-in]]\nhost = 'api.example.com'\naddress = 'http://{address}'");
    let bench = crate::support::bench_of(&config, &["api.example.com"], 0);
    assert_eq!(bench.stop(get("/")).await, (Reason::ConnectFailed, false));
}

/// Waits until the upstream has read this many requests, and a moment longer, in which it begins to answer.
pub(crate) async fn arrived(upstream: &Upstream, requests: usize) {
    while upstream.requests().len() < requests {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// A listener that has all the connections it takes and accepts none of them: the next is not answered.
pub(crate) struct Backlog {
    listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Backlog {
    pub(crate) async fn listen(at: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(at).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let (mut waiting, mut unanswered) = (Vec::new(), 0);
        // Twice, because once may be a machine that is busy.
        while unanswered < 2 {
            #[expect(clippy::disallowed_methods, reason = "the test fills a queue of its own")]
            let attempt = TcpSocket::new_v4().unwrap().connect(address);
            match tokio::time::timeout(Duration::from_millis(500), attempt).await {
                Ok(connected) => waiting.push(connected.unwrap()),
                Err(_) => unanswered += 1,
            }
            assert!(waiting.len() < 100, "this system's queue has no end");
        }
        Self { listener, _waiting: waiting }
    }
}

#[tokio::test]
async fn a_connection_that_is_not_answered_is_given_its_time() {
    let full = Backlog::listen("127.0.0.1:0".parse().unwrap()).await;
    let address = full.listener.local_addr().unwrap();
    let config = format!(
        "[limits]\nconnect-timeout = '200ms'\n[[stand-in]]\nhost = 'api.example.com'\naddress = 'http://{address}'"
    );
    let bench = crate::support::bench_of(&config, &["api.example.com"], 0);
    let began = Instant::now();
    let failure = bench.send(with_slot("bearer", get("/"))).await.unwrap_err();
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert_eq!(failure.code.as_deref(), Some(Reason::ConnectTimeout.as_str()));
    assert_eq!((failure.kind, failure.request_sent), (FailureKind::Transient, false));
}

#[tokio::test]
async fn a_call_and_a_tenant_have_their_number_of_exchanges() {
    let upstream = Upstream::start(|_, _| vec![Step::Hang]).await;
    let bench = bench(
        &upstream,
        "[limits]\nin-flight-per-call-max = 2\nin-flight-per-tenant-max = 3\nfirst-byte-timeout = '10s'",
    );
    let mut running = tokio::task::JoinSet::new();
    let mut origins = Vec::new();
    for (call, tenant) in [(1, "t1"), (1, "t1"), (1, "t1"), (2, "t1"), (2, "t1"), (3, "t2")] {
        let mut origin = bench.origin.clone();
        origin.call = keyway_core::ids::CallId(call);
        origin.installation.tenant = tenant.parse().unwrap();
        origins.push(origin);
    }
    for origin in origins {
        let broker = bench.broker.clone();
        running.spawn(async move { broker.exchange(&origin, get("/")).await });
    }
    // Two of call 1, one of call 2, one of the other tenant.
    arrived(&upstream, 4).await;
    // Everyone else waits and, when time is over, was not sent.
    let request = Request { timeout: Some(Duration::from_millis(50)), ..get("/") };
    assert_eq!(bench.stop(request).await, (Reason::BudgetExhausted, false));
    assert_eq!(upstream.requests().len(), 4);
    running.shutdown().await;
    upstream.ended(4).await;
}

#[tokio::test]
async fn dropping_an_exchange_ends_its_connection() {
    let upstream = Upstream::start(|number, _| match number {
        0 => vec![text("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"), Step::Hang],
        _ => ok("fine"),
    })
    .await;
    let bench = bench(&upstream, "");
    tokio::select! {
        answered = bench.send(get("/")) => panic!("{answered:?}"),
        () = arrived(&upstream, 1) => {}
    }
    upstream.ended(1).await;
    assert_eq!(&bench.send(get("/")).await.unwrap().body[..], b"fine");
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn time_left_of_the_call_counts_and_says_that_it_was_sent() {
    let upstream = Upstream::start(|_, _| vec![Step::Hang]).await;
    let mut bench = bench(&upstream, "");
    bench.origin.time_left = Duration::from_secs(1);
    assert_eq!(bench.stop(post("/", "x")).await, (Reason::ExchangeTimeout, true));
    bench.origin.time_left = Duration::ZERO;
    let (reason, _) = stopped(bench.send(get("/")).await);
    assert_eq!(reason, Reason::ExchangeTimeout);
}
