//! `keyway publish`, `releases`, `show`, `diff`.

use std::path::Path;

use anyhow::Context as _;
use http::Method;
use keyway_api::contract::connection::Scopes;
use keyway_api::contract::release::{Diff, Release, ReleaseList, ReleaseRef, ReleaseSummary};
use serde_json::Value;

use crate::args::ReleaseName;
use crate::commands::connections;
use crate::commands::remote::{Session, connector_path, encoded};
use crate::exit::Exit;
use crate::output;

/// Hexadecimal digits that lists show: enough to be typed back, few enough to read.
const DIGITS_SHOWN: usize = "sha256:".len() + 12;

/// What a host of another version is told by.
const OTHER_SHAPE: &str = "answer of another shape than this version's";

/// Publishes a component.
pub(crate) async fn publish(session: &Session, file: &Path) -> anyhow::Result<Exit> {
    let component = std::fs::read(file).with_context(|| format!("component {}", file.display()))?;
    let reply =
        session.send(Method::POST, "/v1/releases", "application/wasm", component.into()).await?;
    let fresh = reply.status == http::StatusCode::CREATED;
    session.show(reply.json, |release: Release| {
        let ReleaseRef { connector, version, digest } = release.release;
        let note = if fresh { "" } else { " (published before)" };
        output::line(format!("{connector}@{version} {digest}{note}"));
    })
}

/// Lists releases.
pub(crate) async fn list(session: &Session, connector: Option<&str>) -> anyhow::Result<Exit> {
    let path = match connector {
        Some(connector) => format!("/v1/releases/{}", connector_path(connector)),
        None => "/v1/releases".to_owned(),
    };
    let json = session.get(&path).await?;
    session.show(json, |list: ReleaseList| {
        let rows: Vec<_> = list.releases.into_iter().map(row).collect();
        output::table(["CONNECTOR", "VERSION", "DIGEST", "PUBLISHED", "BY", "SUMMARY"], &rows);
    })
}

fn row(summary: ReleaseSummary) -> [String; 6] {
    let ReleaseSummary { release, summary, published_by, published_at } = summary;
    [
        release.connector,
        release.version,
        short(&release.digest),
        published_at.date().to_string(),
        published_by,
        summary,
    ]
}

/// Shows a release.
pub(crate) async fn show(session: &Session, name: &ReleaseName) -> anyhow::Result<Exit> {
    let Some(release) = resolve(session, name, None).await? else { return Ok(Exit::Refused) };
    let json = session.get(&path(&release)).await?;
    session.show(json, print)
}

/// Shows a release, and what it needs beside what was granted to a tenant. As JSON it is the release with one more
/// field: a command prints one line.
pub(crate) async fn show_for(
    session: &Session,
    name: &ReleaseName,
    tenant: &str,
) -> anyhow::Result<Exit> {
    let granted = match name.only_connector() {
        Some(connector) => connections::granted(session, tenant, connector, None).await?,
        None => {
            let Some(named) = resolve(session, name, None).await? else { return Ok(Exit::Refused) };
            let ReleaseRef { connector, digest, .. } = named;
            connections::granted(session, tenant, &connector, Some(&digest)).await?
        }
    };
    let scopes: Scopes = serde_json::from_value(granted.clone()).context(OTHER_SHAPE)?;
    let mut json = session.get(&path(&scopes.release)).await?;
    if session.json() {
        json["scopes"] = granted;
    }
    session.show(json, |release: Release| {
        print(release);
        output::line("");
        connections::print_scopes(&scopes);
    })
}

fn print(release: Release) {
    let Release { release, component_bytes, exports, contract, published_by, descriptor, .. } =
        release;
    let ReleaseRef { connector, version, digest } = release;
    output::line(format!("{connector}@{version}"));
    output::line(format!("digest     {digest}"));
    output::line(format!("component  {component_bytes} bytes, contract {contract}"));
    output::line(format!("exports    {}", exports.join(", ")));
    output::line(format!("publisher  {published_by}"));
    output::json(&descriptor, true);
}

/// Shows what differs between two releases of one connector.
pub(crate) async fn diff(
    session: &Session,
    before: &ReleaseName,
    after: &ReleaseName,
) -> anyhow::Result<Exit> {
    let Some(before) = resolve(session, before, None).await? else { return Ok(Exit::Refused) };
    let Some(after) = resolve(session, after, Some(&before.connector)).await? else {
        return Ok(Exit::Refused);
    };
    if before.connector != after.connector {
        let (before, after) = (before.connector, after.connector);
        output::note(format!("keyway: {before} and {after} are different connectors"));
        return Ok(Exit::Refused);
    }
    let json = session.get(&format!("{}/diff/{}", path(&before), encoded(&after.digest))).await?;
    session.show(json, |diff: Diff| {
        for difference in diff.differences {
            let side = |sign: char, value: Option<Value>| {
                if let Some(value) = value {
                    output::line(format!("{sign} {} {value}", difference.path));
                }
            };
            side('-', difference.before);
            side('+', difference.after);
        }
    })
}

/// The one release that a name means, among all that the host has. If it is not one, says so.
async fn resolve(
    session: &Session,
    name: &ReleaseName,
    connector: Option<&str>,
) -> anyhow::Result<Option<ReleaseRef>> {
    let list: ReleaseList =
        serde_json::from_value(session.get("/v1/releases").await?).context(OTHER_SHAPE)?;
    let connector = name.connector.as_deref().or(connector);
    let fits = |release: &ReleaseRef| {
        connector.is_none_or(|connector| connector == release.connector)
            && (release.version == name.release
                || name.release.len() >= DIGITS_SHOWN && release.digest.starts_with(&name.release))
    };
    let mut fitting = list.releases.into_iter().map(|summary| summary.release).filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some(release), None) => return Ok(Some(release)),
        (Some(one), Some(two)) => output::note(format!(
            "keyway: ambiguous-release: {name} is {}@{} and {}@{}; say `publisher/name@{}`",
            one.connector, one.version, two.connector, two.version, name.release,
        )),
        (None, _) => {
            output::note(format!("keyway: unknown-release: the host has no release {name}"))
        }
    }
    Ok(None)
}

fn path(release: &ReleaseRef) -> String {
    format!("/v1/releases/{}/{}", connector_path(&release.connector), encoded(&release.digest))
}

/// The first digits of a digest, as lists show it.
pub(crate) fn short(digest: &str) -> String {
    digest.chars().take(DIGITS_SHOWN).collect()
}
