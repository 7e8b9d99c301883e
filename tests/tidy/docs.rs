//! Documents that must keep up with the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

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
fn paths_in_the_text_exist() {
    let folders = top_folders();
    let mut found = 0;
    let mut missing = Vec::new();
    for (path, text) in files("md").iter().filter(|(path, _)| of_the_whole(path)) {
        for named in code(text).filter(|named| of_the_repository(named, &folders)) {
            found += 1;
            if !root().join(named).exists() {
                missing.push(format!("{}: `{named}`", path.display()));
            }
        }
    }
    assert!(found > 30, "{found} paths found: this test looks in the wrong place");
    assert!(missing.is_empty(), "{missing:#?}");
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

/// Whether a page is about the repository as a whole, and so names paths from its root. What was is no
/// longer there, so not the changelog.
fn of_the_whole(page: &Path) -> bool {
    let at_root = page.parent() == Some(Path::new(""));
    (at_root || page.starts_with("docs")) && page != Path::new("CHANGELOG.md")
}

/// Folders at the root that hold source.
fn top_folders() -> BTreeSet<String> {
    let entries = fs::read_dir(root()).expect("the repository is readable");
    let names = entries.filter_map(|entry| {
        let entry = entry.expect("the repository is readable");
        entry.path().is_dir().then(|| entry.file_name().into_string().ok())?
    });
    names.filter(|name| name != "target" && name != ".git").collect()
}

/// First words of what stands between backticks, outside of fenced blocks: paths, commands, names.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    let lines = text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    let spans = lines.flat_map(|line| line.split('`').skip(1).step_by(2));
    spans.filter_map(|span| span.split_whitespace().next())
}

/// Whether it reads as a path from the root: not a pattern, and it begins with one of these folders.
fn of_the_repository(named: &str, folders: &BTreeSet<String>) -> bool {
    let plain = !named.contains(['<', '*', '{', '…', ',']);
    let first = named.split_once('/').map(|(first, _)| first);
    plain && first.is_some_and(|first| folders.contains(first))
}
