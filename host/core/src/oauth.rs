//! Facts about a provider's authorization server, as a descriptor states them: how a token is had, kept and read.
//!
//! The host knows no provider. Whatever one does in a way of its own is a field here, with the standard's way as its
//! default.

pub(crate) mod template;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::descriptor::{HostPattern, InvalidDescriptor, PORT_DEFAULT, invalid};
use crate::ids::Slot;
use crate::oauth::template::{Variable, Variables};

/// Seconds that a refresh token has to live unused, if it is to be kept alive. Whoever drops one sooner means a session:
/// keeping that up would be a refresh every few minutes, day and night.
const REFRESH_IDLE_MIN: u32 = 30 * 60;

/// Parameters that are the host's own, at the consent page and at the token endpoint: with another value, an answer would come
/// to somebody else, or be believed that must not be. One list for both, because some providers serve both at one address, and
/// read a parameter wherever it stands. `request` and `request_uri` hold a whole request (RFC 9101).
const RESERVED: &[&str] = &[
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "redirect_uri",
    "response_type",
    "grant_type",
    "scope",
    "state",
    "code",
    "code_challenge",
    "code_challenge_method",
    "code_verifier",
    "request",
    "request_uri",
    "refresh_token",
    "subject_token",
    "assertion",
    "username",
    "password",
    "token",
    "token_type_hint",
];

/// Claims that are the host's own (RFC 7519 section 4.1).
const CLAIMS: &[&str] = &["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "scope"];

/// Seconds that an assertion is good for, at most: providers take an hour.
const ASSERTION_SECONDS_MAX: u32 = 60 * 60;

/// What a callback has in its query for the host itself.
const CALLBACK_RESERVED: &[&str] = &[
    "code",
    "state",
    "iss",
    "error",
    "error_description",
    "error_uri",
    "id_token",
    "access_token",
];

/// Names that are kept of a callback, at most: a connection's facts fit a row.
const CALLBACK_FACTS_MAX: usize = 8;

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
    /// Sent to `authorize-url` besides; with variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub authorize_params: BTreeMap<String, String>,
    /// Sent to `token-url` besides; with variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub token_params: BTreeMap<String, String>,
    /// Parameter of `token-url` that names the user whose token is asked for, such as `requested_subject`: the user as
    /// calls name it. For `client-credentials` and `token-exchange`; without it, such a token is nobody's in particular.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_param: Option<String>,
    /// What is stated, and signed, for a token. For `jwt-bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assertion: Option<Assertion>,
    /// What a connection fills into the URLs, where the provider has some for each customer: `{name}` in them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: Variables,
    /// Parameters of the callback's query that are kept as facts of the connection, such as `realmId`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub callback_facts: Vec<String>,
    /// How a request to `token-url` is written.
    #[serde(default)]
    pub token_format: TokenFormat,
    /// The connection's base URL: a JSON Pointer into the token response, such as `/instance_url`, or a URL with variables.
    /// It is taken only if it is on a declared host; one of a response, if it is below one of `base-url-suffixes` besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Domains that such a base URL may lie below, such as `my.example.com`.
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
    /// A statement that the connection's own key signs (RFC 7523 section 2.1).
    JwtBearer,
}

/// What a connection states of itself (RFC 7523 section 3). Its issuer is the id that comes with the key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Assertion {
    /// For whom it is, with variables. Absent: `token-url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Of whom it speaks, with variables: `{username}`, and `{user}` for the user of the connection as calls name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Seconds that it is good for.
    #[serde(default = "five_minutes")]
    pub lifetime: u32,
    /// How it is signed.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// Whether it has the scopes itself; else the request has them.
    #[serde(default)]
    pub scope_claim: bool,
    /// What it says besides, with variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, String>,
    /// Whether the provider tells keys by an id, `kid` of the head (RFC 7515 section 4.1.4): then a key is given with its id.
    #[serde(default)]
    pub key_id: bool,
}

/// An assertion, filled in for a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    /// For whom it is.
    pub audience: String,
    /// Of whom it speaks; none where nothing is said of one.
    pub subject: Option<String>,
    /// What it says besides.
    pub claims: BTreeMap<String, String>,
}

/// How an assertion is signed (RFC 7518 section 3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Algorithm {
    /// RSA with SHA-256.
    #[default]
    RS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
}

