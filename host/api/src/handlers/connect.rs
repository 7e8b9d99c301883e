//! People connect an account: sessions for operators, pages for people, and what a provider sends back.
//!
//! ```text
//!   operator ──POST connect-sessions──> link ──person──> page ──button──> start ──303──> provider
//!   provider ──303──> callback: state, browser and issuer are checked ──> done, failed, or the operator's page
//!   provider ──form─> callback: kept under a name ──303──> callback, with the name
//! ```
//!
//! Whether an answer is believed is the vault's business; here a browser is told apart by its cookie, and spoken to in
//! [`page`]s that say nothing of the host. **Invariant:** no page, address or log line has a code, a token or a cause.

mod browser;
mod page;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use keyway_core::descriptor::{Descriptor, Grant, SlotSpec};
use keyway_core::ids::{ConnectionRef, Environment, Slot, User};
use keyway_core::{Code, Fault};
use keyway_vault::SecretInput;
use keyway_vault::consent::{Begun, Returned, Session, is_typed};
use keyway_vault::facts::Facts;
use keyway_vault::import::Trial;
use keyway_vault::standing::Info;
use secrecy::{ExposeSecret as _, SecretString};

use self::page::{Page, Request, Typed};
use super::connections::check_base_url;
use super::{Answer, finish, json, json_as};
use crate::api::Host;
use crate::auth::Identity;
use crate::body::{FormText, Json, Shaped};
use crate::connect::{Brand, PublicUrl, web};
use crate::contract::connect as contract;
use crate::place::{self, At, Names};
use crate::problem::Noted;
use crate::site::{Site, site};

/// Where providers send people back to.
const CALLBACK: &str = "/connect/callback";

/// The parameter of the callback's query that names an answer which came as a form.
const ANSWER: &str = "answer";

/// The query of a callback, as pairs.
type Pairs = axum::extract::Query<Vec<(String, String)>>;

pub(crate) async fn begin(
    State(api): State<Host>,
    At(installation): At,
    who: Identity,
    Json(body): Json<contract::BeginConnect>,
) -> Answer {
    let release = api.releases.declared(&installation).await?;
    let (slot, spec) = wanted_slot(&release.descriptor, body.slot.as_deref())?;
    let user: Option<User> = body.user.as_deref().map(place::parse).transpose()?;
    let of = ConnectionRef { installation, slot: slot.clone(), user };
    let to = destination(&api, &body)?;
    let (spec, actor) = (spec.clone(), who.actor().clone());
    let session = finish(async move {
        let vault = &api.vault;
        let given = (body.return_url, &body.variables);
        let (token, session) = vault.begin_session(of, &spec, given, &actor).await?;
        match to {
            Destination::Page(public) => Ok(hosted(&public, &token.0, session)),
            Destination::Caller(redirect_uri) => {
                let none = Facts::new();
                let begun = vault.begin_consent(&token.0, &spec, &redirect_uri, &none).await?;
                Ok(headless(begun, session))
            }
        }
    })
    .await?;
    json_as(StatusCode::CREATED, &session)
}

pub(crate) async fn complete(
    State(api): State<Host>,
    names: Names,
    Shaped(body): Shaped<contract::CompleteConnect>,
) -> Answer {
    let body = body.map_err(|_| refusal())?;
    let environment: Environment = names.get("environment")?;
    let session = api.vault.session_of(&body.state).await?;
    if session.of.installation.environment != environment {
        return Err(foreign().into());
    }
    let contract::CompleteConnect { state, code, iss, error, besides, binding } = body;
    let besides = besides.into_iter().collect();
    let returned = Returned { state, code, issuer: iss, error, besides, binding: Some(binding) };
    let info = finish(establish(api, returned)).await?;
    json(&connected(info))
}

/// A parser's complaint quotes what it complains about, which here may be a code.
fn refusal() -> Fault {
    let detail = "the body is `state`, `binding` and `code`, or `error`, and `iss` where there was one; all text";
    Fault::new(Code::InvalidRequest, detail)
}

/// The page that a link leads to. Looking at it changes nothing: programs that check links do so, too.
pub(crate) async fn show(State(api): State<Host>, names: Names) -> Response {
    match shown(&api, &names).await {
        Ok(page) => page,
        Err(fault) => failed(brand_of_link(&api, &names).await, &fault),
    }
}

