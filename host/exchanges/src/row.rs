//! An exchange as JSON in a frame: one shape, written from what the broker tells and read for one of two
//! reasons, to see whether it is looked for or to be shown.
//!
//! Reading borrows, and leaves headers and bodies as the text they are until somebody wants them: most rows that
//! are looked at are passed over. A later field is optional; anything else is a new format of the segment.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use keyway_core::exchange::{Exchange, Timings};
use keyway_core::ids::{Installation, InvalidName};
use keyway_core::release::ReleaseRef;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;

use crate::kept::{Kept, Position};

/// A row as it is read.
pub(crate) type Read<'a> = Row<'a, &'a RawValue>;

/// The shape. `P` is a header section or a body.
#[derive(Serialize, Deserialize)]
pub(crate) struct Row<'a, P> {
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) at: OffsetDateTime,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(crate) call: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(crate) environment: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(crate) connector: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    user: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(crate) release: Option<Release<'a>>,
    #[serde(borrow)]
    pub(crate) purpose: Text<'a>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    slot: Option<Text<'a>>,
    #[serde(borrow)]
    method: Text<'a>,
    #[serde(borrow)]
    pub(crate) url: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(crate) stopped: Option<Text<'a>>,
    waited_us: u64,
    connected_us: u64,
    first_byte_us: u64,
    total_us: u64,
    request_bytes: u64,
    response_bytes: u64,
    request_headers: P,
    response_headers: P,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_body: Option<P>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_body: Option<P>,
}

/// Text that is borrowed wherever it has no escapes.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// A release's name.
#[derive(Serialize, Deserialize)]
pub(crate) struct Release<'a> {
    #[serde(borrow)]
    connector: Text<'a>,
    #[serde(borrow)]
    pub(crate) version: Text<'a>,
    #[serde(borrow)]
    pub(crate) digest: Text<'a>,
}

/// A header section or a body as it is written.
#[derive(Serialize)]
#[serde(untagged)]
enum Part<'a> {
    Headers(&'a [(String, String)]),
    Body(Body<'a>),
}

/// A body: text where it is text.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Body<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Base64(#[serde(borrow)] Cow<'a, str>),
}

/// Bytes that most rows without bodies take: room for them is made at once.
const ROW_BYTES: usize = 2 << 10;

/// A row that was not written by [`write`], or not by this version.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("row")]
    Json(#[from] serde_json::Error),
    #[error("name in a row")]
    Name(#[from] InvalidName),
    #[error("release in a row")]
    Release,
    #[error("body in a row")]
    Body(#[from] base64::DecodeError),
}

/// Writes an exchange down, without its bodies where they make it larger than `bytes_max`. None if it is
/// still larger, or has a time that cannot be written.
pub(crate) fn write(exchange: &Exchange, bytes_max: usize) -> Option<Vec<u8>> {
    let fits = |row: Vec<u8>| (row.len() <= bytes_max).then_some(row);
    let bodies = exchange.request_body.is_some() || exchange.response_body.is_some();
    let whole = json(&row(exchange, true)).and_then(fits);
    match whole {
        None if bodies => json(&row(exchange, false)).and_then(fits),
        whole => whole,
    }
}

fn json(row: &Row<'_, Part<'_>>) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(ROW_BYTES);
    serde_json::to_writer(&mut bytes, row).ok()?;
    // One with bodies has grown by doubling, and may have to wait.
    if bytes.capacity() > ROW_BYTES {
        bytes.shrink_to_fit();
    }
    Some(bytes)
}

/// Reads a row as far as it is needed to see what it is about.
pub(crate) fn read(bytes: &[u8]) -> Result<Read<'_>, Unreadable> {
    Ok(serde_json::from_slice(bytes)?)
}

