//! Memory for keys: separate pages that are locked against swapping and excluded from core dumps and child processes.
//!
//! The pages are secret memory (`memfd_secret(2)`) if the kernel offers it. No other mapping leads to such pages, not
//! even the kernel's own, so neither a tracer nor a bug in the kernel can read them. Otherwise they are ordinary pages.
//!
//! This is the only module of the cryptography with `unsafe`, because the system calls take addresses.

use std::{
    io,
    marker::PhantomData,
    mem::{align_of, size_of},
    num::NonZeroUsize,
    ops::Deref,
    os::fd::{FromRawFd, OwnedFd, RawFd},
    ptr::{self, NonNull},
    sync::OnceLock,
};

use nix::{
    errno::Errno,
    libc::{self, c_void},
    sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mlock, mmap, mmap_anonymous, munmap},
    unistd::ftruncate,
};
use zeroize::{Zeroize, optimization_barrier};

/// Bytes of stack that are overwritten after a secret is built: more than building one uses.
const STACK_SCRUB_BYTES: usize = 32 * 1024;
/// The smallest page size of any Linux target. A mapping begins at a page, so this is its guaranteed alignment.
const PAGE_BYTES_MIN: usize = 4_096;

/// A failure to get memory for a key, which the operator can fix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockedMemoryError {
    /// `mmap` failed.
    #[error("failed to map memory for a key ({0}): give the process more memory or address space")]
    Map(#[source] io::Error),
    /// `mlock` failed, usually because of `RLIMIT_MEMLOCK`.
    #[error(
        "failed to lock a key's memory against swapping ({0}): raise the limit of locked memory \
         (LimitMEMLOCK= in the systemd unit, `ulimit -l` in a shell)"
    )]
    Lock(#[source] io::Error),
    /// `madvise` failed.
    #[error("failed to exclude a key's memory from core dumps and child processes ({0}): use Linux 3.4 or later")]
    Advise(#[source] io::Error),
}

/// The kind of memory that holds keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyMemory {
    /// Secret memory, which only this process can access.
    Secret,
    /// Ordinary pages, locked.
    Locked,
}

/// Returns the kind of memory that holds keys on this host. A single mapping may still use ordinary pages if the
/// process has no file descriptor left.
pub fn key_memory() -> KeyMemory {
    static FOUND: OnceLock<KeyMemory> = OnceLock::new();
    *FOUND.get_or_init(|| if secret_file().is_ok() { KeyMemory::Secret } else { KeyMemory::Locked })
}

/// Calls `memfd_secret(2)`, which `nix` does not wrap. Linux has it from 5.14, before 6.5 only with the boot parameter
/// `secretmem.enable=1`.
fn secret_file() -> io::Result<OwnedFd> {
    // SAFETY: the call takes flags and touches no memory.
    let descriptor = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let descriptor = RawFd::try_from(descriptor).map_err(io::Error::other)?;
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened the descriptor for this call, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Maps secret memory, which the kernel locks and excludes from core dumps.
fn map_secret(length: NonZeroUsize) -> io::Result<NonNull<c_void>> {
    let file = secret_file()?;
    ftruncate(&file, i64::try_from(length.get()).map_err(io::Error::other)?)?;
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: without an address hint and without MAP_FIXED the mapping lands on addresses that nothing else uses; the
    // file has no name and its only descriptor ends with this function, so nobody else maps it or changes its length.
    Ok(unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, &file, 0) }?)
}

/// Separate pages that are mapped, locked and private until they are dropped. They are wiped before they are unmapped.
struct Pages {
    start: NonNull<c_void>,
    length: NonZeroUsize,
}

impl Pages {
    /// Maps zeroed pages for `length` bytes.
    fn new(length: NonZeroUsize) -> Result<Self, LockedMemoryError> {
        let secret = if key_memory() == KeyMemory::Secret { map_secret(length).ok() } else { None };
        if let Some(start) = secret {
            let pages = Pages { start, length };
            pages.keep_private()?;
            return Ok(pages);
        }
        Self::ordinary(length)
    }

    /// Maps ordinary pages.
    fn ordinary(length: NonZeroUsize) -> Result<Self, LockedMemoryError> {
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: without an address hint and without MAP_FIXED, a private anonymous mapping lands on addresses that
        // nothing else uses, so no other memory of the program changes.
        let start = unsafe { mmap_anonymous(None, length, protection, MapFlags::MAP_PRIVATE) }
            .map_err(|errno| LockedMemoryError::Map(errno.into()))?;
        // From here on, an early return unmaps the pages.
        let pages = Pages { start, length };
        pages.keep_private()?;
        // SAFETY: the range is the mapping made above; locking it does not change what is read there.
        unsafe { mlock(start, length.get()) }.map_err(|errno| LockedMemoryError::Lock(errno.into()))?;
        Ok(pages)
    }

