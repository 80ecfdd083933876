//! Reads key files.

use std::{
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
};

use zeroize::Zeroizing;

use masker_files::open_regular;

use masker_types::limits::KEY_FILE_BYTES_MAX;

/// The mode bits of other users than the owner.
const OTHERS: u32 = 0o077;

/// Why a key file was not read. The text continues after the name of the file.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyFileError {
    /// The file does not exist.
    #[error("cannot be read: there is no such file")]
    NotFound,
    /// The system does not allow reading it.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// It is not a regular file.
    #[error("is not a regular file, which a reload could read again")]
    NotRegular,
    /// It contains more than a key.
    #[error("is over {KEY_FILE_BYTES_MAX} bytes long, which is more than a key")]
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

/// The contents of a key file.
pub(super) struct KeyFile {
    /// The bytes, which are wiped when they are dropped.
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// Whether its mode lets other users than the owner read or change it.
    pub(super) open_to_others: bool,
}

/// Reads a regular file of at most [`KEY_FILE_BYTES_MAX`] into one buffer that never grows, so that no copy of the key is
/// left in memory.
pub(super) fn read(path: &Path) -> Result<KeyFile, KeyFileError> {
    let (mut file, metadata) = open_regular(path)?.ok_or(KeyFileError::NotRegular)?;
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
