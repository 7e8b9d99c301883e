//! Requests that the host signs, before a provider that checks each signature by itself: it has the key, reads what came over
//! the wire, and shares no code with the host but the hash.

use std::sync::Arc;

use bytes::Bytes;
use hmac::{Hmac, Mac as _};
use http::Method;
use keyway_broker::Reason;
use keyway_core::Descriptor;
use keyway_core::exchange::Relayed;
use keyway_core::ports::Egress as _;
use sha2::{Digest as _, Sha256};

use crate::relay::{World, pieces, post as relayed, whole};
use crate::support::{
    KEY_ID, SECRET, Step, Upstream, answer, bench, get, header, ok, post, text, with_slot,
};

/// A request, as it came over the wire.
struct Seen<'a> {
    method: &'a str,
    target: &'a str,
    headers: Vec<(String, &'a str)>,
    body: &'a str,
}

impl<'a> Seen<'a> {
    fn of(text: &'a str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let mut first = lines.next().unwrap().split(' ');
        let (method, target) = (first.next().unwrap(), first.next().unwrap());
        let headers = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value));
        Self { method, target, headers: headers.collect(), body }
    }

    fn header(&self, name: &str) -> &'a str {
        self.headers.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// 200 if the signature is right, and else 403, with the request in the body.
fn judged(right: bool, request: &str) -> Vec<Step> {
    if right {
        return ok(request);
    }
    let length = request.len();
    vec![text(&format!("HTTP/1.1 403 Forbidden\r\ncontent-length: {length}\r\n\r\n{request}"))]
}

fn signed_by_parts(request: &str) -> bool {
    let seen = Seen::of(request);
    let signed = [seen.header("x-time"), seen.method, seen.target, seen.body].concat();
    seen.header("x-key") == KEY_ID && seen.header("x-sign") == hex(&mac(SECRET.as_bytes(), &signed))
}

/// As exchanges have it: of the query up to the signature, and of the body.
fn signed_in_the_query(request: &str) -> bool {
    let seen = Seen::of(request);
    let Some((signed, signature)) = seen.target.rsplit_once("&signature=") else { return false };
    let timed = signed.rsplit_once("at=").is_some_and(|(_, at)| at.parse::<u64>().is_ok());
    let expected = hex(&mac(SECRET.as_bytes(), &[signed, seen.body].concat()));
    timed && seen.header("x-key") == KEY_ID && signature == expected
}

/// As the guide of AWS has it, for requests without anything odd in path and query.
fn signed_for_aws(request: &str) -> bool {
    let seen = Seen::of(request);
    let (path, query) = seen.target.split_once('?').unwrap_or((seen.target, ""));
    let given = seen.header("authorization");
    let names = given.split("SignedHeaders=").nth(1).and_then(|rest| rest.split(',').next());
    let names = names.unwrap_or_default();
    let lines: String =
        names.split(';').map(|name| format!("{name}:{}\n", seen.header(name))).collect();
    let payload = hex(&Sha256::digest(seen.body.as_bytes()));
    let canonical = format!("{}\n{path}\n{query}\n{lines}\n{names}\n{payload}", seen.method);
    let at = seen.header("x-amz-date");
    let day = at.split('T').next().unwrap_or_default();
    let scope = format!("{day}/eu-west-1/execute-api/aws4_request");
    let text =
        format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
    let mut key = format!("AWS4{SECRET}").into_bytes();
    for part in scope.split('/') {
        key = mac(&key, part);
    }
    let expected = hex(&mac(&key, &text));
    let signs_host = names.split(';').any(|name| name == "host");
    signs_host
        && given.contains(&format!("Credential={KEY_ID}/{scope}"))
        && given.ends_with(&expected)
}

