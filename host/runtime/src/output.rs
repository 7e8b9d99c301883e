//! Whether what a guest answered is what the contract promises.
//!
//! JSON is checked to be JSON, of bearable depth, without building anything from it; what it means is
//! for others, and its text goes on as it is. Two things are mended that every reader behind would stumble over: a byte
//! order mark is dropped, and half a surrogate pair becomes U+FFFD. A page must be no larger than pages are, and outcomes
//! must match the items written.
//!
//! An answer may have megabytes. So a check is a future that is polled for some milliseconds at a time, and whoever polls it
//! can charge it like the guest itself.

mod scan;

use keyway_core::call::{Extra, Json, Operation, Outcome, Output, Page};
use keyway_core::{Code, Fault, limits};

use self::scan::{NotJson, Scan};
use crate::limits::Call;

/// UTF-8's byte order mark, which readers of JSON may skip (RFC 8259 section 8.1).
const BYTE_ORDER_MARK: char = '\u{feff}';

/// U+FFFD, which stands for what is no character, as an escape.
const REPLACEMENT: &str = "\\ufffd";

/// Bytes that are looked at in one poll: for as long as a guest may hold its worker, at the most.
const PART_BYTES: usize = 2 << 20;

/// What looking at an escape takes, in bytes of plain text.
const ESCAPE_BYTES: usize = 32;

