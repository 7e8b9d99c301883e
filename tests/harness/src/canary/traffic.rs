//! Calls, proxied requests and refreshes in which every credential goes out and is given back: those that go well, and
//! those that fail in each of their ways.

use http::Method;
use serde_json::{Value, json};

use super::heard::Heard;
use super::operator::{CONNECTOR, CONSENTED, EXCHANGED, Operator, at};
use super::provider::{DECOY, FORMS, Mood, Provider};
use crate::http::{Http, Reply};

/// Slots that a call for the tenant itself can use.
const SLOTS: [&str; 7] = ["open", "token", "key", "query", "login", "consent", "machine"];

/// The ways in which the spy tells what it saw and does not fail.
const TELLING: [&str; 2] = ["log", "print"];

/// The ways in which it fails with what it saw.
const FAILING: [&str; 3] = ["fail", "panic", "not-json"];

/// For a request that is never answered.
const PATIENCE_MS: u32 = 300;

/// Requests with these slots, each to every one of these paths.
fn requests(slots: &[&str], paths: &[&str]) -> Vec<Value> {
    let all = slots.iter().flat_map(|slot| paths.iter().map(move |path| (slot, path)));
    all.map(|(slot, path)| json!({"slot": slot, "url": path})).collect()
}

fn forms() -> Vec<String> {
    FORMS.iter().map(|form| format!("/echo/{form}")).collect()
}

