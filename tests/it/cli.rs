//! The command line against a running host: what it prints on which stream, as text and as JSON, and its
//! exit codes.

mod address;
mod calls;
mod check;
mod connect;
mod connections;
mod keys;
mod logged;
mod logs;
mod mirror;
mod pins;
mod project;
mod quotas;
mod releases;
mod settings;
mod starting;
mod tenants;
mod tokens;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::setup::Setup;

/// Exit codes, as `host/src/exit.rs` documents them.
const WRONG: i32 = 2;
const REFUSED: i32 = 3;
const UNAUTHORISED: i32 = 4;
const UNREACHABLE: i32 = 5;
const CALL_FAILED: i32 = 6;

/// A person at a terminal, with a folder to keep files in.
pub(crate) struct Cli<'s> {
    setup: &'s Setup,
    folder: TempDir,
    /// Further variables of its environment.
    variables: Vec<(&'static str, &'static str)>,
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

// === impl Cli ===

impl<'s> Cli<'s> {
    pub(crate) fn new(setup: &'s Setup) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        Self { setup, folder, variables: Vec::new() }
    }

    /// The same, with this in its environment.
    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.push((name, value));
        self
    }

    /// Runs a command with this on its standard input.
    pub(crate) fn with_input(&self, args: &[&str], input: &str) -> Said {
        let mut child = Command::new(harness::binary("keyway"))
            .args(args)
            .current_dir(self.folder.path())
            .env("KEYWAY_HOST", format!("http://{}", self.setup.host.address))
            .env("KEYWAY_TOKEN", &self.setup.host.token)
            .env_remove("COLUMNS")
            .env_remove("KEYWAY_COLUMNS")
            .envs(self.variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("keyway starts");
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("read by the child");
        Said::from(child.wait_with_output().expect("keyway ends"))
    }

    fn run(&self, args: &[&str]) -> Said {
        self.with_input(args, "")
    }

    /// Standard output of a command that must succeed.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert_eq!(said.code, 0, "{args:?}: {said:?}");
        said.out
    }

    /// The same command for a program: one line of JSON, and nothing else on either stream.
    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        self.run(&[args, &["--json"]].concat()).json()
    }

    fn exit(&self, args: &[&str]) -> i32 {
        self.run(args).code
    }

    /// A command that must fail with this exit code, say why on standard error, and print no data. For programs it says so
    /// in one line of JSON.
    #[track_caller]
    pub(crate) fn fails(&self, args: &[&str], exit: i32, why: &str) {
        let said = self.run(args);
        assert_eq!((said.code, said.out.as_str()), (exit, ""), "{args:?}: {said:?}");
        assert!(said.err.starts_with(&format!("keyway: {why}")), "{args:?}: {}", said.err);
        let said = self.run(&[args, &["--json"]].concat());
        assert_eq!((said.code, said.out.as_str()), (exit, ""), "{args:?}: {said:?}");
        assert_eq!(said.err.matches('\n').count(), 1, "one line, for programs: {}", said.err);
        let problem: Value = serde_json::from_str(&said.err).expect("JSON");
        let text = |field: &str| problem[field].as_str().unwrap_or_default().to_owned();
        let (code, detail) = (text("code"), text("detail"));
        let told = detail.starts_with(why) || format!("{code}: {detail}").starts_with(why);
        assert!(told && !code.is_empty(), "{args:?}: {problem}");
    }

    /// A file with this in it; its path.
    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let file = self.folder.path().join(name);
        std::fs::write(&file, bytes).expect("writable");
        file.to_string_lossy().into_owned()
    }

    /// Publishes a guest of the fixtures; its digest.
    #[track_caller]
    fn publish(&self, guest: &str) -> String {
        let component = fixtures::Guest::named(guest).load().expect("built");
        let file = self.file(&format!("{guest}.wasm"), component);
        let release = self.json(&["publish", &file]);
        release["release"]["digest"].as_str().expect("a digest").to_owned()
    }
}

// === impl Said ===

