//! `send-all` of the contract, seen by a provider: so many requests at once, and no more.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Barrier;

use crate::setup::{Setup, path, stand_in};

const HOSTILE: &str = "fixtures/hostile";

/// A provider that answers nobody until so many requests are there, and then those.
struct Gate {
    address: SocketAddr,
    seen: Arc<Counts>,
    accepting: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    now: AtomicUsize,
    most: AtomicUsize,
    /// Targets, in the order in which they came.
    targets: Mutex<Vec<String>>,
}

impl Gate {
    async fn start(requests: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (seen, gate) = (Arc::<Counts>::default(), Arc::new(Barrier::new(requests)));
        let counts = Arc::clone(&seen);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (counts, gate) = (Arc::clone(&counts), Arc::clone(&gate));
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let (counts, gate) = (Arc::clone(&counts), Arc::clone(&gate));
                    async move {
                        let now = counts.now.fetch_add(1, Ordering::SeqCst) + 1;
                        counts.most.fetch_max(now, Ordering::SeqCst);
                        counts
                            .targets
                            .lock()
                            .expect("not poisoned")
                            .push(request.uri().to_string());
                        gate.wait().await;
                        counts.now.fetch_sub(1, Ordering::SeqCst);
                        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
                    }
                });
                let server = hyper::server::conn::http1::Builder::new();
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, seen, accepting }
    }

    fn most(&self) -> usize {
        self.seen.most.load(Ordering::SeqCst)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn with_hostile(provider: &Gate, config: &str) -> Setup {
    let config = format!("{config}\n{}", stand_in("api.example.com", provider.address));
    let mut setup = Setup::new(&config);
    setup.publish("hostile").await.ok();
    setup.pin("acme", HOSTILE, "1.0.0").await;
    let slot = path("acme", HOSTILE, "/connections/token");
    setup.http.put(&slot, json!({"token": "a-token-of-no-worth"})).await.ok();
    setup
}

/// Catches one after the other: the provider would wait for a second request that never comes.
#[tokio::test(flavor = "multi_thread")]
async fn sixteen_of_a_call_are_under_way_at_once() {
    let gate = Gate::start(16).await;
    let mut setup = with_hostile(&gate, "").await;
    let reply = setup.act("acme", HOSTILE, "send-all", json!(64)).await.ok();
    assert_eq!(reply.json(), json!({"answered": 64, "failed": {}}));
    assert_eq!(gate.most(), 16);
    let mut targets = gate.seen.targets.lock().expect("not poisoned").clone();
    targets.sort();
    targets.dedup();
    assert_eq!(targets.len(), 64, "each once");
}

/// Catches a limit that each call has for itself: the tenant's is over all of them.
#[tokio::test(flavor = "multi_thread")]
async fn calls_of_a_tenant_share_what_it_may_have() {
    let gate = Gate::start(8).await;
    let limits = "[egress.limits]\nin-flight-per-tenant-max = 8\n";
    let setup = with_hostile(&gate, limits).await;
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let mut http = setup.host.http();
            tokio::spawn(async move {
                http.post(&path("acme", HOSTILE, "/actions/send-all"), json!(16)).await.ok().json()
            })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.expect("no panic"), json!({"answered": 16, "failed": {}}));
    }
    assert_eq!(gate.most(), 8);
}
