//! jemalloc, with the rule that a failed allocation ends the process. Compiled only with the feature `sled`.
//!
//! Most code ends the process if there is no memory. sled instead asserts that there is some, and panics half-way: with a
//! full buffer that gets no successor, for which its callers then wait forever while its files stay locked. A process that
//! ends is started again, and nothing that was acknowledged is lost.

use std::alloc::{GlobalAlloc, Layout, handle_alloc_error};

use tikv_jemallocator::Jemalloc;

/// Allocates with jemalloc, or ends the process. Never returns a null pointer.
pub struct JemallocOrAbort;

/// Returns the memory, or ends the process with a message if there is none. Does not allocate.
fn non_null_or_abort(memory: *mut u8, layout: Layout) -> *mut u8 {
    if memory.is_null() {
        handle_alloc_error(layout);
    }
    memory
}

// SAFETY: every call is passed to jemalloc with the same arguments and returns its result, so jemalloc's guarantees apply;
// `handle_alloc_error` aborts and does not unwind.
unsafe impl GlobalAlloc for JemallocOrAbort {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller guarantees what jemalloc requires.
        non_null_or_abort(unsafe { Jemalloc.alloc(layout) }, layout)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller guarantees what jemalloc requires.
        non_null_or_abort(unsafe { Jemalloc.alloc_zeroed(layout) }, layout)
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller guarantees what jemalloc requires.
        let moved = unsafe { Jemalloc.realloc(memory, layout, new_size) };
        // The message names the size that was requested.
        non_null_or_abort(moved, Layout::from_size_align(new_size, layout.align()).unwrap_or(layout))
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller guarantees what jemalloc requires.
        unsafe { Jemalloc.dealloc(memory, layout) }
    }
}
