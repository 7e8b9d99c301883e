//! Both lines of `keyway/hubspot`, as components in the real host, against the mock provider.

mod login;

use std::collections::BTreeMap;
use std::time::Duration;

use harness::component;
use hubspot_upstream::{Fault, Options, Running, Token, Upstream};
use serde_json::{Value, json};

use crate::setup::{Setup, path, stand_in};

const HUBSPOT: &str = "keyway/hubspot";

/// A tenant's credential, which the provider's echo must not give away.
const CREDENTIAL: &str = "pat-eu1-canary-4711";

/// Records of each kind that the provider begins with.
const RECORDS: u64 = 230;

/// Each line: the tenant that is pinned to it, its crate, and how its paths begin.
const LINES: [(&str, &str, &str); 2] =
    [("old", "hubspot-1", "/crm/v3/"), ("new", "hubspot-2", "/crm/objects/2026-03/")];

/// A provider, and a host with a tenant on each line.
async fn both_lines() -> (Running, Setup) {
    let options = Options {
        records: RECORDS,
        archived: 7,
        tokens: vec![Token::new(CREDENTIAL)],
        ..Options::default()
    };
    let upstream = Upstream::start(options).await.expect("mock provider starts");
    let mut setup = Setup::new(&stand_in("api.hubapi.com", upstream.addr));
    for (tenant, name, _) in LINES {
        let release = setup.http.publish(component("connectors", name)).await.ok().json();
        let digest = release["release"]["digest"].as_str().expect("text").to_owned();
        setup.pin(tenant, HUBSPOT, &digest).await;
        let slot = path(tenant, HUBSPOT, "/connections/token?test=false");
        setup.http.put(&slot, json!({"token": CREDENTIAL})).await.ok();
    }
    (upstream, setup)
}

async fn read(setup: &mut Setup, tenant: &str, object: &str, request: Value) -> Value {
    let path = path(tenant, HUBSPOT, &format!("/objects/{object}/read"));
    setup.http.post(&path, request).await.ok().json()
}

/// Every record of a run, page by page.
async fn read_all(setup: &mut Setup, tenant: &str, object: &str, mut request: Value) -> Vec<Value> {
    let mut records = Vec::new();
    for _ in 0..100 {
        let page = read(setup, tenant, object, request.clone()).await;
        records.extend(page["records"].as_array().expect("a list").iter().cloned());
        if page.get("next").is_none() {
            return records;
        }
        request["cursor"] = page["next"].clone();
    }
    panic!("{object} does not end")
}

