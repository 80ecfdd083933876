//! The errors of opening an audit log and of recording an event.

use std::{io, path::PathBuf};

use masker_core::crypto::LockedMemoryError;
use masker_files::owner_advice;

/// Why an event was not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The log cannot be written at present. Nothing that needs a record may be done.
    #[error("the audit log cannot be written")]
    Unavailable,
    /// The event is longer than a line may be.
    #[error("the event is too long for the audit log")]
    TooLong,
}

/// Why an audit log was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditOpenError {
    /// The directory cannot be used at all.
    #[error("failed to open the audit log's directory {path}: {source}; masker must run as the user that owns it")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Other users than the owner may write to the directory.
    #[error(
        "the audit log's directory {path} can be changed by others (its mode is {mode:04o}); run `chmod go-w {path}`"
    )]
    Exposed {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The directory belongs to another user.
    #[error(
        "the audit log's directory {path} belongs to user {owner}, and masker runs as user {runs_as}; run masker as the owner, or `chown` the directory and its files"
    )]
    Owner {
        /// The directory.
        path: PathBuf,
        /// The user that owns it.
        owner: u32,
        /// The user that masker runs as.
        runs_as: u32,
    },
    /// The directory contains a file that does not belong to a log.
    #[error(
        "the audit log's directory {path} contains {entry:?}, which does not belong to an audit log; move such files away, or set \
         `[audit] path` to an empty directory"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The name of the first such file.
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
    /// No line of the log verifies under the key.
    #[error(
        "no line of the audit log in {path} verifies under MASKER_AUDIT_HMAC_KEY: put the key of this log back. To end the log \
         for good, move its directory away, and keep it"
    )]
    OtherKey {
        /// The directory.
        path: PathBuf,
    },
    /// The log cannot be read or written.
    #[error(
        "failed to {operation} the audit log in {path}: {source}; masker does not serve without its audit log{}",
        owner_advice(path, source)
    )]
    Io {
        /// The directory.
        path: PathBuf,
        /// What failed: "read" or "write".
        operation: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// There is no locked memory for the key.
    #[error("failed to keep the key of the audit log: {0}")]
    Memory(#[from] LockedMemoryError),
    /// A thread could not be started.
    #[error("failed to start a thread for the audit log: {0}")]
    Thread(#[source] io::Error),
}
