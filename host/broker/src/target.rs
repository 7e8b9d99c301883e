//! Reads a URL once, into a destination that everything later uses.
//!
//! Two parsers read the text. They were written apart, so where they agree on scheme, host and port, a
//! spelling trick has not worked; where they differ the request is refused. Whether the destination is
//! allowed is not decided here.

use std::borrow::Cow;
use std::sync::Arc;

use http::Uri;
use http::uri::PathAndQuery;
use url::{Host, Position, Url};

use crate::climb::climbs;
use crate::reason::{Reason, Stop};

/// The scheme there is.
const SCHEME: &str = "https";
const PORT: u16 = 443;

/// Where a request goes.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Lower-case ASCII without a trailing dot.
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
    /// Parsed, without a fragment, host as above.
    url: Url,
    /// The query as it was written, where `url` spells it in another way: a provider may have signed it.
    query: Option<Box<str>>,
}

/// Whether it is a path, which is joined to a base URL.
pub(crate) fn is_path(url: &str) -> bool {
    url.starts_with('/')
}

/// What a path is appended to.
pub(crate) fn base<'b>(path: &str, base_url: Option<&'b str>) -> Result<&'b str, Stop> {
    // `//host/path` names another host; as a path it is nothing a connector needs.
    if path.starts_with("//") {
        return Err(malformed("url begins with two slashes"));
    }
    if climbs(path) {
        return Err(malformed("url climbs above the base url"));
    }
    let base_url = base_url.ok_or_else(|| {
        Stop::new(Reason::BaseUrlMissing, "url is a path, and the connection has no base url")
    })?;
    Ok(base_url.trim_end_matches('/'))
}

// === impl Target ===

impl Target {
    /// Reads an absolute URL.
    pub(crate) fn parse(text: &str, bytes_max: usize) -> Result<Self, Stop> {
        if text.len() > bytes_max {
            return Err(Stop::new(Reason::UrlTooLong, format!("url is over {bytes_max} bytes")));
        }
        check_characters(text)?;
        let mut url = Url::parse(text).map_err(|_| malformed("url cannot be parsed"))?;
        if url.scheme() != SCHEME {
            return Err(Stop::new(Reason::SchemeRefused, "url scheme is not https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Stop::new(Reason::UserinfoRefused, "url carries a user"));
        }
        agree(text, &url)?;
        url.set_fragment(None);
        let name = match url.host() {
            Some(Host::Domain(name)) => name.strip_suffix('.').unwrap_or(name),
            // The policy has no pattern for an address: say so as what it is.
            Some(Host::Ipv4(_) | Host::Ipv6(_)) => {
                return Err(Stop::new(Reason::UndeclaredHost, "url names an address, not a host"));
            }
            None => return Err(malformed("url has no host")),
        };
        if !dns_name(name) {
            return Err(malformed("url has no usable host"));
        }
        let host: Arc<str> = name.into();
        if name.len() != url.host_str().map_or(0, str::len) {
            url.set_host(Some(&host)).map_err(|_| malformed("url has no usable host"))?;
        }
        let port = url.port().unwrap_or(PORT);
        let query = written(split(text).1, &url);
        Ok(Self { host, port, query, url })
    }

    /// Reads what begins with a slash below this, which has neither query nor fragment. The same as reading both texts in
    /// one: where it goes was read with this.
    pub(crate) fn below(&self, text: &str) -> Result<Self, Stop> {
        check_characters(text)?;
        // The second parser's word on what it has not seen.
        PathAndQuery::try_from(text).map_err(|_| ambiguous())?;
        let (path, query) = split(text);
        let above = self.url.path();
        let mut url = self.url.clone();
        url.set_path(&[above.strip_suffix('/').unwrap_or(above), path].concat());
        url.set_query(query);
        Ok(Self { host: Arc::clone(&self.host), port: self.port, query: written(query, &url), url })
    }

    /// Reads a `Location` relative to this.
    pub(crate) fn join(&self, location: &str, bytes_max: usize) -> Result<Self, Stop> {
        // Joining forgives what parsing here does not, so look at the text before and after.
        if !location.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
            return Err(Stop::new(Reason::RedirectMalformed, "redirect location is no url"));
        }
        if Url::parse(location).is_ok() {
            return Self::parse(location, bytes_max);
        }
        let joined = self
            .url
            .join(location)
            .map_err(|_| Stop::new(Reason::RedirectMalformed, "redirect location is no url"))?;
        Self::parse(joined.as_str(), bytes_max)
    }

    /// The same without a query parameter of this name.
    pub(crate) fn without_parameter(mut self, name: &str) -> Self {
        if self.query_names().any(|found| found.eq_ignore_ascii_case(name)) {
            let kept: Vec<_> = self
                .url
                .query_pairs()
                .filter(|(found, _)| !found.eq_ignore_ascii_case(name))
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect();
            self.query = None;
            self.url.set_query(None);
            if !kept.is_empty() {
                self.url.query_pairs_mut().extend_pairs(kept);
            }
        }
        self
    }

    /// Whether a credential for `self` may also go to `other`.
    pub(crate) fn same_origin(&self, other: &Self) -> bool {
        self.host == other.host && self.port == other.port
    }

    /// What stands in the `Host` field.
    pub(crate) fn authority(&self) -> Cow<'_, str> {
        match self.port {
            PORT => Cow::Borrowed(&self.host),
            port => Cow::Owned(format!("{}:{port}", self.host)),
        }
    }

