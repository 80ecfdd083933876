//! sled's barriers between writes, made real ones.
//!
//! sled 0.34 orders its work by two calls that promise less than it takes them for:
//!
//! - `sync_file_range(2)`: once it returns, sled counts bytes as stable and overwrites segments that they replace. But the
//!   call "does not write out the file's metadata" and "does not flush disk write caches" (its manual page, WARNING), so
//!   after a power cut the new bytes can be gone and the old ones overwritten. What sled means is what `fdatasync(2)`
//!   does.
//! - `rename(2)`: once it returns, sled counts a snapshot as in place, and zeros segments that only a reader of the
//!   older snapshot needs. But a rename is durable only when its directory was synced.
//!
//! So this module defines both symbols for the whole program, ahead of the C library's: `sync_file_range` is answered by
//! `fdatasync`, and a `rename` is followed by an `fsync` of the directory. Nothing else in the program calls the first,
//! and the second does for others what it always did, only durably.
//!
//! A symbol that the linker passed over would go unnoticed, so calls are counted, and a commit that set no barrier is
//! an error. The first commit is made while the vault opens.
//!
//! That both are needed is shown by the power-cut tests. With a plain `fdatasync` after each batch, batches of over a
//! megabyte lost rows that earlier batches had answered; without the durable rename, a second power cut during recovery
//! from a first one lost everything.

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

/// How many times sled has waited for its bytes to be stable, in this process.
pub(super) fn barriers_passed() -> u64 {
    BARRIERS_PASSED.load(Ordering::Acquire)
}

/// Makes everything written to `fd` before the call durable, whatever the range. Returns 0, or -1 with `errno` set.
#[unsafe(no_mangle)]
extern "C" fn sync_file_range(fd: libc::c_int, _offset: i64, _bytes: i64, _flags: libc::c_uint) -> libc::c_int {
    BARRIERS_PASSED.fetch_add(1, Ordering::AcqRel);
    loop {
        // SAFETY: `fdatasync` takes a number and touches no memory of ours. Where the number is no open descriptor,
        // it fails with `EBADF`, as the real `sync_file_range` would.
        let answer = unsafe { libc::fdatasync(fd) };
        if answer == 0 || Errno::last() != Errno::EINTR {
            return answer;
        }
    }
}

/// Renames a file, durably. Returns 0, or -1 with `errno` set; where the directory could not be synced, the file has its
/// new name all the same.
///
/// # Safety
///
/// As for the C library's: both are pointers to text that ends in a zero byte and is not written to meanwhile.
#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const libc::c_char, to: *const libc::c_char) -> libc::c_int {
    // SAFETY: the two pointers are handed on as they came, under the promise that the caller gave.
    let answer = unsafe { libc::renameat(libc::AT_FDCWD, from, libc::AT_FDCWD, to) };
    if answer != 0 {
        return answer;
    }
    // SAFETY: the caller promised text that ends in a zero byte, and `renameat` has just read it as such.
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
    fn renames_still_rename_and_still_fail() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        std::fs::write(&from, b"1").unwrap();
        std::fs::rename(&from, &to).unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), b"1");
        assert_eq!(std::fs::rename(&from, &to).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    }
}
