//! TLS as it is spoken badly (C21): what the broker says first, and how it takes answers that no library
//! would write.
//!
//! Those are written here byte by byte, after RFC 5246 and RFC 8446. Each has a control beside it: the same
//! bytes without the fault, which the broker does not refuse but waits to go on.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyway_broker::Reason;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::server::Acceptor;

use crate::support::{Bench, Step, Upstream, bench_of, get, ok, post, text, with_slot};
use crate::tls::{Identity, identity, serve_script, trusting};

/// Of a record that is an alert, and of the alert that ends everything.
const ALERT: u8 = 21;
const FATAL: u8 = 2;

/// Time to connect: more than a refusal takes on any machine, and little enough to wait for.
const AMPLE: &str = "60s";
const SHORT: &str = "500ms";

const TLS_1_0: [u8; 2] = [3, 1];
const TLS_1_2: [u8; 2] = [3, 3];

/// `ServerHello` in a record of its own. It chooses a cipher that every client has, and perhaps a protocol.
fn server_hello(version: [u8; 2], alpn: Option<&[u8]>) -> Vec<u8> {
    let mut extensions = vec![0xff, 1, 0, 1, 0, 0, 0x17, 0, 0];
    if let Some(name) = alpn {
        let len = u8::try_from(name.len()).unwrap();
        extensions.extend([0, 0x10, 0, len + 3, 0, len + 1, len]);
        extensions.extend(name);
    }
    let mut hello = version.to_vec();
    hello.extend([7; 32]);
    // No session, ECDHE-ECDSA with AES-128-GCM, no compression.
    hello.extend([0, 0xc0, 0x2b, 0]);
    hello.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    hello.extend(extensions);
    let mut message = vec![2, 0];
    message.extend(u16::try_from(hello.len()).unwrap().to_be_bytes());
    message.extend(hello);
    let mut record = vec![22, version[0], version[1]];
    record.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
    record.extend(message);
    record
}

/// Whether the client ended the handshake with a fatal alert, and nothing but that.
async fn ends_with_alert(stream: &mut TcpStream) -> bool {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    answer.len() == 7 && answer[0] == ALERT && answer[5] == FATAL
}

/// What the broker makes of a server that answers its first record with these bytes, and whether it told the
/// server so.
async fn answered_with(bytes: Vec<u8>, time: &str) -> ((Reason, bool), bool) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 5];
        stream.read_exact(&mut head).await.unwrap();
        let mut hello = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
        stream.read_exact(&mut hello).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        ends_with_alert(&mut stream).await
    });
    let config = format!(
        "[limits]\nconnect-timeout = '{time}'\n[[stand-in]]\nhost = 'api.example.com'\naddress = 'https://{address}'"
    );
    let bench = bench_of(&config, &["api.example.com"], 0);
    let stopped = bench.stop(with_slot("bearer", get("/"))).await;
    (stopped, server.await.unwrap())
}

#[tokio::test]
async fn an_old_version_is_refused() {
    let refused = ((Reason::TlsFailed, false), true);
    assert_eq!(answered_with(server_hello(TLS_1_0, None), AMPLE).await, refused);
    assert_eq!(answered_with(server_hello([3, 2], None), AMPLE).await, refused, "TLS 1.1");
    assert_eq!(answered_with(server_hello([3, 0], None), AMPLE).await, refused, "SSL 3");
    let waits = ((Reason::ConnectTimeout, false), false);
    assert_eq!(answered_with(server_hello(TLS_1_2, None), SHORT).await, waits);
}

#[tokio::test]
async fn a_protocol_that_was_not_offered_is_refused() {
    for name in [&b"spdy/3"[..], b"http/1.0", b"h2c", b"h", b""] {
        let found = answered_with(server_hello(TLS_1_2, Some(name)), AMPLE).await;
        assert_eq!(found, ((Reason::TlsFailed, false), true), "{:?}", name.escape_ascii());
    }
    for name in [&b"http/1.1"[..], b"h2"] {
        let found = answered_with(server_hello(TLS_1_2, Some(name)), SHORT).await;
        assert_eq!(found, ((Reason::ConnectTimeout, false), false), "{:?}", name.escape_ascii());
    }
}

#[tokio::test]
async fn what_is_no_handshake_is_refused() {
    for bytes in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        // An alert: handshake failure.
        &[21, 3, 3, 0, 2, 2, 40],
        // A record that claims more than one may have.
        &[22, 3, 3, 0xff, 0xff, 0],
        // Application data before there is a key.
        &[23, 3, 3, 0, 1, 0],
        &[0; 64],
    ] {
        let ((reason, sent), _) = answered_with(bytes.to_vec(), AMPLE).await;
        assert_eq!((reason, sent), (Reason::TlsFailed, false), "{}", bytes.escape_ascii());
    }
}

#[tokio::test]
async fn a_handshake_that_is_not_answered_is_given_its_time() {
    for bytes in [&b""[..], &[22, 3, 3, 0, 90, 2]] {
        let found = answered_with(bytes.to_vec(), SHORT).await;
        assert_eq!(found, ((Reason::ConnectTimeout, false), false), "{bytes:?}");
    }
}