fn row(exchange: &Exchange, bodies: bool) -> Row<'_, Part<'_>> {
    let installation = exchange.installation.as_ref();
    let environment = exchange.environment.as_ref().or(installation.map(|of| &of.environment));
    let request_body = exchange.request_body.as_deref().filter(|_| bodies);
    let response_body = exchange.response_body.as_deref().filter(|_| bodies);
    let Timings { waited, connected, first_byte, total } = exchange.timings;
    Row {
        at: exchange.at,
        call: exchange.call.map(|call| Text(Cow::Owned(call.to_string()))),
        environment: environment.map(|environment| Text::of(environment.as_str())),
        tenant: installation.map(|of| Text::of(of.tenant.as_str())),
        connector: installation.map(|of| Text::of(of.connector.as_str())),
        user: exchange.user.as_ref().map(|user| Text::of(user.as_str())),
        release: exchange.release.as_ref().map(|release| Release {
            connector: Text::of(release.connector.as_str()),
            version: Text(Cow::Owned(release.version.to_string())),
            digest: Text(Cow::Owned(release.digest.to_string())),
        }),
        purpose: Text::of(exchange.purpose),
        slot: exchange.slot.as_ref().map(|slot| Text::of(slot.as_str())),
        method: Text::of(&exchange.method),
        url: Text::of(&exchange.url),
        status: exchange.status,
        stopped: exchange.stopped.map(Text::of),
        waited_us: micros(waited),
        connected_us: micros(connected),
        first_byte_us: micros(first_byte),
        total_us: micros(total),
        request_bytes: exchange.request_bytes,
        response_bytes: exchange.response_bytes,
        request_headers: Part::Headers(&exchange.request_headers),
        response_headers: Part::Headers(&exchange.response_headers),
        request_body: request_body.map(|body| Part::Body(Body::of(body))),
        response_body: response_body.map(|body| Part::Body(Body::of(body))),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

// === impl Row ===

impl Read<'_> {
    /// All of it.
    pub(crate) fn kept(&self, id: u64) -> Result<Kept, Unreadable> {
        let release = self.release.as_ref().map(Release::reference).transpose()?;
        let body = |body: &Option<&RawValue>| body.map(Body::bytes).transpose();
        Ok(Kept {
            id: Position(id),
            at: self.at,
            environment: parse(self.environment.as_ref())?,
            call: parse(self.call.as_ref())?,
            installation: self.installation()?,
            user: parse(self.user.as_ref())?,
            release,
            purpose: self.purpose.0.to_string(),
            slot: parse(self.slot.as_ref())?,
            method: self.method.0.to_string(),
            url: self.url.0.to_string(),
            request_headers: serde_json::from_str(self.request_headers.get())?,
            request_body: body(&self.request_body)?,
            request_bytes: self.request_bytes,
            status: self.status,
            response_headers: serde_json::from_str(self.response_headers.get())?,
            response_body: body(&self.response_body)?,
            response_bytes: self.response_bytes,
            stopped: self.stopped.as_ref().map(|stopped| stopped.0.to_string()),
            timings: Timings {
                waited: Duration::from_micros(self.waited_us),
                connected: Duration::from_micros(self.connected_us),
                first_byte: Duration::from_micros(self.first_byte_us),
                total: Duration::from_micros(self.total_us),
            },
        })
    }

    fn installation(&self) -> Result<Option<Installation>, InvalidName> {
        let (Some(environment), Some(tenant), Some(connector)) =
            (&self.environment, &self.tenant, &self.connector)
        else {
            return Ok(None);
        };
        Ok(Some(Installation {
            environment: environment.0.parse()?,
            tenant: tenant.0.parse()?,
            connector: connector.0.parse()?,
        }))
    }
}

fn parse<T: std::str::FromStr<Err = InvalidName>>(
    text: Option<&Text<'_>>,
) -> Result<Option<T>, InvalidName> {
    text.map(|text| text.0.parse()).transpose()
}

// === impl Text ===

impl<'a> Text<'a> {
    fn of(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }

    pub(crate) fn is(&self, other: &str) -> bool {
        self.0 == other
    }
}

// === impl Release ===

impl Release<'_> {
    fn reference(&self) -> Result<ReleaseRef, Unreadable> {
        Ok(ReleaseRef {
            connector: self.connector.0.parse()?,
            version: self.version.0.parse().map_err(|_| Unreadable::Release)?,
            digest: self.digest.0.parse().map_err(|_| Unreadable::Release)?,
        })
    }
}

// === impl Body ===

impl<'a> Body<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(Cow::Borrowed(text)),
            Err(_) => Self::Base64(Cow::Owned(STANDARD.encode(bytes))),
        }
    }

    fn bytes(raw: &RawValue) -> Result<Bytes, Unreadable> {
        Ok(match serde_json::from_str(raw.get())? {
            Body::Text(text) => Bytes::from(text.into_owned()),
            Body::Base64(text) => Bytes::from(STANDARD.decode(text.as_bytes())?),
        })
    }
}
