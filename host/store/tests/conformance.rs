//! The conformance suite on every backend there is.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::sync::Arc;
use std::time::Duration;

use keyway_store::conformance::{HandClock, Subject};
use keyway_store::{Options, Store};

fn subject(store: Store, clock: Arc<HandClock>, keep: Option<tempfile::TempDir>) -> Subject {
    let advance = Box::new(move |by: Duration| clock.advance(by));
    Subject { store, advance, keep: Box::new(keep) }
}

mod memory {
    use super::*;

    async fn make() -> Subject {
        let clock = Arc::new(HandClock::default());
        subject(Store::memory(clock.clone()), clock, None)
    }

    keyway_store::conformance!(make);
}

mod sled {
    use super::*;

    async fn make() -> Subject {
        let clock = Arc::new(HandClock::default());
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), clock.clone(), Options::default()).await.unwrap();
        subject(store, clock, Some(dir))
    }

    keyway_store::conformance!(make);
}
