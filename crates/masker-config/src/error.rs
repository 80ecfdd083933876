//! What is wrong with files and variables that an operator wrote.

use std::{fmt, path::Path};

use super::text_file::TextFileError;
use masker_core::document::DocumentError;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigError {
    /// A file, or the name of a variable.
    pub place: String,
    /// The line of the file, counted from 1, where it is about one.
    pub line: Option<usize>,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for ConfigError {
    /// `place:line: message`, as compilers do, so that editors can jump there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.place, self.message),
            None => write!(f, "{}: {}", self.place, self.message),
        }
    }
}

/// Everything that is wrong: at least one fault, each on a line of its own.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.0.iter().map(ConfigError::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// The faults.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &ConfigError> {
        self.0.iter()
    }
}

/// Gathers faults while work goes on.
#[derive(Default)]
pub(super) struct ErrorCollector(Vec<ConfigError>);

impl ErrorCollector {
    /// Notes one about a whole file or a variable.
    pub(super) fn add(&mut self, place: impl fmt::Display, message: impl Into<String>) {
        self.0.push(ConfigError { place: place.to_string(), line: None, message: message.into() });
    }

    /// Notes the problems of a file.
    pub(super) fn add_problems(&mut self, file: &Path, problems: Vec<DocumentError>) {
        let place = file.display().to_string();
        let fault = |problem: DocumentError| ConfigError {
            place: place.clone(),
            line: Some(problem.line),
            message: problem.message,
        };
        self.0.extend(problems.into_iter().map(fault));
    }

    /// Notes why a file could not be read.
    pub(super) fn add_text_file_error(&mut self, file: &Path, error: TextFileError) {
        let (line, message) = error.into_parts();
        self.0.push(ConfigError { place: file.display().to_string(), line, message });
    }

    /// Whether nothing was noted.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was made, if nothing is wrong.
    pub(super) fn or<T>(self, made: Option<T>) -> Result<T, ConfigErrors> {
        match made {
            Some(made) if self.0.is_empty() => Ok(made),
            _ => Err(ConfigErrors(self.0)),
        }
    }
}
