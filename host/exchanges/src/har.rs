//! Exchanges as an HTTP Archive, HAR 1.2: what browsers' developer tools and their like open.
//!
//! Only the fields that the format asks for, and those that are known here. What is Keyway's own is in `_keyway`:
//! the format leaves names that begin with an underscore to whoever writes the file. Cookies are not taken
//! apart: they are in the headers, redacted like all of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::Url;

use crate::kept::{Kept, Position};

/// Media type of the format: not registered, but what tools use.
pub const MEDIA_TYPE: &str = "application/har+json";

/// Stands for a host that is not known.
const NOWHERE: &str = "https://unknown.invalid/";

/// What the format calls a size, or a time, that is not known.
const UNKNOWN: i64 = -1;

/// An archive.
#[derive(Debug, Serialize)]
pub struct Har {
    log: Log,
}

#[derive(Debug, Serialize)]
struct Log {
    version: &'static str,
    creator: Creator,
    entries: Vec<Entry>,
    #[serde(rename = "_keyway")]
    keyway: More,
}

#[derive(Debug, Serialize)]
struct Creator {
    name: &'static str,
    version: &'static str,
}

/// Keyway's own, of the archive.
#[derive(Debug, Serialize)]
struct More {
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    started_date_time: String,
    time: f64,
    request: Request,
    response: Response,
    cache: Cache,
    timings: Timings,
    #[serde(rename = "_keyway")]
    keyway: Own,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    method: String,
    url: String,
    http_version: &'static str,
    cookies: [(); 0],
    headers: Vec<Pair>,
    query_string: Vec<Pair>,
    #[serde(skip_serializing_if = "Option::is_none")]
    post_data: Option<PostData>,
    headers_size: i64,
    body_size: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PostData {
    mime_type: String,
    text: String,
    /// The format has no field for it here, as it has for responses.
    #[serde(rename = "_encoding", skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    status: u16,
    status_text: &'static str,
    http_version: &'static str,
    cookies: [(); 0],
    headers: Vec<Pair>,
    content: Content,
    #[serde(rename = "redirectURL")]
    redirect_url: String,
    headers_size: i64,
    body_size: i64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    size: u64,
    mime_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Pair {
    name: String,
    value: String,
}

/// Nothing is cached here.
#[derive(Debug, Serialize)]
struct Cache {}

/// In milliseconds.
#[derive(Debug, Serialize)]
struct Timings {
    blocked: f64,
    dns: i64,
    connect: f64,
    ssl: i64,
    send: f64,
    wait: f64,
    receive: f64,
}

/// Keyway's own, of an exchange.
#[derive(Debug, Serialize)]
struct Own {
    id: u64,
    purpose: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connector: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slot: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<String>,
}

/// The exchanges as an archive, oldest first, as the format prefers. `next` is noted for whoever wants more.
pub fn har(mut exchanges: Vec<Kept>, next: Option<Position>) -> Har {
    exchanges.sort_by_key(|kept| kept.id);
    Har {
        log: Log {
            version: "1.2",
            creator: Creator { name: "Keyway", version: env!("CARGO_PKG_VERSION") },
            entries: exchanges.into_iter().map(entry).collect(),
            keyway: More { next: next.map(|next| next.0) },
        },
    }
}

fn entry(kept: Kept) -> Entry {
    let keyway = own(&kept);
    let timings = timings(&kept);
    Entry {
        started_date_time: started(kept.at),
        time: timings.total(),
        request: request(&kept),
        response: response(kept),
        cache: Cache {},
        timings,
        keyway,
    }
}

fn started(at: OffsetDateTime) -> String {
    // It was written in this form, so it can be again.
    at.format(&Rfc3339).unwrap_or_default()
}

fn request(kept: &Kept) -> Request {
    let url = absolute(&kept.url);
    let query = url.query_pairs().map(Pair::from).collect();
    let post_data = kept.request_body.as_deref().map(|body| {
        let (text, encoding) = text(body);
        PostData { mime_type: mime_type(&kept.request_headers), text, encoding }
    });
    Request {
        method: kept.method.clone(),
        url: shown(&kept.url, &url),
        http_version: "unknown",
        cookies: [],
        headers: pairs(&kept.request_headers),
        query_string: query,
        post_data,
        headers_size: UNKNOWN,
        body_size: kept.request_bytes,
    }
}

/// A URL that says which host it is of. `localhost:8080/x` says none: by the rules, `localhost` is its scheme.
fn whole(url: &str) -> Option<Url> {
    Url::parse(url).ok().filter(Url::has_host)
}

/// The URL as the format wants it: absolute. What was refused before anybody knew where it leads has only a path, or
/// nothing; a name that leads nowhere (RFC 2606 section 2) stands for the host.
fn absolute(url: &str) -> Url {
    whole(url).unwrap_or_else(|| {
        let mut nowhere = Url::parse(NOWHERE).expect("a URL of our own");
        let (path, query) =
            url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
        nowhere.set_path(path);
        nowhere.set_query(query);
        nowhere
    })
}

/// As it was written where it was absolute; without a fragment, as the format has it.
fn shown(written: &str, absolute: &Url) -> String {
    let shown = if whole(written).is_some() { written } else { absolute.as_str() };
    shown.split('#').next().unwrap_or_default().to_owned()
}

fn response(kept: Kept) -> Response {
    let status = kept.status.unwrap_or_default();
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let location = header(&kept.response_headers, "location").unwrap_or_default().to_owned();
    let body = kept.response_body.as_deref().map(text);
    let (text, encoding) = body.map_or((None, None), |(text, encoding)| (Some(text), encoding));
    let bytes = i64::try_from(kept.response_bytes).unwrap_or(i64::MAX);
    Response {
        status,
        status_text: reason.unwrap_or_default(),
        http_version: "unknown",
        cookies: [],
        headers: pairs(&kept.response_headers),
        content: Content {
            size: kept.response_body.map_or(kept.response_bytes, |body| body.len() as u64),
            mime_type: mime_type(&kept.response_headers),
            text,
            encoding,
        },
        redirect_url: location,
        headers_size: UNKNOWN,
        body_size: kept.status.map_or(UNKNOWN, |_| bytes),
    }
}

fn timings(kept: &Kept) -> Timings {
    let keyway_core::exchange::Timings { waited, connected, first_byte, total } = kept.timings;
    let millis = |time: std::time::Duration| time.as_secs_f64() * 1_000.0;
    let rest = total.saturating_sub(waited).saturating_sub(connected).saturating_sub(first_byte);
    Timings {
        blocked: millis(waited),
        dns: UNKNOWN,
        // Over a connection that was kept there was nothing to connect.
        connect: if connected.is_zero() { -1.0 } else { millis(connected) },
        ssl: UNKNOWN,
        // In the time until the first byte.
        send: 0.0,
        wait: millis(first_byte),
        receive: millis(rest),
    }
}

fn own(kept: &Kept) -> Own {
    let installation = kept.installation.as_ref();
    Own {
        id: kept.id.0,
        purpose: kept.purpose.clone(),
        call: kept.call.map(|call| call.to_string()),
        environment: kept.environment.as_ref().map(ToString::to_string),
        tenant: installation.map(|of| of.tenant.to_string()),
        connector: installation.map(|of| of.connector.to_string()),
        user: kept.user.as_ref().map(ToString::to_string),
        release: kept.release.as_ref().map(ToString::to_string),
        digest: kept.release.as_ref().map(|release| release.digest.to_string()),
        slot: kept.slot.as_ref().map(ToString::to_string),
        stopped: kept.stopped.clone(),
    }
}

/// A body as text, and how it was made text.
fn text(body: &[u8]) -> (String, Option<&'static str>) {
    match std::str::from_utf8(body) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (STANDARD.encode(body), Some("base64")),
    }
}

fn mime_type(headers: &[(String, String)]) -> String {
    header(headers, "content-type").unwrap_or("application/octet-stream").to_owned()
}

fn header<'a>(headers: &'a [(String, String)], wanted: &str) -> Option<&'a str> {
    let mut found = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
    found.next().map(|(_, value)| value.as_str())
}

