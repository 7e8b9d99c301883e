//! The exchange log: pages, archives, and exchanges as they come.
//!
//! Whoever may look sees what was asked of providers and what they answered, without bodies; bodies are for those
//! who may call.

mod query;
mod render;

use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use keyway_core::Fault;
use keyway_core::ids::Environment;
use keyway_exchanges::{Filter, Kept, har};

use self::query::{ExchangesQuery, Format};
use super::logs::{self, Told, may_see_words};
use super::{Answer, json};
use crate::api::Host;
use crate::auth::Identity;
use crate::contract::exchange::{ExchangeLine, ExchangeList};
use crate::place::{Names, Query};

pub(crate) async fn list(
    State(api): State<Host>,
    names: Names,
    who: Identity,
    headers: HeaderMap,
    Query(query): Query<ExchangesQuery>,
) -> Answer {
    let environment: Environment = names.get("environment")?;
    let bodies = may_see_words(&who, &environment);
    let archive = query.format().unwrap_or_else(|| accepted(&headers)) == Format::Har;
    let (order, after, limit) = query.page();
    let filter = query.filter(environment, api.clock.now())?;
    let page = api.exchanges.find(filter, order, after, limit).await.map_err(Fault::from)?;
    let shown = page.entries.into_iter();
    let shown = shown.map(|kept| if bodies { kept } else { kept.without_bodies() });
    if !archive {
        let exchanges = shown.map(render::exchange).collect();
        return json(&ExchangeList { exchanges, next: page.next.map(|next| next.0) });
    }
    let mut response = json(&har::har(shown.collect(), page.next))?;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(har::MEDIA_TYPE));
    Ok(response)
}

pub(crate) async fn follow(
    State(api): State<Host>,
    names: Names,
    headers: HeaderMap,
    Query(query): Query<ExchangesQuery>,
) -> Answer {
    let environment: Environment = names.get("environment")?;
    query.check_unpaged()?;
    let filter = query.filter(environment.clone(), api.clock.now())?;
    let follow = api.exchanges.follow(filter).map_err(Fault::from)?;
    logs::stream(api, environment, &headers, follow)
}

impl Told for Filter {
    type Line = ExchangeLine;

    fn entry(kept: Kept, words: bool) -> ExchangeLine {
        let shown = if words { kept } else { kept.without_bodies() };
        let exchange = Some(Box::new(render::exchange(shown)));
        ExchangeLine { exchange, ..ExchangeLine::default() }
    }

    fn missed(count: u64) -> ExchangeLine {
        ExchangeLine { missed: Some(count), ..ExchangeLine::default() }
    }
}

/// What the caller would rather have.
fn accepted(headers: &HeaderMap) -> Format {
    let wanted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut kinds = wanted.flat_map(|value| value.split(',')).map(essence);
    match kinds.any(|kind| kind.eq_ignore_ascii_case(har::MEDIA_TYPE)) {
        true => Format::Har,
        false => Format::Json,
    }
}

fn essence(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}
