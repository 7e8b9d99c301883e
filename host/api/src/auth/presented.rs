//! The token that a request brings, in whichever way its client sends a key.
//!
//! A client of a provider is told a key and sends it as that provider wants it: as a bearer token, behind the word `token`,
//! as the user or the password of Basic, or as `x-api-key`. A token of this host is known by its looks, so it is found in
//! any of these places, and whatever else stands there is none of the host's business.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use keyway_core::token::stands_in;
use keyway_core::{Code, Fault};
use zeroize::Zeroizing;

/// What a request brings.
pub(super) struct Presented {
    pub(super) secret: Zeroizing<String>,
    /// Whether it is a bearer token, as every endpoint takes it.
    pub(super) bearer: bool,
}

/// Where several providers' clients send a key.
const API_KEY: &str = "x-api-key";

/// Padded or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The token of a request that may bring it in any of the ways. Without any, what is wrong with its bearer token.
pub(super) fn of(headers: &HeaderMap) -> Result<Presented, Fault> {
    let bearer = bearer(headers);
    if let Ok(secret) = &bearer
        && !headers.contains_key(API_KEY)
    {
        return Ok(Presented { secret: Zeroizing::new((*secret).to_owned()), bearer: true });
    }
    let mut found: Option<Presented> = None;
    for (secret, bearer) in candidates(headers) {
        match &found {
            Some(other) if other.secret == secret => {}
            Some(_) => {
                let detail = "the request has two tokens of this host: which one counts?";
                return Err(Fault::new(Code::TokenInvalid, detail));
            }
            None => found = Some(Presented { secret, bearer }),
        }
    }
    match found {
        Some(found) => Ok(found),
        None => Ok(Presented { secret: Zeroizing::new(bearer?.to_owned()), bearer: true }),
    }
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

/// Everything that looks like a token of this host, and whether it is a bearer token.
fn candidates(headers: &HeaderMap) -> Vec<(Zeroizing<String>, bool)> {
    let mut found = Vec::new();
    let mut add = |text: &str, bearer| {
        if stands_in(text.as_bytes()) {
            found.push((Zeroizing::new(text.to_owned()), bearer));
        }
    };
    let text = |name| headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    for value in text(AUTHORIZATION.as_str()) {
        let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
        let rest = rest.trim();
        match scheme.to_ascii_lowercase().as_str() {
            "bearer" => add(rest, true),
            "token" => add(rest, false),
            // A browser that was told a pair once sends it along with whatever another site's page makes it ask.
            "basic" if !from_another_site(headers) => {
                let pair = BASE64.decode(rest).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                let pair = Zeroizing::new(pair.unwrap_or_default());
                let (user, password) = pair.split_once(':').unwrap_or((&pair, ""));
                add(user, false);
                add(password, false);
            }
            _ => {}
        }
    }
    for value in text(API_KEY) {
        add(value.trim(), false);
    }
    found
}

/// Whether a browser says that a page of another site asks (Fetch Metadata). Other clients say nothing.
fn from_another_site(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    site.is_some_and(|site| site != b"same-origin" && site != b"none")
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

    #[test]
    fn each_clients_own_way_of_sending_a_key_is_read() {
        let told = |values: &[(&str, String)]| {
            let headers: HeaderMap = values
                .iter()
                .map(|(name, value)| {
                    let name: HeaderName = name.parse().unwrap();
                    (name, HeaderValue::from_str(value).unwrap())
                })
                .collect();
            of(&headers).map(|found| (found.secret.to_string(), found.bearer)).map_err(|f| f.code)
        };
        let auth = |value: String| ("authorization", value);
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
        assert_eq!(
            told(&[auth(format!("Bearer {ONE}")), key("other")]),
            Ok((ONE.to_owned(), true))
        );
        assert_eq!(told(&[auth(format!("Bearer {ONE}")), key(ONE)]), Ok((ONE.to_owned(), true)));
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
