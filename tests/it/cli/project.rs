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
    let ours = |path: &Path| path.starts_with(".keyway");
    let left = plain.iter().find(|(path, text)| !ours(path) && text.contains("{{"));
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

/// A connector from `keyway new`, always in the same place, or each run would compile every dependency again.
fn project(place: &Path) -> PathBuf {
    fs::create_dir_all(place).expect("writable");
    let project = place.join("weather");
    if project.exists() {
        fs::remove_dir_all(&project).expect("removable");
    }
    let (made, said) = new(place, &["acme/weather", "--path", "weather"]);
    assert!(made, "{said}");
    assert!(said.contains("the same sources make the same component on every machine"), "{said}");
    assert!(said.contains("build it in its folder"), "{said}");
    project
}

/// Runs cargo in a project, with this home if one is given.
fn cargo(project: &Path, home: Option<&Path>, args: &[&str]) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(args).current_dir(project).env_remove("RUSTC_WRAPPER");
    cargo.env("CARGO_TARGET_DIR", project.with_file_name("target"));
    if let Some(home) = home {
        cargo.env("CARGO_HOME", home).env("CARGO_NET_OFFLINE", "true");
    }
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The component that a project is built to.
fn built(project: &Path, home: Option<&Path>) -> PathBuf {
    cargo(project, home, &["build", "--locked", "--release", "--target", "wasm32-wasip2"]);
    project.with_file_name("target").join("wasm32-wasip2/release/connector.wasm")
}

/// Builds a project from the folder above it; whether that went well, and what cargo said.
fn built_from_above(project: &Path, target: &Path, wrapper: Option<&Path>) -> (bool, String) {
    let above = project.parent().expect("a folder above");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--release", "--target", "wasm32-wasip2", "--manifest-path"]);
    cargo.arg("weather/Cargo.toml").current_dir(above).env("CARGO_TARGET_DIR", target);
    cargo.env_remove("RUSTC_WRAPPER").envs(wrapper.map(|wrapper| ("RUSTC_WRAPPER", wrapper)));
    let output = cargo.output().expect("cargo runs");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Catches a component with this machine's folders in it that nobody was warned of.
fn is_refused_without_its_wrapper(project: &Path) {
    let target = project.with_file_name("target-from-above");
    if target.exists() {
        fs::remove_dir_all(&target).expect("removable");
    }
    let wrapper = project.join(".cargo/rustc");
    let (made, said) = built_from_above(project, &target, None);
    assert!(!made && said.contains("without .cargo/rustc"), "{said}");
    assert!(said.contains(&format!("RUSTC_WRAPPER={}", wrapper.display())), "{said}");
    let (made, said) = built_from_above(project, &target, Some(Path::new("/usr/bin/env")));
    assert!(!made && said.contains("without .cargo/rustc"), "{said}");
    // What was compiled on the way would stay as it is.
    let (made, said) = built_from_above(project, &target, Some(&wrapper));
    assert!(!made && said.contains("cargo clean"), "{said}");
}

/// Cargo's home on this machine.
fn cargo_home() -> PathBuf {
    std::env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".cargo"),
        PathBuf::from,
    )
}

/// Another home for cargo, with what was fetched into the first and nothing that was unpacked there.
fn another_home(place: &Path) -> PathBuf {
    let home = place.join("home-of-another-person");
    fs::create_dir_all(home.join("registry")).expect("writable");
    for shared in ["config.toml", "registry/cache", "registry/index"] {
        let (from, to) = (cargo_home().join(shared), home.join(shared));
        if from.exists() && !to.exists() {
            std::os::unix::fs::symlink(from, to).expect("linked");
        }
    }
    home
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_connector_builds_and_passes_its_tests_wherever_it_is() {
    let place = target().join("new");
    fs::create_dir_all(&place).expect("writable");
    // One run at a time.
    let lock = File::create(place.join("lock")).expect("writable");
    lock.lock().expect("a lock");
    let project = project(&place);
    let toolchain = fs::read_to_string(project.join("rust-toolchain.toml")).expect("it is named");
    assert!(toolchain.contains("\"wasm32-wasip2\""), "rustup installs it: {toolchain}");
    cargo(&project, None, &["test", "--locked", "--quiet"]);
    let component = built(&project, None);
    is_refused_without_its_wrapper(&project);
    // With the wrapper it is the same from above; the changed time has the project itself compiled again.
    let bytes = fs::read(&component).expect("built");
    let source = File::options().append(true).open(project.join("src/lib.rs")).expect("there");
    #[expect(clippy::disallowed_methods, reason = "the time of a file")]
    source.set_modified(std::time::SystemTime::now()).expect("its time can be set");
    let target = project.with_file_name("target");
    let (made, said) = built_from_above(&project, &target, Some(&project.join(".cargo/rustc")));
    assert!(made && said.contains("Compiling connector-weather"), "{said}");
    assert!(fs::read(&component).expect("built") == bytes, "other bytes from above");
    let setup = Setup::new("");
    let cli = Cli::new(&setup);
    let published = cli.ok(&["publish", &component.to_string_lossy()]);
    assert!(published.starts_with("acme/weather@0.1.0 sha256:"), "{published}");

    // The same sources in another place, with another home for cargo, are the same release.
    let elsewhere = place.join("another-place/and-deeper");
    let home = another_home(&place);
    let again = built(&self::project(&elsewhere), Some(&home));
    let unpacked = fs::read_dir(home.join("registry/src")).expect("crates were unpacked there");
    assert!(unpacked.count() > 0, "its crates came from somewhere else");
    let bytes = fs::read(&again).expect("built");
    assert!(bytes == fs::read(&component).expect("built"), "{} bytes, and other ones", bytes.len());
    let published = cli.ok(&["publish", &again.to_string_lossy()]);
    assert!(published.ends_with(" (published before)\n"), "{published}");
    for folder in [cargo_home(), home, place] {
        let name = folder.to_string_lossy().into_owned().into_bytes();
        let named = bytes.windows(name.len()).any(|window| window == name);
        assert!(!named, "{} is in it", folder.display());
    }
}
