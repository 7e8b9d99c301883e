//! JSON text as a list of its values, in the order in which they begin, each with where it stands.
//!
//! Sixteen bytes a value, however it is nested; a tree of owned values takes up to forty times as much. Text is unescaped
//! and numbers are read when somebody looks at them.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::de::IgnoredAny;

use crate::limits::{JSON_DEPTH_MAX, JSON_NODES_MAX};

/// JSON text, read.
#[derive(Debug)]
pub struct Document<'t> {
    text: &'t str,
    nodes: Vec<Node>,
}

/// A value's place in the list. The root is 0.
pub(super) type At = u32;

/// What kind a value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Null,
    Bool,
    Number,
    Text,
    List,
    /// An object: names and values by turns.
    Fields,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// Where it begins and ends in the text, in bytes.
    start: u32,
    end: u32,
    /// What follows it and all that is within it.
    next: At,
    kind: Kind,
}

/// JSON text that is not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotRead {
    /// It is none.
    #[error("is not JSON")]
    Syntax(#[source] serde_json::Error),
    /// It is longer than any limit lets pass.
    #[error("is over 4 GiB")]
    Long,
    /// It has too many values and names of members.
    #[error("has more than {JSON_NODES_MAX} values")]
    Many,
    /// Its values are nested too deep.
    #[error("is nested {JSON_DEPTH_MAX} deep, or more")]
    Deep,
}

// === impl Document ===

impl<'t> Document<'t> {
    /// Reads JSON text.
    pub fn read(text: &'t str) -> Result<Self, NotRead> {
        if u32::try_from(text.len()).is_err() {
            return Err(NotRead::Long);
        }
        // Needs no stack and allocates nothing.
        serde_json::from_str::<IgnoredAny>(text).map_err(NotRead::Syntax)?;
        let mut document = Self { text, nodes: Vec::new() };
        document.list()?;
        Ok(document)
    }

