//! Patterns: regular expressions of ECMA-262 (JSON Schema 2020-12 section 6.4) that take linear time.
//!
//! A small one becomes an automaton that reads each byte once. One whose automaton would be large is run as the list of
//! states that it is, and its matches count for more. What would need backtracking does not compile.

use std::collections::HashSet;

use regex_automata::Input;
use regex_automata::dfa::{Automaton as _, dense};
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures, pikevm};

/// Bytes of one pattern. The longest in use, for dates and addresses of mail, have a few hundred.
const PATTERN_BYTES_MAX: usize = 1_024;

/// Bytes of the patterns of one release.
const PATTERNS_BYTES_MAX: usize = 32 << 10;

/// Bytes of the states that one pattern is compiled to. `\p{L}{1,30}`, a name of thirty letters, has most of it.
const STATES_BYTES_MAX: usize = 1 << 20;

/// Bytes of one automaton, and of the work of making it.
const AUTOMATON_BYTES_MAX: usize = 64 << 10;

/// Bytes of what all patterns of one release are compiled to.
const COMPILED_BYTES_MAX: usize = 4 << 20;

/// Bytes that an automaton reads in the time of one step.
const BYTES_PER_STEP: u64 = 16;

/// States that are followed in the time of one step.
const STATES_PER_STEP: u64 = 4;

/// What is left for the patterns of a release. One that several schemas have counts once.
#[derive(Debug)]
pub struct Allowance {
    source_bytes: usize,
    compiled_bytes: usize,
    counted: HashSet<String>,
}

/// A compiled pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) source: String,
    machine: Machine,
}

#[derive(Debug)]
enum Machine {
    Automaton(Box<dense::DFA<Vec<u32>>>),
    States(Box<pikevm::PikeVM>),
}

/// Memory that matching needs. One serves all patterns in turn.
#[derive(Default)]
pub(super) struct Scratch {
    /// Of which pattern it is.
    of: Option<u32>,
    cache: Option<pikevm::Cache>,
}

// === impl Allowance ===

impl Default for Allowance {
    fn default() -> Self {
        let (source_bytes, compiled_bytes) = (PATTERNS_BYTES_MAX, COMPILED_BYTES_MAX);
        Self { source_bytes, compiled_bytes, counted: HashSet::new() }
    }
}

impl Allowance {
    fn take_source(&mut self, source: &str) -> Result<(), String> {
        if !self.counted.contains(source) {
            self.source_bytes = self.source_bytes.checked_sub(source.len()).ok_or_else(|| {
                format!("is one too many: all patterns are over {PATTERNS_BYTES_MAX} bytes")
            })?;
        }
        Ok(())
    }

    fn take_compiled(&mut self, pattern: &Pattern) -> Result<(), String> {
        if self.counted.insert(pattern.source.clone()) {
            self.compiled_bytes =
                self.compiled_bytes.checked_sub(pattern.bytes()).ok_or_else(|| {
                    format!("is one too many: compiled, all are over {COMPILED_BYTES_MAX} bytes")
                })?;
        }
        Ok(())
    }
}

// === impl Pattern ===

impl Pattern {
    pub(super) fn compile(source: &str, allowance: &mut Allowance) -> Result<Self, String> {
        if source.len() > PATTERN_BYTES_MAX {
            return Err(format!("is a pattern of over {PATTERN_BYTES_MAX} bytes"));
        }
        allowance.take_source(source)?;
        let machine = machine(&translate(source))
            .map_err(|why| format!("is no pattern that can be used: {}", super::cut(&why, 200)))?;
        let pattern = Self { source: source.to_owned(), machine };
        allowance.take_compiled(&pattern)?;
        Ok(pattern)
    }

    pub(super) fn bytes(&self) -> usize {
        let machine = match &self.machine {
            Machine::Automaton(dfa) => dfa.memory_usage(),
            Machine::States(vm) => vm.get_nfa().memory_usage(),
        };
        self.source.len() + machine
    }

