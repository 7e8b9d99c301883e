//! Documents that must keep up with the code.

use std::collections::BTreeSet;
use std::fs;

use keyway_core::Code;

use crate::{files, read, root};

#[test]
fn every_error_code_has_a_page_and_every_page_a_code() {
    let pages: BTreeSet<String> = fs::read_dir(root().join("docs/codes"))
        .expect("docs/codes exists")
        .filter_map(|entry| {
            let name = entry.expect("readable").file_name().into_string().ok()?;
            Some(name.strip_suffix(".md")?.to_owned())
        })
        .collect();
    let codes: BTreeSet<String> = Code::ALL.iter().map(|code| code.as_str().to_owned()).collect();
    assert_eq!(pages, codes);
}

#[test]
fn documents_name_only_files_that_exist() {
    for (path, text) in files("md") {
        let folder = root().join(path.parent().unwrap_or(&path));
        for target in links(&text) {
            let file = target.split('#').next().unwrap_or_default();
            let local = !file.is_empty() && !file.contains("://") && !file.starts_with("mailto:");
            assert!(!local || folder.join(file).exists(), "{}: no {file}", path.display());
        }
    }
}

#[test]
fn the_readme_names_both_commands() {
    let readme = read(&root().join("README.md"));
    for command in ["script/demo", "script/test"] {
        assert!(readme.contains(command), "README.md does not mention {command}");
        assert!(root().join(command).exists(), "{command} does not exist");
    }
}

/// Targets of `[text](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}
