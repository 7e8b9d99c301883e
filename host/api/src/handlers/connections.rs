//! Connections: set, removed, listed, paused, refreshed. Their secrets are never shown.
//!
//! How tokens come from another system and go to one is in [`super::moves`].

use std::time::Duration;

use axum::extract::State;
use keyway_core::descriptor::{Scheme, SlotSpec};
use keyway_core::ids::{ConnectionRef, Environment, Installation, User};
use keyway_core::release::Release;
use keyway_core::{Code, Descriptor, Fault};
use keyway_releases::find::Selector;
use keyway_releases::scopes::{self as granted, SlotScopes};
use keyway_vault::SecretInput;
use keyway_vault::connections::{Receipt, Setting, Switch};
use keyway_vault::import::{Trial, Tried, Watch, WatchState};
use keyway_vault::oauth::record::{Phase, State as Tokens};
use keyway_vault::standing::{Info, Stand, Wanted};
use serde::Deserialize;

use super::pins::turn;
use super::releases::reference;
use super::{Answer, finish, json, nothing};
use crate::api::Host;
use crate::auth::Identity;
use crate::body::{Json, Shaped};
use crate::contract::connection as contract;
use crate::place::{self, At, Limit, Names, Query};

/// How long a pause waits for the connection to be idle when the caller does not say.
const WAIT_DEFAULT: u64 = 30;

