//! What is said to an authorization server, and what its answers mean.
//!
//! The one distinction that everything else stands on: whether the server can have spent what it was sent. A request
//! that was never sent, and an error that the server itself reports, leave a token as it was; a request whose answer
//! cannot be had or read does not.
//!
//! Where a server's endpoints are stands in the release. There is no discovery (RFC 8414), so no document that a server
//! hands out can have a token sent elsewhere (C45).

mod answer;
mod form;
mod names;
mod read;

use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use keyway_core::descriptor::{ClientAuth, Grant, HostPattern, Oauth, TokenFormat};
use keyway_core::exchange::{HostRequest, Response, Unfinished};
use keyway_core::ids::{Environment, User};
use keyway_core::ports::Outbound;
use secrecy::{ExposeSecret as _, SecretString};
use time::OffsetDateTime;
use url::Url;

use crate::connections::Shared;
use crate::oauth::client::Client;
use crate::oauth::endpoint::answer::{Answer, Fields};
use crate::oauth::endpoint::form::{Form, basic, basic_raw};
use crate::oauth::endpoint::names::{Named, named, says};

/// The longest wait that a server can ask for: a day. Whoever asks for more does not mean it.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What tokens are asked for with.
pub(crate) enum Ask<'a> {
    /// RFC 6749 section 6.
    Refresh(&'a SecretString),
    /// RFC 6749 section 4.1.3, with the verifier of RFC 7636.
    Code { code: &'a SecretString, redirect_uri: &'a str, verifier: Option<&'a SecretString> },
    /// RFC 6749 section 4.4; for this user, where the provider can be told.
    ClientCredentials { user: Option<&'a User> },
    /// RFC 7523 section 2.1: what was signed for this request.
    Assertion(&'a SecretString),
    /// RFC 8693 section 2.1; likewise.
    Exchange { subject: &'a SecretString, user: Option<&'a User> },
}

/// What a server issued.
#[derive(Debug)]
pub(crate) struct Issued {
    pub(crate) access: SecretString,
    pub(crate) refresh: Option<SecretString>,
    /// None where the server does not say, or says something that is no lifetime.
    pub(crate) lifetime: Option<Duration>,
    /// None where it says nothing, which means: those that were asked for (section 5.1).
    pub(crate) scopes: Option<Vec<String>>,
    pub(crate) base_url: Option<String>,
    pub(crate) account: Option<String>,
    /// When, by the server's clock.
    pub(crate) date: Option<OffsetDateTime>,
    /// Whether there may be a refresh token that could not be read.
    pub(crate) doubtful: bool,
}

/// Tokens that could be read of an answer that could not.
#[derive(Clone, Debug)]
pub(crate) struct Leftover {
    pub(crate) access: Option<SecretString>,
    pub(crate) refresh: Option<SecretString>,
    /// Whether it broke off behind them, and they are where they should be. Others may be of another account or kind, or
    /// not whole: they are good for being ended.
    pub(crate) cut: bool,
}

/// Why there are no tokens.
#[derive(Clone, Debug)]
pub(crate) enum Refused {
    /// The server does not take what was presented: revoked, spent, expired.
    Grant,
    /// The server does not take the client. Says nothing about the token, and the same to every connection.
    Client(String),
    /// The server does not take what is asked for in this way. Says nothing about the token, nor about others.
    Request(Disliked, String),
    /// The server says no to this request, in words that nobody has a name for. One of them says nothing certain.
    Plain(Option<Duration>, String),
    /// The server cannot now. What was presented is as it was.
    Busy(Option<Duration>, String),
    /// Nothing was sent.
    Unsent(String),
    /// It says yes, and the rest of it could not be read.
    Broken(String, Leftover),
    /// Sent, and what came of it is not known.
    Ambiguous(String),
}

/// Whether a server's dislike of a request can be for what was presented with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Disliked {
    /// It can: a token of another client, or a token that is none any more.
    Here,
    /// It says the same of each such request of the release.
    Everywhere,
}

/// A server, a client of it, and the way there.
pub(crate) struct Endpoint<'a> {
    pub(crate) outbound: &'a dyn Outbound,
    pub(crate) environment: &'a Environment,
    pub(crate) oauth: &'a Oauth,
    pub(crate) client: &'a Client,
    /// By this host's clock.
    pub(crate) now: OffsetDateTime,
    /// For the whole exchange.
    pub(crate) timeout: Duration,
}

// === impl Refused ===

impl Refused {
    /// Whether what was presented may be spent.
    pub(crate) const fn is_lost(&self) -> bool {
        matches!(self, Self::Broken(..) | Self::Ambiguous(_))
    }

    /// Whether asking once more could bring what this did not: of a server that has answered, there is no more to be had.
    pub(crate) const fn is_unanswered(&self) -> bool {
        match self {
            Self::Ambiguous(_) => true,
            Self::Broken(_, leftover) => leftover.access.is_none(),
            _ => false,
        }
    }

    /// What can be used all the same: an access token, and the refresh token, if it was read as well.
    pub(crate) fn usable(self, oauth: &Oauth) -> Result<Issued, Self> {
        match self {
            Self::Broken(_, Leftover { access: Some(access), refresh, cut: true }) => Ok(Issued {
                access,
                doubtful: refresh.is_none(),
                refresh,
                lifetime: read::stated(oauth),
                scopes: None,
                base_url: None,
                account: None,
                date: None,
            }),
            other => Err(other),
        }
    }

    /// Whether it is held against what was presented, should it be said for hours.
    pub(crate) const fn is_denial(&self) -> bool {
        matches!(self, Self::Plain(..) | Self::Request(Disliked::Here, _))
    }
}

// === impl Endpoint ===

impl<'a> Endpoint<'a> {
    /// Where the clients of an environment ask, over the vault's own way out.
    pub(crate) fn new(
        shared: &'a Shared,
        environment: &'a Environment,
        (oauth, client): (&'a Oauth, &'a Client),
        timeout: Duration,
    ) -> Self {
        let now = shared.clock.now();
        Self { outbound: &*shared.outbound, environment, oauth, client, now, timeout }
    }

    /// Asks for tokens, once.
    pub(crate) async fn ask(&self, ask: Ask<'_>, scopes: &[String]) -> Result<Issued, Refused> {
        let exchanged = matches!(ask, Ask::Exchange { .. });
        let refreshed = matches!(ask, Ask::Refresh(_));
        let presented = !matches!(ask, Ask::ClientCredentials { .. });
        let request = self.request("token", &self.oauth.token_url, self.form(ask, scopes));
        let (response, cut) = self.send(request).await?;
        let read = match &cut {
            None => self.read(&response, refreshed),
            Some(problem) => Err(self.read_part(&response, refreshed, problem)),
        };
        read.map_err(|refused| match refused {
            // RFC 8693 section 2.2.2: what is said of a subject token that is not taken.
            Refused::Request(..)
                if exchanged
                    && response.said().is_some_and(|said| says(&said, "invalid_request")) =>
            {
                Refused::Grant
            }
            // Nothing but the client was presented.
            Refused::Grant if !presented => disliked("invalid_grant"),
            other => other,
        })
    }

    /// Has a token revoked (RFC 7009). False if the provider offers no way.
    pub(crate) async fn revoke(&self, token: &SecretString, kind: &str) -> Result<bool, Refused> {
        let Some(url) = &self.oauth.revoke_url else { return Ok(false) };
        let mut form = Form::default();
        form.add("token", token.expose_secret());
        form.add("token_type_hint", kind);
        // What stands in a success does not count (section 2.2), nor whether it is whole. Of anything else, what there is.
        let (response, _) = self.send(self.request("revoke", url, form)).await?;
        match response.status {
            200..300 => Ok(true),
            _ => Err(problem(self.oauth, &response)),
        }
    }

    fn form<'f>(&'f self, ask: Ask<'f>, scopes: &[String]) -> Form<'f> {
        let mut form = Form::default();
        match ask {
            Ask::Refresh(token) => {
                form.add("grant_type", "refresh_token");
                form.add("refresh_token", token.expose_secret());
            }
            Ask::Code { code, redirect_uri, verifier } => {
                form.add("grant_type", "authorization_code");
                form.add("code", code.expose_secret());
                form.add("redirect_uri", redirect_uri);
                if let Some(verifier) = verifier {
                    form.add("code_verifier", verifier.expose_secret());
                }
            }
            Ask::ClientCredentials { user } => {
                form.add("grant_type", "client_credentials");
                self.user(&mut form, user);
                self.scope(&mut form, scopes);
            }
            Ask::Assertion(signed) => {
                form.add("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
                form.add("assertion", signed.expose_secret());
                if !self.oauth.assertion.as_ref().is_some_and(|assertion| assertion.scope_claim) {
                    self.scope(&mut form, scopes);
                }
            }
            Ask::Exchange { subject, user } => {
                form.add("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
                form.add("subject_token", subject.expose_secret());
                let kind = "urn:ietf:params:oauth:token-type:access_token";
                if !self.oauth.token_params.contains_key("subject_token_type") {
                    form.add("subject_token_type", kind);
                }
                self.user(&mut form, user);
                self.scope(&mut form, scopes);
            }
        }
        for (name, value) in &self.oauth.token_params {
            form.add(name, value);
        }
        form
    }

    fn user<'f>(&'f self, form: &mut Form<'f>, user: Option<&'f User>) {
        if let (Some(name), Some(user)) = (&self.oauth.user_param, user) {
            form.add(name, user.as_str());
        }
    }

    fn scope<'f>(&'f self, form: &mut Form<'f>, scopes: &[String]) {
        if !scopes.is_empty() {
            form.add("scope", scopes.join(&self.oauth.scope_separator));
        }
    }

    fn request<'f>(&'f self, purpose: &'static str, url: &str, mut form: Form<'f>) -> HostRequest {
        let mut headers = HeaderMap::new();
        // RFC 7009 has a form for revocations, whatever the token endpoint takes.
        let format = if purpose == "token" { self.oauth.token_format } else { TokenFormat::Form };
        let label = match format {
            TokenFormat::Form => "application/x-www-form-urlencoded",
            TokenFormat::Json => "application/json",
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(label));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let secret = self.client.secret.as_ref().map(|secret| secret.expose_secret());
        // What the client has is a key, which goes nowhere: who asks is in what it signs.
        let signs = self.oauth.grant == Grant::JwtBearer;
        match (self.oauth.client_auth, secret) {
            _ if signs => {}
            (ClientAuth::Basic, Some(secret)) => {
                headers.extend(basic(&self.client.id, secret).map(|value| (AUTHORIZATION, value)));
            }
            (ClientAuth::BasicRaw, Some(secret)) => {
                let value = basic_raw(&self.client.id, secret);
                headers.extend(value.map(|value| (AUTHORIZATION, value)));
            }
            (ClientAuth::Post, Some(secret)) => {
                form.add("client_id", &self.client.id);
                form.add("client_secret", secret);
            }
            (ClientAuth::None, _) | (_, None) => {
                form.add("client_id", &self.client.id);
            }
        }
        HostRequest {
            purpose,
            environment: Some(self.environment.clone()),
            method: Method::POST,
            url: url.to_owned(),
            hosts: host_of(url).into_iter().collect(),
            headers,
            body: Some(form.finish(format)),
            credential: None,
            timeout: self.timeout,
        }
    }

    /// What was answered; and of an answer that broke off, why.
    async fn send(&self, request: HostRequest) -> Result<(Answer, Option<String>), Refused> {
        let Unfinished { failure, partial } = match self.outbound.fetch(request).await {
            Ok(whole) => return Ok((Answer(whole), None)),
            Err(unfinished) => unfinished,
        };
        let problem = failure.message;
        match partial {
            Some(partial) => Ok((Answer(partial), Some(problem))),
            None if failure.request_sent => Err(Refused::Ambiguous(problem)),
            None => Err(Refused::Unsent(problem)),
        }
    }
}

