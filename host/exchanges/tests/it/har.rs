//! The archive against the rules of HAR 1.2 (the W3C draft of 14 August 2012, and what its authors published
//! before): required fields and their kinds, `-1` where something is not known, names of one's own only with
//! an underscore in front.

use std::time::Duration;

use bytes::Bytes;
use keyway_core::exchange::{Exchange, Timings};
use keyway_core::ports::ExchangeLog as _;
use keyway_exchanges::{Kept, Options, Order, Position, har};
use serde_json::{Value, json};

use crate::support::{BEGINNING, Place, all, exchange, headers, roomy};

/// An object with these fields, some of them required, and no others but those of one's own.
fn object(required: &[&str], fields: Value) -> Value {
    json!({
        "type": "object",
        "required": required,
        "properties": fields,
        "patternProperties": {"^_": {}},
        "additionalProperties": false,
    })
}

/// The format's rules as a JSON Schema.
fn rules() -> Value {
    let (text, count) = (json!({"type": "string"}), json!({"type": "integer", "minimum": -1}));
    let known = json!({"type": "number", "minimum": 0});
    let time = json!({"anyOf": [{"const": -1}, {"const": -1.0}, {"type": "number", "minimum": 0}]});
    let list = |of: Value| json!({"type": "array", "items": of});
    let pair = object(&["name", "value"], json!({"name": text, "value": text, "comment": text}));
    let cookie = object(
        &["name", "value"],
        json!({"name": text, "value": text, "path": text, "domain": text, "expires": text,
            "httpOnly": {"type": "boolean"}, "secure": {"type": "boolean"}, "comment": text}),
    );
    let post_data = object(
        &["mimeType", "text"],
        json!({"mimeType": text, "params": list(json!({})), "text": text, "comment": text}),
    );
    let content = object(
        &["size", "mimeType"],
        json!({"size": {"type": "integer", "minimum": 0}, "compression": {"type": "integer"},
            "mimeType": text, "text": text, "encoding": text, "comment": text}),
    );
    let message = ["httpVersion", "cookies", "headers", "headersSize", "bodySize"];
    let request = object(
        &[&message[..], &["method", "url", "queryString"]].concat(),
        json!({"method": text, "url": {"type": "string", "pattern": "^https?://[^/#]", "not": {"pattern": "#"}}, "httpVersion": text,
            "cookies": list(cookie.clone()), "headers": list(pair.clone()), "queryString": list(pair.clone()),
            "postData": post_data, "headersSize": count, "bodySize": count, "comment": text}),
    );
    let response = object(
        &[&message[..], &["status", "statusText", "content", "redirectURL"]].concat(),
        json!({"status": {"type": "integer", "minimum": 0, "maximum": 599}, "statusText": text,
            "httpVersion": text, "cookies": list(cookie), "headers": list(pair), "content": content,
            "redirectURL": text, "headersSize": count, "bodySize": count, "comment": text}),
    );
    let timings = object(
        &["send", "wait", "receive"],
        json!({"blocked": time, "dns": time, "connect": time, "ssl": time, "send": known, "wait": known,
            "receive": known, "comment": text}),
    );
    let started = json!({"type": "string",
        "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"});
    let entry = object(
        &["startedDateTime", "time", "request", "response", "cache", "timings"],
        json!({"pageref": text, "startedDateTime": started, "time": known, "request": request,
            "response": response, "cache": object(&[], json!({"beforeRequest": {}, "afterRequest": {}, "comment": text})),
            "timings": timings, "serverIPAddress": text, "connection": text, "comment": text}),
    );
    let creator =
        object(&["name", "version"], json!({"name": text, "version": text, "comment": text}));
    let log = object(
        &["version", "creator", "entries"],
        json!({"version": {"const": "1.2"}, "creator": creator, "browser": creator, "pages": list(json!({})),
            "entries": list(entry), "comment": text}),
    );
    object(&["log"], json!({"log": log}))
}

/// The rule that a schema cannot say: an entry's time is the sum of its known timings.
fn assert_times_add_up(har: &Value) {
    for entry in har["log"]["entries"].as_array().unwrap() {
        let timings = entry["timings"].as_object().unwrap();
        // Of what is connected, TLS is a part and not a summand.
        let parts = timings.iter().filter(|(name, _)| *name != "ssl");
        let sum: f64 =
            parts.map(|(_, time)| time.as_f64().unwrap()).filter(|time| *time >= 0.0).sum();
        assert!((sum - entry["time"].as_f64().unwrap()).abs() < 1e-6, "{entry}");
    }
}

#[track_caller]
fn problems(har: &Value) -> Vec<String> {
    let validator = jsonschema::validator_for(&rules()).unwrap();
    validator
        .iter_errors(har)
        .map(|error| format!("{error} at {}", error.instance_path()))
        .collect()
}

/// A plain one, one with everything, one that was stopped.
fn told() -> [Exchange; 3] {
    let millis = Duration::from_millis;
    let timings = Timings {
        waited: millis(5),
        connected: millis(20),
        first_byte: millis(100),
        total: millis(150),
    };
    let full = Exchange {
        method: "POST".to_owned(),
        url: "https://api.example.com/things?q=a%20b&n=1&n=%E2%9C%93#fragment".to_owned(),
        user: Some("ann@example.com".parse().unwrap()),
        request_headers: headers(&[("content-type", "text/plain")]),
        request_body: Some(Bytes::from_static(b"hello")),
        request_bytes: 5,
        status: Some(302),
        response_headers: headers(&[("location", "/elsewhere"), ("content-type", "image/png")]),
        response_body: Some(Bytes::from_static(&[0x89, b'P', 0xff])),
        response_bytes: 3,
        timings,
        ..exchange(2)
    };
    let stopped = Exchange {
        call: None,
        release: None,
        environment: None,
        installation: None,
        url: "/relative \u{0}\u{1b}".to_owned(),
        request_body: Some(Bytes::from_static(&[0xff])),
        status: None,
        response_headers: headers(&[]),
        stopped: Some("host-not-declared"),
        ..exchange(3)
    };
    [exchange(1), full, stopped]
}

