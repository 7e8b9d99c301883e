//! Rate limits of a provider, as callers of the real host meet them: in calls, through the proxy, and in the list.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use harness::component;
use http::Method;
use hubspot_upstream::{Fault, Options, Running, Token, Upstream};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::proxy::{Got, ask};
use crate::setup::{Setup, path, stand_in};
use crate::upstream::Plain;

const HUBSPOT: &str = "keyway/hubspot";

const CREDENTIAL: &str = "pat-eu1-of-the-limits";

/// What the provider asks to wait: longer than any test takes.
const WAIT: u64 = 300;

/// Everything that an answer says of limits.
const FIELDS: [&str; 6] = [
    "retry-after",
    "ratelimit",
    "ratelimit-policy",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
];

const GET: &str = "/actions/contacts.get";

/// A connector that declares what its provider takes.
const LIMITED: &str = "fixtures/limited";

/// What it declares: so many in so long.
const QUOTA: usize = 3;
const WINDOW: Duration = Duration::from_secs(2);

/// Between a place under the limit and the arrival lie a dial and a busy machine.
const JITTER: Duration = Duration::from_millis(1_500);

const THROTTLE: (&str, &str) = ("keyway-rate-limit", "throttle");

/// A provider, and a host with a tenant of it.
async fn hubspot() -> (Running, Setup) {
    let options = Options { tokens: vec![Token::new(CREDENTIAL)], ..Options::default() };
    let upstream = Upstream::start(options).await.expect("mock provider starts");
    let mut setup = Setup::new(&stand_in("api.hubapi.com", upstream.addr));
    let release = setup.http.publish(component("connectors", "hubspot-2")).await.ok().json();
    let digest = release["release"]["digest"].as_str().expect("text").to_owned();
    setup.pin("acme", HUBSPOT, &digest).await;
    let slot = path("acme", HUBSPOT, "/connections/token?test=false");
    setup.http.put(&slot, json!({"token": CREDENTIAL})).await.ok();
    (upstream, setup)
}

/// A provider that takes everything, and a host with tenants of it whose release declares a limit.
async fn limited(tenants: &[&str]) -> (Plain, Setup) {
    let provider = Plain::start().await;
    let mut setup = Setup::new(&stand_in("api.example.com", provider.address));
    setup.publish("limited").await.ok();
    for tenant in tenants {
        setup.pin(tenant, LIMITED, "1.0.0").await;
        let slot = path(tenant, LIMITED, "/connections/token");
        setup.http.put(&slot, json!({"token": format!("token-of-{tenant}")})).await.ok();
    }
    (provider, setup)
}

/// A request through the proxy of a connector with a declared limit.
async fn proxied(setup: &Setup, tenant: &str, rest: &str, headers: &[(&str, &str)]) -> Got {
    let target = path(tenant, LIMITED, &format!("/proxy{rest}"));
    ask(setup, Method::GET, &target, headers, "").await
}

/// A call of the same, which sends one request.
async fn called(setup: &Setup, tenant: &str, headers: &[(&str, &str)]) -> Got {
    let headers = [&[("content-type", "application/json")], headers].concat();
    ask(setup, Method::POST, &path(tenant, LIMITED, "/actions/get"), &headers, "{}").await
}

/// A request of acme's, either way.
async fn get_things(setup: &Setup, by_proxy: bool, headers: &[(&str, &str)]) -> Got {
    match by_proxy {
        true => proxied(setup, "acme", "/things", headers).await,
        false => called(setup, "acme", headers).await,
    }
}

/// Has the provider refuse so many requests, or all from here on.
fn refuse(upstream: &Running, times: Option<u32>) {
    let headers = [
        ("retry-after", WAIT.to_string()),
        ("x-hubspot-ratelimit-max", "100".to_owned()),
        ("x-hubspot-ratelimit-remaining", "0".to_owned()),
        ("x-hubspot-ratelimit-interval-milliseconds", "10000".to_owned()),
    ];
    let headers: BTreeMap<_, _> =
        headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let fault = Fault { status: Some(429), times, headers, ..Fault::default() };
    upstream.fault(fault).expect("a valid fault");
}

fn said(got: &Got) -> [String; 6] {
    FIELDS.map(|name| got.header(name).to_owned())
}

async fn post(setup: &Setup, rest: &str, headers: &[(&str, &str)], body: Value) -> Got {
    let target = path("acme", HUBSPOT, rest);
    let headers = [&[("content-type", "application/json")], headers].concat();
    ask(setup, Method::POST, &target, &headers, body.to_string()).await
}

