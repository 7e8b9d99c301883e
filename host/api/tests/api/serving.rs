//! The server on a loopback socket: keeps its bounds, and ends in order.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::world::{PATIENCE, World, at, limited};

struct Serving {
    world: Arc<World>,
    address: std::net::SocketAddr,
    drain: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

async fn serve(world: World) -> Serving {
    let world = Arc::new(world);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (drain, drained) = oneshot::channel();
    let api = world.api.clone();
    let server = tokio::spawn(api.serve(listener, async {
        // A dropped sender drains too.
        drop(drained.await);
    }));
    Serving { world, address, drain, server }
}

async fn connect(address: std::net::SocketAddr) -> TcpStream {
    try_connect(address).await.unwrap()
}

async fn try_connect(address: std::net::SocketAddr) -> std::io::Result<TcpStream> {
    #[expect(clippy::disallowed_methods, reason = "a client of the host under test")]
    TcpSocket::new_v4()?.connect(address).await
}

async fn read(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

fn call(world: &World) -> String {
    let path = at("/actions/echo");
    let token = &world.admin;
    format!(
        "POST {path} HTTP/1.1\r\nhost: keyway\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: 2\r\n\r\n42"
    )
}

/// Catches (C92): a page of another site that a browser lets read an answer, or send what needs a token. The token is in
/// a header that only the caller sets, so there is nothing that a browser would add by itself.
#[tokio::test]
async fn no_other_site_is_let_in() {
    let serving = serve(World::pinned().await).await;
    let token = &serving.world.admin;
    let asked = |method: &str, path: &str, more: &str| {
        format!(
            "{method} {path} HTTP/1.1\r\nhost: keyway\r\norigin: https://evil.example\r\n\
             connection: close\r\n{more}\r\n"
        )
    };
    let preflight =
        "access-control-request-method: POST\r\naccess-control-request-headers: authorization\r\n";
    let bearer = format!("authorization: Bearer {token}\r\n");
    for (request, status) in [
        (asked("OPTIONS", &at("/actions/echo"), preflight), "405"),
        (asked("GET", "/v1/releases", &bearer), "200"),
        (asked("GET", "/v1/releases", "cookie: token=x\r\n"), "401"),
        (asked("GET", "/connect/guess", ""), "410"),
        // A browser that had been given a token would send it along, wherever a page comes from.
        (asked("POST", &at("/revert"), &format!("{bearer}content-length: 2\r\n")) + "{}", "403"),
        (asked("POST", &at("/revert"), &format!("{bearer}sec-fetch-site: same-site\r\n")), "403"),
    ] {
        let mut stream = connect(serving.address).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read(&mut stream).await.to_lowercase();
        assert!(answer.starts_with(&format!("http/1.1 {status}")), "{request}{answer}");
        assert!(!answer.contains("access-control-"), "{answer}");
    }
}

/// RFC 9112 section 3.2. Catches a request that this server and another one before it read as for different hosts.
#[tokio::test]
async fn a_request_names_one_host() {
    let serving = serve(World::pinned().await).await;
    for (hosts, status) in [
        ("host: keyway\r\n", "200"),
        ("host: 127.0.0.1:8700\r\n", "200"),
        ("", "400"),
        ("host: keyway\r\nhost: keyway\r\n", "400"),
        ("host: keyway\r\nHost: evil.example\r\n", "400"),
        ("host: ann@keyway\r\n", "400"),
        ("host: key way\r\n", "400"),
    ] {
        let mut stream = connect(serving.address).await;
        let request = format!("GET /healthz HTTP/1.1\r\n{hosts}connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}{answer}");
    }
}

#[tokio::test]
async fn a_call_under_way_is_answered_before_the_server_ends() {
    let serving = serve(World::pinned().await).await;
    serving.world.dispatch.gate.forget_permits(1_000);
    let mut stream = connect(serving.address).await;
    stream.write_all(call(&serving.world).as_bytes()).await.unwrap();
    serving.world.dispatched(1).await;
    serving.drain.send(()).unwrap();
    serving.world.dispatch.gate.add_permits(1_000);
    let answer = read(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("42"), "{answer}");
    serving.server.await.unwrap();
    assert!(try_connect(serving.address).await.is_err(), "it is gone");
}

#[tokio::test]
async fn a_call_that_outlasts_the_drain_is_cut_off() {
    let config = keyway_api::Config {
        drain_time_max: Duration::from_millis(50),
        ..keyway_api::Config::default()
    };
    let mut world = World::with(config).await;
    world.publish(&crate::world::component("1.0.0")).await.ok();
    world.pin("1.0.0").await.ok();
    let text = call(&world);
    world.dispatch.gate.forget_permits(1_000);
    world.admin.clear();
    let serving = serve(world).await;
    let mut stream = connect(serving.address).await;
    stream.write_all(text.as_bytes()).await.unwrap();
    serving.world.dispatched(1).await;
    serving.drain.send(()).unwrap();
    serving.server.await.unwrap();
    assert_eq!(read(&mut stream).await, "");
}

#[tokio::test]
async fn a_stream_without_an_end_ends_when_the_server_does() {
    let config = keyway_api::Config {
        drain_time_max: Duration::from_secs(3_600),
        ..keyway_api::Config::default()
    };
    let serving = serve(World::with(config).await).await;
    let mut stream = connect(serving.address).await;
    let head = format!(
        "GET /v1/environments/dev/exchanges/follow HTTP/1.1\r\nhost: keyway\r\nauthorization: Bearer {}\r\n\r\n",
        serving.world.admin
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut begun = [0; 12];
    stream.read_exact(&mut begun).await.unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200");
    serving.drain.send(()).unwrap();
    let ended = tokio::time::timeout(PATIENCE, serving.server).await;
    ended.expect("long before the drain's time is over").unwrap();
    let rest = read(&mut stream).await;
    assert!(rest.ends_with("\r\n0\r\n\r\n"), "in order: {rest}");
}

#[tokio::test]
async fn a_client_that_never_ends_its_head_is_let_go() {
    let config = limited(|limits| limits.header_time_max = Duration::from_millis(50));
    let serving = serve(World::with(config).await).await;
    for said in ["", "GET /healthz HTTP/1.1\r\nhost:"] {
        let mut stream = connect(serving.address).await;
        stream.write_all(said.as_bytes()).await.unwrap();
        let answer = read(&mut stream).await;
        assert!(!answer.contains("200"), "{answer}");
    }
}

#[tokio::test]
async fn a_head_has_at_most_so_many_bytes() {
    let serving = serve(World::new().await).await;
    for (size, status) in [(32 << 10, "200"), (129 << 10, "431")] {
        let mut stream = connect(serving.address).await;
        let filler = "x".repeat(size);
        let head = format!(
            "GET /healthz HTTP/1.1\r\nhost: k\r\nconnection: close\r\nfiller: {filler}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer[9..], status.as_bytes());
    }
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_their_turn() {
    let config = limited(|limits| limits.connections_max = 1);
    let serving = serve(World::with(config).await).await;
    let ask = b"GET /healthz HTTP/1.1\r\nhost: keyway\r\n\r\n";
    let mut first = connect(serving.address).await;
    first.write_all(ask).await.unwrap();
    let mut byte = [0];
    first.read_exact(&mut byte).await.unwrap();
    let mut second = connect(serving.address).await;
    second.write_all(ask).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(50), second.read_exact(&mut byte)).await;
    assert!(early.is_err(), "the first one still has the place");
    drop(first);
    second.read_exact(&mut byte).await.unwrap();
}

#[tokio::test]
async fn a_client_that_sends_too_much_gets_to_read_why() {
    let serving = serve(World::pinned().await).await;
    let mut stream = connect(serving.address).await;
    let path = at("/actions/echo");
    let size = 10 << 20;
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: keyway\r\nconnection: close\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {size}\r\n\r\n",
        serving.world.admin
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; size]).await.unwrap();
    let answer = read(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("body-too-large"), "{answer}");
}
