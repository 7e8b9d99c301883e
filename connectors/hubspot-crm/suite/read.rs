//! Reading: pages and their ends, searches of any length, archived records, cursors.

use std::collections::BTreeMap;

use keyway_sdk::serde_json::{Value, json};
use keyway_sdk::testing::{Cassette, Exchange};
use keyway_sdk::{FailureKind, Page, Read, ReadRequest};

use super::{API, HubSpot, companies, contact, contacts, get, post, results, value};

const USUAL: &str = "properties=firstname&properties=lastname&properties=email\
    &properties=createdate&properties=lastmodifieddate";

/// 2026-03-01T00:00:00Z in milliseconds, as searches have it.
const MARCH: i64 = 1_772_323_200_000;

fn request() -> ReadRequest {
    ReadRequest::new("contacts")
}

fn since_march() -> ReadRequest {
    ReadRequest { since: Some("2026-03-01T00:00:00Z".to_owned()), ..request() }
}

fn listed(archived: bool, after: Option<&str>) -> Exchange {
    let after = after.map(|after| format!("&after={after}")).unwrap_or_default();
    get(contacts(&format!("?limit=100&archived={archived}{after}&{USUAL}")))
}

fn searched(filters: Value, sort: &str, limit: u32) -> Exchange {
    let body = json!({
        "filterGroups": [{"filters": filters}],
        "sorts": [sort],
        "properties": ["firstname", "lastname", "email", "createdate", "lastmodifieddate"],
        "limit": limit,
        "after": "0",
    });
    post(contacts("/search"), body)
}

fn filter(property: &str, operator: &str, value: i64) -> Value {
    json!({"propertyName": property, "operator": operator, "value": value.to_string()})
}

fn changed(operator: &str, from: i64, limit: u32) -> Exchange {
    let filters = json!([filter("lastmodifieddate", operator, from)]);
    searched(filters, "lastmodifieddate", limit)
}

fn tied(at: i64, above: i64, limit: u32) -> Exchange {
    let filters =
        json!([filter("lastmodifieddate", "EQ", at), filter("hs_object_id", "GT", above)]);
    searched(filters, "hs_object_id", limit)
}

fn archived(id: &str, at: &str) -> Value {
    let mut record = contact(id, "2025-01-01T00:00:00Z");
    record["archived"] = true.into();
    record["archivedAt"] = at.into();
    record
}

/// One page, answered by one exchange.
fn page(request: ReadRequest, exchange: Exchange) -> Page {
    Cassette::new().expect(exchange).play(|| HubSpot::read(request)).unwrap()
}

/// The request for the page behind this one.
fn next(page: &Page, request: ReadRequest) -> ReadRequest {
    ReadRequest { cursor: Some(page.next.clone().expect("another page")), ..request }
}

fn ids(page: &Page) -> Vec<&str> {
    page.records.iter().map(|record| record.id.as_str()).collect()
}

#[test]
fn everything_is_listed_page_by_page_and_then_what_is_archived() {
    let (one, two) = (contact("1", "2026-03-01T00:00:00Z"), contact("2", "2026-03-02T00:00:00Z"));
    let first = page(request(), listed(false, None).reply_json(results(&[one], Some("1"))));
    assert_eq!(ids(&first), ["1"]);
    let record = &first.records[0];
    assert_eq!(record.updated_at.as_deref(), Some("2026-03-01T00:00:00Z"));
    assert!(!record.deleted);
    assert_eq!(value(&record.data)["email"], "1@example.com");

    let second = next(&first, request());
    let second = page(second, listed(false, Some("1")).reply_json(results(&[two], None)));
    assert_eq!(ids(&second), ["2"]);

    let gone = [archived("3", "2026-02-01T00:00:00Z")];
    let third = next(&second, request());
    let third = page(third, listed(true, None).reply_json(results(&gone, Some("3"))));
    assert_eq!(third.records[0].updated_at.as_deref(), Some("2026-02-01T00:00:00Z"));
    assert!(third.records[0].deleted);

    let last = next(&third, request());
    let last = page(last, listed(true, Some("3")).reply_json(results(&[], None)));
    assert_eq!(last, Page::default());
}

#[test]
fn an_empty_account_ends_after_its_empty_lists() {
    let first = page(request(), listed(false, None).reply_json(results(&[], None)));
    assert!(first.records.is_empty());
    let last = next(&first, request());
    let last = page(last, listed(true, None).reply_json(results(&[], None)));
    assert_eq!(last, Page::default());
}

