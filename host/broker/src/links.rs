//! Links to the provider, made to lead through the proxy: in headers, and in the members of JSON that a release names.
//!
//! A client of a provider follows `Link: rel="next"`, `Location`, or a `next_page` in a body, and sends its key along. Behind
//! the proxy that key is a token of this host, so the way has to lead back here. It does for every host that the release
//! declares: below the base URL as a path on the proxy, elsewhere by the path that names a host
//! ([`keyway_core::exchange::HOST_SEGMENT`]). A link to any other host is left alone. So is the text of a link but for what it
//! begins with; only where two readers could find two paths in it is it written anew, as browsers read it.
//!
//! The parameter that a slot's credential goes into is left out: providers repeat it in links, and a request that brings it
//! is refused.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_TYPE, HeaderName, HeaderValue, LINK,
    LOCATION,
};
use http::{HeaderMap, StatusCode};
use keyway_core::Descriptor;
use keyway_core::exchange::{HOST_SEGMENT, Origin};
use percent_encoding::percent_decode_str;
use url::{Position, Url};

use crate::decode;
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

const PORT: u16 = 443;

/// What says how long a body is, or what is in it, before links were changed.
const OF_THE_BODY: [&str; 4] = ["content-md5", "digest", "content-digest", "repr-digest"];

const UNCODED: HeaderValue = HeaderValue::from_static("identity");

/// Asks for a body in which links can be seen, where the release names members that hold some.
pub(crate) fn ask(wanted: bool, descriptor: &Descriptor, headers: &mut HeaderMap) {
    if wanted && !descriptor.link_members.is_empty() {
        headers.insert(ACCEPT_ENCODING, UNCODED);
    }
}

/// Makes the links of an answer lead to `prefix`, if there is one. What comes back does the same to its body. `own` is the
/// base URL of the connection, where it has one of its own.
pub(crate) fn lead(
    prefix: Option<Arc<str>>,
    origin: &Origin,
    own: Option<&str>,
    asked: &Target,
    (status, headers): (StatusCode, &mut HeaderMap),
) -> Option<Editor> {
    let descriptor = &origin.descriptor;
    // Most answers have none.
    let in_headers =
        [LINK, LOCATION, CONTENT_LOCATION].iter().any(|name| headers.contains_key(name));
    let prefix = prefix.filter(|_| in_headers || !descriptor.link_members.is_empty())?;
    let base_url = own.or(origin.base_url.as_deref()).or(descriptor.base_url.as_deref());
    let links = Links::new(prefix, Arc::clone(descriptor), base_url);
    links.lead_headers(headers, asked);
    links.editor(status, headers)
}

// === impl Links ===

impl Links {
    pub(crate) fn new(
        prefix: Arc<str>,
        descriptor: Arc<Descriptor>,
        base_url: Option<&str>,
    ) -> Self {
        let base = base_url.and_then(|url| {
            let Link { host, port, rest } = Link::read(url)?;
            let path = rest.trim_end_matches('/').to_owned();
            Some(Base { host: host.into_owned(), port, path })
        });
        Self { prefix, descriptor, base }
    }

    /// Makes the links in headers lead here. `asked` is what relative ones are relative to.
    pub(crate) fn lead_headers(&self, headers: &mut HeaderMap, asked: &Target) {
        for name in [LOCATION, CONTENT_LOCATION] {
            self.change(headers, &name, |value| self.lead_from(asked, value));
        }
        self.change(headers, &LINK, |value| self.lead_each(asked, value));
    }

    /// What makes the links in the body lead here, if there can be some: JSON as it is written, and whole. The headers then
    /// say no more how long it is.
    pub(crate) fn editor(self, status: StatusCode, headers: &mut HeaderMap) -> Option<Editor> {
        let whole =
            ![StatusCode::PARTIAL_CONTENT, StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED]
                .contains(&status);
        let named = !self.descriptor.link_members.is_empty();
        if !whole || !named || !json(headers) || decode::coded(headers) {
            return None;
        }
        headers.remove(CONTENT_LENGTH);
        for name in OF_THE_BODY {
            headers.remove(name);
        }
        Some(Editor::new(self))
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
    fn lead_from(&self, asked: &Target, link: &str) -> Option<String> {
        if absolute(link) {
            return self.lead(link);
        }
        self.lead(asked.url().join(link).ok()?.as_str())
    }

    /// The targets of a `Link` field (RFC 8288 section 3): what stands in angle brackets outside of quotes.
    fn lead_each(&self, asked: &Target, value: &str) -> Option<String> {
        let mut led = String::with_capacity(value.len());
        let (mut rest, mut quoted, mut changed) = (value, false, false);
        while let Some(at) = rest.find(['"', '\\', '<']) {
            let (before, from) = rest.split_at(at);
            led.push_str(before);
            let end = match from.as_bytes()[0] {
                b'\\' => from.char_indices().nth(2).map_or(from.len(), |(at, _)| at),
                b'<' if !quoted => from.find('>').unwrap_or(from.len()),
                mark => {
                    quoted ^= mark == b'"';
                    1
                }
            };
            let (piece, after) = from.split_at(end);
            match piece
                .strip_prefix('<')
                .filter(|_| !quoted)
                .and_then(|link| self.lead_from(asked, link))
            {
                Some(link) => {
                    changed = true;
                    led.push('<');
                    led.push_str(&link);
                }
                None => led.push_str(piece),
            }
            rest = after;
        }
        led.push_str(rest);
        changed.then_some(led)
    }

    fn change(
        &self,
        headers: &mut HeaderMap,
        name: &HeaderName,
        change: impl Fn(&str) -> Option<String>,
    ) {
        if !headers.contains_key(name) {
            return;
        }
        for (own, value) in headers.iter_mut().filter(|(own, _)| *own == name) {
            let text = std::str::from_utf8(value.as_bytes()).ok();
            let changed = text.and_then(&change).and_then(|text| HeaderValue::from_str(&text).ok());
            if let Some(changed) = changed {
                debug_assert_eq!(own, name);
                *value = changed;
            }
        }
    }
}

fn json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind.ends_with("json")
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
mod tests {
    use http::header::CONTENT_ENCODING;

