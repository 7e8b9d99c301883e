//! Links to the provider, made to lead through the proxy: in headers that everybody knows or a release names, and in the
//! members of JSON that a release names.
//!
//! A client of a provider follows `Link: rel="next"`, `Location`, or a `next_page` in a body, and sends its key along. Behind
//! the proxy that key is a token of this host, so the way has to lead back here. It does for every host that the release
//! declares: below the base URL as a path on the proxy, elsewhere by the path that names a host
//! ([`keyway_core::exchange::HOST_SEGMENT`]). A link to any other host is left alone. So is the text of a link but for what it
//! begins with; only where two readers could find two paths in it is it written anew, as browsers read it.
//!
//! The parameter that a slot's credential goes into is left out: providers repeat it in links, and a request that brings it
//! is refused.

mod fields;

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE, ETAG,
    HeaderName, HeaderValue, LINK, LOCATION, REFRESH,
};
use http::{HeaderMap, StatusCode};
use keyway_core::Descriptor;
use keyway_core::descriptor::LinkHeader;
use keyway_core::exchange::{HOST_SEGMENT, Origin};
use percent_encoding::percent_decode_str;
use url::{Position, Url};

use crate::config::Limits;
use crate::decode::{self, Inflate};
use crate::document::{Document, Label};
use crate::members::Editor;
use crate::request;
use crate::target::Target;

/// Where links lead.
#[derive(Clone)]
pub(crate) struct Links {
    /// What a path on the base URL is appended to.
    prefix: Arc<str>,
    descriptor: Arc<Descriptor>,
    /// The base URL of the connection. None without one: then every link names its host.
    base: Option<Base>,
    /// What relative links are relative to.
    asked: Url,
}

/// What is done to a body.
pub(crate) struct Editing {
    pub(crate) editor: Editor,
    /// First, where it is compressed although that was not asked for.
    pub(crate) inflate: Option<Inflate>,
}

/// A base URL.
#[derive(Clone)]
struct Base {
    host: String,
    port: u16,
    /// Without a slash at its end.
    path: String,
}

/// A link to a host.
struct Link<'l> {
    host: Cow<'l, str>,
    port: u16,
    /// Path, query and fragment.
    rest: Cow<'l, str>,
}

/// How a header is read that holds links.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// All of it is a reference, relative to what was asked for (RFC 9110 sections 8.7 and 10.2.2).
    Reference,
    /// A list of links with parameters (RFC 8288 section 3).
    Links,
    /// A link stands behind a time, as browsers read `refresh`.
    Refresh,
    /// All of it is a link, or it has the form of `Link`. Nobody says what something relative in it is relative to, so it is
    /// read as members of JSON are.
    Link,
}

const PORT: u16 = 443;

/// Headers that hold a link whoever the provider is: long-running operations and uploads that can be resumed, as several
/// providers have them.
static KNOWN: [HeaderName; 3] = [
    HeaderName::from_static("operation-location"),
    HeaderName::from_static("azure-asyncoperation"),
    HeaderName::from_static("x-goog-upload-url"),
];

/// What says how long a body is, or what is in it, before links were changed.
const OF_THE_BODY: [&str; 4] = ["content-md5", "digest", "content-digest", "repr-digest"];

const UNCODED: HeaderValue = HeaderValue::from_static("identity");

/// Asks for a body in which links can be seen, where the release names members that hold some.
pub(crate) fn ask(wanted: bool, descriptor: &Descriptor, headers: &mut HeaderMap) {
    if wanted && !descriptor.link_members.is_empty() {
        headers.insert(ACCEPT_ENCODING, UNCODED);
    }
}

/// Whether the first bytes of a body have to be there to know whether links in it are led here: its label does not say
/// that it is JSON, and once its head is out nothing of that can be changed.
pub(crate) fn peeks(
    wanted: bool,
    descriptor: &Descriptor,
    (status, headers): (StatusCode, &HeaderMap),
) -> bool {
    wanted
        && !descriptor.link_members.is_empty()
        && whole(status, headers)
        && sized(headers)
        && Label::of(headers) == Label::Perhaps
}

