//! What goes to a token endpoint, letter by letter, and the forms that its answers come in.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyway_core::call::Failure;
use serde_json::{Value, json};

use super::*;

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The fields of a form, by name.
type Pairs<'a> = &'a [(&'a str, &'a str)];

/// Keeps the request, and answers this.
struct Provider {
    answer: (u16, &'static str, &'static str),
    seen: Mutex<Option<HostRequest>>,
}

#[async_trait]
impl Outbound for Provider {
    async fn fetch(&self, request: HostRequest) -> Result<Response, Failure> {
        *self.seen.lock().unwrap() = Some(request);
        let (status, kind, body) = self.answer;
        let headers = vec![("content-type".to_owned(), kind.to_owned())];
        Ok(Response { status, headers, body: body.into() })
    }
}

impl Provider {
    fn answering(status: u16, kind: &'static str, body: &'static str) -> Self {
        Self { answer: (status, kind, body), seen: Mutex::default() }
    }

    fn issuing() -> Self {
        Self::answering(200, "application/json", r#"{"access_token":"a"}"#)
    }

    /// Asks with these facts, for two scopes.
    async fn asked(&self, facts: Value, client: Client, ask: Ask<'_>) -> Result<Issued, Refused> {
        let mut scheme = json!({"token-url": "https://login.example.com/token"});
        scheme.as_object_mut().unwrap().extend(facts.as_object().unwrap().clone());
        let oauth: Oauth = serde_json::from_value(scheme).unwrap();
        let endpoint = Endpoint {
            outbound: self,
            environment: &"dev".parse().unwrap(),
            oauth: &oauth,
            client: &client,
            timeout: Duration::from_secs(1),
        };
        endpoint.ask(ask, &["read".to_owned(), "write:all".to_owned()]).await
    }

    /// The request's form and `authorization`.
    fn sent(&self) -> (BTreeMap<String, String>, Option<String>) {
        let request = self.seen.lock().unwrap().take().unwrap();
        assert_eq!(request.headers[CONTENT_TYPE], "application/x-www-form-urlencoded");
        assert_eq!(request.hosts, ["login.example.com".to_owned().try_into().unwrap()]);
        let form = request.body.unwrap();
        let pairs: Vec<(String, String)> =
            url::form_urlencoded::parse(form.expose_secret().as_bytes()).into_owned().collect();
        let form: BTreeMap<_, _> = pairs.iter().cloned().collect();
        assert_eq!(form.len(), pairs.len(), "no parameter twice: {:?}", form.keys());
        let authorization = request.headers.get(AUTHORIZATION);
        (form, authorization.map(|value| value.to_str().unwrap().to_owned()))
    }
}

fn client(secret: Option<&str>) -> Client {
    Client { id: "shop & sons".to_owned(), secret: secret.map(SecretString::from) }
}

fn machine<'a>() -> Ask<'a> {
    Ask::ClientCredentials { user: None }
}

#[tokio::test]
async fn a_client_says_who_it_is_as_the_descriptor_has_it() {
    let secret = "p+ss:w%rd";
    // RFC 6749 section 2.3.1: form-encoded before they are joined by a colon.
    let basic = STANDARD.encode("shop+%26+sons:p%2Bss%3Aw%25rd");
    for (facts, secret, id, in_body, header) in [
        (json!({}), Some(secret), None, None, Some(format!("Basic {basic}"))),
        (json!({"client-auth": "post"}), Some(secret), Some("shop & sons"), Some(secret), None),
        (json!({"client-auth": "none"}), Some(secret), Some("shop & sons"), None, None),
        (json!({"client-auth": "none"}), None, Some("shop & sons"), None, None),
        // A public client has no secret to say it with.
        (json!({}), None, Some("shop & sons"), None, None),
        (json!({"client-auth": "post"}), None, Some("shop & sons"), None, None),
    ] {
        let provider = Provider::issuing();
        provider.asked(facts.clone(), client(secret), machine()).await.unwrap();
        let (form, authorization) = provider.sent();
        let value = |name: &str| form.get(name).map(String::as_str);
        assert_eq!(value("client_id"), id, "{facts}");
        assert_eq!(value("client_secret"), in_body, "{facts}");
        assert_eq!(authorization, header, "{facts}");
    }
}

#[tokio::test]
async fn each_grant_sends_what_its_standard_says() {
    let (token, user) = (SecretString::from("t0ken"), "ann@example.com".parse().unwrap());
    let verifier = SecretString::from("ver");
    let named = json!({"user-param": "requested_subject"});
    let code =
        Ask::Code { code: &token, redirect_uri: "https://us/back", verifier: Some(&verifier) };
    let cases: Vec<(Value, Ask<'_>, Pairs<'_>)> = vec![
        (
            json!({}),
            Ask::Refresh(&token),
            &[("grant_type", "refresh_token"), ("refresh_token", "t0ken")],
        ),
        (
            json!({}),
            code,
            &[
                ("code", "t0ken"),
                ("code_verifier", "ver"),
                ("grant_type", "authorization_code"),
                ("redirect_uri", "https://us/back"),
            ],
        ),
        (
            json!({}),
            machine(),
            &[("grant_type", "client_credentials"), ("scope", "read write:all")],
        ),
        (
            named.clone(),
            Ask::ClientCredentials { user: Some(&user) },
            &[
                ("grant_type", "client_credentials"),
                ("requested_subject", "ann@example.com"),
                ("scope", "read write:all"),
            ],
        ),
        (
            json!({"scope-separator": ",", "token-params": {"audience": "api"}}),
            Ask::Exchange { subject: &token, user: Some(&user) },
            &[
                ("audience", "api"),
                ("grant_type", EXCHANGE),
                ("scope", "read,write:all"),
                ("subject_token", "t0ken"),
                ("subject_token_type", ACCESS),
            ],
        ),
        (
            json!({"user-param": "requested_subject", "token-params": {"subject_token_type": "jwt"}}),
            Ask::Exchange { subject: &token, user: Some(&user) },
            &[
                ("grant_type", EXCHANGE),
                ("requested_subject", "ann@example.com"),
                ("scope", "read write:all"),
                ("subject_token", "t0ken"),
                ("subject_token_type", "jwt"),
            ],
        ),
    ];
    for (facts, ask, expected) in cases {
        let provider = Provider::issuing();
        provider.asked(facts, client(Some("secret")), ask).await.unwrap();
        let (form, _) = provider.sent();
        let form: Vec<_> = form.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(form, expected);
    }
}

#[tokio::test]
async fn an_answer_may_be_json_or_a_form() {
    let facts = json!({"base-url": "/instance_url", "base-url-suffixes": ["example.com"],
        "account": "/account/id", "scope-separator": ","});
    let whole = r#"{"access_token":"a","refresh_token":"r","expires_in":3600,"scope":"write,read,write",
        "instance_url":"https://eu.example.com","account":{"id":17}}"#;
    let provider = Provider::answering(200, "application/json", whole);
    let issued = provider.asked(facts.clone(), client(None), machine()).await.unwrap();
    assert_eq!(issued.access.expose_secret(), "a");
    assert_eq!(issued.refresh.unwrap().expose_secret(), "r");
    assert_eq!(issued.lifetime, Some(Duration::from_secs(3600)));
    assert_eq!(issued.scopes.unwrap(), ["read", "write"]);
    assert_eq!(issued.base_url.as_deref(), Some("https://eu.example.com"));
    assert_eq!(issued.account.as_deref(), Some("17"));

