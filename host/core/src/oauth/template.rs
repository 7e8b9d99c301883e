//! URLs of a descriptor: what may stand in one, and the variables that a connection fills in.
//!
//! A provider with an address for each customer has it in its token endpoint too. Secrets go there, so a value can only
//! choose a name below domains that the release states, and what comes of it is checked like a URL without variables.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::descriptor::HostPattern;

/// Bytes of a value: the longest that a name of the DNS can be.
pub(crate) const VALUE_BYTES_MAX: usize = 253;

/// What a connection fills in.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Variable {
    /// What it is, for whoever is asked for it.
    pub summary: String,
    /// Domains, such as `example.com`: the value is a whole host at or below one of them. Empty: it is a part of a host or
    /// of a path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suffixes: Vec<String>,
    /// Whether it is any text, such as a person's name at the provider. Such a variable stands in no URL.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub text: bool,
}

/// Variables by name.
pub type Variables = BTreeMap<String, Variable>;

/// A piece of a URL.
enum Piece<'a> {
    Text(&'a str),
    Name(&'a str),
}

// === impl Variable ===

impl Variable {
    /// A value as it is kept, or what is wrong with it.
    pub fn read(&self, value: &str) -> Result<String, String> {
        let value = value.trim();
        if self.text {
            let fits = (1..=VALUE_BYTES_MAX).contains(&value.len())
                && !value.chars().any(char::is_control);
            let rule = || format!("is a text of 1 to {VALUE_BYTES_MAX} bytes");
            return if fits { Ok(value.to_owned()) } else { Err(rule()) };
        }
        if self.suffixes.is_empty() {
            let letter = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
            let fits = (1..=VALUE_BYTES_MAX).contains(&value.len())
                && value.bytes().all(letter)
                && value.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
                && !value.contains("..");
            return match fits {
                true => Ok(value.to_owned()),
                false => Err(
                    "is letters, digits, `-`, `_` and `.`, and begins with one of the first two"
                        .to_owned(),
                ),
            };
        }
        // As people copy it from where they see it.
        let host = value.strip_prefix("https://").unwrap_or(value);
        let host = host.strip_suffix('/').unwrap_or(host).to_ascii_lowercase();
        let plain = HostPattern::try_from(host.clone())
            .is_ok_and(|host| !host.wildcard && host.port == 443);
        if plain && self.suffixes.iter().any(|suffix| below(&host, suffix)) {
            return Ok(host);
        }
        Err(format!("is a host below {}", self.suffixes.join(" or ")))
    }

    /// A value that fits, to see what a URL is like with one.
    fn sample(&self) -> String {
        self.suffixes.first().map_or("sample".to_owned(), |suffix| format!("sample.{suffix}"))
    }

    /// Checks what the descriptor says of it.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let domain = |suffix: &String| {
            HostPattern::try_from(suffix.clone())
                .is_ok_and(|host| !host.wildcard && host.port == 443)
        };
        match self.suffixes.iter().all(domain) {
            true => Ok(()),
            false => Err("has suffixes that are no domains such as `example.com`"),
        }
    }
}

/// Whether a host is a domain or lies below it.
pub(crate) fn below(host: &str, domain: &str) -> bool {
    let rest = host.strip_suffix(domain);
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Checks a URL of a descriptor: `https`, to a named host, without user, password and fragment, and with no placeholder but
/// those of `variables`.
pub(super) fn check(text: &str, variables: &Variables) -> Result<Url, String> {
    let odd = |b: u8| !b.is_ascii_graphic() || b"\\<>\"^`|".contains(&b);
    let lower = text.to_ascii_lowercase();
    if text.bytes().any(odd) || ["%7b", "%7d", "%3c", "%3e"].iter().any(|mark| lower.contains(mark))
    {
        return Err("has letters that do not belong in a URL, or a placeholder".to_owned());
    }
    let (authority, rest) = authority(text).ok_or("is no https URL")?;
    // What a customer says must not decide which parameter it is.
    let query = text.split_once('?').map_or("", |(_, query)| query);
    if query
        .split(['&', ';'])
        .any(|pair| pair.split('=').next().is_some_and(|name| name.contains('{')))
    {
        return Err("has a placeholder in the name of a parameter".to_owned());
    }
    for piece in pieces(text)? {
        if let Piece::Name(name) = piece
            && variables.get(name).is_none_or(|variable| variable.text)
        {
            return Err(format!(
                "has the placeholder `{{{name}}}`, which `variables` does not state"
            ));
        }
    }
    check_authority(authority, variables)?;
    if pieces(rest)?.iter().any(|piece| is_host(piece, variables)) {
        return Err("has a host behind the host".to_owned());
    }
    let sample = filled(text, |name| variables.get(name).map(Variable::sample))?;
    plain(&sample)
}

/// The names of a URL's own parameters, with those of a server that takes a semicolon for what stands between them, as HTML 4
/// recommends (appendix B.2.2).
pub(super) fn parameters(url: &Url) -> Vec<String> {
    let query = url.query().unwrap_or_default();
    let named = |query: &str| -> Vec<String> {
        url::form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name.into_owned()).collect()
    };
    [named(query), named(&query.replace(';', "&"))].concat()
}

