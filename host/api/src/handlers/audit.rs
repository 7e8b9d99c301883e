//! The audit, page by page.

use axum::extract::State;
use keyway_core::{Code, Fault};
use keyway_releases::model::AuditEntry;
use serde::Deserialize;

use super::{Answer, json};
use crate::api::Host;
use crate::contract::token as contract;
use crate::place::{Limit, Query};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditQuery {
    after: Option<u64>,
    before: Option<u64>,
    #[serde(default)]
    order: Order,
    #[serde(default)]
    limit: Limit,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Order {
    #[default]
    Oldest,
    Newest,
}

pub(crate) async fn list(State(api): State<Host>, Query(query): Query<AuditQuery>) -> Answer {
    let rows = query.limit.rows();
    let entries = match (query.order, query.after, query.before) {
        (Order::Oldest, after, None) => api.reads.audit(after.unwrap_or(0), rows).await?,
        (Order::Newest, None, before) => api.reads.newest_audit(before, rows).await?,
        _ => {
            let detail = "`after` is for the order `oldest`, `before` for `newest`";
            return Err(Fault::new(Code::InvalidRequest, detail).into());
        }
    };
    let full = entries.len() == rows;
    // The first of all has the number 1: nothing is below it.
    let ended = |seq| matches!(query.order, Order::Newest) && seq == 1;
    let next = entries.last().map(|entry| entry.seq).filter(|seq| full && !ended(*seq));
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
