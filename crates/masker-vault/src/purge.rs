//! Purging: records erased by age, or by the key that seals them.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use super::{
    VaultError,
    check::ProvenChange,
    handles::Handles,
    keys::CurrentKeys,
    ledger::CurrentLedger,
    paged_scan::PagedScan,
    reader::Reader,
    writer::{Change, CommitDraft, Lane, ROWS_PER_ERASURE, ReadPlan, WriterHandle},
};
use masker_core::{
    crypto::{Fingerprint, TokenId},
    keyring::Role,
};
use masker_store::record::{Record, RowName};
use masker_types::kind::Kid;

/// Which records are erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PurgeFilter {
    /// Records minted before this time.
    Before(Timestamp),
    /// Records sealed under this key generation.
    Key(Fingerprint),
}

impl PurgeFilter {
    /// Returns the filter for a fingerprint in text form; `None` if it does not parse.
    pub fn of_key(fingerprint: &str) -> Option<Self> {
        Fingerprint::parse(fingerprint).map(PurgeFilter::Key)
    }

    /// Returns whether a record is erased.
    fn selects(&self, record: &Record) -> bool {
        match self {
            PurgeFilter::Before(time) => i128::from(record.minted_at_ms) < i128::from(time.as_millisecond()),
            PurgeFilter::Key(fingerprint) => record.fingerprint == *fingerprint.as_bytes(),
        }
    }
}

/// Why nothing was erased, or why a purge stopped early; it can be repeated.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PurgeError {
    /// The vault has never seen this key.
    #[error("the vault knows no key with fingerprint {0}; `masker keys status` lists those that it knows")]
    UnknownKey(Fingerprint),
    /// The key is active.
    #[error(
        "{0} with fingerprint {1} is the active key, and new records are sealed under it; erase by time (`before`), or \
         replace the key first"
    )]
    ActiveKey(Kid, Fingerprint),
    /// The store failed, or the writer, before anything was erased.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The store failed, or the writer, after this was erased.
    #[error("{failed}; {} records were erased before", .erased.records.values().sum::<u64>())]
    Interrupted {
        /// What was erased.
        erased: PurgeOutcome,
        /// Why the purge ended.
        failed: VaultError,
    },
}

/// What a purge erased, or would erase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurgeOutcome {
    /// Records by the key generation that seals them.
    pub records: BTreeMap<(Kid, Fingerprint), u64>,
    /// Rows that do not decode, so that the filter cannot be applied.
    pub damaged: u64,
}

/// Erases those of some records that the filter still selects. The outcome has, for each, the generation that sealed it.
struct PurgeChange {
    candidates: Vec<TokenId>,
    filter: PurgeFilter,
}

impl Change for PurgeChange {
    type Outcome = Vec<Option<(Kid, Fingerprint)>>;

    fn row_count(&self) -> usize {
        ROWS_PER_ERASURE * self.candidates.len()
    }

    fn lane(&self) -> Lane {
        Lane::Background
    }

    fn plan_reads(&mut self, plan: &mut ReadPlan<'_>) {
        self.candidates.iter().for_each(|id| plan.record_with_indexes(*id));
    }

    fn decide(&mut self, draft: &mut CommitDraft<'_>) -> Self::Outcome {
        let erase = |id: &TokenId| {
            let record = draft.record(*id).ok().flatten().filter(|record| self.filter.selects(record))?;
            Some(draft.erase_record(*id, &record))
        };
        self.candidates.iter().map(erase).collect()
    }
}

/// Erases records that a filter selects.
pub(crate) struct Purger {
    keys: Arc<CurrentKeys>,
    ledger: Arc<CurrentLedger>,
    reader: Arc<Reader>,
    writer: Arc<WriterHandle>,
}

impl Purger {
    pub(crate) fn new(handles: &Handles) -> Self {
        Purger {
            keys: Arc::clone(&handles.keys),
            ledger: Arc::clone(&handles.ledger),
            reader: Arc::clone(&handles.reader),
            writer: Arc::clone(&handles.writer),
        }
    }

    /// Implements [`Vault::purge`](crate::Vault::purge).
    pub(crate) async fn purge(&self, filter: PurgeFilter, dry_run: bool) -> Result<PurgeOutcome, PurgeError> {
        self.writer.sync_ledger().await?;
        if let PurgeFilter::Key(fingerprint) = filter {
            self.check_purgeable(fingerprint)?;
        }
        let mut outcome = PurgeOutcome::default();
        match self.erase_selected(filter, dry_run, &mut outcome).await {
            Ok(()) => Ok(outcome),
            Err(failed) if dry_run || outcome.records.is_empty() => Err(failed.into()),
            Err(failed) => Err(PurgeError::Interrupted { erased: outcome, failed }),
        }
    }

    /// Erases or counts the records that the filter selects. After an error, `outcome` has what was done before it.
    async fn erase_selected(
        &self,
        filter: PurgeFilter,
        dry_run: bool,
        outcome: &mut PurgeOutcome,
    ) -> Result<(), VaultError> {
        let store = self.reader.store();
        let mut pages = PagedScan::new(RowName::RECORDS);
        while let Some(rows) = pages.next(store).await? {
            let mut candidates = Vec::new();
            for (key, row) in &rows {
                match (RowName::parse(key), Record::decode(row)) {
                    (Ok(RowName::Record(_)), Ok(record)) if !filter.selects(&record) => {}
                    (Ok(RowName::Record(id)), Ok(record)) => {
                        let name = (record.sealing_kid, Fingerprint::from_bytes(record.fingerprint));
                        if dry_run {
                            *outcome.records.entry(name).or_default() += 1;
                        } else {
                            candidates.push(TokenId::from_bytes(id));
                        }
                    }
                    _ => {
                        self.reader.count_damage();
                        outcome.damaged += 1;
                    }
                }
            }
            if !candidates.is_empty() {
                for erased in self.writer.commit(PurgeChange { candidates, filter }).await?.into_iter().flatten() {
                    *outcome.records.entry(erased).or_default() += 1;
                }
            }
        }
        if let PurgeFilter::Key(fingerprint) = filter
            && !dry_run
            && outcome.damaged == 0
        {
            // The change skips what the ledger counts as needed.
            let known = self.ledger.load().generations.keys().copied().collect::<Vec<_>>();
            let purged = known.into_iter().filter(|name| name.1 == fingerprint).collect();
            self.writer.commit(ProvenChange(purged)).await?;
        }
        Ok(())
    }

    fn check_purgeable(&self, fingerprint: Fingerprint) -> Result<(), PurgeError> {
        let keys = self.keys.load();
        let ledger = self.ledger.load();
        let mut known = false;
        for (kid, _) in ledger.generations.keys().filter(|name| name.1 == fingerprint) {
            known = true;
            let loaded = keys.ring.by_fingerprint(*kid, fingerprint);
            if loaded.is_some_and(|generation| generation.role() == Role::Active) {
                return Err(PurgeError::ActiveKey(*kid, fingerprint));
            }
        }
        if known { Ok(()) } else { Err(PurgeError::UnknownKey(fingerprint)) }
    }
}
