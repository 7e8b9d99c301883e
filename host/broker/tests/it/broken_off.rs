//! Answers to the host itself that break off: what there is of one is handed on, apart from an answer, because what a
//! server has issued, or why it has not, stands nowhere else.

use std::time::Duration;

use bytes::Bytes;
use keyway_broker::Reason;
use keyway_core::exchange::{HostRequest, Response, Unfinished};
use keyway_core::ports::Outbound as _;

use crate::frames::{DATA, END_HEADERS, GOAWAY, HEADERS, RST_STREAM, STATUS_200, frame};
use crate::http2::speaking;
use crate::support::{Bench, Step, Upstream, bench, get, stopped, text, token_request};

/// What an authorization server has said when it goes away.
const BEGUN: &str = r#"{"access_token":"a","refresh_token":"r","exp"#;

/// What is read of a body at most, in the tests of that.
const MOST: usize = 200;

async fn fetch(bench: &Bench, timeout: Duration) -> Result<Response, Unfinished> {
    let request = HostRequest { timeout, ..token_request("grant_type=authorization_code") };
    bench.wire.fetch(request).await
}

/// Why there is no whole answer, and what there is of it.
fn left(result: Result<Response, Unfinished>) -> (Reason, Option<Bytes>) {
    let Unfinished { failure, partial } = result.unwrap_err();
    (stopped(Err(failure)).0, partial.map(|partial| partial.body))
}

fn head(status: &str, framing: &str) -> Step {
    text(&format!("HTTP/1.1 {status}\r\n{framing}\r\ncontent-type: application/json\r\n\r\n"))
}

fn begun() -> Option<Bytes> {
    Some(Bytes::from_static(BEGUN.as_bytes()))
}

#[tokio::test]
async fn what_came_of_a_success_is_handed_on() {
    let chunk = |text_of: &str| text(&format!("{:x}\r\n{text_of}\r\n", text_of.len()));
    let (half, rest) = BEGUN.split_at(20);
    let length = || head("200 OK", "content-length: 500");
    let chunked = || head("200 OK", "transfer-encoding: chunked");
    for (steps, reason) in [
        (vec![length(), text(BEGUN), Step::Close], Reason::ConnectionLost),
        (vec![length(), text(BEGUN), Step::Cut], Reason::ConnectionLost),
        (vec![chunked(), chunk(half), chunk(rest), Step::Close], Reason::ConnectionLost),
        (vec![chunked(), chunk(half), chunk(rest), Step::Cut], Reason::ConnectionLost),
        (
            vec![chunked(), chunk(BEGUN), text("no number\r\n"), Step::Hang],
            Reason::ResponseMalformed,
        ),
        (vec![length(), text(BEGUN), Step::Hang], Reason::BodyStalled),
    ] {
        let what = format!("{steps:?}");
        let upstream = Upstream::start(move |_, _| steps.clone()).await;
        let bench = bench(&upstream, "limits.between-bytes-timeout = '300ms'");
        let left = left(fetch(&bench, Duration::from_secs(10)).await);
        assert_eq!(left, (reason, begun()), "{what}");
        assert_eq!(upstream.requests().len(), 1, "{what}: it is not sent again");
    }
}

#[tokio::test]
async fn what_came_before_the_time_was_over_is_handed_on() {
    let steps = vec![head("200 OK", "content-length: 500"), text(BEGUN), Step::Hang];
    let upstream = Upstream::start(move |_, _| steps.clone()).await;
    let bench = bench(&upstream, "");
    let left = left(fetch(&bench, Duration::from_millis(500)).await);
    assert_eq!(left, (Reason::ExchangeTimeout, begun()));
}

/// Also where the length is announced: a connector's answer is then not read at all.
#[tokio::test]
async fn the_beginning_of_an_answer_that_is_too_long_is_handed_on() {
    let body = format!("{BEGUN}{}", "x".repeat(MOST));
    let length = head("200 OK", &format!("content-length: {}", body.len()));
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for steps in [
        vec![length, text(&body)],
        vec![head("200 OK", "transfer-encoding: chunked"), text(&chunks)],
    ] {
        let what = format!("{steps:?}");
        let upstream = Upstream::start(move |_, _| steps.clone()).await;
        let bench = bench(&upstream, &format!("limits.response-body-bytes-max = {MOST}"));
        let expected = Some(Bytes::copy_from_slice(&body.as_bytes()[..MOST]));
        let left = left(fetch(&bench, Duration::from_secs(10)).await);
        assert_eq!(left, (Reason::ResponseBodyTooLarge, expected), "{what}");
        assert_eq!(bench.stop(get("/")).await, (Reason::ResponseBodyTooLarge, true), "{what}");
    }
}

#[tokio::test]
async fn over_http2_as_well() {
    let begin = || {
        vec![
            Step::Send(frame(HEADERS, END_HEADERS, 1, STATUS_200)),
            Step::Send(frame(DATA, 0, 1, BEGUN.as_bytes())),
            Step::Pause(Duration::from_millis(50)),
        ]
    };
    for end in [
        vec![Step::Send(frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])), Step::Hang],
        vec![Step::Send(frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])), Step::Close],
        vec![Step::Cut],
    ] {
        let what = format!("{end:?}");
        let (_upstream, bench) = speaking([begin(), end].concat()).await;
        let left = left(fetch(&bench, Duration::from_secs(10)).await);
        assert_eq!(left, (Reason::ConnectionLost, begun()), "{what}");
    }
}

/// Why a server refuses counts as much.
#[tokio::test]
async fn what_came_of_a_refusal_is_handed_on_with_its_status() {
    for (status, number) in [("400 Bad Request", 400), ("502 Bad Gateway", 502)] {
        let steps = vec![head(status, "content-length: 500"), text(BEGUN), Step::Close];
        let upstream = Upstream::start(move |_, _| steps.clone()).await;
        let bench = bench(&upstream, "");
        let unfinished = fetch(&bench, Duration::from_secs(10)).await.unwrap_err();
        let partial = unfinished.partial.map(|partial| (partial.status, partial.body));
        assert_eq!(partial, begun().map(|body| (number, body)));
    }
}

/// No head is no answer.
#[tokio::test]
async fn of_anything_else_nothing_is() {
    for steps in [vec![text("HTTP/1.1 200 OK\r\ncontent-le"), Step::Close], vec![Step::Close]] {
        let what = format!("{steps:?}");
        let upstream = Upstream::start(move |_, _| steps.clone()).await;
        let bench = bench(&upstream, "");
        let left = left(fetch(&bench, Duration::from_secs(10)).await);
        assert_eq!(left, (Reason::ConnectionLost, None), "{what}");
    }
}

/// The log and whoever prints the failure learn of no token.
#[tokio::test]
async fn it_is_not_shown() {
    let steps = vec![head("200 OK", "content-length: 500"), text(BEGUN), Step::Close];
    let upstream = Upstream::start(move |_, _| steps.clone()).await;
    let bench = bench(&upstream, "");
    let unfinished = fetch(&bench, Duration::from_secs(10)).await.unwrap_err();
    assert!(unfinished.partial.is_some());
    assert!(!format!("{unfinished:?}").contains("access_token"));
}
