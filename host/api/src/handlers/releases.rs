//! Publishing, listing, showing and comparing releases.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use keyway_artifacts::publish::{By, Published};
use keyway_core::release::{Named, Release, ReleaseRef};
use keyway_core::{Code, Fault};

use super::{Answer, finish, json, json_as};
use crate::api::Host;
use crate::auth::Identity;
use crate::body::{self, Bounds};
use crate::contract::release as contract;
use crate::place::{Names, Of};
use crate::uploads::Pace;

pub(crate) async fn publish(State(api): State<Host>, who: Identity, request: Request) -> Answer {
    let by = By { actor: who.actor().clone(), publisher: who.publisher().map(str::to_owned) };
    let limits = &api.config.limits;
    let bounds = Bounds {
        bytes_max: api.config.component_bytes_max,
        drain_bytes_max: limits.drain_bytes_max,
        time_max: limits.component_time_max,
        code: Code::ComponentTooLarge,
    };
    let upload = api.uploads.begin(who.actor())?;
    let pace = Pace { rate_bytes_min: limits.upload_rate_bytes_min, grace: limits.stall_max };
    let component = body::read(request.map(|body| pace.keep(body)), bounds).await?;
    // Only now: what is still on its way needs no process to check it.
    let turn = Arc::clone(&api.publications).acquire_owned().await;
    let turn = turn.expect("the semaphore is never closed");
    let artifacts = api.artifacts.clone();
    // Both go along: a caller who hangs up does not make room for another publication.
    let publication = async move {
        let _held = (turn, upload);
        artifacts.publish(component, by).await
    };
    let Published { release, fresh } = finish(publication).await?;
    let status = if fresh { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = json_as(status, &render(&release)?)?;
    let Named { connector, version, .. } = &*release.reference;
    if let Ok(location) = HeaderValue::try_from(format!("/v1/releases/{connector}/{version}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

pub(crate) async fn list(State(api): State<Host>) -> Answer {
    json(&summaries(api.reads.releases(None).await?))
}

pub(crate) async fn list_of(State(api): State<Host>, Of(connector): Of) -> Answer {
    let releases = api.reads.releases(Some(&connector)).await?;
    if releases.is_empty() {
        let detail = format!("no release of {connector} was published");
        return Err(unknown_connector(&api, detail).await.into());
    }
    json(&summaries(releases))
}

/// That nothing was published of a connector, with those of which something was.
pub(super) async fn unknown_connector(api: &Host, detail: String) -> Fault {
    let fault = Fault::new(Code::UnknownConnector, detail);
    let Ok(releases) = api.reads.releases(None).await else { return fault };
    let there: BTreeSet<String> =
        releases.into_iter().map(|release| release.reference.connector.to_string()).collect();
    fault.but_there_is(there)
}

pub(crate) async fn get(State(api): State<Host>, Of(connector): Of, names: Names) -> Answer {
    let release = api.releases.find(&connector, &names.selector("release")?).await?;
    json(&render(&release)?)
}

pub(crate) async fn diff(State(api): State<Host>, Of(connector): Of, names: Names) -> Answer {
    let before = api.releases.find(&connector, &names.selector("release")?).await?;
    let after = api.releases.find(&connector, &names.selector("other")?).await?;
    let differences = keyway_artifacts::diff::diff(&before, &after);
    let differences = differences.into_iter().map(|difference| contract::Difference {
        path: difference.path,
        before: difference.before,
        after: difference.after,
    });
    json(&contract::Diff {
        before: reference(&before.reference),
        after: reference(&after.reference),
        differences: differences.collect(),
    })
}

/// A release's name as JSON.
pub(crate) fn reference(release: &ReleaseRef) -> contract::ReleaseRef {
    contract::ReleaseRef {
        connector: release.connector.to_string(),
        version: release.version_str().to_owned(),
        digest: release.digest_str().to_owned(),
    }
}

fn summaries(releases: Vec<Release>) -> contract::ReleaseList {
    let releases = releases.into_iter().map(|release| contract::ReleaseSummary {
        release: reference(&release.reference),
        summary: release.descriptor.summary,
        published_by: release.published_by.to_string(),
        published_at: release.published_at,
    });
    contract::ReleaseList { releases: releases.collect() }
}

fn render(release: &Release) -> Result<contract::Release, Fault> {
    let descriptor = serde_json::to_value(&release.descriptor)
        .map_err(|error| Fault::new(Code::Internal, "a descriptor is no JSON").caused_by(error))?;
    Ok(contract::Release {
        release: reference(&release.reference),
        component_bytes: release.component_bytes,
        exports: release.exports.clone(),
        contract: release.contract.to_string(),
        published_by: release.published_by.to_string(),
        published_at: release.published_at,
        descriptor,
    })
}
