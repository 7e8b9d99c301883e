//! The names under which secrets stand, in headers, queries, fields and text, whoever wrote them.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use keyway_core::Descriptor;
use keyway_core::descriptor::Scheme;

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
        "sig",
    ];
    // Every header's name is looked at. A dozen words make a table of some KiB.
    let kind = Some(AhoCorasickKind::DFA);
    let names = AhoCorasick::builder().ascii_case_insensitive(true).kind(kind).build(parts);
    names.expect("a dozen words are few enough")
});

/// Whether what stands under this name is not kept: for its name, or because a credential goes there by a descriptor.
pub(crate) fn hides(name: &str, descriptor: Option<&Descriptor>) -> bool {
    SECRET_NAMES.is_match(name) || descriptor.is_some_and(|descriptor| places(descriptor, name))
}

/// Whether a credential of the descriptor's stands in headers or parameters of this name.
fn places(descriptor: &Descriptor, name: &str) -> bool {
    descriptor.slots.values().any(|slot| {
        let parameter = match &slot.scheme {
            Scheme::ApiKeyQuery { name: own } => name.eq_ignore_ascii_case(own),
            _ => false,
        };
        parameter || slot.sets_header(name)
    })
}
