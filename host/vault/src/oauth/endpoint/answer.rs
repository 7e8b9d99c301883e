//! What a server answered, read by what it is and not by what it says that it is: labels are wrong, and one number that
//! nobody can read must not cost the tokens beside it.
//!
//! Any of its text may be a token, so all of it is wiped when it is dropped: the body as it came, and what was read of it.
//!
//! Buffers of the libraries that carried and parsed it are not.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Deref;

use bytes::{Bytes, BytesMut};
use keyway_core::exchange::Response;
use serde::Deserialize as _;
use serde_json::Number;
use serde_json::value::RawValue;
use zeroize::{Zeroize as _, Zeroizing};

/// The label of a form.
const FORM: &str = "application/x-www-form-urlencoded";

/// The label of a page.
const PAGE: &str = "text/html";

/// One of these stands at a page's beginning, also where its label says something else.
const PAGE_MARKS: [&str; 4] = ["<!doctype html", "<html", "<head", "<body"];

/// Where that is looked for.
const PAGE_CHARS: usize = 1_024;

/// Members within members. The deepest that a provider is known to wrap tokens in is three.
const DEPTH_MAX: usize = 16;

/// Characters of the longest escape in a JSON string, a pair of surrogates, and one for the place before it.
const ESCAPE_CHARS_MAX: usize = 13;

/// U+FFFD, as an escape.
const REPLACEMENT: &str = "\\ufffd";

/// A response whose body is wiped.
pub(super) struct Answer(pub(super) Response);

/// The members of an answer.
pub(super) struct Fields(BTreeMap<String, Value>);

/// One of them.
pub(super) enum Value {
    Null,
    Text(Zeroizing<String>),
    /// As it is written: an id may have more digits than any number of ours.
    Number(Zeroizing<String>),
    Bool(bool),
    List(Vec<Value>),
    Fields(Fields),
    /// Nothing that an answer has a use for.
    Other,
}

// === impl Answer ===

impl Answer {
    /// Its members, as JSON or as a form: some providers answer in the form of the request, whatever its label says.
    pub(super) fn fields(&self) -> Option<Fields> {
        let text = self.text();
        Fields::of_json(&text, true).or_else(|| Fields::of_form(&text, self.is_labelled_form()))
    }

    /// The same of one that may have broken off: then the members that are whole.
    pub(super) fn said(&self) -> Option<Fields> {
        self.fields().or_else(|| self.begun())
    }

    /// The members that are whole, of an answer that broke off.
    pub(super) fn begun(&self) -> Option<Fields> {
        Fields::of_beginning(&self.text(), self.is_labelled_form())
    }

    /// As text: without a byte order mark (RFC 8259 section 8.1 lets a reader ignore one), and with a mark for what is no
    /// UTF-8. That may be in somebody's name, and hurts no token.
    pub(super) fn text(&self) -> Zeroizing<String> {
        let text = Zeroizing::new(String::from_utf8_lossy(&self.body).into_owned());
        let rest = text.strip_prefix('\u{feff}').map(|rest| Zeroizing::new(rest.to_owned()));
        rest.unwrap_or(text)
    }

    /// The text or number at a JSON Pointer, as it is written. None of an answer that is no JSON.
    pub(super) fn named(&self, pointer: &str) -> Option<Option<String>> {
        let value = Value::of_json(&self.text())?;
        if matches!(value, Value::Other) {
            return None;
        }
        let found = steps(pointer)
            .and_then(|mut steps| steps.try_fold(&value, |value, step| value.step(&step)));
        Some(match found {
            Some(Value::Text(text) | Value::Number(text)) => Some(text.to_string()),
            _ => None,
        })
    }

    pub(super) fn is_labelled_form(&self) -> bool {
        self.is_labelled(FORM)
    }

    fn is_labelled(&self, wanted: &str) -> bool {
        let labels = self.headers.iter().filter(|(name, _)| name == "content-type");
        // RFC 9110 section 8.3.1: in any letters, and parameters behind it.
        let kinds = labels.map(|(_, value)| value.split(';').next().unwrap_or_default().trim());
        kinds.into_iter().any(|kind| kind.eq_ignore_ascii_case(wanted))
    }

