//! Reading: what was kept comes back as it was, every page in its place, and filters mean what they say.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use keyway_core::exchange::{Exchange, Timings};
use keyway_core::ids::CallId;
use keyway_core::ports::ExchangeLog as _;
use keyway_exchanges::{Filter, Kept, Options, Order, ReleaseFilter, StatusFilter};
use proptest::prelude::*;

use crate::support::{
    BEGINNING, Place, all, exchange, headers, installation, number, numbers, page, release, roomy,
};

#[track_caller]
fn assert_same(kept: &Kept, told: &Exchange) {
    assert_eq!(kept.at, told.at);
    assert_eq!(kept.environment, told.environment);
    assert_eq!((kept.call, &kept.installation), (told.call, &told.installation));
    assert_eq!((&kept.user, &kept.release), (&told.user, &told.release));
    assert_eq!((kept.purpose.as_str(), &kept.slot), (told.purpose, &told.slot));
    assert_eq!((&kept.method, &kept.url), (&told.method, &told.url));
    assert_eq!(kept.request_headers, pairs(&told.request_headers));
    assert_eq!(kept.response_headers, pairs(&told.response_headers));
    assert_eq!(
        (&kept.request_body, &kept.response_body),
        (&told.request_body, &told.response_body)
    );
    assert_eq!(
        (kept.request_bytes, kept.response_bytes),
        (told.request_bytes, told.response_bytes)
    );
    assert_eq!((kept.status, kept.stopped.as_deref()), (told.status, told.stopped));
    assert_eq!(format!("{:?}", kept.timings), format!("{:?}", told.timings));
}

fn full() -> Exchange {
    Exchange {
        user: Some("ann@example.com".parse().unwrap()),
        purpose: "token",
        request_body: Some(Bytes::from_static("grüße\u{0}\u{1b}[31m\u{2028}\"\\".as_bytes())),
        response_body: Some(Bytes::from_static(&[0, 159, 146, 150, 0xff])),
        request_bytes: u64::MAX >> 12,
        timings: Timings {
            waited: Duration::from_micros(1),
            connected: Duration::from_micros(20),
            first_byte: Duration::from_micros(300),
            total: Duration::from_secs(86_400),
        },
        ..exchange(1)
    }
}

#[tokio::test]
async fn what_was_kept_is_read_back_as_it_was_also_after_a_restart() {
    let place = Place::new(Options { body_bytes_max: 1_000, ..roomy() });
    let bare = Exchange {
        environment: None,
        call: None,
        installation: None,
        release: None,
        slot: None,
        status: None,
        stopped: Some("host-not-declared"),
        ..exchange(2)
    };
    let told = [full(), bare];
    let log = place.open();
    told.iter().for_each(|told| log.record(told.clone()));
    log.flush().await;
    let mut log = Some(log);
    for _ in 0..2 {
        let kept = all(log.as_ref().unwrap(), Order::OldestFirst, 10).await;
        assert_eq!(kept.len(), 2);
        kept.iter().zip(&told).for_each(|(kept, told)| assert_same(kept, told));
        // Ended before it is opened again.
        drop(log.take());
        log = Some(place.open());
    }
}

/// Whatever a provider may put into a header, bytes that are no text included.
fn value() -> impl Strategy<Value = HeaderValue> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..40);
    bytes
        .prop_filter_map("a value", |bytes| HeaderValue::from_maybe_shared(Bytes::from(bytes)).ok())
}

/// A header section as it is shown.
fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Guests write methods and URLs, providers headers and bodies: whatever they are, they come back.
    #[test]
    fn any_text_and_any_bytes_come_back(
        method in any::<String>(),
        url in any::<String>(),
        headers in proptest::collection::vec(("[a-z][a-z0-9-]{0,8}", value()), 0..6),
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let headers: HeaderMap = headers
            .into_iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value))
            .collect();
        let told = Exchange {
            method,
            url,
            request_headers: headers.clone(),
            response_headers: headers,
            response_body: Some(Bytes::from(body)),
            ..exchange(1)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let place = Place::new(Options { body_bytes_max: 1_000, ..roomy() });
            let log = place.open();
            log.record(told.clone());
            log.flush().await;
            let kept = all(&log, Order::NewestFirst, 10).await;
            assert_eq!(kept.len(), 1);
            assert_same(&kept[0], &told);
        });
    }
}

