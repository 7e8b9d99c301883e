//! `keyway keys`.

use http::Method;
use keyway_api::contract::keys::{Exchanged, Keys, KeysRotated, RotateKeys, SealingKey};

use crate::args::KeysCommand;
use crate::commands::pins::timestamp;
use crate::commands::remote::Session;
use crate::exit::Exit;
use crate::output;

/// Lists the keys, or exchanges them.
pub(crate) async fn keys(session: &Session, command: Option<KeysCommand>) -> anyhow::Result<Exit> {
    match command {
        None => list(session).await,
        Some(KeysCommand::Rotate { data, all_data }) => rotate(session, data, all_data).await,
    }
}

async fn list(session: &Session) -> anyhow::Result<Exit> {
    let json = session.get("/v1/keys").await?;
    session.show(json, |keys: Keys| {
        let Keys { service, problem, sealing_keys, data_keys, data_keys_current } = keys;
        if let Some(problem) = problem {
            output::note(format!("sealing keys ({service}): {problem}"));
        }
        let rows: Vec<_> = sealing_keys.into_iter().map(row).collect();
        output::table(["SEALING KEY", "STATE", "DATA KEYS", "SINCE"], &rows);
        let older = data_keys.saturating_sub(data_keys_current);
        output::note(format!(
            "kept in: {service}; {data_keys_current} data keys in use, {older} older ones"
        ));
    })
}

fn row(key: SealingKey) -> [String; 4] {
    let SealingKey { id, current, present, data_keys, since } = key;
    let state = match (current, present) {
        (true, _) => "current",
        (false, Some(true)) => "older",
        (false, Some(false)) => "missing",
        (false, None) => "unknown",
    };
    [id, state.to_owned(), data_keys.to_string(), since.map_or("-".to_owned(), timestamp)]
}

async fn rotate(session: &Session, data: Option<String>, all_data: bool) -> anyhow::Result<Exit> {
    let request = match (data, all_data) {
        (Some(tenant), _) => RotateKeys {
            what: Exchanged::DataKeys,
            environment: Some(session.environment().to_owned()),
            tenant: Some(tenant),
        },
        (None, true) => RotateKeys { what: Exchanged::DataKeys, environment: None, tenant: None },
        (None, false) => {
            RotateKeys { what: Exchanged::SealingKey, environment: None, tenant: None }
        }
    };
    let json = session.value(Method::POST, "/v1/keys/rotate", &request).await?;
    let what = request.what;
    session.show(json, |rotated: KeysRotated| {
        let KeysRotated { sealing_key, data_keys } = rotated;
        match what {
            Exchanged::SealingKey => {
                output::line(&sealing_key);
                output::note(format!("{data_keys} data keys are wrapped with {sealing_key} now"));
            }
            Exchanged::DataKeys => {
                output::line(data_keys);
                output::note(format!("{data_keys} new data keys, for what is sealed from now on"));
            }
        }
    })
}
