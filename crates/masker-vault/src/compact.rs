//! Compaction: the store's files rewritten without what was erased or replaced.

use std::sync::Arc;

use super::{VaultError, handles::Handles, reader::Reader};
use masker_store::{CompactionSizes, StoreError};

/// Why the files were not rewritten. The vault stays in service.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompactError {
    /// Another compaction is running.
    #[error("another compaction is running")]
    Busy,
    /// The store gave up, for lack of disk space, say.
    #[error("{0}")]
    Uncompacted(String),
    /// The store failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// Rewrites the store's files.
pub(crate) struct Compactor {
    reader: Arc<Reader>,
}

impl Compactor {
    pub(crate) fn new(handles: &Handles) -> Self {
        Compactor { reader: Arc::clone(&handles.reader) }
    }

    /// Implements [`Vault::compact`](crate::Vault::compact).
    pub(crate) async fn compact(&self) -> Result<CompactionSizes, CompactError> {
        self.reader.store().compact().await.map_err(|failed| match failed {
            StoreError::Busy(_) => CompactError::Busy,
            StoreError::Uncompacted(why) => CompactError::Uncompacted(why),
            failed => CompactError::Vault(failed.into()),
        })
    }
}
