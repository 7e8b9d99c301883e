//! Answers that come as a form (OAuth 2.0 Form Post Response Mode).
//!
//! A browser shows no cookie with a form of another site, so nobody can tell yet whether it is the one that was sent. The
//! answer is kept until that browser comes for it, by the digest of its state: nothing of it stands in an address, where
//! logs, histories and other sites would have it. Only what the host and the release have a use for is kept, sealed. A code
//! may well be longer than a row, so it is cut to what a cell takes; all its cells come and go in one change.
//!
//! Nothing of it stays in memory. What lies in the store is bounded by the consents that have begun: one answer for each.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyway_core::descriptor::SlotSpec;
use keyway_core::ids::ConnectionRef;
use keyway_core::{Code, Digest, Fault};
use keyway_store::model::PAYLOAD_BYTES_MAX;
use keyway_store::{Batch, Cell};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::sessions::{Pending, STATES, foreign, json};
use super::{Returned, by_code};
use crate::connections::Vault;
use crate::seal::{Field, Place};
use crate::secret::SECRET_BYTES_MAX;

/// The store's name for these cells.
pub(super) const ANSWERS: &str = "vault/connect-answer";

/// The same for what a first cell does not take.
const PARTS: &str = "vault/connect-answer-part";

/// Of a sealed answer. A consent's verifier is sealed for the same place under another.
const ANSWER_VERSION: u64 = 1;

/// Bytes of an answer, as JSON: as many as any other credential may have. Codes that carry what they stand for have some
/// 10 KiB; tokens and facts of a person that come in the same form are not kept.
const ANSWER_BYTES_MAX: usize = SECRET_BYTES_MAX;

/// Bytes of a sealed answer that a first cell takes: in base64, with the rest of [`Kept`], they fit one.
const FIRST_BYTES: usize = 2 << 10;

/// Cells of an answer.
pub(super) const CELLS_MAX: usize = 2 + ANSWER_BYTES_MAX / PAYLOAD_BYTES_MAX;

/// What is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// In base64; the beginning, where there are parts.
    sealed: String,
    /// How many cells have the rest of it.
    #[serde(default)]
    parts: u8,
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
}

/// What is sealed.
#[derive(Serialize)]
struct Answer<'a> {
    state: &'a str,
    code: Option<&'a str>,
    issuer: Option<&'a str>,
    error: Option<&'a str>,
    besides: Vec<&'a (String, String)>,
}

/// The same, opened.
#[derive(Deserialize)]
struct Opened {
    state: String,
    code: Option<SecretString>,
    issuer: Option<String>,
    error: Option<String>,
    besides: Vec<(String, String)>,
}

// === impl Vault ===

impl Vault {
    /// Keeps an answer for the browser that was sent, and gives the name under which it is had, once.
    pub async fn keep_answer(&self, returned: &Returned, spec: &SlotSpec) -> Result<String, Fault> {
        let refuse = |detail: &str| Fault::new(Code::ConnectStateInvalid, detail);
        let oauth = by_code(spec)?;
        let name = Digest::of(returned.state.as_bytes()).hex();
        let (pending, place_of) = self.begun(&name).await?;
        let wanted = |pair: &&(String, String)| oauth.callback_facts.contains(&pair.0);
        let answer = Answer {
            state: &returned.state,
            code: returned.code.as_ref().map(|code| code.expose_secret()),
            issuer: returned.issuer.as_deref(),
            error: returned.error.as_deref(),
            besides: returned.besides.iter().filter(wanted).collect(),
        };
        let plain = Zeroizing::new(json(&answer)?);
        if plain.len() > ANSWER_BYTES_MAX {
            return Err(refuse("the answer is too long"));
        }
        let place = Place::connection(&place_of, Field::Consent, ANSWER_VERSION);
        let sealed = self.shared.sealer.seal(place, &plain).await;
        let sealed = sealed.map_err(|error| error.fault("a consent's answer is not sealed"))?;
        let (first, rest) = sealed.split_at(sealed.len().min(FIRST_BYTES));
        let rest = rest.chunks(PAYLOAD_BYTES_MAX);
        let parts = u8::try_from(rest.len()).map_err(|_| refuse("the answer is too long"))?;
        let kept = Kept { sealed: STANDARD.encode(first), parts, expires_at: pending.expires_at };
        let batch = self.shared.store.batch();
        let batch = batch.put_cell(ANSWERS, name.as_bytes(), None, json(&kept)?);
        let batch = (0..parts).zip(rest).fold(batch, |batch, (part, bytes)| {
            batch.put_cell(PARTS, &part_key(name.as_bytes(), part), None, bytes.to_vec())
        });
        batch.commit().await.map_err(|error| match error {
            keyway_store::Error::Conflict { .. } => refuse("the answer was used already"),
            other => other.into(),
        })?;
        Ok(name)
    }

    /// The answer of this name, without what its browser shows. There is none afterwards.
    pub async fn kept_answer(&self, name: &str) -> Result<Returned, Fault> {
        let store = &self.shared.store;
        let cell = store.cell(ANSWERS, name.as_bytes()).await?.ok_or_else(foreign)?;
        let kept: Kept = serde_json::from_slice(&cell.value).map_err(|_| foreign())?;
        let mut sealed = STANDARD.decode(kept.sealed).map_err(|_| foreign())?;
        for part in 0..kept.parts {
            let part = store.cell(PARTS, &part_key(name.as_bytes(), part)).await?;
            sealed.extend_from_slice(&part.ok_or_else(foreign)?.value);
        }
        let taken = without(store.batch(), name.as_bytes(), &cell);
        taken.commit().await.map_err(|_| foreign())?;
        let (_, place_of) = self.begun(name).await?;
        let place = Place::connection(&place_of, Field::Consent, ANSWER_VERSION);
        let plain = self.shared.sealer.open(place, &sealed).await;
        let plain = plain.map_err(|error| error.fault("a consent's answer does not open"))?;
        let opened: Opened = serde_json::from_slice(&plain).map_err(|_| foreign())?;
        let Opened { state, code, issuer, error, besides } = opened;
        Ok(Returned { state, code, issuer, error, besides, binding: None })
    }

    /// The consent of a state, by its digest, and the connection that it is for.
    async fn begun(&self, name: &str) -> Result<(Pending, ConnectionRef), Fault> {
        let cell = self.shared.store.cell(STATES, name.as_bytes()).await?.ok_or_else(foreign)?;
        let pending: Pending = serde_json::from_slice(&cell.value).map_err(|_| foreign())?;
        let of = self.live_session(&pending.session).await?.0.of;
        Ok((pending, of))
    }
}

/// Removes the cells of an answer, of which this is the first. The others have one version, as they are written once.
pub(super) fn without(batch: Batch, name: &[u8], first: &Cell) -> Batch {
    let batch = batch.remove_cell(ANSWERS, name, first.version);
    let parts = serde_json::from_slice(&first.value).map_or(0, |kept: Kept| kept.parts);
    (0..parts).fold(batch, |batch, part| batch.remove_cell(PARTS, &part_key(name, part), 1))
}

fn part_key(name: &[u8], part: u8) -> Vec<u8> {
    [name, &[part]].concat()
}
