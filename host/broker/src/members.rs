//! Changes links in members of JSON while it streams by. All other bytes go through as they came.
//!
//! It reads JSON just well enough to know in which member a string stands, and believes nothing of it: whatever is no JSON
//! goes through as it is. It holds no more than one string at a time, and none that is longer than a URL may be.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame};
use keyway_core::descriptor::LinkMember;
use keyway_core::exchange::Streamed;
use keyway_core::limits::JSON_DEPTH_MAX;

use crate::document::Document;
use crate::links::Links;

/// Bytes of the longest string that is held to be changed: four spellings of the longest URL that the host sends.
const LINK_BYTES_MAX: usize = 32 << 10;

/// Bytes of the longest name of a member that is compared. A descriptor's are shorter.
const NAME_BYTES_MAX: usize = 1_024;

/// Changes the links of one body.
pub(crate) struct Editor {
    links: Links,
    /// From the outermost to where it stands, as deep as JSON is read.
    levels: Vec<Level>,
    /// Levels beyond those: nothing is changed there.
    deeper: usize,
    /// Whether the next string of an object is the name of a member.
    name_next: bool,
    string: Option<Text>,
    /// Whether it is JSON, as far as that is known. What is not goes through untouched.
    json: Json,
}

enum Json {
    Yes,
    No,
    /// Its first letter will say.
    Unknown(Document),
}

/// An array or an object that is open.
struct Level {
    object: bool,
    /// Of the member that it stands in. Empty in an array.
    name: Vec<u8>,
}

/// A string that is open.
struct Text {
    kind: Kind,
    /// With its quotes, as far as it is held. Empty where it is not.
    held: Vec<u8>,
    escaped: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Its bytes have gone through already.
    Name,
    /// It is changed at its end, if it is a link.
    Link,
    /// Nobody looks at it.
    Other,
}

/// A body whose links are changed on the way.
struct Edited {
    body: Streamed,
    editor: Editor,
    over: bool,
}

// === impl Editor ===

impl Editor {
    /// `known` says that it is JSON, as far as anybody can know.
    pub(crate) fn new(links: Links, known: bool) -> Self {
        let json = if known { Json::Yes } else { Json::Unknown(Document::default()) };
        Self { links, levels: Vec::new(), deeper: 0, name_next: false, string: None, json }
    }

    /// The body with its links changed.
    pub(crate) fn edit(self, body: Streamed) -> Streamed {
        // Nothing will come, and a body that says so needs no framing.
        let over = body.is_end_stream();
        Edited { body, editor: self, over }.boxed_unsync()
    }

    /// What goes on of these bytes, and of those that were held.
    fn push(&mut self, data: Bytes) -> Bytes {
        if let Json::Unknown(document) = &mut self.json {
            document.read(&data);
            self.json = match document.is_none() {
                // Space, which goes through.
                None => return data,
                Some(true) => Json::No,
                Some(false) => Json::Yes,
            };
        }
        match self.json {
            Json::No => data,
            Json::Yes | Json::Unknown(_) => self.edited(&data),
        }
    }

    fn edited(&mut self, mut data: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(data.len());
        while !data.is_empty() {
            data = match self.string.take() {
                Some(text) => self.within(text, data, &mut out),
                None => self.between(data, &mut out),
            };
        }
        out.freeze()
    }

    /// What is left: a string that never ended.
    fn finish(&mut self) -> Bytes {
        self.string
            .take()
            .filter(|text| text.kind == Kind::Link)
            .map_or(Bytes::new(), |text| text.held.into())
    }