    /// Steps that a match against a text of so many bytes counts for.
    pub(super) fn steps(&self, bytes: usize) -> u64 {
        let bytes = bytes as u64;
        match &self.machine {
            Machine::Automaton(_) => 1 + bytes / BYTES_PER_STEP,
            Machine::States(vm) => {
                // A search clears what it remembers of each state first.
                let states = vm.get_nfa().states().len() as u64 / STATES_PER_STEP + 1;
                states.saturating_mul(bytes + 1)
            }
        }
    }

    /// Whether it occurs in the text. `id` tells it from others that use the same scratch.
    pub(super) fn occurs(&self, id: u32, text: &str, scratch: &mut Scratch) -> bool {
        let input = Input::new(text).earliest(true);
        match &self.machine {
            // It fails only at bytes that it was built to give up at, and there are none.
            Machine::Automaton(dfa) => {
                dfa.try_search_fwd(&input).is_ok_and(|found| found.is_some())
            }
            Machine::States(vm) => {
                if scratch.of != Some(id) {
                    *scratch = Scratch { of: Some(id), cache: None };
                }
                let cache = scratch.cache.get_or_insert_with(|| vm.create_cache());
                vm.is_match(cache, input)
            }
        }
    }
}

fn machine(pattern: &str) -> Result<Machine, String> {
    let config = NFA::config()
        .which_captures(WhichCaptures::Implicit)
        .nfa_size_limit(Some(STATES_BYTES_MAX));
    let nfa =
        thompson::Compiler::new().configure(config).build(pattern).map_err(|error| root(&error))?;
    let config = dense::Config::new()
        .dfa_size_limit(Some(AUTOMATON_BYTES_MAX))
        .determinize_size_limit(Some(AUTOMATON_BYTES_MAX))
        .start_kind(regex_automata::dfa::StartKind::Unanchored);
    if let Ok(dfa) = dense::Builder::new().configure(config).build_from_nfa(&nfa) {
        return Ok(Machine::Automaton(Box::new(dfa)));
    }
    let vm = pikevm::Builder::new().build_from_nfa(nfa).map_err(|error| root(&error))?;
    Ok(Machine::States(Box::new(vm)))
}

/// The innermost cause, on one line: what encloses it says only that something failed.
fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let text = cause.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

/// The same pattern in the words of the engine. In ECMA-262 `\d`, `\w` and `\b` know ASCII only, a dot no end of a line, and
/// a bracket within brackets is a bracket.
fn translate(source: &str) -> String {
    let mut out = String::with_capacity(source.len() * 2);
    let mut letters = source.chars().peekable();
    let mut within = false;
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some(next) => escape(next, within, &mut letters, &mut out),
                None => out.push('\\'),
            },
            '[' if within => out.push_str("\\["),
            '[' => {
                within = true;
                out.push('[');
                if letters.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                // `[]` holds nothing, and `[^]` all there is.
                if letters.next_if_eq(&']').is_some() {
                    within = false;
                    let negated = out.ends_with('^');
                    out.truncate(out.len() - 1 - usize::from(negated));
                    out.push_str(if negated { "(?s:.)" } else { r"[^\s\S]" });
                }
            }
            ']' if within => {
                within = false;
                out.push(']');
            }
            '&' | '~' if within => out.extend(['\\', letter]),
            '.' if !within => out.push_str(r"[^\n\r\u2028\u2029]"),
            other => out.push(other),
        }
    }
    out
}

