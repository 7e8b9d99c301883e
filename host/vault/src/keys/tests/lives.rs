//! Starts and exchanges: what goes on, what is refused, and what a host that was cut off leaves behind.

use std::fmt;
use std::future::poll_fn;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::task::Poll;

use futures_util::future::BoxFuture;
use keyway_store::Options;
use tokio::sync::Semaphore;

use super::*;

fn actor() -> keyway_core::ids::Actor {
    "ann".parse().unwrap()
}

async fn actions(store: &Store) -> Vec<String> {
    let audit = store.audit(0, 100).await.unwrap();
    audit
        .into_iter()
        .map(|entry| format!("{} {}", entry.entry.action, entry.entry.object))
        .collect()
}

#[tokio::test]
async fn a_sealing_key_is_exchanged_twice_and_the_oldest_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sealing.keys");
    let store = store();
    let ring = Arc::new(KeyRing::create(&path).unwrap());
    let host = started(&store, ring).await.unwrap();
    let sealed = seal(&host, "acme").await.unwrap();
    seal(&host, "other").await.unwrap();
    let first = host.status().await.unwrap().sealing_keys[0].id.to_string();
    let before = host.current(&Names::of("acme").owner()).await.unwrap().id;

    let second = host.rotate_sealing_key(&actor()).await.unwrap();
    assert_eq!(second.data_keys, 2);
    assert_eq!(wraps(&host).await.into_iter().map(|(_, n)| n).sum::<usize>(), 2);
    let third = host.rotate_sealing_key(&actor()).await.unwrap();
    let mut expected = vec![
        (first.clone(), 0),
        (second.sealing_key.to_string(), 0),
        (third.sealing_key.to_string(), 2),
    ];
    expected.sort();
    assert_eq!(wraps(&host).await, expected);
    let after = host.current(&Names::of("acme").owner()).await.unwrap().id;
    assert_eq!(after, before, "data keys are the same, wrapped otherwise");
    opens(&host, "acme", &sealed).await.unwrap();
    let (second, third) = (second.sealing_key.to_string(), third.sealing_key.to_string());
    assert_eq!(
        actions(&store).await,
        [
            format!("keys.rotate sealing key {second}"),
            format!("keys.rewrap sealing key {second}"),
            format!("keys.rotate sealing key {third}"),
            format!("keys.rewrap sealing key {third}"),
        ]
    );

    // The two older ones are not needed; the third is.
    let text = std::fs::read_to_string(&path).unwrap();
    let without = |gone: &[&String]| {
        let kept = text.lines().filter(|line| !gone.iter().any(|id| line.contains(id.as_str())));
        kept.flat_map(|line| [line, "\n"]).collect::<String>()
    };
    let ring = KeyRing::parse(&without(&[&first, &second])).unwrap();
    let host = started(&store, Arc::new(ring)).await.unwrap();
    opens(&host, "acme", &sealed).await.unwrap();
    let ring = KeyRing::parse(
        &without(&[&third]).replace(&format!("older {second}"), &format!("current {second}")),
    );
    let error = started(&store, Arc::new(ring.unwrap())).await.unwrap_err();
    let why = format!("sealing key {third} is missing, and 2 data keys are wrapped with it");
    assert_eq!(error.to_string(), why);
}

/// Each missing key is named, so that one search of the backups is enough.
#[tokio::test]
async fn every_missing_sealing_key_is_named() {
    let store = store();
    for (tenant, id, byte) in [("acme", "a", 1), ("other", "b", 2), ("third", "b", 2)] {
        let host = keys(&store, ring(&[(id, byte)]));
        host.current(&Names::of(tenant).owner()).await.unwrap();
    }
    let error = started(&store, ring(&[("c", 3)])).await.unwrap_err().to_string();
    let status = keys(&store, ring(&[("c", 3)])).status().await.unwrap();
    let present: Vec<_> =
        status.sealing_keys.iter().map(|key| (key.current, key.present)).collect();
    assert_eq!(present, [(false, Some(false)), (false, Some(false)), (true, Some(true))]);
    let why = "sealing key a is missing, and 1 data keys are wrapped with it; \
               sealing key b is missing, and 2 data keys are wrapped with it";
    assert_eq!(error, why);
}

