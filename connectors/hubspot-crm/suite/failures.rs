//! What the provider refuses, as failures.

use std::time::Duration;

use keyway_sdk::serde_json::{Value, json};
use keyway_sdk::testing::{Cassette, Exchange};
use keyway_sdk::{Act, Failure, FailureKind};

use super::{HubSpot, contacts, get};

fn refused(exchange: Exchange) -> Failure {
    let cassette = Cassette::new().at("2026-03-01T00:00:00Z").expect(exchange);
    cassette.play(|| HubSpot::invoke("contacts.get", r#"{"id": "1"}"#)).unwrap_err()
}

fn asked() -> Exchange {
    get(contacts("/1?archived=false"))
}

fn document(category: &str) -> Value {
    json!({
        "status": "error",
        "message": "It did not work",
        "correlationId": "aeb5f871-7f07-4993-9211-075dc63e7cbf",
        "category": category,
    })
}

fn detail<'a>(failure: &'a Failure, name: &str) -> Option<&'a str> {
    failure.extra.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[test]
fn statuses_and_categories_say_whose_fault_it_is() {
    use FailureKind::*;
    for (status, category, kind) in [
        (400, "VALIDATION_ERROR", InvalidInput),
        (401, "INVALID_AUTHENTICATION", Unauthenticated),
        (401, "EXPIRED_AUTHENTICATION", Unauthenticated),
        (403, "MISSING_SCOPES", Forbidden),
        (403, "BANNED", Forbidden),
        (404, "OBJECT_NOT_FOUND", NotFound),
        (409, "CONFLICT", Conflict),
        (409, "OBJECT_ALREADY_EXISTS", Conflict),
        (414, "INVALID", InvalidInput),
        (423, "LOCKED", Transient),
        (429, "RATE_LIMITS", RateLimited),
        (477, "MIGRATION", Transient),
        (500, "INTERNAL_ERROR", Transient),
        (503, "UNAVAILABLE", Transient),
    ] {
        let failure = refused(asked().reply(status).reply_json(document(category)));
        assert_eq!(failure.kind, kind, "{status} {category}");
        assert_eq!(failure.code.as_deref(), Some(category));
        assert_eq!(failure.message, "It did not work");
        assert!(failure.request_sent);
        let correlation = detail(&failure, "correlation-id");
        assert_eq!(correlation, Some("aeb5f871-7f07-4993-9211-075dc63e7cbf"));
    }
}

#[test]
fn details_of_the_provider_are_kept() {
    let mut body = document("MISSING_SCOPES");
    body["subCategory"] = json!("crm.SCOPES");
    body["errors"] = json!([{
        "message": "One or more of the following scopes are required.",
        "code": "SCOPES_REQUIRED",
        "context": {"requiredGranularScopes": ["crm.objects.contacts.read", "crm.lists.read"]},
    }]);
    let failure = refused(asked().reply(403).reply_json(body));
    assert_eq!(detail(&failure, "sub-category"), Some("crm.SCOPES"));
    assert_eq!(detail(&failure, "error-code"), Some("SCOPES_REQUIRED"));
    let scopes = detail(&failure, "missing-scopes");
    assert_eq!(scopes, Some("crm.objects.contacts.read crm.lists.read"));
}

#[test]
fn gateways_that_answer_no_document_are_judged_by_status() {
    for body in ["<html>bad gateway</html>", "", "null", "[1]", r#"{"message": 7}"#] {
        let failure = refused(asked().reply(502).reply_body(body));
        assert_eq!((failure.kind, failure.code.as_deref()), (FailureKind::Transient, Some("502")));
        assert_eq!(failure.message, "provider answered 502");
    }
}

#[test]
fn rate_limits_say_how_long_to_wait() {
    let limit = |policy: &str| {
        let body = json!({
            "status": "error", "message": "You have reached your limit.", "errorType": "RATE_LIMIT",
            "correlationId": "c", "policyName": policy,
        });
        asked().reply(429).reply_json(body)
    };
    let window = "x-hubspot-ratelimit-interval-milliseconds";
    for (exchange, wait) in [
        (limit("TEN_SECONDLY_ROLLING").reply_header("Retry-After", "3"), Duration::from_secs(3)),
        (
            limit("DAILY").reply_header("Retry-After", "Sun, 01 Mar 2026 05:00:00 GMT"),
            Duration::from_secs(5 * 3600),
        ),
        (limit("TEN_SECONDLY_ROLLING").reply_header(window, "10000"), Duration::from_secs(10)),
        (limit("TEN_SECONDLY_ROLLING"), Duration::from_secs(10)),
        (limit("SECONDLY"), Duration::from_secs(1)),
        (limit("DAILY").reply_header(window, "10000"), Duration::from_secs(3600)),
        (
            asked().reply(429).reply_header("X-HubSpot-RateLimit-Daily-Remaining", "0"),
            Duration::from_secs(3600),
        ),
        (asked().reply(429), Duration::from_secs(10)),
    ] {
        let shown = format!("{exchange:?}");
        let failure = refused(exchange);
        assert_eq!(failure.kind, FailureKind::RateLimited, "{shown}");
        assert_eq!(failure.retry_after, Some(wait), "{shown}");
    }
    let failure = refused(limit("DAILY"));
    assert_eq!(failure.code.as_deref(), Some("RATE_LIMIT"));
    assert_eq!(detail(&failure, "policy"), Some("DAILY"));
}

#[test]
fn other_refusals_wait_only_where_the_provider_says_so() {
    let failure = refused(asked().reply(503).reply_header("retry-after", "20"));
    assert_eq!(failure.retry_after, Some(Duration::from_secs(20)));
    assert_eq!(refused(asked().reply(500)).retry_after, None);
    assert_eq!(refused(asked().reply(423)).retry_after, Some(Duration::from_secs(2)));
}

#[test]
fn failures_of_the_host_pass_through_as_they_are() {
    let mut denied = Failure::new(FailureKind::Denied, "undeclared host");
    denied.request_sent = false;
    assert_eq!(refused(asked().fails(denied.clone())), denied);
}

#[test]
fn an_answer_that_is_no_json_means_the_contract_drifted() {
    let failure = refused(asked().reply(200).reply_body("<html>"));
    assert_eq!(failure.kind, FailureKind::Contract);
}
