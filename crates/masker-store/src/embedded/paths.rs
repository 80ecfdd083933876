//! The data directory: its paths, its owner and lock, and durable operations on its files.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process,
};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use masker_files::{DirectoryProblem, LOST_AND_FOUND};
use masker_types::{audit::AUDIT_DIRECTORY, engine::EngineKind};

use super::open_error::StoreOpenError;

/// The directory within a data directory in which a restore builds the vault. While it is there, no vault is opened.
pub const RESTORING: &str = "restoring";

/// The paths of a vault whose database is of one engine.
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

    /// Returns the path of the database.
    pub(super) fn database(&self) -> PathBuf {
        self.root.join(self.kind.name())
    }

    /// Returns the path of the database that a compaction or a migration builds.
    pub(super) fn new_database(&self) -> PathBuf {
        self.root.join(format!("{}.new", self.kind))
    }

    /// Returns the path of the database that a compaction or a migration replaces.
    pub(super) fn old_database(&self) -> PathBuf {
        self.root.join(format!("{}.old", self.kind))
    }

    /// Returns the paths of this vault for each engine.
    pub(super) fn for_each_engine(&self) -> impl Iterator<Item = VaultPaths> {
        EngineKind::all().map(|kind| VaultPaths { root: self.root.clone(), kind })
    }

    /// Returns the engine of the database in the directory; of two, this one. Between the two renames of a migration, it is
    /// the engine of the database that is being replaced.
    pub(super) fn existing_engine(&self) -> Option<EngineKind> {
        let all = || std::iter::once(self.clone()).chain(self.for_each_engine());
        let current = all().find(|paths| paths.database().exists());
        current.or_else(|| all().find(|paths| paths.old_database().exists())).map(|paths| paths.kind)
    }

    /// Returns the engine of a database beside this one. No compaction or migration leaves two, not even one that was
    /// interrupted.
    pub(super) fn second_database(&self) -> Option<EngineKind> {
        let others = self.for_each_engine().filter(|paths| paths.kind != self.kind);
        let mut second = others.filter(|paths| paths.database().exists() && self.database().exists());
        second.next().map(|paths| paths.kind)
    }

    /// Returns the path of the copy that recovery is tried on.
    pub(super) fn recovery_copy(&self) -> PathBuf {
        self.root.join("rehearsal")
    }

    /// Creates the directory, or checks that only this user can write to it and that it contains a vault or nothing.
    pub(super) fn prepare(&self) -> Result<(), StoreOpenError> {
        let path = || self.root.clone();
        let unusable = |source| StoreOpenError::Directory { path: path(), source };
        masker_files::open_private_directory(&self.root).map_err(|problem| match problem {
            DirectoryProblem::Unusable(source) => unusable(source),
            DirectoryProblem::Owner { owner, runs_as } => StoreOpenError::Owner { path: path(), owner, runs_as },
            DirectoryProblem::Exposed { mode } => StoreOpenError::Exposed { path: path(), mode },
        })?;
        check_not_restoring(&self.root)?;
        match self.foreign_entry().map_err(unusable)? {
            Some(entry) if !self.witness().exists() && self.existing_engine().is_none() => {
                Err(StoreOpenError::Foreign { path: path(), entry: entry.to_string_lossy().into_owned() })
            }
            _ => Ok(()),
        }
    }

    /// Returns an entry of the directory that belongs neither to a vault, nor to the audit log, nor to a file system's root.
    fn foreign_entry(&self) -> io::Result<Option<OsString>> {
        let ours = self.entries();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name();
            let beside = ["lock", LOST_AND_FOUND, AUDIT_DIRECTORY].iter().any(|known| name == *known);
            if !beside && !ours.contains(&entry.path()) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Returns the paths at which the vault ever has data.
    fn entries(&self) -> Vec<PathBuf> {
        let databases =
            self.for_each_engine().flat_map(|paths| [paths.database(), paths.new_database(), paths.old_database()]);
        [self.witness(), self.root.join("witness.new"), self.recovery_copy()].into_iter().chain(databases).collect()
    }

    /// Returns the files of the vault. Other files in its directory are no concern of it.
    ///
    /// # Errors
    /// An I/O error if a directory cannot be read.
    pub(super) fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in self.entries() {
            match entry.symlink_metadata() {
                Ok(found) if found.is_dir() => files.extend(files_under(&entry)?),
                Ok(_) => files.push(entry),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }

    /// Returns the size of the vault's files on disk.
    pub(super) fn bytes_on_disk(&self) -> io::Result<u64> {
        self.entries().iter().map(|entry| bytes_on_disk(entry)).sum()
    }

    /// Drops the page cache of the vault's files.
    ///
    /// After a failed sync, the page cache contains bytes that never reached the disk, marked clean (Rebello et al., "Can
    /// Applications Recover from fsync Failures?", 2020). Reading them would hide the loss.
    pub(super) fn drop_cache(&self) -> io::Result<()> {
        for path in self.files()? {
            let dropped = File::open(&path)
                .and_then(|file| Ok(posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?));
            dropped.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        }
        Ok(())
    }
}

/// Returns the paths at which a vault in this directory has its data: the witness and the database of each engine.
pub fn vault_entries(data_dir: &Path) -> Vec<PathBuf> {
    let paths = VaultPaths { root: data_dir.to_owned(), kind: EngineKind::default() };
    let databases = paths.for_each_engine().map(|paths| paths.database());
    [paths.witness()].into_iter().chain(databases).collect()
}

/// Returns whether this directory has a vault. To open one that does not exist would create it.
pub fn vault_exists(data_dir: &Path) -> bool {
    vault_entries(data_dir).iter().any(|entry| entry.exists())
}

/// Returns the files of the vault in this directory.
///
/// # Errors
/// An I/O error if a directory cannot be read.
pub fn vault_files(data_dir: &Path) -> io::Result<Vec<PathBuf>> {
    VaultPaths { root: data_dir.to_owned(), kind: EngineKind::default() }.files()
}

/// A lock on the data directory, held until dropped.
pub(super) struct DataDirectoryLock {
    file: File,
    /// The earlier content of the lock file, which is restored if the vault is not opened.
    before: Option<Vec<u8>>,
}

impl DataDirectoryLock {
    /// Takes the lock, and writes this process's id into the file, for the error message of other processes.
    pub(super) fn take(paths: &VaultPaths) -> Result<Self, StoreOpenError> {
        let unreadable = |source| StoreOpenError::Io { path: paths.root.clone(), doing: "look at the files", source };
        check_file_types(&paths.root).map_err(unreadable)?;
        let open = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(paths.lock());
        let unusable = |source| StoreOpenError::Io { path: paths.root.clone(), doing: "take the lock", source };
        let file = open.map_err(unusable)?;
        let mut text = Vec::new();
        match file.try_lock() {
            Ok(()) => {
                (&file).take(64).read_to_end(&mut text).map_err(unusable)?;
                let lock = DataDirectoryLock { file, before: Some(text) };
                lock.write(format!("{}\n", process::id()).as_bytes());
                Ok(lock)
            }
            Err(TryLockError::Error(error)) => Err(unusable(error)),
            Err(TryLockError::WouldBlock) => {
                let read = (&file).take(64).read_to_end(&mut text).ok();
                let pid = read.and_then(|_| std::str::from_utf8(&text).ok()?.trim_end().parse().ok());
                Err(StoreOpenError::Locked { path: paths.root.clone(), pid })
            }
        }
    }

    /// Drops the earlier content of the file, because the vault is open.
    pub(super) fn mark_opened(&mut self) {
        self.before = None;
    }

    /// Writes the file as far as possible: on a full disk the vault is locked nevertheless.
    fn write(&self, text: &[u8]) {
        let _ = self.file.set_len(0).and_then(|()| self.file.write_all_at(text, 0));
    }
}

impl Drop for DataDirectoryLock {
    fn drop(&mut self) {
        self.write(self.before.as_deref().unwrap_or_default());
        // Between fork and exec a child process has this descriptor too, so closing ours would not release the lock.
        let _ = self.file.unlock();
    }
}

/// Checks that a directory has no pipes and devices, except the directory of an audit log, whose reader knows them. Opening a pipe
/// without a writer would never return, and the engine opens what it finds.
fn check_file_types(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        // Who opens the files says better what is wrong.
        Err(_) => return Ok(()),
        Ok(entries) => entries,
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        // What a link leads to may be on another disk, or gone.
        let Ok(found) = fs::metadata(&path) else { continue };
        let kind = found.file_type();
        if found.is_dir() && entry.file_name() != LOST_AND_FOUND && entry.file_name() != AUDIT_DIRECTORY {
            check_file_types(&path)?;
        } else if kind.is_fifo() || kind.is_char_device() || kind.is_block_device() {
            let message = format!(
                "{} is not a regular file: restore it from a backup, or remove it if it is not the vault's",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
    }
    Ok(())
}

/// Checks that no restore into this directory was interrupted.
pub(super) fn check_not_restoring(root: &Path) -> Result<(), StoreOpenError> {
    match root.join(RESTORING).symlink_metadata() {
        Ok(_) => Err(StoreOpenError::Restoring { path: root.to_owned() }),
        Err(_) => Ok(()),
    }
}

/// Creates or replaces a file with these bytes, durably. Its directory entry is not synced.
pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Renames a file or directory within one directory, durably. After an error it may have either name.
pub(super) fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    masker_files::sync_directory(to.parent().unwrap_or(Path::new("/")))
}

/// Removes a directory and its contents durably, if it exists.
pub(super) fn remove_durably(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| masker_files::sync_directory(path.parent().unwrap_or(Path::new("/")))),
    }
}

