//! `keyway config`.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use http::Method;
use keyway_api::contract::installation::Config;

use crate::answer::BYTE_ORDER_MARK;
use crate::args::ConfigCommand;
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
        ConfigCommand::Get { tenant, connector } => {
            let json = session.get(&session.installation(&tenant, &connector, "/config")).await?;
            session.show(json, |config: Config| output::json(config.config.get(), true))
        }
    }
}
