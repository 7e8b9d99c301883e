//! Arrows between our crates: exactly those that ARCHITECTURE.md draws.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

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
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let ours = |name: &str| name.strip_prefix(PREFIX).map(str::to_owned);
    packages
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
