//! Following: what is new comes as it comes, in order, over segments; who is too slow is told.

use keyway_core::exchange::Exchange;
use keyway_core::ports::ExchangeLog as _;
use keyway_exchanges::{Error, Exchanges, Filter, Follow, Followed, Options};

use crate::support::{Place, exchange, installation, number, numbers, roomy};

async fn next(follow: &mut Follow) -> Option<Result<u64, u64>> {
    Some(match follow.next().await? {
        Followed::Entry(kept) => Ok(number(&kept)),
        Followed::Missed(count) => Err(count),
    })
}

async fn record(log: &Exchanges, numbers: std::ops::Range<u64>) {
    numbers.for_each(|number| log.record(exchange(number)));
    log.flush().await;
}

#[tokio::test]
async fn a_follower_hears_of_everything_new_over_many_segments() {
    let options = Options { segment_bytes_max: 2_000, total_bytes_max: 10_000, ..roomy() };
    let place = Place::new(options);
    let log = place.with(0..5).await;
    let mut follow = log.follow(Filter::default()).unwrap();
    for round in 1..20_u64 {
        record(&log, round * 10..round * 10 + 10).await;
        for expected in round * 10..round * 10 + 10 {
            assert_eq!(next(&mut follow).await, Some(Ok(expected)));
        }
    }
    assert!(log.metrics().segments() < 19, "most were deleted meanwhile");
    // What a follower hears is what the log has.
    assert_eq!(numbers(&log).await.last(), Some(&199));
}

#[tokio::test]
async fn a_follower_hears_what_fits_it_with_the_ids_of_the_log() {
    let place = Place::new(roomy());
    let log = place.open();
    let filter = Filter { tenant: Some("globex".parse().unwrap()), ..Filter::default() };
    let mut follow = log.follow(filter.clone()).unwrap();
    for number in 0..10 {
        let tenant = if number % 2 == 0 { "acme" } else { "globex" };
        let installation = Some(installation(tenant));
        log.record(Exchange { installation, ..exchange(number) });
    }
    log.flush().await;
    let found = log.find(filter, keyway_exchanges::Order::OldestFirst, None, 10).await.unwrap();
    assert_eq!(found.entries.len(), 5);
    for kept in found.entries {
        let Some(Followed::Entry(heard)) = follow.next().await else { panic!("missed") };
        assert_eq!(format!("{heard:?}"), format!("{kept:?}"));
    }
}

#[tokio::test]
async fn a_follower_that_lags_is_told_how_many_it_missed_and_goes_on() {
    for (lag_max, recorded, missed) in [(64, 64, 0), (64, 65, 1), (64, 1_000, 936)] {
        let place = Place::new(Options { follower_lag_max: lag_max, ..roomy() });
        let log = place.open();
        let mut follow = log.follow(Filter::default()).unwrap();
        record(&log, 0..recorded).await;
        if missed > 0 {
            assert_eq!(next(&mut follow).await, Some(Err(missed)));
        }
        for expected in missed..recorded {
            assert_eq!(next(&mut follow).await, Some(Ok(expected)));
        }
        assert_eq!(numbers(&log).await.len() as u64, recorded, "the log missed nothing");
    }
}

#[tokio::test]
async fn so_many_may_follow_and_a_place_is_free_once_one_is_gone() {
    let place = Place::new(Options { followers_max: 2, ..roomy() });
    let log = place.open();
    let first = log.follow(Filter::default()).unwrap();
    let _second = log.follow(Filter::default()).unwrap();
    let third = log.follow(Filter::default());
    assert!(matches!(third, Err(Error::Crowded { followers_max: 2, .. })), "{third:?}");
    drop(first);
    assert!(log.follow(Filter::default()).is_ok());
}

#[tokio::test]
async fn a_follower_hears_the_rest_and_then_the_end() {
    let place = Place::new(roomy());
    let log = place.open();
    let mut follow = log.follow(Filter::default()).unwrap();
    log.record(exchange(1));
    drop(log);
    assert_eq!(next(&mut follow).await, Some(Ok(1)));
    assert_eq!(next(&mut follow).await, None);
}