/// Makes the links of an answer lead to `prefix`, if there is one. What comes back does the same to its body, of which
/// these bytes have come. `own` is the base URL of the connection, where it has one of its own.
pub(crate) fn lead(
    prefix: Option<Arc<str>>,
    origin: &Origin,
    own: Option<&str>,
    asked: &Target,
    (status, headers, begun): (StatusCode, &mut HeaderMap, &[u8]),
    limits: &Limits,
) -> Option<Editing> {
    let descriptor = &origin.descriptor;
    // Most answers have none.
    let in_headers = headers.keys().any(|name| reading(descriptor, name).is_some());
    let prefix = prefix.filter(|_| in_headers || !descriptor.link_members.is_empty())?;
    let base_url = own.or(origin.base_url.as_deref()).or(descriptor.base_url.as_deref());
    let links = Links::new(prefix, Arc::clone(descriptor), base_url, asked.url());
    links.lead_headers(headers);
    links.editing((status, headers, begun), limits)
}

/// How a header of this name is read, if it holds links.
fn reading(descriptor: &Descriptor, name: &HeaderName) -> Option<Reading> {
    match name {
        name if *name == LOCATION || *name == CONTENT_LOCATION => Some(Reading::Reference),
        name if *name == LINK => Some(Reading::Links),
        name if *name == REFRESH => Some(Reading::Refresh),
        name => {
            let declared = descriptor.link_headers.iter().any(|LinkHeader(own)| own == name);
            (declared || KNOWN.contains(name)).then_some(Reading::Link)
        }
    }
}

/// Whether an answer of this status has all of a body, if it has one. A 206 that counts in bytes has a piece of it. One that
/// counts in another unit (RFC 9110 section 14.1), or does not say what it counts in, is a page of a list: all of a document.
fn whole(status: StatusCode, headers: &HeaderMap) -> bool {
    match status {
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => false,
        StatusCode::PARTIAL_CONTENT => !headers.get_all(CONTENT_RANGE).iter().any(of_bytes),
        _ => true,
    }
}

/// Whether a range is one of bytes. The case of a unit does not matter.
fn of_bytes(range: &HeaderValue) -> bool {
    let range = range.as_bytes().trim_ascii_start();
    let unit = range.split(|byte| !byte.is_ascii_alphanumeric() && !b"-_".contains(byte)).next();
    unit.is_some_and(|unit| unit.eq_ignore_ascii_case(b"bytes"))
}

/// Whether its head says how long a body is, and nobody will decode it.
fn sized(headers: &HeaderMap) -> bool {
    headers.contains_key(CONTENT_LENGTH) && !decode::coded(headers)
}

