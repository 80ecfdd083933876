//! The store's files written anew, without what was erased or replaced.

use super::{Vault, VaultError};
use masker_access::{Permit, VaultAdmin};
use masker_store::{CompactionSizes, StoreError};

/// Why the files are as they were. The vault serves on.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompactError {
    /// One is under way already.
    #[error("another compaction is under way")]
    Busy,
    /// It came to nothing: for want of room, say.
    #[error("{0}")]
    Uncompacted(String),
    /// The store failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl Vault {
    /// Writes the store's files anew, while the vault serves: what was erased or replaced before is in none of them
    /// afterwards. It takes room for a second copy of what is there.
    ///
    /// # Errors
    /// [`CompactError`]; nothing was lost.
    pub async fn compact(&self, _permit: &Permit<VaultAdmin>) -> Result<CompactionSizes, CompactError> {
        self.shared.store.compact().await.map_err(|failed| match failed {
            StoreError::Busy(_) => CompactError::Busy,
            StoreError::Uncompacted(why) => CompactError::Uncompacted(why),
            failed => CompactError::Vault(failed.into()),
        })
    }
}
