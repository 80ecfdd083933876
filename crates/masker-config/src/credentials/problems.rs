//! The problems of secrets.

use std::{
    ffi::OsStr,
    fmt, io,
    path::{Path, PathBuf},
};

use super::name::SecretPurpose;
use crate::key_file::KeyFileError;

/// Why a secret cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialProblem {
    pub(super) subject: ProblemSubject,
    /// What is wrong.
    pub fault: CredentialFault,
    /// The variable or the file.
    pub source: String,
    /// The path of the file or directory, if the problem is about one.
    pub path: Option<PathBuf>,
    /// The problem and what to do about it. The text continues after the name of the source.
    pub message: String,
}

/// What is wrong with a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialFault {
    /// The name of the variable or the file begins like that of a key and is none.
    Misnamed,
    /// Two variables give it.
    GivenTwice,
    /// A variable or a file whose name ends in `_FILE` does not name a key file.
    NotAPath,
    /// There is no such file or directory.
    Missing,
    /// This user may not read the file or the directory.
    Denied,
    /// It is empty, which is what systemd provides in place of a file that is missing.
    Empty,
    /// What is there cannot be read, or is not a key.
    Invalid,
    /// It is an old key, and the active key that replaced it is not there.
    OldAlone,
    /// It is an old key, and the active key is the same.
    SameAsActive,
}

impl From<&io::Error> for CredentialFault {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => CredentialFault::Missing,
            io::ErrorKind::PermissionDenied => CredentialFault::Denied,
            _ => CredentialFault::Invalid,
        }
    }
}

impl From<&KeyFileError> for CredentialFault {
    fn from(error: &KeyFileError) -> Self {
        match error {
            KeyFileError::NotFound => CredentialFault::Missing,
            KeyFileError::Unreadable(error) => error.into(),
            KeyFileError::NotRegular | KeyFileError::TooLong => CredentialFault::Invalid,
        }
    }
}

/// What is unusual about a secret and does not prevent a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialCaution {
    /// Its file can be read or changed by other users than its owner.
    OpenToOthers,
    /// The file of an old key does not exist.
    OldMissing,
    /// A file that is not read because it is a setting.
    NotRead,
}

/// A warning about a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialWarning {
    /// What is unusual.
    pub caution: CredentialCaution,
    /// The text for the operator.
    pub text: String,
}

impl fmt::Display for CredentialWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
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

impl CredentialProblem {
    /// Returns whether the problem is about the key of the audit chain.
    pub fn is_of_audit_key(&self) -> bool {
        self.subject == SecretPurpose::Audit.into()
    }

    /// Returns whether the problem is about a whole directory of keys.
    pub fn is_of_directory(&self) -> bool {
        self.subject == ProblemSubject::Directory
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
    pub(super) warnings: Vec<CredentialWarning>,
}

impl ProblemCollector {
    /// Adds a problem.
    pub(super) fn report(
        &mut self,
        subject: impl Into<ProblemSubject>,
        fault: CredentialFault,
        source: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.report_at(None, subject, fault, source, message);
    }

    /// Adds a problem of a file or directory.
    pub(super) fn report_at<'p>(
        &mut self,
        path: impl Into<Option<&'p Path>>,
        subject: impl Into<ProblemSubject>,
        fault: CredentialFault,
        source: impl Into<String>,
        message: impl Into<String>,
    ) {
        let (subject, source, message) = (subject.into(), source.into(), message.into());
        let path = path.into().map(Path::to_owned);
        self.problems.push(CredentialProblem { subject, fault, source, path, message });
    }

    /// Adds a warning.
    pub(super) fn warn(&mut self, caution: CredentialCaution, text: String) {
        self.warnings.push(CredentialWarning { caution, text });
    }

    /// Returns the warnings if there are no problems.
    pub(super) fn into_result(self) -> Result<Vec<String>, CredentialProblems> {
        if !self.problems.is_empty() {
            return Err(CredentialProblems(self.problems));
        }
        Ok(self.warnings.into_iter().map(|warning| warning.text).collect())
    }
}

/// Returns a name for a message. Control characters and bytes that are not UTF-8 are escaped.
pub(super) fn printable(name: &OsStr) -> String {
    name.to_string_lossy().escape_debug().to_string()
}
