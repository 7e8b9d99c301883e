//! Scripts that a fresh machine needs, against a stand-in for rustup that only says what it was asked for.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{read, root};

/// What is installed on a machine, in a folder that goes when the test ends.
struct Machine(PathBuf);

impl Machine {
    fn new(name: &str, toolchains: &str, targets: &str, components: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("keyway-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("writable");
        for (file, text) in [
            ("toolchains", toolchains),
            ("targets", targets),
            ("components", components),
            ("asked", ""),
        ] {
            fs::write(folder.join(file), text).expect("writable");
        }
        Self(folder)
    }

    /// Runs a script; what it asked rustup to install, one request a line.
    fn run(&self, script: &str) -> String {
        let programs = root().join("tests/tidy/machine");
        let output = Command::new(root().join(script))
            .env("PATH", format!("{}:/usr/bin:/bin", programs.display()))
            .env("MACHINE", &self.0)
            .output()
            .expect("the script runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        read(&self.0.join("asked"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // What is left behind is in a folder for what is left behind.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// What rust-toolchain.toml names.
fn channel() -> String {
    let file: toml::Table = read(&root().join("rust-toolchain.toml")).parse().expect("TOML");
    file["toolchain"]["channel"].as_str().expect("a channel").to_owned()
}

#[test]
fn bootstrap_installs_the_toolchain_before_all_else_where_there_is_none() {
    let installed = format!("toolchain install {} --profile minimal --no-self-update", channel());
    let rest = "target add wasm32-wasip2\ncomponent add rustfmt\ncomponent add clippy\n";
    for toolchains in ["no installed toolchains\n", "stable-x86_64-unknown-linux-gnu (default)\n"] {
        let machine = Machine::new("bare", toolchains, "", "");
        assert_eq!(machine.run("script/bootstrap"), format!("{installed}\n{rest}"), "{toolchains}");
    }
}

#[test]
fn bootstrap_asks_for_nothing_where_everything_is() {
    let host = "x86_64-unknown-linux-gnu";
    for mark in ["", " (active)"] {
        let toolchains = format!("stable-{host} (default)\n{}-{host}{mark}\n", channel());
        let components = format!("clippy-{host}\nrustfmt-{host}\n");
        let targets = format!("wasm32-wasip2\n{host}\n");
        let machine = Machine::new("whole", &toolchains, &targets, &components);
        assert_eq!(machine.run("script/bootstrap"), "");
    }
}

#[test]
fn scripts_can_be_run() {
    for folder in ["script", ".ci", "tests/conformance", "tests/tidy/machine"] {
        for entry in fs::read_dir(root().join(folder)).expect("readable") {
            let path = entry.expect("readable").path();
            let script = path.is_file() && starts_as_script(&path);
            let mode = fs::metadata(&path).expect("readable").permissions().mode();
            assert!(!script || mode & 0o111 != 0, "{} is not executable", path.display());
        }
    }
}

fn starts_as_script(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"#!"))
}
