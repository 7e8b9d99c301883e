//! Paces as the broker uses them: with waiters, refusals, and time that goes on.

use std::collections::BinaryHeap;

use http::{HeaderMap, HeaderValue, StatusCode};
use keyway_core::ids::Installation;
use keyway_core::quota::Allowance;
use proptest::prelude::*;
use tokio::time::{sleep, sleep_until};

use super::*;

/// How long after a refusal's end the second may go.
const EASED: Duration = Duration::from_millis(250);
const WALL: OffsetDateTime = time::macros::datetime!(2026-06-01 12:00 UTC);

fn quota(tenant: &str) -> Quota {
    let installation = Installation {
        environment: "prod".parse().unwrap(),
        tenant: tenant.parse().unwrap(),
        connector: "acme/crm".parse().unwrap(),
    };
    Quota { installation, account: None }
}

fn limit(quota: u32, window: u32) -> RateLimit {
    RateLimit { name: "burst".to_owned(), quota, window }
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let value = |text: &str| HeaderValue::from_str(text).unwrap();
    pairs.iter().map(|(name, text)| (name.parse().unwrap(), value(text))).collect()
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn learn(paces: &Paces, status: u16, pairs: &[(&'static str, &str)], now: Instant) {
    answered(paces, status, pairs, (now, now));
}

/// An answer to a request that went some time before.
fn answered(
    paces: &Paces,
    status: u16,
    pairs: &[(&'static str, &str)],
    (went, now): (Instant, Instant),
) {
    let headers = headers(pairs);
    let mut place = Place { quota: quota("acme"), went, probe: None };
    paces.learn(&mut place, &answer(status, &headers), now, || WALL);
}

fn answer(status: u16, headers: &HeaderMap) -> Answer<'_> {
    let status = StatusCode::from_u16(status).unwrap();
    Answer { status, headers, habits: Habits::default(), signalled: false }
}

fn count(paces: &Paces, of: &Quota, declared: &[RateLimit], now: Instant) {
    drop(paces.count(of.clone(), declared, now));
}

fn wait(paces: &Paces, declared: &[RateLimit], now: Instant) -> Option<Duration> {
    paces.take(quota("acme"), declared, now).err().map(|turn| turn.wait())
}

/// Requests that all want to go at these times, each after the others of the same time. Whoever waits comes
/// back when told, or so much later. Returns when each went, by the order of arrival.
fn run(paces: &Paces, declared: &[RateLimit], arrivals: &[(Instant, Duration)]) -> Vec<Instant> {
    let mut went: Vec<Option<Instant>> = vec![None; arrivals.len()];
    let mut turns: Vec<Option<Box<Turn>>> = arrivals.iter().map(|_| None).collect();
    let mut due: BinaryHeap<_> =
        arrivals.iter().enumerate().map(|(n, (at, _))| std::cmp::Reverse((*at, n))).collect();
    while let Some(std::cmp::Reverse((now, n))) = due.pop() {
        let taken = match turns[n].take() {
            Some(turn) => turn.take(now),
            None => paces.take(quota("acme"), declared, now),
        };
        match taken {
            Ok(_) => went[n] = Some(now),
            Err(turn) => {
                assert!(turn.at() > now, "a turn that is due would be asked for ever");
                due.push(std::cmp::Reverse((turn.at() + arrivals[n].1, n)));
                turns[n] = Some(turn);
            }
        }
    }
    went.into_iter().map(|at| at.unwrap()).collect()
}

/// No half-open span of a window holds more than the quota.
fn assert_within(limit: &RateLimit, mut went: Vec<Instant>) {
    went.sort();
    let (quota, window) = (limit.quota as usize, secs(limit.window.into()));
    for span in went.windows(quota + 1) {
        assert!(span[quota] - span[0] >= window, "{} in less than {window:?}", quota + 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    // Catches a window of fixed length, a place that two may take, and a run that leaves with its first.
    #[test]
    fn throttled_requests_never_exceed_a_declared_limit(
        limits in prop::collection::vec((1_u32..200, 1_u32..30), 1..4),
        arrivals in prop::collection::vec((0_u64..40_000, prop_oneof![Just(0), 0_u64..3_000]), 1..600),
    ) {
        let declared: Vec<RateLimit> = limits.iter().map(|(q, w)| limit(*q, *w)).collect();
        let start = Instant::now();
        let ms = Duration::from_millis;
        let arrivals: Vec<_> =
            arrivals.into_iter().map(|(at, late)| (start + ms(at), ms(late))).collect();
        let paces = Paces::default();
        let went = run(&paces, &declared, &arrivals);
        for limit in &declared {
            assert_within(limit, went.clone());
        }
    }

    // Catches a newcomer that overtakes, and a limit that is kept by letting too few go.
    #[test]
    fn waiters_go_in_the_order_of_arrival_and_no_later_than_needed(
        (quota, window) in (1_u32..300, 1_u32..30),
        count in 1_usize..800,
    ) {
        let start = Instant::now();
        let declared = [limit(quota, window)];
        let went = run(&Paces::default(), &declared, &vec![(start, Duration::ZERO); count]);
        prop_assert!(went.is_sorted());
        let rounds = (count as u32 - 1) / quota;
        prop_assert_eq!(*went.last().unwrap(), start + secs(window.into()) * rounds);
    }

    // Catches a place that is lost with the waiter who gave it up, and one that is given out twice for it.
    #[test]
    fn places_given_up_go_to_those_behind(
        quota_size in 1_u32..5,
        leaves in prop::collection::vec(any::<bool>(), 1..40),
    ) {
        let start = Instant::now();
        let declared = [limit(quota_size, 10)];
        let paces = Paces::default();
        for _ in 0..quota_size {
            drop(paces.take(quota("acme"), &declared, start).ok().unwrap());
        }
        let turns: Vec<Box<Turn>> = leaves
            .iter()
            .map(|_| paces.take(quota("acme"), &declared, start).err().unwrap())
            .collect();
        let mut stay: Vec<Box<Turn>> = Vec::new();
        for (turn, leave) in turns.into_iter().zip(&leaves) {
            if !leave {
                stay.push(turn);
            }
        }
        for (place, mut turn) in (0_u64..).zip(stay) {
            let round = start + secs(10 * (place / u64::from(quota_size) + 1));
            if place % u64::from(quota_size) == 0 {
                turn = turn.take(round - Duration::from_nanos(1)).err().unwrap();
                prop_assert_eq!(turn.at(), round);
            }
            prop_assert!(turn.take(round).is_ok());
        }
    }
}

#[test]
fn a_hundred_waiters_wake_once_each_in_order() {
    let (start, paces, declared) = (Instant::now(), Paces::default(), [limit(3, 10)]);
    let turns: Vec<_> =
        (0..103).filter_map(|_| paces.take(quota("acme"), &declared, start).err()).collect();
    assert_eq!(turns.len(), 100);
    assert_eq!(paces.standing(&quota("acme"), &declared, start).waiting, 100);
    for (n, turn) in (0..).zip(turns) {
        assert_eq!(turn.wait(), secs(10 * (n / 3 + 1)), "waiter {n}");
        let at = turn.at();
        assert!(turn.take(at).is_ok(), "waiter {n} was promised this moment");
    }
    assert_eq!(paces.standing(&quota("acme"), &declared, start).waiting, 0);
}

#[test]
fn a_late_waiter_keeps_its_place_and_holds_up_only_what_it_could_use() {
    let (start, paces, declared) = (Instant::now(), Paces::default(), [limit(2, 10)]);
    let take = |now| paces.take(quota("acme"), &declared, now);
    assert!(take(start).is_ok() && take(start + secs(1)).is_ok());
    let first = take(start + secs(2)).err().unwrap();
    let second = take(start + secs(2)).err().unwrap();
    // The place that came back at 10 is the first one's, even while it sleeps.
    let second = second.take(start + secs(10)).err().unwrap();
    assert_eq!(second.at(), start + secs(11));
    // Two places are free: one of them is kept.
    assert!(second.take(start + secs(11)).is_ok());
    assert!(take(start + secs(12)).is_err());
    assert!(first.take(start + secs(12)).is_ok());
}

#[test]
fn releases_and_passers_share_the_count_and_tenants_do_not() {
    let (start, paces) = (Instant::now(), Paces::default());
    let acme = quota("acme");
    count(&paces, &acme, &[limit(5, 10)], start);
    count(&paces, &acme, &[limit(5, 10)], start);
    // Another release knows of a smaller quota, and of a longer window.
    assert!(paces.take(acme.clone(), &[limit(3, 10)], start).is_ok());
    assert_eq!(wait(&paces, &[limit(3, 10)], start), Some(secs(10)));
    assert_eq!(wait(&paces, &[limit(3, 60)], start), Some(secs(60)));
    assert!(paces.take(acme.clone(), &[limit(4, 60)], start).is_ok());
    assert!(paces.take(quota("umbrella"), &[limit(3, 10)], start).is_ok());
    let account = Quota { account: Some("portal-1".into()), ..acme.clone() };
    assert!(paces.take(account, &[limit(3, 10)], start).is_ok());
    // Who passes through is never held.
    count(&paces, &acme, &[limit(3, 10)], start);
    assert_eq!(paces.standing(&acme, &[limit(5, 10)], start).policies[0].remaining, Some(0));
}

#[test]
fn a_refusal_holds_everybody_for_as_long_as_it_says_then_starts_slowly() {
    let (start, paces) = (Instant::now(), Paces::default());
    learn(&paces, 429, &[("retry-after", "7")], start);
    let standing = paces.standing(&quota("acme"), &[], start + secs(1));
    assert_eq!(standing.blocked_for, Some(secs(6)));
    let now = start + secs(1);
    let turns: Vec<_> =
        (0..64).map(|_| paces.take(quota("acme"), &[], now).err().unwrap()).collect();
    let waits: Vec<_> = turns.iter().map(|turn| turn.wait()).collect();
    assert_eq!(waits[0], secs(6));
    assert!(waits.is_sorted_by(|one, next| one < next), "none wakes with another");
    assert_eq!(waits[63], secs(6) + Duration::from_millis(1_500));
    // Nor does a newcomer slip in between, while they wait or after.
    assert!(wait(&paces, &[], start + secs(7)) > Some(secs(1)));
    for turn in turns {
        let at = turn.at();
        assert!(turn.take(at).is_ok());
    }
    assert_eq!(wait(&paces, &[], start + secs(20)), None);
}

#[test]
fn the_longest_wait_stands_and_a_slow_start_counts_who_went() {
    let (start, paces) = (Instant::now(), Paces::default());
    learn(&paces, 429, &[("retry-after", "9")], start);
    learn(&paces, 429, &[("retry-after", "2")], start);
    assert_eq!(wait(&paces, &[], start), Some(secs(9)));
    let ended = start + secs(9);
    assert_eq!(wait(&paces, &[], ended), None);
    assert_eq!(wait(&paces, &[], ended), Some(EASED));
    assert_eq!(wait(&paces, &[], ended + EASED), None);
    assert_eq!(wait(&paces, &[], ended + 2 * EASED), None);
    assert_eq!(wait(&paces, &[], ended + 2 * EASED), None, "as many again");
    // What is used up is no refusal: where a window paces, nothing else does.
    let (start, paces) = (Instant::now(), Paces::default());
    let used_up =
        [("ratelimit", r#""burst";r=0;t=5"#), ("ratelimit-policy", r#""burst";q=9;w=10"#)];
    learn(&paces, 200, &used_up, start);
    let ended = start + secs(5);
    assert_eq!((wait(&paces, &[], ended), wait(&paces, &[], ended)), (None, None));
    let (start, paces) = (Instant::now(), Paces::default());
    learn(&paces, 200, &used_up[..1], start);
    let ended = start + secs(5);
    assert_eq!((wait(&paces, &[], ended), wait(&paces, &[], ended)), (None, Some(EASED)));
}

#[test]
fn those_who_find_nothing_left_are_not_promised_one_moment() {
    let (start, paces) = (Instant::now(), Paces::default());
    learn(&paces, 200, &[("x-ratelimit-remaining", "1"), ("x-ratelimit-reset", "60")], start);
    assert_eq!(wait(&paces, &[], start), None);
    let turns: Vec<_> =
        (0..9).map(|_| paces.take(quota("acme"), &[], start).err().unwrap()).collect();
    assert_eq!(turns[0].wait(), secs(60));
    assert!(turns.is_sorted_by(|one, next| one.at() < next.at()));
}

#[test]
fn what_a_response_leaves_out_is_remembered_from_the_one_before() {
    let (start, paces) = (Instant::now(), Paces::default());
    learn(&paces, 200, &[("ratelimit", r#""burst";r=1;t=30"#)], start);
    learn(&paces, 200, &[("ratelimit-policy", r#""burst";q=9;w=10"#)], start);
    assert_eq!(wait(&paces, &[], start), None);
    assert_eq!(wait(&paces, &[], start), Some(secs(30)));
    learn(&paces, 200, &[("ratelimit", r#""burst";r=5;t=90"#)], start);
    let policy = &paces.standing(&quota("acme"), &[], start).policies[0];
    assert_eq!((policy.quota, policy.window, policy.remaining), (Some(9), Some(10), Some(5)));
}

#[test]
fn what_a_provider_makes_up_is_bounded() {
    let (start, paces) = (Instant::now(), Paces::default());
    for n in 1..=100 {
        let policy = format!(r#""p{n}";q=9;w={n}"#);
        learn(&paces, 200, &[("ratelimit-policy", &policy)], start);
    }
    assert_eq!(paces.standing(&quota("acme"), &[], start).policies.len(), 16);
    let table = paces.lock();
    assert!(table.paces[&quota("acme")].windows() <= 17);
}

#[test]
fn waits_that_providers_get_wrong_are_none() {
    // C93. The wall clock is ten minutes off; the response's date is right.
    let date = "Mon, 01 Jun 2026 12:10:00 GMT";
    for (value, held) in [
        // Nothing, the past, and what is longer than any limit lasts say as little as what cannot be read.
        ("0", None),
        ("0.0", None),
        ("-1", None),
        ("1e9", None),
        ("86400", Some(86_400)),
        ("86401", None),
        ("99999999999999999999999999", None),
        ("1e999", None),
        ("Sun, 06 Nov 1994 08:49:37 GMT", None),
        ("Mon, 01 Jun 2026 12:10:00 GMT", None),
        ("Mon, 01 Jun 2026 12:10:20 GMT", Some(20)),
        ("Fri, 01 Jan 2100 00:00:00 GMT", None),
        // Seconds since 1970, which the standard does not have: 12:10:30.
        ("1780315830", Some(30)),
        ("3, 5", None),
        ("soon", None),
        ("NaN", None),
        ("", None),
    ] {
        let (now, paces) = (Instant::now(), Paces::default());
        learn(&paces, 429, &[("retry-after", value), ("date", date)], now);
        let blocked = paces.standing(&quota("acme"), &[], now).blocked_for;
        assert_eq!(blocked, Some(secs(held.unwrap_or(1))), "{value:?}");
        let pairs = headers(&[("retry-after", value), ("date", date)]);
        let asked = headers::read(&answer(429, &pairs), || WALL).wait;
        assert_eq!(asked, held.map(secs), "{value:?}");
    }
}

#[test]
fn refusals_that_tell_nothing_are_waited_for_longer_each_time() {
    let (start, paces) = (Instant::now(), Paces::default());
    let mut now = start;
    for seconds in [1, 2, 4, 8, 16, 32, 32] {
        learn(&paces, 429, &[], now);
        // What was under way then says the same and changes nothing.
        learn(&paces, 429, &[], now);
        let blocked = paces.standing(&quota("acme"), &[], now).blocked_for;
        assert_eq!(blocked, Some(secs(seconds)));
        now += secs(seconds);
    }
    learn(&paces, 200, &[], now);
    learn(&paces, 429, &[], now);
    assert_eq!(paces.standing(&quota("acme"), &[], now).blocked_for, Some(secs(1)));
    // A failing provider is not a limiting one, unless it says so.
    learn(&paces, 503, &[], now + secs(1));
    assert_eq!(paces.standing(&quota("acme"), &[], now + secs(1)).blocked_for, None);
    learn(&paces, 503, &[("retry-after", "9")], now + secs(1));
    assert_eq!(paces.standing(&quota("acme"), &[], now + secs(1)).blocked_for, Some(secs(9)));
}

/// What a provider that refuses everything gets within five seconds of one who asks as soon as it may.
async fn asked_in_five_seconds(answers: &[&[(&'static str, &str)]]) -> usize {
    let (start, paces, mut asked) = (Instant::now(), Paces::default(), 0);
    loop {
        let mut place = place(&paces).await;
        if start.elapsed() >= secs(5) {
            return asked;
        }
        asked += 1;
        assert!(asked < 1_000, "asked without end");
        // A provider next door.
        sleep(Duration::from_millis(1)).await;
        let headers = headers(answers[asked % answers.len()]);
        paces.learn(&mut place, &answer(429, &headers), Instant::now(), || WALL);
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_always_refuses_is_asked_a_few_times_whatever_it_says() {
    for value in ["0", "-1", "soon", "0.001", "0.5", "1", "1e-9", "86401", "1780315200", "1e999"] {
        let asked = asked_in_five_seconds(&[&[("retry-after", value)]]).await;
        assert!((3..=8).contains(&asked), "{value:?}: {asked}");
    }
    let left = |reset| [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", reset)];
    for reset in ["0", "0.01", "1780315200", "1780315199", "-3", "1780315200001"] {
        let asked = asked_in_five_seconds(&[&left(reset)]).await;
        assert!((3..=8).contains(&asked), "{reset:?}: {asked}");
    }
    let turns = [[("retry-after", "0")].as_slice(), &[("retry-after", "0.1")], &[]];
    let asked = asked_in_five_seconds(&turns).await;
    assert!((3..=8).contains(&asked), "in turns: {asked}");
}

/// A place for one request, waited for.
async fn place(paces: &Paces) -> Place {
    let mut taken = paces.take(quota("acme"), &[], Instant::now());
    loop {
        match taken {
            Ok(place) => return place,
            Err(turn) => {
                sleep_until(turn.at()).await;
                taken = turn.take(Instant::now());
            }
        }
    }
}

const ROUND_TRIP: Duration = Duration::from_millis(500);

/// Twenty who ask as soon as they may, again and again until they are answered, of a provider that takes what comes to it
/// from `recovers` on. All begin at once. When each request went, in order.
async fn crowd(
    recovers: Duration,
    refusal: &'static [(&'static str, &'static str)],
) -> (Instant, Vec<Instant>) {
    let (start, paces) = (Instant::now(), Paces::default());
    let went = Arc::new(Mutex::new(Vec::new()));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (paces, went) = (paces.clone(), Arc::clone(&went));
        callers.spawn(async move {
            loop {
                let mut place = place(&paces).await;
                let now = Instant::now();
                went.lock().unwrap().push(now);
                sleep(ROUND_TRIP).await;
                let taken = now >= start + recovers;
                let (status, headers) = if taken { (200, &[][..]) } else { (429, refusal) };
                let headers = self::headers(headers);
                paces.learn(&mut place, &answer(status, &headers), Instant::now(), || WALL);
                if taken {
                    return;
                }
            }
        });
    }
    drop(tokio::time::timeout(secs(120), callers.join_all()).await);
    let went = went.lock().unwrap().clone();
    (start, went)
}

/// Catches a slow start that lets others out while nobody knows how the first one fares. What went out before anybody was
/// refused cannot be called back.
#[tokio::test(start_paused = true)]
async fn however_many_wait_a_provider_that_always_refuses_is_asked_by_one_at_a_time() {
    const REFUSALS: &[&[(&str, &str)]] = &[
        &[],
        &[("retry-after", "0")],
        &[("retry-after", "0.5")],
        &[("retry-after", "1")],
        &[("retry-after", "1.5")],
        &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "0")],
    ];
    for refusal in REFUSALS {
        let (start, went) = crowd(secs(10_000), refusal).await;
        let after: Vec<_> = went.iter().filter(|at| **at >= start + ROUND_TRIP).collect();
        let within = after.iter().filter(|at| ***at - start < ROUND_TRIP + secs(5)).count();
        assert!((2..=8).contains(&within), "{refusal:?}: {within}");
        // Once it has shown that its waits are of no use, none goes before the one before was answered.
        let alone = &after[after.len() / 2..];
        assert!(
            alone.windows(2).all(|two| *two[1] - *two[0] >= ROUND_TRIP + secs(1)),
            "{refusal:?}"
        );
        // The waits grow: two minutes have no more than what doubles up to 32 s.
        assert!(after.len() <= 12, "{refusal:?}: {}", after.len());
    }
}

/// Catches callers who are held for ever, and those who all go at once when one was let through.
#[tokio::test(start_paused = true)]
async fn once_one_is_let_through_the_others_follow_slowly() {
    let (start, went) = crowd(secs(4), &[("retry-after", "0")]).await;
    let good: Vec<_> = went.iter().filter(|at| **at >= start + secs(4)).collect();
    assert_eq!(good.len(), 20, "each is let through, once");
    let (first, second) = (*good[0], *good[1]);
    assert!(second - first >= ROUND_TRIP, "the first one's answer is waited for");
    let last = **good.last().unwrap();
    assert!(last - first <= secs(3), "{:?}", last - first);
    let at_once = good.iter().filter(|at| ***at - second < Duration::from_millis(100)).count();
    assert!(at_once <= 4, "{at_once} go with the second");
}

/// Catches an answer to an earlier request that is taken for the end of the refusals, or for one more.
#[test]
fn only_what_went_after_a_refusal_says_whether_it_is_over() {
    let (start, paces) = (Instant::now(), Paces::default());
    let blocked = |now| paces.standing(&quota("acme"), &[], now).blocked_for;
    learn(&paces, 429, &[], start);
    let mut now = start + secs(1);
    // Both went before, and are slow.
    answered(&paces, 200, &[], (start, now));
    answered(&paces, 429, &[], (start, now));
    assert_eq!(blocked(now), None);
    learn(&paces, 429, &[], now);
    assert_eq!(blocked(now), Some(secs(2)), "the row goes on");
    // Somebody passes through meanwhile, and is lucky.
    answered(&paces, 200, &[], (now + secs(1), now + secs(2)));
    now += secs(2);
    learn(&paces, 429, &[], now);
    assert_eq!(blocked(now), Some(secs(4)));
    now += secs(4);
    answered(&paces, 200, &[], (now, now + ROUND_TRIP));
    now += ROUND_TRIP;
    learn(&paces, 429, &[], now);
    assert_eq!(blocked(now), Some(secs(1)), "it was over");
}

/// Catches a quota that nobody may use any more because whoever tried it went away.
#[test]
fn a_probe_that_is_never_answered_makes_room_for_the_next() {
    let (start, paces) = (Instant::now(), Paces::default());
    learn(&paces, 429, &[], start);
    let now = start + secs(1);
    let probe = paces.take(quota("acme"), &[], now).ok().unwrap();
    let turn = paces.take(quota("acme"), &[], now).err().unwrap();
    assert_eq!(turn.wait(), EASED);
    // However long it takes.
    let turn = turn.take(now + secs(20)).err().unwrap();
    assert!(turn.wait() >= EASED, "one at a time");
    drop(probe);
    // A newcomer does not overtake.
    assert!(wait(&paces, &[], now + secs(21)).is_some());
    assert!(turn.take(now + secs(21)).is_ok());
}

#[test]
fn refusals_are_remembered_where_nothing_else_is() {
    let (start, paces) = (Instant::now(), Paces::default());
    learn(&paces, 429, &[], start);
    // The slow start is over, and somebody looks at all quotas.
    let now = start + secs(12);
    assert_eq!(paces.all(now).len(), 1);
    learn(&paces, 429, &[], now);
    assert_eq!(paces.standing(&quota("acme"), &[], now).blocked_for, Some(secs(2)));
    assert!(paces.all(now + secs(121)).is_empty());
}

#[test]
fn nothing_left_blocks_until_the_reset_without_a_refusal() {
    for used_up in [
        [("ratelimit", r#""burst";r=0;t=30"#)].as_slice(),
        &[("ratelimit", "limit=100, remaining=0, reset=30")],
        &[("ratelimit-remaining", "0"), ("ratelimit-reset", "30")],
        &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1780315230")],
        &[("x-rate-limit-remaining", "0"), ("x-rate-limit-reset", "1780315230000")],
    ] {
        let (start, paces) = (Instant::now(), Paces::default());
        learn(&paces, 200, used_up, start);
        assert_eq!(wait(&paces, &[], start + secs(29)), Some(secs(1)), "{used_up:?}");
        assert_eq!(wait(&paces, &[], start + secs(30)), None, "{used_up:?}");
    }
}

#[test]
fn what_is_left_is_spent_by_those_who_go_and_not_by_late_responses() {
    let (start, paces) = (Instant::now(), Paces::default());
    let left = |n: &str, t: &str, now| {
        learn(&paces, 200, &[("x-ratelimit-remaining", n), ("x-ratelimit-reset", t)], now);
    };
    left("3", "60", start);
    assert_eq!(wait(&paces, &[], start), None);
    assert_eq!(wait(&paces, &[], start), None);
    // The answer to an earlier request: it did not count those two.
    left("4", "59", start + secs(1));
    assert_eq!(wait(&paces, &[], start + secs(1)), None);
    assert_eq!(wait(&paces, &[], start + secs(1)), Some(secs(59)));
    // Another window of the provider's.
    left("2", "60", start + secs(60));
    assert_eq!(wait(&paces, &[], start + secs(60)), None);
    assert_eq!(wait(&paces, &[], start + secs(60)), None);
    assert_eq!(wait(&paces, &[], start + secs(60)), Some(secs(60)));
}

#[test]
fn a_learnt_policy_is_kept_like_a_declared_one() {
    let (start, paces) = (Instant::now(), Paces::default());
    let told = [("ratelimit-policy", r#""burst";q=2;w=10"#), ("ratelimit", r#""burst";r=2"#)];
    learn(&paces, 200, &told, start);
    assert_eq!(wait(&paces, &[], start), None);
    learn(&paces, 200, &told, start + secs(1));
    assert_eq!(wait(&paces, &[], start + secs(1)), None);
    learn(&paces, 200, &told, start + secs(2));
    assert_eq!(wait(&paces, &[], start + secs(2)), Some(secs(8)));
    // Bytes are not requests.
    let bytes = [("ratelimit-policy", r#""traffic";q=1;w=60;qu="content-bytes""#)];
    let (now, paces) = (Instant::now(), Paces::default());
    learn(&paces, 200, &bytes, now);
    assert_eq!((wait(&paces, &[], now), wait(&paces, &[], now)), (None, None));
}

#[test]
fn clocks_read_out_of_order_do_not_make_room() {
    let (start, paces, declared) = (Instant::now() + secs(60), Paces::default(), [limit(1, 10)]);
    assert!(paces.take(quota("acme"), &declared, start).is_ok());
    assert_eq!(wait(&paces, &declared, start - secs(5)), Some(secs(10)));
    let late = start + secs(10);
    assert_eq!(paces.standing(&quota("acme"), &declared, late).policies[0].remaining, Some(1));
    assert!(paces.take(quota("acme"), &declared, late - secs(1)).is_ok());
    assert_eq!(wait(&paces, &declared, late), Some(secs(10)));
}

#[test]
fn standing_shows_declared_and_learnt_and_merges_what_is_called_the_same() {
    let (start, paces) = (Instant::now(), Paces::default());
    let declared = [limit(100, 10)];
    count(&paces, &quota("acme"), &declared, start);
    let told = [("ratelimit", r#""burst";r=42;t=7, "daily";r=9000;t=3600"#)];
    learn(&paces, 200, &told, start);
    let standing = paces.standing(&quota("acme"), &declared, start + secs(1));
    let burst = Allowance {
        name: "burst".into(),
        quota: Some(100),
        window: Some(10),
        remaining: Some(42),
        reset: Some(9),
    };
    let daily = Allowance {
        name: "daily".into(),
        quota: None,
        window: None,
        remaining: Some(9_000),
        reset: Some(3_599),
    };
    assert_eq!(standing.policies, [burst, daily]);
    assert_eq!(paces.all(start + secs(1)), [(quota("acme"), standing)]);
}

#[test]
fn what_is_idle_is_forgotten_and_what_is_not_limited_is_never_kept() {
    let (start, paces, declared) = (Instant::now(), Paces::default(), [limit(1, 10)]);
    count(&paces, &quota("free"), &[], start);
    assert!(paces.take(quota("free"), &[], start).is_ok());
    learn(&paces, 200, &[("content-type", "text/plain")], start);
    paces.standing(&quota("free"), &declared, start);
    assert!(paces.lock().paces.is_empty());
    count(&paces, &quota("acme"), &declared, start);
    let turn = paces.take(quota("acme"), &declared, start).err();
    assert_eq!(paces.all(start + secs(9)).len(), 1);
    assert_eq!(paces.all(start + secs(11)).len(), 1, "somebody waits");
    drop(turn);
    assert!(paces.all(start + secs(11)).is_empty());
}

#[test]
fn the_number_of_quotas_is_bounded_and_the_held_and_the_awaited_stay() {
    let (start, declared) = (Instant::now(), [limit(1, 3_600)]);
    let max = 200;
    let paces = Paces::bounded(max);
    let tenant = |n: usize| quota(&format!("t{n}"));
    let held = headers(&[("retry-after", "600")]);
    let mut place = paces.count(tenant(0), &[], start);
    paces.learn(&mut place, &answer(429, &held), start, || WALL);
    count(&paces, &tenant(1), &declared, start);
    let turn = paces.take(tenant(1), &declared, start).err();
    for n in 2..max {
        count(&paces, &tenant(n), &declared, start + Duration::from_millis(n as u64));
    }
    let now = start + secs(1);
    count(&paces, &tenant(2), &declared, now);
    assert_eq!(paces.all(now).len(), max, "as many as the limit are kept");
    count(&paces, &tenant(max), &declared, now);
    let kept: Vec<_> = paces.all(now).into_iter().map(|(quota, _)| quota).collect();
    assert_eq!(kept.len(), max - max / EVICTED_PART + 1, "one more, and a part goes");
    assert!(kept.contains(&tenant(0)) && kept.contains(&tenant(1)) && kept.contains(&tenant(max)));
    assert!(kept.contains(&tenant(2)) && !kept.contains(&tenant(3)), "the least used goes");
    drop(turn);
}
