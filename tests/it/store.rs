//! The store when the disk is full, and when what is on it is not what was acknowledged: the host says so
//! and ends, and nothing that it acknowledged is lost or replaced.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use harness::Http;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::setup::{Setup, files_below, path};

const ECHO: &str = "fixtures/echo";

/// `keyway serve` could not start or go on.
const NOT_STARTED: Option<i32> = Some(7);

/// What the store's file may grow by before the file system refuses: more than one of sled's segments, few
/// enough to be filled in seconds.
const ROOM_BYTES: u64 = 1 << 20;

/// Operators who pin at the same time, so that the refusal meets more than one commit.
const OPERATORS: usize = 4;

/// Longer than a host takes to notice its store and to let calls end.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_the_host_and_loses_nothing_acknowledged() {
    let mut setup = Setup::new("");
    setup.publish("echo").await.ok();
    setup.publish("echo-next").await.ok();
    let place = setup.kill();
    let size = std::fs::metadata(place.data.join("store/sled/db")).expect("sled's file").len();
    let host =
        place.start().file_bytes_max(size + ROOM_BYTES).run().expect("there is room to start");
    let operators: Vec<_> = (0..OPERATORS)
        .map(|number| tokio::spawn(pin_until_refused(host.http(), format!("tenant-{number}"))))
        .collect();
    let (mut acknowledged, mut told) = (Vec::new(), 0);
    for operator in operators {
        let (pins, refused) = operator.await.expect("refused in the way that is documented");
        acknowledged.push(pins);
        told += usize::from(refused);
    }
    assert!(told > 0, "the host went without a word to whoever met the full disk");
    let ended = host.ended(PATIENCE).await;
    assert_eq!(ended.code, NOT_STARTED, "{}", ended.said);
    assert!(ended.said.contains("the store takes no more changes"), "{}", ended.said);
    assert!(!ended.said.contains("drain took too long"), "calls were cut off: {}", ended.said);

    let mut setup = place.up();
    for (number, pins) in acknowledged.iter().enumerate() {
        assert!(!pins.is_empty(), "tenant-{number} was never pinned: there was no room at all");
        let tenant = format!("tenant-{number}");
        let kept = history(&mut setup.http, &tenant).await;
        assert!(kept.starts_with(pins), "{tenant}: acknowledged {pins:?}, kept {kept:?}");
        // The change that was refused may have landed, and none after it.
        assert!(kept.len() <= pins.len() + 1, "{tenant}: {} pins out of nowhere", kept.len());
        let runs = kept.last().expect("not empty")["release"]["version"].clone();
        let reply = setup.act(&tenant, ECHO, "version", json!(null)).await.ok();
        assert_eq!(reply.json(), runs, "{tenant}");
    }
    // And it takes changes again.
    setup.pin("tenant-0", ECHO, "1.0.0").await;
}

/// Pins a tenant to one release and the other in turn, until the host says that its store takes no more;
/// what it acknowledged, oldest first, and whether it said so. It may also be gone by then, because of another
/// operator's pin.
async fn pin_until_refused(mut http: Http, tenant: String) -> (Vec<Value>, bool) {
    let mut acknowledged = Vec::new();
    for release in ["1.0.0", "1.1.0"].into_iter().cycle() {
        let body = json!({"release": release, "reason": "r".repeat(1_000)});
        let (pin, kind) = (path(&tenant, ECHO, "/pin"), "application/json");
        let put = http.try_send(Method::PUT, &pin, kind, body.to_string().into()).await;
        let Ok(reply) = put else { return (acknowledged, false) };
        if reply.status.is_success() {
            acknowledged.push(reply.json());
            continue;
        }
        let refused = (reply.status, reply.code());
        let expected = (StatusCode::SERVICE_UNAVAILABLE, "store-unavailable".to_owned());
        assert_eq!(refused, expected, "{}", reply.json());
        // Gone is as good an answer: it may have ended by now.
        if let Ok(ready) = http.try_send(Method::GET, "/readyz", "", Bytes::new()).await {
            assert_eq!(ready.code(), "store-unavailable", "{}", ready.json());
        }
        return (acknowledged, true);
    }
    unreachable!("the releases go on in a circle")
}

/// Every pin that a tenant had, oldest first.
async fn history(http: &mut Http, tenant: &str) -> Vec<Value> {
    let mut pins = Vec::new();
    let mut query = String::new();
    loop {
        let page = http.get(&path(tenant, ECHO, &format!("/history{query}"))).await.ok().json();
        pins.extend(page["pins"].as_array().expect("a list").iter().cloned());
        match page["next"].as_u64() {
            Some(before) => query = format!("?before={before}"),
            None => break,
        }
    }
    pins.reverse();
    pins
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_somebody_touched_is_set_aside_and_nothing_is_served() {
    const MARK: &[u8] = b"the reason of the pin that somebody touches";
    let mut setup = Setup::new("");
    setup.publish("echo").await.ok();
    let body = json!({"release": "1.0.0", "reason": String::from_utf8_lossy(MARK)});
    setup.http.put(&path("acme", ECHO, "/pin"), body).await.ok();
    let place = setup.kill();
    let store = place.data.join("store");
    let backup = tempfile::tempdir().expect("temporary folder");
    copy(&store, backup.path());

    let file = store.join("sled/db");
    let mut bytes = std::fs::read(&file).expect("sled's file");
    let places: Vec<usize> =
        (0..bytes.len() - MARK.len()).filter(|at| bytes[*at..].starts_with(MARK)).collect();
    assert!(!places.is_empty(), "the pin is not in sled's file");
    places.iter().for_each(|at| bytes[*at] ^= 1);
    std::fs::write(&file, bytes).expect("writable");
    let ended = place.refuse();
    assert_eq!(ended.code, NOT_STARTED);
    let aside = store.join("sled.quarantined-1");
    let why = format!("the store was set aside as {} and is not served", aside.display());
    assert!(ended.said.contains(&why), "{}", ended.said);
    assert!(aside.join("db").exists(), "it is kept for whoever looks into it");

    // No later start begins anew over it.
    let again = place.refuse();
    assert_eq!(again.code, NOT_STARTED);
    assert!(again.said.contains("put a backup in its place, or move it away"), "{}", again.said);
    assert!(!store.join("sled").exists());

    // What operators are told to do: both from the same copy.
    copy(&backup.path().join("sled"), &store.join("sled"));
    std::fs::copy(backup.path().join("high-water"), store.join("high-water")).expect("writable");
    let mut setup = place.up();
    let reply = setup.act("acme", ECHO, "version", json!(null)).await.ok();
    assert_eq!(reply.json(), "1.0.0");
}

/// Copies a folder's files, and makes the folders that they are in.
pub(crate) fn copy(from: &Path, to: &Path) {
    for file in files_below(from) {
        let target = to.join(file.strip_prefix(from).expect("below it"));
        std::fs::create_dir_all(target.parent().expect("below it")).expect("writable");
        std::fs::copy(&file, target).expect("writable");
    }
}
