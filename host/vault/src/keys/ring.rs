//! The local key ring: sealing keys in a file that only the host's user may read, or in the host's environment.
//!
//! Both have the same text: entries `current NAME KEY` or `older NAME KEY`, a line each, the key 32 bytes in base64.
//! One is current. Commas may stand for line ends, for environments that take one line only. `#` begins a comment line.
//!
//! A ring of the environment is fixed: whoever starts the host puts a new key there, and the host wraps its data
//! keys anew at the next start. A ring in a file makes its new keys itself. Neither ever drops a key: that is for
//! whoever knows the backups.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use zeroize::Zeroizing;

use crate::key::{KEY_BYTES, SecretKey};
use crate::keys::service::{KeyService, Known, KnownKey, SealingKeyId, ServiceError, Wrapped};
use crate::private_file::{self, PrivateFileError};

/// What a new file begins with.
const HEADER: &str = "\
# Keyway's sealing keys: whoever has them and the store can read every credential. Keep a copy of this file apart
# from the copies of the store. Without it no credential can be opened again.
# A line is `current NAME KEY` or `older NAME KEY`. `keyway keys` says which older ones still have data keys.
";

const CURRENT: &str = "current";
const OLDER: &str = "older";

/// Bytes of a key in base64.
const TEXT_BYTES: usize = KEY_BYTES.div_ceil(3) * 4;

/// Sealing keys that this host holds itself.
pub struct KeyRing {
    ring: RwLock<Ring>,
    /// None for a ring that this host cannot change.
    file: Option<PathBuf>,
}

#[derive(Clone)]
struct Ring {
    /// The current one is the first.
    keys: Vec<(SealingKeyId, Arc<SecretKey>)>,
}

/// Why there is no ring. Never says what a line holds.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The file cannot be read or written, or others may read it.
    #[error("the file with the sealing keys")]
    File(#[from] PrivateFileError),
    /// The file was there when the host was started, and is gone.
    #[error("the file {path} with the sealing keys is gone")]
    Missing {
        /// Which file.
        path: PathBuf,
    },
    /// An entry is not of the form.
    #[error("entry {entry} of the sealing keys is not `current NAME KEY` or `older NAME KEY`")]
    Entry {
        /// Counted from 1, comments and empty lines included.
        entry: usize,
    },
    /// A key is not 32 bytes in base64.
    #[error("the key in entry {entry} of the sealing keys is not {KEY_BYTES} bytes in base64")]
    Key {
        /// Counted from 1, comments and empty lines included.
        entry: usize,
    },
    /// Two entries have one name.
    #[error("two sealing keys are called {id}")]
    Twice {
        /// The name.
        id: SealingKeyId,
    },
    /// None of the keys, or more than one, is current.
    #[error("{current} of the sealing keys are current; exactly one must be")]
    Current {
        /// How many.
        current: usize,
    },
    /// Not text.
    #[error("the sealing keys are not text")]
    Text,
    /// The operating system gave no random bytes.
    #[error("no random bytes for a sealing key")]
    Random,
}

// === impl KeyRing ===

impl KeyRing {
    /// A ring that stays as it is.
    pub fn parse(text: &str) -> Result<Self, RingError> {
        Ok(Self { ring: RwLock::new(Ring::parse(text)?), file: None })
    }

    /// The ring of a file; none if there is no such file.
    pub fn load(path: &Path) -> Result<Option<Self>, RingError> {
        let ring = Ring::load(path)?;
        Ok(ring.map(|ring| Self { ring: RwLock::new(ring), file: Some(path.to_owned()) }))
    }

    /// Makes a ring of one key and its file, durably. Only for a host that has sealed nothing yet: whatever was
    /// sealed under keys that are gone is lost.
    pub fn create(path: &Path) -> Result<Self, RingError> {
        let ring = Ring { keys: vec![generate()?] };
        private_file::write(path, ring.text().as_bytes())?;
        Ok(Self { ring: RwLock::new(ring), file: Some(path.to_owned()) })
    }

