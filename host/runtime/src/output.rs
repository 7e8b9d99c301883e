//! Whether what a guest answered is what the contract promises.
//!
//! JSON is checked to be JSON, of bearable depth, without building anything from it; what it means is
//! for others. A page must be no larger than pages are, and outcomes must match the items written.

use keyway_core::call::{Operation, Outcome, Output, Page};
use keyway_core::{Code, Fault, limits};
use serde::de::IgnoredAny;

use crate::limits::Call;

/// What an answer is checked against. Taken before the call, which consumes the operation.
pub(crate) enum Expected {
    Json,
    Page,
    /// References of the items, sorted.
    Outcomes(Vec<String>),
}

// === impl Expected ===

impl Expected {
    pub(crate) fn of(operation: &Operation) -> Self {
        match operation {
            Operation::Invoke { .. } | Operation::Discover { .. } => Self::Json,
            Operation::Read(_) => Self::Page,
            Operation::Write(request) => {
                let mut all: Vec<_> =
                    request.items.iter().map(|item| item.reference.clone()).collect();
                all.sort_unstable();
                Self::Outcomes(all)
            }
        }
    }

    pub(crate) fn check(&self, output: &Output, limits: &Call) -> Result<(), Fault> {
        let bytes = bytes(output);
        if bytes > limits.output_bytes_max {
            return Err(too_large(limits));
        }
        match (self, output) {
            (_, Output::Json(text)) => json(text, "the answer"),
            (_, Output::Page(answer)) => page(answer, limits),
            (Self::Outcomes(expected), Output::Outcomes(outcomes)) => all(expected, outcomes),
            (_, Output::Outcomes(_)) => Err(invalid("outcomes that nobody asked for".to_owned())),
        }
    }
}

/// The fault for an answer beyond the limit.
pub(crate) fn too_large(limits: &Call) -> Fault {
    let detail = format!("handed the host more than {} bytes", limits.output_bytes_max);
    Fault::new(Code::GuestOutputTooLarge, detail)
}

fn invalid(detail: String) -> Fault {
    Fault::new(Code::GuestOutputInvalid, detail)
}

fn page(page: &Page, limits: &Call) -> Result<(), Fault> {
    let most = limits.batch_items_max as usize;
    if page.records.len() > most {
        let count = page.records.len();
        return Err(invalid(format!("a page of {count} records; {most} is the most")));
    }
    for record in &page.records {
        json(&record.data, "a record")?;
    }
    page.next.as_deref().map_or(Ok(()), |next| json(next, "the next cursor"))
}

fn all(expected: &[String], outcomes: &[Outcome]) -> Result<(), Fault> {
    let mut answered: Vec<_> = outcomes.iter().map(|outcome| outcome.reference.as_str()).collect();
    answered.sort_unstable();
    if answered != expected {
        let (items, count) = (expected.len(), outcomes.len());
        return Err(invalid(format!("{count} outcomes that do not match the {items} items")));
    }
    let written = outcomes.iter().filter_map(|outcome| outcome.result.as_ref().ok());
    for data in written.filter_map(|written| written.data.as_deref()) {
        json(data, "a written record")?;
    }
    Ok(())
}

fn json(text: &str, what: &str) -> Result<(), Fault> {
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        return Err(invalid(format!("{what} is no JSON")).caused_by(error));
    }
    // Ignoring needs no stack, so serde_json bounds no depth; whoever reads the value next does.
    if depth(text) >= limits::JSON_DEPTH_MAX {
        return Err(invalid(format!(
            "{what} is nested deeper than {}",
            limits::JSON_DEPTH_MAX - 1
        )));
    }
    Ok(())
}

/// How deep a valid JSON text is nested.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth -= 1,
            b'"' => rest = behind_string(behind),
            _ => {}
        }
    }
    deepest
}

/// What follows a string of which this is the part after its first quote.
fn behind_string(mut rest: &[u8]) -> &[u8] {
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
        if rest[at] == b'"' {
            return &rest[at + 1..];
        }
        // A backslash takes the byte after it along.
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    &[]
}

/// Bytes of text in an answer.
fn bytes(output: &Output) -> usize {
    let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    match output {
        Output::Json(text) => text.len(),
        Output::Page(page) => {
            let record = |record: &keyway_core::call::Record| {
                record.id.len() + optional(&record.updated_at) + record.data.len()
            };
            page.records.iter().map(record).sum::<usize>() + optional(&page.next)
        }
        Output::Outcomes(outcomes) => {
            let result = |outcome: &Outcome| match &outcome.result {
                Ok(written) => written.id.len() + optional(&written.data),
                Err(failure) => failure.message.len(),
            };
            outcomes.iter().map(|outcome| outcome.reference.len() + result(outcome)).sum()
        }
    }
}

