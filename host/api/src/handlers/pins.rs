//! Pins, environment defaults, and the matrix of what should run and what ran.

use axum::extract::State;
use keyway_core::ids::{Connector, Environment, Installation, Tenant};
use keyway_core::release::ReleaseRef;
use keyway_core::{Code, Fault};
use keyway_releases::lacking::Allowed;
use keyway_releases::matrix::{Declared, Row};
use keyway_releases::model::{EnvironmentDefault, Filter, Generation, TakenConfig};
use keyway_releases::pins::{
    DefaultRequest, Defaulted, Moved, PinRequest, RevertRequest, UnpinRequest, Unset, UnsetRequest,
};
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
    pub(super) before: Option<u64>,
    #[serde(default)]
    pub(super) limit: Limit,
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
        allowed: allowed(body.allow_missing_scopes, body.allow_other_scheme),
    };
    let releases = api.releases.clone();
    make(&api, async move { releases.pin(request).await }).await
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
    make(&api, async move { releases.revert(request).await }).await
}

pub(crate) async fn unpin(
    State(api): State<Host>,
    At(installation): At,
    who: Identity,
    Json(body): Json<contract::Unpin>,
) -> Answer {
    let request = UnpinRequest {
        installation,
        actor: who.actor().clone(),
        reason: body.reason,
        seen_generation: body.generation,
        allowed: allowed(body.allow_missing_scopes, body.allow_other_scheme),
    };
    let releases = api.releases.clone();
    make(&api, async move { releases.unpin(request).await }).await
}

pub(crate) async fn get(State(api): State<Host>, At(installation): At) -> Answer {
    let state = super::config::state(&api, &installation).await?;
    let pin = state.pin.ok_or_else(|| {
        Fault::new(Code::NotPinned, format!("{installation} has no pin of its own"))
    })?;
    json(&render(pin.into()))
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
        .filter(|pin| pin.number < before)
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
        allowed: allowed(body.allow_missing_scopes, body.allow_other_scheme),
    };
    let releases = api.releases.clone();
    let done = finish(async move { releases.set_default(request).await }).await?;
    let Defaulted { default, configs } = done;
    let mut warnings = shared_clients(&api, &default.environment, &default.release).await;
    warnings.extend(configs.map(|configs| format!("configurations that fit it: {configs}")));
    json(&contract::EnvironmentDefault { warnings, ..render_default(default) })
}

pub(crate) async fn unset_default(
    State(api): State<Host>,
    names: Names,
    Of(connector): Of,
    who: Identity,
    Json(body): Json<contract::UnsetDefault>,
) -> Answer {
    let request = UnsetRequest {
        environment: names.get("environment")?,
        connector,
        actor: who.actor().clone(),
        reason: body.reason,
    };
    let releases = api.releases.clone();
    let unset = finish(async move { releases.unset_default(request).await }).await?;
    let Unset { generation, connector, without } = unset;
    let warning = |tenants| format!("calls are refused for want of a pin: {tenants}");
    json(&contract::DefaultUnset {
        environment: generation.environment.to_string(),
        connector: connector.to_string(),
        generation: generation.number,
        actor: generation.by.actor.to_string(),
        reason: generation.by.reason.unwrap_or_default(),
        at: generation.by.at,
        warnings: without.map(warning).into_iter().collect(),
    })
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

/// What a caller takes upon itself.
const fn allowed(missing_scopes: bool, other_schemes: bool) -> Allowed {
    Allowed { missing_scopes, other_schemes }
}

/// Makes a change of what an installation runs, and says what it came to.
async fn make(
    api: &Host,
    change: impl Future<Output = Result<Moved, Fault>> + Send + 'static,
) -> Answer {
    let moved = finish(change).await?;
    json(&changed(api, moved).await)
}

/// What a change came to, with what to think about.
async fn changed(api: &Host, moved: Moved) -> contract::Pin {
    let Moved { generation, default } = moved;
    let Installation { environment, connector, .. } = &generation.installation;
    let warnings = match generation.release.as_ref().or(default.as_ref()) {
        Some(release) => shared_clients(api, environment, release).await,
        None => vec![format!(
            "environment `{environment}` has no default for {connector}: calls of this tenant are refused"
        )],
    };
    let default = default.as_ref().map(reference);
    contract::Pin { warnings, default, ..render(generation) }
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

fn render(of: Generation) -> contract::Pin {
    let taken = |TakenConfig { generation, back_to }| contract::TakenConfig { generation, back_to };
    contract::Pin {
        environment: of.installation.environment.to_string(),
        tenant: of.installation.tenant.to_string(),
        release: of.release.as_ref().map(reference),
        generation: of.number,
        actor: of.actor.to_string(),
        reason: of.reason,
        at: of.at,
        reverts_to: of.reverts_to,
        config: of.config.map(taken),
        default: None,
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
