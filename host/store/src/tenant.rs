//! The end of a tenant: every row that is about its installations, and the bytes that were too large for one.
//!
//! It may be cut off anywhere and be begun again. Installations are found by rows that go last, and bytes are forgotten
//! by a note that is written with the row that named them.

use keyway_core::Digest;
use keyway_core::ids::{Environment, Tenant};

use crate::backend::{Row, Write};
use crate::batch::CellChange;
use crate::error::{Collision, Error};
use crate::key::{Key, Space};
use crate::model::Entry;
use crate::row::{self, Body, ConfigRow, ConnectionRow, PublishedRow};
use crate::store::{CONFIG, Store, cell_key, installation_of};
use crate::tx::{Change, Plan};

/// The store's name for the cells that say which blobs may be forgotten. On disk.
const FORGOTTEN: &str = "store/forgotten-blob";

/// Rows that one commit erases. Each may leave a note.
const ROWS_AT_ONCE: usize = 256;

/// In this order: an installation is found by the rows of the last.
const SPACES: [Space; 4] =
    [Space::UserConnection, Space::ConfigHistory, Space::History, Space::Installation];

/// What was erased.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Erased {
    /// Generations of pins.
    pub pins: usize,
    /// Generations of configurations.
    pub configs: usize,
}

// === impl Store ===

impl Store {
    /// Erases every row about the installations that a tenant has in an environment, each commit with `entry`. A
    /// connection that is set is a conflict: its tokens would stay good. It must be removed before.
    pub async fn erase_tenant(
        &self,
        environment: &Environment,
        tenant: &Tenant,
        entry: &Entry,
    ) -> Result<Erased, Error> {
        let mut erased = Erased::default();
        for space in SPACES {
            let prefix = Key::of(space).part(environment.as_str()).part(tenant.as_str());
            loop {
                let page = self.page(&prefix, None).await?.into_iter();
                let keys: Vec<Key> = page.map(|(key, _)| key).take(ROWS_AT_ONCE).collect();
                if keys.is_empty() {
                    break;
                }
                match space {
                    Space::History => erased.pins += keys.len(),
                    Space::ConfigHistory => erased.configs += keys.len(),
                    _ => {}
                }
                self.tx().with(Change::Erase(keys)).commit(entry.clone()).await?;
            }
        }
        self.forget_blobs().await?;
        Ok(erased)
    }

    /// Removes bytes that were noted, unless another row names them.
    pub async fn forget_blobs(&self) -> Result<(), Error> {
        let noted = self.cells(FORGOTTEN).await?;
        if noted.is_empty() {
            return Ok(());
        }
        // Whoever writes a row with large bytes holds this from putting them until the row names them.
        let _alone = self.0.spilling.write().await;
        let named = self.named_blobs().await?;
        for (key, cell) in noted {
            let digest = Digest::from_bytes(key.as_slice().try_into().map_err(|_| {
                Error::corrupt("a note of bytes to forget", "its key is no digest")
            })?);
            if !named.contains(&digest) {
                self.blobs().remove(&digest).await?;
            }
            self.batch().remove_cell(FORGOTTEN, &key, cell.version).commit().await?;
        }
        Ok(())
    }

    /// Every blob that a row names, components aside: those have digests of no JSON.
    async fn named_blobs(&self) -> Result<Vec<Digest>, Error> {
        let mut named = Vec::new();
        for (key, row) in self.all(Key::of(Space::Installation)).await? {
            if newest(&key)? {
                named.extend(blob_of::<ConfigRow>(&key, &row)?);
            }
        }
        for (key, row) in self.all(Key::of(Space::ConfigHistory)).await? {
            named.extend(blob_of::<ConfigRow>(&key, &row)?);
        }
        for (key, row) in self.all(Key::of(Space::Release)).await? {
            named.extend(blob_of::<PublishedRow>(&key, &row)?);
        }
        Ok(named)
    }
}

// === impl Plan ===

impl Plan {
    /// Erases rows, as far as they are there.
    pub(crate) async fn erase(&mut self, store: &Store, keys: &[Key]) -> Result<(), Error> {
        for key in keys {
            let Some(row) = store.get(key).await? else { continue };
            if is_set(key, &row)? {
                return Err(Error::Conflict { what: Collision::Connection });
            }
            if let Some(digest) = blob_named(key, &row)? {
                let note = cell_key(FORGOTTEN, digest.as_bytes());
                if !self.commit.writes_to(&note) && store.get(&note).await?.is_none() {
                    let change =
                        CellChange::new(FORGOTTEN, digest.as_bytes(), None, Some("".into()));
                    change.plan(store, &mut self.commit).await?;
                }
            }
            if key.is_in(Space::Installation) {
                let mut parts = key.texts()?.into_iter();
                self.touch(installation_of(key, &mut parts)?);
            }
            self.commit.unchanged(key, Some(&row));
            self.commit.writes.push(Write::Remove { key: key.clone() });
        }
        Ok(())
    }
}

/// Whether a row is a connection that is set.
fn is_set(key: &Key, row: &Row) -> Result<bool, Error> {
    let connection = key.is_in(Space::UserConnection)
        // Its slot is a part of its own.
        || (key.is_in(Space::Installation) && key.texts()?.len() == 5);
    Ok(connection && row::decode::<ConnectionRow>(key, row)?.header.set.is_some())
}

/// The blob that a row of a configuration names.
fn blob_named(key: &Key, row: &Row) -> Result<Option<Digest>, Error> {
    let config =
        key.is_in(Space::ConfigHistory) || (key.is_in(Space::Installation) && newest(key)?);
    if config { blob_of::<ConfigRow>(key, row) } else { Ok(None) }
}

/// Whether a row of an installation is its newest configuration.
fn newest(key: &Key) -> Result<bool, Error> {
    Ok(matches!(&key.texts()?[..], [_, _, _, part] if part == CONFIG))
}

fn blob_of<H: serde::de::DeserializeOwned>(key: &Key, row: &Row) -> Result<Option<Digest>, Error> {
    Ok(match row::decode::<H>(key, row)?.body {
        Body::Blob(digest) => Some(digest),
        Body::Inline(_) => None,
    })
}
