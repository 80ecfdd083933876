//! Whether standard output was closed when the program began, as with `>&-`.
//!
//! Before `main`, Rust opens /dev/null in place of a closed standard stream. Results written there would be lost without an
//! error. So this looks before that.

use std::sync::atomic::{AtomicBool, Ordering};

static IS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Run by the C library before Rust's runtime begins.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    // SAFETY: the call reads the flags of a descriptor, and needs no part of Rust's runtime.
    let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
    IS_CLOSED.store(flags == -1, Ordering::Relaxed);
}

/// Returns whether standard output was closed when the program began.
pub(super) fn is_closed() -> bool {
    IS_CLOSED.load(Ordering::Relaxed)
}
