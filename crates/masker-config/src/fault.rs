//! What is wrong with files and variables that an operator wrote.

use std::{fmt, path::Path};

use super::text_file::TextFileError;
use masker_core::document::Problem;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// A file, or the name of a variable.
    pub place: String,
    /// The line of the file, counted from 1, where it is about one.
    pub line: Option<usize>,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Fault {
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
#[error("{}", self.0.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// The faults.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Fault> {
        self.0.iter()
    }
}

/// Gathers faults while work goes on.
#[derive(Default)]
pub(super) struct Gathered(Vec<Fault>);

impl Gathered {
    /// Notes one about a whole file or a variable.
    pub(super) fn add(&mut self, place: impl fmt::Display, message: impl Into<String>) {
        self.0.push(Fault { place: place.to_string(), line: None, message: message.into() });
    }

    /// Notes the problems of a file.
    pub(super) fn add_problems(&mut self, file: &Path, problems: Vec<Problem>) {
        let place = file.display().to_string();
        let fault =
            |problem: Problem| Fault { place: place.clone(), line: Some(problem.line), message: problem.message };
        self.0.extend(problems.into_iter().map(fault));
    }

    /// Notes why a file could not be read.
    pub(super) fn add_text_file_error(&mut self, file: &Path, error: TextFileError) {
        let (line, message) = error.into_parts();
        self.0.push(Fault { place: file.display().to_string(), line, message });
    }

    /// Whether nothing was noted.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was made, if nothing is wrong.
    pub(super) fn or<T>(self, made: Option<T>) -> Result<T, Faults> {
        match made {
            Some(made) if self.0.is_empty() => Ok(made),
            _ => Err(Faults(self.0)),
        }
    }
}
