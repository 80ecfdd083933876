//! The vault's directory: who may touch it, who has it, and how its files get to the disk and out of the cache.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process,
};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use masker_types::engine::EngineKind;

use super::open_error::StoreOpenError;

/// Where everything of a vault is, as far as one engine is concerned.
#[derive(Clone)]
pub(super) struct VaultPaths {
    pub(super) root: PathBuf,
    pub(super) kind: EngineKind,
}

impl VaultPaths {
    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(super) fn witness(&self) -> PathBuf {
        self.root.join("witness")
    }

    /// The folder that is the engine's.
    pub(super) fn engine(&self) -> PathBuf {
        self.root.join(self.kind.name())
    }

    /// The database that a compaction or a migration makes.
    pub(super) fn engine_new_path(&self) -> PathBuf {
        self.root.join(format!("{}.new", self.kind))
    }

    /// The database that a compaction or a migration has replaced, or is about to.
    pub(super) fn engine_old_path(&self) -> PathBuf {
        self.root.join(format!("{}.old", self.kind))
    }

    /// The same vault, as far as each engine is concerned.
    pub(super) fn for_each_engine(&self) -> impl Iterator<Item = VaultPaths> {
        EngineKind::all().map(|kind| VaultPaths { root: self.root.clone(), kind })
    }

    /// The engine whose database the directory holds: this one where there are two. Between the two renames of a
    /// switch it is the one that is about to be replaced.
    pub(super) fn there(&self) -> Option<EngineKind> {
        let places = || std::iter::once(self.clone()).chain(self.for_each_engine());
        let current = places().find(|place| place.engine().exists());
        current.or_else(|| places().find(|place| place.engine_old_path().exists())).map(|place| place.kind)
    }

    /// A copy of the database on which recovery is tried before the database itself is touched.
    pub(super) fn rehearsal(&self) -> PathBuf {
        self.root.join("rehearsal")
    }

    /// Makes the directory, or sees to it that it is ours alone and holds a vault or nothing.
    pub(super) fn prepare(&self) -> Result<(), StoreOpenError> {
        let path = || self.root.clone();
        let unusable = |source| StoreOpenError::Directory { path: path(), source };
        match fs::metadata(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                masker_files::create_durably(&self.root).map_err(unusable)?;
            }
            Err(error) => return Err(unusable(error)),
            Ok(found) if !found.is_dir() => return Err(unusable(io::ErrorKind::NotADirectory.into())),
            Ok(found) => {
                let runs_as = nix::unistd::geteuid().as_raw();
                if found.uid() != runs_as {
                    return Err(StoreOpenError::Owner { path: path(), owner: found.uid(), runs_as });
                }
                if found.mode() & 0o022 != 0 {
                    return Err(StoreOpenError::Exposed { path: path(), mode: found.mode() & 0o7777 });
                }
            }
        }
        match self.foreign_entry().map_err(unusable)? {
            Some(entry) if !self.witness().exists() && self.there().is_none() => {
                Err(StoreOpenError::Foreign { path: path(), entry: entry.to_string_lossy().into_owned() })
            }
            _ => Ok(()),
        }
    }

    /// Something in the directory that is neither a vault's, nor the audit log's, nor what a file system puts into its
    /// root.
    fn foreign_entry(&self) -> io::Result<Option<OsString>> {
        for entry in fs::read_dir(&self.root)? {
            let name = entry?.file_name();
            let ours = ["lock", "witness", "witness.new", "rehearsal", "lost+found", "audit"].map(OsString::from);
            let databases = self
                .for_each_engine()
                .flat_map(|place| [place.engine(), place.engine_new_path(), place.engine_old_path()]);
            if databases.into_iter().any(|database| database.file_name() == Some(&name)) {
                continue;
            }
            if !ours.contains(&name) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}

/// The vault's directory, held against every other process until this is dropped.
pub(super) struct DirectoryLock {
    file: File,
    /// What the file held before, to be put back if the vault is not opened: that is to change nothing.
    before: Option<Vec<u8>>,
}

impl DirectoryLock {
    /// Takes the lock, and writes down who has it for the message that the next comer gets.
    pub(super) fn take(place: &VaultPaths) -> Result<Self, StoreOpenError> {
        let open = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(place.lock());
        let unusable = |source| StoreOpenError::Io { path: place.root.clone(), doing: "take the lock", source };
        let file = open.map_err(unusable)?;
        let mut text = Vec::new();
        match file.try_lock() {
            Ok(()) => {
                (&file).take(64).read_to_end(&mut text).map_err(unusable)?;
                let lock = DirectoryLock { file, before: Some(text) };
                lock.write(format!("{}\n", process::id()).as_bytes());
                Ok(lock)
            }
            Err(TryLockError::Error(error)) => Err(unusable(error)),
            Err(TryLockError::WouldBlock) => {
                let read = (&file).take(64).read_to_end(&mut text).ok();
                let pid = read.and_then(|_| std::str::from_utf8(&text).ok()?.trim_end().parse().ok());
                Err(StoreOpenError::Locked { path: place.root.clone(), pid })
            }
        }
    }

    /// The vault is open: from now on the lock file tells of this process alone.
    pub(super) fn keep(&mut self) {
        self.before = None;
    }

    /// Best effort: on a full disk the vault is locked all the same.
    fn write(&self, text: &[u8]) {
        let _ = self.file.set_len(0).and_then(|()| self.file.write_all_at(text, 0));
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        self.write(self.before.as_deref().unwrap_or_default());
        // A process that is just being forked has this descriptor too, until it runs its program: closing ours would
        // leave the lock with it for a moment.
        let _ = self.file.unlock();
    }
}

/// Makes a file of these bytes, in place of any that is there, durable itself (its entry in the directory is not).
pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Removes a directory with everything in it, if it is there, such that it does not come back with a power cut.
pub(super) fn remove_durably(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| masker_files::sync_directory(path.parent().unwrap_or(Path::new("/")))),
    }
}

