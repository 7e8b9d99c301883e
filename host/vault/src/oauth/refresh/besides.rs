//! What a server says of the account besides new tokens: where it is, and what it is called.
//!
//! Said here, and not taken over. A base URL is where every request's token goes, and a refresh has not what it takes to
//! judge one: the release's other slots and hosts, and the egress policy. Whoever connects again has it judged.

use keyway_core::descriptor::Oauth;
use keyway_store::model::Connection;
use url::Url;

use super::Subject;
use crate::base_url;
use crate::connections::Vault;

/// What a server says of the account.
pub(super) struct Besides {
    pub(super) base_url: Option<String>,
    pub(super) account: Option<String>,
}

// === impl Vault ===

impl Vault {
    /// Logs what differs from what is kept of the connection.
    pub(super) async fn compare_account(&self, subject: &Subject, oauth: &Oauth, said: &Besides) {
        if said.base_url.is_none() && said.account.is_none() {
            return;
        }
        match self.existing(&subject.of).await {
            Ok(known) if known.epoch == subject.epoch => {
                compare_base_url(&known, oauth, said.base_url.as_deref());
                compare_account(&known, said.account.as_deref());
            }
            // Connected anew meanwhile, or gone: these tokens are nobody's any more.
            Ok(_) => {}
            Err(fault) => {
                tracing::debug!(connection = %subject.of, problem = fault.chain(), "account not compared");
            }
        }
    }
}

fn compare_base_url(known: &Connection, oauth: &Oauth, said: Option<&str>) {
    let Some(said) = said else { return };
    let of = known.reference();
    if base_url::below(said, oauth).is_err() {
        // Not repeated: it is a stranger's text.
        tracing::warn!(event = "connection.base-url-refused", connection = %of, "the provider names a base URL that is not below the domains of the release: it is not used");
        return;
    }
    let known = known.base_url.as_deref().unwrap_or_default();
    if said.trim_end_matches('/') != known.trim_end_matches('/') {
        let host = Url::parse(said).ok().and_then(|url| url.host_str().map(str::to_owned));
        tracing::warn!(event = "connection.base-url-changed", connection = %of, host, "the provider names another base URL: it is used once the connection is made again");
    }
}

fn compare_account(known: &Connection, said: Option<&str>) {
    if let (Some(before), Some(said)) = (known.account.as_deref(), said)
        && before != said
    {
        tracing::error!(event = "connection.account-changed", connection = %known.reference(), "a refresh has brought tokens of another account");
    }
}
