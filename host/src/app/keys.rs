//! Files that only the host's user may read: the key for compiled code, the first admin token.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use keyway_runtime::CacheKey;

/// Makes a folder that nobody else may enter. One that exists stays as it is.
pub(crate) fn create_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Replaces a file in one step: it has the old content or the new, whenever the host dies.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    drop(fs::remove_file(&unfinished));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// The key that compiled code is authenticated with; made when there is none, since what it
/// authenticates can be compiled again.
pub(crate) fn cache_key(path: &Path) -> anyhow::Result<CacheKey> {
    let mut bytes = [0; 32];
    match File::open(path) {
        Ok(mut file) => {
            let mode = file.metadata()?.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                bail!("{} has mode {mode:o}; it must be 600", path.display());
            }
            file.read_exact(&mut bytes)
                .with_context(|| format!("{} is too short", path.display()))?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            File::open("/dev/urandom")?.read_exact(&mut bytes).context("no random bytes")?;
            write_private(path, &bytes).with_context(|| path.display().to_string())?;
        }
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    }
    Ok(CacheKey::new(bytes))
}
