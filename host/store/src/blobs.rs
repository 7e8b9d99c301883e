//! Content-addressed bytes: components, and whatever is too large for a row.
//!
//! A blob's name is its SHA-256, so a blob is never changed, only added, and adding it twice is
//! nothing. It is written beside its place, synced, renamed into place, and the directory is synced
//! before anybody is told. Bytes are hashed again each time they are loaded: what does not match its
//! name is an error and is not handed out.
//!
//! Nothing is removed here by itself; who may forget what is a question for whoever knows all references.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
use keyway_core::ports::Components;
use keyway_core::{Code, Digest, Fault, transient};

use crate::error::Error;
use crate::step::{Step, Steps};

/// Bytes by their digest. Clones share.
#[derive(Clone)]
pub struct Blobs(Kind);

#[derive(Clone)]
enum Kind {
    Directory(Arc<Dir>, Steps),
    Memory(Arc<Mutex<HashMap<Digest, Bytes>>>),
}

/// What a blob is called until it is whole.
const TEMPORARY: &str = ".tmp-";

// === impl Blobs ===

impl Blobs {
    /// Blobs that end with the process.
    pub(crate) fn memory() -> Self {
        Self(Kind::Memory(Arc::default()))
    }

    /// Blobs in `path`, which is made if it is not there. Removes what crashed writers left.
    pub(crate) fn open(path: &Path, steps: Steps) -> io::Result<Self> {
        let dir = transient::retry(|| {
            Dir::create_ambient_dir_all(path, ambient_authority())?;
            let dir = Dir::open_ambient_dir(path, ambient_authority())?;
            for entry in dir.entries()? {
                let name = entry?.file_name();
                if name.to_string_lossy().starts_with(TEMPORARY) {
                    dir.remove_file(&name)?;
                }
            }
            Ok(dir)
        })?;
        Ok(Self(Kind::Directory(Arc::new(dir), steps)))
    }

    /// Keeps `bytes`; once it answers they are durable. Idempotent, and mends a damaged copy.
    pub async fn put(&self, bytes: Bytes) -> Result<Digest, Error> {
        match &self.0 {
            Kind::Directory(dir, steps) => {
                let (dir, steps) = (Arc::clone(dir), steps.clone());
                blocking(move || put(&dir, &bytes, &steps)).await
            }
            Kind::Memory(map) => {
                let digest = Digest::of(&bytes);
                let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
                map.insert(digest, bytes);
                Ok(digest)
            }
        }
    }

    /// Removes bytes that nothing names any more, if they are there.
    pub(crate) async fn remove(&self, digest: &Digest) -> Result<(), Error> {
        match &self.0 {
            Kind::Directory(dir, steps) => {
                let (dir, steps, digest) = (Arc::clone(dir), steps.clone(), *digest);
                blocking(move || remove(&dir, &digest, &steps)).await
            }
            Kind::Memory(map) => {
                map.lock().unwrap_or_else(PoisonError::into_inner).remove(digest);
                Ok(())
            }
        }
    }

    /// How many bytes there are under this digest, without reading them; none if they were never put.
    pub async fn size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        match &self.0 {
            Kind::Directory(dir, _) => {
                let (dir, digest) = (Arc::clone(dir), *digest);
                blocking(move || size(&dir, &digest)).await
            }
            Kind::Memory(map) => {
                let map = map.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(map.get(digest).map(|bytes| bytes.len() as u64))
            }
        }
    }

    /// The bytes, checked against their digest; none if they were never put.
    pub async fn get(&self, digest: &Digest) -> Result<Option<Bytes>, Error> {
        match &self.0 {
            Kind::Directory(dir, _) => {
                let (dir, digest) = (Arc::clone(dir), *digest);
                blocking(move || get(&dir, &digest)).await
            }
            Kind::Memory(map) => {
                let map = map.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(map.get(digest).cloned())
            }
        }
    }
}

