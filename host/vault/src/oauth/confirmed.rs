//! Which hosts an OAuth client's secret, and the tokens that were had with it, may go to.
//!
//! Where that is stands in a release, and releases come from publishers; the client is the operator's. So a client is
//! set for the hosts that the releases of that day name, and a later one that names another host is refused until the
//! operator has looked and set the client again. Without that, a new release alone would bring every tenant's refresh
//! token to whom it likes.

use std::collections::BTreeSet;

use keyway_core::descriptor::Oauth;
use keyway_core::{Code, Fault};

use crate::oauth::client::ClientRef;

/// The hosts that a release has secrets sent to: with their port, where it is not the usual one, and with `*.` where each
/// connection has one of its own.
pub fn hosts(oauth: &Oauth) -> BTreeSet<String> {
    oauth.secret_hosts().collect()
}

/// Refuses a server that the client was not set for.
pub(crate) fn check(
    of: &ClientRef,
    confirmed: &BTreeSet<String>,
    oauth: &Oauth,
) -> Result<(), Fault> {
    let wanted = hosts(oauth);
    let Some(other) = wanted.difference(confirmed).next() else { return Ok(()) };
    let detail = format!(
        "the release sends secrets of {} slot `{}` to {other}, which the OAuth client of environment {} was not set for",
        of.connector, of.slot, of.environment
    );
    Err(Fault::new(Code::OauthClientUnconfirmed, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(token: &str, revoke: Option<&str>) -> Oauth {
        let json = serde_json::json!({"token-url": token, "revoke-url": revoke});
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn every_host_that_secrets_go_to_counts() {
        let of = ClientRef {
            environment: "dev".parse().unwrap(),
            connector: "a/b".parse().unwrap(),
            slot: "login".parse().unwrap(),
        };
        let known = hosts(&server("https://login.example.com/token", None));
        for (token, revoke, taken) in [
            ("https://login.example.com/token", None, true),
            ("https://login.example.com/v2/token", Some("https://LOGIN.example.com/revoke"), true),
            ("https://login.example.com:443/token", None, true),
            ("https://login.example.com:8443/token", None, false),
            ("https://login.example.com.evil.net/token", None, false),
            ("https://login.example.com@evil.net/token", None, false),
            ("https://login.example.com/token", Some("https://evil.net/revoke"), false),
            ("https://[login.example.com/token", None, false),
        ] {
            let checked = check(&of, &known, &server(token, revoke));
            let code = checked.err().map(|fault| fault.code);
            let expected = (!taken).then_some(Code::OauthClientUnconfirmed);
            assert_eq!(code, expected, "{token} {revoke:?}");
        }
        assert!(check(&of, &BTreeSet::new(), &server("https://a.example.com/t", None)).is_err());
    }
}
