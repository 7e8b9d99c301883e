//! The proxy: a caller's request goes to the provider as it is, and the answer comes back as it is, but for two things. A
//! token of this host does not leave ([`own`]), and links that lead to the provider lead through here, unless the caller wants
//! them raw.

use std::sync::Arc;

use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::header::{HeaderName, HeaderValue, UPGRADE};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use http_body_util::BodyExt as _;
use keyway_core::descriptor::HostPattern;
use keyway_core::exchange::{self, Relayed};
use keyway_core::ids::{Slot, User};
use keyway_core::ports::{IssuedTokens, RelayCall};
use keyway_core::{Code, Fault};
use serde::Deserialize;

use super::calls::{pace, timeout, user};
use super::{Answer, json};
use crate::api::Host;
use crate::contract::call::ProxyUrl;
use crate::contract::{HOST_HEADER, LINKS_HEADER, SLOT_HEADER, USER_HEADER};
use crate::place::{self, At, Names, Query};
use crate::problem::{Refusal, Trace};
use crate::{address, own};

static HOST: HeaderName = HeaderName::from_static(HOST_HEADER);
static LINKS: HeaderName = HeaderName::from_static(LINKS_HEADER);
pub(crate) static SLOT: HeaderName = HeaderName::from_static(SLOT_HEADER);

/// Of which slot and user.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    slot: Option<String>,
    user: Option<String>,
}

pub(crate) async fn relay(
    State(api): State<Host>,
    At(installation): At,
    names: Names,
    request: Request,
) -> Answer {
    let (mut head, body) = request.into_parts();
    refuse_websocket(&head.headers)?;
    // As it was written: decoding and encoding it again could make another path of it.
    let Some((before, rest)) = names.split("path") else {
        return Err(Fault::new(Code::NoSuchEndpoint, "the path names nothing to ask for").into());
    };
    let links = match raw(&head.headers)? {
        true => None,
        false => {
            let seen = address::seen(&api, &head.headers, &head.uri);
            Some((seen.origin() + before).into())
        }
    };
    let rest = own::stripped(rest)?;
    own::strip(&mut head.headers);
    let url = match (exchange::named_host(&rest), named::<String>(&head.headers, &HOST)?) {
        (Some((host, path)), _) => format!("https://{}{path}", other_host(host)?),
        (None, Some(host)) => format!("https://{}{rest}", other_host(&host)?),
        (None, None) => rest.into_owned(),
    };
    let tokens: Option<Arc<dyn IssuedTokens>> = match body.is_end_stream() {
        true => None,
        false => Some(api.auth.issued().await?),
    };
    let body = body.map_err(std::io::Error::other).boxed_unsync();
    let call = RelayCall {
        installation,
        user: user(&head.headers)?,
        pace: pace(&head.headers)?,
        time: timeout(&head.headers)?,
        request: Relayed {
            slot: named::<Slot>(&head.headers, &SLOT)?,
            method: head.method,
            url,
            headers: head.headers,
            body,
            tokens,
            links,
        },
    };
    let answer = api.dispatch.relay(call).await;
    let trace = Trace { call: answer.call, release: answer.release };
    let relay = match answer.result {
        Ok(relay) => relay,
        Err(fault) => return Err(Refusal::of_call(fault, trace)),
    };
    let mut response = Response::new(Body::new(relay.body));
    *response.status_mut() = relay.status;
    *response.headers_mut() = relay.headers;
    trace.write(response.headers_mut());
    Ok(response)
}

/// The host that the caller names, with a port if it is another one. Nothing else is one: what a URL may have before or
/// behind a host would lead somewhere else, or be dropped in silence.
fn other_host(text: &str) -> Result<String, Fault> {
    match HostPattern::try_from(text.to_ascii_lowercase()) {
        Ok(host) if !host.wildcard => Ok(host.to_string()),
        _ => Err(Fault::new(
            Code::InvalidRequest,
            format!("`{HOST}` is no host, with or without a port"),
        )),
    }
}

/// Where a client of the provider reaches an installation.
pub(crate) async fn url(
    State(api): State<Host>,
    At(installation): At,
    Query(of): Query<Wanted>,
    headers: HeaderMap,
    uri: Uri,
) -> Answer {
    let slot: Option<Slot> = of.slot.as_deref().map(place::parse).transpose()?;
    let user: Option<User> = of.user.as_deref().map(place::parse).transpose()?;
    let route = api.routes.resolve(&installation)?;
    let descriptor = route.connector.descriptor();
    if let Some(slot) = slot.as_ref().filter(|slot| !descriptor.slots.contains_key(slot)) {
        let detail = format!("{} declares no slot `{slot}`", descriptor.name);
        let fault = Fault::new(Code::UnknownSlot, detail);
        return Err(fault.but_there_is(descriptor.slots.keys()).into());
    }
    let seen = address::seen(&api, &headers, &uri);
    let base_url = seen.origin() + &address::path(&installation);
    let said = [
        (SLOT_HEADER, slot.as_ref().map(Slot::as_str)),
        (USER_HEADER, user.as_ref().map(User::as_str)),
    ];
    let said =
        said.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.to_owned())));
    let headers = said.collect();
    let label = address::label(installation, slot, user);
    let host_url = seen.named(&label, &api.config.proxy.domain);
    json(&ProxyUrl { host_url, base_url, headers })
}

/// Whether the caller wants links as the provider wrote them.
fn raw(headers: &HeaderMap) -> Result<bool, Fault> {
    match headers.get(&LINKS).map(HeaderValue::as_bytes) {
        None => Ok(false),
        Some(b"raw") => Ok(true),
        Some(_) => {
            let detail = format!("`{LINKS_HEADER}` is `raw` or not there");
            Err(Fault::new(Code::InvalidRequest, detail))
        }
    }
}

/// A WebSocket (RFC 6455) is refused in words. Of any other protocol a server may take no notice (RFC 9110 section 7.8),
/// and clients that would like HTTP/2 rely on that.
fn refuse_websocket(headers: &HeaderMap) -> Result<(), Fault> {
    let wanted = headers.get_all(UPGRADE).iter().filter_map(|value| value.to_str().ok());
    let mut protocols = wanted.flat_map(|value| value.split(',')).map(str::trim);
    if protocols.any(|protocol| protocol.eq_ignore_ascii_case("websocket")) {
        let detail = "the proxy carries requests and their answers; it carries no WebSocket";
        return Err(Fault::new(Code::UpgradeRefused, detail));
    }
    Ok(())
}

/// What a header names.
fn named<T: std::str::FromStr>(headers: &HeaderMap, name: &HeaderName) -> Result<Option<T>, Fault> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let parsed = HeaderValue::to_str(value).ok().and_then(|text| text.parse().ok());
    parsed.map(Some).ok_or_else(|| {
        Fault::new(Code::InvalidRequest, format!("`{name}` does not name what it should"))
    })
}