/// A body that is no longer what its head says: its length, its digests, and the bytes that its tag stands for where they
/// were others.
fn say_changed(headers: &mut HeaderMap, decoded: bool) {
    headers.remove(CONTENT_LENGTH);
    for name in OF_THE_BODY {
        headers.remove(name);
    }
    if !decoded {
        return;
    }
    headers.remove(CONTENT_ENCODING);
    let weak = headers.get(ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/"));
    let weak = weak.map(|tag| [b"W/", tag.as_bytes()].concat());
    if let Some(Ok(tag)) = weak.map(|tag| HeaderValue::from_bytes(&tag)) {
        headers.insert(ETAG, tag);
    }
}

// === impl Links ===

impl Links {
    pub(crate) fn new(
        prefix: Arc<str>,
        descriptor: Arc<Descriptor>,
        base_url: Option<&str>,
        asked: &Url,
    ) -> Self {
        let base = base_url.and_then(|url| {
            let Link { host, port, rest } = Link::read(url)?;
            let path = rest.trim_end_matches('/').to_owned();
            Some(Base { host: host.into_owned(), port, path })
        });
        Self { prefix, descriptor, base, asked: asked.clone() }
    }

    /// Makes the links in headers lead here.
    pub(crate) fn lead_headers(&self, headers: &mut HeaderMap) {
        let from = |link: &str| self.lead_from(link);
        let member = |link: &str| self.lead_member(link);
        for (name, value) in headers.iter_mut() {
            let led = match reading(&self.descriptor, name) {
                None => None,
                Some(Reading::Reference) => fields::whole(value, from),
                Some(Reading::Links) => fields::each(value, from),
                Some(Reading::Refresh) => fields::behind_time(value, member),
                Some(Reading::Link) => {
                    fields::each(value, member).or_else(|| fields::whole(value, member))
                }
            };
            if let Some(led) = led {
                *value = led;
            }
        }
    }

    /// What makes the links in the body lead here, if there can be some: JSON, whole, and as it is written or in a coding
    /// that can be undone. The headers then say no more what is true no more.
    pub(crate) fn editing(
        self,
        (status, headers, begun): (StatusCode, &mut HeaderMap, &[u8]),
        limits: &Limits,
    ) -> Option<Editing> {
        if !whole(status, headers) || self.descriptor.link_members.is_empty() {
            return None;
        }
        let label = Label::of(headers);
        let mut document = Document::default();
        document.read(begun);
        let known = label == Label::Json || sized(headers);
        let json = match label {
            Label::Json => true,
            Label::Perhaps => !known || document.is_none() == Some(false),
            Label::Other => false,
        };
        if !json {
            return None;
        }
        let inflate = match decode::coded(headers) {
            true => Some(Inflate::of(headers, limits)?),
            false => None,
        };
        say_changed(headers, inflate.is_some());
        Some(Editing { editor: Editor::new(self, known), inflate })
    }

    /// The members that hold links.
    pub(crate) fn members(&self) -> &[keyway_core::descriptor::LinkMember] {
        &self.descriptor.link_members
    }

    /// An absolute link, if it is to lead here.
    pub(crate) fn lead(&self, link: &str) -> Option<String> {
        let Link { host, port, rest } = Link::read(link)?;
        if !self.descriptor.admits_host(&host, port) {
            return None;
        }
        let rest = self.without_credential(&rest);
        let prefix = &self.prefix;
        if let Some(below) = self.below_base(&host, port, &rest) {
            return Some(format!("{prefix}{below}"));
        }
        let port = if port == PORT { String::new() } else { format!(":{port}") };
        Some(format!("{prefix}{HOST_SEGMENT}{host}{port}{rest}"))
    }

    /// The same on the base URL, where joining it to that says exactly this.
    fn below_base<'r>(&self, host: &str, port: u16, rest: &'r str) -> Option<Cow<'r, str>> {
        let base = self.base.as_ref().filter(|base| base.host == host && base.port == port)?;
        let below = rest.strip_prefix(&*base.path)?;
        let path = below.starts_with('/') && !below.starts_with("//");
        if path && !below.starts_with(HOST_SEGMENT) {
            return Some(Cow::Borrowed(below));
        }
        // Without a path it is the root.
        let root = base.path.is_empty() && (below.is_empty() || below.starts_with(['?', '#']));
        root.then(|| Cow::Owned(format!("/{below}")))
    }

    fn without_credential<'r>(&self, rest: &'r str) -> Cow<'r, str> {
        let (before, fragment) = rest.split_at(rest.find('#').unwrap_or(rest.len()));
        let Some((path, query)) = before.split_once('?') else { return Cow::Borrowed(rest) };
        let taken = |pair: &&str| {
            let name = pair.split('=').next().unwrap_or_default().replace('+', " ");
            let name = percent_decode_str(&name).decode_utf8_lossy();
            request::taken(&self.descriptor, &name)
        };
        if !query.split('&').any(|pair| taken(&pair)) {
            return Cow::Borrowed(rest);
        }
        let kept: Vec<&str> = query.split('&').filter(|pair| !taken(pair)).collect();
        let mark = if kept.is_empty() { "" } else { "?" };
        Cow::Owned(format!("{path}{mark}{}{fragment}", kept.join("&")))
    }

    /// A link as it stands in a header: absolute, or relative to what was asked for.
    fn lead_from(&self, link: &str) -> Option<String> {
        if absolute(link) {
            return self.lead(link);
        }
        self.lead(self.asked.join(link).ok()?.as_str())
    }

    /// A link as it stands in a member of JSON. What is relative there stays relative: clients that know of it put it behind
    /// their base URL, or read it as browsers do. A word that names no path, such as the number of a page, is none.
    pub(crate) fn lead_member(&self, link: &str) -> Option<String> {
        if absolute(link) {
            return self.lead(link);
        }
        let begins = |mark: &str| link.trim_start().starts_with(mark);
        if !["/", "\\", "./", "../"].into_iter().any(begins) {
            return None;
        }
        let led = self.lead_from(link)?;
        let here = Url::parse(&self.lead(self.asked.as_str())?).ok()?;
        let there = Url::parse(&led).ok()?;
        // It leads there by itself, as it does where the base URL has no path.
        if here.join(link).is_ok_and(|by_itself| by_itself == there) {
            return None;
        }
        match is_path(link) && here.origin() == there.origin() {
            true => Some(there[Position::BeforePath..].to_owned()),
            false => Some(led),
        }
    }
}

