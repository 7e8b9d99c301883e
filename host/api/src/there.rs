//! Says what a tenant has, where a request names a connector of which it has nothing.
//!
//! It looks only once the request was refused, and reads one page of the store for it.

use keyway_core::ids::{Connector, Installation};
use keyway_core::{Code, Fault};

use crate::api::Host;
use crate::auth::Identity;

/// A call's fault; with the connectors that there are, if it says that this one is not. A token that is for some connectors
/// sees no others.
pub(crate) async fn or_listed(
    api: &Host,
    who: &Identity,
    installation: &Installation,
    fault: Fault,
) -> Fault {
    if fault.code != Code::UnknownInstallation {
        return fault;
    }
    listed(api, installation, fault, |connector| who.covers_connector(connector)).await
}

/// The fault with the tenant's connectors that may be shown.
pub(crate) async fn listed(
    api: &Host,
    installation: &Installation,
    fault: Fault,
    shown: impl Fn(&Connector) -> bool,
) -> Fault {
    match api.reads.connectors(&installation.environment, &installation.tenant).await {
        Ok(there) => fault.but_there_is(there.into_iter().filter(shown)),
        // What is wrong with the request is the better answer.
        Err(error) => {
            tracing::warn!(error = %error.chain(), "what a tenant has cannot be listed");
            fault
        }
    }
}
