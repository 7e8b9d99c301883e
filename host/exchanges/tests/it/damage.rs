//! Files that are not what was written: every start is usable, and what is whole is found.

use std::path::Path;

use keyway_core::ports::ExchangeLog as _;
use keyway_exchanges::{Exchanges, Options, Order};

use crate::support::{Place, all, exchange, number, numbers, roomy};

/// Bytes of a segment before its first frame.
const HEADER: usize = 72;

/// The one segment of a log with these exchanges, and where each frame ends.
async fn segment(count: u64) -> (Vec<u8>, Vec<usize>) {
    let place = Place::new(roomy());
    let log = place.open();
    let mut ends = Vec::new();
    for number in 0..count {
        log.record(exchange(number));
        log.flush().await;
        ends.push(std::fs::metadata(&place.files()[0]).unwrap().len() as usize);
    }
    drop(log);
    (std::fs::read(&place.files()[0]).unwrap(), ends)
}

fn put(folder: &Path, number: u64, bytes: &[u8]) {
    std::fs::write(folder.join(format!("{number:08}.log")), bytes).unwrap();
}

/// Adds one more and expects it behind what is there, also after a restart.
async fn assert_usable(place: &Place, log: Exchanges, mut there: Vec<u64>, why: &str) {
    assert_eq!(numbers(&log).await, there, "{why}");
    log.record(exchange(1_000));
    log.flush().await;
    there.push(1_000);
    assert_eq!(numbers(&log).await, there, "{why}");
    drop(log);
    assert_eq!(numbers(&place.open()).await, there, "{why}");
}

#[tokio::test]
async fn a_tail_torn_at_any_byte_is_cut_and_the_rest_is_there() {
    let (bytes, ends) = segment(2).await;
    for cut in 0..bytes.len() {
        let place = Place::new(roomy());
        put(place.folder.path(), 1, &bytes[..cut]);
        let log = place.open();
        assert_eq!(log.metrics().damaged(), 0, "a torn tail is no damage");
        let whole = ends.iter().filter(|end| **end <= cut).count() as u64;
        assert_usable(&place, log, (0..whole).collect(), &format!("cut to {cut}")).await;
    }
}

#[tokio::test]
async fn a_torn_tail_leaves_nothing_behind_that_a_later_start_would_find() {
    let (bytes, ends) = segment(3).await;
    let place = Place::new(roomy());
    put(place.folder.path(), 1, &bytes[..ends[2] - 1]);
    let log = place.with([7]).await;
    drop(log);
    let size = std::fs::metadata(&place.files()[0]).unwrap().len() as usize;
    assert!(size <= ends[1] + (ends[2] - ends[1]) + 8, "the new one lies where the torn one did");
    assert_eq!(numbers(&place.open()).await, [0, 1, 7]);
}

#[tokio::test]
async fn a_flipped_bit_costs_one_exchange_and_is_counted_once() {
    let (bytes, ends) = segment(3).await;
    for at in ends[0]..ends[1] {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        let place = Place::new(roomy());
        put(place.folder.path(), 1, &flipped);
        let log = place.open();
        // However often it is looked at.
        for order in [Order::OldestFirst, Order::NewestFirst] {
            let mut found: Vec<_> = all(&log, order, 1).await.iter().map(number).collect();
            found.sort_unstable();
            assert_eq!(found, [0, 2], "byte {at}");
        }
        assert_eq!(log.metrics().damaged(), 1, "byte {at}");
        assert_usable(&place, log, vec![0, 2], &format!("byte {at}")).await;
    }
}

#[tokio::test]
async fn a_flipped_bit_in_a_header_costs_nothing_that_is_behind_it() {
    let (bytes, _) = segment(3).await;
    for at in 0..HEADER {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        let place = Place::new(roomy());
        put(place.folder.path(), 1, &flipped);
        let log = place.open();
        assert_usable(&place, log, vec![0, 1, 2], &format!("byte {at}")).await;
    }
}

