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

/// Whether a part of a name is a word of it: there is a boundary, or the end, on both sides.
fn is_word(name: &[u8], part: Range<usize>) -> bool {
    let between = |at: usize| at == 0 || at == name.len() || boundary(name[at - 1], name[at]);
    between(part.start) && between(part.end)
}

/// Whether one word ends and another begins between two bytes: one of them is no letter, or a capital follows a small letter.
fn boundary(before: u8, after: u8) -> bool {
    let letters = before.is_ascii_alphabetic() && after.is_ascii_alphabetic();
    !letters || (before.is_ascii_lowercase() && after.is_ascii_uppercase())
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
            "urlSIG",
            "urlSIG2",
            "sasSIG_v2",
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

    #[test]
    fn words_end_at_marks_and_digits_and_before_a_capital() {
        for (pair, ends) in [
            ("ab", false),
            ("AB", false),
            ("Ab", false),
            ("aB", true),
            ("a_", true),
            ("-a", true),
            ("A2", true),
            ("2a", true),
            ("2B", true),
            ("__", true),
        ] {
            let [before, after] = *pair.as_bytes() else { panic!("a pair") };
            assert_eq!(boundary(before, after), ends, "{pair}");
        }
    }
}
