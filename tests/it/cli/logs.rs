//! `keyway logs exchanges`: what calls asked of a provider, as a table, as JSON, as an archive, and as it comes.

use std::io::{BufRead as _, BufReader, Lines};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Cli, REFUSED, UNAUTHORISED, UNREACHABLE, cells};
use crate::setup::{Place, Setup, path, stand_in};
use crate::upstream::Plain;

const FETCH: &str = "fixtures/fetch";
const LOGS: [&str; 2] = ["logs", "exchanges"];
const HEADER: [&str; 8] = ["TIME", "TENANT", "METHOD", "URL", "STATUS", "MS", "RELEASE", "CALL"];

/// How long a test waits for what must happen before it fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A provider, and two tenants of a host that reaches it.
async fn with_tenants(config: &str) -> (Plain, Setup) {
    let upstream = Plain::start().await;
    let config = format!("{config}\n{}", stand_in("api.example.com", upstream.address));
    let mut setup = Place::new(&config).up();
    setup.publish("fetch").await.ok();
    for tenant in ["acme", "globex"] {
        setup.pin(tenant, FETCH, "1.0.0").await;
        let slot = path(tenant, FETCH, "/connections/token");
        setup.http.put(&slot, json!({"token": "canary-of-the-log"})).await.ok();
    }
    (upstream, setup)
}

/// A call that asks for a path; its id.
async fn get(setup: &mut Setup, tenant: &str, path: &str) -> String {
    let reply = setup.act(tenant, FETCH, "get", json!({ "path": path })).await;
    reply.header("keyway-call").to_owned()
}

/// The command with more of it.
fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&LOGS[..], more].concat()
}

