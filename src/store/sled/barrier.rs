//! sled's write barrier, made a real one.
//!
//! sled 0.34 orders its writes by `sync_file_range(2)`: it counts bytes as stable, and overwrites segments that they
//! replace, once that call returns. But the call "does not write out the file's metadata" and "does not flush disk
//! write caches" (its manual page, WARNING): after a power cut the new bytes can be gone and the old ones overwritten. What
//! sled means is what `fdatasync(2)` does. So this module defines the symbol `sync_file_range` for the whole
//! program, ahead of the C library's, and answers with `fdatasync`. Nothing else in the program calls it.
//!
//! A symbol that the linker passed over would go unnoticed, so the definition counts its calls, and a commit that set
//! no barrier is an error. The first one is made while the vault opens.
//!
//! That this is needed is shown by the power-cut tests: with a plain `fdatasync` after each batch, batches of over a
//! megabyte lost rows that earlier batches had answered; with the barrier, none.

use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;

static CROSSED: AtomicU64 = AtomicU64::new(0);

/// How many barriers sled has set in this process.
pub(super) fn crossed() -> u64 {
    CROSSED.load(Ordering::Acquire)
}

/// Makes everything written to `fd` before the call durable, whatever the range. Returns 0, or -1 with `errno` set.
#[unsafe(no_mangle)]
extern "C" fn sync_file_range(fd: libc::c_int, _offset: i64, _bytes: i64, _flags: libc::c_uint) -> libc::c_int {
    CROSSED.fetch_add(1, Ordering::AcqRel);
    loop {
        // SAFETY: `fdatasync` takes a number and touches no memory of ours. Where the number is no open descriptor,
        // it fails with `EBADF`, as the real `sync_file_range` would.
        let answer = unsafe { libc::fdatasync(fd) };
        if answer == 0 || Errno::last() != Errno::EINTR {
            return answer;
        }
    }
}
