//! Tokens: made, listed, ended.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::State;
use axum::http::StatusCode;
use keyway_core::ids::{Actor, Environment, Publisher};
use keyway_core::{Code, Fault};
use keyway_vault::model::{Bounds, Role, Token};
use keyway_vault::tokens::Grant;
use secrecy::ExposeSecret as _;

use super::{Answer, finish, json, json_as, nothing};
use crate::api::Host;
use crate::auth::Identity;
use crate::body::Json;
use crate::contract::token as contract;
use crate::place::{self, Names};

/// Bytes of all names that a token is bound to: dozens of them, with room for the rest in one row of the store.
const BOUNDS_BYTES_MAX: usize = 2_048;

pub(crate) async fn list(State(api): State<Host>) -> Answer {
    let mut tokens: Vec<_> = api.auth.tokens().list().await?.into_iter().map(render).collect();
    tokens.sort_by(|a, b| a.name.cmp(&b.name));
    json(&contract::TokenList { tokens })
}

pub(crate) async fn issue(
    State(api): State<Host>,
    who: Identity,
    Json(body): Json<contract::IssueToken>,
) -> Answer {
    let grant = grant(&api, body)?;
    let issued = finish(async move { api.auth.issue(grant, who.actor()).await }).await?;
    let answer = contract::IssuedToken {
        secret: issued.secret.expose_secret().to_owned(),
        token: render(issued.token),
    };
    json_as(StatusCode::CREATED, &answer)
}

pub(crate) async fn revoke(State(api): State<Host>, names: Names, who: Identity) -> Answer {
    let name: Actor = names.get("token")?;
    finish(async move { api.auth.revoke(&name, who.actor()).await }).await?;
    Ok(nothing())
}

fn grant(api: &Host, body: contract::IssueToken) -> Result<Grant, Fault> {
    let environments: Option<Vec<_>> = match body.environments.as_deref() {
        Some([]) => {
            let detail = "`environments` is empty: leave it out for all of them";
            return Err(Fault::new(Code::InvalidRequest, detail));
        }
        Some(names) => {
            Some(names.iter().map(|name| environment(api, name)).collect::<Result<_, _>>()?)
        }
        None => None,
    };
    let publisher: Option<Publisher> = body.publisher.as_deref().map(place::parse).transpose()?;
    let bounds = bounds(&body)?;
    let role = role(body.role);
    let alone = environments.as_ref().is_some_and(|environments| environments.len() == 1);
    if role == Role::Caller && !alone {
        let detail = "a caller's token is for one environment: name it in `environments`";
        return Err(Fault::new(Code::InvalidRequest, detail));
    }
    if role != Role::Caller && bounds != Bounds::default() {
        let detail = "`tenants`, `connectors`, `users` and `verbs` are for callers";
        return Err(Fault::new(Code::InvalidRequest, detail));
    }
    Ok(Grant {
        name: place::parse(&body.name)?,
        role,
        environments,
        publisher: publisher.map(|publisher| publisher.to_string()),
        bounds,
        expires_at: body.expires_at,
    })
}

const fn role(role: contract::Role) -> Role {
    match role {
        contract::Role::Viewer => Role::Viewer,
        contract::Role::Publisher => Role::Publisher,
        contract::Role::Operator => Role::Operator,
        contract::Role::Admin => Role::Admin,
        contract::Role::Caller => Role::Caller,
    }
}

fn bounds(body: &contract::IssueToken) -> Result<Bounds, Fault> {
    let contract::IssueToken { tenants, connectors, users, verbs, .. } = body;
    let lists = [tenants, connectors, users, verbs];
    let bytes: usize = lists.iter().copied().flatten().flatten().map(String::len).sum();
    if bytes > BOUNDS_BYTES_MAX {
        let detail =
            format!("the names that the token is bound to have over {BOUNDS_BYTES_MAX} bytes");
        return Err(Fault::new(Code::InvalidRequest, detail));
    }
    Ok(Bounds {
        tenants: names("tenants", tenants)?,
        connectors: names("connectors", connectors)?,
        users: names("users", users)?,
        verbs: names("verbs", verbs)?,
    })
}

/// A list of names, which is not empty where it is there.
fn names<T: FromStr<Err: Display>>(
    field: &str,
    names: &Option<Vec<String>>,
) -> Result<Option<Vec<T>>, Fault> {
    let Some(names) = names else { return Ok(None) };
    if names.is_empty() {
        let detail = format!("`{field}` is empty: leave it out for all of them");
        return Err(Fault::new(Code::InvalidRequest, detail));
    }
    names.iter().map(|name| place::parse(name)).collect::<Result<_, _>>().map(Some)
}

fn environment(api: &Host, name: &str) -> Result<Environment, Fault> {
    let environment = place::parse(name)?;
    place::known(api, &environment)?;
    Ok(environment)
}

fn render(token: Token) -> contract::Token {
    let environments = token
        .environments
        .map(|environments| environments.iter().map(ToString::to_string).collect());
    let Bounds { tenants, connectors, users, verbs } = token.bounds;
    contract::Token {
        name: token.name.to_string(),
        role: match token.role {
            Role::Viewer => contract::Role::Viewer,
            Role::Publisher => contract::Role::Publisher,
            Role::Operator => contract::Role::Operator,
            Role::Admin => contract::Role::Admin,
            Role::Caller => contract::Role::Caller,
        },
        environments,
        publisher: token.publisher,
        tenants: texts(tenants),
        connectors: texts(connectors),
        users: texts(users),
        verbs: verbs.map(|verbs| verbs.into_iter().map(|verb| verb.as_str().to_owned()).collect()),
        expires_at: token.expires_at,
        at: token.at,
    }
}

fn texts<T: ToString>(names: Option<Vec<T>>) -> Option<Vec<String>> {
    names.map(|names| names.iter().map(ToString::to_string).collect())
}
