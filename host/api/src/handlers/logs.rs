//! What logs have in common: entries as they come, and how they are asked for.
//!
//! Whoever may look sees what was done, without anybody's words; those are for who may call.

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use keyway_core::ids::Environment;
use keyway_core::{Code, Fault};
use keyway_exchanges::{Follow, Followed, Look, Order, ReleaseFilter};
use keyway_releases::find::Selector;
use serde::de::IntoDeserializer as _;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

use super::Answer;
use crate::api::Host;
use crate::auth::Identity;
use crate::contract::{Access, LINES_TYPE};

/// A log whose entries are told as they come.
pub(super) trait Told: Look {
    /// A line of the stream. One that says nothing says that the host is still there.
    type Line: Serialize + Default;

    /// Tells of an entry, with what people wrote in it or without.
    fn entry(found: Self::Found, words: bool) -> Self::Line;

    /// Tells how many went by unread.
    fn missed(count: u64) -> Self::Line;
}

/// Somebody who follows, and whose token is looked at again before every line.
struct Lines<F> {
    api: Host,
    follow: Follow<F>,
    environment: Environment,
    token: HeaderMap,
    stopping: watch::Receiver<bool>,
    begun: bool,
}

/// Which way to read.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Direction {
    #[default]
    Newest,
    Oldest,
}

/// Whether bodies of exchanges and what guests say may be seen, which have customers' data in them.
pub(super) fn may_see_words(who: &Identity, environment: &Environment) -> bool {
    who.check(Access::Operate, Some(environment)).is_ok()
}

/// An answer that goes on with every entry, a line each, until the caller goes.
pub(super) fn stream<F: Told>(
    api: Host,
    environment: Environment,
    headers: &HeaderMap,
    follow: Follow<F>,
) -> Answer {
    let token = headers.get(AUTHORIZATION).map(|token| (AUTHORIZATION, token.clone()));
    let lines = Lines {
        follow,
        environment,
        token: token.into_iter().collect(),
        stopping: api.stopping.subscribe(),
        begun: false,
        api,
    };
    let lines = stream::unfold(lines, |mut lines| async move {
        let line = lines.next().await?;
        Some((Ok::<_, std::convert::Infallible>(line), lines))
    });
    let mut response = Response::new(Body::from_stream(lines));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(LINES_TYPE));
    Ok(response)
}

/// A version, a digest, or the beginning of one.
pub(super) fn release(text: &str) -> Result<ReleaseFilter, Fault> {
    Ok(match text.parse()? {
        Selector::Version(version) => ReleaseFilter::Version(version),
        Selector::Digest(digest) => ReleaseFilter::Digest(digest),
        Selector::Prefix(prefix) => ReleaseFilter::Prefix(prefix),
    })
}

/// A time, or so long ago.
pub(super) fn moment(name: &str, text: &str, now: OffsetDateTime) -> Result<OffsetDateTime, Fault> {
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(at);
    }
    let text: StrDeserializer<'_, ValueError> = text.into_deserializer();
    let ago = keyway_core::humane::deserialize(text).ok();
    let ago = ago.and_then(|ago| time::Duration::try_from(ago).ok());
    ago.and_then(|ago| now.checked_sub(ago)).ok_or_else(|| {
        invalid(format!("`{name}` is a time such as 2026-03-01T12:00:00Z, or how long ago: 10m"))
    })
}

/// A parameter that does not say what it should.
pub(super) fn invalid(detail: impl Into<String>) -> Fault {
    Fault::new(Code::InvalidRequest, detail)
}

// === impl Direction ===

impl From<Direction> for Order {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Newest => Self::NewestFirst,
            Direction::Oldest => Self::OldestFirst,
        }
    }
}

// === impl Lines ===

impl<F: Told> Lines<F> {
    /// The next line; none once the host stops, the token has ended, or the log has.
    async fn next(&mut self) -> Option<Bytes> {
        let heard = if std::mem::replace(&mut self.begun, true) {
            tokio::select! {
                biased;
                _ = self.stopping.wait_for(|stopping| *stopping) => return None,
                heard = self.follow.next() => Some(heard?),
                () = tokio::time::sleep(self.api.config.limits.follow_pulse) => None,
            }
        } else {
            None
        };
        let who = self.api.auth.identify(&self.token, Access::View).await.ok()?;
        who.check(Access::View, Some(&self.environment)).ok()?;
        let line = match heard {
            None => F::Line::default(),
            Some(Followed::Missed(count)) => F::missed(count),
            Some(Followed::Entry(found)) => {
                F::entry(*found, may_see_words(&who, &self.environment))
            }
        };
        let mut bytes = serde_json::to_vec(&line).ok()?;
        bytes.push(b'\n');
        Some(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_moment_is_a_time_or_a_while_ago() {
        let now = datetime!(2026-03-01 12:00 UTC);
        let of = |text: &str| moment("since", text, now).ok();
        assert_eq!(of("10m"), Some(datetime!(2026-03-01 11:50 UTC)));
        assert_eq!(of("2026-02-01T00:00:00+02:00"), Some(datetime!(2026-01-31 22:00 UTC)));
        for bad in ["", "10", "yesterday", "-10m", "2026-02-30T00:00:00Z", "900000000y"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
