//! Why an engine fails, and what that means for the store and its files.

use std::io;

use super::panics::EnginePanic;
use crate::StoreError;

/// Why an engine failed. The texts are for operators, and must not contain bytes of rows: keys are tokens.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The operating system failed a call.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The engine failed for another reason.
    #[error("{0}")]
    Failed(String),
    /// The engine panicked.
    #[error(transparent)]
    Panicked(#[from] EnginePanic),
    /// The files do not contain what was written.
    #[error("{0}")]
    Damaged(&'static str),
    /// Another release wrote the manifest, in this format.
    #[error("the manifest has format {0}")]
    OtherVersion(u8),
    /// The engine's replacement of a weak write barrier is not linked into this program.
    #[error("the write barrier is not in force")]
    NoBarrier,
    /// A batch may have been applied in part, in memory or on disk.
    #[error(transparent)]
    InDoubt(Box<EngineError>),
    /// The engine was closed.
    #[error("it was closed after a failure")]
    Closed,
    /// The call breaks a rule of the [`Store`](crate::Store) trait.
    #[error(transparent)]
    Rejected(StoreError),
}

impl EngineError {
    /// Returns whether the files are damaged.
    pub(super) fn is_damage(&self) -> bool {
        matches!(self, EngineError::Damaged(_))
    }

    /// Returns whether the operating system failed, not the engine.
    pub(super) fn is_io(&self) -> bool {
        match self {
            EngineError::Io(_) => true,
            EngineError::InDoubt(cause) => cause.is_io(),
            _ => false,
        }
    }

    /// Returns whether the engine can be used as before: the call was invalid, or a row could not be read. A commit that
    /// fails after its batch was handed to the engine is [`EngineError::InDoubt`] instead.
    pub(super) fn leaves_store_usable(&self) -> bool {
        matches!(self, EngineError::Rejected(_) | EngineError::Closed) || self.is_damage()
    }
}

impl From<EngineError> for StoreError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Rejected(error) => error,
            damage if damage.is_damage() => StoreError::Damaged(damage.to_string()),
            other => StoreError::Unavailable(other.to_string()),
        }
    }
}
