//! `keyway explain`: the page of an error code, from the binary itself.

use include_dir::{Dir, include_dir};
use keyway_core::Code;

use crate::exit::Exit;
use crate::output;

/// `docs/codes`, a page for each code; a test holds the two together.
static PAGES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../docs/codes");

/// Prints the page of a code, or lists the codes.
pub(crate) fn explain(code: Option<&str>) -> Exit {
    let Some(code) = code else {
        let rows: Vec<_> = Code::ALL
            .iter()
            .map(|code| {
                [code.to_string(), code.status().to_string(), code.whose().as_str().to_owned()]
            })
            .collect();
        output::table(["CODE", "STATUS", "WHOSE"], &rows);
        return Exit::Success;
    };
    match PAGES.get_file(format!("{code}.md")).and_then(|page| page.contents_utf8()) {
        Some(page) => {
            output::page(page);
            Exit::Success
        }
        None => {
            output::note(format!("no code is called `{code}`; `keyway explain` lists them"));
            Exit::Refused
        }
    }
}