    use super::*;

    const PROXY: &str = "http://127.0.0.1:8700/v1/x/proxy";

    fn links(base_url: &str) -> Links {
        let text = r#"{"format":1,"name":"a/b","version":"1.0.0",
            "hosts":["api.example.com","*.files.example.com","other.example.com:8443"],
            "link-members":["next_page"],"slots":{
                "key":{"scheme":{"kind":"api-key-query","name":"api_key"}},"token":{"scheme":{"kind":"bearer"}}}}"#;
        let descriptor = Arc::new(Descriptor::parse(text).unwrap());
        Links::new(PROXY.into(), descriptor, Some(base_url))
    }

    fn led(base_url: &str, link: &str) -> Option<String> {
        let led = links(base_url).lead(link)?;
        Some(led.strip_prefix(PROXY).expect("it leads to the proxy").to_owned())
    }

    #[test]
    fn links_below_the_base_are_paths_and_others_name_their_host() {
        let base = "https://api.example.com/v2/";
        for (link, expected) in [
            ("https://api.example.com/v2/items?page=2#x", "/items?page=2#x"),
            ("HTTPS://API.example.com:443/v2/items", "/items"),
            ("https://api.example.com./v2/items", "/items"),
            ("http://api.example.com/v2/items", "/items"),
            ("http://api.example.com:80/v2/items", "/items"),
            ("https://api.example.com/v2/", "/"),
            ("https://api.example.com/v2", "/keyway-host=api.example.com/v2"),
            ("https://api.example.com/v2?x", "/keyway-host=api.example.com/v2?x"),
            ("https://api.example.com/v22/x", "/keyway-host=api.example.com/v22/x"),
            ("https://api.example.com/other", "/keyway-host=api.example.com/other"),
            ("https://api.example.com", "/keyway-host=api.example.com"),
            ("https://api.example.com/v2//x", "/keyway-host=api.example.com/v2//x"),
            (
                "https://api.example.com/v2/keyway-host=evil/x",
                "/keyway-host=api.example.com/v2/keyway-host=evil/x",
            ),
            ("https://eu.files.example.com/f", "/keyway-host=eu.files.example.com/f"),
            ("https://other.example.com:8443/f", "/keyway-host=other.example.com:8443/f"),
            // A template, as some providers write them, stays one.
            ("https://api.example.com/v2/assets{?name,label}", "/assets{?name,label}"),
        ] {
            assert_eq!(led(base, link).as_deref(), Some(expected), "{link}");
        }
        for (link, expected) in [
            ("https://api.example.com", "/"),
            ("https://api.example.com?page=2", "/?page=2"),
            ("https://api.example.com/a", "/a"),
        ] {
            assert_eq!(led("https://api.example.com", link).as_deref(), Some(expected), "{link}");
        }
    }

    /// Catches a link that climbs out of the proxy and into the API, with the caller's token.
    #[test]
    fn no_link_climbs_out_of_the_proxy() {
        let base = "https://api.example.com";
        for link in [
            "https://api.example.com/../../pin",
            "https://api.example.com/a/../../../pin",
            "https://api.example.com/%2e%2E/%2e./pin",
            "https://api.example.com/\\..\\../pin",
            "https://api.example.com\\..\\../pin",
            "https:api.example.com/../pin",
            "https:/\\api.example.com/../pin",
            "https://api.example.com/./pin",
            " https://api.example.com/\t../p\nin",
        ] {
            assert_eq!(led(base, link).as_deref(), Some("/pin"), "{link:?}");
        }
        assert_eq!(
            led(base, "https://api.example.com/a..b/.c?x=../..").as_deref(),
            Some("/a..b/.c?x=../..")
        );
    }

