//! Tokens: made, listed, ended.

use axum::extract::State;
use axum::http::StatusCode;
use keyway_core::ids::{Actor, Environment, Publisher};
use keyway_core::{Code, Fault};
use keyway_vault::model::{Role, Token};
use keyway_vault::tokens::Grant;
use secrecy::ExposeSecret as _;

use super::{Answer, finish, json, json_as, nothing};
use crate::api::Host;
use crate::auth::Identity;
use crate::body::Json;
use crate::contract::token as contract;
use crate::place::{self, Names};

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
    let (tokens, actor) = (api.auth.tokens().clone(), who.actor().clone());
    let issued = finish(async move { tokens.issue(grant, &actor).await }).await?;
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
    let environments = match body.environments {
        Some(names) if names.is_empty() => {
            let detail = "`environments` is empty: leave it out for all of them";
            return Err(Fault::new(Code::InvalidRequest, detail));
        }
        Some(names) => {
            Some(names.iter().map(|name| environment(api, name)).collect::<Result<_, _>>()?)
        }
        None => None,
    };
    let publisher: Option<Publisher> = body.publisher.as_deref().map(place::parse).transpose()?;
    Ok(Grant {
        name: place::parse(&body.name)?,
        role: match body.role {
            contract::Role::Viewer => Role::Viewer,
            contract::Role::Publisher => Role::Publisher,
            contract::Role::Operator => Role::Operator,
            contract::Role::Admin => Role::Admin,
        },
        environments,
        publisher: publisher.map(|publisher| publisher.to_string()),
        expires_at: body.expires_at,
    })
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
    contract::Token {
        name: token.name.to_string(),
        role: match token.role {
            Role::Viewer => contract::Role::Viewer,
            Role::Publisher => contract::Role::Publisher,
            Role::Operator => contract::Role::Operator,
            Role::Admin => contract::Role::Admin,
        },
        environments,
        publisher: token.publisher,
        expires_at: token.expires_at,
        at: token.at,
    }
}
