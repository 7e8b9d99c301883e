//! `keyway proxy-url`.

use keyway_api::contract::call::ProxyUrl;

use crate::commands::remote::{Session, encoded};
use crate::exit::Exit;
use crate::output;

/// Prints where a client of the provider reaches an installation, a line for each way.
pub(crate) async fn url(
    session: &Session,
    (tenant, connector): (&str, &str),
    slot: Option<&str>,
    user: Option<&str>,
) -> anyhow::Result<Exit> {
    let query: Vec<String> = [("slot", slot), ("user", user)]
        .into_iter()
        .filter_map(|(name, text)| Some(format!("{name}={}", encoded(text?))))
        .collect();
    let mark = if query.is_empty() { "" } else { "?" };
    let rest = format!("/proxy-url{mark}{}", query.join("&"));
    let json = session.get(&session.installation(tenant, connector, &rest)).await?;
    session.show(json, |url: ProxyUrl| {
        output::line(url.host_url);
        output::line(url.base_url);
        for (name, text) in url.headers {
            output::note(format!("to the second, send also `{name}: {text}`"));
        }
    })
}
