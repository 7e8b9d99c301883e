//! Bodies that are JSON: by what their labels say, by how they begin, and where the first document in them ends.
//!
//! It reads brackets and strings, and believes nothing else; whoever needs to know what a document says parses it.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// What a label says of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Label {
    /// JSON, of any dialect.
    Json,
    /// Text, or nothing: servers label JSON as such, too.
    Perhaps,
    /// Something else. Streams of events are, for all that is JSON in them.
    Other,
}

/// Labels other than JSON's under which servers are known to send it.
const PERHAPS: [&str; 6] = [
    "",
    "text/plain",
    "text/html",
    "text/javascript",
    "application/javascript",
    "application/x-javascript",
];

/// Reads a body as it comes, up to the end of its first document.
#[derive(Default)]
pub(crate) struct Document {
    state: State,
    depth: u64,
    read: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    Before,
    /// Between strings.
    Within,
    Text,
    /// In a string, behind a backslash.
    Escaped,
    /// Behind its last byte.
    Over,
    /// It begins as no array and no object does.
    Not,
}

// === impl Label ===

impl Label {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let label =
            headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let label = label.unwrap_or_default();
        let kind = label.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match () {
            () if kind.contains("json") => Self::Json,
            () if PERHAPS.contains(&&*kind) => Self::Perhaps,
            () => Self::Other,
        }
    }
}

// === impl Document ===

impl Document {
    /// Reads on; the bytes of the body up to the document's end, once that has come.
    pub(crate) fn read(&mut self, data: &[u8]) -> Option<usize> {
        for byte in data {
            if matches!(self.state, State::Over | State::Not) {
                break;
            }
            self.state = self.after(*byte);
            self.read += 1;
        }
        (self.state == State::Over).then_some(self.read)
    }

    /// Whether there is no document. None as long as nothing but space has come.
    pub(crate) fn is_none(&self) -> Option<bool> {
        (self.state != State::Before).then_some(self.state == State::Not)
    }

    fn after(&mut self, byte: u8) -> State {
        match (self.state, byte) {
            // A mark of the byte order as well.
            (State::Before, b' ' | b'\t' | b'\r' | b'\n' | 0xef | 0xbb | 0xbf) => State::Before,
            (State::Before | State::Within, b'{' | b'[') => {
                self.depth += 1;
                State::Within
            }
            (State::Before, _) => State::Not,
            (State::Within, b'}' | b']') => {
                self.depth -= 1;
                if self.depth == 0 { State::Over } else { State::Within }
            }
            (State::Within, b'"') => State::Text,
            (State::Text, b'"') => State::Within,
            (State::Text, b'\\') => State::Escaped,
            (State::Escaped, _) => State::Text,
            (state, _) => state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_ends_where_its_brackets_do() {
        for (text, end) in [
            (r#"{"a":"}\"]"} x"#, Some(12)),
            ("\u{feff} [[1],[2]]", Some(13)),
            ("{}\n{}", Some(2)),
            (r#"{"a":[1,2"#, None),
            ("  ", None),
            ("data: {}", None),
            (r#""text""#, None),
        ] {
            for piece in 1..=text.len() {
                let mut document = Document::default();
                let ends =
                    text.as_bytes().chunks(piece).filter_map(|data| document.read(data)).last();
                assert_eq!(ends, end, "{text} in pieces of {piece}");
            }
        }
        let is_none = |text: &str| {
            let mut document = Document::default();
            document.read(text.as_bytes());
            document.is_none()
        };
        assert_eq!(is_none(" \n"), None);
        assert_eq!(
            (is_none(" {"), is_none("x"), is_none("\"{")),
            (Some(false), Some(true), Some(true))
        );
    }

    #[test]
    fn labels_say_json_perhaps_or_something_else() {
        let of = |label: Option<&str>| {
            let label = label.map(|label| (CONTENT_TYPE, label.parse().unwrap()));
            Label::of(&label.into_iter().collect())
        };
        for json in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/vnd.api+json",
            "text/json",
            "application/x-ndjson",
        ] {
            assert_eq!(of(Some(json)), Label::Json, "{json}");
        }
        for perhaps in ["text/plain;charset=x", "TEXT/HTML", "application/javascript", " "] {
            assert_eq!(of(Some(perhaps)), Label::Perhaps, "{perhaps}");
        }
        assert_eq!(of(None), Label::Perhaps);
        for other in ["text/event-stream", "text/csv", "application/octet-stream", "image/png"] {
            assert_eq!(of(Some(other)), Label::Other, "{other}");
        }
    }
}
