//! The stacks of threads, left out of core dumps.
//!
//! Keys live in locked memory, but who computes with them has parts of them at hand: the round keys of AES-256 are more
//! than a processor has registers for, and what has no register is on the stack, where it stays until something else is
//! written there. No code can undo that while it computes, so the stacks themselves are left out.

use std::{io, mem::MaybeUninit, ptr::NonNull};

use libc::c_void;
use nix::sys::mman::{MmapAdvise, madvise};

/// Leaves the calling thread's stack out of core dumps, for as long as the thread lives.
///
/// # Errors
/// What the system said, where it does not tell where the stack is or does not take the advice.
pub(super) fn exclude_from_core_dumps() -> io::Result<()> {
    let (start, length) = bounds()?;
    // SAFETY: the range is this thread's own stack, and the advice does not change what is read or written there.
    Ok(unsafe { madvise(start, length, MmapAdvise::MADV_DONTDUMP) }?)
}

/// The lowest address and the size of the calling thread's stack.
fn bounds() -> io::Result<(NonNull<c_void>, usize)> {
    let done = |status: i32| if status == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(status)) };
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: the calling thread exists, and the pointer is to room for one set of attributes.
    done(unsafe { libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) })?;
    // SAFETY: the call above has written them, as it says by its status.
    let mut attributes = unsafe { attributes.assume_init() };
    let (mut start, mut length) = (std::ptr::null_mut(), 0);
    // SAFETY: the attributes are whole, and the pointers are to two variables of ours.
    let found = done(unsafe { libc::pthread_attr_getstack(&attributes, &mut start, &mut length) });
    // SAFETY: the attributes are whole and are not used again.
    done(unsafe { libc::pthread_attr_destroy(&mut attributes) })?;
    found?;
    let start = NonNull::new(start).ok_or_else(|| io::Error::other("this thread has no stack"))?;
    Ok((start, length))
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::*;

    /// Whether the mapping that holds an address is marked as one not to dump (proc_pid_smaps(5)).
    fn is_left_out(address: usize) -> bool {
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
        panic!("nothing is mapped there");
    }

    #[test]
    fn the_stack_of_the_thread_that_asks_is_left_out_and_no_other() {
        thread::spawn(|| {
            let on_the_stack = 0u8;
            let address = (&raw const on_the_stack).addr();
            assert!(!is_left_out(address));
            exclude_from_core_dumps().unwrap();
            assert!(is_left_out(address));
            let (start, length) = bounds().unwrap();
            assert!((start.addr().get()..start.addr().get() + length).contains(&address));
        })
        .join()
        .unwrap();
        let here = 0u8;
        assert!(!is_left_out((&raw const here).addr()));
    }
}
