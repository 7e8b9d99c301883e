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

const ALIVE: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: keyway\r\n\r\n";

/// A host with something pinned, and these limits.
async fn pinned(change: impl FnOnce(&mut keyway_api::Limits)) -> World {
    let world = World::with(limited(change)).await;
    world.publish(&crate::world::component("1.0.0")).await.ok();
    world.pin("1.0.0").await.ok();
    world
}

/// The beginning of an answer; none if the connection ends without.
async fn begun(stream: &mut TcpStream) -> Option<String> {
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.ok()?;
    Some(String::from_utf8_lossy(&head).into_owned())
}

/// Waits until the metrics have this line.
async fn counted(world: &World, line: &str) {
    let looking = async {
        while !world.get("/metrics").await.text().contains(line) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("never: {line}"));
}

#[tokio::test]
async fn who_is_being_answered_keeps_the_place_and_others_wait() {
    let serving = serve(pinned(|limits| limits.connections_max = 1).await).await;
    serving.world.dispatch.gate.forget_permits(1_000);
    let mut first = connect(serving.address).await;
    first.write_all(call(&serving.world).as_bytes()).await.unwrap();
    serving.world.dispatched(1).await;
    let mut second = connect(serving.address).await;
    second.write_all(ALIVE).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(50), begun(&mut second)).await;
    assert!(early.is_err(), "the first one still has the place");
    serving.world.dispatch.gate.add_permits(1_000);
    assert_eq!(begun(&mut first).await.as_deref(), Some("HTTP/1.1 200"));
    drop(first);
    assert_eq!(begun(&mut second).await.as_deref(), Some("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_crowd_that_says_nothing_or_never_reads_takes_places_from_itself_alone() {
    let serving = serve(pinned(|limits| limits.connections_max = 4).await).await;
    let pipelined = b"GET /openapi.json HTTP/1.1\r\nhost: keyway\r\n\r\n".repeat(200);
    let begun_upload = b"POST /connect/guess/start HTTP/1.1\r\nhost: keyway\r\ncontent-type: \
        application/x-www-form-urlencoded\r\ncontent-length: 99\r\n\r\na="
        .to_vec();
    let head = b"GET /healthz HTTP/1.1\r\nhost:".to_vec();
    let mut crowd = Vec::new();
    for said in [Vec::new(), pipelined, begun_upload, head].iter().cycle().take(40) {
        let mut stream = connect(serving.address).await;
        // One that has been shown the door meanwhile is a peer as well.
        drop(stream.write_all(said).await);
        crowd.push(stream);
    }
    for _ in 0..3 {
        let mut honest = connect(serving.address).await;
        honest.write_all(call(&serving.world).as_bytes()).await.unwrap();
        assert_eq!(begun(&mut honest).await.as_deref(), Some("HTTP/1.1 200"));
    }
    counted(&serving.world, "keyway_api_connections_closed_total{why=\"crowded\"}").await;
}

#[tokio::test]
async fn those_who_have_shown_a_token_are_not_driven_out() {
    let serving = serve(pinned(|limits| limits.connections_max = 4).await).await;
    serving.world.dispatch.gate.forget_permits(1_000);
    let mut callers = Vec::new();
    for _ in 0..2 {
        let mut caller = connect(serving.address).await;
        caller.write_all(call(&serving.world).as_bytes()).await.unwrap();
        callers.push(caller);
    }
    serving.world.dispatched(2).await;
    let mut crowd = Vec::new();
    for _ in 0..20 {
        crowd.push(connect(serving.address).await);
    }
    let mut asking = connect(serving.address).await;
    asking.write_all(ALIVE).await.unwrap();
    assert_eq!(begun(&mut asking).await.as_deref(), Some("HTTP/1.1 200"));
    serving.world.dispatch.gate.add_permits(1_000);
    for mut caller in callers {
        assert_eq!(begun(&mut caller).await.as_deref(), Some("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn one_address_that_has_all_it_may_is_refused_and_others_are_not() {
    let serving = serve(pinned(|limits| limits.peer_connections_max = 1).await).await;
    serving.world.dispatch.gate.forget_permits(1_000);
    let mut first = connect(serving.address).await;
    first.write_all(call(&serving.world).as_bytes()).await.unwrap();
    serving.world.dispatched(1).await;
    let mut second = connect(serving.address).await;
    drop(second.write_all(ALIVE).await);
    assert_eq!(begun(&mut second).await, None, "its address has one already, and it is busy");
    let other = TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a client of the host under test")]
    let mut other = other.connect(serving.address).await.unwrap();
    other.write_all(ALIVE).await.unwrap();
    assert_eq!(begun(&mut other).await.as_deref(), Some("HTTP/1.1 200"));
    serving.world.dispatch.gate.add_permits(1_000);
    assert_eq!(begun(&mut first).await.as_deref(), Some("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_peer_that_never_reads_is_let_go_and_so_is_one_that_never_sends_the_rest() {
    let serving = serve(pinned(|limits| limits.stall_max = Duration::from_millis(50)).await).await;
    let mut deaf = connect(serving.address).await;
    let asks = b"GET /openapi.json HTTP/1.1\r\nhost: keyway\r\n\r\n".repeat(500);
    drop(deaf.write_all(&asks).await);
    counted(&serving.world, "keyway_api_connections_closed_total{why=\"slow\"} 1").await;

    let mut slow = connect(serving.address).await;
    let text = call(&serving.world);
    let (without_body, _) = text.split_at(text.len() - 2);
    slow.write_all(without_body.as_bytes()).await.unwrap();
    let answer = read(&mut slow).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("the body came too slowly"), "{answer}");
}

#[tokio::test]
async fn an_answer_of_which_nothing_comes_for_a_while_is_not_cut() {
    let serving = serve(pinned(|limits| limits.stall_max = Duration::from_millis(20)).await).await;
    serving.world.dispatch.gate.forget_permits(1_000);
    let mut caller = connect(serving.address).await;
    caller.write_all(call(&serving.world).as_bytes()).await.unwrap();
    let mut follower = connect(serving.address).await;
    let head = format!(
        "GET /v1/environments/dev/exchanges/follow HTTP/1.1\r\nhost: keyway\r\nauthorization: Bearer {}\r\n\r\n",
        serving.world.admin
    );
    follower.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(begun(&mut follower).await.as_deref(), Some("HTTP/1.1 200"));
    tokio::time::sleep(Duration::from_millis(400)).await;
    serving.world.dispatch.gate.add_permits(1_000);
    assert_eq!(begun(&mut caller).await.as_deref(), Some("HTTP/1.1 200"), "a long call");
    serving.drain.send(()).unwrap();
    let rest = read(&mut follower).await;
    assert!(rest.ends_with("\r\n0\r\n\r\n"), "in order, and late: {rest}");
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