#[tokio::test]
async fn a_provider_takes_what_is_signed() {
    for (slot, check) in [
        ("signed", signed_by_parts as fn(&str) -> bool),
        ("queried", signed_in_the_query),
        ("aws", signed_for_aws),
    ] {
        let upstream = Upstream::start(move |_, request| judged(check(request), request)).await;
        let bench = bench(&upstream, "");
        for request in [get("/v1/orders?a=b&c=d"), post("/v1/orders", "{\"price\":1}"), get("/")] {
            let response = bench.send(with_slot(slot, request)).await.unwrap();
            let said = String::from_utf8_lossy(&response.body).into_owned();
            assert_eq!(response.status, 200, "{slot}: {said}");
            // The key is not in what was sent, and so not in what comes back.
            assert!(!said.contains("C4n4ry"), "{said}");
        }
        // What the connector writes beside it is signed, or may not be written.
        let mut own = get("/v1/orders");
        own.headers.push(("x-amz-target".to_owned(), "Orders.List".to_owned()));
        let response = bench.send(with_slot(slot, own)).await.unwrap();
        assert_eq!(response.status, 200, "{slot}");
        for name in ["X-Sign", "x-time", "X-Key", "X-Amz-Date", "x-token"] {
            let mut request = with_slot(slot, get("/"));
            request.headers.push((name.to_owned(), "mine".to_owned()));
            let failure = bench.send(request).await.unwrap_err();
            assert_eq!(
                failure.code.as_deref(),
                Some(Reason::CredentialPlaceTaken.as_str()),
                "{name}"
            );
        }
    }
}

/// A connector cannot say what the host says in the query, a redirect does not bring it along, and no log has the signature.
#[tokio::test]
async fn a_signature_in_the_query_is_the_host_s() {
    let upstream = Upstream::start(|number, request| {
        let target = Seen::of(request).target;
        let (signed, signature) = target.rsplit_once("&signature=").unwrap_or_default();
        match number {
            // With all that it was asked with.
            0 => {
                let to = target.replace("/from", "/to");
                let head =
                    format!("HTTP/1.1 307 On\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
                vec![text(&head)]
            }
            _ => judged(signature == hex(&mac(SECRET.as_bytes(), signed)), request),
        }
    })
    .await;
    let mut world = World::of(&upstream, "");
    let descriptor = r#"{"format":1,"name":"acme/crm","version":"1.0.0","hosts":["api.example.com"],
        "base-url":"https://api.example.com","redirects":1,"slots":{"signed":{"scheme":{"kind":"hmac",
            "query":"signature","parts":["path-and-query"],"timestamp":{"query":"at"}}}}}"#;
    world.origin.descriptor = Arc::new(Descriptor::parse(descriptor).unwrap());
    world.origin.base_url = Some("https://api.example.com".into());
    let send =
        async |url: &str| world.broker.exchange(&world.origin, with_slot("signed", get(url))).await;
    let response = send("/from?a=b").await.unwrap();
    assert_eq!(response.status, 200, "{}", String::from_utf8_lossy(&response.body));
    let requests = upstream.requests();
    let targets: Vec<_> = requests.iter().map(|request| Seen::of(request).target).collect();
    assert!(targets[0].starts_with("/from?a=b&at="), "{targets:?}");
    assert!(targets[1].starts_with("/to?a=b&at="), "{targets:?}");
    let log = format!("{:?}", world.rows());
    for target in targets {
        assert_eq!((target.matches("at=").count(), target.matches("signature=").count()), (1, 1));
        let signature = target.rsplit_once('=').unwrap().1;
        assert!(signature.len() == 64 && !log.contains(signature), "{log}");
    }
    for url in ["/?signature=mine", "/?a=b&AT=1"] {
        let failure = send(url).await.unwrap_err();
        assert_eq!(failure.code.as_deref(), Some(Reason::CredentialPlaceTaken.as_str()), "{url}");
    }
}