/// Fills a URL in. Every variable that it has needs a value, as [`Variable::read`] gives it.
pub(crate) fn fill(
    text: &str,
    variables: &Variables,
    values: &BTreeMap<String, String>,
) -> Result<String, String> {
    if !text.contains('{') {
        return Ok(text.to_owned());
    }
    let read = |name: &str| variables.get(name)?.read(values.get(name)?).ok();
    let url = filled(text, read)?;
    plain(&url)?;
    Ok(url)
}

/// Every variable of a URL, in its order.
pub(crate) fn names(text: &str) -> Vec<&str> {
    // What cannot be split was refused at publication.
    let pieces = pieces(text).unwrap_or_default().into_iter();
    pieces
        .filter_map(|piece| match piece {
            Piece::Name(name) => Some(name),
            Piece::Text(_) => None,
        })
        .collect()
}

/// The hosts that a URL can lead to: itself, or `*.` and the domain that every value lies below.
pub(crate) fn hosts(text: &str, variables: &Variables) -> Vec<String> {
    let Some((authority, _)) = authority(text) else { return vec![text.to_owned()] };
    let split = pieces(authority).unwrap_or_default();
    match split.as_slice() {
        [Piece::Name(name)] => {
            let suffixes = variables.get(*name).map(|variable| variable.suffixes.as_slice());
            suffixes.unwrap_or_default().iter().map(|suffix| format!("*.{suffix}")).collect()
        }
        [.., Piece::Name(_), Piece::Text(rest)] => vec![format!("*{rest}")],
        _ => {
            let url = Url::parse(text).ok();
            let host = url.as_ref().and_then(|url| {
                let host = url.host_str()?;
                Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
            });
            // One that cannot be read is a host of its own: nobody has confirmed it, and nothing is sent there.
            vec![host.unwrap_or_else(|| text.to_owned())]
        }
    }
}

fn check_authority(authority: &str, variables: &Variables) -> Result<(), String> {
    if authority.contains('@') {
        return Err("has a user or a password".to_owned());
    }
    let split = pieces(authority)?;
    let named = split.iter().any(|piece| matches!(piece, Piece::Name(_)));
    let whole = split.iter().any(|piece| is_host(piece, variables));
    let fixed = match split.as_slice() {
        [Piece::Name(_)] => whole,
        [.., Piece::Name(_), Piece::Text(rest)] => {
            let domain =
                rest.strip_prefix('.').map(|rest| rest.split(':').next().unwrap_or_default());
            !whole && domain.is_some_and(|domain| domain.contains('.'))
        }
        _ => !named,
    };
    match fixed {
        true => Ok(()),
        false => {
            Err("has a variable in its host without a domain behind it, or suffixes".to_owned())
        }
    }
}

fn is_host(piece: &Piece<'_>, variables: &Variables) -> bool {
    match piece {
        Piece::Name(name) => {
            variables.get(*name).is_some_and(|variable| !variable.suffixes.is_empty())
        }
        Piece::Text(_) => false,
    }
}

