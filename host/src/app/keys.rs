//! Folders that only the host's user may enter, where the sealing keys are, and the key for compiled code.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use keyway_core::ports::Outbound;
use keyway_runtime::CacheKey;
use keyway_store::Store;
use keyway_store::model::Filter;
use keyway_vault::{KeyRing, KeyService, private_file};
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use secrecy::{ExposeSecret as _, SecretString};

use crate::config::KeysConfig;
use crate::env;

/// The file with the sealing keys.
const SEALING_KEYS: &str = "sealing.keys";

/// What it was before there were data keys, in versions that nobody released.
const FORMER_KEY: &str = "seal.key";

/// Bytes of the key that compiled code is authenticated with.
const CACHE_KEY_BYTES: usize = 32;

/// Makes a folder that nobody else may enter. One that exists stays as it is.
pub(crate) fn create_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The key that compiled code is authenticated with; made when there is none or it is damaged, since what it
/// authenticates can be compiled again.
pub(crate) fn cache_key(path: &Path) -> anyhow::Result<CacheKey> {
    let kept = private_file::read(path)?;
    if let Some(bytes) = kept.as_ref().and_then(|kept| kept.as_slice().try_into().ok()) {
        return Ok(CacheKey::new(bytes));
    }
    if let Some(damaged) = kept {
        let (path, bytes) = (path.display(), damaged.len());
        tracing::warn!(%path, bytes, "the key for compiled code is damaged and made anew; releases are compiled again");
    }
    let mut bytes = [0; CACHE_KEY_BYTES];
    OsRng.try_fill_bytes(&mut bytes).context("no random bytes for a key")?;
    private_file::write(path, &bytes)?;
    Ok(CacheKey::new(bytes))
}

/// Who holds the sealing keys: the service that is configured, or else this host itself.
pub(crate) async fn service(
    config: KeysConfig,
    store: &Store,
    folder: &Path,
    outbound: &Arc<dyn Outbound>,
) -> anyhow::Result<Arc<dyn KeyService>> {
    let (path, former) = (folder.join(SEALING_KEYS), folder.join(FORMER_KEY));
    if former.exists() {
        bail!(
            "{} is of a version that was never released, and what it sealed cannot be opened any more: begin with \
             another data directory",
            former.display()
        );
    }
    let given = given()?;
    if let Some(service) = configured(config, outbound)? {
        if given.is_some() || path.exists() {
            let (path, given) = (path.display(), env::SEALING_KEYS);
            bail!(
                "a key service is configured, and there are sealing keys in {path} or {given}: keep one"
            );
        }
        return Ok(service);
    }
    let Some(text) = given else { return own(store, &path).await };
    if path.exists() {
        bail!("sealing keys are both in {} and in {}: keep one", path.display(), env::SEALING_KEYS);
    }
    Ok(Arc::new(KeyRing::parse(text.expose_secret()).context(env::SEALING_KEYS)?))
}

#[cfg(feature = "transit")]
fn configured(
    config: KeysConfig,
    outbound: &Arc<dyn Outbound>,
) -> anyhow::Result<Option<Arc<dyn KeyService>>> {
    let Some(config) = config.transit else { return Ok(None) };
    Ok(Some(Arc::new(keyway_vault::keys::transit::Transit::new(config, Arc::clone(outbound))?)))
}

#[cfg(not(feature = "transit"))]
fn configured(
    KeysConfig {}: KeysConfig,
    _: &Arc<dyn Outbound>,
) -> anyhow::Result<Option<Arc<dyn KeyService>>> {
    Ok(None)
}

/// The keys of the file. New ones only for a store that has sealed nothing: otherwise the keys were lost, and new
/// ones would hide that.
async fn own(store: &Store, path: &Path) -> anyhow::Result<Arc<dyn KeyService>> {
    if let Some(ring) = KeyRing::load(path).with_context(|| path.display().to_string())? {
        return Ok(Arc::new(ring));
    }
    let data_keys = keyway_vault::keys::count(store).await?;
    let installations = store.installations(&Filter::default()).await?;
    let sealed: usize = installations.iter().map(|state| state.connections.len()).sum();
    if data_keys > 0 || sealed > 0 {
        bail!(
            "{} is missing, and what is sealed cannot be opened without it: {data_keys} data keys, {sealed} credentials",
            path.display()
        );
    }
    Ok(Arc::new(KeyRing::create(path)?))
}

/// The sealing keys of the environment. The process that checks components is started without.
fn given() -> anyhow::Result<Option<SecretString>> {
    match std::env::var(env::SEALING_KEYS) {
        Ok(text) => Ok(Some(text.into())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        // The error itself would show what is there.
        Err(std::env::VarError::NotUnicode(_)) => bail!("{} is not text", env::SEALING_KEYS),
    }
}
