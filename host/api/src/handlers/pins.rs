//! Pins, environment defaults, and the matrix of what should run and what ran.

use axum::extract::State;
use keyway_core::ids::{Connector, Environment, Installation, Tenant};
use keyway_core::release::ReleaseRef;
use keyway_core::{Code, Fault};
use keyway_releases::matrix::{Declared, Row};
use keyway_releases::model::{EnvironmentDefault, Filter, Pin};
use keyway_releases::pins::{DefaultRequest, PinRequest, RevertRequest};
use keyway_vault::oauth::client::ClientInfo;
use serde::Deserialize;

use super::releases::reference;
use super::{Answer, finish, json};
use crate::api::Host;
use crate::auth::Identity;
use crate::body::Json;
use crate::contract::installation as contract;
use crate::place::{self, At, Limit, Names, Of, Query};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HistoryQuery {
    before: Option<u64>,
    #[serde(default)]
    limit: Limit,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MatrixQuery {
    environment: Option<String>,
    tenant: Option<String>,
    connector: Option<String>,
    after: Option<String>,
    #[serde(default)]
    limit: Limit,
}

pub(crate) async fn set(
    State(api): State<Host>,
    At(installation): At,
    who: Identity,
    Json(body): Json<contract::SetPin>,
) -> Answer {
    let request = PinRequest {
        installation,
        release: body.release.parse()?,
        actor: who.actor().clone(),
        reason: body.reason,
        seen_generation: body.generation,
        allow_missing_scopes: body.allow_missing_scopes,
    };
    let releases = api.releases.clone();
    let pin = finish(async move { releases.pin(request).await }).await?;
    json(&changed(&api, pin).await)
}

pub(crate) async fn revert(
    State(api): State<Host>,
    At(installation): At,
    who: Identity,
    Json(body): Json<contract::Revert>,
) -> Answer {
    let request = RevertRequest {
        installation,
        to_generation: body.to,
        actor: who.actor().clone(),
        reason: body.reason,
        seen_generation: body.generation,
    };
    let releases = api.releases.clone();
    let pin = finish(async move { releases.revert(request).await }).await?;
    json(&changed(&api, pin).await)
}

pub(crate) async fn get(State(api): State<Host>, At(installation): At) -> Answer {
    let state = super::config::state(&api, &installation).await?;
    let pin = state.pin.ok_or_else(|| {
        Fault::new(Code::NotPinned, format!("{installation} has no pin of its own"))
    })?;
    json(&render(pin))
}

pub(crate) async fn history(
    State(api): State<Host>,
    At(installation): At,
    Query(query): Query<HistoryQuery>,
) -> Answer {
    let pins = api.reads.history(&installation).await?;
    if pins.is_empty() {
        // Says which of the two it is: no such installation, or one without pins.
        super::config::state(&api, &installation).await?;
    }
    let before = query.before.unwrap_or(u64::MAX);
    let mut page: Vec<_> = pins
        .into_iter()
        .rev()
        .filter(|pin| pin.generation < before)
        .take(query.limit.rows() + 1)
        .map(render)
        .collect();
    let next = turn(&mut page, query.limit, |pin| pin.generation);
    json(&contract::History { pins: page, next })
}

pub(crate) async fn matrix(
    State(api): State<Host>,
    who: Identity,
    Query(query): Query<MatrixQuery>,
) -> Answer {
    let after = query.after.as_deref().map(parse_installation).transpose()?;
    let limit = query.limit;
    let filter = filter(&api, &who, query)?;
    let rows = api.releases.matrix(&filter).await?;
    let mut page: Vec<_> = rows
        .into_iter()
        .filter(|row| who.covers(&row.installation.environment))
        .filter(|row| after.as_ref().is_none_or(|after| row.installation > *after))
        .take(limit.rows() + 1)
        .collect();
    let next = turn(&mut page, limit, |row| row.installation.to_string());
    json(&contract::Matrix { rows: page.into_iter().map(render_row).collect(), next })
}

pub(crate) async fn set_default(
    State(api): State<Host>,
    names: Names,
    Of(connector): Of,
    who: Identity,
    Json(body): Json<contract::SetDefault>,
) -> Answer {
    let request = DefaultRequest {
        environment: names.get("environment")?,
        connector,
        release: body.release.parse()?,
        actor: who.actor().clone(),
        reason: body.reason,
        allow_missing_scopes: body.allow_missing_scopes,
    };
    let releases = api.releases.clone();
    let default = finish(async move { releases.set_default(request).await }).await?;
    let warnings = shared_clients(&api, &default.environment, &default.release).await;
    json(&contract::EnvironmentDefault { warnings, ..render_default(default) })
}

pub(crate) async fn get_default(
    State(api): State<Host>,
    names: Names,
    Of(connector): Of,
) -> Answer {
    let environment: Environment = names.get("environment")?;
    let default = api.reads.environment_default(&environment, &connector).await?;
    let default = default.ok_or_else(|| {
        let detail = format!("environment `{environment}` has no default for {connector}");
        Fault::new(Code::NotPinned, detail)
    })?;
    json(&render_default(default))
}

/// A pin that was just made, with what to think about.
async fn changed(api: &Host, pin: Pin) -> contract::Pin {
    let warnings = shared_clients(api, &pin.installation.environment, &pin.release).await;
    contract::Pin { warnings, ..render(pin) }
}

/// A warning for each OAuth client of a release that another environment has as well. The change is made, so what cannot
/// be read is only missing here.
async fn shared_clients(
    api: &Host,
    environment: &Environment,
    release: &ReleaseRef,
) -> Vec<String> {
    let mut clients = api.vault.clients(environment).await.unwrap_or_default();
    clients.retain(|client| {
        client.of.connector == release.connector && !client.shared_with.is_empty()
    });
    if clients.is_empty() {
        return Vec::new();
    }
    let releases = api.reads.releases(Some(&release.connector)).await.unwrap_or_default();
    let of = releases.iter().find(|found| found.reference == *release);
    clients.retain(|client| of.is_some_and(|of| of.descriptor.slots.contains_key(&client.of.slot)));
    let warning = |client: ClientInfo| {
        let shared = super::clients::shared(&client.shared_with)?;
        Some(format!("slot `{}`: {shared}", client.of.slot))
    };
    clients.into_iter().filter_map(warning).collect()
}

/// Cuts a page that has one row too many, and says where the next begins.
pub(super) fn turn<T, N>(page: &mut Vec<T>, limit: Limit, place: impl Fn(&T) -> N) -> Option<N> {
    if page.len() <= limit.rows() {
        return None;
    }
    page.truncate(limit.rows());
    page.last().map(place)
}

fn filter(api: &Host, who: &Identity, query: MatrixQuery) -> Result<Filter, Fault> {
    let MatrixQuery { environment, tenant, connector, .. } = query;
    let environment: Option<Environment> = environment.as_deref().map(place::parse).transpose()?;
    if let Some(environment) = &environment {
        if !who.covers(environment) {
            let detail = format!("token `{}` does not cover this environment", who.actor());
            return Err(Fault::new(Code::NotPermitted, detail));
        }
        place::known(api, environment)?;
    }
    let tenant: Option<Tenant> = tenant.as_deref().map(place::parse).transpose()?;
    let connector: Option<Connector> = connector.as_deref().map(place::parse).transpose()?;
    Ok(Filter { environment, tenant, connector })
}

/// An installation as it prints itself: `environment/tenant/publisher/name`.
fn parse_installation(text: &str) -> Result<Installation, Fault> {
    let mut parts = text.splitn(3, '/');
    let mut part = || parts.next().unwrap_or_default();
    Ok(Installation {
        environment: place::parse(part())?,
        tenant: place::parse(part())?,
        connector: place::parse(part())?,
    })
}

fn render(pin: Pin) -> contract::Pin {
    contract::Pin {
        environment: pin.installation.environment.to_string(),
        tenant: pin.installation.tenant.to_string(),
        release: reference(&pin.release),
        generation: pin.generation,
        actor: pin.actor.to_string(),
        reason: pin.reason,
        at: pin.at,
        reverts_to: pin.reverts_to,
        warnings: Vec::new(),
    }
}

fn render_default(default: EnvironmentDefault) -> contract::EnvironmentDefault {
    contract::EnvironmentDefault {
        environment: default.environment.to_string(),
        release: reference(&default.release),
        generation: default.generation,
        actor: default.actor.to_string(),
        reason: default.reason,
        at: default.at,
        warnings: Vec::new(),
    }
}

fn render_row(row: Row) -> contract::Row {
    let (by, release, generation) = match row.declared {
        Declared::Pin(pin) => (contract::DeclaredBy::Pin, Some(pin.release), Some(pin.generation)),
        Declared::Default(default) => {
            (contract::DeclaredBy::Default, Some(default.release), Some(default.generation))
        }
        Declared::Nothing => (contract::DeclaredBy::Nothing, None, None),
    };
    let executed = row.executed.map(|execution| contract::Executed {
        release: reference(&execution.release),
        at: execution.at,
        calls: execution.calls,
        failures: execution.failures,
    });
    contract::Row {
        environment: row.installation.environment.to_string(),
        tenant: row.installation.tenant.to_string(),
        connector: row.installation.connector.to_string(),
        declared: contract::Declared { by, release: release.as_ref().map(reference), generation },
        executed,
    }
}
