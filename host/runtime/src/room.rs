//! Room: the memory that guests hold at once, of all tenants together and of each.
//!
//! One call has a limit of its own. A tenant may have 125 calls under way, and that many times 128 MiB is more than most
//! machines have: one connector that fills its memory would end the host for everybody. So what a guest grows by is taken
//! from two counts, and growth that finds no room is refused, as WebAssembly lets any growth be refused. A guest that ends
//! for want of it is `overloaded`, and may be called again ([`crate::verdict`]).
//!
//! The first [`FREE`] bytes of each call are not counted, so that most calls never come here. Nothing here waits: memory that
//! is waited for while memory is held is a deadlock.

use std::fs;
use std::path::{Path, PathBuf};

use keyway_core::shares::{Full, Share, Shares};
use rustix::process::{Resource, getrlimit};

use crate::limits::Pool;
use crate::turns::Payer;

/// Bytes of each call that are not counted: a Rust connector's whole memory. A thousand calls have 2 GiB like this at most.
pub(crate) const FREE: usize = 2 << 20;
/// The part of what this process may use that guests may have, unless a limit is set: the rest is for compiled code, answers
/// under way, the store and the system.
const MACHINE_PART: usize = 2;
/// The part of all of it that one tenant may have, unless a limit is set.
const TENANT_PART: usize = 4;
/// What is taken for the machine's memory where the system does not tell: 4 GiB.
const UNKNOWN: usize = 4 << 30;

/// The memory of all guests. Clones are the same.
#[derive(Clone)]
pub(crate) struct Room {
    bytes_max: usize,
    tenant_bytes_max: usize,
    taken: Shares<Payer>,
}

/// What one call has of it. Dropped, it is given back.
pub(crate) struct Held {
    room: Room,
    payer: Payer,
    /// Of most calls nothing.
    share: Option<Share<Payer>>,
}

// === impl Room ===

impl Room {
    /// As the limits say. Reads what the machine has where they leave it open.
    pub(crate) fn new(limits: &Pool) -> Self {
        let bytes_max = limits.memory_bytes_max.unwrap_or_else(|| usable() / MACHINE_PART);
        let tenant_bytes_max = limits.tenant_memory_bytes_max.unwrap_or(bytes_max / TENANT_PART);
        Self { bytes_max, tenant_bytes_max, taken: Shares::new(bytes_max, tenant_bytes_max) }
    }

    /// For one call of this tenant.
    pub(crate) fn held(&self, payer: Payer) -> Held {
        Held { room: self.clone(), payer, share: None }
    }

    /// Bytes that are counted now.
    pub(crate) fn bytes(&self) -> usize {
        self.taken.taken()
    }
}

// === impl Held ===

impl Held {
    /// The call's memories now want so many bytes in all. They never shrink.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        let counted = bytes.saturating_sub(FREE);
        match &mut self.share {
            Some(share) => share.grow(counted.saturating_sub(share.amount())),
            None if counted == 0 => Ok(()),
            None => {
                self.share = Some(self.room.taken.take(&self.payer, counted)?);
                Ok(())
            }
        }
    }

    /// Why there was no more, in words.
    pub(crate) fn told(&self, full: Full) -> String {
        match full {
            Full::Own => {
                format!("the tenant's calls hold {} bytes of memory", self.room.tenant_bytes_max)
            }
            Full::All => format!("all calls together hold {} bytes of memory", self.room.bytes_max),
        }
    }
}

/// Bytes of memory that this process may use: what the machine has, its control group, and its limit on data.
fn usable() -> usize {
    let text = |path: &Path| fs::read_to_string(path).ok();
    let groups = text(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let of_groups = group_files(&groups).filter_map(|path| text(&path)?.trim().parse().ok());
    let of_machine = text(Path::new("/proc/meminfo")).and_then(|text| total(&text));
    let of_process = getrlimit(Resource::Data).current.and_then(|bytes| bytes.try_into().ok());
    of_groups.chain(of_machine).chain(of_process).min().unwrap_or(UNKNOWN)
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn total(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1 << 10)
}

/// Where limits on memory are written, of these groups (the lines of `/proc/self/cgroup`, both versions) and of all above
/// them. In a container the group's own path may not be there, and the root is the container's.
fn group_files(groups: &str) -> impl Iterator<Item = PathBuf> {
    groups.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (root, file) = match fields.next() {
            Some("") => ("/sys/fs/cgroup", "memory.max"),
            Some("memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => return Vec::new(),
        };
        let group = fields.next().unwrap_or_default().trim_start_matches('/');
        let above = Path::new(group).ancestors();
        above.map(|group| Path::new(root).join(group).join(file)).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn payer(tenant: &str) -> Payer {
        ("dev".parse().unwrap(), tenant.parse().unwrap())
    }

    fn room(all: usize, tenant: usize) -> Room {
        Room::new(&Pool {
            memory_bytes_max: Some(all * MIB),
            tenant_memory_bytes_max: Some(tenant * MIB),
            ..Pool::default()
        })
    }

    #[test]
    fn one_tenant_cannot_take_what_is_left_for_others() {
        let room = room(40, 20);
        let (mut first, mut second) = (room.held(payer("a")), room.held(payer("a")));
        assert_eq!(first.grow(FREE + 15 * MIB), Ok(()));
        assert_eq!(second.grow(FREE + 6 * MIB), Err(Full::Own));
        assert_eq!(second.grow(FREE + 5 * MIB), Ok(()));
        // What is had already is not taken again.
        assert_eq!(second.grow(FREE + 5 * MIB), Ok(()));
        let mut other = room.held(payer("b"));
        assert_eq!(other.grow(FREE + 20 * MIB), Ok(()));
        let mut third = room.held(payer("c"));
        assert_eq!(third.grow(FREE + 1), Err(Full::All));
        drop(first);
        assert_eq!(third.grow(FREE + 15 * MIB), Ok(()));
        assert_eq!(room.bytes(), 40 * MIB);
    }

    #[test]
    fn what_every_call_may_have_is_not_counted() {
        let room = room(0, 0);
        let mut held = room.held(payer("a"));
        assert_eq!((held.grow(FREE), room.bytes()), (Ok(()), 0));
        assert_eq!(held.grow(FREE + 1), Err(Full::All));
    }

    #[test]
    fn idle_tenants_are_forgotten() {
        let room = room(400, 400);
        for tenant in 0..100 {
            room.held(payer(&format!("t{tenant}"))).grow(FREE + MIB).unwrap();
        }
        assert_eq!((room.bytes(), room.taken.takers()), (0, 0));
    }

    #[test]
    fn limits_of_both_kinds_of_groups_are_found() {
        let files = |groups: &str| {
            let paths = group_files(groups).map(|path| path.to_str().unwrap().to_owned());
            paths.collect::<Vec<_>>()
        };
        assert_eq!(
            files("0::/kubepods/pod1\n"),
            [
                "/sys/fs/cgroup/kubepods/pod1/memory.max",
                "/sys/fs/cgroup/kubepods/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
        assert_eq!(
            files("5:cpu:/x\n4:memory:/x\n"),
            [
                "/sys/fs/cgroup/memory/x/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            ]
        );
        assert_eq!(files("nonsense"), Vec::<String>::new());
    }

    #[test]
    fn the_machines_memory_is_read() {
        assert_eq!(total("MemTotal:       24576000 kB\nMemFree: 1 kB\n"), Some(24_576_000 << 10));
        assert_eq!(total("nothing"), None);
        assert!(usable() > 64 * MIB);
    }
}