    /// Reads up to the next string.
    fn between<'d>(&mut self, data: &'d [u8], out: &mut BytesMut) -> &'d [u8] {
        let quote = memchr::memchr(b'"', data).unwrap_or(data.len());
        let (before, from) = data.split_at(quote);
        out.extend_from_slice(before);
        before.iter().for_each(|byte| self.mark(*byte));
        let Some((_, rest)) = from.split_first() else { return from };
        let kind = match () {
            () if self.in_object() && self.name_next => Kind::Name,
            () if self.wanted() => Kind::Link,
            () => Kind::Other,
        };
        if kind != Kind::Link {
            out.extend_from_slice(b"\"");
        }
        self.string = Some(Text { kind, held: vec![b'"'], escaped: false });
        rest
    }

    fn mark(&mut self, byte: u8) {
        match byte {
            b'{' | b'[' => {
                self.name_next = byte == b'{';
                if self.levels.len() < JSON_DEPTH_MAX {
                    self.levels.push(Level { object: self.name_next, name: Vec::new() });
                } else {
                    self.deeper += 1;
                }
            }
            b'}' | b']' => {
                match self.deeper.checked_sub(1) {
                    Some(deeper) => self.deeper = deeper,
                    None => drop(self.levels.pop()),
                }
                self.name_next = false;
            }
            b',' => self.name_next = true,
            b':' => self.name_next = false,
            _ => {}
        }
    }

    fn in_object(&self) -> bool {
        self.deeper == 0 && self.levels.last().is_some_and(|level| level.object)
    }

    /// Whether the member that a string would stand in now holds a link.
    fn wanted(&self) -> bool {
        let names = || self.levels.iter().map(|level| level.object.then_some(&*level.name));
        self.deeper == 0
            && self.links.members().iter().any(|member| match member {
                LinkMember::Name(name) => names().next_back().flatten() == Some(name.as_bytes()),
                LinkMember::Path(steps) => {
                    steps.len() == self.levels.len()
                        && steps
                            .iter()
                            .zip(names())
                            .all(|(step, name)| step == "*" || name == Some(step.as_bytes()))
                }
            })
    }

    /// Reads on in a string, up to its end at most.
    fn within<'d>(&mut self, mut text: Text, data: &'d [u8], out: &mut BytesMut) -> &'d [u8] {
        let end = text.end(data);
        let (piece, rest) = data.split_at(end.unwrap_or(data.len()));
        if text.kind != Kind::Link {
            out.extend_from_slice(piece);
        }
        let bytes_max = match text.kind {
            Kind::Name => NAME_BYTES_MAX,
            Kind::Link => LINK_BYTES_MAX,
            Kind::Other => 0,
        };
        if text.held.len() + piece.len() <= bytes_max {
            text.held.extend_from_slice(piece);
        } else if text.kind == Kind::Link {
            out.extend_from_slice(&text.held);
            out.extend_from_slice(piece);
            text.kind = Kind::Other;
        } else {
            text.held.clear();
        }
        match (end, text.kind) {
            (None, _) => self.string = Some(text),
            (Some(_), Kind::Name) => self.named(&text.held),
            (Some(_), Kind::Link) => match self.changed(&text.held) {
                Some(changed) => out.extend_from_slice(changed.as_bytes()),
                None => out.extend_from_slice(&text.held),
            },
            (Some(_), Kind::Other) => {}
        }
        rest
    }

    /// Takes the name of the member that comes.
    fn named(&mut self, quoted: &[u8]) {
        let Some(level) = self.levels.last_mut() else { return };
        level.name.clear();
        match quoted {
            [b'"', plain @ .., b'"'] if !plain.contains(&b'\\') => {
                level.name.extend_from_slice(plain)
            }
            _ => level
                .name
                .extend(serde_json::from_slice::<String>(quoted).unwrap_or_default().bytes()),
        }
    }

    /// A string that leads here, if it is a link that should.
    fn changed(&self, quoted: &[u8]) -> Option<String> {
        let link: String = serde_json::from_slice(quoted).ok()?;
        serde_json::to_string(&self.links.lead_member(&link)?).ok()
    }
}

// === impl Text ===

impl Text {
    /// Where the string ends in these bytes, with its quote.
    fn end(&mut self, data: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            if std::mem::take(&mut self.escaped) {
                // Whatever is escaped ends nothing. Of `\u0022` the digits are plain letters.
                data.get(at)?;
                at += 1;
            }
            at += memchr::memchr2(b'"', b'\\', data.get(at..)?)?;
            if data[at] == b'"' {
                return Some(at + 1);
            }
            self.escaped = true;
            at += 1;
            if at == data.len() {
                return None;
            }
        }
    }
}

