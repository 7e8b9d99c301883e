//! The process's memory: which allocator, and what it gives back to the system.
//!
//! The C library's allocator takes a lock and often a futex when one thread frees what another made, which is what
//! every call does. The one here keeps freed memory for a while, because most of it is wanted again at once; what a
//! start needs to read and check a store is not.

use libmimalloc_sys::{mi_collect, mi_option_get, mi_option_set, mi_option_t};
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// `mi_option_purge_delay`, for which the bindings have no name: milliseconds that freed memory is kept.
const PURGE_DELAY: mi_option_t = 15;

/// While it lives, freed memory goes back to the system at once, whichever thread frees it. Slower, and for a start.
pub(crate) struct Frugal {
    delay: std::ffi::c_long,
}

// === impl Frugal ===

impl Frugal {
    #[expect(unsafe_code, reason = "the allocator is a C library")]
    pub(crate) fn begin() -> Self {
        // SAFETY: options are atomics, and this is one that may be changed at any time.
        unsafe {
            let delay = mi_option_get(PURGE_DELAY);
            mi_option_set(PURGE_DELAY, 0);
            Self { delay }
        }
    }
}

impl Drop for Frugal {
    #[expect(unsafe_code, reason = "the allocator is a C library")]
    fn drop(&mut self) {
        // SAFETY: as above; collecting may be called from any thread at any time, and touches no memory in use.
        unsafe {
            mi_collect(true);
            mi_option_set(PURGE_DELAY, self.delay);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "the allocator is a C library")]
    fn the_number_is_that_of_the_option() {
        // SAFETY: see above.
        let delay = || unsafe { mi_option_get(PURGE_DELAY) };
        // The default, of which no neighbouring option has the like.
        assert_eq!(delay(), 1_000);
        let frugal = Frugal::begin();
        assert_eq!(delay(), 0);
        drop(frugal);
        assert_eq!(delay(), 1_000);
    }
}
