//! Connections that no person has to consent to: by the operator's client itself, or for the subject of another token.

use axum::extract::State;
use keyway_core::{Code, Fault};
use keyway_vault::import::Trial;
use keyway_vault::oauth::obtain::{Given, Obtain};

use super::connections::{UserQuery, check_base_url, declared, reference_of, render};
use super::{Answer, finish, json};
use crate::api::Host;
use crate::auth::Identity;
use crate::body::Shaped;
use crate::contract::connection as contract;
use crate::place::{At, Names, Query};

pub(crate) async fn obtain(
    State(api): State<Host>,
    At(installation): At,
    names: Names,
    Query(query): Query<UserQuery>,
    who: Identity,
    Shaped(body): Shaped<contract::ObtainConnection>,
) -> Answer {
    let of = reference_of(installation, &names, query.user())?;
    // A parser's complaint quotes what it complains about, which here may be the subject token.
    let body = body.map_err(|_| {
        let detail = "the body is `subject_token`, `base_url`, `client_id`, `client_secret` and `key_id`, all text, and `variables`, as there are such";
        Fault::new(Code::InvalidRequest, detail)
    })?;
    let client = match (body.client_id, body.client_secret, body.key_id) {
        (Some(id), Some(secret), key_id) => Some(Given { id, secret, key_id }),
        (None, None, None) => None,
        _ => {
            let detail = "`client_id` and `client_secret` go together, and `key_id` with both";
            return Err(Fault::new(Code::InvalidRequest, detail).into());
        }
    };
    let actor = who.actor().clone();
    let info = finish(async move {
        let (release, spec) = declared(&api, &of).await?;
        let descriptor = &release.descriptor;
        if let Some(base_url) = &body.base_url {
            check_base_url(&api, descriptor, base_url)?;
        }
        let trial = Trial {
            base_url: body.base_url.clone().or(descriptor.base_url.clone()).unwrap_or_default(),
            hosts: descriptor.hosts.clone(),
        };
        let fits = |base_url: &str| check_base_url(&api, descriptor, base_url);
        let installation = of.installation.clone();
        let wanted = Obtain {
            of,
            subject: body.subject_token,
            base_url: body.base_url,
            facts: body.variables,
            client,
        };
        let info = api.vault.obtain(wanted, &spec, &trial, fits, &actor).await?;
        api.releases.refresh(&installation).await?;
        Ok(info)
    });
    json(&render(info.await?))
}
