//! Why an engine fails, and what that says about it and its files.

use std::io;

use super::panics::Panicked;
use crate::store::StoreError;

/// Why the engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum EngineError {
    #[error("{}", told(.0))]
    Sled(#[from] sled::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Panicked(#[from] Panicked),
    #[error("{0}")]
    Damaged(&'static str),
    #[error("the books have format {0}")]
    Newer(u8),
    #[error("the write barrier is not in force")]
    NoBarrier,
    /// A batch may be there in part, in memory or on the disk.
    #[error(transparent)]
    Unfinished(Box<EngineError>),
    #[error("it was let go of after a failure")]
    Gone,
    #[error(transparent)]
    Refused(StoreError),
}

/// What sled says, in words for an operator. None of its messages holds rows.
fn told(error: &sled::Error) -> String {
    match error {
        sled::Error::Corruption { .. } => "a page cannot be read".into(),
        sled::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            "a page is past the end of its file".into()
        }
        sled::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

impl EngineError {
    /// Whether what is on disk is at fault.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            EngineError::Damaged(_) | EngineError::Sled(sled::Error::Corruption { .. }) => true,
            // sled looked for a page where the file has ended.
            EngineError::Sled(sled::Error::Io(error)) => error.kind() == io::ErrorKind::UnexpectedEof,
            _ => false,
        }
    }

    /// Whether the system failed, rather than the engine.
    pub(super) fn is_io(&self) -> bool {
        match self {
            EngineError::Io(_) | EngineError::Sled(sled::Error::Io(_)) => !self.is_damage(),
            EngineError::Unfinished(cause) => cause.is_io(),
            _ => false,
        }
    }

    /// Whether the engine is as good as before: the call was wrong, or met a row that cannot be read. Of a commit, that
    /// is so until its batch is in sled's hands: see [`EngineError::Unfinished`].
    pub(super) fn is_harmless(&self) -> bool {
        matches!(self, EngineError::Refused(_) | EngineError::Gone) || self.is_damage()
    }
}

impl From<EngineError> for StoreError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Refused(refused) => refused,
            damage if damage.is_damage() => StoreError::Damaged(damage.to_string()),
            other => StoreError::Unavailable(other.to_string()),
        }
    }
}
