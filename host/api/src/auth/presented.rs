//! The token that a request brings, in whichever way its client sends a key.
//!
//! A client of a provider is told a key and sends it as that provider wants it. A token of this host is known by its looks, so
//! it is found wherever a key may stand, and whatever else stands there is none of the host's business.
//!
//! How far is looked depends on what is asked for. Calls, which clients of this host make, take a key as a bearer token, behind
//! the word `token`, as the user or the password of Basic, or as `x-api-key`. The proxy is for clients that know nothing of this
//! host, and takes it from anything in `authorization`, from the whole value of any header, and from a parameter of the query.
//! Headers that a browser sends by itself, and those that are said between hops or to this host, are no place for a key.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use keyway_core::token::{is_letter, is_like, stands_in};
use keyway_core::{Code, Fault};
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

/// What a request brings.
pub(super) struct Presented {
    pub(super) secret: Zeroizing<String>,
    /// Whether it is a bearer token, as every endpoint takes it.
    pub(super) bearer: bool,
}

/// The tokens of a request. The same one may stand in it twice.
#[derive(Default)]
struct Found {
    one: Option<Presented>,
    others: bool,
}

/// Where several providers' clients send a key.
const API_KEY: &str = "x-api-key";

/// Headers without a key: a browser sends them by itself, with what it has kept or where it comes from.
const OF_BROWSERS: [&str; 4] = ["cookie", "cookie2", "referer", "origin"];

/// How the names of others without a key begin: what browsers and caches add, what is said between hops, and what is said to
/// this host.
const NO_KEYS: [&str; 5] = ["sec-", "if-", "proxy-", "x-forwarded-", "keyway-"];

/// Schemes whose credentials a browser that was told them once sends along with whatever another site's page makes it ask.
const REPEATED: [&str; 4] = ["basic", "digest", "negotiate", "ntlm"];

/// Padded or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The token of a call, which may bring it in any of the ways of calls. Without any, what is wrong with its bearer token.
pub(super) fn of(headers: &HeaderMap) -> Result<Presented, Fault> {
    let bearer = bearer(headers);
    if let Ok(secret) = &bearer
        && !headers.contains_key(API_KEY)
    {
        return Ok(Presented::bearer(secret));
    }
    let mut found = Found::default();
    in_authorization(headers, &mut found);
    for value in texts(headers, API_KEY) {
        found.add(value.trim(), false);
    }
    found.only()?.map_or_else(|| Ok(Presented::bearer(bearer?)), Ok)
}

/// The token of a request to the proxy, which may bring it wherever a client can put a key.
pub(super) fn anywhere(headers: &HeaderMap, query: Option<&str>) -> Result<Presented, Fault> {
    let mut found = Found::default();
    for value in texts(headers, AUTHORIZATION.as_str()) {
        among_words(value, headers, &mut found);
    }
    for (name, value) in headers {
        if let Ok(text) = value.to_str()
            && name != AUTHORIZATION
            && holds_keys(name.as_str())
        {
            alone(text, &mut found);
        }
    }
    in_query(query.unwrap_or_default(), &mut found);
    if let Some(found) = found.only()? {
        return Ok(found);
    }
    let bearer = bearer(headers).map_err(|fault| match fault.code {
        Code::TokenMissing => Fault::new(
            Code::TokenMissing,
            "`authorization: Bearer …` is needed, or a caller's token wherever the client sends its key: in \
             `authorization`, as any header's value, or as a parameter of the query",
        ),
        _ => fault,
    })?;
    Ok(Presented::bearer(bearer))
}

/// The bearer token of a request (RFC 6750 section 2.1; the scheme's case does not matter).
pub(super) fn bearer(headers: &HeaderMap) -> Result<&str, Fault> {
    let missing = || Fault::new(Code::TokenMissing, "`authorization: Bearer …` is needed");
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or_else(missing)?;
    if values.next().is_some() {
        return Err(Fault::new(Code::TokenInvalid, "`authorization` is there twice"));
    }
    let text = value.to_str().unwrap_or_default();
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(missing());
    }
    Ok(token)
}

