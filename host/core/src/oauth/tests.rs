//! What a descriptor may say of an authorization server, and what is refused by name.

use super::Oauth;
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

/// What is stated besides, and the field that is named.
const CONTRADICTIONS: &[(&str, &str)] = &[
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
    (r#""token-url":"https://a.com/t","grant":"token-exchange","user-param":"""#, "user-param"),
    (
        r#""token-url":"https://a.com/t","grant":"token-exchange","user-param":"For","token-params":{"for":"x"}"#,
        "user-param",
    ),
    (
        r#""token-url":"https://a.com/t?a=b;{sub}=x","grant":"token-exchange","variables":{"sub":{}}"#,
        "token-url",
    ),
    (r#""token-url":"https://x.localhost/t","grant":"token-exchange""#, "token-url"),
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
    (
        r#""token-url":"https://a.com/t","authorize-url":"https://{sub}.a.com/a","variables":{"sub":{},"more":{}}"#,
        "variables",
    ),
    (
        r#""token-url":"https://{user}.a.com/t","authorize-url":"https://a.com/a","variables":{"user":{}}"#,
        "variables",
    ),
    (
        r#""token-url":"https://a.com/t","authorize-url":"https://a.com/a","base-url":"https://{sub}.a.com""#,
        "base-url",
    ),
    (
        r#""token-url":"https://{sub}.a.com/t?x=1&{sub}=y","authorize-url":"https://a.com/a","variables":{"sub":{}}"#,
        "token-url",
    ),
    (
        r#""token-url":"https://a.com/t","authorize-url":"https://a.com/a","authorize-params":{"org":"{org}"}"#,
        "authorize-params",
    ),
    (
        r#""token-url":"https://a.com/t","authorize-url":"https://a.com/a","token-params":{"user":"{user}"}"#,
        "token-params",
    ),
    (
        r#""token-url":"https://a.com/t","authorize-url":"https://a.com/a","token-params":{"org":"{"}"#,
        "token-params",
    ),
    (
        r#""token-url":"https://a.com/t","grant":"jwt-bearer","assertion":{"audience":"{host}"}"#,
        "assertion.audience",
    ),
    (
        r#""token-url":"https://a.com/t","grant":"jwt-bearer","assertion":{"claims":{"a":"{b}"}}"#,
        "assertion.claims",
    ),
    (
        r#""token-url":"https://a.com/t","grant":"jwt-bearer","assertion":{"claims":{"aud":"b"}}"#,
        "assertion.claims",
    ),
    (r#""token-url":"https://a.com/t","grant":"jwt-bearer""#, "assertion"),
    (r#""token-url":"https://a.com/t","authorise-url":"https://a.com/a""#, "unknown field"),
];

#[test]
fn what_contradicts_itself_is_refused_by_name() {
    for (rest, field) in CONTRADICTIONS {
        let refused = spec(&format!(r#"{{"scheme":{{"kind":"oauth2",{rest}}}}}"#));
        assert!(refused.as_ref().is_err_and(|text| text.contains(field)), "{rest}: {refused:?}");
    }
}

#[test]
fn variables_stand_in_parameters_and_in_what_is_signed() {
    let oauth: Oauth = serde_json::from_str(
        r#"{"token-url":"https://{host}/t","grant":"jwt-bearer","token-params":{"org":"o-{org}"},
            "variables":{"host":{"suffixes":["a.com"]},"org":{"text":true}},
            "assertion":{"subject":"{user}","claims":{"org":"{org}"}}}"#,
    )
    .unwrap();
    oauth.check(&"login".parse().unwrap()).unwrap();
    let values = [("host", "eu.a.com"), ("org", "my org")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(oauth.filled(&values.clone().into()).unwrap().token_params["org"], "o-my org");
    let said = oauth.said(&values.clone().into(), Some("ann")).unwrap().unwrap();
    assert_eq!(
        (said.audience.as_str(), said.subject.as_deref()),
        ("https://eu.a.com/t", Some("ann"))
    );
    assert_eq!(said.claims["org"], "my org");
    assert!(oauth.said(&values.into(), None).unwrap_err().contains("user"));
    assert!(oauth.names_user());
    let audience = r#"{"token-url":"https://a.com/t","grant":"jwt-bearer","variables":{"h":{}},
        "assertion":{"audience":"https://{h}.a.com","key-id":true}}"#;
    let oauth: Oauth = serde_json::from_str(audience).unwrap();
    let said = oauth.said(&[("h".to_owned(), "eu".to_owned())].into(), None).unwrap().unwrap();
    assert_eq!((said.audience.as_str(), said.subject), ("https://eu.a.com", None));
}

#[test]
fn an_assertion_is_about_somebody_who_can_be_named() {
    let subject = |subject: &str| {
        spec(&format!(
            r#"{{"scheme":{{"kind":"oauth2","grant":"jwt-bearer","token-url":"https://a.com/t","assertion":{{"subject":"{subject}"}}}}}}"#
        ))
    };
    for good in ["robot", "{user}", "prefix-{user}@example.com"] {
        assert_eq!(subject(good), Ok(()), "{good}");
    }
    for broken in ["{user", "user}", "{}", "{a{user}", "{user}}", "{nobody}"] {
        assert!(subject(broken).unwrap_err().contains("assertion.subject"), "{broken}");
    }
}

#[test]
fn a_url_that_can_only_fail_is_refused_by_name() {
    for (urls, field) in [
        (r#""token-url":"https://127.0.0.1/t","authorize-url":"https://a.com/a""#, "token-url"),
        (r#""token-url":"https://u:p@a.com/t","authorize-url":"https://a.com/a""#, "token-url"),
        (r#""token-url":"https://a.com/t","authorize-url":"https://a.com/{x}""#, "authorize-url"),
    ] {
        let refused = spec(&format!(r#"{{"scheme":{{"kind":"oauth2",{urls}}}}}"#));
        assert!(refused.as_ref().is_err_and(|text| text.contains(field)), "{urls}: {refused:?}");
    }
}

/// Names of the host's own parameters, as servers spell them.
const OWN: [&str; 13] = [
    "client_id",
    "redirect_uri",
    "scope",
    "response_type",
    "state",
    "code_challenge",
    "code_challenge_method",
    "request_uri",
    "Client_Id",
    "client_id[]",
    "client[id",
    "client.id",
    " state",
];

#[test]
fn parameters_of_the_host_s_own_are_refused_wherever_they_stand() {
    let usual = r#""token-url":"https://a.com/t","authorize-url":"https://a.com/a""#;
    let refused = |rest: &str, field: &str| {
        let refused = spec(&format!(r#"{{"scheme":{{"kind":"oauth2",{rest}}}}}"#)).unwrap_err();
        assert!(refused.contains(field) && refused.contains("host's own"), "{rest}: {refused}");
    };
    for name in OWN {
        refused(&format!(r#"{usual},"authorize-params":{{"{name}":"x"}}"#), "authorize-params");
        let url = format!("https://a.com/a?{}=x", name.replace('[', "%5b").replace(' ', "+"));
        refused(
            &format!(r#""token-url":"https://a.com/t","authorize-url":"{url}""#),
            "authorize-url",
        );
    }
    // Some providers serve the page and the tokens at one address.
    for name in
        ["grant_type", "code", "code_verifier", "refresh_token", "client_secret", "password"]
    {
        refused(&format!(r#"{usual},"authorize-params":{{"{name}":"x"}}"#), "authorize-params");
        let url = format!("https://a.com/a?x=1;{name}=evil");
        let stated = format!(r#""token-url":"https://a.com/t","authorize-url":"{url}""#);
        refused(&stated, "authorize-url");
    }
    for name in [
        "grant_type",
        "code",
        "client_id",
        "client_secret",
        "refresh_token",
        "scope",
        "GRANT_TYPE",
        "response_type",
        "code_challenge",
        "code_challenge_method",
        "request_uri",
    ] {
        refused(&format!(r#"{usual},"token-params":{{"{name}":"x"}}"#), "token-params");
        let machine = r#""grant":"client-credentials""#;
        refused(&format!(r#"{machine},"token-url":"https://a.com/t?{name}=x""#), "token-url");
        refused(&format!(r#"{machine},"token-url":"https://a.com/t?x=1;{name}=x""#), "token-url");
        refused(
            &format!(
                r#"{machine},"token-url":"https://a.com/t","revoke-url":"https://a.com/r?{name}""#
            ),
            "revoke-url",
        );
        refused(
            &format!(r#"{machine},"token-url":"https://a.com/t","user-param":"{name}""#),
            "user-param",
        );
    }
    refused(&format!(r#"{usual},"callback-facts":["state"]"#), "callback-facts");
    for fine in
        ["prompt", "access_type", "audience", "resource", "user_scope", "response_mode", "nonce"]
    {
        let stated = format!(
            r#"{usual},"authorize-params":{{"{fine}":"x"}},"token-params":{{"{fine}":"x"}}"#
        );
        assert_eq!(
            spec(&format!(r#"{{"scheme":{{"kind":"oauth2",{stated}}}}}"#)),
            Ok(()),
            "{fine}"
        );
    }
}
