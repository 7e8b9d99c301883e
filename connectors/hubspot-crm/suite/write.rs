//! Writing: batches, splits, partial failures, and what is never guessed.

use keyway_sdk::serde_json::{Value, json};
use keyway_sdk::testing::{Cassette, Exchange};
use keyway_sdk::{Failure, FailureKind, Item, Operation, Outcome, Write, WriteRequest};

use super::{HubSpot, companies, contacts, post};

fn item(reference: &str, data: Value) -> Item {
    Item::new(reference, &data).unwrap()
}

fn batch(operation: Operation, items: Vec<Item>) -> WriteRequest {
    WriteRequest::new("contacts", operation, items)
}

fn stored(id: &str, trace: Option<&str>, properties: Value) -> Value {
    let mut stored = json!({
        "id": id, "properties": properties, "createdAt": "2026-03-01T00:00:00Z",
        "updatedAt": "2026-03-01T00:00:00Z", "archived": false,
    });
    if let Some(trace) = trace {
        stored["objectWriteTraceId"] = trace.into();
    }
    stored
}

fn answer(results: &[Value], errors: &[Value]) -> Value {
    json!({
        "status": "COMPLETE", "results": results, "numErrors": errors.len(), "errors": errors,
        "startedAt": "2026-03-01T00:00:00Z", "completedAt": "2026-03-01T00:00:00Z",
    })
}

fn error(category: &str, context: Value) -> Value {
    json!({
        "status": "error", "category": category, "message": format!("{category} it is"),
        "context": context, "errors": [], "links": {}, "subCategory": {},
    })
}

fn create(inputs: Value) -> Exchange {
    post(contacts("/batch/create"), json!({"inputs": inputs}))
}

/// What became of each item: its id, or the kind of its failure.
fn ends(outcomes: &[Outcome]) -> Vec<(&str, Result<&str, FailureKind>)> {
    let mut ends: Vec<_> = outcomes.iter().map(end).collect();
    ends.sort_by_key(|(reference, _)| *reference);
    ends
}

fn end(outcome: &Outcome) -> (&str, Result<&str, FailureKind>) {
    match outcome {
        Outcome::Written(written) => (&written.reference, Ok(&written.id)),
        Outcome::Rejected(rejected) => (&rejected.reference, Err(rejected.failure.kind)),
    }
}

fn written(cassette: Cassette, request: WriteRequest) -> Vec<Outcome> {
    cassette.play(|| HubSpot::write(request)).unwrap()
}

