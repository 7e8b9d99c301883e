//! Scripts that a fresh machine needs, against a stand-in for rustup that only says what it was asked for; and what CI says
//! of its steps, against stand-ins for the steps.

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

/// Runs `.ci/run` over a test of these lines, with this in its environment: whether it succeeded, and what it printed.
fn ci(name: &str, test: &str, variables: &[(&str, &str)]) -> (bool, String) {
    let machine = Machine::new(name, "", "", "");
    for (from, text) in [
        (".ci/run", None),
        ("script/steps", None),
        ("script/test", Some(format!("source script/steps\n{test}\n"))),
        ("script/demo", Some("true\n".to_owned())),
    ] {
        let to = machine.0.join(from);
        fs::create_dir_all(to.parent().expect("below it")).expect("writable");
        let text = text.map(|text| format!("#!/usr/bin/env bash\nset -euo pipefail\n{text}"));
        fs::write(&to, text.unwrap_or_else(|| read(&root().join(from)))).expect("writable");
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).expect("ours");
    }
    let mut command = Command::new(machine.0.join(".ci/run"));
    command.env_remove("KEYWAY_LANGUAGES").envs(variables.iter().copied());
    let output = command.output().expect("it runs");
    (output.status.success(), String::from_utf8(output.stdout).expect("text"))
}

#[test]
fn ci_says_at_its_end_where_the_time_went() {
    let (passed, said) = ci("ci-passes", "step first\nsleep 1\nstep second", &[]);
    assert!(passed, "{said}");
    let (_, table) = said.split_once("\n seconds  step\n").expect("a table");
    let rows: Vec<_> = table.lines().map(|row| row.trim_start().split_once("  ")).collect();
    let names: Vec<_> = rows.iter().map(|row| row.expect("two columns").1).collect();
    assert_eq!(names, ["first", "second", "the demonstration", "in all"]);
    let seconds = |at: usize| rows[at].and_then(|(seconds, _)| seconds.parse::<u64>().ok());
    assert!(seconds(0) >= Some(1) && seconds(3) >= seconds(0), "{table}");
    let (passed, said) = ci("ci-fails", "step first\nstep second\nfalse", &[]);
    assert!(
        !passed && said.contains("  first\n") && said.contains("  second (failed)\n"),
        "{said}"
    );
}

#[test]
fn ci_wants_every_language_unless_it_is_told_otherwise() {
    let test = "step \"${KEYWAY_LANGUAGES:-not said}\"";
    let (_, said) = ci("ci-wants", test, &[]);
    assert!(said.contains("  required\n"), "{said}");
    let (_, said) = ci("ci-spares", test, &[("KEYWAY_LANGUAGES", "optional")]);
    assert!(said.contains("  optional\n"), "{said}");
}

/// Runs `script/languages` where neither toolchain can be installed: whether it succeeded, and what it said.
fn languages(wanted: Option<&str>) -> (bool, String, Vec<String>) {
    let machine = Machine::new(wanted.unwrap_or("languages"), "", "", "");
    for file in
        ["script/languages", "fixtures/guests/languages/wit/world.wit", "wit/v1/connector.wit"]
    {
        let to = machine.0.join(file);
        fs::create_dir_all(to.parent().expect("below it")).expect("writable");
        fs::copy(root().join(file), to).expect("copied");
    }
    let sources = machine.0.join("fixtures/guests/languages");
    for (folder, file) in [("python", "app.py"), ("javascript", "app.js")] {
        fs::create_dir_all(sources.join(folder)).expect("writable");
        fs::write(sources.join(folder).join(file), "").expect("writable");
    }
    let programs = machine.0.join("programs");
    fs::create_dir_all(&programs).expect("writable");
    for program in ["python3", "npm"] {
        let path = programs.join(program);
        fs::write(&path, "#!/bin/sh\nexit 1\n").expect("writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
    }
    let mut command = Command::new(machine.0.join("script/languages"));
    command.env("PATH", format!("{}:/usr/bin:/bin", programs.display()));
    command.env_remove("KEYWAY_LANGUAGES").envs(wanted.map(|said| ("KEYWAY_LANGUAGES", said)));
    let output = command.output().expect("it runs");
    let said = String::from_utf8(output.stderr).expect("text");
    let built = machine.0.join("fixtures/guests/target/languages");
    let left_out = ["python", "javascript"].into_iter();
    let left_out = left_out.filter(|name| built.join(format!("{name}.left-out")).is_file());
    (output.status.success(), said, left_out.map(str::to_owned).collect())
}

#[test]
fn a_language_that_is_left_out_is_said_loudly_and_is_a_failure_where_it_is_required() {
    for wanted in [None, Some("optional")] {
        let (passed, said, left_out) = languages(wanted);
        assert!(passed, "{said}");
        assert_eq!(left_out, ["python", "javascript"], "{said}");
        for name in ["python", "javascript"] {
            assert!(said.contains(&format!("{name} IS LEFT OUT: ")), "{said}");
        }
    }
    let (passed, said, _) = languages(Some("required"));
    assert!(!passed && said.contains("KEYWAY_LANGUAGES=required: that is a failure"), "{said}");
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
