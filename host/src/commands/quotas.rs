//! `keyway quotas`.

use keyway_api::contract::quota::{Policy, Quota, QuotaList};

use crate::commands::remote::{Session, encoded};
use crate::exit::Exit;
use crate::output;

const HEADER: [&str; 9] =
    ["TENANT", "CONNECTOR", "ACCOUNT", "POLICY", "QUOTA", "LEFT", "MORE IN", "BLOCKED", "WAITING"];

/// Shows how rate limits stand, a row for each policy.
pub(crate) async fn list(
    session: &Session,
    tenant: Option<&str>,
    connector: Option<&str>,
) -> anyhow::Result<Exit> {
    let path = format!("/v1/environments/{}/quotas", encoded(session.environment()));
    let filters = [("tenant", tenant), ("connector", connector)];
    let json = session.list(&path, &filters, "quotas").await?;
    session.show(json, |list: QuotaList| {
        output::table(HEADER, &list.quotas.iter().flat_map(rows).collect::<Vec<_>>());
    })
}

fn rows(quota: &Quota) -> Vec<[String; 9]> {
    let policies = &quota.policies;
    if policies.is_empty() {
        return vec![row(quota, None)];
    }
    policies.iter().map(|policy| row(quota, Some(policy))).collect()
}

fn row(quota: &Quota, policy: Option<&Policy>) -> [String; 9] {
    let Quota { tenant, connector, account, blocked_seconds, waiting, .. } = quota;
    let seconds = |seconds: Option<u64>| shown(seconds.map(|seconds| format!("{seconds} s")));
    [
        tenant.clone(),
        connector.clone(),
        shown(account.as_ref()),
        shown(policy.map(|policy| &policy.name)),
        shown(policy.and_then(rate)),
        shown(policy.and_then(|policy| policy.remaining)),
        seconds(policy.and_then(|policy| policy.reset_seconds)),
        seconds(*blocked_seconds),
        waiting.to_string(),
    ]
}

/// Requests, and in how many seconds.
fn rate(policy: &Policy) -> Option<String> {
    let quota = policy.quota?;
    Some(match policy.window_seconds {
        Some(window) => format!("{quota} in {window} s"),
        None => quota.to_string(),
    })
}

fn shown(value: Option<impl ToString>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}
