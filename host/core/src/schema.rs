//! JSON Schema, checked within bounds: an action's input and an installation's configuration.
//!
//! A schema is a publisher's data and an input is a caller's. Either may be made to cost as much as can be had: references
//! that double at each level, lists of a million items that all misfit, patterns that compile to megabytes. So nothing here
//! grows with more than what was given, and everything that takes time is counted:
//!
//! - **A schema is compiled once**, when its release is checked, in the process that checks components, and again under the
//!   same bounds where the host first needs it. Each place of it is compiled once, however often it is referred to, without
//!   recursion. Bounded are what one value can be made to run through ([`COST_MAX`]), how deep that is nested ([`DEPTH_MAX`]),
//!   and the patterns, one by one and together ([`Allowance`]). References stay within the document.
//! - **An input is read as text**, into a list of 16 bytes for each value ([`Document`]), never as a tree of allocations.
//! - **A check counts its steps** and gives up when they are spent. It stops at the first few problems, cuts what it quotes, and
//!   allocates nothing that outlives a rule. A match is counted by the length of the text, so patterns are part of the budget.
//!
//! The dialect is JSON Schema 2020-12; 2019-09 and drafts 4 to 7 are read where `$schema` names them. `format` and the
//! `content…` words are annotations. `$dynamicRef`, `$recursiveRef` and an `$id` below the root are refused. What it says of
//! values is held against an implementation that knows no bounds, by a property test.

mod check;
mod compile;
mod document;
mod number;
mod pattern;

use std::fmt;

use serde_json::Value;

use crate::limits::SCHEMA_STEPS_MAX;
pub use document::{Document, NotRead};
pub use pattern::Allowance;

/// Rules that one value can be made to run through, references followed. The largest hand-written schemas have some
/// hundreds; one whose references double at each level has 2^n.
pub const COST_MAX: u64 = 20_000;

/// Schemas within schemas that look at the same value, references followed: `allOf` in `anyOf` in …
pub const DEPTH_MAX: usize = 64;

/// Checks within checks, of values within values: what the stack of a thread takes, three times over.
const NESTING_MAX: u32 = 300;

/// Steps of one part of a check, after which it is asked whether it goes on: a millisecond or two.
pub const PART_STEPS: u64 = 50_000;

/// Problems that one answer lists; the rest are the same mistake again.
pub const PROBLEMS_MAX: usize = 5;

/// Asked before each part of a check, with the steps that the part may take: whether the check goes on. Where it does not,
/// its steps count as spent. A part has up to [`PART_STEPS`]; a match of a long text cannot be divided and may have more.
pub type GoOn<'a> = &'a mut dyn FnMut(u64) -> bool;

/// A compiled schema. It does not change.
#[derive(Debug)]
pub struct Schema {
    nodes: Vec<compile::Node>,
    patterns: Vec<pattern::Pattern>,
}

/// A schema that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{problem}")]
pub struct InvalidSchema {
    /// Where in the schema, as a JSON Pointer (RFC 6901); the first few hundred bytes of it.
    pub pointer: String,
    /// What is wrong there.
    pub problem: String,
}

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It fits.
    Fits,
    /// It does not: the first few problems, each with its place.
    Misfits(Vec<String>),
    /// The steps were spent, or it is nested too deep, before it was known.
    Spent,
}

// === impl Schema ===

impl Schema {
    /// Compiles a schema by itself.
    pub fn compile(schema: &Value) -> Result<Self, InvalidSchema> {
        Self::compile_within(schema, &mut Allowance::default())
    }

    /// Compiles one of several schemas, whose patterns share an allowance.
    pub fn compile_within(
        schema: &Value,
        allowance: &mut Allowance,
    ) -> Result<Self, InvalidSchema> {
        compile::compile(schema, allowance)
    }

    /// Holds a document against it, in no more than so many steps. A step is some tens of nanoseconds.
    pub fn check(&self, document: &Document<'_>, steps_max: u64) -> Verdict {
        self.check_in_parts(document, steps_max, &mut |_| true)
    }

    /// The same for whoever lets others go first now and then, or may lose interest.
    pub fn check_in_parts(
        &self,
        document: &Document<'_>,
        steps_max: u64,
        go_on: GoOn<'_>,
    ) -> Verdict {
        check::check(self, document, steps_max, go_on)
    }

    /// Holds JSON text against it, within the documented bounds.
    pub fn check_text(&self, text: &str) -> Result<Verdict, NotRead> {
        Ok(self.check(&Document::read(text)?, SCHEMA_STEPS_MAX))
    }

    /// Bytes that it keeps, roughly: for whoever keeps many.
    pub fn bytes(&self) -> usize {
        let patterns: usize = self.patterns.iter().map(pattern::Pattern::bytes).sum();
        patterns + self.nodes.iter().map(compile::Node::bytes).sum::<usize>()
    }
}

// === impl Verdict ===

/// The problems as one line; empty if there is none.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fits => Ok(()),
            Self::Misfits(problems) => f.write_str(&problems.join("; ")),
            Self::Spent => write!(f, "checking it takes more than {SCHEMA_STEPS_MAX} steps"),
        }
    }
}

/// The beginning of a text, with a mark if it was cut.
fn cut(text: &str, bytes_max: usize) -> String {
    let kept = &text[..text.floor_char_boundary(bytes_max)];
    if kept.len() == text.len() { text.to_owned() } else { format!("{kept}…") }
}

#[cfg(test)]
mod tests;
