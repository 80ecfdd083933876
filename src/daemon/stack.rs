//! Excludes the stacks of threads from core dumps.
//!
//! Keys live in locked memory, but a computation with them spills parts of them: AES-256 has more round keys than a
//! processor has registers, and the rest goes to the stack, where it stays until it is overwritten. No code can prevent
//! that, so the stacks themselves are excluded.

use std::{io, mem::MaybeUninit, ptr::NonNull};

use libc::c_void;
use nix::sys::mman::{MmapAdvise, madvise};

/// Excludes the calling thread's stack from core dumps for the life of the thread.
///
/// # Errors
/// The system does not report the bounds of the stack, or rejects the advice.
pub(super) fn exclude_from_core_dumps() -> io::Result<()> {
    let (start, length) = bounds()?;
    // SAFETY: the range is this thread's own stack, and the advice does not change what is read or written there.
    Ok(unsafe { madvise(start, length, MmapAdvise::MADV_DONTDUMP) }?)
}

/// Returns the lowest address and the size of the calling thread's stack.
fn bounds() -> io::Result<(NonNull<c_void>, usize)> {
    let done = |status: i32| if status == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(status)) };
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: the calling thread exists, and the pointer is to memory for one set of attributes.
    done(unsafe { libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) })?;
    // SAFETY: the call above succeeded, so it has initialized them.
    let mut attributes = unsafe { attributes.assume_init() };
    let (mut start, mut length) = (std::ptr::null_mut(), 0);
    // SAFETY: the attributes are initialized, and the pointers are to two local variables.
    let found = done(unsafe { libc::pthread_attr_getstack(&attributes, &mut start, &mut length) });
    // SAFETY: the attributes are initialized and are not used again.
    done(unsafe { libc::pthread_attr_destroy(&mut attributes) })?;
    found?;
    let start = NonNull::new(start).ok_or_else(|| io::Error::other("this thread has no stack"))?;
    Ok((start, length))
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::*;

    /// Returns whether the mapping of an address is marked `dd`, "do not dump" (proc_pid_smaps(5)).
    fn is_excluded(address: usize) -> bool {
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in smaps.lines() {
            let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
            if let Some((low, high)) = range
                && let (Ok(low), Ok(high)) = (usize::from_str_radix(low, 16), usize::from_str_radix(high, 16))
            {
                inside = (low..high).contains(&address);
            }
            if inside && let Some(flags) = line.strip_prefix("VmFlags:") {
                return flags.split_whitespace().any(|flag| flag == "dd");
            }
        }
        panic!("the address is not mapped");
    }

    #[test]
    fn excludes_the_stack_of_the_calling_thread_only() {
        thread::spawn(|| {
            let on_the_stack = 0u8;
            let address = (&raw const on_the_stack).addr();
            assert!(!is_excluded(address));
            exclude_from_core_dumps().unwrap();
            assert!(is_excluded(address));
            let (start, length) = bounds().unwrap();
            assert!((start.addr().get()..start.addr().get() + length).contains(&address));
        })
        .join()
        .unwrap();
        let here = 0u8;
        assert!(!is_excluded((&raw const here).addr()));
    }
}