#[tokio::test]
async fn a_half_finished_exchange_is_finished_at_the_next_start() {
    let store = store();
    let before = started(&store, ring(&[("a", 1)])).await.unwrap();
    let old = seal(&before, "acme").await.unwrap();
    // Without a start: what a host leaves that was killed after it had begun to use the newer key.
    let during = keys(&store, ring(&[("b", 2), ("a", 1)]));
    let new = seal(&during, "other").await.unwrap();
    assert_eq!(wraps(&during).await, [("a".to_owned(), 1), ("b".to_owned(), 1)]);
    opens(&during, "acme", &old).await.unwrap();
    opens(&during, "other", &new).await.unwrap();

    let host = started(&store, ring(&[("b", 2), ("a", 1)])).await.unwrap();
    assert_eq!(wraps(&host).await, [("a".to_owned(), 0), ("b".to_owned(), 2)]);
    assert_eq!(actions(&store).await, ["keys.rewrap sealing key b"]);
    let host = started(&store, ring(&[("b", 2)])).await.unwrap();
    opens(&host, "acme", &old).await.unwrap();
    opens(&host, "other", &new).await.unwrap();
    assert_eq!(actions(&store).await.len(), 1, "a start with nothing to do changes nothing");
}

/// Wraps at once, and gives it out when it may.
#[derive(Debug)]
struct Held(Arc<KeyRing>, Semaphore);

#[async_trait]
impl KeyService for Held {
    fn kind(&self) -> &'static str {
        "held"
    }

    async fn known(&self) -> Result<Known, ServiceError> {
        self.0.known().await
    }

    async fn wrap(&self, key: &SecretKey, context: &[u8]) -> Result<Wrapped, ServiceError> {
        let wrapped = self.0.wrap(key, context).await;
        self.1.acquire().await.unwrap().forget();
        wrapped
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &[u8]) -> Result<SecretKey, ServiceError> {
        self.0.unwrap(wrapped, context).await
    }

    async fn rewrap(&self, wrapped: &Wrapped, context: &[u8]) -> Result<Wrapped, ServiceError> {
        self.0.rewrap(wrapped, context).await
    }

    async fn rotate(&self) -> Result<SealingKeyId, ServiceError> {
        self.0.rotate().await
    }
}

/// Fails if an exchange does not wait for data keys that are being made: they would stay with the older sealing key.
#[tokio::test]
async fn a_data_key_that_is_being_made_is_not_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let ring = Arc::new(KeyRing::create(&folder.path().join("sealing.keys")).unwrap());
    let service = Arc::new(Held(ring, Semaphore::new(0)));
    let store = store();
    let host = started(&store, Arc::clone(&service) as Arc<dyn KeyService>).await.unwrap();
    let (owner, actor) = (Names::of("acme").owner(), actor());
    let mut making = std::pin::pin!(host.current(&owner));
    let pending = poll_fn(|context| Poll::Ready(making.as_mut().poll(context).is_pending()));
    assert!(pending.await, "wrapped, and not written");
    let mut exchange = std::pin::pin!(host.rotate_sealing_key(&actor));
    // As far as it comes without the other.
    let brief = tokio::time::timeout(Duration::from_millis(200), &mut exchange).await;
    assert!(brief.is_err(), "it waits: {brief:?}");
    service.1.add_permits(1);
    let (made, exchanged) = tokio::join!(making, exchange);
    made.unwrap();
    assert_eq!(exchanged.unwrap().data_keys, 1);
}

/// Lets something happen once, between reading what there is and writing what follows.
struct Meddled {
    ring: Arc<KeyRing>,
    /// Keys that are wrapped before it.
    wraps: AtomicUsize,
    meddling: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl Meddled {
    fn new(ring: Arc<KeyRing>, wraps: usize, meddling: BoxFuture<'static, ()>) -> Arc<Self> {
        let meddling = Mutex::new(Some(meddling));
        Arc::new(Self { ring, wraps: AtomicUsize::new(wraps), meddling })
    }

    async fn meddle(&self) {
        if self.wraps.fetch_sub(1, Ordering::SeqCst) != 0 {
            return;
        }
        let meddling = self.meddling.lock().unwrap().take();
        if let Some(meddling) = meddling {
            meddling.await;
        }
    }
}

impl fmt::Debug for Meddled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meddled")
    }
}

