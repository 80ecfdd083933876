//! The check of the whole vault: every row read, every record opened, every index row verified.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    StatsOutcome, VaultError,
    control::ControlledStore,
    handles::Handles,
    keys::CurrentKeys,
    ledger::CurrentLedger,
    paged_scan::PagedScan,
    reader::Reader,
    record_count::{Census, CensusCount, CheckOutcome},
    time::timestamp,
    writer::{Change, CommitDraft, Lane, WriterHandle},
};
use masker_core::crypto::{Fingerprint, MatchPart, TokenId};
use masker_store::{RowKey, record::RowName};
use masker_types::kind::Kid;

/// Checks and measures the vault.
pub(crate) struct Maintenance {
    keys: Arc<CurrentKeys>,
    ledger: Arc<CurrentLedger>,
    reader: Arc<Reader>,
    writer: Arc<WriterHandle>,
    control: Arc<ControlledStore>,
}

impl Maintenance {
    pub(crate) fn new(handles: &Handles, control: Arc<ControlledStore>) -> Self {
        Maintenance {
            keys: Arc::clone(&handles.keys),
            ledger: Arc::clone(&handles.ledger),
            reader: Arc::clone(&handles.reader),
            writer: Arc::clone(&handles.writer),
            control,
        }
    }

    /// Implements [`Vault::check`](crate::Vault::check).
    pub(crate) async fn check(&self) -> Result<CheckOutcome, VaultError> {
        self.writer.sync_ledger().await?;
        let store = self.reader.store();
        let keys = self.keys.load_full();
        let before = self.ledger.load_full();
        let mut census = Census::resume(store, &keys.ring, CensusCount::default());

        let mut pages = PagedScan::new(RowName::RECORDS);
        while let Some(rows) = pages.next(store).await? {
            census.records(&rows).await?;
        }
        let mut pages = PagedScan::new(RowName::VALUE_INDEXES);
        while let Some(rows) = pages.next(store).await? {
            census.index_rows::<TokenId>(&rows).await?;
        }
        let mut pages = PagedScan::new(RowName::FORM_INDEXES);
        while let Some(rows) = pages.next(store).await? {
            census.index_rows::<MatchPart>(&rows).await?;
        }
        census.count.outcome.tombstones = store.count(RowName::TOMBSTONES).await?;

        let store_check = store.check().await?;
        census.count.outcome.counts_agree = store_check.sound;
        if !store_check.sound {
            census.problem(|| {
                format!(
                    "the store has {} rows where its own count is {}, or rows that differ from those written",
                    store_check.rows, store_check.rows_expected
                )
            });
        }
        for problem in self.control.verify().await?.problems {
            census.count.outcome.counts_agree = false;
            census.problem(|| problem);
        }
        if Arc::ptr_eq(&before, &self.ledger.load_full()) {
            let names: BTreeSet<_> = census.count.by_key.keys().chain(before.generations.keys()).copied().collect();
            for name in names {
                let found = census.count.by_key.get(&name).copied().unwrap_or_default();
                let counted = before.generations.get(&name).map_or((0, 0), |row| (row.records, row.index_rows));
                if found != counted {
                    census.count.outcome.counts_agree = false;
                    census.problem(|| {
                        format!(
                            "{} {}: the ledger counts {} records and {} index rows, the vault has {} and {}",
                            name.0, name.1, counted.0, counted.1, found.0, found.1
                        )
                    });
                }
            }
            let (counted, found) = (before.tombstones(), census.count.outcome.tombstones);
            if counted != found {
                census.count.outcome.counts_agree = false;
                census.problem(|| format!("the ledger counts {counted} tombstones, the vault has {found}"));
            }
        }
        let CensusCount { by_key, outcome } = census.count;
        if outcome.ok() {
            // The change skips generations that are not old, or that the ledger counts as needed.
            let unneeded = before.generations.keys().filter(|name| !by_key.contains_key(name));
            self.writer.commit(ProvenChange(unneeded.copied().collect())).await?;
        }
        Ok(outcome)
    }

    /// Implements [`Vault::stats`](crate::Vault::stats).
    pub(crate) async fn stats(&self) -> Result<StatsOutcome, VaultError> {
        self.writer.sync_ledger().await?;
        let bytes_on_disk = self.reader.store().bytes_on_disk().await?;
        let ledger = self.ledger.load();
        Ok(StatsOutcome {
            records: ledger.records(),
            index_rows: ledger.index_rows(),
            bytes_on_disk,
            span: ledger.span_ms().and_then(|(oldest, newest)| timestamp(oldest).zip(timestamp(newest))),
        })
    }

    /// Implements [`Vault::ping`](crate::Vault::ping).
    pub(crate) async fn ping(&self) -> Result<(), VaultError> {
        self.reader.store().get_many(vec![RowKey::never_written()]).await?;
        Ok(())
    }

    /// Implements [`Vault::records`](crate::Vault::records).
    pub(crate) fn records(&self) -> u64 {
        self.ledger.load().records()
    }
}

/// Notes that a full pass has found nothing under these generations, where the ledger agrees.
pub(crate) struct ProvenChange(pub(crate) Vec<(Kid, Fingerprint)>);

impl Change for ProvenChange {
    type Outcome = ();

    fn lane(&self) -> Lane {
        Lane::Control
    }

    fn decide(&mut self, draft: &mut CommitDraft<'_>) {
        self.0.iter().for_each(|name| draft.ledger_changes.proven(*name, draft.now_ms));
    }
}
