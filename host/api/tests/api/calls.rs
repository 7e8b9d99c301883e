//! Calls: what reaches dispatch, and what comes back.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use keyway_core::call::{Failure, FailureKind, Operation, Outcome, Output, Page, Record, Written};
use keyway_core::fault::Retry;
use keyway_core::{Code, Fault};
use serde_json::json;

use crate::world::{World, at, bearer};

fn script(world: &World, result: Result<Output, Fault>) {
    world.dispatch.script.lock().unwrap().push_back(result);
}

#[tokio::test]
async fn an_action_gets_its_input_and_the_caller_its_output_digit_for_digit() {
    let world = World::pinned().await;
    let input = "{\"n\": 9007199254740993, \"f\":1.10,\"big\":123456789012345678901234567890}";
    let reply = world.post_text(&at("/actions/echo"), input).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.body, input);
    assert_eq!(reply.header("keyway-release"), "pub/things@1.0.0");
    assert!(reply.header("keyway-digest").starts_with("sha256:"));
    assert_eq!(reply.header("keyway-call"), "call_00000000000000000000000000000007");
}

#[tokio::test]
async fn a_failed_call_says_what_ran_and_whose_fault_it_is() {
    let world = World::pinned().await;
    let mut fault = Fault::new(Code::RateLimited, "wait a bit")
        .retry(Retry::After(Duration::from_millis(1_500)));
    fault.provider_code = Some("RATE_LIMITS".to_owned());
    fault.request_sent = true;
    script(&world, Err(fault));
    let reply = world.post(&at("/actions/echo"), json!({})).await;
    reply.refused(429, "rate-limited");
    assert_eq!(reply.header("retry-after"), "2");
    assert_eq!(reply.header("keyway-release"), "pub/things@1.0.0");
    let problem = reply.json();
    assert_eq!(problem["whose"], "upstream");
    assert_eq!(problem["retry_after_ms"], 1_500);
    assert_eq!(problem["provider_code"], "RATE_LIMITS");
    assert_eq!(problem["instance"], reply.header("keyway-call"));
    assert_eq!(problem["request_sent"], true);
}

#[tokio::test]
async fn a_call_that_reached_no_route_says_so() {
    let world = World::pinned().await;
    let reply = world.post(&at("/actions/echo").replace("acme", "nobody"), json!({})).await;
    reply.refused(404, "unknown-installation");
    assert_eq!(reply.header("keyway-release"), "");
    assert!(reply.header("keyway-call").starts_with("call_"));
    assert!(reply.text().contains("; there is none\""), "{reply:?}");
}

#[tokio::test]
async fn input_is_held_against_the_schema_of_the_release() {
    let world = World::pinned().await;
    world.post(&at("/actions/strict"), json!({"id": 1})).await.ok();
    let reply = world.post(&at("/actions/strict"), json!({"id": "one"})).await;
    reply.refused(422, "input-invalid");
    assert_eq!(reply.header("keyway-release"), "pub/things@1.0.0");
    assert_eq!(reply.json()["instance"], reply.header("keyway-call"));
    assert_eq!(world.dispatch.calls.lock().unwrap().len(), 1, "the bad one was not dispatched");
}

#[tokio::test]
async fn the_caller_names_the_time() {
    let world = World::pinned().await;
    let request = |time: &str| {
        Request::post(at("/actions/echo"))
            .header(AUTHORIZATION, bearer(&world.admin))
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .header("keyway-timeout-ms", time)
            .body(Body::from("1"))
            .unwrap()
    };
    world.send(request("250")).await.ok();
    world.send(request("soon")).await.refused(400, "invalid-request");
    let calls = world.dispatch.calls.lock().unwrap();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].time, Some(Duration::from_millis(250)));
}

