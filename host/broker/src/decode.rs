//! Undoes `content-encoding`, within limits: the size of what comes out, and how much larger it is than
//! what came in.
//!
//! Servers write into the field what is no coding, and name a coding that they did not apply. Bodies are read as
//! browsers read them: a name that is no coding is passed over, a body that cannot be of the coding named is taken as it
//! is, and what follows the end of a coded body is ignored. Of gzip that is its footer, too.

mod gzip;
mod inflate;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_compression::tokio::bufread::{
    BrotliDecoder, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder,
};
use async_compression::zstd::DParameter;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{CONTENT_ENCODING, HeaderMap};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt as _, ReadBuf};

pub(crate) use self::inflate::Inflate;

use crate::config::Limits;
use crate::reason::{Reason, Stop};

/// Decoded bytes between two looks at the limits, and between two chances for other tasks to run.
const STEP_BYTES: usize = 64 << 10;

/// Log2 of the largest zstd window: 8 MiB, as RFC 9659 has it for HTTP. A frame may ask for 128 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// What is said of a body that is not what it says.
const NOT_DECODED: &str = "upstream's body does not decode";

/// How gzip begins (RFC 1952 section 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// How a frame of zstd begins, and one to be skipped, whose last four bits are free (RFC 8878 section 3.1).
const ZSTD_MAGIC: u32 = 0xfd2f_b528;
const ZSTD_SKIPPED_MAGIC: u32 = 0x184d_2a50;

/// Decoded bytes that are had of a coded body that broke off. Whatever is looked for in one is shorter.
const SALVAGED_BYTES_MAX: u64 = 64 << 10;

/// Decoded bytes after which the beginning of a body is believed to be coded.
const TRIED_BYTES: u64 = 1 << 10;

/// Names in IANA's registry of content codings that this host cannot undo. Whatever else stands in the field, such as a
/// character set or a storage service's `aws-chunked`, says nothing of the bytes.
const UNKNOWN_CODINGS: [&str; 7] =
    ["aes128gcm", "compress", "dcb", "dcz", "exi", "pack200-gzip", "x-compress"];

/// What can be undone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Coding {
    Gzip,
    Brotli,
    Zstd,
    /// With the zlib data format around it, as the standard has it, or without.
    Deflate,
}

/// The beginning of a body: whoever comes to its end waits.
struct Begin<'i>(&'i [u8]);

/// A body as far as it is decoded.
struct Inflated<'l> {
    bytes: Vec<u8>,
    grown_max: usize,
    limits: &'l Limits,
}

/// The body without its coding. Without one it is the same bytes.
pub(crate) async fn decode(
    headers: &HeaderMap,
    body: Bytes,
    limits: &Limits,
) -> Result<Bytes, Stop> {
    let Some(coding) = coding(headers)? else { return Ok(body) };
    // A response to HEAD says how the body would be coded.
    if body.is_empty() || !coding.begins(&body) {
        return Ok(body);
    }
    // Boxed: a decoder is large, and most bodies have none.
    let decoded = Box::pin(coding.undo(&body, limits)).await;
    // To a coding that does not mark its beginning, a brace is a whole body, and what follows it a trail.
    let doubtful = match &decoded {
        Err(stop) => stop.reason == Reason::EncodingMalformed,
        Ok((_, trail)) => *trail && !coding.marked(),
    };
    if doubtful && text(&body) {
        return Ok(body);
    }
    decoded.map(|(bytes, _)| bytes)
}

/// Whether anything is done to a body on its way: secrets cannot be seen in one that is coded.
pub(crate) fn coded(headers: &HeaderMap) -> bool {
    !matches!(coding(headers), Ok(None))
}

/// What can be had of a body that broke off.
pub(crate) async fn salvage(headers: &HeaderMap, body: Bytes) -> Bytes {
    let coding = match coding(headers) {
        Ok(Some(coding)) if coding.begins(&body) && !text(&body) => coding,
        _ => return body,
    };
    let mut had = Vec::new();
    // How it ends is known: what came before the break is there by then.
    drop(coding.reader(&body[..]).take(SALVAGED_BYTES_MAX).read_to_end(&mut had).await);
    had.into()
}