/// Divides a check.
struct Parts {
    bytes_left: usize,
}

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

    /// Checks an answer, and mends its JSON where that is all that is wrong with it.
    pub(crate) async fn check(&self, output: &mut Output, limits: &Call) -> Result<(), Fault> {
        let bytes = bytes(output);
        if bytes > limits.output_bytes_max {
            return Err(too_large(limits));
        }
        let mut parts = Parts { bytes_left: PART_BYTES };
        match (self, output) {
            (_, Output::Json(text)) => json(text, "the answer", &mut parts).await,
            (_, Output::Page(answer)) => page(answer, limits, &mut parts).await,
            (Self::Outcomes(expected), Output::Outcomes(outcomes)) => {
                all(expected, outcomes, &mut parts).await
            }
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

// === impl Parts ===

impl Parts {
    /// So much was looked at.
    async fn took(&mut self, bytes: usize) {
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        if self.bytes_left == 0 {
            self.bytes_left = PART_BYTES;
            tokio::task::yield_now().await;
        }
    }
}

async fn page(page: &mut Page, limits: &Call, parts: &mut Parts) -> Result<(), Fault> {
    let most = limits.batch_items_max as usize;
    if page.records.len() > most {
        let count = page.records.len();
        return Err(invalid(format!("a page of {count} records; {most} is the most")));
    }
    for record in &mut page.records {
        json(&mut record.data, "a record", parts).await?;
        extra(&record.extra, "a record")?;
    }
    extra(&page.extra, "the page")?;
    match &mut page.next {
        Some(next) => json(next, "the next cursor", parts).await,
        None => Ok(()),
    }
}

async fn all(
    expected: &[String],
    outcomes: &mut [Outcome],
    parts: &mut Parts,
) -> Result<(), Fault> {
    let mut answered: Vec<_> = outcomes.iter().map(|outcome| outcome.reference.as_str()).collect();
    answered.sort_unstable();
    if answered != expected {
        let (items, count) = (expected.len(), outcomes.len());
        return Err(invalid(format!("{count} outcomes that do not match the {items} items")));
    }
    let written = outcomes.iter_mut().filter_map(|outcome| outcome.result.as_mut().ok());
    for written in written {
        if let Some(data) = &mut written.data {
            json(data, "a written record", parts).await?;
        }
        extra(&written.extra, "a written record")?;
    }
    Ok(())
}

/// Refuses an `extra` that no caller would be given whole. That of a failure is cut instead: it is read by people.
fn extra(extra: &Extra, of: &str) -> Result<(), Fault> {
    let (pairs, bytes) = (extra.len(), extra_bytes(extra));
    let (pairs_max, bytes_max) = (limits::EXTRA_PAIRS_MAX, limits::EXTRA_BYTES_MAX);
    if pairs > pairs_max || bytes > bytes_max {
        return Err(invalid(format!(
            "`extra` of {of} has {pairs} pairs and {bytes} bytes; {pairs_max} and {bytes_max} are the most"
        )));
    }
    Ok(())
}

fn extra_bytes(extra: &Extra) -> usize {
    extra.iter().map(|(name, value)| name.len() + value.len()).sum()
}

async fn json(text: &mut Json, what: &str, parts: &mut Parts) -> Result<(), Fault> {
    if text.starts_with(BYTE_ORDER_MARK) {
        text.drain(..BYTE_ORDER_MARK.len_utf8());
    }
    let mut scan = Scan::new();
    for part in text.as_bytes().chunks(PART_BYTES) {
        scan.take(part).map_err(|error| not_json(what, error))?;
        parts.took(part.len()).await;
    }
    scan.end().map_err(|error| not_json(what, error))?;
    mend(text, parts).await;
    Ok(())
}

fn not_json(what: &str, error: NotJson) -> Fault {
    let detail = match error {
        NotJson::Deep => format!("{what} is nested deeper than {}", limits::JSON_DEPTH_MAX - 1),
        _ => format!("{what} is no JSON"),
    };
    invalid(detail).caused_by(error)
}

/// Replaces each half of a surrogate pair in valid JSON text (RFC 8259 section 8.2). What a string's escapes stand for was
/// not looked at; whoever reads it does, and refuses the whole text.
async fn mend(text: &mut Json, parts: &mut Parts) {
    let mut at = 0;
    while at < text.len() {
        let bytes = text.as_bytes();
        let window = &bytes[at..bytes.len().min(at + PART_BYTES)];
        let Some(found) = memchr::memchr(b'\\', window) else {
            at += window.len();
            parts.took(window.len()).await;
            continue;
        };
        let start = at + found;
        let behind = start + REPLACEMENT.len();
        at = match (unit(bytes, start), unit(bytes, behind)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => behind + REPLACEMENT.len(),
            (Some(0xd800..=0xdfff), _) => {
                // As long as what it replaces, so the other places stay what they are.
                text.replace_range(start..behind, REPLACEMENT);
                behind
            }
            // A backslash takes the byte after it along.
            _ => start + 2,
        };
        parts.took(found + ESCAPE_BYTES).await;
    }
}

/// The code unit of the `\uXXXX` that stands there, if one does.
fn unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at..at + REPLACEMENT.len())?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Bytes of text in an answer.
fn bytes(output: &Output) -> usize {
    let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    match output {
        Output::Json(text) => text.len(),
        Output::Page(page) => {
            let record = |record: &keyway_core::call::Record| {
                record.id.len()
                    + optional(&record.updated_at)
                    + record.data.len()
                    + extra_bytes(&record.extra)
            };
            page.records.iter().map(record).sum::<usize>()
                + optional(&page.next)
                + extra_bytes(&page.extra)
        }
        Output::Outcomes(outcomes) => {
            let result = |outcome: &Outcome| match &outcome.result {
                Ok(written) => {
                    written.id.len() + optional(&written.data) + extra_bytes(&written.extra)
                }
                Err(failure) => failure.message.len() + extra_bytes(&failure.extra),
            };
            outcomes.iter().map(|outcome| outcome.reference.len() + result(outcome)).sum()
        }
    }
}

#[cfg(test)]
mod tests {
    use keyway_core::call::{Record, WriteItem, WriteRequest, Written};
    use keyway_core::descriptor::WriteOperation;

    use serde::de::IgnoredAny;

    use super::*;

    /// Polls it until it is over.
    fn check(expected: &Expected, output: &mut Output, limits: &Call) -> Result<(), Fault> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(expected.check(output, limits))
    }

    fn code(expected: &Expected, output: &Output, limits: &Call) -> Option<Code> {
        check(expected, &mut output.clone(), limits).err().map(|fault| fault.code)
    }

    fn record(data: &str) -> Record {
        let (id, data) = ("1".into(), data.into());
        Record { id, updated_at: None, deleted: false, data, extra: Extra::new() }
    }

    #[test]
    fn json_must_be_json() {
        let limits = Call::default();
        let check = |text: &str| code(&Expected::Json, &Output::Json(text.into()), &limits);
        for text in ["{}", "[1,\"]\\\"]\"]", "null", "\"x\"", "1e5"] {
            assert_eq!(check(text), None, "{text}");
        }
        for text in [
            "",
            "{",
            "{}x",
            "nul",
            "{'a':1}",
            "[1,]",
            r#""\x""#,
            r#""\u12""#,
            "\u{feff}",
            "{}\u{feff}",
        ] {
            assert_eq!(check(text), Some(Code::GuestOutputInvalid), "{text}");
        }
    }

    #[test]
    fn what_every_reader_would_stumble_over_is_mended_and_nothing_else_is_touched() {
        let mended = |text: &str| {
            let mut output = Output::Json(text.into());
            check(&Expected::Json, &mut output, &Call::default()).unwrap();
            let Output::Json(text) = output else { unreachable!("it stays what it is") };
            assert!(serde_json::from_str::<IgnoredAny>(&text).is_ok());
            text
        };
        for (text, expected) in [
            (r#"["\ud800"]"#, r#"["\ufffd"]"#),
            (r#"{"\uDFFF\ud83d":"\udc00\ud800"}"#, r#"{"\ufffd\ufffd":"\ufffd\ufffd"}"#),
            (r#""\ud83d\ud83d\ude00x\ud83d""#, r#""\ufffd\ud83d\ude00x\ufffd""#),
            ("\u{feff}{}", "{}"),
            ("\u{feff}\"\\ud800\"", r#""\ufffd""#),
        ] {
            assert_eq!(mended(text), expected, "{text}");
            assert!(serde_json::from_str::<serde_json::Value>(expected).is_ok(), "{expected}");
        }
        for text in [
            r#" { "z" : 1.0 , "a" : [ 12345678901234567.89, 1E400, -0, 123456789012345678901234567890 ] } "#,
            r#""\ud83d\ude00 \\ud800 \\\u0041 \u00e9""#,
        ] {
            assert_eq!(mended(text), text);
        }
        let mut page = Output::Page(Page {
            records: vec![record(r#""\ud800""#)],
            next: Some(r#""\udc00""#.into()),
            extra: Extra::new(),
        });
        check(&Expected::Page, &mut page, &Call::default()).unwrap();
        let Output::Page(page) = page else { unreachable!("it stays what it is") };
        assert_eq!(
            (page.records[0].data.as_str(), page.next.as_deref()),
            (r#""\ufffd""#, Some(r#""\ufffd""#))
        );
    }

    #[test]
    fn what_is_mended_may_lie_between_two_parts() {
        for before in PART_BYTES - 13..PART_BYTES + 1 {
            let text = |middle: &str| format!("\"{}{middle}x\"", "a".repeat(before));
            for (sent, kept) in [
                (r"\ud800", r"\ufffd"),
                (r"\ud83d\ude00", r"\ud83d\ude00"),
                (r"\\ud800", r"\\ud800"),
            ] {
                let mut output = Output::Json(text(sent));
                check(&Expected::Json, &mut output, &Call::default()).unwrap();
                let Output::Json(mended) = output else { unreachable!("it stays what it is") };
                assert!(mended == text(kept), "{before}: {}", &mended[before..]);
            }
        }
    }

    /// Fails if an answer of many megabytes is checked in one go.
    #[test]
    fn a_long_check_lets_others_go_in_between() {
        use std::future::Future as _;
        use std::task::{Context, Waker};
        for text in [
            format!("\"{}\"", "a".repeat(4 * PART_BYTES)),
            format!("\"{}\"", r"\ud800".repeat(2 * PART_BYTES / REPLACEMENT.len())),
        ] {
            let bytes = text.len();
            let (mut output, limits) = (Output::Json(text), Call::default());
            let mut check = std::pin::pin!(Expected::Json.check(&mut output, &limits));
            let mut polls = 1;
            while check.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                polls += 1;
            }
            assert!(polls > bytes / PART_BYTES, "{polls}");
        }
        let limits = Call::default();
        let mut short = Output::Json("[1]".to_owned());
        let check = std::pin::pin!(Expected::Json.check(&mut short, &limits));
        assert!(check.poll(&mut Context::from_waker(Waker::noop())).is_ready());
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
        let page = |records| {
            Output::Page(Page { records, next: Some("\"abc\"".into()), extra: Extra::new() })
        };
        assert_eq!(code(&Expected::Page, &page(vec![record("null")]), &limits), None);
        let two = page(vec![record("null"), record("1")]);
        assert_eq!(code(&Expected::Page, &two, &limits), Some(Code::GuestOutputTooLarge));
    }

    #[test]
    fn pages_are_held_to_count_and_json() {
        let limits = Call { batch_items_max: 2, ..Call::default() };
        let page = |records, next: Option<&str>| {
            let output =
                Output::Page(Page { records, next: next.map(Into::into), extra: Extra::new() });
            code(&Expected::Page, &output, &limits)
        };
        assert_eq!(page(vec![record("{}"); 2], Some("{\"after\":1}")), None);
        assert_eq!(page(vec![record("{}"); 3], None), Some(Code::GuestOutputInvalid));
        assert_eq!(page(vec![record("{")], None), Some(Code::GuestOutputInvalid));
        assert_eq!(page(vec![], Some("after=1")), Some(Code::GuestOutputInvalid));
    }

    #[test]
    fn extra_is_held_at_the_limits_wherever_it_comes() {
        let pairs = |count: usize, bytes: usize| -> Extra {
            vec![("n".repeat(4), "v".repeat(bytes - 4)); count]
        };
        let most =
            pairs(limits::EXTRA_PAIRS_MAX, limits::EXTRA_BYTES_MAX / limits::EXTRA_PAIRS_MAX);
        let longer = [most.clone(), vec![(String::new(), String::new())]].concat();
        let larger =
            pairs(limits::EXTRA_PAIRS_MAX, limits::EXTRA_BYTES_MAX / limits::EXTRA_PAIRS_MAX + 1);
        for (extra, expected) in [
            (most, None),
            (longer, Some(Code::GuestOutputInvalid)),
            (larger, Some(Code::GuestOutputInvalid)),
        ] {
            let of_page = Page { records: vec![], next: None, extra: extra.clone() };
            let records = vec![Record { extra: extra.clone(), ..record("1") }];
            let of_record = Page { records, next: None, extra: Extra::new() };
            for page in [of_page, of_record] {
                assert_eq!(code(&Expected::Page, &Output::Page(page), &Call::default()), expected);
            }
            let written = Written { id: "1".into(), data: None, extra };
            let outcome = Outcome { reference: "a".into(), result: Ok(written) };
            let written = Expected::Outcomes(vec!["a".to_owned()]);
            assert_eq!(
                code(&written, &Output::Outcomes(vec![outcome]), &Call::default()),
                expected
            );
        }
    }

    #[test]
    fn outcomes_match_items_in_any_order() {
        let item = |reference: &str| WriteItem {
            reference: reference.into(),
            id: None,
            data: "{}".into(),
            idempotency_key: String::new(),
            extra: Extra::new(),
        };
        let expected = Expected::of(&Operation::Write(WriteRequest {
            object: "contacts".parse().unwrap(),
            operation: WriteOperation::Create,
            match_on: None,
            items: vec![item("a"), item("b")],
            all_or_none: false,
            extra: Extra::new(),
        }));
        let check = |references: &[&str]| {
            let outcome = |reference: &&str| Outcome {
                reference: (*reference).into(),
                result: Ok(Written { id: "1".into(), data: None, extra: Extra::new() }),
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
