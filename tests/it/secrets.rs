//! Credentials: they reach the provider, and nobody else.

use harness::canary::{self, Plan};
use harness::scrub;
use serde_json::json;

use crate::setup::{Setup, path};
use crate::upstream::Plain;

/// Whatever is logged, whatever fails, whatever is typed in the wrong place, and however the host dies: a secret in every
/// slot is where it has to be, and in nothing else that anybody gets to see. In full: `just torture canary`.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_every_slot_reaches_the_provider_and_nothing_else() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let outcome = canary::run(folder.path(), Plan { tenants: 1, lives: 1, rounds: 1 }).await;
    assert!(outcome.held(), "{outcome}\n{:#?}", outcome.complaints());
}

/// What is no credential arrives as it was sent, and what is one is masked and told of. In full: `just torture scrub`.
#[tokio::test(flavor = "multi_thread")]
async fn a_download_without_a_credential_in_it_is_not_changed() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let outcome = scrub::run(folder.path(), 4 << 20).await;
    assert!(outcome.held(), "{outcome}\n{:#?}", outcome.complaints());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_url_off_the_declared_hosts_is_refused() {
    let upstream = Plain::start().await;
    let mut setup = Setup::new("");
    setup.publish("fetch").await.ok();
    setup.pin("acme", "fixtures/fetch", "1.0.0").await;
    let slot = path("acme", "fixtures/fetch", "/connections/token");
    let base_url = format!("http://{}", upstream.address);
    let reply = setup.http.put(&slot, json!({"token": "a-secret", "base_url": base_url})).await;
    assert_eq!(reply.code(), "base-url-refused");
    assert!(upstream.seen().is_empty());
}
