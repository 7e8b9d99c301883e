//! `keyway config`.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use http::Method;
use hyper::body::Bytes;
use keyway_api::contract::installation::{Config, ConfigGeneration, ConfigHistory, RevertConfig};

use crate::answer::BYTE_ORDER_MARK;
use crate::args::ConfigCommand;
use crate::commands::pins::timestamp;
use crate::commands::releases::short;
use crate::commands::remote::Session;
use crate::exit::Exit;
use crate::output;

/// All of standard input, as text. Some shells begin a pipe or a file with a byte order mark; it is no part of the text.
pub(crate) fn standard_input() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("standard input")?;
    Ok(unmarked(text))
}

/// All of a file, as text, likewise.
pub(crate) fn text_of(file: &Path) -> std::io::Result<String> {
    std::fs::read_to_string(file).map(unmarked)
}

fn unmarked(text: String) -> String {
    text.strip_prefix(BYTE_ORDER_MARK).map(str::to_owned).unwrap_or(text)
}

/// An installation's configuration.
pub(crate) async fn config(session: &Session, command: ConfigCommand) -> anyhow::Result<Exit> {
    match command {
        ConfigCommand::Set { tenant, connector, file } => {
            let text = if file == Path::new("-") {
                standard_input()?
            } else {
                text_of(&file).with_context(|| format!("configuration {}", file.display()))?
            };
            let path = session.installation(&tenant, &connector, "/config");
            let json = session.text(Method::PUT, &path, text).await?.answer()?;
            session.show(json, |config: Config| {
                let Config { generation, digest, .. } = config;
                output::line(format!(
                    "configuration of {tenant} is {digest}, generation {generation}"
                ));
            })
        }
        ConfigCommand::Get { tenant, connector, generation } => {
            let query = generation.map_or(String::new(), |number| format!("?generation={number}"));
            let rest = format!("/config{query}");
            let json = session.get(&session.installation(&tenant, &connector, &rest)).await?;
            session.show(json, |config: Config| output::json(config.config.get(), true))
        }
        ConfigCommand::History { tenant, connector } => history(session, &tenant, &connector).await,
        ConfigCommand::Revert { tenant, connector, reason, to, generation } => {
            let path = session.installation(&tenant, &connector, "/config/revert");
            let request = RevertConfig { reason, to, generation };
            let json = session.value(Method::POST, &path, &request).await?;
            session.show(json, |config: Config| {
                let Config { generation, back_to, digest, .. } = config;
                let back = back_to.map_or(String::new(), |to| match to {
                    0 => ", back to none".to_owned(),
                    to => format!(", back to generation {to}"),
                });
                output::line(format!(
                    "configuration of {tenant} is {digest}, generation {generation}{back}"
                ));
            })
        }
        ConfigCommand::Remove { tenant, connector } => {
            let path = session.installation(&tenant, &connector, "/config");
            let json = session
                .send(Method::DELETE, &path, "application/json", Bytes::new())
                .await?
                .answer()?;
            session.show(json, |config: Config| {
                let generation = config.generation;
                output::line(format!("{tenant} has no configuration, generation {generation}"));
            })
        }
    }
}

/// Shows every configuration that an installation had, newest first.
async fn history(session: &Session, tenant: &str, connector: &str) -> anyhow::Result<Exit> {
    let path = session.installation(tenant, connector, "/config/history");
    let json = session.newest_first(&path, "configs").await?;
    session.show(json, |history: ConfigHistory| {
        let rows: Vec<_> = history.configs.into_iter().map(row).collect();
        output::table(["GEN", "CONFIG", "AT", "BY", "REASON"], &rows);
    })
}

fn row(of: ConfigGeneration) -> [String; 5] {
    let back = of.back_to.map_or(String::new(), |to| format!(" (back to {to})"));
    let along = if of.taken { "along with " } else { "" };
    [
        format!("{}{back}", of.generation),
        if of.removed { "none".to_owned() } else { short(&of.digest) },
        of.at.map_or("-".to_owned(), timestamp),
        of.actor.unwrap_or_else(|| "-".to_owned()),
        of.reason.map_or(String::new(), |reason| format!("{along}{reason}")),
    ]
}
