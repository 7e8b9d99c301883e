//! Whose page a browser's request comes from. Programs that are no browser say nothing of it, and are believed.

use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, Version};
use keyway_core::{Code, Fault};
use url::Url;

use crate::connect::PublicUrl;

/// Where a request comes from, as far as the browser says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Site {
    /// A page of this host, or no page at all that is known.
    Here,
    /// An address that a person typed, or a bookmark.
    Nowhere,
    /// Another site's page.
    Elsewhere,
}

/// Reads Fetch Metadata, and `Origin` (RFC 6454 section 7) where a browser does not send that yet. `public` is where browsers
/// reach this host, beside the address that they name.
pub(crate) fn site(headers: &HeaderMap, public: Option<&PublicUrl>) -> Site {
    if let Some(site) = headers.get("sec-fetch-site") {
        return match site.as_bytes() {
            b"same-origin" => Site::Here,
            b"none" => Site::Nowhere,
            _ => Site::Elsewhere,
        };
    }
    let Some(origin) = headers.get(ORIGIN) else { return Site::Here };
    let origin = origin.to_str().ok().and_then(|text| Url::parse(text).ok());
    let ours = origin.is_some_and(|origin| {
        let text = origin.origin().ascii_serialization();
        public.is_some_and(|public| public.origin() == text) || names(headers, &origin)
    });
    // Also `null`: a page without an origin is none of this host's.
    if ours { Site::Here } else { Site::Elsewhere }
}

/// Whether the request is for the address that the page has. What ends TLS before this host may be any scheme.
fn names(headers: &HeaderMap, origin: &Url) -> bool {
    let host = headers.get(HOST).and_then(|value| value.to_str().ok());
    let host = host.and_then(|text| Url::parse(&format!("{}://{text}", origin.scheme())).ok());
    host.is_some_and(|host| {
        host.host_str() == origin.host_str()
            && host.port_or_known_default() == origin.port_or_known_default()
    })
}

/// Refuses what would change something and was sent from another site's page. A browser may have been given a credential
/// for this host, and would add it to whatever asks.
pub(crate) fn check(
    method: &Method,
    headers: &HeaderMap,
    public: Option<&PublicUrl>,
) -> Result<(), Fault> {
    let safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
    if safe || site(headers, public) != Site::Elsewhere {
        return Ok(());
    }
    Err(Fault::new(Code::NotPermitted, "the request comes from a page of another site"))
}

/// RFC 9112 section 3.2: a request of HTTP/1.1 names one host, and whoever reads another one than the next server does
/// could be led astray.
pub(crate) fn check_host(version: Version, headers: &HeaderMap) -> Result<(), Fault> {
    let mut values = headers.get_all(HOST).iter();
    let refuse = |detail| Err(Fault::new(Code::InvalidRequest, detail));
    match (values.next(), values.next()) {
        (None, _) if version == Version::HTTP_11 => refuse("`host` is missing"),
        (_, Some(_)) => refuse("`host` is there twice"),
        (Some(host), None) if !authority(host.as_bytes()) => refuse("`host` is no host"),
        _ => Ok(()),
    }
}

fn authority(host: &[u8]) -> bool {
    // Empty where the target has no authority.
    host.is_empty() || Authority::try_from(host).is_ok_and(|host| !host.as_str().contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn pages_of_other_sites_are_told_apart() {
        let public = PublicUrl::try_from("https://connect.shop.example/eu".to_owned()).unwrap();
        for (pairs, expected) in [
            (&[][..], Site::Here),
            (&[("sec-fetch-site", "same-origin")], Site::Here),
            (&[("sec-fetch-site", "none")], Site::Nowhere),
            (&[("sec-fetch-site", "same-site")], Site::Elsewhere),
            (&[("sec-fetch-site", "cross-site")], Site::Elsewhere),
            // Fetch Metadata is what counts, where it is.
            (
                &[("sec-fetch-site", "cross-site"), ("origin", "https://connect.shop.example")],
                Site::Elsewhere,
            ),
            (&[("origin", "https://connect.shop.example")], Site::Here),
            (&[("origin", "https://connect.shop.example:8443")], Site::Elsewhere),
            (&[("origin", "http://connect.shop.example")], Site::Elsewhere),
            (&[("origin", "null")], Site::Elsewhere),
            (&[("origin", "https://evil.example")], Site::Elsewhere),
            (
                &[("origin", "https://evil.example"), ("host", "keyway.internal:8700")],
                Site::Elsewhere,
            ),
            (
                &[("origin", "http://keyway.internal:8700"), ("host", "keyway.internal:8700")],
                Site::Here,
            ),
            (&[("origin", "https://keyway.internal"), ("host", "keyway.internal")], Site::Here),
            (
                &[("origin", "https://keyway.internal.evil.example"), ("host", "keyway.internal")],
                Site::Elsewhere,
            ),
        ] {
            assert_eq!(site(&headers(pairs), Some(&public)), expected, "{pairs:?}");
        }
    }

    #[test]
    fn what_only_looks_is_let_in_from_anywhere() {
        let abroad = headers(&[("origin", "https://evil.example")]);
        assert!(check(&Method::GET, &abroad, None).is_ok());
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            assert_eq!(check(&method, &abroad, None).unwrap_err().code, Code::NotPermitted);
            assert!(check(&method, &HeaderMap::new(), None).is_ok(), "a program");
        }
    }

    #[test]
    fn one_host_is_named() {
        let check = |values: &[&str]| {
            let headers = values.iter().map(|value| (HOST, value.parse().unwrap())).collect();
            check_host(Version::HTTP_11, &headers).is_ok()
        };
        assert!(
            check(&["a.example:8700"])
                && check(&["127.0.0.1:1"])
                && check(&["[::1]:1"])
                && check(&[""])
        );
        assert!(
            !check(&[])
                && !check(&["a.example", "a.example"])
                && !check(&["a@b.example"])
                && !check(&["a b"])
        );
        assert!(check_host(Version::HTTP_10, &HeaderMap::new()).is_ok());
    }
}
