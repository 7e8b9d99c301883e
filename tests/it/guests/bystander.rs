//! A tenant who has nothing to do with what is going on, and calls all the while.
//!
//! No time is held against it but its own: a call of it that takes longer than the harness waits is a
//! failure, and so is any answer but the one it asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use harness::Http;
use http::Method;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::setup::{Setup, path};

const TENANT: &str = "bystander";
const CONNECTOR: &str = "fixtures/echo";

/// A tenant that calls, one call after the other, until [`Self::leave`].
pub(crate) struct Bystander {
    served: Arc<AtomicU64>,
    leaving: Arc<AtomicBool>,
    calling: JoinHandle<Vec<String>>,
}

impl Bystander {
    /// Publishes its connector, pins it, and begins.
    pub(crate) async fn arrive(setup: &mut Setup) -> Self {
        setup.publish("echo").await.ok();
        setup.pin(TENANT, CONNECTOR, "1.0.0").await;
        let (served, leaving) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let calling = call(setup.host.http(), Arc::clone(&served), Arc::clone(&leaving));
        Self { served, leaving, calling: tokio::spawn(calling) }
    }

    /// Calls of it that were answered so far.
    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::SeqCst)
    }

    /// Ends it, and panics if any of its calls failed, or if it made none.
    pub(crate) async fn leave(self) {
        self.leaving.store(true, Ordering::SeqCst);
        let failures = self.calling.await.expect("it does not panic");
        let served = self.served.load(Ordering::SeqCst);
        assert!(failures.is_empty(), "{} beside {served} served: {failures:#?}", failures.len());
        assert!(served > 0, "it made no call");
    }
}

/// Calls until told to leave; every answer must be its own. Says what failed.
async fn call(mut http: Http, served: Arc<AtomicU64>, leaving: Arc<AtomicBool>) -> Vec<String> {
    let path = path(TENANT, CONNECTOR, "/actions/echo");
    let mut failures = Vec::new();
    for number in 0_u64.. {
        if leaving.load(Ordering::SeqCst) {
            break;
        }
        let asked = json!({"bystander": number});
        let body = asked.to_string().into();
        match http.try_send(Method::POST, &path, "application/json", body).await {
            Ok(reply) if reply.status.is_success() && reply.json() == asked => {
                served.fetch_add(1, Ordering::SeqCst);
            }
            Ok(reply) => failures.push(format!("{number}: {} {}", reply.status, reply.json())),
            Err(gone) => failures.push(format!("{number}: {gone}")),
        }
    }
    failures
}
