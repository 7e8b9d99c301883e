//! Undoes `content-encoding`, within limits: the size of what comes out, and how much larger it is than
//! what came in.

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, HeaderMap};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::config::Limits;
use crate::reason::{Reason, Stop};

/// Decoded bytes between two looks at the limits, and between two chances for other tasks to run.
const STEP_BYTES: usize = 64 << 10;

/// Log2 of the largest zstd window: 8 MiB, as RFC 9659 has it for HTTP. A frame may ask for 128 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// The body without its coding. Without one it is the same bytes.
pub(crate) async fn decode(
    headers: &HeaderMap,
    body: Bytes,
    limits: &Limits,
) -> Result<Bytes, Stop> {
    let Some(coding) = coding(headers)? else { return Ok(body) };
    // A response to HEAD says how the body would be coded.
    if body.is_empty() {
        return Ok(body);
    }
    // Boxed: a decoder is large, and most bodies have none.
    Box::pin(undo(&coding, &body, limits)).await
}

async fn undo(coding: &str, input: &[u8], limits: &Limits) -> Result<Bytes, Stop> {
    match coding {
        "gzip" | "x-gzip" => {
            let mut decoder = GzipDecoder::new(input);
            decoder.multiple_members(true);
            inflate(decoder, input.len(), limits).await
        }
        "br" => inflate(BrotliDecoder::new(input), input.len(), limits).await,
        "zstd" => {
            let window = [DParameter::window_log_max(ZSTD_WINDOW_LOG_MAX)];
            inflate(ZstdDecoder::with_params(input, &window), input.len(), limits).await
        }
        "deflate" => inflate(ZlibDecoder::new(input), input.len(), limits).await,
        _ => Err(Stop::new(
            Reason::EncodingRefused,
            "upstream's body has a coding that was not asked for",
        )),
    }
}

/// The one coding there is. Two would multiply what one may inflate, and nobody sends two.
fn coding(headers: &HeaderMap) -> Result<Option<String>, Stop> {
    let refuse = |detail| Stop::new(Reason::EncodingRefused, detail);
    let mut found = None;
    for value in headers.get_all(CONTENT_ENCODING) {
        let text =
            value.to_str().map_err(|_| refuse("upstream's body has an unreadable coding"))?;
        for name in text.split(',').map(str::trim) {
            if name.is_empty() || name.eq_ignore_ascii_case("identity") {
                continue;
            }
            if found.replace(name.to_ascii_lowercase()).is_some() {
                return Err(refuse("upstream's body is coded more than once"));
            }
        }
    }
    Ok(found)
}

async fn inflate(
    decoder: impl AsyncRead,
    coded_bytes: usize,
    limits: &Limits,
) -> Result<Bytes, Stop> {
    let mut decoder = std::pin::pin!(decoder);
    let grown_max =
        coded_bytes.saturating_mul(limits.inflation_max).max(limits.inflation_free_bytes);
    let mut decoded =
        Vec::with_capacity(coded_bytes.saturating_mul(4).min(limits.response_body_bytes_max));
    loop {
        let start = decoded.len();
        decoded.reserve(STEP_BYTES);
        let mut step = (&mut decoder).take(STEP_BYTES as u64);
        while step.limit() > 0 {
            let read = step.read_buf(&mut decoded).await.map_err(|error| {
                tracing::debug!(%error, "body does not decode");
                Stop::new(Reason::EncodingMalformed, "upstream's body does not decode")
            })?;
            if read == 0 {
                break;
            }
        }
        if decoded.len() > limits.response_body_bytes_max {
            let detail =
                format!("upstream's body is over {} bytes", limits.response_body_bytes_max);
            return Err(Stop::new(Reason::ResponseBodyTooLarge, detail));
        }
        if decoded.len() > grown_max {
            let detail =
                format!("upstream's body grows over {} times when decoded", limits.inflation_max);
            return Err(Stop::new(Reason::InflationTooLarge, detail));
        }
        if decoded.len() == start {
            return Ok(decoded.into());
        }
        // The decoder never waits, so without this one body could hold a thread for its whole length.
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use async_compression::tokio::bufread::{BrotliEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder};
    use http::HeaderValue;

    use super::*;

    async fn read(mut from: impl AsyncRead + Unpin) -> Bytes {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).await.unwrap();
        bytes.into()
    }

    async fn encode(coding: &str, text: &[u8]) -> Bytes {
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
    fn text(bytes: usize) -> Vec<u8> {
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
            let junk = Bytes::from_static(b"\x01junk that is in no format at all");
            assert_eq!(
                attempt(coding, junk, &limits).await,
                Err(Reason::EncodingMalformed),
                "{coding}"
            );
        }
        let plain = Bytes::from_static(b"plain");
        assert_eq!(attempt("identity", plain.clone(), &limits).await, Ok(plain.clone()));
        for coding in ["gzip, gzip", "gzip, br", "compress", "aws-chunked"] {
            assert_eq!(attempt(coding, plain.clone(), &limits).await, Err(Reason::EncodingRefused));
        }
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