/// How a client says who it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuth {
    /// `Authorization: Basic …`, each part form-encoded first.
    #[default]
    Basic,
    /// The same, with each part as it is: for a provider that does not decode them.
    BasicRaw,
    /// `client_id` and `client_secret` in the body.
    Post,
    /// `client_id` in the body: a public client.
    None,
}

/// How a request to a token endpoint is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenFormat {
    /// As a form.
    #[default]
    Form,
    /// As an object of JSON, whose members are the fields of the form.
    Json,
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

const fn five_minutes() -> u32 {
    5 * 60
}

const fn yes() -> bool {
    true
}

// === impl Oauth ===

impl Oauth {
    /// Whether a host lies below one of the domains that a base URL may lie below.
    pub fn below_suffix(&self, host: &str) -> bool {
        self.base_url_suffixes.iter().any(|suffix| template::below(host, suffix))
    }

    /// What an assertion says, filled in; none for a grant without one.
    pub fn said(
        &self,
        values: &BTreeMap<String, String>,
        user: Option<&str>,
    ) -> Result<Option<Said>, String> {
        let Some(assertion) = &self.assertion else { return Ok(None) };
        let fill = |text: &String| {
            template::filled(text, |name| match (name, user) {
                ("user", Some(user)) => Some(user.to_owned()),
                _ => self.value(values, name),
            })
        };
        Ok(Some(Said {
            audience: match &assertion.audience {
                Some(audience) => fill(audience)?,
                None => template::fill(&self.token_url, &self.variables, values)?,
            },
            subject: assertion.subject.as_ref().map(fill).transpose()?,
            claims: filled_map(&assertion.claims, fill)?,
        }))
    }

    /// The value of a variable, by the rules for it.
    fn value(&self, values: &BTreeMap<String, String>, name: &str) -> Option<String> {
        self.variables.get(name)?.read(values.get(name)?).ok()
    }

    /// Whether a request for a token names the user whose token it is.
    pub fn names_user(&self) -> bool {
        let said = |(field, text): (&str, &str)| {
            is_signed(field) && template::names(text).contains(&"user")
        };
        self.user_param.is_some() || self.texts().any(said)
    }

    /// The variables that a connection needs values for.
    pub fn needed(&self) -> impl Iterator<Item = (&str, &Variable)> {
        self.variables.iter().map(|(name, variable)| (name.as_str(), variable))
    }

    /// These facts with every URL filled in.
    pub fn filled(&self, values: &BTreeMap<String, String>) -> Result<Self, String> {
        if self.variables.is_empty() {
            return Ok(self.clone());
        }
        let fill = |url: &String| template::fill(url, &self.variables, values);
        let text = |text: &String| template::filled(text, |name| self.value(values, name));
        Ok(Self {
            authorize_params: filled_map(&self.authorize_params, text)?,
            token_params: filled_map(&self.token_params, text)?,
            authorize_url: self.authorize_url.as_ref().map(fill).transpose()?,
            token_url: fill(&self.token_url)?,
            revoke_url: self.revoke_url.as_ref().map(fill).transpose()?,
            base_url: match &self.base_url {
                Some(url) if url.starts_with("https://") => Some(fill(url)?),
                other => other.clone(),
            },
            ..self.clone()
        })
    }

    /// The base URL that these facts have themselves, once they are filled in.
    pub fn own_base_url(&self) -> Option<String> {
        self.base_url.clone().filter(|base_url| !base_url.starts_with('/'))
    }

