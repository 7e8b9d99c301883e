//! The call log: pages, and calls as they end.
//!
//! Whoever may look sees which calls failed, and why by their codes; what connectors said is for those who may call.

use axum::extract::State;
use axum::http::HeaderMap;
use keyway_core::Fault;
use keyway_core::ids::Environment;
use keyway_exchanges::{CallFilter, KeptCall, KeptFailure, KeptLine, Position};
use serde::Deserialize;
use time::OffsetDateTime;

use super::logs::{self, Direction, Told, invalid, may_see_words, moment, release};
use super::releases::reference;
use super::{Answer, json};
use crate::api::Host;
use crate::auth::Identity;
use crate::contract::logged::{
    LoggedCall, LoggedCallLine, LoggedCallList, LoggedFailure, LoggedLine,
};
use crate::place::{self, Limit, Names, Query};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallsQuery {
    tenant: Option<String>,
    connector: Option<String>,
    call: Option<String>,
    release: Option<String>,
    #[serde(default)]
    failed: bool,
    since: Option<String>,
    until: Option<String>,
    after: Option<u64>,
    limit: Option<Limit>,
    order: Option<Direction>,
}

pub(crate) async fn list(
    State(api): State<Host>,
    names: Names,
    who: Identity,
    Query(query): Query<CallsQuery>,
) -> Answer {
    let environment: Environment = names.get("environment")?;
    let words = may_see_words(&who, &environment);
    let (order, after) = (query.order.unwrap_or_default().into(), query.after.map(Position));
    let limit = query.limit.unwrap_or_default().rows();
    let filter = query.filter(environment, api.clock.now())?;
    let page = api.calls.find(filter, order, after, limit).await.map_err(Fault::from)?;
    let calls = page.entries.into_iter().map(|kept| shown(kept, words)).collect();
    json(&LoggedCallList { calls, next: page.next.map(|next| next.0) })
}

pub(crate) async fn follow(
    State(api): State<Host>,
    names: Names,
    headers: HeaderMap,
    Query(query): Query<CallsQuery>,
) -> Answer {
    let environment: Environment = names.get("environment")?;
    query.check_unpaged()?;
    let filter = query.filter(environment.clone(), api.clock.now())?;
    let follow = api.calls.follow(filter).map_err(Fault::from)?;
    logs::stream(api, environment, &headers, follow)
}

fn shown(kept: KeptCall, words: bool) -> LoggedCall {
    let lines = words.then(|| kept.lines.into_iter().map(line).collect());
    LoggedCall {
        id: kept.id.0,
        at: kept.at,
        call: kept.call.to_string(),
        environment: kept.installation.environment.to_string(),
        tenant: kept.installation.tenant.to_string(),
        connector: kept.installation.connector.to_string(),
        user: kept.user.map(|user| user.to_string()),
        release: reference(&kept.release),
        verb: kept.verb,
        elapsed_ms: millis(kept.elapsed),
        failure: kept.failure.map(|failure| failure_of(failure, words)),
        lines,
        lines_dropped: kept.lines_dropped,
    }
}

fn failure_of(KeptFailure { code, whose, detail }: KeptFailure, words: bool) -> LoggedFailure {
    LoggedFailure { code, whose, detail: detail.filter(|_| words) }
}

fn line(KeptLine { after, source, level, message, fields }: KeptLine) -> LoggedLine {
    LoggedLine { after_ms: millis(after), source, level, message, fields }
}

fn millis(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

// === impl CallsQuery ===

impl CallsQuery {
    /// Refuses what only pages have: a stream begins now, and has no end.
    fn check_unpaged(&self) -> Result<(), Fault> {
        let Self { since, until, after, limit, order, .. } = self;
        let timed = since.is_some() || until.is_some();
        if timed || after.is_some() || limit.is_some() || order.is_some() {
            return Err(invalid(
                "a stream has no `since`, `until`, `after`, `limit` or `order`: it begins now",
            ));
        }
        Ok(())
    }

    /// Which calls.
    fn filter(self, environment: Environment, now: OffsetDateTime) -> Result<CallFilter, Fault> {
        Ok(CallFilter {
            environment: Some(environment),
            tenant: self.tenant.as_deref().map(place::parse).transpose()?,
            connector: self.connector.as_deref().map(place::parse).transpose()?,
            call: self.call.as_deref().map(place::parse).transpose()?,
            release: self.release.as_deref().map(release).transpose()?,
            failed: self.failed,
            since: self.since.as_deref().map(|text| moment("since", text, now)).transpose()?,
            until: self.until.as_deref().map(|text| moment("until", text, now)).transpose()?,
        })
    }
}

// === impl CallFilter ===

impl Told for CallFilter {
    type Line = LoggedCallLine;

    fn entry(kept: KeptCall, words: bool) -> LoggedCallLine {
        let call = Some(Box::new(shown(kept, words)));
        LoggedCallLine { call, ..LoggedCallLine::default() }
    }

    fn missed(count: u64) -> LoggedCallLine {
        LoggedCallLine { missed: Some(count), ..LoggedCallLine::default() }
    }
}