    /// Excludes the pages from core dumps and child processes.
    fn keep_private(&self) -> Result<(), LockedMemoryError> {
        // DONTFORK, not WIPEONFORK: a child that reads a key must end. With zeros, it would mint tokens under a key
        // that everybody knows.
        for advice in [MmapAdvise::MADV_DONTDUMP, MmapAdvise::MADV_DONTFORK] {
            // SAFETY: the range is the mapping of these pages, and neither advice changes what this process reads
            // there.
            unsafe { madvise(self.start, self.length.get(), advice) }
                .map_err(|errno: Errno| LockedMemoryError::Advise(errno.into()))?;
        }
        Ok(())
    }

    /// Overwrites the pages with zeros.
    fn wipe(&mut self) {
        // SAFETY: the mapping is writable, at least `length` long, and ours alone: `&mut self` shows that no
        // reference into it exists. The store cannot be optimized away, because the address is passed to system calls.
        unsafe { ptr::write_bytes(self.start.as_ptr().cast::<u8>(), 0, self.length.get()) };
        // SAFETY: any byte pattern is a valid `u8`, and the store above has set the first one.
        optimization_barrier(unsafe { self.start.cast::<u8>().as_ref() });
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.wipe();
        // Unmapping also unlocks. A failure leaves zeroed pages mapped, which is harmless.
        // SAFETY: the range is the mapping that `new` made, unmapped nowhere else, and nothing refers to it.
        let _ = unsafe { munmap(self.start, self.length.get()) };
    }
}

/// A `T` in separate pages that are locked against swapping, excluded from core dumps and child processes, and wiped
/// when it is dropped.
///
/// It has no `Debug` and no `Clone`, because a secret must not be printed or copied. Each one takes whole pages of
/// `RLIMIT_MEMLOCK`.
pub struct Locked<T> {
    value: NonNull<T>,
    /// Dropped after the value: fields are dropped after the body of `drop` has run.
    _pages: Pages,
    owns: PhantomData<T>,
}

impl<T> Locked<T> {
    /// Builds a `T` in locked memory. Afterwards it wipes the stack below, where `build` leaves temporaries. `build`
    /// must itself wipe what it puts on the heap.
    ///
    /// # Errors
    /// Returns [`LockedMemoryError`] if no memory is available or it cannot be locked. `build` is then not called.
    pub fn init(build: impl FnOnce() -> T) -> Result<Self, LockedMemoryError> {
        const { assert!(align_of::<T>() <= PAGE_BYTES_MIN) };
        let length = NonZeroUsize::new(size_of::<T>()).unwrap_or(NonZeroUsize::MIN);
        let pages = Pages::new(length)?;
        let value = pages.start.cast::<T>();
        build_into(value, build);
        scrub_stack();
        Ok(Locked { value, _pages: pages, owns: PhantomData })
    }
}

/// Keeps the frames of `build`, and copies of its result, below the frame of the caller, where [`scrub_stack`] reaches
/// them.
#[inline(never)]
fn build_into<T>(slot: NonNull<T>, build: impl FnOnce() -> T) {
    // SAFETY: the only caller passes the start of a fresh mapping: writable, page-aligned (`init` asserts that this
    // is enough for `T`), as long as a `T`, and without a value that would have to be dropped.
    unsafe { slot.write(build()) };
}

/// Overwrites the part of the stack that earlier calls have used.
#[inline(never)]
fn scrub_stack() {
    let mut frame = [0u8; STACK_SCRUB_BYTES];
    frame.zeroize();
    optimization_barrier(&frame);
}

impl<T> Deref for Locked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `init` put a `T` there, which lives until `drop`; no `&mut T` is ever made.
        unsafe { self.value.as_ref() }
    }
}

impl<T> Drop for Locked<T> {
    fn drop(&mut self) {
        // SAFETY: the value was written by `init`, is dropped nowhere else, and is not used afterwards.
        unsafe { self.value.drop_in_place() };
    }
}

