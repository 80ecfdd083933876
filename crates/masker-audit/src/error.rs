//! Why an audit log cannot be opened, told to the operator, and why an event cannot be recorded, told to the request.

use std::{io, path::PathBuf};

use masker_core::crypto::LockedMemoryError;

/// Why an event was not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The log cannot be written for now. Nothing that needs a record may be done.
    #[error("the audit log cannot be written")]
    Unavailable,
    /// The event is longer than any may be.
    #[error("the event is too long for the audit log")]
    TooLong,
}

/// Why an audit log was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditOpenError {
    /// The directory cannot be used at all.
    #[error("cannot use the audit log's directory {path}: {source}; masker must run as the user who owns it")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than its owner may write into the directory.
    #[error(
        "the audit log's directory {path} can be changed by others (its mode is {mode:04o}); take that away with `chmod go-w {path}`"
    )]
    Exposed {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The directory belongs to another user.
    #[error(
        "the audit log's directory {path} belongs to user {owner}, and masker runs as user {runs_as}; run it as the owner, or `chown` the directory and what is in it"
    )]
    Owner {
        /// The directory.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// As whom masker runs.
        runs_as: u32,
    },
    /// The directory holds something that is no part of a log.
    #[error(
        "the audit log's directory {path} holds {entry:?} and perhaps more, which are no part of a log; move them away, or set \
         `[audit] path` to a directory of its own"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// One of the things in it.
        entry: String,
    },
    /// Another process writes the log.
    #[error(
        "the audit log in {path} is in use: stop the daemon that writes it, or set `[audit] path` to another directory"
    )]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The log cannot be read or written.
    #[error(
        "cannot {doing} the audit log in {path}: {source}; mend that and start again, for nothing is served unrecorded"
    )]
    Io {
        /// The directory.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// There is no locked memory for the key.
    #[error("the key of the audit log cannot be kept: {0}")]
    Memory(#[from] LockedMemoryError),
    /// There is no thread for its work.
    #[error("cannot start a thread for the audit log: {0}")]
    Thread(#[source] io::Error),
}
