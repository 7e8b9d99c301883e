//! Masks secrets in a body that is not held, keeping its length.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::value::{Kind, Reader};
use super::wrapped::{self, Unwrapped};
use super::{DIGIT, Scrubber, merged, spell};
use crate::decode;

/// Bytes that one letter has at most in a text that is written in lines: itself, and a break as JSON writes it.
const LINE_GROWTH_MAX: usize = 5;

/// Masks secrets in a stream. Holds back as many bytes as a secret that begins there could have.
pub(crate) struct Mask {
    scrubber: Scrubber,
    /// What may say which kind of body it is, until there is a first piece.
    headers: Option<HeaderMap>,
    /// Whether it is compressed: inside such bytes nothing can be seen.
    blind: bool,
    /// For secrets that are only looked for as values.
    reader: Option<Reader>,
    held: BytesMut,
    /// The last byte that has gone: whether what follows it is a number of its own.
    before: Option<u8>,
    /// Whether something was masked.
    pub(crate) masked: bool,
}

// === impl Mask ===

impl Mask {
    pub(crate) fn of(scrubber: &Scrubber, headers: &HeaderMap) -> Option<Self> {
        let told = !scrubber.values().is_empty() || decode::coded(headers);
        (!scrubber.is_empty()).then(|| Self {
            scrubber: scrubber.clone(),
            headers: told.then(|| headers.clone()),
            blind: false,
            reader: None,
            held: BytesMut::new(),
            before: None,
            masked: false,
        })
    }

    /// Bytes that are held back.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn push(&mut self, data: Bytes) -> Bytes {
        if let Some(headers) = self.headers.take_if(|_| !data.is_empty()) {
            self.blind = decode::is_coded(&headers, &data);
            let values = !self.scrubber.values().is_empty() && !self.blind;
            self.reader = values.then(|| Reader::new(Kind::of(&headers, &data)));
        }
        if self.blind {
            return data;
        }
        // Nearly always: nothing was held back, nothing is found, and nothing has to be held back.
        let plain = self.held.is_empty() && self.reader.is_none();
        let clean = plain && self.scrubber.ranges(&data, self.before).is_empty();
        if clean && self.scrubber.tail(&data) == 0 {
            self.before = data.last().copied().or(self.before);
            return data;
        }
        self.held.extend_from_slice(&data);
        self.release(false)
    }

    pub(crate) fn finish(&mut self) -> Bytes {
        self.release(true)
    }

    fn release(&mut self, last: bool) -> Bytes {
        let mut found = self.scrubber.ranges(&self.held, self.before);
        let mut through = self.held.len();
        if !last {
            through -= self.scrubber.tail(&self.held);
            // The next byte may be one more digit.
            let undecided = |range: &Range<usize>| {
                range.end == self.held.len() && spell::digits(&self.held[range.clone()])
            };
            through = found
                .iter()
                .filter(|range| undecided(range))
                .fold(through, |through, range| through.min(range.start));
            found.retain(|range| !undecided(range));
        }
        self.blank(merged(found));
        if let Some(reader) = &self.reader {
            let found = reader.find(self.scrubber.values(), &self.held, last);
            self.blank(found.ranges);
            through = found.open.map_or(through, |open| open.min(through));
        }
        if let Some(reader) = &mut self.reader {
            reader.pass(&self.held[..through]);
        }
        self.before = self.held[..through].last().copied().or(self.before);
        self.held.split_to(through).freeze()
    }

    fn blank(&mut self, ranges: Vec<Range<usize>>) {
        for range in ranges {
            let secret = &mut self.held[range];
            let digits = spell::digits(secret);
            secret.fill(if digits { DIGIT } else { b'*' });
            self.masked = true;
        }
    }
}

// === impl Scrubber ===

impl Scrubber {
    /// How many bytes at the end could be the beginning of a secret.
    fn tail(&self, text: &[u8]) -> usize {
        let longest = self.spellings().first().map_or(0, |one| one.text.len());
        let most = text.len().min(longest.saturating_sub(1));
        let direct = self.begins(&text[text.len() - most..], false).unwrap_or_default();
        direct.max(self.tail_in_lines(text, longest))
    }

