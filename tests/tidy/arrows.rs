//! Arrows between our crates: exactly those that ARCHITECTURE.md draws.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::{read, root};

/// Ours, by the names Cargo knows them by.
const PREFIX: &str = "keyway-";

#[test]
fn arrows_are_those_of_the_architecture() {
    let drawn = drawn();
    let real = real();
    assert_eq!(
        real, drawn,
        "crates on the left depend on those on the right (ARCHITECTURE.md, table)"
    );
}

#[test]
fn heavy_libraries_have_the_users_that_the_deny_file_names() {
    let deny: toml::Table = read(&root().join(".deny.toml")).parse().expect("TOML");
    let banned = deny["bans"]["deny"].as_array().expect("a list of bans");
    let mut wrong = Vec::new();
    for package in packages() {
        let name = package["name"].as_str().expect("a name").to_owned();
        for dependency in package["dependencies"].as_array().expect("a list") {
            let ban =
                banned.iter().find(|ban| ban["crate"].as_str() == dependency["name"].as_str());
            let allowed = ban.is_none_or(|ban| {
                let wrappers = ban.get("wrappers").and_then(|wrappers| wrappers.as_array());
                wrappers.into_iter().flatten().any(|user| user.as_str() == Some(&name))
            });
            if !allowed {
                wrong.push(format!("{name} uses {}", dependency["name"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// From the table in ARCHITECTURE.md: `| crate | may import |`.
fn drawn() -> BTreeMap<String, BTreeSet<String>> {
    let text = read(&root().join("ARCHITECTURE.md"));
    let table = text.split("<!-- arrows -->").nth(1).expect("ARCHITECTURE.md has an arrows table");
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut cells = row.trim_matches('|').split('|').map(|cell| cell.trim());
        let name = cells.next().unwrap_or_default().trim_matches('`').to_owned();
        let imports = cells.next().unwrap_or_default();
        let imports = imports.split(',').map(|name| name.trim().trim_matches('`').to_owned());
        (name, imports.filter(|name| !name.is_empty()).collect())
    })
    .collect()
}

/// From `cargo metadata`, without development dependencies.
fn real() -> BTreeMap<String, BTreeSet<String>> {
    let ours = |name: &str| name.strip_prefix(PREFIX).map(str::to_owned);
    packages()
        .iter()
        .filter_map(|package| {
            let name = ours(package["name"].as_str()?)?;
            let dependencies = package["dependencies"].as_array()?.iter();
            let imports = dependencies.filter(|dependency| dependency["kind"].is_null());
            let imports = imports.filter_map(|dependency| ours(dependency["name"].as_str()?));
            Some((name, imports.collect()))
        })
        .collect()
}

/// The packages of the workspace, as Cargo sees them.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

/// The SDK's tests take the rules of a descriptor from `core`, so its lock and that of whoever uses it name what `core` needs.
/// Guests are built with `--locked`.
#[test]
fn the_locks_of_guests_name_what_core_needs() {
    let table = |path: &str| read(&root().join(path)).parse::<toml::Table>().expect("TOML");
    let core = table("host/core/Cargo.toml");
    let needed: BTreeSet<_> =
        core["dependencies"].as_table().expect("a table").keys().cloned().collect();
    for folder in ["sdk", "connectors"] {
        let lock = table(&format!("{folder}/Cargo.lock"));
        let packages = lock["package"].as_array().expect("packages");
        let named = |package: &&toml::Value| package["name"].as_str() == Some("keyway-core");
        let core = packages.iter().find(named).expect("`core` is among them");
        let locked: BTreeSet<_> = core["dependencies"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|name| name.as_str()?.split(' ').next().map(str::to_owned))
            .collect();
        assert_eq!(locked, needed, "run `cargo metadata` in {folder}, and commit its Cargo.lock");
    }
}
