//! The command line against a running host: what it prints, and its exit codes.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::setup::{Setup, files_below};

struct Cli<'s> {
    setup: &'s Setup,
}

impl Cli<'_> {
    fn run(&self, args: &[&str]) -> Output {
        self.with_input(args, "")
    }

    fn with_input(&self, args: &[&str], input: &str) -> Output {
        let mut child = Command::new(harness::binary("keyway"))
            .args(args)
            .env("KEYWAY_HOST", format!("http://{}", self.setup.host.address))
            .env("KEYWAY_TOKEN", &self.setup.host.token)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("keyway starts");
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("read by the child");
        child.wait_with_output().expect("keyway ends")
    }

    /// Standard output of a command that must succeed.
    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    fn exit(&self, args: &[&str]) -> i32 {
        self.run(args).status.code().expect("not killed")
    }
}

fn guest(name: &str, folder: &Path) -> String {
    let file = folder.join(format!("{name}.wasm"));
    std::fs::write(&file, fixtures::Guest::named(name).load().expect("built")).expect("writable");
    file.to_string_lossy().into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_day() {
    let setup = Setup::new("");
    let cli = Cli { setup: &setup };
    let folder = tempfile::tempdir().expect("temporary folder");
    let published = cli.ok(&["publish", &guest("echo", folder.path())]);
    assert!(published.starts_with("fixtures/echo@1.0.0 sha256:"), "{published}");
    cli.ok(&["publish", &guest("echo-next", folder.path())]);
    assert_eq!(cli.ok(&["releases"]).lines().count(), 3);
    assert!(cli.ok(&["show", "fixtures/echo@1.0.0"]).contains("digest     sha256:"));
    let digest = &published.trim()["fixtures/echo@1.0.0 ".len()..];
    assert!(cli.ok(&["show", &digest[..7 + 12]]).starts_with("fixtures/echo@1.0.0\n"));
    assert!(cli.ok(&["diff", "fixtures/echo@1.0.0", "1.1.0"]).contains("+ /descriptor/version"));

    cli.ok(&["pin", "acme", "fixtures/echo", "1.0.0", "--reason", "first"]);
    cli.ok(&["pin", "acme", "fixtures/echo", "1.1.0", "--reason", "newer"]);
    let answer = cli.ok(&["invoke", "acme", "fixtures/echo", "version", "--input", "null"]);
    assert_eq!(answer, "\"1.1.0\"\n");
    cli.ok(&["revert", "acme", "fixtures/echo", "--reason", "prefer the old one"]);
    let history = cli.ok(&["history", "acme", "fixtures/echo"]);
    assert!(
        history.contains("3 (back to 1)") && history.contains("prefer the old one"),
        "{history}"
    );
    let pins: Value = serde_json::from_str(&cli.ok(&["pins", "--json"])).expect("JSON");
    assert_eq!(pins["rows"][0]["executed"]["release"]["version"], "1.1.0");
    assert_eq!(pins["rows"][0]["declared"]["release"]["version"], "1.0.0");
    assert!(cli.ok(&["audit"]).contains("revert"));
    assert!(cli.ok(&["explain", "guest-trap"]).contains("guest-trap"));
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_come_by_standard_input_and_never_come_back() {
    let setup = Setup::new("");
    let cli = Cli { setup: &setup };
    let folder = tempfile::tempdir().expect("temporary folder");
    cli.ok(&["publish", &guest("fetch", folder.path())]);
    cli.ok(&["pin", "acme", "fixtures/fetch", "1.0.0", "--reason", "first"]);
    let set = ["connection", "set", "acme", "fixtures/fetch"];
    let output = cli.with_input(&set, "canary-of-the-cli\n");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed = cli.ok(&["connection", "list", "acme", "fixtures/fetch", "--json"]);
    assert!(listed.contains("\"bearer\"") && !listed.contains("canary"), "{listed}");
    cli.ok(&["connection", "remove", "acme", "fixtures/fetch"]);
    let listed = cli.ok(&["connection", "list", "acme", "fixtures/fetch", "--json"]);
    assert!(!listed.contains("bearer"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_say_what_happened() {
    let setup = Setup::new("");
    let cli = Cli { setup: &setup };
    let pin = ["pin", "acme", "fixtures/echo", "1.0.0", "--reason", "x"];
    assert_eq!(cli.exit(&["pin", "acme"]), 2, "a command line that is wrong");
    assert_eq!(cli.exit(&pin), 3, "no such connector");
    assert_eq!(cli.exit(&[&["--token", "kw_nobody"], &pin[..]].concat()), 4, "a wrong token");
    assert_eq!(cli.exit(&["--host", "http://127.0.0.1:1", "releases"]), 5, "nobody there");
    assert_eq!(cli.exit(&["explain", "no-such-code"]), 3);
    let refused = cli.run(&pin);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("unknown-connector") && said.contains("keyway explain"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_is_told_from_one_that_was_refused() {
    let setup = Setup::new("");
    let cli = Cli { setup: &setup };
    let folder = tempfile::tempdir().expect("temporary folder");
    cli.ok(&["publish", &guest("hostile", folder.path())]);
    cli.ok(&["pin", "acme", "fixtures/hostile", "1.0.0", "--reason", "first"]);
    let trap = ["invoke", "acme", "fixtures/hostile", "trap", "--input", "null"];
    assert_eq!(cli.exit(&trap), 6);
}

#[test]
fn a_host_that_cannot_start_says_why() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let data = folder.path().join("data");
    let why = harness::Host::try_start(&data, "[server]\nno-such-key = 1\n", harness::ANY_PORT);
    let why = why.err().expect("an unknown key is an error");
    assert!(why.contains("exit status: 7") && why.contains("no-such-key"), "{why}");
}

#[test]
fn a_new_connector_builds_and_passes_its_tests_as_it_is() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let project = folder.path().join("weather");
    let keyway = harness::binary("keyway");
    let made = Command::new(keyway).args(["new", "acme/weather", "--path"]).arg(&project).status();
    assert!(made.expect("keyway runs").success());
    for args in [&["test", "--quiet"][..], &["build", "--release", "--target", "wasm32-wasip2"]] {
        let output = Command::new(env!("CARGO"))
            .args(args)
            .current_dir(&project)
            .env("CARGO_TARGET_DIR", project.join("target"))
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let built = files_below(&project.join("target/wasm32-wasip2/release"));
    let component =
        built.iter().find(|file| file.ends_with("connector.wasm")).expect("a component");
    let setup = Setup::new("");
    let cli = Cli { setup: &setup };
    let published = cli.ok(&["publish", &component.to_string_lossy()]);
    assert!(published.starts_with("acme/weather@0.1.0 sha256:"), "{published}");
}
