//! From a schema's JSON to rules that can be run: each place of it once, without recursion.
//!
//! Every word of the dialect is read and its shape checked; words that are unknown are annotations. What refers to another
//! place refers to its rules, so references that meet again make a graph and no tree.

pub(super) mod words;

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use super::number::Number;
use super::pattern::{Allowance, Pattern};
use super::{COST_MAX, DEPTH_MAX, InvalidSchema, Schema, cut};

/// Bytes of a place that an error names.
const POINTER_BYTES_MAX: usize = 256;

/// A schema's place in the list. The root is 0.
pub(super) type At = u32;

/// One schema.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) rules: Vec<Rule>,
}

/// What a value must be. A rule holds for values of other kinds than it is about.
#[derive(Debug)]
pub(super) enum Rule {
    Never,
    /// One of these types, as bits of [`words::TYPES`].
    Types(u8),
    Enum(Vec<Value>),
    AtLeast(Number<'static>),
    AtMost(Number<'static>),
    Above(Number<'static>),
    Below(Number<'static>),
    MultipleOf(Number<'static>),
    /// Letters of a text.
    Length(Range),
    Pattern(u32),
    Count(Range),
    Unique,
    Members(Range),
    Required(Vec<String>),
    RequiredWith(BTreeMap<String, Vec<String>>),
    SchemaWith(BTreeMap<String, At>),
    Names(At),
    Fields(Box<Fields>),
    Items(Items),
    Contains(At, Range),
    Ref(At),
    All(Vec<At>),
    Any(Vec<At>),
    One(Vec<At>),
    Not(At),
    If(Box<Branch>),
    /// Members, or items, that nothing else looked at. They are a node's last rules.
    OtherFields(At),
    OtherItems(At),
}

/// How many there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) min: u64,
    pub(super) max: u64,
}

#[derive(Debug)]
pub(super) struct Fields {
    pub(super) named: BTreeMap<String, At>,
    pub(super) patterned: Vec<(u32, At)>,
    pub(super) rest: Option<At>,
}

#[derive(Debug)]
pub(super) struct Items {
    pub(super) first: Vec<At>,
    pub(super) rest: Option<At>,
}

#[derive(Debug)]
pub(super) struct Branch {
    pub(super) test: At,
    pub(super) then: Option<At>,
    pub(super) otherwise: Option<At>,
}

/// Which words mean what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Dialect {
    /// Drafts 4, 6 and 7: whatever stands beside a `$ref` is ignored, and `items` may be a list.
    Old,
    /// 2019-09: `items` may be a list.
    Lists,
    /// 2020-12.
    Newest,
}

/// Where a schema stands: in which other, and under which words.
struct Place<'s> {
    parent: At,
    word: &'s str,
    key: Key<'s>,
}

#[derive(Clone, Copy)]
enum Key<'s> {
    None,
    Name(&'s str),
    Index(usize),
}

struct Compiler<'s, 'a> {
    root: &'s Value,
    dialect: Dialect,
    allowance: &'a mut Allowance,
    /// Which schema is which, by where it lies in memory.
    known: HashMap<*const Value, At>,
    values: Vec<&'s Value>,
    places: Vec<Place<'s>>,
    anchors: HashMap<&'s str, &'s Value>,
    patterns: Vec<Pattern>,
    by_source: HashMap<&'s str, u32>,
}

/// Compiles a schema and everything that it refers to.
pub(super) fn compile(root: &Value, allowance: &mut Allowance) -> Result<Schema, InvalidSchema> {
    let mut compiler = Compiler {
        root,
        dialect: Dialect::Newest,
        allowance,
        known: HashMap::new(),
        values: Vec::new(),
        places: Vec::new(),
        anchors: HashMap::new(),
        patterns: Vec::new(),
        by_source: HashMap::new(),
    };
    let invalid = |problem| InvalidSchema { pointer: String::new(), problem };
    compiler.dialect = dialect(root).map_err(invalid)?;
    anchors(root, &mut compiler.anchors);
    compiler.at(root, 0, "", Key::None);
    let mut nodes = Vec::new();
    while let Some(value) = compiler.values.get(nodes.len()) {
        let at = u32::try_from(nodes.len()).unwrap_or(At::MAX);
        let node = compiler.node(at, value).map_err(|problem| compiler.error(at, problem))?;
        nodes.push(node);
    }
    let mut costs = vec![Cost::Unknown; nodes.len()];
    for at in 0..nodes.len() {
        let at = u32::try_from(at).unwrap_or(At::MAX);
        cost(&nodes, &mut costs, at, 0).map_err(|problem| compiler.error(at, problem))?;
    }
    Ok(Schema { nodes, patterns: compiler.patterns })
}

fn dialect(root: &Value) -> Result<Dialect, String> {
    let Some(named) = root.get("$schema") else { return Ok(Dialect::Newest) };
    let named = named.as_str().unwrap_or_default();
    let name = named.trim_end_matches('#').rsplit_once("json-schema.org/");
    match name.map(|(_, name)| name) {
        Some("draft/2020-12/schema") => Ok(Dialect::Newest),
        Some("draft/2019-09/schema") => Ok(Dialect::Lists),
        Some("draft-07/schema" | "draft-06/schema" | "draft-04/schema") => Ok(Dialect::Old),
        _ => Err("names in `$schema` a dialect that is not known".to_owned()),
    }
}

/// Names that places have given themselves. No deeper than JSON is read.
fn anchors<'s>(value: &'s Value, found: &mut HashMap<&'s str, &'s Value>) {
    match value {
        Value::Object(members) => {
            let anchor = members.get("$anchor").and_then(Value::as_str);
            let old =
                members.get("$id").and_then(Value::as_str).and_then(|id| id.strip_prefix('#'));
            for name in anchor.into_iter().chain(old) {
                found.entry(name).or_insert(value);
            }
            members.values().for_each(|member| anchors(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| anchors(item, found)),
        _ => {}
    }
}

// === what one value runs through ===

#[derive(Clone, Copy)]
enum Cost {
    Unknown,
    /// Looked at further up: whoever meets it again goes in a circle.
    Open,
    /// Rules, and how deep they are nested.
    Known(u64, usize),
}

/// Adds up the rules that look at one value. Nested no deeper than [`DEPTH_MAX`].
fn cost(nodes: &[Node], costs: &mut [Cost], at: At, above: usize) -> Result<(u64, usize), String> {
    match costs[at as usize] {
        Cost::Known(rules, depth) => return Ok((rules, depth)),
        Cost::Open => {
            return Err("refers to itself without looking deeper into the value".to_owned());
        }
        Cost::Unknown => {}
    }
    let deep = || format!("nests more than {DEPTH_MAX} schemas for one value");
    if above > DEPTH_MAX {
        return Err(deep());
    }
    costs[at as usize] = Cost::Open;
    let (mut rules, mut depth) = (1, 0);
    for rule in &nodes[at as usize].rules {
        rules += 1 + rule.width();
        for below in rule.in_place() {
            let (more, deeper) = cost(nodes, costs, below, above + 1)?;
            rules = u64::saturating_add(rules, more);
            depth = depth.max(deeper + 1);
        }
    }
    if rules > COST_MAX {
        return Err(format!("makes one value run through more than {COST_MAX} rules"));
    }
    if depth > DEPTH_MAX {
        return Err(deep());
    }
    costs[at as usize] = Cost::Known(rules, depth);
    Ok((rules, depth))
}

// === impl Compiler ===

impl<'s> Compiler<'s, '_> {
    /// The place of a schema; it is compiled later if it is a new one.
    fn at(&mut self, value: &'s Value, parent: At, word: &'s str, key: Key<'s>) -> At {
        let next = u32::try_from(self.values.len()).unwrap_or(At::MAX);
        *self.known.entry(std::ptr::from_ref(value)).or_insert_with(|| {
            self.values.push(value);
            self.places.push(Place { parent, word, key });
            next
        })
    }

    fn node(&mut self, at: At, value: &'s Value) -> Result<Node, String> {
        match value {
            Value::Bool(true) => Ok(Node::default()),
            Value::Bool(false) => Ok(Node { rules: vec![Rule::Never] }),
            Value::Object(words) => self.words(at, words),
            _ => Err("is no schema: an object, `true` or `false` is one".to_owned()),
        }
    }

    /// What a reference refers to. Nothing is ever fetched.
    fn resolve(&self, reference: &str) -> Result<&'s Value, String> {
        let own = self.root.get("$id").and_then(Value::as_str).unwrap_or_default();
        let fragment = match reference.split_once('#') {
            Some((document, fragment))
                if document.is_empty() || document == own.trim_end_matches('#') =>
            {
                fragment
            }
            None if !own.is_empty() && reference == own => "",
            _ => return Err("refers to another document".to_owned()),
        };
        let missing =
            || format!("refers to `{}`, which is not there", cut(reference, POINTER_BYTES_MAX));
        if fragment.is_empty() {
            return Ok(self.root);
        }
        if fragment.starts_with('/') {
            let pointer = decoded(fragment).ok_or_else(missing)?;
            return self.root.pointer(&pointer).ok_or_else(missing);
        }
        self.anchors.get(fragment).copied().ok_or_else(missing)
    }

    fn pattern(&mut self, source: &'s str) -> Result<u32, String> {
        if let Some(id) = self.by_source.get(source) {
            return Ok(*id);
        }
        let id = u32::try_from(self.patterns.len()).unwrap_or(u32::MAX);
        self.patterns.push(Pattern::compile(source, self.allowance)?);
        self.by_source.insert(source, id);
        Ok(id)
    }

    fn error(&self, at: At, problem: String) -> InvalidSchema {
        let mut parts = Vec::new();
        let (mut at, mut bytes) = (at, 0);
        while at != 0 && bytes < POINTER_BYTES_MAX {
            let Place { parent, word, key } = &self.places[at as usize];
            let part = match key {
                Key::None => format!("/{word}"),
                Key::Index(index) => format!("/{word}/{index}"),
                Key::Name(name) => {
                    format!("/{word}/{}", name.replace('~', "~0").replace('/', "~1"))
                }
            };
            bytes += part.len();
            parts.push(cut(&part, POINTER_BYTES_MAX));
            at = *parent;
        }
        parts.reverse();
        InvalidSchema { pointer: cut(&parts.concat(), POINTER_BYTES_MAX), problem }
    }
}

/// A fragment without its percent signs (RFC 6901 section 6).
fn decoded(fragment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        if *byte == b'%' {
            let digits = std::str::from_utf8(behind.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &behind[2..];
        } else {
            bytes.push(*byte);
            rest = behind;
        }
    }
    String::from_utf8(bytes).ok()
}

// === impl Rule ===

impl Rule {
    /// Schemas that look at the very value that this one looks at.
    fn in_place(&self) -> Vec<At> {
        match self {
            Self::Ref(at) | Self::Not(at) => vec![*at],
            Self::All(all) | Self::Any(all) | Self::One(all) => all.clone(),
            Self::SchemaWith(by_name) => by_name.values().copied().collect(),
            Self::If(branch) => {
                [Some(branch.test), branch.then, branch.otherwise].into_iter().flatten().collect()
            }
            _ => Vec::new(),
        }
    }

