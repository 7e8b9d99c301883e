//! Looks for tokens in bytes that come in pieces, in every spelling.
//!
//! A spelling is a text under one or more [layers](super::spell): escapes of URLs (twice at most), escapes of JSON, the line
//! breaks of MIME. Each is taken off as the bytes come, and what is beneath is looked through for a token as it is and in
//! base64. Where a piece has nothing to take off, which is nearly always, what is beneath is the piece itself, and it is looked
//! at once.

use std::sync::{Arc, LazyLock};

use aho_corasick::{AhoCorasick, Match};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use keyway_core::ports::IssuedTokens;
use keyway_core::token;

use super::spell::{Kind, Layer};

/// How a token begins: as it is, and in base64 at the first, the second and the third of three bytes. No letter of these has
/// bits of what stands before the token, and none of them begins within another.
const BEGINNINGS: [&str; 4] = [token::PREFIX, "a3df", "t3X", "rd1"];

/// For base64, in the same order: what would stand before the beginning if the bytes before the token were zero, and the
/// letters that a token has from the beginning on.
const CODED: [(&str, usize); 3] = [("", 62), ("AG", 61), ("AAB", 61)];

/// Bytes of the longest of them.
const SPELT_BYTES_MAX: usize = 62;

static FINDER: LazyLock<AhoCorasick> =
    LazyLock::new(|| AhoCorasick::new(BEGINNINGS).expect("four short patterns"));

/// Whatever stands behind the last whole byte.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Looks through one body.
pub(super) struct Search {
    tokens: Arc<dyn IssuedTokens>,
    plain: View,
    lines: Beneath,
    json: Beneath,
    percent: Beneath,
    percent_twice: Beneath,
}

/// A text that is looked through.
#[derive(Default)]
struct View {
    /// From where a token may have begun, at the end of what came.
    begun: Vec<u8>,
}

/// What is beneath a layer.
struct Beneath {
    layer: Layer,
    view: View,
}

/// What a beginning is the beginning of.
enum Verdict {
    Token,
    Nothing,
    /// More has to come to know.
    Open,
}

// === impl Search ===

impl Search {
    pub(super) fn new(tokens: Arc<dyn IssuedTokens>) -> Self {
        Self {
            tokens,
            plain: View::default(),
            lines: Beneath::new(Kind::Lines),
            json: Beneath::new(Kind::Json),
            percent: Beneath::new(Kind::Percent),
            percent_twice: Beneath::new(Kind::Percent),
        }
    }

    /// Whether a token ends in this piece.
    pub(super) fn finds(&mut self, data: &[u8]) -> bool {
        let Self { tokens, plain, lines, json, percent, percent_twice } = self;
        let tokens = &**tokens;
        let before = plain.begun.clone();
        if plain.finds(data, tokens) {
            return true;
        }
        for beneath in [lines, json] {
            if beneath.take_off(data, &before).is_some_and(|text| beneath.view.finds(&text, tokens))
            {
                return true;
            }
        }
        let before_once = percent.begun_or(&before);
        let Some(once) = percent.take_off(data, &before) else {
            let twice = percent_twice.take_off(data, &before_once);
            return twice.is_some_and(|text| percent_twice.view.finds(&text, tokens));
        };
        percent.view.finds(&once, tokens)
            || percent_twice
                .take_off(&once, &before_once)
                .is_some_and(|text| percent_twice.view.finds(&text, tokens))
    }

    /// Whether one may have begun that has not ended.
    pub(super) fn begun(&self) -> bool {
        let beneath = [&self.lines, &self.json, &self.percent, &self.percent_twice];
        !self.plain.begun.is_empty() || beneath.iter().any(|one| !one.is_idle())
    }
}

// === impl Beneath ===

impl Beneath {
    fn new(kind: Kind) -> Self {
        Self { layer: Layer::new(kind), view: View::default() }
    }

    /// Whether nothing is under way that differs from what is above.
    fn is_idle(&self) -> bool {
        self.view.begun.is_empty() && self.layer.is_whole()
    }