/// A server that offers nothing in common, or does not know of the choice at all.
#[tokio::test]
async fn without_a_protocol_in_common_there_is_no_exchange_and_without_any_it_is_http1() {
    let odd = identity("api.example.com", &[b"spdy/3"], 4000);
    let upstream = serve_script(&odd, |_, _| ok("odd")).await;
    let stopped = trusting(&odd, &upstream, "").stop(with_slot("bearer", get("/"))).await;
    assert_eq!((stopped, upstream.requests().len()), ((Reason::TlsFailed, false), 0));

    let silent = identity("api.example.com", &[], 4000);
    let upstream = serve_script(&silent, |_, _| ok("plain")).await;
    let response = trusting(&silent, &upstream, "").send(get("/")).await.unwrap();
    assert_eq!(&response.body[..], b"plain");
    assert!(upstream.requests()[0].starts_with("GET / HTTP/1.1\r\n"));
}

/// What a client says before anything is secret.
#[derive(Debug, PartialEq)]
struct Hello {
    name: Option<String>,
    alpn: Vec<String>,
}

/// Serves, and writes down what every client said first.
async fn listening(identity: &Identity) -> (Upstream, Arc<Mutex<Vec<Hello>>>) {
    let said = Arc::new(Mutex::new(Vec::new()));
    let (noted, config) = (Arc::clone(&said), identity.config());
    let upstream = Upstream::start_with(
        |_, _| ok("secure"),
        move |stream| {
            let (noted, config) = (Arc::clone(&noted), Arc::clone(&config));
            async move {
                let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await.ok()?;
                let hello = start.client_hello();
                let alpn = hello.alpn().into_iter().flatten();
                let alpn = alpn.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
                let name = hello.server_name().map(str::to_owned);
                noted.lock().unwrap().push(Hello { name, alpn });
                start.into_stream(config).await.ok()
            }
        },
    )
    .await;
    (upstream, said)
}

#[tokio::test]
async fn the_name_that_is_asked_for_is_the_one_that_was_declared() {
    let identity = identity("api.example.com", &[b"http/1.1"], 4000);
    let (upstream, said) = listening(&identity).await;
    // Over a stand-in, whose address is no name, and the way of public names.
    let port = upstream.address.port();
    let host = format!("api.example.com:{port}");
    let public = format!("extra-roots = [{:?}]\nallow-networks = ['127.0.0.0/8']", identity.root());
    let public = bench_of(&public, &[&host], 0);
    let answer = crate::support::Answer::Addresses(vec![[127, 0, 0, 1].into()]);
    public.names.answer("api.example.com", vec![answer]);
    let stand_in = trusting(&identity, &upstream, "");
    let ways: [(&Bench, String); 2] = [
        (&stand_in, "https://API.Example.com./".to_owned()),
        (&public, format!("https://{host}/")),
    ];
    for (bench, url) in ways {
        assert_eq!(&bench.send(get(&url)).await.unwrap().body[..], b"secure", "{url}");
        let alpn = vec!["h2".to_owned(), "http/1.1".to_owned()];
        let expected = Hello { name: Some("api.example.com".to_owned()), alpn };
        assert_eq!(said.lock().unwrap().pop(), Some(expected), "{url}");
    }
}

/// The line is cut in the middle of a body: by its length it is known, and by nothing else could it be.
#[tokio::test]
async fn a_body_of_known_length_needs_no_orderly_end_and_may_not_be_cut() {
    let identity = identity("api.example.com", &[b"http/1.1"], 4000);
    for (head, body, whole) in [
        ("content-length: 9\r\n", "all of it", true),
        ("content-length: 9\r\n", "all of ", false),
        ("content-length: 9\r\n", "", false),
        ("transfer-encoding: chunked\r\n", "9\r\nall of it\r\n0\r\n\r\n", true),
        ("transfer-encoding: chunked\r\n", "9\r\nall of it\r\n", false),
        ("transfer-encoding: chunked\r\n", "9\r\nall of", false),
        ("", "all of it", false),
    ] {
        let response = format!("HTTP/1.1 200 OK\r\n{head}\r\n{body}");
        let upstream = serve_script(&identity, move |_, _| vec![text(&response), Step::Cut]).await;
        let bench = trusting(&identity, &upstream, "");
        // Not safe to repeat, so it is sent once and what comes of that is the answer.
        let result = bench.send(post("/", "x")).await;
        match whole {
            true => assert_eq!(&result.unwrap().body[..], b"all of it", "{head}{body}"),
            false => {
                let stopped = crate::support::stopped(result);
                assert_eq!(stopped, (Reason::ConnectionLost, true), "{head}{body}");
            }
        }
        assert_eq!(upstream.requests().len(), 1, "{head}{body}");
        drop(bench);
        tokio::time::timeout(Duration::from_secs(10), upstream.ended(1)).await.unwrap();
    }
}