async fn shown(api: &Host, names: &Names) -> Result<Response, Fault> {
    let token = token(names)?;
    let session = api.vault.session(&token).await?;
    let release = api.releases.declared(&session.of.installation).await?;
    let descriptor = &release.descriptor;
    let spec = slot_spec(descriptor, &session.of.slot)?;
    let provider = spec.scheme.oauth().and_then(|oauth| oauth.authorize_url.as_deref());
    let of = &session.of;
    let brand = brand(api, Some(&of.installation.environment));
    let request = Request {
        operator: brand.name.as_deref(),
        tenant: of.installation.tenant.as_str(),
        user: of.user.as_ref().map(User::as_str),
        connector: if descriptor.summary.is_empty() {
            descriptor.name.to_string()
        } else {
            descriptor.summary.clone()
        },
        purpose: &spec.summary,
        scopes: &spec.scopes,
        provider: provider.and_then(page::host),
        asks: keyway_vault::facts::missing(spec, &session.facts),
        typed: typed(spec),
        action: public_url(api)?.join(&format!("/connect/{}/start", token.expose_secret())),
        return_url: session.return_url.as_deref(),
    };
    Ok(Page::request(&request).render(brand, StatusCode::OK))
}

/// Sends a person to the provider.
pub(crate) async fn start(
    State(api): State<Host>,
    names: Names,
    headers: HeaderMap,
    form: FormText,
) -> Response {
    match started(api.clone(), &names, &headers, form).await {
        Ok(sent) => sent,
        Err(fault) => failed(brand_of_link(&api, &names).await, &fault),
    }
}

async fn started(
    api: Host,
    names: &Names,
    headers: &HeaderMap,
    FormText(pairs): FormText,
) -> Result<Response, Fault> {
    // Another site must not take a person past the page that says what is asked for.
    if site(headers, public_url(&api).ok().as_ref()) != Site::Here {
        return Err(foreign());
    }
    let token = token(names)?;
    let session = api.vault.session(&token).await?;
    let release = api.releases.declared(&session.of.installation).await?;
    let spec = slot_spec(&release.descriptor, &session.of.slot)?.clone();
    if is_typed(&spec) {
        let trial = super::connections::trial(&release.descriptor, None);
        return typed_in(api, (token, session), (spec, trial), pairs).await;
    }
    let public = public_url(&api)?;
    let redirect_uri = public.join(CALLBACK);
    // Only what was asked for: what the operator has said stays so.
    let asked = keyway_vault::facts::missing(&spec, &session.facts);
    let asked: Vec<_> = asked.into_iter().map(|(name, _)| name.to_owned()).collect();
    let given = pairs.into_iter().filter_map(|(name, value)| {
        let name = name.strip_prefix(page::VARIABLE)?.to_owned();
        asked.contains(&name).then_some((name, value))
    });
    let given: Facts = given.collect();
    let begun =
        finish(async move { api.vault.begin_consent(&token, &spec, &redirect_uri, &given).await })
            .await?;
    let cookie = browser::remember(&public, &state_of(&begun), &begun.binding);
    Ok(browser::go(begun.authorize_url.as_str(), &cookie))
}

/// What a person types on the page to connect a slot.
fn typed(spec: &SlotSpec) -> Typed {
    match &spec.scheme {
        _ if !is_typed(spec) => Typed::Nothing,
        scheme if scheme.takes_pair() => Typed::Login,
        _ => Typed::Key,
    }
}

