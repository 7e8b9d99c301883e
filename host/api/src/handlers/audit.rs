//! The audit, page by page.

use axum::extract::State;
use keyway_releases::model::AuditEntry;
use serde::Deserialize;

use super::{Answer, json};
use crate::api::Host;
use crate::contract::token as contract;
use crate::place::{Limit, Query};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditQuery {
    #[serde(default)]
    after: u64,
    #[serde(default)]
    limit: Limit,
}

pub(crate) async fn list(State(api): State<Host>, Query(query): Query<AuditQuery>) -> Answer {
    let entries = api.reads.audit(query.after, query.limit.rows()).await?;
    let full = entries.len() == query.limit.rows();
    let next = entries.last().filter(|_| full).map(|entry| entry.seq);
    json(&contract::Audit { entries: entries.into_iter().map(render).collect(), next })
}

fn render(entry: AuditEntry) -> contract::AuditEntry {
    let AuditEntry { seq, at, entry } = entry;
    contract::AuditEntry {
        seq,
        at,
        actor: entry.actor.to_string(),
        action: entry.action,
        object: entry.object,
        reason: entry.reason,
        before: entry.before,
        after: entry.after,
    }
}