#[test]
fn changes_are_searched_oldest_first_by_the_property_of_the_object() {
    let one = contact("1", "2026-03-01T00:00:00.000Z");
    let two = contact("2", "2026-03-01T00:00:05.123Z");
    let first = page(
        since_march(),
        changed("GTE", MARCH, 100).reply_json(results(&[one, two.clone()], Some("2"))),
    );
    let second = page(
        next(&first, since_march()),
        changed("GTE", MARCH + 5123, 100).reply_json(results(&[two], None)),
    );
    assert_eq!((ids(&first), ids(&second)), (vec!["1"], vec!["2"]));

    let filters = json!([
        filter("hs_lastmodifieddate", "GTE", MARCH),
        filter("hs_lastmodifieddate", "LTE", MARCH + 1000),
    ]);
    let body = json!({
        "filterGroups": [{"filters": filters}],
        "sorts": ["hs_lastmodifieddate"],
        "properties": ["name", "domain", "createdate", "hs_lastmodifieddate"],
        "limit": 100,
        "after": "0",
    });
    let bounded = ReadRequest {
        object: "companies".to_owned(),
        until: Some("2026-03-01T01:00:01+01:00".to_owned()),
        ..since_march()
    };
    let answer = post(companies("/search"), body).reply_json(results(&[], None));
    assert!(page(bounded, answer).next.is_some(), "archived records come next");
}

#[test]
fn archived_records_are_kept_to_the_bounds_of_the_run() {
    let bounded =
        || ReadRequest { until: Some("2026-03-03T00:00:00Z".to_owned()), ..since_march() };
    let filters = json!([
        filter("lastmodifieddate", "GTE", MARCH),
        filter("lastmodifieddate", "LTE", MARCH + 2 * 86_400_000),
    ]);
    let exchange = searched(filters, "lastmodifieddate", 100);
    let first = page(bounded(), exchange.reply_json(results(&[], None)));
    let gone = [
        archived("early", "2026-02-28T23:59:59.999Z"),
        archived("first", "2026-03-01T00:00:00Z"),
        archived("last", "2026-03-03T00:00:00Z"),
        archived("late", "2026-03-03T00:00:00.001Z"),
    ];
    // The bounds are those the run began with, whatever a later request says.
    let second = page(next(&first, request()), listed(true, None).reply_json(results(&gone, None)));
    assert_eq!(ids(&second), ["first", "last"]);
    assert!(second.records.iter().all(|record| record.deleted));
}

/// A provider of contacts, each with the time of its last change by its id.
struct Provider {
    times: BTreeMap<u64, i64>,
    limit: u32,
}

impl Provider {
    fn new(count: u64, limit: u32, at: impl Fn(u64) -> i64) -> Self {
        Self { times: (1..=count).map(|id| (id, at(id))).collect(), limit }
    }

    /// Reads to the end of the search. `meanwhile` happens at the provider after each page.
    /// Answers the ids that came, in order, and the number of pages.
    fn walk(mut self, mut meanwhile: impl FnMut(&mut BTreeMap<u64, i64>)) -> (Vec<u64>, usize) {
        let mut seen = Vec::new();
        let mut request = ReadRequest { page_size: self.limit, ..since_march() };
        for pages in 1..2000 {
            let page = self.answered(&request);
            seen.extend(page.records.iter().map(|record| record.id.parse::<u64>().unwrap()));
            let cursor = value(page.next.as_ref().expect("archived records come last"));
            if cursor["step"].get("archived").is_some() {
                return (seen, pages);
            }
            request.cursor = page.next;
            meanwhile(&mut self.times);
        }
        panic!("the walk goes round in circles at {:?}", request.cursor);
    }

