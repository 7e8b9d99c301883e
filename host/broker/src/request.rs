//! Builds the request that is sent from typed parts. Nothing of the connector's framing survives: the
//! method, each name and each value are parsed, and what is the host's to say is refused.

use std::borrow::Cow;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri, Version};
use keyway_core::Descriptor;
use keyway_core::descriptor::Scheme;
use keyway_core::exchange::Request as Wanted;
use time::OffsetDateTime;

use crate::config::Limits;
use crate::inject::Injection;
use crate::payload::{Outgoing, Payload};
use crate::reason::{Reason, Stop};
use crate::sign::Unsigned;
use crate::target::Target;

/// What a header that the connector set means for its request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rule {
    /// The request is refused: the connector expects an effect that it will not get.
    Refuse,
    /// The header is left out: HTTP libraries set it by themselves and the host's value means the same.
    Strip,
}

/// Beginnings of names that are refused: more credentials, and more claims about who asks.
const PREFIXES: [&str; 2] = ["proxy-", "x-forwarded-"];

/// What the host can undo. Deflate is left out because servers disagree on what it is.
const ACCEPT_ENCODING: HeaderValue = HeaderValue::from_static("gzip, br, zstd");

/// What is sent where the connector names nothing: some providers refuse requests without it.
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("keyway/", env!("CARGO_PKG_VERSION")));

/// The typed parts of one request.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    /// Over a connection of its own. One that was kept may be over already, which is found out by sending on it; what
    /// must not be sent twice would then never be known to have been sent or not.
    pub(crate) fresh: bool,
}

/// Which headers are the host's. Every other one is the connector's to set.
fn rule(name: &str) -> Option<Rule> {
    match name {
        // Credentials.
        "authorization" | "cookie" | "cookie2" => Some(Rule::Refuse),
        // Routing: claims about who asks, and for what.
        "host" | "forwarded" | "via" | "x-real-ip" | "x-original-url" | "x-rewrite-url"
        | "x-original-host" => Some(Rule::Refuse),
        // Framing, and the fields of one hop.
        "content-length" | "transfer-encoding" | "connection" | "keep-alive" | "te" | "trailer"
        | "upgrade" | "expect" | "http2-settings" | "max-forwards" => Some(Rule::Refuse),
        // The host decodes, so it says what it can decode.
        "accept-encoding" => Some(Rule::Strip),
        _ => PREFIXES.iter().any(|prefix| name.starts_with(prefix)).then_some(Rule::Refuse),
    }
}

/// Whether a header of this name can carry no key: it frames the message, says where it goes, or has a meaning of its own.
/// `authorization` and its like carry credentials, and some providers take a bare key there.
pub(crate) fn host_sets(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let credential = matches!(name.as_str(), "authorization" | "cookie");
    let own = matches!(
        name.as_str(),
        "user-agent" | "accept-encoding" | "content-type" | "content-encoding"
    );
    !credential && (own || rule(&name).is_some() || name.starts_with("keyway-"))
}

/// Refuses a URL that already holds a parameter where a credential of the descriptor goes.
pub(crate) fn check_query(descriptor: &Descriptor, target: &Target) -> Result<(), Stop> {
    if target.query().is_none() || descriptor.slots.is_empty() {
        return Ok(());
    }
    for name in target.query_names() {
        if taken(descriptor, &name) {
            return Err(Stop::new(
                Reason::CredentialPlaceTaken,
                "the query sets a parameter that the host sets from a slot",
            ));
        }
    }
    Ok(())
}

/// Whether a credential of the descriptor goes into a parameter of this name.
pub(crate) fn taken(descriptor: &Descriptor, name: &str) -> bool {
    descriptor.slots.values().any(|slot| {
        // RFC 6750 section 2.3: where a bearer token may stand besides the header.
        let bearer = matches!(slot.scheme, Scheme::Bearer | Scheme::Oauth2(_));
        slot.sets_parameter(name) || bearer && name == "access_token"
    })
}

// === impl Parts ===

