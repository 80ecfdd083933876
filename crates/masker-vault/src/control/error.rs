//! Why a vault's control key cannot be used.

use masker_core::crypto::{Fingerprint, LockedMemoryError};
use masker_store::StoreError;
use masker_types::kind::Kid;

/// Why a vault cannot be opened with the loaded keys. Nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlKeyError {
    /// No loaded key opens a slot.
    #[error(
        "none of the loaded keys opens this vault's control key; load one that does: {}. If all are lost, \
         `masker recover` accepts a new control key, which keeps records, honeytokens and tombstones, and removes the API keys",
        listed(.0)
    )]
    NoSlot(Vec<(Kid, Fingerprint)>),
    /// A loaded key would open a slot, but is in the place of another one: a message for an operator.
    #[error("{0}")]
    Misplaced(String),
    /// The vault has rows and no slot.
    #[error(
        "the vault has rows, but no slot of its control key: its files were changed; restore them. `masker recover` accepts a \
         new control key, which keeps records, honeytokens and tombstones, and removes the API keys"
    )]
    SlotsRemoved,
    /// Two slots hold different keys.
    #[error(
        "the slots of {} {} and {} {} hold different control keys: the vault's files were changed; restore them, \
         or load only keys whose slots agree. `masker recover` accepts a new control key, which keeps records, honeytokens and \
         tombstones, and removes the API keys",
        .0.0, .0.1, .1.0, .1.1
    )]
    SlotsDisagree((Kid, Fingerprint), (Kid, Fingerprint)),
    /// No locked memory is available for the key.
    #[error("the control key cannot be kept: {0}")]
    Memory(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<LockedMemoryError> for ControlKeyError {
    fn from(error: LockedMemoryError) -> Self {
        ControlKeyError::Memory(error.to_string())
    }
}

fn listed(slots: &[(Kid, Fingerprint)]) -> String {
    slots.iter().map(|(kid, fingerprint)| format!("{kid} {fingerprint}")).collect::<Vec<_>>().join(", ")
}
