//! `keyway pin`, `revert`, `pins`, `history`, `default`.

use http::Method;
use keyway_api::contract::installation::{
    Declared, EnvironmentDefault, Executed, History, Matrix, Pin, Revert, Row, SetDefault, SetPin,
};
use keyway_api::contract::release::ReleaseRef;
use serde_json::value::RawValue;

use crate::answer::{Answer, Members};
use crate::args::DefaultCommand;
use crate::commands::releases::short;
use crate::commands::remote::{Session, connector_path, encoded};
use crate::exit::Exit;
use crate::output;

/// Pins a tenant.
pub(crate) async fn pin(
    session: &Session,
    tenant: &str,
    connector: &str,
    request: &SetPin,
) -> anyhow::Result<Exit> {
    let path = session.installation(tenant, connector, "/pin");
    let json = session.value(Method::PUT, &path, request).await?;
    warn(&json)?;
    session.show(json, changed)
}

/// Goes back.
pub(crate) async fn revert(
    session: &Session,
    tenant: &str,
    connector: &str,
    request: &Revert,
) -> anyhow::Result<Exit> {
    let path = session.installation(tenant, connector, "/revert");
    let json = session.value(Method::POST, &path, request).await?;
    warn(&json)?;
    session.show(json, changed)
}

/// Says what the host has warned of.
fn warn(answer: &Answer) -> anyhow::Result<()> {
    for warning in answer.members()?.read::<Vec<String>>("warnings")?.unwrap_or_default() {
        output::note(format!("keyway: warning: {warning}"));
    }
    Ok(())
}

fn changed(pin: Pin) {
    let ReleaseRef { connector, version, digest } = &pin.release;
    output::line(format!(
        "{} runs {connector}@{version} {digest}, generation {}",
        pin.tenant, pin.generation,
    ));
}

/// Shows the matrix.
pub(crate) async fn list(
    session: &Session,
    tenant: Option<&str>,
    connector: Option<&str>,
    all: bool,
) -> anyhow::Result<Exit> {
    let environment = (!all).then(|| session.environment());
    let filters = [("environment", environment), ("tenant", tenant), ("connector", connector)];
    let json = session.list("/v1/pins", &filters, "rows").await?;
    session.show(json, |matrix: Matrix| {
        let rows: Vec<_> = matrix.rows.into_iter().map(row).collect();
        let header = [
            "ENVIRONMENT",
            "TENANT",
            "CONNECTOR",
            "DECLARED",
            "BY",
            "GEN",
            "EXECUTED",
            "CALLS",
            "FAILED",
        ];
        output::table(header, &rows);
    })
}

fn row(row: Row) -> [String; 9] {
    let Row { environment, tenant, connector, declared, executed } = row;
    let Declared { by, release, generation } = declared;
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let by = format!("{by:?}").to_lowercase();
    let (ran, calls, failures) = match executed {
        Some(Executed { release, calls, failures, .. }) => {
            (Some(release), Some(calls), Some(failures))
        }
        None => (None, None, None),
    };
    [
        environment,
        tenant,
        connector,
        named(release.as_ref()),
        by,
        number(generation),
        named(ran.as_ref()),
        number(calls),
        number(failures),
    ]
}

/// Version and digest of a release, `-` for none.
fn named(release: Option<&ReleaseRef>) -> String {
    release
        .map_or("-".to_owned(), |release| format!("{} {}", release.version, short(&release.digest)))
}

/// Shows every pin that an installation had, newest first.
pub(crate) async fn history(
    session: &Session,
    tenant: &str,
    connector: &str,
) -> anyhow::Result<Exit> {
    let path = session.installation(tenant, connector, "/history");
    let mut pins: Vec<Box<RawValue>> = Vec::new();
    let mut before: Option<u64> = None;
    loop {
        let query = before.map_or(String::new(), |before| format!("?before={before}"));
        let page = session.get(&format!("{path}{query}")).await?.members()?;
        pins.extend(page.read::<Vec<_>>("pins")?.unwrap_or_default());
        before = page.read("next")?;
        if before.is_none() {
            break;
        }
    }
    let mut whole = Members::default();
    whole.set("pins", &pins)?;
    session.show(Answer::of(&whole)?, |history: History| {
        let rows: Vec<_> = history.pins.into_iter().map(pin_row).collect();
        output::table(["GEN", "RELEASE", "AT", "BY", "REASON"], &rows);
    })
}

fn pin_row(pin: Pin) -> [String; 5] {
    let back = pin.reverts_to.map_or(String::new(), |to| format!(" (back to {to})"));
    [
        format!("{}{back}", pin.generation),
        named(Some(&pin.release)),
        timestamp(pin.at),
        pin.actor,
        pin.reason,
    ]
}

/// RFC 3339 to the second.
pub(crate) fn timestamp(at: time::OffsetDateTime) -> String {
    let format =
        time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    at.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_else(|_| at.to_string())
}

/// The release that tenants without a pin run.
pub(crate) async fn default(session: &Session, command: DefaultCommand) -> anyhow::Result<Exit> {
    let path = |connector: &str| {
        let environment = encoded(session.environment());
        format!("/v1/environments/{environment}/defaults/{}", connector_path(connector))
    };
    let json = match command {
        DefaultCommand::Get { connector } => session.get(&path(&connector)).await?,
        DefaultCommand::Set { connector, release, reason, allow_missing_scopes } => {
            let request = SetDefault { release, reason, allow_missing_scopes };
            session.value(Method::PUT, &path(&connector), &request).await?
        }
    };
    warn(&json)?;
    session.show(json, |default: EnvironmentDefault| {
        let ReleaseRef { connector, version, digest } = &default.release;
        let environment = &default.environment;
        let generation = default.generation;
        output::line(format!(
            "{environment} runs {connector}@{version} {digest} by default, generation {generation}"
        ));
    })
}