#[test]
fn creates_carry_properties_as_text_and_a_trace_each() {
    let items = vec![
        item("a", json!({"email": "a@example.com", "age": 7, "vip": true, "phone": null})),
        item("b", json!({"email": "b@example.com"})),
    ];
    let exchange = create(json!([
        {
            "properties": {"email": "a@example.com", "age": "7", "vip": "true", "phone": ""},
            "associations": [], "objectWriteTraceId": "0",
        },
        {"properties": {"email": "b@example.com"}, "associations": [], "objectWriteTraceId": "1"},
    ]));
    let results = [
        stored("12", Some("1"), json!({"email": "b@example.com"})),
        stored("11", Some("0"), json!({"email": "a@example.com"})),
    ];
    let cassette = Cassette::new().expect(exchange.reply(201).reply_json(answer(&results, &[])));
    let outcomes = written(cassette, batch(Operation::Create, items));
    assert_eq!(ends(&outcomes), [("a", Ok("11")), ("b", Ok("12"))]);
    let Outcome::Written(written) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert_eq!(written.data.as_deref(), Some(r#"{"email":"b@example.com"}"#));
}

#[test]
fn updates_go_by_id_or_by_a_property() {
    let items = || vec![item("a", json!({"name": "A"})).id("7")];
    for (match_on, input) in [
        (None, json!({"id": "7", "properties": {"name": "A"}, "objectWriteTraceId": "0"})),
        (
            Some("domain"),
            json!({
                "id": "7", "idProperty": "domain", "properties": {"name": "A"},
                "objectWriteTraceId": "0",
            }),
        ),
    ] {
        let body = json!({"inputs": [input]});
        let results = [stored("7", Some("0"), json!({"name": "A"}))];
        let exchange = post(companies("/batch/update"), body).reply_json(answer(&results, &[]));
        let request = WriteRequest {
            object: "companies".to_owned(),
            match_on: match_on.map(str::to_owned),
            ..batch(Operation::Update, items())
        };
        let outcomes = written(Cassette::new().expect(exchange), request);
        assert_eq!(ends(&outcomes), [("a", Ok("7"))]);
    }
}

#[test]
fn upserts_say_whether_they_made_the_record() {
    let mut result = stored("31", Some("0"), json!({"email": "a@example.com"}));
    result["new"] = true.into();
    let body = json!({"inputs": [{
        "id": "a@example.com", "idProperty": "email", "properties": {"phone": "1"},
        "objectWriteTraceId": "0",
    }]});
    let exchange = post(contacts("/batch/upsert"), body).reply_json(answer(&[result], &[]));
    let request = WriteRequest {
        match_on: Some("email".to_owned()),
        ..batch(Operation::Upsert, vec![item("a", json!({"phone": "1"})).id("a@example.com")])
    };
    let outcomes = written(Cassette::new().expect(exchange), request);
    let [Outcome::Written(written)] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert_eq!((written.id.as_str(), &written.extra[0].1[..]), ("31", "true"));
}

#[test]
fn archiving_sends_ids_and_nothing_else() {
    let body = json!({"inputs": [{"id": "7"}, {"id": "8"}]});
    let exchange = post(contacts("/batch/archive"), body).reply(204);
    let items = vec![item("a", json!({})).id("7"), item("b", json!({})).id("8")];
    let outcomes = written(Cassette::new().expect(exchange), batch(Operation::Delete, items));
    assert_eq!(ends(&outcomes), [("a", Ok("7")), ("b", Ok("8"))]);
}

#[test]
fn a_batch_that_succeeds_in_part_says_which_items_did_not() {
    let items = ["a", "b", "c"].map(|name| item(name, json!({"name": name})).id(name)).to_vec();
    let results = [stored("b", Some("1"), json!({"name": "b"}))];
    let errors = [
        error("OBJECT_NOT_FOUND", json!({"ids": ["a"]})),
        error("VALIDATION_ERROR", json!({"objectWriteTraceId": ["2"]})),
    ];
    let body = json!({"inputs": [
        {"id": "a", "properties": {"name": "a"}, "objectWriteTraceId": "0"},
        {"id": "b", "properties": {"name": "b"}, "objectWriteTraceId": "1"},
        {"id": "c", "properties": {"name": "c"}, "objectWriteTraceId": "2"},
    ]});
    let exchange = post(contacts("/batch/update"), body);
    let cassette =
        Cassette::new().expect(exchange.reply(207).reply_json(answer(&results, &errors)));
    let outcomes = written(cassette, batch(Operation::Update, items));
    assert_eq!(
        ends(&outcomes),
        [("a", Err(FailureKind::NotFound)), ("b", Ok("b")), ("c", Err(FailureKind::InvalidInput)),]
    );
    let Outcome::Rejected(rejected) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert_eq!(rejected.failure.code.as_deref(), Some("OBJECT_NOT_FOUND"));
    assert_eq!(rejected.failure.message, "OBJECT_NOT_FOUND it is");
    assert!(rejected.failure.request_sent);
}

/// Three creates of which the provider answers these results and errors, without saying whose.
fn untraced(results: &[Value], errors: &[Value]) -> Vec<Outcome> {
    let items = ["a", "b", "c"].map(|name| item(name, json!({"name": name}))).to_vec();
    let input = |(position, name): (usize, &str)| {
        json!({
            "properties": {"name": name}, "associations": [],
            "objectWriteTraceId": position.to_string(),
        })
    };
    let inputs: Vec<_> = ["a", "b", "c"].into_iter().enumerate().map(input).collect();
    let exchange = create(inputs.into()).reply(207).reply_json(answer(results, errors));
    written(Cassette::new().expect(exchange), batch(Operation::Create, items))
}

#[test]
fn results_without_a_trace_are_known_by_what_they_hold() {
    let results = [
        stored("3", None, json!({"name": "c", "hs_object_id": "3"})),
        stored("1", None, json!({"name": "a"})),
    ];
    let conflict = [error("CONFLICT", json!({}))];
    assert_eq!(
        ends(&untraced(&results, &conflict)),
        [("a", Ok("1")), ("b", Err(FailureKind::Conflict)), ("c", Ok("3"))]
    );
}

#[test]
fn the_last_of_each_belong_together_but_two_are_never_guessed() {
    let [a, b, c] = ["A", "B", "C"].map(|name| stored(name, None, json!({"name": name})));
    let known = [stored("a", None, json!({"name": "a"})), stored("b", None, json!({"name": "b"}))];
    let [first, second] = known;
    assert_eq!(
        ends(&untraced(&[first.clone(), second, c], &[])),
        [("a", Ok("a")), ("b", Ok("b")), ("c", Ok("C"))]
    );
    assert_eq!(
        ends(&untraced(&[first, a, b], &[])),
        [("a", Ok("a")), ("b", Err(FailureKind::Contract)), ("c", Err(FailureKind::Contract))]
    );
}

/// So many creates, and the exchanges of their runs, each answered by `reply`.
fn many(count: usize, reply: impl Fn(usize, Exchange, &[Value]) -> Exchange) -> Cassette {
    let mut cassette = Cassette::new();
    let positions: Vec<_> = (0..count).collect();
    for (number, run) in positions.chunks(100).enumerate() {
        let traces = || run.iter().map(usize::to_string);
        let inputs: Vec<_> = traces()
            .map(|trace| {
                json!({"properties": {"n": trace}, "associations": [], "objectWriteTraceId": trace})
            })
            .collect();
        let results: Vec<_> =
            traces().map(|trace| stored(&trace, Some(&trace), json!({"n": trace}))).collect();
        cassette = cassette.expect(reply(number, create(inputs.into()), &results));
    }
    cassette
}

fn items(count: usize) -> Vec<Item> {
    (0..count).map(|n| item(&format!("r{n}"), json!({"n": n}))).collect()
}

fn rejected_count(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Rejected(_))).count()
}

