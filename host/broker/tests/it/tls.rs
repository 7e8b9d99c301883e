//! TLS with certificates made for the test, and HTTP/2 (parts of C8, C21).

use std::convert::Infallible;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use keyway_broker::Reason;
use keyway_core::ports::Egress as _;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::limits::Backlog;
use crate::support::{Answer, Bench, Step, Upstream, bench_of, get, ok, post, text, with_slot};

/// A server's certificate, and the file that makes a client trust it.
pub(crate) struct Identity {
    acceptor: TlsAcceptor,
    root: PathBuf,
    _folder: TempDir,
}

/// `name` is what the certificate is for: a name, or an address.
pub(crate) fn identity(name: &str, alpn: &[&[u8]], year_end: i32) -> Identity {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(year_end, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root.pem");
    std::fs::write(&root, certificate.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Identity { acceptor: TlsAcceptor::from(Arc::new(config)), root, _folder: folder }
}

impl Identity {
    /// For a server of another kind.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(self.acceptor.config())
    }

    /// What a configuration names to trust it.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
}

async fn serve(identity: &Identity) -> Upstream {
    serve_script(identity, |_, _| ok("secure")).await
}

pub(crate) async fn serve_script(
    identity: &Identity,
    script: impl Fn(usize, &str) -> Vec<Step> + Send + Sync + 'static,
) -> Upstream {
    let acceptor = identity.acceptor.clone();
    Upstream::start_with(script, move |stream| {
        let acceptor = acceptor.clone();
        async move { acceptor.accept(stream).await.ok() }
    })
    .await
}

pub(crate) fn trusting(identity: &Identity, upstream: &Upstream, limits: &str) -> Bench {
    let roots = format!("extra-roots = [{:?}]\n", identity.root);
    let config = format!("{roots}{}{limits}", upstream.stand_in_by("https", "api.example.com"));
    bench_of(&config, &["api.example.com"], 0)
}

#[tokio::test]
async fn a_certificate_of_an_extra_root_is_trusted() {
    let identity = identity("api.example.com", &[b"http/1.1"], 4000);
    let upstream = serve(&identity).await;
    let bench = trusting(&identity, &upstream, "");
    assert_eq!(&bench.send(get("/")).await.unwrap().body[..], b"secure");
    bench.send(get("/")).await.unwrap();
    assert_eq!(upstream.connections(), 1);
    // Nobody has said that it is still there.
    bench.send(post("/", "x")).await.unwrap();
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn other_certificates_are_not() {
    let trusted = identity("api.example.com", &[], 4000);
    for (kind, shown) in [
        ("self-signed", identity("api.example.com", &[], 4000)),
        ("wrong name", identity("other.example.com", &[], 4000)),
        ("expired", identity("api.example.com", &[], 2021)),
        // An address in the certificate is the upstream's, and the name is another's.
        ("address only", identity("127.0.0.1", &[], 4000)),
        ("a wildcard of the level above", identity("*.com", &[], 4000)),
        ("a wildcard of the level below", identity("*.api.example.com", &[], 4000)),
    ] {
        let upstream = serve(&shown).await;
        // A wrong name and an expired one fail although their root is trusted.
        let root = if kind == "self-signed" { &trusted } else { &shown };
        let bench = trusting(root, &upstream, "");
        let stopped = bench.stop(with_slot("bearer", get("/"))).await;
        assert_eq!(stopped, (Reason::TlsFailed, false), "{kind}");
        assert!(upstream.requests().is_empty(), "{kind}");
    }
    // No TLS at all.
    let plain = |mut stream: TcpStream| async move {
        stream.write_all(b"220 mail.example.com ESMTP\r\n").await.ok().map(|()| stream)
    };
    let upstream = Upstream::start_with(|_, _| ok(""), plain).await;
    let bench = trusting(&trusted, &upstream, "");
    assert_eq!(bench.stop(get("/")).await, (Reason::TlsFailed, false));
}

#[tokio::test]
async fn a_body_that_only_its_end_delimits_needs_an_orderly_end() {
    let identity = identity("api.example.com", &[b"http/1.1"], 4000);
    let upstream = serve_script(&identity, |number, _| {
        let body = text("HTTP/1.1 200 OK\r\n\r\nall of it?");
        vec![body, if number == 0 { Step::Close } else { Step::Cut }]
    })
    .await;
    let bench = trusting(&identity, &upstream, "");
    assert_eq!(&bench.send(get("/")).await.unwrap().body[..], b"all of it?");
    // Without TLS's own end anybody on the line could have cut it there.
    assert_eq!(bench.stop(post("/", "x")).await, (Reason::ConnectionLost, true));
}

#[tokio::test]
async fn one_resolution_a_dial_and_each_answer_is_looked_at() {
    // C8: a name that is fine once and leads inward the next time. The descriptor's port is the upstream's,
    // and the operator permits loopback, so this is the way that public names take.
    let identity = identity("api.example.com", &[b"http/1.1"], 4000);
    let upstream = serve(&identity).await;
    let host = format!("api.example.com:{}", upstream.address.port());
    let config = format!("extra-roots = [{:?}]\nallow-networks = ['127.0.0.0/8']", identity.root);
    let bench = bench_of(&config, &[&host], 0);
    let answer = |ip: [u8; 4]| Answer::Addresses(vec![IpAddr::from(ip)]);
    bench.names.answer("api.example.com", vec![answer([127, 0, 0, 1]), answer([10, 0, 0, 1])]);

    assert_eq!(&bench.send(get("/")).await.unwrap().body[..], b"secure");
    assert_eq!(bench.names.asked(), 1);
    // The connection that was approved is used; nobody asks again.
    bench.send(get("/")).await.unwrap();
    assert_eq!((bench.names.asked(), upstream.connections()), (1, 1));
    assert!(upstream.requests()[0].contains(&format!("host: {host}\r\n")));
    // A new one is looked at anew.
    let mut other = bench.origin.clone();
    other.installation.tenant = "t2".parse().unwrap();
    let stopped = crate::support::stopped(bench.broker.exchange(&other, get("/")).await);
    assert_eq!((stopped, bench.names.asked()), ((Reason::AddressBlocked, false), 2));
    assert_eq!(upstream.connections(), 1);
}

/// Nobody listens at the first four addresses and the upstream at the fifth.
#[tokio::test]
async fn as_many_addresses_are_tried_as_the_limit_says() {
    let identity = identity("api.example.com", &[b"http/1.1"], 4000);
    let upstream = serve(&identity).await;
    let host = format!("api.example.com:{}", upstream.address.port());
    let nobody = (2..=5).map(|last| IpAddr::from([127, 0, 0, last]));
    let addresses: Vec<_> = nobody.chain([IpAddr::from([127, 0, 0, 1])]).collect();
    for (limit, reached) in [("", false), ("addresses-tried-max = 5", true)] {
        let config = format!(
            "extra-roots = [{:?}]\nallow-networks = ['127.0.0.0/8']\n[limits]\n{limit}",
            identity.root
        );
        let bench = bench_of(&config, &[&host], 0);
        bench.names.answer("api.example.com", vec![Answer::Addresses(addresses.clone())]);
        match reached {
            true => assert_eq!(&bench.send(get("/")).await.unwrap().body[..], b"secure"),
            false => assert_eq!(bench.stop(get("/")).await, (Reason::ConnectFailed, false)),
        }
        assert_eq!(upstream.connections(), usize::from(reached), "{limit}");
    }
    // One that does not answer has its share of the time, and leaves the others theirs.
    let silent = format!("127.0.0.2:{}", upstream.address.port());
    let _silent = Backlog::listen(silent.parse().unwrap()).await;
    let config = format!(
        "extra-roots = [{:?}]\nallow-networks = ['127.0.0.0/8']\nlimits.connect-timeout = '4s'",
        identity.root
    );
    let bench = bench_of(&config, &[&host], 0);
    let addresses = vec![[127, 0, 0, 2].into(), [127, 0, 0, 1].into()];
    bench.names.answer("api.example.com", vec![Answer::Addresses(addresses)]);
    assert_eq!(&bench.send(get("/")).await.unwrap().body[..], b"secure");
}

#[tokio::test]
async fn http2_carries_many_exchanges_on_one_connection() {
    let identity = identity("api.example.com", &[b"h2"], 4000);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let (acceptor, counted) = (identity.acceptor.clone(), Arc::clone(&connections));
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await.unwrap();
                let service =
                    service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                        let parts = [
                            request.uri().to_string(),
                            format!("{:?}", request.headers().get("authorization")),
                            format!("{:?}", request.headers().get("host")),
                        ];
                        Ok::<_, Infallible>(http::Response::new(Full::<bytes::Bytes>::from(
                            parts.join(" "),
                        )))
                    });
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await
                    .ok();
            });
        }
    });
    let config = format!(
        "extra-roots = [{:?}]\n[[stand-in]]\nhost = 'api.example.com'\naddress = 'https://{address}'",
        identity.root
    );
    let bench = bench_of(&config, &["api.example.com"], 0);
    let response = bench.send(with_slot("bearer", get("/x?y"))).await.unwrap();
    let body = String::from_utf8_lossy(&response.body).into_owned();
    // The server saw the credential, which its echo does not show, and no Host beside the authority.
    assert_eq!(body, "https://api.example.com/x?y Some(\"Bearer [keyway:redacted]\") None");
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (broker, origin) = (bench.broker.clone(), bench.origin.clone());
        running.spawn(async move { broker.exchange(&origin, get("/")).await });
    }
    for result in running.join_all().await {
        assert_eq!(result.unwrap().status, 200);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    server.abort();
}
