//! An installation's configuration: set, shown, taken back, removed.

use axum::extract::State;
use keyway_core::ids::Installation;
use keyway_core::limits::CONFIG_BYTES_MAX;
use keyway_core::{Code, Digest, Fault};
use keyway_releases::model::{By, Config, ConfigGeneration, InstallationState};
use keyway_releases::pins::RevertConfigRequest;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::pins::{HistoryQuery, turn};
use super::{Answer, finish, json};
use crate::api::Host;
use crate::auth::Identity;
use crate::body::{Json, JsonText};
use crate::contract::installation as contract;
use crate::place::{At, Query};

/// What an installation runs with that was never configured.
const EMPTY: &str = "{}";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigQuery {
    generation: Option<u64>,
}

pub(crate) async fn set(
    State(api): State<Host>,
    At(installation): At,
    who: Identity,
    JsonText(text): JsonText,
) -> Answer {
    // Before anything is made of it: a tree of values is many times as large.
    if text.len() > CONFIG_BYTES_MAX {
        let detail = format!("configuration is over {CONFIG_BYTES_MAX} bytes");
        return Err(Fault::new(Code::BodyTooLarge, detail).into());
    }
    if !text.trim_start().starts_with('{') {
        return Err(Fault::new(Code::ConfigInvalid, "a configuration is a JSON object").into());
    }
    let (releases, actor) = (api.releases.clone(), who.actor().clone());
    // Kept as it was written, but for what stands between its parts: connectors are given every digit.
    let text = crate::json::compact(&text);
    make(async move { releases.set_config(installation, &text, actor).await.map(Some) }).await
}

pub(crate) async fn get(
    State(api): State<Host>,
    At(installation): At,
    Query(query): Query<ConfigQuery>,
) -> Answer {
    let state = state(&api, &installation).await?;
    let config = match query.generation {
        None | Some(0) => state.config.filter(|_| query.generation.is_none()),
        Some(number) => {
            let found = api.reads.config_at(&installation, number).await?;
            Some(found.ok_or_else(|| {
                let detail = format!("{installation} has no configuration {number}");
                Fault::new(Code::NoHistory, detail)
            })?)
        }
    };
    json(&render(config)?)
}

pub(crate) async fn remove(State(api): State<Host>, At(installation): At, who: Identity) -> Answer {
    state(&api, &installation).await?;
    let (releases, actor) = (api.releases.clone(), who.actor().clone());
    make(async move { releases.remove_config(installation, actor).await }).await
}

pub(crate) async fn revert(
    State(api): State<Host>,
    At(installation): At,
    who: Identity,
    Json(body): Json<contract::RevertConfig>,
) -> Answer {
    let request = RevertConfigRequest {
        installation,
        to_generation: body.to,
        actor: who.actor().clone(),
        reason: body.reason,
        seen_generation: body.generation,
    };
    let releases = api.releases.clone();
    make(async move { releases.revert_config(request).await.map(Some) }).await
}

pub(crate) async fn history(
    State(api): State<Host>,
    At(installation): At,
    Query(query): Query<HistoryQuery>,
) -> Answer {
    state(&api, &installation).await?;
    let before = query.before.unwrap_or(u64::MAX);
    let mut page: Vec<_> = api
        .reads
        .config_history(&installation)
        .await?
        .into_iter()
        .rev()
        .filter(|about| about.generation < before)
        .take(query.limit.rows() + 1)
        .map(render_generation)
        .collect();
    let next = turn(&mut page, query.limit, |about| about.generation);
    json(&contract::ConfigHistory { configs: page, next })
}

/// Makes a change of a configuration, and says which there is now.
async fn make(
    change: impl Future<Output = Result<Option<Config>, Fault>> + Send + 'static,
) -> Answer {
    json(&render(finish(change).await?)?)
}

/// What the store knows of an installation.
pub(super) async fn state(
    api: &Host,
    installation: &Installation,
) -> Result<InstallationState, Fault> {
    api.reads.installation(installation).await?.ok_or_else(|| {
        let detail = format!("{installation} has no pin, configuration or connection");
        Fault::new(Code::UnknownInstallation, detail)
    })
}

fn render(config: Option<Config>) -> Result<contract::Config, Fault> {
    let (generation, back_to, digest, text) = match config {
        Some(Config { json, about }) => (about.generation, about.back_to, about.digest, json),
        None => (0, None, Digest::of(EMPTY.as_bytes()), EMPTY.to_owned()),
    };
    let config = RawValue::from_string(text)
        .map_err(|error| Fault::new(Code::Internal, "a kept configuration").caused_by(error))?;
    Ok(contract::Config { generation, back_to, digest: digest.to_string(), config })
}

fn render_generation(about: ConfigGeneration) -> contract::ConfigGeneration {
    let (actor, reason, at) = match about.by {
        Some(By { actor, reason, at }) => (Some(actor.to_string()), reason, Some(at)),
        None => (None, None, None),
    };
    contract::ConfigGeneration {
        generation: about.generation,
        digest: about.digest.to_string(),
        removed: about.removed,
        back_to: about.back_to,
        taken: about.taken,
        actor,
        reason,
        at,
    }
}
