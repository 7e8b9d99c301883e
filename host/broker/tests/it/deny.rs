//! What never leaves: refused before a connection is opened, and said to be unsent.

use std::net::IpAddr;
use std::time::Duration;

use keyway_broker::Reason;
use keyway_core::exchange::Request;

use crate::support::{Answer, Bench, Upstream, bench, bench_of, get, ok, post, with_slot};

fn addresses(texts: &[&str]) -> Answer {
    Answer::Addresses(texts.iter().map(|text| text.parse::<IpAddr>().unwrap()).collect())
}

/// A broker whose name server answers this for `api.example.com`.
fn resolving(config: &str, answers: Vec<Answer>) -> Bench {
    let bench = bench_of(config, &["api.example.com"], 0);
    bench.names.answer("api.example.com", answers);
    bench
}

#[tokio::test]
async fn undeclared_destinations_are_refused_without_a_lookup() {
    let upstream = Upstream::start(|_, _| ok("")).await;
    let bench = bench(&upstream, "");
    for url in [
        // C1 to C4 as URLs
        "https://127.0.0.1/",
        "https://127.1/",
        "https://0/",
        "https://0x7f000001/",
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://[64:ff9b:1::1]/",
        "https://[2002:7f00:1::]/",
        "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
        "https://[fe80::1%25eth0]/",
        "https://[fd00:ec2::254]/",
        "https://[fec0::1]/",
        "https://[5f00::1]/",
        "https://[100::1]/",
        // C6
        "https://168.63.129.16/",
        "https://100.100.100.200/",
        "https://192.0.0.192/",
        "https://metadata.google.internal/",
        "https://metadata/",
        // C10 to C13
        "https://ⓔxample.com/",
        "https://127。0。0。1/",
        "https://allowed.com@evil.com/",
        "https://evil.com#@api.example.com",
        "https://api.example.com\\@evil.com/",
        "https://api.example.com%2eevil.com/",
        "https://evilapi.example.com/",
        "https://api.example.com.evil.com/",
        "https://example.com/",
        "https://api.example.com:0/",
        "https://api.example.com:65536/",
        "https://api.example.com:0443/",
        "https://api.example.com:6379/",
        // C14, C15
        "file:///etc/passwd",
        "ftp://api.example.com/",
        "gopher://api.example.com/",
        "data:,x",
        "unix:/x",
        "http://api.example.com/",
        "HTTP://api.example.com/",
        "",
        "api.example.com",
        "https:///",
        "//evil.com/x",
        "https:api.example.com/",
        // a stand-in's own address is no way in
        &format!("http://{}/", upstream.address),
        &format!("https://{}/", upstream.address),
    ] {
        let (reason, sent) = bench.stop(get(url)).await;
        assert!(!sent, "{url}: {reason:?}");
        assert_eq!(reason.kind(), keyway_core::call::FailureKind::Denied, "{url}: {reason:?}");
    }
    assert_eq!((bench.names.asked(), upstream.connections()), (0, 0));
}

#[tokio::test]
async fn headers_and_places_of_the_host_are_refused() {
    let upstream = Upstream::start(|_, _| ok("")).await;
    let bench = bench(&upstream, "");
    for (name, reason) in [
        ("Authorization", Reason::HeaderForbidden),
        ("authorization", Reason::HeaderForbidden),
        ("Host", Reason::HeaderForbidden),
        ("Transfer-Encoding", Reason::HeaderForbidden),
        ("Proxy-Authorization", Reason::HeaderForbidden),
        ("Cookie", Reason::HeaderForbidden),
        ("x-api-KEY", Reason::CredentialPlaceTaken),
        ("x\r\ny", Reason::HeaderMalformed),
    ] {
        let headers = vec![(name.to_owned(), "evil.com".to_owned())];
        assert_eq!(bench.stop(Request { headers, ..get("/") }).await, (reason, false), "{name}");
    }
    for url in ["/?hapikey=x", "/?access_token=x"] {
        assert_eq!(bench.stop(get(url)).await, (Reason::CredentialPlaceTaken, false));
    }
    assert_eq!(bench.stop(with_slot("other", get("/"))).await, (Reason::UndeclaredSlot, false));
    assert_eq!(bench.stop(with_slot("", get("/"))).await, (Reason::UndeclaredSlot, false));
    assert_eq!(bench.stop(with_slot("unset", get("/"))).await, (Reason::CredentialMissing, false));
    let connect = Request { method: "CONNECT".to_owned(), ..get("/") };
    assert_eq!(bench.stop(connect).await, (Reason::MethodRefused, false));
    assert_eq!(upstream.connections(), 0);
}

