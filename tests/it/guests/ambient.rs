//! Nothing ambient: a host with something to leak in every place a process has, and a guest that looks.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use fixtures::Guest;
use harness::{Http, Reply};
use serde_json::{Value, json};

use crate::setup::path;

/// In the host's environment, arguments, working directory and standard input.
const AMBIENT: &str = "canary-4c1f-of-the-process";

/// What the tenant's credential is.
const SECRET: &str = "canary-9b7e-of-the-connection";

const TENANT: &str = "acme";
const CONNECTOR: &str = "fixtures/ambient";

/// Nanoseconds that both clocks of a guest count in.
const RESOLUTION_NS: u64 = 1_000_000;

/// A host that was started with canaries; the harness starts one with as little as it can.
struct Tempting {
    child: Child,
    http: Http,
    _folder: tempfile::TempDir,
}

impl Tempting {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        // The data directory is an argument, so the name of it is in the arguments.
        let data = folder.path().join(AMBIENT);
        std::fs::write(folder.path().join("in-the-working-directory"), AMBIENT).expect("writable");
        let mut child = Command::new(harness::binary("keyway"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(&data)
            .env("KEYWAY_TEST_CANARY", AMBIENT)
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("keyway starts");
        let mut stdin = child.stdin.take().expect("piped");
        // A pipe holds it until somebody reads, which nobody must.
        writeln!(stdin, "{AMBIENT}").expect("a pipe takes a line");
        drop(stdin);
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            line.rsplit_once("http://").and_then(|(_, address)| address.trim().parse().ok())
        });
        std::thread::spawn(move || lines.for_each(drop));
        let token = std::fs::read_to_string(data.join("admin.token")).expect("admin token");
        let http = Http::new(address.expect("it is ready"), token.trim());
        Self { child, http, _folder: folder }
    }

    /// A guest that looks around, for a tenant with configuration and a credential.
    async fn with_ambient() -> Self {
        let mut host = Self::start();
        let component = Guest::named("ambient").load().expect("built");
        host.http.publish(component).await.ok();
        let pin = json!({"release": "1.0.0", "reason": "a test asks"});
        for (place, body) in [
            ("/pin", pin),
            ("/config", json!({"greeting": "hello"})),
            ("/connections/token", json!({"token": SECRET})),
        ] {
            host.http.put(&path(TENANT, CONNECTOR, place), body).await.ok();
        }
        host
    }

    async fn act(&mut self, action: &str) -> Reply {
        let path = path(TENANT, CONNECTOR, &format!("/actions/{action}"));
        self.http.post(&path, json!(null)).await.ok()
    }
}

impl Drop for Tempting {
    fn drop(&mut self) {
        // Already ended is as good: there is nothing left to kill.
        drop(self.child.kill());
        self.child.wait().expect("a child can be waited for");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_sees_no_process_around_it() {
    let mut host = Tempting::with_ambient().await;
    let seen = host.act("surroundings").await.json();
    assert_eq!(seen["environment"], json!({}));
    assert_eq!(seen["arguments"], json!([]));
    for file in ["root", "here", "file"] {
        assert_eq!(seen[file], json!(null), "{file} was read");
    }
    assert_eq!(seen["written"], json!(false));
    assert!(!Path::new("/tmp/keyway-guest").exists());
    // Toolchains make "/" of no answer; the host's own folder it is not.
    assert!([json!(null), json!("/")].contains(&seen["directory"]), "{}", seen["directory"]);
    assert!([json!(null), json!([])].contains(&seen["stdin"]), "standard input was read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_sees_its_settings_and_no_secret() {
    let mut host = Tempting::with_ambient().await;
    let seen = host.act("settings").await.json();
    assert_eq!(seen["config"], json!({"greeting": "hello"}));
    let connection = &seen["connection"];
    // No base URL is set, and what is not known is left out.
    assert_eq!(keys(connection), ["slots"]);
    assert_eq!(keys(&connection["slots"]), ["token"]);
    // Of a connection its kind, and which scopes were granted where a provider grants any; nothing else.
    let token = &connection["slots"]["token"];
    assert_eq!(token["kind"], "bearer");
    assert!(keys(token).iter().all(|key| ["kind", "scopes"].contains(key)), "{token}");
    assert!(token["scopes"].is_null(), "{token}");
    for action in ["surroundings", "settings", "time", "random", "memory"] {
        let reply = host.act(action).await;
        let body = String::from_utf8_lossy(&reply.body).into_owned();
        for canary in [AMBIENT, SECRET] {
            assert!(!body.contains(canary), "{action}: {body}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guests_clocks_are_coarse_and_its_randomness_is_real() {
    let mut host = Tempting::with_ambient().await;
    let (mut bytes, mut hashes) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let time = host.act("time").await.json();
        let wall = numbers(&time["wall"]);
        let counted = numbers(&time["host"]);
        let elapsed = time["elapsed"].as_u64().expect("a number");
        // A clock that counts nanoseconds would pass this once in a million readings.
        for reading in wall.iter().chain([&elapsed]) {
            assert_eq!(reading % RESOLUTION_NS, 0, "finer than a millisecond: {time}");
        }
        assert!(counted[0] <= counted[1] && wall[0] <= wall[1], "it went back: {time}");
        // It is a clock all the same, and both tell one time.
        assert!(counted[0] > 1_600_000_000_000, "{time}");
        assert!(counted[1] <= wall[0] / RESOLUTION_NS, "{time}");
        let random = host.act("random").await.json();
        for read in random["bytes"].as_array().expect("a list") {
            assert_eq!(read.as_array().map(Vec::len), Some(16));
            bytes.push(read.to_string());
        }
        hashes.push(random["hash"].to_string());
    }
    for (what, mut drawn) in [("random bytes", bytes), ("the seed of a hash", hashes)] {
        let count = drawn.len();
        drawn.sort();
        drawn.dedup();
        assert_eq!(drawn.len(), count, "{what}: two are the same");
    }
}

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn numbers(list: &Value) -> Vec<u64> {
    let list = list.as_array().expect("a list").iter();
    list.map(|number| number.as_u64().expect("a number")).collect()
}
