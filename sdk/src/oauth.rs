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
    assertion: Option<Assertion>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    variables: BTreeMap<String, Variable>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    callback_facts: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_format: Option<TokenFormat>,
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

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Variable {
    summary: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suffixes: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    text: bool,
}

/// What a connection's own key signs for a token (RFC 7523): who it is, for whom, and of whom it speaks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Assertion {
    #[serde(skip_serializing_if = "Option::is_none")]
    audience: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lifetime: Option<u32>,
    algorithm: Algorithm,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    scope_claim: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    claims: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    key_id: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
enum Algorithm {
    RS256,
    ES256,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum TokenFormat {
    Json,
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
    JwtBearer,
}

/// How the operator's client says who it is (RFC 6749 section 2.3.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuth {
    /// `Authorization: Basic …`, each part form-encoded.
    Basic,
    /// The same, each part as it is: for a provider that does not decode them.
    BasicRaw,
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

    /// A key of the connection's own signs for its tokens (RFC 7523): a service account, or a server that speaks for a user.
    pub fn jwt_bearer(token_url: impl Into<String>, assertion: Assertion) -> Self {
        Self { assertion: Some(assertion), ..Self::of(Grant::JwtBearer, token_url.into()) }
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
            assertion: None,
            variables: BTreeMap::new(),
            callback_facts: Vec::new(),
            token_format: None,
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

    /// One more parameter for the page of consent, with variables.
    #[must_use]
    pub fn authorize_param(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.authorize_params.insert(name.into(), value.into());
        self
    }

    /// One more parameter for the token endpoint, with variables.
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

    /// A part of the URLs that each connection fills in, `{name}` in them: of a host, with a domain behind it, or of a path.
    /// Whoever connects is asked for it by `summary`.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, summary: impl Into<String>) -> Self {
        let variable = Variable { summary: summary.into(), suffixes: Vec::new(), text: false };
        self.variables.insert(name.into(), variable);
        self
    }

    /// A text that each connection fills into an assertion or a parameter, such as a user's name at the provider.
    #[must_use]
    pub fn text_variable(mut self, name: impl Into<String>, summary: impl Into<String>) -> Self {
        let variable = Variable { summary: summary.into(), suffixes: Vec::new(), text: true };
        self.variables.insert(name.into(), variable);
        self
    }

    /// The same for a whole host, `https://{name}/…`, at or below one of these domains.
    #[must_use]
    pub fn host_variable<S: Into<String>>(
        mut self,
        name: impl Into<String>,
        summary: impl Into<String>,
        suffixes: impl IntoIterator<Item = S>,
    ) -> Self {
        let suffixes = suffixes.into_iter().map(Into::into).collect();
        let variable = Variable { summary: summary.into(), suffixes, text: false };
        self.variables.insert(name.into(), variable);
        self
    }

    /// The connection's base URL, with variables in it, on a declared host.
    #[must_use]
    pub fn own_base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    /// A parameter of the callback that is kept as a fact of the connection, such as `realmId`:
    /// [`settings::connection`](crate::settings::connection) has it.
    #[must_use]
    pub fn callback_fact(mut self, name: impl Into<String>) -> Self {
        self.callback_facts.push(name.into());
        self
    }

    /// The token endpoint takes JSON instead of a form.
    #[must_use]
    pub fn json_requests(mut self) -> Self {
        self.token_format = Some(TokenFormat::Json);
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

// === impl Assertion ===

impl Assertion {
    /// Signed by an RSA key, with SHA-256.
    pub fn rs256() -> Self {
        Self::signed(Algorithm::RS256)
    }

    /// Signed by a key on P-256, with SHA-256.
    pub fn es256() -> Self {
        Self::signed(Algorithm::ES256)
    }

    const fn signed(algorithm: Algorithm) -> Self {
        Self {
            audience: None,
            subject: None,
            lifetime: None,
            algorithm,
            scope_claim: false,
            claims: BTreeMap::new(),
            key_id: false,
        }
    }

    /// For whom it is, with variables. The token endpoint unless stated.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// Of whom it speaks, with variables: `{username}`, and `{user}` for the user as calls name it.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Seconds that it is good for: 1 to 3600, five minutes unless stated.
    #[must_use]
    pub fn lifetime(mut self, seconds: u32) -> Self {
        self.lifetime = Some(seconds);
        self
    }

    /// It has the scopes itself; unless stated, the request has them.
    #[must_use]
    pub fn scope_claim(mut self) -> Self {
        self.scope_claim = true;
        self
    }

    /// One more claim, with variables.
    #[must_use]
    pub fn claim(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.claims.insert(name.into(), value.into());
        self
    }

    /// The provider tells keys by an id, `kid` of the head: whoever gives a key gives its id too.
    #[must_use]
    pub fn key_id(mut self) -> Self {
        self.key_id = true;
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

    /// As it is written; the host's own type reads it, and knows every word of it.
    fn held(oauth: Oauth) -> serde_json::Value {
        let own = serde_json::to_value(oauth).unwrap();
        let read: keyway_core::descriptor::Oauth = serde_json::from_value(own.clone()).unwrap();
        let again = serde_json::to_value(read).unwrap();
        for (name, value) in own.as_object().unwrap() {
            if name != "assertion" {
                assert_eq!(again.get(name), Some(value), "{name}");
            }
        }
        own
    }

    #[test]
    fn the_least_is_two_urls() {
        let oauth = Oauth::authorization_code("https://a.example/go", "https://a.example/token");
        assert_eq!(
            held(oauth),
            json!({
                "grant": "authorization-code",
                "authorize-url": "https://a.example/go",
                "token-url": "https://a.example/token",
            })
        );
        let machine = Oauth::client_credentials("https://a.example/token");
        assert_eq!(
            held(machine),
            json!({"grant": "client-credentials", "token-url": "https://a.example/token"})
        );
    }

    #[test]
    fn urls_of_each_customer_have_variables() {
        let oauth = Oauth::authorization_code("https://{sub}.a.example/go", "https://{host}/token")
            .client_auth(ClientAuth::BasicRaw)
            .variable("sub", "Your subdomain")
            .host_variable("host", "Your host", ["my.a.example"])
            .callback_fact("realmId")
            .json_requests()
            .own_base_url("https://{sub}.a.example/api");
        assert_eq!(
            held(oauth),
            json!({
                "grant": "authorization-code",
                "authorize-url": "https://{sub}.a.example/go",
                "token-url": "https://{host}/token",
                "client-auth": "basic-raw",
                "variables": {
                    "sub": {"summary": "Your subdomain"},
                    "host": {"summary": "Your host", "suffixes": ["my.a.example"]},
                },
                "callback-facts": ["realmId"],
                "token-format": "json",
                "base-url": "https://{sub}.a.example/api",
            })
        );
    }

    #[test]
    fn an_assertion_is_what_is_signed() {
        let assertion =
            Assertion::rs256().subject("{username}").audience("https://a.example").scope_claim();
        let oauth = Oauth::jwt_bearer(
            "https://a.example/token",
            assertion.lifetime(180).claim("a", "b").key_id(),
        )
        .text_variable("username", "Who");
        assert_eq!(
            held(oauth),
            json!({
                "grant": "jwt-bearer",
                "token-url": "https://a.example/token",
                "assertion": {
                    "audience": "https://a.example",
                    "subject": "{username}",
                    "lifetime": 180,
                    "algorithm": "RS256",
                    "scope-claim": true,
                    "claims": {"a": "b"},
                    "key-id": true,
                },
                "variables": {"username": {"summary": "Who", "text": true}},
            })
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
            held(oauth),
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
