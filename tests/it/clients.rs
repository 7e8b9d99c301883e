//! Vendors' official clients for Node, unmodified, through the proxy: with call tokens, by host name and by base URL; and that
//! none of them sends a byte anywhere else.

use std::net::SocketAddr;

use harness::parties::Party;
use http::Method;
use serde_json::{Value, json};

use crate::proxy::client;
use crate::setup::{Setup, path};

const VENDORS: &str = "fixtures/vendors";

/// What the vendors take, and no client has.
const TOKEN: &str = "canary-of-the-vendors-77ad";
const LOGIN: &str = "ann@example.com/token:canary-of-the-vendors-login-0c1b";

/// A host with a tenant at each vendor, and the vendors.
struct World {
    setup: Setup,
    vendors: Party,
}

impl World {
    async fn new() -> Self {
        let vendors = Party::start("api/vendors.mjs", &["--token", TOKEN, "--login", LOGIN]);
        let hosts = [
            ("api.stripe.example", "stripe"),
            ("acme.zendesk.example", "zendesk"),
            ("api.github.example", "github"),
            ("uploads.github.example", "uploads"),
        ];
        let stand_in =
            |(host, name): &(&str, &str)| crate::setup::stand_in(host, vendors.address(name));
        let config: String = hosts.iter().map(stand_in).collect();
        let mut setup = Setup::new(&config);
        setup.publish("vendors").await.ok();
        let (user, password) = LOGIN.split_once(':').expect("two parts");
        let bearer = |host: &str| json!({"token": TOKEN, "base_url": format!("https://{host}")});
        for (tenant, slot, connection) in [
            ("stripe", "token", bearer("api.stripe.example")),
            ("github", "token", bearer("api.github.example")),
            (
                "zendesk",
                "login",
                json!({"user": user, "password": password, "base_url": "https://acme.zendesk.example"}),
            ),
        ] {
            setup.pin(tenant, VENDORS, "1.0.0").await;
            let slot = path(tenant, VENDORS, &format!("/connections/{slot}"));
            setup.http.put(&slot, connection).await.ok();
        }
        Self { setup, vendors }
    }

    /// Both addresses of a tenant, as the host tells them.
    async fn addresses(&mut self, tenant: &str) -> [String; 2] {
        let url = self.setup.http.get(&path(tenant, VENDORS, "/proxy-url")).await.ok().json();
        ["host_url", "base_url"].map(|member| url[member].as_str().expect("text").to_owned())
    }

    /// A token that may call for this tenant, and nothing else.
    async fn caller(&mut self, tenant: &str) -> String {
        let grant = json!({"name": format!("client-of-{tenant}"), "role": "caller", "environments": ["dev"],
            "tenants": [tenant], "connectors": [VENDORS], "verbs": ["proxy"]});
        let issued = self.setup.http.post("/v1/tokens", grant).await.ok().json();
        issued["secret"].as_str().expect("text").to_owned()
    }

    /// How often the vendors were asked, and what they saw that is none of their business.
    async fn asked(&self) -> Value {
        let control = self.vendors.address("control");
        let got =
            crate::proxy::ask_at(control, Method::GET, "/_control/requests", &[("host", "x")], "")
                .await;
        serde_json::from_slice(&got.body).expect("JSON")
    }
}

fn options(url: &str, token: &str) -> Vec<String> {
    // In one word with its option: one token of 64 begins with a hyphen.
    vec![format!("--url={url}"), format!("--token={token}")]
}

/// Where a client connects to, as the system sees it: below `strace`, whatever in it connects. None where there is no
/// `strace`, or no tracing.
#[expect(clippy::print_stderr, reason = "the test says what it leaves out")]
async fn connects(script: &'static str, options: Vec<String>) -> Option<Vec<String>> {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace");
    let tracing = std::process::Command::new("strace")
        .args(["-f", "-q", "-o"])
        .arg(&trace)
        .arg("true")
        .status();
    if !tracing.is_ok_and(|status| status.success()) {
        eprintln!("left out: no strace, or no tracing here");
        return None;
    }
    let below = ["strace", "-f", "-q", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o"];
    let mut below: Vec<String> = below.map(str::to_owned).to_vec();
    below.push(trace.to_str().expect("text").to_owned());
    let output = crate::proxy::client_below(below, script, options).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let text = std::fs::read_to_string(&trace).expect("it was traced");
    let named = text.lines().filter(|line| line.contains("sa_family=AF_INET"));
    Some(named.map(str::to_owned).collect())
}

/// Catches a client, or something in it, that talks to anybody but this machine: its own guard sees only what goes through
/// Node's sockets.
#[tokio::test(flavor = "multi_thread")]
async fn no_client_sends_a_byte_elsewhere() {
    let mut world = World::new().await;
    for (script, tenant) in [
        ("clients/stripe.mjs", "stripe"),
        ("clients/zendesk.mjs", "zendesk"),
        ("clients/github.mjs", "github"),
    ] {
        let token = world.caller(tenant).await;
        let [host_url, _] = world.addresses(tenant).await;
        let Some(connects) = connects(script, options(&host_url, &token)).await else { return };
        let port = format!("htons({})", world.setup.host.address.port());
        assert!(connects.iter().any(|line| line.contains(&port)), "{script}: {connects:#?}");
        let loopback = |line: &&String| {
            line.contains("inet_addr(\"127.") || line.contains("inet_pton(AF_INET6, \"::1\"")
        };
        let elsewhere: Vec<_> = connects.iter().filter(|line| !loopback(line)).collect();
        assert!(elsewhere.is_empty(), "{script}: {elsewhere:#?}");
    }
}

/// Runs a client at each of these addresses; the host's log and the vendors see no more than they should.
async fn runs(script: &'static str, tenant: &str, addresses: impl Fn([String; 2]) -> Vec<String>) {
    let mut world = World::new().await;
    let token = world.caller(tenant).await;
    for url in addresses(world.addresses(tenant).await) {
        let summary = client(script, options(&url, &token)).await;
        assert_eq!(summary["held"], json!(true), "{url}: {summary}");
    }
    let asked = world.asked().await;
    assert_eq!(asked["foreign"], json!([]), "no vendor sees a token of the host");
    assert!(asked["counts"][tenant].as_u64().is_some_and(|count| count > 5), "{asked}");
    let log = world.setup.log();
    for secret in [TOKEN, &LOGIN[LOGIN.len() - 30..], &token] {
        assert!(!log.contains(secret));
    }
}

/// It has no base URL with a path: only a host name of its own will do.
#[tokio::test(flavor = "multi_thread")]
async fn stripes_client_works_by_host_name() {
    runs("clients/stripe.mjs", "stripe", |[host_url, _]| vec![host_url]).await;
}

/// It follows links of bodies, and sends its key as the password of Basic.
#[tokio::test(flavor = "multi_thread")]
async fn zendesks_client_works_by_host_name_and_by_base_url() {
    runs("clients/zendesk.mjs", "zendesk", |both| both.to_vec()).await;
}

/// It follows links of headers, redirects, and the address for uploads of another host.
#[tokio::test(flavor = "multi_thread")]
async fn githubs_client_works_by_host_name_and_by_base_url() {
    runs("clients/github.mjs", "github", |both| both.to_vec()).await;
}

/// Catches a guard that guards nothing: a client that is sent elsewhere says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_sent_elsewhere_is_found_out() {
    let world = World::new().await;
    let github: SocketAddr = world.vendors.address("github");
    let output = crate::proxy::client_output(
        "clients/github.mjs",
        options(&format!("http://{github}"), TOKEN),
    )
    .await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("api.github.example:443"), "{said}");
}