    /// The page that this provider answers to the search at which the cursor stands.
    fn answered(&self, request: &ReadRequest) -> Page {
        let cursor = request.cursor.as_deref().map(value).unwrap_or_default();
        let step = &cursor["step"];
        let all = self.times.iter().map(|(id, at)| (*id, *at));
        let (exchange, mut found): (_, Vec<_>) = if let Some(tie) = step.get("tied") {
            let (time, above) = (tie["at"].as_i64().unwrap(), tie["above"].as_i64().unwrap());
            let matches = |(id, at): &(u64, i64)| *at == time && *id > above.unsigned_abs();
            (tied(time, above, self.limit), all.filter(matches).collect())
        } else {
            let window = &step["changed"];
            let strict = window["strict"].as_bool().unwrap_or(false);
            let from = window["from"].as_i64().unwrap_or(MARCH);
            let matches = |(_, at): &(u64, i64)| *at > from || (!strict && *at == from);
            let operator = if strict { "GT" } else { "GTE" };
            (changed(operator, from, self.limit), all.filter(matches).collect())
        };
        // By time alone, as the provider sorts: ids of one time in no order that means anything.
        found.sort_by_key(|(id, at)| (*at, id % 7));
        if step.get("tied").is_some() {
            found.sort_unstable();
        }
        let limit = self.limit as usize;
        let records: Vec<_> = found
            .iter()
            .take(limit)
            .map(|(id, at)| contact(&id.to_string(), &rfc3339(*at)))
            .collect();
        let after = (found.len() > limit).then_some("1");
        page(request.clone(), exchange.reply_json(results(&records, after)))
    }
}

/// The ids from 1 to `count`, each as often as it came.
fn all_once(mut ids: Vec<u64>, count: u64) {
    ids.sort_unstable();
    assert_eq!(ids, (1..=count).collect::<Vec<_>>());
}

fn rfc3339(millis: i64) -> String {
    let at =
        keyway_sdk::time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000);
    at.unwrap().format(&keyway_sdk::time::format_description::well_known::Rfc3339).unwrap()
}

#[test]
fn searches_longer_than_the_provider_gives_out_neither_lose_nor_repeat() {
    for (count, alike) in [(10_000, 1), (10_001, 1), (12_345, 3), (12_345, 60)] {
        let at = |id: u64| MARCH + i64::try_from(id / alike).unwrap();
        let (ids, _) = Provider::new(count, 100, at).walk(|_| ());
        all_once(ids, count);
    }
}

#[test]
fn more_equal_times_than_fit_a_page_are_all_read_once() {
    // 1,500 records of one time, as an import makes them, between some of other times.
    let at = |id: u64| MARCH + if id <= 50 { 0 } else { i64::from(id <= 1_550) };
    let (ids, pages) =
        Provider::new(1_600, 100, |id| at(id) + i64::from(id > 1_550) * 2).walk(|_| ());
    all_once(ids, 1_600);
    assert!(pages <= 16 + 4, "{pages} pages");
}

#[test]
fn all_records_at_one_time_are_read_to_the_end() {
    for count in [1, 99, 100, 101, 1_000] {
        let (ids, _) = Provider::new(count, 100, |_| MARCH).walk(|_| ());
        all_once(ids, count);
    }
}

#[test]
fn pages_of_one_record_still_move_on() {
    let (ids, _) = Provider::new(20, 1, |id| MARCH + i64::try_from(id / 2).unwrap()).walk(|_| ());
    all_once(ids, 20);
}

#[test]
fn records_that_change_while_they_are_read_make_no_other_go_missing() {
    let mut now = MARCH + 1_000_000;
    let mut changing = 0;
    let provider = Provider::new(1_000, 100, |id| MARCH + i64::try_from(id).unwrap());
    let (mut ids, _) = provider.walk(|times| {
        // One that has been read already changes after each of the first pages.
        changing += 1;
        now += 1;
        if changing <= 5 {
            times.insert(changing, now);
        }
    });
    assert_eq!(ids.len(), 1_005, "the changed ones come again");
    ids.sort_unstable();
    ids.dedup();
    all_once(ids, 1_000);
}

#[test]
fn a_search_that_finds_nothing_is_at_its_end() {
    for after in [None, Some("100")] {
        let first = changed("GTE", MARCH, 100).reply_json(results(&[], after));
        let cursor = value(&page(since_march(), first).next.unwrap());
        assert_eq!(cursor["step"], json!({"archived": {"after": null}}));
    }
}

#[test]
fn a_record_that_leaves_its_time_out_of_its_properties_says_it_itself() {
    let mut bare = contact("2", "2026-03-01T00:00:00.009Z");
    bare["properties"] = json!({"lastmodifieddate": null});
    let found = [contact("1", "2026-03-01T00:00:00Z"), bare];
    let first =
        page(since_march(), changed("GTE", MARCH, 100).reply_json(results(&found, Some("2"))));
    assert_eq!(ids(&first), ["1"]);
    assert_eq!(value(&first.next.unwrap())["step"]["changed"]["from"], MARCH + 9);
}