/// What stands in `authorization` in one of the ways that calls take.
fn in_authorization(headers: &HeaderMap, found: &mut Found) {
    for value in texts(headers, AUTHORIZATION.as_str()) {
        let (scheme, rest) = scheme(value);
        match scheme.as_str() {
            "bearer" => found.add(rest, true),
            "token" => found.add(rest, false),
            "basic" if !from_another_site(headers) => {
                let pair = String::from_utf8(pair(rest).to_vec()).map(Zeroizing::new);
                let pair = pair.unwrap_or_default();
                let (user, password) = pair.split_once(':').unwrap_or((&pair, ""));
                found.add(user, false);
                found.add(password, false);
            }
            _ => {}
        }
    }
}

/// What stands in `authorization` in any way: bare, behind any scheme, as a parameter of one, in a pair. It is a whole word,
/// so that nothing longer is taken for a token.
fn among_words(value: &str, headers: &HeaderMap, found: &mut Found) {
    let (scheme, rest) = scheme(value);
    if REPEATED.contains(&scheme.as_str()) && from_another_site(headers) {
        return;
    }
    let pair = if scheme == "basic" { pair(rest) } else { Zeroizing::default() };
    let words = |text| <[u8]>::split(text, |byte| !is_letter(*byte));
    for word in words(value.as_bytes()).chain(words(&pair)).filter(|word| is_like(word)) {
        let word = str::from_utf8(word).expect("its letters are ASCII");
        found.add(word, scheme == "bearer" && rest == word);
    }
}

/// The scheme of a credential in lower case, and what stands behind it.
fn scheme(value: &str) -> (String, &str) {
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    (scheme.to_ascii_lowercase(), rest.trim())
}

/// The user and the password of Basic, with a colon in between.
fn pair(coded: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(BASE64.decode(coded).unwrap_or_default())
}

/// What is all that a header says, or all behind one word, as a provider may want a prefix before its key.
fn alone(text: &str, found: &mut Found) {
    let text = text.trim();
    let last = text.rsplit(' ').next().unwrap_or_default();
    let before = text[..text.len() - last.len()].trim_end();
    if is_like(last.as_bytes()) && !before.contains(' ') {
        found.add(last, false);
    }
}

/// What is all that a parameter of the query says. A form's plus is no part of a token.
fn in_query(query: &str, found: &mut Found) {
    for pair in query.split('&') {
        let value = pair.split_once('=').map_or("", |(_, value)| value);
        let value = percent_decode_str(value).decode_utf8_lossy();
        if is_like(value.as_bytes()) {
            found.add(&value, false);
        }
    }
}

fn texts<'h>(headers: &'h HeaderMap, name: &str) -> impl Iterator<Item = &'h str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
}

/// Whether a client may have put a key into a header of this name.
fn holds_keys(name: &str) -> bool {
    !OF_BROWSERS.contains(&name) && !NO_KEYS.iter().any(|begin| name.starts_with(begin))
}

/// Whether a browser says that a page of another site asks (Fetch Metadata). Other clients say nothing.
fn from_another_site(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    site.is_some_and(|site| site != b"same-origin" && site != b"none")
}

// === impl Presented ===

impl Presented {
    fn bearer(secret: &str) -> Self {
        Self { secret: Zeroizing::new(secret.to_owned()), bearer: true }
    }
}

// === impl Found ===

impl Found {
    /// Adds what looks like a token of this host, and no other text.
    fn add(&mut self, text: &str, bearer: bool) {
        if !stands_in(text.as_bytes()) {
            return;
        }
        match &mut self.one {
            Some(one) if *one.secret == *text => one.bearer |= bearer,
            Some(_) => self.others = true,
            None => self.one = Some(Presented { secret: Zeroizing::new(text.to_owned()), bearer }),
        }
    }