impl Said {
    /// The one line of JSON that it printed.
    #[track_caller]
    fn json(&self) -> Value {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{self:?}");
        assert_eq!(self.out.matches('\n').count(), 1, "one line, for programs: {}", self.out);
        serde_json::from_str(&self.out).expect("JSON")
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Self {
            code: output.status.code().expect("not killed"),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

/// The cells of a table, without its header, which must be this one.
#[track_caller]
fn cells(text: &str, header: &[&str]) -> Vec<Vec<String>> {
    let mut rows = text.lines().map(|line| {
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
    });
    assert_eq!(rows.next(), Some(header.iter().map(|name| (*name).to_owned()).collect()), "{text}");
    rows.collect()
}

/// Whether this is a time as tables show it: RFC 3339 to the second.
fn time(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00T00:00:00Z"
}

/// The folder that cargo builds this workspace into.
fn target() -> PathBuf {
    harness::binary("keyway").parent().and_then(Path::parent).expect("target/debug").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_say_what_happened() {
    let setup = Setup::new("");
    let cli = Cli::new(&setup);
    let pin = ["pin", "acme", "fixtures/echo", "1.0.0", "--reason", "x"];
    assert_eq!(cli.exit(&["pin", "acme"]), WRONG, "a command line that is wrong");
    cli.fails(&pin, REFUSED, "unknown-connector: ");
    cli.fails(&[&["--token", "kw_nobody"], &pin[..]].concat(), UNAUTHORISED, "token-invalid: ");
    cli.fails(&["--host", "http://127.0.0.1:1", "releases"], UNREACHABLE, "no answer from ");
    cli.fails(&["publish", "no-such-file.wasm"], 1, "component no-such-file.wasm: ");
    let said = cli.run(&pin);
    assert!(said.err.contains("`keyway explain unknown-connector` says what to do"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_line_that_is_wrong_is_said_to_programs_as_all_else_is() {
    let setup = Setup::new("");
    let cli = Cli::new(&setup);
    for (args, named) in [
        (&["pins", "--json", "--tenent", "acme"][..], "--tenent"),
        (&["--json", "pin", "acme", "fixtures/echo", "1.0.0"], "--reason"),
        (&["frobnicate", "--json"], "frobnicate"),
        (&["audit", "--limit", "many", "--json"], "many"),
        (&["logs", "--json"], "command"),
        (&["--json"], "command"),
    ] {
        let said = cli.run(args);
        assert_eq!((said.code, said.out.as_str()), (WRONG, ""), "{args:?}: {said:?}");
        assert_eq!(said.err.matches('\n').count(), 1, "{args:?}: {said:?}");
        let problem: Value = serde_json::from_str(&said.err).expect("JSON");
        assert_eq!(problem["code"], "usage", "{args:?}");
        let detail = problem["detail"].as_str().expect("text");
        assert!(detail.contains(named), "{args:?}: {detail}");
    }
    let said = cli.run(&["pins", "--tenent", "acme"]);
    assert!(said.code == WRONG && said.err.contains("Usage: keyway"), "for people: {said:?}");
    // What was asked for is no error, and what stands behind `--` is no option.
    for args in [&["--json", "--help"][..], &["pins", "--help", "--json"], &["--version", "--json"]]
    {
        let said = cli.run(args);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{args:?}: {said:?}");
    }
    let said = cli.run(&["show", "a", "b", "--", "--json"]);
    assert!(said.code == WRONG && said.err.starts_with("error: "), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_without_a_host_is_said_to_programs_too() {
    let setup = Setup::new("");
    let cli = Cli::new(&setup);
    cli.fails(&["explain", "no-such-code"], REFUSED, "no code is called `no-such-code`");
    let data = setup.data().to_string_lossy().into_owned();
    let taken = setup.host.address.to_string();
    let said = cli.run(&["serve", "--data", &data, "--listen", &taken, "--json"]);
    assert_eq!((said.code, said.out.as_str()), (7, ""), "{said:?}");
    // What stands before it is the log.
    let problem: Value =
        serde_json::from_str(said.err.lines().last().expect("a line")).expect("JSON");
    assert_eq!(problem["code"], "not-started");
    let detail = problem["detail"].as_str().expect("text");
    assert!(detail.starts_with(&format!("address {taken}: ")), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_are_explained_without_a_host() {
    let setup = Setup::new("");
    let cli = Cli::new(&setup);
    let nobody = ["--host", "http://127.0.0.1:1"];
    let page = cli.ok(&[&nobody[..], &["explain", "guest-trap"]].concat());
    assert!(page.contains("guest-trap"), "{page}");
    let codes = cells(&cli.ok(&["explain"]), &["CODE", "STATUS", "WHOSE"]);
    assert!(codes.contains(&["guest-trap", "502", "connector"].map(str::to_owned).to_vec()));
    assert_eq!(cli.exit(&["explain", "no-such-code"]), REFUSED);
}
