//! The allocator of the program: jemalloc, and the end of the process where it has nothing left.
//!
//! Pages of a store's cache come and go on every thread. The C library has up to eight heaps for each core, and what is free in
//! one is of no use to another: rotations and checks of 300,000 records left 390 MiB behind, of which 160 were in use. jemalloc
//! gives back what is free; `.cargo/config.toml` says when.
//!
//! Nearly all code ends the process where there is no memory. What does not is a library that asserts that there is some, and
//! panics half-way: sled with a full buffer that gets no successor, for which its callers then wait for ever while its files
//! stay locked. A process that ends is started again, and nothing that was answered is lost.

use std::alloc::{GlobalAlloc, Layout, handle_alloc_error};

use tikv_jemallocator::Jemalloc;

/// Allocates or ends the process; never gives a null pointer.
pub struct JemallocOrAbort;

/// Ends the process if there is no memory, with a message and without allocating.
fn there(memory: *mut u8, layout: Layout) -> *mut u8 {
    if memory.is_null() {
        handle_alloc_error(layout);
    }
    memory
}

// SAFETY: every call is jemalloc's own with the same arguments, so what callers promise to this they promise to that, and
// what it answers is answered; `handle_alloc_error` aborts and does not unwind.
unsafe impl GlobalAlloc for JemallocOrAbort {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as for the implementation.
        there(unsafe { Jemalloc.alloc(layout) }, layout)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as for the implementation.
        there(unsafe { Jemalloc.alloc_zeroed(layout) }, layout)
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as for the implementation.
        let moved = unsafe { Jemalloc.realloc(memory, layout, new_size) };
        // What the last words name is the size that was asked for.
        there(moved, Layout::from_size_align(new_size, layout.align()).unwrap_or(layout))
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as for the implementation.
        unsafe { Jemalloc.dealloc(memory, layout) }
    }
}