async fn get(setup: &Setup, rest: &str, headers: &[(&str, &str)]) -> Got {
    ask(setup, Method::GET, &path("acme", HUBSPOT, rest), headers, "").await
}

/// A connector sees the provider's 429 and reports a kind and a wait; its caller is told what a caller of the proxy is.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_the_provider_refuses_says_all_that_the_proxy_would() {
    let (upstream, setup) = hubspot().await;
    let fine = post(&setup, GET, &[], json!({"id": "1001"})).await;
    assert_eq!((fine.status, fine.header("retry-after")), (200, ""), "{}", fine.code());
    refuse(&upstream, None);
    let proxied = get(&setup, "/proxy/crm/v3/objects/contacts", &[]).await;
    assert_eq!(proxied.status, 429);
    let [after, limit, policy, _, remaining, reset] = said(&proxied);
    assert_eq!((&*after, &*remaining, &*reset), ("300", "0", "300"));
    assert!(limit.contains(";r=0;t="), "{limit}");
    assert!(policy.contains(r#""default";q=100;w=10"#), "{policy}");
    for (rest, body) in [(GET, json!({"id": "1001"})), ("/objects/contacts/read", json!({}))] {
        let got = post(&setup, rest, &[], body).await;
        assert_eq!((got.status, got.code().as_str()), (429, "rate-limited"), "{rest}");
        assert_eq!(said(&got), said(&proxied), "{rest}");
    }
    let got = get(&setup, "/objects", &[]).await;
    assert_eq!((got.status, said(&got)), (429, said(&proxied)), "discovery");
}

/// The provider is not asked again, and whoever has no time to wait is told what a refusal of its own would say.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_host_refuses_itself_says_the_same() {
    let (upstream, setup) = hubspot().await;
    refuse(&upstream, Some(1));
    assert_eq!(post(&setup, GET, &[], json!({"id": "1001"})).await.code(), "rate-limited");
    let asked = upstream.requests().total;
    let headers = [("keyway-rate-limit", "throttle"), ("keyway-timeout-ms", "5000")];
    for got in [
        post(&setup, GET, &headers, json!({"id": "1001"})).await,
        get(&setup, "/proxy/crm/v3/objects/contacts", &headers).await,
    ] {
        assert_eq!((got.status, got.code().as_str()), (429, "rate-limited"));
        let [after, limit, policy, _, remaining, reset] = said(&got);
        let wait: u64 = after.parse().expect("seconds");
        assert!((WAIT - 60..=WAIT).contains(&wait), "{after}");
        assert_eq!((remaining, &reset), ("0".to_owned(), &after));
        assert!(limit.contains(&format!(";r=0;t={after}")), "{limit}");
        assert!(policy.contains(";q="), "{policy}");
    }
    assert_eq!(upstream.requests().total, asked, "nothing was sent");
}

/// Catches a provider that is asked thousands of times because it names a wait of nothing, and a caller who is told that
/// the time was too short where it was the limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_of_nothing_is_not_hammered_and_ends_as_a_limit() {
    let headers = [("keyway-rate-limit", "throttle"), ("keyway-timeout-ms", "5000")];
    for by_proxy in [false, true] {
        let (upstream, setup) = hubspot().await;
        let nothing = BTreeMap::from([("retry-after".to_owned(), "0".to_owned())]);
        let fault = Fault { status: Some(429), headers: nothing, ..Fault::default() };
        upstream.fault(fault).expect("a valid fault");
        let before = upstream.requests().total;
        let got = match by_proxy {
            true => get(&setup, "/proxy/crm/v3/objects/contacts", &headers).await,
            false => post(&setup, GET, &headers, json!({"id": "1001"})).await,
        };
        assert_eq!((got.status, got.code().as_str()), (429, "rate-limited"), "{by_proxy}");
        assert!(got.header("retry-after").parse::<u64>().is_ok_and(|wait| wait > 0));
        let asked = upstream.requests().total - before;
        assert!((1..=8).contains(&asked), "{asked} requests");
    }
}

