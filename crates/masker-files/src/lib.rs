//! Durable operations on files and directories, and free disk space.
//!
//! A directory or a directory entry that these functions made durable survives a power cut. Every crate that
//! writes files may use this crate; it uses no other crate of masker.

#![warn(missing_docs)]

mod open_directory;
mod pending;

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

use nix::{libc, sys::statvfs::statvfs, unistd::geteuid};

/// The directory in the root of a file system where fsck(8) puts what it finds. It belongs to nobody who stores files there.
pub const LOST_AND_FOUND: &str = "lost+found";

/// Opens a file for reading. Returns `None` if it is not a regular file.
///
/// # Errors
/// An I/O error if it cannot be opened.
pub fn open_regular(path: &Path) -> io::Result<Option<(File, Metadata)>> {
    // Non-blocking, because opening a pipe without a writer would never return.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    Ok(metadata.is_file().then_some((file, metadata)))
}

/// Opens a file for reading, as [`open_regular`], where only a regular file is of use.
///
/// # Errors
/// An I/O error if it cannot be opened; one of the kind `InvalidData` if it is not a regular file.
pub fn read_regular(path: &Path) -> io::Result<File> {
    let not_regular = || io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file");
    open_regular(path)?.map(|(file, _)| file).ok_or_else(not_regular)
}

/// Returns what to do about an error of the files in a private directory, as it follows the error in a message; empty if nothing
/// is known. Files that another user has put there, as root by a copy, are the usual cause.
pub fn owner_advice(directory: &Path, error: &io::Error) -> String {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return String::new();
    }
    let path = directory.display();
    format!(
        "; give all files in it to the owner of the directory, as root, and let it read and write them: `chown --recursive \
         --reference={path} {path}` and `chmod --recursive u+rwX {path}`"
    )
}

/// Why a directory is not private.
#[derive(Debug)]
pub enum DirectoryProblem {
    /// It is not a directory, or the system does not allow its use.
    Unusable(io::Error),
    /// It belongs to another user.
    Owner {
        /// The uid of its owner.
        owner: u32,
        /// The uid that this process runs as.
        runs_as: u32,
    },
    /// Other users may write to it.
    Exposed {
        /// Its permission bits.
        mode: u32,
    },
}

/// Creates a directory durably, or checks that it belongs to this user and that no other user may write to it. Returns it
/// open.
///
/// # Errors
/// [`DirectoryProblem`].
pub fn open_private_directory(path: &Path) -> Result<File, DirectoryProblem> {
    // Otherwise a pipe without a writer would block.
    let open = || OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path);
    let directory = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => create_durably(path).and_then(|()| open()),
        opened => opened,
    };
    let runs_as = geteuid().as_raw();
    let directory = directory.map_err(|error| match fs::metadata(path) {
        // That explains why it cannot be opened.
        Ok(found) if found.is_dir() && found.uid() != runs_as => {
            DirectoryProblem::Owner { owner: found.uid(), runs_as }
        }
        _ => DirectoryProblem::Unusable(error),
    })?;
    let metadata = directory.metadata().map_err(DirectoryProblem::Unusable)?;
    let owner = metadata.uid();
    if owner != runs_as {
        Err(DirectoryProblem::Owner { owner, runs_as })
    } else if metadata.mode() & 0o022 != 0 {
        Err(DirectoryProblem::Exposed { mode: metadata.mode() & 0o7777 })
    } else {
        Ok(directory)
    }
}

pub use self::{
    open_directory::OpenDirectory,
    pending::{PendingFile, remove_unnamed, rename_without_replacing},
};

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
