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
    if path.is_dir() {
        bail!(
            "{} is a folder, and the key for compiled code belongs there: move it away",
            path.display()
        );
    }
    let why = match private_file::read(path) {
        Ok(None) => None,
        Ok(Some(kept)) => match kept.as_slice().try_into() {
            Ok(bytes) => return Ok(CacheKey::new(bytes)),
            Err(_) => Some(format!("it has {} bytes", kept.len())),
        },
        // Whoever may read it could have compiled code of their own be taken for ours.
        Err(error) => Some(format!("{:#}", anyhow::Error::new(error))),
    };
    if let Some(why) = why {
        let path = path.display();
        tracing::warn!(%path, why, "the key for compiled code is damaged and made anew; releases are compiled again");
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
            "{} is missing, and what is sealed cannot be opened without it: {data_keys} data keys, {sealed} credentials. \
             Put it back, or mount its volume; to begin anew on purpose, with an empty store, move the folder `store` \
             away and start once with `--begin-anew`",
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

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_for_compiled_code_that_is_no_good_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.key");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        cache_key(&path).unwrap();
        let first = fs::read(&path).unwrap();
        cache_key(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), first, "a good one stays");

        // Somebody else could have read it.
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        cache_key(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        let second = fs::read(&path).unwrap();
        assert_ne!(second, first);

        fs::write(&path, "short").unwrap();
        cache_key(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap().len(), CACHE_KEY_BYTES);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let refused = cache_key(&path).expect_err("refused").to_string();
        assert!(refused.contains("is a folder"), "{refused}");
    }
}
