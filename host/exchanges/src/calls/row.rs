//! A call as JSON in a frame: one shape, written and read here. A later field is optional; anything else is a new format
//! of the segment.

use std::time::Duration;

use keyway_core::json;
use keyway_core::said::SaidCall;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;

use super::{KeptCall, KeptFailure, KeptLine};
use crate::kept::Position;
use crate::release::Release;
use crate::row::{Text, Unreadable, installation, parse};

/// A row. Lines stay the text that they are until somebody wants them: most rows that are looked at are passed over.
#[derive(Serialize, Deserialize)]
pub(super) struct Row<'a> {
    #[serde(with = "time::serde::rfc3339")]
    pub(super) at: OffsetDateTime,
    #[serde(borrow)]
    pub(super) call: Text<'a>,
    #[serde(borrow)]
    pub(super) environment: Text<'a>,
    #[serde(borrow)]
    pub(super) tenant: Text<'a>,
    #[serde(borrow)]
    pub(super) connector: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    user: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) release: Release<'a>,
    #[serde(borrow)]
    verb: Text<'a>,
    elapsed_us: u64,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    whose: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    detail: Option<Text<'a>>,
    lines_dropped: u64,
    #[serde(borrow)]
    lines: &'a RawValue,
}

/// A line of a row.
#[derive(Serialize, Deserialize)]
struct Line<'a> {
    after_us: u64,
    #[serde(borrow)]
    source: Text<'a>,
    #[serde(borrow)]
    level: Text<'a>,
    #[serde(borrow)]
    message: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fields: Option<Box<RawValue>>,
}

/// Writes a call down. None if it has a time that cannot be written.
pub(super) fn write(call: &SaidCall) -> Option<Vec<u8>> {
    let lines: Vec<_> = call.lines.iter().map(line).collect();
    let lines = serde_json::value::to_raw_value(&lines).ok()?;
    let id = call.call.to_string();
    let failure = call.failure.as_ref();
    let row = Row {
        at: call.at,
        call: Text::of(&id),
        environment: Text::of(call.installation.environment.as_str()),
        tenant: Text::of(call.installation.tenant.as_str()),
        connector: Text::of(call.installation.connector.as_str()),
        user: call.user.as_ref().map(|user| Text::of(user.as_str())),
        release: Release::of(&call.release),
        verb: Text::of(call.verb),
        elapsed_us: micros(call.elapsed),
        code: failure.map(|failure| Text::of(failure.code.as_str())),
        whose: failure.map(|failure| Text::of(failure.whose.as_str())),
        detail: failure.map(|failure| Text::of(&failure.detail)),
        lines_dropped: call.lines_dropped,
        lines: &lines,
    };
    serde_json::to_vec(&row).ok()
}

/// Reads a row as far as it is needed to see what it is about.
pub(super) fn read(bytes: &[u8]) -> Result<Row<'_>, Unreadable> {
    Ok(serde_json::from_slice(bytes)?)
}

fn line(line: &keyway_core::said::KeptLine) -> Line<'_> {
    Line {
        after_us: micros(line.after),
        source: Text::of(line.source.as_str()),
        level: Text::of(line.level.as_str()),
        message: Text::of(&line.message),
        // Empty is no JSON, and none.
        fields: RawValue::from_string(line.fields.to_string()).ok(),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

// === impl Row ===

impl Row<'_> {
    /// All of it.
    pub(super) fn kept(&self, id: u64) -> Result<KeptCall, Unreadable> {
        let lines: Vec<Line<'_>> = serde_json::from_str(self.lines.get())?;
        let text = |text: &Text<'_>| text.0.to_string();
        let failure = self.code.as_ref().map(|code| KeptFailure {
            code: text(code),
            whose: self.whose.as_ref().map(text).unwrap_or_default(),
            detail: self.detail.as_ref().map(text),
        });
        Ok(KeptCall {
            id: Position(id),
            at: self.at,
            call: self.call.0.parse()?,
            installation: installation(&self.environment, &self.tenant, &self.connector)?,
            user: parse(self.user.as_ref())?,
            release: self.release.reference()?,
            verb: text(&self.verb),
            elapsed: Duration::from_micros(self.elapsed_us),
            failure,
            lines: lines.into_iter().map(KeptLine::from).collect(),
            lines_dropped: self.lines_dropped,
        })
    }
}

// === impl KeptLine ===

impl From<Line<'_>> for KeptLine {
    fn from(line: Line<'_>) -> Self {
        Self {
            after: Duration::from_micros(line.after_us),
            source: line.source.0.into_owned(),
            level: line.level.0.into_owned(),
            message: line.message.0.into_owned(),
            fields: line.fields.and_then(|fields| json::tree(fields.get()).ok()),
        }
    }
}
