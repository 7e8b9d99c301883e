//! Cases of the data plane: cells, batches, leases.

use std::time::Duration;

use bytes::Bytes;

use super::Subject;
use crate::{Cell, Collision, Error, Lease};

/// A lease's time in these cases.
const TTL: Duration = Duration::from_secs(30);

fn conflict<T: std::fmt::Debug>(result: Result<T, Error>, about: Collision) {
    match result {
        Err(Error::Conflict { what }) if what == about => {}
        other => panic!("expected a conflict about {about}: {other:?}"),
    }
}

/// Only against the version that is there.
pub async fn cells_compare_and_swap(subject: &Subject) {
    let store = &subject.store;
    let put = async |version, value: &'static str| {
        store.batch().put_cell("cursors", b"contacts", version, value).commit().await
    };
    assert_eq!(store.cell("cursors", b"contacts").await.expect("read"), None);
    conflict(put(Some(1), "early").await, Collision::Cell);
    conflict(put(Some(0), "early").await, Collision::Cell);
    put(None, "one").await.expect("new");
    conflict(put(None, "again").await, Collision::Cell);
    put(Some(1), "two").await.expect("next");
    conflict(put(Some(1), "late").await, Collision::Cell);
    let found = store.cell("cursors", b"contacts").await.expect("read");
    assert_eq!(found, Some(Cell { version: 2, value: Bytes::from_static(b"two") }));
}

/// Nothing that was acknowledged is overwritten unseen: a counter counts every success.
pub async fn of_two_writers_of_a_cell_one_lands(subject: &Subject) {
    let count = async |store: crate::Store| {
        let mut landed = 0_u64;
        for _ in 0..40 {
            let found = store.cell("s", b"counter").await.expect("read");
            let version = found.as_ref().map(|cell| cell.version);
            let value = found.map_or(0, |cell| cell.value.iter().map(|b| u64::from(*b)).sum());
            let next = vec![1_u8; value as usize + 1];
            match store.batch().put_cell("s", b"counter", version, next).commit().await {
                Ok(()) => landed += 1,
                other => conflict(other, Collision::Cell),
            }
        }
        landed
    };
    let tasks = [(); 4].map(|()| tokio::spawn(count(subject.store.clone())));
    let mut landed = 0;
    for task in tasks {
        landed += task.await.expect("no panic");
    }
    let found = subject.store.cell("s", b"counter").await.expect("read").expect("written");
    assert_eq!((found.version, found.value.len() as u64), (landed, landed));
}

/// No bytes are special, and spaces are apart.
pub async fn any_bytes_are_a_key(subject: &Subject) {
    let store = &subject.store;
    let keys: [&[u8]; 7] = [b"", b"\0", b"\0\x01", b"\xff", b"\xff\xff", b"\0\xff", b"a"];
    let spaces = ["", "a", "a\0", "b"];
    for (n, (space, key)) in spaces.iter().flat_map(|s| keys.map(|k| (s, k))).enumerate() {
        assert_eq!(store.cell(space, key).await.expect("read"), None, "{space:?} {key:?}");
        let value = vec![n as u8];
        store.batch().put_cell(space, key, None, value).commit().await.expect("write");
    }
    for (n, (space, key)) in spaces.iter().flat_map(|s| keys.map(|k| (s, k))).enumerate() {
        let found = store.cell(space, key).await.expect("read").expect("there");
        assert_eq!(found.value, vec![n as u8], "{space:?} {key:?}");
    }
}

/// Values at the limit and above it; keys too long; batches too large.
pub async fn cells_have_limits(subject: &Subject) {
    let store = &subject.store;
    let put = async |key: &[u8], bytes: usize| {
        store.batch().put_cell("s", key, None, vec![0xff; bytes]).commit().await
    };
    let too_large = |result: Result<(), Error>| {
        assert!(matches!(result, Err(Error::TooLarge { .. })), "{result:?}");
    };
    too_large(put(b"over", 3_073).await);
    assert_eq!(store.cell("s", b"over").await.expect("read"), None);
    put(b"fits", 3_072).await.expect("at the limit");
    put(b"empty", 0).await.expect("nothing is a value");
    let found = store.cell("s", b"fits").await.expect("read").expect("there");
    assert_eq!(found.value.len(), 3_072);

    // The space's byte, its name and the ends of two parts are the other six bytes.
    put(&[b'k'; 442], 1).await.expect("at the limit");
    too_large(put(&[b'k'; 443], 1).await);
    too_large(put(&[0; 222], 1).await);

    let many = |cells: u32| {
        let mut batch = store.batch();
        for n in 0..cells {
            batch = batch.put_cell("many", &n.to_be_bytes(), None, "v");
        }
        batch.commit()
    };
    too_large(many(1_025).await);
    assert_eq!(store.cell("many", &0_u32.to_be_bytes()).await.expect("read"), None);
    many(1_024).await.expect("at the limit");
}

/// One stale cell, and neither the others nor the message is there.
pub async fn a_batch_lands_whole_or_not_at_all(subject: &Subject) {
    let store = &subject.store;
    store.batch().put_cell("s", b"cursor", None, "0").commit().await.expect("cursor");
    let page = |cursor_version| {
        let batch = store.batch().put_cell("s", b"record", None, "r").enqueue("out", "message");
        batch.put_cell("s", b"cursor", cursor_version, "1").commit()
    };
    conflict(page(Some(7)).await, Collision::Cell);
    assert_eq!(store.cell("s", b"record").await.expect("read"), None);
    assert_eq!(store.claim("out", TTL).await.expect("claim"), None);
    page(Some(1)).await.expect("page");
    assert!(store.cell("s", b"record").await.expect("read").is_some());
    assert!(store.claim("out", TTL).await.expect("claim").is_some());

    let twice = store.batch().put_cell("s", b"x", None, "1").put_cell("s", b"x", None, "2");
    conflict(twice.commit().await, Collision::Contended);
}

