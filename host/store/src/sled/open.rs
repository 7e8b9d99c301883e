//! Opening: nothing is served before all of it was read and found to be what was acknowledged.
//!
//! A store is made in `sled.new`, whole, and renamed; so a `sled` directory without a high-water
//! file, or with one that it does not reach, was tampered with or damaged. It is then renamed to
//! `sled.quarantined-<n>` and the start fails; later starts fail too, until an operator has put
//! something back or moved it away. Errors of the machine, such as a full disk or a missing permission,
//! leave everything where it is.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyway_core::transient;

use super::high_water::HighWater;
use super::manifest::{self, Manifest};
use super::writer::{OUTGROWN, Oversize, panic_text};
use super::{Options, frame};
use crate::backend::Row;
use crate::error::OpenError;
use crate::key::Key;
use crate::step::{Step, Steps};

/// Tries to get a lock that is held, and the pause between two: half a second, many times what a child
/// process takes from its fork to its program.
const LOCK_TRIES: u32 = 25;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A store that may be served.
pub(super) struct Opened {
    pub(super) lock: File,
    pub(super) db: ::sled::Db,
    pub(super) log: File,
    pub(super) oversize: Oversize,
    pub(super) high_water: HighWater,
    pub(super) manifest: Manifest,
}

/// Why sled's directory is not served.
enum Refusal {
    /// Its contents are not what was acknowledged.
    Damaged(String),
    /// A later version wrote it.
    Newer(u8),
    /// The machine failed, which says nothing about the contents.
    Machine(io::Error),
}

/// Names in the data directory.
const SLED: &str = "sled";
const SLED_NEW: &str = "sled.new";
const QUARANTINED: &str = "sled.quarantined-";
const HIGH_WATER: &str = "high-water";
const LOCK: &str = "lock";

/// Below sled's own, where it puts what outgrows a segment.
const OVERSIZE: &str = "blobs";

/// Opens the store in `dir`, or makes one if there never was one. The caller syncs `dir`.
pub(super) fn open(dir: &Path, options: &Options, steps: &Steps) -> Result<Opened, OpenError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| OpenError::io(path, error)
    };
    make(dir).map_err(at(dir))?;
    let lock = lock(dir)?;
    let (sled, marks) = (dir.join(SLED), dir.join(HIGH_WATER));
    if !sled.try_exists().map_err(at(&sled))? {
        never_was(dir, &marks)?;
        create(dir, &marks, options, steps)?;
    }
    let (mut high_water, mark) = match transient::retry(|| HighWater::open(&marks)) {
        Ok((file, Some(mark))) => (file, mark),
        Ok((_, None)) => return Err(quarantine(dir, "its high-water file is damaged")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(quarantine(dir, "its high-water file is missing"));
        }
        Err(error) => return Err(OpenError::io(marks, error)),
    };
    let (db, manifest) = match guarded(|| read(&sled, options, &mark)) {
        Ok(read) => read,
        Err(Refusal::Damaged(why)) => return Err(quarantine(dir, &why)),
        Err(Refusal::Newer(found)) => {
            return Err(OpenError::Newer { found, known: manifest::FORMAT });
        }
        Err(Refusal::Machine(error)) => return Err(OpenError::io(sled, error)),
    };
    // Commits that a crash kept from being answered are about to be seen: they must stay.
    let log = File::options().read(true).write(true).open(sled.join("db")).map_err(at(&sled))?;
    db.flush().map_err(io::Error::other).map_err(at(&sled))?;
    log.sync_all().map_err(at(&sled))?;
    high_water.write(&manifest).map_err(at(&marks))?;
    let oversize = Oversize::open(&sled.join(OVERSIZE)).map_err(at(&sled))?;
    Ok(Opened { lock, db, log, oversize, high_water, manifest })
}

/// Makes the data directory, if it is not there, and its name durable.
fn make(dir: &Path) -> io::Result<()> {
    let missing: Vec<_> = dir.ancestors().take_while(|path| !path.exists()).collect();
    fs::create_dir_all(dir)?;
    for parent in missing.into_iter().filter_map(Path::parent) {
        let here = parent.as_os_str().is_empty();
        File::open(if here { Path::new(".") } else { parent })?.sync_all()?;
    }
    Ok(())
}