/// C18: bytes that would begin another line, end a text or be seen by one parser only, in each place that a
/// connector writes.
#[tokio::test]
async fn bytes_that_break_lines_are_refused_wherever_they_stand() {
    let upstream = Upstream::start(|_, _| ok("")).await;
    let bench = bench(&upstream, "");
    for byte in ["\r", "\n", "\r\n", "\0", "\x7f", "\r\n ", "\u{e4}", "\u{2028}"] {
        let text = |before: &str| format!("{before}{byte}x");
        for url in
            [text("/"), text("/?a="), text("/?a"), text("https://api.example.com"), text("/#")]
        {
            let stopped = bench.stop(get(&url)).await;
            assert_eq!(stopped, (Reason::UrlMalformed, false), "{url:?}");
        }
        let method = Request { method: text("GET"), ..get("/") };
        assert_eq!(bench.stop(method).await, (Reason::MethodRefused, false), "{byte:?}");
        for (name, value) in [(text("x-own"), "v".to_owned()), ("x-own".to_owned(), text("v"))] {
            let headers = vec![(name, value)];
            let stopped = bench.stop(Request { headers, ..get("/") }).await;
            assert_eq!(stopped, (Reason::HeaderMalformed, false), "{byte:?}");
        }
        let stopped = bench.stop(with_slot(&text("bearer"), get("/"))).await;
        assert_eq!(stopped, (Reason::UndeclaredSlot, false), "{byte:?}");
    }
    assert_eq!(upstream.connections(), 0);
}

