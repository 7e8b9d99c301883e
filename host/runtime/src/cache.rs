//! Compiled code on disk, believed only with a message authentication code over it.
//!
//! Loading compiled code runs it, so a file counts for nothing until its code has been checked against
//! a key that only this host has. The code also covers which component it was compiled from and for
//! what engine: neither can be swapped for another's. Files are never rewritten in place; whatever is
//! wrong with one is a miss, and the component is compiled again.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::sync::Arc;

use cap_std::fs::{Dir, OpenOptions};
use hmac::{Hmac, Mac as _};
use keyway_core::{Digest, transient};
use sha2::Sha256;

use crate::engine::Compatibility;

/// Begins every file; changes with the format.
const MAGIC: &[u8; 8] = b"kw-code1";

/// Bytes of an HMAC-SHA256.
const MAC_BYTES: usize = 32;

const HEADER_BYTES: usize = MAGIC.len() + MAC_BYTES;

/// The host's own key for compiled code. Whoever has it can run code in the host.
#[derive(Clone)]
pub struct CacheKey([u8; 32]);

/// Compiled code on disk.
#[derive(Clone)]
pub(crate) struct Cache {
    /// The folder for this engine's code.
    folder: Arc<Dir>,
    key: CacheKey,
    compatibility: Compatibility,
}

/// Compiled code that came from a compiler of ours: nothing else makes one of these.
pub(crate) struct Code {
    bytes: Vec<u8>,
    offset: usize,
}

/// What a look into the cache found.
pub(crate) enum Found {
    Code(Code),
    Nothing,
    /// Something that is not what this host put there.
    Forged,
    /// It could not be looked for: the machine has no descriptor or memory free, and compiling would take more of both.
    Short(io::Error),
}

// === impl CacheKey ===

impl CacheKey {
    /// A key of 32 random bytes, the same at every start.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CacheKey(..)")
    }
}

// === impl Code ===

impl Code {
    /// Code that the admission process has just compiled.
    pub(crate) const fn compiled(bytes: Vec<u8>, offset: usize) -> Self {
        Self { bytes, offset }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.offset..]
    }
}

// === impl Cache ===

impl Cache {
    /// Opens the folder for code that runs on an engine, making it if need be.
    pub(crate) fn open(dir: &Dir, key: CacheKey, engine: Compatibility) -> io::Result<Self> {
        let name = engine.hex();
        dir.create_dir_all(&name)?;
        let folder = Arc::new(dir.open_dir(&name)?);
        Ok(Self { folder, key, compatibility: engine })
    }

    /// Reads and checks. Blocks.
    pub(crate) fn get(&self, component: &Digest) -> Found {
        let read = transient::retry(|| {
            let mut file = self.folder.open(name(component))?;
            let mut bytes =
                Vec::with_capacity(usize::try_from(file.metadata()?.len()).unwrap_or(0));
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Nothing,
            Err(error) if transient::is(&error) => Found::Short(error),
            Err(error) => {
                tracing::warn!(%component, %error, "cannot read compiled code");
                Found::Nothing
            }
            Ok(bytes) if self.authentic(component, &bytes) => {
                Found::Code(Code { bytes, offset: HEADER_BYTES })
            }
            Ok(_) => {
                tracing::error!(%component, "compiled code is not what this host wrote, ignored");
                Found::Forged
            }
        }
    }

    /// Writes beside, then renames over. Blocks.
    pub(crate) fn put(&self, component: &Digest, code: &Code) -> io::Result<()> {
        let temporary = format!(".{:032x}.tmp", rand::random::<u128>());
        let written = transient::retry(|| self.write(&temporary, component, code.bytes()))
            .and_then(|()| {
                self.folder.rename(&temporary, &self.folder, name(component))?;
                // The rename is durable once the folder is.
                transient::retry(|| self.folder.open(".")?.sync_all())
            });
        if written.is_err() {
            // Nothing reads it, and the first error says more than one about cleaning up.
            drop(self.folder.remove_file(&temporary));
        }
        written
    }

    fn write(&self, temporary: &str, component: &Digest, code: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        // Its name is nobody else's; what an earlier try left in it is written over.
        options.write(true).create(true).truncate(true);
        let mut file = self.folder.open_with(temporary, &options)?;
        file.write_all(MAGIC)?;
        file.write_all(&self.mac(component, code).finalize().into_bytes())?;
        file.write_all(code)?;
        file.sync_all()
    }

    fn authentic(&self, component: &Digest, file: &[u8]) -> bool {
        let Some((header, code)) = file.split_at_checked(HEADER_BYTES) else { return false };
        let (magic, mac) = header.split_at(MAGIC.len());
        magic == MAGIC && self.mac(component, code).verify_slice(mac).is_ok()
    }

    fn mac(&self, component: &Digest, code: &[u8]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key.0).expect("takes keys of any length");
        // All but the last are of fixed length, so no two inputs run together.
        mac.update(MAGIC);
        mac.update(component.as_bytes());
        mac.update(&self.compatibility.0);
        mac.update(code);
        mac
    }
}

