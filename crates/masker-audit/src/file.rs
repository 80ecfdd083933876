//! The file of an open segment: append, sync, truncate. Tests inject faults here.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::PathBuf,
};

#[cfg(test)]
pub(super) use faults::InjectedFaults;

/// A segment's file, open for appending.
pub(super) struct SegmentFile {
    path: PathBuf,
    file: File,
    #[cfg(test)]
    faults: std::sync::Arc<InjectedFaults>,
}

impl SegmentFile {
    /// Wraps a file that is open for appending.
    #[cfg(not(test))]
    pub(super) fn new(path: PathBuf, file: File) -> Self {
        SegmentFile { path, file }
    }

    /// Wraps a file that is open for appending, on a disk that fails on demand.
    #[cfg(test)]
    pub(super) fn new(path: PathBuf, file: File, faults: std::sync::Arc<InjectedFaults>) -> Self {
        SegmentFile { path, file, faults }
    }

    /// Writes all bytes. After a failure the file may contain a part of them.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        self.faults.write(&self.file, bytes)?;
        (&self.file).write_all(bytes)
    }

    /// Makes the file's content and length durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        self.faults.sync()?;
        self.file.sync_data()
    }

    /// Returns what has happened to the file, if it is not at its path or has another length than `bytes`.
    pub(super) fn tampering(&self, bytes: u64) -> Option<FileTampering> {
        let (open, found) = (self.file.metadata(), fs::symlink_metadata(&self.path));
        match (open, found) {
            (Ok(open), Ok(found)) if (open.dev(), open.ino()) != (found.dev(), found.ino()) => {
                Some(FileTampering::Replaced)
            }
            (Ok(open), Ok(_)) => {
                (open.len() != bytes).then_some(FileTampering::Length { expected: bytes, found: open.len() })
            }
            (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => Some(FileTampering::Removed),
            // What the system does not tell now it tells at the next sync.
            (Err(_), _) | (_, Err(_)) => None,
        }
    }

    /// Truncates the file to `bytes`.
    pub(super) fn truncate(&self, bytes: u64) -> io::Result<()> {
        #[cfg(test)]
        self.faults.truncate()?;
        self.file.set_len(bytes)
    }
}

/// What has happened to the file of the open segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FileTampering {
    #[error("missing: the file was removed or renamed while it was written")]
    Removed,
    #[error("missing: another file took the place of the file while it was written")]
    Replaced,
    #[error("changed: the file has {found} bytes, but {expected} were written")]
    Length { expected: u64, found: u64 },
}

#[cfg(test)]
mod faults {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    const NO_LIMIT: usize = usize::MAX;

    /// A disk that fails on demand.
    pub(crate) struct InjectedFaults {
        writable: AtomicUsize,
        syncs_fail: AtomicBool,
        truncations_fail: AtomicBool,
    }

    impl Default for InjectedFaults {
        fn default() -> Self {
            InjectedFaults { writable: NO_LIMIT.into(), syncs_fail: false.into(), truncations_fail: false.into() }
        }
    }

    impl InjectedFaults {
        /// Lets each write fail after `bytes`.
        pub(crate) fn limit_writes(&self, bytes: usize) {
            self.writable.store(bytes, Ordering::SeqCst);
        }

        /// Lets each sync fail, or not.
        pub(crate) fn fail_syncs(&self, fail: bool) {
            self.syncs_fail.store(fail, Ordering::SeqCst);
        }

        /// Lets each truncation fail, or not.
        pub(crate) fn fail_truncations(&self, fail: bool) {
            self.truncations_fail.store(fail, Ordering::SeqCst);
        }

        /// Removes all faults.
        pub(crate) fn clear(&self) {
            self.limit_writes(NO_LIMIT);
            self.fail_syncs(false);
            self.fail_truncations(false);
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
            if self.syncs_fail.load(Ordering::SeqCst) { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
        }

        pub(super) fn truncate(&self) -> io::Result<()> {
            if self.truncations_fail.load(Ordering::SeqCst) {
                Err(io::Error::from_raw_os_error(libc::EIO))
            } else {
                Ok(())
            }
        }
    }
}
