//! Rows of the exchange log where one exchange is more than one request, and what leads to another one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use keyway_core::Descriptor;
use keyway_core::call::FailureKind;
use keyway_core::descriptor::RateLimitError;
use keyway_core::exchange::{Exchange, Pace};
use keyway_core::ports::{Egress as _, Outbound as _};
use keyway_core::quota::LimitMet;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::relay::{RENEWED, World, pieces, post, read, until, whole};
use crate::support::{SECRET, Step, Upstream, get, ok, text, token_request, with_slot};

/// Method, URL and status of each row.
fn shown(rows: &[Exchange]) -> Vec<(String, String, Option<u16>)> {
    rows.iter().map(|row| (row.method.clone(), row.url.clone(), row.status)).collect()
}

fn row(method: &str, path: &str, status: u16) -> (String, String, Option<u16>) {
    (method.to_owned(), format!("https://api.example.com{path}"), Some(status))
}

fn refusal(wait: &str) -> Vec<Step> {
    vec![text(&format!(
        "HTTP/1.1 429 Too Many Requests\r\nretry-after: {wait}\r\ncontent-length: 4\r\n\r\nslow"
    ))]
}

#[tokio::test]
async fn a_request_that_was_sent_on_is_a_row_of_its_own() {
    let upstream = Upstream::start(|number, _| match number {
        0 => vec![text(
            "HTTP/1.1 303 See Other\r\nlocation: /there?token=abc&a=1\r\ncontent-length: 0\r\n\r\n",
        )],
        _ => ok("fine"),
    })
    .await;
    let mut world = World::of(&upstream, "");
    let descriptor = r#"{"format":1,"name":"acme/crm","version":"1.0.0","hosts":["api.example.com"],
        "redirects":1}"#;
    world.origin.descriptor = Arc::new(Descriptor::parse(descriptor).unwrap());
    let request = crate::support::post("https://api.example.com/here", "four");
    world.broker.exchange(&world.origin, request).await.unwrap();
    let rows = world.rows();
    let url = "/there?token=%5Bkeyway%3Aredacted%5D&a=1";
    assert_eq!(shown(&rows), [row("POST", "/here", 303), row("GET", url, 200)]);
    assert_eq!(rows[0].response_headers["location"], "/there?token=[keyway:redacted]&a=1");
    assert_eq!((rows[0].request_bytes, rows[1].request_bytes), (4, 0));
    assert_eq!((rows[0].call, &rows[0].release), (rows[1].call, &rows[1].release));
}

