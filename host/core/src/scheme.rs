//! Credential slots of a descriptor: how a credential is obtained and how it is put on a request.
//!
//! Provider facts are data here, so that no code of the host knows a provider. What the operator owns, the
//! OAuth client's id and secret, is never in a descriptor.

use serde::{Deserialize, Serialize};

use crate::descriptor::{InvalidDescriptor, invalid};
use crate::ids::Slot;
use crate::oauth::{Oauth, pointer};
use crate::sign::{self, Hmac, Sigv4, TokenHeader};

/// A credential that a connector needs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SlotSpec {
    /// How the credential is put on a request.
    pub scheme: Scheme,
    /// What the provider must have granted.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// One line for whoever must find the credential.
    #[serde(default)]
    pub summary: String,
    /// A request that succeeds with every working credential of the slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// The header that the token goes into, for `bearer` and `oauth2`. Absent means `Authorization: Bearer …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<TokenHeader>,
}

/// A request that tells whether a credential works, and whose it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Probe {
    /// A path on the base URL, asked for with GET. Any 2xx means that the credential works.
    pub path: String,
    /// JSON Pointer (RFC 6901) to the provider's name of the account in the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

/// How a credential is put on a request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "kind")]
pub enum Scheme {
    /// Nothing is put on it. A connection of such a slot has a base URL and no secret.
    None,
    /// `Authorization: Bearer …` (RFC 6750).
    Bearer,
    /// `Authorization: Basic …` (RFC 7617).
    Basic,
    /// A key in a header of this name.
    ApiKeyHeader {
        /// Field name.
        name: String,
    },
    /// A key in a query parameter of this name.
    ApiKeyQuery {
        /// Parameter name.
        name: String,
    },
    /// An HMAC over parts of the request. The credential is a key, with its id as the user where it has one.
    Hmac(Box<Hmac>),
    /// AWS Signature Version 4. The credential is an access key: its id as the user, the secret as the password, and the
    /// session's token where it is good for hours only.
    AwsSigv4(Box<Sigv4>),
    /// A bearer token that an authorization server issues (RFC 6749). One that an operator has made by
    /// hand at the provider may be set instead.
    Oauth2(Box<Oauth>),
}

// === impl SlotSpec ===

impl SlotSpec {
    /// Whether the host sets this header from the slot.
    pub fn sets_header(&self, name: &str) -> bool {
        let is = |own: &str| own.eq_ignore_ascii_case(name);
        let placed = match &self.scheme {
            Scheme::ApiKeyHeader { name: own } => is(own),
            Scheme::Hmac(rules) => rules.headers().any(|(_, own)| is(own)),
            Scheme::AwsSigv4(_) => sign::AWS_HEADERS.iter().any(|own| is(own)),
            // `Authorization` is the host's whatever a slot is.
            Scheme::None
            | Scheme::Bearer
            | Scheme::Basic
            | Scheme::ApiKeyQuery { .. }
            | Scheme::Oauth2(_) => false,
        };
        placed || self.header.as_ref().is_some_and(|header| is(&header.name))
    }