#[async_trait]
impl Components for Blobs {
    async fn component(&self, digest: &Digest) -> Result<Bytes, Fault> {
        let unavailable = |detail| Fault::new(Code::ReleaseUnavailable, detail);
        match self.get(digest).await {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(unavailable(format!("the component {digest} is not here"))),
            Err(error @ Error::Corrupt { .. }) => {
                let fault = unavailable(format!("the component {digest} is damaged"));
                Err(fault.caused_by(error))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Runs file work off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(Error::unavailable)?
}

fn put(dir: &Dir, bytes: &[u8], steps: &Steps) -> Result<Digest, Error> {
    let digest = Digest::of(bytes);
    let name = digest.hex();
    // A whole copy may be one that a crashed writer renamed and never synced the directory for.
    let there = matches!(get(dir, &digest), Ok(Some(_)));
    // Each try begins anew, so that what one could not sync is written again by the next.
    let written = transient::retry(|| match there {
        true => sync(dir, steps),
        false => write(dir, &name, bytes, steps),
    });
    written.map_err(|error| Error::machine(format_args!("blob {name}"), &error))?;
    Ok(digest)
}

fn write(dir: &Dir, name: &str, bytes: &[u8], steps: &Steps) -> io::Result<()> {
    let temporary = format!("{TEMPORARY}{:032x}", rand::random::<u128>());
    let result = (|| {
        let mut file =
            dir.open_with(&temporary, OpenOptions::new().write(true).create_new(true))?;
        steps.take(Step::BlobWrite, || file.write_all(bytes))?;
        steps.take(Step::BlobSync, || file.sync_all())?;
        steps.take(Step::BlobRename, || dir.rename(&temporary, dir, name))
    })();
    if result.is_err() {
        // It may not exist, and the first error is the one to report.
        drop(dir.remove_file(&temporary));
    }
    result?;
    sync(dir, steps)
}

fn remove(dir: &Dir, digest: &Digest, steps: &Steps) -> Result<(), Error> {
    let name = digest.hex();
    let removed = transient::retry(|| {
        match dir.remove_file(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
        sync(dir, steps)
    });
    removed.map_err(|error| Error::machine(format_args!("blob {name}"), &error))
}

/// Makes the names in a directory durable. Opened anew: the handle itself is for paths only.
fn sync(dir: &Dir, steps: &Steps) -> io::Result<()> {
    steps.take(Step::BlobDirectory, || dir.open(".")?.sync_all())
}

fn size(dir: &Dir, digest: &Digest) -> Result<Option<u64>, Error> {
    let name = digest.hex();
    match transient::retry(|| dir.metadata(&name)) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::machine(format_args!("blob {name}"), &error)),
    }
}

fn get(dir: &Dir, digest: &Digest) -> Result<Option<Bytes>, Error> {
    let name = digest.hex();
    let read = transient::retry(|| {
        let mut bytes = Vec::new();
        dir.open(&name)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    match read {
        Ok(bytes) if Digest::of(&bytes) == *digest => Ok(Some(bytes.into())),
        Ok(bytes) => {
            let (len, found) = (bytes.len(), Digest::of(&bytes));
            let why = format_args!("its {len} bytes have the digest {found}");
            Err(Error::corrupt(format!("blob {name}"), why))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::machine(format_args!("blob {name}"), &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(path).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[tokio::test]
    async fn keeps_and_finds_in_both_kinds() {
        let dir = tempfile::tempdir().unwrap();
        for blobs in [Blobs::memory(), Blobs::open(dir.path(), Steps::default()).unwrap()] {
            let digest = blobs.put(Bytes::from_static(b"bytes")).await.unwrap();
            assert_eq!(digest, Digest::of(b"bytes"));
            assert_eq!(blobs.put(Bytes::from_static(b"bytes")).await.unwrap(), digest);
            assert_eq!(blobs.get(&digest).await.unwrap().unwrap(), &b"bytes"[..]);
            assert_eq!(blobs.get(&Digest::of(b"other")).await.unwrap(), None);
            assert_eq!(blobs.size(&digest).await.unwrap(), Some(5));
            assert_eq!(blobs.size(&Digest::of(b"other")).await.unwrap(), None);
            let empty = blobs.put(Bytes::new()).await.unwrap();
            assert_eq!(blobs.get(&empty).await.unwrap().unwrap(), Bytes::new());
        }
        assert_eq!(names(dir.path()).len(), 2, "no temporary file stays");
    }

    #[tokio::test]
    async fn damaged_bytes_are_not_served_and_mended_by_putting_them_again() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path(), Steps::default()).unwrap();
        let digest = blobs.put(Bytes::from_static(b"component")).await.unwrap();
        for damaged in [&b"Component"[..], b"componen", b"", b"component "] {
            std::fs::write(dir.path().join(digest.hex()), damaged).unwrap();
            let error = blobs.get(&digest).await.unwrap_err();
            assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
            let fault = blobs.component(&digest).await.unwrap_err();
            assert_eq!(fault.code, Code::ReleaseUnavailable);
        }
        blobs.put(Bytes::from_static(b"component")).await.unwrap();
        assert_eq!(blobs.component(&digest).await.unwrap(), &b"component"[..]);
        let missing = blobs.component(&Digest::of(b"")).await.unwrap_err();
        assert_eq!(missing.code, Code::ReleaseUnavailable);
    }

    #[tokio::test]
    async fn what_a_crashed_writer_left_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".tmp-0"), b"half").unwrap();
        Blobs::open(dir.path(), Steps::default()).unwrap();
        assert_eq!(names(dir.path()), Vec::<String>::new());
    }
}