#[tokio::test]
async fn the_refusal_that_renewed_a_credential_is_a_row() {
    let upstream = Upstream::start(|_, request| {
        let good = request.contains(RENEWED);
        let status = if good { "200 OK" } else { "401 Unauthorized" };
        vec![text(&format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok"))]
    })
    .await;
    let world = World::of(&upstream, "");
    read(world.get("/x").await).await.unwrap();
    assert_eq!(shown(&world.rows()), [row("GET", "/base/x", 401), row("GET", "/base/x", 200)]);
    world.broker.exchange(&world.origin, with_slot("token", get("/y"))).await.unwrap();
    let rows = world.rows();
    assert_eq!(shown(&rows[2..]), [row("GET", "/base/y", 401), row("GET", "/base/y", 200)]);
    assert!(rows.iter().all(|row| row.slot.as_ref().is_some_and(|slot| slot.as_str() == "token")));
    assert!(!format!("{rows:?}").contains(RENEWED) && !format!("{rows:?}").contains(SECRET));
}

/// Catches a caller who wants to wait, has the time, and is told to come again.
#[tokio::test]
async fn who_throttles_waits_out_a_refusal() {
    let upstream =
        Upstream::start(|number, _| if number % 2 == 0 { refusal("1") } else { ok("fine") }).await;
    let mut world = World::of(&upstream, "");
    world.origin.pace = Pace::Throttle;
    let began = Instant::now();
    let relay = world.get("/x").await;
    assert_eq!((relay.status, read(relay).await.unwrap()), (StatusCode::OK, Bytes::from("fine")));
    assert!(began.elapsed() >= Duration::from_secs(1));
    let response =
        world.broker.exchange(&world.origin, with_slot("token", get("/y"))).await.unwrap();
    assert_eq!(response.status, 200);
    let statuses: Vec<_> = world.rows().iter().map(|row| row.status).collect();
    assert_eq!(statuses, [Some(429), Some(200), Some(429), Some(200)]);
    // The wait is nobody's answer.
    assert!(world.rows().iter().all(|row| row.timings.first_byte < Duration::from_millis(900)));
}

/// A refusal with this wait that does not come as one.
fn forbidden(seconds: &'static str) -> Vec<Step> {
    let left = format!("x-ratelimit-remaining: 0\r\nretry-after: {seconds}\r\n");
    vec![text(&format!("HTTP/1.1 403 Forbidden\r\n{left}content-length: 4\r\n\r\nslow"))]
}

/// Who has no time for it, or whose body is gone, is told of the limit by the host, however the provider says it; who did
/// not ask the host to wait has the provider's own answer.
#[tokio::test]
async fn a_refusal_that_cannot_be_waited_out_ends_as_a_limit() {
    let refusals = [(refusal("60"), 429, 60), (forbidden("3600"), 403, 3_600)];
    for (answer, status, seconds) in refusals {
        let upstream = Upstream::start(move |_, _| answer.clone()).await;
        let mut world = World::of(&upstream, "");
        world.origin.time_left = Duration::from_secs(2);
        let relay = world.get("/x").await;
        assert_eq!(relay.status.as_u16(), status);
        assert_eq!(read(relay).await.unwrap(), "slow");
        world.origin.pace = Pace::Throttle;
        world.origin.limit_met = LimitMet::default();
        // Not that it is known already: another account of the tenant's.
        world.origin.installation.tenant = "another".parse().unwrap();
        let Err(failure) = world.relay(crate::relay::get("/x")).await else {
            panic!("the provider's answer, and not the host's own");
        };
        assert_eq!((failure.kind, failure.request_sent), (FailureKind::RateLimited, true));
        let wait = failure.retry_after.expect("a wait").as_secs_f64().ceil() as u64;
        assert!((seconds - 2..=seconds).contains(&wait), "{wait}");
        assert_eq!(upstream.requests().len(), 2, "{status}: it is not sent again");
    }

    let upstream = Upstream::start(|_, _| refusal("1")).await;
    let mut world = World::of(&upstream, "");
    world.origin.pace = Pace::Throttle;
    assert_eq!(world.code(post(whole("gone by then"))).await, "rate-limited-here");
    assert_eq!(upstream.requests().len(), 1);
}

/// Catches a provider that is asked without end because it names a wait of nothing, and a caller who is told that the
/// time was too short where it was the limit.
#[tokio::test]
async fn a_wait_of_nothing_is_backed_off_from_and_ends_as_a_limit() {
    for by_proxy in [false, true] {
        let upstream = Upstream::start(|_, _| refusal("0")).await;
        let mut world = World::of(&upstream, "");
        world.origin.pace = Pace::Throttle;
        world.origin.time_left = Duration::from_millis(2_500);
        if by_proxy {
            let Err(failure) = world.relay(crate::relay::get("/x")).await else {
                panic!("the provider's answer, and not the host's own");
            };
            assert_eq!(failure.kind, FailureKind::RateLimited);
            assert!(failure.request_sent && failure.retry_after.is_some());
        } else {
            let request = with_slot("token", get("/y"));
            let response = world.broker.exchange(&world.origin, request).await.unwrap();
            assert_eq!(response.status, 429);
        }
        let standing = world.origin.limit_met.standing().expect("word of it");
        assert!(standing.blocked_for.is_some());
        let asked = upstream.requests().len();
        assert!((1..=2).contains(&asked), "{asked}");
    }
}

/// A world whose release declares an error of its provider's in the body.
async fn declaring(upstream: &Upstream) -> World {
    let mut world = World::of(upstream, "");
    let mut descriptor = Descriptor::clone(&world.origin.descriptor);
    descriptor.rate_limit_errors.push(RateLimitError {
        statuses: vec![200, 403],
        pointer: Some("/0/errorCode".to_owned()),
        values: vec!["LIMIT".to_owned()],
        ..RateLimitError::default()
    });
    world.origin.descriptor = Arc::new(descriptor);
    world
}

fn refusal_in_body(status: &str, padding: usize) -> (Vec<Step>, String) {
    let body = format!("[{{\"errorCode\":\"LIMIT\"}}]{}", " ".repeat(padding));
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n");
    (vec![text(&format!("{head}{body}"))], body)
}

/// Catches a refusal for the rate that is taken for one of permissions, or for a success.
#[tokio::test]
async fn an_error_that_means_too_often_is_waited_out() {
    for status in ["403 Forbidden", "200 OK"] {
        let upstream = Upstream::start(move |number, _| match number % 2 {
            0 => refusal_in_body(status, 0).0,
            _ => ok("fine"),
        })
        .await;
        let mut world = declaring(&upstream).await;
        world.origin.pace = Pace::Throttle;
        let relay = world.get("/x").await;
        assert_eq!(read(relay).await.unwrap(), "fine", "{status}");
        let request = with_slot("token", get("/y"));
        let response = world.broker.exchange(&world.origin, request).await.unwrap();
        assert_eq!(response.body, "fine", "{status}");
        let met = &world.origin.limit_met;
        assert!(!met.was_refused() && !met.refused_with(|_| true), "it was waited out");
        let statuses: Vec<_> = world.rows().iter().map(|row| row.status).collect();
        let refused = status[..3].parse().ok();
        assert_eq!(statuses, [refused, Some(200), refused, Some(200)]);
    }
}

/// Catches a body that is cut, or doubled, because a part of it was read before its head went on.
#[tokio::test]
async fn a_body_that_was_looked_into_is_handed_on_whole() {
    for (padding, refused) in [(0, true), (60 << 10, true), (64 << 10, false), (1 << 20, false)] {
        let upstream =
            Upstream::start(move |_, _| refusal_in_body("403 Forbidden", padding).0).await;
        let world = declaring(&upstream).await;
        let expected = refusal_in_body("", padding).1;
        let relay = world.get("/x").await;
        assert_eq!(relay.status, StatusCode::FORBIDDEN);
        assert_eq!(read(relay).await.unwrap(), expected.as_bytes(), "{padding}");
        assert_eq!(world.origin.limit_met.was_refused(), refused, "{padding}");
        let request = with_slot("token", get("/y"));
        let response = world.broker.exchange(&world.origin, request).await.unwrap();
        assert_eq!((response.status, response.body.len()), (403, expected.len()));
        assert_eq!(world.origin.limit_met.was_refused(), refused, "{padding}");
    }
}

/// Catches an upload that is cut although it moves, and one that is not although it does not.
#[tokio::test]
async fn the_first_byte_is_waited_for_once_the_body_stands_still() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::at(&listener, "[limits]\nfirst-byte-timeout = '1s'\n").await;
    let server = tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        until(&mut first, "0\r\n\r\n").await;
        first.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstored").await.unwrap();
        // The next one is read and never answered, over whichever connection it comes.
        let second = listener.accept().await;
        std::future::pending::<()>().await;
        drop((first, second));
    });
    let (sender, body) = pieces();
    let slow = tokio::spawn(async move {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            sender.send(Bytes::from_static(b"piece")).await.unwrap();
        }
    });
    let began = Instant::now();
    assert_eq!(read(world.relay(post(body)).await.unwrap()).await.unwrap(), "stored");
    assert!(began.elapsed() >= Duration::from_millis(1_900), "longer than the first byte may take");
    slow.await.unwrap();
    let (sender, body) = pieces();
    assert_eq!(world.code(post(body)).await, "first-byte-timeout");
    drop(sender);
    server.abort();
}

/// What the host itself asks is made of credentials, and so is what it is told.
#[tokio::test]
async fn of_the_hosts_own_requests_no_header_is_kept() {
    let upstream = Upstream::start(|_, _| {
        vec![text(&format!(
            "HTTP/1.1 400 Bad Request\r\nx-echo: {SECRET}\r\ncontent-length: 2\r\n\r\n{{}}"
        ))]
    })
    .await;
    let world = World::of(&upstream, "");
    let request = token_request(&format!("refresh_token={SECRET}"));
    assert_eq!(world.wire.fetch(request).await.unwrap().status, 400);
    let rows = world.rows();
    assert_eq!(shown(&rows), [row("POST", "/token", 400)]);
    assert!(rows[0].request_headers.is_empty() && rows[0].response_headers.is_empty());
    assert_eq!((&rows[0].request_body, &rows[0].response_body), (&None, &None));
}
