//! The exchange log: pages, archives, and exchanges as they come.
//!
//! Whoever may look sees what was asked of providers and what they answered, without bodies; bodies are for those
//! who may call.

mod query;
mod render;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use keyway_core::ids::Environment;
use keyway_core::{Code, Fault};
use keyway_exchanges::{Follow, Followed, Kept, har};
use tokio::sync::watch;

use self::query::{ExchangesQuery, Format};
use super::{Answer, json};
use crate::api::Host;
use crate::auth::Identity;
use crate::contract::exchange::{ExchangeLine, ExchangeList};
use crate::contract::{Access, LINES_TYPE};
use crate::place::{Names, Query};

pub(crate) async fn list(
    State(api): State<Host>,
    names: Names,
    who: Identity,
    headers: HeaderMap,
    Query(query): Query<ExchangesQuery>,
) -> Answer {
    let environment: Environment = names.get("environment")?;
    let bodies = may_see_bodies(&who, &environment);
    let archive = query.format().unwrap_or_else(|| accepted(&headers)) == Format::Har;
    let (order, after, limit) = query.page();
    let filter = query.filter(environment, api.clock.now())?;
    let page = api.exchanges.find(filter, order, after, limit).await.map_err(Fault::from)?;
    let shown = page.exchanges.into_iter();
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
    let token = headers.get(AUTHORIZATION).map(|token| (AUTHORIZATION, token.clone()));
    let lines = Lines {
        follow,
        environment,
        token: token.into_iter().collect(),
        stopping: api.stopping.subscribe(),
        begun: false,
        api,
    };
    let lines = stream::unfold(lines, |mut lines| async move {
        let line = lines.next().await?;
        Some((Ok::<_, std::convert::Infallible>(line), lines))
    });
    let mut response = Response::new(Body::from_stream(lines));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(LINES_TYPE));
    Ok(response)
}

/// Somebody who follows, and whose token is looked at again before every line.
struct Lines {
    api: Host,
    follow: Follow,
    environment: Environment,
    token: HeaderMap,
    stopping: watch::Receiver<bool>,
    begun: bool,
}

// === impl Lines ===

impl Lines {
    /// The next line; none once the host stops, the token has ended, or the log has.
    async fn next(&mut self) -> Option<Bytes> {
        let heard = if std::mem::replace(&mut self.begun, true) {
            tokio::select! {
                biased;
                _ = self.stopping.wait_for(|stopping| *stopping) => return None,
                heard = self.follow.next() => Some(heard?),
                () = tokio::time::sleep(self.api.config.limits.follow_pulse) => None,
            }
        } else {
            None
        };
        let who = self.api.auth.identify(&self.token, Access::View).await.ok()?;
        who.check(Access::View, Some(&self.environment)).ok()?;
        let line = match heard {
            None => ExchangeLine::default(),
            Some(Followed::Missed(count)) => {
                ExchangeLine { missed: Some(count), ..ExchangeLine::default() }
            }
            Some(Followed::Exchange(kept)) => {
                let shown = |kept: Kept| {
                    if may_see_bodies(&who, &self.environment) {
                        kept
                    } else {
                        kept.without_bodies()
                    }
                };
                let exchange = Some(Box::new(render::exchange(shown(*kept))));
                ExchangeLine { exchange, ..ExchangeLine::default() }
            }
        };
        let mut bytes = serde_json::to_vec(&line).ok()?;
        bytes.push(b'\n');
        Some(bytes.into())
    }
}

fn may_see_bodies(who: &Identity, environment: &Environment) -> bool {
    who.check(Access::Operate, Some(environment)).is_ok()
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

/// A parameter that does not say what it should.
fn invalid(detail: impl Into<String>) -> Fault {
    Fault::new(Code::InvalidRequest, detail)
}
