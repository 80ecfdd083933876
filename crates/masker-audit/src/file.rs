//! The file of a segment, with what the log does to it: write at its end, sync it, cut its end off.

use std::{
    fs::File,
    io::{self, Write},
};

#[cfg(test)]
pub(super) use faults::InjectedFaults;

/// A segment's file, open for appending.
pub(super) struct SegmentFile {
    file: File,
    #[cfg(test)]
    faults: std::sync::Arc<InjectedFaults>,
}

impl SegmentFile {
    #[cfg(not(test))]
    pub(super) fn new(file: File) -> Self {
        SegmentFile { file }
    }

    #[cfg(test)]
    pub(super) fn new(file: File, faults: std::sync::Arc<InjectedFaults>) -> Self {
        SegmentFile { file, faults }
    }

    /// Writes all of it with as few calls as the system allows. Where it fails, a part may be written.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        self.faults.write(&self.file, bytes)?;
        (&self.file).write_all(bytes)
    }

    /// Makes everything that was written durable, and the file's length.
    pub(super) fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        self.faults.sync()?;
        self.file.sync_data()
    }

    /// Cuts off what stands after so many bytes.
    pub(super) fn cut(&self, bytes: u64) -> io::Result<()> {
        #[cfg(test)]
        self.faults.cut()?;
        self.file.set_len(bytes)
    }
}

#[cfg(test)]
mod faults {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    const NO_LIMIT: usize = usize::MAX;

    /// A disk that fails on demand.
    pub(crate) struct InjectedFaults {
        writable: AtomicUsize,
        no_sync: AtomicBool,
        no_cut: AtomicBool,
    }

    impl Default for InjectedFaults {
        fn default() -> Self {
            InjectedFaults { writable: NO_LIMIT.into(), no_sync: false.into(), no_cut: false.into() }
        }
    }

    impl InjectedFaults {
        /// From now on a write takes so many bytes at most, and then fails.
        pub(crate) fn limit_writes(&self, bytes: usize) {
            self.writable.store(bytes, Ordering::SeqCst);
        }

        pub(crate) fn fail_syncs(&self, fail: bool) {
            self.no_sync.store(fail, Ordering::SeqCst);
        }

        pub(crate) fn fail_cuts(&self, fail: bool) {
            self.no_cut.store(fail, Ordering::SeqCst);
        }

        pub(crate) fn end(&self) {
            self.limit_writes(NO_LIMIT);
            self.fail_syncs(false);
            self.fail_cuts(false);
        }

        pub(super) fn write(&self, file: &File, bytes: &[u8]) -> io::Result<()> {
            let limit = self.writable.load(Ordering::SeqCst);
            if bytes.len() <= limit {
                return Ok(());
            }
            (&*file).write_all(&bytes[..limit])?;
            Err(io::ErrorKind::StorageFull.into())
        }

        pub(super) fn sync(&self) -> io::Result<()> {
            if self.no_sync.load(Ordering::SeqCst) { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
        }

        pub(super) fn cut(&self) -> io::Result<()> {
            if self.no_cut.load(Ordering::SeqCst) { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
        }
    }
}
