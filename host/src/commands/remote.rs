//! A request to a running host, and what its answer means for the command.

use std::fmt;
use std::time::Duration;

use anyhow::Context as _;
use http::{Method, StatusCode};
use hyper::body::Bytes;
use keyway_api::contract::Problem;
use keyway_api::contract::call::Extra;
use keyway_core::Code;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::answer::{Answer, Members};
use crate::args::{Calling, Remote};
use crate::client::{Client, Lines, Reply};
use crate::env;
use crate::exit::Exit;
use crate::output;

/// A running host, with how to talk to it and how to print.
pub(crate) struct Session {
    client: Client,
    environment: String,
    /// Whether somebody has said which environment.
    named: bool,
    json: bool,
}

/// The environment that is meant where nobody says one.
const ENVIRONMENT_DEFAULT: &str = "dev";

/// The host refused, or the call failed.
#[derive(Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    problem: Box<Problem>,
    /// The document as it came.
    text: Answer,
}

/// The command itself found out that there is nothing to do: what was typed names nothing, or more than one thing.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {detail}")]
pub(crate) struct Unfit {
    /// As the host would call it.
    pub(crate) code: Code,
    /// For people.
    pub(crate) detail: String,
}

/// How long a command waits for a host that starts: as long as one with a few hundred releases takes to load them.
const START_TIME_MAX: Duration = Duration::from_secs(30);

/// How often it asks meanwhile.
const START_PULSE: Duration = Duration::from_millis(250);

/// The waiting for a host that has not loaded what the request needs: it has done nothing yet, so it may be asked again.
struct Patience {
    until: Instant,
    said: bool,
}

// === impl Patience ===

impl Patience {
    /// Programs are told once, by how it ends.
    fn begin(json: bool) -> Self {
        Self { until: Instant::now() + START_TIME_MAX, said: json }
    }

    /// Waits a little, if that is what the host asks for and there is time left.
    async fn spend(&mut self, error: anyhow::Error) -> anyhow::Result<()> {
        let starts = |refused: &Refused| refused.problem.code == Code::Starting.as_str();
        if !error.downcast_ref().is_some_and(starts) || Instant::now() >= self.until {
            return Err(error);
        }
        if !std::mem::replace(&mut self.said, true) {
            let seconds = START_TIME_MAX.as_secs();
            output::note(format!("the host is starting; waiting for it, {seconds} s at most"));
        }
        tokio::time::sleep(START_PULSE).await;
        Ok(())
    }
}

// === impl Session ===

impl Session {
    /// A session as the command line says.
    pub(crate) fn new(remote: Remote) -> anyhow::Result<Self> {
        let Remote { host, token, env, json, wide: _ } = remote;
        let said = env.or_else(|| said_environment(std::env::var(env::ENVIRONMENT).ok()));
        let named = said.is_some();
        let environment = said.unwrap_or_else(|| ENVIRONMENT_DEFAULT.to_owned());
        Ok(Self { client: Client::new(host, token)?, environment, named, json })
    }

    /// The same session, for calls that are made so.
    pub(crate) fn calling(&self, calling: &Calling) -> anyhow::Result<Self> {
        let (client, environment) = (self.client.calling(calling)?, self.environment.clone());
        Ok(Self { client, environment, named: self.named, json: self.json })
    }

    /// Whether JSON was asked for.
    pub(crate) const fn json(&self) -> bool {
        self.json
    }

    /// The environment named on the command line.
    pub(crate) fn environment(&self) -> &str {
        &self.environment
    }

    /// The environments of a new token: a caller's is for one, which may be named as everywhere else.
    pub(crate) fn bound_to(&self, role: &str, only: Vec<String>) -> Result<Vec<String>, Unfit> {
        match (role, only.len()) {
            ("caller", 0) if self.named => Ok(vec![self.environment.clone()]),
            ("caller", 1) => Ok(only),
            ("caller", _) => Err(Unfit {
                code: Code::InvalidRequest,
                detail: "a caller's token is for one environment: name it once, with `--only`, `--env` or KEYWAY_ENV"
                    .to_owned(),
            }),
            _ => Ok(only),
        }
    }

    /// Path of an installation. Names are encoded, so what was typed cannot become another path.
    pub(crate) fn installation(&self, tenant: &str, connector: &str, rest: &str) -> String {
        let environment = encoded(&self.environment);
        format!(
            "/v1/environments/{environment}/tenants/{}/connectors/{}{rest}",
            encoded(tenant),
            connector_path(connector),
        )
    }

