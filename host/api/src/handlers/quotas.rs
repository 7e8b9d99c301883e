//! How the rate limits of providers stand.

use axum::extract::State;
use keyway_core::Fault;
use keyway_core::ids::{Connector, Environment, Installation, Tenant};
use keyway_core::quota::{Allowance, Quota, Standing, whole_seconds};
use serde::Deserialize;

use super::pins::turn;
use super::{Answer, json};
use crate::api::Host;
use crate::contract::quota as contract;
use crate::place::{self, Limit, Names, Query};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuotasQuery {
    tenant: Option<String>,
    connector: Option<String>,
    after: Option<String>,
    #[serde(default)]
    limit: Limit,
}

pub(crate) async fn list(
    State(api): State<Host>,
    names: Names,
    Query(query): Query<QuotasQuery>,
) -> Answer {
    let environment: Environment = names.get("environment")?;
    let tenant: Option<Tenant> = query.tenant.as_deref().map(place::parse).transpose()?;
    let connector: Option<Connector> = query.connector.as_deref().map(place::parse).transpose()?;
    let after = query.after.as_deref().map(|text| parse(&environment, text)).transpose()?;
    let wanted = |quota: &Quota| {
        let Installation { tenant: of, connector: with, .. } = &quota.installation;
        tenant.as_ref().is_none_or(|tenant| tenant == of)
            && connector.as_ref().is_none_or(|connector| connector == with)
            && after.as_ref().is_none_or(|after| quota > after)
    };
    let mut page: Vec<_> = api
        .quotas
        .quotas(&environment)
        .into_iter()
        .filter(|(quota, _)| wanted(quota))
        .take(query.limit.rows() + 1)
        .collect();
    let next = turn(&mut page, query.limit, |(quota, _)| place_of(quota));
    json(&contract::QuotaList { quotas: page.into_iter().map(render).collect(), next })
}

/// `tenant/publisher/name`, and `/account` where that is known.
fn place_of(quota: &Quota) -> String {
    let Quota { installation, account } = quota;
    let place = format!("{}/{}", installation.tenant, installation.connector);
    account.as_ref().map_or(place.clone(), |account| format!("{place}/{account}"))
}

fn parse(environment: &Environment, text: &str) -> Result<Quota, Fault> {
    let (installation, account) = place::after(environment, text)?;
    // An account may be called anything.
    Ok(Quota { installation, account: account.map(Into::into) })
}

fn render((quota, standing): (Quota, Standing)) -> contract::Quota {
    let Quota { installation, account } = quota;
    contract::Quota {
        tenant: installation.tenant.to_string(),
        connector: installation.connector.to_string(),
        account: account.as_deref().map(str::to_owned),
        policies: standing.policies.into_iter().map(render_policy).collect(),
        blocked_seconds: standing.blocked_for.map(whole_seconds),
        waiting: standing.waiting,
    }
}

fn render_policy(policy: Allowance) -> contract::Policy {
    contract::Policy {
        name: policy.name.to_string(),
        quota: policy.quota,
        window_seconds: policy.window,
        remaining: policy.remaining,
        reset_seconds: policy.reset,
    }
}