#[cfg(test)]
mod tests {
    use keyway_core::call::{Record, WriteItem, WriteRequest, Written};
    use keyway_core::descriptor::WriteOperation;

    use super::*;

    fn code(expected: &Expected, output: &Output, limits: &Call) -> Option<Code> {
        expected.check(output, limits).err().map(|fault| fault.code)
    }

    fn record(data: &str) -> Record {
        Record { id: "1".into(), updated_at: None, deleted: false, data: data.into() }
    }

    #[test]
    fn json_must_be_json() {
        let limits = Call::default();
        let check = |text: &str| code(&Expected::Json, &Output::Json(text.into()), &limits);
        for text in ["{}", "[1,\"]\\\"]\"]", "null", "\"x\"", "1e5"] {
            assert_eq!(check(text), None, "{text}");
        }
        for text in ["", "{", "{}x", "nul", "{'a':1}", "[1,]", "\u{feff}{}"] {
            assert_eq!(check(text), Some(Code::GuestOutputInvalid), "{text}");
        }
    }

    #[test]
    fn json_is_as_deep_as_serde_json_reads_and_no_deeper() {
        let limits = Call::default();
        for levels in [limits::JSON_DEPTH_MAX - 1, limits::JSON_DEPTH_MAX, 100_000] {
            let text = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
            let ours = code(&Expected::Json, &Output::Json(text.clone()), &limits).is_none();
            assert_eq!(ours, serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{levels}");
            assert_eq!(ours, levels < limits::JSON_DEPTH_MAX);
        }
    }

    #[test]
    fn size_is_held_at_the_limit() {
        let limits = Call { output_bytes_max: 10, ..Call::default() };
        let text = |length: usize| Output::Json(format!("\"{}\"", "x".repeat(length - 2)));
        assert_eq!(code(&Expected::Json, &text(10), &limits), None);
        assert_eq!(code(&Expected::Json, &text(11), &limits), Some(Code::GuestOutputTooLarge));
        let page = |records| Output::Page(Page { records, next: Some("\"abc\"".into()) });
        assert_eq!(code(&Expected::Page, &page(vec![record("null")]), &limits), None);
        let two = page(vec![record("null"), record("1")]);
        assert_eq!(code(&Expected::Page, &two, &limits), Some(Code::GuestOutputTooLarge));
    }

    #[test]
    fn pages_are_held_to_count_and_json() {
        let limits = Call { batch_items_max: 2, ..Call::default() };
        let page = |records, next: Option<&str>| {
            let output = Output::Page(Page { records, next: next.map(Into::into) });
            code(&Expected::Page, &output, &limits)
        };
        assert_eq!(page(vec![record("{}"); 2], Some("{\"after\":1}")), None);
        assert_eq!(page(vec![record("{}"); 3], None), Some(Code::GuestOutputInvalid));
        assert_eq!(page(vec![record("{")], None), Some(Code::GuestOutputInvalid));
        assert_eq!(page(vec![], Some("after=1")), Some(Code::GuestOutputInvalid));
    }

    #[test]
    fn outcomes_match_items_in_any_order() {
        let item = |reference: &str| WriteItem {
            reference: reference.into(),
            id: None,
            data: "{}".into(),
            idempotency_key: String::new(),
        };
        let expected = Expected::of(&Operation::Write(WriteRequest {
            object: "contacts".parse().unwrap(),
            operation: WriteOperation::Create,
            match_on: None,
            items: vec![item("a"), item("b")],
            all_or_none: false,
        }));
        let check = |references: &[&str]| {
            let outcome = |reference: &&str| Outcome {
                reference: (*reference).into(),
                result: Ok(Written { id: "1".into(), data: None }),
            };
            let output = Output::Outcomes(references.iter().map(outcome).collect());
            code(&expected, &output, &Call::default())
        };
        assert_eq!(check(&["b", "a"]), None);
        for wrong in [&["a"][..], &["a", "b", "c"], &["a", "a"], &["a", "c"], &[]] {
            assert_eq!(check(wrong), Some(Code::GuestOutputInvalid), "{wrong:?}");
        }
    }
}