async fn acquire(subject: &Subject, owner: &str) -> Option<Lease> {
    subject.store.acquire_lease("stream", owner, TTL).await.expect("acquire")
}

/// Renewal keeps the fence; whoever takes over gets a higher one, the same owner included.
pub async fn a_lease_has_one_owner_and_rising_fences(subject: &Subject) {
    let store = &subject.store;
    let first = acquire(subject, "a").await.expect("free");
    assert_eq!((first.fence, first.owner.as_str(), first.name.as_str()), (1, "a", "stream"));
    assert_eq!(acquire(subject, "b").await, None);

    (subject.advance)(TTL / 2);
    let renewed = store.renew_lease(&first, TTL).await.expect("renew").expect("held");
    assert_eq!(renewed.fence, 1);
    assert_eq!(acquire(subject, "a").await.expect("its own").fence, 1);
    (subject.advance)(TTL - Duration::from_secs(1));
    assert_eq!(acquire(subject, "b").await, None, "renewed a second less than its time ago");

    (subject.advance)(Duration::from_secs(1));
    assert_eq!(store.renew_lease(&renewed, TTL).await.expect("renew"), None, "too late");
    let second = acquire(subject, "b").await.expect("expired");
    assert_eq!(second.fence, 2);
    assert_eq!(store.renew_lease(&renewed, TTL).await.expect("renew"), None, "somebody else's");

    (subject.advance)(TTL);
    let third = acquire(subject, "b").await.expect("expired");
    assert_eq!(third.fence, 3, "others might have written in between");
    assert_eq!(store.renew_lease(&second, TTL).await.expect("renew"), None, "an old fence");
}

/// And its fence is not used again.
pub async fn a_lease_given_back_is_free_at_once(subject: &Subject) {
    let store = &subject.store;
    let first = acquire(subject, "a").await.expect("free");
    store.release_lease(&first).await.expect("give back");
    assert_eq!(store.renew_lease(&first, TTL).await.expect("renew"), None);
    let second = acquire(subject, "b").await.expect("free");
    assert_eq!(second.fence, 2);
    store.release_lease(&first).await.expect("it has nothing to give back");
    assert_eq!(acquire(subject, "c").await, None, "b still has it");
}

/// A worker that was away does not write, whether or not it knows.
pub async fn a_stale_fence_is_refused(subject: &Subject) {
    let store = &subject.store;
    let put = async |lease: &Lease, key: &[u8]| {
        store.batch().holding(lease).put_cell("s", key, None, "v").enqueue("q", "m").commit().await
    };
    let first = acquire(subject, "a").await.expect("free");
    put(&first, b"held").await.expect("held");
    (subject.advance)(TTL);
    conflict(put(&first, b"expired").await, Collision::Lease);
    let second = acquire(subject, "b").await.expect("expired");
    conflict(put(&first, b"taken over").await, Collision::Lease);
    let forged = Lease { owner: "a".to_owned(), ..second.clone() };
    conflict(put(&forged, b"forged").await, Collision::Lease);
    let unknown = Lease { name: "other".to_owned(), ..second.clone() };
    conflict(put(&unknown, b"unknown").await, Collision::Lease);
    put(&second, b"second").await.expect("held");
    for key in [&b"expired"[..], b"taken over", b"forged", b"unknown"] {
        assert_eq!(store.cell("s", key).await.expect("read"), None);
    }
    let claimed = async || store.claim("q", TTL).await.expect("claim").map(|claim| claim.seq);
    assert_eq!((claimed().await, claimed().await, claimed().await), (Some(1), Some(2), None));
}

/// However they race, also for one that has expired.
pub async fn of_many_who_want_a_lease_one_has_it(subject: &Subject) {
    for fence in 1..=5 {
        let tasks: Vec<_> = (0..20)
            .map(|n| {
                let store = subject.store.clone();
                let owner = format!("owner-{fence}-{n}");
                tokio::spawn(async move { store.acquire_lease("stream", &owner, TTL).await })
            })
            .collect();
        let mut leases = Vec::new();
        for task in tasks {
            leases.extend(task.await.expect("no panic").expect("acquire"));
        }
        assert_eq!(leases.iter().map(|lease| lease.fence).collect::<Vec<_>>(), [fence]);
        (subject.advance)(TTL);
    }
}

/// The holder's own renewals and commits at once: none fails.
pub async fn renewals_do_not_disturb_commits(subject: &Subject) {
    let lease = acquire(subject, "a").await.expect("free");
    let (store, held) = (subject.store.clone(), lease.clone());
    let renewals = tokio::spawn(async move {
        for _ in 0..50 {
            store.renew_lease(&held, TTL).await.expect("renew").expect("held");
        }
    });
    for n in 0..50_u8 {
        let batch = subject.store.batch().holding(&lease).put_cell("s", &[n], None, "v");
        batch.commit().await.expect("held");
    }
    renewals.await.expect("no panic");
}
