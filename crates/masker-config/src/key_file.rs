//! Files that hold a key.

use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use zeroize::Zeroizing;

use masker_types::limits::KEY_FILE_BYTES_MAX;

/// Mode bits with which others than the owner can read or change a file.
const OTHERS: u32 = 0o077;

/// Why a key file was not read; the text goes on from its name.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyFileError {
    /// There is none.
    #[error("cannot be read: there is no such file")]
    NotFound,
    /// The system does not let it be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// It is no regular file.
    #[error("is not a regular file: keys are read again on a reload, which only a file allows")]
    NotRegular,
    /// It holds more than a key.
    #[error("is over {KEY_FILE_BYTES_MAX} bytes long, so it holds more than a key")]
    TooLong,
}

impl From<io::Error> for KeyFileError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => KeyFileError::NotFound,
            _ => KeyFileError::Unreadable(error),
        }
    }
}

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
/// What is wrong with it.
pub(super) fn read(path: &Path) -> Result<KeyFile, KeyFileError> {
    // Without waiting: opening a pipe that nobody writes to would never return.
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(KeyFileError::NotRegular);
    }
    let capacity = usize::try_from(KEY_FILE_BYTES_MAX).map_or(usize::MAX, |limit| limit + 1);
    let mut bytes = Zeroizing::new(vec![0; capacity]);
    let mut length = 0;
    while length < bytes.len() {
        match file.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    if length == capacity {
        return Err(KeyFileError::TooLong);
    }
    bytes.truncate(length);
    Ok(KeyFile { bytes, open_to_others: metadata.mode() & OTHERS != 0 })
}
