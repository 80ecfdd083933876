//! Opens regular files.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Opens a file for reading. Returns `None` if it is not a regular file.
pub(super) fn open_regular(path: &Path) -> io::Result<Option<(File, Metadata)>> {
    // Non-blocking, because opening a pipe without a writer would never return.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    Ok(metadata.is_file().then_some((file, metadata)))
}
