//! Reads text files of a limited size.

use std::{
    fs::Metadata,
    io::{self, Read},
    path::Path,
};

use masker_core::document::DocumentError;
use masker_files::open_regular;
use masker_types::limits::TEXT_FILE_BYTES_MAX;

/// Why a text file could not be read.
pub(super) enum TextFileError {
    /// The file does not exist.
    NotFound,
    /// The file could not be read. The text says why.
    Unreadable(String),
    /// A line is not UTF-8.
    NotText(DocumentError),
}

impl TextFileError {
    /// Returns the line, if the error has one, and the message.
    pub(super) fn into_parts(self) -> (Option<usize>, String) {
        match self {
            TextFileError::NotFound => (None, "there is no such file".to_owned()),
            TextFileError::Unreadable(message) => (None, message),
            TextFileError::NotText(problem) => (Some(problem.line), problem.message),
        }
    }
}

/// Reads a regular file of at most [`TEXT_FILE_BYTES_MAX`].
pub(super) fn read(path: &Path) -> Result<String, TextFileError> {
    read_with_metadata(path).map(|(text, _)| text)
}

/// Reads as [`read`], and returns the metadata of the file that was read.
pub(super) fn read_with_metadata(path: &Path) -> Result<(String, Metadata), TextFileError> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => TextFileError::NotFound,
        io::ErrorKind::PermissionDenied => TextFileError::Unreadable(format!(
            "cannot be read: {error}; run this as root, as the daemon's user or as the owner of the file"
        )),
        _ => TextFileError::Unreadable(format!("cannot be read: {error}")),
    };
    let Some((file, metadata)) = open_regular(path).map_err(unreadable)? else {
        return Err(TextFileError::Unreadable("is not a regular file".to_owned()));
    };
    let mut bytes = Vec::new();
    file.take(TEXT_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > TEXT_FILE_BYTES_MAX {
        return Err(TextFileError::Unreadable(format!("is over {} KiB long", TEXT_FILE_BYTES_MAX / 1_024)));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        TextFileError::NotText(DocumentError { line, message: "is not UTF-8 text".to_owned() })
    })?;
    Ok((text, metadata))
}