/// Catches a limit that a provider states with 403 and that is told as a lack of permission, and the reverse.
#[tokio::test(flavor = "multi_thread")]
async fn a_403_is_a_limit_where_its_headers_say_so() {
    for (left, more, code) in [
        ("0", ("x-ratelimit-reset", "300"), "rate-limited"),
        ("4999", ("retry-after", "300"), "rate-limited"),
        ("4999", ("x-ratelimit-reset", "300"), "forbidden"),
    ] {
        let (upstream, setup) = hubspot().await;
        let headers = [("x-ratelimit-limit", "5000"), ("x-ratelimit-remaining", left), more];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let fault = Fault { status: Some(403), headers, ..Fault::default() };
        upstream.fault(fault).expect("a valid fault");
        let got = post(&setup, GET, &[], json!({"id": "1001"})).await;
        let status = if code == "forbidden" { 424 } else { 429 };
        assert_eq!((got.status, got.code().as_str()), (status, code), "{left} {more:?}");
        let wait = if code == "forbidden" { "" } else { "300" };
        assert_eq!(got.header("retry-after"), wait, "{left} {more:?}");
    }
}

/// Catches writes that are dropped for good because a limit is told as a lack of permission: two batches, of which the
/// second is refused for the rate.
#[tokio::test(flavor = "multi_thread")]
async fn items_of_a_write_say_that_they_met_a_limit() {
    let (upstream, setup) = hubspot().await;
    upstream.fault(Fault { times: Some(1), ..Fault::default() }).expect("one that lets through");
    let headers = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "300")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let fault = Fault { status: Some(403), headers, ..Fault::default() };
    upstream.fault(fault).expect("a valid fault");
    let item = |n: usize| {
        let email = format!("n{n}@limits.example");
        json!({"reference": n.to_string(), "data": {"email": email}})
    };
    let items: Vec<_> = (0..101).map(item).collect();
    let batch = json!({"operation": "create", "items": items});
    let got = post(&setup, "/objects/contacts/write", &[], batch).await;
    assert_eq!(got.status, 200, "{}", got.code());
    let answer: Value = serde_json::from_slice(&got.body).expect("JSON");
    let outcomes = answer["outcomes"].as_array().expect("outcomes");
    let refused: Vec<_> = outcomes.iter().filter(|one| one["refused"].is_object()).collect();
    assert_eq!((outcomes.len(), refused.len()), (101, 1));
    for outcome in refused {
        let refused = &outcome["refused"];
        assert_eq!(refused["code"], "rate-limited", "{refused}");
        assert_eq!(refused["retry"], true, "{refused}");
        assert!(refused["retry_after_ms"].as_u64().expect("a wait") > 200_000, "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_shown_to_whoever_may_look() {
    let (upstream, mut setup) = hubspot().await;
    let list = "/v1/environments/dev/quotas";
    assert_eq!(setup.http.get(list).await.ok().json(), json!({"quotas": []}));
    setup.act("acme", HUBSPOT, "contacts.get", json!({"id": "1001"})).await.ok();
    let quota = setup.http.get(list).await.ok().json()["quotas"][0].clone();
    assert_eq!((&quota["tenant"], &quota["connector"]), (&json!("acme"), &json!(HUBSPOT)));
    let learnt = |quota: &Value| {
        let policies = quota["policies"].as_array().expect("a list").clone();
        policies.into_iter().find(|policy| policy["name"] == "default").expect("it was told of")
    };
    let policy = learnt(&quota);
    assert_eq!((&policy["quota"], &policy["window_seconds"]), (&json!(190), &json!(10)));
    assert_eq!(quota.get("blocked_seconds"), None);
    refuse(&upstream, Some(1));
    setup.act("acme", HUBSPOT, "contacts.get", json!({"id": "1001"})).await;
    let quota =
        setup.http.get(&format!("{list}?tenant=acme")).await.ok().json()["quotas"][0].clone();
    let blocked = quota["blocked_seconds"].as_u64().expect("it asks to wait");
    assert!((WAIT - 60..=WAIT).contains(&blocked), "{quota}");
    assert_eq!(learnt(&quota)["remaining"], 0);
    let others = setup.http.get(&format!("{list}?tenant=other")).await.ok().json();
    assert_eq!(others, json!({"quotas": []}));
    let prod = setup.http.get("/v1/environments/prod/quotas").await.ok().json();
    assert_eq!(prod, json!({"quotas": []}));
}

/// Catches: a limit that is declared and not kept, and one that calls and the proxy count apart.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_keeps_to_the_declared_limit() {
    let (provider, setup) = limited(&["acme"]).await;
    let setup = Arc::new(setup);
    let mut sent = JoinSet::new();
    for number in 0..7 {
        let setup = Arc::clone(&setup);
        sent.spawn(async move {
            if number % 2 == 0 {
                called(&setup, "acme", &[THROTTLE]).await
            } else {
                proxied(&setup, "acme", "/things", &[THROTTLE]).await
            }
        });
    }
    for got in sent.join_all().await {
        assert_eq!(got.status, 200, "{}", got.code());
    }
    let mut at: Vec<_> = provider.seen().iter().map(|seen| seen.at).collect();
    at.sort();
    assert_eq!(at.len(), 7);
    for span in at.windows(QUOTA + 1) {
        let span = span[QUOTA] - span[0];
        assert!(span >= WINDOW - JITTER, "{QUOTA} and one more in {span:?}");
    }
    // The last of seven goes two windows after the first: no jitter hides a window that is shorter.
    let whole = at[2 * QUOTA] - at[0];
    assert!(whole >= 2 * WINDOW - JITTER, "all in {whole:?}");
}