/// Sets what a person has typed, and shows what came of it.
async fn typed_in(
    api: Host,
    (token, session): (SecretString, Session),
    (spec, trial): (SlotSpec, Trial),
    pairs: Vec<(String, String)>,
) -> Result<Response, Fault> {
    let mut fields: std::collections::HashMap<_, _> = pairs.into_iter().collect();
    let mut field = |name: &str| SecretString::from(fields.remove(name).unwrap_or_default());
    let secret = match typed(&spec) {
        Typed::Login => {
            SecretInput::Basic { user: field(page::USER), password: field(page::PASSWORD) }
        }
        _ => SecretInput::Token(field(page::KEY)),
    };
    let host = api.clone();
    let of = session.of.clone();
    let outcome = finish(async move {
        let (_, info) = host.vault.complete_typed(&token, &spec, secret, &trial).await?;
        host.releases.refresh(&of.installation).await?;
        Ok(info)
    });
    let outcome = outcome.await.map(drop);
    let brand = brand(&api, Some(&session.of.installation.environment));
    let mut response = match (session.return_url, &outcome) {
        (Some(url), _) => browser::back(&url, outcome.as_ref().err()),
        (None, Ok(())) => Page::done().render(brand, StatusCode::OK),
        (None, Err(fault)) => failed(brand, fault),
    };
    if let Err(fault) = &outcome {
        noted(&mut response, fault);
    }
    Ok(response)
}

/// Takes what a provider sends a person back with.
pub(crate) async fn callback(
    State(api): State<Host>,
    headers: HeaderMap,
    pairs: Result<Pairs, axum::extract::rejection::QueryRejection>,
) -> Response {
    let pairs = pairs.map(|axum::extract::Query(pairs)| pairs).unwrap_or_default();
    let returned = match pairs.as_slice() {
        [(name, answer)] if name == ANSWER => api.vault.kept_answer(answer).await,
        _ => returned(pairs),
    };
    came_back(api, &headers, returned).await
}

/// The same, where the provider has the browser send it as a form (OAuth 2.0 Form Post Response Mode). The browser does not
/// show its cookie to a form of another site, so the answer is kept, and the browser sent to where it shows it.
pub(crate) async fn callback_form(State(api): State<Host>, FormText(pairs): FormText) -> Response {
    match kept(&api, pairs).await {
        Ok(url) => browser::see(&url),
        Err(fault) => failed(brand(&api, None), &fault),
    }
}

/// Keeps what came as a form; gives where it is come for.
async fn kept(api: &Host, pairs: Vec<(String, String)>) -> Result<String, Fault> {
    let returned = returned(pairs)?;
    let public = public_url(api)?;
    let of = api.vault.session_of(&returned.state).await?.of;
    let release = api.releases.declared(&of.installation).await?;
    let spec = slot_spec(&release.descriptor, &of.slot)?;
    let name = api.vault.keep_answer(&returned, spec).await?;
    Ok(public.join(&format!("{CALLBACK}?{ANSWER}={name}")))
}

async fn came_back(api: Host, headers: &HeaderMap, returned: Result<Returned, Fault>) -> Response {
    let read = returned.and_then(|returned| Ok((returned, public_url(&api)?)));
    let (mut returned, public) = match read {
        Ok(read) => read,
        Err(fault) => return failed(brand(&api, None), &fault),
    };
    returned.binding = browser::remembered(headers, &public, &returned.state);
    let forget = browser::forget(&public, &returned.state);
    // Before it is used up: afterwards nobody can tell whose page to show.
    let session = api.vault.session_of(&returned.state).await.ok();
    let environment = api.vault.environment_of(&returned.state).await;
    let outcome = finish(establish(api.clone(), returned)).await;
    let brand = brand(&api, environment.as_ref());
    let outcome = outcome.map(drop);
    // Whoever is not the one that was sent learns no address of the operator's.
    let ours = outcome.as_ref().err().is_none_or(|fault| fault.code != Code::ConnectStateInvalid);
    let back = session.and_then(|session| session.return_url).filter(|_| ours);
    let mut response = match (back, &outcome) {
        (Some(url), _) => browser::back(&url, outcome.as_ref().err()),
        (None, Ok(())) => Page::done().render(brand, StatusCode::OK),
        (None, Err(fault)) => failed(brand, fault),
    };
    browser::set_cookie(&mut response, &forget);
    if let Err(fault) = &outcome {
        noted(&mut response, fault);
    }
    response
}

/// Where a person is sent from a session.
enum Destination {
    Page(PublicUrl),
    Caller(String),
}

