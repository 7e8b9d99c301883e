//! Tenants: their end.

use axum::extract::State;
use keyway_releases::tenant::Ending;

use super::{Answer, finish, json};
use crate::api::Host;
use crate::auth::Identity;
use crate::body::Json;
use crate::contract::installation as contract;
use crate::place::Names;
use crate::tenant;

pub(crate) async fn delete(
    State(api): State<Host>,
    names: Names,
    who: Identity,
    Json(body): Json<contract::DeleteTenant>,
) -> Answer {
    let ending = Ending {
        environment: names.get("environment")?,
        tenant: names.get("tenant")?,
        actor: who.actor().clone(),
        reason: body.reason,
    };
    json(&finish(async move { tenant::delete(&api, ending).await }).await?)
}
