//! How far back the history of a configuration goes, and which generations are left out of it.
//!
//! A generation goes with the change that makes one too many, in its commit. Copies that a change of what runs took along go
//! first: what somebody set is what there is to go back to. Bytes that were too large for a row are noted, as where a tenant
//! ends ([`crate::tenant`]), and removed with the next notes.

use keyway_core::ids::Installation;
use keyway_core::limits::CONFIG_GENERATIONS_MAX;

use crate::error::Error;
use crate::key::{Key, Space};
use crate::row::{self, ConfigRow};
use crate::store::Store;
use crate::tx::Plan;

/// Generations that go at once where many are too many: what a host of before this limit has kept. Each is two writes, and a
/// commit has 1,024.
const AT_ONCE_MAX: usize = 256;

impl Plan {
    /// Makes room for one more generation. Where the change takes along those of many installations, only for one.
    pub(crate) async fn trim_configs(
        &mut self,
        store: &Store,
        of: &Installation,
        taken: bool,
    ) -> Result<(), Error> {
        let rows = store.all(Key::installation(Space::ConfigHistory, of)).await?;
        let surplus = (rows.len() + 1).saturating_sub(CONFIG_GENERATIONS_MAX);
        if surplus == 0 {
            return Ok(());
        }
        let mut all = Vec::new();
        for (key, row) in rows {
            let header = row::decode::<ConfigRow>(&key, &row)?.header;
            all.push((!header.taken, header.generation, key));
        }
        all.sort_unstable_by_key(|(set, generation, _)| (*set, *generation));
        let at_once = if taken { 1 } else { AT_ONCE_MAX };
        let gone = all.into_iter().take(surplus.min(at_once)).map(|(_, _, key)| key);
        self.erase(store, &gone.collect::<Vec<_>>()).await
    }
}