fn destination(api: &Host, body: &contract::BeginConnect) -> Result<Destination, Fault> {
    let refuse = |detail: String| Fault::new(Code::InvalidRequest, detail);
    match (body.headless, &body.redirect_uri) {
        (false, None) => {
            if let Some(url) = &body.return_url {
                web(url).map_err(|problem| refuse(format!("`return_url`: {problem}")))?;
            }
            public_url(api).map(Destination::Page)
        }
        (false, Some(_)) => Err(refuse("`redirect_uri` goes with `headless`".to_owned())),
        (true, _) if body.return_url.is_some() => Err(refuse(
            "`return_url` does not go with `headless`: the caller has the person".into(),
        )),
        (true, None) => Err(refuse("`headless` needs `redirect_uri`".to_owned())),
        (true, Some(uri)) => {
            web(uri).map_err(|problem| refuse(format!("`redirect_uri`: {problem}")))?;
            Ok(Destination::Caller(uri.clone()))
        }
    }
}

fn hosted(public: &PublicUrl, token: &SecretString, session: Session) -> contract::ConnectSession {
    let token = token.expose_secret();
    contract::ConnectSession {
        token: Some(token.to_owned()),
        url: Some(public.join(&format!("/connect/{token}"))),
        ..session_of(session)
    }
}

fn headless(begun: Begun, session: Session) -> contract::ConnectSession {
    contract::ConnectSession {
        state: Some(state_of(&begun)),
        binding: Some(begun.binding.expose_secret().to_owned()),
        authorize_url: Some(begun.authorize_url.into()),
        ..session_of(session)
    }
}

fn session_of(session: Session) -> contract::ConnectSession {
    contract::ConnectSession {
        slot: session.of.slot.to_string(),
        user: session.of.user.map(|user| user.to_string()),
        expires_at: session.expires_at,
        token: None,
        url: None,
        authorize_url: None,
        state: None,
        binding: None,
    }
}

fn connected(info: Info) -> contract::Connected {
    let connection = info.connection;
    contract::Connected {
        slot: connection.slot.to_string(),
        user: connection.user.map(|user| user.to_string()),
        generation: connection.generation,
        account: connection.account,
        scopes: connection.scopes.unwrap_or_default(),
    }
}

/// Makes a connection of what came back, and lets calls see it.
async fn establish(api: Host, returned: Returned) -> Result<Info, Fault> {
    let of = api.vault.session_of(&returned.state).await?.of;
    let release = api.releases.declared(&of.installation).await?;
    let descriptor = &release.descriptor;
    let spec = slot_spec(descriptor, &of.slot)?;
    let base_url = descriptor.base_url.clone().unwrap_or_default();
    let trial = Trial { base_url, hosts: descriptor.hosts.clone() };
    let fits = |base_url: &str| check_base_url(&api, descriptor, base_url);
    let (_, info) = api.vault.complete_consent(returned, spec, &trial, fits).await?;
    api.releases.refresh(&of.installation).await?;
    Ok(info)
}

/// A callback's query. RFC 6749 section 3.1: no parameter twice; of those that are not known, a release may want some.
fn returned(pairs: Vec<(String, String)>) -> Result<Returned, Fault> {
    let mut returned = Returned {
        state: String::new(),
        code: None,
        issuer: None,
        error: None,
        besides: Vec::new(),
        binding: None,
    };
    let mut state = None;
    for (name, value) in pairs {
        let before = match name.as_str() {
            "state" => state.replace(value).is_some(),
            "code" => returned.code.replace(SecretString::from(value)).is_some(),
            "iss" => returned.issuer.replace(value).is_some(),
            "error" => returned.error.replace(value).is_some(),
            _ => {
                returned.besides.push((name, value));
                false
            }
        };
        if before {
            let detail = "the answer has a parameter twice";
            return Err(Fault::new(Code::ConnectStateInvalid, detail));
        }
    }
    returned.state = state.ok_or_else(foreign)?;
    Ok(returned)
}

