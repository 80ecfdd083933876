//! Durable operations on directories, and free disk space.
//!
//! A directory or a directory entry that these functions made durable survives a power cut. Every crate that
//! writes files may use this crate; it uses no other crate of masker.

#![warn(missing_docs)]

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::Path,
};

use nix::sys::statvfs::statvfs;

/// Creates a directory and its missing ancestors durably, accessible only to this user. An existing directory stays
/// unchanged.
///
/// # Errors
/// Returns an error if a directory cannot be created or synced, or if a file is in the way.
pub fn create_durably(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(empty) if empty.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    };
    if !parent.exists() {
        create_durably(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && fs::metadata(path)?.is_dir() => Ok(()),
        created => created.and_then(|()| sync_directory(parent)),
    }
}

/// Makes the entries of a directory durable, after files in it were created, renamed or removed.
///
/// # Errors
/// Returns an error if the directory cannot be opened or synced.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Returns the bytes that this user can still write to the file system of a file or directory.
///
/// # Errors
/// Returns an error if the file system cannot be queried.
pub fn bytes_free(path: &Path) -> io::Result<u64> {
    let statistics = statvfs(path)?;
    Ok(statistics.blocks_available() * statistics.fragment_size())
}