#[test]
fn a_search_out_of_order_ends_in_a_failure_and_not_in_circles() {
    let times = |one: &str, two: &str| [contact("1", one), contact("2", two)];
    for found in [
        times("2026-03-01T00:00:02Z", "2026-03-01T00:00:01Z"),
        times("2026-02-28T00:00:00Z", "2026-03-01T00:00:00Z"),
    ] {
        let exchange = changed("GTE", MARCH, 100).reply_json(results(&found, Some("2")));
        let failure =
            Cassette::new().expect(exchange).play(|| HubSpot::read(since_march())).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Contract);
    }
}

#[test]
fn ids_that_are_no_numbers_cannot_be_walked() {
    let cursor = json!({
        "api": API, "since": MARCH, "until": null, "step": {"tied": {"at": MARCH, "above": 7}},
    });
    let request = ReadRequest { cursor: Some(cursor.to_string()), ..since_march() };
    let found = [contact("x", "2026-03-01T00:00:00Z")];
    let exchange = tied(MARCH, 7, 100).reply_json(results(&found, Some("100")));
    let failure = Cassette::new().expect(exchange).play(|| HubSpot::read(request)).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Contract);
}

#[test]
fn configuration_adds_properties_and_bounds_pages() {
    let config = json!({"page-size": 20, "properties": {"contacts": ["phone", "email"]}});
    let url = contacts(&format!("?limit=20&archived=false&{USUAL}&properties=phone"));
    let cassette = Cassette::new().config(config).expect(get(url).reply_json(results(&[], None)));
    cassette.play(|| HubSpot::read(request())).unwrap();
}

#[test]
fn fields_replace_the_usual_ones_except_the_time_of_change() {
    let asked = ReadRequest { fields: vec!["phone".to_owned()], page_size: 1000, ..request() };
    let url = contacts("?limit=100&archived=false&properties=phone&properties=lastmodifieddate");
    page(asked, get(url).reply_json(results(&[], None)));
}

/// A cursor as the other line would have written it.
fn foreign(step: &Value) -> ReadRequest {
    let cursor = json!({"api": "v0", "since": MARCH, "until": null, "step": step});
    ReadRequest { cursor: Some(cursor.to_string()), ..since_march() }
}

#[test]
fn a_list_cursor_of_another_line_is_refused_by_name() {
    let request = foreign(&json!({"live": {"after": "100"}}));
    let failure = Cassette::new().play(|| HubSpot::read(request)).unwrap_err();
    assert_eq!(failure.kind, FailureKind::InvalidInput);
    assert_eq!(failure.code.as_deref(), Some("cursor-foreign"));
    assert!(failure.message.contains("v0") && failure.message.contains(API), "{failure}");
}

#[test]
fn a_search_cursor_of_another_line_goes_on_where_it_stands() {
    let found = [contact("5", "2026-03-01T00:00:00.009Z")];
    let tie = page(
        foreign(&json!({"tied": {"at": MARCH + 9, "above": 4}})),
        tied(MARCH + 9, 4, 100).reply_json(results(&found, None)),
    );
    assert_eq!(ids(&tie), ["5"]);
    let cursor = value(&tie.next.unwrap());
    assert_eq!(cursor["api"], API);
    let window = page(
        foreign(&cursor["step"]),
        changed("GT", MARCH + 9, 100).reply_json(results(&found, None)),
    );
    assert_eq!(ids(&window), ["5"]);
}

#[test]
fn an_archive_cursor_of_another_line_begins_the_archive_again() {
    let request = foreign(&json!({"archived": {"after": "7"}}));
    assert_eq!(page(request, listed(true, None).reply_json(results(&[], None))).next, None);
}

#[test]
fn bad_requests_never_reach_the_provider() {
    let cursor = |text: &str| ReadRequest { cursor: Some(text.to_owned()), ..request() };
    for bad in [
        ReadRequest { page_size: 0, ..request() },
        ReadRequest { since: Some("2026-03-01".to_owned()), ..request() },
        ReadRequest { until: Some("now".to_owned()), ..request() },
        cursor("7"),
        cursor("{"),
        cursor(r#"{"api": "v3", "since": null, "until": null, "step": {"sideways": {}}}"#),
        cursor(r#"{"api": "v3", "since": "x", "until": null, "step": {"live": {"after": null}}}"#),
    ] {
        let failure = Cassette::new().play(|| HubSpot::read(bad.clone())).unwrap_err();
        let seen = (failure.kind, failure.request_sent);
        assert_eq!(seen, (FailureKind::InvalidInput, false), "{bad:?}");
    }
    let failure = Cassette::new().play(|| HubSpot::read(ReadRequest::new("deals"))).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unsupported);
}