    /// The path and query as sent.
    pub(crate) fn path_and_query(&self) -> Cow<'_, str> {
        match &self.query {
            None => Cow::Borrowed(&self.url[Position::BeforePath..Position::AfterQuery]),
            Some(query) => Cow::Owned(format!("{}?{query}", self.url.path())),
        }
    }

    /// The query's names and values, decoded.
    pub(crate) fn query_names(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.url.query_pairs().map(|(name, _)| name)
    }

    /// Whether there is a query to append to.
    pub(crate) fn query(&self) -> Option<&str> {
        self.url.query()
    }

    /// The whole URL, for telling requests apart. Not for logs.
    pub(crate) fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// The same, in its parts.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }
}

/// Letters, digits and inner hyphens, as in a host pattern (RFC 1123 section 2.1).
fn dns_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// Both parsers forgive some of what this refuses, each in its own way: spaces and line breaks are dropped, a backslash
/// becomes a slash, look-alike letters become ASCII.
fn check_characters(text: &str) -> Result<(), Stop> {
    if text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return Ok(());
    }
    Err(malformed("url has characters that urls do not have"))
}

/// What is before the query, and the query, both as written.
fn split(text: &str) -> (&str, Option<&str>) {
    let bare = text.split('#').next().unwrap_or_default();
    bare.split_once('?').map_or((bare, None), |(before, query)| (before, Some(query)))
}

/// The query as written, where the parsed one is spelt in another way.
fn written(query: Option<&str>, url: &Url) -> Option<Box<str>> {
    query.filter(|query| url.query() != Some(query)).map(Into::into)
}

/// The second opinion.
fn agree(text: &str, url: &Url) -> Result<(), Stop> {
    let uri: Uri = text.parse().map_err(|_| ambiguous())?;
    let authority = uri.authority().ok_or_else(ambiguous)?;
    let host = url.host_str().ok_or_else(ambiguous)?;
    let port_text = authority.as_str().get(authority.host().len()..).unwrap_or_default();
    // Only the plain spelling of a port is one: not `:`, not `:007`.
    let port_expected = match uri.port_u16() {
        None => String::new(),
        Some(port) => format!(":{port}"),
    };
    let same = uri.scheme_str() == Some(url.scheme())
        && authority.host().eq_ignore_ascii_case(host)
        && uri.port_u16().unwrap_or(PORT) == url.port().unwrap_or(PORT)
        && port_text == port_expected
        && text.get(SCHEME.len()..).is_some_and(|rest| rest.starts_with("://"));
    if same { Ok(()) } else { Err(ambiguous()) }
}

