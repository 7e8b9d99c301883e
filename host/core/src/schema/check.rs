//! Holding a value against rules, step by step, until it is known or the steps are spent.

mod looked;
mod same;

use std::borrow::Cow;

use super::compile::{At, Fields, Items, Range, Rule};
use super::document::{self, Document, Kind};
use super::number::Number;
use super::pattern::Scratch;
use super::{GoOn, NESTING_MAX, PART_STEPS, PROBLEMS_MAX, Schema, Verdict, cut};

/// Bytes of a value, or of a name, that a problem quotes.
const QUOTE_BYTES_MAX: usize = 60;

/// Bytes of a place that a problem names.
const PATH_BYTES_MAX: usize = 200;

/// Why a check ends before all of it was looked at.
enum Stop {
    /// The steps were spent, or nobody wants to know any more.
    Spent,
    /// There are problems enough.
    Full,
}

type Holds = Result<bool, Stop>;

/// A step on the way to the value that is looked at.
#[derive(Clone, Copy)]
enum Step {
    /// A member, by its name.
    Field(document::At),
    Item(usize),
}

struct Run<'s, 'd> {
    schema: &'s Schema,
    document: &'d Document<'d>,
    /// Of this part.
    steps_left: u64,
    /// Of all parts that follow.
    steps_behind: u64,
    go_on: GoOn<'s>,
    nesting: u32,
    /// Whether problems are wanted; within `anyOf` and the like only the answer is.
    asked: bool,
    path: Vec<Step>,
    problems: Vec<String>,
    scratch: Scratch,
}

/// Holds a document against a schema.
pub(super) fn check<'s>(
    schema: &'s Schema,
    document: &Document<'_>,
    steps_max: u64,
    go_on: GoOn<'s>,
) -> Verdict {
    let mut run = Run {
        schema,
        document,
        steps_left: 0,
        steps_behind: steps_max,
        go_on,
        nesting: 0,
        asked: true,
        path: Vec::new(),
        problems: Vec::new(),
        scratch: Scratch::default(),
    };
    match run.holds(0, 0) {
        Ok(true) => Verdict::Fits,
        // Known misfits are an answer, also where the rest was not looked at.
        _ if !run.problems.is_empty() => Verdict::Misfits(run.problems),
        Ok(false) | Err(Stop::Full) => Verdict::Misfits(vec!["it does not fit".to_owned()]),
        Err(Stop::Spent) => Verdict::Spent,
    }
}

