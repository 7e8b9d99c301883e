//! Source files: each says what it is for, and none outgrows its idea.

use std::path::Path;

use crate::files;

/// Lines of a file. Beyond this it holds more than one idea.
const FILE_LINES_MAX: usize = 800;

/// Lines of a function, signature and braces included.
const FUNCTION_LINES_MAX: usize = 70;

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<_> = files("rs")
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| path)
        .collect();
    assert!(silent.is_empty(), "files without a `//!` on their first line: {silent:#?}");
}

#[test]
fn modules_are_named_files() {
    let named_mod: Vec<_> = files("rs")
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| path.file_name().is_some_and(|name| name == "mod.rs"))
        .collect();
    assert!(named_mod.is_empty(), "`foo.rs` beside `foo/` instead: {named_mod:#?}");
}

#[test]
fn files_and_functions_stay_small() {
    let mut large = Vec::new();
    for (path, text) in files("rs") {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            large.push(format!("{}: {lines} lines", path.display()));
        }
        large.extend(long_functions(&path, &text));
    }
    assert!(large.is_empty(), "{large:#?}");
}

#[test]
fn nothing_is_left_unfinished() {
    // Put together here, or this file would find itself.
    let marks =
        [["to", "do!("].concat(), ["unimpl", "emented!("].concat(), ["#[ign", "ore"].concat()];
    let mut found = Vec::new();
    for (path, text) in files("rs") {
        for mark in &marks {
            if text.contains(mark.as_str()) {
                found.push(format!("{}: {mark}", path.display()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Whether the declaration that begins here ends with a semicolon, as a trait's may.
fn without_body(lines: &[&str]) -> bool {
    let end = lines.iter().find(|line| line.ends_with('{') || line.ends_with(';'));
    end.is_none_or(|line| line.ends_with(';'))
}

/// Relies on rustfmt: a function ends with a brace at the indentation of its `fn`.
fn long_functions(path: &Path, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut long = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let words: Vec<&str> = code.split_whitespace().take(5).collect();
        let function = words.contains(&"fn") && !code.starts_with("//") && !code.ends_with(';');
        if !function || line.ends_with('}') || without_body(&lines[start..]) {
            continue;
        }
        let end = lines[start..].iter().position(|line| {
            line.starts_with('}') && indent == 0
                || line.len() > indent
                    && line[..indent].trim().is_empty()
                    && line[indent..].starts_with('}')
        });
        if let Some(length) = end.filter(|end| *end >= FUNCTION_LINES_MAX) {
            long.push(format!("{}:{}: {} lines", path.display(), start + 1, length + 1));
        }
    }
    long
}