    fn ring(&self) -> Ring {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl KeyService for KeyRing {
    fn kind(&self) -> &'static str {
        if self.file.is_some() { "file" } else { "environment" }
    }

    async fn known(&self) -> Result<Known, ServiceError> {
        let ring = self.ring();
        let known = |(id, key): &(SealingKeyId, Arc<SecretKey>)| KnownKey {
            id: id.clone(),
            check: Some(key.check_value(id.as_str().as_bytes())),
        };
        let (current, _) = ring.current();
        Ok(Known { current: current.clone(), keys: ring.keys.iter().map(known).collect() })
    }

    async fn wrap(&self, key: &SecretKey, context: &[u8]) -> Result<Wrapped, ServiceError> {
        let ring = self.ring();
        let (id, sealing) = ring.current();
        Ok(Wrapped { sealing_key: id.clone(), bytes: sealing.seal(context, key.expose())? })
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &[u8]) -> Result<SecretKey, ServiceError> {
        let Wrapped { sealing_key: id, bytes } = wrapped;
        let ring = self.ring();
        let found = ring.keys.iter().find(|(known, _)| known == id);
        let (_, sealing) = found.ok_or_else(|| ServiceError::Unknown { id: id.clone() })?;
        let plain = sealing.open(context, bytes)?;
        SecretKey::from_bytes(&plain).ok_or(ServiceError::Authentication)
    }

    async fn rotate(&self) -> Result<SealingKeyId, ServiceError> {
        let file = self.file.clone().ok_or(ServiceError::Fixed)?;
        let known = self.ring();
        let next = tokio::task::spawn_blocking(move || rotated(&file, known));
        let next = next.await.map_err(ServiceError::unavailable)??;
        let (id, _) = next.current();
        let id = id.clone();
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(id)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self.ring().keys.into_iter().map(|(id, _)| id).collect();
        f.debug_struct("KeyRing").field("file", &self.file).field("keys", &ids).finish()
    }
}

/// The ring in the file with one more key, written back. The file is read anew: somebody may have taken old keys out
/// since the host was started. Until it ends the host still knows those, and can wrap anew what they wrapped.
fn rotated(file: &Path, known: Ring) -> Result<Ring, RingError> {
    let ring = Ring::load(file)?;
    let mut ring = ring.ok_or_else(|| RingError::Missing { path: file.to_owned() })?;
    ring.keys.insert(0, generate()?);
    private_file::write(file, ring.text().as_bytes())?;
    let kept: Vec<_> = known.keys.into_iter().filter(|(id, _)| !ring.has(id)).collect();
    ring.keys.extend(kept);
    Ok(ring)
}

/// A new key with a name of its own.
fn generate() -> Result<(SealingKeyId, Arc<SecretKey>), RingError> {
    let mut name = [0; 8];
    OsRng.try_fill_bytes(&mut name).map_err(|_| RingError::Random)?;
    let id = format!("k-{}", hex::encode(name));
    let key = SecretKey::generate().map_err(|_| RingError::Random)?;
    Ok((id.parse().expect("a letter, a hyphen and digits"), Arc::new(key)))
}

// === impl Ring ===

impl Ring {
    fn load(path: &Path) -> Result<Option<Self>, RingError> {
        let Some(bytes) = private_file::read(path)? else { return Ok(None) };
        let text = std::str::from_utf8(&bytes).map_err(|_| RingError::Text)?;
        Self::parse(text).map(Some)
    }

    fn parse(text: &str) -> Result<Self, RingError> {
        let mut ring = Self { keys: Vec::new() };
        let mut current = 0;
        // A comment ends with its line, whatever is in it.
        let entries = text.lines().flat_map(|line| {
            let pieces = if line.trim_start().starts_with('#') { 1 } else { usize::MAX };
            line.splitn(pieces, ',')
        });
        for (entry, text) in (1..).zip(entries.map(str::trim)) {
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let (is_current, id, key) = parse_entry(entry, text)?;
            if ring.has(&id) {
                return Err(RingError::Twice { id });
            }
            current += usize::from(is_current);
            let at = if is_current { 0 } else { ring.keys.len() };
            ring.keys.insert(at, (id, Arc::new(key)));
        }
        if current == 1 { Ok(ring) } else { Err(RingError::Current { current }) }
    }

    fn has(&self, id: &SealingKeyId) -> bool {
        self.keys.iter().any(|(known, _)| known == id)
    }

    fn current(&self) -> (&SealingKeyId, &SecretKey) {
        let (id, key) = self.keys.first().expect("a ring has a current key from its making on");
        (id, key)
    }