/// The host that a URL of a descriptor names: the only one that a request to it may go to.
fn host_of(url: &str) -> Option<HostPattern> {
    let url = Url::parse(url).ok()?;
    let (host, port) = (url.host_str()?, url.port_or_known_default()?);
    let text = if port == 443 { host.to_owned() } else { format!("{host}:{port}") };
    HostPattern::try_from(text).ok()
}

/// What an answer that is no success means (RFC 6749 section 5.2).
fn problem(oauth: &Oauth, response: &Answer) -> Refused {
    let (status, wait) = (response.status, retry_after(response));
    if let Some(refused) = no(oauth, response, response.fields().as_ref()) {
        return refused;
    }
    match status {
        // Too slow, too early: said of the time, and not of what was presented.
        408 | 425 | 429 | 500.. => {
            Refused::Busy(wait, format!("the token endpoint answered {status}"))
        }
        400..500 if !response.is_page() => {
            let problem =
                format!("the token endpoint answered {status}, in words that OAuth does not have");
            Refused::Plain(wait, problem)
        }
        // A firewall's or a gateway's: the server that knows the token has not seen the request.
        400..500 => {
            let problem = format!(
                "the token endpoint answered {status} with a web page, as something in between does"
            );
            Refused::Busy(wait, problem)
        }
        _ => {
            let problem =
                format!("the token endpoint answered {status}, which is no answer of OAuth");
            Refused::Busy(wait, problem)
        }
    }
}