/// Catches: a request that is held although nobody asked for it, one that is sent although its caller has no time for
/// its turn, and a tenant who waits for another.
#[tokio::test(flavor = "multi_thread")]
async fn who_passes_through_is_not_held_and_is_counted() {
    let (provider, setup) = limited(&["acme", "other"]).await;
    for _ in 0..2 * QUOTA {
        assert_eq!(proxied(&setup, "acme", "/things", &[]).await.status, 200);
    }
    let asked = provider.seen();
    assert!(asked[asked.len() - 1].at - asked[0].at < WINDOW, "they were not held");
    // Over before the window is, with room for a busy machine on both sides.
    let short = [THROTTLE, ("keyway-timeout-ms", "800")];
    for by_proxy in [true, false] {
        // Anew each time, so that the window begins now; and the first call has the component loaded.
        for _ in 0..QUOTA {
            assert_eq!(get_things(&setup, by_proxy, &[]).await.status, 200);
        }
        let sent = provider.seen().len();
        let got = get_things(&setup, by_proxy, &short).await;
        assert_eq!((got.status, got.code().as_str()), (429, "rate-limited"));
        let [after, limit, policy, _, remaining, _] = said(&got);
        let after: u64 = after.parse().expect("seconds");
        assert!((1..=WINDOW.as_secs()).contains(&after), "{after}");
        assert_eq!((policy.as_str(), remaining.as_str()), (r#""burst";q=3;w=2"#, "0"));
        assert!(limit.contains(r#""burst";r=0;t="#), "{limit}");
        assert_eq!(provider.seen().len(), sent, "nothing was sent");
    }
    // Now acme has to wait for longer than a call may take, and so would whoever waits for acme.
    assert_eq!(proxied(&setup, "acme", "/limited", &[]).await.status, 429);
    assert_eq!(proxied(&setup, "acme", "/things", &[THROTTLE]).await.status, 429);
    assert_eq!(proxied(&setup, "other", "/things", &[THROTTLE]).await.status, 200);
}

/// Catches: a provider's refusal that is not its own any more, and one that says nothing to programs of the older form.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_goes_through_the_proxy_as_it_is() {
    let (provider, setup) = limited(&["acme"]).await;
    let got = proxied(&setup, "acme", "/limited?page=2", &[]).await;
    let body: Value = serde_json::from_slice(&got.body).expect("the provider's own");
    assert_eq!((got.status, &body["seen"]), (429, &json!("/limited?page=2")));
    let [after, limit, policy, quota, remaining, reset] = said(&got);
    assert_eq!((after.as_str(), reset.as_str()), ("300", "300"));
    // Of two policies of one name, the declared one takes less.
    assert_eq!((quota.as_str(), remaining.as_str()), ("3", "0"));
    assert!(policy.contains(r#""burst";q=100;w=600"#), "{policy}");
    assert!(limit.contains(r#""burst";r=0;t=300"#), "{limit}");
    // It is asked again by whoever wants to.
    assert_eq!(proxied(&setup, "acme", "/limited", &[]).await.status, 429);
    assert_eq!(provider.seen().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mode_that_does_not_exist_is_refused() {
    let (provider, setup) = limited(&["acme"]).await;
    for mode in ["", "Throttle", "throttle, pass-through", "sometimes"] {
        let headers = [("keyway-rate-limit", mode)];
        for got in [
            proxied(&setup, "acme", "/things", &headers).await,
            called(&setup, "acme", &headers).await,
        ] {
            assert_eq!((got.status, got.code().as_str()), (400, "invalid-request"), "{mode}");
        }
    }
    assert_eq!(provider.seen().len(), 0);
}
