//! `keyway explain`: the page of an error code, from the binary itself.

use keyway_api::pages::page;
use keyway_core::Code;

use crate::exit::Exit;
use crate::output;

/// Prints the page of a code, or lists the codes.
pub(crate) fn explain(code: Option<&str>, json: bool) -> Exit {
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
    match page(code) {
        Some(page) => {
            output::page(page);
            Exit::Success
        }
        None => {
            let detail = format!("no code is called `{code}`; `keyway explain` lists them");
            output::failure(json, "unknown-code", &detail);
            Exit::Refused
        }
    }
}
