//! What has happened after a backup was made, as the audit log tells.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use crate::ids::{HoneytokenId, SessionId};
use masker_access::{ApiKey, ApiKeyId};
use masker_core::crypto::{ChainKey, Fingerprint, TokenId};
use masker_store::record::Record;

/// What happened after a backup, and is to happen again after its restore.
#[derive(Default)]
pub struct LaterChanges {
    /// Which records were erased.
    pub erasures: Arc<LaterErasures>,
    /// API keys that were revoked.
    pub revoked: BTreeSet<ApiKeyId>,
    /// API keys that were revoked together with all that they had created.
    pub revoked_with_descendants: BTreeSet<ApiKeyId>,
    /// API keys that got other rights or another secret: how they were, nobody intends any more.
    pub changed: BTreeSet<ApiKeyId>,
    /// Whether it is not known which API keys were revoked or changed.
    pub keys_unknown: bool,
    /// Honeytokens whose marks were removed.
    pub unmarked: BTreeSet<HoneytokenId>,
    /// Sessions that were closed.
    pub closed: BTreeSet<SessionId>,
}

/// Which records were erased after a backup.
#[derive(Default)]
pub struct LaterErasures {
    /// The key of the marks.
    pub key: Option<ChainKey>,
    /// Marks of records that were forgotten.
    pub marks: HashSet<[u8; 16]>,
    /// Records that were minted before this time were purged. In milliseconds of Unix time; 0 for none.
    pub minted_before_ms: u64,
    /// Records under these keys were purged.
    pub sealed_under: BTreeSet<Fingerprint>,
}

impl LaterErasures {
    /// Returns whether a record of the backup was erased.
    pub(super) fn has(&self, id: TokenId, record: &Record) -> bool {
        record.minted_at_ms < self.minted_before_ms
            || self.sealed_under.contains(&Fingerprint::from_bytes(record.fingerprint))
            || !self.marks.is_empty()
                && self.key.as_ref().is_some_and(|key| self.marks.contains(&key.erasure_mark(&id)))
    }
}

impl LaterChanges {
    /// Returns an API key of the backup as it is restored. `ancestors` are the keys that it was created by.
    pub(super) fn restored(&self, key: &ApiKey, ancestors: &[ApiKeyId], now_ms: u64) -> ApiKey {
        let is_revoked = self.revoked.contains(&key.id())
            || self.revoked_with_descendants.contains(&key.id())
            || ancestors.iter().any(|ancestor| self.revoked_with_descendants.contains(ancestor));
        // What a creator lost, its keys lost too.
        let is_changed = std::iter::once(&key.id()).chain(ancestors).any(|id| self.changed.contains(id));
        if is_revoked {
            key.revoked(now_ms)
        } else if key.revoked_at_ms().is_none() && (self.keys_unknown || is_changed) {
            key.suspended()
        } else {
            key.clone()
        }
    }
}
