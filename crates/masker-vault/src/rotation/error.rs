//! The errors of rotations.

use crate::{VaultError, ids::RotationId};
use masker_types::kind::Kid;

/// Why a rotation was not begun, returned or cancelled.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RotationError {
    /// Another rotation is running.
    #[error("the rotation {0} is running: wait until it ends, or cancel it")]
    Running(RotationId),
    /// No rotation has this id.
    #[error("no rotation has this id; see the list of rotations")]
    NotFound,
    /// The rotation has ended already.
    #[error("the rotation {0} has ended already")]
    Ended(RotationId),
    /// The kid that records are moved to has no key.
    #[error("the key {0} is not loaded: set MASKER_KEY_{0}, or name a kid that has a key")]
    TargetNotLoaded(Kid),
    /// The vault has never seen a key of the kid that records are moved from.
    #[error("this vault has never seen a key of {0}: there is nothing to move from it")]
    SourceUnknown(Kid),
    /// The store failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}
