//! `keyway config`.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use http::Method;
use serde_json::Value;

use crate::args::ConfigCommand;
use crate::commands::remote::Session;
use crate::exit::Exit;
use crate::output;

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
