//! Rate limits through the API: who sees which, page by page, and what a call that met one is told.

use std::sync::Arc;
use std::time::Duration;

use keyway_core::ids::Installation;
use keyway_core::quota::{Allowance, Quota, Standing};
use keyway_core::{Code, Fault, Retry};
use keyway_releases::model::Role::Viewer;
use serde_json::{Value, json};

use crate::world::{World, at};

const LIST: &str = "/v1/environments/dev/quotas";

fn quota(environment: &str, tenant: &str, connector: &str, account: Option<&str>) -> Quota {
    let installation = Installation {
        environment: environment.parse().unwrap(),
        tenant: tenant.parse().unwrap(),
        connector: connector.parse().unwrap(),
    };
    Quota { installation, account: account.map(Into::into) }
}

fn burst(remaining: u64) -> Allowance {
    Allowance {
        name: "burst".into(),
        quota: Some(100),
        window: Some(10),
        remaining: Some(remaining),
        reset: Some(3),
    }
}

/// Four in `dev`, one in `prod`. Names of accounts are the provider's, whatever is in them.
async fn world() -> World {
    let world = World::new().await;
    let known = [
        quota("prod", "acme", "pub/things", None),
        quota("dev", "acme", "pub/things", None),
        quota("dev", "acme", "pub/things", Some("eu/1?&x=%2f")),
        quota("dev", "acme", "pub/other", None),
        quota("dev", "zeta", "pub/things", None),
    ];
    *world.quotas.0.lock().unwrap() =
        known.map(|quota| (quota, Standing::default())).into_iter().collect();
    world
}

/// Tenant, connector and account of each.
fn named(list: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let name = |quota: &Value| {
        [&quota["tenant"], &quota["connector"], &quota["account"]].map(text).join(" ")
    };
    list["quotas"].as_array().unwrap().iter().map(name).collect()
}

#[tokio::test]
async fn everything_that_is_known_is_shown_and_nothing_else() {
    let world = World::new().await;
    let told = Allowance { name: "daily".into(), quota: None, window: None, ..burst(7) };
    let standing = Standing {
        policies: vec![burst(42), told],
        blocked_for: Some(Duration::from_millis(1_200)),
        waiting: 2,
    };
    let quota = quota("dev", "acme", "pub/things", Some("portal-1"));
    world.quotas.0.lock().unwrap().push((quota, standing));
    let expected = json!({"quotas": [{
        "tenant": "acme", "connector": "pub/things", "account": "portal-1",
        "policies": [
            {"name": "burst", "quota": 100, "window_seconds": 10, "remaining": 42, "reset_seconds": 3},
            {"name": "daily", "remaining": 7, "reset_seconds": 3},
        ],
        "blocked_seconds": 2, "waiting": 2,
    }]});
    assert_eq!(world.get(LIST).await.ok(), expected);
}

#[tokio::test]
async fn an_environment_has_its_own_and_filters_narrow_them() {
    let world = world().await;
    let all = [
        "acme pub/other -",
        "acme pub/things -",
        "acme pub/things eu/1?&x=%2f",
        "zeta pub/things -",
    ];
    for (query, expected) in [
        ("", &all[..]),
        ("?tenant=acme", &all[..3]),
        ("?connector=pub/things", &all[1..]),
        ("?tenant=zeta&connector=pub/things", &all[3..]),
        ("?tenant=nobody", &[]),
    ] {
        assert_eq!(named(&world.get(&format!("{LIST}{query}")).await.ok()), expected, "{query}");
    }
    let prod = world.get("/v1/environments/prod/quotas").await.ok();
    assert_eq!(named(&prod), ["acme pub/things -"]);
}

#[tokio::test]
async fn pages_have_each_once_whatever_accounts_are_called() {
    let world = world().await;
    let whole = named(&world.get(LIST).await.ok());
    let pages = world.pages(LIST, whole.len()).await;
    assert_eq!(pages.iter().flat_map(named).collect::<Vec<_>>(), whole);
}

#[tokio::test]
async fn a_viewer_sees_those_of_the_token_s_environments_only() {
    let world = world().await;
    let viewer = world.token("onlooker", Viewer, Some(&["prod"])).await;
    let own = world.ask("GET", "/v1/environments/prod/quotas", &viewer, None).await;
    assert_eq!(named(&own.ok()).len(), 1);
    world.ask("GET", LIST, &viewer, None).await.refused(403, "not-permitted");
}

#[tokio::test]
async fn what_is_asked_for_badly_is_refused() {
    let world = world().await;
    for (query, code) in [
        ("tenant=a%2Fb", "invalid-name"),
        ("connector=things", "invalid-name"),
        ("after=acme", "invalid-name"),
        ("limit=0", "invalid-request"),
        ("limit=1001", "invalid-request"),
        ("user=ann", "invalid-request"),
    ] {
        world.get(&format!("{LIST}?{query}")).await.refused(400, code);
    }
    world.get("/v1/environments/test/quotas").await.refused(404, "unknown-environment");
}

#[tokio::test]
async fn a_call_that_met_a_limit_is_told_of_it_in_every_form() {
    let world = World::pinned().await;
    let wait = Duration::from_secs(9);
    let mut fault = Fault::new(Code::RateLimited, "the provider asks to wait");
    fault.retry = Retry::After(wait);
    let standing =
        Standing { policies: vec![burst(0)], blocked_for: Some(wait), ..Standing::default() };
    fault.rate_limit = Some(Arc::new(standing));
    for path in ["/actions/echo", "/objects/widgets/read"] {
        world.dispatch.script.lock().unwrap().push_back(Err(fault.clone()));
        let reply = world.post(&at(path), json!({})).await;
        reply.refused(429, "rate-limited");
        for (name, value) in [
            ("retry-after", "9"),
            ("ratelimit-policy", r#""burst";q=100;w=10"#),
            ("ratelimit", r#""burst";r=0;t=3, "blocked";r=0;t=9"#),
            ("ratelimit-limit", "100"),
            ("ratelimit-remaining", "0"),
            ("ratelimit-reset", "9"),
        ] {
            assert_eq!(reply.header(name), value, "{path} {name}");
        }
    }
    let reply = world.post(&at("/actions/echo"), json!({})).await;
    assert_eq!(reply.header("ratelimit"), "", "a call that met none says nothing");
}
