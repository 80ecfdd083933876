//! The errors of configuration files and variables.

use std::{fmt, path::Path};

use super::text_file::TextFileError;
use masker_core::document::DocumentError;

/// One error.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigError {
    /// A file, or the name of a variable.
    pub place: String,
    /// The line of the file, from 1, if the error has one.
    pub line: Option<usize>,
    /// The error, and what to do about it.
    pub message: String,
}

impl fmt::Display for ConfigError {
    /// Writes `place:line: message`, as compilers do, so that editors can jump there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.place, self.message),
            None => write!(f, "{}: {}", self.place, self.message),
        }
    }
}

/// All errors, at least one. They are displayed one per line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.0.iter().map(ConfigError::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// Returns the errors.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &ConfigError> {
        self.0.iter()
    }
}

/// Collects errors, so that all are reported at once.
#[derive(Default)]
pub(super) struct ErrorCollector(Vec<ConfigError>);

impl ErrorCollector {
    /// Adds an error of a whole file or a variable.
    pub(super) fn add(&mut self, place: impl fmt::Display, message: impl Into<String>) {
        self.0.push(ConfigError { place: place.to_string(), line: None, message: message.into() });
    }

    /// Adds the errors of a file.
    pub(super) fn add_problems(&mut self, file: &Path, problems: Vec<DocumentError>) {
        let place = file.display().to_string();
        let error = |problem: DocumentError| ConfigError {
            place: place.clone(),
            line: Some(problem.line),
            message: problem.message,
        };
        self.0.extend(problems.into_iter().map(error));
    }

    /// Adds the error of a file that could not be read.
    pub(super) fn add_text_file_error(&mut self, file: &Path, error: TextFileError) {
        let (line, message) = error.into_parts();
        self.0.push(ConfigError { place: file.display().to_string(), line, message });
    }

    /// Returns whether there are no errors.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns `value` if there are no errors.
    pub(super) fn into_result<T>(self, value: Option<T>) -> Result<T, ConfigErrors> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(ConfigErrors(self.0)),
        }
    }
}
