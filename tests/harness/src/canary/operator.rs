//! Whoever runs the host: gives it secrets in every way there is, and keeps what is said back.
//!
//! What an answer shows once by design, such as a new token, is not kept: it is a canary from then on.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use super::heard::Heard;
use super::secrets::Canaries;
use crate::host::binary;
use crate::http::{Http, Reply};

/// The fixture with a slot for each scheme.
pub(super) const CONNECTOR: &str = "fixtures/spy";

/// Slots whose secrets are set by hand.
const BY_HAND: [&str; 3] = ["token", "key", "query"];

/// A user with a token that was exchanged, users with consents of their own.
pub(super) const EXCHANGED: &str = "ann";
pub(super) const CONSENTED: [&str; 2] = ["bob", "cid"];

/// Where a headless consent comes back to.
const REDIRECT: &str = "https://shop.example.com/back";

/// What the provider calls itself.
const ISSUER: &str = "https://auth.example.test";

/// A time that is over, so that the first use is a refresh.
const OVER: &str = "2026-01-01T00:00:00Z";

/// An operator with an admin's token.
pub(super) struct Operator<'a> {
    pub(super) address: SocketAddr,
    pub(super) token: String,
    pub(super) canaries: &'a Canaries,
    pub(super) heard: &'a mut Heard,
    /// Canaries that the provider has to be shown, by name.
    pub(super) due: &'a mut Vec<String>,
    pub(super) http: Http,
}

/// Path of an installation.
pub(super) fn at(tenant: &str, rest: &str) -> String {
    format!("/v1/environments/dev/tenants/{tenant}/connectors/{CONNECTOR}{rest}")
}

// === impl Operator ===

