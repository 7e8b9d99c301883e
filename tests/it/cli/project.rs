//! `keyway new`: what it writes builds, passes its tests and is published as it is.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Cli, target};
use crate::setup::{Setup, files_below};

/// `keyway new …` in a folder; whether it succeeded, and what it said.
fn new(folder: &Path, args: &[&str]) -> (bool, String) {
    let output = Command::new(harness::binary("keyway"))
        .arg("new")
        .args(args)
        .current_dir(folder)
        .output()
        .expect("keyway runs");
    assert!(output.stdout.is_empty(), "it makes files, not data");
    (output.status.success(), String::from_utf8(output.stderr).expect("text"))
}

/// Each file of a project by its path in it.
fn written(project: &Path) -> Vec<(PathBuf, String)> {
    let mut files: Vec<_> = files_below(project)
        .into_iter()
        .map(|file| {
            let text = fs::read_to_string(&file).expect("text");
            (file.strip_prefix(project).expect("below it").to_owned(), text)
        })
        .collect();
    files.sort();
    files
}

#[test]
fn a_name_alone_is_enough() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (made, said) = new(folder.path(), &["weather"]);
    assert!(made, "{said}");
    assert!(said.starts_with("example/weather is in weather\n"), "{said}");
    let plain = written(&folder.path().join("weather"));
    let source = plain.iter().find(|(path, _)| path == Path::new("src/lib.rs")).expect("there");
    assert!(source.1.contains(r#"Descriptor::new("example/weather""#), "{}", source.1);
    let left = plain.iter().find(|(_, text)| text.contains("{{"));
    assert!(left.is_none(), "a blank was not filled in: {left:?}");

    // With a publisher and a place it is the same, but for the names.
    let (made, said) = new(folder.path(), &["acme/weather", "--path", "deep/below"]);
    assert!(made, "{said}");
    let placed = written(&folder.path().join("deep/below"));
    let renamed: Vec<_> = plain
        .into_iter()
        .map(|(path, text)| (path, text.replace("example/weather", "acme/weather")))
        .collect();
    assert_eq!(placed, renamed);

    let (made, said) = new(folder.path(), &["weather"]);
    assert!(!made && said.contains("weather exists already"), "{said}");
    let (made, said) = new(folder.path(), &["../weather"]);
    assert!(!made, "{said}");
    assert!(!folder.path().with_file_name("weather").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_connector_builds_and_passes_its_tests_as_it_is() {
    // Always the same place, or each run would compile every dependency again; one run at a time.
    let place = target().join("new");
    fs::create_dir_all(&place).expect("writable");
    let lock = File::create(place.join("lock")).expect("writable");
    lock.lock().expect("a lock");
    let project = place.join("weather");
    if project.exists() {
        fs::remove_dir_all(&project).expect("removable");
    }
    let (made, said) = new(&place, &["acme/weather", "--path", "weather"]);
    assert!(made, "{said}");
    let toolchain = fs::read_to_string(project.join("rust-toolchain.toml")).expect("it is named");
    assert!(toolchain.contains("\"wasm32-wasip2\""), "rustup installs it: {toolchain}");
    for args in [&["test", "--quiet"][..], &["build", "--release", "--target", "wasm32-wasip2"]] {
        let output = Command::new(env!("CARGO"))
            .args(args)
            .current_dir(&project)
            .env("CARGO_TARGET_DIR", place.join("target"))
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let component = place.join("target/wasm32-wasip2/release/connector.wasm");
    let setup = Setup::new("");
    let cli = Cli::new(&setup);
    let published = cli.ok(&["publish", &component.to_string_lossy()]);
    assert!(published.starts_with("acme/weather@0.1.0 sha256:"), "{published}");
}