    /// `GET path`.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(Method::GET, path, "application/json", Bytes::new()).await?.answer()
    }

    /// Every page of a list, put together: an object with the one field `list`.
    pub(crate) async fn list(
        &self,
        path: &str,
        filters: &[(&str, Option<&str>)],
        list: &str,
    ) -> anyhow::Result<Answer> {
        let (mut rows, mut after): (Vec<Box<RawValue>>, Option<String>) = (Vec::new(), None);
        loop {
            let query: Vec<String> = filters
                .iter()
                .copied()
                .chain([("after", after.as_deref())])
                .filter_map(|(key, value)| Some(format!("{key}={}", encoded(value?))))
                .collect();
            let page = self.get(&format!("{path}?{}", query.join("&"))).await?.members()?;
            rows.extend(page.read::<Vec<_>>(list)?.unwrap_or_default());
            after = page.read("next")?;
            if after.is_none() {
                let mut whole = Members::default();
                whole.set(list, &rows)?;
                return Answer::of(&whole);
            }
        }
    }

    /// Every page of a list of generations, newest first, put together: an object with the one field `list`.
    pub(crate) async fn newest_first(&self, path: &str, list: &str) -> anyhow::Result<Answer> {
        let (mut rows, mut before): (Vec<Box<RawValue>>, Option<u64>) = (Vec::new(), None);
        loop {
            let query = before.map_or(String::new(), |before| format!("?before={before}"));
            let page = self.get(&format!("{path}{query}")).await?.members()?;
            rows.extend(page.read::<Vec<_>>(list)?.unwrap_or_default());
            before = page.read("next")?;
            if before.is_none() {
                let mut whole = Members::default();
                whole.set(list, &rows)?;
                return Answer::of(&whole);
            }
        }
    }

    /// `PUT` or `POST` of JSON text as it is.
    pub(crate) async fn text(
        &self,
        method: Method,
        path: &str,
        json: String,
    ) -> anyhow::Result<Reply> {
        self.send(method, path, "application/json", json.into()).await
    }

    /// `PUT` or `POST` of a value.
    pub(crate) async fn value(
        &self,
        method: Method,
        path: &str,
        value: &impl Serialize,
    ) -> anyhow::Result<Answer> {
        let json = serde_json::to_string(value).context("request")?;
        self.text(method, path, json).await?.answer()
    }

    /// Any request. An answer that is no success is an error.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Bytes,
    ) -> anyhow::Result<Reply> {
        let mut patience = Patience::begin(self.json);
        loop {
            let reply = self.client.send(method.clone(), path, kind, body.clone()).await?;
            if reply.status.is_success() {
                return Ok(reply);
            }
            patience.spend(refused(reply)).await?;
        }
    }

    /// `GET path`, where the answer goes on: line by line.
    pub(crate) async fn lines(&self, path: &str) -> anyhow::Result<Lines> {
        let mut patience = Patience::begin(self.json);
        loop {
            match self.client.lines(path).await? {
                Ok(lines) => return Ok(lines),
                Err(reply) => patience.spend(refused(reply)).await?,
            }
        }
    }

    /// Prints an answer: as JSON if that was asked for, or else the way `text` does.
    pub(crate) fn show<T: DeserializeOwned>(
        &self,
        json: impl Into<Answer>,
        text: impl FnOnce(T),
    ) -> anyhow::Result<Exit> {
        let json = json.into();
        if self.json {
            output::json(json.text(), false);
        } else {
            text(json.to()?);
        }
        Ok(Exit::Success)
    }
}

impl Session {
    /// Says that something is no more, where the host answers with nothing: to programs as an object, to people as `text`.
    pub(crate) fn gone(&self, what: serde_json::Value, text: impl fmt::Display) -> Exit {
        match self.json {
            true => output::json(&what.to_string(), false),
            false => output::note(text),
        }
        Exit::Success
    }
}

/// An environment as a variable says it. One that is empty says nothing, as shells write one that is not set.
fn said_environment(variable: Option<String>) -> Option<String> {
    variable.filter(|name| !name.is_empty())
}

/// What an answer that is no success means.
fn refused(reply: Reply) -> anyhow::Error {
    let status = reply.status;
    let read = |text: Answer| Ok::<_, anyhow::Error>((text.to()?, text));
    match reply.answer().and_then(read) {
        Ok((problem, text)) => Refused { status, problem: Box::new(problem), text }.into(),
        Err(_) => anyhow::anyhow!("answer {status} is not a Keyway host's"),
    }
}

/// `publisher/name` as two path segments; anything else as one, for the host to refuse.
pub(crate) fn connector_path(connector: &str) -> String {
    match connector.split_once('/') {
        Some((publisher, name)) => format!("{}/{}", encoded(publisher), encoded(name)),
        None => encoded(connector),
    }
}

