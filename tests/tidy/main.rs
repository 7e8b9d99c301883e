//! What the repository promises about its own shape, held by tests.
//!
//! Reads files and `cargo metadata`; builds and links nothing of the host but its vocabulary. What a
//! compiler or clippy can say is left to them.

mod arrows;
mod docs;
mod scripts;
mod sources;
mod wit;

use std::fs;
use std::path::{Path, PathBuf};

/// The repository's root.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file below the root that is source, with its path from the root. Build output, dependencies
/// and hidden folders are no source.
fn files(extension: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    collect(root(), extension, &mut found);
    assert!(!found.is_empty(), "no *.{extension} file found: this test looks in the wrong place");
    found
}

fn collect(folder: &Path, extension: &str, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).expect("the repository is readable") {
        let path = entry.expect("the repository is readable").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let skipped = name.starts_with('.') || name == "target" || name == "node_modules";
        if path.is_symlink() || skipped {
            continue;
        }
        if path.is_dir() {
            collect(&path, extension, found);
        } else if path.extension().is_some_and(|found| found == extension) {
            let text = read(&path);
            let inside = path.strip_prefix(root()).expect("below the root").to_owned();
            found.push((inside, text));
        }
    }
}