#[async_trait]
impl KeyService for Meddled {
    fn kind(&self) -> &'static str {
        "meddled"
    }

    async fn known(&self) -> Result<Known, ServiceError> {
        self.ring.known().await
    }

    async fn wrap(&self, key: &SecretKey, context: &[u8]) -> Result<Wrapped, ServiceError> {
        self.meddle().await;
        self.ring.wrap(key, context).await
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &[u8]) -> Result<SecretKey, ServiceError> {
        self.ring.unwrap(wrapped, context).await
    }

    async fn rotate(&self) -> Result<SealingKeyId, ServiceError> {
        self.ring.rotate().await
    }
}

/// Fails if an exchange gives up, or writes over what another host wrote.
#[tokio::test]
async fn two_hosts_that_exchange_data_keys_at_once_both_succeed() {
    let store = store();
    let other = keys(&store, ring(&[("a", 1)]));
    // More than one commit takes.
    let tenants: Vec<String> = (0..100).map(|tenant| format!("t{tenant}")).collect();
    for tenant in &tenants {
        other.current(&Names::of(tenant).owner()).await.unwrap();
    }
    let sealed = seal(&other, "t7").await.unwrap();
    let theirs = other.clone();
    let meddling = async move {
        theirs.rotate_data_keys(&Which::All, &actor()).await.unwrap();
    };
    // In the second commit, so that the first is not made again.
    let service = Meddled::new(ring(&[("a", 1)]), 80, Box::pin(meddling));
    let host = keys(&store, service);
    assert_eq!(host.rotate_data_keys(&Which::All, &actor()).await.unwrap().data_keys, 100);
    let status = host.status().await.unwrap();
    assert_eq!((status.data_keys, status.data_keys_current), (300, 100));
    opens(&host, "t7", &sealed).await.unwrap();
    let theirs = seal(&other, "t7").await.unwrap();
    opens(&host, "t7", &theirs).await.unwrap();
}

/// The same, with the sealing key: whatever the other host wrapped in between stays as it is.
#[tokio::test]
async fn two_hosts_that_wrap_anew_at_once_both_succeed() {
    let store = store();
    let before = keys(&store, ring(&[("a", 1)]));
    let sealed = seal(&before, "acme").await.unwrap();
    seal(&before, "other").await.unwrap();
    let newer = || ring(&[("b", 2), ("a", 1)]);
    let other = store.clone();
    let meddling = async move {
        started(&other, newer()).await.unwrap();
    };
    let host = started(&store, Meddled::new(newer(), 0, Box::pin(meddling))).await.unwrap();
    assert_eq!(wraps(&host).await, [("a".to_owned(), 0), ("b".to_owned(), 2)]);
    assert_eq!(actions(&store).await, ["keys.rewrap sealing key b"], "once");
    opens(&host, "acme", &sealed).await.unwrap();
}

/// A damaged row stays as it is and is still counted; everybody else's is wrapped anew.
#[tokio::test]
async fn a_damaged_row_does_not_stop_an_exchange() {
    let store = store();
    let before = keys(&store, ring(&[("a", 1)]));
    let acme = seal(&before, "acme").await.unwrap();
    let other = seal(&before, "other").await.unwrap();
    let id = &acme[6..14];
    let cell = store.cell(DATA_KEYS, id).await.unwrap().unwrap();
    let row = String::from_utf8(cell.value.to_vec()).unwrap().replace("acme", "acne");
    let batch = store.batch().put_cell(DATA_KEYS, id, Some(cell.version), row.into_bytes());
    batch.commit().await.unwrap();
    let host = started(&store, ring(&[("b", 2), ("a", 1)])).await.unwrap();
    assert_eq!(wraps(&host).await, [("a".to_owned(), 1), ("b".to_owned(), 1)]);
    opens(&host, "other", &other).await.unwrap();
    opens(&host, "acme", &acme).await.unwrap_err();
}

