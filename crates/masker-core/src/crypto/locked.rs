//! Memory for keys: pages of their own, locked against swapping, left out of core dumps and of child processes.
//!
//! Where the kernel has secret memory (memfd_secret(2)) they are of that: pages that no other mapping leads to, the kernel's
//! own included, so that neither a tracer nor a fault in the kernel reads them. Elsewhere they are ordinary ones.
//!
//! This is the one module of the cryptography that needs `unsafe`: the system calls want addresses.

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

/// Bytes of stack that are overwritten after a secret was built: more than building one uses.
const STACK_SCRUB_BYTES: usize = 32 * 1024;
/// The smallest page of any Linux target. A mapping begins at a page, so this is the alignment that it guarantees.
const PAGE_BYTES_MIN: usize = 4_096;

/// Why memory for a key could not be had. The operator can mend it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockedMemoryError {
    /// `mmap` failed.
    #[error("cannot map memory for a key ({0}): give the process more memory or address space")]
    Map(#[source] io::Error),
    /// `mlock` failed, mostly for `RLIMIT_MEMLOCK`.
    #[error(
        "cannot lock a key's memory against swapping ({0}): raise the limit of locked memory \
         (LimitMEMLOCK= in the systemd unit, `ulimit -l` in a shell)"
    )]
    Lock(#[source] io::Error),
    /// `madvise` failed.
    #[error("cannot keep a key's memory out of core dumps and child processes ({0}): use Linux 3.4 or later")]
    Advise(#[source] io::Error),
}

/// What the memory of keys is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyMemory {
    /// Secret memory: only this process's own accesses reach it.
    Secret,
    /// Ordinary pages, locked.
    Locked,
}

/// What the memory of keys is made of on this host. A single mapping may still be of ordinary pages, where no descriptor is
/// left to ask for a secret one with.
pub fn key_memory() -> KeyMemory {
    static FOUND: OnceLock<KeyMemory> = OnceLock::new();
    *FOUND.get_or_init(|| if secret_file().is_ok() { KeyMemory::Secret } else { KeyMemory::Locked })
}

/// memfd_secret(2), which no crate at hand wraps. Kernels before 5.14 do not have it, and those before 6.5 have it where
/// `secretmem.enable=1` was given at boot.
fn secret_file() -> io::Result<OwnedFd> {
    // SAFETY: the call takes flags and touches no memory.
    let descriptor = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let descriptor = RawFd::try_from(descriptor).map_err(io::Error::other)?;
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened it for this call, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Maps secret memory. It is locked, and left out of core dumps, from the beginning.
fn map_secret(length: NonZeroUsize) -> io::Result<NonNull<c_void>> {
    let file = secret_file()?;
    ftruncate(&file, i64::try_from(length.get()).map_err(io::Error::other)?)?;
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: without an address hint and without MAP_FIXED the mapping lands on addresses that nothing else uses; the
    // file has no name and its only descriptor ends with this function, so nobody else maps it or changes its length.
    Ok(unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, &file, 0) }?)
}

/// Pages of our own: mapped, locked and kept private for as long as this lives; wiped before they go back.
struct Pages {
    start: NonNull<c_void>,
    length: NonZeroUsize,
}

impl Pages {
    /// Pages for `length` bytes, all of them zero.
    fn new(length: NonZeroUsize) -> Result<Self, LockedMemoryError> {
        let secret = if key_memory() == KeyMemory::Secret { map_secret(length).ok() } else { None };
        if let Some(start) = secret {
            let pages = Pages { start, length };
            pages.keep_private()?;
            return Ok(pages);
        }
        Self::ordinary(length)
    }

    /// The same of ordinary memory.
    fn ordinary(length: NonZeroUsize) -> Result<Self, LockedMemoryError> {
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: without an address hint and without MAP_FIXED, a private anonymous mapping lands on addresses that
        // nothing else uses, so no memory of the program changes meaning.
        let start = unsafe { mmap_anonymous(None, length, protection, MapFlags::MAP_PRIVATE) }
            .map_err(|errno| LockedMemoryError::Map(errno.into()))?;
        // From here on an early return unmaps again.
        let pages = Pages { start, length };
        pages.keep_private()?;
        // SAFETY: the range is the mapping made above; locking it does not change what is read there.
        unsafe { mlock(start, length.get()) }.map_err(|errno| LockedMemoryError::Lock(errno.into()))?;
        Ok(pages)
    }

    /// Keeps them out of core dumps and of child processes.
    fn keep_private(&self) -> Result<(), LockedMemoryError> {
        // DONTFORK and not WIPEONFORK: a child that touched the keys then dies, where zeros would have it mint tokens
        // under a key that everybody knows.
        for advice in [MmapAdvise::MADV_DONTDUMP, MmapAdvise::MADV_DONTFORK] {
            // SAFETY: the range is the mapping of these pages, and neither advice changes what this process reads there.
            unsafe { madvise(self.start, self.length.get(), advice) }
                .map_err(|errno: Errno| LockedMemoryError::Advise(errno.into()))?;
        }
        Ok(())
    }