impl<'d> Run<'_, 'd> {
    fn holds(&mut self, at: At, node: document::At) -> Holds {
        self.spend(1)?;
        if self.nesting >= NESTING_MAX {
            return Err(Stop::Spent);
        }
        self.nesting += 1;
        let mut all = true;
        let schema = self.schema;
        for rule in &schema.nodes[at as usize].rules {
            self.spend(1)?;
            if !self.rule(rule, at, node)? {
                all = false;
                if !self.asked {
                    break;
                }
            }
        }
        self.nesting -= 1;
        Ok(all)
    }

    fn spend(&mut self, steps: u64) -> Result<(), Stop> {
        match self.steps_left.checked_sub(steps) {
            Some(left) => {
                self.steps_left = left;
                Ok(())
            }
            None => self.begin_part(steps),
        }
    }

    /// Takes so many steps, the first of a part that has them all.
    fn begin_part(&mut self, steps: u64) -> Result<(), Stop> {
        let all = self.steps_left + self.steps_behind;
        let part = PART_STEPS.max(steps).min(all);
        let left = part.checked_sub(steps).ok_or(Stop::Spent)?;
        if !(self.go_on)(part) {
            return Err(Stop::Spent);
        }
        (self.steps_left, self.steps_behind) = (left, all - part);
        Ok(())
    }

    fn rule(&mut self, rule: &Rule, at: At, node: document::At) -> Holds {
        match (rule, self.document.kind(node)) {
            (Rule::Never, _) => self.misfit("no value is allowed here"),
            (Rule::Types(types), kind) => self.types(*types, kind, node),
            (Rule::Enum(values), _) => self.among(values, node),
            (Rule::Ref(below), _) => self.holds(*below, node),
            (Rule::All(all), _) => self.all(all, node),
            (Rule::Any(any), _) => self.any(any, node),
            (Rule::One(any), _) => self.exactly_one(any, node),
            (Rule::Not(below), _) => self.not(*below, node),
            (Rule::If(branch), _) => {
                let chosen =
                    if self.quietly(branch.test, node)? { branch.then } else { branch.otherwise };
                chosen.map_or(Ok(true), |chosen| self.holds(chosen, node))
            }
            (_, Kind::Number) => self.number(rule, node),
            (_, Kind::Text) => self.text(rule, node),
            (_, Kind::List) => self.list(rule, at, node),
            (_, Kind::Fields) => self.object(rule, at, node),
            (_, Kind::Null | Kind::Bool) => Ok(true),
        }
    }

    // === values of one kind ===

    fn number(&mut self, rule: &Rule, node: document::At) -> Holds {
        use std::cmp::Ordering::{Greater, Less};
        let value = self.value(node)?;
        let (holds, what) = match rule {
            Rule::AtLeast(least) => (value.compare(least) != Less, "is too small"),
            Rule::AtMost(most) => (value.compare(most) != Greater, "is too large"),
            Rule::Above(least) => (value.compare(least) == Greater, "is too small"),
            Rule::Below(most) => (value.compare(most) == Less, "is too large"),
            Rule::MultipleOf(of) => {
                // Divided by digit by digit.
                self.spend(self.document.raw(node).len() as u64)?;
                (value.multiple_of(of), "is not of the right multiple")
            }
            _ => return Ok(true),
        };
        if holds { Ok(true) } else { self.misfit_value(node, what) }
    }

    fn text(&mut self, rule: &Rule, node: document::At) -> Holds {
        match rule {
            Rule::Length(range) => {
                self.spend(self.document.raw(node).len() as u64 / 16)?;
                let letters = self.document.text(node).chars().count() as u64;
                self.within(*range, letters, "letters")
            }
            Rule::Pattern(id) => {
                if self.occurs(*id, node)? {
                    return Ok(true);
                }
                let source = cut(&self.schema.patterns[*id as usize].source, QUOTE_BYTES_MAX);
                self.misfit_value(node, &format!("does not match `{source}`"))
            }
            _ => Ok(true),
        }
    }

    fn list(&mut self, rule: &Rule, at: At, node: document::At) -> Holds {
        match rule {
            Rule::Count(range) => {
                let count = self.count(node)?;
                self.within(*range, count, "items")
            }
            Rule::Unique => match self.twice(node)? {
                None => Ok(true),
                Some(item) => self.misfit_value(item, "is in the list more than once"),
            },
            Rule::Items(items) => self.items(items, node),
            Rule::Contains(below, range) => {
                let mut count = 0;
                for item in self.document.items(node) {
                    count += u64::from(self.quietly(*below, item)?);
                }
                self.within(*range, count, "items of the kind that it must contain")
            }
            Rule::OtherItems(below) => {
                let looked = self.items_looked_at(at, node)?;
                self.others(*below, node, &looked)
            }
            _ => Ok(true),
        }
    }

    fn object(&mut self, rule: &Rule, at: At, node: document::At) -> Holds {
        match rule {
            Rule::Members(range) => {
                let count = self.count(node)? / 2;
                self.within(*range, count, "members")
            }
            Rule::Required(names) => self.required(names, node),
            Rule::RequiredWith(by_name) => {
                let mut all = true;
                for (name, names) in by_name {
                    all &= self.member(name, node)?.is_none() || self.required(names, node)?;
                }
                Ok(all)
            }
            Rule::SchemaWith(by_name) => {
                let mut all = true;
                for (name, below) in by_name {
                    all &= self.member(name, node)?.is_none() || self.holds(*below, node)?;
                }
                Ok(all)
            }
            Rule::Names(below) => {
                let mut all = true;
                for (name, _) in self.document.fields(node) {
                    all &= self.below(Step::Field(name), *below, name)?;
                    if !all && !self.asked {
                        break;
                    }
                }
                Ok(all)
            }
            Rule::Fields(fields) => self.fields(fields, node),
            Rule::OtherFields(below) => {
                let looked = self.fields_looked_at(at, node)?;
                self.others(*below, node, &looked)
            }
            _ => Ok(true),
        }
    }

    fn fields(&mut self, fields: &Fields, node: document::At) -> Holds {
        let (mut all, document) = (true, self.document);
        for (name, value) in document.fields(node) {
            let text = self.name(name)?;
            let named = fields.named.get(text.as_ref());
            let mut looked = named.is_some();
            if let Some(below) = named {
                all &= self.below(Step::Field(name), *below, value)?;
            }
            for (pattern, below) in &fields.patterned {
                if self.occurs(*pattern, name)? {
                    looked = true;
                    all &= self.below(Step::Field(name), *below, value)?;
                }
            }
            if let Some(below) = fields.rest.filter(|_| !looked) {
                all &= self.other(Step::Field(name), below, value)?;
            }
            if !all && !self.asked {
                break;
            }
        }
        Ok(all)
    }

    fn items(&mut self, items: &Items, node: document::At) -> Holds {
        let mut all = true;
        for (index, item) in self.document.items(node).enumerate() {
            let below = match items.first.get(index) {
                Some(below) => *below,
                None => match items.rest {
                    Some(below) => below,
                    None => break,
                },
            };
            all &= self.below(Step::Item(index), below, item)?;
            if !all && !self.asked {
                break;
            }
        }
        Ok(all)
    }

    /// What of an object or a list was not looked at, against the schema for the rest.
    fn others(&mut self, below: At, node: document::At, looked: &[bool]) -> Holds {
        let (mut all, document) = (true, self.document);
        let list = document.kind(node) == Kind::List;
        let mut values = document.items(node);
        for (index, looked) in looked.iter().enumerate() {
            let Some(first) = values.next() else { break };
            let (step, value) = if list {
                (Step::Item(index), first)
            } else {
                (Step::Field(first), values.next().unwrap_or(first))
            };
            if !looked {
                all &= self.other(step, below, value)?;
                if !all && !self.asked {
                    break;
                }
            }
        }
        Ok(all)
    }

    /// A member or item that no name stands for. Where none is allowed, that is the problem and not its value.
    fn other(&mut self, step: Step, below: At, value: document::At) -> Holds {
        let refused = matches!(self.schema.nodes[below as usize].rules.as_slice(), [Rule::Never]);
        match step {
            Step::Field(name) if refused => {
                self.spend(1)?;
                self.misfit_value(name, "is no member that is allowed here")
            }
            step => self.below(step, below, value),
        }
    }

    fn required(&mut self, names: &[String], node: document::At) -> Holds {
        let mut all = true;
        for name in names {
            if self.member(name, node)?.is_some() {
                continue;
            }
            all = false;
            if !self.asked {
                break;
            }
            self.misfit(&format!("\"{}\" is a required property", cut(name, QUOTE_BYTES_MAX)))?;
        }
        Ok(all)
    }

    // === schemas that look at the same value ===

    fn all(&mut self, all: &[At], node: document::At) -> Holds {
        let mut holds = true;
        for below in all {
            holds &= self.holds(*below, node)?;
            if !holds && !self.asked {
                break;
            }
        }
        Ok(holds)
    }

    fn any(&mut self, any: &[At], node: document::At) -> Holds {
        for below in any {
            if self.quietly(*below, node)? {
                return Ok(true);
            }
        }
        self.misfit_value(node, "fits none of the schemas of `anyOf`")
    }

    fn exactly_one(&mut self, any: &[At], node: document::At) -> Holds {
        let mut count = 0;
        for below in any {
            count += u32::from(self.quietly(*below, node)?);
            if count > 1 {
                return self.misfit_value(node, "fits more than one of the schemas of `oneOf`");
            }
        }
        if count == 1 {
            Ok(true)
        } else {
            self.misfit_value(node, "fits none of the schemas of `oneOf`")
        }
    }

    fn not(&mut self, below: At, node: document::At) -> Holds {
        if self.quietly(below, node)? {
            return self.misfit_value(node, "fits the schema of `not`");
        }
        Ok(true)
    }

    /// Whether it holds, without saying why not.
    fn quietly(&mut self, at: At, node: document::At) -> Holds {
        let asked = std::mem::replace(&mut self.asked, false);
        let holds = self.holds(at, node);
        self.asked = asked;
        holds
    }

    fn below(&mut self, step: Step, at: At, node: document::At) -> Holds {
        self.path.push(step);
        let holds = self.holds(at, node);
        self.path.pop();
        holds
    }

    // === leaves ===

    fn types(&mut self, types: u8, kind: Kind, node: document::At) -> Holds {
        use super::compile::words::TYPES;
        let names: &[&str] = match kind {
            Kind::Null => &["null"],
            Kind::Bool => &["boolean"],
            Kind::Fields => &["object"],
            Kind::List => &["array"],
            Kind::Text => &["string"],
            Kind::Number if self.value(node)?.is_whole() => &["number", "integer"],
            Kind::Number => &["number"],
        };
        let allowed =
            || (0..TYPES.len()).filter(|bit| types & (1 << bit) != 0).map(|bit| TYPES[bit]);
        if allowed().any(|name| names.contains(&name)) {
            return Ok(true);
        }
        if !self.asked {
            return Ok(false);
        }
        let allowed: Vec<_> = allowed().map(|name| format!("\"{name}\"")).collect();
        self.misfit_value(node, &format!("is not of type {}", allowed.join(" or ")))
    }

    fn within(&mut self, range: Range, count: u64, what: &str) -> Holds {
        if (range.min..=range.max).contains(&count) {
            return Ok(true);
        }
        if !self.asked {
            return Ok(false);
        }
        let bound = if count < range.min {
            format!("at least {}", range.min)
        } else {
            format!("at most {}", range.max)
        };
        self.misfit(&format!("it has {count} {what}, and needs {bound}"))
    }

    fn occurs(&mut self, id: u32, text: document::At) -> Holds {
        let schema = self.schema;
        let pattern = &schema.patterns[id as usize];
        self.spend(pattern.steps(self.document.raw(text).len()))?;
        Ok(pattern.occurs(id, &self.document.text(text), &mut self.scratch))
    }

    fn value(&mut self, number: document::At) -> Result<Number<'d>, Stop> {
        let document = self.document;
        let raw = document.raw(number);
        self.spend(raw.len() as u64 / 16)?;
        Ok(Number::read(raw))
    }

    fn count(&mut self, node: document::At) -> Result<u64, Stop> {
        let mut count = 0;
        for _ in self.document.items(node) {
            self.spend(1)?;
            count += 1;
        }
        Ok(count)
    }

    /// The name of a member. A long one takes time: it is looked through, and escapes are undone.
    fn name(&mut self, name: document::At) -> Result<Cow<'d, str>, Stop> {
        let document = self.document;
        self.spend(1 + document.raw(name).len() as u64 / 16)?;
        Ok(document.text(name))
    }

    /// The value of a member.
    fn member(&mut self, name: &str, node: document::At) -> Result<Option<document::At>, Stop> {
        for (member, value) in self.document.fields(node) {
            if self.name(member)? == name {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    // === problems ===

    fn misfit_value(&mut self, node: document::At, what: &str) -> Holds {
        if !self.asked {
            return Ok(false);
        }
        let value = cut(self.document.raw(node), QUOTE_BYTES_MAX);
        self.misfit(&format!("{value} {what}"))
    }

    fn misfit(&mut self, problem: &str) -> Holds {
        if !self.asked {
            return Ok(false);
        }
        let path = self.path_text();
        let separator = if path.is_empty() { "" } else { ": " };
        self.problems.push(format!("{path}{separator}{problem}"));
        if self.problems.len() >= PROBLEMS_MAX { Err(Stop::Full) } else { Ok(false) }
    }

    /// Where the value is, as a JSON Pointer (RFC 6901).
    fn path_text(&self) -> String {
        let mut path = String::new();
        for step in &self.path {
            path.push('/');
            match step {
                Step::Item(index) => path.push_str(&index.to_string()),
                Step::Field(name) => {
                    let name = cut(self.document.raw(*name).trim_matches('"'), QUOTE_BYTES_MAX);
                    path.push_str(&name.replace('~', "~0").replace('/', "~1"));
                }
            }
            if path.len() > PATH_BYTES_MAX {
                return cut(&path, PATH_BYTES_MAX);
            }
        }
        path
    }
}
