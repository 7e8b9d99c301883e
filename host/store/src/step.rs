//! The steps on which durability rests, each of which a test can watch and make fail.
//!
//! A step and its failpoint are one call: who leaves out the one leaves out the other, and the tests that
//! write down every step of a commit, of a blob and of a new store fail. What a step does is said where it is
//! taken, not here.

use std::io;
use std::sync::Arc;

/// A step towards something durable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Step {
    // A commit, in this order.
    /// A row is read; as often as the commit asks for one.
    Read,
    /// The batch becomes visible.
    Apply,
    /// sled writes its log.
    Flush,
    /// The log reaches the disk.
    Sync,
    /// The mark is written, and reaches the disk.
    HighWater,

    // A new store, in this order.
    /// Its files and their names reach the disk.
    FreshSync,
    /// The first mark reaches the disk.
    MarkSync,
    /// The mark gets its name.
    MarkRename,
    /// sled's directory gets its name.
    FreshRename,

    // Every opening.
    /// The names in the data directory reach the disk.
    Directory,

    // A blob, in this order.
    /// Its bytes are written beside its place.
    BlobWrite,
    /// They reach the disk.
    BlobSync,
    /// It gets its name.
    BlobRename,
    /// The name reaches the disk.
    BlobDirectory,
}

/// Asked before each step; an error is taken as the step's own, and then the step is not taken.
pub(crate) type Failpoint = Arc<dyn Fn(Step) -> io::Result<()> + Send + Sync>;

/// Takes steps. Clones ask the same failpoint.
#[derive(Clone)]
pub(crate) struct Steps(Failpoint);

// === impl Steps ===

impl Steps {
    /// Asks this before each step.
    pub(crate) fn watched(failpoint: Failpoint) -> Self {
        Self(failpoint)
    }

    /// Takes a step, unless its failpoint fails it.
    pub(crate) fn take<T>(
        &self,
        step: Step,
        work: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        (self.0)(step)?;
        work()
    }
}

impl Default for Steps {
    /// Nothing is made to fail.
    fn default() -> Self {
        Self(Arc::new(|_| Ok(())))
    }
}
