//! Starting: what the first start makes and prints, and on what a host refuses to start.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use harness::Http;
use serde_json::json;

use crate::setup::{Place, Setup, path, stand_in};
use crate::store::copy;
use crate::upstream::Plain;

/// `keyway serve` could not start or go on.
const NOT_STARTED: Option<i32> = Some(7);

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it exists").permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_makes_a_token_and_later_ones_keep_it() {
    let place = Place::new("");
    let file = place.data.join("admin.token");
    let setup = place.up();
    let ready = format!("listening on http://{}", setup.host.address);
    let made = format!("admin token in {}", file.display());
    assert_eq!(setup.host.printed, [made, ready], "and nothing else, least of all the token");
    let token = std::fs::read_to_string(&file).expect("the file that was named");
    assert!(!setup.log().contains(token.trim()), "the token is in the log");

    let mut setup = setup.crash();
    let ready = format!("listening on http://{}", setup.host.address);
    assert_eq!(setup.host.printed, [ready], "there is a token: none is made");
    assert_eq!(std::fs::read_to_string(&file).expect("still there"), token);
    let tokens = setup.http.get("/v1/tokens").await.ok().json();
    assert_eq!(tokens["tokens"].as_array().map(Vec::len), Some(1), "{tokens}");

    // Its file is for whoever fetches it and then deletes it: the token stays good, and the only one.
    std::fs::remove_file(&file).expect("removable");
    let setup = setup.crash();
    assert_eq!(setup.host.printed.len(), 1, "{:?}", setup.host.printed);
    assert!(!file.exists(), "nobody asked for another token");
    let mut admin = Http::new(setup.host.address, token.trim());
    let tokens = admin.get("/v1/tokens").await.ok().json();
    assert_eq!(tokens["tokens"].as_array().map(Vec::len), Some(1), "{tokens}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_readable_by_the_hosts_user_only() {
    let setup = Setup::new("");
    let data = setup.data();
    for folder in ["", "store", "keys", "compiled"] {
        assert_eq!(mode(&data.join(folder)), 0o700, "data/{folder}");
    }
    for file in ["admin.token", "keys/sealing.keys", "keys/cache.key"] {
        assert_eq!(mode(&data.join(file)), 0o600, "data/{file}");
    }
    let place = setup.kill();
    let key = place.data.join("keys/sealing.keys");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).expect("ours");
    let ended = place.refuse();
    assert_eq!(ended.code, NOT_STARTED);
    assert!(ended.said.contains("sealing.keys has mode 644; it must be 600"), "{}", ended.said);
}

