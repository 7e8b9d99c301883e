//! The exchange log through the API: pages, archives, streams, and what of them a role sees.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Request};
use bytes::Bytes;
use keyway_core::Digest;
use keyway_core::exchange::{Exchange, Timings};
use keyway_core::ids::{CallId, Installation};
use keyway_core::ports::{Clock as _, ExchangeLog as _};
use keyway_core::release::ReleaseRef;
use keyway_releases::model::Role::{Operator, Viewer};
use serde_json::{Value, json};

use crate::stream::Stream;
use crate::world::{World, bearer, limited};

const LIST: &str = "/v1/environments/dev/exchanges";
const FOLLOW: &str = "/v1/environments/dev/exchanges/follow";

fn content_type(kind: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))])
}

fn release(version: &str) -> ReleaseRef {
    let digest = Digest::of(version.as_bytes());
    ReleaseRef::new("pub/things".parse().unwrap(), version.parse().unwrap(), digest)
}

fn exchange(world: &World, number: u64) -> Exchange {
    Exchange {
        at: world.clock.now(),
        environment: Some("dev".parse().unwrap()),
        call: Some(CallId(u128::from(number))),
        installation: Some(Installation {
            environment: "dev".parse().unwrap(),
            tenant: "acme".parse().unwrap(),
            connector: "pub/things".parse().unwrap(),
        }),
        user: None,
        release: Some(release("1.0.0")),
        purpose: "call",
        slot: Some("token".parse().unwrap()),
        method: "POST".to_owned(),
        url: format!("https://api.example.com/things/{number}"),
        request_headers: content_type("text/plain"),
        request_body: Some(Bytes::from_static(b"canary-question")),
        request_bytes: 15,
        status: Some(200),
        response_headers: content_type("image/png"),
        response_body: Some(Bytes::from_static(&[0xff, 0xfe])),
        response_bytes: 2,
        stopped: None,
        timings: Timings { total: Duration::from_millis(12), ..Timings::default() },
    }
}

/// A host whose log has exchanges 0 to `count`.
async fn with(count: u64) -> World {
    let world = World::new().await;
    add(&world, 0..count).await;
    world
}

async fn add(world: &World, numbers: std::ops::Range<u64>) {
    numbers.for_each(|number| world.exchanges.record(exchange(world, number)));
    world.exchanges.flush().await;
}

fn numbers(page: &Value) -> Vec<u64> {
    let exchanges = page["exchanges"].as_array().unwrap().iter();
    exchanges.map(number).collect()
}

