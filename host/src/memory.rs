//! The process's memory: which allocator, and what it gives back to the system.
//!
//! The C library's allocator takes a lock and often a futex when one thread frees what another made, which is what
//! every call does. The one here keeps freed memory for a while, because most of it is wanted again at once; what a
//! start needs to read and check a store is not.

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys::{
    mi_collect, mi_free, mi_malloc, mi_malloc_aligned, mi_option_get, mi_option_set, mi_option_t,
    mi_realloc, mi_realloc_aligned, mi_zalloc, mi_zalloc_aligned,
};

/// The allocator, asked for an alignment only where it would not give it anyway: asked for one, it takes twice as many
/// instructions for a small block, and pads a large one.
struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// Alignment in bytes of every block of at least as many bytes, as C's `malloc` has it (`MI_MAX_ALIGN_SIZE`).
const ALIGNED: usize = 16;

/// Alignment in bytes of every block: a block that is too small for [`ALIGNED`] is one word.
const ALIGNED_SMALL: usize = 8;

/// `mi_option_purge_delay`, for which the bindings have no name: milliseconds that freed memory is kept.
const PURGE_DELAY: mi_option_t = 15;

/// While it lives, freed memory goes back to the system at once, whichever thread frees it. Slower, and for a start.
pub(crate) struct Frugal {
    delay: std::ffi::c_long,
}

// === impl Allocator ===

/// Whether every block of this size is aligned as wanted.
const fn natural(size: usize, align: usize) -> bool {
    align <= ALIGNED_SMALL || (align <= ALIGNED && size >= ALIGNED)
}

#[expect(unsafe_code, reason = "the allocator is a C library")]
// SAFETY: blocks are of the size and the alignment asked for: see `natural`. Null says that there is no memory. Nothing
// here panics, and the library may be called from every thread.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: any size and any power of two may be asked for.
        let block = unsafe {
            if natural(size, align) { mi_malloc(size) } else { mi_malloc_aligned(size, align) }
        };
        block.cast()
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: as above.
        let block = unsafe {
            if natural(size, align) { mi_zalloc(size) } else { mi_zalloc_aligned(size, align) }
        };
        block.cast()
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (block, align) = (block.cast(), layout.align());
        // SAFETY: the caller promises that the block came from here.
        let block = unsafe {
            if natural(size, align) {
                mi_realloc(block, size)
            } else {
                mi_realloc_aligned(block, size, align)
            }
        };
        block.cast()
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller promises that the block came from here.
        unsafe { mi_free(block.cast()) }
    }
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
    #[expect(unsafe_code, reason = "an allocator can be asked in no other way")]
    fn blocks_are_aligned_as_asked() {
        for (size, align) in
            (1..600).flat_map(|size| (0..8).map(move |power| (size, 1_usize << power)))
        {
            let layout = Layout::from_size_align(size, align).unwrap();
            let grown = Layout::from_size_align(size * 3, align).unwrap();
            // SAFETY: no size is 0, and each block is given back as what it is.
            unsafe {
                let block = ALLOCATOR.alloc(layout);
                assert!(block.addr().is_multiple_of(align), "{layout:?}");
                block.write(7);
                let block = ALLOCATOR.realloc(block, layout, grown.size());
                assert!(block.addr().is_multiple_of(align) && block.read() == 7, "{grown:?}");
                ALLOCATOR.dealloc(block, grown);
                let block = ALLOCATOR.alloc_zeroed(layout);
                let bytes = std::slice::from_raw_parts(block, size);
                assert!(block.addr().is_multiple_of(align) && bytes.iter().all(|byte| *byte == 0));
                ALLOCATOR.dealloc(block, layout);
            }
        }
    }

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