impl Operator<'_> {
    /// A request whose answer is kept.
    pub(super) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Reply {
        let reply = self.http.send(method, path, "application/json", body.into()).await;
        self.heard.reply(&reply);
        reply
    }

    /// A request that must succeed, with JSON.
    pub(super) async fn tell(&mut self, method: Method, path: &str, body: &Value) -> Value {
        let reply = self.ask(method, path, body.to_string()).await;
        assert!(reply.status.is_success(), "{path}: {}", reply.json());
        reply.json()
    }

    /// A request whose answer is shown once.
    async fn ask_once(&mut self, path: &str, body: &Value) -> Value {
        self.http.post(path, body.clone()).await.ok().json()
    }

    /// A secret that the provider has to be shown.
    fn due(&mut self, name: String) -> String {
        let name = format!("{name}, number {}", self.due.len());
        self.due.push(name.clone());
        self.canaries.plant(name)
    }

    /// The operator's clients at the authorization server.
    pub(super) async fn register_clients(&mut self) {
        for slot in ["consent", "machine", "person"] {
            self.register_client(slot).await;
        }
    }

    /// A client with a new secret, which ends the rest of one that was refused.
    pub(super) async fn register_client(&mut self, slot: &str) {
        let secret = self.due(format!("client secret of {slot}"));
        let path = format!("/v1/environments/dev/connectors/{CONNECTOR}/clients/{slot}");
        let client = json!({"client_id": format!("shop-{slot}"), "client_secret": secret});
        self.tell(Method::PUT, &path, &client).await;
    }

    /// A tenant with a secret in every slot.
    pub(super) async fn install(&mut self, tenant: &str) {
        let pin = json!({"release": "1.0.0", "reason": "the torture asks"});
        self.tell(Method::PUT, &at(tenant, "/pin"), &pin).await;
        self.tell(Method::PUT, &at(tenant, "/connections/open"), &json!({})).await;
        for slot in BY_HAND {
            let secret = json!({"token": self.due(format!("{tenant} {slot}"))});
            self.tell(Method::PUT, &at(tenant, &format!("/connections/{slot}")), &secret).await;
        }
        // A user's name is no secret beside a password.
        let password = self.due(format!("{tenant} password"));
        let login = json!({"user": format!("user of {tenant}"), "password": password});
        self.tell(Method::PUT, &at(tenant, "/connections/login"), &login).await;
        self.consent(tenant).await;
    }

    /// Tokens from elsewhere, which are over: what is shown to the provider is what comes in their place.
    pub(super) async fn come_back(&mut self, tenant: &str) {
        let over = self.canaries.plant(format!("{tenant} machine, over"));
        let machine = json!({"access_token": over, "expires_at": OVER, "replace": true});
        self.tell(Method::POST, &at(tenant, "/connections/machine/import"), &machine).await;
        let subject = self.due(format!("{tenant} subject of {EXCHANGED}"));
        let access = self.canaries.plant(format!("{tenant} access of {EXCHANGED}, over"));
        let person = json!({"access_token": access, "subject_token": subject, "expires_at": OVER, "replace": true});
        let path = at(tenant, &format!("/connections/person/import?user={EXCHANGED}"));
        self.tell(Method::POST, &path, &person).await;
    }

    /// A person consents, on pages of the operator's own.
    async fn consent(&mut self, tenant: &str) {
        let body = json!({"slot": "consent", "headless": true, "redirect_uri": REDIRECT});
        let session = self.ask_once(&at(tenant, "/connect-sessions"), &body).await;
        let text = |name: &str| session[name].as_str().expect("shown once").to_owned();
        let (state, binding) = (text("state"), text("binding"));
        self.canaries.keep(format!("{tenant} state"), &state);
        self.canaries.keep(format!("{tenant} binding"), &binding);
        let code = self.due(format!("{tenant} code"));
        let answer = json!({"state": state, "binding": binding, "code": code, "iss": ISSUER});
        let path = "/v1/environments/dev/connect-sessions/complete";
        self.tell(Method::POST, path, &answer).await;
        let url = text("authorize_url");
        let challenge = url.split("code_challenge=").nth(1).and_then(|rest| rest.split('&').next());
        let met = |value: &[u8]| Some(&*URL_SAFE_NO_PAD.encode(Sha256::digest(value))) == challenge;
        let shown = self.canaries.all().iter().any(|canary| met(&canary.value));
        assert!(shown, "no verifier that the provider was shown meets {url}");
        // Another one, as a link that nobody follows to its end.
        let link = json!({"slot": "consent"});
        let session = self.ask_once(&at(tenant, "/connect-sessions"), &link).await;
        let token = session["token"].as_str().expect("shown once").to_owned();
        self.canaries.keep(format!("{tenant} link"), &token);
        self.http.get(&format!("/connect/{token}")).await.ok();
    }

    /// Users of a tenant move in, many in one request.
    pub(super) async fn move_in(&mut self, tenant: &str) {
        let mut lines = String::new();
        for user in CONSENTED {
            let access = self.due(format!("{tenant} access of {user}"));
            let refresh = self.due(format!("{tenant} refresh of {user}"));
            let line = json!({
                "tenant": tenant, "connector": CONNECTOR, "slot": "consent", "user": user,
                "access_token": access, "refresh_token": refresh, "replace": true,
            });
            lines.push_str(&format!("{line}\n"));
        }
        let path = "/v1/environments/dev/connections/import";
        let kind = "application/x-ndjson";
        let reply = self.http.send(Method::POST, path, kind, lines.into()).await;
        self.heard.reply(&reply);
        let taken = String::from_utf8_lossy(&reply.body).matches("\"imported\"").count();
        assert_eq!(taken, CONSENTED.len(), "{}", reply.json());
    }

    /// Users of a tenant move out: sealed, in the clear for an admin, and not for anybody else.
    pub(super) async fn move_out(&mut self, tenant: &str) {
        let path = at(tenant, "/connections/consent/export");
        // The example of age's own README.
        let recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
        self.tell(Method::POST, &path, &json!({"recipient": recipient})).await;
        let clear = self.ask_once(&path, &json!({})).await.to_string();
        assert!(clear.contains(super::secrets::MARK), "an export in the clear is one: {clear}");
        let body = json!({"name": format!("clerk-{tenant}"), "role": "operator"});
        let clerk = self.ask_once("/v1/tokens", &body).await;
        let clerk = clerk["secret"].as_str().expect("shown once").to_owned();
        self.canaries.keep(format!("{tenant} clerk's token"), &clerk);
        let mut http = Http::new(self.address, &clerk);
        let refused = http.post(&path, json!({})).await;
        assert_eq!(refused.status, 403, "{}", refused.json());
        self.heard.reply(&refused);
        self.ask(Method::DELETE, &format!("/v1/tokens/clerk-{tenant}"), "").await;
        let refused = http.get("/v1/releases").await;
        assert_eq!(refused.status, 401, "{}", refused.json());
        self.heard.reply(&refused);
    }

    /// A command, with what it reads; what it printed is kept, and `marker` has to be in there.
    pub(super) async fn command(
        &mut self,
        args: &[&str],
        input: Option<&Path>,
        marker: &'static str,
    ) {
        let mut command = Command::new(binary("keyway"));
        command.args(args).env("KEYWAY_HOST", format!("http://{}", self.address));
        command.env("KEYWAY_TOKEN", &self.token).env("KEYWAY_COLUMNS", "100");
        command.stdin(match input {
            Some(file) => Stdio::from(std::fs::File::open(file).expect("an input")),
            None => Stdio::null(),
        });
        let output = command.output().await.expect("keyway runs");
        let name = args.iter().find(|arg| !arg.starts_with("--token")).unwrap_or(&"");
        let said = [output.stdout, output.stderr].concat();
        self.heard.keep(&format!("keyway {name}"), &said, marker);
    }
}