impl Operator<'_> {
    /// Everything that a tenant does in a round.
    pub(super) async fn trade(&mut self, tenant: &str) {
        self.calls(tenant).await;
        self.failing_calls(tenant).await;
        self.calls_of_users(tenant).await;
        self.proxied(tenant).await;
    }

    /// A call of the spy for the tenant itself.
    async fn spy(&mut self, tenant: &str, action: &str, input: &Value) -> Reply {
        self.ask(Method::POST, &at(tenant, &format!("/actions/{action}")), input.to_string()).await
    }

    async fn calls(&mut self, tenant: &str) {
        let forms = forms();
        let forms: Vec<&str> = forms.iter().map(String::as_str).collect();
        for slot in SLOTS {
            let input = json!({"requests": requests(&[slot], &forms)});
            let reply = self.spy(tenant, "look", &input).await.ok();
            let told = reply.json().to_string();
            assert!(told.matches(DECOY).count() >= FORMS.len() - 1, "{slot}: {told}");
            self.heard.keep("what a guest tells", &reply.body, DECOY);
        }
        let all = json!({"requests": requests(&SLOTS, &forms), "at_once": true});
        let reply = self.spy(tenant, "look", &all).await.ok();
        self.heard.keep("what a guest tells", &reply.body, DECOY);
        let dump = self.http.post(&at(tenant, "/actions/dump"), all.clone()).await.ok().json();
        let memory = hex::decode(dump.as_str().expect("digits")).expect("digits");
        self.heard.keep("memory of a guest", &memory, DECOY);
        let some = json!({"requests": requests(&SLOTS, &["/echo/json", "/echo/header"])});
        for action in TELLING {
            self.spy(tenant, action, &some).await.ok();
        }
        for action in FAILING {
            let reply = self.spy(tenant, action, &some).await;
            assert!(reply.status.as_u16() >= 400, "{action}: {}", reply.json());
        }
    }

    /// Requests that fail on their way, and what a guest is told of them.
    async fn failing_calls(&mut self, tenant: &str) {
        let mut wanted = requests(&SLOTS, &["/cut", "/away?to=there"]);
        wanted.push(json!({"slot": "token", "url": "/slow", "timeout_ms": PATIENCE_MS}));
        wanted.push(json!({"slot": "query", "url": "/slow", "timeout_ms": PATIENCE_MS}));
        wanted.push(json!({"slot": "token", "url": "https://elsewhere.example.com/"}));
        wanted.push(json!({"slot": "nobody", "url": "/echo/json"}));
        wanted.push(json!({"slot": "person", "url": "/echo/json"}));
        wanted.push(json!({"slot": "query", "url": "/echo/json?api_key=mine"}));
        let input = json!({"requests": wanted});
        let reply = self.spy(tenant, "look", &input).await.ok();
        self.heard.keep("what a guest is told of failures", &reply.body, "credential-missing");
        self.spy(tenant, "fail", &input).await;
        self.spy(tenant, "no-such-action", &input).await;
    }

    async fn calls_of_users(&mut self, tenant: &str) {
        let forms = forms();
        let forms: Vec<&str> = forms.iter().map(String::as_str).collect();
        for user in CONSENTED.into_iter().chain([EXCHANGED, "nobody"]) {
            let mut http = Http::new(self.address, &self.token).with("keyway-user", user);
            for action in ["look", "dump", "fail"] {
                let slots = ["person", "consent"];
                let input = json!({"requests": requests(&slots, &forms)});
                let reply = http.post(&at(tenant, &format!("/actions/{action}")), input).await;
                match reply.json().as_str().map(hex::decode) {
                    Some(Ok(memory)) => self.heard.keep("memory of a guest", &memory, DECOY),
                    _ => self.heard.reply(&reply),
                }
            }
        }
    }

    /// Requests of the caller's own. A compressed body goes through as it is, and whoever asks for one is told so in
    /// the operator's page: that form is left out.
    async fn proxied(&mut self, tenant: &str) {
        for slot in SLOTS.iter().filter(|slot| **slot != "open") {
            let mut http = Http::new(self.address, &self.token).with("keyway-slot", slot);
            proxy(&mut http, tenant, self.heard).await;
        }
        let mut http = Http::new(self.address, &self.token).with("keyway-user", EXCHANGED);
        http = http.with("keyway-slot", "person");
        proxy(&mut http, tenant, self.heard).await;
    }

    /// Refreshes that go well, and those that fail in each way that an authorization server knows.
    pub(super) async fn refreshes(&mut self, tenant: &str, provider: &Provider) {
        let [bob, cid] = CONSENTED;
        for (mood, slot, user) in [
            (Mood::Well, "consent", None),
            (Mood::Well, "machine", None),
            (Mood::Well, "consent", Some(bob)),
            (Mood::Refusing, "consent", Some(bob)),
            (Mood::Gone, "consent", Some(cid)),
            (Mood::Well, "consent", Some(cid)),
            // The one whose client's secret stands in a header, which comes back in a header.
            (Mood::Broken, "consent", Some(cid)),
            (Mood::Broken, "machine", None),
            (Mood::Suspicious, "person", Some(EXCHANGED)),
            (Mood::Garbled, "person", Some(EXCHANGED)),
        ] {
            provider.be(mood);
            let user = user.map_or(String::new(), |user| format!("?user={user}"));
            let path = at(tenant, &format!("/connections/{slot}/refresh{user}"));
            let body = json!({"force": user.ends_with(cid)}).to_string();
            let reply = self.ask(Method::POST, &path, body).await;
            let well = reply.status.is_success();
            assert_eq!(well, mood == Mood::Well, "{mood:?} {path}: {}", reply.json());
            if mood == Mood::Suspicious {
                // The client is every tenant's.
                self.register_client(slot).await;
            }
        }
        provider.be(Mood::Well);
    }

    /// Connections end, once with and once without the provider's help.
    pub(super) async fn leave(&mut self, tenant: &str, provider: &Provider) {
        for (mood, user) in [(Mood::Well, CONSENTED[1]), (Mood::Broken, EXCHANGED)] {
            provider.be(mood);
            let slot = if user == EXCHANGED { "person" } else { "consent" };
            let path = at(tenant, &format!("/connections/{slot}?user={user}"));
            let reply = self.ask(Method::DELETE, &path, "").await;
            assert!(reply.status.is_success(), "{path}: {}", reply.json());
        }
        provider.be(Mood::Well);
        let pause = at(tenant, "/connections/token/pause");
        self.tell(Method::POST, &pause, &json!({})).await;
        let input = json!({"requests": requests(&["token"], &["/echo/json"])});
        self.spy(tenant, "look", &input).await.ok();
        let resume = at(tenant, "/connections/token/resume");
        self.tell(Method::POST, &resume, &json!({})).await;
    }

    /// The same through the command line, and what else an operator types.
    pub(super) async fn commands(&mut self, tenant: &str) {
        let input = json!({"requests": requests(&SLOTS, &["/echo/json"])}).to_string();
        let spy = |action: &'static str| ["invoke", tenant, CONNECTOR, action, "--input", &input];
        self.command(&spy("look"), None, DECOY).await;
        self.command(&spy("fail"), None, DECOY).await;
        self.command(&spy("panic"), None, "guest-trap").await;
        for (args, marker) in [
            (&["connection", "list", tenant, CONNECTOR][..], "machine"),
            (&["client", "list"], "shop-machine"),
            (&["scopes", tenant, CONNECTOR], "things.read"),
            (&["audit", "--limit", "1000"], "connection.import"),
            (&["keys"], "of-the-environment"),
            (&["token", "list"], "admin"),
            (&["releases"], CONNECTOR),
            (&["show", "fixtures/spy@1.0.0"], "api-key-query"),
            (&["pins"], CONNECTOR),
            (&["history", tenant, CONNECTOR], "the torture asks"),
            (&["logs", "exchanges", "--limit", "1000"], "api.example.com"),
            (&["logs", "exchanges", "--limit", "1000", "--json"], DECOY),
            (&["logs", "exchanges", "--failed", "--json"], "\"stopped\""),
            (&["logs", "exchanges", "--limit", "1000", "--har", "-"], DECOY),
            (&["--help"], "KEYWAY_TOKEN"),
        ] {
            self.command(args, None, marker).await;
        }
    }
}

/// Every form but `gzip`, and a body that breaks off.
async fn proxy(http: &mut Http, tenant: &str, heard: &mut Heard) {
    for form in FORMS.iter().filter(|form| **form != "gzip") {
        let reply = http.get(&at(tenant, &format!("/proxy/echo/{form}"))).await;
        heard.keep("proxied", format!("{:?}", reply.headers).as_bytes(), "keyway-release");
        heard.keep("proxied", &reply.body, DECOY);
    }
    let path = at(tenant, "/proxy/cut");
    let kind = "application/json";
    let cut = http.try_send(Method::GET, &path, kind, bytes::Bytes::new()).await;
    assert!(cut.is_err(), "a body that broke off came whole: {cut:?}");
}