    /// Whether it is a page for people: of a gateway or a proxy, and not of what was asked. XML is none.
    pub(super) fn is_page(&self) -> bool {
        let text = self.text();
        let text = text.trim_start();
        let begun: String = text.chars().take(PAGE_CHARS).collect::<String>().to_ascii_lowercase();
        let marked = PAGE_MARKS.iter().any(|mark| begun.contains(mark));
        text.starts_with('<') && (marked || self.is_labelled(PAGE))
    }
}

impl Deref for Answer {
    type Target = Response;

    fn deref(&self) -> &Response {
        &self.0
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        drop(wiped(std::mem::take(&mut self.0.body)));
    }
}

/// None of a body that somebody else has as well.
fn wiped(body: Bytes) -> Option<BytesMut> {
    let mut body = body.try_into_mut().ok()?;
    body.as_mut().zeroize();
    Some(body)
}

/// With U+FFFD for each half of a surrogate pair (RFC 8259 section 8.2), which is no character: one that stands in
/// somebody's name must not cost what is beside it.
fn mended(text: &str) -> Zeroizing<String> {
    let bytes = text.as_bytes();
    let mut mended = Zeroizing::new(text.to_owned());
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| rest.find('\\')) {
        let start = at + found;
        let behind = start + REPLACEMENT.len();
        at = match (unit(bytes, start), unit(bytes, behind)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => behind + REPLACEMENT.len(),
            (Some(0xd800..=0xdfff), _) => {
                // As long as what it replaces.
                mended.replace_range(start..behind, REPLACEMENT);
                behind
            }
            // A backslash takes the byte after it along, which begins a character as well.
            _ => start + 2,
        };
    }
    mended
}

/// The code unit of the `\uXXXX` that stands there, if one does.
fn unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at..at + REPLACEMENT.len())?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// A JSON text that broke off, ended behind its last whole value. None if there is no such value.
fn ended(text: &str) -> Option<Zeroizing<String>> {
    let mut open = Vec::new();
    // Where a value ended last, and within how many others. Since then others can only have begun.
    let mut whole = None;
    let (mut quoted, mut escaped, mut before) = (false, false, 0);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if std::mem::take(&mut escaped) => {}
            b'\\' => escaped = quoted,
            b'"' => {
                quoted = !quoted;
                // What stands behind anything else may be a name.
                if !quoted && before == b':' {
                    whole = Some((at + 1, open.len()));
                }
            }
            _ if quoted || byte.is_ascii_whitespace() => continue,
            b'{' => open.push(b'}'),
            b'[' => open.push(b']'),
            b'}' | b']' => {
                open.pop().filter(|end| *end == byte)?;
                whole = Some((at + 1, open.len()));
                if open.is_empty() {
                    break;
                }
            }
            b',' => whole = Some((at, open.len())),
            _ => {}
        }
        if !quoted {
            before = byte;
        }
    }
    let (end, depth) = whole?;
    let mut ended = Zeroizing::new(String::with_capacity(end + depth));
    ended.push_str(&text[..end]);
    ended.extend(open[..depth].iter().rev().map(|end| char::from(*end)));
    Some(ended)
}

/// A JSON string that broke off, as far as it is whole.
fn unquoted(text: &str) -> Option<Zeroizing<String>> {
    let read = |text: &str| {
        let text = Zeroizing::new(format!("{text}\""));
        serde_json::from_str(&text).ok().map(Zeroizing::new)
    };
    let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]).rev();
    ends.take(ESCAPE_CHARS_MAX).find_map(|end| read(&text[..end]))
}

// === impl Fields ===

impl Fields {
    /// Of JSON, and of JSON within a JSON string, once. What is behind it does not count.
    fn of_json(text: &str, within: bool) -> Option<Self> {
        match Value::of_json(text)? {
            Value::Fields(fields) => Some(fields),
            Value::Text(text) if within => Self::of_json(&text, false),
            _ => None,
        }
    }