/// Whether a body that begins like this is coded as its headers say: some say so of what is plain.
pub(crate) fn is_coded(headers: &HeaderMap, begin: &[u8]) -> bool {
    match coding(headers) {
        Ok(Some(coding)) if coding.marked() => coding.begins(begin),
        Ok(Some(coding)) => coding.may_begin(begin),
        Ok(None) => false,
        Err(_) => true,
    }
}

/// The one coding there is. Two would multiply what one may inflate, and nobody sends two.
fn coding(headers: &HeaderMap) -> Result<Option<Coding>, Stop> {
    let refuse = |detail| Stop::new(Reason::EncodingRefused, detail);
    let mut found = None;
    for value in headers.get_all(CONTENT_ENCODING) {
        // Bytes that are not text name no coding.
        for name in String::from_utf8_lossy(value.as_bytes()).split(',').map(str::trim) {
            let name = name.to_ascii_lowercase();
            if UNKNOWN_CODINGS.contains(&name.as_str()) {
                return Err(refuse("upstream's body has a coding that was not asked for"));
            }
            let Some(coding) = Coding::named(&name) else { continue };
            if found.replace(coding).is_some() {
                return Err(refuse("upstream's body is coded more than once"));
            }
        }
    }
    Ok(found)
}

/// Whether the bytes are text that nothing was done to: UTF-8 without control characters, of which the last may be there
/// in part. What a compressor makes is not, but for a few bytes by chance.
fn text(bytes: &[u8]) -> bool {
    let control = |c: char| c.is_control() && !c.is_ascii_whitespace();
    let whole = match std::str::from_utf8(bytes) {
        Ok(text) => return !text.contains(control),
        Err(error) if error.error_len().is_none() => &bytes[..error.valid_up_to()],
        Err(_) => return false,
    };
    std::str::from_utf8(whole).is_ok_and(|text| !text.contains(control))
}

// === impl Begin ===

impl AsyncRead for Begin<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let there = ready!(self.as_mut().poll_fill_buf(context))?;
        let bytes = there.len().min(room.remaining());
        room.put_slice(&there[..bytes]);
        self.consume(bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncBufRead for Begin<'_> {
    fn poll_fill_buf(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        match self.get_mut().0 {
            [] => Poll::Pending,
            there => Poll::Ready(Ok(there)),
        }
    }

    fn consume(self: Pin<&mut Self>, bytes: usize) {
        let begin = self.get_mut();
        begin.0 = &begin.0[bytes..];
    }
}

// === impl Coding ===