fn name(component: &Digest) -> String {
    format!("{}.cwasm", component.hex())
}

#[cfg(test)]
mod tests {
    use cap_std::ambient_authority;

    use super::*;

    const CODE: &[u8] = b"compiled code, long enough to be cut in the middle";

    struct Fixture {
        _temporary: tempfile::TempDir,
        dir: Dir,
        digest: Digest,
    }

    impl Fixture {
        fn new() -> Self {
            let temporary = tempfile::tempdir().unwrap();
            let dir = Dir::open_ambient_dir(temporary.path(), ambient_authority()).unwrap();
            let fixture = Self { _temporary: temporary, dir, digest: Digest::of(b"component") };
            fixture.cache(1, 1).put(&fixture.digest, &Code::compiled(CODE.to_vec(), 0)).unwrap();
            fixture
        }

        fn cache(&self, key: u8, engine: u8) -> Cache {
            Cache::open(&self.dir, CacheKey::new([key; 32]), Compatibility([engine; 32])).unwrap()
        }

        fn path(&self, engine: u8) -> String {
            format!("{}/{}", hex::encode([engine; 32]), name(&self.digest))
        }

        fn edit(&self, edit: impl FnOnce(&mut Vec<u8>)) {
            let mut bytes = self.dir.read(self.path(1)).unwrap();
            edit(&mut bytes);
            self.dir.write(self.path(1), bytes).unwrap();
        }
    }

    #[test]
    fn gives_back_what_was_put() {
        let fixture = Fixture::new();
        let Found::Code(code) = fixture.cache(1, 1).get(&fixture.digest) else { panic!("no code") };
        assert_eq!(code.bytes(), CODE);
        let left = fixture.dir.read_dir(hex::encode([1; 32])).unwrap().count();
        assert_eq!(left, 1, "a temporary file was left behind");
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let length = HEADER_BYTES + CODE.len();
        for at in 0..length {
            let fixture = Fixture::new();
            fixture.edit(|bytes| bytes[at] ^= 1 << (at % 8));
            assert!(matches!(fixture.cache(1, 1).get(&fixture.digest), Found::Forged), "byte {at}");
        }
    }

    #[test]
    fn truncated_and_extended_files_are_not_believed() {
        for length in [0, 7, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + CODE.len() - 1] {
            let fixture = Fixture::new();
            fixture.edit(|bytes| bytes.truncate(length));
            assert!(matches!(fixture.cache(1, 1).get(&fixture.digest), Found::Forged), "{length}");
        }
        let fixture = Fixture::new();
        fixture.edit(|bytes| bytes.push(0));
        assert!(matches!(fixture.cache(1, 1).get(&fixture.digest), Found::Forged));
    }

    #[test]
    fn another_key_is_a_miss() {
        let fixture = Fixture::new();
        assert!(matches!(fixture.cache(2, 1).get(&fixture.digest), Found::Forged));
    }

    #[test]
    fn another_engine_is_a_miss_even_if_the_file_is_moved_there() {
        let fixture = Fixture::new();
        let other = fixture.cache(1, 2);
        assert!(matches!(other.get(&fixture.digest), Found::Nothing));
        fixture.dir.copy(fixture.path(1), &fixture.dir, fixture.path(2)).unwrap();
        assert!(matches!(other.get(&fixture.digest), Found::Forged));
    }

    #[test]
    fn another_components_code_is_not_believed() {
        let fixture = Fixture::new();
        let other = Digest::of(b"other");
        let folder = hex::encode([1; 32]);
        let to = format!("{folder}/{}", name(&other));
        fixture.dir.copy(fixture.path(1), &fixture.dir, to).unwrap();
        assert!(matches!(fixture.cache(1, 1).get(&other), Found::Forged));
    }
}
