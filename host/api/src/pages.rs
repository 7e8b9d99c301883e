//! The page of each error code, which the `type` of a problem leads to: from the binary itself.

use include_dir::{Dir, include_dir};

/// `docs/codes`, a page for each code; a test holds the two together.
static PAGES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../docs/codes");

/// The page of a code, as Markdown.
pub fn page(code: &str) -> Option<&'static str> {
    PAGES.get_file(format!("{code}.md"))?.contents_utf8()
}