impl Parts {
    /// Parses what the connector wrote.
    pub(crate) fn parse(
        wanted: Wanted,
        descriptor: &Descriptor,
        limits: &Limits,
    ) -> Result<(Self, Payload), Stop> {
        let method = method(&wanted.method)?;
        let mut headers = headers(&wanted.headers, descriptor, limits)?;
        headers.insert(header::ACCEPT_ENCODING, ACCEPT_ENCODING);
        headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
        let body = wanted.body.unwrap_or_default();
        if body.len() > limits.request_body_bytes_max {
            let max = limits.request_body_bytes_max;
            return Err(Stop::new(
                Reason::RequestBodyTooLarge,
                format!("request body is over {max} bytes"),
            ));
        }
        Ok((Self { method, headers, fresh: false }, Payload::Whole(body)))
    }

    /// What a caller sends through the proxy: as it is, but for what is between the caller and this host, and what
    /// is the host's to say.
    pub(crate) fn relayed(
        method: Method,
        mut headers: HeaderMap,
        descriptor: &Descriptor,
        limits: &Limits,
    ) -> Result<Self, Stop> {
        let method = self::method(method.as_str())?;
        let bytes: usize =
            headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if headers.len() > limits.request_headers_max || bytes > limits.request_header_bytes_max {
            let detail = "request has too many or too large headers";
            return Err(Stop::new(Reason::HeadersTooLarge, detail));
        }
        let named = for_this_hop(&headers);
        let ours = |name: &HeaderName| {
            let refused = rule(name.as_str()) == Some(Rule::Refuse);
            refused || name.as_str().starts_with("keyway-") || credential_header(descriptor, name)
        };
        let dropped: Vec<HeaderName> = headers.keys().filter(|name| ours(name)).cloned().collect();
        for name in dropped.iter().chain(&named) {
            headers.remove(name);
        }
        headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
        Ok(Self { method, headers, fresh: false })
    }

    /// What the host itself sends. A token that is presented is not presented again, so it goes over a fresh connection.
    pub(crate) fn of_host(purpose: &str, method: Method, mut headers: HeaderMap) -> Self {
        let fresh = purpose == "token";
        headers.insert(header::ACCEPT_ENCODING, ACCEPT_ENCODING);
        headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
        Self { method, headers, fresh }
    }