    /// Whether the host sets this query parameter from the slot.
    pub fn sets_parameter(&self, name: &str) -> bool {
        self.parameters().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// Every query parameter that the host sets from the slot.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        let (key, rules) = match &self.scheme {
            Scheme::ApiKeyQuery { name } => (Some(name.as_str()), None),
            Scheme::Hmac(rules) => (None, Some(rules)),
            _ => (None, None),
        };
        let signed = rules.into_iter().flat_map(|rules| rules.parameters());
        key.into_iter().chain(signed.map(|(_, name)| name))
    }

    /// Every header that the host sets from the slot, and where the descriptor names it.
    pub fn headers(&self) -> Vec<(&'static str, &str)> {
        let mut headers: Vec<_> =
            self.header.iter().map(|header| ("header.name", header.name.as_str())).collect();
        match &self.scheme {
            Scheme::ApiKeyHeader { name } => headers.push(("scheme.name", name)),
            Scheme::Hmac(rules) => {
                headers.extend(rules.headers().map(|(field, name)| match field {
                    "timestamp.header" => ("scheme.timestamp.header", name),
                    "key-id-header" => ("scheme.key-id-header", name),
                    "nonce-header" => ("scheme.nonce-header", name),
                    _ => ("scheme.header", name),
                }))
            }
            Scheme::AwsSigv4(_) => headers.extend(sign::AWS_HEADERS.map(|name| ("scheme", name))),
            _ => {}
        }
        headers
    }

    pub(crate) fn check(&self, slot: &Slot) -> Result<(), InvalidDescriptor> {
        self.scheme.check(slot)?;
        if let Some(header) = &self.header {
            let field = format!("slots.{slot}.header");
            if !matches!(self.scheme, Scheme::Bearer | Scheme::Oauth2(_)) {
                return Err(invalid(field, "is for a token of scheme `bearer` or `oauth2`"));
            }
            header.check(&field)?;
        }
        let Some(probe) = &self.probe else { return Ok(()) };
        let field = || format!("slots.{slot}.probe.path");
        if !probe.path.starts_with('/') || probe.path.starts_with("//") {
            return Err(invalid(field(), "is no path"));
        }
        // Each of these would be refused, or mean nothing, whenever a credential is tried.
        let odd = |byte: u8| !byte.is_ascii_graphic() || b"\\#".contains(&byte);
        if probe.path.bytes().any(odd) {
            let problem = "has a space, a fragment or letters that do not belong in a URL";
            return Err(invalid(field(), problem));
        }
        pointer(probe.account.as_deref(), || format!("slots.{slot}.probe.account"))
    }
}

// === impl Scheme ===

impl Scheme {
    fn check(&self, slot: &Slot) -> Result<(), InvalidDescriptor> {
        let name = match self {
            Self::None | Self::Bearer | Self::Basic => return Ok(()),
            Self::Oauth2(oauth) => return oauth.check(slot),
            Self::Hmac(rules) => return rules.check(&format!("slots.{slot}.scheme")),
            Self::AwsSigv4(rules) => return rules.check(&format!("slots.{slot}.scheme")),
            Self::ApiKeyHeader { name } | Self::ApiKeyQuery { name } => name,
        };
        // RFC 9110 section 5.6.2: a field name is a token. Query parameters keep to the same letters.
        if !sign::token(name) {
            return Err(invalid(format!("slots.{slot}.scheme.name"), "is not a token"));
        }
        Ok(())
    }