async fn kept() -> Vec<Kept> {
    let place = Place::new(Options { body_bytes_max: 100, ..roomy() });
    let log = place.open();
    told().into_iter().for_each(|told| log.record(told));
    log.flush().await;
    all(&log, Order::NewestFirst, 10).await
}

#[tokio::test]
async fn an_archive_keeps_the_rules_of_the_format() {
    let har = serde_json::to_value(har::har(kept().await, Some(Position(7)))).unwrap();
    assert_eq!(problems(&har), [] as [String; 0]);
    assert_times_add_up(&har);
    let nothing = serde_json::to_value(har::har(vec![], None)).unwrap();
    assert_eq!(problems(&nothing), [] as [String; 0]);
    // The rules are not idle: whatever is required is missed, and what is not the format's is noticed.
    let entry = "/log/entries/0";
    for (place, field) in [
        ("/log", "creator"),
        (entry, "cache"),
        (&format!("{entry}/request"), "queryString"),
        (&format!("{entry}/response"), "redirectURL"),
        (&format!("{entry}/timings"), "wait"),
    ] {
        let mut wrong = har.clone();
        wrong.pointer_mut(place).unwrap().as_object_mut().unwrap().remove(field).unwrap();
        assert_eq!(problems(&wrong).len(), 1, "{place}/{field}");
        let mut wrong = har.clone();
        wrong.pointer_mut(place).unwrap()["tenant"] = json!("acme");
        assert_eq!(problems(&wrong).len(), 1, "{place}");
    }
}

#[tokio::test]
async fn an_archive_says_what_the_log_knows() {
    let har = serde_json::to_value(har::har(kept().await, Some(Position(7)))).unwrap();
    let log = &har["log"];
    assert_eq!((&log["creator"]["name"], &log["_keyway"]["next"]), (&json!("Keyway"), &json!(7)));
    let entries = log["entries"].as_array().unwrap();
    let own = |at: usize, field: &str| entries[at]["_keyway"][field].clone();
    assert_eq!(own(0, "call"), "call_00000000000000000000000000000001", "oldest first");
    let [plain, full, stopped] = entries.as_slice() else { panic!("{entries:?}") };

    let began = time::OffsetDateTime::parse(
        plain["startedDateTime"].as_str().unwrap(),
        &time::format_description::well_known::Rfc3339,
    );
    assert_eq!(began.unwrap(), BEGINNING);
    assert_eq!((own(0, "tenant"), own(0, "slot")), (json!("acme"), json!("token")));
    assert_eq!((own(0, "release"), own(0, "purpose")), (json!("pub/things@1.4.0"), json!("call")));
    assert!(own(0, "digest").as_str().unwrap().starts_with("sha256:"));
    assert!(entries[0]["_keyway"].get("stopped").is_none());
    assert_eq!(plain["timings"]["connect"], json!(-1.0), "over a connection that was kept");
    assert_eq!(plain["response"]["statusText"], "OK");
    assert_eq!(plain["response"]["content"]["size"], 17);

    let timings = &full["timings"];
    let named =
        ["blocked", "connect", "wait", "receive"].map(|name| timings[name].as_f64().unwrap());
    assert_eq!(named.map(f64::round), [5.0, 20.0, 100.0, 25.0]);
    assert_eq!(full["time"].as_f64().unwrap().round(), 150.0);
    let request = &full["request"];
    assert_eq!(request["url"], "https://api.example.com/things?q=a%20b&n=1&n=%E2%9C%93");
    let query = json!([{"name": "q", "value": "a b"}, {"name": "n", "value": "1"}, {"name": "n", "value": "✓"}]);
    assert_eq!(request["queryString"], query);
    assert_eq!(request["postData"], json!({"mimeType": "text/plain", "text": "hello"}));
    let response = &full["response"];
    assert_eq!(
        (&response["status"], &response["redirectURL"]),
        (&json!(302), &json!("/elsewhere"))
    );
    let content = json!({"size": 3, "mimeType": "image/png", "text": "iVD/", "encoding": "base64"});
    assert_eq!(response["content"], content);

    assert_eq!(own(2, "stopped"), "host-not-declared");
    assert_eq!(
        (&stopped["response"]["status"], &stopped["response"]["bodySize"]),
        (&json!(0), &json!(-1))
    );
    assert_eq!(stopped["request"]["postData"]["_encoding"], "base64");
    assert_eq!(stopped["request"]["url"], "https://unknown.invalid/relative%20%00%1B");
}

#[tokio::test]
async fn without_bodies_there_is_none_in_the_archive() {
    let bare = kept().await.into_iter().map(Kept::without_bodies).collect();
    let har = serde_json::to_value(har::har(bare, None)).unwrap();
    assert_eq!(problems(&har), [] as [String; 0]);
    for entry in har["log"]["entries"].as_array().unwrap() {
        assert!(
            entry["request"].get("postData").is_none()
                && entry["response"]["content"].get("text").is_none()
        );
    }
}