impl Coding {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "gzip" | "x-gzip" => Self::Gzip,
            "br" => Self::Brotli,
            "zstd" => Self::Zstd,
            "deflate" => Self::Deflate,
            _ => return None,
        })
    }

    /// Whether bytes can be the beginning of what the coding makes. Only some mark their beginning.
    fn begins(self, input: &[u8]) -> bool {
        match self {
            Self::Gzip => input.starts_with(&GZIP_MAGIC),
            Self::Zstd => zstd_frame(input),
            Self::Brotli | Self::Deflate => true,
        }
    }

    /// The same, of a coding that does not mark its beginning: what can be decoded, and is no text. A body that is taken
    /// for coded is not looked into, so in doubt it is not.
    fn may_begin(self, input: &[u8]) -> bool {
        if text(input) {
            return false;
        }
        let mut rest = Begin(input);
        let mut tried = Vec::new();
        let read = self
            .reader_of(&mut rest, zlib(input))
            .take(TRIED_BYTES)
            .read_to_end(&mut tried)
            .now_or_never();
        match read {
            // It has come to the end of what there is.
            None => true,
            // Or of what it decodes, and then nothing may follow.
            Some(Ok(_)) => tried.len() as u64 == TRIED_BYTES || rest.0.is_empty(),
            Some(Err(_)) => false,
        }
    }

    fn reader(self, input: &[u8]) -> Box<dyn AsyncRead + Unpin + Send + '_> {
        self.reader_of(input, zlib(input))
    }

    /// What undoes it once. `wrapped` is whether deflate has the zlib data format around it.
    fn reader_of<'i>(
        self,
        input: impl AsyncBufRead + Unpin + Send + 'i,
        wrapped: bool,
    ) -> Box<dyn AsyncRead + Unpin + Send + 'i> {
        match self {
            Self::Gzip => Box::new(GzipDecoder::new(input)),
            Self::Brotli => Box::new(BrotliDecoder::new(input)),
            Self::Zstd => {
                let window = [DParameter::window_log_max(ZSTD_WINDOW_LOG_MAX)];
                Box::new(ZstdDecoder::with_params(input, &window))
            }
            Self::Deflate if wrapped => Box::new(ZlibDecoder::new(input)),
            // RFC 9110 section 8.4.1.2: some send it without the zlib data format around it.
            Self::Deflate => Box::new(DeflateDecoder::new(input)),
        }
    }

    /// Whether a body of it says by its first bytes that it is one.
    const fn marked(self) -> bool {
        matches!(self, Self::Gzip | Self::Zstd)
    }

    /// What was coded, and whether something follows it.
    async fn undo(self, mut input: &[u8], limits: &Limits) -> Result<(Bytes, bool), Stop> {
        let mut inflated = Inflated::of(input.len(), limits);
        loop {
            input = match self {
                Self::Gzip => {
                    let Some(begin) = gzip::deflated(input) else {
                        return Err(Stop::new(Reason::EncodingMalformed, NOT_DECODED));
                    };
                    let decoder = DeflateDecoder::new(&input[begin..]);
                    let rest = inflated.take(decoder, DeflateDecoder::into_inner).await?;
                    gzip::behind_footer(rest)
                }
                Self::Brotli => {
                    inflated.take(BrotliDecoder::new(input), BrotliDecoder::into_inner).await?
                }
                Self::Zstd => {
                    let window = [DParameter::window_log_max(ZSTD_WINDOW_LOG_MAX)];
                    let decoder = ZstdDecoder::with_params(input, &window);
                    inflated.take(decoder, ZstdDecoder::into_inner).await?
                }
                Self::Deflate if zlib(input) => {
                    inflated.take(ZlibDecoder::new(input), ZlibDecoder::into_inner).await?
                }
                // RFC 9110 section 8.4.1.2: some send it without the zlib data format around it.
                Self::Deflate => {
                    inflated.take(DeflateDecoder::new(input), DeflateDecoder::into_inner).await?
                }
            };
            // Both formats may go on with another of the same (RFC 1952 section 2.2, RFC 8878 section 3.1).
            if !(self.marked() && self.begins(input)) {
                return Ok((inflated.bytes.into(), !input.is_empty()));
            }
        }
    }
}

/// Whether bytes begin as zlib's data format does (RFC 1950 section 2.2): the method is deflate, and the first two are a
/// multiple of 31.
fn zlib(input: &[u8]) -> bool {
    let &[method, flags, ..] = input else { return false };
    method & 0x0f == 8 && u16::from_be_bytes([method, flags]).is_multiple_of(31)
}

/// Whether bytes begin a frame of zstd, or one to be skipped (RFC 8878 section 3.1).
fn zstd_frame(input: &[u8]) -> bool {
    let magic = input.first_chunk().map(|magic| u32::from_le_bytes(*magic));
    magic.is_some_and(|magic| magic == ZSTD_MAGIC || magic & !0xf == ZSTD_SKIPPED_MAGIC)
}

// === impl Inflated ===

impl<'l> Inflated<'l> {
    fn of(coded_bytes: usize, limits: &'l Limits) -> Self {
        let room = coded_bytes.saturating_mul(4).min(limits.response_body_bytes_max);
        let grown_max =
            coded_bytes.saturating_mul(limits.inflation_max).max(limits.inflation_free_bytes);
        Self { bytes: Vec::with_capacity(room), grown_max, limits }
    }

