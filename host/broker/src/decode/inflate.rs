//! Undoes a content coding of a body as it comes, a piece at a time.
//!
//! It reads a body as [`super::decode`] reads a whole one, and holds no more of it than its first few bytes. How much
//! larger a body may become is bounded; how large it may be is not, because nobody holds it.

use compression_codecs::core::util::{PartialBuffer, WriteBuffer};
use compression_codecs::zstd::params::DParameter;
use compression_codecs::{BrotliDecoder, DecodeV2, DeflateDecoder, ZlibDecoder, ZstdDecoder};
use http::HeaderMap;

use super::gzip::{FOOTER_BYTES, Member};
use super::{Coding, STEP_BYTES, ZSTD_WINDOW_LOG_MAX, coding, text, zlib};
use crate::config::Limits;
use crate::reason::Reason;

/// Bytes by which it is known whether a body is coded at all. To a coding that does not mark its beginning, text may look
/// like one; that sixteen bytes of a compressor are text has a chance of one in ten million.
const BEGIN_BYTES: usize = 16;

/// A body on its way.
pub(crate) struct Inflate {
    coding: Coding,
    state: State,
    /// Bytes of a footer that are still to come, and say nothing.
    footer: usize,
    taken: u64,
    given: u64,
    inflation_max: u64,
    inflation_free_bytes: u64,
}

enum State {
    /// Too little is there to know what it is.
    Beginning(Vec<u8>),
    Coded(Box<dyn DecodeV2 + Send>),
    /// At an end, which another of the same may follow.
    Next(Vec<u8>),
    /// Nothing was done to it, whatever its headers say.
    Plain,
    /// What follows an end is ignored.
    Over,
}

// === impl Inflate ===

impl Inflate {
    /// None where there is no coding, or one that cannot be undone.
    pub(crate) fn of(headers: &HeaderMap, limits: &Limits) -> Option<Self> {
        let coding = coding(headers).ok()??;
        Some(Self {
            coding,
            state: State::Beginning(Vec::new()),
            footer: 0,
            taken: 0,
            given: 0,
            inflation_max: limits.inflation_max as u64,
            inflation_free_bytes: limits.inflation_free_bytes as u64,
        })
    }

    /// Appends what these bytes were made of.
    pub(crate) fn push(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
        if data.is_empty() {
            return Ok(());
        }
        self.taken += data.len() as u64;
        let data = self.behind_footer(data);
        match &mut self.state {
            State::Beginning(begin) | State::Next(begin) => {
                begin.extend_from_slice(data);
                match begin.len() < BEGIN_BYTES {
                    true => Ok(()),
                    false => self.begin(out),
                }
            }
            State::Coded(_) => self.step(data, out),
            State::Plain => {
                out.extend_from_slice(data);
                Ok(())
            }
            State::Over => Ok(()),
        }
    }

    /// Appends what is left at the end of the body.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Reason> {
        if let State::Beginning(begin) | State::Next(begin) = &self.state
            && !begin.is_empty()
        {
            self.begin(out)?;
        }
        match self.state {
            State::Coded(_) => Err(Reason::EncodingMalformed),
            _ => Ok(()),
        }
    }

    fn behind_footer<'d>(&mut self, data: &'d [u8]) -> &'d [u8] {
        let passed = self.footer.min(data.len());
        self.footer -= passed;
        &data[passed..]
    }

    /// Looks at the first bytes of a body, or of what follows an end.
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), Reason> {
        let (begin, first) = match std::mem::replace(&mut self.state, State::Over) {
            State::Beginning(begin) => (begin, true),
            State::Next(begin) => (begin, false),
            State::Coded(_) | State::Plain | State::Over => return Ok(()),
        };
        let coded = self.coding.begins(&begin) && (self.coding.marked() || !text_begins(&begin));
        match (coded, first) {
            (true, true) => {}
            (true, false) if self.coding.marked() => {}
            (false, true) => {
                out.extend_from_slice(&begin);
                self.state = State::Plain;
                return Ok(());
            }
            _ => return Ok(()),
        }
        self.state = State::Coded(self.coding.decoder(&begin));
        self.step(&begin, out)
    }

    fn step(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
        let mut input = PartialBuffer::new(data);
        let State::Coded(decoder) = &mut self.state else { return Ok(()) };
        loop {
            let (start, drained) = (out.len(), input.unwritten().is_empty());
            let read = input.written_len();
            out.resize(start + STEP_BYTES, 0);
            let mut step = WriteBuffer::new_initialized(&mut out[start..]);
            let over = decoder.decode(&mut input, &mut step);
            let given = step.written_len();
            out.truncate(start + given);
            let over = match over {
                Ok(over) => over,
                // It had no more than filled the step before.
                Err(_) if drained => return Ok(()),
                Err(error) => {
                    tracing::debug!(%error, "body does not decode");
                    return Err(Reason::EncodingMalformed);
                }
            };
            self.given += given as u64;
            let grown_max = self.taken.saturating_mul(self.inflation_max);
            if self.given > grown_max.max(self.inflation_free_bytes) {
                return Err(Reason::InflationTooLarge);
            }
            if over {
                self.footer = if self.coding == Coding::Gzip { FOOTER_BYTES } else { 0 };
                let rest = self.behind_footer(input.unwritten()).to_vec();
                let known = rest.len() >= BEGIN_BYTES;
                self.state = State::Next(rest);
                return if known { self.begin(out) } else { Ok(()) };
            }
            if given < STEP_BYTES && input.unwritten().is_empty() {
                return Ok(());
            }
            if given == 0 && input.written_len() == read {
                return Err(Reason::EncodingMalformed);
            }
        }
    }
}