    /// Values, names of members included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never: JSON text has a value.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// What two readers could each understand something else by: a name that an object has twice, or half of a surrogate
    /// pair (RFC 7493 sections 2.1 and 2.3).
    pub fn flaw(&self) -> Option<&'static str> {
        let mut names = HashSet::new();
        for at in 0..self.nodes.len() {
            let at = At::try_from(at).unwrap_or(At::MAX);
            match self.kind(at) {
                Kind::Text
                    if self.raw(at).contains('\\')
                        && serde_json::from_str::<String>(self.raw(at)).is_err() =>
                {
                    return Some("a string has half of a surrogate pair");
                }
                Kind::Fields => {
                    names.clear();
                    if !self.fields(at).all(|(name, _)| names.insert(self.text(name))) {
                        // Not named: the key is the caller's, and may be long.
                        return Some("an object has the same key twice");
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// Bytes of the paths to all values that hold no others, as a list of them would have it.
    pub fn paths_bytes(&self) -> u64 {
        // Of the containers that are open: where each ends, and the bytes of the path to it.
        let mut open: Vec<(At, u64)> = Vec::new();
        let (mut sum, mut name) = (0_u64, 1);
        for (at, node) in self.nodes.iter().enumerate() {
            while open.last().is_some_and(|(end, _)| *end as usize <= at) {
                open.pop();
            }
            let above = open.last().map_or(0, |(_, path)| *path);
            if self.names(at) {
                name = u64::from(node.end - node.start);
                continue;
            }
            let path = above + name;
            name = 1;
            match node.kind {
                Kind::List | Kind::Fields => open.push((node.next, path)),
                _ => sum = sum.saturating_add(path),
            }
        }
        sum
    }

    /// Whether a value is the name of a member. The text behind it tells: only a name is followed by a colon.
    fn names(&self, at: usize) -> bool {
        let node = self.nodes[at];
        let behind = self.text[node.end as usize..].trim_start_matches([' ', '\t', '\n', '\r']);
        node.kind == Kind::Text && behind.starts_with(':')
    }

    /// The text is known to be JSON, so a byte says what begins or ends.
    fn list(&mut self) -> Result<(), NotRead> {
        let bytes = self.text.as_bytes();
        let (mut at, mut open) = (0, Vec::<At>::new());
        while let Some(byte) = bytes.get(at) {
            let (kind, length) = match byte {
                b'{' => (Kind::Fields, 1),
                b'[' => (Kind::List, 1),
                b'}' | b']' => {
                    at += 1;
                    self.close(open.pop(), at);
                    continue;
                }
                b'"' => (Kind::Text, text_length(&bytes[at..])),
                b'n' => (Kind::Null, 4),
                b't' => (Kind::Bool, 4),
                b'f' => (Kind::Bool, 5),
                b'-' | b'0'..=b'9' => (Kind::Number, number_length(&bytes[at..])),
                _ => {
                    at += 1;
                    continue;
                }
            };
            let index = self.add(kind, at, at + length)?;
            if matches!(kind, Kind::Fields | Kind::List) {
                open.push(index);
                if open.len() >= JSON_DEPTH_MAX {
                    return Err(NotRead::Deep);
                }
            }
            at += length;
        }
        Ok(())
    }

    fn add(&mut self, kind: Kind, start: usize, end: usize) -> Result<At, NotRead> {
        let index = self.nodes.len();
        if index >= JSON_NODES_MAX {
            return Err(NotRead::Many);
        }
        let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let (start, end, next) = (narrow(start), narrow(end), narrow(index + 1));
        self.nodes.push(Node { start, end, next, kind });
        Ok(narrow(index))
    }

    fn close(&mut self, opened: Option<At>, end: usize) {
        let next = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        if let Some(node) = opened.and_then(|at| self.nodes.get_mut(at as usize)) {
            node.end = u32::try_from(end).unwrap_or(u32::MAX);
            node.next = next;
        }
    }

    pub(super) fn kind(&self, at: At) -> Kind {
        self.nodes[at as usize].kind
    }

    /// What follows a value and all that is within it.
    pub(super) fn next(&self, at: At) -> At {
        self.nodes[at as usize].next
    }

    /// The value as it was written.
    pub(super) fn raw(&self, at: At) -> &'t str {
        let node = self.nodes[at as usize];
        &self.text[node.start as usize..node.end as usize]
    }

    /// A text without its quotes and escapes.
    pub(super) fn text(&self, at: At) -> Cow<'t, str> {
        let raw = self.raw(at);
        let inner = raw.get(1..raw.len() - 1).unwrap_or_default();
        if !inner.contains('\\') {
            return Cow::Borrowed(inner);
        }
        // Half of a surrogate pair has no text of its own; any text that is as long will do.
        serde_json::from_str(raw).map_or_else(|_| Cow::Owned(inner.to_owned()), Cow::Owned)
    }

    /// Items of a list.
    pub(super) fn items(&self, at: At) -> impl Iterator<Item = At> {
        let end = self.next(at);
        let mut item = at + 1;
        std::iter::from_fn(move || {
            let found = (item < end).then_some(item)?;
            item = self.next(found);
            Some(found)
        })
    }

    /// Names and values of an object.
    pub(super) fn fields(&self, at: At) -> impl Iterator<Item = (At, At)> {
        let mut all = self.items(at);
        std::iter::from_fn(move || Some((all.next()?, all.next()?)))
    }
}

/// Bytes of a text, with its quotes.
fn text_length(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn number_length(bytes: &[u8]) -> usize {
    let part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    bytes.iter().take_while(|byte| part(byte)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_knows_what_is_within_it() {
        let document = Document::read(r#" {"a" : [1, {"b]\"":-2e3}, []], "c":null} "#).unwrap();
        let fields: Vec<_> = document.fields(0).collect();
        assert_eq!(fields.len(), 2);
        let (name, list) = fields[0];
        assert_eq!(document.text(name), "a");
        let items: Vec<_> = document.items(list).map(|item| document.raw(item)).collect();
        assert_eq!(items, ["1", r#"{"b]\"":-2e3}"#, "[]"]);
        assert_eq!(document.kind(fields[1].1), Kind::Null);
        assert_eq!(document.len(), 10);
    }

    #[test]
    fn a_value_takes_sixteen_bytes() {
        assert_eq!(size_of::<Node>(), 16);
    }

    #[test]
    fn what_is_not_taken_says_why() {
        let read = |text: &str| Document::read(text).map(|_| ()).map_err(|error| error.to_string());
        assert!(read("{").is_err_and(|why| why == "is not JSON"));
        let list = |items: usize| format!("[{}0]", "0,".repeat(items - 1));
        assert_eq!(read(&list(JSON_NODES_MAX - 1)), Ok(()));
        assert!(read(&list(JSON_NODES_MAX)).is_err_and(|why| why.contains("values")));
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert_eq!(read(&deep(JSON_DEPTH_MAX - 1)), Ok(()));
        assert!(read(&deep(JSON_DEPTH_MAX)).is_err_and(|why| why.contains("deep")));
    }

    #[test]
    fn paths_are_added_up() {
        let bytes = |text: &str| Document::read(text).unwrap().paths_bytes();
        // A name counts with its quotes, an item as one.
        assert_eq!(bytes(r#"{"a":1}"#), 4);
        assert_eq!(bytes(r#"{"a":{"bb":1,"c":[2,"x"]}}"#), (4 + 4) + 2 * (4 + 3 + 1));
        let wide: String = (0..100).map(|n| format!(r#","k{n}":0"#)).collect();
        let nested = format!(r#"{{"{}":{{"x":0{wide}}}}}"#, "k".repeat(1_000));
        assert!(bytes(&nested) > 100_000);
    }
}
