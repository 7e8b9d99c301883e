//! Where a token may be sent instead of the descriptor's base URL.
//!
//! A provider with an address for each customer names it in its token response, and a connection keeps it. A token goes
//! there with every request, so it is taken only below the domains that the descriptor names, whoever names it: the
//! provider, an import, or an operator. Whether its host is one that the descriptor declares is the egress policy's
//! business, and so is whether the release that is running would still take it.

use keyway_core::descriptor::{Descriptor, Oauth};
use keyway_core::{Code, Fault};
use url::Url;

/// Whether a base URL lies below the domains that the release names, for each slot that names some: an installation has
/// one base URL, whichever of its slots it was set with.
pub fn check(descriptor: &Descriptor, base_url: &str) -> Result<(), Fault> {
    let naming = descriptor.slots.values().filter_map(|spec| spec.scheme.oauth());
    naming
        .filter(|oauth| !oauth.base_url_suffixes.is_empty())
        .try_for_each(|oauth| below(base_url, oauth))
}

/// Whether a base URL lies below one of the domains that these facts name.
pub(crate) fn below(base_url: &str, oauth: &Oauth) -> Result<(), Fault> {
    let url = Url::parse(base_url).ok().filter(|url| {
        let plain = url.username().is_empty() && url.password().is_none();
        url.scheme() == "https" && plain
    });
    let host = url.as_ref().and_then(|url| url.host_str());
    if host.is_some_and(|host| oauth.below_suffix(host)) {
        return Ok(());
    }
    let detail = "the base URL is not below the domains that the release names";
    Err(Fault::new(Code::BaseUrlRefused, detail))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_lies_below_a_named_domain_is_taken() {
        let naming = |suffixes: &[&str]| -> Oauth {
            let facts = json!({"grant": "client-credentials",
                "token-url": "https://login.example.com/token", "base-url-suffixes": suffixes});
            serde_json::from_value(facts).unwrap()
        };
        let oauth = naming(&["my.salesforce.com", "example.org"]);
        for good in [
            "https://acme.my.salesforce.com",
            "https://acme.my.salesforce.com/",
            "https://acme.sandbox.my.salesforce.com/services/data",
            "https://my.salesforce.com",
            "https://ACME.My.Salesforce.com",
            "https://acme.my.salesforce.com:443/",
            "https://a.example.org",
            // Which ports it may have is for the declared hosts to say.
            "https://acme.my.salesforce.com:8443",
        ] {
            assert!(below(good, &oauth).is_ok(), "{good}");
        }
        for bad in [
            "https://evilmy.salesforce.com",
            "https://my.salesforce.com.evil.com",
            "https://evil.com/my.salesforce.com",
            "https://evil.com?x=.my.salesforce.com",
            "https://evil.com#.my.salesforce.com",
            "https://acme.my.salesforce.com@evil.com",
            "https://user@acme.my.salesforce.com",
            "https://user:pass@acme.my.salesforce.com",
            "https://evil.com\\.my.salesforce.com",
            "https://acme.my.salesforce.com.",
            "http://acme.my.salesforce.com",
            "ftp://acme.my.salesforce.com",
            "//acme.my.salesforce.com",
            "acme.my.salesforce.com",
            "https://salesforce.com",
            "https://127.0.0.1",
            "https://",
            "",
        ] {
            let fault = below(bad, &oauth).unwrap_err();
            assert_eq!(fault.code, Code::BaseUrlRefused, "{bad}");
            assert!(
                bad.is_empty() || !fault.detail.contains(bad),
                "a provider's text is not quoted"
            );
        }
        let none = below("https://anything.example.com", &naming(&[]));
        assert!(none.is_err(), "no domain is not every one");
    }

    #[test]
    fn every_slot_that_names_domains_must_have_it_below_one() {
        let descriptor = |slots: &str| {
            let text = format!(r#"{{"format":1,"name":"a/b","version":"1.0.0","slots":{slots}}}"#);
            Descriptor::parse(&text).unwrap()
        };
        let server = |suffixes: &str| {
            format!(
                r#"{{"scheme":{{"kind":"oauth2","grant":"client-credentials",
                    "token-url":"https://login.example.com/token","base-url-suffixes":{suffixes}}}}}"#
            )
        };
        let open = r#"{"scheme":{"kind":"none"}}"#;
        let bound = server(r#"["my.example.com"]"#);
        for (slots, base_url, taken) in [
            (format!(r#"{{"a":{open}}}"#), "https://eu.example.net", true),
            (format!(r#"{{"a":{}}}"#, server("[]")), "https://eu.example.net", true),
            (format!(r#"{{"a":{bound}}}"#), "https://eu.my.example.com", true),
            (format!(r#"{{"a":{bound}}}"#), "https://eu.example.net", false),
            // Set with the slot that names none, it would be where the other's token goes.
            (format!(r#"{{"a":{open},"b":{bound}}}"#), "https://eu.example.net", false),
        ] {
            assert_eq!(check(&descriptor(&slots), base_url).is_ok(), taken, "{slots} {base_url}");
        }
    }
}