#[test]
fn a_host_that_cannot_start_says_why() {
    let ended = Place::new("[server]\nno-such-key = 1\n").refuse();
    assert_eq!(ended.code, NOT_STARTED);
    assert!(ended.said.contains("no-such-key"), "{}", ended.said);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_host_on_the_same_data_is_refused_and_the_first_goes_on() {
    let mut setup = Setup::new("");
    setup.publish("echo").await.ok();
    setup.pin("acme", "fixtures/echo", "1.0.0").await;
    let ended = setup.place().refuse();
    assert_eq!(ended.code, NOT_STARTED);
    let why = format!("data/store is in use by another process (process {})", setup.host.id());
    assert!(ended.said.contains(&why), "{}", ended.said);
    let reply = setup.act("acme", "fixtures/echo", "version", json!(null)).await.ok();
    assert_eq!(reply.json(), "1.0.0");
    assert_eq!(setup.pin("other", "fixtures/echo", "1.0.0").await["generation"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_sealing_key_is_said_and_not_replaced() {
    let upstream = Plain::start().await;
    let mut setup = Setup::new(&stand_in("api.example.com", upstream.address));
    setup.publish("fetch").await.ok();
    setup.pin("acme", "fixtures/fetch", "1.0.0").await;
    let place = setup.crash().kill();
    let file = place.data.join("keys/sealing.keys");
    std::fs::remove_file(&file).expect("there is one from the first start");
    // Nothing was sealed yet, so nothing is lost: a new key will do.
    let mut setup = place.up();
    let slot = path("acme", "fixtures/fetch", "/connections/token");
    setup.http.put(&slot, json!({"token": "sealed-with-the-key"})).await.ok();

    let place = setup.kill();
    let key = std::fs::read(&file).expect("the key");
    std::fs::remove_file(&file).expect("removable");
    let ended = place.refuse();
    assert_eq!(ended.code, NOT_STARTED);
    let why = "sealing.keys is missing, and what is sealed cannot be opened without it: \
               1 data keys, 1 credentials";
    assert!(ended.said.contains(why), "{}", ended.said);
    assert!(ended.said.contains("start once with `--begin-anew`"), "{}", ended.said);
    assert!(!file.exists(), "a new key would hide that the old one is lost");

    // As a volume that is not mounted looks like: its place stays as it is.
    let (folder, away) = (place.data.join("keys"), place.data.with_extension("keys-away"));
    std::fs::rename(&folder, &away).expect("movable");
    std::fs::create_dir(&folder).expect("writable");
    assert!(place.refuse().said.contains(why));
    assert_eq!(std::fs::read_dir(&folder).expect("readable").count(), 0, "nothing was made there");
    std::fs::remove_dir(&folder).expect("still empty");
    std::fs::rename(&away, &folder).expect("movable");

    // Another one is none, whatever it is called.
    let text = String::from_utf8(key.clone()).expect("text");
    let line = text.lines().find(|line| line.starts_with("current ")).expect("a current key");
    let name = line.split(' ').nth(1).expect("its name");
    let other = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
    for (called, why) in [
        ("another", format!("sealing key {name} is missing, and 1 data keys are wrapped with it")),
        (name, format!("sealing key {name} is not the one it was: its check value differs")),
    ] {
        write_key(&file, format!("current {called} {other}\n").as_bytes());
        let ended = place.refuse();
        assert_eq!(ended.code, NOT_STARTED);
        assert!(ended.said.contains(&why), "{}", ended.said);
    }

    write_key(&file, &key);
    let mut setup = place.up();
    setup.act("acme", "fixtures/fetch", "get", json!({"path": "/x"})).await.ok();
    assert_eq!(upstream.seen()[0].headers["authorization"], "Bearer sealed-with-the-key");

    // As it is said there: on purpose, and with an empty store.
    let place = setup.kill();
    std::fs::remove_file(&file).expect("removable");
    let store = place.data.join("store");
    std::fs::rename(&store, store.with_extension("away")).expect("movable");
    let host = place.start().arguments(&["--begin-anew"]).run();
    let mut setup = place.started(host);
    let releases = setup.http.get("/v1/releases").await.ok().json();
    assert_eq!(releases["releases"], json!([]));
}

/// A copy that is put back has the modes that its copyist gave it.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_with_other_modes_starts() {
    let mut setup = Setup::new("");
    setup.publish("echo").await.ok();
    setup.pin("acme", "fixtures/echo", "1.0.0").await;
    let place = setup.kill();
    for open in [&IDENTITIES[..], &["keys/cache.key"]].concat() {
        let file = place.data.join(open);
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).expect("ours");
    }
    let mut setup = place.up();
    let reply = setup.act("acme", "fixtures/echo", "version", json!(null)).await.ok();
    assert_eq!(reply.json(), "1.0.0");
    assert_eq!(mode(&setup.data().join("keys/cache.key")), 0o600, "made anew");
}

fn write_key(file: &Path, bytes: &[u8]) {
    std::fs::write(file, bytes).expect("writable");
    std::fs::set_permissions(file, PermissionsExt::from_mode(0o600)).expect("ours");
}

/// Every file that names the store.
const IDENTITIES: [&str; 3] = ["identity", "keys/identity", "store/blobs/identity"];

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_store_is_refused_and_an_empty_one_begun_only_on_purpose() {
    let mut setup = Setup::new("");
    setup.publish("echo").await.ok();
    setup.pin("acme", "fixtures/echo", "1.0.0").await;
    let place = setup.kill();
    let (store, away) = (place.data.join("store"), place.data.with_extension("away"));
    let file = place.data.join("admin.token");
    let token = read(&file);
    std::fs::rename(&store, &away).expect("movable");
    let refused = |place: &Place| {
        let ended = place.refuse();
        assert_eq!(ended.code, NOT_STARTED);
        assert!(ended.said.contains("a host has been here"), "{}", ended.said);
        assert!(ended.said.contains("start once with `--begin-anew`"), "{}", ended.said);
    };
    refused(&place);
    assert!(!store.exists(), "nothing was made in its place");
    // As a volume that is not mounted looks like.
    std::fs::create_dir(&store).expect("writable");
    refused(&place);
    std::fs::remove_dir(&store).expect("still empty");
    assert_eq!(read(&file), token);

    // Whatever is left of the rest.
    for trace in ["identity", "admin.token", "keys/identity", "keys/cache.key"] {
        std::fs::remove_file(place.data.join(trace)).expect("there was one");
        refused(&place);
    }
    std::fs::write(&file, &token).expect("writable");

    // Put back, it is what it was.
    std::fs::rename(&away, &store).expect("movable");
    let mut setup = place.up();
    let reply = setup.act("acme", "fixtures/echo", "version", json!(null)).await.ok();
    assert_eq!(reply.json(), "1.0.0");

    let place = setup.kill();
    std::fs::remove_dir_all(&store).expect("removable");
    let host = place.start().arguments(&["--begin-anew"]).run();
    let mut setup = place.started(host);
    assert_eq!(read(&setup.data().join("admin.token.1")), token, "the older token is set aside");
    assert_ne!(read(&file), token);
    let releases = setup.http.get("/v1/releases").await.ok().json();
    assert_eq!(releases["releases"], json!([]));

    // For one start: a unit file that keeps the option would begin anew by itself the next time.
    let place = setup.kill();
    let again = place.start().arguments(&["--begin-anew"]).run().err().expect("refused");
    assert!(again.said.contains("nothing to begin anew"), "{}", again.said);
    place.up();
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_another_data_directory_are_refused() {
    let (mine, other) = (Setup::new("").kill(), Setup::new("").kill());
    for part in ["keys", "store/blobs"] {
        let (here, there) = (mine.data.join(part), other.data.join(part));
        let away = mine.data.with_extension("away");
        std::fs::rename(&here, &away).expect("movable");
        copy(&there, &here);
        let ended = mine.refuse();
        assert_eq!(ended.code, NOT_STARTED);
        assert!(ended.said.contains("different data directories"), "{part}: {}", ended.said);
        std::fs::remove_dir_all(&here).expect("removable");
        std::fs::rename(&away, &here).expect("movable");
    }
    mine.up();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_components_that_is_gone_as_a_whole_is_refused() {
    let mut setup = Setup::new("");
    setup.publish("echo").await.ok();
    let place = setup.kill();
    let (blobs, away) = (place.data.join("store/blobs"), place.data.with_extension("away"));
    std::fs::rename(&blobs, &away).expect("movable");
    let ended = place.refuse();
    assert_eq!(ended.code, NOT_STARTED);
    assert!(ended.said.contains("none of the components of 1 releases"), "{}", ended.said);
    // The store has made an empty one, which is refused as well.
    assert_eq!(place.refuse().code, NOT_STARTED);
    std::fs::remove_dir_all(&blobs).expect("an empty folder");
    std::fs::rename(&away, &blobs).expect("movable");
    let mut setup = place.up();
    setup.pin("acme", "fixtures/echo", "1.0.0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_of_an_earlier_version_is_taken_and_named() {
    let mut setup = Setup::new("");
    setup.publish("echo").await.ok();
    let place = setup.kill();
    let files = IDENTITIES.map(|file| place.data.join(file));
    let before = files.each_ref().map(|file| read(file));
    files.iter().for_each(|file| std::fs::remove_file(file).expect("there was one"));
    let place = place.up().kill();
    assert_eq!(files.each_ref().map(|file| read(file)), before, "{}", place.data.display());
}

#[test]
fn a_port_that_is_taken_is_noticed_before_anything_is_made() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let place = Place::new("");
    let address = taken.local_addr().expect("bound");
    let ended = place.start().listen(address).run().err().expect("it is taken");
    assert_eq!(ended.code, NOT_STARTED);
    assert!(ended.said.contains(&format!("address {address}")), "{}", ended.said);
    assert!(!place.data.exists(), "no folder, no key, no token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_key_for_compiled_code_is_made_anew() {
    let mut setup = Setup::new("");
    setup.publish("echo").await.ok();
    setup.pin("acme", "fixtures/echo", "1.0.0").await;
    let mut place = setup.kill();
    let file = place.data.join("keys/cache.key");
    for damaged in [&b""[..], b"short", &[7; 33], &[7; 32]] {
        std::fs::write(&file, damaged).expect("writable");
        let mut setup = place.up();
        let reply = setup.act("acme", "fixtures/echo", "version", json!(null)).await.ok();
        assert_eq!(reply.json(), "1.0.0");
        place = setup.kill();
        assert_eq!(std::fs::read(&file).expect("a key").len(), 32);
    }
}
