//! Components on their way in: so many at once, and so many of one token, however slowly they come.
//!
//! A place is held from the first byte until the publication has ended, so it bounds the memory that components take. That
//! one token never has them all keeps its slow line, or its malice, from stopping everybody else's publications; that the last
//! places are for tokens that have none keeps a few tokens together from it, and that a component comes with a least rate over
//! the whole of it keeps many from it that send a little now and then.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use keyway_core::fault::Retry;
use keyway_core::ids::Actor;
use keyway_core::shares::{Full, Share, Shares};
use keyway_core::{Code, Fault};
use tokio::time::Instant;

use crate::serve;

/// When an upload that found no room may come again: most components are in within it.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Of all places, one in so many is for tokens that have none.
const RESERVED_PART: usize = 4;

/// How slowly a component may come.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// Bytes a second, over all of it.
    pub(crate) rate_bytes_min: u32,
    /// Time beyond what its bytes may take.
    pub(crate) grace: Duration,
}

/// Who uploads.
pub(crate) struct Uploads {
    uploads_max: usize,
    /// Of one token.
    token_max: usize,
    places: Shares<Actor>,
}

/// A place, until it is dropped.
pub(crate) type Upload = Share<Actor>;

// === impl Uploads ===

impl Uploads {
    pub(crate) fn new(uploads_max: usize, token_max: usize) -> Self {
        Self { uploads_max, token_max, places: Shares::new(uploads_max, token_max) }
    }

    /// A place for a component of this token.
    pub(crate) fn begin(&self, token: &Actor) -> Result<Upload, Fault> {
        let (own, free) = (self.places.of(token), self.uploads_max - self.places.taken());
        let last = 0 < own && own < self.token_max && 0 < free;
        let taken = match last && free <= self.uploads_max / RESERVED_PART {
            true => Err(format!(
                "{own} publications of token `{token}` are under way, and the last places are for tokens that have none"
            )),
            false => self.places.take(token, 1).map_err(|full| match full {
                Full::All => "too many publications are under way".to_owned(),
                Full::Own => format!("{own} publications of token `{token}` are under way"),
            }),
        };
        taken
            .map_err(|detail| Fault::new(Code::Overloaded, detail).retry(Retry::After(RETRY_AFTER)))
    }
}

// === impl Pace ===

impl Pace {
    /// The same body, which ends with an error once it is behind.
    pub(crate) fn keep(self, body: Body) -> Body {
        let coming = (body.into_data_stream(), 0_u64, Instant::now());
        Body::from_stream(stream::try_unfold(coming, move |(mut body, bytes, began)| async move {
            let Some(data) = self.next(&mut body, began, bytes).await? else { return Ok(None) };
            let bytes = bytes.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
            Ok::<_, axum::Error>(Some((data, (body, bytes, began))))
        }))
    }

    async fn next(
        self,
        body: &mut BodyDataStream,
        began: Instant,
        bytes: u64,
    ) -> Result<Option<Bytes>, axum::Error> {
        let due =
            began + self.grace + Duration::from_secs(bytes / u64::from(self.rate_bytes_min.max(1)));
        match tokio::time::timeout_at(due, body.next()).await {
            Ok(data) => data.transpose(),
            Err(_) => Err(axum::Error::new(serve::TooSlow)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a component has its place that comes in pieces of so many bytes, one a second; none: to its end.
    async fn held(piece: usize, seconds: usize) -> Option<Duration> {
        let piece = Bytes::from(vec![0; piece]);
        let pieces = stream::iter(0..seconds).then(move |_| {
            let piece = piece.clone();
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok::<_, std::io::Error>(piece)
            }
        });
        let pace = Pace { rate_bytes_min: 16 << 10, grace: Duration::from_secs(30) };
        let mut body = pace.keep(Body::from_stream(pieces)).into_data_stream();
        let began = Instant::now();
        while let Some(data) = body.next().await {
            if let Err(error) = data {
                assert!(serve::is_slow(&error), "{error:?}");
                return Some(began.elapsed());
            }
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn a_component_that_trickles_has_its_place_for_no_longer_than_its_bytes_are_worth() {
        assert_eq!(held(16 << 10, 290).await, None, "a slow line");
        assert_eq!(held(4 << 20, 16).await, None);
        let trickle = held(2 << 10, 290).await.expect("an eighth of the least rate");
        assert!(trickle < Duration::from_secs(40), "{trickle:?}");
        let silent = held(0, 290).await.expect("nothing at all");
        assert!(silent <= Duration::from_secs(31), "{silent:?}");
    }

    #[test]
    fn the_last_places_are_for_tokens_that_have_none() {
        let uploads = Uploads::new(16, 4);
        let begin = |name: &str| uploads.begin(&token(name)).ok();
        let mut held: Vec<_> = ["a", "b", "c"]
            .iter()
            .flat_map(|name| [name; 4])
            .map(|name| begin(name).unwrap())
            .collect();
        held.push(begin("d").unwrap());
        assert!(begin("d").is_none(), "it has one");
        held.push(begin("e").unwrap());
        held.push(begin("f").unwrap());
        held.push(begin("g").unwrap());
        assert_eq!(held.len(), 16);
        assert!(begin("h").is_none(), "all are taken");
        held.drain(..2);
        assert!(begin("b").is_none() && begin("h").is_some());
    }

    fn token(name: &str) -> Actor {
        name.parse().unwrap()
    }

    #[test]
    fn a_token_has_its_share_and_all_together_have_theirs() {
        let uploads = Uploads::new(3, 2);
        let own: Vec<_> = (0..2).map(|_| uploads.begin(&token("a")).ok().unwrap()).collect();
        let refused = uploads.begin(&token("a")).err().unwrap();
        assert_eq!(refused.code, Code::Overloaded);
        let _other = uploads.begin(&token("b")).ok().unwrap();
        assert!(uploads.begin(&token("c")).is_err(), "three in all");
        drop(own);
        assert!(uploads.begin(&token("c")).is_ok() && uploads.begin(&token("a")).is_ok());
        assert_eq!(uploads.places.takers(), 1, "who has none is forgotten");
    }
}
