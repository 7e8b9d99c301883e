//! What the tests begin with: a log in a folder of its own, a clock that stands, exchanges with a number.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use keyway_core::Digest;
use keyway_core::exchange::{Exchange, Timings};
use keyway_core::ids::{CallId, Connector, Installation};
use keyway_core::ports::{Clock, ExchangeLog as _};
use keyway_core::release::ReleaseRef;
use keyway_exchanges::{Exchanges, Filter, Kept, Options, Order, Page, Position};
use tempfile::TempDir;
use time::OffsetDateTime;

/// A clock that stands until it is moved, and makes whoever asks wait while it is held.
#[derive(Default)]
pub(crate) struct HandClock {
    state: Mutex<(Duration, bool, bool)>,
    changed: Condvar,
}

/// A folder for a log, and its clock.
pub(crate) struct Place {
    pub(crate) folder: TempDir,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) options: Options,
}

/// When the tests begin.
pub(crate) const BEGINNING: OffsetDateTime = time::macros::datetime!(2026-03-01 12:00 UTC);

/// Options under which no test loses what it records faster than it is written.
pub(crate) fn roomy() -> Options {
    Options { waiting_max: 1_000_000, waiting_bytes_max: 1 << 30, ..Options::default() }
}

/// An exchange that can be told from others by its number.
pub(crate) fn exchange(number: u64) -> Exchange {
    Exchange {
        at: BEGINNING,
        environment: Some("dev".parse().unwrap()),
        call: Some(CallId(u128::from(number))),
        installation: Some(installation("acme")),
        user: None,
        release: Some(release("1.4.0")),
        purpose: "call",
        slot: Some("token".parse().unwrap()),
        method: "GET".to_owned(),
        url: format!("https://api.example.com/things/{number}"),
        request_headers: headers(&[("accept", "application/json")]),
        request_body: None,
        request_bytes: 0,
        status: Some(200),
        response_headers: headers(&[("content-type", "application/json")]),
        response_body: None,
        response_bytes: 17,
        stopped: None,
        timings: Timings::default(),
    }
}

pub(crate) fn installation(tenant: &str) -> Installation {
    Installation {
        environment: "dev".parse().unwrap(),
        tenant: tenant.parse().unwrap(),
        connector: Connector::new("pub", "things").unwrap(),
    }
}

pub(crate) fn release(version: &str) -> ReleaseRef {
    ReleaseRef::new(
        Connector::new("pub", "things").unwrap(),
        version.parse().unwrap(),
        Digest::of(version.as_bytes()),
    )
}

/// The number of an exchange that was read back.
pub(crate) fn number(kept: &Kept) -> u64 {
    kept.url.rsplit('/').next().unwrap().parse().unwrap()
}

/// Numbers of everything in the log, as it lies there.
pub(crate) async fn numbers(log: &Exchanges) -> Vec<u64> {
    all(log, Order::OldestFirst, 1_000).await.iter().map(number).collect()
}

/// Everything in the log, page by page. Ids must go one way.
pub(crate) async fn all(log: &Exchanges, order: Order, limit: usize) -> Vec<Kept> {
    let (mut found, mut after): (Vec<Kept>, _) = (Vec::new(), None);
    loop {
        let Page { entries, next } = page(log, order, after, limit).await;
        assert!(entries.len() <= limit);
        found.extend(entries);
        match next {
            Some(_) => after = next,
            None => break,
        }
    }
    let ids = found.windows(2).map(|pair| (pair[0].id, pair[1].id));
    for (one, other) in ids {
        let forward = if order == Order::OldestFirst { one < other } else { one > other };
        assert!(forward, "{other} behind {one}, {order:?}");
    }
    found
}

pub(crate) async fn page(
    log: &Exchanges,
    order: Order,
    after: Option<Position>,
    limit: usize,
) -> Page {
    log.find(Filter::default(), order, after, limit).await.unwrap()
}

// === impl Place ===

impl Place {
    pub(crate) fn new(options: Options) -> Self {
        let clock = Arc::new(HandClock::default());
        Self { folder: tempfile::tempdir().unwrap(), clock, options }
    }

    pub(crate) fn open(&self) -> Exchanges {
        Exchanges::open(self.folder.path(), self.clock.clone(), self.options.clone()).unwrap()
    }

    /// A log in which these are.
    pub(crate) async fn with(&self, numbers: impl IntoIterator<Item = u64>) -> Exchanges {
        let log = self.open();
        numbers.into_iter().for_each(|number| log.record(exchange(number)));
        log.flush().await;
        log
    }

    /// The segments' files, oldest first.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        files(self.folder.path())
    }
}

pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

// === impl HandClock ===

impl HandClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.state.lock().unwrap().0 += by;
    }

    /// Makes the next who asks wait until [`Self::release`].
    pub(crate) fn hold(&self) {
        self.state.lock().unwrap().1 = true;
    }

    pub(crate) fn release(&self) {
        self.state.lock().unwrap().1 = false;
        self.changed.notify_all();
    }

    /// Waits until somebody waits.
    pub(crate) fn held(&self) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |(_, _, waiting)| !*waiting).unwrap());
    }
}

impl Clock for HandClock {
    fn now(&self) -> OffsetDateTime {
        let mut state = self.state.lock().unwrap();
        state.2 = state.1;
        self.changed.notify_all();
        let mut state = self.changed.wait_while(state, |(_, held, _)| *held).unwrap();
        state.2 = false;
        BEGINNING + state.0
    }
}

/// A header section.
pub(crate) fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let parsed = pairs.iter().map(|(name, value)| {
        (
            name.parse::<HeaderName>().expect("a name"),
            value.parse::<HeaderValue>().expect("a value"),
        )
    });
    parsed.collect()
}
