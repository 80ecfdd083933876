//! Reads text files of a limited size.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use masker_core::document::DocumentError;
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
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => TextFileError::NotFound,
        _ => TextFileError::Unreadable(format!("cannot be read: {error}")),
    };
    // Checked before opening: opening a pipe would block until another process writes to it.
    if !path.metadata().map_err(unreadable)?.is_file() {
        return Err(TextFileError::Unreadable("is not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(TEXT_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() as u64 > TEXT_FILE_BYTES_MAX {
        return Err(TextFileError::Unreadable(format!("is over {} KiB long", TEXT_FILE_BYTES_MAX / 1_024)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        TextFileError::NotText(DocumentError { line, message: "is not UTF-8 text".to_owned() })
    })
}
