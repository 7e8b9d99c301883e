//! The operator's OAuth clients: set, shown, removed. Their secrets are never shown.

use std::collections::BTreeSet;

use axum::extract::State;
use keyway_core::ids::{Connector, Environment, Slot};
use keyway_core::{Code, Fault};
use keyway_vault::oauth::client::{Accepted, ClientInfo, ClientRef, ClientSetting};
use keyway_vault::oauth::confirmed;

use super::releases::unknown_connector;
use super::{Answer, finish, json, nothing};
use crate::api::Host;
use crate::auth::Identity;
use crate::body::Shaped;
use crate::contract::connection as contract;
use crate::place::{Names, Of};

pub(crate) async fn set(
    State(api): State<Host>,
    names: Names,
    Of(connector): Of,
    who: Identity,
    Shaped(body): Shaped<contract::SetClient>,
) -> Answer {
    let of = named(&names, connector)?;
    // A parser's complaint quotes what it complains about, which here may be the secret.
    let body = body.map_err(|_| {
        let detail =
            "the body is `client_id`, `client_secret` and `key_id`, as there are such, all text";
        Fault::new(Code::InvalidRequest, detail)
    })?;
    let (hosts, accepted) = declared(&api, &of).await?;
    let contract::SetClient { client_id: id, client_secret: secret, key_id } = body;
    let setting = ClientSetting { id, secret, key_id, accepted, hosts };
    let actor = who.actor().clone();
    let info = finish(async move { api.vault.set_client(&of, setting, &actor).await }).await?;
    json(&render(info))
}

pub(crate) async fn get(State(api): State<Host>, names: Names, Of(connector): Of) -> Answer {
    let of = named(&names, connector)?;
    let clients = api.vault.clients(&of.environment).await?;
    let client = clients.into_iter().find(|client| client.of == of);
    json(&render(client.ok_or_else(|| absent(&of))?))
}

pub(crate) async fn remove(
    State(api): State<Host>,
    names: Names,
    Of(connector): Of,
    who: Identity,
) -> Answer {
    let of = named(&names, connector)?;
    let actor = who.actor().clone();
    finish(async move {
        if api.vault.remove_client(&of, &actor).await? { Ok(()) } else { Err(absent(&of)) }
    })
    .await?;
    Ok(nothing())
}

pub(crate) async fn list(State(api): State<Host>, names: Names) -> Answer {
    let environment: Environment = names.get("environment")?;
    let clients = api.vault.clients(&environment).await?;
    json(&contract::ClientList { clients: clients.into_iter().map(render).collect() })
}

fn named(names: &Names, connector: Connector) -> Result<ClientRef, Fault> {
    Ok(ClientRef { environment: names.get("environment")?, connector, slot: names.get("slot")? })
}

/// Where the releases of the connector would have a client presented, and what they would have it present. Refuses one that
/// none of them would ever use. It is set before anything is pinned, so any release will do.
async fn declared(api: &Host, of: &ClientRef) -> Result<(BTreeSet<String>, Accepted), Fault> {
    let releases = api.reads.releases(Some(&of.connector)).await?;
    if releases.is_empty() {
        let detail = format!("no release of {} is published", of.connector);
        return Err(unknown_connector(api, detail).await);
    }
    let specs = releases.iter().filter_map(|release| release.descriptor.slots.get(&of.slot));
    let servers: Vec<_> = specs.filter_map(|spec| spec.scheme.oauth()).collect();
    if let Some(accepted) = servers.iter().map(|oauth| Accepted::of(oauth)).reduce(Accepted::or) {
        return Ok((servers.into_iter().flat_map(confirmed::hosts).collect(), accepted));
    }
    let detail =
        format!("no release of {} declares a slot `{}` of scheme `oauth2`", of.connector, of.slot);
    let there: BTreeSet<&Slot> = releases
        .iter()
        .flat_map(|release| &release.descriptor.slots)
        .filter(|(_, spec)| spec.scheme.oauth().is_some())
        .map(|(slot, _)| slot)
        .collect();
    Err(Fault::new(Code::UnknownSlot, detail).but_there_is(there))
}

fn absent(of: &ClientRef) -> Fault {
    let ClientRef { environment, connector, slot } = of;
    let detail =
        format!("environment {environment} has no OAuth client for {connector} slot `{slot}`");
    Fault::new(Code::OauthClientMissing, detail)
}

/// What it means that other environments have the same client; none if none has.
pub(super) fn shared(with: &[Environment]) -> Option<String> {
    let with: Vec<_> = with.iter().map(ToString::to_string).collect();
    (!with.is_empty()).then(|| {
        format!(
            "environment {} has the same client: each environment can revoke the other's tokens; \
             register one client for each",
            with.join(" and "),
        )
    })
}

fn render(info: ClientInfo) -> contract::Client {
    let ClientInfo { of, id, secret, key_id, generation, at, hosts, shared_with } = info;
    let warning = shared(&shared_with);
    let shared_with: Vec<_> = shared_with.iter().map(ToString::to_string).collect();
    contract::Client {
        environment: of.environment.to_string(),
        connector: of.connector.to_string(),
        slot: of.slot.to_string(),
        client_id: id,
        has_secret: secret,
        key_id,
        generation,
        hosts: hosts.into_iter().collect(),
        shared_with,
        warning,
        at,
    }
}
