//! Errors of the machine that pass by themselves: no descriptor free, no memory for a moment, a signal in between.
//!
//! They say nothing of the disk and nothing of what is on it. Whoever works with files asks here before it calls a
//! file damaged, a disk failed, or an entry absent.

use std::io;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

/// Tries of one piece of work, and the pauses between them: half a second in all. A descriptor comes back when any
/// connection ends; what takes longer is for the caller of the caller to try again.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(128);

/// Errors without a kind of their own in the standard library (POSIX.1-2017, `errno.h`): the process, or the system,
/// has as many files open as it may; no room in the network's buffers.
const WITHOUT_KIND: [Errno; 3] = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS];

/// Whether an error is one that passes.
pub fn is(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, OutOfMemory, WouldBlock};
    let code = error.raw_os_error();
    let named = WITHOUT_KIND.iter().any(|errno| code == Some(errno.raw_os_error()));
    named || matches!(error.kind(), Interrupted | OutOfMemory | WouldBlock)
}

/// Does what may be done again, and does it again for half a second while it fails in a way that passes. Blocks the
/// thread in between.
pub fn retry<T>(work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    retry_while(work, is)
}

/// As [`retry`], for errors of another type: `passes` says which of them pass.
pub fn retry_while<T, E>(
    mut work: impl FnMut() -> Result<T, E>,
    passes: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let mut pause = PAUSE;
    for _ in 1..TRIES {
        match work() {
            Err(error) if passes(&error) => thread::sleep(pause),
            outcome => return outcome,
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
    work()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.raw_os_error())
    }

    #[test]
    fn what_passes_is_told_from_what_a_disk_says() {
        for errno in
            [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR, Errno::AGAIN, Errno::NOBUFS]
        {
            assert!(is(&of(errno)), "{errno:?}");
        }
        for errno in
            [Errno::IO, Errno::NOSPC, Errno::ROFS, Errno::NOENT, Errno::ACCESS, Errno::DQUOT]
        {
            assert!(!is(&of(errno)), "{errno:?}");
        }
        assert!(!is(&io::Error::other("something else")));
    }

    #[test]
    fn work_is_done_again_until_it_passes_and_no_longer_than_it_may() {
        let mut tries = 0;
        let done = retry(|| {
            tries += 1;
            if tries < TRIES { Err(of(Errno::MFILE)) } else { Ok(tries) }
        });
        assert_eq!(done.unwrap(), TRIES);

        let mut tries = 0;
        let failed = retry::<()>(|| {
            tries += 1;
            Err(of(Errno::MFILE))
        });
        assert_eq!(tries, TRIES);
        assert!(is(&failed.unwrap_err()), "and it says what stood in the way");

        let mut tries = 0;
        let failed = retry::<()>(|| {
            tries += 1;
            Err(of(Errno::IO))
        });
        assert_eq!((tries, failed.unwrap_err().raw_os_error()), (1, of(Errno::IO).raw_os_error()));
    }
}