/// The slot that is meant: the named one, or the only one that a person can connect.
fn wanted_slot<'d>(
    descriptor: &'d Descriptor,
    named: Option<&str>,
) -> Result<(&'d Slot, &'d SlotSpec), Fault> {
    let refuse = |detail: String| Fault::new(Code::UnknownSlot, detail);
    if let Some(name) = named {
        let slot: Slot = place::parse(name)?;
        let found = descriptor.slots.get_key_value(&slot);
        return found.ok_or_else(|| undeclared(descriptor, &slot));
    }
    let consents = |spec: &SlotSpec| {
        spec.scheme.oauth().is_some_and(|oauth| oauth.grant == Grant::AuthorizationCode)
    };
    let consenting = descriptor.slots.values().any(consents);
    // What people type is theirs to connect only where there is nothing to consent to, unless it is named.
    let wanted = |spec: &SlotSpec| if consenting { consents(spec) } else { is_typed(spec) };
    let mut slots = descriptor.slots.iter().filter(|(_, spec)| wanted(spec));
    match (slots.next(), slots.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(refuse(format!("{} has no slot that people connect", descriptor.name))),
        (Some(_), Some(_)) => {
            let fault = refuse(format!("{} has several such slots: name one", descriptor.name));
            let such = descriptor.slots.iter().filter(|(_, spec)| wanted(spec));
            Err(fault.but_there_is(such.map(|(slot, _)| slot)))
        }
    }
}

fn slot_spec<'d>(descriptor: &'d Descriptor, slot: &Slot) -> Result<&'d SlotSpec, Fault> {
    descriptor.slots.get(slot).ok_or_else(|| undeclared(descriptor, slot))
}

fn undeclared(descriptor: &Descriptor, slot: &Slot) -> Fault {
    let detail = format!("{}@{} declares no slot `{slot}`", descriptor.name, descriptor.version);
    Fault::new(Code::UnknownSlot, detail).but_there_is(descriptor.slots.keys())
}

fn foreign() -> Fault {
    let detail = "the answer belongs to no consent that was begun here";
    Fault::new(Code::ConnectStateInvalid, detail)
}

fn public_url(api: &Host) -> Result<PublicUrl, Fault> {
    let set = api.config.connect.public_url.clone();
    let found = set.or_else(|| PublicUrl::of_loopback(*api.listening.get()?));
    found.ok_or_else(|| {
        let detail =
            "`connect.public-url` is not set, and the host does not listen on a loopback address";
        Fault::new(Code::ConnectUnavailable, detail)
    })
}

fn token(names: &Names) -> Result<SecretString, Fault> {
    names.get::<String>("token").map(SecretString::from)
}

/// How pages look in an environment; plain where it is not known.
fn brand<'a>(api: &'a Host, environment: Option<&Environment>) -> &'a Brand {
    static PLAIN: std::sync::LazyLock<Brand> = std::sync::LazyLock::new(Brand::default);
    let set = environment.and_then(|named| api.config.connect.environments.get(named));
    set.unwrap_or(&PLAIN)
}

/// How the pages of a link look, also of one that is good no more.
async fn brand_of_link<'a>(api: &'a Host, names: &Names) -> &'a Brand {
    let environment = match token(names) {
        Ok(token) => api.vault.environment(&token).await,
        Err(_) => None,
    };
    brand(api, environment.as_ref())
}

/// The `state` that a provider is sent.
fn state_of(begun: &Begun) -> String {
    begun.state.expose_secret().to_owned()
}

fn failed(brand: &Brand, fault: &Fault) -> Response {
    if fault.code == Code::Internal || fault.code == Code::StoreUnavailable {
        tracing::error!(
            code = fault.code.as_str(),
            error = fault.chain(),
            "consent failed in the host"
        );
    }
    let status = StatusCode::from_u16(fault.code.status());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Page::failed(fault.code).render(brand, status);
    noted(&mut response, fault);
    response
}

/// For the access log.
fn noted(response: &mut Response, fault: &Fault) {
    response.extensions_mut().insert(Noted(fault.code));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> Result<Returned, Fault> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        returned(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    #[test]
    fn an_answer_has_one_state_and_nothing_twice() {
        let whole = of("state=a&code=b&iss=c&session_state=d").unwrap();
        assert_eq!((whole.state.as_str(), whole.issuer.as_deref()), ("a", Some("c")));
        for query in
            ["", "code=b", "state=a&state=b", "state=a&code=b&code=b", "state=a&iss=x&iss=y"]
        {
            assert_eq!(of(query).unwrap_err().code, Code::ConnectStateInvalid, "{query}");
        }
    }
}