    /// The same, of base64 that is written in lines.
    fn tail_in_lines(&self, text: &[u8], longest: usize) -> usize {
        let end = wrapped::end_of_letters(text);
        let window = &text[end.saturating_sub(longest * LINE_GROWTH_MAX)..end];
        let last = |text: &[u8]| text.len().saturating_sub(longest.saturating_sub(1));
        let held = match Unwrapped::of(window) {
            Some(lines) => {
                let joined = &lines.joined;
                let held = self.begins(&joined[last(joined)..], true);
                held.map(|length| window.len() - lines.original(joined.len() - length))
            }
            // All that is between it and the rest of a secret is a break at the end.
            None if end < text.len() => self.begins(&window[last(window)..], true),
            None => None,
        };
        held.map_or(0, |held| text.len() - end + held)
    }

    /// How many bytes the longest beginning of a spelling has that ends with `text`.
    fn begins(&self, text: &[u8], base64: bool) -> Option<usize> {
        // Nearly no byte begins a secret, so most are looked at once and not once for each spelling.
        let mut first = [false; 1 << u8::BITS];
        for one in self.spellings() {
            first[usize::from(one.text[0])] = true;
        }
        let begins = |at: &usize| {
            let end = &text[*at..];
            let spelt =
                |one: &super::Spelling| (one.base64 || !base64) && one.text.starts_with(end);
            first[usize::from(end[0])] && self.spellings().iter().any(spelt)
        };
        (0..text.len()).find(begins).map(|at| text.len() - at)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use http::HeaderValue;
    use http::header::CONTENT_TYPE;
    use proptest::prelude::*;

    use super::super::Secrets;
    use super::*;

    /// What comes out of a mask when the text comes in these pieces, and whether something was masked.
    fn through(
        scrubber: &Scrubber,
        label: &'static str,
        text: &str,
        cuts: &[usize],
    ) -> (String, bool) {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(label));
        let mut mask = Mask::of(scrubber, &headers).unwrap();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(text.len());
        let (mut out, mut from) = (Vec::new(), 0);
        for cut in cuts {
            out.extend_from_slice(&mask.push(Bytes::copy_from_slice(&text.as_bytes()[from..cut])));
            from = cut;
        }
        out.extend_from_slice(&mask.finish());
        (String::from_utf8(out).unwrap(), mask.masked)
    }

    fn of(secret: &str) -> Scrubber {
        Secrets::default().secret(secret).scrubber()
    }

    fn coded(coding: &'static str) -> HeaderMap {
        let label = (http::header::CONTENT_ENCODING, HeaderValue::from_static(coding));
        HeaderMap::from_iter([label])
    }

    #[test]
    fn a_body_is_compressed_by_its_bytes_and_not_by_its_label_alone() {
        let secret = "S3CRET-t0ken_value";
        let plain = Bytes::from(format!("you sent {secret}!"));
        let mut mask = Mask::of(&of(secret), &coded("gzip")).unwrap();
        let shown = [mask.push(plain.clone()), mask.finish()].concat();
        assert_eq!(shown, format!("you sent {}!", "*".repeat(secret.len())).as_bytes());
        assert!(mask.masked);
        let packed = Bytes::from([b"\x1f\x8b".as_slice(), &plain].concat());
        let mut mask = Mask::of(&of(secret), &coded("gzip")).unwrap();
        assert_eq!([mask.push(packed.clone()), mask.finish()].concat(), packed);
        assert!(!mask.masked);
    }

    #[test]
    fn white_space_behind_a_short_secret_is_not_held_for_ever() {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/json"))]);
        let mut mask = Mask::of(&of("hunter2"), &headers).unwrap();
        let mut out = mask.push(Bytes::from_static(b"[\"hunter2\"")).to_vec();
        for _ in 0..1_000 {
            out.extend_from_slice(&mask.push(Bytes::from_static(b"          ")));
            assert!(mask.held() < 200, "{}", mask.held());
        }
        out.extend_from_slice(&mask.finish());
        assert!(out.starts_with(b"[\"*******\" "), "it is masked all the same");
        assert_eq!(out.len(), 10 + 10_000);
    }

    /// In lines of this length, each ended by `with`.
    fn in_lines(text: &str, length: usize, with: &str) -> String {
        let lines: Vec<&str> = (0..text.len())
            .step_by(length)
            .map(|at| &text[at..text.len().min(at + length)])
            .collect();
        lines.join(with)
    }

