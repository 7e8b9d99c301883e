//! Base64 that is written in lines, as MIME does (RFC 2045 section 6.8): read as if it were one.

use memchr::memchr3;

/// A text without the line breaks that stand between two letters of base64.
pub(super) struct Unwrapped {
    pub(super) joined: Vec<u8>,
    /// Where each piece begins: in `joined`, and in the text.
    pieces: Vec<(usize, usize)>,
}

/// Both alphabets.
fn letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte)
}

/// Bytes of the line break that begins here, if one does: as it is, or as a JSON string has it.
fn break_at(text: &[u8]) -> usize {
    let breaks: [&[u8]; 4] = [b"\r\n", b"\n", b"\\r\\n", b"\\n"];
    breaks.iter().find(|one| text.starts_with(one)).map_or(0, |one| one.len())
}

/// Where the text ends, without a line break that may just have begun there.
pub(super) fn end_of_letters(text: &[u8]) -> usize {
    let ends: [&[u8]; 8] = [b"\\r\\n", b"\r\n", b"\\r\\", b"\\n", b"\\r", b"\r", b"\n", b"\\"];
    let end = ends.iter().find(|end| text.ends_with(end)).map_or(0, |end| end.len());
    text.len() - end
}

// === impl Unwrapped ===

impl Unwrapped {
    /// None where there is no such line break.
    pub(super) fn of(text: &[u8]) -> Option<Self> {
        let (mut joined, mut pieces) = (Vec::new(), Vec::new());
        let (mut at, mut begin) = (0, 0);
        while let Some(found) = memchr3(b'\r', b'\n', b'\\', &text[at..]) {
            let from = at + found;
            let to = from + break_at(&text[from..]);
            at = to.max(from + 1);
            let inner =
                from > 0 && letter(text[from - 1]) && text.get(to).is_some_and(|b| letter(*b));
            if to > from && inner {
                pieces.push((joined.len(), begin));
                joined.extend_from_slice(&text[begin..from]);
                begin = to;
            }
        }
        if begin == 0 {
            return None;
        }
        pieces.push((joined.len(), begin));
        joined.extend_from_slice(&text[begin..]);
        Some(Self { joined, pieces })
    }

    /// Where a byte of `joined` stands in the text.
    pub(super) fn original(&self, at: usize) -> usize {
        let piece = self.pieces.partition_point(|(joined, _)| *joined <= at);
        // The first piece begins at 0.
        let (joined, text) = self.pieces[piece.saturating_sub(1)];
        text + (at - joined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined_where_letters_meet_and_nowhere_else() {
        let read = |text: &str| {
            Unwrapped::of(text.as_bytes()).map(|all| String::from_utf8(all.joined).unwrap())
        };
        assert_eq!(read("QUJD\r\nREVG").as_deref(), Some("QUJDREVG"));
        assert_eq!(read("\"QUJD\\r\\nREVG\\nR0hJ\\n\"").as_deref(), Some("\"QUJDREVGR0hJ\\n\""));
        assert_eq!(read("{\n  \"a\": 1,\n  \"b\": 2\n}"), None);
        assert_eq!(read("a\\\\nb"), None, "a backslash and an n");
        assert_eq!(read("a\n\nb"), None, "a paragraph");
    }

    #[test]
    fn places_are_those_of_the_text() {
        let text = b"ab\r\ncd\nef";
        let all = Unwrapped::of(text).unwrap();
        for (at, byte) in all.joined.iter().enumerate() {
            assert_eq!(text[all.original(at)], *byte, "{at}");
        }
    }

    #[test]
    fn a_break_that_has_begun_is_no_letter() {
        for (text, end) in
            [("ab", 2), ("ab\r", 2), ("ab\r\n", 2), ("ab\\", 2), ("ab\\r\\", 2), ("ab\\n", 2)]
        {
            assert_eq!(end_of_letters(text.as_bytes()), end, "{text:?}");
        }
    }
}
