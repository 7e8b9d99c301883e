//! What goes to a token endpoint, letter by letter, and the forms that its answers come in.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyway_core::call::Failure;
use keyway_core::exchange::Unfinished;
use serde_json::{Value, json};

use super::*;

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS: &str = "urn:ietf:params:oauth:token-type:access_token";

const NOW: OffsetDateTime = time::macros::datetime!(2026-03-01 12:00 UTC);

/// The fields of a form, by name.
type Pairs<'a> = &'a [(&'a str, &'a str)];

/// Keeps the request, and answers this.
struct Provider {
    answer: (u16, &'static str, &'static str),
    /// Whether the connection breaks behind that.
    breaks: bool,
    seen: Mutex<Option<HostRequest>>,
}

#[async_trait]
impl Outbound for Provider {
    async fn fetch(&self, request: HostRequest) -> Result<Response, Unfinished> {
        *self.seen.lock().unwrap() = Some(request);
        let (status, kind, body) = self.answer;
        let headers = vec![("content-type".to_owned(), kind.to_owned())];
        let response = Response { status, headers, body: body.into() };
        match self.breaks {
            false => Ok(response),
            true => {
                let failure = Failure::denied("connection-lost", "the connection ended");
                Err(Unfinished { failure, partial: Some(response) })
            }
        }
    }
}

impl Provider {
    fn answering(status: u16, kind: &'static str, body: &'static str) -> Self {
        Self { answer: (status, kind, body), breaks: false, seen: Mutex::default() }
    }