#[tokio::test]
async fn discovery_names_one_object_or_none() {
    let world = World::pinned().await;
    assert_eq!(world.get(&at("/objects")).await.ok(), json!({"widgets": {}}));
    world.get(&at("/objects/widgets")).await.ok();
    let calls = world.dispatch.calls.lock().unwrap();
    let objects: Vec<_> = calls
        .iter()
        .map(|call| match &call.operation {
            Operation::Discover { object } => object.as_ref().map(|object| object.to_string()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(objects, [None, Some("widgets".to_owned())]);
}

#[tokio::test]
async fn a_page_is_read_with_its_cursor_untouched() {
    let world = World::pinned().await;
    let body = r#"{"fields":["a"],"cursor":{"after": 9007199254740993},"page_size":5}"#;
    let reply = world.post_text(&at("/objects/widgets/read"), body).await;
    let expected = r#"{"records":[{"id":"1","deleted":false,"data":{"n":9007199254740993}}],"next":{"after": 9007199254740993}}"#;
    assert_eq!(reply.body, expected);
    let calls = world.dispatch.calls.lock().unwrap();
    let Operation::Read(read) = &calls[0].operation else { panic!("a read was asked for") };
    assert_eq!((read.page_size, read.fields.as_slice()), (5, &["a".to_owned()][..]));
}

#[tokio::test]
async fn a_long_page_is_like_a_short_one() {
    let world = World::pinned().await;
    for items in [1, 100_000] {
        let data = format!("[{} 1.50]", "0,".repeat(items));
        let expected = format!(r#"{{"records":[{{"id":"1","deleted":false,"data":{data}}}]}}"#);
        let (id, extra) = ("1".to_owned(), Vec::new());
        let record = Record { id, updated_at: None, deleted: false, data, extra: extra.clone() };
        script(&world, Ok(Output::Page(Page { records: vec![record], next: None, extra })));
        let reply = world.post(&at("/objects/widgets/read"), json!({})).await;
        assert!(reply.body == expected, "{} bytes", reply.body.len());
    }
}

#[tokio::test]
async fn what_else_is_said_goes_both_ways() {
    let world = World::pinned().await;
    let extra = json!([{"name": "sync", "value": "2026"}, {"name": "sync", "value": ""}]);
    let reply = world.post(&at("/objects/widgets/read"), json!({"extra": extra})).await;
    let page = reply.ok();
    assert_eq!((&page["extra"], &page["records"][0]["extra"]), (&extra, &extra));
    let item = json!({"reference": "a", "data": 1, "extra": extra});
    let body = json!({"operation": "create", "items": [item], "extra": extra});
    world.post(&at("/objects/widgets/write"), body).await.ok();
    let pair = |value: &str| ("sync".to_owned(), value.to_owned());
    {
        let calls = world.dispatch.calls.lock().unwrap();
        let Operation::Write(write) = &calls[1].operation else { panic!("a write was asked for") };
        assert_eq!(write.extra, [pair("2026"), pair("")]);
        assert_eq!(write.items[0].extra, write.extra);
    }
    let mut fault = Fault::new(Code::Transient, "later");
    fault.extra = vec![pair("2027")].into();
    script(&world, Err(fault));
    let problem = world.post(&at("/objects/widgets/read"), json!({})).await;
    problem.refused(502, "transient");
    assert_eq!(problem.json()["extra"], json!([{"name": "sync", "value": "2027"}]));
}

#[tokio::test]
async fn a_batch_is_written_and_each_item_answered() {
    let world = World::pinned().await;
    let refused = Failure {
        kind: FailureKind::Conflict,
        code: Some("CONTACT_EXISTS".to_owned()),
        message: "it exists".to_owned(),
        retry_after: None,
        request_sent: true,
        extra: vec![("correlation-id".to_owned(), "c-7".to_owned())],
    };
    script(
        &world,
        Ok(Output::Outcomes(vec![
            Outcome {
                reference: "a".to_owned(),
                result: Ok(Written {
                    id: "1".to_owned(),
                    data: Some("{\"x\":1.0}".to_owned()),
                    extra: vec![],
                }),
            },
            Outcome { reference: "b".to_owned(), result: Err(refused) },
        ])),
    );
    let items = json!([
        {"reference": "a", "data": {"x": 1}, "idempotency_key": "mine"},
        {"reference": "b", "data": {"x": 1}},
    ]);
    let body = json!({"operation": "create", "items": items});
    let reply = world.post(&at("/objects/widgets/write"), body).await;
    let outcomes = reply.ok();
    assert_eq!(
        outcomes["outcomes"][0],
        json!({"reference": "a", "written": {"id": "1", "data": {"x": 1.0}}})
    );
    assert_eq!(outcomes["outcomes"][1]["refused"]["code"], "upstream-conflict");
    assert_eq!(outcomes["outcomes"][1]["refused"]["provider_code"], "CONTACT_EXISTS");
    let extra = json!([{"name": "correlation-id", "value": "c-7"}]);
    assert_eq!(outcomes["outcomes"][1]["refused"]["extra"], extra);
    let calls = world.dispatch.calls.lock().unwrap();
    let Operation::Write(write) = &calls[0].operation else { panic!("a write was asked for") };
    assert_eq!(write.items[0].idempotency_key, "mine");
    assert_eq!(write.items[1].idempotency_key.len(), 64, "derived");
}

#[tokio::test]
async fn output_that_is_no_json_is_the_connectors_fault() {
    let world = World::pinned().await;
    let (id, data) = ("1".to_owned(), "{".to_owned());
    let record = Record { id, updated_at: None, deleted: false, data, extra: vec![] };
    script(&world, Ok(Output::Page(Page { records: vec![record], next: None, extra: vec![] })));
    let reply = world.post(&at("/objects/widgets/read"), json!({})).await;
    reply.refused(502, "guest-output-invalid");
    assert_eq!(reply.header("keyway-release"), "pub/things@1.0.0");
}
