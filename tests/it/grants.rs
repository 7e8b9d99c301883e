//! Connections that no person consents to, and the addresses that providers have for each customer: the whole host
//! against a token endpoint of a few lines. With a certified authorization server they are in `connect::grants`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::setup::{Setup, path, stand_in};
use crate::upstream::Plain;

const GRANTS: &str = "fixtures/grants";

/// Below the domain that the release names, and on hosts that it declares.
const EU: &str = "https://eu.my.example.com";

/// Seconds that a token lives which a test wants to be over, and one that must not be before the test is.
const SHORT: u64 = 1;
const LONG: u64 = 3_600;

type Form = BTreeMap<String, String>;

/// Issues `issued-1`, `issued-2`, …: to the client itself at `eu`, and for whom it is asked.
struct Issuer {
    address: SocketAddr,
    forms: Arc<Mutex<Vec<Form>>>,
    /// Of tokens from here on, in seconds: [`SHORT`], unless told otherwise.
    lifetime: Arc<AtomicU64>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Issuer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let forms = Arc::<Mutex<Vec<Form>>>::default();
        let lifetime = Arc::new(AtomicU64::new(SHORT));
        let (kept, lives) = (Arc::clone(&forms), Arc::clone(&lifetime));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (forms, lives) = (Arc::clone(&kept), Arc::clone(&lives));
                let service = service_fn(move |request| {
                    issue(request, Arc::clone(&forms), lives.load(Ordering::SeqCst))
                });
                let io = TokioIo::new(stream);
                let serving = hyper::server::conn::http1::Builder::new();
                tokio::spawn(serving.serve_connection(io, service));
            }
        });
        Self { address, forms, lifetime, accepting }
    }

    /// How long tokens live that are issued from here on.
    fn live(&self, seconds: u64) {
        self.lifetime.store(seconds, Ordering::SeqCst);
    }

    /// This field of each request so far.
    fn asked(&self, field: &str) -> Vec<String> {
        let forms = self.forms.lock().expect("not poisoned");
        forms.iter().map(|form| form.get(field).cloned().unwrap_or_default()).collect()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn issue(
    request: Request<Incoming>,
    forms: Arc<Mutex<Vec<Form>>>,
    lifetime: u64,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() != "/token" {
        return Ok(Response::new(Full::default()));
    }
    let body = request.into_body().collect().await.expect("a whole body").to_bytes();
    let form: Form = url::form_urlencoded::parse(&body).into_owned().collect();
    let mut forms = forms.lock().expect("not poisoned");
    let number = forms.len() + 1;
    let mut issued = json!({"access_token": format!("issued-{number}"), "expires_in": lifetime});
    if form["grant_type"] == "client_credentials" {
        issued["instance_url"] = EU.into();
    } else {
        issued["account_id"] = form.get("requested_subject").map_or("acme", String::as_str).into();
    }
    forms.push(form);
    Ok(Response::new(Full::new(issued.to_string().into())))
}

/// A provider with two addresses, one that nobody has named, and who issues tokens for it.
struct World {
    setup: Setup,
    issuer: Issuer,
    eu: Plain,
    us: Plain,
    plain: Plain,
}

impl World {
    async fn new() -> Self {
        let issuer = Issuer::start().await;
        let (eu, us, plain) = (Plain::start().await, Plain::start().await, Plain::start().await);
        let config = [
            stand_in("auth.example.test", issuer.address),
            stand_in("eu.my.example.com", eu.address),
            stand_in("us.my.example.com", us.address),
            stand_in("api.example.com", plain.address),
        ];
        let mut setup = Setup::new(&config.concat());
        setup.publish("grants").await.ok();
        setup.pin("acme", GRANTS, "1.0.0").await;
        for slot in ["machine", "delegated"] {
            let client = format!("/v1/environments/dev/connectors/{GRANTS}/clients/{slot}");
            let body = json!({"client_id": "shop", "client_secret": "canary-client-secret"});
            setup.http.put(&client, body).await.ok();
        }
        Self { setup, issuer, eu, us, plain }
    }

    async fn obtain(&mut self, slot: &str, user: &str, body: Value) -> Value {
        let user = if user.is_empty() { String::new() } else { format!("?user={user}") };
        let path = path("acme", GRANTS, &format!("/connections/{slot}/obtain{user}"));
        self.setup.http.post(&path, body).await.ok().json()
    }

    /// A call with a slot's credential; for a user, unless the name is empty.
    async fn call(&mut self, slot: &str, user: &str) {
        let path = path("acme", GRANTS, "/actions/get");
        let mut http = self.setup.host.http();
        if !user.is_empty() {
            http = http.with("keyway-user", user);
        }
        http.post(&path, json!({"path": "/x", "slot": slot})).await.ok();
    }
}

/// The credentials that a provider was shown.
fn shown(provider: &Plain) -> Vec<String> {
    let seen = provider.seen();
    let value = |seen: &crate::upstream::Seen| {
        let value = seen.headers.get("authorization").expect("a credential");
        value.to_str().expect("ASCII").trim_start_matches("Bearer ").to_owned()
    };
    seen.iter().map(value).collect()
}

/// Longer than a token lives that is [`SHORT`].
async fn expire() {
    tokio::time::sleep(Duration::from_millis(1_100)).await;
}

/// Fails if client credentials need a token to begin with, or are not asked for again.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_tokens_of_its_own() {
    let mut world = World::new().await;
    let made = world.obtain("machine", "", json!({})).await;
    assert_eq!((&made["kind"], &made["base_url"]), (&json!("oauth2"), &json!(EU)));
    for _ in 0..3 {
        expire().await;
        world.call("machine", "").await;
    }
    assert_eq!(world.issuer.asked("grant_type"), ["client_credentials"; 4]);
    assert_eq!(world.issuer.asked("scope"), ["contacts.read"; 4]);
    assert_eq!(shown(&world.eu), ["issued-2", "issued-3", "issued-4"]);
    // Also after a crash: nothing but the client is needed.
    let World { setup, issuer, eu, us, plain } = world;
    let mut world = World { setup: setup.crash(), issuer, eu, us, plain };
    expire().await;
    world.call("machine", "").await;
    assert_eq!(shown(&world.eu).last().expect("a call"), "issued-5");
    assert!(!world.setup.log().contains("canary"), "{}", world.setup.log());
}

