//! Folders that only the host's user may enter, and the key for compiled code.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use keyway_runtime::CacheKey;
use keyway_vault::private_file;
use rand::TryRngCore as _;
use rand::rngs::OsRng;

/// Bytes of the key that compiled code is authenticated with.
const CACHE_KEY_BYTES: usize = 32;

/// Makes a folder that nobody else may enter. One that exists stays as it is.
pub(crate) fn create_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The key that compiled code is authenticated with; made when there is none, since what it
/// authenticates can be compiled again.
pub(crate) fn cache_key(path: &Path) -> anyhow::Result<CacheKey> {
    let bytes: [u8; CACHE_KEY_BYTES] = match private_file::read(path)? {
        Some(bytes) => bytes
            .as_slice()
            .try_into()
            .map_err(|_| anyhow!("{} is not {CACHE_KEY_BYTES} bytes long", path.display()))?,
        None => {
            let mut bytes = [0; CACHE_KEY_BYTES];
            OsRng.try_fill_bytes(&mut bytes).context("no random bytes for a key")?;
            private_file::write(path, &bytes)?;
            bytes
        }
    };
    Ok(CacheKey::new(bytes))
}
