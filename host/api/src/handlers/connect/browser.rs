//! What a browser is told in headers: the cookie that tells it from others, and where to go.
//!
//! A cookie is named after its consent, so that two tabs do not take each other's; where browsers come by TLS, its name
//! begins with `__Host-`, which no other site and no plain connection can set (RFC 6265bis section 4.1.3.2).

use axum::body::Body;
use axum::http::header::{COOKIE, HeaderValue, LOCATION, REFERRER_POLICY, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use keyway_core::{Digest, Fault};
use keyway_vault::consent::STATE_TIME;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::connect::PublicUrl;

/// Digits of a cookie's name: enough that the consents of one browser differ.
const NAME_DIGITS: usize = 16;

/// The cookie that binds a consent to this browser.
pub(super) fn remember(public: &PublicUrl, state: &str, binding: &SecretString) -> String {
    cookie(public, state, binding.expose_secret(), STATE_TIME.whole_seconds())
}

/// The same, taken back.
pub(super) fn forget(public: &PublicUrl, state: &str) -> String {
    cookie(public, state, "", 0)
}

/// What the browser was told to remember. A cookie that is there twice was not set by us both times.
pub(super) fn remembered(
    headers: &HeaderMap,
    public: &PublicUrl,
    state: &str,
) -> Option<SecretString> {
    let wanted = name(public, state);
    let texts = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.split_once('='));
    let mut values = pairs.filter(|(name, _)| name.trim() == wanted).map(|(_, value)| value.trim());
    let value = values.next()?;
    values.next().is_none().then(|| SecretString::from(value))
}

/// To the provider.
pub(super) fn go(url: &str, cookie: &str) -> Response {
    let mut response = see(url);
    set_cookie(&mut response, cookie);
    response
}

/// To the operator's page, with what came of it.
pub(super) fn back(url: &str, failed: Option<&Fault>) -> Response {
    let Ok(mut url) = Url::parse(url) else { return see("/") };
    {
        let mut query = url.query_pairs_mut();
        match failed {
            None => query.append_pair("status", "connected"),
            Some(fault) => {
                query.append_pair("status", "failed").append_pair("code", fault.code.as_str());
                let error = fault.provider_code.as_deref();
                query.extend_pairs(error.map(|error| ("error", error)))
            }
        };
    }
    see(url.as_str())
}

pub(super) fn set_cookie(response: &mut Response, cookie: &str) {
    // Made of letters, digits and the words below.
    response
        .headers_mut()
        .extend(HeaderValue::from_str(cookie).ok().map(|value| (SET_COOKIE, value)));
}

/// RFC 9110 section 15.4.4: to be fetched with GET, whatever led here.
pub(super) fn see(url: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.extend(HeaderValue::from_str(url).ok().map(|value| (LOCATION, value)));
    response
}

fn cookie(public: &PublicUrl, state: &str, value: &str, seconds: i64) -> String {
    let secure = if public.secure() { "; Secure" } else { "" };
    let name = name(public, state);
    // `Lax`: the provider's redirect comes from another site, and must bring it.
    format!("{name}={value}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Lax{secure}")
}

fn name(public: &PublicUrl, state: &str) -> String {
    let prefix = if public.secure() { "__Host-" } else { "" };
    let digest = Digest::of(state.as_bytes()).hex();
    format!("{prefix}connect-{}", digest.get(..NAME_DIGITS).unwrap_or(&digest))
}

#[cfg(test)]
mod tests {
    use keyway_core::Code;

    use super::*;

    fn public(text: &str) -> PublicUrl {
        PublicUrl::try_from(text.to_owned()).unwrap()
    }

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (COOKIE, value.parse().unwrap())).collect()
    }

    #[test]
    fn a_cookie_is_out_of_reach_of_scripts_and_other_sites() {
        let binding = SecretString::from("bound");
        let shop = remember(&public("https://shop.example"), "s", &binding);
        assert!(shop.starts_with("__Host-connect-"), "{shop}");
        assert!(
            shop.ends_with("=bound; Max-Age=600; Path=/; HttpOnly; SameSite=Lax; Secure"),
            "{shop}"
        );
        let here = remember(&public("http://127.0.0.1:1"), "s", &binding);
        assert!(here.starts_with("connect-") && here.ends_with("SameSite=Lax"), "{here}");
        assert!(forget(&public("http://127.0.0.1:1"), "s").contains("=; Max-Age=0; Path=/;"));
    }

    #[test]
    fn a_browser_shows_the_cookie_of_its_own_consent_once() {
        let here = public("http://127.0.0.1:1");
        let (own, other) = (name(&here, "own"), name(&here, "other"));
        let read = |values: &[&str]| {
            remembered(&headers(values), &here, "own").map(|text| text.expose_secret().to_owned())
        };
        let both = format!("{other}=x; {own}=bound; theme=dark");
        assert_eq!(read(&[&both]).as_deref(), Some("bound"));
        assert_eq!(read(&["theme=dark", &format!("{own}=bound")]).as_deref(), Some("bound"));
        assert_eq!(read(&[&format!("{own}=a; {own}=b")]), None);
        assert_eq!(read(&[&format!("{other}=x")]), None);
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn what_came_of_it_is_added_to_what_the_operator_has_in_its_address() {
        let location =
            |response: &Response| response.headers()[LOCATION].to_str().unwrap().to_owned();
        let done = back("https://shop.example/x?a=b", None);
        assert_eq!(location(&done), "https://shop.example/x?a=b&status=connected");
        let mut fault = Fault::new(Code::ConsentRefused, "no");
        let refused = back("https://shop.example/x", Some(&fault));
        assert_eq!(location(&refused), "https://shop.example/x?status=failed&code=consent-refused");
        fault.provider_code = Some("access_denied".to_owned());
        let said = location(&back("https://shop.example/x", Some(&fault)));
        assert!(said.ends_with("&code=consent-refused&error=access_denied"), "{said}");
        assert_eq!(refused.status(), StatusCode::SEE_OTHER);
    }
}
