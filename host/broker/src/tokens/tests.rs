//! Tokens are found in bodies in every spelling, however they are cut; and nothing else is.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use futures_util::FutureExt as _;
use http::HeaderValue;
use http::header::CONTENT_ENCODING;
use proptest::prelude::*;

use super::*;
use crate::decode::tests::encode;

const TOKEN: &str = "kw_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_AbCdE";

/// Looks like one, and was issued by nobody.
const OTHER: &str = "kw_BbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_AbCdE";

#[derive(Debug)]
struct One;

impl IssuedTokens for One {
    fn has(&self, text: &[u8]) -> bool {
        text == TOKEN.as_bytes()
    }
}

/// A body of these pieces.
struct Pieces(VecDeque<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(self.0.pop_front().map(|data| Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|data| data.len() as u64).sum())
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

/// What leaves of a body in pieces of so many bytes, and whether it ended because of a token.
fn sent(text: &[u8], piece: usize, coding: &str) -> (Vec<u8>, bool) {
    let pieces = text.chunks(piece).map(Bytes::copy_from_slice).collect();
    let headers =
        HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_str(coding).unwrap())]);
    let body = Pieces(pieces).boxed_unsync();
    let mut body = guard(body, &headers, Some(Arc::new(One)), &Limits::default());
    let mut left = Vec::new();
    loop {
        let hint = body.size_hint().exact();
        match body.frame().now_or_never().expect("it is all there") {
            None => return (left, false),
            Some(Ok(frame)) => left.extend_from_slice(&frame.into_data().unwrap()),
            Some(Err(error)) => return (left, held_one(&error)),
        }
        assert!(hint.is_some(), "the length stays known");
    }
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

fn in_lines(text: &str, letters: usize, end: &str) -> String {
    let lines: Vec<&str> =
        text.as_bytes().chunks(letters).map(|line| std::str::from_utf8(line).unwrap()).collect();
    lines.join(end)
}

/// A token as clients' encoders spell it.
fn spellings(token: &str) -> Vec<String> {
    let pairs = ["", "a", "ab", "user:", "?>?"].map(|before| format!("{before}{token}:x"));
    let mut all = vec![
        token.to_owned(),
        percent(token),
        percent(&percent(token)),
        token.replace('_', "%5F").replace('-', "%2d"),
        token.replace('_', "%255F"),
        token.bytes().map(|byte| format!("\\u{byte:04X}")).collect(),
        STANDARD.encode(token).trim_end_matches('=').to_owned(),
    ];
    for pair in pairs {
        let coded = STANDARD.encode(&pair);
        all.extend([
            URL_SAFE.encode(&pair),
            URL_SAFE_NO_PAD.encode(&pair),
            coded.replace('/', "\\/"),
            percent(&coded),
            coded.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D"),
            in_lines(&coded, 19, "\r\n"),
            in_lines(&coded, 19, "\\r\\n"),
            in_lines(&coded, 19, "%0D%0A"),
            coded,
        ]);
    }
    all
}

#[test]
fn a_token_is_found_in_every_spelling_and_never_leaves() {
    for spelt in spellings(TOKEN) {
        for (before, after) in [("", ""), ("{\"key\":\"", "\"}"), ("kw_a3dt3Xrd1kw_&k=", "&b=%")] {
            let text = format!("{before}{spelt}{after}");
            for piece in [1, 2, 3, 7, 64, text.len()] {
                let (left, held) = sent(text.as_bytes(), piece, "identity");
                assert!(held, "{text} in pieces of {piece}");
                // Held from where it began, and not only its last byte.
                let user = percent("dXNlcjpr").len();
                assert!(left.len() <= before.len() + user, "{} left of {text}", left.len());
            }
        }
    }
}

#[test]
fn what_looks_like_a_token_and_is_none_goes_through() {
    for spelt in spellings(OTHER) {
        let text = format!("kw_{spelt}kw_a3d%{TOKEN:.40}\\u00");
        for piece in [1, 5, text.len()] {
            let (left, held) = sent(text.as_bytes(), piece, "identity");
            assert!(!held && left == text.as_bytes(), "{text}");
        }
    }
}

#[tokio::test]
async fn a_coded_body_is_looked_through_as_it_is_decoded() {
    let noise = "x".repeat(3_000);
    let text = format!("{noise}{}", STANDARD.encode(format!("user:{TOKEN}")));
    for coding in ["gzip", "br", "zstd", "deflate"] {
        let coded = encode(coding, text.as_bytes()).await;
        for piece in [1, 100, coded.len()] {
            let (left, held) = sent(&coded, piece, coding);
            assert!(held && left.len() < coded.len(), "{coding} in pieces of {piece}");
        }
        let clean = encode(coding, noise.as_bytes()).await;
        assert_eq!(sent(&clean, 100, coding), (clean.to_vec(), false), "{coding}");
        // One that is coded otherwise than it says, or that nobody can undo, goes through as it is.
        assert_eq!(sent(&clean, 9, "gzip, br"), (clean.to_vec(), false));
        assert!(sent(TOKEN.as_bytes(), 9, coding).1, "{coding} by name only");
    }
}

proptest! {
    /// Whatever it is, and however it comes, it leaves byte for byte.
    #[test]
    fn all_other_bytes_are_the_same(
        parts in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            prop::sample::select(vec!["kw_", "a3df", "t3X", "rd1", "%6b", "%25", "\\u00", "\r\n", TOKEN])
                .prop_map(|text| text.as_bytes()[..text.len().min(30)].to_vec()),
        ], 0..60),
        piece in 1_usize..50,
    ) {
        let text = parts.concat();
        prop_assert_eq!(sent(&text, piece, "identity"), (text, false));
    }
}
