//! An authorization server in memory: rotates, revokes on reuse, and answers as a test has scripted.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use keyway_core::call::{Failure, FailureKind};
use keyway_core::exchange::{HostRequest, Response, Unfinished};
use keyway_core::ports::Outbound;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::time::sleep;

/// What the server does with one request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Takes the token and issues new ones, with these fields put over the usual.
    Issue(Value),
    /// Takes the token; the answer is this text.
    Text(&'static str),
    /// Takes the token; the answer is lost on the way.
    Lost,
    /// Takes the token; the answer breaks off behind this.
    Cut(&'static str),
    /// Answers so, and takes nothing.
    Error(u16, Vec<(&'static str, &'static str)>, &'static str),
    /// Is not reached.
    Unsent,
}

/// The server.
#[derive(Default)]
pub(crate) struct Server(Mutex<Book>);

#[derive(Default)]
struct Book {
    /// Refresh token that is taken, by connection: tokens are called `refresh-NAME-N`.
    live: HashMap<String, u32>,
    /// How often each was presented.
    presented: HashMap<String, u32>,
    requests: u32,
    /// Tokens that were to be revoked, in this order.
    revoked: Vec<String>,
    /// Kinds of tokens that it does not revoke.
    irrevocable: &'static [&'static str],
    script: VecDeque<Answer>,
    delay: Duration,
    /// Takes each token as often as it comes, and issues no new one.
    keeps: bool,
    /// Takes a token that it has replaced, for as long as it is asked.
    lenient: bool,
    /// What the server says the time is.
    date: Option<String>,
}

// === impl Server ===

impl Server {
    pub(crate) fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.0.lock().expect("not poisoned").script = answers.into_iter().collect();
    }

    pub(crate) fn takes(&self, delay: Duration) {
        self.0.lock().expect("not poisoned").delay = delay;
    }

    pub(crate) fn keeps(&self) {
        self.0.lock().expect("not poisoned").keeps = true;
    }

    pub(crate) fn lenient(&self) {
        self.0.lock().expect("not poisoned").lenient = true;
    }

    /// Says this time with each answer.
    pub(crate) fn says(&self, date: OffsetDateTime) {
        let date = httpdate::fmt_http_date(date.into());
        self.0.lock().expect("not poisoned").date = Some(date);
    }

    /// Takes the tenant's own tokens no more, as after a revocation.
    pub(crate) fn revoke(&self) {
        self.0.lock().expect("not poisoned").live.insert("refresh-acme".to_owned(), u32::MAX);
    }

    pub(crate) fn requests(&self) -> u32 {
        self.0.lock().expect("not poisoned").requests
    }

    /// How often the refresh token was presented that was most.
    pub(crate) fn most_presented(&self) -> u32 {
        self.0.lock().expect("not poisoned").presented.values().copied().max().unwrap_or(0)
    }

    /// What was to be revoked.
    pub(crate) fn revoked(&self) -> Vec<String> {
        self.0.lock().expect("not poisoned").revoked.clone()
    }

    /// Does not revoke tokens of these kinds, by RFC 7009's hints.
    pub(crate) fn keeps_good(&self, kinds: &'static [&'static str]) {
        self.0.lock().expect("not poisoned").irrevocable = kinds;
    }

    fn revokes(&self, body: &str) -> Response {
        let form: HashMap<_, _> =
            url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        let mut book = self.0.lock().expect("not poisoned");
        book.revoked.push(form["token"].clone());
        match book.irrevocable.contains(&&*form["token_type_hint"]) {
            true => response(400, &[], r#"{"error":"unsupported_token_type"}"#),
            false => response(200, &[], ""),
        }
    }

    fn answer(&self, body: &str) -> Result<Response, Box<Unfinished>> {
        let mut book = self.0.lock().expect("not poisoned");
        let scripted = book.script.pop_front().unwrap_or(Answer::Issue(json!({})));
        if matches!(scripted, Answer::Unsent) {
            return Err(Box::new(failure(false)));
        }
        book.requests += 1;
        let form: HashMap<_, _> =
            url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        let token = form.get("refresh_token").expect("a refresh").clone();
        *book.presented.entry(token.clone()).or_default() += 1;
        if let Answer::Error(status, headers, text) = scripted {
            return Ok(response(status, &headers, text));
        }
        let (name, number) = token.rsplit_once('-').expect("a token of ours");
        let number: u32 = number.parse().expect("a number");
        let (keeps, lenient) = (book.keeps, book.lenient);
        let live = book.live.entry(name.to_owned()).or_insert(0);
        let taken = number == *live || keeps || lenient && *live != u32::MAX && number < *live;
        if !taken {
            // A token that was used before: somebody has stolen it, and all rights are taken back.
            *live = u32::MAX;
            return Ok(response(400, &[], r#"{"error":"invalid_grant"}"#));
        }
        *live += 1;
        let next = *live;
        match scripted {
            Answer::Lost => Err(Box::new(failure(true))),
            Answer::Cut(text) => {
                let partial = Some(response(200, &[], text));
                Err(Box::new(Unfinished { partial, ..failure(true) }))
            }
            Answer::Text(text) => Ok(response(200, &[], text)),
            Answer::Issue(over) => {
                let access = name.replace("refresh", "access");
                let mut fields = json!({
                    "access_token": format!("{access}-{next}"),
                    "token_type": "bearer",
                    "expires_in": 3600,
                });
                if !keeps {
                    fields["refresh_token"] = format!("{name}-{next}").into();
                }
                for (name, value) in over.as_object().expect("an object") {
                    fields[name.as_str()] = value.clone();
                }
                let date: Vec<_> = book.date.iter().map(|date| ("date", date.as_str())).collect();
                Ok(response(200, &date, &fields.to_string()))
            }
            Answer::Unsent | Answer::Error(..) => unreachable!("answered above"),
        }
    }
}

#[async_trait]
impl Outbound for Server {
    async fn fetch(&self, request: HostRequest) -> Result<Response, Unfinished> {
        let body = request.body.expect("a form");
        if request.purpose == "revoke" {
            return Ok(self.revokes(body.expose_secret()));
        }
        let answer = self.answer(body.expose_secret());
        let delay = self.0.lock().expect("not poisoned").delay;
        sleep(delay).await;
        answer.map_err(|unfinished| *unfinished)
    }
}

fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Response {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let headers = headers.iter().map(own).collect();
    Response { status, headers, body: body.to_owned().into() }
}

fn failure(request_sent: bool) -> Unfinished {
    let failure = Failure {
        kind: FailureKind::Transient,
        code: None,
        message: "the connection broke".to_owned(),
        retry_after: None,
        request_sent,
        extra: Vec::new(),
    };
    failure.into()
}