    /// The word for it in answers, without any parameter.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bearer => "bearer",
            Self::Basic => "basic",
            Self::ApiKeyHeader { .. } => "api-key-header",
            Self::ApiKeyQuery { .. } => "api-key-query",
            Self::Hmac(_) => "hmac",
            Self::AwsSigv4(_) => "aws-sigv4",
            Self::Oauth2(_) => "oauth2",
        }
    }

    /// Whether a credential that was set for a slot of this kind can be put on a request in this way. A slot of an
    /// authorization server's tokens takes a bearer token that an operator has made by hand as well.
    pub fn takes(&self, kind: &str) -> bool {
        kind == self.kind() || (self.oauth().is_some() && kind == Self::Bearer.kind())
    }

    /// Whether the credential is two parts, of which the first is no secret beside the second.
    pub fn takes_pair(&self) -> bool {
        match self {
            Self::Basic | Self::AwsSigv4(_) => true,
            Self::Hmac(rules) => rules.wants_key_id(),
            _ => false,
        }
    }

    /// Whether the credential may have a third part beside the pair: the token of a session.
    pub const fn takes_session(&self) -> bool {
        matches!(self, Self::AwsSigv4(_))
    }

    /// The authorization server, for a slot that has one.
    pub fn oauth(&self) -> Option<&Oauth> {
        match self {
            Self::Oauth2(oauth) => Some(oauth),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_contradicts_itself_is_refused_by_name() {
        let spec = |json: &str| {
            let spec: SlotSpec = serde_json::from_str(json).map_err(|error| error.to_string())?;
            spec.check(&"login".parse().unwrap()).map_err(|error| error.to_string())
        };
        for (scheme, rest, field) in [
            (r#""kind":"basic""#, r#","header":{"name":"X-Token"}"#, "header"),
            (r#""kind":"bearer""#, r#","header":{"name":"X Token"}"#, "header.name"),
            (r#""kind":"bearer""#, r#","header":{"prefix":"a\r\n"}"#, "header.prefix"),
            (r#""kind":"hmac","header":"X-S","parts":[]"#, "", "parts"),
            (r#""kind":"hmac","header":"X S","parts":["method"]"#, "", "scheme.header"),
            (r#""kind":"hmac","query":"a b","parts":["query"]"#, "", "scheme.query"),
            (r#""kind":"hmac","parts":["query"]"#, "", "header"),
            (r#""kind":"hmac","header":"X-S","query":"s","parts":["query"]"#, "", "both"),
            (
                r#""kind":"hmac","query":"s","parts":["query"],"timestamp":{}"#,
                "",
                "scheme.timestamp",
            ),
            (
                r#""kind":"hmac","query":"s","parts":["query"],"timestamp":{"query":"t","header":"T"}"#,
                "",
                "scheme.timestamp",
            ),
            (
                r#""kind":"hmac","query":"s","parts":["query"],"timestamp":{"query":"S"}"#,
                "",
                "timestamp.query",
            ),
            (r#""kind":"hmac","header":"X-S","parts":["timestamp"]"#, "", "timestamp"),
            (r#""kind":"hmac","header":"X-S","parts":["path"],"value":"v1""#, "", "value"),
            (r#""kind":"hmac","header":"X-S","parts":["everything"]"#, "", "unknown variant"),
            (r#""kind":"hmac","header":"X-S","parts":[{"header":"a b"}]"#, "", "parts"),
            (r#""kind":"hmac","header":"X-S","parts":["nonce"]"#, "", "nonce-header"),
            (
                r#""kind":"hmac","header":"X-S","parts":["path"],"nonce-header":"a b""#,
                "",
                "nonce-header",
            ),
            (
                r#""kind":"hmac","header":"X-S","parts":["path"],"algorithm":"md5""#,
                "",
                "unknown variant",
            ),
            (
                r#""kind":"aws-sigv4","service":"s3","region":"eu-west-1","signed-headers":["User-Agent"]"#,
                "",
                "signed-headers",
            ),
            (r#""kind":"aws-sigv4","service":"s3""#, "", "region"),
            (r#""kind":"aws-sigv4","service":"s3/x","region":"eu-west-1""#, "", "service"),
            (
                r#""kind":"aws-sigv4","service":"s3","region":"eu-west-1","region-label":1"#,
                "",
                "region",
            ),
        ] {
            let refused = spec(&format!(r#"{{"scheme":{{{scheme}}}{rest}}}"#));
            assert!(
                refused.as_ref().is_err_and(|text| text.contains(field)),
                "{scheme}: {refused:?}"
            );
        }
    }

    #[test]
    fn a_probe_is_a_path_on_the_base_url() {
        let checked = |path: &str| {
            let probe = serde_json::json!({"scheme": {"kind": "bearer"}, "probe": {"path": path}});
            let spec: SlotSpec = serde_json::from_value(probe).unwrap();
            spec.check(&"login".parse().unwrap()).map_err(|error| error.to_string())
        };
        assert_eq!(checked("/me?fields=id,name&limit=%31"), Ok(()));
        for path in ["//evil.com/", "me", "/a b", "/a\nb", "/a\u{7f}", "/me#x", "/ü", "/a\\b"] {
            let refused = checked(path).unwrap_err();
            assert!(refused.contains("probe.path"), "{path:?}: {refused}");
        }
    }
}