fn number(exchange: &Value) -> u64 {
    exchange["request"]["url"].as_str().unwrap().rsplit('/').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn exchanges_are_paged_newest_first_or_oldest_first() {
    let world = with(25).await;
    for (order, expected) in [
        ("", (0..25).rev().collect::<Vec<_>>()),
        ("&order=newest", (0..25).rev().collect()),
        ("&order=oldest", (0..25).collect()),
    ] {
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let page = world.get(&format!("{LIST}?limit=10{order}{after}")).await.ok();
            found.extend(numbers(&page));
            match page["next"].as_u64() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!(found, expected, "{order}");
    }
}

#[tokio::test]
async fn an_exchange_says_who_what_where_and_how_long() {
    let world = with(1).await;
    let page = world.get(LIST).await.ok();
    let exchange = &page["exchanges"][0];
    assert_eq!(exchange["call"], "call_00000000000000000000000000000000");
    assert_eq!(exchange["at"], "2023-11-14T22:13:20Z");
    assert_eq!(
        (&exchange["environment"], &exchange["tenant"], &exchange["connector"]),
        (&json!("dev"), &json!("acme"), &json!("pub/things"))
    );
    assert_eq!(exchange["release"]["version"], "1.0.0");
    assert_eq!((&exchange["purpose"], &exchange["slot"]), (&json!("call"), &json!("token")));
    let request = json!({"method": "POST", "url": "https://api.example.com/things/0", "bytes": 15,
        "headers": [{"name": "content-type", "value": "text/plain"}], "body": {"text": "canary-question"}});
    assert_eq!(exchange["request"], request);
    let response = json!({"status": 200, "bytes": 2, "body": {"base64": "//4="},
        "headers": [{"name": "content-type", "value": "image/png"}]});
    assert_eq!(exchange["response"], response);
    assert_eq!(exchange["timings"]["total_ms"], json!(12.0));
    assert!(exchange.get("stopped").is_none());
}

#[tokio::test]
async fn each_parameter_narrows_what_is_found() {
    let world = World::new().await;
    let mut told: Vec<_> = (0..8).map(|number| exchange(&world, number)).collect();
    told[1].installation.as_mut().unwrap().tenant = "globex".parse().unwrap();
    told[2].installation.as_mut().unwrap().connector = "pub/others".parse().unwrap();
    told[3].release = Some(release("2.0.0"));
    told[4].status = Some(429);
    (told[5].status, told[5].stopped) = (None, Some("host-not-declared"));
    told[6].purpose = "proxy";
    told[7].url = "https://other.example.com/things/7".to_owned();
    for told in told {
        world.exchanges.record(Exchange { at: world.clock.now(), ..told });
        world.clock.advance(Duration::from_secs(60));
    }
    world.exchanges.flush().await;
    let digest = Digest::of(b"2.0.0").to_string();
    let all: Vec<u64> = (0..8).rev().collect();
    for (query, expected) in [
        ("tenant=globex", vec![1]),
        ("connector=pub/others", vec![2]),
        ("release=2.0.0", vec![3]),
        (&format!("release={digest}"), vec![3]),
        (&format!("release={}", &digest[..19]), vec![3]),
        ("status=429", vec![4]),
        ("status=4xx", vec![4]),
        ("stopped=true", vec![5]),
        ("stopped=false", all.clone()),
        ("failed=true", vec![5, 4]),
        ("purpose=proxy", vec![6]),
        ("host=other.example.com", vec![7]),
        ("call=call_00000000000000000000000000000002", vec![2]),
        // Eight minutes have passed by the host's clock.
        ("since=2m", vec![7, 6]),
        ("until=6m", vec![2, 1, 0]),
        ("since=2023-11-14T22:15:20Z&until=2023-11-14T22:16:20%2B00:00", vec![3, 2]),
        ("", all),
    ] {
        let page = world.get(&format!("{LIST}?{query}")).await.ok();
        assert_eq!(numbers(&page), expected, "{query}");
    }
}

#[tokio::test]
async fn what_means_nothing_is_refused() {
    let world = with(1).await;
    for (query, code) in [
        ("tenant=../x", "invalid-name"),
        ("connector=things", "invalid-name"),
        ("call=7", "invalid-name"),
        ("release=latest", "invalid-name"),
        ("status=4", "invalid-request"),
        ("stopped=yes", "invalid-request"),
        ("since=yesterday", "invalid-request"),
        ("until=10", "invalid-request"),
        ("after=-1", "invalid-request"),
        ("limit=0", "invalid-request"),
        ("limit=1001", "invalid-request"),
        ("order=random", "invalid-request"),
        ("format=xml", "invalid-request"),
        ("tennant=acme", "invalid-request"),
    ] {
        world.get(&format!("{LIST}?{query}")).await.refused(400, code);
        world.get(&format!("{FOLLOW}?{query}")).await.refused(400, code);
    }
    for paged in ["since=10m", "until=10m", "after=1", "limit=5", "order=oldest", "format=har"] {
        world.get(&format!("{FOLLOW}?{paged}")).await.refused(400, "invalid-request");
    }
    let nowhere = LIST.replace("dev", "moon");
    world.get(&nowhere).await.refused(404, "unknown-environment");
}

#[tokio::test]
async fn an_environment_shows_its_own_exchanges_only() {
    let world = with(1).await;
    let mut elsewhere = exchange(&world, 1);
    elsewhere.environment = Some("prod".parse().unwrap());
    elsewhere.installation.as_mut().unwrap().environment = "prod".parse().unwrap();
    let host = |number| Exchange { installation: None, call: None, ..exchange(&world, number) };
    let of_nobody = Exchange { environment: None, purpose: "key", ..host(2) };
    let refresh = Exchange { purpose: "token", ..host(3) };
    for told in [elsewhere, of_nobody, refresh] {
        world.exchanges.record(told);
    }
    world.exchanges.flush().await;
    assert_eq!(numbers(&world.get(LIST).await.ok()), [3, 0]);
    assert_eq!(numbers(&world.get(&LIST.replace("dev", "prod")).await.ok()), [1]);
}

#[tokio::test]
async fn whoever_may_only_look_sees_no_bodies_anywhere() {
    let world = with(1).await;
    let viewer = world.token("viewer", Viewer, None).await;
    let operator = world.token("operator", Operator, None).await;
    let elsewhere = world.token("elsewhere", Operator, Some(&["prod"])).await;
    world.ask("GET", LIST, &elsewhere, None).await.refused(403, "not-permitted");
    for (token, bodies) in [(&viewer, false), (&operator, true)] {
        for path in [LIST.to_owned(), format!("{LIST}?format=har")] {
            let reply = world.ask("GET", &path, token, None).await;
            reply.ok();
            let text = String::from_utf8_lossy(&reply.body);
            assert!(text.contains("things/0") && text.contains("image/png"), "{text}");
            for body in ["canary-question", "//4="] {
                assert_eq!(text.contains(body), bodies, "{path}: {text}");
            }
        }
        let mut stream = Stream::open(&world, FOLLOW, token).await;
        add(&world, 1..2).await;
        let line = stream.heard().await.unwrap();
        assert_eq!(number(&line["exchange"]), 1);
        assert_eq!(line["exchange"]["request"].get("body").is_some(), bodies, "{line}");
        assert_eq!(line["exchange"]["response"].get("body").is_some(), bodies, "{line}");
    }
}

#[tokio::test]
async fn a_page_is_an_archive_for_whoever_asks_for_one() {
    let world = with(3).await;
    let har = "application/har+json";
    for (query, accept, expected) in [
        ("?format=har", "*/*", har),
        ("", "application/har+json", har),
        ("", "text/html, Application/HAR+json;q=0.9", har),
        ("?format=json", "application/har+json", "application/json"),
        ("", "application/json", "application/json"),
    ] {
        let request = Request::get(format!("{LIST}{query}"));
        let request = request.header(AUTHORIZATION, bearer(&world.admin)).header(ACCEPT, accept);
        let reply = world.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(reply.header("content-type"), expected, "{query} {accept}");
        assert_eq!(reply.ok().get("log").is_some(), expected == har);
    }
    let page = world.get(&format!("{LIST}?format=har&limit=2")).await.ok();
    let log = &page["log"];
    assert_eq!((&log["version"], log["entries"].as_array().unwrap().len()), (&json!("1.2"), 2));
    let next = log["_keyway"]["next"].as_u64().unwrap();
    let rest = world.get(&format!("{LIST}?format=har&limit=2&after={next}")).await.ok();
    assert_eq!(rest["log"]["entries"].as_array().unwrap().len(), 1);
    assert!(rest["log"]["_keyway"].get("next").is_none());
}

#[tokio::test]
async fn a_stream_tells_what_is_new_and_fits() {
    let world = with(3).await;
    let mut stream = Stream::open(&world, &format!("{FOLLOW}?status=5xx"), &world.admin).await;
    for number in 3..6 {
        let status = if number == 4 { 503 } else { 200 };
        world.exchanges.record(Exchange { status: Some(status), ..exchange(&world, number) });
    }
    let line = stream.heard().await.unwrap();
    assert_eq!(number(&line["exchange"]), 4);
    // The same as the page has.
    let page = world.get(&format!("{LIST}?status=503")).await.ok();
    assert_eq!(line["exchange"], page["exchanges"][0]);
}

#[tokio::test]
async fn a_stream_that_is_not_read_tells_how_many_went_by() {
    let world = World::new().await;
    let mut stream = Stream::open(&world, FOLLOW, &world.admin).await;
    add(&world, 0..100).await;
    assert_eq!(stream.heard().await, Some(json!({"missed": 92})));
    for expected in 92..100 {
        assert_eq!(number(&stream.heard().await.unwrap()["exchange"]), expected);
    }
}

#[tokio::test]
async fn a_stream_without_news_says_that_it_is_there() {
    let config = limited(|limits| limits.follow_pulse = Duration::from_millis(5));
    let world = World::with(config).await;
    let mut stream = Stream::open(&world, FOLLOW, &world.admin).await;
    for _ in 0..3 {
        assert_eq!(stream.line().await, Some(json!({})));
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let config = limited(|limits| limits.follow_pulse = Duration::from_millis(5));
    let world = World::with(config).await;
    let token = world.token("bob", Viewer, None).await;
    let mut stream = Stream::open(&world, FOLLOW, &token).await;
    assert_eq!(world.delete("/v1/tokens/bob").await.status, 204);
    // Nothing that happens from now on is told.
    add(&world, 0..1).await;
    assert_eq!(stream.heard().await, None);

    let body = json!({"name": "brief", "role": "viewer", "expires_at": "2023-11-14T22:14:20Z"});
    let issued = world.post("/v1/tokens", body).await.ok();
    let mut stream = Stream::open(&world, FOLLOW, issued["secret"].as_str().unwrap()).await;
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(stream.heard().await, None);
}

#[tokio::test]
async fn so_many_may_follow_at_once() {
    let world = World::new().await;
    let first = Stream::open(&world, FOLLOW, &world.admin).await;
    let _second = Stream::open(&world, FOLLOW, &world.admin).await;
    let refused = world.get(FOLLOW).await;
    assert_eq!(refused.code().1, "overloaded");
    drop(first);
    assert_eq!(world.get(FOLLOW).await.status, 200, "there is a place again");
}
