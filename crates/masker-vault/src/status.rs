//! The status of key generations, and the vault's counts.

use jiff::Timestamp;

use masker_core::{crypto::Fingerprint, keyring::Role};
use masker_types::kind::Kid;

/// One key generation, loaded or remembered.
#[derive(Clone, Debug)]
pub struct GenerationStatus {
    /// The key id.
    pub kid: Kid,
    /// The generation's public name.
    pub fingerprint: Fingerprint,
    /// Its role if it is loaded.
    pub loaded: Option<Role>,
    /// When the vault first saw it.
    pub first_seen: Option<Timestamp>,
    /// When it was replaced.
    pub old_since: Option<Timestamp>,
    /// When its grace period ends.
    pub grace_ends: Option<Timestamp>,
    /// When it last opened something.
    pub last_used: Option<Timestamp>,
    /// Records that it seals.
    pub records: u64,
    /// Index rows under it.
    pub index_rows: u64,
    /// When it last opened a token that contains its value.
    pub tokens_last_opened: Option<Timestamp>,
    /// How many such tokens it opened in the last 30 days, including today. Unused ones cannot be counted.
    pub tokens_opened_30_days: u64,
    /// When a full pass over the vault found that nothing needs it, if nothing has needed it since.
    pub proven_at: Option<Timestamp>,
    /// Open sessions with tokens that need it: only for a loaded old key, and if the caller asked for them.
    pub open_sessions: Option<u64>,
}

impl GenerationStatus {
    /// Returns whether the vault needs this generation and it is not loaded.
    pub fn missed(&self) -> bool {
        self.loaded.is_none() && self.records + self.index_rows > 0
    }
}

/// The vault's counts.
#[derive(Clone, Debug)]
pub struct StatsOutcome {
    /// Records in the vault.
    pub records: u64,
    /// Index rows in the vault.
    pub index_rows: u64,
    /// Bytes of the store on disk.
    pub bytes_on_disk: u64,
    /// When the oldest and the newest record were minted.
    pub span: Option<(Timestamp, Timestamp)>,
}