#[tokio::test]
async fn damage_in_a_closed_segment_is_skipped_when_it_is_read() {
    let place = Place::new(Options { segment_bytes_max: 3_000, ..roomy() });
    drop(place.with(0..50).await);
    let files = place.files();
    assert!(files.len() > 5);
    let mut bytes = std::fs::read(&files[2]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&files[2], &bytes).unwrap();
    let log = place.open();
    assert_eq!(numbers(&log).await.len(), 49);
    assert_eq!(log.metrics().damaged(), 1);
}

#[tokio::test]
async fn a_closed_segment_that_was_cut_is_not_believed_once_it_has_its_old_size_again() {
    let place = Place::new(Options { segment_bytes_max: 3_000, ..roomy() });
    // Two digits each, so all are of one size.
    drop(place.with(10..60).await);
    // The newest closed one, without its last two exchanges, as the only one there is.
    let files = place.files();
    let bytes = std::fs::read(&files[files.len() - 2]).unwrap();
    files.iter().for_each(|file| std::fs::remove_file(file).unwrap());
    let count = bytes.windows(4).filter(|mark| *mark == [0xff, b'K', b'x', 0xfe]).count();
    let size = (bytes.len() - HEADER) / count;
    put(place.folder.path(), 1, &bytes[..bytes.len() - 2 * size]);
    for number in [91, 92] {
        drop(place.with([number]).await);
    }
    assert_eq!(std::fs::metadata(&place.files()[0]).unwrap().len(), bytes.len() as u64);
    // A header that still said what it was closed with would give ids again.
    let log = place.with([93]).await;
    let there = numbers(&log).await;
    assert_eq!(there[there.len() - 3..], [91, 92, 93]);
}

#[tokio::test]
async fn the_log_is_for_its_owners_eyes() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new(roomy());
    drop(place.with([1]).await);
    let mode = std::fs::metadata(&place.files()[0]).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn files_that_are_no_log_at_all_keep_nobody_from_starting() {
    let place = Place::new(roomy());
    let folder = place.folder.path();
    put(folder, 1, &[]);
    put(folder, 2, &[0; 10_000]);
    put(folder, 3, "no log at all\n".repeat(1_000).as_bytes());
    put(folder, 4, &[0xff; 10_000]);
    std::fs::create_dir(folder.join("00000005.log")).unwrap();
    std::fs::write(folder.join("notes.txt"), "x").unwrap();
    std::os::unix::fs::symlink("/etc/hostname", folder.join("00000006.log")).unwrap();
    let log = place.open();
    assert_usable(&place, log, vec![], "nothing to read").await;
    assert!(folder.join("00000007.log").exists(), "behind every number there is");
    assert!(folder.join("notes.txt").exists(), "what is not the log's stays");
}

#[tokio::test]
async fn ids_go_up_over_restarts_that_lost_the_newest_exchanges() {
    let place = Place::new(Options { segment_bytes_max: 1_500, ..roomy() });
    let mut last = 0;
    for start in 0..20 {
        // The first of a start is synced before anybody hears of it; later ones a loss of power may take.
        let log = place.with([start]).await;
        let kept = place.files();
        let kept: Vec<_> =
            kept.iter().map(|file| (file.clone(), std::fs::read(file).unwrap())).collect();
        (0..start % 7).for_each(|number| log.record(exchange(number)));
        log.flush().await;
        let ids = all(&log, Order::NewestFirst, 100).await;
        let mut ids = ids.iter().map(|kept| kept.id.0);
        let newest = ids.next().unwrap();
        let fresh = 1 + (start % 7) as usize;
        let oldest = std::iter::once(newest).chain(ids).take(fresh).last().unwrap();
        assert!(oldest > last, "start {start}: {oldest} was given before, up to {last}");
        last = newest;
        drop(log);
        place.files().iter().for_each(|file| std::fs::remove_file(file).unwrap());
        kept.iter().for_each(|(file, bytes)| std::fs::write(file, bytes).unwrap());
    }
}
