//! Names in paths and queries, parsed once at the edge.
//!
//! Segments are percent-decoded before they are parsed, and no name has a slash, a dot in front or a
//! letter beyond ASCII: what could climb a path or look like another name is no name.

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::Uri;
use axum::http::request::Parts;
use keyway_core::address::Address;
use keyway_core::ids::{Connector, Environment, Installation, Tenant};
use keyway_core::{Code, Fault};
use keyway_releases::find::Selector;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::api::Host;
use crate::auth::Identity;
use crate::bodies::Held;
use crate::problem::Refusal;

/// Rows of a page when the caller names no number.
const PAGE_DEFAULT: usize = 100;

/// Rows of a page at most: a screenful for a program.
const PAGE_MAX: usize = 1_000;

/// Where the names of an endpoint stand in the path of a request.
pub(crate) struct Places {
    /// As the endpoint calls them, in order.
    keys: Arc<[&'static str]>,
    /// Bytes of the path, in the same order.
    parts: Vec<Range<usize>>,
    /// What the host name of the request stands for; then the whole path is what is asked for.
    address: Option<Address>,
}

/// What is known of a request on the way to its handler.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) places: Arc<Places>,
    /// Who asks; none where anyone may.
    pub(crate) identity: Option<Identity>,
    /// What of it is in memory.
    pub(crate) held: Arc<Held>,
}

/// The names in a request's path.
pub(crate) struct Names {
    places: Arc<Places>,
    uri: Uri,
}

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

// === impl Places ===

impl Places {
    pub(crate) fn new(keys: Arc<[&'static str]>, parts: Vec<Range<usize>>) -> Self {
        Self { keys, parts, address: None }
    }

    /// Of a request to an address.
    pub(crate) fn of(address: Address) -> Self {
        Self { keys: Arc::default(), parts: Vec::new(), address: Some(address) }
    }

    /// What the host name stands for, if it does.
    pub(crate) const fn address(&self) -> Option<&Address> {
        self.address.as_ref()
    }

    /// The environment that a path or a host name stands in, if the endpoint is about one.
    pub(crate) fn environment(&self, uri: &Uri) -> Result<Option<Environment>, Fault> {
        if let Some(address) = &self.address {
            return Ok(Some(address.installation.environment.clone()));
        }
        self.name(uri, "environment")
    }

    /// The installation that a path or a host name stands for.
    pub(crate) fn installation(&self, uri: &Uri) -> Result<Installation, Fault> {
        if let Some(address) = &self.address {
            return Ok(address.installation.clone());
        }
        Ok(Installation {
            environment: parse(&self.text(uri, "environment")?)?,
            tenant: parse(&self.text(uri, "tenant")?)?,
            connector: self.connector(uri)?,
        })
    }

    /// The tenant whose it is, if it is one's.
    pub(crate) fn tenant(&self, uri: &Uri) -> Result<Option<(Environment, Tenant)>, Fault> {
        if let Some(address) = &self.address {
            let Installation { environment, tenant, .. } = &address.installation;
            return Ok(Some((environment.clone(), tenant.clone())));
        }
        let environment = self.name(uri, "environment")?;
        Ok(environment.zip(self.name(uri, "tenant")?))
    }

    /// The name at `{key}`, if the endpoint has one there.
    pub(crate) fn name<T: FromStr<Err: Display>>(
        &self,
        uri: &Uri,
        key: &str,
    ) -> Result<Option<T>, Fault> {
        self.part(key).map(|_| parse(&self.text(uri, key)?)).transpose()
    }

    fn connector(&self, uri: &Uri) -> Result<Connector, Fault> {
        Connector::new(&self.text(uri, "publisher")?, &self.text(uri, "name")?).map_err(invalid)
    }

    fn part(&self, key: &str) -> Option<&Range<usize>> {
        self.parts.get(self.keys.iter().position(|name| *name == key)?)
    }

    /// What stands at `{key}`, decoded.
    fn text<'u>(&self, uri: &'u Uri, key: &str) -> Result<Cow<'u, str>, Fault> {
        let part = self.part(key).and_then(|part| uri.path().get(part.clone()));
        let part = part.unwrap_or_default();
        // As nearly every name is.
        if memchr::memchr(b'%', part.as_bytes()).is_none() {
            return Ok(Cow::Borrowed(part));
        }
        let decoded = percent_decode_str(part).decode_utf8();
        decoded.map_err(|_| Fault::new(Code::InvalidName, "a name in the path is not UTF-8"))
    }
}

// === impl Known ===

impl Known {
    pub(crate) fn of(parts: &Parts) -> Result<&Self, Refusal> {
        let known = parts.extensions.get();
        known.ok_or_else(|| Fault::new(Code::Internal, "a request came by no route").into())
    }
}

// === impl Names ===

impl Names {
    /// The name at `{key}`.
    pub(crate) fn get<T: FromStr<Err: Display>>(&self, key: &str) -> Result<T, Fault> {
        parse(&self.text(key)?)
    }

    /// The release at `{key}`.
    pub(crate) fn selector(&self, key: &str) -> Result<Selector, Fault> {
        self.text(key)?.parse()
    }

    /// The path up to the slash before `{key}`; and from there on, with the query, as they were written.
    pub(crate) fn split(&self, key: &str) -> Option<(&str, &str)> {
        let slash = match &self.places.address {
            Some(_) => 0,
            None => self.places.part(key)?.start.checked_sub(1)?,
        };
        self.uri.path_and_query()?.as_str().split_at_checked(slash)
    }

    fn text(&self, key: &str) -> Result<Cow<'_, str>, Fault> {
        self.places.text(&self.uri, key)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Names {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let places = Arc::clone(&Known::of(parts)?.places);
        Ok(Self { places, uri: parts.uri.clone() })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for At {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let names = Names::from_request_parts(parts, state).await?;
        Ok(Self(names.places.installation(&names.uri)?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Of {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let names = Names::from_request_parts(parts, state).await?;
        Ok(Self(names.places.connector(&names.uri)?))
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
        let identity = Known::of(parts)?.identity.clone();
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

/// Refuses an environment that is not configured.
pub(crate) fn known(api: &Host, environment: &Environment) -> Result<(), Fault> {
    if api.config.environments.contains(environment) {
        return Ok(());
    }
    let detail = format!("this host has no environment `{environment}`");
    Err(Fault::new(Code::UnknownEnvironment, detail))
}

fn invalid(error: impl Display) -> Fault {
    Fault::new(Code::InvalidName, error.to_string())
}
