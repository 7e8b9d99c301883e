//! Credentials: set, removed, listed. Never shown.

use axum::extract::State;
use keyway_core::descriptor::Scheme;
use keyway_core::ids::{Installation, Slot};
use keyway_core::{Code, Fault};
use keyway_vault::SecretInput;
use keyway_vault::connections::Setting;
use keyway_vault::model::Connection;

use super::{Answer, finish, json, nothing};
use crate::api::Host;
use crate::auth::Identity;
use crate::body::JsonText;
use crate::contract::installation as contract;
use crate::place::{At, Names};

pub(crate) async fn set(
    State(api): State<Host>,
    At(installation): At,
    names: Names,
    who: Identity,
    JsonText(text): JsonText,
) -> Answer {
    let slot: Slot = names.get("slot")?;
    let (secret, base_url) = parse(&text)?;
    let scheme = declared(&api, &installation, &slot, base_url.as_deref()).await?;
    let setting = Setting { installation, slot, scheme, base_url, secret };
    let actor = who.actor().clone();
    let connection = finish(async move {
        let connection = api.vault.set(setting, &actor).await?;
        api.releases.refresh(&connection.installation).await?;
        Ok(connection)
    })
    .await?;
    json(&render(connection))
}

pub(crate) async fn remove(
    State(api): State<Host>,
    At(installation): At,
    names: Names,
    who: Identity,
) -> Answer {
    let slot: Slot = names.get("slot")?;
    let actor = who.actor().clone();
    finish(async move {
        if !api.vault.remove(&installation, &slot, &actor).await? {
            let detail = format!("no credential is set for slot `{slot}`");
            return Err(Fault::new(Code::UnknownSlot, detail));
        }
        api.releases.refresh(&installation).await
    })
    .await?;
    Ok(nothing())
}

pub(crate) async fn list(State(api): State<Host>, At(installation): At) -> Answer {
    let state = super::config::state(&api, &installation).await?;
    let connections = state.connections.into_iter().map(render).collect();
    json(&contract::ConnectionList { connections })
}

/// How the installation's release wants the slot's credential; refuses what it does not declare.
async fn declared(
    api: &Host,
    installation: &Installation,
    slot: &Slot,
    base_url: Option<&str>,
) -> Result<Scheme, Fault> {
    let release = api.releases.declared(installation).await?;
    let Some(spec) = release.descriptor.slots.get(slot) else {
        let detail = format!("{} declares no slot `{slot}`", release.reference);
        return Err(Fault::new(Code::UnknownSlot, detail));
    };
    if let Some(base_url) = base_url {
        api.policy.check_base_url(&release.descriptor, base_url)?;
    }
    Ok(spec.scheme.clone())
}

fn parse(text: &str) -> Result<(SecretInput, Option<String>), Fault> {
    // A parser's complaint quotes what it complains about, which here may be the secret.
    let refuse = || {
        let detail =
            "the body is `token`, or `user` and `password`, all text, and `base_url` if wanted";
        Fault::new(Code::InvalidRequest, detail)
    };
    let body: contract::SetConnection = crate::json::object(text).map_err(|_| refuse())?;
    let secret = match (body.token, body.user, body.password) {
        (Some(token), None, None) => SecretInput::Token(token),
        (None, Some(user), Some(password)) => SecretInput::Basic { user, password },
        _ => return Err(refuse()),
    };
    Ok((secret, body.base_url))
}

fn render(connection: Connection) -> contract::Connection {
    contract::Connection {
        slot: connection.slot.to_string(),
        kind: connection.kind,
        generation: connection.generation,
        base_url: connection.base_url,
        at: connection.at,
    }
}