    fn begun_or(&self, above: &[u8]) -> Vec<u8> {
        if self.is_idle() { above.to_vec() } else { self.view.begun.clone() }
    }

    /// The text beneath, where it differs. `above` is from where a token may have begun there before this piece.
    fn take_off(&mut self, data: &[u8], above: &[u8]) -> Option<Vec<u8>> {
        if self.is_idle() {
            if !self.layer.is_on(data) {
                return None;
            }
            self.view.begun.extend_from_slice(above);
        }
        Some(self.layer.take_off(data))
    }
}

// === impl View ===

impl View {
    fn finds(&mut self, data: &[u8], tokens: &dyn IssuedTokens) -> bool {
        let mut open = None;
        if !self.begun.is_empty() {
            let mut joined = std::mem::take(&mut self.begun);
            let earlier = joined.len();
            joined.extend_from_slice(&data[..data.len().min(SPELT_BYTES_MAX)]);
            match look(&joined, earlier, tokens) {
                Ok(at) => open = at.map(|at| joined.split_off(at)),
                Err(Found) => return true,
            }
        }
        match look(data, data.len(), tokens) {
            Ok(at) => {
                self.begun = open.or_else(|| Some(data[at?..].to_vec())).unwrap_or_default();
                false
            }
            Err(Found) => true,
        }
    }
}

/// There is a token.
struct Found;

/// Looks through a text for tokens that begin before `end`; from where one may have begun that has not ended.
fn look(text: &[u8], end: usize, tokens: &dyn IssuedTokens) -> Result<Option<usize>, Found> {
    let mut open = None;
    for found in FINDER.find_iter(text).take_while(|found| found.start() < end) {
        match judge(text, &found, tokens) {
            Verdict::Token => return Err(Found),
            Verdict::Nothing => {}
            Verdict::Open => open = open.or(Some(found.start())),
        }
    }
    Ok(open.or_else(|| cut_beginning(text).filter(|at| *at < end)))
}

/// Where a beginning begins of which the end is missing.
fn cut_beginning(text: &[u8]) -> Option<usize> {
    let longest = BEGINNINGS[1].len() - 1;
    let from = text.len().saturating_sub(longest);
    (from..text.len()).find(|at| {
        let end = &text[*at..];
        BEGINNINGS.iter().any(|one| one.len() > end.len() && one.as_bytes().starts_with(end))
    })
}

fn judge(text: &[u8], found: &Match, tokens: &dyn IssuedTokens) -> Verdict {
    let from = &text[found.start()..];
    match found.pattern().as_usize().checked_sub(1) {
        None => judge_plain(from, tokens),
        Some(place) => judge_coded(from, place, tokens),
    }
}

fn judge_plain(from: &[u8], tokens: &dyn IssuedTokens) -> Verdict {
    let text = &from[..from.len().min(token::LENGTH)];
    match () {
        () if !text[token::PREFIX.len()..].iter().copied().all(token::is_letter) => {
            Verdict::Nothing
        }
        () if text.len() < token::LENGTH => Verdict::Open,
        () if tokens.has(text) => Verdict::Token,
        () => Verdict::Nothing,
    }
}

/// The same in base64, of either alphabet.
fn judge_coded(from: &[u8], place: usize, tokens: &dyn IssuedTokens) -> Verdict {
    let (before, letters) = CODED[place];
    let text = &from[..from.len().min(letters)];
    let letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
    if !text.iter().all(letter) {
        return Verdict::Nothing;
    }
    if text.len() < letters {
        return Verdict::Open;
    }
    let standard = text.iter().map(|byte| match byte {
        b'-' => b'+',
        b'_' => b'/',
        byte => *byte,
    });
    let coded: Vec<u8> = before.bytes().chain(standard).collect();
    let decoded = BASE64.decode(coded).unwrap_or_default();
    let text = decoded.get(place..).unwrap_or_default();
    if token::is_like(text) && tokens.has(text) { Verdict::Token } else { Verdict::Nothing }
}