    /// All that a decoder gives; what it left unread.
    async fn take<'i, D: AsyncRead + Unpin>(
        &mut self,
        mut decoder: D,
        rest: impl FnOnce(D) -> &'i [u8],
    ) -> Result<&'i [u8], Stop> {
        loop {
            let start = self.bytes.len();
            self.bytes.reserve(STEP_BYTES);
            let mut step = (&mut decoder).take(STEP_BYTES as u64);
            while step.limit() > 0 {
                let read = step.read_buf(&mut self.bytes).await.map_err(|error| {
                    tracing::debug!(%error, "body does not decode");
                    Stop::new(Reason::EncodingMalformed, NOT_DECODED)
                })?;
                if read == 0 {
                    break;
                }
            }
            self.check()?;
            if self.bytes.len() == start {
                return Ok(rest(decoder));
            }
            // The decoder never waits, so without this one body could hold a thread for its whole length.
            tokio::task::yield_now().await;
        }
    }

    fn check(&self) -> Result<(), Stop> {
        let (size, most) = (self.bytes.len(), self.limits.response_body_bytes_max);
        if size > most {
            let detail = format!("upstream's body is over {most} bytes");
            return Err(Stop::new(Reason::ResponseBodyTooLarge, detail));
        }
        if size > self.grown_max {
            let times = self.limits.inflation_max;
            let detail = format!("upstream's body grows over {times} times when decoded");
            return Err(Stop::new(Reason::InflationTooLarge, detail));
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use async_compression::tokio::bufread::{
        BrotliEncoder, DeflateEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder,
    };
    use http::HeaderValue;

    use super::*;

    async fn read(mut from: impl AsyncRead + Unpin) -> Bytes {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).await.unwrap();
        bytes.into()
    }

    pub(crate) async fn encode(coding: &str, text: &[u8]) -> Bytes {
        match coding {
            "gzip" => read(GzipEncoder::new(text)).await,
            "br" => read(BrotliEncoder::new(text)).await,
            "zstd" => read(ZstdEncoder::new(text)).await,
            "deflate" => read(ZlibEncoder::new(text)).await,
            other => panic!("{other}"),
        }
    }

    async fn attempt(coding: &'static str, body: Bytes, limits: &Limits) -> Result<Bytes, Reason> {
        let headers = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(coding))]);
        decode(&headers, body, limits).await.map_err(|stop| stop.reason)
    }

    /// Text that shrinks by about three, so that no limit on growth is near.
    pub(crate) fn text(bytes: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b"0123456789abcdef"[(state >> 28) as usize]
        };
        (0..bytes).map(|_| next()).collect()
    }

    #[tokio::test]
    async fn each_coding_is_undone() {
        let limits = Limits::default();
        let text = text(300_000);
        for coding in ["gzip", "br", "zstd", "deflate"] {
            let body = encode(coding, &text).await;
            assert_eq!(attempt(coding, body.clone(), &limits).await.unwrap(), text, "{coding}");
            let cut = body.slice(..body.len() / 2);
            assert_eq!(
                attempt(coding, cut, &limits).await,
                Err(Reason::EncodingMalformed),
                "{coding}"
            );
            let junk = [&body[..body.len() / 2], b"\xffjunk that is in no format at all"].concat();
            assert_eq!(
                attempt(coding, junk.into(), &limits).await,
                Err(Reason::EncodingMalformed),
                "{coding}"
            );
        }
        let plain = Bytes::from_static(b"plain");
        for coding in ["gzip, gzip", "gzip, br", "compress", "gzip, dcb"] {
            assert_eq!(attempt(coding, plain.clone(), &limits).await, Err(Reason::EncodingRefused));
        }
    }

    #[tokio::test]
    async fn a_name_that_is_no_coding_says_nothing() {
        let limits = Limits::default();
        let plain = Bytes::from_static(b"\x01plain\xff");
        for name in [
            "identity",
            "",
            "utf-8",
            "UTF-8",
            "none",
            "None",
            "null",
            "binary",
            "text/plain",
            ",",
            "aws-chunked",
        ] {
            assert_eq!(attempt(name, plain.clone(), &limits).await, Ok(plain.clone()), "{name}");
        }
        let coded = encode("gzip", b"text").await;
        for name in ["gzip, utf-8", "identity,GZIP", "aws-chunked, x-gzip", ",gzip,"] {
            assert_eq!(attempt(name, coded.clone(), &limits).await.unwrap(), "text", "{name}");
        }
        let headers = HeaderMap::from_iter([
            (CONTENT_ENCODING, HeaderValue::from_static("none")),
            (CONTENT_ENCODING, HeaderValue::from_bytes(b"\xff").unwrap()),
        ]);
        assert_eq!(decode(&headers, plain.clone(), &limits).await.unwrap(), plain);
        assert!(!super::coded(&headers));
    }

    #[tokio::test]
    async fn a_body_that_is_not_coded_although_it_says_so_is_taken_as_it_is() {
        let limits = Limits::default();
        for coding in ["gzip", "br", "zstd", "deflate"] {
            for plain in [
                r#"{"id":"é"}"#,
                "[]",
                "x",
                "<html>\r\n\t</html>",
                "{\"n\":12345678901234567.89}\n",
            ] {
                let plain = Bytes::from_static(plain.as_bytes());
                assert_eq!(attempt(coding, plain.clone(), &limits).await, Ok(plain), "{coding}");
            }
        }
        // An image, whose own beginning says what it is not.
        let image = Bytes::from_static(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR");
        for coding in ["gzip", "zstd"] {
            assert_eq!(
                attempt(coding, image.clone(), &limits).await,
                Ok(image.clone()),
                "{coding}"
            );
        }
    }

    #[tokio::test]
    async fn a_body_that_broke_off_is_decoded_as_far_as_it_goes() {
        let text = text(30_000);
        for coding in ["gzip", "br", "zstd", "deflate"] {
            let headers =
                HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(coding))]);
            let whole = encode(coding, &text).await;
            assert_eq!(salvage(&headers, whole.clone()).await, text, "{coding}");
            let had = salvage(&headers, whole.slice(..whole.len() - 8)).await;
            assert!(text.starts_with(&had), "{coding}");
            // Of what is made of blocks, whole blocks are there, and this is one.
            let least = if coding == "zstd" { 0 } else { 20_000 };
            assert!(had.len() >= least, "{coding}: {}", had.len());
            let plain = Bytes::from_static(br#"{"access_token":"a","#);
            assert_eq!(salvage(&headers, plain.clone()).await, plain, "{coding}");
        }
        let bomb = encode("gzip", &vec![b'a'; 10 << 20]).await;
        let headers = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
        assert_eq!(salvage(&headers, bomb).await.len() as u64, SALVAGED_BYTES_MAX);
    }

    /// A body that is taken for coded is passed on unseen.
    #[tokio::test]
    async fn what_is_plain_is_told_from_what_is_coded_by_its_beginning() {
        let text = text(300_000);
        for coding in ["gzip", "br", "zstd", "deflate"] {
            let headers =
                HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(coding))]);
            for body in [encode(coding, &text).await, encode(coding, &text[..1000]).await] {
                for begin in [64, 1_000, body.len()] {
                    let begin = &body[..begin.min(body.len())];
                    assert!(is_coded(&headers, begin), "{coding} {}", begin.len());
                }
            }
            let long = "id,name\n".repeat(500) + "Zo\u{eb}";
            for plain in [
                &b"{\"ok\":true}"[..],
                b"x",
                b"<html>\r\n",
                b"[{\"a\":\"caf\xc3",
                b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x10\0\0\0\x10\x08\x02\0\0\0",
                b"PK\x03\x04\x14\0\0\0\x08\0\xf3\x5b\x6d\x57\xb3\x0c\x86\x7d\x2a\x01\0\0\x31\x02\0\0",
                b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n",
                long.as_bytes(),
            ] {
                assert!(!is_coded(&headers, plain), "{coding}: {}", plain.escape_ascii());
            }
        }
        // Without the zlib data format around it.
        let headers =
            HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("deflate"))]);
        assert!(is_coded(&headers, &read(DeflateEncoder::new(&text[..])).await));
    }

    #[tokio::test]
    async fn deflate_comes_with_the_zlib_format_and_without() {
        let limits = Limits::default();
        for text in [&b"x"[..], br#"{"id":1}"#, &text(100_000)] {
            for body in [read(ZlibEncoder::new(text)).await, read(DeflateEncoder::new(text)).await]
            {
                assert_eq!(attempt("deflate", body, &limits).await.unwrap(), text);
            }
        }
    }

    #[tokio::test]
    async fn what_follows_the_end_is_ignored_unless_it_is_more_of_the_same() {
        let limits = Limits::default();
        let (one, two) = (text(1_000), text(70_000));
        for coding in ["gzip", "br", "zstd", "deflate"] {
            let body = encode(coding, &one).await;
            for trail in [&b"\0"[..], &[0; 512], b"\r\n", b"trailing", b"\x1f", b"\x28\xb5"] {
                let body = [&body, trail].concat();
                let decoded = attempt(coding, body.into(), &limits).await;
                assert_eq!(decoded.unwrap(), one, "{coding} {trail:?}");
            }
        }
        for coding in ["gzip", "zstd"] {
            let (first, second) = (encode(coding, &one).await, encode(coding, &two).await);
            let both = [&first[..], &second].concat();
            let whole = [&one[..], &two].concat();
            assert_eq!(
                attempt(coding, both.clone().into(), &limits).await.unwrap(),
                whole,
                "{coding}"
            );
            // More of the same that is cut off is a loss, and no trail.
            let cut = both[..both.len() - 100].to_vec();
            assert_eq!(
                attempt(coding, cut.into(), &limits).await,
                Err(Reason::EncodingMalformed),
                "{coding}"
            );
        }
    }

    /// What browsers read: the last block is whole, and the footer is not there, or not true.
    #[tokio::test]
    async fn the_footer_of_gzip_says_nothing() {
        let limits = Limits::default();
        let text = text(30_000);
        let body = encode("gzip", &text).await;
        let end = body.len() - gzip::FOOTER_BYTES;
        for footer in [&b""[..], &[0], &body[end..end + 4], &body[end..], &[0; 8], &[0xff; 9]] {
            let body = [&body[..end], footer].concat();
            assert_eq!(attempt("gzip", body.into(), &limits).await.unwrap(), text, "{footer:?}");
        }
        for cut in [end - 1, end - 100, end / 2, 12, 10, 9, 2] {
            let cut = attempt("gzip", body.slice(..cut), &limits).await;
            assert_eq!(cut, Err(Reason::EncodingMalformed));
        }
        // Another member behind a footer that is not true.
        let two = [&body[..end], &[0; 8], &body[..]].concat();
        let whole = attempt("gzip", two.into(), &limits).await.unwrap();
        assert_eq!(whole, [&text[..], &text].concat());
    }

    #[tokio::test]
    async fn size_is_limited_at_the_number() {
        let text = text(100_000);
        for coding in ["gzip", "br", "zstd", "deflate"] {
            let body = encode(coding, &text).await;
            let limits = Limits { response_body_bytes_max: 100_000, ..Limits::default() };
            assert_eq!(attempt(coding, body.clone(), &limits).await.unwrap().len(), 100_000);
            let limits = Limits { response_body_bytes_max: 99_999, ..Limits::default() };
            assert_eq!(attempt(coding, body, &limits).await, Err(Reason::ResponseBodyTooLarge));
        }
    }

    #[tokio::test]
    async fn bombs_are_stopped_early() {
        // C20
        let zeros = vec![0; 16 << 20];
        for coding in ["gzip", "br", "zstd", "deflate"] {
            let body = encode(coding, &zeros).await;
            assert!(body.len() < (16 << 20) / 100, "{coding} is a bomb of {}", body.len());
            let limits = Limits::default();
            assert_eq!(
                attempt(coding, body, &limits).await,
                Err(Reason::InflationTooLarge),
                "{coding}"
            );
            // Small bodies may grow as they like.
            let free = limits.inflation_free_bytes;
            let body = encode(coding, &zeros[..free]).await;
            assert_eq!(attempt(coding, body, &limits).await.unwrap().len(), free, "{coding}");
        }
    }
}
