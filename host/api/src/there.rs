//! Says what there is, where a request names what a tenant does not have: of connectors those of which it has anything, of
//! slots those that its release declares.
//!
//! One place for all endpoints: whichever of them refuses, and for whatever want, its answer is looked at here. It looks only
//! once the request was refused, and reads one page of the store for it.

use axum::http::Uri;
use axum::response::{IntoResponse as _, Response};
use keyway_core::ids::{Connector, Installation, Slot};
use keyway_core::{Code, Fault};

use crate::api::Host;
use crate::place::Known;
use crate::problem::Refusal;

/// How a request is refused that names what is not there.
const WANTS: [Code; 5] = [
    Code::UnknownInstallation,
    Code::NotPinned,
    Code::NoHistory,
    Code::UnknownConnection,
    Code::UnknownSlot,
];

/// An answer; if it is a refusal for want of what its path names, it says what there is.
pub(crate) async fn told(api: &Host, known: &Known, uri: &Uri, response: Response) -> Response {
    let Some(refusal) = response.extensions().get::<Refusal>() else { return response };
    let fault = refusal.fault();
    if fault.lists() || !WANTS.contains(&fault.code) {
        return response;
    }
    let Ok(installation) = known.places.installation(uri) else { return response };
    match listed(api, known, uri, &installation, fault).await {
        Ok(Some(fault)) => refusal.clone().saying(fault).into_response(),
        Ok(None) => response,
        // What is wrong with the request is the better answer.
        Err(error) => {
            tracing::warn!(error = %error.chain(), "what a tenant has cannot be listed");
            response
        }
    }
}

/// The fault with what there is; none if what the path names is there.
async fn listed(
    api: &Host,
    known: &Known,
    uri: &Uri,
    installation: &Installation,
    fault: &Fault,
) -> Result<Option<Fault>, Fault> {
    if api.reads.installation(installation).await?.is_none() {
        let Installation { environment, tenant, .. } = installation;
        let there = api.reads.connectors(environment, tenant).await?;
        // A token that is for some connectors sees no others.
        let covers =
            |name: &Connector| known.identity.as_ref().is_none_or(|who| who.covers_connector(name));
        return Ok(Some(fault.clone().but_there_is(there.into_iter().filter(covers))));
    }
    let Ok(Some(slot)) = known.places.name::<Slot>(uri, "slot") else { return Ok(None) };
    let Ok(release) = api.releases.declared(installation).await else { return Ok(None) };
    let slots = &release.descriptor.slots;
    Ok((!slots.contains_key(&slot)).then(|| fault.clone().but_there_is(slots.keys())))
}
