//! Refreshing through the whole host: fifty callers here, a thousand by `just torture refresh-herd`.

use std::time::Duration;

use harness::herd::{Authority, CONNECTOR, TENANT};

use crate::setup::Setup;

/// Would fail if callers did not share a refresh: the authorization server takes each refresh token once.
#[tokio::test(flavor = "multi_thread")]
async fn a_herd_at_the_end_of_a_token_brings_one_refresh_and_nobody_fails() {
    let authority = Authority::start(Duration::from_secs(1)).await;
    let mut setup = Setup::new(&authority.config());
    setup.publish("oauth").await.ok();
    setup.pin(TENANT, CONNECTOR, "1.0.0").await;
    authority.connect(&mut setup.http).await;
    let outcome = authority.herd(50, || setup.host.http()).await;
    assert!(outcome.held(), "{outcome}");
}