    let form = "access_token=a%2Bb&refresh_token=r&expires_in=60&scope=read+write&instance_url=https%3A%2F%2Feu.example.com";
    let kind = "application/x-www-form-urlencoded; charset=utf-8";
    let provider = Provider::answering(200, kind, form);
    let issued = provider.asked(facts, client(None), machine()).await.unwrap();
    assert_eq!(issued.access.expose_secret(), "a+b");
    assert_eq!(issued.lifetime, Some(Duration::from_secs(60)));
    // Asked for with commas, and answered as the standard has it.
    assert_eq!(issued.scopes.unwrap(), ["read", "write"]);
    assert_eq!(issued.base_url.as_deref(), Some("https://eu.example.com"));

    // The same text, and nobody says that it is a form.
    let provider = Provider::answering(200, "text/html", form);
    let refused = provider.asked(json!({}), client(None), machine()).await.unwrap_err();
    assert!(matches!(refused, Refused::Ambiguous(_)), "{refused:?}");
}

/// An error is about what was presented, or about the client; the second says nothing of the first.
#[tokio::test]
async fn an_error_is_read_by_what_was_presented() {
    let token = SecretString::from("t0ken");
    let ask = |kind: &str| match kind {
        "refresh" => Ask::Refresh(&token),
        "exchange" => Ask::Exchange { subject: &token, user: None },
        _ => machine(),
    };
    for (kind, body, gone) in [
        ("refresh", r#"{"error":"invalid_grant"}"#, true),
        ("refresh", r#"{"error":"invalid_request"}"#, false),
        // RFC 8693 section 2.2.2.
        ("exchange", r#"{"error":"invalid_request"}"#, true),
        ("exchange", r#"{"error":"invalid_grant"}"#, true),
        ("exchange", r#"{"error":"invalid_client"}"#, false),
        ("exchange", r#"{"error":"invalid_scope"}"#, false),
        ("machine", r#"{"error":"invalid_grant"}"#, false),
        ("machine", r#"{"error":"invalid_request"}"#, false),
    ] {
        let provider = Provider::answering(400, "application/json", body);
        let refused = provider.asked(json!({}), client(None), ask(kind)).await.unwrap_err();
        match refused {
            Refused::Grant => assert!(gone, "{kind} {body}"),
            Refused::Client(_) | Refused::Request(_) => assert!(!gone, "{kind} {body}"),
            other => panic!("{kind} {body}: {other:?}"),
        }
    }
}