    /// What it looks through besides, at each value.
    fn width(&self) -> u64 {
        let width = match self {
            Self::Enum(values) => values.len(),
            Self::Required(names) => names.len(),
            _ => 0,
        };
        width as u64 / 16
    }
}

// === impl Node ===

impl Node {
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.rules.iter().map(Rule::bytes).sum::<usize>()
    }
}

impl Rule {
    fn bytes(&self) -> usize {
        /// A name in a map, with its share of the map.
        const NAME_BYTES: usize = 64;
        let names = |all: &[String]| all.iter().map(|name| NAME_BYTES + name.len()).sum();
        size_of::<Self>()
            + match self {
                Self::Enum(values) => values.iter().map(|value| 96 + value.to_string().len()).sum(),
                Self::Required(all) => names(all),
                Self::RequiredWith(by_name) => {
                    by_name.iter().map(|(name, all)| NAME_BYTES + name.len() + names(all)).sum()
                }
                Self::SchemaWith(by_name) => {
                    by_name.keys().map(|name| NAME_BYTES + name.len()).sum()
                }
                Self::Fields(fields) => {
                    let named = fields.named.keys().map(|name| NAME_BYTES + name.len());
                    named.sum::<usize>() + 16 * fields.patterned.len()
                }
                Self::All(all) | Self::Any(all) | Self::One(all) => 4 * all.len(),
                _ => 0,
            }
    }
}
