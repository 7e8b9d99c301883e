//! Upstreams that break HTTP (C18, C19): each ends in a clear code, and its connection is not used again.

use keyway_broker::Reason;

use crate::support::{Step, Upstream, bench, get, ok, text};

/// The first request gets `response`, later ones a good one.
async fn broken(response: &'static str) -> (Reason, bool) {
    let upstream = Upstream::start(move |number, _| match number {
        0 => vec![text(response), Step::Close],
        _ => ok("fine"),
    })
    .await;
    let bench = bench(&upstream, "");
    let stopped = bench.stop(get("/")).await;
    assert_eq!(&bench.send(get("/")).await.unwrap().body[..], b"fine");
    assert_eq!(upstream.connections(), 2, "{response:?}: the connection was used again");
    stopped
}

#[tokio::test]
async fn ambiguous_lengths_are_refused() {
    for response in [
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ncontent-length: 3, 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\ncontent-length: +3\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\ncontent-length: 0x3\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        assert_eq!(broken(response).await, (Reason::ResponseMalformed, true), "{response:?}");
    }
}

#[tokio::test]
async fn chunks_that_are_none_are_refused() {
    for body in [
        "zz\r\nabc\r\n",
        "-1\r\nabc\r\n",
        "3\r\nabcd\r\n",
        "ffffffffffffffffff\r\n",
        "3 3\r\nabc\r\n",
        "\r\n",
    ] {
        let response = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}");
        let response: &'static str = response.leak();
        assert_eq!(broken(response).await, (Reason::ResponseMalformed, true), "{body:?}");
    }
}

#[tokio::test]
async fn bodies_that_end_early_are_not_taken_for_whole() {
    for response in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\na\r\nabc",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "",
    ] {
        assert_eq!(broken(response).await, (Reason::ConnectionLost, true), "{response:?}");
    }
}

#[tokio::test]
async fn heads_that_are_none_are_refused() {
    for response in [
        "SSH-2.0-OpenSSH_9.9\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nname : value\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: b\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: b\0c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nn\u{e4}me: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: b\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        "HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n",
    ] {
        assert_eq!(broken(response).await, (Reason::ResponseMalformed, true), "{response:?}");
    }
}

/// Bytes after a response, such as a second response nobody asked for, must not answer the next request.
#[tokio::test]
async fn a_response_that_nobody_asked_for_answers_nobody() {
    let upstream = Upstream::start(|number, _| match number {
        0 => vec![text(
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirstHTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled",
        )],
        _ => ok("second"),
    })
    .await;
    let bench = bench(&upstream, "");
    assert_eq!(&bench.send(get("/")).await.unwrap().body[..], b"first");
    assert_eq!(&bench.send(get("/")).await.unwrap().body[..], b"second");
}
