//! Retention: whole segments go, oldest first, by size and by age, at a start and while the log is written.

use std::time::Duration;

use keyway_core::exchange::Exchange;
use keyway_core::ports::ExchangeLog as _;
use keyway_exchanges::{Exchanges, Options, Order};

use crate::support::{BEGINNING, Place, exchange, numbers, page, roomy};

const HOUR: Duration = Duration::from_secs(3_600);

fn disk_bytes(place: &Place) -> u64 {
    place.files().iter().map(|file| std::fs::metadata(file).unwrap().len()).sum()
}

/// Records one that begins now.
async fn at_hour(log: &Exchanges, hour: u64) {
    let at = BEGINNING + HOUR * u32::try_from(hour).unwrap();
    log.record(Exchange { at, ..exchange(hour) });
    log.flush().await;
}

#[tokio::test]
async fn the_log_is_never_larger_than_it_may_be_and_keeps_the_newest() {
    let options = Options { segment_bytes_max: 4_000, total_bytes_max: 20_000, ..roomy() };
    let place = Place::new(options.clone());
    let log = place.open();
    for number in 0..500 {
        log.record(exchange(number));
        log.flush().await;
        assert!(disk_bytes(&place) <= options.total_bytes_max, "after {number}");
        let metrics = log.metrics();
        assert_eq!(
            (metrics.bytes(), metrics.segments()),
            (disk_bytes(&place), place.files().len() as u64)
        );
    }
    let left = numbers(&log).await;
    assert!(left.len() > 20, "half of it is room for more: {left:?}");
    assert!(left.iter().copied().eq(500 - left.len() as u64..500), "oldest first: {left:?}");
}

#[tokio::test]
async fn a_start_with_less_room_deletes_what_is_too_much() {
    let mut place = Place::new(Options { segment_bytes_max: 4_000, ..roomy() });
    drop(place.with(0..200).await);
    let before = disk_bytes(&place);
    place.options.total_bytes_max = before / 2;
    let log = place.open();
    assert!(disk_bytes(&place) <= before / 2);
    assert_eq!(numbers(&log).await.last(), Some(&199));
}

#[tokio::test]
async fn a_log_with_room_for_less_than_a_segment_still_keeps_its_bound() {
    let place =
        Place::new(Options { segment_bytes_max: 1 << 20, total_bytes_max: 4_000, ..roomy() });
    let log = place.open();
    for number in 0..100 {
        log.record(exchange(number));
        log.flush().await;
        assert!(disk_bytes(&place) <= 4_000, "after {number}");
    }
    assert_eq!(numbers(&log).await.last(), Some(&99));
}

#[tokio::test]
async fn what_is_too_old_goes_at_the_latest_with_its_segments_time() {
    let options = Options { age_max: HOUR * 10, segment_time_max: HOUR * 2, ..roomy() };
    let place = Place::new(options);
    let log = place.open();
    for hour in 0..40 {
        at_hour(&log, hour).await;
        log.retain().await;
        let left = numbers(&log).await;
        // Ten hours are kept in full; what shares a segment with them stays a little longer.
        let oldest = left[0];
        assert!(oldest <= hour.saturating_sub(10), "hour {hour}: {left:?}");
        assert!(oldest + 14 > hour, "hour {hour}: {left:?}");
        assert!(left.iter().copied().eq(oldest..=hour), "hour {hour}: {left:?}");
        place.clock.advance(HOUR);
    }
}

#[tokio::test]
async fn a_quiet_log_loses_what_is_too_old_too_and_its_ids_go_on() {
    let place = Place::new(Options { age_max: HOUR * 10, ..roomy() });
    let log = place.with(0..3).await;
    let last = page(&log, Order::NewestFirst, None, 1).await.entries[0].id;
    place.clock.advance(HOUR * 10);
    log.retain().await;
    assert_eq!(numbers(&log).await, [0, 1, 2], "just as old as they may be");
    place.clock.advance(Duration::from_nanos(1));
    log.retain().await;
    assert_eq!(numbers(&log).await, [] as [u64; 0]);
    drop(log);
    // Also over a start that finds nothing but an empty segment.
    let log = place.with([7]).await;
    assert!(page(&log, Order::NewestFirst, None, 1).await.entries[0].id > last);
}

#[tokio::test]
async fn a_start_deletes_what_became_too_old_while_the_host_was_down() {
    let place = Place::new(Options { age_max: HOUR * 10, ..roomy() });
    drop(place.with(0..3).await);
    place.clock.advance(HOUR * 11);
    let log = place.open();
    assert_eq!(numbers(&log).await, [] as [u64; 0]);
    let left = place.files();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(!std::fs::read(&left[0]).unwrap().windows(4).any(|window| window == b"acme"));
}

#[tokio::test]
async fn an_age_shorter_than_a_segments_time_is_kept_all_the_same() {
    let place = Place::new(Options { age_max: HOUR, segment_time_max: HOUR * 100, ..roomy() });
    let log = place.open();
    for hour in 0..6 {
        at_hour(&log, hour).await;
        log.retain().await;
        place.clock.advance(HOUR);
    }
    log.retain().await;
    // An hour each: the age, the segment's time, and between two looks.
    let left = numbers(&log).await;
    assert!(left[0] >= 3, "{left:?}");
}

#[tokio::test]
async fn a_page_behind_what_was_deleted_goes_on_with_what_is_left() {
    let place =
        Place::new(Options { segment_bytes_max: 4_000, total_bytes_max: 20_000, ..roomy() });
    let log = place.with(0..5).await;
    let first = page(&log, Order::OldestFirst, None, 2).await;
    (5..500).for_each(|number| log.record(exchange(number)));
    log.flush().await;
    let next = page(&log, Order::OldestFirst, first.next, 1_000).await;
    assert_eq!(next.entries.len(), numbers(&log).await.len());
}
