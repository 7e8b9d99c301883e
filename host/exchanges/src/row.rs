//! An exchange as JSON in a frame: one shape, written from what the broker tells and read for one of two
//! reasons, to see whether it is looked for or to be shown.
//!
//! Reading borrows, and leaves headers and bodies as the text they are until somebody wants them: most rows that
//! are looked at are passed over. A later field is optional; anything else is a new format of the segment.

mod write;

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use keyway_core::exchange::Timings;
use keyway_core::ids::{Installation, InvalidName};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;

use crate::kept::{Kept, Position};
use crate::release::Release;

pub(crate) use write::write;

/// A row as it is read. [`mod@write`] has the same shape, and skips what is not there.
#[derive(Deserialize)]
pub(crate) struct Row<'a> {
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) at: OffsetDateTime,
    #[serde(borrow)]
    pub(crate) call: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) environment: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) tenant: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) connector: Option<Text<'a>>,
    #[serde(borrow)]
    user: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) release: Option<Release<'a>>,
    #[serde(borrow)]
    pub(crate) purpose: Text<'a>,
    #[serde(borrow)]
    slot: Option<Text<'a>>,
    #[serde(borrow)]
    method: Text<'a>,
    #[serde(borrow)]
    pub(crate) url: Text<'a>,
    pub(crate) status: Option<u16>,
    #[serde(borrow)]
    pub(crate) stopped: Option<Text<'a>>,
    waited_us: u64,
    connected_us: u64,
    first_byte_us: u64,
    total_us: u64,
    request_bytes: u64,
    response_bytes: u64,
    #[serde(borrow)]
    request_headers: &'a RawValue,
    #[serde(borrow)]
    response_headers: &'a RawValue,
    #[serde(borrow)]
    request_body: Option<&'a RawValue>,
    #[serde(borrow)]
    response_body: Option<&'a RawValue>,
}

/// Text that is borrowed wherever it has no escapes.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// A body: text where it is text.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Body<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Base64(#[serde(borrow)] Cow<'a, str>),
}

/// A row that was not written by [`write()`], or not by this version.
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

/// What rows of every log have.
#[derive(Deserialize)]
struct When {
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
}

/// When what a row tells of began; none if no version of ours can have written it.
pub(crate) fn at(bytes: &[u8]) -> Option<OffsetDateTime> {
    serde_json::from_slice(bytes).ok().map(|When { at }| at)
}

/// Reads a row as far as it is needed to see what it is about.
pub(crate) fn read(bytes: &[u8]) -> Result<Row<'_>, Unreadable> {
    Ok(serde_json::from_slice(bytes)?)
}

// === impl Row ===

impl Row<'_> {
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
        installation(environment, tenant, connector).map(Some)
    }
}

/// For whom.
pub(crate) fn installation(
    environment: &Text<'_>,
    tenant: &Text<'_>,
    connector: &Text<'_>,
) -> Result<Installation, InvalidName> {
    Ok(Installation {
        environment: environment.0.parse()?,
        tenant: tenant.0.parse()?,
        connector: connector.0.parse()?,
    })
}

pub(crate) fn parse<T: std::str::FromStr<Err = InvalidName>>(
    text: Option<&Text<'_>>,
) -> Result<Option<T>, InvalidName> {
    text.map(|text| text.0.parse()).transpose()
}

// === impl Text ===

impl<'a> Text<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }

    pub(crate) fn is(&self, other: &str) -> bool {
        self.0 == other
    }
}

// === impl Body ===

impl Body<'_> {
    fn bytes(raw: &RawValue) -> Result<Bytes, Unreadable> {
        Ok(match serde_json::from_str(raw.get())? {
            Body::Text(text) => Bytes::from(text.into_owned()),
            Body::Base64(text) => Bytes::from(STANDARD.decode(text.as_bytes())?),
        })
    }
}
