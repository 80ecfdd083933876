//! Wipes secrets from the process's environment.
//!
//! `/proc/PID/environ` shows every process of the same user the memory to which the kernel wrote the environment at the
//! start of the program. Removing a variable only removes the pointer to it, so its bytes are overwritten first.

use std::{ffi::OsStr, fs, io, os::unix::ffi::OsStrExt, slice};

use zeroize::Zeroize;

/// Why the environment was not wiped. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WipeError {
    /// Another thread may read the environment at the same time.
    #[error("failed to wipe secrets from the environment: the process has {threads} threads instead of one")]
    Threads {
        /// The number of threads.
        threads: usize,
    },
    /// The number of threads is unknown.
    #[error("failed to wipe secrets from the environment: failed to read /proc/self/task ({0}); mount /proc")]
    Unknown(#[source] io::Error),
}

/// Overwrites the value of each variable for whose name `is_secret` returns true with zeros, in the kernel's memory, and
/// removes the variable. Copies, such as an [`Environment`](masker_config::Environment), stay.
///
/// # Errors
/// [`WipeError`] if the process may have another thread.
pub fn wipe(is_secret: fn(&[u8]) -> bool) -> Result<(), WipeError> {
    let threads = fs::read_dir("/proc/self/task").map_err(WipeError::Unknown)?.count();
    if threads != 1 {
        return Err(WipeError::Threads { threads });
    }
    for name in overwrite(is_secret) {
        // SAFETY: writing the environment is sound while no other thread accesses it. There is no other thread, as
        // checked above, and only this one could start one.
        unsafe { std::env::remove_var(OsStr::from_bytes(&name)) };
    }
    Ok(())
}

/// Overwrites the values, and returns the names. The calling thread must be the only one.
fn overwrite(is_secret: fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    // SAFETY: `environ` is null or points to pointers to C strings, the last of which is null (POSIX.1-2017, 8.1).
    // The strings are writable: the kernel puts them on the stack, and the C library's `setenv` on the heap; nothing in
    // this program passes other memory to `putenv`. They stay valid and nothing else reads them meanwhile, because the
    // caller is the only thread and calls no function that changes the environment. Lengths do not change, since only
    // bytes before the terminating zero are written.
    unsafe {
        let mut entry = libc::environ;
        while !entry.is_null() && !(*entry).is_null() {
            let length = libc::strlen(*entry);
            let text = slice::from_raw_parts_mut((*entry).cast::<u8>(), length);
            if let Some(equals) = text.iter().position(|byte| *byte == b'=') {
                let (name, value) = text.split_at_mut(equals);
                if is_secret(name) {
                    value[1..].zeroize();
                    names.push(name.to_vec());
                }
            }
            entry = entry.add(1);
        }
    }
    names
}
