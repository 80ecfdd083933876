//! Directories: whose entries survive a power cut, and what room there is for more.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::Path,
};

use nix::sys::statvfs::statvfs;

/// Makes a directory, and those above it that are missing, for this user alone, such that they are still there after a
/// power cut. One that is there already stays as it is.
///
/// # Errors
/// The first that could not be made, or is no directory.
pub fn create_durably(path: &Path) -> io::Result<()> {
    let above = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    };
    if !above.exists() {
        create_durably(above)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && fs::metadata(path)?.is_dir() => Ok(()),
        created => created.and_then(|()| sync_directory(above)),
    }
}

/// Makes the entries of a directory durable: files made in it, renamed or removed.
///
/// # Errors
/// Why the directory could not be opened or synced.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Bytes that this user can still write to the disk that a file or directory is on.
///
/// # Errors
/// Why the disk could not be asked.
pub fn bytes_free(path: &Path) -> io::Result<u64> {
    let found = statvfs(path)?;
    Ok(found.blocks_available() * found.fragment_size())
}
