//! The proxy: a caller's request goes to the provider as it is, and the answer comes back as it is.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{HeaderName, HeaderValue};
use axum::response::Response;
use http_body_util::BodyExt as _;
use keyway_core::descriptor::HostPattern;
use keyway_core::exchange::Relayed;
use keyway_core::ids::Slot;
use keyway_core::ports::RelayCall;
use keyway_core::{Code, Fault};

use super::Answer;
use super::calls::{pace, timeout, user};
use crate::api::Host;
use crate::contract::{HOST_HEADER, SLOT_HEADER};
use crate::place::{At, Names};
use crate::problem::{Refusal, Trace};

static HOST: HeaderName = HeaderName::from_static(HOST_HEADER);
static SLOT: HeaderName = HeaderName::from_static(SLOT_HEADER);

pub(crate) async fn relay(
    State(api): State<Host>,
    At(installation): At,
    names: Names,
    request: Request,
) -> Answer {
    let (head, body) = request.into_parts();
    // As it was written: decoding and encoding it again could make another path of it.
    let Some(path) = names.rest("path") else {
        return Err(Fault::new(Code::NoSuchEndpoint, "the path names nothing to ask for").into());
    };
    let url = match other_host(&head.headers)? {
        None => path.to_owned(),
        Some(host) => format!("https://{host}{path}"),
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
fn other_host(headers: &axum::http::HeaderMap) -> Result<Option<String>, Fault> {
    let Some(text) = named::<String>(headers, &HOST)? else { return Ok(None) };
    match HostPattern::try_from(text.to_ascii_lowercase()) {
        Ok(host) if !host.wildcard => Ok(Some(host.to_string())),
        _ => Err(Fault::new(
            Code::InvalidRequest,
            format!("`{HOST}` is no host, with or without a port"),
        )),
    }
}

/// What a header names.
fn named<T: std::str::FromStr>(
    headers: &axum::http::HeaderMap,
    name: &HeaderName,
) -> Result<Option<T>, Fault> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let parsed = HeaderValue::to_str(value).ok().and_then(|text| text.parse().ok());
    parsed.map(Some).ok_or_else(|| {
        Fault::new(Code::InvalidRequest, format!("`{name}` does not name what it should"))
    })
}
