//! Tokens that come from another system, and tokens that go to one.
//!
//! An export is one line of an import, so what one host gives another takes. It is sealed to whoever is to have it
//! (age, X25519); in the clear it goes only to an admin.

use std::collections::HashSet;
use std::str::FromStr as _;
use std::sync::Arc;

use age::x25519::Recipient;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use keyway_core::descriptor::SlotSpec;
use keyway_core::ids::{Actor, ConnectionRef, Environment, Installation};
use keyway_core::release::Release;
use keyway_core::{Code, Fault};
use keyway_releases::scopes as granted;
use keyway_vault::facts::Facts;
use keyway_vault::import::{Import, Taken, Trial, Tried};
use keyway_vault::oauth::client::ClientRef;
use keyway_vault::oauth::record::Tokens;
use keyway_vault::standing::Info;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::connections::{UserQuery, check_base_url, declared, reference_of, render};
use super::{Answer, finish, json, json_text};
use crate::api::Host;
use crate::auth::Identity;
use crate::bodies::Holder;
use crate::body::{self, Json, SHAPE_BYTES_MAX, Shaped};
use crate::contract::{Access, LINES_TYPE, connection as contract};
use crate::place::{self, At, Names, Query};
use crate::problem::Refusal;

/// Lines of an import at most. Each may take as long as the provider does to answer once.
const LINES_MAX: usize = 1_000;

/// Lines that are tried at once. More would look like an attack to the provider.
const LINES_AT_ONCE: usize = 8;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImportQuery {
    user: Option<String>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    replace: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImportManyQuery {
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    replace: bool,
}

/// How an import is done, for each of its lines.
#[derive(Clone)]
struct Manner {
    api: Host,
    actor: Actor,
    dry: bool,
    /// Whatever the lines say of it.
    replace: bool,
    /// OAuth clients that are set.
    clients: Arc<HashSet<ClientRef>>,
}

/// What a line of an import says, and which line it is.
type Numbered = (usize, Result<Import, Fault>);

pub(crate) async fn import(
    State(api): State<Host>,
    At(installation): At,
    names: Names,
    Query(query): Query<ImportQuery>,
    who: Identity,
    Shaped(body): Shaped<contract::ImportConnection>,
) -> Answer {
    let of = reference_of(installation, &names, query.user)?;
    let body = body.map_err(|_| refusal())?;
    let environment = of.installation.environment.clone();
    let manner = Manner::new(api, &environment, &who, (query.dry_run, query.replace)).await?;
    json(&finish(async move { manner.take(wanted(of, body)).await }).await?)
}

pub(crate) async fn import_many(
    State(api): State<Host>,
    names: Names,
    Query(query): Query<ImportManyQuery>,
    who: Identity,
    request: Request,
) -> Answer {
    let environment: Environment = names.get("environment")?;
    let (text, holder) = lines(&api, request).await?;
    let (of, payer) = (environment.clone(), holder.payer().clone());
    let imports = api.lanes.once(&payer, move || parse_lines(&of, &text, &holder)).await?;
    let manner = Manner::new(api, &environment, &who, (query.dry_run, query.replace)).await?;
    let outcomes = finish(async move { Ok(manner.take_all(imports).await) }).await?;
    let mut answer = Vec::new();
    for outcome in &outcomes {
        serde_json::to_writer(&mut answer, outcome)
            .map_err(|error| Fault::new(Code::Internal, "an answer is no JSON").caused_by(error))?;
        answer.push(b'\n');
    }
    let mut response = Response::new(answer.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(LINES_TYPE));
    Ok(response)
}

/// The lines of a body, within its bounds.
async fn lines(api: &Host, request: Request) -> Result<(Zeroizing<String>, Holder), Refusal> {
    let value = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case(LINES_TYPE) {
        let detail = format!("`content-type` must be {LINES_TYPE}");
        return Err(Fault::new(Code::InvalidRequest, detail).into());
    }
    let (bytes, holder) = body::held(request, api, api.config.limits.json_bytes_max).await?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Fault::new(Code::MalformedJson, "the body is not UTF-8"))?;
    let text = Zeroizing::new(text);
    let count = text.lines().filter(|line| !line.trim().is_empty()).count();
    match count {
        0 => Err(Fault::new(Code::InvalidRequest, "the body has no line").into()),
        1..=LINES_MAX => Ok((text, holder)),
        _ => {
            let detail = format!("the body has {count} lines, and {LINES_MAX} are taken at once");
            Err(Fault::new(Code::BodyTooLarge, detail).into())
        }
    }
}

