//! Names in paths and queries, parsed once at the edge.
//!
//! Segments are percent-decoded before they are parsed, and no name has a slash, a dot in front or a
//! letter beyond ASCII: what could climb a path or look like another name is no name.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use keyway_core::ids::{Connector, Environment, Installation};
use keyway_core::{Code, Fault};
use keyway_releases::find::Selector;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::api::Host;
use crate::auth::Identity;
use crate::problem::Refusal;

/// Rows of a page when the caller names no number.
const PAGE_DEFAULT: usize = 100;

/// Rows of a page at most: a screenful for a program.
const PAGE_MAX: usize = 1_000;

/// The names in a request's path.
pub(crate) struct Names(RawPathParams);

/// The installation that a path names.
pub(crate) struct At(pub(crate) Installation);

/// The connector that a path names.
pub(crate) struct Of(pub(crate) Connector);

/// Query parameters of a shape.
pub(crate) struct Query<T>(pub(crate) T);

/// How many rows a page has.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(try_from = "usize")]
pub(crate) struct Limit(Option<usize>);

// === impl Names ===

impl Names {
    /// The name at `{key}`.
    pub(crate) fn get<T: FromStr<Err: Display>>(&self, key: &str) -> Result<T, Fault> {
        name(&self.0, key)
    }

    /// The release at `{key}`.
    pub(crate) fn selector(&self, key: &str) -> Result<Selector, Fault> {
        raw(&self.0, key).parse()
    }

    fn connector(&self) -> Result<Connector, Fault> {
        Connector::new(raw(&self.0, "publisher"), raw(&self.0, "name")).map_err(invalid)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Names {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let params = RawPathParams::from_request_parts(parts, state).await;
        Ok(Self(params.map_err(|_| not_text())?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for At {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let names = Names::from_request_parts(parts, state).await?;
        Ok(Self(Installation {
            environment: names.get("environment")?,
            tenant: names.get("tenant")?,
            connector: names.connector()?,
        }))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Of {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        Ok(Self(Names::from_request_parts(parts, state).await?.connector()?))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        query.map(|axum::extract::Query(query)| Self(query)).map_err(|rejection| {
            Fault::new(Code::InvalidRequest, rejection.body_text().to_lowercase()).into()
        })
    }
}

/// Set by the layer around every endpoint that wants a token.
impl<S: Send + Sync> FromRequestParts<S> for Identity {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let identity = parts.extensions.get().cloned();
        identity.ok_or_else(|| Fault::new(Code::Internal, "an open endpoint asked who asks").into())
    }
}

// === impl Limit ===

impl Limit {
    /// Rows wanted.
    pub(crate) fn rows(self) -> usize {
        self.0.unwrap_or(PAGE_DEFAULT)
    }
}

impl TryFrom<usize> for Limit {
    type Error = String;

    fn try_from(rows: usize) -> Result<Self, String> {
        if (1..=PAGE_MAX).contains(&rows) {
            Ok(Self(Some(rows)))
        } else {
            Err(format!("`limit` is 1 to {PAGE_MAX}"))
        }
    }
}

/// Text as a name.
pub(crate) fn parse<T: FromStr<Err: Display>>(text: &str) -> Result<T, Fault> {
    text.parse().map_err(invalid)
}

/// Where a page of an environment's list begins: `tenant/publisher/name`, and what is behind the slash after it.
pub(crate) fn after<'t>(
    environment: &Environment,
    text: &'t str,
) -> Result<(Installation, Option<&'t str>), Fault> {
    let mut parts = text.splitn(4, '/');
    let mut part = || parts.next().unwrap_or_default();
    let tenant = parse(part())?;
    let connector = parse(&format!("{}/{}", part(), part()))?;
    Ok((Installation { environment: environment.clone(), tenant, connector }, parts.next()))
}

/// The name at `{key}` of a path.
pub(crate) fn name<T: FromStr<Err: Display>>(
    params: &RawPathParams,
    key: &str,
) -> Result<T, Fault> {
    parse(raw(params, key))
}

/// Refuses an environment that is not configured.
pub(crate) fn known(api: &Host, environment: &Environment) -> Result<(), Fault> {
    if api.config.environments.contains(environment) {
        return Ok(());
    }
    let detail = format!("this host has no environment `{environment}`");
    Err(Fault::new(Code::UnknownEnvironment, detail))
}

/// A segment of a path that is not UTF-8.
pub(crate) fn not_text() -> Fault {
    Fault::new(Code::InvalidName, "a name in the path is not UTF-8")
}

fn raw<'p>(params: &'p RawPathParams, key: &str) -> &'p str {
    params.iter().find(|(name, _)| *name == key).map_or("", |(_, value)| value)
}

fn invalid(error: impl Display) -> Fault {
    Fault::new(Code::InvalidName, error.to_string())
}