/// Every file under a directory.
pub fn files_under(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files.extend(files_under(&entry.path())?);
        } else {
            files.push(entry.path());
        }
    }
    Ok(files)
}

/// Makes the files of a directory, its folders and their entries durable. What goes meanwhile is left out: an open
/// database may remove files of its own at any time.
pub(super) fn sync_tree(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        ignore_not_found(|| {
            if entry.file_type()?.is_dir() { sync_tree(&entry.path()) } else { File::open(entry.path())?.sync_all() }
        })?;
    }
    masker_files::sync_directory(path)
}

/// Takes every right away from everyone but the owner: engines make files with the rights that the process's mask
/// leaves. What goes meanwhile is left out.
pub(super) fn restrict_tree(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        ignore_not_found(|| {
            if entry.file_type()?.is_dir() {
                restrict_tree(&entry.path())
            } else {
                fs::set_permissions(entry.path(), Permissions::from_mode(0o600))
            }
        })?;
    }
    Ok(())
}

fn ignore_not_found(work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    match work() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Makes the system forget what it believes the files hold.
///
/// After a failed sync the page cache holds bytes that the disk never took, marked clean (Rebello et al., "Can
/// Applications Recover from fsync Failures?", 2020). Read back, they would vouch for what is not there.
pub(super) fn drop_cache(path: &Path) -> io::Result<()> {
    for file in files_under(path)? {
        posix_fadvise(File::open(file)?, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
    }
    Ok(())
}

/// Bytes that the files under a directory take on the disk. Files and folders may go meanwhile: engines remove some at any
/// time, and so does the end of a compaction.
pub(super) fn bytes_on_disk(path: &Path) -> io::Result<u64> {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let mut bytes = 0;
    let entries = match fs::read_dir(path) {
        Err(error) if gone(&error) => return Ok(0),
        found => found?,
    };
    for entry in entries {
        let entry = entry?;
        match entry.metadata() {
            Err(error) if gone(&error) => {}
            Err(error) => return Err(error),
            Ok(found) if found.is_dir() => bytes += bytes_on_disk(&entry.path())?,
            // Units of 512 bytes, whatever the file system's own.
            Ok(found) => bytes += found.blocks() * 512,
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_until_dropped_and_names_its_holder() {
        let folder = tempfile::tempdir().unwrap();
        let place = VaultPaths { root: folder.path().to_owned(), kind: EngineKind::Sled };
        fs::write(place.lock(), b"of a process that was killed").unwrap();
        let mut lock = DirectoryLock::take(&place).unwrap();
        let refused = DirectoryLock::take(&place).map(drop).unwrap_err();
        assert!(matches!(refused, StoreOpenError::Locked { pid: Some(pid), .. } if pid == process::id()));
        assert!(refused.to_string().contains(&format!("process {}", process::id())));
        lock.keep();
        drop(lock);
        assert_eq!(fs::read(place.lock()).unwrap(), b"");
        fs::write(place.lock(), b"before").unwrap();
        drop(DirectoryLock::take(&place).unwrap());
        assert_eq!(fs::read(place.lock()).unwrap(), b"before");
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let place = VaultPaths { root: folder.path().join("a/b"), kind: EngineKind::Sled };
        place.prepare().unwrap();
        assert_eq!(fs::metadata(&place.root).unwrap().mode() & 0o777, 0o700);
        for mode in [0o770, 0o702, 0o1777] {
            fs::set_permissions(&place.root, Permissions::from_mode(mode)).unwrap();
            assert!(matches!(place.prepare(), Err(StoreOpenError::Exposed { mode: found, .. }) if found == mode));
        }
        fs::set_permissions(&place.root, Permissions::from_mode(0o750)).unwrap();
        place.prepare().unwrap();
        let file = VaultPaths { root: folder.path().join("file"), kind: EngineKind::Sled };
        fs::write(&file.root, b"").unwrap();
        assert!(matches!(file.prepare(), Err(StoreOpenError::Directory { .. })));
    }
}
