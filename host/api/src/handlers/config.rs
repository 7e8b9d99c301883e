//! An installation's configuration.

use axum::extract::State;
use keyway_core::ids::Installation;
use keyway_core::{Code, Digest, Fault};
use keyway_releases::model::InstallationState;
use serde_json::value::RawValue;

use super::{Answer, finish, json};
use crate::api::Host;
use crate::auth::Identity;
use crate::body::JsonText;
use crate::contract::installation as contract;
use crate::place::At;

/// What an installation runs with that was never configured.
const EMPTY: &str = "{}";

pub(crate) async fn set(
    State(api): State<Host>,
    At(installation): At,
    who: Identity,
    JsonText(text): JsonText,
) -> Answer {
    let value = crate::json::value(&text)?;
    if !value.is_object() {
        return Err(Fault::new(Code::ConfigInvalid, "a configuration is a JSON object").into());
    }
    let (releases, actor) = (api.releases.clone(), who.actor().clone());
    // Kept as it was written, but for what stands between its parts: connectors are given every digit.
    let text = crate::json::compact(&text);
    let config =
        finish(async move { releases.set_config(installation, &text, &value, actor).await })
            .await?;
    json(&render(config.generation, &config.digest, config.json)?)
}

pub(crate) async fn get(State(api): State<Host>, At(installation): At) -> Answer {
    let state = state(&api, &installation).await?;
    let (generation, digest, text) = match state.config {
        Some(config) => (config.generation, config.digest, config.json),
        None => (0, Digest::of(EMPTY.as_bytes()), EMPTY.to_owned()),
    };
    json(&render(generation, &digest, text)?)
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

fn render(generation: u64, digest: &Digest, text: String) -> Result<contract::Config, Fault> {
    let config = RawValue::from_string(text)
        .map_err(|error| Fault::new(Code::Internal, "a kept configuration").caused_by(error))?;
    Ok(contract::Config { generation, digest: digest.to_string(), config })
}