/// What each line says, with its number.
fn parse_lines(
    environment: &Environment,
    text: &str,
    holder: &Holder,
) -> Result<Vec<Numbered>, Fault> {
    let mut bytes = text.len();
    let mut seen = HashSet::new();
    let mut imports = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let import = match crate::json::check(line.as_bytes()) {
            Ok((line, values)) => {
                bytes += values * SHAPE_BYTES_MAX;
                holder.hold(bytes)?;
                parse_line(environment, line)
            }
            Err(_) => Err(refusal()),
        };
        let import = import.and_then(|import| {
            // Which of two would stay is a matter of which provider's answer comes first.
            if seen.insert(import.of.to_string()) {
                return Ok(import);
            }
            let detail = format!("an earlier line is of {} too", import.of);
            Err(Fault::new(Code::InvalidRequest, detail))
        });
        imports.push((at + 1, import));
    }
    Ok(imports)
}

// === impl Manner ===

impl Manner {
    async fn new(
        api: Host,
        environment: &Environment,
        who: &Identity,
        (dry, replace): (bool, bool),
    ) -> Result<Self, Fault> {
        let clients = api.vault.clients(environment).await?;
        let clients = Arc::new(clients.into_iter().map(|client| client.of).collect());
        Ok(Self { api, actor: who.actor().clone(), dry, replace, clients })
    }

    /// Takes what fits, line by line; a line that does not leaves the others.
    async fn take_all(&self, imports: Vec<Numbered>) -> Vec<contract::LineOutcome> {
        let taken = stream::iter(imports).map(|(line, import)| async move {
            let outcome = match import {
                Ok(import) => self.take(import).await,
                Err(fault) => Err(fault),
            };
            render_line(line, outcome)
        });
        taken.buffered(LINES_AT_ONCE).collect().await
    }

    async fn take(&self, mut import: Import) -> Result<contract::Imported, Fault> {
        let Self { api, actor, dry, .. } = self;
        import.replace |= self.replace;
        let (release, spec) = declared(api, &import.of).await?;
        let trial = self.trial(&import, &release, &spec).await?;
        let of = import.of.clone();
        let missing_scopes = granted::missing(&spec.scopes, import.scopes.as_deref());
        let Taken { info, tried, before } =
            api.vault.import(import, &spec, &trial, *dry, actor).await?;
        if info.is_some() {
            api.releases.refresh(&of.installation).await?;
        }
        let (tried, account) = match tried {
            Tried::Works(account) => (true, account),
            Tried::Untried => (false, None),
        };
        let replaces = before.map(|before| contract::Replaced {
            generation: before.generation,
            account: before.account,
        });
        let warning = self.warning(&of);
        let connection = info.map(render);
        Ok(contract::Imported { tried, account, replaces, missing_scopes, warning, connection })
    }

    /// Where the token is tried: as calls go, so at the connection's own base URL where the import brings none.
    async fn trial(
        &self,
        import: &Import,
        release: &Release,
        spec: &SlotSpec,
    ) -> Result<Trial, Fault> {
        let descriptor = &release.descriptor;
        let kept = self.api.vault.find(&import.of).await?.and_then(|before| before.base_url);
        let own = import.base_url.as_ref().or(kept.as_ref());
        if let Some(base_url) = own {
            check_base_url(&self.api, descriptor, base_url)?;
        }
        let base_url = match own.or(descriptor.base_url.as_ref()) {
            Some(base_url) => base_url.clone(),
            None if spec.probe.is_none() => String::new(),
            None => {
                let detail = format!("{} has no base URL to try the token at", release.reference);
                return Err(Fault::new(Code::BaseUrlRefused, detail));
            }
        };
        Ok(Trial { base_url, hosts: descriptor.hosts.clone() })
    }

    /// That nothing can be refreshed yet: better said now than when the token ends.
    fn warning(&self, of: &ConnectionRef) -> Option<String> {
        let client = ClientRef::of(of);
        (!self.clients.contains(&client)).then(|| {
            format!(
                "environment {} has no OAuth client for {} slot `{}`: its tokens are not refreshed until it is set",
                client.environment, client.connector, client.slot
            )
        })
    }
}

/// A parser's complaint quotes what it complains about, which here may be a token.
fn refusal() -> Fault {
    let detail = "an import is `access_token` and, where there are such, `refresh_token`, `subject_token`, \
                  `expires_at`, `obtained_at` (RFC 3339), `scopes`, `account`, `base_url`, `hold_refresh`, `replace`; \
                  as one of many lines also `tenant`, `connector`, `slot` and `user`";
    Fault::new(Code::InvalidRequest, detail)
}