async fn write(setup: &mut Setup, tenant: &str, object: &str, request: Value) -> Vec<Value> {
    let path = path(tenant, HUBSPOT, &format!("/objects/{object}/write"));
    let outcomes = setup.http.post(&path, request).await.ok().json()["outcomes"].clone();
    outcomes.as_array().expect("a list").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_speaks_its_own_generation_only() {
    let (upstream, mut setup) = both_lines().await;
    for (tenant, _, prefix) in LINES {
        let before = upstream.requests().total;
        let contact = setup.act(tenant, HUBSPOT, "contacts.get", json!({"id": "1001"})).await.ok();
        assert_eq!(contact.json()["id"], "1001");
        let last = upstream.requests().last.back().cloned().expect("a request");
        assert!(last.target.starts_with(prefix), "{tenant}: {}", last.target);
        assert_eq!(upstream.requests().total, before + 1, "one call, one request");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_read_has_every_record_once_and_the_archived_as_deleted() {
    let (_upstream, mut setup) = both_lines().await;
    for (tenant, ..) in LINES {
        for object in ["contacts", "companies"] {
            let records = read_all(&mut setup, tenant, object, json!({"page_size": 100})).await;
            let mut seen = BTreeMap::new();
            for record in &records {
                let again = seen.insert(record["id"].to_string(), record["deleted"].clone());
                assert_eq!(again, None, "{tenant} {object}: {} twice", record["id"]);
            }
            let deleted = seen.values().filter(|deleted| **deleted == json!(true)).count();
            assert_eq!((seen.len() as u64, deleted), (RECORDS + 7, 7), "{tenant} {object}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incremental_read_has_what_changed_since_and_nothing_else() {
    let (_upstream, mut setup) = both_lines().await;
    for (tenant, ..) in LINES {
        let all = read_all(&mut setup, tenant, "contacts", json!({"page_size": 100})).await;
        let mut times: Vec<&str> = all
            .iter()
            .filter(|r| r["deleted"] == false)
            .filter_map(|r| r["updated_at"].as_str())
            .collect();
        times.sort();
        let since = times[times.len() - 20].to_owned();
        let expected = times.iter().filter(|time| **time >= since.as_str()).count();
        let request = json!({"since": since, "page_size": 7});
        let changed = read_all(&mut setup, tenant, "contacts", request).await;
        let live = changed.iter().filter(|record| record["deleted"] == false).count();
        assert_eq!(live, expected, "{tenant}, since {since}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_tells_every_property() {
    let (_upstream, mut setup) = both_lines().await;
    for (tenant, ..) in LINES {
        let all = setup.http.get(&path(tenant, HUBSPOT, "/objects")).await.ok().json();
        assert!(all["contacts"]["properties"]["email"].is_object(), "{tenant}: {all}");
        assert!(all["companies"]["properties"]["domain"].is_object(), "{tenant}: {all}");
        let one = setup.http.get(&path(tenant, HUBSPOT, "/objects/contacts")).await.ok().json();
        assert_eq!(one["contacts"], all["contacts"], "{tenant}");
        let reply = setup.http.get(&path(tenant, HUBSPOT, "/objects/deals")).await;
        assert_eq!(reply.code(), "unknown-object");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_written_item_by_item() {
    let (_upstream, mut setup) = both_lines().await;
    for (tenant, ..) in LINES {
        let email = |name: &str| format!("{name}@{tenant}.example");
        let item = |reference: &str, id: Option<&str>, data: Value| {
            let mut item = json!({"reference": reference, "data": data});
            if let Some(id) = id {
                item["id"] = id.into();
            }
            item
        };
        let batch = json!({"operation": "create", "items": [
            item("a", None, json!({"email": email("ann"), "firstname": "Ann"})),
            item("b", None, json!({"email": email("bob")})),
        ]});
        let created = write(&mut setup, tenant, "contacts", batch).await;
        let id = |reference: &str| {
            let outcome = created.iter().find(|o| o["reference"] == reference).expect("an outcome");
            outcome["written"]["id"].as_str().unwrap_or_else(|| panic!("{outcome}")).to_owned()
        };
        let (ann, bob) = (id("a"), id("b"));

        let batch = json!({"operation": "update", "items": [
            item("good", Some(&ann), json!({"firstname": "Anna"})),
            item("bad", Some("99999999"), json!({"firstname": "Nobody"})),
        ]});
        let updated = write(&mut setup, tenant, "contacts", batch).await;
        let of =
            |reference: &str| updated.iter().find(|o| o["reference"] == reference).expect("there");
        assert_eq!(of("good")["written"]["id"], ann.as_str());
        assert_eq!(of("bad")["refused"]["code"], "not-found", "{}", of("bad"));

        let batch = json!({"operation": "upsert", "match_on": "email", "items": [
            item("there", Some(&email("bob")), json!({"firstname": "Bob"})),
            item("fresh", Some(&email("eve")), json!({"firstname": "Eve"})),
        ]});
        let upserted = write(&mut setup, tenant, "contacts", batch).await;
        assert!(upserted.iter().all(|outcome| outcome["written"].is_object()), "{upserted:?}");

        let batch = json!({"operation": "delete", "items": [item("gone", Some(&bob), json!({}))]});
        let deleted = write(&mut setup, tenant, "contacts", batch).await;
        assert!(deleted[0]["written"].is_object(), "{deleted:?}");
        let reply = setup.act(tenant, HUBSPOT, "contacts.get", json!({"id": bob})).await;
        assert_eq!(reply.code(), "not-found");
        let reply = setup.act(tenant, HUBSPOT, "contacts.get", json!({"id": ann})).await.ok();
        assert_eq!(reply.json()["properties"]["firstname"], "Anna");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_search_and_tell_of_the_account() {
    let (_upstream, mut setup) = both_lines().await;
    for (tenant, ..) in LINES {
        for object in ["contacts", "companies"] {
            let action = format!("{object}.search");
            let found = setup.act(tenant, HUBSPOT, &action, json!({"limit": 5})).await.ok().json();
            assert_eq!(found["results"].as_array().map(Vec::len), Some(5), "{tenant} {action}");
        }
        let company = setup.act(tenant, HUBSPOT, "companies.get", json!({"id": "500001"})).await;
        assert_eq!(company.ok().json()["id"], "500001");
        let account = setup.act(tenant, HUBSPOT, "account.info", json!({})).await.ok().json();
        assert_eq!(account["portalId"], Token::new(CREDENTIAL).portal, "{tenant}: {account}");
        let reply = setup.act(tenant, HUBSPOT, "contacts.get", json!({"name": "Ann"})).await;
        assert_eq!(reply.code(), "input-invalid");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_providers_errors_keep_their_meaning() {
    let (upstream, mut setup) = both_lines().await;
    for (tenant, ..) in LINES {
        for (status, code, http) in [
            (401, "unauthenticated", 424),
            (403, "forbidden", 424),
            (404, "not-found", 404),
            (409, "upstream-conflict", 409),
            (500, "transient", 502),
            (503, "transient", 502),
        ] {
            let fault = Fault { status: Some(status), times: Some(1), ..Fault::default() };
            upstream.fault(fault).expect("a valid fault");
            let reply = setup.act(tenant, HUBSPOT, "contacts.get", json!({"id": "1001"})).await;
            assert_eq!((reply.code().as_str(), reply.status.as_u16()), (code, http), "{status}");
            assert_eq!(reply.json()["request_sent"], true, "{status}");
        }
        let headers = BTreeMap::from([("retry-after".to_owned(), "7".to_owned())]);
        let fault = Fault { status: Some(429), times: Some(1), headers, ..Fault::default() };
        upstream.fault(fault).expect("a valid fault");
        let reply = setup.act(tenant, HUBSPOT, "contacts.get", json!({"id": "1001"})).await;
        assert_eq!(reply.code(), "rate-limited");
        assert_eq!(
            (reply.header("retry-after"), &reply.json()["retry_after_ms"]),
            ("7", &json!(7_000))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_make_no_sense_are_the_upstreams_fault_and_secrets_do_not_come_back() {
    let (upstream, mut setup) = both_lines().await;
    for (tenant, ..) in LINES {
        let body = Some(json!("<html>maintenance</html>"));
        let fault = Fault { status: Some(200), body, times: Some(1), ..Fault::default() };
        upstream.fault(fault).expect("a valid fault");
        let reply = setup.act(tenant, HUBSPOT, "contacts.get", json!({"id": "1001"})).await;
        assert_eq!(reply.code(), "contract-drift", "{}", reply.json());

        let fault =
            Fault { status: Some(400), echo_credential: true, times: Some(1), ..Fault::default() };
        upstream.fault(fault).expect("a valid fault");
        let reply = setup.act(tenant, HUBSPOT, "contacts.get", json!({"id": "1001"})).await;
        assert!(!reply.json().to_string().contains(CREDENTIAL), "{}", reply.json());
    }
    assert!(!setup.log().contains(CREDENTIAL));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_during_a_hundred_calls_lets_each_end_on_the_release_it_began_with() {
    let (upstream, mut setup) = both_lines().await;
    let releases = setup.http.get("/v1/releases/keyway/hubspot").await.ok().json();
    let digest = |n: usize| releases["releases"][n]["release"]["digest"].as_str().expect("text");
    let (old, new) = (digest(0).to_owned(), digest(1).to_owned());
    let delay = Duration::from_secs(8);
    let path_prefix = "/crm/v3/".to_owned();
    upstream.fault(Fault { path_prefix, delay, ..Fault::default() }).expect("a valid fault");
    let before = upstream.requests().total;
    let calls: Vec<_> = (0..100)
        .map(|n| {
            let mut http = setup.host.http();
            tokio::spawn(async move {
                let path = path("old", HUBSPOT, "/actions/contacts.get");
                http.post(&path, json!({"id": (1001 + n).to_string()})).await
            })
        })
        .collect();
    // The provider counts a request when it has answered; the gauge counts a call when it has begun.
    for wait in 0.. {
        if setup.metric("keyway_calls_running", &[]).await == 100.0 {
            break;
        }
        assert!(wait < 1_000, "a hundred calls were never under way at once");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(upstream.requests().total, before, "no call has ended yet");
    setup.pin("old", HUBSPOT, &new).await;
    let first = setup.act("old", HUBSPOT, "contacts.get", json!({"id": "1001"})).await.ok();
    assert_eq!(first.header("keyway-digest"), new, "the next call runs the new release");
    for call in calls {
        let reply = call.await.expect("no panic").ok();
        assert_eq!(reply.header("keyway-digest"), old, "a call ends on the release it began with");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_moves_between_the_lines_and_reads_on() {
    let (_upstream, mut setup) = both_lines().await;
    let since = json!({"since": "2000-01-01T00:00:00Z", "page_size": 50});
    let first = read(&mut setup, "old", "contacts", since.clone()).await;
    let next = setup.http.get("/v1/releases/keyway/hubspot").await.ok().json();
    let newest = next["releases"].as_array().and_then(|all| all.last()).expect("two releases");
    setup.pin("old", HUBSPOT, newest["release"]["digest"].as_str().expect("text")).await;
    let mut request = since;
    request["cursor"] = first["next"].clone();
    let rest = read_all(&mut setup, "old", "contacts", request).await;
    let records = first["records"].as_array().expect("a list").len() + rest.len();
    assert_eq!(records as u64, RECORDS + 7, "the cursor of one line goes on under the other");
}
