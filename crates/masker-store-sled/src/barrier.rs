//! Real barriers for sled's writes.
//!
//! sled 0.34 orders its writes with two calls that promise less than sled assumes:
//!
//! - `sync_file_range(2)`: when it returns, sled takes bytes for stable and overwrites segments that they replace. But the
//!   call "does not write out the file's metadata" and "does not flush disk write caches" (its manual page, WARNING), so
//!   after a power cut the new bytes can be missing and the old ones overwritten. sled needs what `fdatasync(2)` does.
//! - `rename(2)`: when it returns, sled takes a snapshot for stored, and zeros segments that only an older snapshot needs.
//!   But a rename is durable only after its directory was synced.
//!
//! So this module defines both symbols for the whole program, in place of the C library's. `sync_file_range` calls
//! `fdatasync`, and `rename` syncs the directory after renaming. Nothing else in the program calls the first. The second
//! does the same as before for its other callers, but durably.
//!
//! If the linker used other definitions, writes would silently lose their barriers. So calls are counted, and a commit
//! without a barrier is an error. The first commit is made while a vault opens.
//!
//! The power-cut tests show that both are needed. With a plain `fdatasync` after each batch, batches of more than a megabyte
//! lost rows of earlier, acknowledged batches. Without the durable rename, a second power cut during the recovery from a
//! first one lost everything.

use std::{
    ffi::{CStr, OsStr},
    fs::File,
    io,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use nix::errno::Errno;

static BARRIERS_PASSED: AtomicU64 = AtomicU64::new(0);

/// Returns how many barriers were passed in this process.
pub(super) fn barriers_passed() -> u64 {
    BARRIERS_PASSED.load(Ordering::Acquire)
}

/// Makes everything written to `fd` before the call durable, also outside of the range. Returns 0, or -1 with `errno` set.
#[unsafe(no_mangle)]
extern "C" fn sync_file_range(fd: libc::c_int, _offset: i64, _bytes: i64, _flags: libc::c_uint) -> libc::c_int {
    BARRIERS_PASSED.fetch_add(1, Ordering::AcqRel);
    loop {
        // SAFETY: `fdatasync` takes a number and accesses no memory of the process. If the number is not an open
        // descriptor, it fails with `EBADF`, as the real `sync_file_range` does.
        let result = unsafe { libc::fdatasync(fd) };
        if result == 0 || Errno::last() != Errno::EINTR {
            return result;
        }
    }
}

/// Renames a file durably. Returns 0, or -1 with `errno` set. If syncing the directory fails, the file has its new name
/// nevertheless.
///
/// # Safety
///
/// As for the C library's function: both pointers are to strings that end in a zero byte and do not change meanwhile.
#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const libc::c_char, to: *const libc::c_char) -> libc::c_int {
    // SAFETY: the caller guarantees what `renameat` requires of both pointers.
    let result = unsafe { libc::renameat(libc::AT_FDCWD, from, libc::AT_FDCWD, to) };
    if result != 0 {
        return result;
    }
    // SAFETY: the caller guarantees a string that ends in a zero byte.
    let to = Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(to) }.to_bytes()));
    match sync_parent(to) {
        Ok(()) => 0,
        Err(error) => {
            Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)).set();
            -1
        }
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    #[test]
    fn renames_files_and_reports_errors() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        std::fs::write(&from, b"1").unwrap();
        std::fs::rename(&from, &to).unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), b"1");
        assert_eq!(std::fs::rename(&from, &to).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    }
}