#[test]
fn batches_over_a_hundred_are_split() {
    for count in [0, 1, 100, 101, 250] {
        let cassette = many(count, |_, exchange, results| {
            exchange.reply(201).reply_json(answer(results, &[]))
        });
        let outcomes = written(cassette, batch(Operation::Create, items(count)));
        assert_eq!((outcomes.len(), rejected_count(&outcomes)), (count, 0));
    }
}

#[test]
fn a_run_refused_for_its_items_does_not_stop_the_others() {
    let cassette = many(250, |number, exchange, results| match number {
        0 => {
            exchange.reply(400).reply_json(json!({"category": "VALIDATION_ERROR", "message": "no"}))
        }
        _ => exchange.reply(201).reply_json(answer(results, &[])),
    });
    let outcomes = written(cassette, batch(Operation::Create, items(250)));
    assert_eq!((outcomes.len(), rejected_count(&outcomes)), (250, 100));
}

#[test]
fn a_limit_in_the_middle_leaves_the_rest_unsent_and_says_so() {
    let reply = |number, exchange: Exchange, results: &[Value]| match number {
        0 => exchange.reply(201).reply_json(answer(results, &[])),
        _ => exchange.reply(429).reply_header("retry-after", "4"),
    };
    // The third run must not be sent: the cassette ends after two.
    let cassette = many(200, reply);
    let outcomes = written(cassette, batch(Operation::Create, items(250)));
    assert_eq!((outcomes.len(), rejected_count(&outcomes)), (250, 150));
    let sent = |outcome: &&Outcome| match outcome {
        Outcome::Rejected(rejected) => rejected.failure.request_sent,
        Outcome::Written(_) => true,
    };
    assert_eq!(outcomes.iter().filter(sent).count(), 200);
}

