//! `keyway pin`, `unpin`, `revert`, `pins`, `history`, `default`.

use http::Method;
use keyway_api::contract::installation::{
    Declared, DefaultUnset, EnvironmentDefault, Executed, History, Matrix, Pin, Revert, Row,
    SetDefault, SetPin, TakenConfig, Unpin, UnsetDefault,
};
use keyway_api::contract::release::ReleaseRef;

use crate::answer::Answer;
use crate::args::{Allow, DefaultCommand};
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
    warn(session, &json)?;
    session.show(json, changed)
}

/// Ends a pin.
pub(crate) async fn unpin(
    session: &Session,
    tenant: &str,
    connector: &str,
    request: &Unpin,
) -> anyhow::Result<Exit> {
    let path = session.installation(tenant, connector, "/unpin");
    let json = session.value(Method::POST, &path, request).await?;
    warn(session, &json)?;
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
    warn(session, &json)?;
    session.show(json, changed)
}

/// Says what the host has warned of. Programs have it in the answer.
fn warn(session: &Session, answer: &Answer) -> anyhow::Result<()> {
    if session.json() {
        return Ok(());
    }
    for warning in answer.members()?.read::<Vec<String>>("warnings")?.unwrap_or_default() {
        output::note(format!("keyway: warning: {warning}"));
    }
    Ok(())
}

fn changed(pin: Pin) {
    let named = |ReleaseRef { connector, version, digest }: &ReleaseRef| {
        format!("{connector}@{version} {digest}")
    };
    let runs = match (&pin.release, &pin.default) {
        (Some(release), _) => format!("runs {}", named(release)),
        (None, Some(default)) => format!("has no pin and runs {} by default", named(default)),
        (None, None) => "has no pin and runs nothing".to_owned(),
    };
    let back = pin.reverts_to.map_or(String::new(), |to| format!(", back to generation {to}"));
    output::line(format!("{} {runs}, generation {}{back}", pin.tenant, pin.generation));
    if let Some(taken) = pin.config {
        output::line(format!("{} has {}", pin.tenant, taken_along(taken)));
    }
}

fn taken_along(TakenConfig { generation, back_to }: TakenConfig) -> String {
    match back_to {
        0 => format!("no configuration, as none fits (generation {generation})"),
        back_to => {
            format!("the configuration of generation {back_to}, which fits (now {generation})")
        }
    }
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
    let json = session.newest_first(&path, "pins").await?;
    session.show(json, |history: History| {
        let rows: Vec<_> = history.pins.into_iter().map(pin_row).collect();
        // Seldom needed, so only where there is something to say.
        if rows.iter().any(|row| row[2] != "-") {
            output::table(["GEN", "RELEASE", "CONFIG", "AT", "BY", "REASON"], &rows);
        } else {
            let rows: Vec<_> = rows.into_iter().map(|[a, b, _, c, d, e]| [a, b, c, d, e]).collect();
            output::table(["GEN", "RELEASE", "AT", "BY", "REASON"], &rows);
        }
    })
}

fn pin_row(pin: Pin) -> [String; 6] {
    let back = pin.reverts_to.map_or(String::new(), |to| format!(" (back to {to})"));
    let config = pin.config.map_or("-".to_owned(), |TakenConfig { generation, back_to }| {
        let back_to = if back_to == 0 { "none".to_owned() } else { format!("back to {back_to}") };
        format!("{generation} ({back_to})")
    });
    [
        format!("{}{back}", pin.generation),
        pin.release.as_ref().map_or("no pin".to_owned(), |release| named(Some(release))),
        config,
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
        DefaultCommand::Set { connector, release, reason, allow } => {
            let Allow { allow_missing_scopes, allow_other_scheme } = allow;
            let request = SetDefault { release, reason, allow_missing_scopes, allow_other_scheme };
            session.value(Method::PUT, &path(&connector), &request).await?
        }
        DefaultCommand::Unset { connector, reason } => {
            let path = format!("{}/unset", path(&connector));
            let json = session.value(Method::POST, &path, &UnsetDefault { reason }).await?;
            warn(session, &json)?;
            return session.show(json, |unset: DefaultUnset| {
                let DefaultUnset { environment, connector, generation, .. } = unset;
                output::line(format!(
                    "{environment} has no default for {connector}, generation {generation}"
                ));
            });
        }
    };
    warn(session, &json)?;
    session.show(json, |default: EnvironmentDefault| {
        let ReleaseRef { connector, version, digest } = &default.release;
        let environment = &default.environment;
        let generation = default.generation;
        output::line(format!(
            "{environment} runs {connector}@{version} {digest} by default, generation {generation}"
        ));
    })
}