/// Fails if a user's call has another token than the user's own, or if that one is not exchanged again.
#[tokio::test(flavor = "multi_thread")]
async fn users_have_tokens_that_others_are_exchanged_for() {
    let mut world = World::new().await;
    let own = json!({"subject_token": "word-of-acme"});
    // However long that takes, it is not over when ann's is had with it.
    world.issuer.live(LONG);
    assert_eq!(world.obtain("delegated", "", own.clone()).await["account"], "acme");
    world.issuer.live(SHORT);
    assert_eq!(world.obtain("delegated", "ann", json!({})).await["account"], "ann");
    let bob = json!({"subject_token": "word-of-bob"});
    assert_eq!(world.obtain("delegated", "bob", bob).await["user"], "bob");
    let exchanged = ["word-of-acme", "issued-1", "word-of-bob"];
    assert_eq!(world.issuer.asked("subject_token"), exchanged);
    assert_eq!(world.issuer.asked("requested_subject"), ["", "ann", "bob"]);
    // In the place of the long one, so that all are over.
    assert_eq!(world.obtain("delegated", "", own).await["account"], "acme");
    expire().await;
    world.call("delegated", "ann").await;
    // The tenant's own was over as well: had anew first, then exchanged for ann's.
    assert_eq!(world.issuer.asked("subject_token")[4..], ["word-of-acme", "issued-5"]);
    world.call("delegated", "bob").await;
    assert_eq!(shown(&world.plain), ["issued-6", "issued-7"]);
    assert_eq!(world.issuer.asked("subject_token")[6..], ["word-of-bob"]);
    // Nobody has vouched for cid.
    let mut http = world.setup.host.http().with("keyway-user", "cid");
    let input = json!({"path": "/x", "slot": "delegated"});
    let refused = http.post(&path("acme", GRANTS, "/actions/get"), input).await;
    assert_eq!(refused.json()["provider_code"], "credential-missing", "{}", refused.json());
}

/// Fails if a user's token is sent to where the tenant's account is.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_s_token_goes_to_the_user_s_own_address() {
    let mut world = World::new().await;
    for (user, host, token) in [("", "eu", "canary-own"), ("?user=ann", "us", "canary-ann")] {
        let slot = path("acme", GRANTS, &format!("/connections/hand{user}"));
        let body = json!({"token": token, "base_url": format!("https://{host}.my.example.com")});
        world.setup.http.put(&slot, body).await.ok();
    }
    let elsewhere = path("acme", GRANTS, "/connections/hand?user=bob");
    world.setup.http.put(&elsewhere, json!({"token": "canary-bob"})).await.ok();
    for user in ["", "ann", "bob"] {
        world.call("hand", user).await;
        let mut http = world.setup.host.http().with("keyway-slot", "hand");
        if !user.is_empty() {
            http = http.with("keyway-user", user);
        }
        http.get(&path("acme", GRANTS, "/proxy/y")).await.ok();
    }
    assert_eq!(shown(&world.us), ["canary-ann", "canary-ann"], "a call and a proxied request");
    // One without an address goes where the tenant's own does.
    assert_eq!(shown(&world.eu), ["canary-own", "canary-own", "canary-bob", "canary-bob"]);
    assert!(world.plain.seen().is_empty());
    let targets: Vec<_> = world.us.seen().iter().map(|seen| seen.target.clone()).collect();
    assert_eq!(targets, ["/x", "/y"]);
}
