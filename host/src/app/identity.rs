//! That the parts of a data directory belong together.
//!
//! The store has an identity, drawn when it was made. The data directory, the keys and the components name it, each in a
//! file of its own, so that a part that is missing, because a volume is not mounted, say, or that is another
//! directory's, is noticed before anything is made in its place. Directories of earlier versions name none, and get the
//! files when they are started.
//!
//! Whether the store itself is whole is the store's own to say, and whether its sealing keys are there [`super::keys`]'.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use keyway_store::Store;
use keyway_vault::private_file;

use super::Folders;

/// The file that names the store, in each part.
pub(super) const IDENTITY: &str = "identity";

/// What a host leaves behind in its first moments, beside its store.
const TRACES: [&str; 5] =
    [IDENTITY, "admin.token", "keys/identity", "keys/sealing.keys", "keys/cache.key"];

/// How to go on all the same.
const ON_PURPOSE: &str =
    "to begin anew on purpose, without what is lost, start once with `--begin-anew`";

/// Refuses where a host has been and its store is gone. Nothing is made before this.
pub(crate) fn refuse_without_store(data: &Path, begin_anew: bool) -> anyhow::Result<()> {
    let store = data.join("store");
    // What is only set aside, or half there, the store itself tells better.
    for part in ["sled", "high-water", "sled.quarantined-1"] {
        if store.join(part).try_exists().context("data directory")? {
            return Ok(());
        }
    }
    let mut traces = Vec::new();
    for trace in TRACES {
        if data.join(trace).try_exists().context("data directory")? {
            traces.push(trace);
        }
    }
    if traces.is_empty() || begin_anew {
        return Ok(());
    }
    bail!(
        "{} is missing or empty, and {} has {}: a host has been here. Put the store back, or mount its volume; {ON_PURPOSE}",
        store.display(),
        data.display(),
        traces.join(", "),
    )
}

/// Parts that do not name the store yet.
pub(crate) struct Nameless {
    store: String,
    files: Vec<PathBuf>,
}

/// Refuses parts of different directories, and components that are gone as a whole; gives the parts that are to name the
/// store. They are written once nothing else refuses: what is in the place of keys that are missing stays as it is.
pub(crate) async fn settle(
    folders: &Folders,
    store: &Store,
    begin_anew: bool,
) -> anyhow::Result<Nameless> {
    let identity = store.identity();
    let mut nameless = Vec::new();
    for path in folders.identities() {
        match named(&path)? {
            Some(found) if found == identity => {}
            Some(found) if !begin_anew => bail!(
                "{} says that this is of the store {found}, and the store is {identity}: they are of different data \
                 directories. Put back what belongs together; {ON_PURPOSE}",
                path.display()
            ),
            _ => nameless.push(path),
        }
    }
    let blobs = folders.blobs();
    if !begin_anew && nameless.iter().any(|path| path.starts_with(&blobs)) {
        refuse_without_components(store, &blobs).await?;
    }
    if begin_anew && nameless.is_empty() {
        bail!(
            "there is nothing to begin anew here: everything belongs to one store. Start without `--begin-anew`"
        );
    }
    Ok(Nameless { store: identity, files: nameless })
}

// === impl Nameless ===

impl Nameless {
    /// Lets every part name the store.
    pub(crate) fn name(self) -> anyhow::Result<()> {
        for path in self.files {
            private_file::write(&path, format!("{}\n", self.store).as_bytes())?;
        }
        Ok(())
    }
}

/// One component that is lost is lost; where all are, it is the folder.
async fn refuse_without_components(store: &Store, blobs: &Path) -> anyhow::Result<()> {
    let released = store.component_digests().await?;
    let count = released.len();
    for digest in released {
        if store.blobs().size(&digest).await?.is_some() {
            return Ok(());
        }
    }
    if count > 0 {
        bail!(
            "{} has none of the components of {count} releases that the store names. Put them back, or mount their \
             volume; {ON_PURPOSE}",
            blobs.display()
        );
    }
    Ok(())
}

/// It is no secret, so whoever may read it may: a copy that was put back has the modes that its copyist gave it.
fn named(path: &Path) -> anyhow::Result<Option<String>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned()))
}

/// Gives a file that is in the way another name: nothing is ever written over it.
pub(crate) fn set_aside(path: &Path) -> anyhow::Result<Option<PathBuf>> {
    if !path.try_exists().with_context(|| path.display().to_string())? {
        return Ok(None);
    }
    let names = (1..=u16::MAX).map(|number| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    });
    for aside in names {
        if !aside.try_exists().with_context(|| aside.display().to_string())? {
            std::fs::rename(path, &aside).with_context(|| path.display().to_string())?;
            return Ok(Some(aside));
        }
    }
    bail!("{} is in the way, and no name is left to set it aside", path.display())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_names_the_store_is_read_whoever_else_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(IDENTITY);
        assert_eq!(named(&path).unwrap(), None);
        std::fs::write(&path, "the-store\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(named(&path).unwrap().as_deref(), Some("the-store"));
    }
}