#[tokio::test]
async fn a_hundred_thousand_are_paged_both_ways_without_gaps_or_repeats() {
    const COUNT: u64 = 100_000;
    let place = Place::new(Options { segment_bytes_max: 1 << 20, ..roomy() });
    let log = place.with(0..COUNT).await;
    assert!(place.files().len() > 20, "many segments");
    assert_eq!(log.metrics().recorded(), COUNT);
    let upwards: Vec<_> = all(&log, Order::OldestFirst, 1_000).await.iter().map(number).collect();
    assert!(upwards.into_iter().eq(0..COUNT));
    let downwards: Vec<_> = all(&log, Order::NewestFirst, 997).await.iter().map(number).collect();
    assert!(downwards.into_iter().eq((0..COUNT).rev()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_hold_while_the_log_is_written_and_its_old_segments_go() {
    let options =
        Options { segment_bytes_max: 32 << 10, total_bytes_max: 256 << 10, ..Options::default() };
    let place = Place::new(options);
    let log = place.open();
    let (writer, done) = (log.clone(), Arc::new(AtomicBool::new(false)));
    let ended = Arc::clone(&done);
    let writing = tokio::spawn(async move {
        for round in 0..200 {
            (0..100).for_each(|n| writer.record(exchange(round * 100 + n)));
            writer.flush().await;
        }
        ended.store(true, Ordering::SeqCst);
    });
    let mut seen = 0;
    while !done.load(Ordering::SeqCst) {
        for order in [Order::OldestFirst, Order::NewestFirst] {
            // Ids that go one way are checked in there; numbers must go with them.
            let found: Vec<_> = all(&log, order, 50).await.iter().map(number).collect();
            let up = |pair: &[u64]| (pair[0] < pair[1]) == (order == Order::OldestFirst);
            assert!(found.windows(2).all(up), "{order:?}");
            seen += found.len();
        }
    }
    writing.await.unwrap();
    assert!(seen > 0);
    assert_eq!(log.metrics().damaged(), 0, "a reader never sees half a write");
    assert_eq!(numbers(&log).await.last(), Some(&19_999));
}

/// Exchanges 0 to 9, each with something of its own.
fn varied() -> Vec<Exchange> {
    let mut told: Vec<_> = (0..10).map(exchange).collect();
    for (told, at) in told.iter_mut().zip(0..) {
        told.at = BEGINNING + time::Duration::minutes(at);
    }
    told[1].installation = Some(installation("globex"));
    told[2].environment = Some("prod".parse().unwrap());
    told[2].installation.as_mut().unwrap().environment = "prod".parse().unwrap();
    told[3].release = Some(release("2.0.0"));
    told[4].status = Some(429);
    told[5].status = Some(503);
    (told[6].status, told[6].stopped) = (None, Some("host-not-declared"));
    told[7].purpose = "proxy";
    told[8].url = "https://user@API.other.example:8443/things/8?x=://y".to_owned();
    // The host's own: of no environment, and, like a token's refresh, of one.
    (told[9].environment, told[9].installation) = (None, None);
    (told[3].installation, told[3].purpose) = (None, "token");
    told
}

#[tokio::test]
async fn each_filter_finds_its_own_and_nothing_else() {
    let place = Place::new(roomy());
    let log = place.open();
    varied().into_iter().for_each(|told| log.record(told));
    log.flush().await;
    let any = Filter::default;
    let digest = release("2.0.0").digest;
    let prefix = digest.to_string()[..7 + 12].parse().unwrap();
    let minute = |minute: i64| Some(BEGINNING + time::Duration::minutes(minute));
    let [dev, prod] = ["dev", "prod"].map(|name| Some(name.parse().unwrap()));
    let cases: Vec<(Filter, Vec<u64>)> = vec![
        (any(), (0..10).collect()),
        (Filter { environment: dev, ..any() }, vec![0, 1, 3, 4, 5, 6, 7, 8]),
        (Filter { environment: prod, ..any() }, vec![2]),
        (Filter { tenant: Some("globex".parse().unwrap()), ..any() }, vec![1]),
        (Filter { tenant: Some("glob".parse().unwrap()), ..any() }, vec![]),
        (
            Filter { connector: Some("pub/things".parse().unwrap()), ..any() },
            vec![0, 1, 2, 4, 5, 6, 7, 8],
        ),
        (
            Filter {
                purpose: Some("token".to_owned()),
                environment: Some("dev".parse().unwrap()),
                ..any()
            },
            vec![3],
        ),
        (Filter { call: Some(CallId(5)), ..any() }, vec![5]),
        (
            Filter { release: Some(ReleaseFilter::Version("2.0.0".parse().unwrap())), ..any() },
            vec![3],
        ),
        (Filter { release: Some(ReleaseFilter::Digest(digest)), ..any() }, vec![3]),
        (Filter { release: Some(ReleaseFilter::Prefix(prefix)), ..any() }, vec![3]),
        (Filter { host: Some("api.OTHER.example".to_owned()), ..any() }, vec![8]),
        (Filter { host: Some("other.example".to_owned()), ..any() }, vec![]),
        (Filter { status: Some(StatusFilter::Exactly(429)), ..any() }, vec![4]),
        (Filter { status: Some(StatusFilter::Class(4)), ..any() }, vec![4]),
        (Filter { status: Some(StatusFilter::Class(5)), ..any() }, vec![5]),
        (Filter { stopped: true, ..any() }, vec![6]),
        (Filter { failed: true, ..any() }, vec![4, 5, 6]),
        (Filter { purpose: Some("proxy".to_owned()), ..any() }, vec![7]),
        (Filter { since: minute(8), ..any() }, vec![8, 9]),
        (Filter { until: minute(1), ..any() }, vec![0, 1]),
        (Filter { since: minute(4), until: minute(5), failed: true, ..any() }, vec![4, 5]),
        (Filter { since: minute(10), ..any() }, vec![]),
    ];
    for (filter, expected) in cases {
        let found = log.find(filter.clone(), Order::OldestFirst, None, 100).await.unwrap();
        let found: Vec<_> = found
            .entries
            .iter()
            .map(|kept| kept.url.split('?').next().unwrap().rsplit('/').next().unwrap())
            .map(|number| number.parse::<u64>().unwrap())
            .collect();
        assert_eq!(found, expected, "{filter:?}");
    }
}

#[tokio::test]
async fn times_skip_whole_segments_only_where_nothing_in_them_fits() {
    let place = Place::new(Options { segment_bytes_max: 2_000, ..roomy() });
    let log = place.open();
    for number in 0..100_u64 {
        // Long exchanges end after short ones that began later.
        let early = if number.is_multiple_of(7) { 30 } else { 0 };
        let at = BEGINNING + time::Duration::minutes(number as i64 - early);
        log.record(Exchange { at, ..exchange(number) });
    }
    log.flush().await;
    assert!(place.files().len() > 10);
    let mut log = Some(log);
    for _ in 0..2 {
        for from in [0, 13, 50, 99] {
            let wanted = |number: &u64| {
                let early = if number.is_multiple_of(7) { 30 } else { 0 };
                *number as i64 - early >= from
            };
            let since = Some(BEGINNING + time::Duration::minutes(from));
            let filter = Filter { since, ..Filter::default() };
            let page = log.as_ref().unwrap().find(filter, Order::OldestFirst, None, 1_000);
            let found: Vec<_> = page.await.unwrap().entries.iter().map(number).collect();
            assert_eq!(found, (0..100).filter(wanted).collect::<Vec<_>>(), "since {from}");
        }
        drop(log.take());
        log = Some(place.open());
    }
}

#[tokio::test]
async fn a_page_that_looked_through_enough_says_where_to_go_on() {
    let place = Place::new(Options { scan_bytes_max: 10_000, segment_bytes_max: 8_000, ..roomy() });
    let log = place.open();
    for number in 0..200_u64 {
        let status = if number.is_multiple_of(50) { 500 } else { 200 };
        log.record(Exchange { status: Some(status), ..exchange(number) });
    }
    log.flush().await;
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let (mut found, mut after, mut empty) = (Vec::new(), None, 0);
        loop {
            let filter = Filter { status: Some(StatusFilter::Class(5)), ..Filter::default() };
            let page = log.find(filter, order, after, 100).await.unwrap();
            empty += usize::from(page.entries.is_empty());
            found.extend(page.entries.iter().map(number));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        found.sort_unstable();
        assert_eq!((found, empty > 0), (vec![0, 50, 100, 150], true), "{order:?}");
    }
}

#[tokio::test]
async fn a_page_has_so_many_bytes_and_at_least_one_exchange() {
    let place = Place::new(Options { page_bytes_max: 1, ..roomy() });
    let log = place.with(0..3).await;
    assert_eq!(page(&log, Order::OldestFirst, None, 10).await.entries.len(), 1);
    assert_eq!(numbers(&log).await, [0, 1, 2]);
}

#[tokio::test]
async fn the_last_page_says_that_it_is() {
    let place = Place::new(roomy());
    let log = place.with(0..4).await;
    for order in [Order::OldestFirst, Order::NewestFirst] {
        assert!(page(&log, order, None, 3).await.next.is_some());
        assert!(page(&log, order, None, 4).await.next.is_none(), "just as many as there are");
    }
    let nothing = Place::new(roomy()).open();
    assert!(page(&nothing, Order::NewestFirst, None, 4).await.next.is_none());
}

#[tokio::test]
async fn of_bodies_as_much_is_kept_as_was_asked_for() {
    for (bytes_max, kept) in [(0, None), (3, Some("abc")), (4, Some("abcd")), (5, Some("abcd"))] {
        let place = Place::new(Options { body_bytes_max: bytes_max, ..roomy() });
        let log = place.open();
        assert_eq!(log.body_bytes_max(), bytes_max);
        let body = Some(Bytes::from_static(b"abcd"));
        log.record(Exchange { request_body: body.clone(), response_body: body, ..exchange(1) });
        log.flush().await;
        let found = all(&log, Order::OldestFirst, 1).await.remove(0);
        let kept = kept.map(|text: &str| Bytes::copy_from_slice(text.as_bytes()));
        assert_eq!((&found.request_body, &found.response_body), (&kept, &kept), "{bytes_max}");
        // On the disk, too.
        drop(log);
        let file = std::fs::read(&place.files()[0]).unwrap();
        let there = file.windows(3).any(|window| window == b"abc");
        assert_eq!(there, kept.is_some(), "{bytes_max}");
    }
}

#[tokio::test]
async fn one_that_is_too_large_goes_without_its_bodies_and_then_not_at_all() {
    let place = Place::new(Options { body_bytes_max: 5_000, exchange_bytes_max: 3_000, ..roomy() });
    let log = place.open();
    let body = Some(Bytes::from(vec![b'x'; 4_000]));
    log.record(Exchange { response_body: body, ..exchange(1) });
    let response_headers = headers(&[("x", &"y".repeat(4_000))]);
    log.record(Exchange { response_headers, ..exchange(2) });
    log.record(exchange(3));
    log.flush().await;
    let found = all(&log, Order::OldestFirst, 10).await;
    assert_eq!(found.iter().map(number).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(found[0].response_body, None);
    assert_eq!((log.metrics().recorded(), log.metrics().dropped()), (2, 1));
}