fn pairs(headers: &[(String, String)]) -> Vec<Pair> {
    headers.iter().map(|(name, value)| Pair { name: name.clone(), value: value.clone() }).collect()
}

// === impl Pair ===

impl<T: AsRef<str>, U: AsRef<str>> From<(T, U)> for Pair {
    fn from((name, value): (T, U)) -> Self {
        Self { name: name.as_ref().to_owned(), value: value.as_ref().to_owned() }
    }
}

// === impl Timings ===

impl Timings {
    /// All that is known, together: what the format calls the time of an entry.
    fn total(&self) -> f64 {
        self.blocked + self.connect.max(0.0) + self.send + self.wait + self.receive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_url_says_which_host_it_is_of() {
        for (written, expected) in [
            ("https://api.example.com", "https://api.example.com"),
            ("https://api.example.com:8443/x?a=1#f", "https://api.example.com:8443/x?a=1"),
            ("http://[::1]:8080/x", "http://[::1]:8080/x"),
            ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
            ("", "https://unknown.invalid/"),
            ("/x?a=1", "https://unknown.invalid/x?a=1"),
            ("?a=1", "https://unknown.invalid/?a=1"),
            ("localhost:8080/x", "https://unknown.invalid/localhost:8080/x"),
            ("api.example.com:8443/x", "https://unknown.invalid/api.example.com:8443/x"),
            ("mailto:ann@example.com", "https://unknown.invalid/mailto:ann@example.com"),
        ] {
            let shown = shown(written, &absolute(written));
            assert_eq!(shown, expected, "{written}");
            assert!(Url::parse(&shown).is_ok_and(|url| url.has_host()), "{written}");
        }
    }
}