/// Keeps other processes out. The system drops the lock with the process, so none is ever stale.
fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join(LOCK);
    let at = |error| OpenError::io(path.clone(), error);
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(at)?;
    match patiently(|| file.try_lock(), |error| matches!(error, fs::TryLockError::WouldBlock)) {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Only a help for whoever reads the message.
            drop(file.read_to_string(&mut holder));
            return Err(OpenError::InUse {
                path: dir.to_owned(),
                holder: holder.trim().to_owned(),
            });
        }
        Err(fs::TryLockError::Error(error)) => return Err(at(error)),
    }
    file.set_len(0).map_err(at)?;
    file.rewind().map_err(at)?;
    writeln!(file, "process {}", std::process::id()).map_err(at)?;
    Ok(file)
}

/// Refuses to start over where a store has been.
fn never_was(dir: &Path, marks: &Path) -> Result<(), OpenError> {
    if let Some(path) = quarantined(dir, |path| path.exists()).last() {
        let why = "an earlier start did; put a backup in its place, or move it away to begin anew";
        return Err(OpenError::Quarantined { path: path.clone(), why: why.to_owned() });
    }
    let missing = |why: &str| OpenError::Missing { path: dir.to_owned(), why: why.to_owned() };
    match HighWater::open(marks) {
        Ok((_, Some(mark))) if mark.seq == 0 => Ok(()),
        Ok((_, Some(mark))) => {
            Err(missing(&format!("its high-water file has seen {} commits", mark.seq)))
        }
        Ok((_, None)) => Err(missing("it has a high-water file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(OpenError::io(marks, error)),
    }
}

/// Makes an empty store. It is there once it has its name, and complete by then.
fn create(dir: &Path, marks: &Path, options: &Options, steps: &Steps) -> Result<(), OpenError> {
    let fresh = dir.join(SLED_NEW);
    let sync = || {
        for entry in fs::read_dir(&fresh)? {
            File::open(entry?.path())?.sync_all()?;
        }
        File::open(&fresh)?.sync_all()
    };
    let made = || -> io::Result<()> {
        if fresh.try_exists()? {
            fs::remove_dir_all(&fresh)?;
        }
        let manifest = Manifest::new(rand::random());
        let db = config(&fresh, options).open()?;
        let (key, row) = (Manifest::key(), Row { revision: 0, value: manifest.encode().into() });
        db.insert(key.as_bytes(), frame::encode(&key, &row))?;
        db.flush()?;
        // Waits for sled's own threads; then its files are only ours.
        drop(db);
        steps.take(Step::FreshSync, sync)?;
        HighWater::create(marks, &manifest, steps)?;
        steps.take(Step::FreshRename, || fs::rename(&fresh, dir.join(SLED)))
    };
    made().map_err(|error| OpenError::io(fresh.clone(), error))
}

/// Opens sled and compares everything in it with what it should be.
fn read(
    path: &Path,
    options: &Options,
    mark: &Manifest,
) -> Result<(::sled::Db, Manifest), Refusal> {
    remove_half_snapshots(path).map_err(Refusal::Machine)?;
    let held = |error: &::sled::Error| error.to_string().contains("could not acquire lock");
    let db = patiently(|| config(path, options).open(), held)?;
    let mut oversize = Oversize::open(&path.join(OVERSIZE)).map_err(Refusal::Machine)?;
    if oversize.is_used().map_err(Refusal::Machine)? {
        return Err(Refusal::Damaged(OUTGROWN.to_owned()));
    }
    let found = verify(&db, mark)?;
    Ok((db, found))
}

/// Removes snapshots whose writing a crash cut off. sled writes one as `snap.….generating` and renames
/// it, but when it looks for the newest it leaves out another suffix, takes the half for the whole, and
/// refuses a healthy store. What is not renamed was never relied on.
fn remove_half_snapshots(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if path.extension().is_some_and(|suffix| suffix == "generating") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// The manifest, if the rows amount to it and it reaches the mark.
fn verify(db: &::sled::Db, mark: &Manifest) -> Result<Manifest, Refusal> {
    let damaged = |why: String| Err(Refusal::Damaged(why));
    let key = Manifest::key();
    let Some(value) = db.get(key.as_bytes())? else {
        return damaged("its manifest is missing".to_owned());
    };
    let row = frame::decode(&key, &value)?;
    let manifest = Manifest::decode(&row.value)?;
    if manifest.format > manifest::FORMAT {
        return Err(Refusal::Newer(manifest.format));
    }
    let mut sum = Manifest { rows: 0, sum: 0, ..manifest.clone() };
    for found in db.iter() {
        let (bytes, value) = found?;
        let found = Key::from_bytes(&bytes);
        if found != key {
            sum.add(&found, &frame::decode(&found, &value)?);
        }
    }
    if sum != manifest {
        let Manifest { rows, seq, .. } = manifest;
        return damaged(format!("{} rows instead of {rows} at commit {seq}, or others", sum.rows));
    }
    if manifest.id != mark.id {
        return damaged("it belongs to another high-water file".to_owned());
    }
    if manifest.seq < mark.seq {
        let (seq, marked) = (manifest.seq, mark.seq);
        return damaged(format!("it went back to commit {seq}, {marked} was acknowledged"));
    }
    if manifest.seq == mark.seq && manifest != *mark {
        return damaged(format!("its commit {} is another one", mark.seq));
    }
    Ok(manifest)
}

/// Takes a panic, which is how sled answers some damage, for what it is. It also panics where the machine gives it no
/// thread, and then the text has the machine's own number.
fn guarded<T>(read: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        let text = panic_text(panic.as_ref());
        Err(match number_in(&text).filter(transient::is) {
            Some(_) => Refusal::Machine(io::Error::other(text)),
            None => Refusal::Damaged(text),
        })
    })
}

/// The error of the system that a panic is about, as `unwrap` of one shows it.
fn number_in(panic: &str) -> Option<io::Error> {
    let (_, rest) = panic.split_once("Os { code: ")?;
    let (number, _) = rest.split_once(',')?;
    Some(io::Error::from_raw_os_error(number.parse().ok()?))
}

/// Whether the machine failed, and not what a read says of a file that is shorter or other than sled left it.
pub(super) fn of_the_machine(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    !matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}

/// Sets sled's directory aside under a name of its own.
fn quarantine(dir: &Path, why: &str) -> OpenError {
    let Some(path) = quarantined(dir, |path| !path.exists()).next() else {
        return OpenError::io(dir, io::Error::other("no name is left to set the store aside"));
    };
    let moved = fs::rename(dir.join(SLED), &path).and_then(|()| File::open(dir)?.sync_all());
    if let Err(error) = moved {
        return OpenError::io(path, error);
    }
    tracing::error!(path = %path.display(), why, "store set aside; it is not served");
    OpenError::Quarantined { path, why: why.to_owned() }
}

/// Names for what is set aside, as far as `fits` says in a row.
fn quarantined(dir: &Path, fits: impl Fn(&Path) -> bool) -> impl Iterator<Item = PathBuf> {
    let names = (1..=u16::MAX).map(|n| dir.join(format!("{QUARANTINED}{n}")));
    names.filter(move |path| fits(path))
}

/// Tries again for a moment while a lock is held. A lock lasts as long as any process has the file open,
/// and that is also one that was forked from its holder and has not become another program yet.
fn patiently<T, E>(
    mut attempt: impl FnMut() -> Result<T, E>,
    held: impl Fn(&E) -> bool,
) -> Result<T, E> {
    for _ in 0..LOCK_TRIES {
        match attempt() {
            Err(error) if held(&error) => std::thread::sleep(LOCK_PAUSE),
            outcome => return outcome,
        }
    }
    attempt()
}

fn config(path: &Path, options: &Options) -> ::sled::Config {
    ::sled::Config::default()
        .path(path)
        .cache_capacity(options.cache_bytes_max)
        // A safety net only: every commit flushes.
        .flush_every_ms(Some(500))
        .use_compression(false)
}

// === impl Refusal ===

impl From<::sled::Error> for Refusal {
    fn from(error: ::sled::Error) -> Self {
        match error {
            ::sled::Error::Io(error) if of_the_machine(&error) => Self::Machine(error),
            error => Self::Damaged(error.to_string()),
        }
    }
}

/// What frames and manifests are found to be. They are bytes by then, so the machine has no part in it.
impl From<crate::Error> for Refusal {
    fn from(error: crate::Error) -> Self {
        Self::Damaged(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_for_want_of_a_thread_is_no_damage() {
        let refused = |errno: rustix::io::Errno| -> io::Result<u8> { Err(errno.into()) };
        let panics = |errno| guarded(|| Ok(refused(errno).expect("a thread")));
        assert!(matches!(panics(rustix::io::Errno::AGAIN), Err(Refusal::Machine(_))));
        assert!(matches!(panics(rustix::io::Errno::MFILE), Err(Refusal::Machine(_))));
        assert!(matches!(panics(rustix::io::Errno::IO), Err(Refusal::Damaged(_))));
        let other = guarded::<()>(|| panic!("index out of bounds"));
        assert!(matches!(other, Err(Refusal::Damaged(_))));
    }
}
