//! Why an engine fails, and what that says about it and its files.

use std::io;

use super::panics::EnginePanic;
use crate::StoreError;

/// Why the engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The engine gave a reason of its own, in words for an operator.
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Panicked(#[from] EnginePanic),
    #[error("{0}")]
    Damaged(&'static str),
    #[error("the manifest has format {0}")]
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

impl EngineError {
    /// Whether what is on disk is at fault.
    pub(super) fn is_damage(&self) -> bool {
        matches!(self, EngineError::Damaged(_))
    }

    /// Whether the system failed, rather than the engine.
    pub(super) fn is_io(&self) -> bool {
        match self {
            EngineError::Io(_) => true,
            EngineError::Unfinished(cause) => cause.is_io(),
            _ => false,
        }
    }

    /// Whether the engine is as good as before: the call was wrong, or met a row that cannot be read. Of a commit, that
    /// is so until its batch is in the engine's hands: see [`EngineError::Unfinished`].
    pub(super) fn leaves_store_usable(&self) -> bool {
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
