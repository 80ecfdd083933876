//! Where the results of a command on texts go.

use std::{
    fs,
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::source::STANDARD;
use crate::{context::CommandError, format::io_error, output::Output};
use masker_files::PendingFile;

/// Standard output, or a file that gets its name when it is complete.
pub(super) enum TextTarget {
    Output,
    File { file: BufWriter<PendingFile>, path: PathBuf },
}

impl TextTarget {
    /// Opens the target of `--output`.
    ///
    /// # Errors
    /// The path is not that of a file, or the file cannot be created beside it.
    pub(super) fn open(output: Option<&Path>) -> Result<Self, CommandError> {
        let Some(named) = output.filter(|path| *path != Path::new(STANDARD)) else { return Ok(TextTarget::Output) };
        let failed = |error: io::Error| write_error(named, &error);
        let (path, mode) = match named.metadata() {
            // A rename would replace a device or a pipe by a file.
            Ok(found) if !found.is_file() => {
                let message =
                    format!("--output {}: it is not a file; redirect standard output instead", named.display());
                return Err(CommandError::Usage(message));
            }
            // Of a link, the file that it leads to is replaced.
            Ok(found) => (fs::canonicalize(named).map_err(failed)?, Some(found.permissions().mode() & 0o7777)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (named.to_owned(), None),
            Err(error) => return Err(failed(error)),
        };
        let file = PendingFile::create(&path).map_err(failed)?;
        mode.map_or(Ok(()), |mode| file.set_mode(mode)).map_err(failed)?;
        Ok(TextTarget::File { file: BufWriter::new(file), path: named.to_owned() })
    }

    /// Returns whether results go to standard output.
    pub(super) fn is_output(&self) -> bool {
        matches!(self, TextTarget::Output)
    }

    /// Writes a part of a text.
    pub(super) fn text(&mut self, text: &str, output: &mut Output) -> Result<(), CommandError> {
        match self {
            TextTarget::Output => output.text(text),
            TextTarget::File { .. } => self.bytes(text.as_bytes(), output),
        }
    }

    /// Writes bytes unchanged.
    pub(super) fn bytes(&mut self, bytes: &[u8], output: &mut Output) -> Result<(), CommandError> {
        match self {
            TextTarget::Output => output.bytes(bytes),
            TextTarget::File { file, path } => file.write_all(bytes).map_err(|error| write_error(path, &error)),
        }
    }

    /// Writes what is buffered for standard output.
    pub(super) fn flush(&self, output: &mut Output) -> Result<(), CommandError> {
        if self.is_output() { output.flush() } else { Ok(()) }
    }

    /// Gives the file its name, once it is on disk.
    pub(super) fn finish(self) -> Result<(), CommandError> {
        let TextTarget::File { file, path } = self else { return Ok(()) };
        let file = file.into_inner().map_err(|error| write_error(&path, error.error()))?;
        file.persist(true).map_err(|error| write_error(&path, &error))
    }

    /// Returns what to know of the results of a run that ended early; `is_begun` says whether something was written.
    pub(super) fn advice(&self, is_begun: bool) -> Option<String> {
        match self {
            TextTarget::Output => is_begun.then(|| "The output is not complete: discard it".to_owned()),
            TextTarget::File { path, .. } => Some(format!("{} was not changed", path.display())),
        }
    }
}

fn write_error(path: &Path, error: &io::Error) -> CommandError {
    CommandError::Other(format!("failed to write {}: {}", path.display(), io_error(error)))
}