    fn breaking(body: &'static str) -> Self {
        Self { breaks: true, ..Self::answering(200, "application/json", body) }
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
            now: NOW,
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
    let (id, secret) = ("shop & sons".to_owned(), secret.map(SecretString::from));
    Client { id, secret, key_id: None }
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
        (
            json!({"client-auth": "basic-raw"}),
            Some(secret),
            None,
            None,
            Some(format!("Basic {}", STANDARD.encode("shop & sons:p+ss:w%rd"))),
        ),
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
async fn a_request_is_a_form_or_json_as_the_release_says() {
    let provider = Provider::issuing();
    let facts =
        json!({"token-format": "json", "client-auth": "post", "token-params": {"audience": "api"}});
    let token = SecretString::from("t0\"ken");
    provider.asked(facts, client(Some("s3cret")), Ask::Refresh(&token)).await.unwrap();
    let request = provider.seen.lock().unwrap().take().unwrap();
    assert_eq!(request.headers[CONTENT_TYPE], "application/json");
    let body: Value = serde_json::from_str(request.body.unwrap().expose_secret()).unwrap();
    let expected = json!({
        "grant_type": "refresh_token", "refresh_token": "t0\"ken", "client_id": "shop & sons",
        "client_secret": "s3cret", "audience": "api",
    });
    assert_eq!(body, expected);
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
    let provider = Provider::answering(200, "text/plain", form);
    let issued = provider.asked(json!({}), client(None), machine()).await.unwrap();
    assert_eq!(issued.access.expose_secret(), "a+b");
    let page = "<html><a href='/?access_token=a'>on</a></html>";
    let provider = Provider::answering(200, "text/html", page);
    let refused = provider.asked(json!({}), client(None), machine()).await.unwrap_err();
    assert!(matches!(refused, Refused::Ambiguous(_)), "{refused:?}");
}

/// What a yes has in it is kept, whatever stands beside it. Empty means absent.
#[tokio::test]
async fn everything_usable_of_a_yes_is_kept() {
    for (body, refresh, doubtful, lifetime) in [
        (r#"{"access_token":"a","refresh_token":""}"#, None, false, None),
        (r#"{"access_token":"a","refresh_token":null,"expires_in":""}"#, None, false, None),
        (
            r#"{"access_token":"a","refresh_token":"r","expires_in":"3599.5"}"#,
            Some("r"),
            false,
            Some(3599),
        ),
        (
            r#"{"access_token":"a","refresh_token":"r","expires_in":" 60 "}"#,
            Some("r"),
            false,
            Some(60),
        ),
        (r#"{"access_token":"a","refresh_token":"r","expires_in":0}"#, Some("r"), false, None),
        (r#"{"access_token":"a","refresh_token":"r","expires_in":1e400}"#, Some("r"), false, None),
        (
            r#"{"access_token":"a","refresh_token":"r","expires_in":{"in":60}}"#,
            Some("r"),
            false,
            None,
        ),
        (
            r#"{"access_token":"a","refresh_token":"r","scope":7,"name":"\ud800"}"#,
            Some("r"),
            false,
            None,
        ),
        (r#"{"access_token":"a","refresh_token":"r\n"}"#, None, true, None),
        (r#"{"access_token":"a","refresh_token":7}"#, None, true, None),
        (r#"{"access_token":"a","refresh_token":true}"#, None, true, None),
        (r#"{"access_token":"a","refresh_token":["r"]}"#, None, true, None),
        (r#"{"access_token":"a","refresh_token":false}"#, None, false, None),
        (r#"{"access_token":"a","refresh_token":[]}"#, None, false, None),
        (r#"{"access_token":"a","refresh_token":{}}"#, None, false, None),
        (r#"{"access_token":"a","refresh_token":0,"scope":false}"#, None, false, None),
        ("access_token=a&refresh_token=&expires_in=60", None, false, Some(60)),
    ] {
        let provider = Provider::answering(200, "Text/JSON; charset=utf-8", body);
        let token = SecretString::from("t0ken");
        let issued = provider.asked(json!({}), client(None), Ask::Refresh(&token)).await.unwrap();
        assert_eq!(issued.access.expose_secret(), "a", "{body}");
        let found = issued.refresh.as_ref().map(|token| token.expose_secret());
        assert_eq!((found, issued.doubtful), (refresh, doubtful), "{body}");
        assert_eq!(issued.lifetime, lifetime.map(Duration::from_secs), "{body}");
    }
}

/// What broke off is used as far as it is whole and stands where it should; the rest is known, to be ended.
#[tokio::test]
async fn of_an_answer_that_broke_off_only_what_is_sure_is_used() {
    let user = json!({"answer": {"access-token": "/authed_user/access_token"}});
    let wrapped = json!({"answer": {"access-token": "/data/token", "refresh-token": "/data/next"}});
    for (facts, body, access, refresh, sure) in [
        (json!({}), r#"{"access_token":"a","refresh_token":"r","n":1"#, Some("a"), Some("r"), true),
        (json!({}), r#"{"access_token":"a","refresh_token":"r"#, Some("a"), None, true),
        (json!({}), r#"{"n":[{"b":"}"},"x"],"access_token":"a\""#, None, None, false),
        (json!({}), r#"{"n":[{"b":"}"},"x"],"access_token":"a""#, Some("a"), None, true),
        (
            json!({}),
            r#""{\"access_token\":\"a\",\"refresh_token\":\"r\",\"s\":\"\ud83d\u"#,
            Some("a"),
            Some("r"),
            true,
        ),
        (json!({}), "access_token=a&refresh_token=r&scope=x", Some("a"), Some("r"), true),
        (json!({}), "access_token=a&refresh_token=r", Some("a"), None, true),
        (json!({}), "access_token=a", Some("a"), None, false),
        (
            json!({}),
            r#"{"access_token":"a","refresh_token":"r","n":NaN}"#,
            Some("a"),
            Some("r"),
            true,
        ),
        (json!({}), r#"{"data":{"access_token":"a","n":"#, Some("a"), None, false),
        // The bot's, and not the user's that is asked for.
        (
            user.clone(),
            r#"{"access_token":"bot","authed_user":{"id":"u","access_tok"#,
            Some("bot"),
            None,
            false,
        ),
        (
            user,
            r#"{"access_token":"bot","authed_user":{"access_token":"user","scope":"#,
            Some("user"),
            None,
            true,
        ),
        (
            wrapped.clone(),
            r#"{"data":{"token":"a","next":"r","x":{"y":["#,
            Some("a"),
            Some("r"),
            true,
        ),
        (wrapped, r#"{"token":"a","data":{"next":"r""#, Some("a"), Some("r"), false),
    ] {
        let provider = Provider::breaking(body);
        let refused = provider.asked(facts, client(None), machine()).await.unwrap_err();
        let text = |token: &Option<SecretString>| {
            token.as_ref().map(|token| token.expose_secret().to_owned())
        };
        match refused {
            Refused::Broken(_, leftover) => {
                assert_eq!(text(&leftover.access).as_deref(), access, "{body}");
                assert_eq!(text(&leftover.refresh).as_deref(), refresh, "{body}");
                assert_eq!(leftover.cut, sure, "{body}");
            }
            Refused::Ambiguous(_) => assert_eq!((access, refresh), (None, None), "{body}"),
            other => panic!("{body}: {other:?}"),
        }
    }
}

/// An error that has a name is an answer, wherever behind it the connection broke: nothing was spent, and nothing is in doubt.
#[tokio::test]
async fn an_error_that_is_whole_counts_though_the_answer_broke_off() {
    let pointed = json!({"errors": [{"pointer": "/data/reason", "values": ["gone"],
        "means": "needs-reauth"}]});
    let token = SecretString::from("t0ken");
    let said = async |status, facts: &Value, body, breaks| {
        let provider = Provider { breaks, ..Provider::answering(status, "application/json", body) };
        let refused = provider.asked(facts.clone(), client(None), Ask::Refresh(&token)).await;
        match refused.unwrap_err() {
            Refused::Grant => "grant",
            Refused::Client(_) => "client",
            Refused::Request(..) => "request",
            Refused::Busy(..) => "busy",
            Refused::Broken(..) => "broken",
            Refused::Ambiguous(_) => "ambiguous",
            other => panic!("{body}: {other:?}"),
        }
    };
    let none = json!({});
    for (facts, body, expected) in [
        (&none, r#"{"error":"invalid_grant""#, "grant"),
        (&none, r#"{"error":"invalid_grant","error_desc"#, "grant"),
        (&none, r#"{"error":{"code":"invalid_grant","text":"gon"#, "grant"),
        (&none, "error=invalid_grant&error_descr", "grant"),
        (&none, r#"{"error":"invalid_client","error_uri":"htt"#, "client"),
        (&none, r#"{"error":"invalid_request","x":["#, "request"),
        (&none, r#"{"error":"temporarily_unavailable","x"#, "busy"),
        (&pointed, r#"{"data":{"reason":"gone","id":4"#, "grant"),
        // What may go on, or has no name, or stands beside a token, is none.
        (&none, r#"{"error":"invalid_grant"#, "ambiguous"),
        (&none, "error=invalid_grant", "ambiguous"),
        (&none, r#"{"error":"of_theirs","x":1"#, "ambiguous"),
        (&none, r#"{"data":{"reason":"gone","id":4"#, "ambiguous"),
        (&none, r#"{"x":{"y":"invalid_grant","z""#, "ambiguous"),
        (&none, r#"{"access_token":"a","error":"invalid_grant","x"#, "broken"),
    ] {
        assert_eq!(said(200, facts, body, true).await, expected, "{body}");
    }
    // A refusal names its error, or it may have been said by anybody.
    let named = r#"{"error":"invalid_grant","x"#;
    for (status, facts, body, expected) in [
        (400, &none, named, "grant"),
        (401, &none, r#"{"error":"invalid_client","x"#, "client"),
        (400, &none, r#"{"error":"invalid_gra"#, "ambiguous"),
        (400, &none, "", "ambiguous"),
        (502, &none, named, "ambiguous"),
        (502, &pointed, r#"{"data":{"reason":"gone","id":4"#, "grant"),
    ] {
        assert_eq!(said(status, facts, body, true).await, expected, "{status} {body}");
    }
    // Where no length is said, nobody can see that it broke off.
    assert_eq!(said(200, &none, named, false).await, "grant");
}

/// RFC 8693 section 2.2.2, also of an answer that broke off.
#[tokio::test]
async fn a_subject_that_is_not_taken_is_known_though_the_answer_broke_off() {
    let provider = Provider::breaking(r#"{"error":"invalid_request","x"#);
    let subject = SecretString::from("t0ken");
    let ask = Ask::Exchange { subject: &subject, user: None };
    let refused = provider.asked(json!({}), client(None), ask).await.unwrap_err();
    assert!(matches!(refused, Refused::Grant), "{refused:?}");
}

/// A revocation is done once the server says so: what stands behind its word does not count.
#[tokio::test]
async fn a_revocation_whose_answer_broke_off_is_one() {
    let oauth = json!({"token-url": "https://login.example.com/token", "revoke-url": "https://login.example.com/revoke"});
    let oauth: Oauth = serde_json::from_value(oauth).unwrap();
    let endpoint = Endpoint {
        outbound: &Provider::breaking("{"),
        environment: &"dev".parse().unwrap(),
        oauth: &oauth,
        client: &client(None),
        now: NOW,
        timeout: Duration::from_secs(1),
    };
    assert!(endpoint.revoke(&"t0ken".into(), "access_token").await.unwrap());
}

/// Of an answer that broke off, the tokens that are whole are known: somebody has to end them.
#[tokio::test]
async fn tokens_are_read_of_an_answer_that_cannot_be() {
    for (body, access, refresh) in [
        (r#"{"access_token":"a","refresh_token":"r","expires_in":36"#, Some("a"), Some("r")),
        (r#"{ "refresh_token" : "r\u0041", "access_token":"a"#, None, Some("rA")),
        (r#"{"access_token":"a","refresh_token":"#, Some("a"), None),
        (r#"{"data":{"access_token":"a","refresh_token":"r"},"n":NaN}"#, Some("a"), Some("r")),
        (r#"{"access_token":7,"refresh_token":"r"}"#, None, Some("r")),
        (r#"{"token_type":"bearer","refresh_token":"r"}"#, None, Some("r")),
        // An error that is empty is none.
        (r#"{"error":null,"refresh_token":"r"}"#, None, Some("r")),
        (r#"{"error":"","data":{"access_token":"a"}}"#, Some("a"), None),
    ] {
        let provider = Provider::answering(200, "application/json", body);
        let refused = provider.asked(json!({}), client(None), machine()).await.unwrap_err();
        let Refused::Broken(_, leftover) = refused else { panic!("{body}: {refused:?}") };
        let text = |token: &Option<SecretString>| {
            token.as_ref().map(|token| token.expose_secret().to_owned())
        };
        assert_eq!(text(&leftover.access).as_deref(), access, "{body}");
        assert_eq!(text(&leftover.refresh).as_deref(), refresh, "{body}");
    }
    for body in ["", "{}", "<html>", r#"{"access_token":"a"#, r#"{"access_token":""}"#] {
        let provider = Provider::breaking(body);
        let refused = provider.asked(json!({}), client(None), machine()).await.unwrap_err();
        assert!(matches!(refused, Refused::Ambiguous(_)), "{body}: {refused:?}");
        let provider = Provider::answering(200, "application/json", body);
        let refused = provider.asked(json!({}), client(None), machine()).await.unwrap_err();
        assert!(matches!(refused, Refused::Ambiguous(_)), "{body}: {refused:?}");
    }
}

/// Whatever stands between them, and in whatever list.
#[tokio::test]
async fn scopes_come_back_in_many_forms() {
    for (separator, scope) in [
        (" ", r#""write,read""#),
        (" ", r#""read, write""#),
        (",", r#""read write read""#),
        (";", r#""write;read""#),
        (" ", r#"["read","write"]"#),
        (" ", r#"["read,write"]"#),
        (" ", r#"["read write",7]"#),
    ] {
        let body = format!(r#"{{"access_token":"a","scope":{scope}}}"#).leak();
        let provider = Provider::answering(200, "application/json", body);
        let facts = json!({"scope-separator": separator});
        let issued = provider.asked(facts, client(None), machine()).await.unwrap();
        assert_eq!(issued.scopes.unwrap(), ["read", "write"], "{separator} {scope}");
    }
}

/// Providers that wrap what they issue, or issue two things at once.
#[tokio::test]
async fn tokens_stand_where_the_release_says() {
    let user = json!({"answer": {
        "access-token": "/authed_user/access_token",
        "refresh-token": "/authed_user/refresh_token",
        "expires": "/authed_user/expires_in",
        "scope": "/authed_user/scope",
    }});
    let whole = r#"{"ok":true,"access_token":"bot","refresh_token":"of-bot","scope":"bot",
        "authed_user":{"access_token":"a","refresh_token":"r","expires_in":43200,"scope":"read,write"}}"#;
    let token = SecretString::from("t0ken");
    let code = || Ask::Code { code: &token, redirect_uri: "https://us/back", verifier: None };
    let provider = Provider::answering(200, "application/json", whole);
    let issued = provider.asked(user.clone(), client(None), code()).await.unwrap();
    assert_eq!(issued.access.expose_secret(), "a");
    assert_eq!(issued.refresh.unwrap().expose_secret(), "r");
    assert_eq!(issued.lifetime, Some(Duration::from_secs(43_200)));
    assert_eq!(issued.scopes.unwrap(), ["read", "write"]);

    // Not the one of somebody else, because the right one is not there. It was issued, and is not used.
    let bot = r#"{"ok":true,"access_token":"bot","refresh_token":"of-bot"}"#;
    let provider = Provider::answering(200, "application/json", bot);
    let refused = provider.asked(user.clone(), client(None), code()).await.unwrap_err();
    let Refused::Broken(_, Leftover { cut: false, .. }) = &refused else { panic!("{refused:?}") };
    // A refresh answers of the token that was presented.
    let provider = Provider::answering(200, "application/json", bot);
    let issued = provider.asked(user, client(None), Ask::Refresh(&token)).await.unwrap();
    assert_eq!(issued.access.expose_secret(), "bot");
    assert_eq!(issued.refresh.unwrap().expose_secret(), "of-bot");

    for (expires, seconds) in [
        ("1772370000", Some(3_600)),
        ("1772370000000", Some(3_600)),
        (r#""2026-03-01T13:00:00Z""#, Some(3_600)),
        (r#""2026-03-01T14:00:00+01:00""#, Some(3_600)),
        ("3600", Some(3_600)),
        ("1", Some(1)),
        ("1772366400", None),
        (r#""yesterday""#, None),
        ("null", None),
    ] {
        let body = format!(r#"{{"data":{{"token":"a","until":{expires}}}}}"#).leak();
        let provider = Provider::answering(200, "application/json", body);
        let facts = json!({"answer": {"access-token": "/data/token", "expires": "/data/until"}});
        let issued = provider.asked(facts, client(None), machine()).await.unwrap();
        assert_eq!(issued.lifetime, seconds.map(Duration::from_secs), "{expires}");
    }
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
            Refused::Client(_) | Refused::Request(..) => assert!(!gone, "{kind} {body}"),
            other => panic!("{kind} {body}: {other:?}"),
        }
    }
}