fn ambiguous() -> Stop {
    Stop::new(Reason::UrlAmbiguous, "url can be read in more than one way")
}

fn malformed(detail: &'static str) -> Stop {
    Stop::new(Reason::UrlMalformed, detail)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 8 << 10;

    fn reason(text: &str) -> Reason {
        match Target::parse(text, MAX) {
            Ok(target) => panic!("{text:?} was read as {target:?}"),
            Err(stop) => stop.reason,
        }
    }

    #[test]
    fn plain_urls_are_read() {
        let target = Target::parse("HTTPS://API.Example.com.:8443/a/../b?c=d#e", MAX).unwrap();
        assert_eq!((&*target.host, target.port), ("api.example.com", 8443));
        assert_eq!(target.path_and_query(), "/b?c=d");
        assert_eq!(target.authority(), "api.example.com:8443");
        let target = Target::parse("https://api.example.com", MAX).unwrap();
        assert_eq!(&*target.authority(), "api.example.com");
        assert_eq!(target.path_and_query(), "/");
        assert_eq!(Target::parse("https://api.example.com:443/", MAX).unwrap().port, 443);
    }

    #[test]
    fn schemes_other_than_https_are_refused() {
        // C14
        for text in [
            "http://allowed.com",
            "HTTP://allowed.com",
            "file:///etc/passwd",
            "ftp://allowed.com",
            "gopher://allowed.com",
            "data:text/plain,x",
            "unix:/run/x",
            "ws://allowed.com",
        ] {
            assert_eq!(reason(text), Reason::SchemeRefused, "{text}");
        }
        for text in ["", "://allowed.com", "allowed.com", "https", ":"] {
            assert_eq!(reason(text), Reason::UrlMalformed, "{text}");
        }
    }

    #[test]
    fn addresses_in_any_spelling_are_refused() {
        // C1, C2, C3, C4
        for host in [
            "127.0.0.1",
            "127.1",
            "0",
            "0.0.0.0",
            "0x7f000001",
            "2130706433",
            "0177.0.0.1",
            "[::1]",
            "[::]",
            "[::ffff:169.254.169.254]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[64:ff9b::a9fe:a9fe]",
            "[2002:7f00:1::]",
            "[fe80::1%25eth0]",
            "[fe80::1%eth0]",
            "[fd00:ec2::254]",
            "127.0.0.1.",
            "93.184.216.34",
            "[::1",
            "[::1]junk",
            "[v1.]",
        ] {
            let reason = reason(&format!("https://{host}/"));
            let expected = [Reason::UndeclaredHost, Reason::UrlAmbiguous, Reason::UrlMalformed];
            assert!(expected.contains(&reason), "{host}: {reason:?}");
        }
    }

    #[test]
    fn odd_spellings_are_refused() {
        for (text, expected) in [
            // C10
            ("https://ⓔxample.com/", Reason::UrlMalformed),
            ("https://127。0。0。1/", Reason::UrlMalformed),
            ("https://😀.example.com/", Reason::UrlMalformed),
            ("https://example.com../", Reason::UrlMalformed),
            ("https://a_b.example.com/", Reason::UrlMalformed),
            ("https://-a.example.com/", Reason::UrlMalformed),
            // C11
            ("https://allowed.com@evil.com/", Reason::UserinfoRefused),
            ("https://:pw@allowed.com/", Reason::UserinfoRefused),
            ("https://@allowed.com/", Reason::UrlAmbiguous),
            ("https://allowed.com\\@evil.com", Reason::UrlMalformed),
            ("https://allowed.com%2eevil.com/", Reason::UrlAmbiguous),
            // C13
            ("https://allowed.com:65536/", Reason::UrlMalformed),
            ("https://allowed.com:https/", Reason::UrlMalformed),
            ("https://allowed.com:007/", Reason::UrlAmbiguous),
            ("https://allowed.com:+443/", Reason::UrlMalformed),
            ("https://allowed.com:/", Reason::UrlAmbiguous),
            // C15
            ("https:allowed.com/", Reason::UrlAmbiguous),
            ("https:/allowed.com/", Reason::UrlAmbiguous),
            ("https:///allowed.com/", Reason::UrlAmbiguous),
            ("https:///", Reason::UrlMalformed),
            // C18
            ("https://allowed.com/a b", Reason::UrlMalformed),
            ("https://allowed.com/a\r\nHost: evil", Reason::UrlMalformed),
            ("https://allowed.com/\0", Reason::UrlMalformed),
            ("https://allowed.com/\x7f", Reason::UrlMalformed),
            ("https://allowed.com/ü", Reason::UrlMalformed),
            ("https://allowed.com/?q=\n", Reason::UrlMalformed),
            (" https://allowed.com/", Reason::UrlMalformed),
        ] {
            assert_eq!(reason(text), expected, "{text:?}");
        }
        let label = |length| format!("https://{}.example.com/", "a".repeat(length));
        assert!(Target::parse(&label(63), MAX).is_ok());
        assert_eq!(reason(&label(64)), Reason::UrlMalformed);
        assert_eq!(reason(&format!("https://{}com/", "b.".repeat(126))), Reason::UrlMalformed);
        // The fragment is read by neither as a host.
        assert_eq!(&*Target::parse("https://evil.com#@allowed.com", MAX).unwrap().host, "evil.com");
        assert_eq!(&*Target::parse("https://evil.com/@allowed.com", MAX).unwrap().host, "evil.com");
    }

    #[test]
    fn length_is_limited() {
        let text = format!("https://allowed.com/{}", "a".repeat(MAX - 20));
        assert_eq!(text.len(), MAX);
        assert!(Target::parse(&text, MAX).is_ok());
        assert_eq!(reason(&format!("{text}a")), Reason::UrlTooLong);
    }

    /// A third way to find the host: everything between the scheme and the first delimiter.
    fn naive_authority(text: &str) -> Option<&str> {
        let scheme = text.get(..8).filter(|scheme| scheme.eq_ignore_ascii_case("https://"))?;
        text[scheme.len()..].split(['/', '?', '#']).next()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// What is read as the allowed host is plainly the allowed host.
        #[test]
        fn no_spelling_smuggles_another_host(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "https://", "HTTPS:", "http://", "//", "/", "\\", "@", ":", ":443", ":8443", ":0443", "#",
                    "?", "%2e", "%40", "%00", ".", "..", "allowed.com", "ALLOWED.com", "allowed", ".com",
                    "evil.com", "127.0.0.1", "0x7f.1", "[::1]", "[", "]", "ⓐllowed.com", "。", "\t", "\n", " ",
                    "\u{200d}", "\u{ad}", "user", "xn--", "a",
                ]),
                1..7,
            ),
            prefixed in any::<bool>(),
        ) {
            let text = format!("{}{}", if prefixed { "https://" } else { "" }, pieces.concat());
            if let Ok(target) = Target::parse(&text, MAX) {
                let authority = naive_authority(&text).unwrap_or_default().to_ascii_lowercase();
                let plain = match target.port {
                    443 => authority.strip_suffix(":443").unwrap_or(&authority),
                    port => authority.strip_suffix(&format!(":{port}")).unwrap_or("port differs"),
                };
                prop_assert_eq!(plain.strip_suffix('.').unwrap_or(plain), &*target.host, "{}", text);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
            let url = format!("https://{text}");
            if let Ok(target) = Target::parse(&url, MAX) {
                let again: Uri = target.as_str().parse().unwrap();
                prop_assert_eq!(again.host().unwrap(), &*target.host);
                prop_assert!(target.path_and_query().starts_with('/'));
            }
        }
    }
}
