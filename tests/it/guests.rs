//! Every guest of the fixtures, hostile ones first of all: what publishing it comes to, and what each
//! call on it comes to, while another tenant goes on calling undisturbed. What guests see is in
//! `ambient`; what they can make the log say is in `logs`, beside this.

mod ambient;
mod bystander;

use std::pin::pin;
use std::time::Duration;

use bystander::Bystander;
use fixtures::{Call, Case, Expect, GUESTS, Guest, Needs, PAGE_SIZE, Verdict, malformed};
use harness::{Http, Reply};
use keyway_core::Code;
use serde_json::{Value, json};

use crate::setup::{Setup, path, stand_in};
use crate::upstream::Plain;

/// Short enough to wait for, long enough for a debug build of the host.
pub(crate) const LIMITS: &str = "
[calls]
time-max = \"20s\"
[runtime.limits.call]
cpu-time-max = \"3s\"
";

/// The publisher that the fixtures' guests name.
const PUBLISHER: &str = "fixtures";

#[tokio::test(flavor = "multi_thread")]
async fn publishing_each_guest_comes_to_what_the_model_says() {
    let mut setup = Setup::new("");
    let grant = json!({"name": "fixture-author", "role": "publisher", "publisher": PUBLISHER});
    let token = setup.http.post("/v1/tokens", grant).await.ok().json()["secret"].clone();
    let mut author = Http::new(setup.host.address, token.as_str().expect("a token"));
    let bystander = Bystander::arrive(&mut setup).await;
    let mut wrong = Vec::new();
    for guest in GUESTS.iter().filter(|guest| !of_toolchain(guest)) {
        let reply = author.publish(guest.load().expect("built")).await;
        let expected = match guest.verdict {
            Verdict::Published => None,
            Verdict::NotAdmitted(code) | Verdict::NotPublished(code) => Some(code),
        };
        let code = expected.map(Code::as_str).unwrap_or_default();
        if reply.status.is_success() != expected.is_none() || reply.code() != code {
            wrong.push(format!(
                "{}: expected `{code}`, got {} {}",
                guest.name,
                reply.status,
                reply.json()
            ));
        }
    }
    bystander.leave().await;
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_on_a_public_suffix_is_no_host_of_a_release() {
    let mut setup = Setup::new("");
    let reply = setup.publish("describe-public-suffix").await;
    assert_eq!(reply.code(), "descriptor-invalid");
    // The egress policy says so and nothing before it: as a descriptor it is well formed.
    let problem = reply.json();
    let detail = problem["detail"].as_str().expect("text");
    assert!(detail.contains("*.co.uk") && detail.contains("public suffix"), "{problem}");
    let releases = setup.http.get("/v1/releases").await.ok().json();
    assert_eq!(releases["releases"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_component_are_refused_one_by_one() {
    let mut setup = Setup::new("");
    let bystander = Bystander::arrive(&mut setup).await;
    let mut wrong = Vec::new();
    for bytes in malformed::ALL {
        let reply = setup.http.publish((bytes.bytes)().expect("built")).await;
        if reply.code() != bytes.code.as_str() {
            wrong.push(format!("{}: expected `{}`, got {}", bytes.name, bytes.code, reply.json()));
        }
    }
    bystander.leave().await;
    assert!(wrong.is_empty(), "{wrong:#?}");
    let releases = setup.http.get("/v1/releases").await.ok().json();
    let releases = releases["releases"].as_array().expect("a list");
    assert_eq!(releases.len(), 1, "something that was refused is a release: {releases:?}");
}

/// The slot whose credential a case uses: the one that it names, or else `token`.
fn slot_of(case: &Case) -> String {
    let named = match case.call {
        Call::Invoke(_, input) => serde_json::from_str::<Value>(input).unwrap_or_default(),
        _ => Value::Null,
    };
    named["slot"].as_str().unwrap_or("token").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn calling_each_guest_comes_to_what_the_model_says_and_leaves_others_alone() {
    let upstream = Plain::start().await;
    let mut setup = Setup::new(&(stand_in("api.example.com", upstream.address) + LIMITS));
    let bystander = Bystander::arrive(&mut setup).await;
    let mut wrong = Vec::new();
    let called = |guest: &&Guest| !guest.cases.is_empty() && !of_toolchain(guest);
    for guest in GUESTS.iter().filter(called) {
        let release = setup.publish(guest.name).await.ok().json()["release"].clone();
        let connector = text(&release["connector"]);
        setup.pin(guest.name, &connector, &text(&release["digest"])).await;
        for case in guest.cases.iter().filter(|case| case.needs == Needs::Upstream) {
            let slot = path(guest.name, &connector, &format!("/connections/{}", slot_of(case)));
            setup.http.put(&slot, json!({"token": "canary-of-the-guest"})).await.ok();
        }
        for case in guest.cases {
            let mut watching = setup.host.http();
            let mut calling = pin!(call(&mut setup.http, guest, &connector, case));
            let reply = if case.expect.takes_its_time() {
                tokio::select! {
                    reply = &mut calling => {
                        wrong.push(format!("{} {:?}: it was served alone", guest.name, case.call));
                        reply
                    }
                    () = others_are_served(&mut watching, &connector, &bystander) => calling.await,
                }
            } else {
                calling.await
            };
            if let Err(why) = met(case.expect, &reply) {
                wrong.push(format!("{} {:?}: {why}", guest.name, case.call));
            }
        }
    }
    bystander.leave().await;
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(setup.metric("keyway_calls_running", &[]).await, 0.0);
}

/// Ends once a call of this connector is in its guest, and calls of the bystander's were answered since.
async fn others_are_served(http: &mut Http, connector: &str, bystander: &Bystander) {
    const LOOK_PAUSE: Duration = Duration::from_millis(1);
    let live = format!("keyway_runtime_live_stores{{connector=\"{connector}@");
    loop {
        let metrics = http.get("/metrics").await.ok().body;
        let metrics = String::from_utf8_lossy(&metrics).into_owned();
        let mut series = metrics.lines().filter(|line| line.starts_with(&live));
        if series.any(|line| !line.ends_with(" 0")) {
            break;
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    // The second of them began after the guest did.
    let enough = bystander.served() + 2;
    while bystander.served() < enough {
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// They are one connector at one version in three forms, so no host can have two of them.
fn of_toolchain(guest: &Guest) -> bool {
    guest.name.starts_with("toolchain-")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connector_runs_from_each_of_three_toolchains() {
    let mut forms = 0;
    for guest in GUESTS.iter().filter(|guest| of_toolchain(guest)) {
        let mut setup = Setup::new("");
        let release = setup.publish(guest.name).await.ok().json()["release"].clone();
        let connector = text(&release["connector"]);
        setup.pin(guest.name, &connector, "1.0.0").await;
        assert!(!guest.cases.is_empty(), "{} is never called", guest.name);
        for case in guest.cases {
            let reply = call(&mut setup.http, guest, &connector, case).await;
            met(case.expect, &reply).unwrap_or_else(|why| panic!("{}: {why}", guest.name));
        }
        forms += 1;
    }
    assert_eq!(forms, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_descriptor_is_the_same_whenever_it_is_asked_for() {
    for name in ["describe-reads-random", "describe-reads-wall-clock"] {
        let mut descriptors = Vec::new();
        for _ in 0..2 {
            let mut setup = Setup::new("");
            let release = setup.publish(name).await.ok().json();
            descriptors.push(release["descriptor"].clone());
        }
        assert_eq!(descriptors[0], descriptors[1], "{name}");
    }
}

async fn call(http: &mut Http, guest: &Guest, connector: &str, case: &Case) -> Reply {
    let (rest, body) = match case.call {
        Call::Invoke(action, input) => (format!("/actions/{action}"), Some(input.to_owned())),
        Call::Discover => ("/objects".to_owned(), None),
        Call::Read(object) => {
            (format!("/objects/{object}/read"), Some(json!({"page_size": PAGE_SIZE}).to_string()))
        }
        Call::Write(object) => {
            let item = |reference: &str| json!({"reference": reference, "data": {}});
            let items = [item("first"), item("second")];
            let body = json!({"operation": "create", "items": items});
            (format!("/objects/{object}/write"), Some(body.to_string()))
        }
    };
    let path = path(guest.name, connector, &rest);
    match body {
        Some(body) => http.send(http::Method::POST, &path, "application/json", body.into()).await,
        None => http.get(&path).await,
    }
}

fn met(expect: Expect, reply: &Reply) -> Result<(), String> {
    let got = || format!("expected {expect:?}, got {} {}", reply.status, shortened(&reply.json()));
    let among = |codes: &[Code]| codes.iter().any(|code| code.as_str() == reply.code());
    let success = reply.status.is_success();
    let held = match expect {
        Expect::Answer => success,
        Expect::Json(json) => success && reply.body == json.as_bytes(),
        Expect::Fault(code) => !success && among(&[code]),
        Expect::FaultOf(codes) => !success && among(codes),
        Expect::AnswerOr(codes) => success || among(codes),
        Expect::Refused(code) => {
            reply.code() == Code::Denied.as_str()
                && reply.json()["provider_code"] == code
                && reply.json()["request_sent"] == false
        }
    };
    if held { Ok(()) } else { Err(got()) }
}

fn shortened(value: &Value) -> String {
    value.to_string().chars().take(300).collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}