fn parse_line(environment: &Environment, line: &str) -> Result<Import, Fault> {
    let line: contract::ImportLine = crate::json::object(line).map_err(|_| refusal())?;
    let installation = Installation {
        environment: environment.clone(),
        tenant: place::parse(&line.tenant)?,
        connector: place::parse(&line.connector)?,
    };
    let user = line.user.as_deref().map(place::parse).transpose()?;
    let of = ConnectionRef { installation, slot: place::parse(&line.slot)?, user };
    let body = contract::ImportConnection {
        access_token: line.access_token,
        refresh_token: line.refresh_token,
        subject_token: line.subject_token,
        expires_at: line.expires_at,
        obtained_at: line.obtained_at,
        scopes: line.scopes,
        account: line.account,
        base_url: line.base_url,
        facts: line.facts,
        hold_refresh: line.hold_refresh,
        replace: line.replace,
    };
    Ok(wanted(of, body))
}

fn wanted(of: ConnectionRef, body: contract::ImportConnection) -> Import {
    let tokens = Tokens {
        access: body.access_token,
        refresh: body.refresh_token,
        subject: body.subject_token,
        own: None,
    };
    Import {
        of,
        tokens,
        obtained_at: body.obtained_at,
        expires_at: body.expires_at,
        scopes: body.scopes,
        account: body.account,
        base_url: body.base_url,
        facts: body.facts,
        hold_refresh: body.hold_refresh,
        replace: body.replace,
    }
}

fn render_line(line: usize, outcome: Result<contract::Imported, Fault>) -> contract::LineOutcome {
    match outcome {
        Ok(imported) => contract::LineOutcome { line, imported: Some(imported), problem: None },
        Err(fault) => {
            if fault.code == Code::Internal {
                tracing::error!(line, problem = fault.chain(), "line of an import not taken");
            }
            let (code, detail) = (fault.code.to_string(), fault.detail);
            let problem = Some(contract::LineProblem { code, detail });
            contract::LineOutcome { line, imported: None, problem }
        }
    }
}

/// A line of an import, to be written.
#[derive(Serialize)]
struct Line<'a> {
    tenant: &'a str,
    connector: String,
    slot: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    access_token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject_token: Option<&'a str>,
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    expires_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    obtained_at: Option<OffsetDateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Facts::is_empty")]
    facts: &'a Facts,
    hold_refresh: bool,
}

pub(crate) async fn export(
    State(api): State<Host>,
    At(installation): At,
    names: Names,
    Query(query): Query<UserQuery>,
    who: Identity,
    Json(body): Json<contract::ExportConnection>,
) -> Answer {
    let of = reference_of(installation, &names, query.user())?;
    let recipient = match body.recipient.as_deref() {
        Some(text) => Some(Recipient::from_str(text).map_err(|why| {
            let detail = format!("`recipient` is no age recipient of the form age1…: {why}");
            Fault::new(Code::InvalidRequest, detail)
        })?),
        None => {
            who.check(Access::Administer, Some(&of.installation.environment))?;
            None
        }
    };
    let actor = who.actor().clone();
    let to = recipient.as_ref().map(ToString::to_string);
    let exported = async move { api.vault.export(&of, to.as_deref(), &actor).await };
    let (info, tokens) = finish(exported).await?;
    let line = line(&info, &tokens)?;
    match recipient {
        Some(recipient) => {
            let sealed = age::encrypt_and_armor(&recipient, line.as_bytes()).map_err(|error| {
                Fault::new(Code::Internal, "an export is not sealed").caused_by(error)
            })?;
            json(&serde_json::json!({ "sealed": sealed }))
        }
        None => Ok(json_text(format!("{{\"clear\":{}}}", *line))),
    }
}

fn line(info: &Info, tokens: &Tokens) -> Result<Zeroizing<String>, Fault> {
    let Info { connection, state, .. } = info;
    let line = Line {
        tenant: connection.installation.tenant.as_str(),
        connector: connection.installation.connector.to_string(),
        slot: connection.slot.as_str(),
        user: connection.user.as_ref().map(|user| user.as_str()),
        access_token: tokens.access.expose_secret(),
        refresh_token: tokens.refresh.as_ref().map(|token| token.expose_secret()),
        subject_token: tokens.subject.as_ref().map(|token| token.expose_secret()),
        expires_at: state.as_ref().and_then(|state| state.expires_at),
        obtained_at: state.as_ref().and_then(|state| state.obtained_at),
        scopes: connection.scopes.as_deref(),
        account: connection.account.as_deref(),
        base_url: connection.base_url.as_deref(),
        facts: &connection.facts,
        hold_refresh: connection.hold_refresh,
    };
    serde_json::to_string(&line)
        .map(Zeroizing::new)
        .map_err(|error| Fault::new(Code::Internal, "an export is no JSON").caused_by(error))
}
