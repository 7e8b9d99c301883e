//! `keyway publish`, `releases`, `show`, `diff`.

use std::path::Path;

use anyhow::Context as _;
use http::Method;
use keyway_api::contract::connection::Scopes;
use keyway_api::contract::release::{Diff, Release, ReleaseList, ReleaseRef, ReleaseSummary};
use keyway_core::Code;
use serde_json::Value;

use crate::answer::Answer;
use crate::args::ReleaseName;
use crate::commands::connections;
use crate::commands::remote::{Session, Unfit, connector_path, encoded};
use crate::exit::Exit;
use crate::output;

/// Hexadecimal digits that lists show: enough to be typed back, few enough to read.
const DIGITS_SHOWN: usize = "sha256:".len() + 12;

/// Publishes a component.
pub(crate) async fn publish(session: &Session, file: &Path) -> anyhow::Result<Exit> {
    let component = std::fs::read(file).with_context(|| format!("component {}", file.display()))?;
    let reply =
        session.send(Method::POST, "/v1/releases", "application/wasm", component.into()).await?;
    let fresh = reply.status == http::StatusCode::CREATED;
    session.show(reply.answer()?, |release: Release| {
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
    let release = resolve(session, name, None).await?;
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
            let named = resolve(session, name, None).await?;
            let ReleaseRef { connector, digest, .. } = named;
            connections::granted(session, tenant, &connector, Some(&digest)).await?
        }
    };
    let scopes: Scopes = granted.to()?;
    let mut json = session.get(&path(&scopes.release)).await?;
    if session.json() {
        let mut members = json.members()?;
        members.set("scopes", &granted)?;
        json = Answer::of(&members)?;
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
    output::json(&descriptor.to_string(), true);
}

/// Shows what differs between two releases of one connector.
pub(crate) async fn diff(
    session: &Session,
    before: &ReleaseName,
    after: &ReleaseName,
) -> anyhow::Result<Exit> {
    let before = resolve(session, before, None).await?;
    let after = resolve(session, after, Some(&before.connector)).await?;
    if before.connector != after.connector {
        let (before, after) = (before.connector, after.connector);
        let detail = format!("{before} and {after} are different connectors");
        return Err(Unfit { code: Code::InvalidRequest, detail }.into());
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

/// The one release that a name means, among all that the host has.
async fn resolve(
    session: &Session,
    name: &ReleaseName,
    connector: Option<&str>,
) -> anyhow::Result<ReleaseRef> {
    let list: ReleaseList = session.get("/v1/releases").await?.to()?;
    let connector = name.connector.as_deref().or(connector);
    let fits = |release: &ReleaseRef| {
        connector.is_none_or(|connector| connector == release.connector)
            && (release.version == name.release
                || name.release.len() >= DIGITS_SHOWN && release.digest.starts_with(&name.release))
    };
    let mut fitting = list.releases.into_iter().map(|summary| summary.release).filter(fits);
    let unfit = match (fitting.next(), fitting.next()) {
        (Some(release), None) => return Ok(release),
        (Some(one), Some(two)) => Unfit {
            code: Code::AmbiguousRelease,
            detail: format!(
                "{name} is {}@{} and {}@{}; say `publisher/name@{}`",
                one.connector, one.version, two.connector, two.version, name.release,
            ),
        },
        (None, _) => {
            Unfit { code: Code::UnknownRelease, detail: format!("the host has no release {name}") }
        }
    };
    Err(unfit.into())
}

fn path(release: &ReleaseRef) -> String {
    format!("/v1/releases/{}/{}", connector_path(&release.connector), encoded(&release.digest))
}

/// The first digits of a digest, as lists show it.
pub(crate) fn short(digest: &str) -> String {
    digest.chars().take(DIGITS_SHOWN).collect()
}