/// Whether these are the beginning of a text, which may end in the middle of a character.
fn text_begins(bytes: &[u8]) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(_) => text(bytes),
        Err(error) => error.error_len().is_none() && text(&bytes[..error.valid_up_to()]),
    }
}

// === impl Coding ===

impl Coding {
    /// For what begins like this.
    fn decoder(self, begin: &[u8]) -> Box<dyn DecodeV2 + Send> {
        match self {
            Self::Gzip => Box::new(Member::default()),
            Self::Brotli => Box::new(BrotliDecoder::new()),
            Self::Zstd => {
                let window = [DParameter::window_log_max(ZSTD_WINDOW_LOG_MAX)];
                Box::new(ZstdDecoder::new_with_params(&window))
            }
            Self::Deflate if zlib(begin) => Box::new(ZlibDecoder::new()),
            Self::Deflate => Box::new(DeflateDecoder::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::CONTENT_ENCODING;

    use super::super::tests::{encode, text};
    use super::*;

    fn inflate(coding: &'static str) -> Option<Inflate> {
        let headers = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(coding))]);
        Inflate::of(&headers, &Limits::default())
    }

    /// What comes of a body in pieces of so many bytes.
    fn undone(coding: &'static str, body: &[u8], piece: usize) -> Result<Vec<u8>, Reason> {
        let (mut inflate, mut out) = (inflate(coding).unwrap(), Vec::new());
        for piece in body.chunks(piece) {
            inflate.push(piece, &mut out)?;
        }
        inflate.finish(&mut out)?;
        Ok(out)
    }

    const CODINGS: [&str; 4] = ["gzip", "br", "zstd", "deflate"];

    #[tokio::test]
    async fn each_coding_is_undone_however_it_is_cut() {
        let whole = text(100_000);
        for coding in CODINGS {
            let body = encode(coding, &whole).await;
            for piece in [1, 7, 1_000, body.len()] {
                assert_eq!(undone(coding, &body, piece).as_ref(), Ok(&whole), "{coding} {piece}");
            }
            let cut = undone(coding, &body[..body.len() / 2], 1_000);
            assert_eq!(cut, Err(Reason::EncodingMalformed), "{coding}");
            assert_eq!(undone(coding, &encode(coding, b"x").await, 1), Ok(b"x".to_vec()));
            assert_eq!(undone(coding, b"", 1), Ok(Vec::new()), "{coding}");
        }
    }

    #[tokio::test]
    async fn what_is_not_coded_goes_through_and_what_follows_an_end_is_left_out() {
        for coding in CODINGS {
            for plain in [r#"{"id":"é, and so on"}"#, "[]", "ééééééééééééééééé"] {
                assert_eq!(undone(coding, plain.as_bytes(), 3), Ok(plain.into()), "{coding}");
            }
            let body = encode(coding, b"one").await;
            for trail in [&b"\0"[..], b"trailing, and more of it", &[0; 100]] {
                let body = [&body, trail].concat();
                assert_eq!(undone(coding, &body, 5), Ok(b"one".to_vec()), "{coding}");
            }
        }
        for coding in ["gzip", "zstd"] {
            let two = [encode(coding, b"one").await, encode(coding, b"two").await].concat();
            assert_eq!(undone(coding, &two, 9), Ok(b"onetwo".to_vec()), "{coding}");
        }
        for none in ["identity", "utf-8", "gzip, br", "aes128gcm"] {
            assert!(inflate(none).is_none(), "{none}");
        }
    }

    #[tokio::test]
    async fn the_footer_of_gzip_says_nothing() {
        let whole = text(30_000);
        let body = encode("gzip", &whole).await;
        let end = body.len() - FOOTER_BYTES;
        for piece in [1, 7, 1_000, body.len()] {
            for footer in [&b""[..], &[0], &body[end..end + 4], &[0; 8], &[0xff; 9]] {
                let body = [&body[..end], footer].concat();
                assert_eq!(undone("gzip", &body, piece).as_ref(), Ok(&whole), "{piece} {footer:?}");
            }
            for cut in [end - 1, end - 100, end / 2, 12, 10, 9, 2] {
                let cut = undone("gzip", &body[..cut], piece);
                assert_eq!(cut, Err(Reason::EncodingMalformed), "{piece}");
            }
            let two = [&body[..end], &[0; 8], &body[..]].concat();
            assert_eq!(undone("gzip", &two, piece), Ok([&whole[..], &whole].concat()), "{piece}");
        }
    }

    #[tokio::test]
    async fn growth_is_bounded() {
        let bomb = encode("gzip", &vec![0; 64 << 20]).await;
        assert_eq!(undone("gzip", &bomb, 4_096), Err(Reason::InflationTooLarge));
        let small = encode("gzip", &vec![0; Limits::default().inflation_free_bytes]).await;
        assert!(undone("gzip", &small, 4_096).is_ok());
    }
}