    #[test]
    fn links_elsewhere_are_left_alone() {
        for link in [
            "https://evil.example/x",
            "https://api.example.com.evil.example/x",
            "https://api.example.com@evil.example/x",
            "https://evil.example/api.example.com",
            "https://user@api.example.com/x",
            "https://api.example.com:8443/x",
            "https://a.b.files.example.com/x",
            "ftp://api.example.com/x",
            "//api.example.com/x",
            "/v2/items",
            "mailto:a@api.example.com",
            "https://",
            "",
            "not a link: https://api.example.com/x",
        ] {
            assert_eq!(led("https://api.example.com", link), None, "{link}");
        }
    }

    #[test]
    fn a_credential_that_a_provider_repeats_in_a_link_is_left_out() {
        let base = "https://api.example.com";
        for (query, expected) in [
            ("?a=1&api_key=*****&b=2", "?a=1&b=2"),
            ("?API_KEY=x#y", "#y"),
            ("?api%5Fkey=x&a=%2f+x", "?a=%2f+x"),
            ("?access_token=x&after=7", "?after=7"),
            ("?api_keys=x", "?api_keys=x"),
        ] {
            let led = led(base, &format!("{base}/x{query}")).unwrap();
            assert_eq!(led, format!("/x{expected}"), "{query}");
        }
    }

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let parse = |(name, value): &(HeaderName, &str)| (name.clone(), value.parse().unwrap());
        pairs.iter().map(parse).collect()
    }

    #[test]
    fn headers_lead_here_whether_absolute_or_relative() {
        let asked = Target::parse("https://api.example.com/v2/items/7?page=1", 8 << 10).unwrap();
        let lead = |name: HeaderName, value: &str| {
            let mut headers = headers(&[(name.clone(), value)]);
            links("https://api.example.com/v2").lead_headers(&mut headers, &asked);
            headers[name].to_str().unwrap().replace(PROXY, "PROXY")
        };
        for (value, expected) in [
            ("https://api.example.com/v2/items/8", "PROXY/items/8"),
            ("/v2/items/8", "PROXY/items/8"),
            ("8", "PROXY/items/8"),
            ("?page=2", "PROXY/items/7?page=2"),
            ("../../login", "PROXY/keyway-host=api.example.com/login"),
            ("//eu.files.example.com/f", "PROXY/keyway-host=eu.files.example.com/f"),
            ("https://bucket.example/f?sig=%2f+", "https://bucket.example/f?sig=%2f+"),
            ("//evil.example/x", "//evil.example/x"),
        ] {
            assert_eq!(lead(LOCATION, value), expected, "{value}");
            assert_eq!(lead(CONTENT_LOCATION, value), expected, "{value}");
        }
        for (value, expected) in [
            (
                r#"<https://api.example.com/v2/items?page=2>; rel="next", <https://api.example.com/v2/items?page=9>; rel="last""#,
                r#"<PROXY/items?page=2>; rel="next", <PROXY/items?page=9>; rel="last""#,
            ),
            (r#"</v2/items?page=2>;rel=next"#, r#"<PROXY/items?page=2>;rel=next"#),
            (
                r#"<https://evil.example/a,b>; title="<https://api.example.com/v2/x>\"<y>", <https://api.example.com/v2/z>"#,
                r#"<https://evil.example/a,b>; title="<https://api.example.com/v2/x>\"<y>", <PROXY/z>"#,
            ),
            ("<https://api.example.com/v2/open", "<PROXY/open"),
            ("no link at all", "no link at all"),
        ] {
            assert_eq!(lead(LINK, value), expected, "{value}");
        }
    }

    #[test]
    fn only_json_that_can_be_seen_whole_is_edited() {
        let edited = |status: u16, kind: &str, coding: &str| {
            let mut headers = headers(&[
                (CONTENT_TYPE, kind),
                (CONTENT_ENCODING, coding),
                (CONTENT_LENGTH, "5"),
                (HeaderName::from_static("content-md5"), "x"),
            ]);
            let status = StatusCode::from_u16(status).unwrap();
            let edited = links("https://api.example.com").editor(status, &mut headers).is_some();
            assert_eq!(headers.contains_key(CONTENT_LENGTH), !edited, "a length of what?");
            assert_eq!(headers.contains_key("content-md5"), !edited);
            edited
        };
        for kind in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/hal+json",
            "application/x-ndjson",
        ] {
            assert!(edited(200, kind, "identity"), "{kind}");
        }
        assert!(edited(404, "application/json", "identity"));
        for nothing in ["utf-8", "none", "", "aws-chunked"] {
            assert!(edited(200, "application/json", nothing), "{nothing:?} is no coding");
        }
        for (status, kind, coding) in [
            (206, "application/json", "identity"),
            (304, "application/json", "identity"),
            (200, "text/csv", "identity"),
            (200, "application/octet-stream", "identity"),
            (200, "application/json", "gzip"),
        ] {
            assert!(!edited(status, kind, coding), "{status} {kind} {coding}");
        }
    }
}