/// Returns every file under a directory.
///
/// # Errors
/// An I/O error if a directory cannot be read.
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

/// Makes the files under a directory and their entries durable. Skips files that disappear meanwhile: an open database may
/// remove files at any time.
pub(super) fn sync_tree(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        ignore_not_found(|| {
            if entry.file_type()?.is_dir() { sync_tree(&entry.path()) } else { File::open(entry.path())?.sync_all() }
        })?;
    }
    masker_files::sync_directory(path)
}

/// Removes all permissions of other users: engines create files with the permissions that the process's umask leaves.
/// Skips files that disappear meanwhile.
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

/// Returns the size on disk of a file, or of the files under a directory. Skips files that disappear meanwhile: engines remove
/// files at any time, and so does the end of a compaction.
pub(super) fn bytes_on_disk(path: &Path) -> io::Result<u64> {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let mut bytes = 0;
    let entries = match fs::read_dir(path) {
        Err(error) if gone(&error) => return Ok(0),
        // Blocks are 512 bytes on every file system.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Ok(path.symlink_metadata()?.blocks() * 512);
        }
        found => found?,
    };
    for entry in entries {
        let entry = entry?;
        match entry.metadata() {
            Err(error) if gone(&error) => {}
            Err(error) => return Err(error),
            Ok(found) if found.is_dir() => bytes += bytes_on_disk(&entry.path())?,
            Ok(found) => bytes += found.blocks() * 512,
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_until_dropped_and_names_its_process() {
        let folder = tempfile::tempdir().unwrap();
        let paths = VaultPaths { root: folder.path().to_owned(), kind: EngineKind::Fjall };
        fs::write(paths.lock(), b"of a process that was killed").unwrap();
        let mut lock = DataDirectoryLock::take(&paths).unwrap();
        let refused = DataDirectoryLock::take(&paths).map(drop).unwrap_err();
        assert!(matches!(refused, StoreOpenError::Locked { pid: Some(pid), .. } if pid == process::id()));
        assert!(refused.to_string().contains(&format!("process {}", process::id())));
        lock.mark_opened();
        drop(lock);
        assert_eq!(fs::read(paths.lock()).unwrap(), b"");
        fs::write(paths.lock(), b"before").unwrap();
        drop(DataDirectoryLock::take(&paths).unwrap());
        assert_eq!(fs::read(paths.lock()).unwrap(), b"before");
    }

    #[test]
    fn a_pipe_is_refused_before_it_is_opened() {
        for entry in ["lock", "witness", "fjall/0.jnl", "fjall/keyspaces/1/tables/3"] {
            let folder = tempfile::tempdir().unwrap();
            let paths = VaultPaths { root: folder.path().to_owned(), kind: EngineKind::Fjall };
            let path = folder.path().join(entry);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            assert!(process::Command::new("mkfifo").arg(&path).status().unwrap().success());
            let refused = DataDirectoryLock::take(&paths).map(drop).unwrap_err().to_string();
            assert!(refused.contains(entry) && refused.contains("not a regular file"), "{refused}");
        }
    }

    #[test]
    fn a_directory_has_a_vault_if_it_has_a_witness_or_a_database() {
        for entry in ["witness", "fjall", "sled"] {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("audit")).unwrap();
            assert!(!vault_exists(folder.path()));
            fs::create_dir(folder.path().join(entry)).unwrap();
            assert!(vault_exists(folder.path()), "{entry}");
        }
    }

    #[test]
    fn rejects_a_directory_that_others_can_write() {
        let folder = tempfile::tempdir().unwrap();
        let paths = VaultPaths { root: folder.path().join("a/b"), kind: EngineKind::Fjall };
        paths.prepare().unwrap();
        assert_eq!(fs::metadata(&paths.root).unwrap().mode() & 0o777, 0o700);
        for mode in [0o770, 0o702, 0o1777] {
            fs::set_permissions(&paths.root, Permissions::from_mode(mode)).unwrap();
            assert!(matches!(paths.prepare(), Err(StoreOpenError::Exposed { mode: found, .. }) if found == mode));
        }
        fs::set_permissions(&paths.root, Permissions::from_mode(0o750)).unwrap();
        paths.prepare().unwrap();
        let file = VaultPaths { root: folder.path().join("file"), kind: EngineKind::Fjall };
        fs::write(&file.root, b"").unwrap();
        assert!(matches!(file.prepare(), Err(StoreOpenError::Directory { .. })));
    }
}