// SAFETY: a `Locked<T>` owns its `T` as a `Box<T>` does, and the pages are not bound to a thread.
unsafe impl<T: Send> Send for Locked<T> {}
// SAFETY: a shared `Locked<T>` gives access only to `&T`.
unsafe impl<T: Sync> Sync for Locked<T> {}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::FileExt,
        panic::{AssertUnwindSafe, catch_unwind},
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    /// Returns the `VmFlags` of the mapping at an address, or `None` if nothing is mapped there.
    fn vm_flags(address: usize) -> Option<Vec<String>> {
        let smaps = fs::read_to_string("/proc/self/smaps").expect("Linux has /proc/self/smaps");
        let mut inside = false;
        for line in smaps.lines() {
            if let Some((range, _)) = line.split_once(' ')
                && let Some((low, high)) = range.split_once('-')
                && let (Ok(low), Ok(high)) = (usize::from_str_radix(low, 16), usize::from_str_radix(high, 16))
            {
                inside = (low..high).contains(&address);
            }
            if inside && let Some(flags) = line.strip_prefix("VmFlags:") {
                return Some(flags.split_whitespace().map(str::to_owned).collect());
            }
        }
        None
    }

    fn address<T>(locked: &Locked<T>) -> usize {
        ptr::from_ref::<T>(locked).addr()
    }

    #[test]
    fn pages_are_locked_and_excluded_from_dumps_and_children() {
        let locked = Locked::init(|| [7u8; 32]).unwrap();
        assert_eq!(*locked, [7; 32]);
        let flags = vm_flags(address(&locked)).expect("the value is mapped");
        for (flag, meaning) in [("lo", "locked"), ("dd", "not dumped"), ("dc", "not copied on fork")] {
            assert!(flags.iter().any(|f| f == flag), "{flag} ({meaning}) is missing: {flags:?}");
        }
        // Shows that the check can fail.
        let ordinary = Box::new([7u8; 32]);
        let flags = vm_flags(ptr::from_ref(&*ordinary).addr()).expect("the heap is mapped");
        assert!(!flags.iter().any(|f| f == "dd"), "{flags:?}");
    }

    #[test]
    fn ordinary_pages_have_the_same_flags_as_secret_ones() {
        for pages in [Pages::new(NonZeroUsize::MIN).unwrap(), Pages::ordinary(NonZeroUsize::MIN).unwrap()] {
            let flags = vm_flags(pages.start.addr().get()).expect("the pages are mapped");
            assert!(["lo", "dd", "dc"].iter().all(|wanted| flags.iter().any(|flag| flag == wanted)), "{flags:?}");
        }
    }

    #[test]
    fn secret_memory_cannot_be_read_through_proc() {
        let (secret, ordinary) = (Pages::new(NonZeroUsize::MIN).unwrap(), Pages::ordinary(NonZeroUsize::MIN).unwrap());
        let memory = fs::File::open("/proc/self/mem").expect("Linux has /proc/self/mem");
        let read = |pages: &Pages| memory.read_at(&mut [0], pages.start.addr().get() as u64);
        assert_eq!(read(&ordinary).unwrap(), 1);
        match key_memory() {
            KeyMemory::Secret => assert_eq!(read(&secret).unwrap_err().raw_os_error(), Some(libc::EIO)),
            KeyMemory::Locked => eprintln!("skipped: this kernel has no secret memory"),
        }
    }

    #[test]
    fn a_value_longer_than_a_page_is_locked_to_its_end() {
        let locked = Locked::init(|| [0xA5u8; 3 * PAGE_BYTES_MIN]).unwrap();
        assert!(locked.iter().all(|b| *b == 0xA5));
        let flags = vm_flags(address(&locked) + 3 * PAGE_BYTES_MIN - 1).expect("the last byte is mapped");
        assert!(flags.iter().any(|f| f == "lo"), "{flags:?}");
    }

    #[test]
    fn wiping_overwrites_every_byte() {
        let mut pages = Pages::new(NonZeroUsize::new(5_000).unwrap()).unwrap();
        let bytes = pages.start.cast::<u8>();
        // SAFETY: the mapping is writable, 5,000 bytes long, and only this test refers to it.
        unsafe { ptr::write_bytes(bytes.as_ptr(), 0xFF, 5_000) };
        pages.wipe();
        // SAFETY: the mapping still exists, and its bytes have been written.
        let left = unsafe { std::slice::from_raw_parts(bytes.as_ptr(), 5_000) };
        assert!(left.iter().all(|b| *b == 0));
    }

    #[test]
    fn drops_the_value_once_before_wiping() {
        static DROPS: AtomicUsize = AtomicUsize::new(0);
        struct Counted([u8; 64]);
        impl Drop for Counted {
            fn drop(&mut self) {
                assert_eq!(self.0, [9; 64]);
                DROPS.fetch_add(1, Ordering::SeqCst);
            }
        }
        drop(Locked::init(|| Counted([9; 64])).unwrap());
        assert_eq!(DROPS.load(Ordering::SeqCst), 1);
    }

    /// Returns the locked memory of this process, in KiB.
    fn locked_kib() -> usize {
        let status = fs::read_to_string("/proc/self/status").expect("Linux has /proc/self/status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).expect("the status has VmLck");
        line.trim().trim_end_matches(" kB").parse().expect("in kB")
    }

    #[test]
    fn dropping_unmaps_the_pages() {
        // Far more than the other tests of this process hold at any time.
        const KIB: usize = 64;
        let before = locked_kib();
        let held = Locked::init(|| [1u8; KIB * 1_024]).unwrap();
        assert!(locked_kib() >= KIB);
        for _ in 0..1_000 {
            drop(Locked::init(|| [1u8; KIB * 1_024]).unwrap());
        }
        drop(held);
        assert!(locked_kib() < before + 500 * KIB);
    }

    #[test]
    fn a_panicking_build_is_passed_on() {
        let result = catch_unwind(AssertUnwindSafe(|| Locked::init(|| -> [u8; 32] { panic!("on purpose") })));
        assert!(result.is_err());
    }

    #[test]
    fn the_error_says_what_to_do() {
        assert!(matches!(Pages::new(NonZeroUsize::MAX), Err(LockedMemoryError::Map(_))));
        let message = LockedMemoryError::Lock(Errno::ENOMEM.into()).to_string();
        assert!(message.contains("LimitMEMLOCK") && message.contains("ulimit -l"), "{message}");
    }

    #[test]
    fn accepts_a_value_without_size() {
        let locked = Locked::init(|| ()).unwrap();
        assert_eq!(*locked, ());
    }
}
