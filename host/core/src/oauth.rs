//! Facts about a provider's authorization server, as a descriptor states them: how a token is had, kept and read.
//!
//! The host knows no provider. Whatever one does in a way of its own is a field here, with the standard's way as its
//! default.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::descriptor::{InvalidDescriptor, invalid};
use crate::ids::Slot;

/// Seconds that a refresh token has to live unused, if it is to be kept alive. Whoever drops one sooner means a session:
/// keeping that up would be a refresh every few minutes, day and night.
const REFRESH_IDLE_MIN: u32 = 30 * 60;

/// Facts about a provider's authorization server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Oauth {
    /// How the first token is had.
    #[serde(default)]
    pub grant: Grant,
    /// Where a person consents (RFC 6749 section 3.1). For `authorization-code` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorize_url: Option<String>,
    /// Where tokens are issued (section 3.2).
    pub token_url: String,
    /// Where tokens are revoked (RFC 7009).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke_url: Option<String>,
    /// What `iss` of a callback must be (RFC 9207). Absent means: the provider sends none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// How the client says who it is (RFC 6749 section 2.3.1).
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// What stands between scopes that are asked for. The standard's is a space. Answers are split at spaces and commas
    /// too, whatever this is.
    #[serde(default = "space")]
    pub scope_separator: String,
    /// Whether the code is bound to the browser by a challenge (RFC 7636, `S256`). Off only for a provider that
    /// refuses the parameter.
    #[serde(default = "yes")]
    pub pkce: bool,
    /// What a refresh does to the refresh token.
    #[serde(default)]
    pub refresh: Refresh,
    /// Seconds within which the provider takes a refresh token again that was already used, as it documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reuse_grace: Option<u32>,
    /// Seconds for which the provider keeps a refresh token that nobody uses, as it documents. Connections that lie
    /// idle are refreshed well before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_idle: Option<u32>,
    /// Seconds that an access token lives where the response does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<u32>,
    /// Sent to `authorize-url` besides.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub authorize_params: BTreeMap<String, String>,
    /// Sent to `token-url` besides.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub token_params: BTreeMap<String, String>,
    /// Parameter of `token-url` that names the user whose token is asked for, such as `requested_subject`: the user as
    /// calls name it. For `client-credentials` and `token-exchange`; without it, such a token is nobody's in particular.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_param: Option<String>,
    /// JSON Pointer into the token response to the connection's base URL, such as `/instance_url`. It is taken
    /// only if it is on a declared host and below one of `base-url-suffixes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Domains that such a base URL may lie below, such as `my.salesforce.com`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub base_url_suffixes: Vec<String>,
    /// JSON Pointer into the token response to the provider's name of the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Where the answer has the tokens, where that is not the standard's place.
    #[serde(default, skip_serializing_if = "Places::is_default")]
    pub answer: Places,
    /// How the provider says what OAuth has other names for. What the standards and the large providers document need not
    /// be said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ErrorSign>,
}

/// Where a token endpoint's answer has what is in it: JSON Pointers. Absent means the standard's place (RFC 6749 section
/// 5.1), where it may be after a refresh in any case.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Places {
    /// The access token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_token: Option<String>,
    /// The refresh token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// When the access token ends: seconds from now, or a time in seconds or milliseconds since 1970, or in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// What was granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

/// How a provider says in an answer without tokens what is wrong. Its status may be any.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ErrorSign {
    /// JSON Pointer into the answer.
    pub pointer: String,
    /// Any of these stands there. Compared letter by letter; of a number or a truth value, as it is written.
    pub values: Vec<String>,
    /// What that means.
    #[serde(default)]
    pub means: ErrorMeaning,
}

/// What an error of a token endpoint means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorMeaning {
    /// What was presented is not taken any more: a person must connect again.
    #[default]
    NeedsReauth,
    /// The operator's client is refused, whoever it asks for.
    ClientRefused,
    /// The server cannot now. What was presented is as it was.
    Busy,
}