    fn only(self) -> Result<Option<Presented>, Fault> {
        if self.others {
            let detail = "the request has two tokens of this host: which one counts?";
            return Err(Fault::new(Code::TokenInvalid, detail));
        }
        Ok(self.one)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    const ONE: &str = "kw_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    const TWO: &str = "kw_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (AUTHORIZATION, value.parse().unwrap())).collect()
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", BASE64.encode(pair))
    }

    #[test]
    fn reads_one_bearer_token() {
        assert_eq!(bearer(&headers(&["Bearer kw_x"])).unwrap(), "kw_x");
        assert_eq!(bearer(&headers(&["bearer  kw_x "])).unwrap(), "kw_x");
        for missing in [&[][..], &["Bearer"], &["Bearer "], &["Basic abc"], &["kw_x"]] {
            let fault = bearer(&headers(missing)).unwrap_err();
            assert_eq!(fault.code, Code::TokenMissing, "{missing:?}");
        }
        let twice = bearer(&headers(&["Bearer a", "Bearer b"])).unwrap_err();
        assert_eq!(twice.code, Code::TokenInvalid);
    }

    /// Headers of a request.
    fn request(values: &[(&str, String)]) -> HeaderMap {
        let pair = |(name, value): &(&str, String)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        };
        values.iter().map(pair).collect()
    }

    fn told(found: Result<Presented, Fault>) -> Result<(String, bool), Code> {
        found.map(|found| (found.secret.to_string(), found.bearer)).map_err(|fault| fault.code)
    }

    fn auth(value: String) -> (&'static str, String) {
        ("authorization", value)
    }

    #[test]
    fn each_way_of_a_call_is_read() {
        for look in [of, |headers: &HeaderMap| anywhere(headers, None)] {
            let told = |values: &[(&str, String)]| told(look(&request(values)));
            let key = |value: &str| ("x-api-key", value.to_owned());
            assert_eq!(told(&[auth(format!("Bearer {ONE}"))]), Ok((ONE.to_owned(), true)));
            for way in [
                format!("token {ONE}"),
                format!("Token  {ONE}"),
                basic(&format!("{ONE}:")),
                basic(ONE),
                basic(&format!(":{ONE}")),
                basic(&format!("ann@example.com/token:{ONE}")),
                basic(&format!("{ONE}:x")).trim_end_matches('=').to_owned(),
            ] {
                assert_eq!(told(&[auth(way.clone())]), Ok((ONE.to_owned(), false)), "{way}");
            }
            assert_eq!(told(&[key(ONE)]), Ok((ONE.to_owned(), false)));
            // What a client brings besides is the provider's, and not looked up.
            assert_eq!(
                told(&[auth("Bearer sk_live".to_owned()), key(ONE)]),
                Ok((ONE.to_owned(), false))
            );
            for other in ["other", ONE] {
                let both = [auth(format!("Bearer {ONE}")), key(other)];
                assert_eq!(told(&both), Ok((ONE.to_owned(), true)));
            }
            assert_eq!(told(&[auth("Bearer other".to_owned())]), Ok(("other".to_owned(), true)));
            for two in [
                vec![auth(format!("Bearer {ONE}")), key(TWO)],
                vec![auth(basic(&format!("{ONE}:{TWO}")))],
            ] {
                assert_eq!(told(&two), Err(Code::TokenInvalid), "{two:?}");
            }
            let site = |site: &str| ("sec-fetch-site", site.to_owned());
            let pair = || auth(basic(&format!("{ONE}:")));
            assert_eq!(told(&[pair(), site("none")]), Ok((ONE.to_owned(), false)));
            for other in ["cross-site", "same-site", "?"] {
                assert_eq!(told(&[pair(), site(other)]), Err(Code::TokenMissing), "{other}");
            }
            for none in [vec![], vec![key("other")], vec![auth(basic("ann:secret"))]] {
                assert_eq!(told(&none), Err(Code::TokenMissing), "{none:?}");
            }
        }
    }

    /// The ways that only the proxy takes: each is some provider's.
    fn ways(token: &str) -> Vec<(&'static str, String)> {
        let mut ways: Vec<_> = [
            "{}",
            "Bot {}",
            "SSWS {}",
            "OAuth {}",
            "Zoho-oauthtoken {}",
            "Klaviyo-API-Key {}",
            "GoogleLogin auth={}",
            "key={}",
            "Token token=\"{}\", nonce=\"def\"",
            "Bearer token=\"{}\"",
            "Digest username=\"{}\", realm=\"x\"",
        ]
        .map(|way| auth(way.replace("{}", token)))
        .to_vec();
        ways.extend(
            [
                "x-shopify-access-token",
                "api-key",
                "private-token",
                "x-auth-token",
                "x-goog-api-key",
            ]
            .map(|name| (name, token.to_owned())),
        );
        ways.push(("x-authorization", format!("Bearer {token}")));
        ways.push(auth(basic(&format!("{token}/token:x"))));
        ways
    }

    #[test]
    fn the_proxy_finds_a_key_wherever_a_client_puts_it() {
        for way in ways(ONE) {
            let headers = request(std::slice::from_ref(&way));
            assert_eq!(told(anywhere(&headers, None)), Ok((ONE.to_owned(), false)), "{way:?}");
            let in_a_call = told(of(&headers)).map(|(secret, _)| secret);
            assert_ne!(in_a_call.as_deref(), Ok(ONE), "{way:?}");
            for other in ways(TWO) {
                let told = told(anywhere(&request(&[way.clone(), other.clone()]), None));
                assert_eq!(told, Err(Code::TokenInvalid), "{way:?} {other:?}");
            }
            // Of a bearer token it is known that a client of this host means it.
            let both = request(&[auth(format!("Bearer {ONE}")), way]);
            assert_eq!(told(anywhere(&both, None)), Ok((ONE.to_owned(), true)));
        }
        let percent = ONE.replace('_', "%5f");
        for query in [
            format!("api_key={ONE}"),
            format!("a=b&key={ONE}&c"),
            format!("key={percent}"),
            format!("key={ONE}&key={ONE}"),
        ] {
            let told = told(anywhere(&HeaderMap::new(), Some(&query)));
            assert_eq!(told, Ok((ONE.to_owned(), false)), "{query}");
        }
        let bearer = request(&[auth(format!("Bearer {ONE}"))]);
        assert_eq!(told(anywhere(&bearer, Some(&format!("key={TWO}")))), Err(Code::TokenInvalid));
    }

    /// Catches a key that nobody meant to send, and one that is taken out of something longer.
    #[test]
    fn what_a_browser_sends_by_itself_is_no_key() {
        for name in ["cookie", "cookie2", "referer", "origin", "sec-websocket-protocol"]
            .into_iter()
            .chain(["if-none-match", "proxy-authorization", "x-forwarded-for", "keyway-user"])
        {
            let told = told(anywhere(&request(&[(name, ONE.to_owned())]), None));
            assert_eq!(told, Err(Code::TokenMissing), "{name}");
        }
        for (name, value) in [
            ("x-note", format!("the key {ONE} is old")),
            ("x-note", format!("{ONE}x")),
            ("x-note", format!("x={ONE}")),
            ("authorization", format!("Bot {ONE}x")),
            ("authorization", format!("x{ONE}")),
        ] {
            let told = told(anywhere(&request(&[(name, value.clone())]), None));
            assert_eq!(told, Err(Code::TokenMissing), "{name}: {value}");
        }
        for query in [format!("q=see {ONE}"), format!("q={ONE}x"), format!("{ONE}=x")] {
            let told = told(anywhere(&HeaderMap::new(), Some(&query)));
            assert_eq!(told, Err(Code::TokenMissing), "{query}");
        }
        let site = ("sec-fetch-site", "cross-site".to_owned());
        let digest = auth(format!("Digest username=\"{ONE}\""));
        assert_eq!(told(anywhere(&request(&[digest, site]), None)), Err(Code::TokenMissing));
    }
}
