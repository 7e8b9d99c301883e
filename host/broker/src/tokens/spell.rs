//! Layers over a text: what a client's encoder put around it. Taken off as bytes come.
//!
//! Line breaks within are left out in every layer, because an encoder that writes base64 in lines does so before the next one
//! sees it.

use memchr::{memchr, memchr2};

/// What an encoder does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// `%5F`, as in URLs and forms.
    Percent,
    /// `\u005f` and `\/`, as in strings of JSON.
    Json,
    /// Lines, as in MIME.
    Lines,
}

/// A layer, as far as it is taken off.
pub(super) struct Layer {
    kind: Kind,
    /// The beginning of an escape whose end has not come.
    cut: Vec<u8>,
}

/// An escape.
enum Escape {
    /// Stands for this, if for anything, and has so many bytes.
    Of(Option<u8>, usize),
    /// Is none.
    Not,
    /// Is not all there.
    Cut,
}

// === impl Layer ===

impl Layer {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, cut: Vec::new() }
    }

    /// Whether no escape is cut.
    pub(super) fn is_whole(&self) -> bool {
        self.cut.is_empty()
    }

    /// Whether there is anything to take off.
    pub(super) fn is_on(&self, data: &[u8]) -> bool {
        self.mark(data).is_some()
    }

    pub(super) fn take_off(&mut self, data: &[u8]) -> Vec<u8> {
        let mut text = Vec::with_capacity(data.len());
        let joined;
        let mut rest = match self.cut.is_empty() {
            true => data,
            false => {
                joined = [&std::mem::take(&mut self.cut), data].concat();
                &joined[..]
            }
        };
        while let Some(at) = self.mark(rest) {
            text.extend_from_slice(&rest[..at]);
            rest = &rest[at..];
            let bytes = match self.escape(rest) {
                Escape::Of(byte, bytes) => {
                    text.extend(byte.filter(|byte| !matches!(byte, b'\r' | b'\n')));
                    bytes
                }
                Escape::Not => {
                    text.push(rest[0]);
                    1
                }
                Escape::Cut => {
                    self.cut.extend_from_slice(rest);
                    return text;
                }
            };
            rest = &rest[bytes..];
        }
        text.extend_from_slice(rest);
        text
    }

    /// Where the next escape begins.
    fn mark(&self, text: &[u8]) -> Option<usize> {
        match self.kind {
            Kind::Percent => memchr(b'%', text),
            Kind::Json => memchr(b'\\', text),
            Kind::Lines => memchr2(b'\r', b'\n', text),
        }
    }

    fn escape(&self, text: &[u8]) -> Escape {
        match self.kind {
            Kind::Percent => coded(text, 1, 2),
            Kind::Json => match text.get(1) {
                None => Escape::Cut,
                Some(b'u') => coded(text, 2, 4),
                Some(b'n' | b'r') => Escape::Of(None, 2),
                Some(byte) => Escape::Of(Some(*byte), 2),
            },
            Kind::Lines => Escape::Of(None, 1),
        }
    }
}

/// So many hexadecimal digits behind a mark of so many bytes.
fn coded(text: &[u8], mark: usize, digits: usize) -> Escape {
    let coded = &text[mark..text.len().min(mark + digits)];
    if !coded.iter().all(u8::is_ascii_hexdigit) {
        return Escape::Not;
    }
    if coded.len() < digits {
        return Escape::Cut;
    }
    let value = std::str::from_utf8(coded).ok().and_then(|text| u32::from_str_radix(text, 16).ok());
    // What is beyond a byte is no letter of a token.
    let byte = value.and_then(|value| u8::try_from(value).ok()).unwrap_or(b'?');
    Escape::Of(Some(byte), mark + digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_come_off_however_they_are_cut() {
        for (kind, text, expected) in [
            (Kind::Percent, "a%5Fb%5fc%2", "a_b_c"),
            (Kind::Percent, "100%, %zz%0D%0Aq", "100%, %zzq"),
            (Kind::Percent, "%255F", "%5F"),
            (Kind::Json, r"a\u005fb\/\n\r\\c\u00", r"a_b/\c"),
            (Kind::Json, r"\u20ac\ux\q", r"?\uxq"),
            (Kind::Lines, "ab\r\ncd\ne", "abcde"),
        ] {
            for piece in 1..=text.len() {
                let mut layer = Layer::new(kind);
                let taken: Vec<u8> =
                    text.as_bytes().chunks(piece).flat_map(|data| layer.take_off(data)).collect();
                assert_eq!(String::from_utf8(taken).unwrap(), expected, "{text} {piece}");
            }
        }
    }
}