/// How the first token is had.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grant {
    /// A person consents in a browser (RFC 6749 section 4.1).
    #[default]
    AuthorizationCode,
    /// The operator's client has the rights itself (section 4.4).
    ClientCredentials,
    /// A token of a user, made by somebody else, is exchanged (RFC 8693).
    TokenExchange,
}

/// How a client says who it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuth {
    /// `Authorization: Basic …`, each part form-encoded first.
    #[default]
    Basic,
    /// `client_id` and `client_secret` in the body.
    Post,
    /// `client_id` in the body: a public client.
    None,
}

/// What a refresh does to the refresh token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refresh {
    /// The provider issues none.
    None,
    /// It stays valid: sending it twice does no harm.
    Keep,
    /// Each is taken once, and a second use may revoke everything; the careful assumption.
    #[default]
    Rotate,
}

fn space() -> String {
    " ".to_owned()
}

const fn yes() -> bool {
    true
}

// === impl Oauth ===

impl Oauth {
    /// Whether a host lies below one of the domains that a base URL may lie below.
    pub fn below_suffix(&self, host: &str) -> bool {
        self.base_url_suffixes.iter().any(|suffix| {
            let rest = host.strip_suffix(suffix.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    }

    pub(crate) fn check(&self, slot: &Slot) -> Result<(), InvalidDescriptor> {
        let field = |name: &str| format!("slots.{slot}.scheme.{name}");
        let urls = [
            ("authorize-url", self.authorize_url.as_deref()),
            ("token-url", Some(self.token_url.as_str())),
            ("revoke-url", self.revoke_url.as_deref()),
        ];
        for (name, url) in urls {
            // Parsed where it is used, by the one parser of URLs; here it is only kept from being absurd.
            if url.is_some_and(|url| !url.starts_with("https://") || url.contains('#')) {
                return Err(invalid(field(name), "is no https URL without a fragment"));
            }
        }
        if self.grant == Grant::AuthorizationCode && self.authorize_url.is_none() {
            return Err(invalid(field("authorize-url"), "is needed for an authorization code"));
        }
        if let Some(name) = &self.user_param
            && (self.grant == Grant::AuthorizationCode || name.is_empty())
        {
            return Err(invalid(
                field("user-param"),
                "names a parameter of a grant without consent",
            ));
        }
        if let Some(seconds) = self.refresh_idle {
            if self.refresh == Refresh::None {
                return Err(invalid(field("refresh-idle"), "is of a token that is never issued"));
            }
            if seconds < REFRESH_IDLE_MIN {
                let rule = format!("is at least {REFRESH_IDLE_MIN} seconds");
                return Err(invalid(field("refresh-idle"), rule));
            }
        }
        if self.scope_separator.is_empty() {
            return Err(invalid(field("scope-separator"), "is empty"));
        }
        if self.base_url.is_some() && self.base_url_suffixes.is_empty() {
            return Err(invalid(field("base-url-suffixes"), "is needed where `base-url` is set"));
        }
        let dotted = |suffix: &String| suffix.contains('.') && !suffix.starts_with('.');
        if !self.base_url_suffixes.iter().all(dotted) {
            return Err(invalid(field("base-url-suffixes"), "are domains such as `example.com`"));
        }
        pointer(self.base_url.as_deref(), || field("base-url"))?;
        pointer(self.account.as_deref(), || field("account"))?;
        let Places { access_token, refresh_token, expires, scope } = &self.answer;
        for (name, place) in [
            ("answer.access-token", access_token),
            ("answer.refresh-token", refresh_token),
            ("answer.expires", expires),
            ("answer.scope", scope),
        ] {
            pointer(place.as_deref(), || field(name))?;
        }
        for sign in &self.errors {
            pointer(Some(&sign.pointer), || field("errors.pointer"))?;
            if sign.values.is_empty() || sign.values.iter().any(String::is_empty) {
                return Err(invalid(field("errors.values"), "names no value"));
            }
        }
        Ok(())
    }
}

// === impl Places ===

impl Places {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The scopes of a text that may have several. The standard's separator is a space (RFC 6749 section 3.3); some answer with
/// commas to that, and no scope that a provider is known to have has one in it.
pub fn split_scopes(text: &str) -> impl Iterator<Item = &str> {
    let parts = text.split(|letter: char| letter.is_whitespace() || letter == ',');
    parts.filter(|scope| !scope.is_empty())
}

/// Refuses what is no JSON Pointer (RFC 6901).
pub(crate) fn pointer(
    text: Option<&str>,
    field: impl Fn() -> String,
) -> Result<(), InvalidDescriptor> {
    match text {
        Some(text) if !text.starts_with('/') => Err(invalid(field(), "is no JSON Pointer")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::scheme::SlotSpec;

    fn spec(json: &str) -> Result<(), String> {
        let spec: SlotSpec = serde_json::from_str(json).map_err(|error| error.to_string())?;
        spec.check(&"login".parse().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_authorization_server_is_described_by_two_urls() {
        let least = r#"{"scheme":{"kind":"oauth2","authorize-url":"https://a.com/authorize",
            "token-url":"https://a.com/token"}}"#;
        assert_eq!(spec(least), Ok(()));
        let idle = least.replace("\"}}", "\",\"refresh-idle\":1800}}");
        assert_eq!(spec(&idle), Ok(()));
        let machine = r#"{"scheme":{"kind":"oauth2","grant":"client-credentials","token-url":"https://a.com/token"}}"#;
        assert_eq!(spec(machine), Ok(()));
    }

    #[test]
    fn what_contradicts_itself_is_refused_by_name() {
        for (rest, field) in [
            (r#""token-url":"http://a.com/t""#, "token-url"),
            (r#""token-url":"https://a.com/t#x""#, "token-url"),
            (r#""token-url":"https://a.com/t","grant":"authorization-code""#, "authorize-url"),
            (
                r#""token-url":"https://a.com/t","authorize-url":"https://a.com/a","base-url":"/instance_url""#,
                "base-url-suffixes",
            ),
            (
                r#""token-url":"https://a.com/t","authorize-url":"https://a.com/a","base-url-suffixes":["com"]"#,
                "base-url-suffixes",
            ),
            (
                r#""token-url":"https://a.com/t","authorize-url":"https://a.com/a","account":"hub_id""#,
                "account",
            ),
            (
                r#""token-url":"https://a.com/t","authorize-url":"https://a.com/a","scope-separator":"""#,
                "scope-separator",
            ),
            (
                r#""token-url":"https://a.com/t","authorize-url":"https://a.com/a","user-param":"for""#,
                "user-param",
            ),
            (
                r#""token-url":"https://a.com/t","grant":"token-exchange","user-param":"""#,
                "user-param",
            ),
            (
                r#""token-url":"https://a.com/t","authorize-url":"https://a.com/a","refresh-idle":1799"#,
                "refresh-idle",
            ),
            (
                r#""token-url":"https://a.com/t","authorize-url":"https://a.com/a","refresh":"none","refresh-idle":1800"#,
                "refresh-idle",
            ),
            (
                r#""token-url":"https://a.com/t","authorize-url":"https://a.com/a","errors":[{"pointer":"status","values":["x"]}]"#,
                "errors.pointer",
            ),
            (
                r#""token-url":"https://a.com/t","authorize-url":"https://a.com/a","errors":[{"pointer":"/status","values":[]}]"#,
                "errors.values",
            ),
            (
                r#""token-url":"https://a.com/t","authorize-url":"https://a.com/a","answer":{"expires":"x"}"#,
                "answer.expires",
            ),
            (r#""token-url":"https://a.com/t","authorise-url":"https://a.com/a""#, "unknown field"),
        ] {
            let refused = spec(&format!(r#"{{"scheme":{{"kind":"oauth2",{rest}}}}}"#));
            assert!(
                refused.as_ref().is_err_and(|text| text.contains(field)),
                "{rest}: {refused:?}"
            );
        }
    }
}
