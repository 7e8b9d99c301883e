//! Makes of an upstream's response what the connector may see: decoded, without the fields of one hop,
//! without anything that carries a credential, and with the secret masked.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, Method, StatusCode};
use keyway_core::exchange::Response;

use crate::config::Limits;
use crate::decode;
use crate::reason::Stop;
use crate::request;
use crate::scrub::{Kind, Scrubber};
use crate::send::Raw;

/// Headers that a connector never sees: credentials and challenges, framing, the fields of one hop.
const WITHHELD: [HeaderName; 11] = [
    SET_COOKIE,
    WWW_AUTHENTICATE,
    AUTHORIZATION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    CONNECTION,
    TRANSFER_ENCODING,
    TE,
    TRAILER,
    UPGRADE,
    // Undone by then.
    CONTENT_ENCODING,
];

/// The same, for names that have no constant.
const WITHHELD_NAMES: [&str; 4] =
    ["set-cookie2", "keep-alive", "proxy-connection", "proxy-authentication-info"];

/// Decodes and scrubs: the headers of `echoes`, the body of `scrubber`. Says besides whether a secret was masked.
pub(crate) async fn respond(
    raw: Raw,
    method: &Method,
    (echoes, scrubber): (&Scrubber, &Scrubber),
    limits: &Limits,
) -> Result<(Response, bool), Stop> {
    let body = decode::decode(&raw.headers, raw.body, limits).await?;
    let mut headers = Vec::with_capacity(raw.headers.len());
    for (name, value) in &raw.headers {
        // The length as sent is not the length as handed on, except where nothing was sent.
        let stale = *name == CONTENT_LENGTH && *method != Method::HEAD;
        if stale || withheld(name) || echoes.finds_in_name(name) {
            continue;
        }
        let value: Cow<'_, str> = String::from_utf8_lossy(value.as_bytes());
        headers.push((name.as_str().to_owned(), echoes.text(value).into_owned()));
    }
    let clean = scrubber.clean(&body, Kind::of(&raw.headers, &body));
    let masked = clean.is_some() || !echoes.is_empty();
    let body = clean.unwrap_or(body);
    Ok((Response { status: raw.status.as_u16(), headers, body }, masked))
}

/// A response to the host itself, as far as it came: with what a connector would not see, too.
pub(crate) fn as_it_came(status: StatusCode, headers: &HeaderMap, body: Bytes) -> Response {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value)));
    Response { status: status.as_u16(), headers: headers.collect(), body }
}

/// The headers of a response that goes on undecoded: all but what carries a credential or is for one hop.
pub(crate) fn relayed(mut headers: HeaderMap, scrubber: &Scrubber) -> HeaderMap {
    let goes = |name: &HeaderName| {
        let coding = *name == CONTENT_ENCODING;
        // Ours are known by their names: a provider must not be able to speak for this host.
        let ours = name.as_str().starts_with("keyway-");
        ours || (withheld(name) && !coding) || scrubber.finds_in_name(name)
    };
    let going: Vec<HeaderName> = headers.keys().filter(|name| goes(name)).cloned().collect();
    for name in request::for_this_hop(&headers).iter().chain(&going) {
        headers.remove(name);
    }
    for value in headers.values_mut() {
        if let Some(masked) = scrubber.masked(value) {
            *value = masked;
        }
    }
    headers
}

fn withheld(name: &HeaderName) -> bool {
    WITHHELD.contains(name) || WITHHELD_NAMES.contains(&name.as_str())
}
