//! Which connections are used again, and for whom (C23).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keyway_broker::{Config, Reason};
use keyway_core::exchange::HostRequest;
use keyway_core::ports::{Egress as _, Outbound as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Barrier;

use crate::support::{Bench, Step, Upstream, answer, bench, get, ok, post, text, token_request};

#[tokio::test]
async fn a_connection_serves_one_tenant_under_one_policy() {
    let upstream = Upstream::start(|_, _| ok("")).await;
    let bench = bench(&upstream, "");
    for _ in 0..3 {
        bench.send(get("/")).await.unwrap();
    }
    assert_eq!(upstream.connections(), 1);

    // Another tenant, another environment, another connector: each its own.
    let mut other = bench.origin.clone();
    other.installation.tenant = "t2".parse().unwrap();
    bench.broker.exchange(&other, get("/")).await.unwrap();
    assert_eq!(upstream.connections(), 2);
    other.installation.environment = "prod".parse().unwrap();
    bench.broker.exchange(&other, get("/")).await.unwrap();
    assert_eq!(upstream.connections(), 3);
    other.installation.connector = "acme/other".parse().unwrap();
    bench.broker.exchange(&other, get("/")).await.unwrap();
    assert_eq!(upstream.connections(), 4);

    // The same policy again is another policy.
    let config: Config = toml::from_str(&upstream.stand_in("api.example.com")).unwrap();
    bench.wire.replace_policy(config).unwrap();
    upstream.ended(4).await;
    bench.send(get("/")).await.unwrap();
    bench.send(get("/")).await.unwrap();
    assert_eq!(upstream.connections(), 5);
}

#[tokio::test]
async fn a_policy_that_denies_counts_at_once() {
    let upstream = Upstream::start(|_, _| ok("")).await;
    let bench = bench(&upstream, "");
    bench.send(get("/")).await.unwrap();
    let config =
        format!("deny-hosts = ['api.example.com']\n{}", upstream.stand_in("api.example.com"));
    bench.wire.replace_policy(toml::from_str(&config).unwrap()).unwrap();
    assert_eq!(bench.stop(get("/")).await, (Reason::HostNotAllowed, false));
    // A policy that cannot be taken changes nothing.
    let config: Config = toml::from_str("extra-roots = ['/nonexistent']").unwrap();
    assert!(bench.wire.replace_policy(config).is_err());
    assert_eq!(bench.stop(get("/")).await, (Reason::HostNotAllowed, false));
}

#[tokio::test]
async fn an_exchange_ends_under_the_policy_it_began_with_and_leaves_no_connection() {
    let upstream = Upstream::start(|_, _| {
        vec![
            Step::Pause(Duration::from_millis(50)),
            text("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        ]
    })
    .await;
    let bench = bench(&upstream, "");
    let (broker, origin) = (bench.broker.clone(), bench.origin.clone());
    let running = tokio::spawn(async move { broker.exchange(&origin, get("/")).await });
    while upstream.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    bench
        .wire
        .replace_policy(toml::from_str(&upstream.stand_in("api.example.com")).unwrap())
        .unwrap();
    running.await.unwrap().unwrap();
    upstream.ended(1).await;
}

#[tokio::test]
async fn connections_that_the_upstream_ends_are_not_missed() {
    let upstream = Upstream::start(|number, _| match number % 3 {
        0 => answer("connection: close\r\n", ""),
        1 => ok("").into_iter().chain([Step::Close]).collect(),
        _ => ok(""),
    })
    .await;
    let bench = bench(&upstream, "");
    for _ in 0..9 {
        bench.send(get("/")).await.unwrap();
    }
}

#[tokio::test]
async fn only_safe_requests_are_sent_again_on_a_stale_connection() {
    // The second request of every connection is read and met with silence and an end.
    let upstream = Upstream::start(|number, _| match number {
        0 | 2 => ok("fresh"),
        1 | 3 => vec![Step::Close],
        _ => ok("again"),
    })
    .await;
    let bench = bench(&upstream, "");
    bench.send(get("/")).await.unwrap();
    // 1 is lost, 2 is the same request on a new connection.
    assert_eq!(&bench.send(get("/")).await.unwrap().body[..], b"fresh");
    // 3 is lost, and may have had its effect: it is not sent twice.
    assert_eq!(bench.stop(post("/", "x")).await, (Reason::ConnectionLost, true));
    assert_eq!(upstream.requests().len(), 4);
}

/// A server that says this of its connections.
async fn announcing(announced: &'static str) -> (Upstream, Bench) {
    let upstream = Upstream::start(move |_, _| answer(announced, "")).await;
    let bench = bench(&upstream, "");
    (upstream, bench)
}

/// Writes go over fresh connections where the kept one may be about to end, and over kept ones where the server has
/// promised to keep them.
#[tokio::test]
async fn what_must_not_be_repeated_takes_no_connection_that_may_be_over() {
    for (announced, connections) in [
        ("keep-alive: timeout=1\r\n", 5),
        ("keep-alive: timeout=60, max=0\r\n", 5),
        ("", 5),
        ("keep-alive: timeout=60\r\n", 1),
        ("keep-alive: timeout = 1\r\n", 5),
        ("keep-alive: \"timeout\"=60\r\n", 5),
        ("keep-alive: timeout=60\r\nKeep-Alive: TIMEOUT=1\r\n", 5),
        ("keep-alive: max=100; timeout=1\r\n", 5),
        ("keep-alive: max=100, Timeout=\"60\"\r\n", 1),
        // Whatever else is promised.
        ("Connection: CLOSE\r\nkeep-alive: timeout=60\r\n", 5),
        ("connection: Keep-Alive, Close\r\nkeep-alive: timeout=60\r\n", 5),
        ("connection: keep-alive\r\nconnection: close\r\nkeep-alive: timeout=60\r\n", 5),
    ] {
        let (upstream, bench) = announcing(announced).await;
        for _ in 0..5 {
            assert_eq!(bench.send(post("/", "x")).await.unwrap().status, 200, "{announced:?}");
        }
        assert_eq!(upstream.connections(), connections, "{announced:?}");
        assert_eq!(upstream.requests().len(), 5, "{announced:?}: none was sent twice");
    }
}

/// A server whose end crosses the next request on its way, five times over.
#[tokio::test]
async fn no_write_is_lost_on_a_connection_that_is_about_to_end() {
    for announced in ["keep-alive: timeout=1\r\n", ""] {
        // Each connection answers once; whatever else comes over it is met with an end.
        let upstream = Upstream::start_with(
            move |_, _| answer(announced, ""),
            |mut stream: TcpStream| async move {
                let (near, mut far) = tokio::io::duplex(64 << 10);
                tokio::spawn(async move {
                    let mut request = vec![0; 64 << 10];
                    let read = stream.read(&mut request).await.unwrap_or(0);
                    far.write_all(&request[..read]).await.ok();
                    let mut response = vec![0; 64 << 10];
                    let read = far.read(&mut response).await.unwrap_or(0);
                    stream.write_all(&response[..read]).await.ok();
                    // Until the other end has closed.
                    let _ended = stream.read(&mut request).await;
                });
                Some(near)
            },
        )
        .await;
        let bench = bench(&upstream, "");
        for _ in 0..5 {
            assert_eq!(bench.send(post("/", "x")).await.unwrap().status, 200, "{announced:?}");
        }
        assert_eq!(upstream.requests().len(), 5, "{announced:?}");
    }
}

/// What may be repeated takes a kept connection, unless its announced time is over.
#[tokio::test]
async fn an_announced_end_is_kept_to_by_everybody() {
    for (announced, connections) in
        [("keep-alive: timeout=1\r\n", 3), ("", 1), ("keep-alive: timeout=9\r\n", 1)]
    {
        let (upstream, bench) = announcing(announced).await;
        for _ in 0..3 {
            bench.send(get("/")).await.unwrap();
        }
        assert_eq!(upstream.connections(), connections, "{announced:?}");
    }
}

/// Would fail if a refresh token went over a connection that the server has just ended: nobody could say whether it was
/// taken.
#[tokio::test]
async fn what_presents_a_token_goes_over_a_fresh_connection() {
    // Of every connection, the second request is read and met with silence and an end.
    let upstream =
        Upstream::start(|number, _| if number == 3 { vec![Step::Close] } else { ok("") }).await;
    let bench = bench(&upstream, "");
    let ask = async |purpose| {
        let request = HostRequest { purpose, ..token_request("grant_type=refresh_token") };
        bench.wire.fetch(request).await.map(|response| response.status)
    };
    for connections in 1..=3 {
        assert_eq!(ask("token").await.unwrap(), 200);
        assert_eq!(upstream.connections(), connections);
    }
    // So does all else that must not be repeated, and what is lost then is not sent again.
    assert!(ask("revoke").await.unwrap_err().failure.request_sent);
    assert_eq!((upstream.connections(), upstream.requests().len()), (4, 4));
    assert_eq!(ask("token").await.unwrap(), 200);
}

#[tokio::test]
async fn idle_connections_are_closed_in_time_and_number() {
    let upstream = Upstream::start(|_, _| ok("")).await;
    let bench = bench(&upstream, "limits.idle-timeout = '50ms'");
    bench.send(get("/")).await.unwrap();
    assert!(bench.metrics().contains("pooled_connections 1"));
    upstream.ended(1).await;
    assert!(bench.metrics().contains("pooled_connections 0"));

    let upstream = Upstream::start(|_, _| ok("")).await;
    let bench = crate::support::bench(&upstream, "limits.idle-max = 1");
    bench.send(get("/")).await.unwrap();
    let mut other = bench.origin.clone();
    other.installation.tenant = "t2".parse().unwrap();
    bench.broker.exchange(&other, get("/")).await.unwrap();
    // No room for the second tenant's; the first one's is still there.
    upstream.ended(1).await;
    bench.send(get("/")).await.unwrap();
    assert_eq!(upstream.connections(), 2);
}

/// Sends this many exchanges, all of which are under way at once.
async fn together(bench: &Bench, exchanges: usize) {
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..exchanges {
        let (broker, origin) = (bench.broker.clone(), bench.origin.clone());
        running.spawn(async move { broker.exchange(&origin, get("/")).await });
    }
    for result in running.join_all().await {
        assert_eq!(result.unwrap().status, 200);
    }
}

#[tokio::test]
async fn of_one_hosts_idle_connections_as_many_are_kept_as_the_limit_says() {
    // Answers come when all three of a round are there, so each has a connection of its own.
    let barrier = Arc::new(Barrier::new(3));
    let upstream = Upstream::start(move |_, _| {
        let mut steps = vec![Step::Meet(Arc::clone(&barrier))];
        steps.extend(ok(""));
        steps
    })
    .await;
    let bench = bench(&upstream, "limits.idle-per-host-max = 2");
    together(&bench, 3).await;
    assert_eq!(upstream.connections(), 3);
    upstream.ended(1).await;
    assert!(bench.metrics().contains("pooled_connections 2"), "{}", bench.metrics());
    // The two that were kept serve again; only the third is new.
    together(&bench, 3).await;
    assert_eq!(upstream.connections(), 4);

    // At the limit none is closed.
    let barrier = Arc::new(Barrier::new(3));
    let upstream = Upstream::start(move |_, _| {
        let mut steps = vec![Step::Meet(Arc::clone(&barrier))];
        steps.extend(ok(""));
        steps
    })
    .await;
    let bench = crate::support::bench(&upstream, "limits.idle-per-host-max = 3");
    together(&bench, 3).await;
    together(&bench, 3).await;
    assert_eq!(upstream.connections(), 3);
}

#[tokio::test]
async fn a_connection_that_still_owes_its_request_is_not_waited_for() {
    // The first connection gets an answer after its head, and its body is never read.
    let first = AtomicBool::new(true);
    let upstream = Upstream::start_with(
        |_, _| ok("fine"),
        move |mut stream: TcpStream| {
            let first = first.swap(false, Ordering::SeqCst);
            async move {
                if first {
                    stream.read_exact(&mut [0; 64]).await.ok()?;
                    stream
                        .write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
                        .await
                        .ok()?;
                    std::future::pending::<()>().await;
                }
                Some(stream)
            }
        },
    )
    .await;
    let bench = bench(&upstream, "");
    let response = bench.send(post("/", &"x".repeat(8 << 20))).await.unwrap();
    assert_eq!(response.status, 413);
    assert_eq!(&bench.send(get("/")).await.unwrap().body[..], b"fine");
    assert_eq!(upstream.connections(), 2);
}
