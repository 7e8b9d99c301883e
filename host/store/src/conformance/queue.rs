//! Cases of the queues.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Subject;
use crate::{Claim, Collision, Error, Store};

/// How long a claim lasts in these cases.
const VISIBILITY: Duration = Duration::from_secs(60);

async fn enqueue(subject: &Subject, bodies: &[&'static str]) {
    for body in bodies {
        subject.store.batch().enqueue("q", *body).commit().await.expect("enqueue");
    }
}

async fn claim(subject: &Subject) -> Option<Claim> {
    subject.store.claim("q", VISIBILITY).await.expect("claim")
}

fn lost<T: std::fmt::Debug>(result: Result<T, Error>) {
    let conflict = matches!(result, Err(Error::Conflict { what: Collision::Claim }));
    assert!(conflict, "expected a conflict about the claim: {result:?}");
}

/// First in, first out; numbers are not used again.
pub async fn messages_come_in_order_and_settle_once(subject: &Subject) {
    enqueue(subject, &["one", "two", "three"]).await;
    let other = subject.store.batch().enqueue("other", "elsewhere");
    other.commit().await.expect("enqueue");
    for (seq, body) in [(1, "one"), (2, "two"), (3, "three")] {
        let claim = claim(subject).await.expect("a message");
        assert_eq!((claim.seq, &claim.body[..], claim.attempts), (seq, body.as_bytes(), 1));
        subject.store.settle(&claim).await.expect("settle");
        lost(subject.store.settle(&claim).await);
    }
    assert_eq!(claim(subject).await, None);
    enqueue(subject, &["four"]).await;
    assert_eq!(claim(subject).await.expect("a message").seq, 4);
}

/// After that, somebody else has it, and the first claim is worth nothing.
pub async fn a_claim_ends_with_its_visibility(subject: &Subject) {
    enqueue(subject, &["message"]).await;
    let first = claim(subject).await.expect("a message");
    (subject.advance)(VISIBILITY - Duration::from_secs(1));
    assert_eq!(claim(subject).await, None);
    (subject.advance)(Duration::from_secs(1));
    let second = claim(subject).await.expect("visible again");
    assert_eq!((second.seq, second.attempts), (first.seq, 2));
    assert_ne!(second.fence, first.fence);
    lost(subject.store.settle(&first).await);
    lost(subject.store.give_back(&first, Duration::ZERO, "late").await);
    subject.store.settle(&second).await.expect("settle");
    assert_eq!(claim(subject).await, None);
}

/// In its old place, after its delay.
pub async fn given_back_means_later_and_again(subject: &Subject) {
    enqueue(subject, &["one", "two"]).await;
    let first = claim(subject).await.expect("a message");
    let wait = Duration::from_secs(10);
    subject.store.give_back(&first, wait, "busy").await.expect("give back");
    lost(subject.store.settle(&Claim { fence: first.fence + 1, ..first.clone() }).await);
    assert_eq!(claim(subject).await.expect("a message").seq, 2);
    assert_eq!(claim(subject).await, None);
    (subject.advance)(wait);
    let again = claim(subject).await.expect("a message");
    assert_eq!((again.seq, again.attempts), (1, 2));
}

/// With the reason that was last given, or that there was none.
pub async fn a_message_claimed_too_often_is_given_up(subject: &Subject) {
    enqueue(subject, &["failing", "forgotten", "good"]).await;
    let store = &subject.store;
    let attempts_max = crate::Limits::default().attempts_max;
    for attempt in 1..=attempts_max {
        let failing = claim(subject).await.expect("a message");
        let forgotten = claim(subject).await.expect("a message");
        assert_eq!((&failing.body[..], &forgotten.body[..]), (&b"failing"[..], &b"forgotten"[..]));
        assert_eq!((failing.attempts, forgotten.attempts), (attempt, attempt));
        let reason = format!("é attempt {attempt} {}", "é".repeat(300));
        store.give_back(&failing, Duration::ZERO, &reason).await.expect("give back");
        (subject.advance)(VISIBILITY);
    }
    let good = claim(subject).await.expect("a message");
    assert_eq!(&good.body[..], b"good");
    let dead = store.dead_letters("q").await.expect("list");
    let bodies: Vec<_> = dead.iter().map(|letter| (letter.seq, &letter.body[..])).collect();
    assert_eq!(bodies, [(1, &b"failing"[..]), (2, b"forgotten")]);
    assert!(dead[0].reason.starts_with("é attempt 10 é"), "{}", dead[0].reason);
    assert_eq!(dead[1].reason, "claimed and never settled");
    assert!(dead.iter().all(|letter| letter.attempts == attempts_max));
}

/// What a message asked for, the next message, and its end: together or not at all.
pub async fn settling_lands_with_its_batch(subject: &Subject) {
    enqueue(subject, &["work"]).await;
    let stale = claim(subject).await.expect("a message");
    (subject.advance)(VISIBILITY);
    let work = claim(subject).await.expect("a message");
    let finish = |claim: &Claim| {
        let batch = subject.store.batch().put_cell("s", b"done", None, "yes");
        batch.enqueue("next", "follow-up").settle(claim).commit()
    };
    lost(finish(&stale).await);
    assert_eq!(subject.store.cell("s", b"done").await.expect("read"), None);
    assert_eq!(subject.store.claim("next", VISIBILITY).await.expect("claim"), None);
    finish(&work).await.expect("finish");
    assert!(subject.store.cell("s", b"done").await.expect("read").is_some());
    assert!(subject.store.claim("next", VISIBILITY).await.expect("claim").is_some());
}

/// Four workers that sometimes give up; each message is settled once.
pub async fn no_message_is_lost_or_settled_twice(subject: &Subject) {
    const MESSAGES: u64 = 80;
    let work = async |store: Store| {
        let mut settled = Vec::new();
        // A worker is done when it found nothing for a while: others may give back meanwhile.
        let mut idle = 0;
        while idle < 50 {
            let Some(claim) = store.claim("q", VISIBILITY).await.expect("claim") else {
                idle += 1;
                tokio::time::sleep(Duration::from_millis(2)).await;
                continue;
            };
            idle = 0;
            if claim.attempts == 1 && claim.seq.is_multiple_of(3) {
                store.give_back(&claim, Duration::ZERO, "not now").await.expect("give back");
            } else {
                store.settle(&claim).await.expect("nobody else may settle it");
                settled.push(claim.seq);
            }
        }
        settled
    };
    let workers = [(); 4].map(|()| tokio::spawn(work(subject.store.clone())));
    for n in 0..MESSAGES {
        let batch = subject.store.batch().enqueue("q", n.to_string());
        batch.commit().await.expect("enqueue");
    }
    let mut times = BTreeMap::<u64, u32>::new();
    for worker in workers {
        for seq in worker.await.expect("no panic") {
            *times.entry(seq).or_default() += 1;
        }
    }
    let leftover = claim(subject).await;
    assert_eq!(leftover, None);
    assert_eq!(times, (1..=MESSAGES).map(|seq| (seq, 1)).collect());
}

/// 3 KiB and not a byte more, and still settled, given back and given up at that size.
pub async fn message_bodies_have_a_limit(subject: &Subject) {
    let store = &subject.store;
    let over = store.batch().enqueue("q", vec![0xff; 3_073]).commit().await;
    assert!(matches!(over, Err(Error::TooLarge { .. })), "{over:?}");
    store.batch().enqueue("q", vec![0xff; 3_072]).commit().await.expect("at the limit");
    while let Some(claim) = claim(subject).await {
        let reason = "\u{1}\"\\".repeat(300);
        store.give_back(&claim, Duration::ZERO, &reason).await.expect("give back");
    }
    let dead = store.dead_letters("q").await.expect("list");
    assert_eq!((dead.len(), dead[0].body.len()), (1, 3_072));
}
