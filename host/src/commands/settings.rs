//! `keyway connection` and `keyway config`.

use std::io::{IsTerminal as _, Read as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use http::Method;
use hyper::body::Bytes;
use keyway_api::contract::installation::{Connection, ConnectionList};
use serde_json::{Value, json};

use crate::args::{ConfigCommand, ConnectionCommand};
use crate::commands::pins::timestamp;
use crate::commands::remote::{Session, encoded};
use crate::exit::Exit;
use crate::output;

/// An installation's credentials.
pub(crate) async fn connection(
    session: &Session,
    command: ConnectionCommand,
) -> anyhow::Result<Exit> {
    match command {
        ConnectionCommand::Set { tenant, connector, slot, user, secret_file, base_url } => {
            let secret = secret(secret_file.as_deref())?;
            let mut body = match user {
                Some(user) => json!({"user": user, "password": secret}),
                None => json!({"token": secret}),
            };
            if let Some(base_url) = base_url {
                body["base_url"] = base_url.into();
            }
            let path = slot_path(session, &tenant, &connector, &slot);
            let json = session.value(Method::PUT, &path, &body).await?;
            session.show(json, |connection: Connection| {
                let Connection { slot, kind, generation, .. } = connection;
                output::line(format!(
                    "slot {slot} of {tenant} is set ({kind}), generation {generation}"
                ));
            })
        }
        ConnectionCommand::Remove { tenant, connector, slot } => {
            let path = slot_path(session, &tenant, &connector, &slot);
            session.send(Method::DELETE, &path, "application/json", Bytes::new()).await?;
            output::note(format!("slot {slot} of {tenant} has no credential any more"));
            Ok(Exit::Success)
        }
        ConnectionCommand::List { tenant, connector } => {
            let path = session.installation(&tenant, &connector, "/connections");
            let json = session.get(&path).await?;
            session.show(json, |list: ConnectionList| {
                let rows: Vec<_> = list.connections.into_iter().map(row).collect();
                output::table(["SLOT", "KIND", "GEN", "BASE URL", "SET"], &rows);
            })
        }
    }
}

fn slot_path(session: &Session, tenant: &str, connector: &str, slot: &str) -> String {
    session.installation(tenant, connector, &format!("/connections/{}", encoded(slot)))
}

fn row(connection: Connection) -> [String; 5] {
    let Connection { slot, kind, generation, base_url, at } = connection;
    [slot, kind, generation.to_string(), base_url.unwrap_or("-".to_owned()), timestamp(at)]
}

/// A secret from a file or from standard input, never from the command line: other users see that.
fn secret(file: Option<&Path>) -> anyhow::Result<String> {
    let text = match file {
        Some(file) => std::fs::read_to_string(file)
            .with_context(|| format!("secret file {}", file.display()))?,
        None => {
            if std::io::stdin().is_terminal() {
                output::note("secret (end with Ctrl-D):");
            }
            standard_input()?
        }
    };
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() {
        bail!("the secret is empty");
    }
    Ok(secret.to_owned())
}

/// All of standard input, as text.
pub(crate) fn standard_input() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("standard input")?;
    Ok(text)
}

/// An installation's configuration.
pub(crate) async fn config(session: &Session, command: ConfigCommand) -> anyhow::Result<Exit> {
    match command {
        ConfigCommand::Set { tenant, connector, file } => {
            let text = if file == Path::new("-") {
                standard_input()?
            } else {
                std::fs::read_to_string(&file)
                    .with_context(|| format!("configuration {}", file.display()))?
            };
            let path = session.installation(&tenant, &connector, "/config");
            let json = session.text(Method::PUT, &path, text).await?.json;
            session.show(json, |config: Value| {
                let (generation, digest) = (&config["generation"], &config["digest"]);
                let digest = digest.as_str().unwrap_or_default();
                output::line(format!(
                    "configuration of {tenant} is {digest}, generation {generation}"
                ));
            })
        }
        ConfigCommand::Get { tenant, connector } => {
            let json = session.get(&session.installation(&tenant, &connector, "/config")).await?;
            session.show(json, |config: Value| {
                output::json(&config["config"], true);
            })
        }
    }
}