    proptest! {
        /// However a body is cut, what comes out is as long as what went in, and holds no secret.
        #[test]
        fn a_secret_is_masked_wherever_the_stream_is_cut(
            before in "[a-z ]{0,40}",
            after in "[a-z ]{0,40}",
            cuts in prop::collection::vec(0_usize..120, 0..8),
        ) {
            let secret = "S3CRET-t0ken_value";
            let text = format!("{before}{secret}{after}{secret}");
            let (out, masked) = through(&of(secret), "text/plain", &text, &cuts);
            prop_assert!(masked);
            prop_assert_eq!(out, text.replace(secret, &"*".repeat(secret.len())));
        }

        /// The same in base64 that is written in lines, as MIME has it, and as JSON writes that.
        #[test]
        fn base64_in_lines_is_masked_wherever_the_stream_is_cut(
            before in "[a-z ]{0,60}",
            after in "[a-z ]{0,60}",
            with in prop::sample::select(vec!["\r\n", "\n", "\\r\\n", "\\n"]),
            length in prop::sample::select(vec![4_usize, 64, 76]),
            cuts in prop::collection::vec(0_usize..400, 0..8),
        ) {
            let secret = "S3CRET-t0ken_value-that-is-longer-than-a-line-of-mime-is-and-so-is-in-two-of-them-at-least";
            let text = in_lines(&STANDARD.encode(format!("{before}{secret}{after}")), length, with);
            let (out, masked) = through(&of(secret), "text/plain", &text, &cuts);
            prop_assert!(masked);
            prop_assert_eq!(out.len(), text.len());
            let joined = out.replace("\\r", "").replace("\\n", "").replace(['\r', '\n'], "");
            prop_assert!(!of(secret).finds(joined.as_bytes()), "{}", out);
        }

        /// A short secret is masked as a value, and a document stays one, however it is cut.
        #[test]
        fn a_short_secret_is_masked_as_a_value_wherever_the_stream_is_cut(
            cuts in prop::collection::vec(0_usize..400, 0..12),
        ) {
            let text = r#"{"ok":true,"true":"is true","a":["true","untrue\"true"], "b" : "true" ,"true" :{"c":true}}"#;
            let (out, masked) = through(&of("true"), "application/json", text, &cuts);
            prop_assert!(masked);
            let expected = text.replace("[\"true\"", "[\"****\"").replace(": \"true\"", ": \"****\"");
            prop_assert_eq!(out, expected);
        }

        #[test]
        fn a_field_of_a_form_is_masked_wherever_the_stream_is_cut(
            cuts in prop::collection::vec(0_usize..400, 0..12),
        ) {
            let label = "application/x-www-form-urlencoded";
            let (out, _) = through(&of("tr/e"), label, "tr/e=1&a=tr%2Fe&b=xtr/e&c=tr/e", &cuts);
            prop_assert_eq!(out, "tr/e=1&a=******&b=xtr/e&c=****");
        }
    }

    /// A secret that begins like itself holds no more back than it is long.
    #[test]
    fn what_is_held_back_is_bounded() {
        let scrubber = of("aaaaaaaaaaaa");
        let mut mask = Mask::of(&scrubber, &HeaderMap::new()).unwrap();
        for _ in 0..1_000 {
            mask.push(Bytes::from_static(b"aaaaaaaaaaaaaaaa\n"));
            assert!(mask.held() < 200, "{}", mask.held());
        }
    }

    proptest! {
        /// A number stays a number, and one that is longer is another, however a body is cut.
        #[test]
        fn a_number_is_masked_as_a_whole_wherever_the_stream_is_cut(
            cuts in prop::collection::vec(0_usize..400, 0..12),
        ) {
            for secret in ["1234567890", "1234567890123"] {
                let (nines, more) = ("9".repeat(secret.len()), format!("{secret}4"));
                let text = format!(
                    r#"{{"id":{secret},"a":["{secret}",{secret}, {secret}],"b":{more},"c":0{secret},"d":["{more}","0{secret}"],"e":{secret}}}"#,
                );
                let (out, masked) = through(&of(secret), "application/json", &text, &cuts);
                prop_assert!(masked);
                let kept = text.replace(&more, "MORE").replace(&format!("0{secret}"), "ZERO");
                let expected = kept.replace(secret, &nines);
                let expected = expected.replace("MORE", &more).replace("ZERO", &format!("0{secret}"));
                prop_assert_eq!(out, expected);
            }
            let text = format!("{}\n0{}\n", "12345678901234 1234567890123\n".repeat(3), "1234567890123");
            let (out, _) = through(&of("1234567890123"), "text/plain", &text, &cuts);
            prop_assert_eq!(out, text.replace(" 1234567890123", " 9999999999999"));
        }
    }

    #[test]
    fn a_number_at_the_end_is_masked_when_nothing_follows() {
        let (out, masked) =
            through(&of("1234567890123"), "text/plain", "pin 1234567890123", &[6, 17]);
        assert!(masked);
        assert_eq!(out, "pin 9999999999999");
    }
}
