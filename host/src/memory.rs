//! The process's memory: which allocator, and what it gives back to the system.
//!
//! The C library's allocator takes a lock and often a futex when one thread frees what another made, which is what
//! every call does. The one here keeps freed memory for a while, because most of it is wanted again at once; what a
//! start needs to read and check a store is not.

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Gives back to the system what is free now. Takes milliseconds; for once after a start.
#[expect(unsafe_code, reason = "the allocator is a C library")]
pub(crate) fn give_back() {
    // SAFETY: without preconditions: it may be called from any thread at any time, and touches no memory in use.
    unsafe { libmimalloc_sys::mi_collect(true) };
}
