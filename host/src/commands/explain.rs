//! `keyway explain`: the page of an error code, from the binary itself.

use keyway_api::pages::page;
use keyway_core::{Code, Retry};
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::output;

/// What a code means to programs.
fn meaning(code: Code) -> Value {
    json!({
        "code": code.as_str(), "status": code.status(), "whose": code.whose().as_str(),
        "retry": code.retry() == Retry::Yes,
    })
}

/// Prints the page of a code, or lists the codes.
pub(crate) fn explain(code: Option<&str>, as_json: bool) -> Exit {
    let Some(code) = code else {
        if as_json {
            let codes: Vec<_> = Code::ALL.iter().copied().map(meaning).collect();
            output::json(&json!({ "codes": codes }).to_string(), false);
            return Exit::Success;
        }
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
        Some(page) if as_json => {
            let mut answer = Code::parse(code).map_or_else(|| json!({ "code": code }), meaning);
            answer["page"] = page.into();
            output::json(&answer.to_string(), false);
            Exit::Success
        }
        Some(page) => {
            output::page(page);
            Exit::Success
        }
        None => {
            let detail = format!("no code is called `{code}`; `keyway explain` lists them");
            output::failure(as_json, "unknown-code", &detail);
            Exit::Refused
        }
    }
}