    /// Of what broke off, as JSON or as a form: the members that are whole.
    fn of_beginning(text: &str, labelled: bool) -> Option<Self> {
        let text = text.trim_start();
        if text.starts_with('{') {
            return Self::of_json(&ended(text)?, false);
        }
        if text.starts_with('"') {
            return Self::of_json(&ended(&unquoted(text)?)?, false);
        }
        // Whether the last value is whole, a form does not say.
        let (whole, _) = text.rsplit_once('&')?;
        Self::of_form(whole, labelled)
    }

    /// Of a form. Any text is one to a parser, so without its label only one that has a field of a token's answer.
    pub(super) fn of_form(text: &str, labelled: bool) -> Option<Self> {
        let text = text.trim();
        if text.starts_with(['<', '{', '[', '"']) || !text.contains('=') {
            return None;
        }
        let value = |value: String| Value::Text(Zeroizing::new(value));
        let pairs = url::form_urlencoded::parse(text.as_bytes());
        let fields: BTreeMap<_, _> =
            pairs.map(|(name, text)| (name.into_owned(), value(text.into_owned()))).collect();
        let known = ["access_token", "error"].iter().any(|name| fields.contains_key(*name));
        (labelled || known).then_some(Self(fields))
    }

    /// Its members, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// By a JSON Pointer (RFC 6901).
    pub(super) fn pointer(&self, pointer: &str) -> Option<&Value> {
        let mut steps = steps(pointer)?;
        let first = self.get(&steps.next()?)?;
        steps.try_fold(first, |value, step| value.step(&step))
    }
}

/// The steps of a JSON Pointer.
fn steps(pointer: &str) -> Option<impl Iterator<Item = String>> {
    let steps = pointer.strip_prefix('/')?.split('/');
    Some(steps.map(|step| step.replace("~1", "/").replace("~0", "~")))
}

// === impl Value ===

impl Value {
    /// Of JSON. What is behind it does not count.
    fn of_json(text: &str) -> Option<Self> {
        let text = mended(text);
        let mut from = serde_json::Deserializer::from_str(&text);
        let raw = <&RawValue>::deserialize(&mut from).ok()?;
        Some(Self::read(raw, DEPTH_MAX))
    }

    fn step(&self, step: &str) -> Option<&Self> {
        match self {
            Self::Fields(fields) => fields.get(step),
            Self::List(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        }
    }

    /// As text: of what is not text, as it is written in JSON.
    pub(super) fn written(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) | Self::Number(text) => Some(Cow::Borrowed(text)),
            Self::Bool(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
            Self::Null | Self::List(_) | Self::Fields(_) | Self::Other => None,
        }
    }