/// More data keys than one commit takes, and the service goes away between two of them.
#[tokio::test(start_paused = true)]
async fn an_exchange_that_is_cut_off_goes_on_where_it_was() {
    let store = store();
    let engine = Engine::new();
    let host = started(&store, Arc::new(engine.service())).await.unwrap();
    for tenant in 0..200 {
        host.current(&Names::of(&format!("t{tenant}")).owner()).await.unwrap();
    }
    let sealed = seal(&host, "t7").await.unwrap();
    *engine.requests_left.lock().unwrap() = Some(100);
    let error = host.rotate_sealing_key(&actor()).await.unwrap_err();
    assert!(matches!(error, Error::Service(ServiceError::Unavailable { .. })), "{error:?}");
    let count = |wraps: &[(String, usize)], id: &str| {
        wraps.iter().find(|(key, _)| key == id).map_or(0, |(_, count)| *count)
    };
    let half = wraps(&host).await;
    let done = count(&half, "transit/keyway:v2");
    assert!((1..200).contains(&done), "{half:?}");
    assert_eq!(count(&half, "transit/keyway:v1") + done, 200);
    opens(&host, "t7", &sealed).await.unwrap();

    *engine.requests_left.lock().unwrap() = None;
    let host = started(&store, Arc::new(engine.service())).await.unwrap();
    assert_eq!(count(&wraps(&host).await, "transit/keyway:v2"), 200);
    opens(&host, "t7", &sealed).await.unwrap();
}

#[tokio::test]
async fn another_key_of_the_same_name_is_refused() {
    let store = store();
    started(&store, ring(&[("a", 1)])).await.unwrap();
    let error = started(&store, ring(&[("a", 2)])).await.unwrap_err();
    assert!(matches!(&error, Error::SealingKeyDiffers { id } if id.as_str() == "a"), "{error:?}");
    // Also where it is not current, and nothing is wrapped with it.
    let error = started(&store, ring(&[("b", 3), ("a", 2)])).await.unwrap_err();
    assert!(matches!(error, Error::SealingKeyDiffers { .. }), "{error:?}");
    started(&store, ring(&[("a", 1)])).await.unwrap();
}

#[tokio::test]
async fn given_keys_are_not_exchanged_by_the_host() {
    let store = store();
    let host = started(&store, ring(&[("a", 1)])).await.unwrap();
    seal(&host, "acme").await.unwrap();
    let fault = Fault::from(host.rotate_sealing_key(&actor()).await.unwrap_err());
    assert_eq!((fault.code, fault.retry), (Code::KeysFixed, Retry::No));
    assert_eq!(wraps(&host).await, [("a".to_owned(), 1)]);
    host.rotate_data_keys(&Which::All, &actor()).await.unwrap();
}

#[tokio::test]
async fn a_data_key_is_exchanged_for_what_is_sealed_from_then_on() {
    let store = store();
    let host = started(&store, ring(&[("a", 1)])).await.unwrap();
    let (acme, other) = (seal(&host, "acme").await.unwrap(), seal(&host, "other").await.unwrap());
    let which = Which::Tenant("dev".parse().unwrap(), "acme".parse().unwrap());
    for made in 1..=3 {
        assert_eq!(host.rotate_data_keys(&which, &actor()).await.unwrap().data_keys, 1);
        let later = seal(&host, "acme").await.unwrap();
        assert_ne!(later[6..14], acme[6..14], "the newer key seals");
        let unchanged = seal(&host, "other").await.unwrap();
        assert_eq!(unchanged[6..14], other[6..14], "somebody else's does not change");
        let status = host.status().await.unwrap();
        assert_eq!((status.data_keys, status.data_keys_current), (2 + made, 2));
        // Another host, that has only the store.
        let host = started(&store, ring(&[("a", 1)])).await.unwrap();
        for sealed in [&acme, &later] {
            opens(&host, "acme", sealed).await.unwrap();
        }
        let again = seal(&host, "acme").await.unwrap();
        assert_eq!(again[6..14], later[6..14], "and knows which one is current");
    }
    let nobody = Which::Tenant("prod".parse().unwrap(), "acme".parse().unwrap());
    assert_eq!(host.rotate_data_keys(&nobody, &actor()).await.unwrap().data_keys, 0);
    seal(&host, "").await.unwrap();
    let of = async |which| host.rotate_data_keys(&which, &actor()).await.unwrap().data_keys;
    assert_eq!(of(Which::Environment("dev".parse().unwrap())).await, 3);
    assert_eq!(of(Which::All).await, 3);
    let last = actions(&store).await;
    assert_eq!(last.first().unwrap(), "keys.rotate data keys of dev/acme");
    assert_eq!(last.last().unwrap(), "keys.rotate data keys of everybody");
}

