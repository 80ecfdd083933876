//! The directory of a backup that is being written: it has a hidden name until it is complete.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{AUDIT, CONFIG, EXPORT, POLICIES, failed, manifest::MANIFEST};
use crate::context::CommandError;
use masker_files::{rename_without_replacing, sync_directory};

/// A backup that is being written. It is removed if it is dropped before it is complete.
pub(super) struct PendingBackup {
    /// The hidden directory; `None` once it has its name.
    path: Option<PathBuf>,
    target: PathBuf,
    /// Locked for as long as it is written.
    _lock: File,
}

impl PendingBackup {
    /// Creates the hidden directory of a backup. What a killed command has left of the same name is removed.
    ///
    /// # Errors
    /// The directory exists, or cannot be created, or another command writes it.
    pub(super) fn create(target: &Path) -> Result<Self, CommandError> {
        if target.symlink_metadata().is_ok() {
            return Err(CommandError::Other(format!(
                "{} exists already: a backup is written into a new directory",
                target.display()
            )));
        }
        let path = hidden_name(target)?;
        if path.symlink_metadata().is_ok() {
            remove_unfinished(&path)?;
        }
        DirBuilder::new().mode(0o700).create(&path).map_err(|error| failed("create", &path, &error))?;
        let lock = lock(&path)?;
        Ok(PendingBackup { path: Some(path), target: target.to_owned(), _lock: lock })
    }

    /// Returns the directory as it is called now.
    pub(super) fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(&self.target)
    }

    /// Creates a file in it.
    pub(super) fn file(&self, name: &str) -> Result<File, CommandError> {
        let path = self.path().join(name);
        let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        created.map_err(|error| failed("create", &path, &error))
    }

    /// Creates a directory in it.
    pub(super) fn directory(&self, name: &str) -> Result<PathBuf, CommandError> {
        let path = self.path().join(name);
        DirBuilder::new().mode(0o700).create(&path).map_err(|error| failed("create", &path, &error))?;
        Ok(path)
    }

    /// Writes a file durably.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), CommandError> {
        let mut file = self.file(name)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        written.map_err(|error| failed("write", &self.path().join(name), &error))
    }

    /// Gives the directory its name, durably.
    pub(super) fn complete(mut self) -> Result<(), CommandError> {
        let named = |error: &io::Error| failed("create", &self.target, error);
        for inner in [POLICIES, AUDIT].map(|name| self.path().join(name)) {
            if inner.is_dir() {
                sync_directory(&inner).map_err(|error| failed("write", &inner, &error))?;
            }
        }
        sync_directory(self.path()).map_err(|error| failed("write", self.path(), &error))?;
        rename_without_replacing(self.path(), &self.target).map_err(|error| named(&error))?;
        self.path = None;
        sync_directory(parent(&self.target)).map_err(|error| failed("write", parent(&self.target), &error))
    }
}

impl Drop for PendingBackup {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // If it cannot be removed, the next command of the same name tries again.
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Returns the directory that a path is in.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn hidden_name(target: &Path) -> Result<PathBuf, CommandError> {
    let name = target.file_name().ok_or_else(|| {
        CommandError::Usage(format!(
            "{} has no name of its own: name the directory that is to be made",
            target.display()
        ))
    })?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".partial");
    Ok(parent(target).join(hidden))
}

fn lock(path: &Path) -> Result<File, CommandError> {
    let directory = File::open(path).map_err(|error| failed("open", path, &error))?;
    match directory.try_lock() {
        Ok(()) => Ok(directory),
        Err(TryLockError::WouldBlock) => {
            Err(CommandError::Other(format!("another command is writing {}: wait until it ends", path.display())))
        }
        Err(TryLockError::Error(error)) => Err(failed("lock", path, &error)),
    }
}

/// Removes what a killed command has left.
///
/// # Errors
/// A command still writes it, or it has something that no backup has.
pub(super) fn remove_unfinished(path: &Path) -> Result<(), CommandError> {
    let _lock = lock(path)?;
    let known = [EXPORT, CONFIG, POLICIES, AUDIT, MANIFEST];
    for entry in fs::read_dir(path).map_err(|error| failed("list", path, &error))? {
        let name = entry.map_err(|error| failed("list", path, &error))?.file_name();
        if !known.iter().any(|known| name == *known) {
            return Err(CommandError::Other(format!(
                "{} is in the way: it has {name:?}, which is not of a backup; move it away",
                path.display()
            )));
        }
    }
    fs::remove_dir_all(path).map_err(|error| failed("remove", path, &error))
}
