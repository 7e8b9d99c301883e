//! Authorization servers, as a descriptor states them: facts about the provider, in the host's words.
//!
//! The host does all that is done with them: consent, refresh, revocation. The operator's client at the provider,
//! its id and secret, is never in a descriptor, and neither is a token.

use std::collections::BTreeMap;

use serde::Serialize;

/// Facts about a provider's authorization server. What is not stated is as the standard has it, and where that
/// leaves a choice, the careful one: PKCE, and refresh tokens that are good once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Oauth {
    grant: Grant,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorize_url: Option<String>,
    token_url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoke_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_auth: Option<ClientAuth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope_separator: Option<String>,
    #[serde(skip_serializing_if = "is_true")]
    pkce: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh: Option<Refresh>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reuse_grace: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_idle: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lifetime: Option<u32>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    authorize_params: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    token_params: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_param: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_url: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    base_url_suffixes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(skip_serializing_if = "Places::is_empty")]
    answer: Places,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<ErrorSign>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Places {
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ErrorSign {
    pointer: String,
    values: Vec<String>,
    means: ErrorMeaning,
}

/// What an error of a token endpoint means.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorMeaning {
    /// What was presented is not taken any more: a person must connect again.
    NeedsReauth,
    /// The operator's client is refused, whoever it asks for.
    ClientRefused,
    /// The server cannot now. What was presented is as it was.
    Busy,
}

/// How the first token is had.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Grant {
    AuthorizationCode,
    ClientCredentials,
    TokenExchange,
}

/// How the operator's client says who it is (RFC 6749 section 2.3.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuth {
    /// `Authorization: Basic …`.
    Basic,
    /// `client_id` and `client_secret` in the body.
    Post,
    /// `client_id` in the body: a public client.
    None,
}

/// What a refresh does to the refresh token.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refresh {
    /// The provider issues none.
    None,
    /// It stays valid: sending it twice does no harm.
    Keep,
    /// Each is taken once, and a second use may revoke everything.
    Rotate,
}

fn is_true(flag: &bool) -> bool {
    *flag
}

// === impl Oauth ===

impl Oauth {
    /// A person consents in a browser at `authorize_url` (RFC 6749 section 4.1).
    pub fn authorization_code(
        authorize_url: impl Into<String>,
        token_url: impl Into<String>,
    ) -> Self {
        let authorize_url = Some(authorize_url.into());
        Self { authorize_url, ..Self::of(Grant::AuthorizationCode, token_url.into()) }
    }

    /// The operator's client has the rights itself (section 4.4).
    pub fn client_credentials(token_url: impl Into<String>) -> Self {
        Self::of(Grant::ClientCredentials, token_url.into())
    }

    /// A token of a user, made by somebody else, is exchanged (RFC 8693).
    pub fn token_exchange(token_url: impl Into<String>) -> Self {
        Self::of(Grant::TokenExchange, token_url.into())
    }

    fn of(grant: Grant, token_url: String) -> Self {
        Self {
            grant,
            authorize_url: None,
            token_url,
            revoke_url: None,
            issuer: None,
            client_auth: None,
            scope_separator: None,
            pkce: true,
            refresh: None,
            reuse_grace: None,
            refresh_idle: None,
            lifetime: None,
            authorize_params: BTreeMap::new(),
            token_params: BTreeMap::new(),
            user_param: None,
            base_url: None,
            base_url_suffixes: Vec::new(),
            account: None,
            answer: Places::default(),
            errors: Vec::new(),
        }
    }

    /// Where tokens are revoked (RFC 7009). For a provider that does it another way: nothing.
    #[must_use]
    pub fn revoke_url(mut self, url: impl Into<String>) -> Self {
        self.revoke_url = Some(url.into());
        self
    }

    /// What `iss` of the provider's answer must be (RFC 9207). Unless stated, the provider sends none.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// How the client says who it is. [`ClientAuth::Basic`] unless stated.
    #[must_use]
    pub fn client_auth(mut self, how: ClientAuth) -> Self {
        self.client_auth = Some(how);
        self
    }

    /// What stands between scopes that are asked for. A space unless stated. Answers are split at spaces and commas too.
    #[must_use]
    pub fn scope_separator(mut self, separator: impl Into<String>) -> Self {
        self.scope_separator = Some(separator.into());
        self
    }

    /// The provider refuses the parameters of RFC 7636.
    #[must_use]
    pub fn without_pkce(mut self) -> Self {
        self.pkce = false;
        self
    }

    /// What a refresh does to the refresh token. [`Refresh::Rotate`] unless stated.
    #[must_use]
    pub fn refresh(mut self, refresh: Refresh) -> Self {
        self.refresh = Some(refresh);
        self
    }

    /// Seconds within which the provider takes a used refresh token again, as it documents.
    #[must_use]
    pub fn reuse_grace(mut self, seconds: u32) -> Self {
        self.reuse_grace = Some(seconds);
        self
    }

    /// Seconds for which the provider keeps a refresh token that nobody uses, as it documents; at least half an hour. The
    /// host refreshes connections that lie idle well before.
    #[must_use]
    pub fn refresh_idle(mut self, seconds: u32) -> Self {
        self.refresh_idle = Some(seconds);
        self
    }

    /// Seconds that an access token lives where the answer does not say.
    #[must_use]
    pub fn lifetime(mut self, seconds: u32) -> Self {
        self.lifetime = Some(seconds);
        self
    }

