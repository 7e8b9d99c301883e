//! Data keys: what they are called, whose they are, and how their rows look.
//!
//! A row is a cell of the store under the data key's id. It holds the key wrapped, the name of the sealing key that it
//! is wrapped with, and its check value. Whose it is and what it is called is part of what the wrapping authenticates,
//! so a row that somebody changes or moves does not unwrap. Another cell for each owner says which one is current.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyway_core::ids::{Environment, Tenant};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::key::{CheckValue, SecretKey, joined};
use crate::keys::error::Error;
use crate::keys::service::{SealingKeyId, Wrapped};

/// The store's name for the cells of data keys. On disk.
pub(crate) const DATA_KEYS: &str = "vault/data-key";

/// The store's name for the cells that say which data key is current. On disk.
pub(crate) const CURRENT: &str = "vault/current-data-key";

/// The store's name for the cells with the check values of sealing keys. On disk.
pub(crate) const SEALING_KEYS: &str = "vault/sealing-key";

pub(crate) const ID_BYTES: usize = 8;

/// Separates wrapping from any other use of a sealing key.
const WRAP_DOMAIN: &[u8] = b"keyway/vault/data-key/v1";

/// The one format of rows there is.
const FORMAT: u8 = 1;

/// What a sealed value calls its data key. Random; the store refuses a second key of the same id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataKeyId(pub(crate) [u8; ID_BYTES]);

/// Whose data key: a tenant's, or the environment's for what belongs to no tenant.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Owner {
    /// Where.
    pub environment: Environment,
    /// Which tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Tenant>,
}

/// A data key, unwrapped.
pub(crate) struct DataKey {
    pub(crate) id: DataKeyId,
    pub(crate) owner: Owner,
    pub(crate) secret: SecretKey,
}

/// A data key as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) id: DataKeyId,
    /// Of its cell.
    pub(crate) version: u64,
    pub(crate) owner: Owner,
    pub(crate) wrapped: Wrapped,
    pub(crate) check: CheckValue,
    pub(crate) created_at: OffsetDateTime,
}

/// A row of a data key.
#[derive(Serialize, Deserialize)]
struct Row {
    format: u8,
    owner: Owner,
    sealing_key: SealingKeyId,
    /// In base64.
    wrapped: String,
    check: CheckValue,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
}

/// A row of what is known of a sealing key.
#[derive(Serialize, Deserialize)]
pub(crate) struct SealingRow {
    pub(crate) check: Option<CheckValue>,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) since: OffsetDateTime,
}

/// What the wrapping of a data key authenticates beside it.
pub(crate) fn context(id: DataKeyId, owner: &Owner) -> Vec<u8> {
    let tenant = owner.tenant.as_ref().map_or("", Tenant::as_str);
    // Names are never empty, so an environment's own key has a context of its own.
    joined(&[WRAP_DOMAIN, owner.environment.as_str().as_bytes(), tenant.as_bytes(), &id.0])
}

// === impl Owner ===

impl Owner {
    /// Where its current key is said.
    pub(crate) fn cell(&self) -> Vec<u8> {
        let tenant = self.tenant.as_ref().map_or("", Tenant::as_str);
        joined(&[self.environment.as_str().as_bytes(), tenant.as_bytes()])
    }

    /// Whose cell it is.
    pub(crate) fn from_cell(key: &[u8]) -> Option<Self> {
        let (environment, rest) = split_joined(key)?;
        let (tenant, rest) = split_joined(rest)?;
        let tenant = if tenant.is_empty() { None } else { Some(tenant.parse().ok()?) };
        rest.is_empty().then_some(Self { environment: environment.parse().ok()?, tenant })
    }
}

/// The first of joined parts, as text, and the others.
fn split_joined(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (part, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    Some((std::str::from_utf8(part).ok()?, rest))
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.environment)?;
        self.tenant.as_ref().map_or(Ok(()), |tenant| write!(f, "/{tenant}"))
    }
}

// === impl DataKeyId ===

impl DataKeyId {
    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for DataKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for DataKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl DataKey ===

impl DataKey {
    /// What was unwrapped, if it is the key that was wrapped.
    pub(crate) fn checked(kept: &Kept, secret: SecretKey) -> Result<Self, Error> {
        if secret.check_value(&kept.id.0) != kept.check {
            return Err(Error::DataKeyDiffers { id: kept.id });
        }
        Ok(Self { id: kept.id, owner: kept.owner.clone(), secret })
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKey({} of {})", self.id, self.owner)
    }
}

// === impl Kept ===

impl Kept {
    /// As a cell's value.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let row = Row {
            format: FORMAT,
            owner: self.owner.clone(),
            sealing_key: self.wrapped.sealing_key.clone(),
            wrapped: STANDARD.encode(&self.wrapped.bytes),
            check: self.check,
            created_at: self.created_at,
        };
        serde_json::to_vec(&row).expect("text, numbers and a time of this era are JSON")
    }

    /// From a cell.
    pub(crate) fn decode(key: &[u8], version: u64, value: &[u8]) -> Result<Self, Error> {
        let id = DataKeyId::from_slice(key).unwrap_or(DataKeyId([0; ID_BYTES]));
        let damaged = |why: &dyn fmt::Display| Error::Damaged { id, why: why.to_string() };
        if key.len() != ID_BYTES {
            return Err(damaged(&"its id has another length"));
        }
        let row: Row = serde_json::from_slice(value).map_err(|error| damaged(&error))?;
        if row.format != FORMAT {
            return Err(damaged(&format_args!("format {} is unknown", row.format)));
        }
        let bytes = STANDARD.decode(&row.wrapped).map_err(|error| damaged(&error))?;
        Ok(Self {
            id,
            version,
            owner: row.owner,
            wrapped: Wrapped { sealing_key: row.sealing_key, bytes },
            check: row.check,
            created_at: row.created_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_read_from_its_cell() {
        let owner = |environment: &str, tenant: Option<&str>| Owner {
            environment: environment.parse().unwrap(),
            tenant: tenant.map(|tenant| tenant.parse().unwrap()),
        };
        for owner in [owner("dev", None), owner("dev", Some("acme")), owner("d", Some("evacme"))] {
            let cell = owner.cell();
            assert_eq!(Owner::from_cell(&cell).as_ref(), Some(&owner));
            for length in 0..cell.len() {
                assert!(Owner::from_cell(&cell[..length]).is_none(), "cut to {length}");
            }
            assert!(Owner::from_cell(&[&cell[..], &[0]].concat()).is_none());
        }
    }
}