    /// Whether the base URL that these facts have themselves can be used with any values: a connection's base URL is on a
    /// declared host, and has neither query nor fragment.
    pub(crate) fn check_own_base_url(&self, declared: &[HostPattern]) -> Result<(), &'static str> {
        let Some(url) = self.own_base_url() else { return Ok(()) };
        if url.contains('?') {
            return Err("has a query, which no base URL has");
        }
        let admitted = template::hosts(&url, &self.variables).into_iter().any(|host| {
            let (name, port) = match host.rsplit_once(':') {
                Some((name, port)) => (name, port.parse().unwrap_or_default()),
                None => (host.as_str(), PORT_DEFAULT),
            };
            declared.iter().any(|pattern| match name.strip_prefix("*.") {
                Some(domain) => pattern.overlaps(domain, port),
                None => pattern.matches(name, port),
            })
        });
        if admitted { Ok(()) } else { Err("is on a host that `hosts` does not declare") }
    }

    /// The hosts that secrets go to, with `*.` where a variable stands.
    pub fn secret_hosts(&self) -> impl Iterator<Item = String> {
        let urls = [Some(&self.token_url), self.revoke_url.as_ref()];
        urls.into_iter().flatten().flat_map(|url| template::hosts(url, &self.variables))
    }

    fn check_urls(&self, field: &impl Fn(&str) -> String) -> Result<(), InvalidDescriptor> {
        for (name, variable) in &self.variables {
            let named = !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            if !named {
                return Err(invalid(field("variables"), "has a name that is not of `a-z0-9_`"));
            }
            if name == "user" {
                let problem = "has `user`, which in an assertion is the user of the connection";
                return Err(invalid(field("variables"), problem));
            }
            variable.check().map_err(|problem| invalid(field("variables"), problem))?;
        }
        let template = self.base_url.as_deref().filter(|base_url| !base_url.starts_with('/'));
        for (name, url, reserved) in [
            ("authorize-url", self.authorize_url.as_deref(), RESERVED),
            ("token-url", Some(self.token_url.as_str()), RESERVED),
            ("revoke-url", self.revoke_url.as_deref(), RESERVED),
            ("base-url", template, &[]),
        ] {
            let Some(text) = url else { continue };
            let url = template::check(text, &self.variables)
                .map_err(|problem| invalid(field(name), problem))?;
            let mut names = template::parameters(&url).into_iter();
            if let Some(taken) = names.find(|name| is_reserved(name, reserved)) {
                return Err(invalid(
                    field(name),
                    format!("has the host's own parameter `{taken}`"),
                ));
            }
        }
        let urls = [
            self.authorize_url.as_deref(),
            Some(&self.token_url),
            self.revoke_url.as_deref(),
            template,
        ];
        let texts = self.texts().map(|(_, text)| text);
        let used: Vec<_> =
            urls.into_iter().flatten().chain(texts).flat_map(template::names).collect();
        let unused = self.variables.keys().find(|name| !used.contains(&name.as_str()));
        match unused {
            Some(name) => {
                Err(invalid(field("variables"), format!("states `{name}`, which nothing has")))
            }
            None => Ok(()),
        }
    }

    /// What may have variables and is no URL, with the field that it stands in.
    fn texts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let assertion = self.assertion.iter().flat_map(|assertion| {
            let Assertion { audience, subject, claims, .. } = assertion;
            let audience = audience.iter().map(|text| ("assertion.audience", text.as_str()));
            let subject = subject.iter().map(|text| ("assertion.subject", text.as_str()));
            audience.chain(subject).chain(texts_of("assertion.claims", claims))
        });
        texts_of("authorize-params", &self.authorize_params)
            .chain(texts_of("token-params", &self.token_params))
            .chain(assertion)
    }

    /// Refuses a text with a placeholder that nothing fills in. `{user}` is of an assertion: its user is known.
    fn check_texts(&self, field: &impl Fn(&str) -> String) -> Result<(), InvalidDescriptor> {
        for (name, text) in self.texts() {
            template::filled(text, |_| Some(String::new()))
                .map_err(|problem| invalid(field(name), problem))?;
            let is_known = |variable: &&str| {
                self.variables.contains_key(*variable) || (*variable == "user" && is_signed(name))
            };
            if let Some(unknown) = template::names(text).iter().find(|name| !is_known(name)) {
                let problem = format!("has `{{{unknown}}}`, which `variables` does not state");
                return Err(invalid(field(name), problem));
            }
        }
        Ok(())
    }

    fn check_assertion(&self, field: &impl Fn(&str) -> String) -> Result<(), InvalidDescriptor> {
        let refuse = |name: &str, problem: &str| Err(invalid(field(name), problem));
        let assertion = match (&self.assertion, self.grant) {
            (Some(assertion), Grant::JwtBearer) => assertion,
            (None, Grant::JwtBearer) => return refuse("assertion", "is needed for `jwt-bearer`"),
            (Some(_), _) => return refuse("assertion", "is for `jwt-bearer`"),
            (None, _) => return Ok(()),
        };
        if !(1..=ASSERTION_SECONDS_MAX).contains(&assertion.lifetime) {
            return refuse("assertion.lifetime", "is 1 to 3600 seconds");
        }
        if let Some(taken) = assertion.claims.keys().find(|name| CLAIMS.contains(&name.as_str())) {
            let problem = format!("has the host's own claim `{taken}`");
            return Err(invalid(field("assertion.claims"), problem));
        }
        Ok(())
    }

    fn check_parameters(&self, field: &impl Fn(&str) -> String) -> Result<(), InvalidDescriptor> {
        let user = self.user_param.iter();
        for (name, parameters, reserved) in [
            ("authorize-params", self.authorize_params.keys().collect::<Vec<_>>(), RESERVED),
            ("token-params", self.token_params.keys().collect(), RESERVED),
            ("user-param", user.collect(), RESERVED),
            ("callback-facts", self.callback_facts.iter().collect(), CALLBACK_RESERVED),
        ] {
            if let Some(taken) = parameters.into_iter().find(|name| is_reserved(name, reserved)) {
                return Err(invalid(
                    field(name),
                    format!("has the host's own parameter `{taken}`"),
                ));
            }
        }
        // Whose token it is would be for the provider to guess.
        let twice = |name: &&String| self.token_params.keys().any(|other| is_same(name, other));
        if let Some(name) = self.user_param.as_ref().filter(twice) {
            let problem = format!("has the parameter `{name}`, which `token-params` has as well");
            return Err(invalid(field("user-param"), problem));
        }
        let facts = &self.callback_facts;
        if let Some(name) = facts.iter().find(|name| self.variables.contains_key(*name)) {
            return Err(invalid(field("callback-facts"), format!("has the variable `{name}`")));
        }
        if facts.len() > CALLBACK_FACTS_MAX || facts.iter().any(String::is_empty) {
            let rule = format!("are at most {CALLBACK_FACTS_MAX} names of parameters");
            return Err(invalid(field("callback-facts"), rule));
        }
        Ok(())
    }

    pub(crate) fn check(&self, slot: &Slot) -> Result<(), InvalidDescriptor> {
        let field = |name: &str| format!("slots.{slot}.scheme.{name}");
        self.check_urls(&field)?;
        self.check_parameters(&field)?;
        self.check_texts(&field)?;
        self.check_assertion(&field)?;
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
        let pointed = self.base_url.as_deref().filter(|place| place.starts_with('/'));
        if pointed.is_some() && self.base_url_suffixes.is_empty() {
            return Err(invalid(field("base-url-suffixes"), "is needed where `base-url` is set"));
        }
        let dotted = |suffix: &String| suffix.contains('.') && !suffix.starts_with('.');
        if !self.base_url_suffixes.iter().all(dotted) {
            return Err(invalid(field("base-url-suffixes"), "are domains such as `example.com`"));
        }
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

fn texts_of<'t>(
    field: &'static str,
    texts: &'t BTreeMap<String, String>,
) -> impl Iterator<Item = (&'static str, &'t str)> {
    texts.values().map(move |text| (field, text.as_str()))
}

/// Whether a field is of what is signed.
fn is_signed(field: &str) -> bool {
    field.starts_with("assertion.")
}

fn filled_map(
    texts: &BTreeMap<String, String>,
    fill: impl Fn(&String) -> Result<String, String>,
) -> Result<BTreeMap<String, String>, String> {
    texts.iter().map(|(name, text)| Ok((name.clone(), fill(text)?))).collect()
}

/// Whether a name is one of these to some server.
fn is_reserved(name: &str, reserved: &[&str]) -> bool {
    reserved.iter().any(|reserved| is_same(name, reserved))
}

/// Whether two names are one to some server: case is no matter to all of them, and some take `a.b` and `a[]` for `a_b` and
/// `a`.
fn is_same(one: &str, other: &str) -> bool {
    let letter = |letter: char| match letter {
        '.' | ' ' | '[' => '_',
        other => other.to_ascii_lowercase(),
    };
    let spelt = |name: &str| name.trim().chars().map(letter).collect::<String>();
    // A bracket that is never closed stands for the same as a dot.
    let readings = |name: &str| [spelt(name), spelt(name.split('[').next().unwrap_or_default())];
    let others = readings(other);
    readings(one).iter().any(|reading| others.contains(reading))
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
mod tests;
