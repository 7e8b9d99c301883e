//! Keys: shown without themselves, and exchanged.

use axum::extract::State;
use keyway_core::{Code, Fault};
use keyway_vault::keys::{Rotated, SealingKeyStatus, Status, Which};

use super::{Answer, finish, json};
use crate::api::Host;
use crate::auth::Identity;
use crate::body::Json;
use crate::contract::keys as contract;
use crate::place;

pub(crate) async fn get(State(api): State<Host>) -> Answer {
    json(&render(api.keys.status().await.map_err(Fault::from)?))
}

pub(crate) async fn rotate(
    State(api): State<Host>,
    who: Identity,
    Json(body): Json<contract::RotateKeys>,
) -> Answer {
    let which = which(&api, &body)?;
    let (keys, actor) = (api.keys.clone(), who.actor().clone());
    let rotated = finish(async move {
        match which {
            None => Ok(keys.rotate_sealing_key(&actor).await?),
            Some(which) => Ok(keys.rotate_data_keys(&which, &actor).await?),
        }
    });
    let Rotated { sealing_key, data_keys } = rotated.await?;
    json(&contract::KeysRotated { sealing_key: sealing_key.to_string(), data_keys })
}

/// Whose data keys; none for the sealing key.
fn which(api: &Host, body: &contract::RotateKeys) -> Result<Option<Which>, Fault> {
    let contract::RotateKeys { what, environment, tenant } = body;
    let invalid = |detail: &str| Err(Fault::new(Code::InvalidRequest, detail));
    let environment = match environment {
        Some(name) => {
            let environment = place::parse(name)?;
            place::known(api, &environment)?;
            Some(environment)
        }
        None => None,
    };
    match (what, environment, tenant) {
        (contract::Exchanged::SealingKey, None, None) => Ok(None),
        (contract::Exchanged::SealingKey, ..) => {
            invalid("a sealing key is everybody's: leave out `environment` and `tenant`")
        }
        (contract::Exchanged::DataKeys, None, None) => Ok(Some(Which::All)),
        (contract::Exchanged::DataKeys, Some(environment), None) => {
            Ok(Some(Which::Environment(environment)))
        }
        (contract::Exchanged::DataKeys, Some(environment), Some(tenant)) => {
            Ok(Some(Which::Tenant(environment, place::parse(tenant)?)))
        }
        (contract::Exchanged::DataKeys, None, Some(_)) => {
            invalid("a tenant is named within an environment: `environment` is missing")
        }
    }
}

fn render(status: Status) -> contract::Keys {
    let Status { service, problem, sealing_keys, data_keys, data_keys_current } = status;
    contract::Keys {
        service: service.to_owned(),
        problem,
        sealing_keys: sealing_keys.into_iter().map(sealing_key).collect(),
        data_keys,
        data_keys_current,
    }
}

fn sealing_key(status: SealingKeyStatus) -> contract::SealingKey {
    let SealingKeyStatus { id, current, present, data_keys, since } = status;
    contract::SealingKey { id: id.to_string(), current, present, data_keys, since }
}
