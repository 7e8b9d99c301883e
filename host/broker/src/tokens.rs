//! Tokens of this host, kept out of the bodies that callers send to providers.
//!
//! A client that was given a token of this host as its key may put it into a body as well: a form's `client_secret`, a
//! member of JSON. A body is looked through as it comes, and ends with an error before the last byte of a token has left; what
//! is clean goes on as it came. A body under a content coding is looked through as it is and as it is decoded, as far as the
//! coding can be undone and the body grows no more than an answer may. What somebody has hidden on purpose, such as by
//! encrypting it, is not found.
//!
//! Headers and URLs are the API's to look at, before they come here. Which text is a token is known to [`IssuedTokens`].

mod search;
mod spell;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, SizeHint};
use keyway_core::exchange::Streamed;
use keyway_core::ports::IssuedTokens;

use self::search::Search;
use crate::config::Limits;
use crate::decode::Inflate;

/// Bytes at the end of a body that are held while a token may have begun in them: more than one has in its longest
/// spelling, which is base64 with six bytes for each letter.
const HELD_BYTES: usize = 512;

/// Why a body ends early.
#[derive(Debug, thiserror::Error)]
#[error("the body holds a token of this host")]
pub(crate) struct HoldsToken;

/// A body that is looked through on its way.
struct Guarded {
    body: Streamed,
    search: Search,
    decoded: Option<Decoded>,
    held: BytesMut,
    over: bool,
}

/// What a coded body is made of.
struct Decoded {
    inflate: Inflate,
    search: Search,
}

/// The body, ended before a token in it has left.
pub(crate) fn guard(
    body: Streamed,
    headers: &HeaderMap,
    tokens: Option<Arc<dyn IssuedTokens>>,
    limits: &Limits,
) -> Streamed {
    let Some(tokens) = tokens.filter(|_| !body.is_end_stream()) else { return body };
    let decoded = Inflate::of(headers, limits)
        .map(|inflate| Decoded { inflate, search: Search::new(Arc::clone(&tokens)) });
    let search = Search::new(tokens);
    let guarded = Guarded { body, search, decoded, held: BytesMut::new(), over: false };
    guarded.boxed_unsync()
}

/// Whether a body ended because it held a token.
pub(crate) fn held_one(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<HoldsToken>())
}

// === impl Guarded ===

impl Guarded {
    fn finds(&mut self, data: &[u8]) -> bool {
        if self.search.finds(data) {
            return true;
        }
        let Some(decoded) = &mut self.decoded else { return false };
        match decoded.finds(data) {
            Some(found) => found,
            None => {
                self.decoded = None;
                false
            }
        }
    }

    /// What goes on of this piece, and of what was held.
    fn pass(&mut self, data: Bytes) -> Bytes {
        let begun = self.search.begun()
            || self.decoded.as_ref().is_some_and(|decoded| decoded.search.begun());
        if self.held.is_empty() && !begun {
            return data;
        }
        self.held.extend_from_slice(&data);
        let kept = if begun { self.held.len().min(HELD_BYTES) } else { 0 };
        self.held.split_to(self.held.len() - kept).freeze()
    }

    /// All that is left, at the end.
    fn rest(&mut self, data: Bytes) -> Bytes {
        if self.held.is_empty() {
            return data;
        }
        self.held.extend_from_slice(&data);
        self.held.split().freeze()
    }
}

impl Body for Guarded {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let guarded = self.get_mut();
        while !guarded.over {
            let passed = match ready!(Pin::new(&mut guarded.body).poll_frame(context)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => {
                    // Trailers are for one hop.
                    let data = frame.into_data().unwrap_or_default();
                    if guarded.finds(&data) {
                        guarded.held.clear();
                        guarded.over = true;
                        return Poll::Ready(Some(Err(io::Error::other(HoldsToken))));
                    }
                    guarded.over = guarded.body.is_end_stream();
                    match guarded.over {
                        true => guarded.rest(data),
                        false => guarded.pass(data),
                    }
                }
                None => {
                    guarded.over = true;
                    guarded.rest(Bytes::new())
                }
            };
            if !passed.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(passed))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.held.len() as u64;
        match self.body.size_hint().exact() {
            Some(exact) => SizeHint::with_exact(exact + held),
            None => SizeHint::new(),
        }
    }
}

// === impl Decoded ===

impl Decoded {
    /// Whether a token is in what these bytes were made of. None if nobody can say: it is coded otherwise than it says.
    fn finds(&mut self, data: &[u8]) -> Option<bool> {
        let mut bytes = Vec::new();
        let undone = self.inflate.push(data, &mut bytes);
        let found = self.search.finds(&bytes);
        undone.is_ok().then_some(found).or(found.then_some(true))
    }
}

#[cfg(test)]
mod tests;
