//! What the vault knows of itself: key generations and counts.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    Vault, VaultError, VaultShared, records,
    time::{self, timestamp},
};
use crate::ItemFailure;
use masker_core::{crypto::Fingerprint, keyring::Role};
use masker_store::{
    RowKey,
    record::{GenerationRow, Record},
};
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
    /// Records sealed under it.
    pub records: u64,
    /// Aliases made under it.
    pub aliases: u64,
    /// When it last opened a token that carries its own value.
    pub tokens_last_opened: Option<Timestamp>,
    /// How many such tokens it opened on the last 30 days, today among them. Those that nobody shows are not counted.
    pub tokens_opened_30_days: u64,
    /// When a full pass over the vault found nothing that needs it, where nothing has come to need it since.
    pub proven_at: Option<Timestamp>,
    /// Open sessions with tokens that need it; of an old key that is loaded, and where they were asked for.
    pub open_sessions: Option<u64>,
}

impl GenerationStatus {
    /// Whether something needs this generation and the daemon does not have it.
    pub fn missed(&self) -> bool {
        self.loaded.is_none() && self.records + self.aliases > 0
    }
}

/// The vault in numbers.
#[derive(Clone, Debug)]
pub struct StatsOutcome {
    /// Records held.
    pub records: u64,
    /// Aliases held.
    pub aliases: u64,
    /// Bytes that the store takes on disk.
    pub bytes_on_disk: u64,
    /// When the oldest and the newest record were minted.
    pub span: Option<(Timestamp, Timestamp)>,
}

impl Vault {
    /// Every key generation that is loaded or remembered, by kid, the active one of each first. Needs no store.
    pub fn generations(&self) -> Vec<GenerationStatus> {
        let keys = self.shared.keys.load();
        let ledger = self.shared.ledger.load();
        let mut statuses: Vec<_> = ledger
            .generations
            .iter()
            .map(|(name, row)| {
                let loaded = keys.ring.by_fingerprint(name.0, name.1).map(|generation| generation.role());
                self.status(*name, row, loaded)
            })
            .collect();
        statuses.sort_by_key(|s| (s.kid, s.loaded != Some(Role::Active), s.old_since.map(std::cmp::Reverse)));
        statuses
    }

    /// [`Vault::generations`], with the open sessions that need each: which takes reading.
    ///
    /// # Errors
    /// [`VaultError`] if the store fails.
    pub async fn generations_with_sessions(&self) -> Result<Vec<GenerationStatus>, VaultError> {
        let sessions = self.sessions_on_old_keys().await?;
        let mut statuses = self.generations();
        for status in &mut statuses {
            status.open_sessions = sessions.get(&(status.kid, status.fingerprint)).copied();
        }
        Ok(statuses)
    }

    fn status(
        &self,
        (kid, fingerprint): (Kid, Fingerprint),
        row: &GenerationRow,
        loaded: Option<Role>,
    ) -> GenerationStatus {
        let used = self.shared.keys.load().uses.get((kid, fingerprint));
        let opened = self.shared.tokens_opened((kid, fingerprint));
        let nonzero_timestamp = |ms: u64| timestamp(ms).filter(|_| ms > 0);
        let old_since = row.old_since_ms.and_then(timestamp);
        GenerationStatus {
            kid,
            fingerprint,
            loaded,
            first_seen: timestamp(row.first_seen_ms),
            old_since,
            grace_ends: old_since.map(|since| self.grace.ends(since)),
            last_used: nonzero_timestamp(used.map_or(0, |used| used.last_ms).max(row.last_used_ms)),
            records: row.records,
            aliases: row.aliases,
            tokens_last_opened: nonzero_timestamp(opened.last_ms),
            tokens_opened_30_days: opened.in_30_days,
            proven_at: row.proven_at_ms.and_then(timestamp),
            open_sessions: None,
        }
    }

    /// What an operator must know of each key that the vault needs and that is not loaded.
    pub fn missing_key_warnings(&self) -> Vec<String> {
        self.shared.ledger.load().missing_key_warnings(&self.shared.keys.load().ring, self.shared.keys.second_tokens())
    }

    /// The kids whose keys are loaded.
    pub fn kids(&self) -> BTreeSet<Kid> {
        self.shared.keys.load().ring.iter().map(|(kid, _)| kid).collect()
    }

    /// How many key generations are loaded.
    pub fn keys_loaded(&self) -> usize {
        self.shared.keys.load().ring.iter().map(|(_, pair)| pair.generations().count()).sum()
    }

    /// What time it is for the vault.
    pub fn now(&self) -> Timestamp {
        (self.shared.clock)()
    }

    /// What an operator should know of old keys whose grace period is over.
    pub(super) fn grace_warnings(&self) -> Vec<String> {
        let now = self.now();
        let over = self.generations().into_iter().filter_map(|generation| {
            let ended = generation.grace_ends.filter(|ends| generation.loaded == Some(Role::Old) && *ends <= now)?;
            let (kid, fingerprint) = (generation.kid, generation.fingerprint);
            Some(format!(
                "the grace period of the old key {kid} with fingerprint {fingerprint} ended on {ended}; see what still \
                 needs it by `masker keys status`, and move the vault's records by `masker vault rotate-key --new-kid {kid}`"
            ))
        });
        over.collect()
    }

    /// The vault in numbers: kept with every change, not counted now.
    ///
    /// # Errors
    /// [`VaultError`] if the store cannot say how large it is, or what became of a commit that failed.
    pub async fn stats(&self) -> Result<StatsOutcome, VaultError> {
        self.finish_pending_commits().await?;
        let bytes_on_disk = self.shared.store.bytes_on_disk().await?;
        let ledger = self.shared.ledger.load();
        Ok(StatsOutcome {
            records: ledger.records(),
            aliases: ledger.aliases(),
            bytes_on_disk,
            span: ledger.span_ms().and_then(|(oldest, newest)| timestamp(oldest).zip(timestamp(newest))),
        })
    }

    /// Whether the store answers a read now.
    ///
    /// # Errors
    /// [`VaultError`] if it does not: the text says why.
    pub async fn ping(&self) -> Result<(), VaultError> {
        self.shared.store.get_many(vec![RowKey::never_written()]).await?;
        Ok(())
    }

    /// Records in the vault.
    pub fn records(&self) -> u64 {
        self.shared.ledger.load().records()
    }

    /// Sees to it that the ledger tells what is in the store: after a commit that failed it may not.
    pub(super) async fn finish_pending_commits(&self) -> Result<(), VaultError> {
        if self.shared.ledger.is_stale() { self.writer.reload_ledger().await } else { Ok(()) }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.shared.now_ms()
    }

    /// When a generation was replaced, as the vault remembers.
    pub(super) fn old_since(&self, name: (Kid, Fingerprint)) -> Option<Timestamp> {
        self.shared.ledger.load().generations.get(&name)?.old_since_ms.and_then(timestamp)
    }
}

impl VaultShared {
    /// Returns the current time in milliseconds of Unix time; 0 for a clock before 1970.
    pub(super) fn now_ms(&self) -> u64 {
        time::unix_ms(&self.clock)
    }

    /// Counts a row that is not what was written.
    pub(super) fn count_damage(&self) {
        self.metrics.damaged.inc();
    }

    /// Decodes a record's row; one that does not decode is counted as damage.
    pub(super) fn decode(&self, row: &[u8]) -> Result<Record, ItemFailure> {
        records::decode(row, &self.metrics)
    }
}