    fn text(&self) -> Zeroizing<String> {
        // Sized up front: a buffer that grew would leave copies of the keys behind.
        let entry =
            |(id, _): &(SealingKeyId, _)| CURRENT.len() + id.as_str().len() + TEXT_BYTES + 3;
        let bytes = HEADER.len() + self.keys.iter().map(entry).sum::<usize>();
        let mut text = Zeroizing::new(String::with_capacity(bytes));
        text.push_str(HEADER);
        for (at, (id, key)) in self.keys.iter().enumerate() {
            text.push_str(if at == 0 { CURRENT } else { OLDER });
            text.push(' ');
            text.push_str(id.as_str());
            text.push(' ');
            STANDARD.encode_string(key.expose(), &mut text);
            text.push('\n');
        }
        text
    }
}

fn parse_entry(entry: usize, text: &str) -> Result<(bool, SealingKeyId, SecretKey), RingError> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [mark @ (CURRENT | OLDER), id, key] = words[..] else {
        return Err(RingError::Entry { entry });
    };
    let id = id.parse().map_err(|_| RingError::Entry { entry })?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_BYTES.next_multiple_of(3)));
    let decoded = STANDARD.decode_vec(key, &mut bytes);
    let key = decoded.ok().and_then(|()| SecretKey::from_bytes(&bytes));
    Ok((mark == CURRENT, id, key.ok_or(RingError::Key { entry })?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// 32 bytes of one value in base64.
    fn text(byte: u8) -> String {
        STANDARD.encode([byte; KEY_BYTES])
    }

    async fn ids(ring: &KeyRing) -> Vec<String> {
        let known = ring.known().await.unwrap();
        assert_eq!(known.current, known.keys[0].id);
        known.keys.iter().map(|key| key.id.to_string()).collect()
    }

    #[tokio::test]
    async fn lines_and_commas_are_the_same_text() {
        let lines = format!("# a, b\n\nolder a {}\n  current  b  {}\n", text(1), text(2));
        let line = format!("older a {},current b {}", text(1), text(2));
        let crlf = lines.replace('\n', "\r\n");
        for text in [lines, line, crlf] {
            let ring = KeyRing::parse(&text).unwrap();
            assert_eq!(ids(&ring).await, ["b", "a"]);
            let wrapped = ring.wrap(&SecretKey::from_bytes(&[9; 32]).unwrap(), b"x").await.unwrap();
            assert_eq!(wrapped.sealing_key.as_str(), "b");
        }
    }

    #[test]
    fn what_is_no_ring_is_refused_without_saying_what_it_holds() {
        let (one, two) = (text(0xab), text(0xcd));
        let bad = [
            String::new(),
            format!("older a {one}"),
            format!("current a {one}\ncurrent b {two}"),
            format!("current a {one}\nolder a {two}"),
            format!("current a {}", &one[..40]),
            format!("current a {one}{two}"),
            format!("current a {}", one.replace('r', "!")),
            format!("newest a {one}"),
            format!("current {one}"),
            format!("current -a {one}"),
            format!("current a {one} more"),
            one.clone(),
        ];
        for text in bad {
            let error = KeyRing::parse(&text).unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(!said.contains(&one[..8]) && !said.contains(&two[..8]), "{said}");
        }
    }

    #[tokio::test]
    async fn a_file_is_made_once_private_and_grows_by_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sealing.keys");
        assert!(KeyRing::load(&path).unwrap().is_none());
        let made = KeyRing::create(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let key = SecretKey::from_bytes(&[9; 32]).unwrap();
        let wrapped = made.wrap(&key, b"x").await.unwrap();
        let first = ids(&made).await;

        let second = made.rotate().await.unwrap();
        let read = KeyRing::load(&path).unwrap().unwrap();
        for ring in [&made, &read] {
            assert_eq!(ids(ring).await, [second.to_string(), first[0].clone()]);
            assert_eq!(ring.unwrap(&wrapped, b"x").await.unwrap().expose(), &[9; 32]);
            let anew = ring.rewrap(&wrapped, b"x").await.unwrap();
            assert_eq!(anew.sealing_key, second);
        }
        assert_eq!(made.ring().text(), read.ring().text());
    }

    /// Fails if rotation writes back what is in memory instead of what is in the file.
    #[tokio::test]
    async fn what_was_taken_out_of_the_file_stays_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sealing.keys");
        let ring = KeyRing::create(&path).unwrap();
        let first = ids(&ring).await[0].clone();
        ring.rotate().await.unwrap();
        let kept: String = std::fs::read_to_string(&path)
            .unwrap()
            .lines()
            .filter(|line| !line.contains(&first))
            .flat_map(|line| [line, "\n"])
            .collect();
        private_file::write(&path, kept.as_bytes()).unwrap();
        ring.rotate().await.unwrap();
        let read = ids(&KeyRing::load(&path).unwrap().unwrap()).await;
        assert!(read.len() == 2 && !read.contains(&first), "{read:?}");
        assert!(ids(&ring).await.contains(&first), "what it wrapped must still be unwrapped");

        std::fs::remove_file(&path).unwrap();
        let error = ring.rotate().await.unwrap_err();
        assert!(matches!(error, ServiceError::Ring(_)), "{error:?}");
        assert!(!path.exists(), "a ring without the older keys would hide that they are lost");
    }

    #[tokio::test]
    async fn a_given_ring_cannot_be_rotated() {
        let ring = KeyRing::parse(&format!("current a {}", text(1))).unwrap();
        assert!(matches!(ring.rotate().await, Err(ServiceError::Fixed)));
        assert_eq!(ids(&ring).await, ["a"]);
    }

    #[tokio::test]
    async fn what_is_unwrapped_was_wrapped_by_a_known_key_for_the_same_place() {
        let ring = KeyRing::parse(&format!("current a {},older b {}", text(1), text(2))).unwrap();
        let wrapped = ring.wrap(&SecretKey::from_bytes(&[9; 32]).unwrap(), b"x").await.unwrap();
        assert!(matches!(ring.unwrap(&wrapped, b"y").await, Err(ServiceError::Authentication)));
        let other = Wrapped { sealing_key: "b".parse().unwrap(), ..wrapped.clone() };
        assert!(matches!(ring.unwrap(&other, b"x").await, Err(ServiceError::Authentication)));
        let none = Wrapped { sealing_key: "c".parse().unwrap(), ..wrapped };
        let error = ring.unwrap(&none, b"x").await.unwrap_err();
        assert_eq!(error.to_string(), "sealing key c is missing");
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sealing.keys");
        KeyRing::create(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        assert!(matches!(KeyRing::load(&path), Err(RingError::File(_))));
    }
}