/// Rows once there are so many: an exchange is written a moment after its call is answered.
async fn rows(cli: &Cli<'_>, more: &[&str], count: usize) -> Vec<Vec<String>> {
    let begun = Instant::now();
    loop {
        let rows = cells(&cli.ok(&with(more)), &HEADER);
        if rows.len() == count {
            return rows;
        }
        assert!(begun.elapsed() < PATIENCE, "{count} wanted for {more:?}: {rows:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The URLs of rows.
fn urls(rows: &[Vec<String>]) -> Vec<&str> {
    rows.iter().map(|row| row[3].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn exchanges_are_a_table_with_the_newest_last() {
    let (_upstream, mut setup) = with_tenants("").await;
    let call = get(&mut setup, "acme", "/one").await;
    get(&mut setup, "globex", "/two?token=canary-of-the-log&n=1").await;
    get(&mut setup, "acme", "https://elsewhere.example.net/three").await;
    let cli = Cli::new(&setup);
    let all = rows(&cli, &[], 3).await;
    let shape: String =
        all[0][0].chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z");
    assert_eq!(all[0][1..5], ["acme", "GET", "https://api.example.com/one", "200"]);
    assert!(all[0][5].parse::<u64>().is_ok(), "milliseconds: {all:?}");
    assert_eq!(all[0][6], "fixtures/fetch@1.0.0");
    assert_eq!(all[0][7], call);
    assert_eq!(all[2][4], "undeclared-host");
    assert!(all[0][0] <= all[1][0] && all[1][0] <= all[2][0], "{all:?}");

    assert_eq!(urls(&rows(&cli, &["--tenant", "acme"], 2).await)[0], "https://api.example.com/one");
    assert_eq!(rows(&cli, &["--call", &call], 1).await[0], all[0]);
    assert_eq!(rows(&cli, &["--failed"], 1).await[0], all[2]);
    assert_eq!(rows(&cli, &["--status", "2xx"], 2).await, all[..2]);
    assert_eq!(rows(&cli, &["--to", "api.example.com"], 2).await, all[..2]);
    assert_eq!(rows(&cli, &["--limit", "1"], 1).await, all[2..]);
    for (more, count) in [
        (&["--connector", FETCH][..], 3),
        (&["--connector", "fixtures/echo"], 0),
        (&["--release", "1.0.0"], 3),
        (&["--release", "2.0.0"], 0),
        (&["--purpose", "call"], 3),
        (&["--purpose", "proxy"], 0),
        (&["--since", "10m"], 3),
        (&["--since", "2100-01-01T00:00:00Z"], 0),
        (&["--until", "2001-01-01T00:00:00Z"], 0),
        (&["--status", "404"], 0),
        (&["--env", "prod"], 0),
    ] {
        rows(&cli, more, count).await;
    }
    // What a following command takes is whole, however narrow the terminal.
    let narrow = Cli::new(&setup).with("KEYWAY_COLUMNS", "80").ok(&LOGS);
    assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
    for whole in [all[0][7].as_str(), all[1][7].as_str(), "acme", "globex"] {
        assert!(narrow.contains(whole), "{whole}: {narrow}");
    }
    let json = cli.json(&with(&["--tenant", "globex"]));
    let exchange = &json["exchanges"][0];
    let url = exchange["request"]["url"].as_str().expect("a URL");
    assert!(url.starts_with("https://api.example.com/two?") && url.ends_with("&n=1"), "{url}");
    assert!(!json.to_string().contains("canary"), "{json}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_host_refuses_is_said() {
    let setup = Setup::new("");
    let cli = Cli::new(&setup);
    cli.fails(&with(&["--status", "4"]), REFUSED, "invalid-request: ");
    cli.fails(&with(&["--since", "yesterday"]), REFUSED, "invalid-request: ");
    cli.fails(&with(&["--call", "7", "--follow"]), REFUSED, "invalid-name: ");
    cli.fails(&with(&["--env", "moon"]), REFUSED, "unknown-environment: ");
    cli.fails(&with(&["--token", "kw_x", "--follow"]), UNAUTHORISED, "token-invalid: ");
    cli.fails(&with(&["--host", "http://127.0.0.1:1", "--follow"]), UNREACHABLE, "no answer from ");
    for wrong in
        [&["--follow", "--har", "x"][..], &["--follow", "--until", "1m"], &["--limit", "x"]]
    {
        assert_eq!(cli.exit(&with(wrong)), 2, "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_has_all_of_it_however_many_pages_that_takes() {
    // Pages of one exchange each.
    let (_upstream, mut setup) = with_tenants("[exchanges]\npage-bytes-max = 1").await;
    for number in 0..5 {
        get(&mut setup, "acme", &format!("/{number}")).await;
    }
    let cli = Cli::new(&setup);
    rows(&cli, &[], 5).await;
    let entries = |har: &Value| -> Vec<String> {
        assert_eq!((&har["log"]["version"], &har["log"]["_keyway"]), (&json!("1.2"), &json!({})));
        let entries = har["log"]["entries"].as_array().expect("entries").iter();
        entries
            .map(|entry| entry["request"]["url"].as_str().expect("a URL")[24..].to_owned())
            .collect()
    };
    let said = cli.run(&with(&["--har", "all.har"]));
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{said:?}");
    assert_eq!(said.err, "5 exchanges in all.har\n");
    let file = cli.folder.path().join("all.har");
    let text = std::fs::read_to_string(&file).expect("written");
    assert_eq!(entries(&serde_json::from_str(&text).expect("JSON")), ["0", "1", "2", "3", "4"]);
    let mode = std::fs::metadata(&file).expect("written").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "for the owner's eyes");
    let printed = cli.ok(&with(&["--har", "-", "--limit", "2"]));
    assert_eq!(entries(&serde_json::from_str(&printed).expect("JSON")), ["3", "4"]);
    let none = cli.ok(&with(&["--har", "-", "--tenant", "nobody"]));
    assert!(entries(&serde_json::from_str(&none).expect("JSON")).is_empty());
    cli.fails(&with(&["--har", "no/such/folder.har"]), 1, "archive no/such/folder.har: ");
}

/// A command that goes on. Dropping it ends it.
pub(super) struct Going {
    child: Child,
    /// None once nobody reads any more.
    lines: Option<Lines<BufReader<ChildStdout>>>,
}

impl Going {
    pub(super) fn start(cli: &Cli<'_>, args: &[&str]) -> Self {
        let mut child = Command::new(harness::binary("keyway"))
            .args(args)
            .current_dir(cli.folder.path())
            .env("KEYWAY_HOST", format!("http://{}", cli.setup.host.address))
            .env("KEYWAY_TOKEN", &cli.setup.host.token)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("keyway starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines: Some(lines) }
    }

    /// The next line, which must come.
    pub(super) fn line(&mut self) -> String {
        self.lines.as_mut().and_then(Iterator::next).expect("a line").expect("readable")
    }

    /// Its exit code, once it has ended by itself.
    fn ended(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "it goes on");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        // Already ended is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn following_shows_what_was_and_goes_on_with_what_comes() {
    let (_upstream, mut setup) = with_tenants("").await;
    for number in 0..3 {
        get(&mut setup, "acme", &format!("/before/{number}")).await;
    }
    rows(&Cli::new(&setup), &[], 3).await;
    let mut http = setup.host.http();
    let cli = Cli::new(&setup);
    let mut text = Going::start(&cli, &with(&["--follow", "--tenant", "acme", "--limit", "2"]));
    let mut lines = Going::start(&cli, &with(&["--follow", "--tenant", "acme", "--json"]));
    assert_eq!(text.line().split_whitespace().collect::<Vec<_>>(), HEADER);
    for number in 1..3 {
        assert!(text.line().contains(&format!("/before/{number} ")), "the newest two");
    }
    let url = |line: String| -> String {
        let line: Value = serde_json::from_str(&line).expect("JSON");
        line["exchange"]["request"]["url"].as_str().expect("a URL")[23..].to_owned()
    };
    for number in 0..3 {
        assert_eq!(url(lines.line()), format!("/before/{number}"));
    }
    for number in 0..20 {
        let tenant = if number % 2 == 0 { "acme" } else { "globex" };
        let action = path(tenant, FETCH, "/actions/get");
        http.post(&action, json!({"path": format!("/after/{number}")})).await.ok();
    }
    for number in (0..20).step_by(2) {
        assert_eq!(url(lines.line()), format!("/after/{number}"));
        let row = text.line();
        let words: Vec<_> = row.split_whitespace().skip(1).collect();
        let asked = format!("https://api.example.com/after/{number}");
        assert_eq!(words[..4], ["acme", "GET", &asked, "200"]);
        assert_eq!(words[5], "fixtures/fetch@1.0.0");
    }
    // A reader that has what it wanted, such as `head`, ends the command.
    text.lines = None;
    let begun = Instant::now();
    while text.child.try_wait().expect("a child can be waited for").is_none() {
        assert!(begun.elapsed() < PATIENCE, "it goes on for nobody");
        http.post(&path("acme", FETCH, "/actions/get"), json!({"path": "/more"})).await.ok();
    }
    assert_eq!(text.ended(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn following_ends_with_the_host_and_the_log_outlives_a_crash() {
    let (_upstream, mut setup) = with_tenants("").await;
    get(&mut setup, "acme", "/before").await;
    let before = rows(&Cli::new(&setup), &[], 1).await;
    let mut going = Going::start(&Cli::new(&setup), &with(&["--follow", "--json"]));
    let seen: Value = serde_json::from_str(&going.line()).expect("JSON");
    let mut setup = setup.crash();
    assert_eq!(going.ended(), Some(UNREACHABLE));
    get(&mut setup, "acme", "/after").await;
    let cli = Cli::new(&setup);
    let after = rows(&cli, &[], 2).await;
    assert_eq!(after[..1], before);
    let json = cli.json(&LOGS);
    let ids: Vec<_> =
        [0, 1].map(|at| json["exchanges"][at]["id"].as_u64().expect("an id")).to_vec();
    assert_eq!(seen["exchange"]["id"], ids[0]);
    assert!(ids[0] < ids[1], "{ids:?}");
}