/// What a URL without variables must be.
fn plain(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
    if url.scheme() != "https" || url.fragment().is_some() {
        return Err("is no https URL without a fragment".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has a user or a password".to_owned());
    }
    let Some(Host::Domain(host)) = url.host() else {
        return Err("has an address for its host".to_owned());
    };
    if is_this_machine(host) {
        return Err("leads to this machine".to_owned());
    }
    match HostPattern::try_from(host.to_owned()) {
        Ok(pattern) if !pattern.wildcard => Ok(url),
        _ => Err("has no host such as `api.example.com`".to_owned()),
    }
}

/// Whether a name, in lower case, leads to the machine that asks (RFC 6761 section 6.3).
pub(crate) fn is_this_machine(host: &str) -> bool {
    below(host.strip_suffix('.').unwrap_or(host), "localhost")
}

/// The part of a URL that says where, and what is behind it.
fn authority(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("https://")?;
    Some(rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())))
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let unclear = || "has a brace that belongs to no placeholder".to_owned();
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some((before, behind)) = rest.split_once('{') {
        let (name, next) = behind.split_once('}').ok_or_else(unclear)?;
        if before.contains('}') || name.is_empty() || name.contains('{') {
            return Err(unclear());
        }
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        pieces.push(Piece::Name(name));
        rest = next;
    }
    if rest.contains('}') {
        return Err(unclear());
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

pub(crate) fn filled(text: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut url = String::new();
    for piece in pieces(text)? {
        match piece {
            Piece::Text(text) => url.push_str(text),
            Piece::Name(name) => {
                url.push_str(&value(name).ok_or_else(|| format!("needs a value for `{name}`"))?);
            }
        }
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        let variable = |suffixes: &[&str]| Variable {
            suffixes: suffixes.iter().map(|suffix| (*suffix).to_owned()).collect(),
            ..Variable::default()
        };
        [
            ("sub".to_owned(), variable(&[])),
            ("host".to_owned(), variable(&["my.example.com", "example.org"])),
        ]
        .into()
    }

    #[test]
    fn a_url_is_https_to_a_name_and_a_variable_leaves_its_domain() {
        for good in [
            "https://login.example.com/token",
            "https://login.example.com:8443/token?tenant=a",
            "https://{sub}.example.com/oauth/token",
            "https://login-{sub}.example.com/oauth/token",
            "https://login.example.com/{sub}/token",
            "https://{host}/oauth/token",
        ] {
            assert!(check(good, &variables()).is_ok(), "{good}: {:?}", check(good, &variables()));
        }
        for bad in [
            "http://login.example.com/token",
            "HTTPS://login.example.com/token",
            "https://127.0.0.1/token",
            "https://2130706433/token",
            "https://0x7f.1/token",
            "https://[::1]/token",
            "https://localhost/token",
            "https://x.localhost/token",
            "https://X.LocalHost./token",
            "https://{sub}.x.localhost/token",
            "https://*.example.com/token",
            "https://user@login.example.com/token",
            "https://user:pass@login.example.com/token",
            "https://@login.example.com/token",
            "https://login.example.com\\@evil.com/token",
            "https://login.example.com/token#x",
            "https://login.example.com/token#",
            "https:login.example.com/token",
            "https:///token",
            "https://login.example.com/to ken",
            "https://login.example.com/<tenant>/token",
            "https://login.example.com/%7Btenant%7D/token",
            "https://login.example.com/{tenant}/token",
            "https://{tenant}.example.com/token",
            "https://{sub}.com/token",
            "https://{sub}/token",
            "https://login.{sub}/token",
            "https://{sub}example.com/token",
            "https://{host}.example.com/token",
            "https://login.example.com/{host}/token",
            "https://login.example.com/{sub/token",
            "https://login.example.com/sub}/token",
            "https://{sub}@login.example.com/token",
        ] {
            assert!(check(bad, &variables()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_value_stays_below_the_domain_that_was_stated() {
        let filled = |text: &str, name: &str, value: &str| {
            fill(text, &variables(), &[(name.to_owned(), value.to_owned())].into())
        };
        let (sub, host) = ("https://{sub}.example.com/t", "https://{host}/t");
        for (text, name, value, url) in [
            (sub, "sub", "acme", "https://acme.example.com/t"),
            (sub, "sub", " acme ", "https://acme.example.com/t"),
            (sub, "sub", "a.b", "https://a.b.example.com/t"),
            (host, "host", "acme.my.example.com", "https://acme.my.example.com/t"),
            (host, "host", "https://Acme.my.example.com/", "https://acme.my.example.com/t"),
            (host, "host", "example.org", "https://example.org/t"),
            (
                "https://l.example.com/{sub}/t",
                "sub",
                "acme.example",
                "https://l.example.com/acme.example/t",
            ),
        ] {
            assert_eq!(filled(text, name, value).as_deref(), Ok(url));
        }
        for (text, name, value) in [
            (sub, "sub", ""),
            (sub, "sub", "evil.com/"),
            (sub, "sub", "evil.com#"),
            (sub, "sub", "evil.com?"),
            (sub, "sub", "evil.com\\"),
            (sub, "sub", "a@evil.com"),
            (sub, "sub", "user:pass@evil"),
            (sub, "sub", ".."),
            (sub, "sub", "a..b"),
            (sub, "sub", "-a"),
            (sub, "sub", "a_b"),
            (sub, "sub", "evil.com%2f"),
            (sub, "sub", "ev\u{456}l"),
            (sub, "other", "acme"),
            (host, "host", "evil.com"),
            (host, "host", "evilmy.example.com"),
            (host, "host", "my.example.com.evil.com"),
            (host, "host", "acme.my.example.com:8443"),
            (host, "host", "acme.my.example.com/x"),
            (host, "host", "*.my.example.com"),
            (host, "host", "http://acme.my.example.com"),
        ] {
            assert!(filled(text, name, value).is_err(), "{text} {value}");
        }
    }

    #[test]
    fn the_hosts_of_a_url_are_those_of_every_value() {
        for (text, expected) in [
            ("https://login.example.com:8443/t", vec!["login.example.com:8443"]),
            ("https://login.example.com/{sub}", vec!["login.example.com"]),
            ("https://{sub}.example.com/t", vec!["*.example.com"]),
            ("https://login-{sub}.eu.example.com/t", vec!["*.eu.example.com"]),
            ("https://{host}/t", vec!["*.my.example.com", "*.example.org"]),
        ] {
            assert_eq!(hosts(text, &variables()), expected, "{text}");
        }
        assert_eq!(names("https://{sub}.example.com/{sub}/t"), ["sub", "sub"]);
    }
}