/// Whether a relative link is a path from the root, and names no host.
fn is_path(link: &str) -> bool {
    let mut begin = link.trim_start().bytes();
    begin.next() == Some(b'/') && !matches!(begin.next(), Some(b'/' | b'\\'))
}

/// Whether it says a scheme of the web.
fn absolute(link: &str) -> bool {
    let link = link.trim_start();
    let begins =
        |scheme: &str| link.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme));
    begins("https:") || begins("http:")
}

// === impl Link ===

impl<'l> Link<'l> {
    /// Reads an absolute link. One without TLS is read as if it had it: it leads to the same provider, and the proxy asks it
    /// by TLS.
    fn read(link: &'l str) -> Option<Self> {
        if !absolute(link) {
            return None;
        }
        Self::written(link).or_else(|| Self::parsed(link))
    }

    /// As it is written, if everybody reads it in the same way.
    fn written(link: &'l str) -> Option<Self> {
        let (scheme, rest) = link.split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b':');
        let graphic = |b: u8| b.is_ascii_graphic() && b != b'\\';
        if !authority.bytes().all(plain) || !rest.bytes().all(graphic) || climbs(rest) {
            return None;
        }
        let (name, port) = match authority.split_once(':') {
            None => (authority, None),
            Some((name, port)) => (name, Some(port.parse().ok()?)),
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        let host = match name.bytes().any(|b| b.is_ascii_uppercase()) {
            true => Cow::Owned(name.to_ascii_lowercase()),
            false => Cow::Borrowed(name),
        };
        let port = with_tls(scheme, port);
        Some(Self { host, port, rest: Cow::Borrowed(rest) })
    }

    /// As browsers read it.
    fn parsed(link: &str) -> Option<Self> {
        let url = Url::parse(link).ok()?;
        if !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        let host = url.host_str()?;
        let host = host.strip_suffix('.').unwrap_or(host).to_owned();
        let port = with_tls(url.scheme(), url.port());
        Some(Self {
            host: Cow::Owned(host),
            port,
            rest: Cow::Owned(url[Position::BeforePath..].to_owned()),
        })
    }
}

/// The port by TLS.
fn with_tls(scheme: &str, port: Option<u16>) -> u16 {
    match port {
        None => PORT,
        Some(80) if scheme.eq_ignore_ascii_case("http") => PORT,
        Some(port) => port,
    }
}

/// Whether a path has steps that lead up or nowhere, in any spelling.
fn climbs(rest: &str) -> bool {
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let step = |segment: &str| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        plain == "." || plain == ".."
    };
    path.split('/').any(|segment| segment.len() <= 6 && !segment.is_empty() && step(segment))
}

#[cfg(test)]
mod tests;