/// Catches a signature that goes on to whoever a provider redirects to, in the address that it names.
#[tokio::test]
async fn a_signature_in_the_query_stays_with_its_origin() {
    let upstream = Upstream::start(|number, request| match number {
        0 => {
            let target = Seen::of(request).target;
            let head = format!(
                "HTTP/1.1 307 On\r\nlocation: https://b.example.com{target}\r\ncontent-length: 0\r\n\r\n"
            );
            vec![text(&head)]
        }
        _ => answer("", "there"),
    })
    .await;
    let mut world = World::of(&upstream, &upstream.stand_in("b.example.com"));
    let descriptor = r#"{"format":1,"name":"acme/crm","version":"1.0.0","redirects":1,
        "hosts":["api.example.com","b.example.com"],"base-url":"https://api.example.com","slots":{"signed":{
            "scheme":{"kind":"hmac","query":"signature","parts":["path-and-query"],"timestamp":{"query":"at"}}}}}"#;
    world.origin.descriptor = Arc::new(Descriptor::parse(descriptor).unwrap());
    world.origin.base_url = Some("https://api.example.com".into());
    let request = with_slot("signed", get("/from?a=b"));
    let response = world.broker.exchange(&world.origin, request).await.unwrap();
    assert_eq!(response.status, 200, "{}", String::from_utf8_lossy(&response.body));
    let requests = upstream.requests();
    assert!(Seen::of(&requests[0]).target.contains("signature="), "{requests:?}");
    assert_eq!(Seen::of(&requests[1]).target, "/from?a=b");
}

/// Catches a key of a signature that nobody looks for, because it is never sent.
#[tokio::test]
async fn a_key_that_comes_back_all_the_same_is_masked() {
    let upstream =
        Upstream::start(|_, _| answer(&format!("x-key-was: {SECRET}\r\n"), SECRET)).await;
    let bench = bench(&upstream, "");
    for slot in ["signed", "aws", "placed", "queried"] {
        let response = bench.send(with_slot(slot, get("/"))).await.unwrap();
        assert_eq!(&response.body[..], b"[keyway:redacted]", "{slot}");
        assert_eq!(header(&response, "x-key-was"), Some("[keyway:redacted]"));
    }
    let requests = upstream.requests();
    assert!(
        requests[2].contains(&format!("x-token: Zoho-oauthtoken {SECRET}\r\n")),
        "{}",
        requests[2]
    );
}

/// Through the proxy: a body that comes in pieces is signed as a whole, and one that is too large for that is refused before
/// anything is sent.
#[tokio::test]
async fn a_body_in_pieces_is_signed_as_a_whole() {
    let upstream = Upstream::start(|_, request| {
        let seen = Seen::of(request);
        let digest = hex(&Sha256::digest(seen.body.as_bytes()));
        let signed = format!("{}\n{digest}", seen.method);
        judged(seen.header("x-sign") == hex(&mac(SECRET.as_bytes(), &signed)), request)
    })
    .await;
    let world = World::of(&upstream, "[limits]\nrequest-body-bytes-max = 10\n");
    let slot = || Some("signed".parse().unwrap());
    let (sender, body) = pieces();
    let relay = tokio::join!(world.relay(Relayed { slot: slot(), ..relayed(body) }), async move {
        for piece in ["12345", "67890"] {
            sender.send(Bytes::from(piece)).await.unwrap();
        }
    });
    let relay = relay.0.unwrap();
    assert_eq!(relay.status, 200);
    assert_eq!(upstream.requests()[0].split("\r\n\r\n").nth(1), Some("1234567890"));
    let code = world.code(Relayed { slot: slot(), ..relayed(whole("12345678901")) }).await;
    assert_eq!(code, "request-body-too-large");
    let get = Relayed { slot: slot(), method: Method::GET, ..relayed(whole("")) };
    assert_eq!(world.relay(get).await.unwrap().status, 200);
    let log = format!("{:?}", world.rows());
    assert!(
        !log.contains(&upstream.requests()[0].split("x-sign: ").nth(1).unwrap()[..64]),
        "{log}"
    );
}
