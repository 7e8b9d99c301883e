//! `keyway logs calls`: a row for each call, and below it what was said.

use keyway_api::contract::logged::{LoggedCall, LoggedLine};

use super::{Entry, Wanted, parameters, show, timestamp};
use crate::args::LoggedCalls;
use crate::commands::remote::Session;
use crate::exit::Exit;

/// Shows calls.
pub(super) async fn calls(session: &Session, typed: LoggedCalls) -> anyhow::Result<Exit> {
    let more = parameters(&[("failed", typed.failed.then_some("true"))]);
    show::<LoggedCall, _>(session, Wanted { typed: &typed.logged, more }).await
}

// === impl Entry ===

impl Entry<7> for LoggedCall {
    const MANY: &'static str = "calls";
    const ONE: &'static str = "call";
    const HEADER: [&'static str; 7] =
        ["TIME", "TENANT", "VERB", "OUTCOME", "MS", "RELEASE", "CALL"];
    const WIDTHS: [usize; 7] = [24, 16, 8, 24, 6, 20, 37];

    fn row(&self) -> [String; 7] {
        let Self { release, failure, .. } = self;
        [
            timestamp(self.at),
            self.tenant.clone(),
            self.verb.clone(),
            failure.as_ref().map_or("ok".to_owned(), |failure| failure.code.clone()),
            format!("{:.0}", self.elapsed_ms),
            format!("{}@{}", release.connector, release.version),
            self.call.clone(),
        ]
    }

    fn id(&self) -> u64 {
        self.id
    }

    /// What was said, and last why it failed.
    fn below(&self) -> Vec<String> {
        let mut said = Vec::new();
        if self.lines_dropped > 0 {
            said.push(format!("| ({} lines before these were not kept)", self.lines_dropped));
        }
        said.extend(self.lines.iter().flatten().map(line));
        let detail = self.failure.as_ref().and_then(|failure| failure.detail.as_ref());
        said.extend(detail.map(|detail| format!("| -> {detail}")));
        said
    }
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
        assert_eq!(call.row()[3..], ["guest-trap", "12", "a/b@1.0.0", "call_1"]);
        assert_eq!(
            call.below(),
            [
                "| (2 lines before these were not kept)",
                "|      3 ms log    info  greeting {\"polite\":true}",
                "|     11 ms stderr warn  panicked",
                "| -> unreachable",
            ]
        );
        let bare = LoggedCall { failure: None, lines: None, lines_dropped: 0, ..call };
        assert_eq!((bare.row()[3].as_str(), bare.below().len()), ("ok", 0));
    }
}