    /// The request on the wire. HTTP/2 takes the authority in the target, HTTP/1 in `Host`.
    pub(crate) fn build(
        &self,
        target: &Target,
        injection: Option<&Injection>,
        version: Version,
        payload: &mut Payload,
        at: OffsetDateTime,
    ) -> Result<Request<Outgoing>, Stop> {
        let mut path = target.path_and_query();
        if let Some(parameter) = injection.and_then(Injection::parameter) {
            let mark = if target.query().is_some() { '&' } else { '?' };
            path = Cow::Owned(format!("{path}{mark}{parameter}"));
        }
        let authority = target.authority();
        let empty = payload.is_empty();
        let whole = payload.bytes().cloned();
        let body = payload.take().ok_or_else(|| {
            Stop::new(Reason::ConnectionLost, "the body was used up by an attempt that failed")
        })?;
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.version_mut() = version;
        let mut headers = self.headers.clone();
        if version != Version::HTTP_2 {
            let host = HeaderValue::from_str(&authority)
                .map_err(|_| Stop::new(Reason::UrlMalformed, "url has no usable host"))?;
            headers.insert(header::HOST, host);
        }
        if empty && [Method::POST, Method::PUT, Method::PATCH].contains(&self.method) {
            // RFC 9110 section 8.6: these say that there is no content rather than nothing at all.
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        // Last, so that nothing set before it stands.
        if let Some((name, value)) = injection.and_then(Injection::header) {
            headers.insert(name, value);
        }
        if let Some(signer) = injection.and_then(Injection::signer) {
            let (method, body) = (&self.method, whole.as_ref());
            let unsigned = Unsigned { method, target, headers: &headers, body, at };
            let signed = signer.sign(&unsigned)?;
            for (name, value) in signed.headers {
                headers.insert(name, value);
            }
            path = signed.path_and_query.map_or(path, Cow::Owned);
        }
        *request.headers_mut() = headers;
        let uri = match version {
            Version::HTTP_2 => {
                Uri::builder().scheme("https").authority(&*authority).path_and_query(&*path)
            }
            _ => Uri::builder().path_and_query(&*path),
        };
        let malformed = |_| Stop::new(Reason::UrlMalformed, "url cannot be sent");
        *request.uri_mut() = uri.build().map_err(malformed)?;
        Ok(request)
    }
}

fn method(text: &str) -> Result<Method, Stop> {
    let refuse = |detail| Err(Stop::new(Reason::MethodRefused, detail));
    let token = (1..=32).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    if !token {
        return refuse("method is not an upper-case token");
    }
    // CONNECT would make a tunnel of the connection; TRACE echoes the credential.
    if text == "CONNECT" || text == "TRACE" {
        return refuse("method is not one that the host sends");
    }
    Method::from_bytes(text.as_bytes())
        .map_err(|_| Stop::new(Reason::MethodRefused, "method is not an upper-case token"))
}

fn headers(
    wanted: &[(String, String)],
    descriptor: &Descriptor,
    limits: &Limits,
) -> Result<HeaderMap, Stop> {
    let bytes: usize = wanted.iter().map(|(name, value)| name.len() + value.len()).sum();
    if wanted.len() > limits.request_headers_max || bytes > limits.request_header_bytes_max {
        return Err(Stop::new(
            Reason::HeadersTooLarge,
            "request has too many or too large headers",
        ));
    }
    let mut headers = HeaderMap::with_capacity(wanted.len() + 4);
    for (name, value) in wanted {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| Stop::new(Reason::HeaderMalformed, "a header name is not a token"))?;
        match rule(name.as_str()) {
            Some(Rule::Refuse) => {
                let detail = format!("header `{name}` is the host's to set");
                return Err(Stop::new(Reason::HeaderForbidden, detail));
            }
            Some(Rule::Strip) => continue,
            None => {}
        }
        if credential_header(descriptor, &name) {
            let detail = format!("header `{name}` is set by the host from a slot");
            return Err(Stop::new(Reason::CredentialPlaceTaken, detail));
        }
        // Visible ASCII, space and tab: obs-text means something else to every server.
        if !value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte)) {
            let detail = format!("header `{name}` has a value that is not plain ASCII");
            return Err(Stop::new(Reason::HeaderMalformed, detail));
        }
        let value = HeaderValue::from_str(value)
            .map_err(|_| Stop::new(Reason::HeaderMalformed, "a header value is malformed"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// RFC 9110 section 7.6.1: what `connection` names is for this hop only.
pub(crate) fn for_this_hop(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .collect()
}

fn credential_header(descriptor: &Descriptor, name: &HeaderName) -> bool {
    // `Authorization` is refused for everybody.
    descriptor.slots.values().any(|slot| slot.sets_header(name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor() -> Descriptor {
        Descriptor::parse(
            r#"{"format":1,"name":"a/b","version":"1.0.0","slots":{
                "bearer":{"scheme":{"kind":"bearer"}},
                "header":{"scheme":{"kind":"api-key-header","name":"X-Api-Key"}},
                "query":{"scheme":{"kind":"api-key-query","name":"hapikey"}}}}"#,
        )
        .unwrap()
    }

    fn parse(method: &str, headers: &[(&str, &str)], body: usize) -> Result<Parts, Reason> {
        let wanted = Wanted {
            method: method.to_owned(),
            url: String::new(),
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            body: Some(vec![0; body].into()),
            slot: None,
            timeout: None,
        };
        let parsed = Parts::parse(wanted, &descriptor(), &Limits::default());
        parsed.map(|(parts, _)| parts).map_err(|stop| stop.reason)
    }

    #[test]
    fn methods_are_upper_case_tokens() {
        for method in ["GET", "PATCH", "MERGE", "VERSION-CONTROL"] {
            assert!(parse(method, &[], 0).is_ok(), "{method}");
        }
        for method in ["", "get", "GET ", "G\r\nET", "GET\0", "CONNECT", "TRACE", "GÉT", "G/T"] {
            assert_eq!(parse(method, &[], 0).unwrap_err(), Reason::MethodRefused, "{method:?}");
        }
    }

    #[test]
    fn headers_of_the_host_are_refused_in_any_case() {
        for name in [
            "Authorization",
            "authorization",
            "AUTHORIZATION",
            "Cookie",
            "Host",
            "Transfer-Encoding",
            "Content-Length",
            "Connection",
            "Keep-Alive",
            "TE",
            "Trailer",
            "Upgrade",
            "Expect",
            "HTTP2-Settings",
            "Proxy-Authorization",
            "Proxy-Connection",
            "Proxy-Anything",
            "Forwarded",
            "X-Forwarded-For",
            "X-Forwarded-Host",
            "Via",
        ] {
            assert_eq!(
                parse("GET", &[(name, "x")], 0).unwrap_err(),
                Reason::HeaderForbidden,
                "{name}"
            );
        }
        assert_eq!(
            parse("GET", &[("x-API-key", "x")], 0).unwrap_err(),
            Reason::CredentialPlaceTaken
        );
        let parts = parse("GET", &[("Accept-Encoding", "zstd"), ("Accept", "a/b")], 0).unwrap();
        assert_eq!(parts.headers["accept"], "a/b");
        assert_eq!(parts.headers[header::ACCEPT_ENCODING], ACCEPT_ENCODING, "the host's own");
        assert_eq!(parts.headers.len(), 3, "and a user agent");
    }

    #[test]
    fn names_and_values_are_checked_byte_by_byte() {
        for name in ["", "a b", "a:b", ":authority", "a\r\nb", "a\0", "ä", "a\x7f"] {
            assert_eq!(
                parse("GET", &[(name, "x")], 0).unwrap_err(),
                Reason::HeaderMalformed,
                "{name:?}"
            );
        }
        for value in ["a\rb", "a\nb", "a\r\n b", "a\0", "a\x7f", "ä"] {
            assert_eq!(
                parse("GET", &[("x", value)], 0).unwrap_err(),
                Reason::HeaderMalformed,
                "{value:?}"
            );
        }
    }

    #[test]
    fn sizes_are_limited_at_the_number() {
        let limits = Limits::default();
        let many = vec![("x", ""); limits.request_headers_max];
        assert!(parse("GET", &many, 0).is_ok());
        let more = vec![("x", ""); limits.request_headers_max + 1];
        assert_eq!(parse("GET", &more, 0).unwrap_err(), Reason::HeadersTooLarge);
        let value = "v".repeat(limits.request_header_bytes_max - 1);
        assert!(parse("GET", &[("x", &value)], 0).is_ok());
        assert_eq!(parse("GET", &[("xx", &value)], 0).unwrap_err(), Reason::HeadersTooLarge);
        assert!(parse("POST", &[], limits.request_body_bytes_max).is_ok());
        let over = parse("POST", &[], limits.request_body_bytes_max + 1).unwrap_err();
        assert_eq!(over, Reason::RequestBodyTooLarge);
    }

    #[test]
    fn query_parameters_of_slots_are_refused() {
        let check = |query: &str| {
            let target = Target::parse(&format!("https://a.com/?{query}"), 8 << 10).unwrap();
            check_query(&descriptor(), &target).map_err(|stop| stop.reason)
        };
        for query in
            ["hapikey=x", "a=b&HapiKey=x", "%68apikey=x", "access_token=x", "access%5Ftoken"]
        {
            assert_eq!(check(query), Err(Reason::CredentialPlaceTaken), "{query}");
        }
        assert_eq!(check("hapikeys=x&token=y"), Ok(()));
    }
}