// === impl Edited ===

impl Body for Edited {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Self { body, editor, over } = self.get_mut();
        while !*over {
            let data = match ready!(Pin::new(&mut *body).poll_frame(context)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => editor.push(frame.into_data().unwrap_or_default()),
                None => {
                    *over = true;
                    editor.finish()
                }
            };
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keyway_core::Descriptor;
    use proptest::prelude::*;

    use super::*;

    fn editor(members: &str) -> Editor {
        let text = r#"{"format":1,"name":"a/b","version":"1.0.0","hosts":["a.com"],"link-members":MEMBERS}"#;
        let descriptor = Descriptor::parse(&text.replace("MEMBERS", members)).unwrap();
        let asked = "https://a.com/x/y".parse().unwrap();
        let links =
            Links::new("https://h/P".into(), Arc::new(descriptor), Some("https://a.com"), &asked);
        Editor::new(links, true)
    }

    const MEMBERS: &str = r#"["next_page","/links/next","/items/*/url"]"#;

    /// What becomes of a text that comes in these pieces.
    fn edited<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Vec<u8> {
        let mut editor = editor(MEMBERS);
        let mut out = Vec::new();
        for piece in pieces {
            out.extend_from_slice(&editor.push(Bytes::copy_from_slice(piece)));
        }
        out.extend_from_slice(&editor.finish());
        out
    }

    fn text(text: &str) -> String {
        String::from_utf8(edited([text.as_bytes()])).unwrap().replace("https://h/P", "P")
    }

    #[test]
    fn links_change_in_the_members_that_are_named_and_nowhere_else() {
        for (before, after) in [
            (r#"{"next_page":"https://a.com/x?p=2","n":1}"#, r#"{"next_page":"P/x?p=2","n":1}"#),
            (r#"{"a":[{"next_page" : "https://a.com/x"}]}"#, r#"{"a":[{"next_page" : "P/x"}]}"#),
            // Slashes and ampersands as PHP and Go write them.
            (
                r#"{"next_page":"https:\/\/a.com\/x?a=1\u0026b=2"}"#,
                r#"{"next_page":"P/x?a=1&b=2"}"#,
            ),
            // From the root, it would lead past the proxy; where it names a host, to the provider.
            (r#"{"next_page":"\/z?a=1"}"#, r#"{"next_page":"/P/z?a=1"}"#),
            (r#"{"next_page":"//a.com/z"}"#, r#"{"next_page":"P/z"}"#),
            (r#"{"next_page":"../../z"}"#, r#"{"next_page":"P/z"}"#),
            (r#"{"ne\u0078t_page":"https://a.com/x"}"#, r#"{"ne\u0078t_page":"P/x"}"#),
            (
                r#"{"links":{"next":"https://a.com/x","prev":"https://a.com/y"}}"#,
                r#"{"links":{"next":"P/x","prev":"https://a.com/y"}}"#,
            ),
            (
                r#"{"items":[{"url":"https://a.com/x"},{"url":"https://a.com/y"}],"url":"https://a.com/z"}"#,
                r#"{"items":[{"url":"P/x"},{"url":"P/y"}],"url":"https://a.com/z"}"#,
            ),
            (
                "{\"next_page\":\"https://a.com/1\"}\n{\"next_page\":\"https://a.com/2\"}",
                "{\"next_page\":\"P/1\"}\n{\"next_page\":\"P/2\"}",
            ),
        ] {
            assert_eq!(text(before), after);
        }
        for same in [
            r#"{"next_page":null,"other":"https://a.com/x"}"#,
            r#"{"next_page":["https://a.com/x"]}"#,
            r#"{"next_page":{"x":"https://a.com/x"},"y":"https://a.com/x"}"#,
            r#"{"next_page":"https://evil.example/x"}"#,
            r#"{"next_page":"2","x":"next_page"}"#,
            r#"{"next_page":"?page=2"}"#,
            r#"{"next_page":"z?page=2"}"#,
            r##"{"next_page":"#top"}"##,
            r#"{"next_page":"//evil.example/x"}"#,
            r#"{"next_page":"./z"}"#,
            r#"{"x":"\"next_page\":\"https://a.com/x\""}"#,
            r#"["next_page","https://a.com/x"]"#,
            r#"{"a":{"links":{"next":"https://a.com/x"}}}"#,
            r#"{"next_page":"https://a.com/never ends"#,
            r#"{"next_page":"https://a.com/\q bad escape"}"#,
            r#"{"n":12345678901234567.890,"lone":"\ud800", "s" : [ ] }"#,
            r#"}}]],,"next_page":"https://a.com/x""#,
        ] {
            assert_eq!(text(same), same);
        }
    }

    #[test]
    fn what_begins_as_no_json_does_goes_through_untouched() {
        let text = |text: &str| {
            let mut editor = editor(MEMBERS);
            editor.json = Json::Unknown(Document::default());
            let pieces = text.as_bytes().chunks(3);
            let out: Vec<u8> =
                pieces.flat_map(|piece| editor.push(Bytes::copy_from_slice(piece))).collect();
            String::from_utf8(out).unwrap().replace("https://h/P", "P")
        };
        let json = r#"  {"next_page":"https://a.com/x"}"#;
        assert_eq!(text(json), json.replace("https://a.com", "P"));
        let csv = r#"id,{"next_page":"https://a.com/x"}"#;
        assert_eq!(text(csv), csv);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let long = |bytes: usize| {
            let link = format!("https://a.com/{}", "x".repeat(bytes - "\"https://a.com/\"".len()));
            format!(r#"{{"next_page":"{link}","next_page":"https://a.com/y"}}"#)
        };
        assert!(text(&long(LINK_BYTES_MAX)).starts_with(r#"{"next_page":"P/x"#));
        let over = text(&long(LINK_BYTES_MAX + 1));
        assert!(
            over.starts_with(r#"{"next_page":"https://a.com/x"#)
                && over.ends_with(r#""next_page":"P/y"}"#)
        );
        let deep = |depth: usize| {
            let inner = r#"{"next_page":"https://a.com/x"}"#;
            format!("{}{inner}{}{inner}", "[".repeat(depth - 1), "]".repeat(depth - 1))
        };
        let changed = |depth| text(&deep(depth)).matches("P/x").count();
        assert_eq!((changed(JSON_DEPTH_MAX), changed(JSON_DEPTH_MAX + 1)), (2, 1));
        let name =
            format!(r#"{{"{}":1,"next_page":"https://a.com/x"}}"#, "n".repeat(NAME_BYTES_MAX + 1));
        assert!(text(&name).ends_with(r#""next_page":"P/x"}"#));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// However a body is cut, the same comes out.
        #[test]
        fn cuts_make_no_difference(cuts in prop::collection::vec(0_usize..200, 0..12)) {
            let whole = r#"{"x":"a\\\"","next_page":"https:\/\/a.com\/p?q=\"\u00fc\"","links":{"next":"https://a.com/é"},"z":[1,{"next_page":"https://b.com"}]}"#;
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(whole.len())).collect();
            cuts.extend([0, whole.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|cut| &whole.as_bytes()[cut[0]..cut[1]]);
            let out = edited(pieces);
            prop_assert_eq!(String::from_utf8(out).unwrap().replace("https://h/P", "P"), text(whole));
            prop_assert!(text(whole).contains(r#""next_page":"P/p?q="#));
        }

        /// Whatever it is, if it has no such member it goes through byte for byte.
        #[test]
        fn all_other_bytes_are_the_same(
            pieces in prop::collection::vec(prop_oneof![
                prop::collection::vec(any::<u8>(), 0..20),
                prop::sample::select(vec![r#"{"a":"#, r#""https://a.com/x""#, "[", "]", "}", ",", "\\", "\"", "{", ":", "\\u"])
                    .prop_map(|text| text.as_bytes().to_vec()),
            ], 0..40),
        ) {
            let out = edited(pieces.iter().map(|piece| &**piece));
            prop_assert_eq!(out, pieces.concat());
        }
    }
}