/// Fails if what is current is taken from an answer that is older than the exchange.
#[tokio::test]
async fn an_exchange_by_another_host_does_not_undo_ours() {
    let store = store();
    let (one, two) = (keys(&store, ring(&[("a", 1)])), keys(&store, ring(&[("a", 1)])));
    seal(&one, "acme").await.unwrap();
    seal(&two, "acme").await.unwrap();
    one.rotate_data_keys(&Which::All, &actor()).await.unwrap();
    two.rotate_data_keys(&Which::All, &actor()).await.unwrap();
    let (of_one, of_two) = (seal(&one, "acme").await.unwrap(), seal(&two, "acme").await.unwrap());
    // One does not know of it yet, and what it seals opens nevertheless.
    opens(&two, "acme", &of_one).await.unwrap();
    opens(&one, "acme", &of_two).await.unwrap();
    let fresh = started(&store, ring(&[("a", 1)])).await.unwrap();
    assert_eq!(seal(&fresh, "acme").await.unwrap()[6..14], of_two[6..14]);
}

async fn embedded(folder: &Path) -> Store {
    Store::open(folder, Arc::new(Fixed), Options::default()).await.unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// A backup from before both kinds of exchange, under the keys of today.
#[tokio::test]
async fn a_backup_with_older_data_keys_opens_under_a_ring_that_still_has_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let (live, backup) = (folder.path().join("live"), folder.path().join("backup"));
    let store = embedded(&live).await;
    let host = started(&store, ring(&[("a", 1)])).await.unwrap();
    let sealed = seal(&host, "acme").await.unwrap();
    drop((host, store));
    copy(&live, &backup);
    let store = embedded(&live).await;
    let host = started(&store, ring(&[("b", 2), ("a", 1)])).await.unwrap();
    host.rotate_data_keys(&Which::All, &actor()).await.unwrap();
    let later = seal(&host, "acme").await.unwrap();
    drop((host, store));

    let store = embedded(&backup).await;
    let error = started(&store, ring(&[("b", 2)])).await.unwrap_err();
    assert!(error.to_string().contains("sealing key a is missing"), "{error}");
    let host = started(&store, ring(&[("b", 2), ("a", 1)])).await.unwrap();
    opens(&host, "acme", &sealed).await.unwrap();
    let error = opens(&host, "acme", &later).await.unwrap_err();
    assert!(matches!(error, SealError::Key(Error::DataKeyMissing { .. })), "{error:?}");
    let anew = seal(&host, "acme").await.unwrap();
    opens(&host, "acme", &anew).await.unwrap();
    assert_eq!(wraps(&host).await, [("a".to_owned(), 0), ("b".to_owned(), 1)]);
}

/// What the API spawns has to move between threads.
#[test]
fn every_exchange_is_a_future_that_may_move() {
    fn send<T: Send>(_: impl FnOnce(Keys) -> T) {}
    send(|keys| async move { keys.rotate_sealing_key(&actor()).await });
    send(|keys| async move { keys.rotate_data_keys(&Which::All, &actor()).await });
    send(|keys| async move { keys.status().await });
    send(|keys| async move { keys.start(&actor()).await });
}
