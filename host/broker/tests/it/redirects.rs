//! Redirects (C16, C17): followed only where declared, each hop a request of its own.

use keyway_broker::Reason;
use keyway_core::exchange::Request;

use crate::support::{
    Answer, BASIC_PASSWORD, Bench, SECRET, Step, Upstream, bench_of, get, header, ok, post, text,
    with_slot,
};

const HOSTS: [&str; 2] = ["a.example.com", "b.example.com"];

/// Every status that sends a request on.
const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];

fn to(status: u16, location: &str) -> Vec<Step> {
    vec![text(&format!(
        "HTTP/1.1 {status} Moved\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
    ))]
}

/// Two hosts, one server.
fn two(upstream: &Upstream, redirects: u8) -> Bench {
    let config = HOSTS.map(|host| upstream.stand_in(host)).concat();
    bench_of(&config, &HOSTS, redirects)
}

#[tokio::test]
async fn without_a_declaration_a_redirect_is_the_answer() {
    let upstream = Upstream::start(|_, _| to(302, "https://b.example.com/x")).await;
    let response = two(&upstream, 0).send(get("/")).await.unwrap();
    assert_eq!(response.status, 302);
    assert_eq!(header(&response, "location"), Some("https://b.example.com/x"));
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn each_hop_passes_the_policy() {
    for (location, reason) in [
        ("https://10.0.0.1/", Reason::UndeclaredHost),
        ("https://169.254.169.254/latest", Reason::UndeclaredHost),
        ("https://[::1]/", Reason::UndeclaredHost),
        ("https://evil.com/", Reason::UndeclaredHost),
        ("//evil.com/", Reason::UndeclaredHost),
        ("https://metadata.google.internal/", Reason::HostMetadata),
        ("https://b.example.com:8443/", Reason::UndeclaredHost),
        ("http://b.example.com/", Reason::SchemeRefused),
        ("file:///etc/passwd", Reason::SchemeRefused),
        ("https://b.example.com@evil.com/", Reason::UserinfoRefused),
        ("https:b.example.com", Reason::UrlAmbiguous),
        ("/\\evil.com", Reason::RedirectMalformed),
    ] {
        let upstream = Upstream::start(move |_, _| to(302, location)).await;
        assert_eq!(two(&upstream, 5).stop(get("/")).await, (reason, true), "{location}");
        assert_eq!(upstream.requests().len(), 1, "{location}");
    }
    // A name that leads inward.
    let upstream = Upstream::start(|_, _| to(302, "https://b.example.com/")).await;
    let bench = bench_of(&upstream.stand_in("a.example.com"), &HOSTS, 5);
    let inward = Answer::Addresses(vec![[10, 0, 0, 1].into()]);
    bench.names.answer("b.example.com", vec![inward]);
    assert_eq!(bench.stop(get("/")).await, (Reason::AddressBlocked, true));
}

/// C16, whole: each way of being sent on, to each place where nothing may go. What the connector then has is
/// the reason, and the place has seen nothing.
#[tokio::test]
async fn no_status_leads_past_the_policy() {
    let inward = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    inward.set_nonblocking(true).unwrap();
    let own = inward.local_addr().unwrap();
    let places = [
        (format!("http://{own}/"), Reason::SchemeRefused),
        (format!("https://{own}/"), Reason::UndeclaredHost),
        ("https://10.0.0.1/".to_owned(), Reason::UndeclaredHost),
        ("https://169.254.169.254/latest/meta-data/".to_owned(), Reason::UndeclaredHost),
        ("https://[::1]/".to_owned(), Reason::UndeclaredHost),
        ("https://[::ffff:10.0.0.1]/".to_owned(), Reason::UrlAmbiguous),
        ("https://[::ffff:a00:1]/".to_owned(), Reason::UndeclaredHost),
        ("https://93.184.216.34/".to_owned(), Reason::UndeclaredHost),
        ("https://0x7f000001/".to_owned(), Reason::UrlAmbiguous),
        ("http://b.example.com/".to_owned(), Reason::SchemeRefused),
        ("//evil.com/".to_owned(), Reason::UndeclaredHost),
        // Another declared host whose address leads inward.
        ("https://inward.example.com/".to_owned(), Reason::AddressBlocked),
        ("//inward.example.com/".to_owned(), Reason::AddressBlocked),
    ];
    for status in STATUSES {
        for (location, reason) in &places {
            let (sent_to, what) = (location.clone(), format!("{status} {location}"));
            let upstream = Upstream::start(move |_, _| to(status, &sent_to)).await;
            let hosts = ["a.example.com", "b.example.com", "inward.example.com"];
            let bench = bench_of(&upstream.stand_in("a.example.com"), &hosts, 5);
            let answer = Answer::Addresses(vec![[10, 0, 0, 1].into()]);
            bench.names.answer("inward.example.com", vec![answer]);
            let request = with_slot("bearer", post("/", "body"));
            assert_eq!(bench.stop(request).await, (*reason, true), "{what}");
            assert_eq!(upstream.requests().len(), 1, "{what}");
        }
    }
    assert_eq!(inward.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

/// And each way where it may go: the other declared host, a path, a path without a scheme's name.
#[tokio::test]
async fn every_status_leads_where_the_policy_lets_it() {
    for status in STATUSES {
        for (location, host) in [
            ("https://b.example.com/x", "b.example.com"),
            ("//b.example.com/x", "b.example.com"),
            ("/x", "a.example.com"),
            ("x", "a.example.com"),
        ] {
            let upstream = Upstream::start(move |number, _| match number {
                0 => to(status, location),
                _ => ok("there"),
            })
            .await;
            let request = with_slot("bearer", get("/"));
            let response = two(&upstream, 1).send(request).await.unwrap();
            assert_eq!(&response.body[..], b"there", "{status} {location}");
            let sent = upstream.requests().remove(1);
            assert!(sent.starts_with("GET /x HTTP/1.1\r\n"), "{status} {location}: {sent}");
            assert!(sent.contains(&format!("host: {host}\r\n")), "{status} {location}: {sent}");
            // The credential is for the origin that it was asked for.
            let carries = sent.contains("authorization");
            assert_eq!(carries, host == "a.example.com", "{status} {location}: {sent}");
        }
    }
}

#[tokio::test]
async fn every_status_ends_its_loops_and_its_sixth_hop() {
    for status in STATUSES {
        let upstream = Upstream::start(move |_, _| to(status, "/")).await;
        let stopped = two(&upstream, 5).stop(get("/")).await;
        assert_eq!((stopped, upstream.requests().len()), ((Reason::RedirectLoop, true), 1));

        // There and back again, as another request than the first.
        let upstream = Upstream::start(move |number, _| to(status, ["/b", "/a"][number % 2])).await;
        let stopped = two(&upstream, 5).stop(post("/a", "body")).await;
        assert_eq!(stopped, (Reason::RedirectLoop, true), "{status}");
        assert!(upstream.requests().len() <= 3, "{status}: {:?}", upstream.requests());

        let upstream =
            Upstream::start(move |number, _| to(status, &format!("/{}", number + 1))).await;
        let stopped = two(&upstream, 5).stop(get("/")).await;
        assert_eq!((stopped, upstream.requests().len()), ((Reason::TooManyRedirects, true), 6));
    }
}

#[tokio::test]
async fn locations_are_read_in_every_form() {
    for (location, expected) in [
        ("https://b.example.com/x?y=z#f", "GET /x?y=z HTTP/1.1\r\nhost: b.example.com\r\n"),
        ("//b.example.com/x", "GET /x HTTP/1.1\r\nhost: b.example.com\r\n"),
        (
            "/x?u=https://evil.com/",
            "GET /x?u=https://evil.com/ HTTP/1.1\r\nhost: a.example.com\r\n",
        ),
        ("x", "GET /base/x HTTP/1.1\r\nhost: a.example.com\r\n"),
        ("?x", "GET /base/?x HTTP/1.1\r\nhost: a.example.com\r\n"),
        ("../../x", "GET /x HTTP/1.1\r\nhost: a.example.com\r\n"),
    ] {
        let upstream = Upstream::start(move |number, _| match number {
            0 => to(307, location),
            _ => ok("there"),
        })
        .await;
        let response = two(&upstream, 1).send(get("/base/")).await.unwrap();
        assert_eq!(&response.body[..], b"there");
        let sent = upstream.requests().remove(1).to_lowercase();
        let mut lines = expected.to_lowercase();
        let host = lines.split_off(lines.find("host").unwrap());
        assert!(sent.starts_with(&lines) && sent.contains(&host), "{location}: {sent}");
    }
}

#[tokio::test]
async fn methods_and_bodies_follow_the_rules() {
    for (status, method, becomes) in [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "POST", "GET"),
        (303, "PUT", "GET"),
        (303, "HEAD", "HEAD"),
        (301, "PUT", "PUT"),
        (307, "POST", "POST"),
        (308, "PATCH", "PATCH"),
    ] {
        let upstream = Upstream::start(move |number, _| match number {
            0 => to(status, "/next"),
            _ => ok(""),
        })
        .await;
        let mut request = Request { method: method.to_owned(), ..post("/", "body") };
        request.headers = vec![("Content-Type".to_owned(), "text/plain".to_owned())];
        two(&upstream, 1).send(request).await.unwrap();
        let sent = upstream.requests().remove(1);
        assert!(sent.starts_with(&format!("{becomes} /next ")), "{status} {method}: {sent}");
        let carries = becomes == method;
        assert_eq!(sent.ends_with("\r\n\r\nbody"), carries, "{status} {method}: {sent}");
        assert_eq!(sent.contains("content-type"), carries, "{status} {method}: {sent}");
    }
}

#[tokio::test]
async fn loops_and_long_ways_end() {
    let upstream = Upstream::start(|number, _| match number {
        6 => ok("never"),
        number => to(302, &format!("/{}", number + 1)),
    })
    .await;
    assert_eq!(two(&upstream, 5).stop(get("/")).await, (Reason::TooManyRedirects, true));
    assert_eq!(upstream.requests().len(), 6);

    let upstream = Upstream::start(|number, _| match number {
        5 => ok("there"),
        number => to(302, &format!("/{}", number + 1)),
    })
    .await;
    assert_eq!(&two(&upstream, 5).send(get("/")).await.unwrap().body[..], b"there");

    for location in ["/", "https://a.example.com/#x"] {
        let upstream = Upstream::start(move |_, _| to(302, location)).await;
        assert_eq!(two(&upstream, 5).stop(get("/")).await, (Reason::RedirectLoop, true));
        assert_eq!(upstream.requests().len(), 1);
    }
    let upstream = Upstream::start(|number, _| to(302, ["/b", "/a", "/b"][number])).await;
    assert_eq!(two(&upstream, 5).stop(get("/a")).await, (Reason::RedirectLoop, true));
}

#[tokio::test]
async fn one_location_is_needed() {
    let lines = [
        "",
        "location: /x\r\nlocation: /y\r\n",
        "location: /x\r\nLocation: /x\r\n",
        "location: \u{e4}\r\n",
        "location: /a b\r\n",
    ];
    for (status, headers) in STATUSES.iter().flat_map(|status| lines.map(|line| (*status, line))) {
        let upstream = Upstream::start(move |_, _| {
            vec![text(&format!("HTTP/1.1 {status} Moved\r\n{headers}content-length: 0\r\n\r\n"))]
        })
        .await;
        let stopped = two(&upstream, 5).stop(get("/")).await;
        assert_eq!(stopped, (Reason::RedirectMalformed, true), "{status} {headers:?}");
        assert_eq!(upstream.requests().len(), 1);
    }
}

#[tokio::test]
async fn credentials_stay_with_their_origin() {
    // a -> a -> b -> a: there, there, not there, and never again.
    for slot in ["bearer", "basic", "header", "query"] {
        let upstream = Upstream::start(move |number, _| match number {
            0 => to(302, "/same"),
            1 => to(302, "https://b.example.com/"),
            2 => to(302, "https://a.example.com/back"),
            _ if slot == "basic" => ok(BASIC_PASSWORD),
            _ => ok(SECRET),
        })
        .await;
        let bench = two(&upstream, 5);
        let response = bench.send(with_slot(slot, get("/"))).await.unwrap();
        let carries: Vec<_> = upstream
            .requests()
            .iter()
            .map(|request| {
                let request = request.to_lowercase();
                ["authorization:", "x-api-key:", "hapikey="]
                    .iter()
                    .any(|place| request.contains(place))
            })
            .collect();
        assert_eq!(carries, [true, true, false, false], "{slot}");
        // What was sent at the beginning is looked for at the end.
        assert_eq!(&response.body[..], b"[keyway:redacted]", "{slot}");
    }
}

#[tokio::test]
async fn an_upstream_cannot_send_the_key_on_in_a_location() {
    let key = "pat-na1-C4n4ry%2B0f%2FS3cr3t%3D";
    let upstream =
        Upstream::start(move |_, _| to(302, &format!("https://b.example.com/?k={key}"))).await;
    let request = with_slot("query", get("/"));
    assert_eq!(two(&upstream, 5).stop(request).await, (Reason::RedirectLeaksCredential, true));

    // On the same origin the host puts its own in place of the one that came back.
    let upstream = Upstream::start(move |number, _| match number {
        0 => to(302, &format!("/next?hapikey={key}&a=b")),
        _ => ok(""),
    })
    .await;
    two(&upstream, 5).send(with_slot("query", get("/"))).await.unwrap();
    let sent = upstream.requests().remove(1);
    assert!(sent.starts_with(&format!("GET /next?a=b&hapikey={key} ")), "{sent}");
}