    /// Reads a value member by member: JSON's own tree is not wiped, and takes all or nothing.
    fn read(raw: &RawValue, depth: usize) -> Self {
        let text = raw.get();
        let Some(deeper) = depth.checked_sub(1) else { return Self::Other };
        let read = match text.as_bytes().first() {
            Some(b'{') => serde_json::from_str::<BTreeMap<String, &RawValue>>(text).map(|raw| {
                let read = raw.into_iter().map(|(name, raw)| (name, Self::read(raw, deeper)));
                Self::Fields(Fields(read.collect()))
            }),
            Some(b'[') => serde_json::from_str::<Vec<&RawValue>>(text).map(|raw| {
                Self::List(raw.into_iter().map(|raw| Self::read(raw, deeper)).collect())
            }),
            Some(b'"') => serde_json::from_str(text).map(|text| Self::Text(Zeroizing::new(text))),
            Some(b't' | b'f') => serde_json::from_str(text).map(Self::Bool),
            Some(b'n') => Ok(Self::Null),
            _ => serde_json::from_str::<Number>(text)
                .map(|_| Self::Number(Zeroizing::new(text.to_owned()))),
        };
        read.unwrap_or(Self::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_wiped_unless_somebody_else_has_it() {
        for body in [Bytes::from(b"t0ken".to_vec()), BytesMut::from(&b"t0ken"[..]).freeze()] {
            assert_eq!(wiped(body).unwrap(), [0; 5][..]);
        }
        let body = Bytes::from(b"t0ken".to_vec());
        assert!(wiped(body.clone()).is_none());
        assert_eq!(body, "t0ken");
    }

    /// Fails if a pointer finds anything else than it did in JSON's own tree.
    #[test]
    fn a_pointer_finds_what_it_names() {
        let text = r#"{"a":{"b/c":[{"d":"found"},17]},"~":"tilde","n":null}"#;
        let fields = Fields::of_json(text, false).unwrap();
        let tree: serde_json::Value = serde_json::from_str(text).unwrap();
        for pointer in ["/a/b~1c/0/d", "/a/b~1c/1", "/~0", "/a/b~1c/2", "/a/b", "/x", "a", "/n/x"] {
            let found = fields.pointer(pointer).and_then(|value| match value {
                Value::Text(text) => Some(serde_json::Value::from(text.as_str())),
                Value::Number(number) => serde_json::from_str(number).ok(),
                _ => None,
            });
            assert_eq!(found.as_ref(), tree.pointer(pointer), "{pointer}");
        }
    }

    fn read(kind: &str, body: impl Into<Bytes>) -> Option<Fields> {
        let headers = vec![("content-type".to_owned(), kind.to_owned())];
        Answer(Response { status: 200, headers, body: body.into() }).fields()
    }

    #[test]
    fn an_answer_is_what_it_is_whatever_its_label_says() {
        let json = r#"{"access_token":"a"}"#;
        let form = "access_token=a&scope=x+y";
        let within = serde_json::to_string(json).unwrap();
        for (kind, body) in [
            ("text/plain", form.to_owned()),
            ("text/plain; charset=utf-8", format!("\n{form}\n")),
            ("application/json", form.to_owned()),
            ("text/html", form.to_owned()),
            ("Application/X-WWW-Form-Urlencoded; Charset=UTF-8", form.to_owned()),
            ("APPLICATION/JSON", json.to_owned()),
            ("text/html", json.to_owned()),
            (FORM, json.to_owned()),
            ("application/json", format!("\u{feff}{json}")),
            ("text/plain", format!("\u{feff}{form}")),
            ("application/json", format!("\r\n {json} \r\n<!-- 12 ms -->")),
            ("application/json", within),
        ] {
            let fields = read(kind, body.clone()).unwrap_or_else(|| panic!("{kind}: {body}"));
            assert_eq!(
                fields.pointer("/access_token").unwrap().written().unwrap(),
                "a",
                "{kind}: {body}"
            );
        }
        let page = "<html><a href=\"/?access_token=a&error=b\">on</a></html>";
        for (kind, body) in [
            ("text/html", page),
            (FORM, page),
            ("text/plain", "Welcome"),
            ("text/plain", "a=b"),
            ("application/json", ""),
            ("application/json", "[1]"),
            ("application/json", "7"),
        ] {
            assert!(read(kind, body).is_none(), "{kind}: {body}");
        }
        assert!(read("Application/X-WWW-Form-Urlencoded", "a=b").is_some(), "it says so");
    }

    #[test]
    fn half_a_surrogate_pair_is_mended_and_a_whole_one_is_not() {
        for (text, expected) in [
            (r#"{"\ud800":1,"id":"a"}"#, r#"{"\ufffd":1,"id":"a"}"#),
            (
                r#"["\ud83d\ude00","\ude00\ud83d","\\ud800"]"#,
                r#"["\ud83d\ude00","\ufffd\ufffd","\\ud800"]"#,
            ),
            (r#""\ud8"#, r#""\ud8"#),
            ("\\\u{e9}\\ud800", "\\\u{e9}\\ud800"),
        ] {
            assert_eq!(*mended(text), expected, "{text}");
        }
    }

    #[test]
    fn what_nobody_can_read_costs_only_itself() {
        let odd = br#"{"expires_in":1e400,"deep":[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]],"name":"J\ud800","#;
        let latin = b"\"company\":\"Caf\xe9\",\"access_token\":\"a\",\"ok\":true}";
        let fields = read("application/json", [&odd[..], latin].concat()).unwrap();
        assert_eq!(fields.pointer("/access_token").unwrap().written().unwrap(), "a");
        assert!(matches!(fields.get("expires_in"), Some(Value::Other)));
        assert_eq!(fields.get("name").unwrap().written().unwrap(), "J\u{fffd}");
        assert_eq!(fields.pointer("/ok").unwrap().written().unwrap(), "true");
    }
}
