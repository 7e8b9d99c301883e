//! What is read of answers: each form, the forms together, and whatever else a provider may write.

use keyway_core::Descriptor;
use proptest::prelude::*;

use super::super::{Paces, Quota, normalise};
use super::*;

const WALL: OffsetDateTime = time::macros::datetime!(2026-06-01 12:00 UTC);
/// `WALL` and 90 seconds.
const EPOCH: &str = "1780315290";

fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, text) in pairs {
        headers.append(*name, HeaderValue::from_str(text).unwrap());
    }
    headers
}

fn told(status: u16, pairs: &[(&'static str, &str)]) -> Told {
    told_by(status, pairs, Habits::default())
}

fn told_by(status: u16, pairs: &[(&'static str, &str)], habits: Habits<'_>) -> Told {
    let (status, headers) = (StatusCode::from_u16(status).unwrap(), &map(pairs));
    read(&Answer { status, headers, habits, signalled: false }, || WALL)
}

/// What a release would declare whose provider sends these.
fn habits() -> Descriptor {
    Descriptor::parse(
        r#"{"format":1,"name":"a/b","version":"1.0.0",
        "rate-limits":[{"name":"hourly","quota":40,"window":3600}],
        "rate-limit-headers":[
            {"limit":"X-Acme-RateLimit-Max","remaining":"X-Acme-RateLimit-Remaining",
             "window-ms":"X-Acme-RateLimit-Interval-Milliseconds"},
            {"name":"hourly","bucket":"X-Call-Limit"},
            {"name":"daily","bucket":"Limit-Info","bucket-key":"api-usage","reset":"Limit-Resets"},
            {"name":"points","limit":"X-Points","used":"X-Points-Used","window":"X-Points-Window",
             "reset-ms":"X-Points-Reset-Ms"},
            {"name":"calm","wait":"X-Calm-Down","wait-ms":"X-Calm-Down-Ms"}]}"#,
    )
    .unwrap()
}

/// What is read of each policy: name, limit, window, remaining, reset in seconds.
type Row<'a> = (&'a str, Option<u64>, Option<u32>, Option<u64>, Option<u64>);

fn rows(told: &Told) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for (name, reading) in &told.readings {
        let reset = reading.reset.map(|reset| reset.as_secs());
        rows.push((&**name, reading.limit, reading.window, reading.remaining, reset));
    }
    rows
}

#[test]
fn every_family_is_read() {
    let full = ("default", Some(100), None, Some(50), Some(90));
    for pairs in [
        [("ratelimit", "limit=100, remaining=50, reset=90")].as_slice(),
        &[("ratelimit-limit", "100"), ("ratelimit-remaining", "50"), ("ratelimit-reset", "90")],
        &[
            ("x-ratelimit-limit", "100"),
            ("x-ratelimit-remaining", "50"),
            ("x-ratelimit-reset", EPOCH),
        ],
        &[
            ("x-rate-limit-limit", "100"),
            ("x-rate-limit-remaining", "50.9"),
            ("x-rate-limit-reset", "1780315290000"),
        ],
        &[
            ("x-acme-ratelimit-limit", "100"),
            ("x-acme-ratelimit-remaining", "50"),
            ("x-acme-ratelimit-reset-after", "90.0"),
        ],
    ] {
        assert_eq!(rows(&told(200, pairs)), [full], "{pairs:?}");
    }
}

#[test]
fn limits_have_names_before_or_after_the_value() {
    let named = |pairs: &[(&'static str, &str)]| {
        let told = told(200, pairs);
        let uncounted = told.readings.values().map(|reading| reading.uncounted).collect::<Vec<_>>();
        (rows(&told).iter().map(|row| format!("{row:?}")).collect::<Vec<_>>(), uncounted)
    };
    let (read, uncounted) = named(&[
        ("x-ratelimit-limit-requests", "60"),
        ("x-ratelimit-remaining-requests", "59"),
        ("x-ratelimit-reset-requests", "6m0s"),
        ("x-ratelimit-limit-tokens", "150000"),
        ("x-ratelimit-remaining-tokens", "149984"),
        ("x-ratelimit-reset-tokens", "250ms"),
    ]);
    let expected = [
        r#"("requests", Some(60), None, Some(59), Some(360))"#,
        r#"("tokens", Some(150000), None, Some(149984), Some(0))"#,
    ];
    assert_eq!((read, uncounted), (expected.map(str::to_owned).to_vec(), vec![false, true]));
    let (read, _) = named(&[
        ("x-ratelimit-limit-minute", "5"),
        ("x-ratelimit-remaining-minute", "4"),
        ("x-ratelimit-hour-limit", "90"),
        ("x-ratelimit-hour-remaining", "80"),
        ("x-rate-limit", "700"),
        ("x-rate-limit-remaining", "699"),
        // Nothing to go by.
        ("x-ratelimit-resource", "core"),
        ("x-ratelimit-remaining-alone", "0"),
    ]);
    let expected = [
        r#"("default", Some(700), None, Some(699), None)"#,
        r#"("hour", Some(90), Some(3600), Some(80), None)"#,
        r#"("minute", Some(5), Some(60), Some(4), None)"#,
    ];
    assert_eq!(read, expected);
}

#[test]
fn what_a_release_declares_is_read() {
    let declared = habits();
    let row = |pairs: &[(&'static str, &str)]| {
        let told = told_by(200, pairs, Habits::of(&declared));
        rows(&told).iter().map(|row| format!("{row:?}")).collect::<Vec<_>>().join(" ")
    };
    let own = [
        ("x-acme-ratelimit-max", "190"),
        ("x-acme-ratelimit-remaining", "189"),
        ("x-acme-ratelimit-interval-milliseconds", "10000"),
        ("x-acme-ratelimit-daily-remaining", "0"),
    ];
    assert_eq!(row(&own), r#"("default", Some(190), Some(10), Some(189), None)"#);
    assert!(told(200, &own).readings.is_empty(), "by nobody else");
    // A declared limit of the same name lends its window.
    assert_eq!(
        row(&[("x-call-limit", "39/40")]),
        r#"("hourly", Some(40), Some(3600), Some(1), None)"#
    );
    assert_eq!(
        row(&[("x-call-limit", "41/40")]),
        r#"("hourly", Some(40), Some(3600), Some(0), None)"#
    );
    let daily = [
        ("limit-info", "api-usage=14999/15000; per-app=17/250(appName=x)"),
        ("limit-resets", "2026-06-01T13:00:00Z"),
    ];
    assert_eq!(row(&daily), r#"("daily", Some(15000), None, Some(1), Some(3600))"#);
    let points = [
        ("x-points", "1000"),
        ("x-points-used", "996.5"),
        ("x-points-window", "1m"),
        ("x-points-reset-ms", "2500"),
    ];
    assert_eq!(row(&points), r#"("points", Some(1000), Some(60), Some(3), Some(2))"#);
    for (header, value, wait) in [
        ("x-calm-down", "6m0s", 360_000),
        ("x-calm-down", "1.5", 1_500),
        ("x-calm-down-ms", "250", 250),
    ] {
        let asked = |status| told_by(status, &[(header, value)], Habits::of(&declared)).wait;
        assert_eq!(asked(429), Some(Duration::from_millis(wait)), "{value}");
        assert_eq!(asked(200), None, "{value}");
    }
}

/// Catches the limit of one window that is read beside what is used of another.
#[test]
fn lists_of_windows_are_read_window_by_window() {
    let declared = habits();
    let read = |pairs: &[(&'static str, &str)]| {
        let told = told_by(200, pairs, Habits::of(&declared));
        let rows = rows(&told);
        let (_, limit, window, remaining, reset) = rows[0];
        (limit, window, remaining, reset)
    };
    let used = |limit, used| {
        let told =
            told_by(200, &[("x-points", limit), ("x-points-used", used)], Habits::of(&declared));
        rows(&told).first().map(|row| (row.1, row.3))
    };
    assert_eq!(used("100,1000", "30,500"), Some((Some(100), Some(70))));
    assert_eq!(used("100,1000", "30,990"), Some((Some(1_000), Some(10))));
    assert_eq!(used("100, 1000", "100, 1000"), Some((Some(100), Some(0))));
    // Of another length, or with something that is no number.
    assert_eq!(used("100,1000", "30"), Some((Some(100), Some(70))));
    assert_eq!(used("100", "30,500"), Some((Some(100), Some(70))));
    assert_eq!(used("100,x,1000", "30,500,990"), Some((Some(1_000), Some(10))));
    assert_eq!(used("100,1000", ""), Some((Some(100), None)));
    // What else is listed of each window is of the one that counts.
    let lists = [
        ("x-points", "100,1000"),
        ("x-points-window", "15m, 1d"),
        ("x-points-reset-ms", "60000,7200000"),
    ];
    let [limit, window, reset] = lists;
    let of = |used| read(&[limit, window, reset, ("x-points-used", used)]);
    assert_eq!(of("100,500"), (Some(100), Some(900), Some(0), Some(60)));
    assert_eq!(of("10,1000"), (Some(1_000), Some(86_400), Some(0), Some(7_200)));
    assert_eq!(of("100,1000"), (Some(100), Some(86_400), Some(0), Some(7_200)), "until both");
    // In one header.
    let bucket = |text| read(&[("x-call-limit", text)]);
    assert_eq!(bucket("1/5, 40/40"), (Some(40), Some(3_600), Some(0), None));
    assert_eq!(bucket("1/5; 3/40"), (Some(5), Some(3_600), Some(4), None));
}

#[test]
fn a_refusal_for_the_rate_is_told_from_one_for_permissions() {
    let limited = |status, pairs: &[(&'static str, &str)]| {
        let told = told(status, pairs);
        (told.limited, told.wait.map(|wait| wait.as_secs()))
    };
    let used_up = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", EPOCH)];
    let left = [("x-ratelimit-remaining", "4999"), ("x-ratelimit-reset", EPOCH)];
    let secondary = [left[0], left[1], ("retry-after", "60")];
    assert_eq!(limited(403, &used_up), (true, Some(90)));
    assert_eq!(limited(403, &left), (false, None));
    assert_eq!(limited(403, &secondary), (true, Some(60)));
    assert_eq!(limited(403, &[]), (false, None));
    assert_eq!(limited(403, &[left[0], ("retry-after", "0")]), (false, None));
    // Used up, and nothing usable is said of when there is more.
    assert_eq!(limited(403, &[used_up[0], ("x-ratelimit-reset", "0")]), (true, None));
    assert_eq!(limited(429, &left), (true, Some(90)));
    assert_eq!(limited(404, &used_up), (false, Some(90)));
    for status in [420, 430, 509] {
        assert_eq!(limited(status, &used_up), (true, Some(90)), "{status}");
        assert_eq!(limited(status, &secondary), (true, Some(60)), "{status}");
        assert_eq!(limited(status, &left), (false, None), "{status}");
        assert_eq!(limited(status, &[]), (false, None), "{status}");
    }
    // An overload, unless the caller's own quota is used up until a time that is known.
    for status in [503, 529] {
        assert_eq!(limited(status, &used_up), (true, Some(90)), "{status}");
        assert_eq!(
            limited(status, &[used_up[0], ("retry-after", "5")]),
            (true, Some(5)),
            "{status}"
        );
        assert_eq!(limited(status, &[("retry-after", "5")]), (false, Some(5)), "{status}");
        assert_eq!(limited(status, &secondary), (false, Some(60)), "{status}");
        assert_eq!(limited(status, &[used_up[0]]), (false, None), "{status}");
    }
    // The last request of a quota may fail for another reason.
    for status in [400, 401, 404, 409, 422, 500] {
        assert_eq!(limited(status, &used_up), (false, Some(90)), "{status}");
    }
    let signal = Answer {
        status: StatusCode::OK,
        headers: &HeaderMap::new(),
        habits: Habits::default(),
        signalled: true,
    };
    assert!(read(&signal, || WALL).limited);
}

#[test]
fn the_current_form_names_its_policies() {
    let policy = r#""burst";q=100;w=60;pk=:YWJj:, "daily";q=1000;w=86400;qu="requests""#;
    let pairs = [("ratelimit-policy", policy), ("ratelimit", r#""burst";r=50;t=30"#)];
    let expected = [
        ("burst", Some(100), Some(60), Some(50), Some(30)),
        ("daily", Some(1000), Some(86_400), None, None),
    ];
    assert_eq!(rows(&told(200, &pairs)), expected);
    // In two lines, and as draft 08 had it.
    let pairs = [
        ("ratelimit", r#""burst";r=50;t=30"#),
        ("ratelimit", "daily;r=999;t=999999"),
        ("ratelimit-policy", r#""traffic";q=9;w=1;qu="content-bytes""#),
    ];
    let told = told(200, &pairs);
    assert_eq!(told.readings["burst"].remaining, Some(50));
    assert_eq!(told.readings["daily"].reset, None, "longer than any reset");
    assert_eq!(told.readings["traffic"].rate(), None, "bytes are no requests");
}

#[test]
fn policies_without_names_are_told_apart_by_their_numbers() {
    let pairs = [
        ("ratelimit-limit", "100, 100;w=10, 1000;w=3600"),
        ("ratelimit-remaining", "50"),
        ("ratelimit-policy", "5000;w=86400"),
    ];
    let expected = [
        ("1000-per-3600s", Some(1000), Some(3600), None, None),
        ("5000-per-86400s", Some(5000), Some(86_400), None, None),
        ("default", Some(100), Some(10), Some(50), None),
    ];
    assert_eq!(rows(&told(200, &pairs)), expected);
}

#[test]
fn where_families_disagree_the_most_careful_wins() {
    // C93: three families and a Retry-After.
    let pairs = [
        ("ratelimit", r#""default";r=50;t=30"#),
        ("ratelimit-remaining", "20"),
        ("ratelimit-reset", "10"),
        ("x-ratelimit-limit", "100"),
        ("x-ratelimit-remaining", "0"),
        ("x-ratelimit-reset", EPOCH),
        ("retry-after", "5"),
    ];
    let refusal = told(429, &pairs);
    assert_eq!(rows(&refusal), [("default", Some(100), None, Some(0), Some(90))]);
    assert_eq!(refusal.wait, Some(Duration::from_secs(90)));
    let pairs = [
        ("ratelimit-policy", r#""default";q=190;w=60"#),
        ("x-acme-ratelimit-max", "100"),
        ("x-acme-ratelimit-interval-milliseconds", "10001"),
    ];
    let declared = habits();
    let told_of = |pairs: &[_]| told_by(200, pairs, Habits::of(&declared));
    assert_eq!(rows(&told_of(&pairs)), [("default", Some(100), Some(60), None, None)]);
    let pairs = [("ratelimit-policy", r#""default";q=190;w=6"#), pairs[1], pairs[2]];
    assert_eq!(rows(&told_of(&pairs)), [("default", Some(100), Some(11), None, None)]);
    // One header twice.
    let pairs = [("x-ratelimit-remaining", "7"), ("x-ratelimit-remaining", "9, 8")];
    assert_eq!(told(200, &pairs).readings[DEFAULT].remaining, Some(7));
}

#[test]
fn a_reset_lies_within_a_day_or_is_ignored() {
    for (value, expected) in [
        ("0", Some(0)),
        ("86400", Some(86_400)),
        ("86401", None),
        ("1780315200", Some(0)),
        ("1780315199", None),
        ("1780401600", Some(86_400)),
        ("1780401601", None),
        ("1780401600000", Some(86_400)),
        ("1780401601000", None),
        ("-5", None),
        ("1e3", None),
        ("soon", None),
        ("", None),
        ("2026-06-01T13:00:00Z", Some(3_600)),
        ("Mon, 01 Jun 2026 13:00:00 GMT", Some(3_600)),
        ("6m0s", Some(360)),
        ("1m30s, 2m", Some(120)),
        ("9999999999999999999999999", None),
    ] {
        let pairs = [("x-ratelimit-remaining", "1"), ("x-ratelimit-reset", value)];
        let reset = told(200, &pairs).readings[DEFAULT].reset;
        assert_eq!(reset.map(|reset| reset.as_secs()), expected, "{value:?}");
    }
    // By the clock of the response, which is 20 s ahead of ours.
    let pairs = [
        ("x-ratelimit-remaining", "0"),
        ("x-ratelimit-reset", EPOCH),
        ("date", "Mon, 01 Jun 2026 12:00:20 GMT"),
    ];
    assert_eq!(told(200, &pairs).wait, Some(Duration::from_secs(70)));
}

#[test]
fn malformed_fields_are_ignored_as_a_whole_and_others_still_read() {
    for list in [
        r#""burst";r=0;t=30,"#,
        r#""burst;r=0;t=30"#,
        r#""burst";r=0;t=30;"#,
        r#""burst";r=-1;t=30"#,
        r#""burst";r="0";t=30"#,
        r#""burst";t=30"#,
        r#"("burst");r=0;t=30"#,
        r#""";r=0;t=30"#,
        "remaining=, limit=1",
        "17",
    ] {
        let pairs = [("ratelimit", list), ("x-ratelimit-remaining", "4")];
        let told = told(200, &pairs);
        assert_eq!(rows(&told), [("default", None, None, Some(4), None)], "{list}");
        assert_eq!(told.wait, None, "{list}");
    }
}

#[test]
fn names_and_policies_are_limited() {
    let named = |bytes: usize| format!(r#""{}";r=1"#, "n".repeat(bytes));
    assert_eq!(told(200, &[("ratelimit", &named(NAME_BYTES_MAX))]).readings.len(), 1);
    assert_eq!(told(200, &[("ratelimit", &named(NAME_BYTES_MAX + 1))]).readings.len(), 0);
    let many = |count: usize| {
        let items: Vec<_> = (0..count).map(|n| format!(r#""p{n}";r=1"#)).collect();
        told(200, &[("ratelimit", &items.join(", "))]).readings.len()
    };
    assert_eq!(many(POLICIES_MAX), POLICIES_MAX);
    assert_eq!(many(POLICIES_MAX + 1), POLICIES_MAX);
}

#[test]
fn vendors_are_believed_one_at_a_time() {
    let one = [("x-acme-ratelimit-remaining", "0"), ("x-acme-ratelimit-reset", "9")];
    assert_eq!(told(200, &one).wait, Some(Duration::from_secs(9)));
    let two = [one[0], one[1], ("x-edge-ratelimit-remaining", "1")];
    assert_eq!(told(200, &two).readings.len(), 0);
    let odd = [("x-acme-daily-remaining", "0"), ("acme-ratelimit-reset", "9")];
    assert_eq!(told(200, &odd).readings.len(), 0);
    let alone = [("x-acme-ratelimit-remaining", "0")];
    assert_eq!(told(200, &alone).readings.len(), 0, "too little to go by");
}

#[test]
fn a_wait_is_asked_by_a_refusal_or_by_what_is_used_up() {
    let wait = |status, pairs: &[(&'static str, &str)]| {
        told(status, pairs).wait.map(|wait| wait.as_secs())
    };
    let retry = [("retry-after", "5")];
    assert_eq!([429, 503, 403].map(|status| wait(status, &retry)), [Some(5); 3]);
    // There it speaks of one resource, not of the account.
    assert_eq!([200, 202, 302, 500].map(|status| wait(status, &retry)), [None; 4]);
    assert_eq!([429, 503, 403].map(|status| wait(status, &[])), [None; 3]);
    // A refusal that names no wait: by the window, or the reset, of what may be used up.
    let window = ("ratelimit-policy", r#""burst";q=9;w=60, "daily";q=99;w=86400"#);
    assert_eq!(wait(429, &[window]), Some(86_400));
    let left = ("ratelimit", r#""daily";r=50;t=7200"#);
    assert_eq!(wait(429, &[window, left]), Some(60));
    assert_eq!(wait(429, &[left]), Some(7_200));
    assert_eq!(wait(200, &[window, left]), None);
}

const NAMES: [&str; 19] = [
    "ratelimit",
    "ratelimit-policy",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-rate-limit-reset-after",
    "x-acme-ratelimit-limit",
    "x-acme-ratelimit-remaining",
    "x-acme-ratelimit-max",
    "x-acme-ratelimit-interval-milliseconds",
    "x-call-limit",
    "limit-info",
    "x-points-window",
    "x-calm-down",
    "retry-after",
    "date",
];

/// Any bytes that a header may have, and texts that look much like the real ones.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(prop_oneof![Just(b'\t'), 0x20..=0x7e_u8, 0x80..=0xff_u8], 0..60),
        r#"("?[a-z]{1,6}"?(;[rtqw]=-?[0-9]{1,18}(\.[0-9])?){0,3}(, ?)?){1,4}"#
            .prop_map(String::into_bytes),
        r"((limit|remaining|reset)=[0-9]{1,16}(;w=[0-9]{1,12})?(, )?){1,4}"
            .prop_map(String::into_bytes),
        r"-?[0-9]{1,400}(\.[0-9]{1,3})?(e[0-9]{1,4})?".prop_map(String::into_bytes),
        r"(Mon|Sun), [0-9]{2} (Jan|Feb|Dec) [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
            .prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_header_breaks_what_reads_it_or_what_follows(
        pairs in prop::collection::vec((prop::sample::select(&NAMES[..]), value()), 0..12),
        status in prop::sample::select(&[200_u16, 403, 429, 503][..]),
    ) {
        let mut headers = HeaderMap::new();
        for (name, bytes) in pairs {
            headers.append(name, HeaderValue::from_bytes(&bytes).unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        let declared = habits();
        let answer = Answer { status, headers: &headers, habits: Habits::of(&declared), signalled: false };
        let told = read(&answer, || WALL);
        prop_assert!(told.wait.is_none_or(|wait| wait <= WAIT_MAX));
        prop_assert!(told.readings.len() <= POLICIES_MAX);
        let resets = told.readings.values().filter_map(|reading| reading.reset);
        prop_assert!(resets.max().is_none_or(|reset| reset <= WAIT_MAX));

        let (paces, now) = (Paces::default(), tokio::time::Instant::now());
        let quota = Quota {
            installation: keyway_core::ids::Installation {
                environment: "dev".parse().unwrap(),
                tenant: "acme".parse().unwrap(),
                connector: "a/b".parse().unwrap(),
            },
            account: None,
        };
        for _ in 0..3 {
            let mut place = paces.count(quota.clone(), &[], now);
            paces.learn(&mut place, &answer, now, || WALL);
            if let Err(turn) = paces.take(quota.clone(), &[], now) {
                prop_assert!(turn.at() > now);
            }
        }
        let standing = paces.standing(&quota, &[], now);
        normalise(&mut headers, &standing);
        for (name, parameter) in [(RATE_LIMIT, "r"), (RATE_LIMIT_POLICY, "q")] {
            let set = if parameter == "r" {
                standing.blocked_for.is_some()
                    || standing.policies.iter().any(|policy| policy.remaining.is_some())
            } else {
                standing.policies.iter().any(|policy| policy.quota.is_some())
            };
            prop_assert!(!set || current(&headers, &name, parameter), "{name} {headers:?}");
        }
    }
}
