//! The actions, each against the request that the provider's documents describe.

use keyway_sdk::serde_json::json;
use keyway_sdk::testing::{Cassette, Exchange};
use keyway_sdk::{Act, FailureKind};

use super::{ACCOUNT_INFO, HubSpot, companies, contact, contacts, get, post, results, value};

#[test]
fn get_by_id_asks_for_one_record() {
    for (action, url) in [
        ("contacts.get", contacts("/1001?archived=false")),
        ("companies.get", companies("/1001?archived=false")),
    ] {
        let record = contact("1001", "2026-03-01T00:00:00Z");
        let cassette = Cassette::new().expect(get(url).reply_json(record.clone()));
        let answer = cassette.play(|| HubSpot::invoke(action, r#"{"id": "1001"}"#)).unwrap();
        assert_eq!(value(&answer), record, "{action}");
    }
}

#[test]
fn get_by_another_property_encodes_what_it_is_given() {
    let url = contacts(
        "/a%2Fb%40example.com?archived=true&idProperty=email&properties=email&properties=phone",
    );
    let cassette = Cassette::new().expect(get(url).reply_json(json!({"id": "7"})));
    let input = json!({
        "id": "a/b@example.com", "idProperty": "email", "properties": ["email", "phone"],
        "archived": true,
    });
    let answer = cassette.play(|| HubSpot::invoke("contacts.get", &input.to_string()));
    assert_eq!(answer.as_deref(), Ok(r#"{"id":"7"}"#));
}

#[test]
fn search_fills_in_what_the_documents_require() {
    for (action, url, properties) in [
        (
            "contacts.search",
            contacts("/search"),
            json!(["firstname", "lastname", "email", "createdate", "lastmodifieddate"]),
        ),
        (
            "companies.search",
            companies("/search"),
            json!(["name", "domain", "createdate", "hs_lastmodifieddate"]),
        ),
    ] {
        let body = json!({
            "filterGroups": [], "sorts": [], "properties": properties, "limit": 100, "after": "0",
        });
        let answer = json!({"total": 0, "results": []});
        let cassette = Cassette::new().expect(post(url, body).reply_json(answer.clone()));
        let output = cassette.play(|| HubSpot::invoke(action, "{}")).unwrap();
        assert_eq!(value(&output), answer, "{action}");
    }
}

#[test]
fn search_passes_on_what_it_is_given() {
    let input = json!({
        "query": "ann",
        "filterGroups": [{"filters": [
            {"propertyName": "email", "operator": "EQ", "value": "ann@example.com"},
        ]}],
        "sorts": ["createdate"],
        "properties": ["email"],
        "limit": 5,
        "after": "10",
    });
    let answer = results(&[contact("1", "2026-03-01T00:00:00Z")], Some("15"));
    let cassette =
        Cassette::new().expect(post(contacts("/search"), input.clone()).reply_json(answer.clone()));
    let output = cassette.play(|| HubSpot::invoke("contacts.search", &input.to_string())).unwrap();
    assert_eq!(value(&output), answer);
}

#[test]
fn account_info_takes_nothing() {
    for input in ["{}", "null"] {
        let exchange = Exchange::get(ACCOUNT_INFO).slot("token");
        let cassette = Cassette::new().expect(exchange.reply_json(json!({"portalId": 7})));
        let answer = cassette.play(|| HubSpot::invoke("account.info", input));
        assert_eq!(answer.as_deref(), Ok(r#"{"portalId":7}"#));
    }
}

#[test]
fn bad_input_never_reaches_the_provider() {
    for (action, input) in [
        ("contacts.get", "{}"),
        ("contacts.get", r#"{"id": 7}"#),
        ("contacts.get", r#"{"id": ""}"#),
        ("contacts.get", r#"{"id": ".."}"#),
        ("contacts.get", r#"{"id": "7", "fields": []}"#),
        ("contacts.search", r#"{"limit": "all"}"#),
        ("contacts.search", r#"{"filters": []}"#),
        ("companies.search", "[1"),
    ] {
        let failure = Cassette::new().play(|| HubSpot::invoke(action, input)).unwrap_err();
        let seen = (failure.kind, failure.request_sent);
        assert_eq!(seen, (FailureKind::InvalidInput, false), "{action} {input}");
    }
    let failure = Cassette::new().play(|| HubSpot::invoke("deals.get", "{}")).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unsupported);
}
