//! Where a token may be sent instead of the descriptor's base URL.
//!
//! A provider with an address for each customer names it in its token response, and a connection keeps it. A token goes
//! there with every request, so it is taken only below the domains that the descriptor names, whoever names it: the
//! provider, an import, or an operator. Whether its host is one that the descriptor declares is the egress policy's
//! business.

use keyway_core::descriptor::Descriptor;
use keyway_core::{Code, Fault};
use url::Url;

/// Whether a base URL lies below the domains that the release names, for each slot that names some: an installation has
/// one base URL, whichever of its slots it was set with.
pub fn check(descriptor: &Descriptor, base_url: &str) -> Result<(), Fault> {
    let servers = descriptor.slots.values().filter_map(|spec| spec.scheme.oauth());
    servers
        .filter(|oauth| !oauth.base_url_suffixes.is_empty())
        .try_for_each(|oauth| below(base_url, &oauth.base_url_suffixes))
}

/// Whether a base URL lies below one of these domains.
pub(crate) fn below(base_url: &str, suffixes: &[String]) -> Result<(), Fault> {
    let url = Url::parse(base_url).ok().filter(|url| {
        let plain = url.username().is_empty() && url.password().is_none();
        url.scheme() == "https" && plain
    });
    let host = url.as_ref().and_then(|url| url.host_str());
    let below = host.is_some_and(|host| {
        suffixes.iter().any(|suffix| {
            host.strip_suffix(suffix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    });
    if below {
        return Ok(());
    }
    let detail = "the base URL is not below the domains that the release names";
    Err(Fault::new(Code::BaseUrlRefused, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_below_a_named_domain_is_taken() {
        let suffixes = ["my.salesforce.com".to_owned(), "example.org".to_owned()];
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
            assert!(below(good, &suffixes).is_ok(), "{good}");
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
            let fault = below(bad, &suffixes).unwrap_err();
            assert_eq!(fault.code, Code::BaseUrlRefused, "{bad}");
            assert!(
                bad.is_empty() || !fault.detail.contains(bad),
                "a provider's text is not quoted"
            );
        }
        assert!(below("https://anything.example.com", &[]).is_err(), "no domain is not every one");
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