/// How long at most: longer than any exchange may take.
const WAIT_MAX: u64 = 300;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserQuery {
    user: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PauseQuery {
    user: Option<String>,
    wait_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StandingQuery {
    phase: Option<contract::TokenPhase>,
    tenant: Option<String>,
    connector: Option<String>,
    after: Option<String>,
    #[serde(default)]
    limit: Limit,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScopesQuery {
    release: Option<String>,
}

// === impl UserQuery ===

impl UserQuery {
    /// The user named, if any.
    pub(super) fn user(self) -> Option<String> {
        self.user
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetQuery {
    user: Option<String>,
    test: Option<bool>,
}

pub(crate) async fn set(
    State(api): State<Host>,
    At(installation): At,
    names: Names,
    Query(query): Query<SetQuery>,
    who: Identity,
    Shaped(body): Shaped<contract::SetConnection>,
) -> Answer {
    let of = reference_of(installation, &names, query.user)?;
    let body = body.map_err(|_| refusal())?;
    let (release, spec) = declared(&api, &of).await?;
    if let Some(base_url) = &body.base_url {
        check_base_url(&api, &release.descriptor, base_url)?;
    }
    let base_url = body.base_url.clone();
    let secret = secret(body, &spec.scheme)?;
    let trial = trial(&release.descriptor, base_url.as_deref());
    let actor = who.actor().clone();
    let info = finish(async move {
        if query.test != Some(false) {
            api.vault.try_setting(&of, &spec, &secret, &trial).await?;
        }
        let ConnectionRef { installation, slot, user } = of;
        let setting = Setting { installation, slot, user, scheme: spec.scheme, base_url, secret };
        let connection = api.vault.set(setting, &actor).await?;
        api.releases.refresh(&connection.installation).await?;
        api.vault.info(connection).await
    })
    .await?;
    json(&render(info))
}

pub(crate) async fn set_all(
    State(api): State<Host>,
    At(installation): At,
    Query(query): Query<SetQuery>,
    who: Identity,
    Shaped(body): Shaped<contract::SetConnections>,
) -> Answer {
    let user: Option<User> = query.user.as_deref().map(place::parse).transpose()?;
    let body = body.map_err(|_| refusal())?;
    if body.connections.is_empty() {
        return Err(Fault::new(Code::InvalidRequest, "`connections` names no slot").into());
    }
    let mut settings = Vec::with_capacity(body.connections.len());
    for (slot, body) in body.connections {
        let slot = place::parse(&slot)?;
        let of = ConnectionRef { installation: installation.clone(), slot, user: user.clone() };
        let (release, spec) = declared(&api, &of).await?;
        if let Some(base_url) = &body.base_url {
            check_base_url(&api, &release.descriptor, base_url)?;
        }
        let trial = trial(&release.descriptor, body.base_url.as_deref());
        let (base_url, scheme) = (body.base_url.clone(), spec.scheme.clone());
        let secret = secret(body, &scheme)?;
        settings.push((of, spec, trial, base_url, secret));
    }
    let actor = who.actor().clone();
    let infos = finish(async move {
        let mut wanted = Vec::with_capacity(settings.len());
        for (of, spec, trial, base_url, secret) in settings {
            if query.test != Some(false) {
                api.vault.try_setting(&of, &spec, &secret, &trial).await?;
            }
            let ConnectionRef { installation, slot, user } = of;
            let scheme = spec.scheme;
            wanted.push(Setting { installation, slot, user, scheme, base_url, secret });
        }
        let set = api.vault.set_all(wanted, &actor).await?;
        api.releases.refresh(&installation).await?;
        let mut infos = Vec::with_capacity(set.len());
        for connection in set {
            infos.push(api.vault.info(connection).await?);
        }
        Ok(infos)
    })
    .await?;
    json(&contract::ConnectionList { connections: infos.into_iter().map(render).collect() })
}

/// Where a credential is tried: at the connection's own base URL, else at the release's.
pub(super) fn trial(descriptor: &Descriptor, base_url: Option<&str>) -> Trial {
    let base_url = base_url.or(descriptor.base_url.as_deref()).unwrap_or_default().to_owned();
    Trial { base_url, hosts: descriptor.hosts.clone() }
}

pub(crate) async fn test(
    State(api): State<Host>,
    At(installation): At,
    names: Names,
    Query(query): Query<UserQuery>,
) -> Answer {
    let of = reference_of(installation, &names, query.user)?;
    let tested = finish(async move {
        let (release, spec) = declared(&api, &of).await?;
        let trial = trial(&release.descriptor, None);
        let tried = api.vault.test(&of, &spec, &trial).await;
        // It may have been refreshed for it.
        api.releases.refresh(&of.installation).await?;
        tried
    });
    let account = match tested.await? {
        Tried::Works(account) => account,
        Tried::Untried => None,
    };
    json(&contract::Tested { works: true, account })
}

pub(crate) async fn remove(
    State(api): State<Host>,
    At(installation): At,
    names: Names,
    Query(query): Query<UserQuery>,
    who: Identity,
) -> Answer {
    let of = reference_of(installation, &names, query.user)?;
    let actor = who.actor().clone();
    finish(async move {
        // Without a release there is nobody to say where tokens are revoked; they go all the same.
        let release = api.releases.declared(&of.installation).await.ok();
        let spec = release.as_ref().and_then(|release| release.descriptor.slots.get(&of.slot));
        if !api.vault.remove(&of, spec, &actor).await? {
            let fault = absent(&of);
            return Err(match release {
                Some(release) if of.user.is_none() => {
                    fault.but_there_is(release.descriptor.slots.keys())
                }
                _ => fault,
            });
        }
        api.releases.refresh(&of.installation).await
    })
    .await?;
    Ok(nothing())
}

/// That there is nothing to remove. A slot without the tenant's own connection has always been told so.
fn absent(of: &ConnectionRef) -> Fault {
    match of.user {
        None => {
            Fault::new(Code::UnknownSlot, format!("no credential is set for slot `{}`", of.slot))
        }
        Some(_) => Fault::new(Code::UnknownConnection, format!("there is no {of}")),
    }
}

pub(crate) async fn list(State(api): State<Host>, At(installation): At) -> Answer {
    let infos = api.vault.connections(&installation).await?;
    if infos.is_empty() {
        // Says which of the two it is: no such installation, or one without connections.
        super::config::state(&api, &installation).await?;
    }
    json(&contract::ConnectionList { connections: infos.into_iter().map(render).collect() })
}

pub(crate) async fn standing(
    State(api): State<Host>,
    names: Names,
    Query(query): Query<StandingQuery>,
) -> Answer {
    let environment: Environment = names.get("environment")?;
    let after = query.after.as_deref().map(|text| parse_place(&environment, text)).transpose()?;
    let wanted = Wanted {
        environment,
        tenant: query.tenant.as_deref().map(place::parse).transpose()?,
        connector: query.connector.as_deref().map(place::parse).transpose()?,
        stand: query.phase.map(stand),
        after,
    };
    let mut page = api.vault.standing(wanted, query.limit.rows() + 1).await?;
    let next = turn(&mut page, query.limit, |info| place_of(&info.connection.reference()));
    let connections = page.into_iter().map(render_standing).collect();
    json(&contract::StandingList { connections, next })
}

/// `tenant/publisher/name/slot`, and `/user` where it is a user's.
fn place_of(of: &ConnectionRef) -> String {
    let Installation { tenant, connector, .. } = &of.installation;
    let place = format!("{tenant}/{connector}/{}", of.slot);
    of.user.as_ref().map_or(place.clone(), |user| format!("{place}/{user}"))
}

fn parse_place(environment: &Environment, text: &str) -> Result<ConnectionRef, Fault> {
    let (installation, rest) = place::after(environment, text)?;
    let mut parts = rest.unwrap_or_default().splitn(2, '/');
    let slot = place::parse(parts.next().unwrap_or_default())?;
    let user = parts.next().map(place::parse).transpose()?;
    Ok(ConnectionRef { installation, slot, user })
}

pub(crate) async fn pause(
    State(api): State<Host>,
    At(installation): At,
    names: Names,
    Query(query): Query<PauseQuery>,
    who: Identity,
) -> Answer {
    let of = reference_of(installation, &names, query.user)?;
    let wait = query.wait_seconds.unwrap_or(WAIT_DEFAULT);
    if wait > WAIT_MAX {
        let detail = format!("`wait_seconds` is 0 to {WAIT_MAX}");
        return Err(Fault::new(Code::InvalidRequest, detail).into());
    }
    let actor = who.actor().clone();
    let receipt = finish(async move {
        let receipt = api.vault.pause(&of, Duration::from_secs(wait), &actor).await;
        // Also where it is not idle yet: it is paused, and the route shows what the row says.
        api.releases.refresh(&of.installation).await?;
        receipt
    });
    let Receipt { info, drained_at, cut } = receipt.await?;
    json(&contract::PauseReceipt { connection: render(info), drained_at, cut })
}

pub(crate) async fn resume(
    State(api): State<Host>,
    At(installation): At,
    names: Names,
    Query(query): Query<UserQuery>,
    who: Identity,
) -> Answer {
    let of = reference_of(installation, &names, query.user)?;
    switch(api, of, Switch::Paused, false, &who).await
}

pub(crate) async fn hold_refresh(
    State(api): State<Host>,
    At(installation): At,
    names: Names,
    Query(query): Query<UserQuery>,
    who: Identity,
) -> Answer {
    let of = reference_of(installation, &names, query.user)?;
    switch(api, of, Switch::HoldRefresh, true, &who).await
}

pub(crate) async fn release_refresh(
    State(api): State<Host>,
    At(installation): At,
    names: Names,
    Query(query): Query<UserQuery>,
    who: Identity,
) -> Answer {
    let of = reference_of(installation, &names, query.user)?;
    switch(api, of, Switch::HoldRefresh, false, &who).await
}

async fn switch(api: Host, of: ConnectionRef, switch: Switch, on: bool, who: &Identity) -> Answer {
    let actor = who.actor().clone();
    let info = finish(async move {
        let connection = api.vault.switch(&of, switch, on, &actor).await?;
        api.releases.refresh(&of.installation).await?;
        api.vault.info(connection).await
    });
    json(&render(info.await?))
}

pub(crate) async fn refresh(
    State(api): State<Host>,
    At(installation): At,
    names: Names,
    Query(query): Query<UserQuery>,
    Json(body): Json<contract::RefreshConnection>,
) -> Answer {
    let of = reference_of(installation, &names, query.user)?;
    let state = finish(async move {
        let (_, spec) = declared(&api, &of).await?;
        let state = api.vault.refresh(&of, &spec, body.force).await;
        // The provider may have changed what it grants.
        api.releases.refresh(&of.installation).await?;
        state
    });
    json(&render_state(state.await?))
}

pub(crate) async fn scopes(
    State(api): State<Host>,
    At(installation): At,
    Query(query): Query<ScopesQuery>,
) -> Answer {
    let release = match query.release.as_deref().map(str::parse::<Selector>).transpose()? {
        Some(selector) => api.releases.find(&installation.connector, &selector).await?,
        None => api.releases.declared(&installation).await?,
    };
    let infos = api.vault.connections(&installation).await?;
    let (own, users): (Vec<_>, Vec<_>) =
        infos.into_iter().map(|info| info.connection).partition(|of| of.user.is_none());
    let slots = granted::compare(&release.descriptor, &own);
    let render = |SlotScopes { slot, required, granted, missing }: SlotScopes| {
        let users = users.iter().filter(|of| of.slot == slot).filter_map(|of| {
            let missing = granted::missing(&required, of.scopes.as_deref());
            let user = of.user.as_ref()?.to_string();
            (!missing.is_empty()).then_some(contract::UserScopes { user, missing })
        });
        let users = users.collect();
        contract::SlotScopes { slot: slot.to_string(), required, granted, missing, users }
    };
    let slots = slots.into_iter().map(render).collect();
    json(&contract::Scopes { release: reference(&release.reference), slots })
}

/// The connection that a path and a query name.
pub(super) fn reference_of(
    installation: Installation,
    names: &Names,
    user: Option<String>,
) -> Result<ConnectionRef, Fault> {
    let user: Option<User> = user.as_deref().map(place::parse).transpose()?;
    Ok(ConnectionRef { installation, slot: names.get("slot")?, user })
}

/// The release that the installation runs, and how it wants the slot's credential; refuses what it does not
/// declare.
pub(super) async fn declared(api: &Host, of: &ConnectionRef) -> Result<(Release, SlotSpec), Fault> {
    let release = api.releases.declared(&of.installation).await?;
    match release.descriptor.slots.get(&of.slot).cloned() {
        Some(spec) => Ok((release, spec)),
        None => {
            let detail = format!("{} declares no slot `{}`", release.reference, of.slot);
            let fault = Fault::new(Code::UnknownSlot, detail);
            Err(fault.but_there_is(release.descriptor.slots.keys()))
        }
    }
}

/// Whether a connection may have this base URL: on a host that the release declares, and below the domains that it
/// names for such URLs.
pub(super) fn check_base_url(
    api: &Host,
    descriptor: &Descriptor,
    base_url: &str,
) -> Result<(), Fault> {
    api.policy.check_base_url(descriptor, base_url)?;
    keyway_vault::base_url::check(descriptor, base_url)
}

/// A parser's complaint quotes what it complains about, which here may be the secret.
fn refusal() -> Fault {
    let detail = "the body is `token`, or `user` and `password` (and `session_token`, for an access key that has one), \
                  all text, and `base_url` if wanted; `{}` for a slot of scheme `none`";
    Fault::new(Code::InvalidRequest, detail)
}

fn secret(body: contract::SetConnection, scheme: &Scheme) -> Result<SecretInput, Fault> {
    let contract::SetConnection { token, user, password, session_token, base_url: _ } = body;
    match (token, user, password, session_token) {
        (Some(token), None, None, None) => Ok(SecretInput::Token(token)),
        (None, Some(user), Some(password), None) => Ok(SecretInput::Basic { user, password }),
        (None, Some(id), Some(key), Some(token)) => Ok(SecretInput::Session { id, key, token }),
        (None, None, None, None) if *scheme == Scheme::None => Ok(SecretInput::None),
        _ => Err(refusal()),
    }
}

pub(super) fn render(Info { connection, state, watch }: Info) -> contract::Connection {
    contract::Connection {
        slot: connection.slot.to_string(),
        user: connection.user.map(|user| user.to_string()),
        kind: connection.kind,
        generation: connection.generation,
        base_url: connection.base_url,
        account: connection.account,
        scopes: connection.scopes,
        facts: connection.facts,
        paused: connection.paused,
        hold_refresh: connection.hold_refresh,
        watch: watch.map(render_watch),
        state: state.map(render_state),
        at: connection.at,
    }
}

fn render_standing(info: Info) -> contract::Standing {
    let Installation { tenant, connector, .. } = &info.connection.installation;
    contract::Standing {
        tenant: tenant.to_string(),
        connector: connector.to_string(),
        connection: render(info),
    }
}

const fn stand(phase: contract::TokenPhase) -> Stand {
    match phase {
        contract::TokenPhase::Ready => Stand::Ready,
        contract::TokenPhase::Refreshing => Stand::Refreshing,
        contract::TokenPhase::Uncertain => Stand::Uncertain,
        contract::TokenPhase::NeedsReauth => Stand::NeedsReauth,
    }
}

fn render_watch(Watch { state, until, refreshes }: Watch) -> contract::Watch {
    let state = match state {
        WatchState::Waiting => contract::WatchState::Waiting,
        WatchState::Proven => contract::WatchState::Proven,
        WatchState::Failing => contract::WatchState::Failing,
        WatchState::Over => contract::WatchState::Over,
    };
    contract::Watch { state, until, refreshes }
}

fn render_state(state: Tokens) -> contract::TokenState {
    contract::TokenState {
        phase: match state.phase {
            Phase::Ready => contract::TokenPhase::Ready,
            Phase::Refreshing { .. } => contract::TokenPhase::Refreshing,
            Phase::Uncertain { .. } => contract::TokenPhase::Uncertain,
            Phase::NeedsReauth { .. } => contract::TokenPhase::NeedsReauth,
        },
        expires_at: state.expires_at,
        obtained_at: state.obtained_at,
        retry_at: state.retry_at,
        problem: state.problem,
        refreshable: state.refreshable,
        failures: state.failures,
    }
}
