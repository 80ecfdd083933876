//! The problems of secrets.

use std::{ffi::OsStr, fmt};

use super::name::SecretPurpose;

/// Why a secret cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialProblem {
    pub(super) subject: ProblemSubject,
    /// The variable or the file.
    pub source: String,
    /// The problem and what to do about it. The text continues after the name of the source.
    pub message: String,
}

/// The secrets that a problem is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProblemSubject {
    /// One secret.
    Secret(SecretPurpose),
    /// A key whose name is invalid.
    MisnamedKey,
    /// All secrets of the credentials directory.
    Directory,
}

impl From<SecretPurpose> for ProblemSubject {
    fn from(purpose: SecretPurpose) -> Self {
        ProblemSubject::Secret(purpose)
    }
}

impl fmt::Display for CredentialProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.source, self.message)
    }
}

/// All problems of the secrets, at least one. They are displayed one per line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.0.iter().map(CredentialProblem::to_string).collect::<Vec<_>>().join("\n"))]
pub struct CredentialProblems(Vec<CredentialProblem>);

impl CredentialProblems {
    /// Returns the problems.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &CredentialProblem> {
        self.0.iter()
    }
}

/// Collects problems and warnings, so that all are reported at once.
#[derive(Default)]
pub(super) struct ProblemCollector {
    pub(super) problems: Vec<CredentialProblem>,
    pub(super) warnings: Vec<String>,
}

impl ProblemCollector {
    /// Adds a problem.
    pub(super) fn report(
        &mut self,
        subject: impl Into<ProblemSubject>,
        source: impl Into<String>,
        message: impl Into<String>,
    ) {
        let (subject, source, message) = (subject.into(), source.into(), message.into());
        self.problems.push(CredentialProblem { subject, source, message });
    }

    /// Adds a warning.
    pub(super) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// Returns the warnings if there are no problems.
    pub(super) fn into_result(self) -> Result<Vec<String>, CredentialProblems> {
        if self.problems.is_empty() { Ok(self.warnings) } else { Err(CredentialProblems(self.problems)) }
    }
}

/// Returns a name for a message. Control characters and bytes that are not UTF-8 are escaped.
pub(super) fn printable(name: &OsStr) -> String {
    name.to_string_lossy().escape_debug().to_string()
}
