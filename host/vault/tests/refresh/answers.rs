//! What a token endpoint may answer (C34, C35), and what comes of it.

use std::time::Duration;

use keyway_core::Retry;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::support::Answer;
use crate::world::{HOUR, World, call, connection, expire};

/// By a clock that is years off ours, which the second field tells.
const IN_FOUR_MINUTES: [(&str, &str); 2] =
    [("retry-after", "Fri, 01 Jan 2021 10:04:00 GMT"), ("date", "Fri, 01 Jan 2021 10:00:00 GMT")];

/// By the same clock.
const LONG_AGO: [(&str, &str); 2] =
    [("retry-after", "Fri, 01 Jan 2021 09:56:00 GMT"), ("date", "Fri, 01 Jan 2021 10:00:00 GMT")];

/// What callers meet from now on for this long, once every ten seconds.
pub(crate) async fn call_for(world: &World, time: Duration) -> Vec<Result<String, &'static str>> {
    let end = Instant::now() + time;
    let mut met = Vec::new();
    while Instant::now() < end {
        met.push(world.call().await.map_err(|fault| fault.code.as_str()));
        sleep(Duration::from_secs(10)).await;
    }
    met
}

/// The server may have taken the token: presenting it again could revoke everything.
#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_had_or_read_ends_in_uncertain_and_in_no_second_request() {
    let huge: &'static str = format!(r#"{{"access_token":"{}"}}"#, "x".repeat(100 << 10)).leak();
    for answer in [
        Answer::Lost,
        Answer::Text("<html><body>Welcome</body></html>"),
        Answer::Text(""),
        Answer::Text("{}"),
        Answer::Text(r#"{"access_token":7}"#),
        Answer::Text("{\"access_token\":\"line\\r\\nbreak\"}"),
        // An error that is none.
        Answer::Text(r#"{"error":false}"#),
        Answer::Text(r#"{"error":0,"data":{}}"#),
        // A yes whose token nobody finds.
        Answer::Text(r#"{"token_type":"bearer","expires_in":3600}"#),
        Answer::Text(r#"{"ok":true,"message":"here you are"}"#),
        Answer::Text(r#"{"errcode":0,"data":{"name":"of theirs"}}"#),
        Answer::Text(r#"{"result":{"newJwt":"of.theirs"}}"#),
        // One beside a token of somebody's.
        Answer::Text(r#"{"error":"something_of_theirs","data":{"refresh_token":"r"}}"#),
        Answer::Cut(""),
        Answer::Cut(r#"{"access_token":"access-acme-"#),
        Answer::Cut("access_token=access-acme-1"),
        Answer::Cut(r#"{"refresh_token":"refresh-acme-1","access_tok"#),
        Answer::Text(huge),
    ] {
        let world = World::new().await;
        let what = format!("{answer:?}").chars().take(60).collect::<String>();
        world.server.script([answer]);
        expire().await;
        let met = call_for(&world, HOUR).await;
        assert!(met.iter().all(|met| *met == Err("refresh-uncertain")), "{what}: {met:?}");
        assert_eq!((world.phase().await, world.server.requests()), ("uncertain", 1), "{what}");
    }
}

/// An error that the server reports leaves the token as it was; the wait is the server's, or ours.
#[tokio::test(start_paused = true)]
async fn errors_of_the_server_are_waited_out_and_the_token_lives() {
    for (status, headers, body, least) in [
        (500, vec![], "", 4),
        (503, vec![("retry-after", "120")], "", 120),
        (429, vec![("retry-after", "300")], "", 300),
        (429, vec![("retry-after", "soon")], "", 4),
        (503, IN_FOUR_MINUTES.to_vec(), "", 240),
        (503, IN_FOUR_MINUTES[..1].to_vec(), "", 4),
        // What says nothing: our own wait, as if it were not there.
        (503, vec![("retry-after", "0")], "", 4),
        (503, vec![("retry-after", "-120")], "", 4),
        (429, vec![("retry-after", "31536000")], "", 4),
        (503, vec![("retry-after", "86401")], "", 4),
        (503, vec![("retry-after", "99999999999999999999")], "", 4),
        (503, LONG_AGO.to_vec(), "", 4),
        // The longest that somebody may mean.
        (503, vec![("retry-after", "86400")], "", 86_400),
        (400, vec![], r#"{"error":"temporarily_unavailable"}"#, 4),
        (403, vec![], "<html>blocked</html>", 4),
        (302, vec![("location", "https://elsewhere.example.com")], "", 4),
    ] {
        let world = World::new().await;
        world.server.script([Answer::Error(status, headers, body)]);
        expire().await;
        let fault = world.call().await.unwrap_err();
        assert_eq!(fault.code.as_str(), "token-endpoint-failed");
        assert!(world.is_ready().await);
        sleep(Duration::from_secs(least - 1)).await;
        world.call().await.unwrap_err();
        assert_eq!(world.server.requests(), 1, "{status} {body}: tried again too early");
        sleep(Duration::from_secs(10)).await;
        sleep(Duration::from_secs(least / 4)).await;
        assert_eq!(world.call().await.unwrap(), "access-acme-1");
    }
}

/// Waits grow: an outage of an hour is not answered by a request every five seconds.
#[tokio::test(start_paused = true)]
async fn an_outage_is_met_with_few_requests_and_its_end_within_ten_minutes() {
    let world = World::new().await;
    world.server.script(vec![Answer::Error(502, vec![], ""); 1_000]);
    expire().await;
    call_for(&world, HOUR).await;
    let during = world.server.requests();
    assert!((8..=16).contains(&during), "{during}");
    world.server.script([]);
    let met = call_for(&world, Duration::from_secs(13 * 60)).await;
    assert_eq!(met.last().unwrap().as_deref(), Ok("access-acme-1"));
}

/// C95. Everybody is back as soon as they may be. What bounds the requests is each connection's own wait; what keeps the
/// first ones after the outage apart is that waits differ by up to a fifth.
#[tokio::test(start_paused = true)]
async fn six_hours_down_are_met_with_bounded_requests_and_end_without_a_herd() {
    const CONNECTIONS: u32 = 200;
    // Each wait as short as it may be: 4 s doubled seven times, then 480 s each.
    const REQUESTS_MAX: u32 = 8 + (6 * 3_600 - 508) / 480;
    const IN_A_SECOND_MAX: usize = 10;
    let world = World::new().await;
    let users = (0..CONNECTIONS).map(|number| format!("u{number}"));
    let users: Vec<_> = users.map(|name| (connection(Some(&name)), name)).collect();
    for (of, name) in &users {
        world.connect(of, name).await;
    }
    expire().await;
    world.server.script(vec![Answer::Error(502, vec![], ""); 100_000]);
    let mut callers = JoinSet::new();
    for (of, _) in users {
        let (vault, spec) = (world.vault.clone(), world.spec.clone());
        callers.spawn(async move {
            while let Err(fault) = call(&vault, &of, &spec).await {
                let Retry::After(wait) = fault.retry else { panic!("{fault:?}") };
                sleep(wait).await;
            }
            Instant::now()
        });
    }
    sleep(6 * HOUR).await;
    let during = world.server.requests();
    assert!((CONNECTIONS * 30..=CONNECTIONS * REQUESTS_MAX).contains(&during), "{during}");
    world.server.script([]);
    let up = Instant::now();
    let mut back: Vec<_> = callers.join_all().await.into_iter().map(|at| at - up).collect();
    back.sort();
    assert_eq!(world.server.requests() - during, CONNECTIONS, "one each");
    let last = back[back.len() - 1];
    assert!(last <= Duration::from_secs(12 * 60), "{last:?}");
    let second = Duration::from_secs(1);
    let within =
        |from: &Duration| back.iter().filter(|at| (*from..*from + second).contains(*at)).count();
    let most = back.iter().map(within).max().unwrap();
    assert!(most <= IN_A_SECOND_MAX, "{most} in a second");
}

#[tokio::test(start_paused = true)]
async fn what_was_never_sent_is_sent_again() {
    let world = World::new().await;
    world.server.script([Answer::Unsent, Answer::Unsent]);
    expire().await;
    let met = call_for(&world, Duration::from_secs(60)).await;
    assert_eq!(met.last().unwrap().as_deref(), Ok("access-acme-1"));
    assert_eq!((world.server.requests(), world.server.most_presented()), (1, 1));
}

/// The server said yes, and what can be read of it is all that there is of the new tokens.
#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_yes_is_used() {
    let whole =
        r#"{"access_token":"access-acme-1","refresh_token":"refresh-acme-1","expires_in":36"#;
    let cut = r#"{"access_token":"access-acme-1","refresh_token":"refre"#;
    let odd =
        r#"{"access_token":"access-acme-1","refresh_token":["refresh-acme-1"],"expires_in":3600}"#;
    let form = "access_token=access-acme-1&refresh_token=refresh-acme-1&expires_in=36";
    let short = "access_token=access-acme-1&refresh_token=refresh-acme-1";
    for (answer, phase) in [
        (Answer::Text(whole), "ready"),
        (Answer::Text(cut), "uncertain"),
        (Answer::Text(odd), "uncertain"),
        (Answer::Cut(whole), "ready"),
        (Answer::Cut(cut), "uncertain"),
        (Answer::Cut(form), "ready"),
        // Whether the last value is whole, a form does not say.
        (Answer::Cut(short), "uncertain"),
    ] {
        let world = World::with(json!({"lifetime": 3600})).await;
        let what = format!("{answer:?}");
        world.server.script([answer]);
        expire().await;
        assert_eq!(world.call().await.unwrap(), "access-acme-1", "{what}");
        assert_eq!((world.phase().await, world.server.requests()), (phase, 1), "{what}");
        expire().await;
        let met = world.call().await.map_err(|fault| fault.code.as_str());
        match phase {
            "ready" => assert_eq!(met.as_deref(), Ok("access-acme-2"), "{what}"),
            _ => assert_eq!(met.as_deref(), Err(&"refresh-uncertain"), "{what}"),
        }
        assert_eq!(world.server.most_presented(), 1, "{what}: it is not presented again");
    }
}

/// Lifetimes that are none mean: used until it is rejected. The others count.
#[tokio::test(start_paused = true)]
async fn lifetimes_are_taken_as_they_are_meant() {
    for (expires_in, lives) in [
        (Value::Null, None),
        (json!(-3600), None),
        (json!(0), None),
        (json!(1_000_000_000_000_u64), None),
        (json!("soon"), None),
        (json!([3600]), None),
        (json!("7200"), Some(2 * HOUR)),
        (json!(7200.9), Some(2 * HOUR)),
        (json!(7200), Some(2 * HOUR)),
    ] {
        let world = World::new().await;
        world.server.script([Answer::Issue(json!({"expires_in": expires_in}))]);
        expire().await;
        assert_eq!(world.call().await.unwrap(), "access-acme-1", "{expires_in}");
        let state = world.state().await;
        let lived = state.expires_at.map(|at| at - state.obtained_at.unwrap());
        assert_eq!(lived, lives.map(|lives| lives.try_into().unwrap()), "{expires_in}");
        sleep(3 * HOUR).await;
        let later = if lives.is_some() { "access-acme-2" } else { "access-acme-1" };
        assert_eq!(world.call().await.unwrap(), later, "{expires_in}");
    }
}

/// Where the release states a lifetime, an answer without one has that.
#[tokio::test(start_paused = true)]
async fn a_stated_lifetime_stands_in() {
    let world = World::with(json!({"lifetime": 1800})).await;
    world.server.script([Answer::Issue(json!({"expires_in": null}))]);
    expire().await;
    assert_eq!(world.call().await.unwrap(), "access-acme-1");
    sleep(HOUR / 2).await;
    assert_eq!(world.call().await.unwrap(), "access-acme-2");
}

#[tokio::test(start_paused = true)]
async fn without_a_new_refresh_token_the_old_one_stays_and_with_one_it_goes() {
    let world = World::new().await;
    for round in 1..=5 {
        expire().await;
        assert_eq!(world.call().await.unwrap(), format!("access-acme-{round}"));
    }
    assert_eq!((world.server.requests(), world.server.most_presented()), (5, 1), "each once");
    let world = World::with(json!({"refresh": "keep"})).await;
    world.server.keeps();
    for round in 1..=5 {
        expire().await;
        assert_eq!(world.call().await.unwrap(), format!("access-acme-{round}"));
    }
    assert_eq!(
        (world.server.requests(), world.server.most_presented()),
        (5, 5),
        "the same five times"
    );
}

#[tokio::test(start_paused = true)]
async fn scopes_that_a_refresh_changes_are_noted_and_audited() {
    let world = World::new().await;
    let granted = async || world.vault.existing(&world.of).await.unwrap().scopes.unwrap();
    let audited = async || {
        let audit = world.store.audit(0, 100).await.unwrap();
        audit.iter().filter(|entry| entry.entry.action == "connection.scopes").count()
    };
    let scope = |scope: &str| Answer::Issue(json!({"scope": scope}));
    world.server.script([scope("write read"), scope("read"), scope("")]);
    for (scopes, changes) in [(vec!["read", "write"], 0), (vec!["read"], 1), (vec!["read"], 1)] {
        expire().await;
        world.call().await.unwrap();
        // Noted after the tokens are known.
        sleep(Duration::from_secs(1)).await;
        assert_eq!(granted().await, scopes);
        assert_eq!(audited().await, changes);
    }
    expire().await;
    assert_eq!(world.call().await.unwrap(), "access-acme-4", "the epoch stayed");
}

/// Tokens over the size of one row of the store are kept in parts, and parts that are too many go.
#[tokio::test(start_paused = true)]
async fn long_tokens_are_kept_whole_and_short_ones_after_them() {
    let world = World::new().await;
    let long = "x".repeat(16 << 10);
    let issue = || Answer::Issue(json!({"access_token": long}));
    let short = || Answer::Issue(json!({}));
    world.server.script([issue(), short(), issue(), issue(), short()]);
    let second = "access-acme-2".to_owned();
    let fifth = "access-acme-5".to_owned();
    for token in [&long, &second, &long, &long, &fifth] {
        expire().await;
        assert_eq!(world.call().await.unwrap(), *token);
        let restarted = world.another("host-a");
        assert_eq!(call(&restarted, &world.of, &world.spec).await.unwrap(), *token);
    }
}

/// C35, C42: also what is met after an older store was put back, whose refresh token is spent.
#[tokio::test(start_paused = true)]
async fn a_dead_refresh_token_needs_a_person_and_no_further_requests() {
    for answer in [None, Some(Answer::Text(r#"{"error":"invalid_grant"}"#))] {
        let world = World::new().await;
        match answer {
            None => world.server.revoke(),
            Some(answer) => world.server.script([answer]),
        }
        expire().await;
        let met = call_for(&world, HOUR).await;
        assert!(met.iter().all(|met| *met == Err("needs-reauth")), "{met:?}");
        assert_eq!((world.phase().await, world.server.requests()), ("needs-reauth", 1));
        // Nor after a restart.
        let restarted = world.another("host-a");
        let fault = call(&restarted, &world.of, &world.spec).await.unwrap_err();
        assert_eq!((fault.code.as_str(), world.server.requests()), ("needs-reauth", 1));
        world.connect(&world.of, "again").await;
        assert_eq!(world.call().await.unwrap(), "access-again-0");
    }
}

/// What the standards and large providers call it, with a success's status or another, in whatever letters; and what a
/// release has a name for.
#[tokio::test(start_paused = true)]
async fn a_dead_refresh_token_is_known_by_many_names() {
    let errors = json!({"errors": [
        {"pointer": "/status", "values": ["BAD_TOKEN_OF_THEIRS"]},
        {"pointer": "/error/number", "values": ["190"]},
        {"pointer": "/alive", "values": ["false"]},
    ]});
    for body in [
        r#"{"error":"interaction_required"}"#,
        r#"{"error":"login_required"}"#,
        r#"{"error":"consent_required"}"#,
        r#"{"error":"invalid_request","suberror":"consent_required"}"#,
        r#"{"error":"Invalid Grant"}"#,
        r#"{"error":"INVALID_GRANT"}"#,
        r#"{"ok":false,"error":"invalid_refresh_token"}"#,
        r#"{"ok":false,"error":"token_revoked"}"#,
        r#"{"error":"bad_refresh_token","error_description":"of theirs"}"#,
        r#"{"error":"invalid_code"}"#,
        r#"{"error":{"code":"invalid_grant","message":"of theirs"}}"#,
        r#"{"errors":[{"code":"invalid_grant"}]}"#,
        "error=bad_refresh_token&error_description=of+theirs",
        r#"{"status":"BAD_TOKEN_OF_THEIRS","message":"of theirs"}"#,
        r#"{"error":{"number":190,"type":"of theirs"}}"#,
        r#"{"alive":false}"#,
    ] {
        for status in [200, 400, 401, 403] {
            let world = World::with(errors.clone()).await;
            let form = [("content-type", "application/x-www-form-urlencoded")];
            let headers = if body.starts_with('{') { vec![] } else { form.to_vec() };
            world.server.script([Answer::Error(status, headers, body)]);
            expire().await;
            let fault = world.call().await.unwrap_err();
            assert_eq!(fault.code.as_str(), "needs-reauth", "{status} {body}");
            assert_eq!(fault.retry, Retry::No, "{status} {body}");
            sleep(HOUR).await;
            world.call().await.unwrap_err();
            assert_eq!((world.phase().await, world.server.requests()), ("needs-reauth", 1));
        }
    }
}

/// Fails if another's names are taken for the death of a token, or the client's refusal for one connection's.
#[tokio::test(start_paused = true)]
async fn other_names_leave_the_token_as_it_was() {
    let errors = json!({"errors": [
        {"pointer": "/status", "values": ["BAD_CLIENT"], "means": "client-refused"},
        {"pointer": "/status", "values": ["LATER"], "means": "busy"},
    ]});
    for (status, body, code) in [
        (200, r#"{"error":"incorrect_client_credentials"}"#, "oauth-client-refused"),
        (200, r#"{"ok":false,"error":"bad_client_secret"}"#, "oauth-client-refused"),
        (400, r#"{"status":"BAD_CLIENT"}"#, "oauth-client-refused"),
        (200, r#"{"status":"LATER"}"#, "token-endpoint-failed"),
        (400, r#"{"status":"LATER"}"#, "token-endpoint-failed"),
        (200, r#"{"ok":false,"error":"ratelimited"}"#, "token-endpoint-failed"),
        // A server that is unwell says all kinds of things.
        (500, r#"{"error":"invalid_grant"}"#, "token-endpoint-failed"),
        (429, r#"{"error":"invalid_grant"}"#, "token-endpoint-failed"),
        // Their values, elsewhere.
        (400, r#"{"message":"BAD_CLIENT"}"#, "token-endpoint-failed"),
    ] {
        let world = World::with(errors.clone()).await;
        world.server.script([Answer::Error(status, vec![], body)]);
        expire().await;
        let fault = world.call().await.unwrap_err();
        assert_eq!((fault.code.as_str(), world.phase().await), (code, "ready"), "{status} {body}");
    }
}

/// Answers that nobody has a name for, from an endpoint that never takes the token again.
#[tokio::test(start_paused = true)]
async fn a_no_without_a_name_is_believed_after_six_hours() {
    for (facts, answer) in [
        (json!({}), Answer::Error(400, vec![], r#"{"message":"of theirs"}"#)),
        (json!({}), Answer::Error(401, vec![], "")),
        (json!({}), Answer::Error(403, vec![], r#"{"error":"unauthorized_client"}"#)),
        (json!({}), Answer::Error(404, vec![], "{}")),
        (json!({}), Answer::Error(404, vec![], "no such endpoint")),
        (json!({}), Answer::Error(405, vec![], "")),
        (json!({}), Answer::Error(409, vec![], "message=of+theirs")),
        (json!({}), Answer::Error(418, vec![], r#"["of theirs"]"#)),
        (
            json!({}),
            Answer::Error(403, vec![], "<?xml version=\"1.0\"?><Error><Code>Gone</Code></Error>"),
        ),
        (json!({}), Answer::Error(400, vec![], r#"{"error":"access_denied"}"#)),
        (json!({}), Answer::Error(200, vec![], r#"{"error":"access_denied"}"#)),
        (json!({}), Answer::Error(200, vec![], r#"{"ok":false,"message":"of theirs"}"#)),
        (json!({}), Answer::Error(200, vec![], r#"{"success":false}"#)),
        (json!({}), Answer::Error(200, vec![], r#"{"errcode":40030,"errmsg":"invalid"}"#)),
        (json!({}), Answer::Error(200, vec![], r#"{"errors":[{"message":"of theirs"}]}"#)),
        (json!({}), Answer::Error(200, vec![], r#"{"error":"of_theirs"}"#)),
        (json!({}), Answer::Error(200, vec![], r#"{"ok":false,"error":{"text":"of theirs"}}"#)),
        (json!({}), Answer::Error(200, vec![], "error=of_theirs")),
        (json!({"refresh": "keep"}), Answer::Error(200, vec![], r#"{"error":"of_theirs"}"#)),
    ] {
        let world = World::with(facts).await;
        let what = format!("{answer:?}");
        world.server.script(vec![answer; 1_000]);
        expire().await;
        let met = call_for(&world, 5 * HOUR).await;
        assert!(met.iter().all(|met| *met != Err("needs-reauth")), "{what}: {met:?}");
        assert!(world.is_ready().await, "{what}");
        // A restart forgets nothing of it.
        let restarted = world.another("host-a");
        let mut met = Vec::new();
        for _ in 0..(3 * 60) {
            met.extend(call(&restarted, &world.of, &world.spec).await.err());
            sleep(Duration::from_secs(60)).await;
        }
        assert_eq!(met.last().unwrap().code.as_str(), "needs-reauth", "{what}");
        let (state, asked) = (world.state().await, world.server.requests());
        assert!(state.problem.unwrap().contains("in 6 hours"), "{what}");
        sleep(HOUR).await;
        call(&restarted, &world.of, &world.spec).await.unwrap_err();
        assert_eq!(world.server.requests(), asked, "{what}: it is not asked any more");
        // If it was an outage after all, an operator can have it tried again.
        world.server.script([]);
        restarted.refresh(&world.of, &world.spec, true).await.unwrap();
        assert_eq!((world.phase().await, world.state().await.denials), ("ready", <_>::default()));
    }
}

/// What is no answer about the token is never held against it, for however long it is said.
#[tokio::test(start_paused = true)]
async fn outages_pages_and_mistakes_of_the_release_end_no_connection() {
    for answer in [
        Answer::Error(502, vec![], ""),
        Answer::Error(429, vec![], "{}"),
        Answer::Error(403, vec![], " <!doctype html><title>Blocked</title>"),
        Answer::Error(404, vec![], "<html><body>no such page</body></html>"),
        Answer::Error(408, vec![], ""),
        Answer::Error(425, vec![], "{}"),
        Answer::Error(400, vec![], r#"{"error":"unsupported_grant_type"}"#),
        Answer::Error(401, vec![], r#"{"error":"invalid_client"}"#),
        Answer::Unsent,
    ] {
        let world = World::new().await;
        let what = format!("{answer:?}");
        world.server.script(vec![answer; 1_000]);
        expire().await;
        call_for(&world, 24 * HOUR).await;
        assert!(world.is_ready().await, "{what}");
        world.server.script([]);
        sleep(HOUR).await;
        assert_eq!(world.call().await.unwrap(), "access-acme-1", "{what}");
    }
}

/// C35: the operator's fault is no tenant's: connections live, and few requests go out until it is mended.
#[tokio::test(start_paused = true)]
async fn a_refused_client_is_backed_off_from_and_the_connection_lives() {
    for error in [r#"{"error":"invalid_client"}"#, r#"{"error":"unauthorized_client"}"#] {
        let world = World::new().await;
        world.server.script([Answer::Error(401, vec![], error)]);
        expire().await;
        let met = call_for(&world, Duration::from_secs(290)).await;
        assert_eq!(met[0], Err("oauth-client-refused"));
        assert!(world.is_ready().await);
        assert_eq!(world.server.requests(), 1);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(world.call().await.unwrap(), "access-acme-1");
    }
}
