//! Whether what routes need is there: every component of a routed release, whole, and every route open that could be.
//!
//! Compiled code hides for a long time that the component behind it is lost: the release runs until the code is gone as
//! well, with a new version of the host, say, and then for nobody. So components are looked at ahead of that, at each
//! start and once in a while. What is found is told and not mended: only a person has the bytes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use keyway_core::release::ReleaseRef;
use keyway_core::{Digest, Fault};
use keyway_store::model::{EnvironmentDefault, Filter, InstallationState};

use crate::pins::{Releases, declared};

/// What the newest look found.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Checked {
    /// Releases that something routes to.
    pub routed: usize,
    /// Of these, those whose component is not there, or not what it should be.
    pub lost: Vec<Lost>,
}

/// A component that is not there as it should be.
#[derive(Clone, PartialEq, Debug)]
pub struct Lost {
    /// Whose it is.
    pub release: ReleaseRef,
    /// What is wrong with it.
    pub why: String,
}

/// The newest look, for whoever asks, once there was one.
#[derive(Default)]
pub(crate) struct Newest(Mutex<Option<Arc<Checked>>>);

impl Releases {
    /// Looks at the component of every release that something routes to: presence, size and digest. Opens routes again
    /// that were closed and need not be any more. May be done at any time.
    pub async fn check(&self) -> Result<Arc<Checked>, Fault> {
        let defaults = self.store().environment_defaults().await?;
        let states = self.store().installations(&Filter::default()).await?;
        let routed = routed(&states, &defaults);
        let mut lost = Vec::new();
        for release in routed.values() {
            if let Some(why) = self.wrong_with(release).await? {
                tracing::error!(%release, digest = %release.digest, why, "component of a routed release lost");
                lost.push(Lost { release: release.clone(), why });
            }
        }
        for state in &states {
            let whole = declared(state, &defaults)
                .is_some_and(|release| !lost.iter().any(|lost| lost.release == *release));
            if whole && self.routes().closed(&state.installation) {
                self.refresh(&state.installation).await?;
            }
        }
        let checked = Arc::new(Checked { routed: routed.len(), lost });
        *self.newest().0.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Arc::clone(&checked));
        Ok(checked)
    }

    /// What the newest look found; none before the first is over.
    pub fn checked(&self) -> Option<Arc<Checked>> {
        self.newest().0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is wrong with a release's component. That it cannot be read for the moment says nothing.
    async fn wrong_with(&self, release: &ReleaseRef) -> Result<Option<String>, Fault> {
        let store = self.store();
        let wanted = match store.release(&release.digest).await {
            Ok(Some(found)) => found.component_bytes,
            Ok(None) => return Ok(Some("the store does not know the release".to_owned())),
            Err(error @ keyway_store::Error::Corrupt { .. }) => return Ok(Some(error.to_string())),
            Err(error) => return Err(error.into()),
        };
        match store.blobs().size(&release.digest).await {
            Ok(Some(bytes)) if bytes == wanted => {}
            Ok(Some(bytes)) => {
                return Ok(Some(format!("it has {bytes} bytes instead of {wanted}")));
            }
            Ok(None) => return Ok(Some("it is not there".to_owned())),
            Err(error) => return unreadable(error),
        }
        match store.blobs().get(&release.digest).await {
            Ok(Some(_)) => Ok(None),
            Ok(None) => Ok(Some("it is not there".to_owned())),
            Err(error) => unreadable(error),
        }
    }
}

/// A file that cannot be read is as good as lost, and says nothing about the others; being short of descriptors passes.
fn unreadable(error: keyway_store::Error) -> Result<Option<String>, Fault> {
    use keyway_store::Error::{Corrupt, Unavailable};
    match error {
        error @ (Corrupt { .. } | Unavailable { .. }) => Ok(Some(error.to_string())),
        error => Err(error.into()),
    }
}

/// Every release that pins and defaults name, once.
pub(crate) fn routed(
    states: &[InstallationState],
    defaults: &[EnvironmentDefault],
) -> BTreeMap<Digest, ReleaseRef> {
    let defaulted = defaults.iter().map(|default| &default.release);
    let pinned = states.iter().filter_map(|state| state.pin.as_ref()).map(|pin| &pin.release);
    defaulted.chain(pinned).map(|release| (release.digest, release.clone())).collect()
}