#[test]
fn a_refusal_of_the_whole_call_is_a_failure_of_the_call() {
    for (status, kind) in [
        (401, FailureKind::Unauthenticated),
        (403, FailureKind::Forbidden),
        (429, FailureKind::RateLimited),
    ] {
        let cassette = many(1, |_, exchange, _| exchange.reply(status));
        let failure =
            cassette.play(|| HubSpot::write(batch(Operation::Create, items(1)))).unwrap_err();
        assert_eq!(failure.kind, kind);
    }
}

#[test]
fn what_may_have_been_written_is_reported_item_by_item() {
    let lost = Failure { request_sent: true, ..Failure::new(FailureKind::Transient, "reset") };
    let cassette = many(2, |_, exchange, _| exchange.fails(lost.clone()));
    let outcomes = written(cassette, batch(Operation::Create, items(2)));
    let transient = Err(FailureKind::Transient);
    assert_eq!(ends(&outcomes), [("r0", transient), ("r1", transient)]);
    let cassette = many(1, |_, exchange, _| exchange.reply(201).reply_body("<html>"));
    let outcomes = written(cassette, batch(Operation::Create, items(1)));
    assert_eq!(ends(&outcomes), [("r0", Err(FailureKind::Contract))]);
}

#[test]
fn items_that_cannot_be_sent_are_rejected_beside_those_that_can() {
    let bad = vec![
        item("no id", json!({"n": "1"})),
        item("nested", json!({"n": {"deep": 1}})).id("2"),
        item("no object", json!([1])).id("3"),
        item("good", json!({"n": "4"})).id("4"),
    ];
    let body = json!({"inputs": [
        {"id": "4", "properties": {"n": "4"}, "objectWriteTraceId": "3"},
    ]});
    let exchange = post(contacts("/batch/update"), body)
        .reply_json(answer(&[stored("4", None, json!({}))], &[]));
    let outcomes = written(Cassette::new().expect(exchange), batch(Operation::Update, bad));
    let invalid = Err(FailureKind::InvalidInput);
    assert_eq!(
        ends(&outcomes),
        [("good", Ok("4")), ("nested", invalid), ("no id", invalid), ("no object", invalid)]
    );
}

#[test]
fn all_or_none_is_promised_for_one_item_only() {
    let all = |count| WriteRequest { all_or_none: true, ..batch(Operation::Create, items(count)) };
    let failure = Cassette::new().play(|| HubSpot::write(all(2))).unwrap_err();
    assert_eq!(
        (failure.kind, failure.code.as_deref()),
        (FailureKind::Unsupported, Some("all-or-none"))
    );
    let cassette =
        many(1, |_, exchange, results| exchange.reply(201).reply_json(answer(results, &[])));
    assert_eq!(written(cassette, all(1)).len(), 1);
}

#[test]
fn matching_on_a_property_is_for_update_and_upsert() {
    for operation in [Operation::Create, Operation::Delete] {
        let request = WriteRequest {
            match_on: Some("email".to_owned()),
            ..batch(operation, vec![item("a", json!({})).id("1")])
        };
        let failure = Cassette::new().play(|| HubSpot::write(request)).unwrap_err();
        assert_eq!(failure.kind, FailureKind::InvalidInput);
    }
    let request = WriteRequest { object: "deals".to_owned(), ..batch(Operation::Create, vec![]) };
    let failure = Cassette::new().play(|| HubSpot::write(request)).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unsupported);
}
