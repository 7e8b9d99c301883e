//! `keyway logs calls`: a row for each call, and below it what was said.

use keyway_api::contract::logged::{LoggedCall, LoggedLine};

use super::{Entry, Wanted, parameters, show, timestamp};
use crate::args::LoggedCalls;
use crate::commands::remote::Session;
use crate::exit::Exit;
use crate::output::{self, Table};

const HEADER: [&str; 7] = ["TIME", "TENANT", "VERB", "OUTCOME", "MS", "RELEASE", "CALL"];

/// Widths of the columns of rows that are printed one by one.
const WIDTHS: [usize; 7] = [24, 16, 8, 24, 6, 20, 37];

/// Shows calls.
pub(super) async fn calls(session: &Session, typed: LoggedCalls) -> anyhow::Result<Exit> {
    let more = parameters(&[("failed", typed.failed.then_some("true"))]);
    show::<LoggedCall>(session, Wanted { typed: &typed.logged, more }).await
}

// === impl Entry ===

impl Entry for LoggedCall {
    const MANY: &'static str = "calls";
    const ONE: &'static str = "call";

    type Table = Table<7>;

    fn table(entries: &[Self]) -> Self::Table {
        Table::of(HEADER, &entries.iter().map(row).collect::<Vec<_>>())
    }

    fn endless() -> Self::Table {
        Table::at_most(HEADER, WIDTHS)
    }

    fn print_header(table: &Self::Table) {
        table.header();
    }

    fn print(&self, table: &Self::Table) {
        table.row(&row(self));
        said(self).iter().for_each(output::line);
    }

    fn id(&self) -> u64 {
        self.id
    }
}

fn row(call: &LoggedCall) -> [String; 7] {
    let LoggedCall { release, failure, .. } = call;
    [
        timestamp(call.at),
        call.tenant.clone(),
        call.verb.clone(),
        failure.as_ref().map_or("ok".to_owned(), |failure| failure.code.clone()),
        format!("{:.0}", call.elapsed_ms),
        format!("{}@{}", release.connector, release.version),
        call.call.clone(),
    ]
}

/// What was said, and last why it failed.
fn said(call: &LoggedCall) -> Vec<String> {
    let mut said = Vec::new();
    if call.lines_dropped > 0 {
        said.push(format!("| ({} lines before these were not kept)", call.lines_dropped));
    }
    said.extend(call.lines.iter().flatten().map(line));
    let detail = call.failure.as_ref().and_then(|failure| failure.detail.as_ref());
    said.extend(detail.map(|detail| format!("| -> {detail}")));
    said
}

fn line(line: &LoggedLine) -> String {
    let LoggedLine { after_ms, source, level, message, fields } = line;
    let fields = fields.as_ref().map_or(String::new(), |fields| format!(" {fields}"));
    format!("| {after_ms:>6.0} ms {source:<6} {level:<5} {message}{fields}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_said_stands_below_its_call() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let call = json!({
            "id": 1, "at": "2026-03-01T10:11:12Z", "call": "call_1", "environment": "dev",
            "tenant": "acme", "connector": "a/b", "verb": "invoke", "elapsed_ms": 12.4,
            "release": {"connector": "a/b", "version": "1.0.0", "digest": digest},
            "failure": {"code": "guest-trap", "whose": "connector", "detail": "unreachable"},
            "lines": [
                {"after_ms": 3.2, "source": "log", "level": "info", "message": "greeting",
                 "fields": {"polite": true}},
                {"after_ms": 11.0, "source": "stderr", "level": "warn", "message": "panicked"},
            ],
            "lines_dropped": 2,
        });
        let call: LoggedCall = serde_json::from_value(call).unwrap();
        assert_eq!(row(&call)[3..], ["guest-trap", "12", "a/b@1.0.0", "call_1"]);
        assert_eq!(
            said(&call),
            [
                "| (2 lines before these were not kept)",
                "|      3 ms log    info  greeting {\"polite\":true}",
                "|     11 ms stderr warn  panicked",
                "| -> unreachable",
            ]
        );
        let bare = LoggedCall { failure: None, lines: None, lines_dropped: 0, ..call };
        assert_eq!((row(&bare)[3].as_str(), said(&bare).len()), ("ok", 0));
    }
}