/// C24: a release that declares the port on which this host listens, and whose name server answers with the
/// host's own addresses.
#[tokio::test]
async fn the_hosts_own_listeners_are_not_reached() {
    for listens_on in ["0.0.0.0:0", "127.0.0.1:0"] {
        let own = std::net::TcpListener::bind(listens_on).unwrap();
        own.set_nonblocking(true).unwrap();
        let host = format!("own.example.com:{}", own.local_addr().unwrap().port());
        for address in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
        ] {
            let bench = bench_of("allow-networks = ['10.0.0.0/8', '64:ff9b::/96']", &[&host], 0);
            bench.names.answer("own.example.com", vec![addresses(&[address])]);
            let stopped = bench.stop(get(&format!("https://{host}/v1/tenants"))).await;
            assert_eq!(stopped, (Reason::AddressBlocked, false), "{address}");
        }
        assert_eq!(own.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
}

#[tokio::test]
async fn blocked_addresses_are_not_dialled() {
    for address in [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "168.63.129.16",
        "::1",
        "64:ff9b::a00:1",
        "64:ff9b:1::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "fec0::1",
        "5f00::1",
        "100::1",
    ] {
        let bench = resolving("", vec![addresses(&[address])]);
        assert_eq!(bench.stop(get("/")).await, (Reason::AddressBlocked, false), "{address}");
        assert_eq!(bench.names.asked(), 1);
    }
    // Even where the operator permits the range.
    let bench =
        resolving("allow-networks = ['169.254.0.0/16']", vec![addresses(&["169.254.169.254"])]);
    assert_eq!(bench.stop(get("/")).await, (Reason::AddressBlocked, false));
}

#[tokio::test]
async fn mixed_answers_are_refused_whole() {
    // C7
    for answer in [["93.184.216.34", "fd00::1"], ["10.0.0.1", "2606:2800:220:1::1"]] {
        let bench = resolving("", vec![addresses(&answer)]);
        assert_eq!(bench.stop(get("/")).await, (Reason::AddressesMixed, false), "{answer:?}");
    }
    let bench = resolving("mixed-answers = 'filter'", vec![addresses(&["10.0.0.1", "fd00::1"])]);
    assert_eq!(bench.stop(get("/")).await, (Reason::AddressBlocked, false));
}

#[tokio::test]
async fn names_that_do_not_resolve_end_in_their_own_codes() {
    // C9. A chain of CNAMEs arrives here as its last addresses.
    for (answer, reason) in [
        (Answer::NoName, Reason::DnsNoName),
        (Answer::NoAddress, Reason::DnsNoAddress),
        (Answer::Addresses(Vec::new()), Reason::DnsNoAddress),
        (Answer::Failed, Reason::DnsFailed),
        (Answer::Addresses(vec![[10, 0, 0, 1].into(); 64]), Reason::AddressBlocked),
        (Answer::Addresses(vec![[10, 0, 0, 1].into(); 65]), Reason::DnsTooManyAddresses),
        (Answer::Addresses(vec![[93, 184, 216, 34].into(); 500]), Reason::DnsTooManyAddresses),
    ] {
        let bench = resolving("", vec![answer.clone()]);
        assert_eq!(bench.stop(get("/")).await, (reason, false), "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_name_server_is_given_its_time_and_no_more() {
    let bench = resolving("", vec![Answer::Silence]);
    let began = tokio::time::Instant::now();
    assert_eq!(bench.stop(get("/")).await, (Reason::DnsTimeout, false));
    assert_eq!(began.elapsed().as_secs(), 5);
    let mut bench = resolving("", vec![Answer::Silence]);
    bench.origin.time_left = Duration::from_secs(2);
    assert_eq!(bench.stop(get("/")).await, (Reason::ExchangeTimeout, false));
    bench.origin.time_left = Duration::from_secs(60);
    let request = Request { timeout: Some(Duration::from_millis(500)), ..get("/") };
    assert_eq!(bench.stop(request).await, (Reason::ExchangeTimeout, false));
}

#[tokio::test]
async fn the_operators_policy_is_not_wider_than_the_descriptor_nor_the_reverse() {
    let upstream = Upstream::start(|_, _| ok("")).await;
    let stand_ins =
        format!("{}{}", upstream.stand_in("api.example.com"), upstream.stand_in("b.example.com"));
    let config = format!("allow-hosts = ['b.example.com', 'c.example.com']\n{stand_ins}");
    let bench = bench_of(&config, &["api.example.com", "b.example.com"], 0);
    assert_eq!(bench.stop(get("https://api.example.com/")).await, (Reason::HostNotAllowed, false));
    assert_eq!(bench.stop(get("https://c.example.com/")).await, (Reason::UndeclaredHost, false));
    assert!(bench.send(get("https://b.example.com/")).await.is_ok());
}

#[tokio::test]
async fn a_stand_in_does_not_declare_its_host() {
    let upstream = Upstream::start(|_, _| ok("")).await;
    let config = upstream.stand_in("standin.example.com");
    let bench = bench_of(&config, &["api.example.com"], 0);
    assert_eq!(
        bench.stop(get("https://standin.example.com/")).await,
        (Reason::UndeclaredHost, false)
    );
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn bodies_over_the_limit_are_not_sent() {
    let upstream = Upstream::start(|_, _| ok("")).await;
    let bench = bench(&upstream, "limits.request-body-bytes-max = 10");
    assert!(bench.send(post("/", "0123456789")).await.is_ok());
    assert_eq!(bench.stop(post("/", "0123456789a")).await, (Reason::RequestBodyTooLarge, false));
}

/// Proxy settings of the environment have no effect (C24): this program runs its own tests again with all
/// of them set to a listener that must stay alone.
#[test]
fn proxies_of_the_environment_are_not_used() {
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "send::a_get_goes_out_rebuilt_and_its_answer_comes_back"]);
    again.arg("tls::one_resolution_a_dial_and_each_answer_is_looked_at");
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"]
    {
        again.env(name, &url);
    }
    let output = again.env_remove("NO_PROXY").env_remove("no_proxy").output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && report.contains("2 passed"), "{report}");
    assert_eq!(proxy.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}