    /// Writes zeros over all of it.
    fn wipe(&mut self) {
        // SAFETY: the mapping is writable, at least `length` long, and ours alone: `&mut self` shows that no
        // reference into it is left. The store cannot be optimised away, for the address goes on to system calls.
        unsafe { ptr::write_bytes(self.start.as_ptr().cast::<u8>(), 0, self.length.get()) };
        // SAFETY: any byte pattern is a valid `u8`, and the store above has set the first one.
        optimization_barrier(unsafe { self.start.cast::<u8>().as_ref() });
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.wipe();
        // Unmapping unlocks, too. A failure leaves zeroed pages mapped, which harms nobody, and there is no one to tell.
        // SAFETY: the range is the mapping that `new` made, unmapped nowhere else, and nothing refers to it any more.
        let _ = unsafe { munmap(self.start, self.length.get()) };
    }
}

/// One `T` in pages of its own, which are locked against swapping, left out of core dumps, not inherited by child
/// processes, and wiped when it is dropped.
///
/// It has no `Debug` and no `Clone`: what is worth locking is not to be printed or multiplied. Each one takes whole
/// pages from `RLIMIT_MEMLOCK`.
pub struct Locked<T> {
    value: NonNull<T>,
    /// Dropped after the value: fields go after the body of `drop`.
    _pages: Pages,
    owns: PhantomData<T>,
}

impl<T> Locked<T> {
    /// Builds a `T` and keeps it in locked memory. Temporaries of `build` pass over the stack, so the stack below is
    /// wiped afterwards; whatever `build` puts on the heap is its own to wipe.
    ///
    /// # Errors
    /// [`LockedMemoryError`] where the memory cannot be had or locked; `build` is then not called.
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

/// Keeps the frames of `build`, and any copy of what it returns, below the frame of the caller, where
/// [`scrub_stack`] reaches them.
#[inline(never)]
fn build_into<T>(slot: NonNull<T>, build: impl FnOnce() -> T) {
    // SAFETY: the only caller passes the start of a fresh mapping: writable, page-aligned (`init` asserts that this
    // is enough for `T`), as long as a `T`, and without a value that would have to be dropped.
    unsafe { slot.write(build()) };
}

/// Overwrites the part of the stack that functions called before this one have left behind.
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

// SAFETY: a `Locked<T>` owns its `T` as a `Box<T>` does; the pages have no tie to a thread.
unsafe impl<T: Send> Send for Locked<T> {}
// SAFETY: a shared `Locked<T>` gives out `&T` and nothing else.
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

    /// The `VmFlags` of the mapping that holds an address; `None` where nothing is mapped there.
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
    fn pages_are_locked_and_kept_out_of_dumps_and_children() {
        let locked = Locked::init(|| [7u8; 32]).unwrap();
        assert_eq!(*locked, [7; 32]);
        let flags = vm_flags(address(&locked)).expect("the value is mapped");
        for (flag, meaning) in [("lo", "locked"), ("dd", "not dumped"), ("dc", "not copied on fork")] {
            assert!(flags.iter().any(|f| f == flag), "{flag} ({meaning}) is missing: {flags:?}");
        }
        // The check can fail: the memory of this test is none of these.
        let ordinary = Box::new([7u8; 32]);
        let flags = vm_flags(ptr::from_ref(&*ordinary).addr()).expect("the heap is mapped");
        assert!(!flags.iter().any(|f| f == "dd"), "{flags:?}");
    }

    #[test]
    fn ordinary_pages_are_kept_as_well_as_secret_ones() {
        for pages in [Pages::new(NonZeroUsize::MIN).unwrap(), Pages::ordinary(NonZeroUsize::MIN).unwrap()] {
            let flags = vm_flags(pages.start.addr().get()).expect("the pages are mapped");
            assert!(["lo", "dd", "dc"].iter().all(|wanted| flags.iter().any(|flag| flag == wanted)), "{flags:?}");
        }
    }

    #[test]
    fn nobody_reads_secret_memory_but_by_its_address() {
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
    fn wiping_leaves_no_byte() {
        let mut pages = Pages::new(NonZeroUsize::new(5_000).unwrap()).unwrap();
        let bytes = pages.start.cast::<u8>();
        // SAFETY: the mapping is writable, 5,000 bytes long, and this test alone refers to it.
        unsafe { ptr::write_bytes(bytes.as_ptr(), 0xFF, 5_000) };
        pages.wipe();
        // SAFETY: the mapping is still there, and its bytes have been written.
        let left = unsafe { std::slice::from_raw_parts(bytes.as_ptr(), 5_000) };
        assert!(left.iter().all(|b| *b == 0));
    }

    #[test]
    fn dropping_drops_the_value_once_before_it_is_wiped() {
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

    /// Memory of this process that is locked now, in KiB.
    fn locked_kib() -> usize {
        let status = fs::read_to_string("/proc/self/status").expect("Linux has /proc/self/status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).expect("it tells VmLck");
        line.trim().trim_end_matches(" kB").parse().expect("in kB")
    }

    #[test]
    fn dropping_gives_the_pages_back() {
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
    fn a_build_that_panics_leaves_nothing_mapped() {
        let result = catch_unwind(AssertUnwindSafe(|| Locked::init(|| -> [u8; 32] { panic!("on purpose") })));
        assert!(result.is_err());
    }

    #[test]
    fn no_memory_is_an_error_that_says_what_to_do() {
        assert!(matches!(Pages::new(NonZeroUsize::MAX), Err(LockedMemoryError::Map(_))));
        let message = LockedMemoryError::Lock(Errno::ENOMEM.into()).to_string();
        assert!(message.contains("LimitMEMLOCK") && message.contains("ulimit -l"), "{message}");
    }

    #[test]
    fn a_value_without_size_is_no_special_case() {
        let locked = Locked::init(|| ()).unwrap();
        assert_eq!(*locked, ());
    }
}