fn escape(
    letter: char,
    within: bool,
    letters: &mut std::iter::Peekable<std::str::Chars<'_>>,
    out: &mut String,
) {
    match letter {
        'd' => out.push_str(if within { "0-9" } else { "[0-9]" }),
        'w' => out.push_str(if within { "A-Za-z0-9_" } else { "[A-Za-z0-9_]" }),
        'D' => out.push_str("[^0-9]"),
        'W' => out.push_str("[^A-Za-z0-9_]"),
        'b' if within => out.push_str(r"\x08"),
        'b' => out.push_str(r"(?-u:\b)"),
        '0' => out.push_str(r"\x00"),
        'c' => match letters.next_if(char::is_ascii_alphabetic) {
            Some(letter) => out.push_str(&format!(r"\x{:02x}", u32::from(letter) % 32)),
            None => out.push_str(r"\\c"),
        },
        '/' | '"' | '\'' | ',' | ':' | ';' | '=' | '@' | '!' | '%' | '<' | '>' | '`' | '_' => {
            out.push(letter);
        }
        other => out.extend(['\\', other]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(source: &str) -> Result<Pattern, String> {
        Pattern::compile(source, &mut Allowance::default())
    }

    fn occurs(source: &str, text: &str) -> bool {
        pattern(source).unwrap().occurs(0, text, &mut Scratch::default())
    }

    #[test]
    fn patterns_mean_what_ecma_says() {
        for (source, yes, no) in [
            ("^a+$", "aaa", "aab"),
            ("b", "abc", "ac"),
            (r"^\d+$", "12", "\u{661}"),
            (r"^\w$", "_", "é"),
            (r"^[\d-]+$", "1-2", "a"),
            (r"^[^\D]$", "1", "a"),
            ("^.$", "é", "\r"),
            (r"^[[]$", "[", "]"),
            ("^[^]$", "\n", ""),
            ("^[a&&b]$", "&", "c"),
            (r"^\/x$", "/x", "x"),
            (r"\bcat\b", "a cat!", "concat"),
            (r"^\cJ$", "\n", "J"),
            (r"^[^@\s]+@[^@\s]+\.[^@\s]+$", "a@b.c", "a@b"),
            (r"^\p{L}{1,30}$", "Ünal", "1"),
            ("^(?:19|20)[0-9]{2}-[01][0-9]$", "2026-01", "1826-01"),
            (r"^(?<year>\d{4})$", "2026", "20"),
        ] {
            assert!(occurs(source, yes), "{source} occurs in {yes:?}");
            assert!(!occurs(source, no), "{source} does not occur in {no:?}");
        }
    }

    #[test]
    fn what_would_backtrack_is_refused() {
        assert!(pattern("^(a+)+$").is_ok(), "linear on this engine");
        for source in [r"^(a+)\1$", "(?=a)", "(?<!a)b", "(", "a{2,1}"] {
            assert!(pattern(source).is_err(), "{source}");
        }
    }

    #[test]
    fn each_pattern_and_all_together_are_bounded() {
        assert!(pattern(&"a".repeat(PATTERN_BYTES_MAX)).is_ok());
        assert!(pattern(&"a".repeat(PATTERN_BYTES_MAX + 1)).is_err());
        assert!(pattern(r"\p{L}{500}").is_err(), "too many states");
        let mut once = Allowance::default();
        for _ in 0..10_000 {
            assert!(Pattern::compile("^[^@]+@[^@]+$", &mut once).is_ok(), "it is the same one");
        }
        let mut allowance = Allowance::default();
        let count = (0..10_000)
            .take_while(|n| Pattern::compile(&format!("^[a-z]{{{n}}}$"), &mut allowance).is_ok())
            .count();
        assert!((100..5_000).contains(&count), "{count}");
    }

    #[test]
    fn a_match_counts_by_the_text_and_the_machine() {
        let small = pattern("^[A-Za-z0-9+/]*={0,2}$").unwrap();
        assert_eq!(small.steps(16), 2);
        let large = pattern(r"a.{40}b.{40}c").unwrap();
        assert!(matches!(large.machine, Machine::States(_)));
        assert!(large.steps(100) > 100 * small.steps(100));
        let mut scratch = Scratch::default();
        let text = format!("a{}b{}c", "x".repeat(40), "y".repeat(40));
        assert!(large.occurs(0, &text, &mut scratch));
        assert!(!large.occurs(0, &text[1..], &mut scratch));
    }
}
