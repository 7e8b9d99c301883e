//! Sealing keys of a real host: where they come from, what is refused, and that no core file has them.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::setup::{Place, path, stand_in};
use crate::upstream::Plain;

const VARIABLE: &str = "KEYWAY_SEALING_KEYS";

/// 32 bytes of 7, and of 8.
const SEVENS: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
const EIGHTS: &str = "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=";

/// `keyway serve` could not start or go on.
const NOT_STARTED: Option<i32> = Some(7);

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_the_environment_are_exchanged_by_a_start() {
    let upstream = Plain::start().await;
    let place = Place::new(&stand_in("api.example.com", upstream.address));
    let first = format!("current one {SEVENS}");
    let mut setup = place.up_with(VARIABLE, &first);
    assert!(!setup.data().join("keys/sealing.keys").exists(), "no others are made");
    setup.publish("fetch").await.ok();
    setup.pin("acme", "fixtures/fetch", "1.0.0").await;
    let slot = path("acme", "fixtures/fetch", "/connections/token");
    setup.http.put(&slot, json!({"token": "sealed-with-the-first"})).await.ok();
    let refused = setup.http.post("/v1/keys/rotate", json!({"what": "sealing-key"})).await;
    assert_eq!(refused.code(), "keys-fixed");

    let both = format!("current two {EIGHTS},older one {SEVENS}");
    let mut setup = setup.kill().up_with(VARIABLE, &both);
    let shown = setup.http.get("/v1/keys").await.ok().json();
    let wraps: Vec<_> = shown["sealing_keys"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|key| {
            (key["id"].as_str().expect("a name"), key["current"] == true, key["data_keys"].as_u64())
        })
        .collect();
    assert_eq!(wraps, [("one", false, Some(0)), ("two", true, Some(1))]);
    let mut setup = setup.kill().up_with(VARIABLE, &format!("current two {EIGHTS}"));
    setup.act("acme", "fixtures/fetch", "get", json!({"path": "/x"})).await.ok();
    assert_eq!(upstream.seen()[0].headers["authorization"], "Bearer sealed-with-the-first");
    assert!(!setup.log().contains(&EIGHTS[..12]), "a key is in the log");

    let place = setup.kill();
    let ended = place.start().variable(VARIABLE, &first).run().err().expect("no start");
    assert_eq!(ended.code, NOT_STARTED);
    let why = "sealing key two is missing, and 1 data keys are wrapped with it";
    assert!(ended.said.contains(why), "{}", ended.said);
    // And without any, the host makes none of its own.
    let ended = place.refuse();
    assert!(ended.said.contains("sealing.keys is missing"), "{}", ended.said);
}

#[test]
fn what_cannot_be_the_keys_of_this_host_is_said() {
    let place = Place::new("");
    let refused = |value: &str| {
        let ended = place.start().variable(VARIABLE, value).run().err().expect("no start");
        assert_eq!(ended.code, NOT_STARTED);
        ended.said
    };
    let said = refused(&format!("current one {}", &SEVENS[..40]));
    assert!(said.contains("KEYWAY_SEALING_KEYS: the key in entry 1"), "{said}");
    assert!(!said.contains(&SEVENS[..12]), "the key is shown: {said}");

    drop(place.start().run().unwrap_or_else(|ended| panic!("{ended:?}")));
    let said = refused(&format!("current one {SEVENS}"));
    let file = place.data.join("keys/sealing.keys");
    let why = format!("sealing keys are both in {} and in {VARIABLE}: keep one", file.display());
    assert!(said.contains(&why), "{said}");

    let former = place.data.join("keys/seal.key");
    std::fs::write(&former, [7; 32]).expect("writable");
    let said = place.refuse().said;
    assert!(said.contains(&format!("{} is of a version", former.display())), "{said}");
}

/// A host may raise its own limit again only if it forgot the hard one; a core that is piped to a program
/// is stopped by the other measure.
#[test]
fn a_host_that_is_aborted_leaves_no_core() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut host = Command::new("sh")
        // As large as may be: what stops the core has to be the host.
        .args(["-c", "ulimit -c \"$(ulimit -H -c)\" && exec \"$@\"", "sh"])
        .arg(harness::binary("keyway"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data", "data"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh starts");
    let lines = BufReader::new(host.stdout.take().expect("piped")).lines();
    let ready = lines.map_while(Result::ok).any(|line| line.starts_with("listening on "));
    assert!(ready, "the host does not start");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", host.id())).expect("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size"));
    let words: Vec<_> = core.expect("a limit on cores").split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "soft and hard: {limits}");

    kill_process(Pid::from_child(&host), Signal::ABORT).expect("ours");
    let status = host.wait().expect("a child can be waited for");
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
    assert!(!status.core_dumped(), "{status:?}");
    assert_eq!(names(folder.path()), ["data"], "a core would be beside the data");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("readable");
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("readable").file_name();
    entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect()
}