    /// One more parameter for the page of consent.
    #[must_use]
    pub fn authorize_param(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.authorize_params.insert(name.into(), value.into());
        self
    }

    /// One more parameter for the token endpoint.
    #[must_use]
    pub fn token_param(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.token_params.insert(name.into(), value.into());
        self
    }

    /// Parameter of the token endpoint that names the user whose token is asked for. For grants without a consent.
    #[must_use]
    pub fn user_param(mut self, name: impl Into<String>) -> Self {
        self.user_param = Some(name.into());
        self
    }

    /// JSON Pointer into the token endpoint's answer to the connection's base URL, and the domains that it may lie
    /// below.
    #[must_use]
    pub fn base_url<S: Into<String>>(
        mut self,
        pointer: impl Into<String>,
        suffixes: impl IntoIterator<Item = S>,
    ) -> Self {
        self.base_url = Some(pointer.into());
        self.base_url_suffixes.extend(suffixes.into_iter().map(Into::into));
        self
    }

    /// JSON Pointer into the token endpoint's answer to the provider's name of the account.
    #[must_use]
    pub fn account(mut self, pointer: impl Into<String>) -> Self {
        self.account = Some(pointer.into());
        self
    }

    /// JSON Pointer to the access token in the token endpoint's answer, where that is not `/access_token`. After a refresh it
    /// may stand there in any case, and so may the others below.
    #[must_use]
    pub fn access_token_at(mut self, pointer: impl Into<String>) -> Self {
        self.answer.access_token = Some(pointer.into());
        self
    }

    /// JSON Pointer to the refresh token, where that is not `/refresh_token`.
    #[must_use]
    pub fn refresh_token_at(mut self, pointer: impl Into<String>) -> Self {
        self.answer.refresh_token = Some(pointer.into());
        self
    }

    /// JSON Pointer to the end of the access token, where that is not `/expires_in`: seconds from now, or a time in seconds
    /// or milliseconds since 1970, or in RFC 3339.
    #[must_use]
    pub fn expires_at(mut self, pointer: impl Into<String>) -> Self {
        self.answer.expires = Some(pointer.into());
        self
    }

    /// JSON Pointer to what was granted, where that is not `/scope`.
    #[must_use]
    pub fn scope_at(mut self, pointer: impl Into<String>) -> Self {
        self.answer.scope = Some(pointer.into());
        self
    }

    /// How the provider says an error in words of its own: where the answer has one of these values, whatever its status.
    /// What the standards and the large providers document, such as `invalid_grant`, the host knows.
    #[must_use]
    pub fn error<V: Into<String>>(
        mut self,
        pointer: impl Into<String>,
        values: impl IntoIterator<Item = V>,
        means: ErrorMeaning,
    ) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        self.errors.push(ErrorSign { pointer: pointer.into(), values, means });
        self
    }
}

// === impl Places ===

impl Places {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_least_is_two_urls() {
        let oauth = Oauth::authorization_code("https://a.example/go", "https://a.example/token");
        assert_eq!(
            serde_json::to_value(oauth).unwrap(),
            json!({
                "grant": "authorization-code",
                "authorize-url": "https://a.example/go",
                "token-url": "https://a.example/token",
            })
        );
        let machine = Oauth::client_credentials("https://a.example/token");
        assert_eq!(
            serde_json::to_value(machine).unwrap(),
            json!({"grant": "client-credentials", "token-url": "https://a.example/token"})
        );
    }

    #[test]
    fn everything_stated_is_written_in_kebab_case() {
        let oauth = Oauth::token_exchange("https://a.example/token")
            .revoke_url("https://a.example/revoke")
            .issuer("https://a.example")
            .client_auth(ClientAuth::Post)
            .scope_separator(",")
            .without_pkce()
            .refresh(Refresh::Keep)
            .reuse_grace(30)
            .refresh_idle(86_400)
            .lifetime(1800)
            .authorize_param("prompt", "consent")
            .token_param("audience", "crm")
            .user_param("requested_subject")
            .base_url("/instance_url", ["crm.example"])
            .account("/account_id")
            .access_token_at("/data/token")
            .refresh_token_at("/data/refresh")
            .expires_at("/data/until")
            .scope_at("/data/scopes")
            .error("/status", ["DEAD"], ErrorMeaning::NeedsReauth);
        assert_eq!(
            serde_json::to_value(oauth).unwrap(),
            json!({
                "grant": "token-exchange",
                "token-url": "https://a.example/token",
                "revoke-url": "https://a.example/revoke",
                "issuer": "https://a.example",
                "client-auth": "post",
                "scope-separator": ",",
                "pkce": false,
                "refresh": "keep",
                "reuse-grace": 30,
                "refresh-idle": 86_400,
                "lifetime": 1800,
                "authorize-params": {"prompt": "consent"},
                "token-params": {"audience": "crm"},
                "user-param": "requested_subject",
                "base-url": "/instance_url",
                "base-url-suffixes": ["crm.example"],
                "account": "/account_id",
                "answer": {
                    "access-token": "/data/token",
                    "refresh-token": "/data/refresh",
                    "expires": "/data/until",
                    "scope": "/data/scopes",
                },
                "errors": [{"pointer": "/status", "values": ["DEAD"], "means": "needs-reauth"}],
            })
        );
    }
}
