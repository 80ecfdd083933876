//! Takes secrets out of the process's environment.
//!
//! `/proc/PID/environ` shows the memory in which the kernel laid the environment down when the program started, to
//! every process of the same user. Removing a variable only drops the pointer to it, so the bytes themselves are
//! overwritten, and the variable is removed after that.

use std::{ffi::OsStr, fs, io, os::unix::ffi::OsStrExt, slice};

use zeroize::Zeroize;

/// Why the environment could not be wiped. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WipeError {
    /// Another thread may read the environment at the same time.
    #[error("secrets cannot be wiped from the environment: {threads} threads run already, where there must be one")]
    Threads {
        /// How many threads there are.
        threads: usize,
    },
    /// The system does not say how many threads there are.
    #[error("secrets cannot be wiped from the environment: /proc/self/task cannot be read ({0}); mount /proc")]
    Unknown(#[source] io::Error),
}

/// Overwrites the value of each variable whose name `is_secret` with zeros, where the kernel laid it, and removes the
/// variable. Variables that were copied before, as into [`Environment`](masker_config::Environment), are not touched.
///
/// # Errors
/// [`WipeError`] unless the calling thread is the only one.
pub fn wipe(is_secret: fn(&[u8]) -> bool) -> Result<(), WipeError> {
    let threads = fs::read_dir("/proc/self/task").map_err(WipeError::Unknown)?.count();
    if threads != 1 {
        return Err(WipeError::Threads { threads });
    }
    for name in overwrite(is_secret) {
        // SAFETY: reading or writing the environment is sound while no other thread does. There is none, as was
        // checked above, and none can appear: only this one could start it.
        unsafe { std::env::remove_var(OsStr::from_bytes(&name)) };
    }
    Ok(())
}

/// Overwrites, and returns the names. To be called by the only thread.
fn overwrite(is_secret: fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    // SAFETY: `environ` is null or points to pointers to C strings, the last of which is null (POSIX.1-2017, 8.1).
    // The strings are writable: the kernel lays them on the stack, and the C library's `setenv` on the heap; nothing
    // in this program hands `putenv` memory of another kind. They stay valid and nobody else looks at them meanwhile,
    // because the caller is the only thread and calls no function that changes the environment. Lengths do not
    // change, since only bytes before the closing zero are written.
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