/// What an answer means by the error that these members of it name, if they name one and it counts at that status.
fn no(oauth: &Oauth, response: &Answer, fields: Option<&Fields>) -> Option<Refused> {
    let fields = fields?;
    let named = named(fields, &oauth.errors)?;
    let counts = match response.status {
        // A server that is unwell says all kinds of things. What the release has a name for, it means.
        429 | 500.. => names::declared(fields, &oauth.errors).is_some(),
        // Some report errors with a success's status.
        200..300 | 400..500 => true,
        _ => named == Named::Busy,
    };
    counts.then(|| refused(named, retry_after(response)))
}

fn refused(named: Named, wait: Option<Duration>) -> Refused {
    match named {
        Named::Grant => Refused::Grant,
        Named::Client(Some(name)) => {
            Refused::Client(format!("the token endpoint answered `{name}`"))
        }
        Named::Client(None) => {
            Refused::Client("the token endpoint refuses the client in its own words".to_owned())
        }
        Named::Request(name) => disliked(name),
        Named::Busy => {
            Refused::Busy(wait, "the token endpoint is temporarily unavailable".to_owned())
        }
    }
}

fn disliked(name: &str) -> Refused {
    let whose = match name {
        "unsupported_grant_type" | "invalid_scope" => Disliked::Everywhere,
        _ => Disliked::Here,
    };
    Refused::Request(whose, format!("the token endpoint answered `{name}`"))
}

/// What an answer of the provider has at a JSON Pointer, read like an answer with tokens: whatever else in it nobody can read,
/// and with as many digits as it is written with. None of an answer that is no JSON.
pub(crate) fn named_in(response: Response, pointer: &str) -> Option<Option<String>> {
    Answer(response).named(pointer)
}

/// RFC 9110 section 10.2.3: seconds, or a date. A wait of nothing, one that is over, that is longer than anybody means, or
/// that cannot be read is no information: whoever waits does so by a rule of its own.
pub(crate) fn retry_after(response: &Response) -> Option<Duration> {
    let header = |wanted: &str| {
        let found = response.headers.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.trim())
    };
    let value = header("retry-after")?;
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = httpdate::parse_http_date(value).ok()?;
            // By the server's own clock, and where it does not tell that, not at all: ours may be off.
            let now = httpdate::parse_http_date(header("date")?).ok()?;
            at.duration_since(now).ok()?
        }
    };
    (!wait.is_zero() && wait <= WAIT_MAX).then_some(wait)
}

#[cfg(test)]
mod tests;
