//! Providers' own ways: how they do OAuth, where they want a credential, and what they want signed. Each is a release that
//! states the way, and a provider that judges what it gets as the real one would (`provider`), with the whole host between.

mod codes;
mod machines;
mod provider;
mod signed;
mod typed;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::Reply;
use serde_json::{Value, json};

use self::provider::{Browser, Provider};
use crate::setup::{Setup, path, stand_in};

const STATED: &str = "fixtures/stated";

/// The operator's client. Its secret has letters that an encoding would change.
const CLIENT: &str = "shop & sons";
const CLIENT_SECRET: &str = "canary+client%secret:77ad";

/// A host with a tenant that runs a release, and the provider that the release speaks of.
struct World {
    setup: Setup,
    provider: Provider,
    browser: Browser,
}

impl World {
    /// With these hosts of the provider's.
    async fn new(hosts: &[&str], stated: Value, provider: Provider) -> Self {
        let config: String = hosts.iter().map(|host| stand_in(host, provider.address)).collect();
        let mut setup = Setup::new(&config);
        let mut descriptor = json!({
            "format": 1, "name": STATED, "version": "1.0.0", "summary": "Example CRM",
            "actions": {"send": {}, "settings": {"effect": "read"}},
        });
        let fields = descriptor.as_object_mut().expect("an object");
        fields.extend(stated.as_object().expect("an object").clone());
        setup.http.publish(fixtures::stating(&descriptor.to_string())).await.ok();
        setup.pin("acme", STATED, "1.0.0").await;
        let browser = Browser::new(setup.host.address, provider.address);
        Self { setup, provider, browser }
    }

    /// The same with the operator's client at the slot `login`.
    async fn with_client(hosts: &[&str], stated: Value, provider: Provider) -> Self {
        let mut world = Self::new(hosts, stated, provider).await;
        let client = json!({"client_id": CLIENT, "client_secret": CLIENT_SECRET});
        world.set_client(client).await.ok();
        world
    }

    async fn set_client(&mut self, client: Value) -> Reply {
        let place = format!("/v1/environments/dev/connectors/{STATED}/clients/login");
        self.setup.http.put(&place, client).await
    }

    /// A link for a person.
    async fn link(&mut self, wanted: Value) -> String {
        let sessions = path("acme", STATED, "/connect-sessions");
        let session = self.setup.http.post(&sessions, wanted).await.ok().json();
        session["url"].as_str().expect("a link").to_owned()
    }

    /// A person follows a link and fills in what is asked; what they see in the end.
    async fn connect(&mut self, wanted: Value, typed: &[(&str, &str)]) -> Reply {
        let link = self.link(wanted).await;
        self.browser.connect(&link, typed).await
    }

    /// A call that sends a request with a slot's credential: the status that the provider gave.
    async fn call(&mut self, slot: &str, target: &str) -> u64 {
        let input = json!({"slot": slot, "path": target});
        let reply = self.setup.act("acme", STATED, "send", input).await.ok().json();
        reply["status"].as_u64().expect("a status")
    }

    /// The tenant's connection of a slot; null if there is none.
    async fn connection(&mut self, slot: &str) -> Value {
        let list = self.setup.http.get(&path("acme", STATED, "/connections")).await.json();
        let found = list["connections"].as_array().into_iter().flatten();
        found.into_iter().find(|of| of["slot"] == slot).cloned().unwrap_or_default()
    }

    /// Sets a slot's credential.
    async fn set(&mut self, slot: &str, credential: Value) -> Reply {
        let place = path("acme", STATED, &format!("/connections/{slot}"));
        self.setup.http.put(&place, credential).await
    }

    /// Nothing secret is in the log, in the audit, or where the browser was.
    async fn hides(&mut self, secrets: &[&str]) {
        let audit = self.setup.http.get("/v1/audit?limit=1000").await.ok().json().to_string();
        let history = self.browser.history.join("\n");
        for place in [self.setup.log(), audit, history] {
            for secret in secrets {
                assert!(!place.contains(secret), "{secret} in {place}");
            }
        }
    }
}

/// Longer than a token lives that is issued for a second.
async fn expire() {
    tokio::time::sleep(Duration::from_millis(1_100)).await;
}

/// Seconds since 1970, by a provider's clock.
fn now() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}

/// What openssl says, with this on its standard input.
fn openssl(args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl starts: run script/parties");
    child.stdin.take().expect("piped").write_all(input).expect("read by the child");
    let output = child.wait_with_output().expect("openssl ends");
    assert!(output.status.success(), "{args:?}");
    output.stdout
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
