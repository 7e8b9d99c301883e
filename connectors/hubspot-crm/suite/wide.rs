//! More properties than a query or a search takes: found by one, read whole by batch.

use keyway_sdk::serde_json::{Value, json};
use keyway_sdk::testing::{Cassette, Exchange};
use keyway_sdk::{Act, FailureKind, Page, Read, ReadRequest};

use super::{HubSpot, contact, contacts, get, post, results, value};

/// Names of 600 properties, as an account with many custom ones has them.
fn names() -> Vec<String> {
    (0..600).map(|at| format!("custom_property_number_{at}")).collect()
}

/// An installation that reads all of them.
fn cassette() -> Cassette {
    Cassette::new().config(json!({"properties": {"contacts": names()}}))
}

/// What is asked for beside the usual ones.
fn wanted() -> Vec<String> {
    let usual = ["firstname", "lastname", "email", "createdate", "lastmodifieddate"];
    usual.iter().map(|&name| name.to_owned()).chain(names()).collect()
}

fn batch(archived: bool, ids: &[&str], properties: &[String]) -> Exchange {
    let inputs: Vec<Value> = ids.iter().map(|id| json!({"id": id})).collect();
    let body = json!({"inputs": inputs, "properties": properties, "propertiesWithHistory": []});
    post(contacts(&format!("/batch/read?archived={archived}")), body)
}

/// A record of a batch, with a value that only it has.
fn whole(id: &str, modified: &str) -> Value {
    let mut record = contact(id, modified);
    record["properties"]["custom_property_number_599"] = "last".into();
    record
}

fn next(page: &Page) -> ReadRequest {
    ReadRequest { cursor: page.next.clone(), ..ReadRequest::new("contacts") }
}

#[test]
fn a_list_asks_for_the_ids_and_a_batch_for_the_rest() {
    let (one, two) = ("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z");
    let listed = get(contacts("?limit=100&archived=false&properties=lastmodifieddate"));
    let listed = listed
        .reply_json(results(&[contact("1", one), contact("2", two), contact("3", two)], None));
    // In any order, and without what is gone by now.
    let read = batch(false, &["1", "2", "3"], &wanted());
    let read = read.reply(207).reply_json(results(&[whole("3", two), whole("1", one)], None));
    let first = cassette()
        .expect(listed)
        .expect(read)
        .play(|| HubSpot::read(ReadRequest::new("contacts")))
        .unwrap();
    let ids: Vec<&str> = first.records.iter().map(|record| record.id.as_str()).collect();
    assert_eq!(ids, ["1", "3"]);
    assert_eq!(value(&first.records[1].data)["custom_property_number_599"], "last");

    let mut gone = contact("4", one);
    gone["archivedAt"] = two.into();
    let listed = get(contacts("?limit=100&archived=true&properties=lastmodifieddate"));
    let listed = listed.reply_json(results(&[gone], None));
    let read = batch(true, &["4"], &wanted()).reply_json(results(&[whole("4", one)], None));
    let last = cassette().expect(listed).expect(read).play(|| HubSpot::read(next(&first))).unwrap();
    assert!(last.records[0].deleted && last.next.is_none());
    assert_eq!(last.records[0].updated_at.as_deref(), Some(two));
}

#[test]
fn an_empty_list_asks_for_no_batch() {
    let listed = get(contacts("?limit=100&archived=false&properties=lastmodifieddate"));
    let page = cassette().expect(listed.reply_json(results(&[], None)));
    assert_eq!(page.play(|| HubSpot::read(ReadRequest::new("contacts"))).unwrap().records, []);
}

#[test]
fn positions_are_made_of_what_the_search_said() {
    let (one, two) = ("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z");
    let body = json!({
        "filterGroups": [{"filters": [
            {"propertyName": "lastmodifieddate", "operator": "GTE", "value": "1772323200000"},
        ]}],
        "sorts": ["lastmodifieddate"],
        "properties": ["lastmodifieddate"],
        "limit": 100,
        "after": "0",
    });
    let found = post(contacts("/search"), body);
    let found = found.reply_json(results(&[contact("1", one), contact("2", two)], Some("2")));
    // The first has changed between the two requests, and comes again where it belongs.
    let read = batch(false, &["1"], &wanted())
        .reply_json(results(&[whole("1", "2026-03-09T00:00:00Z")], None));
    let request = ReadRequest { since: Some(one.to_owned()), ..ReadRequest::new("contacts") };
    let page = cassette().expect(found).expect(read).play(|| HubSpot::read(request)).unwrap();
    assert_eq!(page.records[0].updated_at.as_deref(), Some("2026-03-09T00:00:00Z"));
    assert_eq!(value(&page.next.unwrap())["step"]["changed"]["from"], 1_772_409_600_000_i64);
}