/// A path segment or query value: all but letters, digits and `-._~` percent-encoded (RFC 3986 2.3).
pub(crate) fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    // `.` and `..` would be steps of a path.
    if text.bytes().all(|b| b == b'.') {
        return "%2E".repeat(text.len());
    }
    text.bytes()
        .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

// === impl Reply ===

impl Reply {
    /// The body as JSON. What is none comes from something else than a host, or was cut off on its way.
    pub(crate) fn answer(&self) -> anyhow::Result<Answer> {
        Answer::read(&self.body)
    }
}

// === impl Refused ===

impl Refused {
    /// What the command's exit code says of it.
    pub(crate) fn exit(&self) -> Exit {
        // A failure of the provider may have any status; that something was sent tells it apart. That it has no such
        // record, or one that collides, is about what the request names, whoever says so.
        let named = [Code::NotFound, Code::UpstreamConflict];
        let named = named.iter().any(|code| code.as_str() == self.problem.code);
        let sent = self.problem.request_sent == Some(true);
        match self.status.as_u16() {
            _ if named => Exit::Refused,
            _ if sent => Exit::CallFailed,
            401 | 403 => Exit::Unauthorised,
            424 | 429 | 500..=599 => Exit::CallFailed,
            _ => Exit::Refused,
        }
    }
}

impl Refused {
    /// The problem document, as the host sent it.
    pub(crate) fn document(&self) -> &str {
        self.text.text()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { code, detail, instance, retry_after_ms, extra, guest_said, .. } =
            &*self.problem;
        write!(f, "{code}: {detail}")?;
        if let Some(wait) = retry_after_ms {
            write!(f, " (try again in {wait} ms)")?;
        }
        if let Some(instance) = instance {
            write!(f, " [{instance}]")?;
        }
        for Extra { name, value } in extra {
            write!(f, "\n{name}: {value}")?;
        }
        for line in guest_said.iter().flat_map(|said| said.lines()) {
            write!(f, "\n| {line}")?;
        }
        write!(f, "\n`keyway explain {code}` says what to do")
    }
}

impl std::error::Error for Refused {}

#[cfg(test)]
mod tests {
    use super::*;

    fn starting(code: Code) -> anyhow::Error {
        let problem = serde_json::json!({"type": "", "title": "", "status": 503, "detail": "x",
            "code": code.as_str(), "whose": "host", "retry": true});
        let body = problem.to_string();
        let status = StatusCode::SERVICE_UNAVAILABLE;
        refused(Reply { status, headers: http::HeaderMap::new(), body })
    }

    #[tokio::test]
    async fn patience_is_for_a_host_that_starts_and_ends() {
        let mut patience = Patience::begin(true);
        assert!(patience.spend(starting(Code::StoreUnavailable)).await.is_err());
        assert!(patience.spend(starting(Code::Starting)).await.is_ok());
        patience.until = Instant::now();
        let ended = patience.spend(starting(Code::Starting)).await.expect_err("it is over");
        let told = ended.downcast_ref::<Refused>().expect("the host's own words");
        assert_eq!(told.exit(), Exit::CallFailed);
    }

    #[test]
    fn a_callers_token_is_for_the_environment_that_was_said() {
        let session = |env: Option<&str>| {
            let host = "http://127.0.0.1:1".parse().unwrap();
            let env = env.map(str::to_owned);
            let named = env.is_some();
            let client = Client::new(host, None).unwrap();
            let environment = env.unwrap_or_else(|| ENVIRONMENT_DEFAULT.to_owned());
            Session { client, environment, named, json: false }
        };
        let only = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let said = session(Some("prod"));
        assert_eq!(said.bound_to("caller", only(&[])).unwrap(), ["prod"]);
        assert_eq!(said.bound_to("caller", only(&["dev"])).unwrap(), ["dev"]);
        assert!(said.bound_to("viewer", only(&[])).unwrap().is_empty());
        for refused in [
            session(None).bound_to("caller", only(&[])).unwrap_err(),
            said.bound_to("caller", only(&["dev", "prod"])).unwrap_err(),
        ] {
            assert!(refused.detail.contains("--only"), "{refused}");
        }
        assert_eq!(said_environment(Some(String::new())), None);
        assert_eq!(said_environment(Some("prod".to_owned())).as_deref(), Some("prod"));
    }

    #[test]
    fn what_is_typed_stays_one_segment() {
        assert_eq!(encoded("../x"), "..%2Fx");
        assert_eq!(encoded(".."), "%2E%2E");
        assert_eq!(encoded("a b?c#d"), "a%20b%3Fc%23d");
        assert_eq!(connector_path("keyway/hubspot"), "keyway/hubspot");
        assert_eq!(connector_path("a/b/c"), "a/b%2Fc");
    }
}
