//! Files that hold a key.

use std::{
    fs::OpenOptions,
    io::Read,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use zeroize::Zeroizing;

use crate::limits::KEY_FILE_BYTES_MAX;

/// Mode bits with which others than the owner can read or change a file.
const OTHERS: u32 = 0o077;

/// What a key file holds.
pub(super) struct KeyFile {
    /// The bytes, wiped when dropped.
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// Whether its mode lets others than its owner in.
    pub(super) open_to_others: bool,
}

/// Reads a regular file of at most [`KEY_FILE_BYTES_MAX`] into one buffer that never grows, so that no copy is left.
///
/// # Errors
/// What is wrong, going on from the name of the file.
pub(super) fn read(path: &Path) -> Result<KeyFile, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    // Without waiting: opening a pipe that nobody writes to would never return.
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(cannot)?;
    let metadata = file.metadata().map_err(cannot)?;
    if !metadata.is_file() {
        return Err("is not a regular file: keys are read again on a reload, which only a file allows".to_owned());
    }
    let capacity = usize::try_from(KEY_FILE_BYTES_MAX).map_or(usize::MAX, |limit| limit + 1);
    let mut bytes = Zeroizing::new(vec![0; capacity]);
    let mut length = 0;
    while length < bytes.len() {
        match file.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(cannot(error)),
        }
    }
    if length == capacity {
        return Err(format!("is over {KEY_FILE_BYTES_MAX} bytes long, so it holds more than a key"));
    }
    bytes.truncate(length);
    Ok(KeyFile { bytes, open_to_others: metadata.mode() & OTHERS != 0 })
}