#[test]
fn actions_read_as_many_properties() {
    let record = whole("7", "2026-03-01T00:00:00Z");
    let input = json!({"id": "7", "properties": names()}).to_string();
    let read = || batch(false, &["7"], &names());
    let one =
        Cassette::new().expect(read().reply_json(results(std::slice::from_ref(&record), None)));
    assert_eq!(value(&one.play(|| HubSpot::invoke("contacts.get", &input)).unwrap()), record);
    let missing =
        json!({"results": [], "errors": [{"category": "OBJECT_NOT_FOUND", "message": "none"}]});
    let none = Cassette::new().expect(read().reply(207).reply_json(missing));
    let failure = none.play(|| HubSpot::invoke("contacts.get", &input)).unwrap_err();
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::NotFound, "none"));

    let body = json!({
        "filterGroups": [], "sorts": [], "properties": ["lastmodifieddate"], "limit": 100, "after": "0",
    });
    let hit = contact("7", "2026-03-01T00:00:00Z");
    let answer = json!({"total": 1, "results": [hit], "paging": {"next": {"after": "1"}}});
    let found = post(contacts("/search"), body).reply_json(answer.clone());
    let search = Cassette::new()
        .expect(found)
        .expect(read().reply_json(results(std::slice::from_ref(&record), None)));
    let input = json!({"properties": names()}).to_string();
    let output = search.play(|| HubSpot::invoke("contacts.search", &input)).unwrap();
    assert_eq!(
        value(&output),
        json!({"total": 1, "results": [record], "paging": answer["paging"]})
    );
}

#[test]
fn what_fits_a_query_stays_in_one() {
    let name = "p".repeat(99);
    let names: Vec<String> = (10..30).map(|at| format!("{}{at}", &name[2..])).collect();
    let query: String = names.iter().map(|name| format!("&properties={name}")).collect();
    let url = contacts(&format!("/7?archived=false{query}"));
    let cassette = Cassette::new().expect(get(url).reply_json(json!({"id": "7"})));
    let input = json!({"id": "7", "properties": names}).to_string();
    assert!(
        cassette.play(|| HubSpot::invoke("contacts.get", &input)).is_ok(),
        "2,000 bytes of names"
    );
    let more = [names, vec!["p".to_owned()]].concat();
    let cassette = Cassette::new()
        .expect(batch(false, &["7"], &more).reply_json(results(&[contact("7", "x")], None)));
    let input = json!({"id": "7", "properties": more}).to_string();
    assert!(cassette.play(|| HubSpot::invoke("contacts.get", &input)).is_ok(), "and a name more");
}

/// Catches short names that are counted without what stands before each of them in a URL.
#[test]
fn a_query_counts_all_that_it_is_made_of() {
    let get_of = |properties: &[String], answer: Exchange| {
        let input = json!({"id": "7", "properties": properties}).to_string();
        Cassette::new().expect(answer).play(|| HubSpot::invoke("contacts.get", &input))
    };
    let whole = |properties: &[String]| {
        batch(false, &["7"], properties).reply_json(results(&[contact("7", "x")], None))
    };
    let short = |count: usize| -> Vec<String> {
        let letters = || (b'a'..=b'z').map(char::from);
        let pairs = letters().flat_map(|one| letters().map(move |two| format!("{one}{two}")));
        pairs.take(count).collect()
    };
    let many = short(600);
    assert!(get_of(&many, whole(&many)).is_ok(), "600 names of two letters");
    // 4,096 bytes: 14 for each of these, and 16.
    let long = (0..4).map(|at| format!("abc{at}"));
    let most: Vec<String> = short(288).into_iter().chain(long).collect();
    let query: String = most.iter().map(|name| format!("&properties={name}")).collect();
    assert_eq!(query.len(), 4_096);
    let url = contacts(&format!("/7?archived=false{query}"));
    assert!(get_of(&most, get(url).reply_json(json!({"id": "7"}))).is_ok(), "at the number");
    let more = [most, vec!["p".to_owned()]].concat();
    assert!(get_of(&more, whole(&more)).is_ok(), "and a name more");
    // Letters that are written with three bytes for each of theirs: 68 bytes a name.
    let odd: Vec<String> = (0..61)
        .map(|at| format!("\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}{at:02}"))
        .collect();
    assert!(get_of(&odd, whole(&odd)).is_ok(), "names with letters that are escaped");
}
