//! Parties outside of the host, as `tests/parties` has them: an authorization server, a vendor's API, a person with a
//! browser. Each is a child process that ends when its standard input does.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, fs};

use serde_json::Value;

use crate::http::{Http, Reply};

/// Of a certificate for the authorization server's name.
const ISSUER_HOST: &str = "auth.example.test";

/// A party that serves. Dropping it ends it.
pub struct Party {
    child: Child,
    /// What it printed when it was ready.
    ready: Value,
}

/// The authorization server.
pub struct AuthServer {
    party: Party,
    /// Its certificate, PEM: an extra root for whoever is to believe it.
    pub certificate: PathBuf,
}

/// What a person with a browser saw.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Whether the person came to the end.
    pub ended: bool,
    /// As `tests/parties/README.md` has it.
    pub report: Value,
}

// === impl Party ===

impl Party {
    /// Starts a script of `tests/parties`.
    ///
    /// # Panics
    ///
    /// With the command to run, where what it needs is not installed.
    pub fn start(script: &str, options: &[&str]) -> Self {
        let mut child = node(script, options)
            .arg("--exit-with-stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("readable");
        let ready = serde_json::from_str(&line);
        let ready = ready.unwrap_or_else(|_| panic!("{script} ended, and said why above"));
        Self { child, ready }
    }

    /// A port that it named.
    pub fn address(&self, name: &str) -> SocketAddr {
        let port = self.ready[name].as_u64().and_then(|port| u16::try_from(port).ok());
        SocketAddr::from((Ipv4Addr::LOCALHOST, port.expect("a port")))
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        // Ends by itself once its input has; whatever comes of the rest, there is nothing more to do.
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

// === impl AuthServer ===

impl AuthServer {
    /// Starts it without clients; what it needs goes into `folder`.
    pub fn start(folder: &Path, options: &[&str]) -> Self {
        let (certificate, key) = make_certificate(folder);
        let clients = folder.join("clients.json");
        fs::write(&clients, "[]").expect("writable");
        let mut all = vec!["--cert", text(&certificate), "--key", text(&key)];
        all.extend(["--clients", text(&clients)]);
        all.extend(options);
        Self { party: Party::start("oauth/server.mjs", &all), certificate }
    }

    /// Where it serves its issuer's name, by TLS.
    pub fn address(&self) -> SocketAddr {
        self.party.address("port")
    }

    /// Where a test looks inside it.
    pub fn control_address(&self) -> SocketAddr {
        self.party.address("control")
    }

    /// `GET /_control/NAME`.
    pub async fn look(&self, name: &str) -> Value {
        let reply = Http::new(self.control_address(), "").get(&format!("/_control/{name}")).await;
        reply.ok().json()
    }

    /// `POST /_control/NAME`.
    pub async fn turn(&self, name: &str, body: Value) -> Reply {
        Http::new(self.control_address(), "").post(&format!("/_control/{name}"), body).await.ok()
    }

    /// What `tests/parties/browser` must be told to reach it.
    pub fn map(&self) -> String {
        format!("{ISSUER_HOST}:443={}", self.address())
    }
}

/// Has a person with a browser open a connect page, and go on to the end.
pub async fn consent(url: &str, server: &AuthServer, options: &[&str]) -> Seen {
    let (url, map) = (url.to_owned(), server.map());
    let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
    let visit = tokio::task::spawn_blocking(move || {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        node("browser/consent.mjs", &options)
            .args(["--url", &url, "--map", &map])
            .stdin(Stdio::null())
            .output()
            .expect("node starts")
    });
    let output = visit.await.expect("no panic");
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
        panic!("the browser did not start: {}", String::from_utf8_lossy(&output.stderr))
    });
    Seen { ended: output.status.success(), report }
}

/// Node on a script of `tests/parties`, where everything is installed.
fn node(script: &str, options: &[&str]) -> Command {
    let parties = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../parties"));
    let chromium = env::var_os("CHROMIUM").map_or("/usr/bin/chromium".into(), PathBuf::from);
    for needed in [&parties.join("node_modules/.package-lock.json"), &chromium] {
        assert!(needed.exists(), "no {}: run script/parties", needed.display());
    }
    let mut command = Command::new("node");
    command.arg(parties.join(script)).args(options);
    command
}

/// A certificate of the issuer's name, signed by itself, and its key.
fn make_certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "2", "-subj", &format!("/CN={ISSUER_HOST}")])
        .args(["-addext", &format!("subjectAltName=DNS:{ISSUER_HOST}")])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl starts: run script/parties");
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    (certificate, key)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}
