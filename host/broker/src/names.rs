//! The names under which secrets stand, in headers, queries, fields and text, whoever wrote them.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use keyway_core::Descriptor;

/// Finds parts of names whose values are not kept: of headers and of query parameters.
static SECRET_NAMES: LazyLock<AhoCorasick> = LazyLock::new(|| {
    let parts = [
        "authorization",
        "cookie",
        "token",
        "secret",
        "password",
        "api-key",
        "apikey",
        "api_key",
        "session",
        "signature",
        "credential",
        SHORT,
    ];
    // Every header's name is looked at. A dozen words make a table of some KiB.
    let kind = Some(AhoCorasickKind::DFA);
    let mut builder = AhoCorasick::builder();
    // Of two that begin together the longer one counts: a signature is no short word.
    builder.ascii_case_insensitive(true).kind(kind).match_kind(MatchKind::LeftmostLongest);
    builder.build(parts).expect("a dozen words are few enough")
});

/// A part that many harmless names have in them, such as `assigned_to`. It counts only as a word of its own.
const SHORT: &str = "sig";

/// Whether what stands under this name is not kept: for its name, or because a credential goes there by a descriptor.
pub(crate) fn hides(name: &str, descriptor: Option<&Descriptor>) -> bool {
    let mut parts = SECRET_NAMES.find_iter(name).map(|found| found.range());
    parts.any(|part| part.len() > SHORT.len() || is_word(name.as_bytes(), part))
        || descriptor.is_some_and(|descriptor| places(descriptor, name))
}

/// Whether a part of a name is a word of it: marks, digits, the ends, or a change from small letters to capitals are around it.
fn is_word(name: &[u8], part: Range<usize>) -> bool {
    let capital = name[part.start].is_ascii_uppercase() && !name[part.end - 1].is_ascii_uppercase();
    let begins = match part.start.checked_sub(1).map(|before| name[before]) {
        Some(before) => !before.is_ascii_alphabetic() || (capital && before.is_ascii_lowercase()),
        None => true,
    };
    let ends = match name.get(part.end) {
        Some(after) => {
            let next = after.is_ascii_uppercase() && !name[part.end - 1].is_ascii_uppercase();
            !after.is_ascii_alphabetic() || next
        }
        None => true,
    };
    begins && ends
}

/// Whether a credential of the descriptor's stands in headers or parameters of this name.
fn places(descriptor: &Descriptor, name: &str) -> bool {
    descriptor.slots.values().any(|slot| slot.sets_parameter(name) || slot.sets_header(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_word_hides_what_stands_under_it_and_a_part_of_another_word_does_not() {
        for name in [
            "sig",
            "SIG",
            "x-sig",
            "sig_v2",
            "sig2",
            "urlSig",
            "sigV4",
            "X-Amz-Signature",
            "assigned_signature",
            "access_token",
            "Set-Cookie",
            "sessionId",
        ] {
            assert!(hides(name, None), "{name}");
        }
        for name in ["assigned_to", "design", "Signal", "signed_at", "insight", "xSIGN", "resigned"]
        {
            assert!(!hides(name, None), "{name}");
        }
    }
}
